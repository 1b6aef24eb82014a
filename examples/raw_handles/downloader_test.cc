// SPDX-License-Identifier: Apache-2.0
#include "downloader.h"

#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace raw_handles {
namespace {

using ::curlshare::LockData;
using ::curlshare::LockDataSet;
using ::curlshare::Share;
using ::curlshare::ShareOptions;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;

class DownloaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HttpServerOptions options;
    options.tls = true;
    auto server = HttpServer::Start(options);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }

  static std::unique_ptr<Share> NewShare(LockDataSet kinds) {
    ShareOptions options;
    options.lock_data = kinds;
    auto share = Share::Create(options);
    EXPECT_OK(share.status());
    return *std::move(share);
  }

  std::unique_ptr<Downloader> NewDownloader(Share& share) {
    auto downloader = Downloader::Create(share, server_->ca_pem());
    EXPECT_OK(downloader.status());
    return *std::move(downloader);
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(DownloaderTest, HandlesResumeEachOthersTlsSessions) {
  const auto share = NewShare(LockData::kSslSession);
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(NewDownloader(*share)->Download(server_->url("/")),
                IsOkAndHolds("ok"));
  }
  EXPECT_EQ(server_->counts().tls_full, 1);
  EXPECT_EQ(server_->counts().tls_resumed, 3);
}

TEST_F(DownloaderTest, EasyPerformOfOnesOwnIsForSharesWithoutAGate) {
  // Before libcurl 8.10 sessions need one.
  for (const LockDataSet kinds :
       {LockDataSet(LockData::kPsl), LockDataSet(LockData::kSslSession),
        LockDataSet(LockData::kHsts)}) {
    const auto share = NewShare(kinds);
    const auto body =
        NewDownloader(*share)->DownloadByEasyPerform(server_->url("/"));
    if (share->gated()) {
      EXPECT_THAT(body.status(),
                  StatusIs(absl::StatusCode::kFailedPrecondition));
    } else {
      EXPECT_THAT(body, IsOkAndHolds("ok"));
    }
  }
}

TEST_F(DownloaderTest, ThreadsShareConnectionsWithoutAGate) {
  constexpr int kThreads = 4;
  const auto share = NewShare(LockData::kConnect);
  ASSERT_FALSE(share->gated());
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < 20; ++i) {
      EXPECT_THAT(NewDownloader(*share)->Download(server_->url("/")),
                  IsOkAndHolds("ok"));
    }
  });
  EXPECT_LE(server_->counts().connections, kThreads);
  // One of its own uses a connection of its own.
  EXPECT_THAT(NewDownloader(*share)->DownloadByEasyPerform(server_->url("/")),
              IsOkAndHolds("ok"));
}

TEST_F(DownloaderTest, CloseNowEndsATransferOfEitherForm) {
  for (const bool by_easy_perform : {false, true}) {
    const auto share = NewShare(LockData::kPsl);  // Without a gate.
    const auto downloader = NewDownloader(*share);
    absl::StatusOr<std::string> body;
    std::thread thread([&] {
      const std::string url = server_->url("/stall");
      body = by_easy_perform ? downloader->DownloadByEasyPerform(url)
                             : downloader->Download(url);
    });
    EXPECT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
    EXPECT_OK(share->CloseNow(absl::Now() + absl::Seconds(20)));
    thread.join();
    EXPECT_THAT(body.status(), StatusIs(absl::StatusCode::kCancelled));
    server_->ReleaseStalled();
    // The handle goes on, without a share.
    EXPECT_THAT(downloader->Download(server_->url("/")), IsOkAndHolds("ok"));
  }
}

TEST_F(DownloaderTest, TellsWhatFailed) {
  const auto share = NewShare(LockData::kDns);
  EXPECT_FALSE(
      NewDownloader(*share)->Download(server_->url("/status?code=500")).ok());
  ASSERT_OK(share->Close());
  EXPECT_THAT(Downloader::Create(*share).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace raw_handles
