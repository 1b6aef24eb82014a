// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/owned_mutex.h"

#include <atomic>
#include <cstdint>

#include "absl/synchronization/mutex.h"

namespace curlshare::internal {
namespace {

// About as long as a thread needs to leave one of libcurl's short critical
// sections.
constexpr int kSpins = 100;

}  // namespace

void OwnedMutex::LockSlowly() {
  for (int i = 0; i < kSpins; ++i) {
    if (state_.load(std::memory_order_relaxed) == kFree && TryLock()) return;
  }
  absl::MutexLock lock(&waiting_mu_);
  uintptr_t state = state_.load(std::memory_order_relaxed);
  while (true) {
    if (state == kFree) {
      // Others may be waiting still: whoever comes from here wakes the next.
      if (state_.compare_exchange_weak(state, Mine() | kWaited,
                                       std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return Locked();
      }
    } else if ((state & kWaited) != 0 ||
               state_.compare_exchange_weak(state, state | kWaited,
                                            std::memory_order_relaxed)) {
      // The holder sees kWaited when it unlocks, and then needs `waiting_mu_`
      // to signal: that cannot happen before this thread waits.
      waiting_.Wait(&waiting_mu_);
      state = state_.load(std::memory_order_relaxed);
    }
  }
}

void OwnedMutex::WakeOne() {
  absl::MutexLock lock(&waiting_mu_);
  waiting_.Signal();
}

}  // namespace curlshare::internal
