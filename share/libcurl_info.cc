// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/libcurl_info.h"

#include <curl/curl.h>

#include <atomic>
#include <memory>

#include "absl/base/no_destructor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/fork_count.h"

namespace curlshare {
namespace {

struct Libcurl {
  absl::Status status;
  LibcurlInfo info;
};

// Set once libcurl is initialised. Never destroyed, and curl_global_cleanup is
// never called: handles may still be in use while static objects are destroyed.
std::atomic<const Libcurl*> running{nullptr};

absl::Status Init() {
  // Before anything can transfer.
  if (!internal::CountForks()) {
    return internal::Error(absl::StatusCode::kResourceExhausted,
                           "pthread_atfork: out of memory");
  }
  const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) return EasyStatus(code, "curl_global_init");
  auto libcurl = std::make_unique<Libcurl>();
  const curl_version_info_data* data = curl_version_info(CURLVERSION_NOW);
  libcurl->info.version = data->version;
  libcurl->info.version_num = data->version_num;
  if (data->ssl_version != nullptr) {
    libcurl->info.ssl_version = data->ssl_version;
  }
  for (const char* const* protocol = data->protocols; *protocol != nullptr;
       ++protocol) {
    if (absl::string_view(*protocol) == "file") libcurl->info.has_file = true;
  }
  if (data->version_num < LibcurlVersion(7, 88, 0)) {
    libcurl->status = absl::UnimplementedError(
        absl::StrCat("libcurl ", data->version,
                     " is running; curl_share needs 7.88.0 or newer"));
  }
  absl::Status status = libcurl->status;
  running.store(libcurl.release(), std::memory_order_release);
  return status;
}

}  // namespace

absl::Status InitLibcurl() {
  const Libcurl* libcurl = running.load(std::memory_order_acquire);
  if (libcurl != nullptr) return libcurl->status;
  static absl::NoDestructor<absl::Mutex> mu;
  absl::MutexLock lock(mu.get());
  libcurl = running.load(std::memory_order_acquire);
  if (libcurl != nullptr) return libcurl->status;
  return internal::NoThrow("InitLibcurl", &Init);
}

const LibcurlInfo& RunningLibcurl() {
  static const absl::NoDestructor<LibcurlInfo> none;
  // A failure shows as an empty answer.
  InitLibcurl().IgnoreError();
  const Libcurl* libcurl = running.load(std::memory_order_acquire);
  return libcurl == nullptr ? *none : libcurl->info;
}

}  // namespace curlshare
