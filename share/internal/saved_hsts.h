// SPDX-License-Identifier: Apache-2.0
// The HSTS entries of a CURLSH (RFC 6797): which hosts want HTTPS, and until
// when.
//
// libcurl has no call that lists them, and none that adds to them. But when a
// handle in the share is cleaned up, libcurl writes all of them to its
// CURLOPT_HSTSWRITEFUNCTION (Curl_hsts_save in lib/hsts.c). And each transfer
// begins with reading what the handle's CURLOPT_HSTSREADFUNCTION offers
// (Curl_hsts_loadcb).
//
// Source: https://curl.se/libcurl/c/CURLOPT_HSTSWRITEFUNCTION.html,
//         https://curl.se/libcurl/c/CURLOPT_HSTSREADFUNCTION.html
#ifndef CURLSHARE_SHARE_INTERNAL_SAVED_HSTS_H_
#define CURLSHARE_SHARE_INTERNAL_SAVED_HSTS_H_

#include <curl/curl.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace curlshare::internal {

// One entry. A plain value: thread-compatible.
struct HstsEntry {
  std::string host;
  bool subdomains = false;
  std::string expires;  // "20261231 23:59:59" in UTC; empty: never

  friend bool operator==(const HstsEntry& a, const HstsEntry& b) {
    return a.host == b.host && a.subdomains == b.subdomains &&
           a.expires == b.expires;
  }
};

// Returns the entries of `share`. REQUIRES: `share` shares HSTS entries; the
// caller is inside the gate, as for a transfer on a handle in `share`.
// kResourceExhausted: out of memory.
absl::StatusOr<std::vector<HstsEntry>> ReadHsts(CURLSH* share);

// Adds `entries` to those of `share`. If the host has an entry already: from
// libcurl 8.21 on, the new one extends it; before, the old one counts until it
// expires. REQUIRES, and errors: as for ReadHsts; after an error some entries
// may have been added.
absl::Status AddHsts(CURLSH* share, const std::vector<HstsEntry>& entries);

// Returns the entries of `after` that are not in `before`, or are different
// there. Entries that are only in `before` are not reported, as libcurl has no
// way to take one out.
std::vector<HstsEntry> HstsChanges(const std::vector<HstsEntry>& before,
                                   const std::vector<HstsEntry>& after);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_HSTS_H_
