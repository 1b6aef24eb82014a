// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/owned_mutex.h"

#include <atomic>
#include <thread>  // NOLINT(build/c++11)

#include "absl/synchronization/notification.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::RunThreads;

TEST(OwnedMutexTest, KnowsItsHolder) {
  OwnedMutex mutex;
  EXPECT_FALSE(mutex.HeldByThisThread());
  mutex.Lock();
  EXPECT_TRUE(mutex.HeldByThisThread());
  RunThreads(1, [&](int) {
    EXPECT_FALSE(mutex.HeldByThisThread());
    const bool locked = mutex.TryLock();
    EXPECT_FALSE(locked);
    if (locked) mutex.Unlock();
  });
  EXPECT_TRUE(mutex.HeldByThisThread());
  mutex.Unlock();
  EXPECT_FALSE(mutex.HeldByThisThread());
}

// The holder goes on only when the other has given up spinning and waits: only
// Unlock can wake it.
TEST(OwnedMutexTest, UnlockWakesWhoWaits) {
  constexpr int kRounds = 1000;
  OwnedMutex mutex;
  int count = 0;
  for (int round = 0; round < kRounds; ++round) {
    absl::Notification held;
    RunThreads(2, [&](int thread) {
      if (thread == 0) {
        mutex.Lock();
        held.Notify();
        while (!mutex.MayHaveWaiters()) std::this_thread::yield();
      } else {
        held.WaitForNotification();
        mutex.Lock();
      }
      EXPECT_TRUE(mutex.HeldByThisThread());
      ++count;
      mutex.Unlock();
    });
  }
  EXPECT_EQ(count, 2 * kRounds);
}

TEST(OwnedMutexTest, OneThreadAtATime) {
  constexpr int kRounds = 20000;
  OwnedMutex mutex;
  std::atomic<int> inside{0};
  int count = 0;
  RunThreads(4, [&](int) {
    for (int i = 0; i < kRounds; ++i) {
      mutex.Lock();
      EXPECT_EQ(inside.fetch_add(1), 0);
      ++count;
      inside.fetch_sub(1);
      mutex.Unlock();
    }
  });
  EXPECT_EQ(count, 4 * kRounds);
}

}  // namespace
}  // namespace curlshare::internal
