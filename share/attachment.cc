// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/attachment.h"

#include <curl/curl.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/raw_handle.h"

namespace curlshare {
namespace {

using internal::Handle;

absl::Status NothingAttached() {
  return internal::Error(
      absl::StatusCode::kFailedPrecondition,
      "this Attachment holds no handle: it was moved from or detached");
}

// For CURLOPT_XFERINFOFUNCTION: libcurl ends the transfer, with
// CURLE_ABORTED_BY_CALLBACK, when this returns non-zero. `handle` is null only
// if RemoveProgress could unset the data, but not the function.
int OnProgress(void* handle, curl_off_t, curl_off_t, curl_off_t,
               curl_off_t) noexcept {
  return handle != nullptr && static_cast<const Handle*>(handle)->cancelled();
}

// CURLOPT_NOPROGRESS comes last: only then does libcurl call the function,
// which needs its data.
absl::Status InstallProgress(Handle& handle) {
  CURL* const curl = handle.curl();
  const curl_xferinfo_callback function = &OnProgress;
  CURLcode code = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &handle);
  if (code == CURLE_OK) {
    code = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, function);
  }
  if (code == CURLE_OK) code = curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  return EasyStatus(code, "curl_easy_setopt(CURLOPT_XFERINFOFUNCTION)");
}

// libcurl accepted these options a moment ago, so that it does not refuse them
// now. If it refused one of them nevertheless, each of the other two would
// still keep OnProgress away from a Handle that may be gone.
void RemoveProgress(CURL* curl) {
  (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 1L);
  (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, nullptr);
  (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, nullptr);
}

}  // namespace

void Attachment::Release() {
  // Detach has released the handle already, and the CURL* may be gone.
  if (!holds_nothing()) handle_->Release();
  handle_ = nullptr;
}

absl::StatusOr<Attachment::Use> Attachment::BeginUse() {
  if (holds_nothing()) return NothingAttached();
  if (absl::Status status = handle_->Enter(Handle::Mode::kUse); !status.ok()) {
    return status;
  }
  return Use(handle_);
}

absl::Status Attachment::Perform() {
  return holds_nothing() ? NothingAttached() : handle_->Perform();
}

absl::Status Attachment::Perform(const CancelToken& token) {
  return holds_nothing() ? NothingAttached() : handle_->Perform(&token);
}

absl::StatusOr<Attachment::Transfer> Attachment::BeginTransfer(
    TransferOptions options) {
  if (holds_nothing()) return NothingAttached();
  if (absl::Status status = handle_->Enter(Handle::Mode::kTransfer);
      !status.ok()) {
    return status;
  }
  // Only now: Enter moves the handle to the share's newest CURLSH, which may be
  // gated although the previous one was not. As long as this thread is the
  // holder, the answer stays valid.
  if (handle_->gated()) {
    handle_->Leave();
    return internal::Error(
        absl::StatusCode::kFailedPrecondition,
        "the share is gated: a transfer of your own would keep every other "
        "thread out of it; use Attachment::Perform()");
  }
  // From here on every return ends the transfer: by its destructor, on an
  // error.
  Transfer transfer(handle_);
  if (options.install_progress_function) {
    // Before the attempt: if it fails halfway, Finish removes what was set.
    transfer.progress_installed_ = true;
    absl::Status status = InstallProgress(*handle_);
    if (!status.ok()) return status;
  }
  if (options.on_cancel != nullptr) {
    absl::Status status = handle_->SetCancelHook(std::move(options.on_cancel));
    if (!status.ok()) return status;
  }
  // Last: afterwards this thread is not the holder any more, and must not touch
  // the CURL*.
  if (options.any_thread) {
    transfer.any_thread_ = true;
    handle_->LeaveToAnyThread();
  }
  return transfer;
}

bool Attachment::Cancel() { return handle_ != nullptr && handle_->Cancel(); }

absl::Status Attachment::Detach() {
  if (holds_nothing()) return NothingAttached();
  absl::Status status = handle_->Detach();
  if (status.ok()) {
    // The owner may free the CURL* as soon as this returns: close the
    // connections that the handle keeps, and let nothing use the CURL* again.
    handle_->Release();
    detached_ = true;
  }
  return status;
}

absl::Status Attachment::Transfer::End(CURLcode code) {
  if (over()) {
    return internal::Error(absl::StatusCode::kFailedPrecondition,
                           "the transfer has ended already");
  }
  // Before Finish: once this thread is not the holder any more, another
  // transfer may begin, and that forgets whether this one was cancelled.
  absl::Status status = handle_->TransferStatus(code);
  Finish();
  return status;
}

void Attachment::Transfer::Finish() {
  if (over()) return;
  // First, so that cancelled() on another thread does not tell of the handle's
  // next transfer.
  ended_.store(true, std::memory_order_release);
  // While this thread is still the holder: both touch what belongs to it.
  if (progress_installed_) RemoveProgress(handle_->curl());
  handle_->ClearCancelHook();
  if (any_thread_) {
    handle_->LeaveFromAnyThread();
  } else {
    handle_->Leave();
  }
}

}  // namespace curlshare
