// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/raw_handle.h"

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/error.h"

namespace curlshare::internal {

RawHandle::~RawHandle() = default;

absl::Status RawHandle::SetCancelHook(absl::AnyInvocable<void()> hook) {
  std::unique_ptr<CancelHook> made;
  absl::Status status = NoThrow("Attachment::BeginTransfer", [&] {
    made = std::make_unique<CancelHook>();
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  made->call = std::move(hook);
  absl::MutexLock lock(&mu_);
  // Under `mu_`: a thread that tells the transfer to end from now on sees the
  // hook.
  if (cancelled()) {
    return Error(absl::StatusCode::kCancelled,
                 "the transfer was told to end before it began");
  }
  hook_ = std::move(made);
  return absl::OkStatus();
}

void RawHandle::ClearCancelHook() {
  std::unique_ptr<CancelHook> cleared;  // freed with no mutex held
  absl::MutexLock lock(&mu_);
  if (hook_ == nullptr) return;
  // A call under way uses the hook without `mu_`.
  mu_.Await(absl::Condition(this, &RawHandle::HookIsIdle));
  cleared = std::move(hook_);
}

void RawHandle::AfterCancel() {
  CancelHook* hook = nullptr;
  {
    absl::MutexLock lock(&mu_);
    hook = hook_.get();
    // If another transfer is under way by now, that one was not told to end.
    if (hook == nullptr || hook->called || !cancelled()) return;
    hook->called = hook->running = true;
  }
  // Without `mu_`, since the hook is the user's. ClearCancelHook keeps it until
  // `running` is false.
  hook->call();
  absl::MutexLock lock(&mu_);
  hook->running = false;
}

}  // namespace curlshare::internal
