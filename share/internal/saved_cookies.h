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

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_COOKIES_H_
