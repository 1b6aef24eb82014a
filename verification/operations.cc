// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/operations.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace curlshare::testing {
namespace {

struct KindRow {
  OpKind kind;
  absl::string_view name;
  int weight;  // of 64
};

// Weighted so that shares are mostly there and handles mostly attached, and so
// that frames end about as often as they begin.
constexpr std::array<KindRow, 23> kKinds = {{
    {OpKind::kCreateShare, "create_share", 6},
    {OpKind::kDestroyShare, "destroy_share", 2},
    {OpKind::kEnable, "enable", 2},
    {OpKind::kDisable, "disable", 2},
    {OpKind::kClose, "close", 3},
    {OpKind::kCloseIdle, "close_idle", 1},
    {OpKind::kFlush, "flush", 1},
    {OpKind::kCreateHandle, "create_handle", 3},
    {OpKind::kDestroyHandle, "destroy_handle", 2},
    {OpKind::kAttach, "attach", 10},
    {OpKind::kDetach, "detach", 3},
    {OpKind::kDropAttachment, "drop_attachment", 1},
    {OpKind::kDuplicate, "duplicate", 1},
    {OpKind::kReset, "reset", 1},
    {OpKind::kSetOption, "set_option", 2},
    {OpKind::kTransfer, "transfer", 6},
    {OpKind::kTransferWithCallback, "transfer_with_callback", 4},
    {OpKind::kStalledTransfer, "stalled_transfer", 1},
    {OpKind::kBeginUse, "begin_use", 2},
    {OpKind::kEndFrame, "end_frame", 7},
    {OpKind::kCancel, "cancel", 2},
    {OpKind::kReleaseStalled, "release_stalled", 1},
    {OpKind::kSaveCookies, "save_cookies", 1},
}};

constexpr int TotalWeight() {
  int total = 0;
  for (const KindRow& row : kKinds) total += row.weight;
  return total;
}
static_assert(TotalWeight() == 64);

OpKind KindFor(int point) {
  for (const KindRow& row : kKinds) {
    if (point < row.weight) return row.kind;
    point -= row.weight;
  }
  return OpKind::kCreateShare;  // Not reached: `point` is below 64.
}

// Reads "h3" for `letter` 'h' and `count` above 3.
bool ParseField(absl::string_view text, char letter, int count,
                uint8_t& value) {
  int number = 0;
  if (text.empty() || text[0] != letter ||
      !absl::SimpleAtoi(text.substr(1), &number) || number < 0 ||
      number >= count) {
    return false;
  }
  value = static_cast<uint8_t>(number);
  return true;
}

bool ParseOp(absl::string_view line, Op& op) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (words.size() != 5) return false;
  const auto* const row = std::find_if(
      kKinds.begin(), kKinds.end(),
      [&](const KindRow& known) { return known.name == words[1]; });
  if (row == kKinds.end()) return false;
  op.kind = row->kind;
  return ParseField(absl::StrCat("t", words[0]), 't', kProgramThreads,
                    op.thread) &&
         ParseField(words[2], 'h', kProgramHandles, op.handle) &&
         ParseField(words[3], 's', kProgramShares, op.share) &&
         ParseField(words[4], 'v', kProgramVariants, op.variant);
}

}  // namespace

std::vector<Op> DecodeProgram(absl::Span<const uint8_t> bytes) {
  std::vector<Op> program;
  program.reserve(bytes.size() / kBytesPerOp);
  for (; bytes.size() >= kBytesPerOp; bytes.remove_prefix(kBytesPerOp)) {
    Op op;
    op.kind = KindFor(bytes[0] % 64);
    op.thread = (bytes[0] / 64 + bytes[2]) % kProgramThreads;
    op.handle = bytes[1] % kProgramHandles;
    op.share = bytes[1] / kProgramHandles % kProgramShares;
    op.variant = bytes[2] / kProgramThreads % kProgramVariants;
    program.push_back(op);
  }
  return program;
}

std::vector<Op> RandomProgram(uint64_t seed, uint64_t index, int operations) {
  std::seed_seq sequence{
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
      static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)};
  std::mt19937 random(sequence);
  std::vector<uint8_t> bytes(static_cast<size_t>(operations) * kBytesPerOp);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return DecodeProgram(bytes);
}

std::string FormatOp(const Op& op) {
  return absl::StrCat(op.thread, " ", kKinds[static_cast<size_t>(op.kind)].name,
                      " h", op.handle, " s", op.share, " v", op.variant);
}

std::string FormatProgram(absl::Span<const Op> program) {
  std::string text = "# thread operation handle share variant\n";
  for (const Op& op : program) absl::StrAppend(&text, FormatOp(op), "\n");
  return text;
}

absl::StatusOr<std::vector<Op>> ParseProgram(absl::string_view text) {
  std::vector<Op> program;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    Op op;
    if (!ParseOp(line, op)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is no operation: '", line,
                       "'; one is written like '0 attach h2 s1 v0'"));
    }
    program.push_back(op);
  }
  return program;
}

std::vector<Op> ShrinkProgram(
    std::vector<Op> program,
    absl::FunctionRef<bool(const std::vector<Op>&)> fails) {
  size_t size = std::max<size_t>(program.size() / 2, 1);
  while (!program.empty()) {
    bool shorter = false;
    for (size_t start = 0; start < program.size();) {
      std::vector<Op> rest = program;
      const auto from = rest.begin() + static_cast<ptrdiff_t>(start);
      rest.erase(from, from + static_cast<ptrdiff_t>(
                                  std::min(size, program.size() - start)));
      if (fails(rest)) {
        program = std::move(rest);
        shorter = true;
      } else {
        start += size;
      }
    }
    if (size > 1) {
      size /= 2;
    } else if (!shorter) {
      break;
    }
  }
  return program;
}

}  // namespace curlshare::testing
