// SPDX-License-Identifier: Apache-2.0
// The cookies of a CURLSH as text that another process can take in: one line
// each, in the format that libcurl writes (Netscape's).
//
// libcurl takes any line and says nothing: what it cannot read it drops, and
// some of what it can becomes another cookie. So each line is read here first,
// and then given to a jar that nobody uses, to see what libcurl makes of it.
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

// The lines of `text` that hold cookies, those left out that have expired,
// ready for AddCookies. kInvalidArgument with the number of the first line that
// would not be taken for what it says; the message does not quote it, as that
// is a secret. kResourceExhausted without memory. May throw std::bad_alloc.
absl::StatusOr<std::vector<std::string>> ParseCookies(absl::string_view text);

// The cookies of `share`, which shares them, as text that ParseCookies takes.
// What that would refuse is written as what it means to RFC 6265, or left out.
// Reading is safe for concurrent use as far as a transfer on a handle in
// `share` is; so is adding. kResourceExhausted without memory. May throw
// std::bad_alloc.
absl::StatusOr<std::vector<std::string>> ReadCookies(CURLSH* share);
absl::StatusOr<std::string> FormatCookies(
    const std::vector<std::string>& cookies);

// Puts what ParseCookies returned into the jar of `share`; a cookie that is
// there already is replaced.
absl::Status AddCookies(CURLSH* share, const std::vector<std::string>& cookies);

// Empties the jar of `share`. False when out of memory. Throws nothing.
bool ForgetCookies(CURLSH* share);

// For a share that goes on with another CURLSH: its cookies as libcurl knows
// them, whether ParseCookies would take them or not.
//
// The lines of those that have not expired. Not among them are a cookie without
// a domain, which is not listed (libcurl makes one of a "Set-Cookie:" line in
// CURLOPT_COOKIELIST), and one with a tab in its name, which libcurl 7.88 takes
// from a server and not from a line.
absl::StatusOr<std::vector<std::string>> CopyCookies(CURLSH* share);

// The lines that make the jar `before` the jar `after`, if put in: of what was
// added or has changed, and, as expired long ago, of what was taken out. What
// has expired by itself is not among them.
std::vector<std::string> CookieChanges(const std::vector<std::string>& before,
                                       const std::vector<std::string>& after);

// Puts such lines into the jar of `share` and looks whether they are there.
// kResourceExhausted when out of memory, kUnimplemented where libcurl does not
// take one; some may then be in it.
absl::Status PutCookies(CURLSH* share, const std::vector<std::string>& lines);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_COOKIES_H_
