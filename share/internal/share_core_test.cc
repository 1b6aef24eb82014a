// SPDX-License-Identifier: Apache-2.0
// The state of a share, without libcurl's handles: generations, epochs,
// closing.
#include "curlshare/share/internal/share_core.h"

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::StatusIs;

RefPtr<ShareCore> NewCore(bool detach_on_close = true) {
  const auto locks = std::make_shared<KindLocks>(nullptr);
  return RefPtr<ShareCore>(new ShareCore(
      nullptr, detach_on_close, Concurrency::kAuto, {}, locks,
      ShareHandle::Create(LockData::kDns, /*gated=*/false, locks).value()));
}

class ShareCoreTest : public ::testing::Test {
 protected:
  ~ShareCoreTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  const int64_t live_before_ = ShareHandle::live_count();
};

TEST_F(ShareCoreTest, AChangeOfKindsMakesAGenerationAndAnEpoch) {
  const RefPtr<ShareCore> core = NewCore();
  const uint64_t first = core->epoch();
  const Generation old = core->Newest();
  EXPECT_OK(core->ChangeKinds(LockData::kDns, {}));
  EXPECT_EQ(core->epoch(), first) << "nothing has changed";
  EXPECT_OK(core->ChangeKinds(LockData::kPsl, {}));
  EXPECT_NE(core->epoch(), first);
  EXPECT_FALSE(ShareCore::IsClosing(core->epoch()));
  EXPECT_NE(core->Newest().handle, old.handle);
  EXPECT_EQ(core->kinds(), (LockDataSet{LockData::kDns, LockData::kPsl}));
  EXPECT_FALSE(core->may_be_gated());
  EXPECT_OK(core->ChangeKinds(LockData::kHsts, {}));
  EXPECT_TRUE(core->Newest().handle->gated());
  EXPECT_FALSE(old.handle->gated()) << "a generation does not change";
  EXPECT_OK(core->ChangeKinds({}, LockData::kHsts));
  EXPECT_FALSE(core->gated());
  EXPECT_TRUE(core->may_be_gated()) << "some handle may not have moved";
  EXPECT_OK(core->Close(absl::InfinitePast(), /*cancel=*/false));
}

// Outside the gate nothing is brought along, and after the close to nobody.
TEST_F(ShareCoreTest, WhatCannotCatchUpNowIsToldTheNewest) {
  const RefPtr<ShareCore> core = NewCore();
  const Generation old = core->Newest();
  Generation newest;
  EXPECT_OK(core->CatchUp(old.handle, &newest));
  EXPECT_EQ(newest.handle, old.handle);
  EXPECT_OK(core->ChangeKinds(LockData::kHsts, {}));
  ASSERT_TRUE(core->gated());
  EXPECT_OK(core->CatchUp(old.handle, &newest));
  EXPECT_EQ(newest.handle, core->Newest().handle);
  EXPECT_NE(newest.handle, old.handle);
  newest.handle.reset();
  EXPECT_OK(core->Close(absl::InfinitePast(), /*cancel=*/false));
  EXPECT_OK(core->CatchUp(old.handle, &newest));
  EXPECT_EQ(newest.handle, nullptr);
}

TEST_F(ShareCoreTest, TheLastOneOutOfAClosingShareFreesIt) {
  const RefPtr<ShareCore> core = NewCore();
  const RefPtr<Handle> a(new Handle(nullptr));
  const RefPtr<Handle> b(new Handle(nullptr));
  ASSERT_OK(core->Link(a.get()).status());
  ASSERT_OK(core->Link(b.get()).status());
  EXPECT_EQ(core->attached(), 2u);
  EXPECT_THAT(core->Close(absl::InfinitePast(), /*cancel=*/false),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(ShareCore::IsClosing(core->epoch()));
  EXPECT_THAT(core->Link(a.get()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(core->ChangeKinds(LockData::kPsl, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  core->Unlink(a.get());
  EXPECT_FALSE(core->closed());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  core->Unlink(b.get());
  EXPECT_TRUE(core->closed());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  EXPECT_OK(core->Close(absl::InfinitePast(), /*cancel=*/false));
}

TEST_F(ShareCoreTest, AnAbandonedStrictShareGoesWithItsLastHandle) {
  const RefPtr<ShareCore> core = NewCore(/*detach_on_close=*/false);
  const RefPtr<Handle> handle(new Handle(nullptr));
  ASSERT_OK(core->Link(handle.get()).status());
  EXPECT_THAT(core->Close(absl::InfinitePast(), /*cancel=*/true),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(ShareCore::IsClosing(core->epoch()));
  core->Abandon();
  EXPECT_FALSE(core->closed());
  core->Unlink(handle.get());
  EXPECT_TRUE(core->closed());
}

}  // namespace
}  // namespace curlshare::internal
