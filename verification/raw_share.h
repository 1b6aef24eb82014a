// SPDX-License-Identifier: Apache-2.0
// A share made directly with libcurl's API, as carefully as the API allows:
// pthread mutexes, callbacks with the right prototypes, every error checked.
// Tests compare this library with it. What goes wrong with such a share goes
// wrong inside libcurl.
#ifndef CURLSHARE_VERIFICATION_RAW_SHARE_H_
#define CURLSHARE_VERIFICATION_RAW_SHARE_H_

#include <curl/curl.h>
#include <pthread.h>

#include <array>
#include <memory>

#include "absl/status/statusor.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

// A CURLSH and its mutexes. Handles are attached with CURLOPT_SHARE, and must
// be detached before it is destroyed. get() is safe to call from any thread;
// whether concurrent transfers are safe is up to libcurl.
class RawShare {
 public:
  // kOneForAll: one mutex for all kinds of data. libcurl deadlocks then, since
  // it takes locks of different kinds inside one another.
  enum class Mutexes { kOnePerKind, kOneForAll };

  // Returns a share of `kinds`. Errors: those of InitLibcurl and ShareStatus.
  static absl::StatusOr<std::unique_ptr<RawShare>> Create(LockDataSet kinds,
                                                          Mutexes mutexes);
  RawShare(const RawShare&) = delete;
  RawShare& operator=(const RawShare&) = delete;
  ~RawShare();

  CURLSH* get() const { return share_; }

 private:
  explicit RawShare(Mutexes mutexes);

  static void Lock(CURL* handle, curl_lock_data kind, curl_lock_access access,
                   void* self) noexcept;
  static void Unlock(CURL* handle, curl_lock_data kind, void* self) noexcept;
  pthread_mutex_t& MutexOf(curl_lock_data kind) {
    return mutexes_[one_for_all_ ? 0 : kind];
  }

  const bool one_for_all_;
  std::array<pthread_mutex_t, 16> mutexes_;
  CURLSH* share_ = nullptr;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_RAW_SHARE_H_
