// SPDX-License-Identifier: Apache-2.0
// NotNow(), which a source or sink returns to pause its transfer, and the class
// behind Easy::SetSource: a request body that is read while it is sent.
//
//   easy.SetSource([&](absl::Span<char> to) -> absl::StatusOr<size_t> {
//     if (queue.empty()) return NotNow();  // later: easy.Resume()
//     return queue.Read(to);
//   });
#ifndef CURLSHARE_EASY_SOURCE_H_
#define CURLSHARE_EASY_SOURCE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace curlshare {

// Returns the Status by which a callable pauses its transfer: a source that has
// no bytes yet, or a sink for the body that cannot accept the piece. That
// direction of the transfer pauses until Easy::Resume(); see there. Safe to
// call from any thread.
absl::Status NotNow();
// Returns whether `status` is NotNow(). Safe to call from any thread.
bool IsNotNow(const absl::Status& status);

// Internal to Easy: a stream that a callable produces, and whether the stream
// is at its beginning. Easy::Duplicate does not copy a BodySource: the original
// and the duplicate share it.
//
// One transfer at a time owns it, from a successful Begin() to End(). Begin()
// may be called from any thread at any time; every other method only by the
// owner. An End() happens before the next successful Begin().
class BodySource {
 public:
  using Read = std::function<absl::StatusOr<size_t>(absl::Span<char>)>;
  using Rewind = std::function<absl::Status()>;

  // `size` in bytes, if known. `rewind` may be empty. REQUIRES: `read` is not
  // empty, and `size` is not negative.
  BodySource(Read read, std::optional<int64_t> size, Rewind rewind);
  BodySource(const BodySource&) = delete;
  BodySource& operator=(const BodySource&) = delete;

  // Returns the size in bytes, or -1 if it is not known. Safe to call from any
  // thread.
  curl_off_t size() const { return size_.value_or(-1); }

  // Makes the calling transfer the owner and rewinds the stream if necessary.
  // kFailedPrecondition if another transfer is the owner, or if the stream has
  // been read from and there is no `rewind`; otherwise the errors of `rewind`.
  absl::Status Begin();
  // Ends the ownership.
  void End();
  // Returns the error with which the stream ended the transfer; OK if it did
  // not.
  const absl::Status& status() const { return status_; }

  // The callbacks for CURLOPT_READFUNCTION and CURLOPT_SEEKFUNCTION; `source`
  // is a BodySource*.
  static size_t OnRead(char* to, size_t size, size_t count,
                       void* source) noexcept;
  static int OnSeek(void* source, curl_off_t offset, int origin) noexcept;

 private:
  // Calls `read_` and checks the number of bytes that it returns, which is
  // returned here. REQUIRES: `to` is not empty.
  absl::StatusOr<size_t> ReadSome(absl::Span<char> to);
  // Rewinds the stream, unless it is at its beginning.
  absl::Status RewindNow();

  const Read read_;
  const std::optional<int64_t> size_;
  const Rewind rewind_;
  // Whether a transfer owns this. Set with acquire and cleared with release, so
  // that the next owner sees the members below as the last one left them.
  std::atomic<bool> taken_{false};
  bool at_beginning_ = true;
  int64_t given_ = 0;  // bytes read since the beginning
  absl::Status status_;
};

}  // namespace curlshare

#endif  // CURLSHARE_EASY_SOURCE_H_
