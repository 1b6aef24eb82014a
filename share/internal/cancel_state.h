// SPDX-License-Identifier: Apache-2.0
// The state that all copies of a CancelToken share.
#ifndef CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_
#define CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare::internal {

// Whether a CancelToken is cancelled, and the transfers that are to be told. A
// transfer calls Add before it enters its handle, Begin once it is the handle's
// holder, and Remove before it leaves.
//
// Thread-safe. Reference-counted (RefPtr): each copy of the token has a
// reference, and each transfer with it.
class CancelState : public RefCounted {
 public:
  // One transfer. Owned by that transfer, on its stack. It is told at most
  // once, between Add and Remove.
  class Listener : private ListNode {
   public:
    // Called by Cancel. `begun`: whether Begin was called. The state's mutex is
    // held: this must call nothing of the user's, and nothing of the state's.
    virtual void OnCancel(bool begun) = 0;

   protected:
    virtual ~Listener() = default;

   private:
    friend class CancelState;
    bool begun_ = false;
  };

  CancelState() = default;

  // Tells all transfers with the token to end. Only the first call has an
  // effect.
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // The flag itself, for a thread that waits. It is set before the listeners
  // are told.
  const std::atomic<bool>& flag() const { return cancelled_; }

  // Enters `listener`. False, without effect, if the state is cancelled
  // already.
  bool Add(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);
  // Notes that the transfer begins. False if the state is cancelled.
  bool Begin(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes `listener` out. Waits for a Cancel under way: afterwards the listener
  // is not told any more.
  void Remove(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Mutex mu_;
  std::atomic<bool> cancelled_{false};  // set under `mu_`
  ListNode listeners_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_
