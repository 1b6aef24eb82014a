// SPDX-License-Identifier: Apache-2.0
// What a Share does on one thread, without a server. Transfers:
// easy/easy_test.cc; threads: easy/share_close_test.cc.
#include "curlshare/share/share.h"

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// Every test ends with as many CURLSH as it began with.
class ShareTest : public ::testing::Test {
 protected:
  ~ShareTest() override {
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

TEST_F(ShareTest, SharesTheDefaultKindsUnlessTold) {
  const auto share = NewShare();
  EXPECT_EQ(share->lock_data(), DefaultLockData());
  EXPECT_EQ(share->options().lock_data, DefaultLockData());
  EXPECT_FALSE(share->closed());
  EXPECT_EQ(share->attached(), 0u);
}

TEST_F(ShareTest, SharesTheKindsThatItIsTold) {
  ShareOptions options;
  options.lock_data = LockData::kPsl & LockDataSet::Available();
  EXPECT_EQ(NewShare(options)->lock_data(), *options.lock_data);
  options.lock_data = LockDataSet();
  EXPECT_TRUE(NewShare(options)->lock_data().empty());
}

TEST_F(ShareTest, IsGatedWhereAKindNeedsItOnThisLibcurl) {
  EXPECT_FALSE(NewShare()->gated());
  const LockDataSet safe = ConcurrentSafeKinds(RunningLibcurl().version_num);
  for (LockData kind : LockDataSet::Available()) {
    ShareOptions options;
    options.lock_data = kind;
    EXPECT_EQ(NewShare(options)->gated(), !safe.Contains(kind))
        << LockDataName(kind);
  }
  ShareOptions options;
  options.lock_data = LockDataSet::Available();
  const auto all = NewShare(options);
  EXPECT_TRUE(all->gated());
  EXPECT_TRUE(all->stats().gated);
  ASSERT_OK(all->Close());
  EXPECT_FALSE(all->gated());
}

TEST_F(ShareTest, IsGatedOrNotAsItIsTold) {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  EXPECT_TRUE(NewShare(options)->gated());
  options.lock_data = LockDataSet();
  EXPECT_TRUE(NewShare(options)->gated());
  options.lock_data = LockDataSet::Available();
  options.concurrency = Concurrency::kUnchecked;
  EXPECT_FALSE(NewShare(options)->gated());
  options.concurrency = static_cast<Concurrency>(3);
  EXPECT_THAT(Share::Create(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// The handle that is attached crosses over at its next transfer.
TEST_F(ShareTest, BecomesGatedAndUngatedAsItsKindsChange) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_OK(attachment->BeginTransfer().status());
  ASSERT_OK(share->Enable(LockData::kHsts));
  EXPECT_TRUE(share->gated());
  EXPECT_EQ(share->stats().gate.taken, 0u);
  EXPECT_THAT(attachment->BeginTransfer().status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Attachment::Perform()")));
  EXPECT_GT(share->stats().gate.taken, 0u);
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1) << "it did not move";
  ASSERT_OK(share->Disable(LockData::kHsts));
  EXPECT_FALSE(share->gated());
  EXPECT_OK(attachment->BeginTransfer().status());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1) << "it did not move";
  EXPECT_OK(share->Close());
}

// Two threads, each inside one gate and waiting for the other's, would wait for
// each other for ever.
TEST_F(ShareTest, InsideAGateThatOfAnotherShareIsNotWaitedFor) {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  const auto share = NewShare(options);
  const auto other = NewShare(options);
  const auto ungated = NewShare();
  const CurlPtr a(curl_easy_init());
  const CurlPtr b(curl_easy_init());
  CurlPtr c(curl_easy_init());
  const CurlPtr d(curl_easy_init());
  auto attachment = share->Attach(a.get());
  auto other_attachment = other->Attach(b.get());
  auto goes = other->Attach(c.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(other_attachment.status());
  ASSERT_OK(goes.status());
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    for (const absl::Status& status :
         {other_attachment->BeginUse().status(), other_attachment->Detach(),
          other->Attach(d.get()).status()}) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("gate of another share")));
    }
    EXPECT_OK(ungated->Attach(d.get()).status());
    // What cannot fail does without.
    goes = Attachment();
    EXPECT_EQ(other->attached(), 1u);
    c = nullptr;
  }
  EXPECT_OK(other_attachment->BeginUse().status());
  EXPECT_OK(other->Close());
}

TEST_F(ShareTest, RefusesKindsThatThisLibcurlLacksAndNamesThem) {
  for (LockData kind : LockDataSet::All() - LockDataSet::Available()) {
    ShareOptions options;
    options.lock_data = kind;
    EXPECT_THAT(Share::Create(options).status(),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr(LockDataName(kind)),
                               HasSubstr("was built without"))));
  }
}

TEST_F(ShareTest, CloseIsIdempotent) {
  const auto share = NewShare();
  EXPECT_OK(share->Close());
  EXPECT_TRUE(share->closed());
  EXPECT_TRUE(share->lock_data().empty());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  EXPECT_OK(share->Close());
  EXPECT_OK(share->CloseNow());
  EXPECT_OK(share->Close(absl::InfinitePast()));
}

TEST_F(ShareTest, CloseDetachesIdleHandlesEvenWithoutWaiting) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_TRUE(attachment->attached());
  EXPECT_EQ(share->attached(), 1u);
  EXPECT_OK(share->Close(absl::InfinitePast()));
  EXPECT_FALSE(attachment->attached());
  EXPECT_EQ(share->attached(), 0u);
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  // The handle itself is still there.
  EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL, "http://x/"), CURLE_OK);
}

TEST_F(ShareTest, CloseDetachesAnyNumberOfHandles) {
  const auto share = NewShare();
  std::vector<CurlPtr> curls;
  std::vector<Attachment> attachments;
  for (int i = 0; i < 1000; ++i) {
    curls.emplace_back(curl_easy_init());
    auto attachment = share->Attach(curls.back().get());
    ASSERT_OK(attachment.status());
    attachments.push_back(*std::move(attachment));
  }
  EXPECT_EQ(share->attached(), 1000u);
  EXPECT_OK(share->Close());
  for (const Attachment& attachment : attachments) {
    EXPECT_FALSE(attachment.attached());
  }
}

TEST_F(ShareTest, StrictCloseSaysHowManyAndChangesNothing) {
  const auto share = NewShare(Strict());
  const CurlPtr a(curl_easy_init());
  const CurlPtr b(curl_easy_init());
  auto attachment_a = share->Attach(a.get());
  auto attachment_b = share->Attach(b.get());
  ASSERT_OK(attachment_a.status());
  ASSERT_OK(attachment_b.status());
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(share->Close(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("2 handles attached")));
    EXPECT_THAT(share->CloseNow(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_FALSE(share->closed());
    EXPECT_TRUE(attachment_a->attached());
    EXPECT_TRUE(attachment_b->attached());
  }
  // Still open in every way.
  const CurlPtr c(curl_easy_init());
  auto attachment_c = share->Attach(c.get());
  EXPECT_OK(attachment_c.status());
  EXPECT_OK(attachment_a->Detach());
  EXPECT_OK(attachment_b->Detach());
  EXPECT_OK(attachment_c->Detach());
  EXPECT_OK(share->Close());
  EXPECT_TRUE(share->closed());
}

TEST_F(ShareTest, AttachToAClosedShareNamesTheShare) {
  const auto share = NewShare();
  ASSERT_OK(share->Close());
  const CurlPtr curl(curl_easy_init());
  EXPECT_THAT(share->Attach(curl.get()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(share->name() + " is closed")));
  // The handle is free for another one.
  const auto other = NewShare();
  EXPECT_OK(other->Attach(curl.get()).status());
}

TEST_F(ShareTest, StrictShareThatGoesFirstLivesUntilTheLastHandleLeaves) {
  auto share = NewShare(Strict());
  const CurlPtr a(curl_easy_init());
  const CurlPtr b(curl_easy_init());
  auto attachment_a = share->Attach(a.get());
  auto attachment_b = share->Attach(b.get());
  ASSERT_OK(attachment_a.status());
  ASSERT_OK(attachment_b.status());
  share = nullptr;
  EXPECT_TRUE(attachment_a->attached());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  attachment_a = Attachment();
  EXPECT_TRUE(attachment_b->attached());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  attachment_b = Attachment();
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
}

TEST_F(ShareTest, EnablesAndDisablesWhenNothingIsAttached) {
  ShareOptions options;
  options.lock_data = LockDataSet();
  const auto share = NewShare(options);
  EXPECT_OK(share->Enable(DefaultLockData()));
  EXPECT_EQ(share->lock_data(), DefaultLockData());
  const LockData first = *DefaultLockData().begin();
  EXPECT_OK(share->Disable(first));
  EXPECT_EQ(share->lock_data(), DefaultLockData() - first);
  // libcurl itself cannot unshare PSL, nor CONNECT without a leak.
  EXPECT_OK(share->Disable(LockDataSet::All()));
  EXPECT_TRUE(share->lock_data().empty());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
}

TEST_F(ShareTest, EnableIsAllOrNothing) {
  ShareOptions options;
  options.lock_data = LockDataSet();
  const auto share = NewShare(options);
  const LockDataSet missing = LockDataSet::All() - LockDataSet::Available();
  if (!missing.empty()) {
    EXPECT_THAT(share->Enable(LockDataSet::All()),
                StatusIs(absl::StatusCode::kUnimplemented,
                         HasSubstr(missing.ToString())));
    EXPECT_TRUE(share->lock_data().empty());
  }
  EXPECT_OK(share->Enable(LockDataSet::Available()));
  EXPECT_EQ(share->lock_data(), LockDataSet::Available());
}

TEST_F(ShareTest, EnableOfWhatIsEnabledKeepsTheCurlsh) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_OK(share->Enable(DefaultLockData()));
  EXPECT_OK(share->Disable({}));
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
}

// libcurl: CURLSHE_IN_USE. Here the handle moves at its next transfer; the old
// CURLSH lives until then.
TEST_F(ShareTest, EnableWhileAttachedMakesANewGeneration) {
  ShareOptions options;
  options.lock_data = LockDataSet();
  const auto share = NewShare(options);
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(share->Enable(DefaultLockData()));
  EXPECT_EQ(share->lock_data(), DefaultLockData());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 2);
  EXPECT_TRUE(attachment->attached());
  EXPECT_OK(attachment->BeginTransfer().status());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  EXPECT_OK(share->Close());
}

TEST_F(ShareTest, AnIdleHandleOfAnOldGenerationDetachesCleanly) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(share->Disable(*DefaultLockData().begin()));
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 2);
  EXPECT_OK(share->Close());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
}

TEST_F(ShareTest, EnableAndDisableOnAClosedShareFail) {
  const auto share = NewShare();
  ASSERT_OK(share->Close());
  EXPECT_THAT(
      share->Enable(DefaultLockData()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is closed")));
  EXPECT_THAT(share->Disable(DefaultLockData()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// ---- Uses and transfers of raw handles

// It would wait for itself.
TEST_F(ShareTest, CloseWithinAUseOfTheSameThreadNeedsADeadline) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    for (const absl::Status& status : {share->Close(), share->CloseNow()}) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("Pass a deadline")));
    }
    EXPECT_OK(share->Enable(DefaultLockData())) << "the share is closing";
    EXPECT_THAT(share->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  EXPECT_TRUE(share->closed());
}

TEST_F(ShareTest, ATransferThatStartsInAClosingShareRunsWithoutIt) {
  const auto share = NewShare();
  const CurlPtr busy(curl_easy_init());
  const CurlPtr idle(curl_easy_init());
  auto busy_attachment = share->Attach(busy.get());
  auto idle_attachment = share->Attach(idle.get());
  ASSERT_OK(busy_attachment.status());
  ASSERT_OK(idle_attachment.status());
  auto transfer = busy_attachment->BeginTransfer();
  ASSERT_OK(transfer.status());
  EXPECT_THAT(share->Close(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_FALSE(idle_attachment->attached());
  EXPECT_OK(idle_attachment->BeginTransfer().status());
  EXPECT_EQ(share->attached(), 1u);
}

TEST_F(ShareTest, Prints) {
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_EQ(absl::StrCat(ShareOptions()),
            "lock_data=default concurrency=auto detach_on_close=true "
            "after_close=transfer_alone");
  EXPECT_THAT(absl::StrCat(share->options()),
              HasSubstr(DefaultLockData().ToString()));
  const ShareStats stats = share->stats();
  EXPECT_EQ(stats.attached, 1u);
  EXPECT_GE(stats.share_lock.taken, 1u);
  EXPECT_EQ(stats.dropped_unlocks, 0u);
  EXPECT_EQ(stats.unknown_kinds, 0u);
  EXPECT_THAT(
      absl::StrCat(stats),
      AllOf(StartsWith(absl::StrCat("lock_data=", DefaultLockData(),
                                    " attached=1 gated=")),
            HasSubstr(" share_lock.taken="), Not(HasSubstr("hsts.taken"))));
  ShareStats more = stats;
  more.locks[static_cast<size_t>(LockData::kDns)].taken = 3;
  more.dropped_unlocks = 2;
  more.unknown_kinds = 1;
  std::ostringstream text;
  text << share->options() << more << more.share_lock;
  EXPECT_THAT(
      text.str(),
      AllOf(HasSubstr("concurrency=auto"), HasSubstr(" dns.taken=3 "),
            HasSubstr(" dropped_unlocks=2 "), HasSubstr(" unknown_kinds=1 ")));
}

TEST(ShareStatsTest, IsOneLineOfNamesAndValues) {
  ShareStats stats;
  stats.lock_data = LockDataSet(LockData::kDns) | LockData::kConnect;
  stats.attached = 1;
  stats.gated = true;
  stats.connections.opened = 2;
  stats.connections.reused = 3;
  stats.connections.in_use = 4;
  stats.connections.idle = 5;
  stats.connections.closed_idle = 6;
  stats.connections.closed_old = 7;
  stats.connections.closed_over_cap = 8;
  stats.connections.closed_failed = 9;
  stats.connections.waited = 10;
  stats.connections.total_wait = absl::Milliseconds(11);
  stats.connections.longest_wait = absl::Milliseconds(12);
  stats.dns_lookups = 13;
  stats.dns_hits = 14;
  stats.handshakes = 15;
  stats.dropped_unlocks = 16;
  stats.unknown_kinds = 17;
  stats.gate.taken = 18;
  stats.share_lock.contended = 19;
  stats.locks[static_cast<size_t>(LockData::kDns)].taken = 20;
  EXPECT_EQ(
      absl::StrCat(stats),
      "lock_data=dns,connect attached=1 gated=1 closed=0 opened=2 reused=3 "
      "in_use=4 idle=5 closed_idle=6 closed_old=7 closed_over_cap=8 "
      "closed_failed=9 waited=10 total_wait=11ms longest_wait=12ms "
      "dns_lookups=13 dns_hits=14 handshakes=15 dropped_unlocks=16 "
      "unknown_kinds=17 wrong_threads=0 outside_scopes=0 gate.taken=18 "
      "gate.contended=0 gate.total_wait=0 "
      "gate.longest_wait=0 share_lock.taken=0 share_lock.contended=19 "
      "share_lock.total_wait=0 share_lock.longest_wait=0 dns.taken=20 "
      "dns.contended=0 dns.total_wait=0 dns.longest_wait=0");
}

}  // namespace
}  // namespace curlshare
