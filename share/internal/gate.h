// SPDX-License-Identifier: Apache-2.0
// The lock of a gated share: it lets one thread at a time call libcurl for that
// share's handles.
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

// Lets one thread at a time inside. A share has a gate for the kinds that
// libcurl's own locks do not make safe (lock_safety.cc).
//
// It is not an absl::Mutex for three reasons. A close must be able to give up
// at its deadline. A callback that runs inside may enter again. And no thread
// may starve: a thread that has waited for kPatience is handed the gate by the
// next thread that leaves. Before that, any thread may take a free gate, since
// handing it over costs a context switch each time. A patience of 1 ms, about
// one round of 64 threads against an instant server, gave half the rate of a
// patience of 5 ms.
//
// Two threads must not wait for each other. So a thread does not wait for a
// gate while it is inside another one or under a kind lock
// (ShareCore::EnterGate refuses), or while it holds a handle that others may
// wait for (HandleHolder enters the gate first). A transfer that returns to the
// gate after a poll does hold its handle, but nobody waits for a transfer.
//
// Thread-safe. What a thread did before Leave happens before what the next
// owner does after Enter.
class Gate {
 public:
  // How long a thread waits before the gate is handed to it.
  static constexpr absl::Duration kPatience = absl::Milliseconds(5);

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Makes the calling thread the owner; waits at most until `deadline`. Nests:
  // the owner gets in at once. With absl::InfinitePast() it never waits.
  //
  // False: the deadline has passed, or the wait was cancelled; `*cancelled`, if
  // not null, says which. A wait is cancelled by CancelWaits(who), or because
  // `stop`, if not null, is true when the wait begins. The thread that sets
  // `stop` calls CancelWaits(who) afterwards, so that neither order of the two
  // is missed.
  bool Enter(absl::Time deadline = absl::InfiniteFuture(),
             const void* who = nullptr, bool* cancelled = nullptr,
             const std::atomic<bool>* stop = nullptr) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the waits that were begun with `who`, which is not null; with `stop`
  // not null, only those that were also begun with that `stop`. True if there
  // was one.
  bool CancelWaits(const void* who, const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter. REQUIRES: the calling thread is the owner.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether the calling thread is inside. Exact without the mutex, since only
  // the thread itself can have stored its token.
  bool OwnedByThisThread() const {
    return owner_.load(std::memory_order_relaxed) == ThisThreadToken();
  }
  // How many times the owner has entered. REQUIRES: the calling thread is the
  // owner.
  int depth() const { return depth_; }

  // How often the gate was taken, and what the waits cost.
  KindLockStats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiter;

  std::atomic<ThreadToken> owner_{nullptr};
  int depth_ = 0;  // of the owner's Enters; the owner alone uses it

  mutable absl::Mutex mu_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  ListNode waiters_ ABSL_GUARDED_BY(mu_);  // by arrival
  KindLockStats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_GATE_H_
