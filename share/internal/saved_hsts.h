// SPDX-License-Identifier: Apache-2.0
// The HSTS entries of a CURLSH: which hosts want HTTPS, and until when.
//
// libcurl has no call that lists them, nor one that adds to them. But it writes
// them all to the CURLOPT_HSTSWRITEFUNCTION of a handle in the share when that
// is cleaned up, and a transfer begins with reading what its
// CURLOPT_HSTSREADFUNCTION has to offer.
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

struct HstsEntry {
  std::string host;
  bool subdomains = false;
  std::string expires;  // "20261231 23:59:59", UTC; empty: never

  friend bool operator==(const HstsEntry& a, const HstsEntry& b) {
    return a.host == b.host && a.subdomains == b.subdomains &&
           a.expires == b.expires;
  }
};

// Those of `share`, which shares them. Safe for concurrent use as far as a
// transfer on a handle in `share` is: inside the gate. kResourceExhausted when
// out of memory.
absl::StatusOr<std::vector<HstsEntry>> ReadHsts(CURLSH* share);

// Adds to those of `share`. From libcurl 8.21 on an entry for a host that has
// one extends that; before, the one that was there counts until it expires.
// Otherwise as ReadHsts; some may then have been added.
absl::Status AddHsts(CURLSH* share, const std::vector<HstsEntry>& entries);

// What `after` has that `before` has not, or has otherwise. libcurl offers no
// way to take an entry out: one that is gone is not told of.
std::vector<HstsEntry> HstsChanges(const std::vector<HstsEntry>& before,
                                   const std::vector<HstsEntry>& after);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_HSTS_H_
