// Who may touch a CURL* when: the table in handle.h, row by row.
#include "curlshare/share/internal/handle.h"

#include <curl/curl.h>

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "curlshare/share/internal/connection_pool.h"
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

constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

RefPtr<ShareCore> NewCore(bool gated = false) {
  const auto locks = std::make_shared<KindLocks>(nullptr);
  return RefPtr<ShareCore>(new ShareCore(
      nullptr, /*detach_on_close=*/true,
      gated ? Concurrency::kGated : Concurrency::kAuto, {}, locks,
      ShareHandle::Create(LockData::kConnect, gated, locks).value()));
}

class HandleTest : public ::testing::Test {
 protected:
  ~HandleTest() override {
    handle_->Release();
    EXPECT_EQ(GetThisThread().handles_held, 0);
    EXPECT_EQ(GetThisThread().gates_held, 0);
  }

  ConnectionKeeper& keeper() { return *handle_; }

  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{
      curl_easy_init(), &curl_easy_cleanup};
  const RefPtr<Handle> handle_{new Handle(curl_.get())};
};

TEST_F(HandleTest, AUseNestsAndRefusesAllElse) {
  ASSERT_OK(handle_->Enter(Mode::kUse));
  EXPECT_OK(handle_->Enter(Mode::kUse));
  handle_->Leave();
  EXPECT_THAT(handle_->Enter(Mode::kTransfer), StatusIs(kRefused));
  EXPECT_THAT(handle_->Enter(Mode::kChange), StatusIs(kRefused));
  EXPECT_FALSE(handle_->Cancel());
  handle_->Leave();
  EXPECT_OK(handle_->Enter(Mode::kChange));
  handle_->Leave();
}

TEST_F(HandleTest, ATransferAllowsUsesOfItsThreadAndRefusesOthers) {
  ASSERT_OK(handle_->Enter(Mode::kTransfer));
  EXPECT_OK(handle_->Enter(Mode::kUse));
  handle_->Leave();
  EXPECT_THAT(handle_->Enter(Mode::kTransfer), StatusIs(kRefused));
  std::thread([&] {
    for (Mode mode : {Mode::kUse, Mode::kTransfer, Mode::kChange}) {
      EXPECT_THAT(handle_->Enter(mode), StatusIs(kRefused));
    }
  }).join();
  EXPECT_TRUE(handle_->Cancel());
  EXPECT_TRUE(handle_->cancelled());
  handle_->Leave();
  ASSERT_OK(handle_->Enter(Mode::kTransfer));
  EXPECT_FALSE(handle_->cancelled()) << "of the transfer before";
  handle_->Leave();
}

TEST_F(HandleTest, AUseOfAnotherThreadIsWaitedFor) {
  ASSERT_OK(handle_->Enter(Mode::kUse));
  int order = 0;  // unguarded but for the handle: ThreadSanitizer would tell
  std::thread other([&] {
    ASSERT_OK(handle_->Enter(Mode::kTransfer));
    EXPECT_EQ(order++, 1);
    handle_->Leave();
  });
  EXPECT_EQ(order++, 0);
  handle_->Leave();
  other.join();
}

// As a close, and the connection pool, visit a handle.
TEST_F(HandleTest, IsHeldFromOutsideOnlyWhileItIsIdle) {
  using Purpose = ConnectionKeeper::Purpose;
  EXPECT_FALSE(keeper().IsHeld());
  EXPECT_TRUE(keeper().CanHold());
  EXPECT_FALSE(keeper().TryHold(Purpose::kLend)) << "it has not transferred";
  for (Mode mode : {Mode::kUse, Mode::kTransfer, Mode::kChange}) {
    ASSERT_OK(handle_->Enter(mode));
    EXPECT_TRUE(keeper().IsHeld());
    EXPECT_FALSE(keeper().CanHold());
    EXPECT_FALSE(keeper().TryHold(Purpose::kClose));
    handle_->Leave();
  }
  ASSERT_TRUE(keeper().TryHold(Purpose::kClose));
  absl::Notification entered;
  std::thread owner([&] {
    // Waits for who holds it.
    EXPECT_OK(handle_->Enter(Mode::kUse));
    entered.Notify();
    handle_->Leave();
  });
  EXPECT_FALSE(entered.HasBeenNotified());
  keeper().EndHold();
  owner.join();
}

TEST_F(HandleTest, OfAGatedGenerationIsHeldInsideTheGateOnly) {
  const RefPtr<ShareCore> core = NewCore(/*gated=*/true);
  ASSERT_OK(handle_->Attach(core));
  EXPECT_TRUE(handle_->gated());
  EXPECT_FALSE(keeper().TryHold(ConnectionKeeper::Purpose::kClose));
  EXPECT_FALSE(keeper().CanHold());
  EXPECT_FALSE(keeper().IsHeld());
  ASSERT_OK(core->EnterGate());
  EXPECT_TRUE(keeper().TryHold(ConnectionKeeper::Purpose::kClose));
  keeper().EndHold();
  core->LeaveGate();
  ASSERT_OK(handle_->Detach());
  EXPECT_FALSE(handle_->gated());
}

}  // namespace
}  // namespace curlshare::internal
