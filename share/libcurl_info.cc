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

// What the first successful curl_global_init has found. Immutable once it is in
// `running`, so that all threads may read it.
struct Libcurl {
  absl::Status status;
  LibcurlInfo info;
};

// Set once libcurl is initialised. Never freed, and curl_global_cleanup is
// never called: handles may still be in use while static objects are destroyed.
std::atomic<const Libcurl*> running{nullptr};

// Only one thread at a time may be in here, and only until it has succeeded.
// curl_global_init is not thread-safe on every platform (its man page), and
// curl_version_info() writes to static buffers each time it is called
// (lib/version.c): two threads in it race. So both are called here alone, and
// the answer is kept.
absl::Status Init() {
  // Before anything can transfer: a forked child must be able to tell what
  // transferred in its parent.
  if (!internal::CountForks()) {
    return internal::Error(absl::StatusCode::kResourceExhausted,
                           "pthread_atfork: out of memory");
  }
  // If a later step throws, the next call initialises libcurl again. That only
  // raises libcurl's count, which is never lowered anyway.
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
  // Kept rather than tried again: another libcurl cannot take its place in this
  // process. RunningLibcurl() still tells which one it is.
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
  // Not absl::call_once: a failure must be tried again. Never destroyed, since
  // the destructor of a static object may be the first to use this library.
  static absl::NoDestructor<absl::Mutex> mu;
  absl::MutexLock lock(mu.get());
  libcurl = running.load(std::memory_order_acquire);
  if (libcurl != nullptr) return libcurl->status;
  return internal::NoThrow("InitLibcurl", &Init);
}

const LibcurlInfo& RunningLibcurl() {
  static const absl::NoDestructor<LibcurlInfo> none;
  // The caller sees a failure as an empty answer.
  InitLibcurl().IgnoreError();
  const Libcurl* libcurl = running.load(std::memory_order_acquire);
  return libcurl == nullptr ? *none : libcurl->info;
}

}  // namespace curlshare
