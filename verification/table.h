// SPDX-License-Identifier: Apache-2.0
// A table for terminals and pipes.
#ifndef CURLSHARE_VERIFICATION_TABLE_H_
#define CURLSHARE_VERIFICATION_TABLE_H_

#include <string>
#include <vector>

namespace curlshare::testing {

// Draws `rows`, all as long as the first, which holds the headings. Cells but
// those of the first column are aligned to the right. Ends in a line break.
std::string DrawTable(std::vector<std::vector<std::string>> rows);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_TABLE_H_
