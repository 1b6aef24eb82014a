// SPDX-License-Identifier: Apache-2.0
// What a transfer hands on of an answer: to a sink, in a Response, and how
// much.
#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;

class ResponseTest : public ::testing::Test {
 protected:
  std::string url(absl::string_view target) const {
    return server_->url(target);
  }
  Easy::Sink Collect() {
    return [this](absl::string_view piece) {
      absl::StrAppend(&collected_, piece);
      return absl::OkStatus();
    };
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  Easy easy_ = Easy::Create().value();
  std::string collected_;
};

// ---- A sink of Fetch

TEST_F(ResponseTest, ASinkGetsTheBodyOfASuccess) {
  std::string other;
  ASSERT_OK(easy_.SetSink([&](absl::string_view piece) {
    absl::StrAppend(&other, piece);
    return absl::OkStatus();
  }));
  const auto response = easy_.Fetch(url("/bytes?n=100000"), Collect());
  ASSERT_OK(response.status());
  EXPECT_EQ(collected_.size(), 100000u);
  EXPECT_EQ(response->status, 200);
  EXPECT_THAT(response->body, IsEmpty());
  EXPECT_EQ(response->Header("Content-Length"), "100000");
  EXPECT_THAT(other, IsEmpty());
  // For that transfer alone.
  ASSERT_OK(easy_.Perform());
  EXPECT_EQ(other.size(), 100000u);
  EXPECT_EQ(collected_.size(), 100000u);
  EXPECT_EQ(easy_.Fetch(url("/"))->body, "ok");
}

TEST_F(ResponseTest, AnErrorsBodyIsKeptApart) {
  const auto response = easy_.Fetch(url("/status?code=404&n=100"), Collect());
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, std::string(100, 'x'));
  EXPECT_THAT(collected_, IsEmpty());
}

TEST_F(ResponseTest, AnErrorsBodyIsBounded) {
  const auto response =
      easy_.Fetch(url("/status?code=500&n=1000000"), Collect());
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body.size(), Easy::kMaxErrorBody);
  EXPECT_THAT(collected_, IsEmpty());
  // The rest was read: the connection serves on.
  EXPECT_TRUE(easy_.Fetch(url("/"))->connection_reused);
}

TEST_F(ResponseTest, OfRedirectsTheLastAnswerCounts) {
  ASSERT_OK(easy_.SetFollowRedirects(2));
  auto response =
      easy_.Fetch(url("/redirect?to=/redirect?to=/bytes?n=7"), Collect());
  ASSERT_OK(response.status());
  EXPECT_EQ(collected_.size(), 7u);
  EXPECT_EQ(response->redirects, 2);
  EXPECT_EQ(response->effective_url, url("/bytes?n=7"));
  // One that is not followed is no success.
  ASSERT_OK(easy_.SetFollowRedirects(0));
  collected_.clear();
  response = easy_.Fetch(url("/status?code=302&n=3"), Collect());
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, "xxx");
  EXPECT_EQ(response->redirects, 0);
  EXPECT_THAT(collected_, IsEmpty());
}

TEST_F(ResponseTest, WithAnEmptySinkABodyIsDropped) {
  const auto response = easy_.Fetch(url("/bytes?n=1000"), nullptr);
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 200);
  EXPECT_THAT(response->body, IsEmpty());
  EXPECT_EQ(easy_.GetInfo<CURLINFO_SIZE_DOWNLOAD_T>().value(), 1000);
}

TEST_F(ResponseTest, ASinkThatFailsEndsTheTransferWithItsStatus) {
  EXPECT_THAT(easy_
                  .Fetch(url("/bytes?n=1000"),
                         [](absl::string_view) {
                           return absl::DataLossError("the disk is full");
                         })
                  .status(),
              StatusIs(absl::StatusCode::kDataLoss, "the disk is full"));
  EXPECT_EQ(easy_.Fetch(url("/"))->body, "ok");
}

// ---- A limit

TEST_F(ResponseTest, ABodyBeyondTheLimitIsAnErrorOfItsOwn) {
  ASSERT_OK(easy_.SetMaxBodySize(1000));
  EXPECT_EQ(easy_.Fetch(url("/bytes?n=1000"))->body.size(), 1000u);
  const absl::Status status = easy_.Fetch(url("/bytes?n=1001")).status();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("1000"), HasSubstr("SetMaxBodySize"))));
  EXPECT_EQ(GetEasyCode(status), CURLE_FILESIZE_EXCEEDED);
  EXPECT_FALSE(IsRetryable(status, /*idempotent=*/true));
  // It counts each transfer for itself.
  EXPECT_EQ(easy_.Fetch(url("/bytes?n=999"))->body.size(), 999u);
}

// The server announces no length, and never ends.
TEST_F(ResponseTest, TheLimitHoldsWhateverTheServerAnnounces) {
  constexpr int64_t kMost = 100000;
  ASSERT_OK(easy_.SetMaxBodySize(kMost));
  EXPECT_THAT(easy_.Fetch(url("/endless")).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(easy_.Fetch(url("/endless"), Collect()).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(collected_.size(), AllOf(Ge(1u), Le(size_t{kMost})));
  collected_.clear();
  ASSERT_OK(easy_.SetSink(Collect()));
  EXPECT_THAT(easy_.Perform(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(collected_.size(), AllOf(Ge(1u), Le(size_t{kMost})));
}

TEST_F(ResponseTest, TheLimitGoesWithADuplicateAndNotBeyondAReset) {
  EXPECT_THAT(easy_.SetMaxBodySize(-1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK(easy_.SetMaxBodySize(10));
  EXPECT_THAT(easy_.Duplicate()->Fetch(url("/bytes?n=11")).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
  ASSERT_OK(easy_.Reset());
  EXPECT_OK(easy_.Fetch(url("/bytes?n=11")).status());
  ASSERT_OK(easy_.SetMaxBodySize(10));
  ASSERT_OK(easy_.SetMaxBodySize(0));
  EXPECT_OK(easy_.Fetch(url("/bytes?n=11")).status());
}

// ---- What else it tells

TEST_F(ResponseTest, OfATransferThatDidNotBeginThereIsNone) {
  const auto none = StatusIs(absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(easy_.GetResponse().status(), none);
  EXPECT_OK(easy_.Fetch(server_->url("/")).status());
  EXPECT_OK(easy_.GetResponse().status());
  const auto no_rewind = [sent = false](absl::Span<char>) mutable {
    return std::exchange(sent, true) ? size_t{0} : size_t{0};
  };
  ASSERT_OK(easy_.SetSource(no_rewind));
  EXPECT_OK(easy_.Fetch(server_->url("/echo")).status());
  EXPECT_THAT(easy_.Perform(), none) << "read from, and not to be rewound";
  EXPECT_THAT(easy_.GetResponse().status(), none);
}

TEST_F(ResponseTest, AConnectionThatWasNotMadeIsNotReused) {
  EXPECT_FALSE(easy_.Fetch("http://127.0.0.1:1/").ok());
  const auto response = easy_.GetResponse();
  ASSERT_OK(response.status());
  EXPECT_FALSE(response->connection_reused);
}

TEST_F(ResponseTest, GetResponseIsOfTheNewestTransferWithoutItsBody) {
  ASSERT_OK(easy_.SetUrl(url("/status?code=503&retry_after=7&n=5")));
  ASSERT_OK(easy_.SetSink(Collect()));
  ASSERT_OK(easy_.Perform());
  const auto response = easy_.GetResponse();
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 503);
  EXPECT_EQ(response->retry_after, absl::Seconds(7));
  EXPECT_EQ(response->Header("Retry-After"), "7");
  EXPECT_EQ(response->effective_url, url("/status?code=503&retry_after=7&n=5"));
  EXPECT_FALSE(response->connection_reused);
  EXPECT_THAT(response->body, IsEmpty());
  EXPECT_EQ(collected_, "xxxxx") << "whatever the status";
  ASSERT_OK(easy_.Perform());
  EXPECT_TRUE(easy_.GetResponse()->connection_reused);
}

// Also once another handle has taken over its connection, for which libcurl
// forgets some of it.
TEST_F(ResponseTest, GetResponseAnswersAfterTheConnectionHasGone) {
  const auto share = Share::Create().value();
  ASSERT_OK(easy_.Attach(*share));
  ASSERT_OK(easy_.SetFollowRedirects(1));
  const std::string target = "/status?code=429%26retry_after=9";
  const auto fetched = easy_.Fetch(url(absl::StrCat("/redirect?to=", target)));
  ASSERT_OK(fetched.status());
  EXPECT_EQ(fetched->retry_after, absl::Seconds(9));
  {
    Easy other = Easy::Create().value();
    ASSERT_OK(other.Attach(*share));
    ASSERT_OK(other.Fetch(url("/")).status());
  }
  const auto response = easy_.GetResponse();
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 429);
  EXPECT_EQ(response->redirects, 1);
  EXPECT_EQ(response->retry_after, absl::Seconds(9));
  EXPECT_EQ(response->headers, fetched->headers);
  EXPECT_EQ(response->effective_url, fetched->effective_url);
}

// As a date, which may have passed; without one.
TEST_F(ResponseTest, RetryAfterIsWhatLibcurlMakesOfIt) {
  const auto retry_after = [&](absl::Time time) {
    const std::string date = absl::FormatTime(
        "%a,%%20%d%%20%b%%20%Y%%20%T%%20GMT", time, absl::UTCTimeZone());
    return easy_
        .Fetch(url(absl::StrCat("/status?code=503&retry_after=", date)))
        ->retry_after;
  };
  EXPECT_THAT(retry_after(absl::Now() + absl::Hours(1)),
              AllOf(Ge(absl::Minutes(59)), Le(absl::Minutes(61))));
  EXPECT_EQ(retry_after(absl::Now() - absl::Hours(1)), absl::ZeroDuration());
  EXPECT_EQ(easy_.Fetch(url("/"))->retry_after, absl::ZeroDuration());
}

}  // namespace
}  // namespace curlshare
