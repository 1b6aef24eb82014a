// SPDX-License-Identifier: Apache-2.0
// The table of all attached handles. It reads addresses alone: the CURL*s here
// are none.
#include "curlshare/share/internal/attached_handles.h"

#include <curl/curl.h>

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

// More than there are mutexes, in chains of several: each is found, whatever
// enters and leaves on other threads meanwhile.
TEST_F(AttachedHandlesTest, ThreadsFindTheirOwn) {
  constexpr size_t kThreads = 4;
  RunThreads(kThreads, [this](size_t thread) {
    std::vector<RefPtr<Handle>> handles;
    for (size_t i = thread; i < kHandles; i += kThreads) {
      handles.push_back(NewHandle(i));
      EXPECT_EQ(EnterAttached(handles.back().get()), nullptr);
    }
    for (size_t i = 0; i < handles.size(); ++i) {
      const RefPtr<Handle> other = NewHandle(thread + i * kThreads);
      EXPECT_EQ(EnterAttached(other.get()).get(), handles[i].get());
      LeaveAttached(handles[i].get());
      EXPECT_EQ(EnterAttached(other.get()), nullptr);
      LeaveAttached(other.get());
    }
  });
}

}  // namespace
}  // namespace curlshare::internal
