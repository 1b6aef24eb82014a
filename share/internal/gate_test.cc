// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/gate.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::RunThreads;

TEST(Gate, LetsOneThreadInAtATime) {
  Gate gate;
  constexpr int kThreads = 8;
  constexpr int kRounds = 1000;
  int64_t inside = 0;  // unguarded but for the gate: TSan would tell
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_TRUE(gate.Enter());
      ++inside;
      gate.Leave();
    }
  });
  EXPECT_EQ(inside, kThreads * kRounds);
  EXPECT_EQ(gate.stats().taken, uint64_t{kThreads * kRounds});
}

TEST(Gate, Nests) {
  Gate gate;
  EXPECT_FALSE(gate.OwnedByThisThread());
  EXPECT_TRUE(gate.Enter());
  EXPECT_TRUE(gate.Enter(absl::InfinitePast()));
  EXPECT_EQ(gate.depth(), 2);
  EXPECT_EQ(GetThisThread().gates_held, 1);
  gate.Leave();
  EXPECT_TRUE(gate.OwnedByThisThread());
  std::thread([&] { EXPECT_FALSE(gate.Enter(absl::InfinitePast())); }).join();
  gate.Leave();
  EXPECT_FALSE(gate.OwnedByThisThread());
  EXPECT_EQ(GetThisThread().gates_held, 0);
  EXPECT_EQ(gate.stats().taken, 1u);
}

TEST(Gate, AWaitCanBeCancelled) {
  Gate gate;
  int a = 0;
  int b = 0;
  EXPECT_FALSE(gate.CancelWaits(&a)) << "nobody waits";
  ASSERT_TRUE(gate.Enter());
  std::thread cancelled(
      [&] { EXPECT_FALSE(gate.Enter(absl::InfiniteFuture(), &a)); });
  std::thread other([&] {
    EXPECT_TRUE(gate.Enter(absl::InfiniteFuture(), &b));
    gate.Leave();
  });
  while (!gate.CancelWaits(&a)) std::this_thread::yield();
  cancelled.join();
  gate.Leave();
  other.join();
}

// Who stops a wait does so before CancelWaits can find it.
TEST(Gate, AWaitThatIsStoppedBeforeItBeginsIsNone) {
  Gate gate;
  int who = 0;
  std::atomic<bool> stop{false};
  ASSERT_TRUE(gate.Enter());
  std::thread([&] {
    stop = true;
    EXPECT_FALSE(gate.CancelWaits(&who));
    bool cancelled = false;
    EXPECT_FALSE(
        gate.Enter(absl::Now() + absl::Seconds(60), &who, &cancelled, &stop));
    EXPECT_TRUE(cancelled) << "it waited until the deadline";
  }).join();
  gate.Leave();
}

TEST(Gate, GivesUpAtTheDeadline) {
  Gate gate;
  ASSERT_TRUE(gate.Enter());
  std::thread([&] {
    const absl::Time deadline = absl::Now() + absl::Milliseconds(10);
    EXPECT_FALSE(gate.Enter(deadline));
    EXPECT_GE(absl::Now(), deadline);
    EXPECT_FALSE(gate.OwnedByThisThread());
  }).join();
  EXPECT_EQ(gate.stats().contended, 0u) << "counts those who got in";
  // Whoever gave up is not in the way of others.
  absl::Notification waits;
  std::thread next([&] {
    waits.Notify();
    EXPECT_TRUE(gate.Enter());
    gate.Leave();
  });
  waits.WaitForNotification();
  gate.Leave();
  next.join();
}

// Also where the owner leaves right after it has cancelled: who was told that
// its wait has ended does not get in.
TEST(Gate, ACancelledWaitNeverGetsIn) {
  constexpr int kTimes = 200;
  const int who = 0;
  for (int i = 0; i < kTimes; ++i) {
    Gate gate;
    ASSERT_TRUE(gate.Enter());
    bool entered = false;
    bool cancelled = false;
    std::thread waiting([&] {
      entered = gate.Enter(absl::InfiniteFuture(), &who, &cancelled);
    });
    std::thread next([&] {
      EXPECT_TRUE(gate.Enter());
      gate.Leave();
    });
    while (!gate.CancelWaits(&who)) std::this_thread::yield();
    gate.Leave();
    waiting.join();
    next.join();
    EXPECT_FALSE(entered);
    EXPECT_TRUE(cancelled);
  }
}

TEST(Gate, AWaitThatIsTooLongIsNotCancelled) {
  Gate gate;
  ASSERT_TRUE(gate.Enter());
  std::thread([&] {
    bool cancelled = false;
    EXPECT_FALSE(
        gate.Enter(absl::Now() + absl::Milliseconds(5), &gate, &cancelled));
    EXPECT_FALSE(cancelled);
  }).join();
  gate.Leave();
}

// 64 threads that always want in, as transfers of one share do when all are
// ready at once: none may be left behind. The longest and the median wait are
// in the test's XML.
TEST(Gate, StarvesNobody) {
  Gate gate;
  constexpr int kThreads = 64;
  constexpr int kRounds = 300;
  std::atomic<int> entered{0};
  struct Entry {
    absl::Duration wait;
    int overtaken_by;  // how often others got in meanwhile
  };
  std::vector<std::vector<Entry>> entries(kThreads);
  RunThreads(kThreads, [&](int thread) {
    for (int i = 0; i < kRounds; ++i) {
      const int before = entered;
      const absl::Time start = absl::Now();
      ASSERT_TRUE(gate.Enter());
      const absl::Time now = absl::Now();
      entries[thread].push_back({now - start, entered++ - before});
      while (absl::Now() < now + absl::Microseconds(20)) {
      }
      gate.Leave();
    }
  });
  std::vector<absl::Duration> waits;
  int most_overtaken = 0;
  for (const auto& of_thread : entries) {
    for (const Entry& entry : of_thread) {
      waits.push_back(entry.wait);
      most_overtaken = std::max(most_overtaken, entry.overtaken_by);
    }
  }
  std::sort(waits.begin(), waits.end());
  RecordProperty("median_wait_us",
                 absl::ToInt64Microseconds(waits[waits.size() / 2]));
  RecordProperty("longest_wait_us", absl::ToInt64Microseconds(waits.back()));
  RecordProperty("most_overtaken", most_overtaken);
  // Once it has lost its patience, a thread is behind the 63 others at most. A
  // starved one would wait for nearly all.
  EXPECT_LT(most_overtaken, kThreads * kRounds / 2);
  const KindLockStats stats = gate.stats();
  EXPECT_EQ(stats.taken, uint64_t{kThreads * kRounds});
  EXPECT_GT(stats.contended, 0u);
  EXPECT_GE(stats.total_wait, stats.longest_wait);
  EXPECT_GT(stats.longest_wait, absl::ZeroDuration());
}

}  // namespace
}  // namespace curlshare::internal
