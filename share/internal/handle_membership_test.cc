// SPDX-License-Identifier: Apache-2.0
// How a CURL* comes into a share, moves within it, and leaves it.
#include "curlshare/share/internal/handle_membership.h"

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::StatusIs;
using Mode = Handle::Mode;

RefPtr<ShareCore> NewCore(std::shared_ptr<KindLocks> locks) {
  std::shared_ptr<const ShareHandle> share =
      ShareHandle::Create(LockData::kDns, /*gated=*/false, locks).value();
  return RefPtr<ShareCore>(new ShareCore(nullptr, /*detach_on_close=*/true,
                                         Concurrency::kAuto, {},
                                         std::move(locks), std::move(share)));
}

class HandleMembershipTest : public ::testing::Test {
 protected:
  ~HandleMembershipTest() override {
    if (!released_) handle_->Release();
    EXPECT_EQ(GetThisThread().handles_held, 0);
  }

  ConnectionKeeper& keeper() { return *handle_; }

  const std::shared_ptr<KindLocks> locks_ =
      std::make_shared<KindLocks>(nullptr);
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{curl_easy_init(),
                                                            &curl_easy_cleanup};
  const RefPtr<Handle> handle_{new Handle(curl_.get())};
  bool released_ = false;
};

TEST_F(HandleMembershipTest, IsInOneShareAtATime) {
  const RefPtr<ShareCore> core = NewCore(locks_);
  ASSERT_OK(handle_->Attach(core));
  EXPECT_EQ(handle_->share().get(), core.get());
  EXPECT_EQ(core->attached(), 1u);
  // By another owner, too: it is the CURL* that counts.
  const RefPtr<Handle> other(new Handle(curl_.get()));
  const RefPtr<ShareCore> second = NewCore(locks_);
  for (Handle* const handle : {handle_.get(), other.get()}) {
    EXPECT_THAT(handle->Attach(second),
                StatusIs(absl::StatusCode::kAlreadyExists));
  }
  EXPECT_EQ(second->attached(), 0u);
  EXPECT_OK(handle_->Detach());
  EXPECT_EQ(handle_->share(), nullptr);
  EXPECT_EQ(core->attached(), 0u);
  EXPECT_THAT(handle_->Detach(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_OK(other->Attach(second));
  other->Release();
  EXPECT_EQ(second->attached(), 0u);
}

// Its CURLSH is freed once the last handle has moved to the next one.
TEST_F(HandleMembershipTest, MovesToTheNewestAtItsNextTransfer) {
  const int64_t before = ShareHandle::live_count();
  const RefPtr<ShareCore> core = NewCore(locks_);
  ASSERT_OK(handle_->Attach(core));
  ASSERT_OK(core->ChangeKinds(LockData::kPsl, {}));
  EXPECT_EQ(ShareHandle::live_count(), before + 2);
  ASSERT_OK(handle_->Enter(Mode::kUse));
  handle_->Leave();
  EXPECT_EQ(ShareHandle::live_count(), before + 2) << "moved without need";
  ASSERT_OK(handle_->Enter(Mode::kTransfer));
  EXPECT_EQ(ShareHandle::live_count(), before + 1);
  handle_->Leave();
  EXPECT_OK(core->Close(absl::InfiniteFuture(), /*cancel=*/false));
  EXPECT_EQ(ShareHandle::live_count(), before);
}

// Who holds it when the share closes takes it out.
TEST_F(HandleMembershipTest, LeavesAClosingShareAtTheEndOfWhateverHoldsIt) {
  for (const bool from_outside : {false, true}) {
    const RefPtr<ShareCore> core = NewCore(locks_);
    ASSERT_OK(handle_->Attach(core));
    if (from_outside) {
      ASSERT_TRUE(keeper().TryHold(ConnectionKeeper::Purpose::kClose));
    } else {
      ASSERT_OK(handle_->Enter(Mode::kUse));
    }
    EXPECT_THAT(core->Close(absl::InfinitePast(), /*cancel=*/true),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_EQ(core->attached(), 1u);
    if (from_outside) {
      keeper().EndHold();
    } else {
      handle_->Leave();
    }
    EXPECT_EQ(core->attached(), 0u);
    EXPECT_TRUE(core->closed());
    EXPECT_EQ(handle_->share(), nullptr);
  }
}

// Its owner goes where libcurl must not be called: inside a callback that runs
// under a lock of a share. The CURL* stays attached, and can be used and
// cleaned up at any later time; what it needs for that is never freed.
TEST_F(HandleMembershipTest, WhatCannotBeDetachedKeepsItsShare) {
  const int64_t before = ShareHandle::live_count();
  {
    const RefPtr<ShareCore> core = NewCore(locks_);
    ASSERT_OK(handle_->Attach(core));
    KindLocks other(nullptr);
    KindLocks::Lock(nullptr, CURL_LOCK_DATA_DNS, CURL_LOCK_ACCESS_SINGLE,
                    &other);
    handle_->Release();
    released_ = true;
    KindLocks::Unlock(nullptr, CURL_LOCK_DATA_DNS, &other);
    EXPECT_EQ(core->attached(), 0u);
    const uint64_t taken = locks_->stats(CURL_LOCK_DATA_DNS).taken;
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_URL, "http://127.0.0.1:1"),
              CURLE_OK);
    EXPECT_EQ(curl_easy_perform(curl_.get()), CURLE_COULDNT_CONNECT);
    EXPECT_GT(locks_->stats(CURL_LOCK_DATA_DNS).taken, taken) << "not attached";
    // It may do so on another thread, while the share goes.
    curl_.reset();
    EXPECT_OK(core->Close(absl::InfiniteFuture(), /*cancel=*/false));
  }
  EXPECT_EQ(ShareHandle::live_count(), before + 1);
}

}  // namespace
}  // namespace curlshare::internal
