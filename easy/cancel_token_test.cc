// SPDX-License-Identifier: Apache-2.0
// A CancelToken ends the transfers that it was given to, whenever they are, and
// no other, by what a server saw. The interleavings that a server does not see:
// share/internal/handle_test.cc.
#include "curlshare/share/cancel_token.h"

#include <curl/curl.h>

#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;

constexpr auto kCancelled = absl::StatusCode::kCancelled;

class CancelTokenTest : public ::testing::Test {
 protected:
  static Easy NewEasy(Share* share = nullptr) {
    Easy easy = Easy::Create().value();
    if (share != nullptr) {
      EXPECT_OK(easy.Attach(*share));
    }
    return easy;
  }
  void WaitForStalled(int n) const {
    ASSERT_TRUE(server_->WaitForStalled(n, absl::Now() + absl::Seconds(60)));
  }
  std::string url(absl::string_view target) const {
    return server_->url(target);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

TEST_F(CancelTokenTest, ACopyIsTheSameToken) {
  CancelToken token;
  CancelToken copy = token;
  EXPECT_FALSE(copy.cancelled());
  token.Cancel();
  EXPECT_TRUE(copy.cancelled());
  copy = CancelToken();
  EXPECT_FALSE(copy.cancelled());
  token.Cancel();
}

TEST_F(CancelTokenTest, BeforeTheStartNothingIsSent) {
  CancelToken token;
  token.Cancel();
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/")));
  EXPECT_THAT(easy.Perform(token), StatusIs(kCancelled));
  EXPECT_THAT(easy.Fetch(url("/"), token).status(), StatusIs(kCancelled));
  EXPECT_THAT(easy.Fetch(url("/"), nullptr, token).status(),
              StatusIs(kCancelled));
  EXPECT_EQ(server_->counts().connections, 0);
  EXPECT_OK(easy.Fetch(url("/"), CancelToken()).status());
  EXPECT_EQ(server_->counts().requests, 1);
}

TEST_F(CancelTokenTest, EndsEveryTransferItWasGivenTo) {
  constexpr int kThreads = 4;
  CancelToken token;
  const auto share = Share::Create().value();
  RunThreads(kThreads + 1, [&](int i) {
    if (i == kThreads) {
      WaitForStalled(kThreads);
      token.Cancel();
      return;
    }
    Easy easy = NewEasy(i % 2 == 0 ? share.get() : nullptr);
    EXPECT_THAT(easy.Fetch(url("/stall"), token).status(),
                StatusIs(kCancelled));
    EXPECT_OK(easy.Fetch(url("/")).status());
  });
  server_->ReleaseStalled();
}

TEST_F(CancelTokenTest, EndsARawHandlesTransfer) {
  const auto share = Share::Create().value();
  CURL* const curl = curl_easy_init();
  const std::string stall = url("/stall");
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, stall.c_str()), CURLE_OK);
  Attachment attachment = share->Attach(curl).value();
  CancelToken token;
  std::thread cancels([&] {
    WaitForStalled(1);
    token.Cancel();
  });
  EXPECT_THAT(attachment.Perform(token), StatusIs(kCancelled));
  cancels.join();
  EXPECT_THAT(attachment.Perform(token), StatusIs(kCancelled));
  EXPECT_EQ(server_->counts().requests, 1);
  attachment = Attachment();
  EXPECT_THAT(attachment.Perform(token),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  curl_easy_cleanup(curl);
  server_->ReleaseStalled();
}

// Two who come for a host that takes one at a time.
TEST_F(CancelTokenTest, EndsAWaitForOthersToTheSameHost) {
  ShareOptions options;
  options.connections.max_transfers_per_host = 1;
  const auto share = Share::Create(options).value();
  CancelToken token;
  absl::Notification starts;
  std::thread first(
      [&] { EXPECT_OK(NewEasy(share.get()).Fetch(url("/stall")).status()); });
  WaitForStalled(1);
  std::thread second([&] {
    Easy easy = NewEasy(share.get());
    starts.Notify();
    EXPECT_THAT(easy.Fetch(url("/"), token).status(), StatusIs(kCancelled));
  });
  starts.WaitForNotification();
  token.Cancel();  // while it waits, or before
  second.join();
  EXPECT_EQ(server_->counts().requests, 1);
  server_->ReleaseStalled();
  first.join();
}

// One is in a callback, inside the gate.
TEST_F(CancelTokenTest, EndsAWaitForTheGate) {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  const auto share = Share::Create(options).value();
  CancelToken token;
  absl::Notification inside;
  absl::Notification go_on;
  std::thread first([&] {
    EXPECT_OK(NewEasy(share.get())
                  .Fetch(url("/"),
                         [&](absl::string_view) {
                           inside.Notify();
                           go_on.WaitForNotification();
                           return absl::OkStatus();
                         })
                  .status());
  });
  Easy easy = NewEasy(share.get());
  inside.WaitForNotification();
  absl::Notification starts;
  std::thread second([&] {
    starts.Notify();
    EXPECT_THAT(easy.Fetch(url("/"), token).status(), StatusIs(kCancelled));
  });
  starts.WaitForNotification();
  token.Cancel();
  second.join();
  EXPECT_EQ(server_->counts().requests, 1);
  go_on.Notify();
  first.join();
}

TEST_F(CancelTokenTest, AfterTheEndTheNextTransferGoesOn) {
  Easy easy = NewEasy();
  CancelToken first;
  ASSERT_OK(easy.Fetch(url("/"), first).status());
  CancelToken second;
  std::thread cancels([&] {
    WaitForStalled(1);
    first.Cancel();
    server_->ReleaseStalled();
  });
  EXPECT_EQ(easy.Fetch(url("/stall"), second)->body, "ok");
  cancels.join();
}

TEST_F(CancelTokenTest, MayBeCancelledInACallbackOfItsTransfer) {
  Easy easy = NewEasy();
  CancelToken token;
  ASSERT_OK(easy.SetHeaderSink([&](absl::string_view) {
    token.Cancel();
    return absl::OkStatus();
  }));
  EXPECT_THAT(easy.Fetch(url("/endless"), nullptr, token).status(),
              StatusIs(kCancelled));
}

// Each transfer is cancelled at some moment around its end; the one after it
// never is.
TEST_F(CancelTokenTest, NeverHitsTheNextTransfer) {
  for (int i = 0; i < 200; ++i) {
    Easy easy = NewEasy();
    CancelToken token;
    absl::Notification starts;
    std::thread cancels([&] {
      starts.WaitForNotification();
      token.Cancel();
    });
    starts.Notify();
    const absl::Status status = easy.Fetch(url("/"), token).status();
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    EXPECT_OK(easy.Fetch(url("/"), CancelToken()).status());
    cancels.join();
  }
}

}  // namespace
}  // namespace curlshare
