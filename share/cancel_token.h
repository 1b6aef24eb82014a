// SPDX-License-Identifier: Apache-2.0
// CancelToken: ends transfers before they begin, while they wait for their
// turn, or while they are under way.
//
//   CancelToken token;
//   std::thread worker([&easy, token] {
//     absl::StatusOr<Response> r = easy.Fetch("https://example.com/", token);
//     if (absl::IsCancelled(r.status())) return;
//     ...
//   });
//   token.Cancel();  // the Fetch returns kCancelled, begun or not
#ifndef CURLSHARE_SHARE_CANCEL_TOKEN_H_
#define CURLSHARE_SHARE_CANCEL_TOKEN_H_

#include <new>

#include "curlshare/share/internal/cancel_state.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare {

namespace internal {
class Handle;
}  // namespace internal

// Cancels the transfers that were given this token, and no others. Easy::Cancel
// and Attachment::Cancel are different: they end whatever transfer is under way
// at that moment. Called too early, they miss the transfer; called too late,
// they end the next one.
//
// One token serves any number of transfers, at once or one after the other. A
// copy is the same token. The caller owns its token; a transfer copies what it
// needs of it, so that the token may be destroyed in a callback of the
// transfer.
//
// Thread-safe, except that assignment and destruction of one CancelToken object
// must not run at the same time as other calls on that object.
class CancelToken {
 public:
  // A token that is not cancelled. If there is no memory for it, transfers with
  // it return kResourceExhausted.
  CancelToken() : state_(new (std::nothrow) internal::CancelState()) {}
  CancelToken(const CancelToken&) = default;
  CancelToken& operator=(const CancelToken&) = default;

  // Cancels the token for good. Transfers that are under way with it end
  // promptly, and return kCancelled; later ones return kCancelled at once. A
  // transfer that has ended is not affected. May be called in any callback,
  // also in one of such a transfer. Waits only for mutexes that are held for a
  // moment.
  void Cancel() {
    if (state_ != nullptr) state_->Cancel();
  }
  // Whether any copy of this token was cancelled.
  bool cancelled() const { return state_ != nullptr && state_->cancelled(); }

 private:
  friend class internal::Handle;

  internal::RefPtr<internal::CancelState> state_;  // null without memory
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CANCEL_TOKEN_H_
