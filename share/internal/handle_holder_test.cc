// SPDX-License-Identifier: Apache-2.0
// Who may touch a CURL* when: the table in handle_holder.h, row by row.
#include <curl/curl.h>

#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/fork_count.h"
#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/raw_handle.h"
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

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

RefPtr<ShareCore> NewCore(bool gated = false) {
  const auto locks = std::make_shared<KindLocks>(nullptr);
  return RefPtr<ShareCore>(new ShareCore(
      nullptr, /*detach_on_close=*/true,
      gated ? Concurrency::kGated : Concurrency::kAuto, {}, locks,
      ShareHandle::Create(LockData::kConnect, gated, locks).value()));
}

class HandleHolderTest : public ::testing::Test {
 protected:
  ~HandleHolderTest() override {
    handle_->Release();
    EXPECT_EQ(GetThisThread().handles_held, 0);
    EXPECT_EQ(GetThisThread().gates_held, 0);
  }

  ConnectionKeeper& keeper() { return *handle_; }

  const CurlPtr curl_{curl_easy_init()};
  const RefPtr<Handle> handle_{new Handle(curl_.get())};
};

TEST_F(HandleHolderTest, AUseNestsAndRefusesAllElse) {
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

TEST_F(HandleHolderTest, ATransferAllowsUsesOfItsThreadAndRefusesOthers) {
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

TEST_F(HandleHolderTest, AUseOfAnotherThreadIsWaitedFor) {
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
// Under a lock, which the holder may want, a release waits for nobody.
TEST_F(HandleHolderTest, AReleaseUnderALockIsMadeByWhoHoldsTheHandle) {
  const RefPtr<ShareCore> core = NewCore();
  const CurlPtr curl(curl_easy_init());
  const RefPtr<Handle> handle(new Handle(curl.get()));
  ASSERT_OK(handle->Attach(core));
  absl::Notification entered;
  absl::Notification released;
  std::thread holder([&] {
    EXPECT_OK(handle->Enter(Mode::kUse));
    entered.Notify();
    released.WaitForNotification();
    handle->Leave();
  });
  entered.WaitForNotification();
  KindLocks locks(nullptr);
  KindLocks::Lock(nullptr, CURL_LOCK_DATA_DNS, CURL_LOCK_ACCESS_SINGLE, &locks);
  handle->Release();
  KindLocks::Unlock(nullptr, CURL_LOCK_DATA_DNS, &locks);
  EXPECT_EQ(core->attached(), 1u);
  released.Notify();
  holder.join();
  EXPECT_EQ(core->attached(), 0u);
  EXPECT_OK(core->Close(absl::InfiniteFuture(), /*cancel=*/false));
}

// Told to end before it has a hook, a transfer gets none.
TEST_F(HandleHolderTest, AHookThatComesTooLateIsRefused) {
  const CurlPtr curl(curl_easy_init());
  const RefPtr<RawHandle> handle(new RawHandle(curl.get()));
  int calls = 0;
  ASSERT_OK(handle->Enter(Mode::kTransfer));
  EXPECT_TRUE(handle->Cancel());
  EXPECT_THAT(handle->SetCancelHook([&] { ++calls; }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(handle->Cancel());
  EXPECT_EQ(calls, 0);
  handle->Leave();
  // The next one does.
  ASSERT_OK(handle->Enter(Mode::kTransfer));
  EXPECT_OK(handle->SetCancelHook([&] { ++calls; }));
  EXPECT_TRUE(handle->Cancel());
  EXPECT_EQ(calls, 1);
  handle->ClearCancelHook();
  handle->Leave();
  handle->Release();
}

TEST_F(HandleHolderTest, IsHeldFromOutsideOnlyWhileItIsIdle) {
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

TEST_F(HandleHolderTest, OfAGatedGenerationIsHeldInsideTheGateOnly) {
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

// ---- A token

// Calls `hook`, once, when it has been entered for a transfer, neither the
// holder nor waiting for the gate yet.
class HookedHandle final : public Handle {
 public:
  explicit HookedHandle(CURL* curl) : Handle(curl) {}
  long timeout_ms() const override {
    if (hook) std::exchange(hook, nullptr)();
    return 60'000;
  }
  mutable std::function<void()> hook;
};

class TokenTest : public ::testing::Test {
 protected:
  TokenTest() { EXPECT_OK(handle_->Attach(core_)); }
  ~TokenTest() override {
    handle_->hook = nullptr;
    handle_->Release();
  }
  // Whether the transfer ran, as `status` ended.
  bool Runs(const CancelToken& token, absl::StatusCode status) {
    bool ran = false;
    EXPECT_THAT(handle_->RunEntered(&token,
                                    [&](absl::Duration) {
                                      ran = true;
                                      return absl::OkStatus();
                                    }),
                StatusIs(status));
    return ran;
  }

  const CurlPtr curl_{curl_easy_init()};
  const RefPtr<ShareCore> core_ = NewCore(/*gated=*/true);
  const RefPtr<HookedHandle> handle_{new HookedHandle(curl_.get())};
};

// To become the holder forgets a Cancel() of before: not that of a token.
TEST_F(TokenTest, CancelledBetweenTheCheckAndTheStartRunsNothing) {
  CancelToken token;
  handle_->hook = [&] {
    EXPECT_FALSE(handle_->Cancel()) << "there is nothing to end yet";
    token.Cancel();
  };
  EXPECT_FALSE(Runs(token, absl::StatusCode::kCancelled));
  handle_->hook = nullptr;
  EXPECT_TRUE(Runs(CancelToken(), absl::StatusCode::kOk));
}

TEST_F(TokenTest, CancelledBetweenTheCheckAndTheWaitForTheGateDoesNotWait) {
  CancelToken token;
  handle_->hook = [&] { token.Cancel(); };
  ASSERT_OK(core_->EnterGate());
  std::thread([&] {
    EXPECT_FALSE(Runs(token, absl::StatusCode::kCancelled));
  }).join();
  core_->LeaveGate();
}

TEST_F(TokenTest, EndsAWaitForTheGate) {
  CancelToken token;
  absl::Notification entered;
  handle_->hook = [&] { entered.Notify(); };
  ASSERT_OK(core_->EnterGate());
  std::thread waits(
      [&] { EXPECT_FALSE(Runs(token, absl::StatusCode::kCancelled)); });
  entered.WaitForNotification();
  token.Cancel();  // while it waits, or just before
  waits.join();
  core_->LeaveGate();
}

// Its own transfer is told before and after that of another token.
TEST_F(TokenTest, HasNoEffectOnAnotherTransferOfTheHandle) {
  CancelToken early;
  EXPECT_TRUE(Runs(early, absl::StatusCode::kOk));
  CancelToken token;
  EXPECT_OK(handle_->RunEntered(&token, [&](absl::Duration) {
    early.Cancel();
    EXPECT_FALSE(handle_->cancelled());
    token.Cancel();
    EXPECT_TRUE(handle_->cancelled());
    return absl::OkStatus();
  }));
  EXPECT_FALSE(Runs(token, absl::StatusCode::kCancelled));
  EXPECT_TRUE(Runs(CancelToken(), absl::StatusCode::kOk));
}

// A thread that finds the handle in another's transfer gives up, and its token
// is not that one's.
TEST_F(TokenTest, OfATransferThatWasRefusedEndsNoOther) {
  CancelToken token;
  EXPECT_OK(handle_->RunEntered(nullptr, [&](absl::Duration) {
    std::thread([&] {
      handle_->hook = [&] { token.Cancel(); };
      EXPECT_FALSE(Runs(token, absl::StatusCode::kFailedPrecondition));
    }).join();
    EXPECT_FALSE(handle_->cancelled());
    return absl::OkStatus();
  }));
}

// ---- In a forked child

// As after a fork, until it goes. A real one: easy/fork_test.
class AsInAChild {
 public:
  AsInAChild() { this_process.store(CountOfChild(parent_)); }
  AsInAChild(const AsInAChild&) = delete;
  AsInAChild& operator=(const AsInAChild&) = delete;
  ~AsInAChild() { this_process.store(parent_); }

 private:
  const ForkCount parent_ = ThisProcess();
};

TEST_F(HandleHolderTest, AChildIsRefusedWhatHasTransferred) {
  const RefPtr<ShareCore> share = NewCore();
  const CurlPtr idle_curl(curl_easy_init());
  const RefPtr<Handle> idle(new Handle(idle_curl.get()));
  ASSERT_OK(idle->Attach(share));
  ASSERT_OK(handle_->Attach(share));
  ASSERT_OK(handle_->Enter(Mode::kTransfer));
  {
    const AsInAChild child;
    EXPECT_FALSE(handle_->Cancel());
  }
  handle_->Leave();
  {
    const AsInAChild child;
    for (const RefPtr<Handle>& each : {handle_, idle}) {
      for (Mode mode : {Mode::kUse, Mode::kTransfer, Mode::kChange}) {
        EXPECT_THAT(each->Enter(mode), StatusIs(kRefused));
      }
      EXPECT_THAT(each->Perform(), StatusIs(kRefused));
      EXPECT_THAT(each->Attach(NewCore()), StatusIs(kRefused));
      EXPECT_THAT(each->Detach(), StatusIs(kRefused));
      EXPECT_EQ(each->share(), nullptr);
    }
    const CurlPtr curl(curl_easy_init());
    const RefPtr<Handle> fresh(new Handle(curl.get()));
    EXPECT_THAT(fresh->Attach(share), StatusIs(kRefused));
    const RefPtr<Handle> second(new Handle(curl_.get()));
    EXPECT_THAT(second->Attach(NewCore()), StatusIs(kRefused));
    EXPECT_THAT(share->Close(absl::InfinitePast(), /*cancel=*/true),
                StatusIs(kRefused));
    EXPECT_THAT(share->ChangeKinds(LockData::kDns, {}), StatusIs(kRefused));
    EXPECT_EQ(share->CloseIdleConnections(absl::ZeroDuration()), 0U);
    EXPECT_TRUE(share->kinds().empty());
    EXPECT_EQ(share->attached(), 0U);
    EXPECT_FALSE(share->closed());
  }
  EXPECT_OK(handle_->Enter(Mode::kUse));
  handle_->Leave();
  EXPECT_EQ(share->attached(), 2U);
  idle->Release();
}

TEST_F(HandleHolderTest, AChildMayUseWhatHasNotTransferred) {
  const RefPtr<ShareCore> share = NewCore();
  ASSERT_OK(handle_->Attach(share));
  const AsInAChild child;
  EXPECT_EQ(handle_->share().get(), share.get());
  EXPECT_OK(handle_->Enter(Mode::kTransfer));
  EXPECT_TRUE(handle_->Cancel());
  handle_->Leave();
  {
    const AsInAChild grandchild;
    EXPECT_THAT(handle_->Enter(Mode::kUse), StatusIs(kRefused));
  }
  EXPECT_OK(share->Close(absl::InfiniteFuture(), /*cancel=*/false));
  // For the fixture, in the parent.
  handle_->Release();
}

TEST_F(HandleHolderTest, WhatIsReleasedInAChildStaysAsItIs) {
  const RefPtr<ShareCore> share = NewCore();
  const RefPtr<Handle> attached(new Handle(curl_.get()));
  ASSERT_OK(attached->Attach(share));
  ASSERT_OK(attached->Enter(Mode::kTransfer));
  attached->Leave();
  const CurlPtr curl(curl_easy_init());
  const RefPtr<Handle> alone(new Handle(curl.get()));
  ASSERT_OK(alone->Enter(Mode::kTransfer));
  alone->Leave();
  {
    const AsInAChild child;
    attached->Release();
    alone->Release();
    share->Abandon();
    // Another CURL* may have its address by then.
    const RefPtr<Handle> another(new Handle(curl_.get()));
    EXPECT_OK(another->Attach(NewCore()));
    another->Release();
  }
  EXPECT_EQ(share->attached(), 1U);
  EXPECT_FALSE(share->closed());
}

}  // namespace
}  // namespace curlshare::internal
