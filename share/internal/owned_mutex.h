// SPDX-License-Identifier: Apache-2.0
// A mutex that knows which thread holds it.
//
// KindLocks has to know that, to tell an unlock of the holder's from one that
// libcurl gets wrong. So the word that says who holds it is the lock, which
// leaves one atomic operation to lock and one to unlock, both inline: with the
// statistics of KindLocks 0.7 times what a pthread_mutex_t takes
// (//benchmarks:lock_benchmark), where an absl::Mutex and the same took 1.15.
#ifndef CURLSHARE_SHARE_INTERNAL_OWNED_MUTEX_H_
#define CURLSHARE_SHARE_INTERNAL_OWNED_MUTEX_H_

#include <atomic>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/this_thread.h"

namespace curlshare::internal {

// Safe for concurrent use. Exclusive, not recursive. What a thread did before
// Unlock happens before what the next holder does.
class ABSL_LOCKABLE OwnedMutex {
 public:
  OwnedMutex() = default;
  OwnedMutex(const OwnedMutex&) = delete;
  OwnedMutex& operator=(const OwnedMutex&) = delete;

  // Without waiting; true if the calling thread holds it now.
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    uintptr_t state = kFree;
    return state_.compare_exchange_strong(
        state, Mine(), std::memory_order_acquire, std::memory_order_relaxed);
  }
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (ABSL_PREDICT_FALSE(!TryLock())) LockSlowly();
  }
  // REQUIRES: HeldByThisThread().
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    const uintptr_t state = state_.exchange(kFree, std::memory_order_release);
    if (ABSL_PREDICT_FALSE((state & kWaited) != 0)) WakeOne();
  }
  // Only the calling thread itself can have stored what this looks for, so that
  // the answer is true whatever others do meanwhile.
  bool HeldByThisThread() const {
    return (state_.load(std::memory_order_relaxed) & ~kWaited) == Mine();
  }
  // Whether a thread waits, or did so since the last Unlock. For tests.
  bool MayHaveWaiters() const {
    return (state_.load(std::memory_order_relaxed) & kWaited) != 0;
  }

 private:
  // The holder's ThreadToken, and in its lowest bit, which is free since the
  // token is an address, whether somebody may be waiting.
  static constexpr uintptr_t kFree = 0;
  static constexpr uintptr_t kWaited = 1;
  static_assert(alignof(ThisThread) > kWaited);

  static uintptr_t Mine() {
    return reinterpret_cast<uintptr_t>(ThisThreadToken());
  }
  ABSL_ATTRIBUTE_NOINLINE void LockSlowly() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  // For the analysis, which does not know what `state_` means.
  void Locked() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}
  ABSL_ATTRIBUTE_NOINLINE void WakeOne();

  std::atomic<uintptr_t> state_{kFree};
  absl::Mutex waiting_mu_;  // held between setting kWaited and waiting
  absl::CondVar waiting_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_OWNED_MUTEX_H_
