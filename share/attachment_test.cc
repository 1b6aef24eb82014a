// SPDX-License-Identifier: Apache-2.0
// What an Attachment does without a server. Transfers: easy/easy_test.cc,
// easy/connections_test.cc; more threads: easy/share_close_test.cc.
#include "curlshare/share/attachment.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// Every test ends with as many CURLSH as it began with.
class AttachmentTest : public ::testing::Test {
 protected:
  ~AttachmentTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  static std::unique_ptr<Share> NewShare(ShareOptions options = {}) {
    auto share = Share::Create(std::move(options));
    EXPECT_OK(share.status());
    return *std::move(share);
  }
  static ShareOptions Strict() {
    ShareOptions options;
    options.detach_on_close = false;
    return options;
  }

  const int64_t live_before_ = ShareHandle::live_count();
};

TEST_F(AttachmentTest, AUseOfAGatedShareNests) {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  const auto share = NewShare(options);
  const CurlPtr a(curl_easy_init());
  const CurlPtr b(curl_easy_init());
  auto attachment_a = share->Attach(a.get());
  auto attachment_b = share->Attach(b.get());
  ASSERT_OK(attachment_a.status());
  ASSERT_OK(attachment_b.status());
  auto use_a = attachment_a->BeginUse();
  ASSERT_OK(use_a.status());
  EXPECT_OK(attachment_a->BeginUse().status());
  EXPECT_OK(attachment_b->BeginUse().status());
  EXPECT_OK(attachment_b->Detach());
}

TEST_F(AttachmentTest, AttachOfNullIsInvalid) {
  EXPECT_THAT(NewShare()->Attach(nullptr).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AttachmentTest, AttachTwiceNamesTheShareThatHasTheHandle) {
  const auto share = NewShare();
  const auto other = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  for (Share* s : {share.get(), other.get()}) {
    EXPECT_THAT(s->Attach(curl.get()).status(),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         HasSubstr(share->name() + " already")));
  }
  EXPECT_TRUE(attachment->attached());
  EXPECT_EQ(share->attached(), 1u);
  EXPECT_EQ(other->attached(), 0u);
  ASSERT_OK(attachment->Detach());
  EXPECT_OK(other->Attach(curl.get()).status());
}

TEST_F(AttachmentTest, DetachTwiceIsAnError) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_OK(attachment->Detach());
  EXPECT_EQ(attachment->handle(), nullptr);
  EXPECT_THAT(attachment->Detach(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(AttachmentTest, DetachAfterTheShareClosedIsAnError) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(share->Close());
  EXPECT_THAT(attachment->Detach(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not attached")));
  EXPECT_EQ(attachment->handle(), curl.get());
}

TEST_F(AttachmentTest, AnAttachmentOfNothingAnswersEveryCall) {
  Attachment attachment;
  EXPECT_FALSE(attachment.attached());
  EXPECT_FALSE(attachment.Cancel());
  EXPECT_EQ(attachment.handle(), nullptr);
  for (const absl::Status& status :
       {attachment.Detach(), attachment.Perform(),
        attachment.BeginUse().status(), attachment.BeginTransfer().status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  }
}

TEST_F(AttachmentTest, AnAttachmentThatIsMovedKeepsTheHandleIn) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  Attachment moved = *std::move(attachment);
  EXPECT_TRUE(moved.attached());
  EXPECT_EQ(share->attached(), 1u);
  // Assigning over it lets go of the handle.
  moved = Attachment();
  EXPECT_EQ(share->attached(), 0u);
}

// ---- Orders of destruction

TEST_F(AttachmentTest, ShareGoesFirst) {
  auto share = NewShare();
  CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  share = nullptr;
  EXPECT_FALSE(attachment->attached());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  attachment = Attachment();
  curl = nullptr;
}

TEST_F(AttachmentTest, AttachmentGoesFirst) {
  auto share = NewShare();
  CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  attachment = Attachment();
  curl = nullptr;
  EXPECT_EQ(share->attached(), 0u);
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
}

TEST_F(AttachmentTest, AUseThatOutlivesItsAttachmentEndsIt) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    attachment = Attachment();
    EXPECT_EQ(share->attached(), 1u) << "the handle was taken out in use";
  }
  EXPECT_EQ(share->attached(), 0u);
}

// ---- Enable, Disable

TEST_F(AttachmentTest, UsesNest) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  auto outer = attachment->BeginUse();
  ASSERT_OK(outer.status());
  EXPECT_EQ(outer->handle(), curl.get());
  EXPECT_OK(attachment->BeginUse().status());
  EXPECT_THAT(attachment->Detach(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("in use on this thread")));
  EXPECT_THAT(attachment->Perform(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(attachment->attached());
}

TEST_F(AttachmentTest, ATransferKeepsTheShareUntilItsEnd) {
  auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  auto transfer = attachment->BeginTransfer();
  ASSERT_OK(transfer.status());
  EXPECT_THAT(share->Close(absl::Now() + absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("1 handle still in use")));
  EXPECT_FALSE(share->closed());
  EXPECT_TRUE(attachment->attached());
  // From here on the share takes nothing new.
  const CurlPtr other(curl_easy_init());
  EXPECT_THAT(
      share->Attach(other.get()).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is closing")));
  EXPECT_THAT(share->Enable(DefaultLockData()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(transfer->cancelled());
  EXPECT_THAT(share->CloseNow(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(transfer->cancelled());
  // Not within a transfer of this very thread.
  EXPECT_THAT(share->Close(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("without a deadline")));
  EXPECT_THAT(transfer->End(CURLE_ABORTED_BY_CALLBACK),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(transfer->End(CURLE_OK),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  // The last one out has freed the CURLSH.
  EXPECT_TRUE(share->closed());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  EXPECT_OK(share->Close());
}

TEST_F(AttachmentTest, CancelTellsWhetherThereWasATransfer) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_FALSE(attachment->Cancel());
  {
    auto transfer = attachment->BeginTransfer();
    ASSERT_OK(transfer.status());
    EXPECT_TRUE(attachment->Cancel());
    EXPECT_TRUE(transfer->cancelled());
  }
  EXPECT_FALSE(attachment->Cancel());
  auto next = attachment->BeginTransfer();
  ASSERT_OK(next.status());
  EXPECT_FALSE(next->cancelled()) << "an old Cancel hit a new transfer";
}

// ---- What any thread may call at any time; for ThreadSanitizer

// Calls `act`, and `ask` on another thread, over and over, from before it until
// after it.
template <typename Ask, typename Act>
void AskWhile(Ask&& ask, Act&& act) {
  // Relaxed, so that they order nothing for ThreadSanitizer.
  std::atomic<int> asked{0};
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done.load(std::memory_order_relaxed)) {
      ask();
      asked.fetch_add(1, std::memory_order_relaxed);
    }
  });
  const auto wait_for_more = [&] {
    const int before = asked.load(std::memory_order_relaxed);
    // Two, as one may have begun before.
    while (asked.load(std::memory_order_relaxed) < before + 2) {
      std::this_thread::yield();
    }
  };
  wait_for_more();
  act();
  wait_for_more();
  done.store(true, std::memory_order_relaxed);
  other.join();
}

TEST_F(AttachmentTest, CancelAndAttachedMayMeetADetach) {
  const auto share = NewShare();
  for (int round = 0; round < 100; ++round) {
    CurlPtr curl(curl_easy_init());
    auto attachment = share->Attach(curl.get());
    ASSERT_OK(attachment.status());
    AskWhile(
        [&] {
          EXPECT_FALSE(attachment->Cancel());
          (void)attachment->attached();
        },
        [&] {
          EXPECT_OK(attachment->Detach());
          // The owner may free it at once, and does what it likes.
          curl = nullptr;
          EXPECT_EQ(attachment->handle(), nullptr);
          EXPECT_THAT(attachment->Detach(),
                      StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("holds no handle")));
        });
    EXPECT_FALSE(attachment->attached());
    EXPECT_FALSE(attachment->Cancel());
    for (const absl::Status& status :
         {attachment->Perform(), attachment->BeginUse().status(),
          attachment->BeginTransfer().status()}) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
    }
    Attachment moved = *std::move(attachment);
    EXPECT_FALSE(moved.attached());
    EXPECT_EQ(moved.handle(), nullptr);
    EXPECT_THAT(moved.Perform(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  }
}

TEST_F(AttachmentTest, CancelAndAttachedMayMeetAClose) {
  for (int round = 0; round < 100; ++round) {
    const auto share = NewShare();
    const CurlPtr curl(curl_easy_init());
    auto attachment = share->Attach(curl.get());
    ASSERT_OK(attachment.status());
    AskWhile(
        [&] {
          EXPECT_FALSE(attachment->Cancel());
          (void)attachment->attached();
        },
        [&] { EXPECT_OK(share->CloseNow()); });
    EXPECT_FALSE(attachment->attached());
  }
}

TEST_F(AttachmentTest, CancelledMayMeetAnEnd) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  for (int round = 0; round < 100; ++round) {
    auto transfer = attachment->BeginTransfer();
    ASSERT_OK(transfer.status());
    AskWhile(
        [&] {
          (void)transfer->cancelled();
          attachment->Cancel();
        },
        [&] {
          transfer->End(CURLE_OK).IgnoreError();
          EXPECT_FALSE(transfer->cancelled());
          EXPECT_EQ(transfer->handle(), nullptr);
        });
  }
}

}  // namespace
}  // namespace curlshare
