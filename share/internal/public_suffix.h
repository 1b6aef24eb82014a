// SPDX-License-Identifier: Apache-2.0
// Asks libcurl whether a cookie may go to all hosts of a domain, or whether
// that is a public suffix ("co.uk"), where nobody's cookies belong.
//
// libcurl looks into the Public Suffix List when a server sets a cookie, but
// not when CURLOPT_COOKIELIST does. So this is a server that sets one: the
// other end of a pair of sockets, from which libcurl reads an answer that is
// there before it asks. Nothing leaves the process, and whichever list libcurl
// was built with, it decides. One built without any refuses names without a
// dot.
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

// Thread-compatible. Remembers what it has been told.
class PublicSuffixes {
 public:
  PublicSuffixes() = default;
  PublicSuffixes(const PublicSuffixes&) = delete;
  PublicSuffixes& operator=(const PublicSuffixes&) = delete;

  // Whether a host below `domain`, a name without the dot in front, may set a
  // cookie for all of them. Also false for what is no name of a host.
  // kResourceExhausted without memory or sockets; kInternal where libcurl does
  // not answer. May throw std::bad_alloc.
  absl::StatusOr<bool> MayHaveCookies(absl::string_view domain);

 private:
  absl::StatusOr<bool> Ask(const std::string& domain);

  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{nullptr,
                                                            &curl_easy_cleanup};
  std::unordered_map<std::string, bool> known_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_PUBLIC_SUFFIX_H_
