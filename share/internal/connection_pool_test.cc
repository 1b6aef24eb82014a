// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/connection_pool.h"

#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"
#include "curlshare/share/libcurl_info.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

constexpr OriginKey kA = 1;
constexpr OriginKey kB = 2;

// A handle as the pool sees one.
class FakeKeeper final : public ConnectionKeeper {
 public:
  explicit FakeKeeper(ConnectionPool& pool) : pool_(pool) {}
  ~FakeKeeper() {
    if (multi_ != nullptr) pool_.Remove(multi_.get());
  }

  bool TryHold(Purpose purpose) override {
    if (busy || (purpose == Purpose::kLend && !lends)) return false;
    busy = true;
    return true;
  }
  bool CanHold() const override { return !busy; }
  bool IsHeld() const override { return busy; }
  bool LetGo() override { return lets_go || (lends = false); }
  void Surrender() override { (void)multi_.release(); }
  void EndHold() override { busy = false; }

  MultiHandle* multi() const { return multi_.get(); }
  // A transfer that opens a connection where there is none.
  void Transfer(OriginKey key, absl::string_view partition = "") {
    busy = true;
    MultiHandle* multi = pool_.Borrow(key, partition, this, multi_.get());
    const bool is_new = multi == nullptr;
    std::unique_ptr<MultiHandle> previous;
    if (is_new) {
      std::unique_ptr<MultiHandle> made = MultiHandle::Create().value();
      made->partition = std::string(partition);
      multi = made.release();
      pool_.Add(multi, this);
    }
    if (multi != multi_.get()) {
      previous = std::move(multi_);
      multi_.reset(multi);
    }
    opened = multi->Find(key) == nullptr;
    if (previous != nullptr) pool_.GiveBack(std::move(previous));
    if (!pool_.OnTransferEnd(*multi, key, opened ? 1 : 0,
                             /*redirected=*/false, /*alive=*/true)) {
      pool_.Close(std::move(multi_), ConnectionPool::Reason::kOverCap);
    }
    busy = false;
  }
  void Go() {
    if (multi_ != nullptr) pool_.GiveBack(std::move(multi_));
  }

  bool busy = false;
  bool lends = true;
  bool lets_go = true;
  bool opened = false;

 private:
  ConnectionPool& pool_;
  std::unique_ptr<MultiHandle> multi_;
};

class ConnectionPoolTest : public ::testing::Test {
 protected:
  ConnectionPoolTest() { EXPECT_TRUE(InitLibcurl().ok()); }
};

TEST_F(ConnectionPoolTest, LendsTheLastUsedFirst) {
  ConnectionPool pool({});
  MultiHandle* last = nullptr;
  {
    FakeKeeper first(pool);
    FakeKeeper second(pool);
    first.busy = true;
    first.Transfer(kA);
    first.busy = true;  // so that the second needs its own
    second.Transfer(kA);
    EXPECT_TRUE(second.opened);
    last = second.multi();
    first.Go();
    second.Go();
  }
  FakeKeeper third(pool);
  third.Transfer(kA);
  EXPECT_FALSE(third.opened);
  EXPECT_EQ(third.multi(), last);
}

TEST_F(ConnectionPoolTest, TakesOneOverFromAnIdleKeeperThatLetsGo) {
  ConnectionPool pool({});
  FakeKeeper keeper(pool);
  keeper.Transfer(kA);
  MultiHandle* const multi = keeper.multi();
  {
    FakeKeeper other(pool);
    keeper.lends = false;
    other.Transfer(kA);
    EXPECT_TRUE(other.opened);
    keeper.lends = true;
    keeper.lets_go = false;
    FakeKeeper third(pool);
    other.busy = true;
    third.Transfer(kA);
    EXPECT_TRUE(third.opened);
    EXPECT_FALSE(keeper.busy) << "it is held no more";
  }
  keeper.lends = keeper.lets_go = true;
  FakeKeeper taker(pool);
  taker.Transfer(kA);
  EXPECT_FALSE(taker.opened);
  EXPECT_EQ(taker.multi(), multi);
  EXPECT_EQ(keeper.multi(), nullptr);
  EXPECT_FALSE(keeper.busy);
}

TEST_F(ConnectionPoolTest, TakesNothingFromAKeeperInUse) {
  ConnectionPool pool({});
  FakeKeeper keeper(pool);
  keeper.Transfer(kA);
  keeper.busy = true;
  FakeKeeper other(pool);
  other.Transfer(kA);
  EXPECT_TRUE(other.opened);
  EXPECT_EQ(pool.stats().in_use, 1u);
  EXPECT_EQ(pool.stats().idle, 1u);
  EXPECT_EQ(pool.CloseIdle(absl::ZeroDuration()), 1u);
  EXPECT_NE(keeper.multi(), nullptr);
  EXPECT_EQ(other.multi(), nullptr);
}

TEST_F(ConnectionPoolTest, KeepsPartitionsApart) {
  ConnectionPool pool({});
  {
    FakeKeeper alice(pool);
    alice.Transfer(kA, "alice");
    FakeKeeper bob(pool);
    bob.Transfer(kA, "bob");
    EXPECT_TRUE(bob.opened) << "kept by another";
    alice.Go();
    FakeKeeper carol(pool);
    carol.Transfer(kA, "carol");
    EXPECT_TRUE(carol.opened) << "idle";
    carol.Go();
    FakeKeeper dave(pool);
    dave.Transfer(kB, "dave");
    EXPECT_EQ(dave.multi()->connection_count, 1) << "not a spare one either";
  }
  FakeKeeper alice(pool);
  alice.Transfer(kA, "alice");
  EXPECT_FALSE(alice.opened);
}

TEST_F(ConnectionPoolTest, OneMultiHandleServesSeveralOrigins) {
  ConnectionPool pool({});
  MultiHandle* multi = nullptr;
  for (OriginKey key = 1; key <= MultiHandle::kMaxConnections; ++key) {
    FakeKeeper keeper(pool);
    keeper.Transfer(key);
    if (multi == nullptr) multi = keeper.multi();
    EXPECT_EQ(keeper.multi(), multi);
    keeper.Go();
  }
  EXPECT_EQ(pool.stats().idle, size_t{MultiHandle::kMaxConnections});
  // It is full: the next gets another.
  FakeKeeper keeper(pool);
  keeper.Transfer(1000);
  EXPECT_NE(keeper.multi(), multi);
}

TEST_F(ConnectionPoolTest, ClosesTheLeastRecentlyUsedOverTheCap) {
  ConnectionOptions options;
  options.max_idle = 2;
  ConnectionPool pool(options);
  FakeKeeper keepers[4] = {FakeKeeper(pool), FakeKeeper(pool), FakeKeeper(pool),
                           FakeKeeper(pool)};
  for (OriginKey key = 1; key <= 4; ++key) {
    FakeKeeper& keeper = keepers[key - 1];
    keeper.Transfer(key);
    // Longer than the resolution of the clock.
    const int64_t then = CoarseNow();
    while (CoarseNow() == then) std::this_thread::yield();
  }
  EXPECT_EQ(keepers[0].multi(), nullptr);
  EXPECT_EQ(keepers[1].multi(), nullptr);
  EXPECT_NE(keepers[2].multi(), nullptr);
  EXPECT_NE(keepers[3].multi(), nullptr);
  EXPECT_EQ(pool.stats().closed_over_cap, 2u);
}

// Also one that was kept, unused, while others came and went.
TEST_F(ConnectionPoolTest, IdleOnesAreInTheOrderOfTheirLastUse) {
  ConnectionPool pool({});
  FakeKeeper old(pool);
  old.Transfer(kA);
  const int64_t then = CoarseNow();
  while (CoarseNow() - then < 30'000'000) std::this_thread::yield();
  {
    FakeKeeper young(pool);
    young.lends = false;
    young.Transfer(kB);
    young.Go();
  }
  old.Go();
  EXPECT_EQ(pool.stats().idle, 2u);
  EXPECT_EQ(pool.CloseIdle(absl::Milliseconds(20)), 1u);
  FakeKeeper keeper(pool);
  keeper.Transfer(kB);
  EXPECT_FALSE(keeper.opened) << "the young one went";
}

TEST_F(ConnectionPoolTest, DoesNotLendAnIdleOneThatIsTooOld) {
  ConnectionOptions options;
  options.max_lifetime = absl::Milliseconds(20);
  ConnectionPool pool(options);
  FakeKeeper first(pool);
  first.Transfer(kA);
  first.Go();
  const int64_t then = CoarseNow();
  while (CoarseNow() - then < 30'000'000) std::this_thread::yield();
  FakeKeeper second(pool);
  second.Transfer(kA);
  EXPECT_TRUE(second.opened);
  EXPECT_EQ(pool.stats().closed_old, 1u);
}

TEST_F(ConnectionPoolTest, KeepsNothingIdleWhileShut) {
  ConnectionPool pool({});
  FakeKeeper keeper(pool);
  keeper.Transfer(kA);
  pool.Shut();
  keeper.Go();
  EXPECT_EQ(pool.stats().idle, 0u);
  pool.Open();
  keeper.Transfer(kA);
  keeper.Go();
  EXPECT_EQ(pool.stats().idle, 1u);
}

TEST_F(ConnectionPoolTest, CountsWhatHasGoneAlong) {
  ConnectionPool pool({});
  {
    FakeKeeper keeper(pool);
    keeper.Transfer(kA);
    keeper.Transfer(kA);
    keeper.Transfer(kA);
  }
  const ConnectionStats stats = pool.stats();
  EXPECT_EQ(stats.opened, 1u);
  EXPECT_EQ(stats.reused, 2u);
  EXPECT_EQ(stats.idle, 0u);
}

// ---- Limits on transfers

ConnectionOptions OneAtATime() {
  ConnectionOptions options;
  options.max_transfers_per_host = 1;
  return options;
}

const auto kNever = [] { return false; };

TEST(ConnectionPoolSlots, AreHandedOverInOrderOfArrival) {
  ConnectionPool pool(OneAtATime());
  ASSERT_EQ(pool.BeginTransfer(kA, absl::InfiniteFuture(), kNever),
            ConnectionPool::Slot::kHave);
  // Another host has its own.
  ASSERT_EQ(pool.BeginTransfer(kB, absl::InfinitePast(), kNever),
            ConnectionPool::Slot::kHave);
  pool.EndTransfer(kB);
  constexpr int kThreads = 4;
  int order = 0;  // who has the slot
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    absl::Notification about_to;
    threads.emplace_back([&, i] {
      bool told = false;
      EXPECT_EQ(pool.BeginTransfer(kA, absl::InfiniteFuture(),
                                   [&] {
                                     // Asked when it is in the line.
                                     if (!told) about_to.Notify();
                                     told = true;
                                     return false;
                                   }),
                ConnectionPool::Slot::kHave);
      EXPECT_EQ(order++, i);
      pool.EndTransfer(kA);
    });
    about_to.WaitForNotification();
  }
  EXPECT_TRUE(pool.HasWaiters(kA));
  pool.EndTransfer(kA);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(pool.HasWaiters(kA));
  EXPECT_EQ(pool.stats().waited, uint64_t{kThreads});
}

TEST(ConnectionPoolSlots, AWaitEndsAtTheDeadlineOrWhenCancelled) {
  ConnectionPool pool(OneAtATime());
  ASSERT_EQ(pool.BeginTransfer(kA, absl::InfiniteFuture(), kNever),
            ConnectionPool::Slot::kHave);
  EXPECT_EQ(pool.BeginTransfer(kA, absl::Now() + absl::Milliseconds(5), kNever),
            ConnectionPool::Slot::kTimedOut);
  std::atomic<bool> cancelled{false};
  absl::Notification waits;
  bool told = false;
  std::thread thread([&] {
    EXPECT_EQ(pool.BeginTransfer(kA, absl::InfiniteFuture(),
                                 [&] {
                                   if (!told) waits.Notify();
                                   told = true;
                                   return cancelled.load();
                                 }),
              ConnectionPool::Slot::kCancelled);
  });
  waits.WaitForNotification();
  cancelled = true;
  pool.WakeWaiters();
  thread.join();
  // The slot is not lost.
  pool.EndTransfer(kA);
  EXPECT_EQ(pool.BeginTransfer(kA, absl::InfinitePast(), kNever),
            ConnectionPool::Slot::kHave);
}

}  // namespace
}  // namespace curlshare::internal
