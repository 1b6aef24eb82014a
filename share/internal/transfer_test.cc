// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/transfer.h"

#include <curl/curl.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::HttpServer;

size_t Drop(char*, size_t size, size_t count, void*) { return size * count; }

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() {
    EXPECT_OK(InitLibcurl());
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_WRITEFUNCTION, drop),
              CURLE_OK);
    multi_ = MultiHandle::Create().value();
  }

  TransferResult Run(const std::string& url) {
    EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_URL, url.c_str()),
              CURLE_OK);
    begun_ = 0;
    polls_ = 0;
    return RunTransfer({curl_.get(), multi_->get(),
                        [this] { return cancelled_.load(); },
                        /*resumed=*/[] { return false; }, [this] { ++polls_; },
                        [] {}, [this] { ++begun_; },
                        /*quick_exit=*/false});
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{
      curl_easy_init(), &curl_easy_cleanup};
  std::unique_ptr<MultiHandle> multi_;
  std::atomic<bool> cancelled_{false};
  int begun_ = 0;
  std::atomic<int> polls_{0};
};

TEST_F(TransferTest, TellsWhetherTheConnectionCanBeUsedAgain) {
  for (int i = 0; i < 2; ++i) {
    const TransferResult result = Run(server_->url("/"));
    EXPECT_OK(result.status);
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_TRUE(result.connection_alive);
    EXPECT_TRUE(result.removed);
    EXPECT_EQ(begun_, 1);
  }
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(curl_easy_setopt(curl_.get(), CURLOPT_FORBID_REUSE, 1L), CURLE_OK);
  EXPECT_FALSE(Run(server_->url("/")).connection_alive);
  const TransferResult dropped = Run(server_->url("/drop?after=10"));
  EXPECT_EQ(dropped.code, CURLE_PARTIAL_FILE);
  EXPECT_FALSE(dropped.connection_alive);
}

TEST_F(TransferTest, OneThatFailsAtOnceHasNotBegun) {
  const TransferResult result = Run("nonsense://a.test/");
  EXPECT_OK(result.status);
  EXPECT_EQ(result.code, CURLE_UNSUPPORTED_PROTOCOL);
  EXPECT_EQ(begun_, 0);
}

TEST_F(TransferTest, EndsWhenItIsCancelledAndWoken) {
  std::thread canceller([&] {
    ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
    cancelled_ = true;
    EXPECT_EQ(curl_multi_wakeup(multi_->get()), CURLM_OK);
  });
  const TransferResult result = Run(server_->url("/stall"));
  canceller.join();
  EXPECT_OK(result.status);
  EXPECT_EQ(result.code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_FALSE(result.connection_alive);
  EXPECT_GE(polls_, 1);
  server_->ReleaseStalled();
}

TEST_F(TransferTest, OneThatIsCancelledBeforehandDoesNotBegin) {
  cancelled_ = true;
  EXPECT_EQ(Run(server_->url("/")).code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(begun_, 0);
  EXPECT_EQ(server_->counts().requests, 0);
}

}  // namespace
}  // namespace curlshare::internal
