// SPDX-License-Identifier: Apache-2.0
// Draws a table as text, for terminals and pipes.
#ifndef CURLSHARE_VERIFICATION_TABLE_H_
#define CURLSHARE_VERIFICATION_TABLE_H_

#include <string>
#include <vector>

namespace curlshare::testing {

// Returns a drawing of `rows`, which ends with a line break. The first row
// holds the headings. The first column is aligned to the left, all others to
// the right. REQUIRES: all rows have the same length. Safe to call from any
// thread.
std::string DrawTable(std::vector<std::vector<std::string>> rows);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_TABLE_H_
