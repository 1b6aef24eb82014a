// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/gate.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"

namespace curlshare::internal {

// Invariants (under `mu_`, unless said otherwise):
//  - `held_` says whether the gate has an owner, or is about to have one: a
//    thread to which it was handed over, which has not woken yet.
//  - `owner_` and `depth_` are written by the owner alone, outside `mu_`.
//    `owner_` is cleared before `held_` is, and set after it.
//  - A waiter is on `waiters_` from the moment at which it begins to wait, so
//    that CancelWaits finds it, until it gets the gate or gives up.
//  - Leave wakes the first waiter even if it does not hand the gate over. If
//    another thread is faster, that thread's Leave wakes the waiter again.

using Clock = std::chrono::steady_clock;

// A thread that waits, on its stack.
struct Gate::Waiter : ListNode {
  Waiter(const void* waits_for, const std::atomic<bool>* stops)
      : who(waits_for), stop(stops) {}
  const void* const who;
  const std::atomic<bool>* const stop;
  bool cancelled = false;
  const Clock::time_point since = Clock::now();
  bool handed_over = false;
  absl::CondVar woken;
};

bool Gate::Enter(absl::Time deadline, const void* who, bool* cancelled,
                 const std::atomic<bool>* stop) {
  bool was_cancelled = false;
  if (OwnedByThisThread()) {
    ++depth_;
    return true;
  }
  {
    absl::MutexLock lock(&mu_);
    if (held_) {
      if (deadline == absl::InfinitePast()) return false;
      Waiter self(who, stop);
      self.InsertBefore(&waiters_);
      bool expired = false;
      // From here on CancelWaits finds this waiter. A `stop` that was set
      // before is seen now.
      if (stop != nullptr && stop->load(std::memory_order_acquire)) {
        self.cancelled = true;
      }
      while (held_ && !self.handed_over) {
        if (expired || self.cancelled) {
          self.Remove();
          if (cancelled != nullptr) *cancelled = self.cancelled;
          return false;
        }
        expired = self.woken.WaitWithDeadline(&mu_, deadline);
      }
      self.Remove();
      was_cancelled = self.cancelled;
      const absl::Duration waited = absl::FromChrono(Clock::now() - self.since);
      ++stats_.contended;
      stats_.total_wait += waited;
      stats_.longest_wait = std::max(stats_.longest_wait, waited);
    }
    held_ = true;
    ++stats_.taken;
  }
  owner_.store(ThisThreadToken(), std::memory_order_relaxed);
  depth_ = 1;
  ++GetThisThread().gates_held;
  if (!was_cancelled) return true;
  // The gate came free in the same moment. Leave again, which also wakes the
  // next waiter.
  Leave();
  if (cancelled != nullptr) *cancelled = true;
  return false;
}

void Gate::Leave() {
  if (--depth_ > 0) return;
  --GetThisThread().gates_held;
  owner_.store(nullptr, std::memory_order_relaxed);
  absl::MutexLock lock(&mu_);
  held_ = false;
  if (waiters_.empty()) return;
  auto* first = static_cast<Waiter*>(waiters_.next);
  if (absl::FromChrono(Clock::now() - first->since) > kPatience) {
    // `held_` stays true: no other thread gets in before this waiter.
    first->handed_over = true;
    first->Remove();
    held_ = true;
  }
  first->woken.Signal();
}

bool Gate::CancelWaits(const void* who, const std::atomic<bool>* stop) {
  absl::MutexLock lock(&mu_);
  bool found = false;
  for (ListNode* node = waiters_.next; node != &waiters_; node = node->next) {
    auto* const waiter = static_cast<Waiter*>(node);
    if (waiter->who != who || (stop != nullptr && waiter->stop != stop)) {
      continue;
    }
    found = true;
    waiter->cancelled = true;
    waiter->woken.Signal();
  }
  return found;
}

KindLockStats Gate::stats() const {
  absl::MutexLock lock(&mu_);
  return stats_;
}

}  // namespace curlshare::internal
