#include "curlshare/share/internal/cookie_jar.h"

#include <curl/curl.h>

#include "curlshare/share/internal/visiting_handle.h"

namespace curlshare::internal {

bool ForgetCookies(CURLSH* share) {
  const VisitingHandle handle(share);
  return handle.get() != nullptr &&
         curl_easy_setopt(handle.get(), CURLOPT_COOKIELIST, "ALL") == CURLE_OK;
}

}  // namespace curlshare::internal
