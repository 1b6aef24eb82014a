// SPDX-License-Identifier: Apache-2.0
// A Handle for a CURL* of the user's.
#ifndef CURLSHARE_SHARE_INTERNAL_RAW_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_RAW_HANDLE_H_

#include <curl/curl.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "curlshare/share/internal/handle.h"

namespace curlshare::internal {

// Safe for concurrent use, as Handle.
class RawHandle final : public Handle {
 public:
  using Handle::Handle;
  ~RawHandle() override;

  // `hook` is called once the transfer is told to end, at most once, by the
  // thread that says so, with no mutex held. kCancelled where it has been told
  // so before; kResourceExhausted without memory; there is no hook then.
  // REQUIRES: the caller is the holder, in a transfer, without a hook.
  absl::Status SetCancelHook(absl::AnyInvocable<void()> hook)
      ABSL_LOCKS_EXCLUDED(mu_);
  // From its return on the hook is not called, and no call of it is under way.
  // REQUIRES: the caller is the holder, and not in the hook.
  void ClearCancelHook() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Apart: most handles never have one.
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
