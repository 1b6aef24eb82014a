// SPDX-License-Identifier: Apache-2.0
// Programs of operations on shares and handles, for the model test and the
// fuzzer: what an operation is, how a program is made from bytes, written,
// read back, and shortened once it fails.
//
// A program names three threads, three shares, three Easy handles (0 to 2) and
// three CURL* with Attachments (3 to 5). Every program is valid: an operation
// that cannot be done where it stands is skipped, so that any part of a program
// is a program. One operation a line:
//
//   # thread operation handle share variant
//   0 create_share h0 s1 v5
//   0 attach h2 s1 v0
//
// What each does: interpreter.h.
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

struct Op {
  OpKind kind = OpKind::kCreateShare;
  uint8_t thread = 0;
  uint8_t handle = 0;
  uint8_t share = 0;
  uint8_t variant = 0;  // 0 to 15; what it chooses depends on the kind

  friend bool operator==(const Op& a, const Op& b) {
    return a.kind == b.kind && a.thread == b.thread && a.handle == b.handle &&
           a.share == b.share && a.variant == b.variant;
  }
};

constexpr int kProgramThreads = 3;
constexpr int kProgramShares = 3;
constexpr int kProgramEasies = 3;
constexpr int kProgramHandles = 6;
constexpr int kProgramVariants = 16;

// The bytes that one operation is made from. Bytes that do not suffice for one
// more operation are ignored.
constexpr size_t kBytesPerOp = 3;
std::vector<Op> DecodeProgram(absl::Span<const uint8_t> bytes);

// The program number `index` of `seed`: the same on every machine.
std::vector<Op> RandomProgram(uint64_t seed, uint64_t index, int operations);

std::string FormatOp(const Op& op);
std::string FormatProgram(absl::Span<const Op> program);
// Reads what FormatProgram writes; blank lines and those that begin with # are
// ignored. kInvalidArgument names the line.
absl::StatusOr<std::vector<Op>> ParseProgram(absl::string_view text);

// A part of `program` for which `fails` is still true and from which no single
// operation can be left out (delta debugging, Zeller's ddmin).
// REQUIRES: fails(program).
std::vector<Op> ShrinkProgram(
    std::vector<Op> program,
    absl::FunctionRef<bool(const std::vector<Op>&)> fails);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_OPERATIONS_H_
