// SPDX-License-Identifier: Apache-2.0
// Takes entries out of the DNS cache of a CURLSH. libcurl lets only a handle in
// the share do that.
//
// Source: https://curl.se/libcurl/c/CURLOPT_RESOLVE.html ("-HOST:PORT"),
//         https://curl.se/libcurl/c/CURLOPT_DNS_CACHE_TIMEOUT.html
#ifndef CURLSHARE_SHARE_INTERNAL_DNS_CACHE_H_
#define CURLSHARE_SHARE_INTERNAL_DNS_CACHE_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace curlshare::internal {

// Where a URL leads. A plain value: thread-compatible.
struct HostPort {
  std::string host;  // without brackets
  int port = 0;      // the default of the scheme if the URL has none
};

// The host and port of `url`. kInvalidArgument: to libcurl it is no URL, or it
// has no host. kResourceExhausted: out of memory. Thread-safe.
absl::StatusOr<HostPort> HostPortOf(const char* url);

// Forgets what the cache of `share` has for `host` (a name or an address,
// without brackets) with that port, if anything; also that the name does not
// exist. False: out of memory. REQUIRES, here and for ForgetAllNames: `share`
// shares DNS answers; what a transfer on a handle in `share` requires (the
// gate).
bool ForgetName(CURLSH* share, const std::string& host, int port);
// Forgets all answers, except the addresses of CURLOPT_RESOLVE. Works only if
// libcurl was built with the FILE protocol: CanForgetAllNames(). False: out of
// memory.
bool ForgetAllNames(CURLSH* share);
bool CanForgetAllNames();

// When names were forgotten: so that a name that keeps failing is forgotten,
// and looked up anew, at most once a second. Thread-safe.
class ForgottenNames {
 public:
  // Whether `name` may be forgotten now. If so, notes that it is. False also
  // when out of memory.
  bool Note(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // With more names than this in it, all are dropped, so that it does not grow.
  // Some may then be forgotten more often than once a second.
  static constexpr size_t kMost = 1000;

  absl::Mutex mu_;
  // When each was forgotten, in nanoseconds of CoarseNow().
  std::unordered_map<std::string, int64_t> forgotten_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_DNS_CACHE_H_
