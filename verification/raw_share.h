// SPDX-License-Identifier: Apache-2.0
// A share written by hand, as careful as libcurl lets one be: pthread mutexes,
// the right prototypes, every code looked at. The control that this library is
// held against; what goes wrong with it goes wrong inside libcurl.
#ifndef CURLSHARE_VERIFICATION_RAW_SHARE_H_
#define CURLSHARE_VERIFICATION_RAW_SHARE_H_

#include <curl/curl.h>
#include <pthread.h>

#include <array>
#include <memory>

#include "absl/status/statusor.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

// Must outlive every handle that is attached to it. Handles attach with
// CURLOPT_SHARE.
class RawShare {
 public:
  enum class Mutexes { kOnePerKind, kOneForAll };

  // Errors of ShareStatus.
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
