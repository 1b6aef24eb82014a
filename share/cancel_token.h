// SPDX-License-Identifier: Apache-2.0
// Ends transfers, whenever they are: before they begin, while they wait, and
// under way.
//
//   CancelToken token;
//   std::thread worker([&easy, token] {
//     absl::StatusOr<Response> r = easy.Fetch("https://example.com/", token);
//     if (absl::IsCancelled(r.status())) return;
//     ...
//   });
//   token.Cancel();  // the Fetch returns kCancelled, begun or not
//
// Easy::Cancel and Attachment::Cancel end what is under way just then: one that
// comes too early misses the transfer, and one that comes too late hits the
// next. A token goes with its transfers alone.
#ifndef CURLSHARE_SHARE_CANCEL_TOKEN_H_
#define CURLSHARE_SHARE_CANCEL_TOKEN_H_

#include <new>

#include "curlshare/share/internal/cancel_state.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare {

namespace internal {
class Handle;
}  // namespace internal

// A copy is the same token. Safe for concurrent use, but for its assignment and
// destruction; a transfer needs it only for the call that starts it. For any
// number of transfers, at once or one after the other.
class CancelToken {
 public:
  // Not cancelled. Without memory, transfers with it return kResourceExhausted.
  CancelToken() : state_(new (std::nothrow) internal::CancelState()) {}
  CancelToken(const CancelToken&) = default;
  CancelToken& operator=(const CancelToken&) = default;

  // For good: ends the transfers under way with this token, promptly, with
  // kCancelled, and has later ones return it at once. Neither has an effect on
  // one that has ended. May be called in callbacks, those of the transfer's own
  // included. Waits for nothing but mutexes that are held for a moment.
  void Cancel() {
    if (state_ != nullptr) state_->Cancel();
  }
  bool cancelled() const { return state_ != nullptr && state_->cancelled(); }

 private:
  friend class internal::Handle;

  internal::RefPtr<internal::CancelState> state_;  // null without memory
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CANCEL_TOKEN_H_
