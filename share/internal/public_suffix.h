// SPDX-License-Identifier: Apache-2.0
// Asks libcurl whether hosts may set a cookie for a whole domain, or whether
// the domain is a public suffix ("co.uk"), for which no cookie must be set.
//
// Source: https://curl.se/libcurl/c/CURLOPT_SOCKOPTFUNCTION.html,
//         https://www.rfc-editor.org/rfc/rfc6265#section-5.3
#ifndef CURLSHARE_SHARE_INTERNAL_PUBLIC_SUFFIX_H_
#define CURLSHARE_SHARE_INTERNAL_PUBLIC_SUFFIX_H_

#include <curl/curl.h>

#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace curlshare::internal {

// Asks libcurl about public suffixes, and remembers the answers.
//
// libcurl looks into its Public Suffix List when a server sets a cookie, but
// not for a line of CURLOPT_COOKIELIST. So this class plays a server that sets
// a cookie: it is the other end of a pair of sockets, and its answer is there
// before libcurl asks. Nothing leaves the process, and the list is the one that
// libcurl was built with. A libcurl without a list refuses names without a dot.
//
// Thread-compatible.
class PublicSuffixes {
 public:
  PublicSuffixes() = default;
  PublicSuffixes(const PublicSuffixes&) = delete;
  PublicSuffixes& operator=(const PublicSuffixes&) = delete;

  // Whether a host below `domain`, a name without a leading dot, may set a
  // cookie for all hosts below it. Also false if `domain` is not a name of a
  // host. kResourceExhausted: no memory or sockets. kInternal: libcurl does not
  // answer. May throw std::bad_alloc.
  absl::StatusOr<bool> MayHaveCookies(absl::string_view domain);

 private:
  // The same, without looking at `known_`.
  absl::StatusOr<bool> Ask(const std::string& domain);

  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{nullptr,
                                                            &curl_easy_cleanup};
  std::unordered_map<std::string, bool> known_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_PUBLIC_SUFFIX_H_
