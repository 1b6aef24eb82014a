// The cookies of a CURLSH.
//
// Source: https://curl.se/libcurl/c/CURLOPT_COOKIELIST.html
#ifndef CURLSHARE_SHARE_INTERNAL_COOKIE_JAR_H_
#define CURLSHARE_SHARE_INTERNAL_COOKIE_JAR_H_

#include <curl/curl.h>

namespace curlshare::internal {

// All of them. False when out of memory. Safe for concurrent use, as far as a
// transfer on a handle in `share` is.
bool ForgetCookies(CURLSH* share);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_COOKIE_JAR_H_
