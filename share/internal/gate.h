// SPDX-License-Identifier: Apache-2.0
// One thread at a time inside a gated share: what makes the kinds safe that
// libcurl's locks do not.
//
// Not an absl::Mutex, because a close must be able to give up at its deadline,
// because a callback that runs inside comes back in, and because no thread may
// starve: a thread that has waited for kPatience is handed the gate by the next
// one that leaves. Until then whoever comes first takes it, since to hand over
// every time costs a context switch each: with 64 threads and an instant server
// a patience of 1 ms, which is about one round of all, halved the rate of 5 ms.
#ifndef CURLSHARE_SHARE_INTERNAL_GATE_H_
#define CURLSHARE_SHARE_INTERNAL_GATE_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"

namespace curlshare::internal {

// Safe for concurrent use.
class Gate {
 public:
  static constexpr absl::Duration kPatience = absl::Milliseconds(5);

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Makes the calling thread the owner, waiting until `deadline` for its turn:
  // false if that passes, or if somebody calls CancelWaits(who) meanwhile,
  // which of the two is told in `cancelled`. Nests. Nor does it wait where
  // `stop`, if not null, is true; who makes it so then calls CancelWaits(who).
  bool Enter(absl::Time deadline = absl::InfiniteFuture(),
             const void* who = nullptr, bool* cancelled = nullptr,
             const std::atomic<bool>* stop = nullptr) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the waits for `who`, not null; true if there was one.
  // `stop`, if not null: those with that one alone.
  bool CancelWaits(const void* who, const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter. REQUIRES: the calling thread is the owner.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  // Only the thread itself can have stored its own token.
  bool OwnedByThisThread() const {
    return owner_.load(std::memory_order_relaxed) == ThisThreadToken();
  }
  // How often the owner has entered. REQUIRES: the calling thread is the owner.
  int depth() const { return depth_; }

  KindLockStats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiter;

  std::atomic<ThreadToken> owner_{nullptr};
  int depth_ = 0;  // the owner's

  mutable absl::Mutex mu_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  ListNode waiters_ ABSL_GUARDED_BY(mu_);  // by arrival
  KindLockStats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_GATE_H_
