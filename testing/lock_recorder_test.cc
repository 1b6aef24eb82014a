// SPDX-License-Identifier: Apache-2.0
#include "curlshare/testing/lock_recorder.h"

#include <curl/curl.h>

#include <set>
#include <thread>

#include "absl/synchronization/notification.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

// As libcurl calls the observer, around what a lock protects.
void LockAndUnlock(LockRecorder& recorder, curl_lock_data kind) {
  recorder.OnLocked(kind);
  recorder.OnUnlocking(kind);
}

TEST(LockRecorder, RecordsKindsThreadsAndOrder) {
  LockRecorder recorder;
  recorder.OnLocked(CURL_LOCK_DATA_COOKIE);
  LockAndUnlock(recorder, CURL_LOCK_DATA_PSL);
  EXPECT_EQ(recorder.held(), 1);
  std::thread::id other;
  std::thread([&] {
    other = std::this_thread::get_id();
    LockAndUnlock(recorder, CURL_LOCK_DATA_DNS);
  }).join();
  recorder.OnUnlocking(CURL_LOCK_DATA_COOKIE);

  EXPECT_EQ(recorder.held(), 0);
  EXPECT_EQ(recorder.taken(CURL_LOCK_DATA_COOKIE), 1);
  EXPECT_EQ(recorder.taken(CURL_LOCK_DATA_HSTS), 0);
  EXPECT_EQ(recorder.kinds(),
            (std::set<curl_lock_data>{CURL_LOCK_DATA_COOKIE, CURL_LOCK_DATA_PSL,
                                      CURL_LOCK_DATA_DNS}));
  const auto events = recorder.events();
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0].kind, CURL_LOCK_DATA_COOKIE);
  EXPECT_TRUE(events[0].locked);
  EXPECT_EQ(events[0].thread, std::this_thread::get_id());
  EXPECT_EQ(events[3].kind, CURL_LOCK_DATA_DNS);
  EXPECT_EQ(events[3].thread, other);
  EXPECT_EQ(events[5].kind, CURL_LOCK_DATA_COOKIE);
  EXPECT_FALSE(events[5].locked);
  recorder.Clear();
  EXPECT_TRUE(recorder.events().empty());
}

TEST(LockRecorder, BlocksTheNextThreadThatLocksTheKind) {
  LockRecorder recorder;
  recorder.BlockNext(CURL_LOCK_DATA_DNS);
  LockAndUnlock(recorder, CURL_LOCK_DATA_PSL);  // not that one
  absl::Notification passed;
  std::thread blocked([&] {
    LockAndUnlock(recorder, CURL_LOCK_DATA_DNS);
    passed.Notify();
  });
  recorder.WaitUntilBlocked();
  EXPECT_FALSE(passed.HasBeenNotified());
  EXPECT_EQ(recorder.held(), 1);
  LockAndUnlock(recorder, CURL_LOCK_DATA_DNS);  // the next one only
  recorder.Unblock();
  blocked.join();
  EXPECT_EQ(recorder.held(), 0);
}

TEST(LockRecorder, UnblockBeforeTheLockDisarms) {
  LockRecorder recorder;
  recorder.BlockNext(CURL_LOCK_DATA_DNS);
  recorder.Unblock();
  LockAndUnlock(recorder, CURL_LOCK_DATA_DNS);
  EXPECT_EQ(recorder.taken(CURL_LOCK_DATA_DNS), 1);
}

TEST(LockRecorder, CountsUnderConcurrency) {
  LockRecorder recorder;
  RunThreads(8, [&](int) {
    for (int i = 0; i < 100; ++i) LockAndUnlock(recorder, CURL_LOCK_DATA_DNS);
  });
  EXPECT_EQ(recorder.taken(CURL_LOCK_DATA_DNS), 800);
  EXPECT_EQ(recorder.held(), 0);
}

}  // namespace
}  // namespace curlshare::testing
