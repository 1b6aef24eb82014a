// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/kind_locks.h"

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <thread>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "curlshare/testing/lock_recorder.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::LockRecorder;
using ::curlshare::testing::RunThreads;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As libcurl calls them. It is C and can pass any number as a kind; here that
// needs the sanitizer's leave.
ABSL_ATTRIBUTE_NO_SANITIZE_UNDEFINED void Lock(KindLocks& locks,
                                               curl_lock_data kind) {
  const curl_lock_function lock = &KindLocks::Lock;
  lock(nullptr, kind, CURL_LOCK_ACCESS_SINGLE, &locks);
}
ABSL_ATTRIBUTE_NO_SANITIZE_UNDEFINED void Unlock(KindLocks& locks,
                                                 curl_lock_data kind) {
  const curl_unlock_function unlock = &KindLocks::Unlock;
  unlock(nullptr, kind, &locks);
}

TEST(KindLocks, ExcludeEachOtherPerKind) {
  KindLocks locks;
  constexpr int kThreads = 8;
  constexpr int kRounds = 2000;
  // Plain ints: ThreadSanitizer, and the sum, tell whether the lock held.
  int counters[CURL_LOCK_DATA_LAST] = {};
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < kRounds; ++i) {
      for (curl_lock_data kind :
           {CURL_LOCK_DATA_SHARE, CURL_LOCK_DATA_COOKIE, CURL_LOCK_DATA_HSTS}) {
        Lock(locks, kind);
        ++counters[kind];
        Unlock(locks, kind);
      }
    }
  });
  EXPECT_EQ(counters[CURL_LOCK_DATA_COOKIE], kThreads * kRounds);
  EXPECT_EQ(counters[CURL_LOCK_DATA_HSTS], kThreads * kRounds);
  EXPECT_EQ(locks.stats(CURL_LOCK_DATA_COOKIE).taken,
            uint64_t{kThreads} * kRounds);
  EXPECT_EQ(locks.stats(CURL_LOCK_DATA_DNS).taken, 0u);
  EXPECT_EQ(locks.dropped_unlocks(), 0u);
  EXPECT_EQ(locks.out_of_range(), 0u);
}

// One mutex for all kinds deadlocks here: google-cloud-cpp issue 2711.
TEST(KindLocks, NestAsLibcurlNestsThem) {
  KindLocks locks;
  Lock(locks, CURL_LOCK_DATA_COOKIE);
  Lock(locks, CURL_LOCK_DATA_PSL);
  Unlock(locks, CURL_LOCK_DATA_PSL);
  Unlock(locks, CURL_LOCK_DATA_COOKIE);
  Lock(locks, CURL_LOCK_DATA_CONNECT);
  Lock(locks, CURL_LOCK_DATA_DNS);
  Lock(locks, CURL_LOCK_DATA_SSL_SESSION);
  Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
  Unlock(locks, CURL_LOCK_DATA_DNS);
  Unlock(locks, CURL_LOCK_DATA_CONNECT);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

// libcurl 8.20 to 8.22, curl_easy_ssls_import with bad data.
TEST(KindLocks, DropAndCountAnUnlockOfALockThatNobodyHolds) {
  KindLocks locks;
  Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
  EXPECT_EQ(locks.dropped_unlocks(), 1u);
  Lock(locks, CURL_LOCK_DATA_SSL_SESSION);  // Still works.
  Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
  Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
  EXPECT_EQ(locks.dropped_unlocks(), 2u);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

TEST(KindLocks, DropAndCountAnUnlockOfALockThatAnotherThreadHolds) {
  KindLocks locks;
  Lock(locks, CURL_LOCK_DATA_DNS);
  std::thread([&] { Unlock(locks, CURL_LOCK_DATA_DNS); }).join();
  EXPECT_EQ(locks.dropped_unlocks(), 1u);
  EXPECT_TRUE(KindLocks::ThisThreadHoldsAny()) << "the lock was taken away";
  Unlock(locks, CURL_LOCK_DATA_DNS);
}

// What libcurl locks and unlocks of the kind in between is a part of it; what
// it unlocks without having locked it is not its to unlock.
TEST(KindLocks, AHoldIsHeldUntilItEnds) {
  KindLocks locks;
  constexpr int kThreads = 4;
  int counter = 0;
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < 1000; ++i) {
      const KindLocks::Hold hold(&locks, CURL_LOCK_DATA_SSL_SESSION);
      Lock(locks, CURL_LOCK_DATA_SSL_SESSION);
      Lock(locks, CURL_LOCK_DATA_DNS);
      Unlock(locks, CURL_LOCK_DATA_DNS);
      Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
      Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
      EXPECT_TRUE(KindLocks::ThisThreadHoldsAny());
      ++counter;
    }
    EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
  });
  EXPECT_EQ(counter, kThreads * 1000);
  EXPECT_EQ(locks.dropped_unlocks(), uint64_t{kThreads} * 1000);
  // Another's lock works as ever after it.
  Lock(locks, CURL_LOCK_DATA_SSL_SESSION);
  Unlock(locks, CURL_LOCK_DATA_SSL_SESSION);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

TEST(KindLocks, IgnoreAndCountKindsThatDoNotExist) {
  KindLocks locks;
  for (int kind : {-1, 16, 17, 1 << 20}) {
    Lock(locks, static_cast<curl_lock_data>(kind));
    Unlock(locks, static_cast<curl_lock_data>(kind));
  }
  EXPECT_EQ(locks.out_of_range(), 8u);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

// The running libcurl may be newer than the headers.
TEST(KindLocks, HaveASlotForKindsToCome) {
  KindLocks locks;
  const auto next = static_cast<curl_lock_data>(CURL_LOCK_DATA_LAST);
  Lock(locks, next);
  EXPECT_TRUE(KindLocks::ThisThreadHoldsAny());
  Unlock(locks, next);
  EXPECT_EQ(locks.stats(next).taken, 1u);
  EXPECT_EQ(locks.out_of_range(), 0u);
}

TEST(KindLocks, KnowWhetherThisThreadHoldsOneOfAnyInstance) {
  KindLocks a;
  KindLocks b;
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
  Lock(a, CURL_LOCK_DATA_DNS);
  Lock(b, CURL_LOCK_DATA_DNS);
  Unlock(a, CURL_LOCK_DATA_DNS);
  EXPECT_TRUE(KindLocks::ThisThreadHoldsAny());
  std::thread([] { EXPECT_FALSE(KindLocks::ThisThreadHoldsAny()); }).join();
  Unlock(b, CURL_LOCK_DATA_DNS);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

// The first thread is inside its lock, blocked by the recorder, when the second
// one comes.
TEST(KindLocks, CountContentionAndWaits) {
  auto recorder = std::make_shared<LockRecorder>();
  KindLocks locks(recorder);
  recorder->BlockNext(CURL_LOCK_DATA_DNS);
  std::thread first([&] {
    Lock(locks, CURL_LOCK_DATA_DNS);
    Unlock(locks, CURL_LOCK_DATA_DNS);
  });
  recorder->WaitUntilBlocked();
  absl::Notification about_to_lock;
  std::thread second([&] {
    about_to_lock.Notify();
    Lock(locks, CURL_LOCK_DATA_DNS);
    Unlock(locks, CURL_LOCK_DATA_DNS);
  });
  about_to_lock.WaitForNotification();
  // Whether the second thread is in the lock by now cannot be seen from here;
  // that it was told apart from an uncontended one is only likely. Both
  // outcomes keep the figures consistent.
  recorder->Unblock();
  first.join();
  second.join();
  const KindLockStats stats = locks.stats(CURL_LOCK_DATA_DNS);
  EXPECT_EQ(stats.taken, 2u);
  EXPECT_LE(stats.contended, 1u);
  EXPECT_EQ(stats.contended > 0, stats.total_wait > absl::ZeroDuration());
  EXPECT_EQ(stats.longest_wait, stats.total_wait);
}

TEST(KindLocks, ContentionIsSeenUnderLoad) {
  KindLocks locks;
  // Until it has been seen: a deadline is the test runner's.
  while (locks.stats(CURL_LOCK_DATA_DNS).contended == 0) {
    RunThreads(4, [&](int) {
      for (int i = 0; i < 1000; ++i) {
        Lock(locks, CURL_LOCK_DATA_DNS);
        std::this_thread::yield();  // Lets the others find it taken.
        Unlock(locks, CURL_LOCK_DATA_DNS);
      }
    });
  }
  const KindLockStats stats = locks.stats(CURL_LOCK_DATA_DNS);
  EXPECT_GT(stats.total_wait, absl::ZeroDuration());
  EXPECT_GE(stats.total_wait, stats.longest_wait);
  EXPECT_LE(stats.contended, stats.taken);
}

TEST(KindLocks, TellTheObserver) {
  auto recorder = std::make_shared<LockRecorder>();
  KindLocks locks(recorder);
  Lock(locks, CURL_LOCK_DATA_COOKIE);
  EXPECT_EQ(recorder->held(), 1);
  Unlock(locks, CURL_LOCK_DATA_COOKIE);
  EXPECT_EQ(recorder->held(), 0);
  EXPECT_THAT(recorder->kinds(), ElementsAre(CURL_LOCK_DATA_COOKIE));
  ASSERT_EQ(recorder->events().size(), 2u);
  EXPECT_TRUE(recorder->events()[0].locked);
  EXPECT_FALSE(recorder->events()[1].locked);
  EXPECT_EQ(recorder->events()[0].thread, std::this_thread::get_id());
}

TEST(KindLockStats, Print) {
  KindLockStats stats;
  stats.taken = 3;
  stats.contended = 1;
  stats.total_wait = stats.longest_wait = absl::Microseconds(5);
  EXPECT_THAT(absl::StrCat(stats),
              HasSubstr("taken 3, contended 1, waited 5us (longest 5us)"));
}

}  // namespace
}  // namespace curlshare
