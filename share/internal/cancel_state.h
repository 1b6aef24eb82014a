// SPDX-License-Identifier: Apache-2.0
// What the copies of a CancelToken have in common: whether it is cancelled, and
// the transfers that are to be told.
#ifndef CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_
#define CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare::internal {

// Safe for concurrent use.
class CancelState : public RefCounted {
 public:
  // One transfer. It is told at most once, between Add and Remove.
  class Listener : private ListNode {
   public:
    // `begun`: after Begin. Holds the state's mutex: calls nothing of the
    // user's and nothing of the state's.
    virtual void OnCancel(bool begun) = 0;

   protected:
    virtual ~Listener() = default;

   private:
    friend class CancelState;
    bool begun_ = false;
  };

  CancelState() = default;

  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // For who waits meanwhile; it is set before a listener is told.
  const std::atomic<bool>& flag() const { return cancelled_; }

  // False, without effect, where it is cancelled.
  bool Add(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether it may begin: false where it is cancelled.
  bool Begin(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);
  // Once it returns, the listener is told nothing any more: it waits for a
  // Cancel under way.
  void Remove(Listener& listener) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Mutex mu_;
  std::atomic<bool> cancelled_{false};  // set under `mu_`
  ListNode listeners_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CANCEL_STATE_H_
