// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/raw_share.h"

#include <curl/curl.h>
#include <pthread.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

RawShare::RawShare(Mutexes mutexes)
    : one_for_all_(mutexes == Mutexes::kOneForAll) {
  for (pthread_mutex_t& mutex : mutexes_) pthread_mutex_init(&mutex, nullptr);
}

RawShare::~RawShare() {
  // In use: then the mutexes are, too, and everything must stay.
  if (share_ != nullptr && curl_share_cleanup(share_) != CURLSHE_OK) return;
  for (pthread_mutex_t& mutex : mutexes_) pthread_mutex_destroy(&mutex);
}

void RawShare::Lock(CURL* /*handle*/, curl_lock_data kind,
                    curl_lock_access /*access*/, void* self) noexcept {
  pthread_mutex_lock(&static_cast<RawShare*>(self)->MutexOf(kind));
}

void RawShare::Unlock(CURL* /*handle*/, curl_lock_data kind,
                      void* self) noexcept {
  pthread_mutex_unlock(&static_cast<RawShare*>(self)->MutexOf(kind));
}

absl::StatusOr<std::unique_ptr<RawShare>> RawShare::Create(LockDataSet kinds,
                                                           Mutexes mutexes) {
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  std::unique_ptr<RawShare> raw(new RawShare(mutexes));
  raw->share_ = curl_share_init();
  if (raw->share_ == nullptr) {
    return ShareStatus(CURLSHE_NOMEM, "curl_share_init");
  }
  const curl_lock_function lock = &Lock;
  const curl_unlock_function unlock = &Unlock;
  CURLSHcode code = curl_share_setopt(raw->share_, CURLSHOPT_LOCKFUNC, lock);
  if (code == CURLSHE_OK) {
    code = curl_share_setopt(raw->share_, CURLSHOPT_UNLOCKFUNC, unlock);
  }
  if (code == CURLSHE_OK) {
    code = curl_share_setopt(raw->share_, CURLSHOPT_USERDATA, raw.get());
  }
  for (LockData kind : kinds) {
    if (code != CURLSHE_OK) break;
    code =
        curl_share_setopt(raw->share_, CURLSHOPT_SHARE, static_cast<int>(kind));
  }
  if (code != CURLSHE_OK) return ShareStatus(code, "curl_share_setopt");
  return raw;
}

}  // namespace curlshare::testing
