// SPDX-License-Identifier: Apache-2.0
// Share::Close against threads that use the handles. Each test says which
// interleaving it forces, by a server that stalls until told, by notifications
// and by a lock callback that blocks. To be run under ThreadSanitizer, too.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/lock_recorder.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::LockRecorder;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

// Far more than anything here takes; a test that needs it fails.
absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

Easy NewEasy() {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  return *std::move(easy);
}

Easy NewEasy(Share& share) {
  Easy easy = NewEasy();
  EXPECT_OK(easy.Attach(share));
  return easy;
}

// Everything here holds for gated shares as well.
class CloseTest : public ::testing::Test {
 protected:
  explicit CloseTest(Concurrency concurrency)
      : concurrency_(concurrency), server_(HttpServer::Start().value()) {}
  ~CloseTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  std::unique_ptr<Share> NewShare(ShareOptions options = {}) const {
    options.concurrency = concurrency_;
    auto share = Share::Create(std::move(options));
    EXPECT_OK(share.status());
    EXPECT_EQ((*share)->gated(), concurrency_ == Concurrency::kGated);
    return *std::move(share);
  }

  std::string url(absl::string_view path) const { return server_->url(path); }
  // Returns when `n` transfers are stalled in the server.
  void WaitForStalled(int n) {
    ASSERT_TRUE(server_->WaitForStalled(n, Soon()));
  }

  const Concurrency concurrency_;
  const int64_t live_before_ = ShareHandle::live_count();
  const std::unique_ptr<HttpServer> server_;
};

class ShareCloseTest : public CloseTest,
                       public ::testing::WithParamInterface<Concurrency> {
 protected:
  ShareCloseTest() : CloseTest(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Concurrency, ShareCloseTest,
                         ::testing::Values(Concurrency::kAuto,
                                           Concurrency::kGated),
                         [](const auto& info) {
                           return std::string(ConcurrencyName(info.param));
                         });

// Transfers by curl_easy_perform, which a gated share refuses.
class UngatedShareCloseTest : public CloseTest {
 protected:
  UngatedShareCloseTest() : CloseTest(Concurrency::kAuto) {}
};

// ---- What begins after a close

ShareOptions RefusesAfterClose() {
  ShareOptions options;
  options.after_close = AfterClose::kRefuse;
  return options;
}

// Idle handles, of which the close takes one out, and the other's transfer
// finds the share closing.
TEST_P(ShareCloseTest, RefusesTransfersAfterItWhereAskedTo) {
  const auto refused = StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("AfterClose::kRefuse"));
  const auto share = NewShare(RefusesAfterClose());
  Easy easy = NewEasy(*share);
  EXPECT_OK(easy.Fetch(url("/")).status());
  EXPECT_OK(share->Close());
  EXPECT_EQ(easy.share(), nullptr);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(easy.Fetch(url("/")).status(), refused);
  }
  Easy copy = easy.Duplicate().value();
  EXPECT_THAT(copy.Fetch(url("/")).status(), refused);
  EXPECT_OK(easy.Reset());
  EXPECT_THAT(easy.Fetch(url("/")).status(), refused);
  EXPECT_EQ(server_->counts().requests, 1);
  // Until its owner says what else is to be.
  const auto next = NewShare();
  EXPECT_OK(easy.Attach(*next));
  EXPECT_OK(easy.Fetch(url("/")).status());
  EXPECT_OK(next->Close());
  EXPECT_OK(easy.Fetch(url("/")).status()) << "as this share has it";
  EXPECT_OK(copy.Detach());
  EXPECT_OK(copy.Fetch(url("/")).status());
  EXPECT_THAT(copy.Detach(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

// The close comes while one handle is stalled in the server and another in use.
// What is under way goes on.
TEST_P(ShareCloseTest, RefusesTheNextTransferOfABusyHandle) {
  auto share = NewShare(RefusesAfterClose());
  Easy busy = NewEasy(*share);
  Easy used = NewEasy(*share);
  CURL* curl = curl_easy_init();
  auto attachment = share->Attach(curl);
  ASSERT_OK(attachment.status());
  std::thread transfer([&] {
    EXPECT_OK(busy.Fetch(url("/stall")).status());
    EXPECT_THAT(busy.Fetch(url("/")).status(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  });
  WaitForStalled(1);
  {
    auto use = used.BeginUse();
    ASSERT_OK(use.status());
    share.reset();
  }
  EXPECT_THAT(used.Fetch(url("/")).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(attachment->Perform(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_EQ(server_->counts().requests, 1);
  attachment = Attachment();
  curl_easy_cleanup(curl);
}

// ---- Closing while handles transfer

// The transfer is stalled in the server when Close comes; Close has taken out
// the idle handle, and only then the server goes on.
TEST_P(ShareCloseTest, WaitsForATransferThatDetachesOnItsOwnThread) {
  auto recorder = std::make_shared<LockRecorder>();
  ShareOptions options;
  options.lock_observer = recorder;
  const auto share = NewShare(options);
  Easy idle = NewEasy(*share);
  Easy busy = NewEasy(*share);
  std::thread::id transferring;
  std::thread transfer([&] {
    transferring = std::this_thread::get_id();
    auto response = busy.Fetch(url("/stall"));
    EXPECT_OK(response.status());
    EXPECT_EQ(busy.share(), nullptr);
    EXPECT_OK(busy.Fetch(url("/")).status()) << "without the share";
  });
  WaitForStalled(1);
  EXPECT_THAT(share->Close(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  // At once or, where the transfer's thread was just inside the gate, when it
  // leaves that.
  while (idle.share() != nullptr) std::this_thread::yield();
  EXPECT_EQ(busy.share(), share.get());
  EXPECT_FALSE(share->closed());
  recorder->Clear();
  server_->ReleaseStalled();
  EXPECT_OK(share->Close(Soon()));
  EXPECT_TRUE(share->closed());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  transfer.join();
  // libcurl was not called on the busy handle from any other thread: the
  // closing thread took no lock for it but to free the share itself.
  for (const LockRecorder::Event& event : recorder->events()) {
    if (event.kind != CURL_LOCK_DATA_SHARE) {
      EXPECT_EQ(event.thread, transferring);
    }
  }
}

TEST_P(ShareCloseTest, ADeadlineThatPassesLeavesTheShareClosing) {
  const auto share = NewShare();
  Easy busy = NewEasy(*share);
  std::thread transfer([&] { EXPECT_OK(busy.Fetch(url("/stall")).status()); });
  WaitForStalled(1);
  const absl::Time start = absl::Now();
  EXPECT_THAT(share->Close(start + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr(share->name() + " is closing")));
  EXPECT_GE(absl::Now(), start + absl::Milliseconds(20));
  // No new attachment.
  Easy late = NewEasy();
  EXPECT_THAT(
      late.Attach(*share),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is closing")));
  EXPECT_EQ(share->attached(), 1u);
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  // In flight: finishes, detaches, and frees the CURLSH, with no Close waiting.
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_TRUE(share->closed());
  EXPECT_EQ(share->attached(), 0u);
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
  EXPECT_OK(share->Close());
}

// The server never answers: only the cancellation can end these transfers.
TEST_P(ShareCloseTest, CloseNowCancelsWhileTheServerStalls) {
  for (absl::string_view path :
       {"/stall?after=headers", "/stall?after=bytes", "/stall"}) {
    const auto share = NewShare();
    constexpr int kTransfers = 4;
    std::vector<Easy> handles;
    for (int i = 0; i < kTransfers; ++i) handles.push_back(NewEasy(*share));
    std::vector<std::thread> threads;
    for (Easy& easy : handles) {
      threads.emplace_back([&] {
        EXPECT_THAT(
            easy.Fetch(url(path)).status(),
            StatusIs(absl::StatusCode::kCancelled, HasSubstr("CloseNow")));
      });
    }
    WaitForStalled(kTransfers);
    EXPECT_OK(share->CloseNow(Soon()));
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(share->attached(), 0u);
    server_->ReleaseStalled();
    // The handles work on, without the share.
    EXPECT_OK(handles[0].Fetch(url("/")).status());
  }
}

// The first close waits, the second one cancels what the first one waits for.
TEST_P(ShareCloseTest, CloseNowEndsWhatAnotherCloseWaitsFor) {
  const auto share = NewShare();
  Easy busy = NewEasy(*share);
  std::thread transfer([&] {
    EXPECT_THAT(busy.Fetch(url("/stall")).status(),
                StatusIs(absl::StatusCode::kCancelled));
  });
  WaitForStalled(1);
  EXPECT_THAT(share->Close(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  std::thread closer([&] { EXPECT_OK(share->Close()); });
  EXPECT_OK(share->CloseNow());
  closer.join();
  transfer.join();
  server_->ReleaseStalled();
}

TEST_P(ShareCloseTest, ManyClosesAtOnceAllReturnOk) {
  const auto share = NewShare();
  std::vector<Easy> handles;
  for (int i = 0; i < 16; ++i) handles.push_back(NewEasy(*share));
  std::thread transfer(
      [&] { EXPECT_OK(handles[0].Fetch(url("/stall")).status()); });
  WaitForStalled(1);
  std::atomic<int> returned{0};
  std::thread closes([&] {
    RunThreads(4, [&](int) {
      EXPECT_OK(share->Close());
      ++returned;
    });
  });
  EXPECT_EQ(returned, 0) << "a close returned while a transfer was under way";
  server_->ReleaseStalled();
  closes.join();
  transfer.join();
  EXPECT_TRUE(share->closed());
}

TEST_P(ShareCloseTest, StrictModeNeitherWaitsNorCancels) {
  ShareOptions options;
  options.detach_on_close = false;
  const auto share = NewShare(options);
  Easy busy = NewEasy(*share);
  std::thread transfer([&] { EXPECT_OK(busy.Fetch(url("/stall")).status()); });
  WaitForStalled(1);
  EXPECT_THAT(share->Close(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("1 handle attached")));
  EXPECT_THAT(share->CloseNow(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_EQ(busy.share(), share.get());
  EXPECT_OK(busy.Detach());
  EXPECT_OK(share->Close());
}

// ---- Closing while the owner touches an idle handle. libcurl's handle has no
// lock: without ours, ThreadSanitizer reports each of these.

// What an owner may do with an idle handle at any time.
struct OwnerAction {
  const char* name;
  void (*run)(Easy& easy, Share& share);
  // Whether it passes the CURL* to libcurl, and so has to wait for others.
  bool touches_curl = true;
};

std::vector<OwnerAction> OwnerActions() {
  return {
      {"SetsOptions",
       [](Easy& easy, Share&) {
         EXPECT_OK(easy.SetUrl("http://127.0.0.1/"));
         EXPECT_OK(easy.SetOption<CURLOPT_COOKIELIST>("ALL"));
         EXPECT_OK(easy.SetOption<CURLOPT_HTTPHEADER>({"A: b"}));
       }},
      {"ReadsInfo",
       [](Easy& easy, Share&) {
         EXPECT_OK(easy.GetInfo<CURLINFO_COOKIELIST>().status());
       }},
      {"Destroys",
       [](Easy& easy, Share&) {
         { const Easy gone = std::move(easy); }
         easy = NewEasy();
       }},
      {"Moves",
       [](Easy& easy, Share&) {
         Easy moved = std::move(easy);
         easy = std::move(moved);
       },
       /*touches_curl=*/false},
      {"Resets", [](Easy& easy, Share&) { EXPECT_OK(easy.Reset()); }},
      {"Duplicates",
       [](Easy& easy, Share&) { EXPECT_OK(easy.Duplicate().status()); }},
      {"AttachesAndDetaches",
       [](Easy& easy, Share& share) {
         // Each may come before or after the close.
         easy.Detach().IgnoreError();
         const absl::Status status = easy.Attach(share);
         if (!status.ok()) {
           EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
         }
       }},
      {"AsksForItsShare",
       [](Easy& easy, Share& share) {
         Share* const found = easy.share();
         EXPECT_TRUE(found == nullptr || found == &share);
       },
       /*touches_curl=*/false},
  };
}

class CloseAgainstOwnerTest : public CloseTest,
                              public ::testing::WithParamInterface<
                                  std::tuple<Concurrency, OwnerAction>> {
 protected:
  CloseAgainstOwnerTest() : CloseTest(std::get<0>(GetParam())) {}
  const OwnerAction action_ = std::get<1>(GetParam());
};

INSTANTIATE_TEST_SUITE_P(
    Owner, CloseAgainstOwnerTest,
    ::testing::Combine(::testing::Values(Concurrency::kAuto,
                                         Concurrency::kGated),
                       ::testing::ValuesIn(OwnerActions())),
    [](const auto& info) {
      return absl::StrCat(ConcurrencyName(std::get<0>(info.param)),
                          std::get<1>(info.param).name);
    });

// The closing thread is stopped inside libcurl, detaching the handle, by a lock
// callback that blocks; the owner comes in then. It must wait if it is to touch
// the CURL*, and must not if it is not.
TEST_P(CloseAgainstOwnerTest, WhileTheCloseIsDetachingTheHandle) {
  auto recorder = std::make_shared<LockRecorder>();
  ShareOptions options;
  options.lock_observer = recorder;
  const auto share = NewShare(options);
  Easy easy = NewEasy(*share);
  recorder->BlockNext(CURL_LOCK_DATA_SHARE);
  std::thread closer([&] { EXPECT_OK(share->Close()); });
  recorder->WaitUntilBlocked();
  absl::Notification done;
  std::thread owner([&] {
    action_.run(easy, *share);
    done.Notify();
  });
  if (action_.touches_curl) {
    // It cannot be seen that a thread waits; but it has not got through.
    EXPECT_FALSE(done.WaitForNotificationWithTimeout(absl::Milliseconds(20)));
  } else {
    done.WaitForNotification();
  }
  recorder->Unblock();
  closer.join();
  owner.join();
  EXPECT_EQ(easy.share(), nullptr);
  EXPECT_TRUE(share->closed());
  EXPECT_OK(easy.Fetch(url("/")).status());
}

// All start together, many times.
TEST_P(CloseAgainstOwnerTest, AtTheSameTime) {
  constexpr int kOwners = 4;
  for (int round = 0; round < 30; ++round) {
    auto share = NewShare();
    std::vector<Easy> handles;
    for (int i = 0; i < kOwners; ++i) handles.push_back(NewEasy(*share));
    RunThreads(kOwners + 1, [&](int i) {
      if (i == kOwners) {
        EXPECT_OK(share->Close());
      } else {
        for (int step = 0; step < 5; ++step) {
          action_.run(handles[i], *share);
        }
      }
    });
    EXPECT_TRUE(share->closed());
    EXPECT_EQ(share->attached(), 0u);
  }
}

// The owner is stopped inside libcurl, by the lock of the share, in each of the
// calls that take it; the close comes then, and leaves the handle to it.
TEST_P(ShareCloseTest, ACloseLeavesAHandleAloneThatItsOwnerTakesOut) {
  void (*const actions[])(Easy&) = {
      [](Easy& easy) { const Easy gone = std::move(easy); },
      [](Easy& easy) { EXPECT_OK(easy.Detach()); },
  };
  for (const auto action : actions) {
    auto recorder = std::make_shared<LockRecorder>();
    ShareOptions options;
    options.lock_observer = recorder;
    const auto share = NewShare(options);
    Easy easy = NewEasy(*share);
    recorder->BlockNext(CURL_LOCK_DATA_SHARE);
    std::thread owner([&] { action(easy); });
    recorder->WaitUntilBlocked();
    EXPECT_THAT(share->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_EQ(share->attached(), 1u);
    recorder->Unblock();
    EXPECT_OK(share->Close(Soon()));
    owner.join();
  }
}

// The owner is inside a use when the close comes: the close leaves the handle
// alone, and the end of the use detaches it.
TEST_P(ShareCloseTest, ACloseLeavesAHandleInUseAlone) {
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  absl::Notification in_use;
  absl::Notification go_on;
  std::thread owner([&] {
    auto use = easy.BeginUse();
    ASSERT_OK(use.status());
    in_use.Notify();
    go_on.WaitForNotification();
    EXPECT_EQ(easy.share(), share.get());
  });
  in_use.WaitForNotification();
  EXPECT_THAT(share->Close(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(share->attached(), 1u);
  go_on.Notify();
  EXPECT_OK(share->Close(Soon()));
  owner.join();
  EXPECT_EQ(easy.share(), nullptr);
}

// ---- Storms

// Transfers, attachments and detachments go on while the share closes; every
// transfer ends in one of the ways that are told.
TEST_P(ShareCloseTest, CloseAgainstAStormOfTransfers) {
  constexpr int kWorkers = 8;
  for (int round = 0; round < 5; ++round) {
    const auto share = NewShare();
    std::atomic<int> done{0};
    std::atomic<bool> stop{false};
    RunThreads(kWorkers + 1, [&](int i) {
      if (i == kWorkers) {
        while (done < kWorkers) std::this_thread::yield();
        EXPECT_OK(round % 2 == 0 ? share->Close() : share->CloseNow());
        stop = true;
        return;
      }
      Easy easy = NewEasy();
      while (!stop) {
        const absl::Status attached = easy.Attach(*share);
        EXPECT_TRUE(attached.ok() ||
                    attached.code() == absl::StatusCode::kFailedPrecondition)
            << attached;
        const absl::Status status = easy.Fetch(url("/")).status();
        EXPECT_TRUE(status.ok() ||
                    status.code() == absl::StatusCode::kCancelled)
            << status;
        ++done;
        easy.Detach().IgnoreError();  // Unless the close has done it.
      }
    });
    EXPECT_TRUE(share->closed());
    EXPECT_EQ(ShareHandle::live_count(), live_before_);
  }
}

TEST_P(ShareCloseTest, DestructionAgainstAStormOfTransfers) {
  constexpr int kWorkers = 8;
  for (int round = 0; round < 5; ++round) {
    auto share = NewShare();
    std::vector<Easy> handles;
    for (int i = 0; i < kWorkers; ++i) handles.push_back(NewEasy(*share));
    std::atomic<int> done{0};
    RunThreads(kWorkers + 1, [&](int i) {
      if (i == kWorkers) {
        while (done < kWorkers) std::this_thread::yield();
        share.reset();
        return;
      }
      for (int n = 0; n < 20; ++n) {
        EXPECT_OK(handles[i].Fetch(url("/")).status());
        ++done;
      }
    });
    for (Easy& easy : handles) EXPECT_EQ(easy.share(), nullptr);
    EXPECT_EQ(ShareHandle::live_count(), live_before_);
  }
}

TEST_P(ShareCloseTest, KindsChangeUnderAStormOfTransfers) {
  ShareOptions options;
  options.lock_data = LockDataSet();
  const auto share = NewShare(options);
  constexpr int kWorkers = 4;
  std::atomic<int> running{kWorkers};
  RunThreads(kWorkers + 1, [&](int i) {
    if (i == kWorkers) {
      while (running > 0) {
        EXPECT_OK(share->Enable(DefaultLockData()));
        EXPECT_OK(share->Disable(DefaultLockData()));
      }
      return;
    }
    Easy easy = NewEasy(*share);
    for (int n = 0; n < 50; ++n) EXPECT_OK(easy.Fetch(url("/")).status());
    --running;
  });
  EXPECT_OK(share->Close());
}

// ---- Orders of destruction

// A Share, an Easy and an Attachment with its CURL*, each having transferred,
// go in every order.
TEST_P(ShareCloseTest, EverythingMayGoInEveryOrder) {
  std::vector<int> order = {0, 1, 2};
  do {
    auto share = NewShare();
    auto easy = std::make_optional(NewEasy(*share));
    CURL* curl = curl_easy_init();
    ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, url("/").c_str()), CURLE_OK);
    ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_NOBODY, 1L), CURLE_OK);
    auto attachment = std::make_optional(share->Attach(curl).value());
    ASSERT_OK(easy->Fetch(url("/")).status());
    ASSERT_OK(attachment->Perform());
    for (int which : order) {
      if (which == 0) share.reset();
      if (which == 1) easy.reset();
      if (which == 2) {
        attachment.reset();
        curl_easy_cleanup(curl);
      }
      if (easy.has_value()) {
        EXPECT_OK(easy->Fetch(url("/")).status());
      }
      if (attachment.has_value()) {
        EXPECT_OK(attachment->Perform());
      }
    }
    EXPECT_EQ(ShareHandle::live_count(), live_before_);
  } while (std::next_permutation(order.begin(), order.end()));
}

// ---- Callbacks while a close waits

// A transfer's callback performs another handle of the same share while
// another thread waits in Close.
TEST_P(ShareCloseTest, ACallbackMayPerformAnotherHandleWhileACloseWaits) {
  const auto share = NewShare();
  Easy outer = NewEasy(*share);
  Easy inner = NewEasy(*share);
  ASSERT_OK(outer.SetUrl(url("/bytes?n=10")));
  std::thread closer;
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    closer = std::thread([&] { EXPECT_OK(share->Close()); });
    // Until the close has begun for sure.
    Easy probe = NewEasy();
    while (probe.Attach(*share).ok()) {
      probe.Detach().IgnoreError();  // The close may have done it.
    }
    EXPECT_OK(inner.Fetch(url("/")).status());
    EXPECT_FALSE(share->closed());
    return absl::OkStatus();
  }));
  EXPECT_OK(outer.Perform());
  closer.join();
  EXPECT_TRUE(share->closed());
}

// As above, with the inner handle in use by the callback when the close comes,
// so that it is still in the closing share when it starts its transfer.
TEST_P(ShareCloseTest, ACallbackMayPerformAHandleThatTheCloseFoundInUse) {
  const auto share = NewShare();
  Easy outer = NewEasy(*share);
  Easy inner = NewEasy(*share);
  ASSERT_OK(outer.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    {
      auto use = inner.BeginUse();
      EXPECT_OK(use.status());
      std::thread([&] {
        EXPECT_THAT(share->Close(absl::InfinitePast()),
                    StatusIs(absl::StatusCode::kDeadlineExceeded));
      }).join();
      EXPECT_EQ(inner.share(), share.get());
    }
    EXPECT_OK(inner.Fetch(url("/")).status());
    EXPECT_EQ(inner.share(), nullptr);
    return absl::OkStatus();
  }));
  EXPECT_OK(outer.Perform());
  EXPECT_TRUE(share->closed());
}

// A callback keeps the gate while another thread closes, or destroys, the
// share: that does not wait, and so cannot get at the idle handle. Whoever
// leaves the gate takes it out.
TEST_P(ShareCloseTest, WhatACloseCouldNotReachLeavesWithTheGate) {
  for (const bool destroy : {false, true}) {
    auto share = NewShare();
    const bool gated = share->gated();
    Easy outer = NewEasy(*share);
    Easy idle = NewEasy(*share);
    ASSERT_OK(outer.SetUrl(url("/bytes?n=10")));
    ASSERT_OK(outer.SetSink([&](absl::string_view) {
      std::thread([&] {
        if (destroy) {
          share.reset();
        } else {
          EXPECT_THAT(share->Close(absl::InfinitePast()),
                      StatusIs(absl::StatusCode::kDeadlineExceeded));
        }
      }).join();
      if (!destroy) {
        EXPECT_EQ(idle.share(), gated ? share.get() : nullptr);
        EXPECT_EQ(share->attached(), gated ? 2u : 1u);
      }
      EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
      return absl::OkStatus();
    }));
    EXPECT_OK(outer.Perform());
    EXPECT_EQ(ShareHandle::live_count(), live_before_);
    EXPECT_OK(idle.Fetch(url("/")).status());
  }
}

// ---- Cancel

// `waiting` cannot begin: a callback of another handle stays in the gate until
// it has ended.
class GatedShareCloseTest : public UngatedShareCloseTest {
 protected:
  // What waiting.Perform() returned, which `end`, called again and again,
  // ended.
  absl::Status EndWhileItWaitsForTheGate(Share& share, Easy& waiting,
                                         absl::FunctionRef<void()> end) {
    Easy outer = NewEasy(share);
    EXPECT_OK(outer.SetUrl(url("/")));
    EXPECT_OK(waiting.SetUrl(url("/")));
    absl::Status status;
    EXPECT_OK(outer.SetSink([&](absl::string_view) {
      absl::Notification ended;
      std::thread transfer([&] {
        status = waiting.Perform();
        ended.Notify();
      });
      std::thread([&] {
        while (!ended.HasBeenNotified()) end();
      }).join();
      transfer.join();
      return absl::OkStatus();
    }));
    outer.Perform().IgnoreError();
    return status;
  }

  static std::unique_ptr<Share> NewGatedShare() {
    ShareOptions options;
    options.concurrency = Concurrency::kGated;
    return Share::Create(options).value();
  }
};

TEST_F(GatedShareCloseTest, CancelEndsAWaitForTheGate) {
  const auto share = NewGatedShare();
  Easy waiting = NewEasy(*share);
  bool cancelled = false;
  EXPECT_THAT(EndWhileItWaitsForTheGate(*share, waiting,
                                        [&] { cancelled |= waiting.Cancel(); }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(cancelled);
  EXPECT_OK(waiting.Fetch(url("/")).status());
}

TEST_F(GatedShareCloseTest, CloseNowEndsAWaitForTheGate) {
  const auto share = NewGatedShare();
  Easy waiting = NewEasy(*share);
  EXPECT_THAT(EndWhileItWaitsForTheGate(
                  *share, waiting,
                  [&] { share->CloseNow(absl::InfinitePast()).IgnoreError(); }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_OK(share->Close());
  EXPECT_OK(waiting.Fetch(url("/")).status()) << "it has left";
}

// The callback that cancels leaves the gate right after: whoever was told that
// its transfer was cancelled gets no further.
TEST_F(GatedShareCloseTest, CancelEndsAWaitThatIsJustOver) {
  for (int i = 0; i < 20; ++i) {
    const auto share = NewGatedShare();
    Easy outer = NewEasy(*share);
    Easy waiting = NewEasy(*share);
    ASSERT_OK(outer.SetUrl(url("/")));
    std::thread transfer;
    absl::Status status;
    ASSERT_OK(outer.SetSink([&](absl::string_view) {
      transfer =
          std::thread([&] { status = waiting.Fetch(url("/")).status(); });
      while (!waiting.Cancel()) std::this_thread::yield();
      return absl::OkStatus();
    }));
    ASSERT_OK(outer.Perform());
    transfer.join();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  }
}

// A callback may set it while another thread asks for a transfer, and is
// refused. ThreadSanitizer would tell.
TEST_F(GatedShareCloseTest, ATimeoutMayBeSetWhileOthersAreRefused) {
  const auto share = NewGatedShare();
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetUrl(url("/")));
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    std::thread other([&] {
      for (int i = 0; i < 100; ++i) {
        EXPECT_THAT(easy.Perform(),
                    StatusIs(absl::StatusCode::kFailedPrecondition));
      }
    });
    for (int i = 0; i < 100; ++i) {
      EXPECT_OK(easy.SetTimeout(absl::Seconds(60 + i)));
    }
    other.join();
    return absl::OkStatus();
  }));
  EXPECT_OK(easy.Perform());
}

// What the gate has taken of a timeout says nothing of the server: connections
// to there stay, but the one that was used.
TEST_F(GatedShareCloseTest, AShortenedTimeoutClosesItsOwnConnectionAlone) {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  const auto share = Share::Create(options).value();
  Easy outer = NewEasy(*share);
  Easy waiting = NewEasy(*share);
  Easy third = NewEasy(*share);
  std::thread transfer;
  ASSERT_OK(outer.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(waiting.SetTimeout(absl::Milliseconds(600)));
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    // Besides its own.
    EXPECT_OK(third.Fetch(url("/")).status());
    absl::Notification begun;
    transfer = std::thread([&] {
      begun.Notify();
      EXPECT_THAT(waiting.Fetch(url("/stall")).status(),
                  StatusIs(absl::StatusCode::kDeadlineExceeded));
    });
    begun.WaitForNotification();
    absl::SleepFor(absl::Milliseconds(300));
    return absl::OkStatus();
  }));
  ASSERT_OK(outer.Perform());
  transfer.join();
  server_->ReleaseStalled();
  EXPECT_EQ(server_->counts().connections, 2);
  EXPECT_GE(share->stats().connections.idle, 1u);
}

// The timeout counts from the call on, wherever the time goes.
TEST_F(GatedShareCloseTest, ATimeoutEndsAWaitForTheGate) {
  const auto share = NewGatedShare();
  Easy waiting = NewEasy(*share);
  ASSERT_OK(waiting.SetTimeout(absl::Milliseconds(50)));
  const absl::Status status = EndWhileItWaitsForTheGate(
      *share, waiting, [] { std::this_thread::yield(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               HasSubstr("waited for the gate")));
  EXPECT_EQ(GetEasyCode(status), CURLE_OPERATION_TIMEDOUT);
  ASSERT_OK(waiting.SetTimeout(absl::InfiniteDuration()));
  EXPECT_OK(waiting.Fetch(url("/")).status());
}

TEST_F(GatedShareCloseTest, AWaitForTheGateIsPartOfTheTimeout) {
  constexpr absl::Duration kTimeout = absl::Seconds(2);
  const auto share = NewGatedShare();
  Easy outer = NewEasy(*share);
  Easy waiting = NewEasy(*share);
  ASSERT_OK(waiting.SetTimeout(kTimeout));
  ASSERT_OK(outer.SetUrl(url("/")));
  std::thread transfer;
  absl::Duration taken;
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    absl::Notification begun;
    transfer = std::thread([&] {
      const absl::Time begin = absl::Now();
      begun.Notify();
      EXPECT_THAT(waiting.Fetch(url("/stall")).status(),
                  StatusIs(absl::StatusCode::kDeadlineExceeded));
      taken = absl::Now() - begin;
    });
    begun.WaitForNotification();
    absl::SleepFor(kTimeout / 2);  // inside the gate: the other one waits
    return absl::OkStatus();
  }));
  ASSERT_OK(outer.Perform());
  transfer.join();
  EXPECT_GE(taken, kTimeout);
  EXPECT_LT(taken, kTimeout + kTimeout / 2 - absl::Milliseconds(50));
  // The timeout itself is as it was.
  server_->ReleaseStalled();
  const absl::Time begin = absl::Now();
  EXPECT_THAT(waiting.Fetch(url("/stall")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GE(absl::Now() - begin, kTimeout);
  server_->ReleaseStalled();
}

// Telnet blocks inside libcurl until the server ends it.
TEST_P(ShareCloseTest, CancelEndsATransferThatBlocksInsideLibcurl) {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(listening, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listening, 1), 0);
  ASSERT_EQ(
      getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  if (const absl::Status status =
          easy.SetOption<CURLOPT_PROTOCOLS_STR>("telnet");
      !status.ok()) {
    close(listening);
    GTEST_SKIP() << status;
  }
  ASSERT_OK(easy.SetUrl(
      absl::StrCat("telnet://127.0.0.1:", ntohs(address.sin_port))));
  absl::Notification greeted;
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    if (!greeted.HasBeenNotified()) greeted.Notify();
    return absl::OkStatus();
  }));
  absl::Notification ended;
  absl::Status status;
  std::thread transfer([&] {
    status = easy.Perform();
    ended.Notify();
    // Where this libcurl knows no telnet, nobody connects.
    shutdown(listening, SHUT_RD);
  });
  const int accepted = accept(listening, nullptr, nullptr);
  if (accepted >= 0) {
    EXPECT_EQ(write(accepted, "login:", 6), 6);
    EXPECT_TRUE(greeted.WaitForNotificationWithTimeout(absl::Seconds(60)));
    EXPECT_TRUE(easy.Cancel());
    EXPECT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(20)));
    close(accepted);
  }
  transfer.join();
  close(listening);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(ShareCloseTest, CancelEndsAStalledTransferFromAnotherThread) {
  Easy easy = NewEasy();
  std::thread transfer([&] {
    EXPECT_THAT(easy.Fetch(url("/stall")).status(),
                StatusIs(absl::StatusCode::kCancelled, HasSubstr("Cancel()")));
    EXPECT_FALSE(easy.Cancel());
    EXPECT_OK(easy.Fetch(url("/")).status()) << "the cancellation stuck";
  });
  WaitForStalled(1);
  EXPECT_TRUE(easy.Cancel());
  transfer.join();
  server_->ReleaseStalled();
}

// Not when libcurl next looks by itself, which is after a second.
TEST_P(ShareCloseTest, CancelIsPrompt) {
  constexpr int kTimes = 10;
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  const absl::Time start = absl::Now();
  for (int i = 0; i < kTimes; ++i) {
    std::thread transfer([&] {
      EXPECT_THAT(easy.Fetch(url("/stall")).status(),
                  StatusIs(absl::StatusCode::kCancelled));
    });
    WaitForStalled(1);
    EXPECT_TRUE(easy.Cancel());
    transfer.join();
    server_->ReleaseStalled();
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(kTimes) / 2);
}

TEST_P(ShareCloseTest, AHandleInTransferRefusesOtherThreads) {
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  std::thread transfer([&] { EXPECT_OK(easy.Fetch(url("/stall")).status()); });
  WaitForStalled(1);
  for (const absl::Status& status :
       {easy.SetUrl("x"), easy.Perform(), easy.Detach(), easy.Reset(),
        easy.Duplicate().status(), easy.BeginUse().status(),
        easy.GetInfo<CURLINFO_RESPONSE_CODE>().status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("in transfer on another thread")));
  }
  server_->ReleaseStalled();
  transfer.join();
}

// An Easy that goes while another thread transfers with it, against its rules:
// the transfer ends, then the handle is freed.
TEST_P(ShareCloseTest, AnEasyThatGoesWhileInTransferIsFreedAtTheEnd) {
  const auto share = NewShare();
  std::optional<Easy> easy = NewEasy(*share);
  ASSERT_OK(easy->SetUrl(url("/stall")));
  absl::Notification started;
  // The transfer runs on what the Easy holds, so it needs a reference to the
  // object for its beginning only.
  std::thread transfer([&e = *easy] { EXPECT_OK(e.Perform()); });
  WaitForStalled(1);
  easy.reset();
  EXPECT_EQ(share->attached(), 1u);
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_EQ(share->attached(), 0u);
}

// ---- Raw handles

TEST_F(UngatedShareCloseTest, CloseNowEndsACurlEasyPerformWithinATransfer) {
  const auto share = NewShare();
  CURL* curl = curl_easy_init();
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L), CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, url("/stall").c_str()),
            CURLE_OK);
  auto attachment = share->Attach(curl);
  ASSERT_OK(attachment.status());
  std::thread thread([&] {
    TransferOptions options;
    options.install_progress_function = true;
    auto transfer = attachment->BeginTransfer(std::move(options));
    ASSERT_OK(transfer.status());
    EXPECT_THAT(transfer->End(curl_easy_perform(curl)),
                StatusIs(absl::StatusCode::kCancelled));
  });
  WaitForStalled(1);
  EXPECT_OK(share->CloseNow(Soon()));
  thread.join();
  server_->ReleaseStalled();
  attachment = Attachment();
  curl_easy_cleanup(curl);
}

TEST_P(ShareCloseTest, CloseNowEndsAnAttachmentsPerform) {
  const auto share = NewShare();
  CURL* curl = curl_easy_init();
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L), CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, url("/stall").c_str()),
            CURLE_OK);
  auto attachment = share->Attach(curl);
  ASSERT_OK(attachment.status());
  std::thread thread([&] {
    EXPECT_THAT(attachment->Perform(), StatusIs(absl::StatusCode::kCancelled));
  });
  WaitForStalled(1);
  EXPECT_OK(share->CloseNow(Soon()));
  thread.join();
  server_->ReleaseStalled();
  attachment = Attachment();
  curl_easy_cleanup(curl);
}

// Owners that use, transfer with, detach and clean up raw handles, by the
// rules, while the share closes.
TEST_F(UngatedShareCloseTest, CloseAgainstOwnersOfRawHandles) {
  constexpr int kOwners = 4;
  for (int round = 0; round < 30; ++round) {
    const auto share = NewShare();
    RunThreads(kOwners + 1, [&](int i) {
      if (i == kOwners) {
        EXPECT_OK(share->Close());
        return;
      }
      for (int step = 0; step < 3; ++step) {
        CURL* curl = curl_easy_init();
        {
          auto attachment = share->Attach(curl);
          if (attachment.ok()) {
            {
              auto use = attachment->BeginUse();
              EXPECT_OK(use.status());
              EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_URL, "http://x/"),
                        CURLE_OK);
            }
            EXPECT_OK(attachment->BeginTransfer().status());
            if (step == 1) attachment->Detach().IgnoreError();
          }
        }
        curl_easy_cleanup(curl);
      }
    });
    EXPECT_TRUE(share->closed());
  }
}

}  // namespace
}  // namespace curlshare
