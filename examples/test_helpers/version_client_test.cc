// SPDX-License-Identifier: Apache-2.0
// Code that knows only libcurl, tested with curl_share's //testing.
#include "version_client.h"

#include <curl/curl.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/lock_recorder.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace test_helpers {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::LockRecorder;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;

constexpr long kLong = 30000;  // Never reached.

class VersionClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK);
    auto server = HttpServer::Start();
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }
  void TearDown() override { curl_global_cleanup(); }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(VersionClientTest, ReturnsTheBody) {
  EXPECT_THAT(FetchVersion(server_->url("/"), kLong), IsOkAndHolds("ok"));
  EXPECT_THAT(FetchVersion(server_->url("/status?code=404"), kLong).status(),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(VersionClientTest, GivesUpOnAServerThatStalls) {
  EXPECT_THAT(FetchVersion(server_->url("/stall"), /*timeout_ms=*/100).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(server_->counts().requests, 1);
}

TEST_F(VersionClientTest, IsUnavailableWhereTheServerDropsOrRefuses) {
  // libcurl tries a connection that was closed unanswered once more.
  server_->DropNextConnections(100);
  EXPECT_THAT(FetchVersion(server_->url("/"), kLong).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_GE(server_->counts().connections, 1);
  server_->Refuse();
  EXPECT_THAT(FetchVersion(server_->url("/"), kLong).status(),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(VersionClientTest, MayBeCalledByManyThreads) {
  RunThreads(8, [&](int) {
    EXPECT_THAT(FetchVersion(server_->url("/"), kLong), IsOkAndHolds("ok"));
  });
  EXPECT_EQ(server_->counts().requests, 8);
}

// A LockRecorder shows what a share of curl_share does.
TEST_F(VersionClientTest, AShareIsObserved) {
  auto recorder = std::make_shared<LockRecorder>();
  curlshare::ShareOptions options;
  options.lock_data = curlshare::LockData::kDns;
  options.lock_observer = recorder;
  auto share = curlshare::Share::Create(options);
  ASSERT_OK(share.status());
  CURL* curl = curl_easy_init();
  ASSERT_NE(curl, nullptr);
  curl_easy_setopt(curl, CURLOPT_URL, server_->url("/", "localhost").c_str());
  curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  {
    auto attachment = (*share)->Attach(curl);
    ASSERT_OK(attachment.status());
    EXPECT_OK(attachment->Perform());
  }
  curl_easy_cleanup(curl);
  EXPECT_GT(recorder->taken(CURL_LOCK_DATA_DNS), 0);
  EXPECT_EQ(recorder->taken(CURL_LOCK_DATA_COOKIE), 0);
  EXPECT_EQ(recorder->held(), 0);
}

}  // namespace
}  // namespace test_helpers
