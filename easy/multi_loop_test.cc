// SPDX-License-Identifier: Apache-2.0
// Transfers on a multi handle of the user's own, in a share: how a close ends
// them, and on which threads they may begin and end.
#include <curl/curl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kCancelled = absl::StatusCode::kCancelled;

// Far more than anything here takes; a test that needs it fails.
absl::Time Soon() { return absl::Now() + absl::Seconds(60); }
// Longer than that: who is not woken up comes too late.
constexpr int kPollMilliseconds = 300'000;

size_t Drop(char*, size_t size, size_t count, void*) { return size * count; }

class MultiLoopTest : public ::testing::Test {
 protected:
  MultiLoopTest() {
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_WRITEFUNCTION, drop),
              CURLE_OK);
    SetUrl("/");
    auto attachment = share_->Attach(curl_.get());
    EXPECT_OK(attachment.status());
    attachment_ = *std::move(attachment);
  }
  ~MultiLoopTest() override {
    server_->ReleaseStalled();
    attachment_ = Attachment();
    EXPECT_OK(share_->Close());
  }

  void SetUrl(absl::string_view path) {
    auto use = attachment_.BeginUse();
    EXPECT_EQ(
        curl_easy_setopt(curl_.get(), CURLOPT_URL, server_->url(path).c_str()),
        CURLE_OK);
  }
  TransferOptions WakesTheLoop() {
    TransferOptions options;
    options.on_cancel = [this] {
      ++woken_;
      EXPECT_EQ(curl_multi_wakeup(multi_.get()), CURLM_OK);
    };
    return options;
  }
  // One transfer, as a loop does it.
  CURLcode Run(const Attachment::Transfer& transfer) {
    EXPECT_EQ(curl_multi_add_handle(multi_.get(), curl_.get()), CURLM_OK);
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    int running = 1;
    while (running > 0 && !transfer.cancelled()) {
      EXPECT_EQ(curl_multi_perform(multi_.get(), &running), CURLM_OK);
      int messages = 0;
      if (const CURLMsg* const message =
              curl_multi_info_read(multi_.get(), &messages);
          message != nullptr) {
        code = message->data.result;
      } else if (running > 0) {
        EXPECT_EQ(curl_multi_poll(multi_.get(), nullptr, 0, kPollMilliseconds,
                                  nullptr),
                  CURLM_OK);
      }
    }
    EXPECT_EQ(curl_multi_remove_handle(multi_.get(), curl_.get()), CURLM_OK);
    return code;
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  const std::unique_ptr<Share> share_ = Share::Create().value();
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{
      curl_easy_init(), &curl_easy_cleanup};
  // Goes before the handle: see Attachment::BeginTransfer.
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi_{
      curl_multi_init(), &curl_multi_cleanup};
  Attachment attachment_;
  std::atomic<int> woken_{0};
};

// The loop polls for a server that stalls; nothing but the hook ends its poll.
TEST_F(MultiLoopTest, ACloseWakesTheLoop) {
  SetUrl("/stall");
  std::thread loop([&] {
    auto transfer = attachment_.BeginTransfer(WakesTheLoop());
    ASSERT_OK(transfer.status());
    EXPECT_THAT(transfer->End(Run(*transfer)), StatusIs(kCancelled));
    EXPECT_FALSE(attachment_.attached());
  });
  ASSERT_TRUE(server_->WaitForStalled(1, Soon()));
  EXPECT_OK(share_->CloseNow(Soon()));
  loop.join();
  EXPECT_EQ(woken_, 1);
}

TEST_F(MultiLoopTest, ACancelWakesItOnceAndNeverAfterTheEnd) {
  SetUrl("/stall");
  std::thread loop([&] {
    auto transfer = attachment_.BeginTransfer(WakesTheLoop());
    ASSERT_OK(transfer.status());
    EXPECT_THAT(transfer->End(Run(*transfer)), StatusIs(kCancelled));
  });
  ASSERT_TRUE(server_->WaitForStalled(1, Soon()));
  EXPECT_TRUE(attachment_.Cancel());
  loop.join();
  EXPECT_EQ(woken_, 1);
  EXPECT_FALSE(attachment_.Cancel());
  // The next transfer has no hook, and none of the one before.
  SetUrl("/");
  auto transfer = attachment_.BeginTransfer();
  ASSERT_OK(transfer.status());
  EXPECT_TRUE(attachment_.Cancel());
  EXPECT_TRUE(attachment_.Cancel());
  EXPECT_EQ(woken_, 1);
  EXPECT_OK(transfer->End(CURLE_OK));
}

// What the hook uses lives until End, which waits for a call under way.
TEST_F(MultiLoopTest, EndWaitsForTheHook) {
  absl::Notification in_hook;
  absl::Notification go_on;
  std::atomic<bool> left_hook{false};
  TransferOptions options;
  options.on_cancel = [&] {
    in_hook.Notify();
    go_on.WaitForNotification();
    left_hook = true;
  };
  auto transfer = attachment_.BeginTransfer(std::move(options));
  ASSERT_OK(transfer.status());
  std::thread canceller([&] { EXPECT_TRUE(attachment_.Cancel()); });
  in_hook.WaitForNotification();
  EXPECT_TRUE(transfer->cancelled());
  std::thread other([&] {
    // It holds nothing that others need.
    EXPECT_TRUE(attachment_.Cancel());
    go_on.Notify();
  });
  EXPECT_THAT(transfer->End(CURLE_ABORTED_BY_CALLBACK), StatusIs(kCancelled));
  EXPECT_TRUE(left_hook);
  canceller.join();
  other.join();
}

int CountProgress(void* count, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  ++*static_cast<int*>(count);
  return 0;
}

TEST_F(MultiLoopTest, TheUsersProgressFunctionStays) {
  int told = 0;
  {
    auto use = attachment_.BeginUse();
    const curl_xferinfo_callback count = &CountProgress;
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_XFERINFOFUNCTION, count),
              CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_XFERINFODATA, &told),
              CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_NOPROGRESS, 0L), CURLE_OK);
  }
  for (int i = 0; i < 2; ++i) {
    told = 0;
    auto transfer = attachment_.BeginTransfer(WakesTheLoop());
    ASSERT_OK(transfer.status());
    EXPECT_OK(transfer->End(Run(*transfer)));
    EXPECT_GT(told, 0);
  }
}

// Begun here, run and ended by the loop's thread; afterwards this thread is as
// before: a close without a deadline is not refused.
TEST_F(MultiLoopTest, ATransferMayEndOnAnotherThread) {
  TransferOptions options = WakesTheLoop();
  options.any_thread = true;
  auto begun = attachment_.BeginTransfer(std::move(options));
  ASSERT_OK(begun.status());
  std::thread loop(
      [&, transfer = std::make_optional(std::move(begun).value())]() mutable {
        EXPECT_THAT(attachment_.Perform(),
                    StatusIs(absl::StatusCode::kFailedPrecondition));
        EXPECT_OK(transfer->End(Run(*transfer)));
        transfer.reset();
        EXPECT_OK(attachment_.Perform()) << "the handle is free";
      });
  loop.join();
  EXPECT_OK(share_->Close());
  EXPECT_EQ(share_->stats().wrong_threads, 0u);
  EXPECT_EQ(server_->counts().requests, 2);
}

// The same for one that a close ends: the loop takes the handle out of the
// share, on its thread.
TEST_F(MultiLoopTest, ACloseWaitsForATransferOfAnyThread) {
  SetUrl("/stall");
  TransferOptions options = WakesTheLoop();
  options.any_thread = true;
  auto begun = attachment_.BeginTransfer(std::move(options));
  ASSERT_OK(begun.status());
  std::thread loop([&, transfer = std::move(begun).value()]() mutable {
    EXPECT_THAT(transfer.End(Run(transfer)), StatusIs(kCancelled));
  });
  ASSERT_TRUE(server_->WaitForStalled(1, Soon()));
  EXPECT_THAT(share_->Close(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_OK(share_->CloseNow(Soon()));
  loop.join();
  EXPECT_FALSE(attachment_.attached());
}

using MultiLoopDeathTest = MultiLoopTest;

TEST_F(MultiLoopDeathTest, AnEndOnTheWrongThreadIsTold) {
  // In a process of its own: this one has threads.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto end_elsewhere = [&] {
    auto transfer = attachment_.BeginTransfer();
    ASSERT_OK(transfer.status());
    std::thread([ended = std::move(transfer).value()] {}).join();
  };
#ifdef NDEBUG
  end_elsewhere();
  EXPECT_EQ(share_->stats().wrong_threads, 1u);
  EXPECT_THAT(share_->stats().ToString(), HasSubstr("wrong_threads=1"));
#else
  EXPECT_DEATH(end_elsewhere(), "ends on another thread");
#endif
}

}  // namespace
}  // namespace curlshare
