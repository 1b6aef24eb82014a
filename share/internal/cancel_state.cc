// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/cancel_state.h"

#include <atomic>

#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {

void CancelState::Cancel() {
  absl::MutexLock lock(&mu_);
  if (cancelled()) return;
  cancelled_.store(true, std::memory_order_release);
  // Before the listeners are told: a wait for the gate looks at the flag.
  for (ListNode* node = listeners_.next; node != &listeners_;
       node = node->next) {
    auto* const listener = static_cast<Listener*>(node);
    listener->OnCancel(listener->begun_);
  }
}

bool CancelState::Add(Listener& listener) {
  absl::MutexLock lock(&mu_);
  if (cancelled()) return false;
  listener.InsertBefore(&listeners_);
  return true;
}

bool CancelState::Begin(Listener& listener) {
  absl::MutexLock lock(&mu_);
  // Under the mutex: either this sees that the state is cancelled, or Cancel
  // sees `begun_`.
  listener.begun_ = true;
  return !cancelled();
}

void CancelState::Remove(Listener& listener) {
  absl::MutexLock lock(&mu_);
  listener.ListNode::Remove();
}

}  // namespace curlshare::internal
