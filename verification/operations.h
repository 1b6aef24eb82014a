// SPDX-License-Identifier: Apache-2.0
// Programs of operations on shares and handles, for the model test and the
// fuzzer: the operations, and functions that make a program from bytes, write
// it, read it, and shorten a program that fails.
//
// A program uses three threads, three shares, three Easy handles (0 to 2) and
// three CURL* with Attachments (3 to 5). Every program is valid: an operation
// that is not possible at its place is skipped. So any part of a program is a
// program, too. As text, a program has one operation on each line:
//
//   # thread operation handle share variant
//   0 create_share h0 s1 v5
//   0 attach h2 s1 v0
//
// interpreter.h executes programs.
#ifndef CURLSHARE_VERIFICATION_OPERATIONS_H_
#define CURLSHARE_VERIFICATION_OPERATIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace curlshare::testing {

// What an operation does.
enum class OpKind : uint8_t {
  kCreateShare,
  kDestroyShare,
  kEnable,
  kDisable,
  kClose,
  kCloseIdle,  // Share::CloseIdleConnections
  kFlush,
  kCreateHandle,
  kDestroyHandle,
  kAttach,
  kDetach,
  kDropAttachment,
  kDuplicate,
  kReset,
  kSetOption,
  kTransfer,
  kTransferWithCallback,
  kStalledTransfer,
  kBeginUse,
  kEndFrame,
  kCancel,
  kReleaseStalled,
  kSaveCookies,  // Share::ExportCookies and ImportCookies
};

// One operation. Thread-compatible: a plain value.
struct Op {
  OpKind kind = OpKind::kCreateShare;
  uint8_t thread = 0;
  uint8_t handle = 0;
  uint8_t share = 0;
  uint8_t variant = 0;  // 0 to 15; its meaning depends on `kind`

  friend bool operator==(const Op& a, const Op& b) {
    return a.kind == b.kind && a.thread == b.thread && a.handle == b.handle &&
           a.share == b.share && a.variant == b.variant;
  }
};

// How many of each a program uses.
constexpr int kProgramThreads = 3;
constexpr int kProgramShares = 3;
constexpr int kProgramEasies = 3;
constexpr int kProgramHandles = 6;
constexpr int kProgramVariants = 16;

// The number of bytes that an operation is made from.
constexpr size_t kBytesPerOp = 3;
// Returns the program that `bytes` encode. Ignores remaining bytes that do not
// suffice for an operation.
std::vector<Op> DecodeProgram(absl::Span<const uint8_t> bytes);

// Returns the program number `index` of `seed`, with `operations` operations.
// It is the same on every machine.
std::vector<Op> RandomProgram(uint64_t seed, uint64_t index, int operations);

// Return an operation or a program as text (see above).
std::string FormatOp(const Op& op);
std::string FormatProgram(absl::Span<const Op> program);
// Reads a program that FormatProgram has written. Ignores blank lines and lines
// that begin with #. kInvalidArgument, which names the line, if it is
// malformed.
absl::StatusOr<std::vector<Op>> ParseProgram(absl::string_view text);

// Returns a part of `program` for which `fails` is still true, but for which it
// is false without any one of its operations (delta debugging, Zeller's ddmin).
// REQUIRES: fails(program).
std::vector<Op> ShrinkProgram(
    std::vector<Op> program,
    absl::FunctionRef<bool(const std::vector<Op>&)> fails);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_OPERATIONS_H_
