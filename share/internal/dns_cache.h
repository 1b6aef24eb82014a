// SPDX-License-Identifier: Apache-2.0
// Takes answers out of the DNS cache of a CURLSH: libcurl offers that to a
// handle in the share alone.
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

// Where a URL leads.
struct HostPort {
  std::string host;  // without brackets
  int port = 0;      // the scheme's, where the URL has none
};

// kInvalidArgument for what is no URL to libcurl, or one without a host;
// kResourceExhausted when out of memory.
absl::StatusOr<HostPort> HostPortOf(const char* url);

// What libcurl knows of `host` (a name, no brackets) with that port, if
// anything: also that it does not exist. False when out of memory. Both are
// safe for concurrent use, as far as a transfer on a handle in `share` is.
bool ForgetName(CURLSH* share, const std::string& host, int port);
// All answers but those of CURLOPT_RESOLVE. Does nothing where libcurl was
// built without FILE.
bool ForgetAllNames(CURLSH* share);
bool CanForgetAllNames();

// How often names that keep failing are forgotten, and so looked up anew: at
// most once a second each. Safe for concurrent use.
class ForgottenNames {
 public:
  // Whether `name` may be forgotten now, which is then noted. False when out of
  // memory.
  bool Note(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // More names than this do not fail in a second, or it does not matter.
  static constexpr size_t kMost = 1000;

  absl::Mutex mu_;
  std::unordered_map<std::string, int64_t> forgotten_
      ABSL_GUARDED_BY(mu_);  // when, by CoarseNow()
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_DNS_CACHE_H_
