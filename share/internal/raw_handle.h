// SPDX-License-Identifier: Apache-2.0
// A Handle for a CURL* that the user owns.
#ifndef CURLSHARE_SHARE_INTERNAL_RAW_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_RAW_HANDLE_H_

#include <curl/curl.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "curlshare/share/internal/handle.h"

namespace curlshare::internal {

// A Handle for a CURL* that the user owns, with a hook that tells the user's
// own event loop that a transfer is to end.
//
// Thread-safe, as Handle. Owned as Handle: by references.
class RawHandle final : public Handle {
 public:
  using Handle::Handle;
  ~RawHandle() override;

  // Sets a hook that is called when the transfer is told to end: at most once,
  // by the thread that tells it, with no mutex held. kCancelled: the transfer
  // was told to end before; kResourceExhausted: no memory. There is no hook
  // then. REQUIRES: the caller is the holder, in a transfer, and there is no
  // hook.
  absl::Status SetCancelHook(absl::AnyInvocable<void()> hook)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Removes the hook, if there is one. Once this returns, the hook is not
  // called, and no call of it is under way. REQUIRES: the caller is the holder,
  // and not in the hook.
  void ClearCancelHook() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Allocated separately, since most handles never have one. `called` and
  // `running` are guarded by `mu_`.
  struct CancelHook {
    absl::AnyInvocable<void()> call;
    bool called = false;
    bool running = false;
  };

  void AfterCancel() override ABSL_LOCKS_EXCLUDED(mu_);
  bool HookIsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return !hook_->running;
  }

  std::unique_ptr<CancelHook> hook_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_RAW_HANDLE_H_
