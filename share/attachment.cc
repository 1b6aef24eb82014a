#include "curlshare/share/attachment.h"

#include <curl/curl.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/handle.h"

namespace curlshare {
namespace {

using internal::Handle;

absl::Status NothingAttached() {
  return internal::Error(
      absl::StatusCode::kFailedPrecondition,
      "this Attachment holds no handle: it was moved from or detached");
}

int OnProgress(void* handle, curl_off_t, curl_off_t, curl_off_t,
               curl_off_t) noexcept {
  return static_cast<const Handle*>(handle)->cancelled() ? 1 : 0;
}

absl::Status SetProgress(CURL* curl, curl_xferinfo_callback function,
                         void* data, long no_progress) {
  CURLcode code = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, function);
  if (code == CURLE_OK) {
    code = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, data);
  }
  if (code == CURLE_OK) {
    code = curl_easy_setopt(curl, CURLOPT_NOPROGRESS, no_progress);
  }
  return EasyStatus(code, "curl_easy_setopt(CURLOPT_XFERINFOFUNCTION)");
}

}  // namespace

void Attachment::Release() {
  if (handle_ != nullptr) handle_->Release();
  handle_ = nullptr;
}

absl::StatusOr<Attachment::Use> Attachment::BeginUse() {
  if (handle_ == nullptr) return NothingAttached();
  if (absl::Status status = handle_->Enter(Handle::Mode::kUse); !status.ok()) {
    return status;
  }
  return Use(handle_);
}

absl::Status Attachment::Perform() {
  return handle_ == nullptr ? NothingAttached() : handle_->Perform();
}

absl::StatusOr<Attachment::Transfer> Attachment::BeginTransfer(
    TransferOptions options) {
  if (handle_ == nullptr) return NothingAttached();
  if (absl::Status status = handle_->Enter(Handle::Mode::kTransfer);
      !status.ok()) {
    return status;
  }
  if (handle_->gated()) {
    handle_->Leave();
    return internal::Error(
        absl::StatusCode::kFailedPrecondition,
        "the share is gated: a transfer of your own would keep every other "
        "thread out of it; use Attachment::Perform()");
  }
  Transfer transfer(handle_, options.install_progress_function);
  if (options.install_progress_function) {
    absl::Status status =
        SetProgress(handle_->curl(), &OnProgress, handle_.get(), 0);
    if (!status.ok()) return status;
  }
  return transfer;
}

bool Attachment::Cancel() { return handle_ != nullptr && handle_->Cancel(); }

absl::Status Attachment::Detach() {
  if (handle_ == nullptr) return NothingAttached();
  absl::Status status = handle_->Detach();
  if (status.ok()) Release();
  return status;
}

absl::Status Attachment::Transfer::End(CURLcode code) {
  if (handle_ == nullptr) {
    return internal::Error(absl::StatusCode::kFailedPrecondition,
                           "the transfer has ended already");
  }
  absl::Status status = handle_->TransferStatus(code);
  Finish();
  return status;
}

void Attachment::Transfer::Finish() {
  if (handle_ == nullptr) return;
  if (progress_installed_) {
    // Options that were accepted a moment ago cannot fail now.
    (void)SetProgress(handle_->curl(), nullptr, nullptr, 1);
  }
  handle_->Leave();
  handle_ = nullptr;
}

}  // namespace curlshare
