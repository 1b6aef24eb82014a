// SPDX-License-Identifier: Apache-2.0
// The table of all attached handles. It reads addresses alone: the CURL*s here
// are none.
#include "curlshare/share/internal/attached_handles.h"

#include <curl/curl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::RunThreads;

class AttachedHandlesTest : public ::testing::Test {
 protected:
  static constexpr size_t kHandles = 20'000;

  RefPtr<Handle> NewHandle(size_t i) {
    return RefPtr<Handle>(new Handle(static_cast<CURL*>(&addresses_[i])));
  }

  std::string addresses_ = std::string(kHandles, '\0');
};

TEST_F(AttachedHandlesTest, OneHandleEntersForACurl) {
  const RefPtr<Handle> first = NewHandle(0);
  const RefPtr<Handle> second = NewHandle(0);
  EXPECT_EQ(EnterAttached(first.get()), nullptr);
  EXPECT_EQ(EnterAttached(second.get()).get(), first.get());
  LeaveAttached(second.get());  // it is not in
  EXPECT_EQ(EnterAttached(second.get()).get(), first.get());
  LeaveAttached(first.get());
  EXPECT_EQ(EnterAttached(second.get()), nullptr);
  LeaveAttached(second.get());
  LeaveAttached(second.get());  // nothing happens
}

TEST_F(AttachedHandlesTest, EachIsFoundAmongMany) {
  std::vector<RefPtr<Handle>> handles;
  for (size_t i = 0; i < kHandles; ++i) {
    handles.push_back(NewHandle(i));
    EXPECT_EQ(EnterAttached(handles.back().get()), nullptr);
  }
  for (size_t i = 0; i < kHandles; ++i) {
    const RefPtr<Handle> other = NewHandle(i);
    EXPECT_EQ(EnterAttached(other.get()).get(), handles[i].get());
    LeaveAttached(handles[i].get());
    EXPECT_EQ(EnterAttached(other.get()), nullptr);
    LeaveAttached(other.get());
  }
}

// All threads want the same few: whoever enters is alone until it leaves.
TEST_F(AttachedHandlesTest, ThreadsEnterOneAtATime) {
  constexpr size_t kCurls = 4;
  constexpr int kRounds = 20'000;
  std::array<std::atomic<int>, kCurls> inside{};
  std::atomic<int> entered{0};
  RunThreads(4, [&](int /*thread*/) {
    std::vector<RefPtr<Handle>> handles;
    for (size_t i = 0; i < kCurls; ++i) handles.push_back(NewHandle(i));
    for (int round = 0; round < kRounds; ++round) {
      const size_t i = round % kCurls;
      if (EnterAttached(handles[i].get()) != nullptr) continue;
      EXPECT_EQ(inside[i].fetch_add(1, std::memory_order_relaxed), 0);
      ++entered;
      inside[i].fetch_sub(1, std::memory_order_relaxed);
      LeaveAttached(handles[i].get());
    }
  });
  EXPECT_GE(entered, kRounds);
}

}  // namespace
}  // namespace curlshare::internal
