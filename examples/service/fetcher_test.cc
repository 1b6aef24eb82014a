// SPDX-License-Identifier: Apache-2.0
#include "fetcher.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fetch_service {
namespace {

using ::curlshare::Response;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::StatusIs;

constexpr int64_t kMaxBodySize = 1000;

class FetcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HttpServerOptions options;
    options.tls = true;
    auto server = HttpServer::Start(options);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }

  std::unique_ptr<Fetcher> NewFetcher(int workers, size_t queue_size) {
    FetcherOptions options;
    options.workers = workers;
    options.queue_size = queue_size;
    options.max_body_size = kMaxBodySize;
    options.ca_pem = server_->ca_pem();
    auto fetcher = Fetcher::Start(
        options,
        [this](const std::string&, const absl::StatusOr<Response>& response) {
          absl::MutexLock lock(&mu_);
          ++results_[response.status().code()];
        });
    EXPECT_OK(fetcher.status());
    return *std::move(fetcher);
  }

  // How many results of this code came.
  int results(absl::StatusCode code) {
    absl::MutexLock lock(&mu_);
    return results_[code];
  }

  std::unique_ptr<HttpServer> server_;
  absl::Mutex mu_;
  std::map<absl::StatusCode, int> results_ ABSL_GUARDED_BY(mu_);
};

TEST_F(FetcherTest, FinishFetchesWhatIsQueued) {
  auto fetcher = NewFetcher(/*workers=*/4, /*queue_size=*/2);
  for (int i = 0; i < 50; ++i) ASSERT_OK(fetcher->Submit(server_->url("/")));
  fetcher->Finish();
  EXPECT_THAT(fetcher->Submit(server_->url("/")),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_OK(fetcher->Shutdown(absl::InfinitePast()));
  EXPECT_EQ(results(absl::StatusCode::kOk), 50);
  EXPECT_EQ(fetcher->counts().submitted, 50);
  EXPECT_EQ(fetcher->counts().answered, 50);
  EXPECT_EQ(server_->counts().requests, 50);
}

TEST_F(FetcherTest, AFullQueueMakesSubmitWait) {
  auto fetcher = NewFetcher(/*workers=*/1, /*queue_size=*/1);
  ASSERT_OK(fetcher->Submit(server_->url("/stall")));
  ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
  ASSERT_OK(fetcher->Submit(server_->url("/")));
  EXPECT_THAT(fetcher->Submit(server_->url("/"), absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  server_->ReleaseStalled();
  ASSERT_OK(fetcher->Submit(server_->url("/")));
  fetcher->Finish();
  EXPECT_EQ(results(absl::StatusCode::kOk), 3);
}

TEST_F(FetcherTest, ShutdownLetsWhatIsInFlightEnd) {
  auto fetcher = NewFetcher(/*workers=*/2, /*queue_size=*/10);
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(fetcher->Submit(server_->url("/stall")));
  }
  ASSERT_TRUE(server_->WaitForStalled(2, absl::Now() + absl::Seconds(20)));
  fetcher->Stop();
  EXPECT_EQ(results(absl::StatusCode::kFailedPrecondition), 3);
  server_->ReleaseStalled();
  EXPECT_OK(fetcher->Shutdown(absl::InfiniteFuture()));
  EXPECT_EQ(results(absl::StatusCode::kOk), 2);
}

TEST_F(FetcherTest, ShutdownCancelsAtItsDeadline) {
  auto fetcher = NewFetcher(/*workers=*/2, /*queue_size=*/10);
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(fetcher->Submit(server_->url("/stall")));
  }
  ASSERT_TRUE(server_->WaitForStalled(2, absl::Now() + absl::Seconds(20)));
  EXPECT_OK(fetcher->Shutdown(absl::Now() + absl::Milliseconds(100)));
  EXPECT_EQ(results(absl::StatusCode::kCancelled), 2);
  EXPECT_EQ(results(absl::StatusCode::kFailedPrecondition), 3);
  const FetchCounts counts = fetcher->counts();
  EXPECT_EQ(counts.submitted, counts.answered + counts.failed +
                                  counts.cancelled + counts.not_started);
  EXPECT_OK(fetcher->Shutdown(absl::InfinitePast()));  // Once more: nothing.
}

TEST_F(FetcherTest, ReportsWhatFails) {
  auto fetcher = NewFetcher(/*workers=*/1, /*queue_size=*/10);
  ASSERT_OK(fetcher->Submit("https://127.0.0.1:1/"));
  ASSERT_OK(fetcher->Submit(server_->url("/status?code=404")));
  ASSERT_OK(fetcher->Submit(server_->url("/bytes?n=1001")));
  ASSERT_OK(fetcher->Submit(server_->url("/bytes?n=1000")));
  fetcher->Finish();
  EXPECT_EQ(fetcher->counts().failed, 2);
  EXPECT_EQ(results(absl::StatusCode::kOutOfRange), 1);
  EXPECT_EQ(fetcher->counts().answered, 2);
}

TEST(FetcherStart, RefusesWhatCannotWork) {
  FetcherOptions options;
  options.workers = 0;
  EXPECT_THAT(Fetcher::Start(options, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace fetch_service
