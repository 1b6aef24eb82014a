// SPDX-License-Identifier: Apache-2.0
// A BodySource remembers whether its stream has been read from
// (`at_beginning_`), so that it is rewound only when necessary, and so that a
// missing `rewind` is reported as such instead of as libcurl's
// CURLE_SEND_FAIL_REWIND. It also counts bytes (`given_`), because libcurl up
// to 7.88 does not hold the body to the size that it has announced.
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

// The payload that distinguishes NotNow() from other Statuses. Its text is for
// a callable that cannot pause a transfer, whose NotNow() ends it.
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
  // Made once: later calls only count a reference.
  static const absl::NoDestructor<absl::Status> not_now(MakeNotNow());
  return *not_now;
}

bool IsNotNow(const absl::Status& status) {
  // A NotNow() with a CURLcode is the error of another transfer, which ended
  // because its callable could not pause it. If a sink returns that error, it
  // is an error here, too.
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
  // A source that returns NotNow() has produced nothing.
  if (IsNotNow(read.status())) return read;
  at_beginning_ = false;
  if (!read.ok()) return read;
  if (*read > to.size()) {
    return Error(absl::StatusCode::kOutOfRange, "SetSource: the source gave ",
                 *read, " bytes where there was room for ", to.size());
  }
  if (*read == 0 && size_.has_value()) {
    // libcurl 7.88 would send half a request and wait for the response.
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
  // libcurl 7.88 would send more bytes than it has announced, and the server
  // would take them for the next request.
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
  // Another offset is for CURLOPT_RESUME_FROM. On CURL_SEEKFUNC_CANTSEEK
  // libcurl reads and drops the bytes up to there instead.
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
