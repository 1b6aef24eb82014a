// SPDX-License-Identifier: Apache-2.0
// What a share knows goes from one CURLSH to the next, and what changes in an
// older one follows; by the jars alone.
#include "curlshare/share/internal/old_generations.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/internal/saved_cookies.h"
#include "curlshare/share/internal/saved_hsts.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr LockDataSet kBoth{LockData::kCookie, LockData::kHsts};

std::string Line(absl::string_view name, absl::string_view value,
                 int64_t expires = 0) {
  return absl::StrCat("a.test\tFALSE\t/\tFALSE\t", expires, "\t", name, "\t",
                      value);
}

class OldGenerationsTest : public ::testing::Test {
 protected:
  ~OldGenerationsTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  std::shared_ptr<const ShareHandle> New(LockDataSet kinds = kBoth) const {
    return ShareHandle::Create(kinds, /*gated=*/true, locks_).value();
  }
  // As a transfer in `share` does.
  static void Set(const ShareHandle& share, const std::string& line) {
    EXPECT_OK(AddCookies(share.get(), {line}));
  }
  absl::Status Succeed(const std::shared_ptr<const ShareHandle>& from,
                       const ShareHandle& to, LockDataSet kept = kBoth,
                       LockDataSet forgotten = {}) {
    return old_.Succeed(from, to, kept, forgotten, locks_.get());
  }
  static auto Cookies(const ShareHandle& share) {
    return CopyCookies(share.get());
  }

  const int64_t live_before_ = ShareHandle::live_count();
  const std::shared_ptr<KindLocks> locks_ = std::make_shared<KindLocks>();
  OldGenerations old_;
};

TEST_F(OldGenerationsTest, WhatIsKnownGoesAlong) {
  const auto first = New();
  Set(*first, Line("a", "1"));
  Set(*first, Line("later", "1", 4'000'000'000));
  ASSERT_OK(AddHsts(first->get(), {{"a.test", true, ""}}));
  const auto second = New();
  EXPECT_OK(Succeed(first, *second));
  EXPECT_EQ(Cookies(*second).value(), Cookies(*first).value());
  EXPECT_THAT(Cookies(*second), IsOkAndHolds(SizeIs(2)));
  EXPECT_EQ(ReadHsts(second->get()).value(), ReadHsts(first->get()).value());
  const auto third = New();
  EXPECT_OK(Succeed(second, *third, LockData::kHsts, LockData::kCookie));
  EXPECT_THAT(Cookies(*third), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(ReadHsts(third->get()), IsOkAndHolds(SizeIs(1)));
}

TEST_F(OldGenerationsTest, WhatChangesInAnyOldOneFollows) {
  const auto first = New();
  for (const char* name : {"a", "b", "gone", "taken"}) {
    Set(*first, Line(name, "1"));
  }
  const auto second = New();
  ASSERT_OK(Succeed(first, *second));
  const auto third = New();
  ASSERT_OK(Succeed(second, *third));
  Set(*first, Line("a", "2"));
  Set(*first, Line("gone", "", 1));
  Set(*second, Line("b", "2"));
  ASSERT_OK(AddHsts(first->get(), {{"a.test", false, ""}}));
  Set(*third, Line("newest", "1"));
  EXPECT_OK(old_.CatchUp(*first, *third));
  EXPECT_OK(old_.CatchUp(*second, *third));
  EXPECT_THAT(Cookies(*third), IsOkAndHolds(UnorderedElementsAre(
                                   Line("a", "2"), Line("b", "2"),
                                   Line("taken", "1"), Line("newest", "1"))));
  EXPECT_THAT(ReadHsts(third->get()), IsOkAndHolds(SizeIs(1)));
  // Once: what the newest one has learned since counts.
  Set(*third, Line("a", "3"));
  Set(*third, Line("taken", "", 1));
  EXPECT_OK(old_.CatchUp(*first, *third));
  EXPECT_OK(old_.CatchUp(*third, *third)) << "it is no old one";
  EXPECT_THAT(Cookies(*third),
              IsOkAndHolds(UnorderedElementsAre(Line("a", "3"), Line("b", "2"),
                                                Line("newest", "1"))));
}

TEST_F(OldGenerationsTest, WhatWasForgottenDoesNotFollow) {
  const auto first = New();
  const auto second = New();
  ASSERT_OK(Succeed(first, *second));
  Set(*first, Line("before", "1"));
  EXPECT_OK(old_.Forget(LockData::kCookie));
  Set(*first, Line("after", "1"));
  EXPECT_OK(old_.CatchUp(*first, *second));
  EXPECT_THAT(Cookies(*second),
              IsOkAndHolds(UnorderedElementsAre(Line("after", "1"))));
  // By the next one in line, too, of all before.
  Set(*first, Line("before", "2"));
  const auto third = New();
  ASSERT_OK(Succeed(second, *third, {}, kBoth));
  EXPECT_OK(old_.CatchUp(*first, *third));
  EXPECT_THAT(Cookies(*third), IsOkAndHolds(IsEmpty()));
  // What is not shared in between is not known afterwards.
  const auto without = New(LockData::kHsts);
  ASSERT_OK(Succeed(third, *without));
  const auto last = New();
  ASSERT_OK(Succeed(without, *last));
  Set(*first, Line("x", "1"));
  Set(*third, Line("x", "1"));
  EXPECT_OK(old_.CatchUp(*first, *last));
  EXPECT_OK(old_.CatchUp(*third, *last));
  EXPECT_THAT(Cookies(*last), IsOkAndHolds(IsEmpty()));
}

// A login after Disable(kCookie) and Enable(kCookie), while a transfer goes on
// in the jar before both.
TEST_F(OldGenerationsTest, WhatIsNotSharedInBetweenDeletesNothing) {
  const auto first = New();
  Set(*first, Line("login", "old"));
  const auto second = New();
  ASSERT_OK(Succeed(first, *second));
  const auto without = New(LockData::kHsts);
  ASSERT_OK(Succeed(second, *without));
  const auto last = New();
  ASSERT_OK(Succeed(without, *last));
  Set(*last, Line("login", "new"));
  EXPECT_OK(old_.CatchUp(*first, *last));
  EXPECT_OK(old_.CatchUp(*second, *last));
  EXPECT_THAT(Cookies(*last),
              IsOkAndHolds(UnorderedElementsAre(Line("login", "new"))));
}

TEST_F(OldGenerationsTest, OneIsKeptUntilItIsTaken) {
  auto first = New();
  const auto second = New();
  ASSERT_OK(Succeed(first, *second));
  old_.Keep(second);  // none of them
  EXPECT_EQ(old_.TakeKept(), nullptr);
  old_.Keep(first);
  const ShareHandle* const address = first.get();
  first.reset();
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 2);
  EXPECT_EQ(old_.TakeKept().get(), address);
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  EXPECT_EQ(old_.TakeKept(), nullptr);
}

}  // namespace
}  // namespace curlshare::internal
