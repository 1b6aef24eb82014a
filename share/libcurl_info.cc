#include "curlshare/share/libcurl_info.h"

#include <curl/curl.h>

#include "absl/base/no_destructor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "curlshare/share/curl_status.h"

namespace curlshare {
namespace {

struct Libcurl {
  absl::Status status;
  LibcurlInfo info;
};

Libcurl Init() {
  Libcurl libcurl;
  const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) {
    libcurl.status = EasyStatus(code, "curl_global_init");
    return libcurl;
  }
  const curl_version_info_data* data = curl_version_info(CURLVERSION_NOW);
  libcurl.info.version = data->version;
  libcurl.info.version_num = data->version_num;
  if (data->ssl_version != nullptr)
    libcurl.info.ssl_version = data->ssl_version;
  if (data->version_num < LibcurlVersion(7, 88, 0)) {
    libcurl.status = absl::UnimplementedError(
        absl::StrCat("libcurl ", data->version,
                     " is running; curl_share needs 7.88.0 or newer"));
  }
  return libcurl;
}

// Never destroyed, and curl_global_cleanup is never called: handles may still
// be in use while static objects are destroyed.
const Libcurl& Get() {
  static const absl::NoDestructor<Libcurl> libcurl(Init());
  return *libcurl;
}

}  // namespace

absl::Status InitLibcurl() { return Get().status; }

const LibcurlInfo& RunningLibcurl() { return Get().info; }

}  // namespace curlshare
