// SPDX-License-Identifier: Apache-2.0
// The cookies of a CURLSH as text that another process can read: one cookie per
// line, in the format that libcurl writes (Netscape's).
//
// libcurl accepts any line and reports no error: it drops what it cannot read,
// and may take a line for another cookie than it says. So each line is parsed
// here first, and then given to a jar that nobody uses, to see what libcurl
// makes of it.
//
// Source: https://curl.se/libcurl/c/CURLOPT_COOKIELIST.html,
//         https://curl.se/docs/http-cookies.html
#ifndef CURLSHARE_SHARE_INTERNAL_SAVED_COOKIES_H_
#define CURLSHARE_SHARE_INTERNAL_SAVED_COOKIES_H_

#include <curl/curl.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace curlshare::internal {

// Returns the lines of `text` that hold cookies, ready for AddCookies; those
// that have expired are left out. Thread-safe.
//
// kInvalidArgument: libcurl would not take a line for what it says. The message
// has the number of the first such line, counted from 1, but does not quote it,
// since a cookie is a secret. kResourceExhausted: no memory. May throw
// std::bad_alloc.
absl::StatusOr<std::vector<std::string>> ParseCookies(absl::string_view text);

// ReadCookies returns the cookies of `share` as libcurl lists them, and
// FormatCookies makes text of them that ParseCookies accepts. A cookie that
// ParseCookies would refuse is written as what it means by RFC 6265, or left
// out.
//
// REQUIRES: `share` shares cookies. May be called on any thread on which a
// transfer on a handle in `share` may run now (inside the gate, if there is
// one); so may the functions below that take a `share`. kResourceExhausted: no
// memory. May throw std::bad_alloc.
absl::StatusOr<std::vector<std::string>> ReadCookies(CURLSH* share);
absl::StatusOr<std::string> FormatCookies(
    const std::vector<std::string>& cookies);

// Puts what ParseCookies has returned into the jar of `share`. Replaces a
// cookie that is there already.
absl::Status AddCookies(CURLSH* share, const std::vector<std::string>& cookies);

// Empties the jar of `share`. False: out of memory. Throws nothing.
bool ForgetCookies(CURLSH* share);

// The following three are for a share that goes on with another CURLSH. They
// take its cookies as libcurl knows them, whether ParseCookies would accept
// them or not.
//
// Returns the lines of the cookies that have not expired. Two kinds are
// missing. A cookie without a domain is not listed by libcurl, which makes one
// of a "Set-Cookie:" line for CURLOPT_COOKIELIST. And a cookie with a tab in
// its name cannot be put back: libcurl 7.88 takes one from a server, but not
// from a line.
absl::StatusOr<std::vector<std::string>> CopyCookies(CURLSH* share);

// Returns the lines that turn the jar `before` into the jar `after` when they
// are put in: what was added or has changed, and what was taken out, with an
// expiry that is long past. What has expired by itself is not among them.
std::vector<std::string> CookieChanges(const std::vector<std::string>& before,
                                       const std::vector<std::string>& after);

// Puts lines of CopyCookies or CookieChanges into the jar of `share`, and
// checks that they are there. kResourceExhausted: out of memory.
// kUnimplemented: libcurl does not take one of them. Some may be in the jar in
// both cases.
absl::Status PutCookies(CURLSH* share, const std::vector<std::string>& lines);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_COOKIES_H_
