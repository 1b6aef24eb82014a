// SPDX-License-Identifier: Apache-2.0
#include "curlshare/easy/source.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/base/no_destructor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"

namespace curlshare {
namespace {

using internal::Error;
using internal::NoThrow;

constexpr absl::string_view kNotNow = "curlshare/NotNow";

absl::Status MakeNotNow() {
  absl::Status status = absl::UnavailableError(
      "NotNow(): only a source, or a sink of the body, "
      "can have its transfer wait");
  status.SetPayload(kNotNow, absl::Cord());
  return status;
}

}  // namespace

absl::Status NotNow() {
  static const absl::NoDestructor<absl::Status> not_now(MakeNotNow());
  return *not_now;
}

bool IsNotNow(const absl::Status& status) {
  // One with a code is the error of another transfer that could not wait.
  return absl::IsUnavailable(status) &&
         status.GetPayload(kNotNow).has_value() &&
         !GetEasyCode(status).has_value();
}

BodySource::BodySource(Read read, std::optional<int64_t> size, Rewind rewind)
    : read_(std::move(read)), size_(size), rewind_(std::move(rewind)) {}

absl::Status BodySource::Begin() {
  if (taken_.exchange(true, std::memory_order_acquire)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "SetSource: the source of the body is in use by the transfer "
                 "of another handle, of which this is a duplicate or the other "
                 "way round");
  }
  status_ = absl::OkStatus();
  absl::Status status = RewindNow();
  if (!status.ok()) End();
  return status;
}

void BodySource::End() { taken_.store(false, std::memory_order_release); }

absl::StatusOr<size_t> BodySource::ReadSome(absl::Span<char> to) {
  absl::StatusOr<size_t> read = NoThrow("a source", [&] { return read_(to); });
  // Who says "not now" has given nothing.
  if (IsNotNow(read.status())) return read;
  at_beginning_ = false;
  if (!read.ok()) return read;
  if (*read > to.size()) {
    return Error(absl::StatusCode::kOutOfRange, "SetSource: the source gave ",
                 *read, " bytes where there was room for ", to.size());
  }
  if (*read == 0 && size_.has_value()) {
    // Up to 7.88 libcurl would wait for the answer to half a request.
    return Error(absl::StatusCode::kOutOfRange,
                 "SetSource: the source ended after ", given_, " of ", *size_,
                 " bytes");
  }
  given_ += static_cast<int64_t>(*read);
  return read;
}

size_t BodySource::OnRead(char* to, size_t size, size_t count,
                          void* source) noexcept {
  auto* const self = static_cast<BodySource*>(source);
  size_t room = size * count;
  // Up to 7.88 libcurl would send what is too much.
  if (self->size_.has_value()) {
    room = static_cast<size_t>(
        std::min(static_cast<uint64_t>(room),
                 static_cast<uint64_t>(*self->size_ - self->given_)));
  }
  if (room == 0) return 0;
  absl::StatusOr<size_t> read = self->ReadSome(absl::MakeSpan(to, room));
  if (read.ok()) return *read;
  if (IsNotNow(read.status())) return CURL_READFUNC_PAUSE;
  self->status_ = std::move(read).status();
  return CURL_READFUNC_ABORT;
}

int BodySource::OnSeek(void* source, curl_off_t offset, int origin) noexcept {
  auto* const self = static_cast<BodySource*>(source);
  // CURLOPT_RESUME_FROM: libcurl then reads as far as that.
  if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
  self->status_ = self->RewindNow();
  return self->status_.ok() ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

absl::Status BodySource::RewindNow() {
  if (at_beginning_) return absl::OkStatus();
  if (rewind_ == nullptr) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "SetSource: the body is to be sent again (another transfer, a "
                 "redirect, a retry), but its source has been read from and "
                 "has no rewind");
  }
  absl::Status status = NoThrow("a source's rewind", rewind_);
  if (status.ok()) {
    at_beginning_ = true;
    given_ = 0;
  }
  return status;
}

}  // namespace curlshare
