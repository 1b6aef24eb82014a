// SPDX-License-Identifier: Apache-2.0
// A body that is read while it is sent, for Easy::SetSource; and the answer of
// a source or sink that cannot go on yet.
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

// What a source returns that has no bytes yet, and a sink of the body that
// cannot take the piece: the transfer pauses, in that direction, until
// Easy::Resume(). See there. Safe to call from any thread.
absl::Status NotNow();
// Whether `status` is NotNow().
bool IsNotNow(const absl::Status& status);

// Internal to Easy: a stream, and whether it stands at its beginning. Those
// that Duplicate made share it.
//
// One transfer at a time has it, from a Begin() that succeeds to End(). Begin()
// is safe for concurrent use; everything else is for who has it.
class BodySource {
 public:
  using Read = std::function<absl::StatusOr<size_t>(absl::Span<char>)>;
  using Rewind = std::function<absl::Status()>;

  // `rewind` may be empty. REQUIRES: `read` is not, `size` is not negative.
  BodySource(Read read, std::optional<int64_t> size, Rewind rewind);
  BodySource(const BodySource&) = delete;
  BodySource& operator=(const BodySource&) = delete;

  // In bytes; -1: not known.
  curl_off_t size() const { return size_.value_or(-1); }

  // Has the stream stand at its beginning. kFailedPrecondition where another
  // transfer has it, or it has been read from and cannot be rewound; the
  // errors of `rewind`.
  absl::Status Begin();
  void End();
  // Why the transfer was ended from here; else OK.
  const absl::Status& status() const { return status_; }

  // CURLOPT_READFUNCTION, CURLOPT_SEEKFUNCTION; `source` is a BodySource.
  static size_t OnRead(char* to, size_t size, size_t count,
                       void* source) noexcept;
  static int OnSeek(void* source, curl_off_t offset, int origin) noexcept;

 private:
  // What `read_` wrote to `to`, which is not empty.
  absl::StatusOr<size_t> ReadSome(absl::Span<char> to);
  absl::Status RewindNow();

  const Read read_;
  const std::optional<int64_t> size_;
  const Rewind rewind_;
  // Orders what the transfers of several threads do to the members below.
  std::atomic<bool> taken_{false};
  bool at_beginning_ = true;
  int64_t given_ = 0;  // bytes since the beginning
  absl::Status status_;
};

}  // namespace curlshare

#endif  // CURLSHARE_EASY_SOURCE_H_
