// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/operations.h"

#include <cstdint>
#include <set>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;

TEST(Operations, AreReadBackAsWritten) {
  const std::vector<Op> program = RandomProgram(1, 2, 500);
  ASSERT_EQ(program.size(), 500);
  EXPECT_THAT(ParseProgram(FormatProgram(program)), IsOkAndHolds(program));
}

TEST(Operations, ARandomProgramHasEveryKind) {
  std::set<OpKind> kinds;
  for (const Op& op : RandomProgram(3, 4, 2000)) kinds.insert(op.kind);
  EXPECT_EQ(kinds.size(), 23);
}

TEST(Operations, ASeedGivesTheSameProgramAndAnotherAnother) {
  EXPECT_EQ(RandomProgram(5, 6, 50), RandomProgram(5, 6, 50));
  EXPECT_FALSE(RandomProgram(5, 6, 50) == RandomProgram(5, 7, 50));
  EXPECT_FALSE(RandomProgram(5, 6, 50) == RandomProgram(6, 6, 50));
}

TEST(Operations, AnyBytesAreAProgram) {
  EXPECT_THAT(DecodeProgram({}), IsEmpty());
  EXPECT_THAT(DecodeProgram({1, 2}), IsEmpty());
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 256; ++i) {
    for (int j = 0; j < 3; ++j) bytes.push_back(static_cast<uint8_t>(i + j));
  }
  const std::vector<Op> program = DecodeProgram(bytes);
  ASSERT_EQ(program.size(), 256);
  for (const Op& op : program) {
    EXPECT_THAT(op.thread, Lt(kProgramThreads));
    EXPECT_THAT(op.handle, Lt(kProgramHandles));
    EXPECT_THAT(op.share, Lt(kProgramShares));
    EXPECT_THAT(op.variant, Lt(kProgramVariants));
  }
}

TEST(Operations, WhatIsNoOperationIsNamedWithItsLine) {
  for (const char* line :
       {"0 attach h2 s1", "0 leave h2 s1 v0", "3 attach h2 s1 v0",
        "0 attach h6 s1 v0", "0 attach h2 s3 v0", "0 attach h2 s1 v16",
        "0 attach 2 s1 v0", "-1 attach h2 s1 v0", "0 attach h s1 v0"}) {
    EXPECT_THAT(ParseProgram(std::string("# one\n\n") + line),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("line 3"), HasSubstr(line))));
  }
}

TEST(ShrinkProgram, LeavesWhatIsNeeded) {
  std::vector<Op> program = RandomProgram(8, 9, 300);
  for (Op& op : program) op.variant = 0;
  program[20].variant = 1;
  program[130].variant = 2;
  program[299].variant = 3;
  const std::vector<Op> needed = {program[20], program[130], program[299]};
  int runs = 0;
  const auto fails = [&](const std::vector<Op>& part) {
    ++runs;
    return absl::c_all_of(
        needed, [&](const Op& op) { return absl::c_linear_search(part, op); });
  };
  EXPECT_THAT(ShrinkProgram(program, fails),
              ElementsAre(needed[0], needed[1], needed[2]));
  EXPECT_LT(runs, 200);
}

TEST(ShrinkProgram, LeavesNothingWhereNothingIsNeeded) {
  EXPECT_THAT(ShrinkProgram(RandomProgram(1, 1, 10),
                            [](const std::vector<Op>&) { return true; }),
              IsEmpty());
}

}  // namespace
}  // namespace curlshare::testing
