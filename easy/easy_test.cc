// SPDX-License-Identifier: Apache-2.0
// What an Easy does on one thread. Threads: share_close_test.cc,
// sharing_test.cc.
#include "curlshare/easy/easy.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

Easy NewEasy() {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  return *std::move(easy);
}

class EasyTest : public ::testing::TestWithParam<Concurrency> {
 protected:
  EasyTest() : server_(HttpServer::Start().value()) {}
  ~EasyTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  std::string url(absl::string_view path) const { return server_->url(path); }

  absl::StatusOr<std::unique_ptr<Share>> CreateShare(
      std::optional<LockDataSet> kinds = std::nullopt) const {
    ShareOptions options;
    options.lock_data = kinds;
    options.concurrency = GetParam();
    return Share::Create(options);
  }

  const int64_t live_before_ = ShareHandle::live_count();
  const std::unique_ptr<HttpServer> server_;
};

// All of it holds for handles of gated shares as well.
INSTANTIATE_TEST_SUITE_P(Concurrency, EasyTest,
                         ::testing::Values(Concurrency::kAuto,
                                           Concurrency::kGated),
                         [](const auto& info) {
                           return std::string(ConcurrencyName(info.param));
                         });

// ---- Transfers

TEST_P(EasyTest, FetchesBodyHeadersStatusAndTimings) {
  Easy easy = NewEasy();
  auto response = easy.Fetch(url("/bytes?n=100000"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body.size(), 100000u);
  EXPECT_EQ(response->effective_url, url("/bytes?n=100000"));
  EXPECT_EQ(response->http_version, CURL_HTTP_VERSION_1_1);
  EXPECT_THAT(response->Header("CONTENT-LENGTH"),
              Optional(std::string("100000")));
  EXPECT_EQ(response->Header("no-such-header"), std::nullopt);
  EXPECT_FALSE(response->connection_reused);
  EXPECT_GT(response->timings.total, absl::ZeroDuration());
  EXPECT_GE(response->timings.total, response->timings.first_byte);
  EXPECT_EQ(response->timings.tls_handshake, absl::ZeroDuration());
}

TEST_P(EasyTest, AnErrorStatusOfTheServerIsAResponse) {
  auto response = NewEasy().Fetch(url("/status?code=404"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 404);
}

// As well as curl_easy_perform keeps them.
TEST_P(EasyTest, KeepsItsConnection) {
  Easy easy = NewEasy();
  for (int i = 0; i < 10; ++i) {
    auto response = easy.Fetch(url("/"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->connection_reused, i > 0);
  }
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(server_->counts().requests, 10);
}

// ... and closes one beyond CURLOPT_MAXCONNECTS, as it does. (Which one, it
// decides by times in whole milliseconds.)
TEST_P(EasyTest, KeepsAsManyConnectionsAsItIsTold) {
  auto second = HttpServer::Start();
  ASSERT_OK(second.status());
  Easy easy = NewEasy();
  const auto connections_of_six_requests = [&] {
    const int before =
        server_->counts().connections + (*second)->counts().connections;
    for (int i = 0; i < 3; ++i) {
      EXPECT_OK(easy.Fetch(url("/")).status());
      EXPECT_OK(easy.Fetch((*second)->url("/")).status());
    }
    return server_->counts().connections + (*second)->counts().connections -
           before;
  };
  ASSERT_OK(easy.SetOption<CURLOPT_MAXCONNECTS>(1L));
  EXPECT_GE(connections_of_six_requests(), 4);
  ASSERT_OK(easy.SetOption<CURLOPT_MAXCONNECTS>(2L));
  EXPECT_LE(connections_of_six_requests(), 1);
}

TEST_P(EasyTest, ErrorsNameTheCodeAndKeepIt) {
  Easy easy = NewEasy();
  const absl::Status status = easy.Fetch("http://127.0.0.1:1/").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("CURLE_COULDNT_CONNECT (7)")));
  EXPECT_EQ(GetEasyCode(status), CURLE_COULDNT_CONNECT);
  EXPECT_THAT(easy.Fetch("no-such-scheme://x/").status(),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(easy.Fetch("").status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
  // It works on.
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, PerformWithoutAUrlFails) {
  EXPECT_THAT(NewEasy().Perform(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(EasyTest, PerformDropsABodyWithoutASink) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/bytes?n=1000")));
  ::testing::internal::CaptureStdout();
  const absl::Status status = easy.Perform();
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), IsEmpty());
  EXPECT_OK(status);
  EXPECT_THAT(easy.GetInfo<CURLINFO_SIZE_DOWNLOAD_T>(), IsOkAndHolds(1000));
}

TEST_P(EasyTest, SinksGetTheBodyAndTheHeaders) {
  Easy easy = NewEasy();
  std::string body;
  std::string headers;
  ASSERT_OK(easy.SetSink([&](absl::string_view piece) {
    absl::StrAppend(&body, piece);
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.SetHeaderSink([&](absl::string_view line) {
    absl::StrAppend(&headers, line);
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=5000")));
  ASSERT_OK(easy.Perform());
  EXPECT_EQ(body.size(), 5000u);
  EXPECT_THAT(headers, HasSubstr("HTTP/1.1 200"));
  // Fetch keeps the body for itself; the sink is in force again afterwards.
  auto response = easy.Fetch(url("/bytes?n=7"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body.size(), 7u);
  EXPECT_EQ(body.size(), 5000u);
  ASSERT_OK(easy.Perform());
  EXPECT_EQ(body.size(), 5007u);
  // And gone when it is taken away.
  ASSERT_OK(easy.SetSink(nullptr));
  ASSERT_OK(easy.SetHeaderSink(nullptr));
  ASSERT_OK(easy.Perform());
  EXPECT_EQ(body.size(), 5007u);
}

TEST_P(EasyTest, ASinkThatFailsEndsTheTransferWithItsStatus) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/bytes?n=1000000")));
  ASSERT_OK(easy.SetSink([](absl::string_view) {
    return absl::DataLossError("the disk is full");
  }));
  const absl::Status status = easy.Perform();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kDataLoss, "the disk is full"));
  EXPECT_EQ(GetEasyCode(status), CURLE_WRITE_ERROR);
  ASSERT_OK(easy.SetSink(nullptr));
  EXPECT_OK(easy.Perform()) << "the old error stuck";
}

TEST_P(EasyTest, AHeaderSinkThatFailsEndsTheTransferWithItsStatus) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetHeaderSink(
      [](absl::string_view) { return absl::OutOfRangeError("too many"); }));
  EXPECT_THAT(easy.Fetch(url("/")).status(),
              StatusIs(absl::StatusCode::kOutOfRange, "too many"));
}

TEST_P(EasyTest, AProgressCallableThatFailsEndsTheTransferWithItsStatus) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/endless")));
  int64_t seen = 0;
  ASSERT_OK(easy.SetProgress([&](const TransferProgress& progress) {
    seen = progress.downloaded;
    return progress.downloaded > 100000 ? absl::AbortedError("enough")
                                        : absl::OkStatus();
  }));
  EXPECT_THAT(easy.Perform(), StatusIs(absl::StatusCode::kAborted, "enough"));
  EXPECT_GT(seen, 100000);
  ASSERT_OK(easy.SetProgress(nullptr));
  EXPECT_OK(easy.Fetch(url("/")).status());
}

// libcurl calls with every piece of data.
TEST_P(EasyTest, ProgressIsToldTenTimesASecondAndAtTheEnd) {
  Easy easy = NewEasy();
  constexpr int64_t kSize = 20'000'000;
  ASSERT_OK(easy.SetUrl(url(absl::StrCat("/bytes?n=", kSize))));
  int calls = 0;
  TransferProgress newest;
  ASSERT_OK(easy.SetProgress([&](const TransferProgress& progress) {
    ++calls;
    EXPECT_GE(progress.downloaded, newest.downloaded);
    newest = progress;
    return absl::OkStatus();
  }));
  for (int i = 0; i < 2; ++i) {
    calls = 0;
    newest = {};
    const absl::Time begin = absl::Now();
    ASSERT_OK(easy.Perform());
    const double tenths = (absl::Now() - begin) / absl::Milliseconds(100);
    EXPECT_LE(calls, tenths + 3);
    EXPECT_GE(calls, 1);
    EXPECT_EQ(newest.downloaded, kSize);
  }
  ASSERT_OK(easy.SetProgress(
      [](const TransferProgress&) { return absl::AbortedError("no"); }));
  EXPECT_THAT(easy.Perform(), StatusIs(absl::StatusCode::kAborted, "no"));
}

// It comes after the transfer, where libcurl could end nothing.
TEST_P(EasyTest, ACancelInTheLastReportOfProgressCounts) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(easy.SetProgress([&](const TransferProgress& progress) {
    if (progress.downloaded == 10) {
      EXPECT_TRUE(easy.Cancel());
    }
    return absl::OkStatus();
  }));
  // A transfer that takes long is told of the end by libcurl, which may be done
  // by then.
  absl::Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = easy.Perform();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  ASSERT_OK(easy.SetProgress(nullptr));
  EXPECT_OK(easy.Perform());
}

#ifdef ABSL_HAVE_EXCEPTIONS
TEST_P(EasyTest, ACallableThatThrowsEndsTheTransferWithAStatus) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(easy.SetSink([](absl::string_view) -> absl::Status {
    throw std::runtime_error("bad day");
  }));
  EXPECT_THAT(easy.Perform(),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("bad day")));
  ASSERT_OK(easy.SetSink([](absl::string_view) -> absl::Status { throw 42; }));
  EXPECT_THAT(easy.Perform(), StatusIs(absl::StatusCode::kUnknown));
}

TEST_P(EasyTest, ACallableThatThrowsLeavesNoLockHeld) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(easy.SetHeaderSink([](absl::string_view) -> absl::Status {
    throw std::runtime_error("bad day");
  }));
  EXPECT_FALSE(easy.Perform().ok());
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
  // Another handle takes the same locks; a close needs them too.
  Easy other = NewEasy();
  ASSERT_OK(other.Attach(**share));
  EXPECT_OK(other.Fetch(url("/")).status());
  EXPECT_OK((*share)->Close());
}
#endif

// ---- Options

TEST_P(EasyTest, SendsMethodHeadersAndBody) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetHeaders({{"X-One: 1", "X-Two: 2", "Content-Type: a/b"}}));
  ASSERT_OK(easy.SetBody("the body"));
  auto response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body,
              AllOf(HasSubstr("POST"), HasSubstr("X-One: 1"),
                    HasSubstr("X-Two: 2"), HasSubstr("the body")));
  ASSERT_OK(easy.SetMethod("PUT"));
  response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, AllOf(HasSubstr("PUT"), HasSubstr("the body")));
  ASSERT_OK(easy.SetMethod("GET"));
  ASSERT_OK(easy.SetHeaders({}));
  response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, AllOf(HasSubstr("GET"), Not(HasSubstr("X-One")),
                                    Not(HasSubstr("the body"))));
}

TEST_P(EasyTest, ABodyMayHoldAnythingAndMayBeEmpty) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetHeaders({{"Content-Type: application/octet-stream"}}));
  const std::string bytes("a\0b\nc", 5);
  ASSERT_OK(easy.SetBody(bytes));
  auto response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, HasSubstr(bytes));
  ASSERT_OK(easy.SetBody(""));
  response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, HasSubstr("Content-Length: 0"));
}

TEST_P(EasyTest, ABodyAfterHeadOrGetIsPosted) {
  for (absl::string_view method : {"HEAD", "GET"}) {
    Easy easy = NewEasy();
    ASSERT_OK(easy.SetMethod(method));
    ASSERT_OK(easy.SetBody("the body"));
    auto response = easy.Fetch(url("/echo"));
    ASSERT_OK(response.status());
    EXPECT_THAT(response->body,
                AllOf(HasSubstr("POST /echo"), HasSubstr("\nthe body")));
  }
}

TEST_P(EasyTest, PostsABodyThatItHasBeenTold) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetMethod("POST"));
  ASSERT_OK(easy.SetBody("a first body, which is longer"));
  ASSERT_OK(easy.SetBody("second"));
  auto copy = easy.Duplicate();
  ASSERT_OK(copy.status());
  ASSERT_OK(easy.SetBody("third"));
  auto response = copy->Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body,
              AllOf(HasSubstr("Content-Length: 6"), HasSubstr("\nsecond")));
  ASSERT_OK(easy.Reset());
  response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, HasSubstr("GET /echo"));
}

TEST_P(EasyTest, HeadHasNoBody) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetMethod("HEAD"));
  auto response = easy.Fetch(url("/bytes?n=10"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, IsEmpty());
  EXPECT_THAT(response->Header("content-length"), Optional(std::string("10")));
  ASSERT_OK(easy.SetMethod("GET"));
  response = easy.Fetch(url("/bytes?n=10"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body.size(), 10u);
}

TEST_P(EasyTest, RefusesMalformedOptions) {
  Easy easy = NewEasy();
  for (const absl::Status& status : {
           easy.SetMethod(""),
           easy.SetMethod("GET / HTTP/1.1"),
           easy.SetHeaders({{"X: 1\r\nInjected: 2"}}),
           easy.SetUrl(absl::string_view("http://x/\0y", 11)),
           easy.SetTimeout(absl::ZeroDuration()),
           easy.SetTimeout(-absl::Seconds(1)),
           easy.SetConnectTimeout(absl::ZeroDuration()),
           easy.SetFollowRedirects(-1),
           easy.SetMaxBodySize(-1),
           easy.SetOption<CURLOPT_HTTPHEADER>({std::string("X: a\0b", 6)}),
       }) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, AnOptionThatLibcurlRefusesIsNamed) {
  EXPECT_THAT(NewEasy().SetOption<CURLOPT_HTTP_VERSION>(-5),
              StatusIs(::testing::_, HasSubstr("CURLOPT_HTTP_VERSION")));
}

TEST_P(EasyTest, SetsOptionsOfEveryKind) {
  Easy easy = NewEasy();
  EXPECT_OK(easy.SetOption<CURLOPT_VERBOSE>(false));
  EXPECT_OK(easy.SetOption<CURLOPT_QUICK_EXIT>(true));
  EXPECT_OK(easy.SetOption<CURLOPT_COOKIEFILE>(nullptr));
  EXPECT_OK(easy.SetOption<CURLOPT_MAXFILESIZE_LARGE>(1 << 20));
  EXPECT_OK(easy.SetOption<CURLOPT_USERAGENT>(std::string("me/1.0")));
  EXPECT_OK(easy.SetOption<CURLOPT_REFERER>(nullptr));
  EXPECT_OK(easy.SetOption<CURLOPT_HTTPHEADER>({"X-List: yes"}));
  EXPECT_OK(easy.SetOption<CURLOPT_CAINFO_BLOB>("not read for http"));
  int pointee = 0;
  EXPECT_OK(easy.SetOption<CURLOPT_PRIVATE>(&pointee));
  int opened = 0;
  const curl_sockopt_callback on_socket = [](void* data, curl_socket_t,
                                             curlsocktype) {
    ++*static_cast<int*>(data);
    return CURL_SOCKOPT_OK;
  };
  EXPECT_OK(easy.SetOption<CURLOPT_SOCKOPTFUNCTION>(on_socket, &opened));
  auto response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, AllOf(HasSubstr("me/1.0"), HasSubstr("X-List")));
  EXPECT_EQ(opened, 1);
}

TEST_P(EasyTest, NullUnsetsHoweverItIsSpelled) {
  Easy easy = NewEasy();
  const char* const none = nullptr;
  ASSERT_OK(easy.SetOption<CURLOPT_PROXY>("http://127.0.0.1:1"));
  EXPECT_OK(easy.SetOption<CURLOPT_PROXY>(none));
  EXPECT_OK(easy.SetOption<CURLOPT_CAINFO_BLOB>(nullptr));
  EXPECT_OK(easy.SetOption<CURLOPT_CAINFO_BLOB>(none));
  EXPECT_OK(easy.SetOption<CURLOPT_HTTPHEADER>(nullptr));
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, TimesOut) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(50)));
  EXPECT_THAT(easy.Fetch(url("/stall")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("CURLE_OPERATION_TIMEDOUT")));
  server_->ReleaseStalled();
  ASSERT_OK(easy.SetTimeout(absl::InfiniteDuration()));
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, FollowsRedirectsWhenTold) {
  Easy easy = NewEasy();
  const std::string redirect = url("/redirect?to=/bytes%3Fn=3");
  auto response = easy.Fetch(redirect);
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 302);
  ASSERT_OK(easy.SetFollowRedirects(1));
  response = easy.Fetch(redirect);
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->effective_url, url("/bytes?n=3"));
  EXPECT_EQ(response->Header("Location"), std::nullopt)
      << "headers of an earlier response";
}

TEST_P(EasyTest, GetInfoHasTheTypeOfTheName) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.Fetch(url("/")).status());
  EXPECT_THAT(easy.GetInfo<CURLINFO_RESPONSE_CODE>(), IsOkAndHolds(200L));
  EXPECT_THAT(easy.GetInfo<CURLINFO_EFFECTIVE_URL>(), IsOkAndHolds(url("/")));
  EXPECT_THAT(easy.GetInfo<CURLINFO_REDIRECT_URL>(), IsOkAndHolds(""));
  EXPECT_OK(easy.GetInfo<CURLINFO_TOTAL_TIME>().status());
  EXPECT_OK(easy.GetInfo<CURLINFO_TOTAL_TIME_T>().status());
  EXPECT_THAT(easy.GetInfo<CURLINFO_COOKIELIST>(), IsOkAndHolds(IsEmpty()));
  EXPECT_OK(easy.GetInfo<CURLINFO_ACTIVESOCKET>().status());
}

TEST_P(EasyTest, VerifiesCertificates) {
  HttpServerOptions options;
  options.tls = true;
  auto server = HttpServer::Start(options);
  ASSERT_OK(server.status());
  Easy easy = NewEasy();
  const absl::Status refused = easy.Fetch((*server)->url("/")).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(GetEasyCode(refused), CURLE_PEER_FAILED_VERIFICATION);
  ASSERT_OK(easy.SetCaCertificates((*server)->ca_pem()));
  auto response = easy.Fetch((*server)->url("/"));
  ASSERT_OK(response.status());
  EXPECT_GT(response->timings.tls_handshake, absl::ZeroDuration());
}

// ---- Reset, Duplicate, moves

TEST_P(EasyTest, ResetForgetsOptionsAndKeepsTheShareAndTheConnection) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  int pieces = 0;
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    ++pieces;
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.SetOption<CURLOPT_HTTPHEADER>({"X-Old: 1"}));
  ASSERT_OK(easy.SetUrl(url("/echo")));
  ASSERT_OK(easy.Perform());
  EXPECT_GT(pieces, 0);
  pieces = 0;
  ASSERT_OK(easy.Reset());
  EXPECT_EQ(easy.share(), share->get());
  auto response = easy.Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_TRUE(response->connection_reused);
  EXPECT_THAT(response->body, Not(HasSubstr("X-Old")));
  ASSERT_OK(easy.Perform());
  EXPECT_EQ(pieces, 0);
}

TEST_P(EasyTest, DuplicateHasTheOptionsTheCallablesAndTheShare) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  std::optional<Easy> easy = NewEasy();
  ASSERT_OK(easy->Attach(**share));
  ASSERT_OK(easy->SetOption<CURLOPT_HTTPHEADER>({"X-Mine: 1"}));
  auto bytes = std::make_shared<size_t>(0);
  ASSERT_OK(easy->SetSink([bytes](absl::string_view piece) {
    *bytes += piece.size();
    return absl::OkStatus();
  }));
  ASSERT_OK(easy->SetUrl(url("/echo")));
  auto copy = easy->Duplicate();
  ASSERT_OK(copy.status());
  EXPECT_EQ(copy->share(), share->get());
  EXPECT_EQ((*share)->attached(), 2u);
  // Nothing of the copy points into the original.
  easy.reset();
  EXPECT_EQ((*share)->attached(), 1u);
  ASSERT_OK(copy->Perform());
  EXPECT_GT(*bytes, 0u);
  auto response = copy->Fetch(url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body, HasSubstr("X-Mine: 1"));
}

// CURLOPT_MAIL_RCPT: a libcurl without SMTP, such as this repository's, does
// not know it.
TEST_P(EasyTest, AListThatLibcurlRefusesLeavesNothingBehind) {
  Easy easy = Easy::Create().value();
  const absl::Status refused = easy.SetOption<CURLOPT_MAIL_RCPT>({"a@b.test"});
  if (!refused.ok()) {
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnimplemented));
  }
  EXPECT_OK(easy.Duplicate().status());
}

TEST_P(EasyTest, DuplicateOfAnUnattachedHandleIsUnattached) {
  Easy easy = NewEasy();
  auto copy = easy.Duplicate();
  ASSERT_OK(copy.status());
  EXPECT_EQ(copy->share(), nullptr);
  EXPECT_OK(copy->Fetch(url("/")).status());
}

TEST_P(EasyTest, MovesWithItsShare) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  Easy moved = std::move(easy);
  EXPECT_EQ(moved.share(), share->get());
  EXPECT_OK(moved.Fetch(url("/")).status());
  Easy other = NewEasy();
  moved = std::move(other);  // The old handle goes.
  EXPECT_EQ((*share)->attached(), 0u);
  EXPECT_EQ(moved.share(), nullptr);
}

TEST_P(EasyTest, AMovedFromEasyAnswersEveryCall) {
  Easy easy = NewEasy();
  const Easy taken = std::move(easy);
  auto share = CreateShare();
  ASSERT_OK(share.status());
  // NOLINTBEGIN(bugprone-use-after-move)
  EXPECT_FALSE(easy.Cancel());
  EXPECT_FALSE(easy.Resume());
  EXPECT_EQ(easy.share(), nullptr);
  EXPECT_EQ(easy.native_handle(), nullptr);
  for (const absl::Status& status :
       {easy.SetUrl("x"), easy.SetMethod("GET"), easy.SetBody("x"),
        easy.SetForm({}), easy.SetSource(nullptr), easy.SetHeaders({}),
        easy.SetTimeout(absl::Seconds(1)), easy.SetFollowRedirects(1),
        easy.SetSink(nullptr), easy.SetHeaderSink(nullptr),
        easy.SetProgress(nullptr), easy.Perform(), easy.Fetch("x").status(),
        easy.Attach(**share), easy.Detach(), easy.Reset(),
        easy.Duplicate().status(), easy.BeginUse().status(),
        easy.GetInfo<CURLINFO_RESPONSE_CODE>().status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("moved from")));
  }
  // NOLINTEND(bugprone-use-after-move)
}

// ---- Sharing

TEST_P(EasyTest, AttachDetachAndShare) {
  auto share = CreateShare();
  auto other = CreateShare();
  ASSERT_OK(share.status());
  ASSERT_OK(other.status());
  Easy easy = NewEasy();
  EXPECT_EQ(easy.share(), nullptr);
  EXPECT_THAT(easy.Detach(), StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_OK(easy.Attach(**share));
  EXPECT_EQ(easy.share(), share->get());
  for (Share* s : {share->get(), other->get()}) {
    EXPECT_THAT(easy.Attach(*s), StatusIs(absl::StatusCode::kAlreadyExists,
                                          HasSubstr((*share)->name())));
  }
  // Nor behind its back.
  EXPECT_THAT((*other)->Attach(easy.native_handle()).status(),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(easy.share(), share->get());
  ASSERT_OK(easy.Detach());
  ASSERT_OK(easy.Attach(**other));
  EXPECT_EQ(easy.share(), other->get());
  EXPECT_OK((*other)->Close());
  EXPECT_EQ(easy.share(), nullptr);
  EXPECT_THAT(easy.Attach(**other),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_OK(easy.Attach(**share));
}

TEST_P(EasyTest, TransfersOnAfterItsShareClosed) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.Fetch(url("/")).status());
  ASSERT_OK((*share)->Close());
  EXPECT_OK(easy.Fetch(url("/")).status());
  share->reset();
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, GoesAfterOrBeforeItsShare) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  std::optional<Easy> first = NewEasy();
  std::optional<Easy> second = NewEasy();
  ASSERT_OK(first->Attach(**share));
  ASSERT_OK(second->Attach(**share));
  ASSERT_OK(first->Fetch(url("/")).status());
  ASSERT_OK(second->Fetch(url("/")).status());
  first.reset();
  EXPECT_EQ((*share)->attached(), 1u);
  share->reset();
  EXPECT_EQ(second->share(), nullptr);
  EXPECT_OK(second->Fetch(url("/")).status());
}

// Enable while attached: the handle moves to the new CURLSH when it transfers.
TEST_P(EasyTest, MovesToTheNewestGenerationAtItsNextTransfer) {
  auto share = CreateShare(LockDataSet());
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.Fetch(url("/")).status());
  ASSERT_OK((*share)->Enable(DefaultLockData()));
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 2);
  ASSERT_OK(easy.SetOption<CURLOPT_FORBID_REUSE>(true));
  ASSERT_OK(easy.Fetch(url("/")).status());
  EXPECT_EQ(ShareHandle::live_count(), live_before_ + 1);
  EXPECT_EQ(easy.share(), share->get());
}

TEST_P(EasyTest, CookieJarMustBeSetBeforeJoiningAnUngatedShareOfCookies) {
  auto share = CreateShare(LockData::kCookie);
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  const absl::Status status = easy.SetOption<CURLOPT_COOKIEJAR>("/dev/null");
  if ((*share)->gated()) {
    EXPECT_OK(status);
  } else {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("before the handle joins")));
  }
  ASSERT_OK(easy.Detach());
  EXPECT_OK(easy.SetOption<CURLOPT_COOKIEJAR>("/dev/null"));
}

// ---- What is saved of a shared jar

std::string ContentsOf(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// However a handle leaves, the file holds what the share knew by then, and goes
// on holding it.
TEST_P(EasyTest, SavesTheSharedCookiesWhenItLeaves) {
  const std::vector<std::string> ways = {"Close", "Detach", "destroyed",
                                         "Disable"};
  for (const bool with_connections : {false, true}) {
    for (const std::string& way : ways) {
      SCOPED_TRACE(way);
      const std::string jar = ::testing::TempDir() + "/jar_" + way;
      std::remove(jar.c_str());
      LockDataSet kinds = LockData::kCookie;
      if (with_connections) kinds = kinds | LockData::kConnect;
      auto share = CreateShare(kinds);
      ASSERT_OK(share.status());
      std::optional<Easy> easy = NewEasy();
      ASSERT_OK(easy->SetOption<CURLOPT_COOKIEJAR>(jar));
      ASSERT_OK(easy->Attach(**share));
      Easy other = NewEasy();
      ASSERT_OK(other.Attach(**share));
      ASSERT_OK(other.Fetch(url("/cookie/set?name=a&value=saved&max_age=999"))
                    .status());
      ASSERT_OK(easy->Fetch(url("/")).status());
      if (way == "Close") {
        ASSERT_OK((*share)->Close());
      } else if (way == "Detach") {
        ASSERT_OK(easy->Detach());
      } else if (way == "destroyed") {
        easy.reset();
      } else {
        ASSERT_OK((*share)->Disable(LockData::kCookie));
        ASSERT_OK(easy->Fetch(url("/")).status());
      }
      EXPECT_THAT(ContentsOf(jar), HasSubstr("saved"));
      // It goes on with cookies of its own, or none.
      if (easy.has_value()) {
        ASSERT_OK(easy->Fetch(url("/")).status());
      }
      easy.reset();
      EXPECT_THAT(ContentsOf(jar), HasSubstr("saved"));
    }
  }
}

TEST_P(EasyTest, ARawHandlesSharedCookiesAreSavedWhenItLeaves) {
  const std::string jar = ::testing::TempDir() + "/jar_raw";
  std::remove(jar.c_str());
  auto share = CreateShare(LockData::kCookie);
  ASSERT_OK(share.status());
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                           &curl_easy_cleanup);
  const curl_write_callback drop = [](char*, size_t size, size_t count, void*) {
    return size * count;
  };
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
            CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_COOKIEJAR, jar.c_str()),
            CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(
                curl.get(), CURLOPT_URL,
                url("/cookie/set?name=a&value=saved&max_age=999").c_str()),
            CURLE_OK);
  absl::StatusOr<Attachment> attachment = (*share)->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(attachment->Perform());
  ASSERT_OK((*share)->Close());
  EXPECT_THAT(ContentsOf(jar), HasSubstr("saved"));
  // It goes on with cookies of its own.
  ASSERT_EQ(curl_easy_perform(curl.get()), CURLE_OK);
  curl.reset();
  EXPECT_THAT(ContentsOf(jar), HasSubstr("saved"));
}

// libcurl would take it out of the shared jar in silence.
TEST_P(EasyTest, CookiesCannotBeTurnedOffInAShareOfCookies) {
  auto share = CreateShare(LockData::kCookie);
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=a&value=b")).status());
  const char* const none = nullptr;
  EXPECT_THAT(easy.SetOption<CURLOPT_COOKIEFILE>(none),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("detach first")));
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "a=b");
  ASSERT_OK(easy.Detach());
  EXPECT_OK(easy.SetOption<CURLOPT_COOKIEFILE>(nullptr));
}

// It would free the list under the other handles' feet.
TEST_P(EasyTest, HstsCannotBeTurnedOffInAShareOfHsts) {
  auto share = CreateShare(LockData::kHsts);
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  EXPECT_THAT(easy.SetOption<CURLOPT_HSTS_CTRL>(0L),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("detach first")));
  EXPECT_OK(easy.SetOption<CURLOPT_HSTS_CTRL>(CURLHSTS_ENABLE));
  EXPECT_OK(easy.Fetch(url("/")).status());
  ASSERT_OK(easy.Detach());
  EXPECT_OK(easy.SetOption<CURLOPT_HSTS_CTRL>(0L));
}

// libcurl keeps a pointer to that list beyond curl_easy_reset.
TEST_P(EasyTest, ResetForgetsAddressesThatWereNotUsedYet) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetOption<CURLOPT_RESOLVE>({"reset.test:80:127.0.0.1"}));
  ASSERT_OK(easy.Reset());
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(EasyTest, ResetKeepsTheCookieEngineOfASharedJar) {
  auto share = CreateShare(LockData::kCookie);
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=a&value=1")).status());
  ASSERT_OK(easy.Reset());
  auto response = easy.Fetch(url("/cookie/show"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, "a=1");
}

TEST_P(EasyTest, NativeHandleWorksWithinAUse) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  {
    auto use = easy.BeginUse();
    ASSERT_OK(use.status());
    EXPECT_EQ(
        curl_easy_setopt(easy.native_handle(), CURLOPT_URL, url("/").c_str()),
        CURLE_OK);
    // A close leaves it alone meanwhile.
    EXPECT_THAT((*share)->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_EQ(easy.share(), share->get());
  }
  EXPECT_EQ(easy.share(), nullptr);
  EXPECT_TRUE((*share)->closed());
  EXPECT_OK(easy.Perform());
}

// ---- Calls from the callbacks of a transfer

TEST_P(EasyTest, CallbacksOfTheOwnTransferMayReadAndSetOptions) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  int calls = 0;
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    ++calls;
    EXPECT_THAT(easy.GetInfo<CURLINFO_RESPONSE_CODE>(), IsOkAndHolds(200L));
    EXPECT_OK(easy.SetTimeout(absl::Seconds(30)));
    EXPECT_EQ(easy.share(), share->get());
    EXPECT_OK(easy.BeginUse().status());
    return absl::OkStatus();
  }));
  EXPECT_OK(easy.Perform());
  EXPECT_EQ(calls, 1);
}

TEST_P(EasyTest, CallbacksOfTheOwnTransferCannotChangeIt) {
  auto share = CreateShare();
  auto other = CreateShare();
  ASSERT_OK(share.status());
  ASSERT_OK(other.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  int calls = 0;
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    ++calls;
    for (const absl::Status& status :
         {easy.Perform(), easy.Detach(), easy.Reset(),
          easy.Duplicate().status(), easy.SetSink(nullptr),
          easy.SetHeaderSink(nullptr), easy.SetProgress(nullptr),
          easy.SetHeaders({}), easy.SetBody("x")}) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("callback")));
    }
    EXPECT_THAT(easy.Attach(**other),
                StatusIs(absl::StatusCode::kAlreadyExists));
    return absl::OkStatus();
  }));
  EXPECT_OK(easy.Perform());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(easy.share(), share->get());
  EXPECT_OK(easy.SetSink(nullptr));
}

TEST_P(EasyTest, ACallbackMayCloseItsOwnShareWithADeadlineOnly) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  Easy idle = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(idle.Attach(**share));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    EXPECT_THAT((*share)->Close(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT((*share)->CloseNow(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(idle.share(), share->get()) << "the refused close did something";
    EXPECT_THAT((*share)->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_EQ(idle.share(), nullptr);
    return absl::OkStatus();
  }));
  EXPECT_OK(easy.Perform());
  EXPECT_TRUE((*share)->closed());
  EXPECT_EQ(easy.share(), nullptr);
}

TEST_P(EasyTest, ACallbackMayUseOtherHandlesOfTheShare) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy outer = NewEasy();
  Easy inner = NewEasy();
  ASSERT_OK(outer.Attach(**share));
  ASSERT_OK(inner.Attach(**share));
  ASSERT_OK(outer.SetUrl(url("/bytes?n=10")));
  int calls = 0;
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    ++calls;
    EXPECT_OK(inner.Fetch(url("/")).status());
    EXPECT_OK(inner.Detach());
    EXPECT_OK(inner.Attach(**share));
    auto fresh = Easy::Create();
    EXPECT_OK(fresh->Attach(**share));
    EXPECT_OK(fresh->Fetch(url("/")).status());
    return absl::OkStatus();
  }));
  EXPECT_OK(outer.Perform());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ((*share)->attached(), 2u);
}

TEST_P(EasyTest, AnEasyMayGoInItsOwnCallback) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  std::optional<Easy> easy = NewEasy();
  ASSERT_OK(easy->Attach(**share));
  ASSERT_OK(easy->SetUrl(url("/bytes?n=10")));
  auto alive = std::make_shared<int>(0);
  ASSERT_OK(easy->SetSink([&easy, alive](absl::string_view) {
    easy.reset();
    ++*alive;  // What the callable holds lives until the transfer ends.
    return absl::OkStatus();
  }));
  EXPECT_OK(easy->Perform());
  EXPECT_EQ(*alive, 1);
  EXPECT_EQ(alive.use_count(), 1) << "the handle was not released";
  EXPECT_EQ((*share)->attached(), 0u);
}

TEST_P(EasyTest, AShareMayGoInACallbackOfItsHandle) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(easy.SetUrl(url("/bytes?n=10")));
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    share->reset();
    EXPECT_EQ(easy.share(), nullptr);
    return absl::OkStatus();
  }));
  EXPECT_OK(easy.Perform());
  EXPECT_EQ(ShareHandle::live_count(), live_before_);
}

// A callback that libcurl runs while it holds a share's lock: to take that
// lock once more would deadlock. The debug callback is one.
class UnderLockTest : public EasyTest {
 protected:
  // Calls `call` from a debug callback under a lock of a share that `easy` is
  // in; true if libcurl made such a callback. It does where an address replaces
  // another in the DNS cache.
  static bool CallUnderLock(Easy& easy, const std::string& url,
                            std::function<void()> call) {
    struct Context {
      std::function<void()> call;
      bool called = false;
    } context{std::move(call)};
    const curl_debug_callback on_debug = [](CURL*, curl_infotype, char*, size_t,
                                            void* data) {
      auto* context = static_cast<Context*>(data);
      if (KindLocks::ThisThreadHoldsAny() && !context->called) {
        context->called = true;
        context->call();
      }
      return 0;
    };
    EXPECT_OK(easy.SetOption<CURLOPT_VERBOSE>(true));
    EXPECT_OK(easy.SetOption<CURLOPT_DEBUGFUNCTION>(on_debug, &context));
    EXPECT_OK(easy.SetOption<CURLOPT_RESOLVE>(
        {"under-lock.test:80:127.0.0.1", "under-lock.test:80:127.0.0.2"}));
    EXPECT_OK(easy.Fetch(url).status());
    EXPECT_OK(easy.SetOption<CURLOPT_VERBOSE>(false));
    EXPECT_OK(easy.SetOption<CURLOPT_RESOLVE>(std::vector<std::string>()));
    return context.called;
  }
};

INSTANTIATE_TEST_SUITE_P(Concurrency, UnderLockTest,
                         ::testing::Values(Concurrency::kAuto,
                                           Concurrency::kGated),
                         [](const auto& info) {
                           return std::string(ConcurrencyName(info.param));
                         });

TEST_P(UnderLockTest, EverythingThatTakesALockIsRefused) {
  auto share = CreateShare();
  auto other = CreateShare();
  ASSERT_OK(share.status());
  ASSERT_OK(other.status());
  Easy easy = NewEasy();
  Easy attached = NewEasy();
  Easy unattached = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(attached.Attach(**other));
  std::vector<absl::Status> statuses;
  const bool called = CallUnderLock(easy, url("/"), [&] {
    statuses = {attached.Perform(),
                attached.SetUrl("x"),
                attached.Detach(),
                unattached.Attach(**other),
                (*share)->Close(),
                (*other)->CloseNow(),
                (*other)->Disable(LockDataSet::All())};
    EXPECT_EQ((*share)->attached(), 1u);
    EXPECT_OK(unattached.SetUrl(url("/")));
    EXPECT_OK(unattached.Perform());
  });
  EXPECT_TRUE(called) << "libcurl made no debug callback under a lock";
  for (const absl::Status& status : statuses) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("lock")));
  }
  EXPECT_EQ((*other)->attached(), 1u);
  EXPECT_OK((*share)->Close());
  EXPECT_OK((*other)->Close());
}

TEST_P(UnderLockTest, HandlesAndSharesMayGo) {
  auto share = CreateShare();
  auto other = CreateShare();
  ASSERT_OK(share.status());
  ASSERT_OK(other.status());
  Easy easy = NewEasy();
  std::optional<Easy> goes = NewEasy();
  Easy stays = NewEasy();
  ASSERT_OK(easy.Attach(**share));
  ASSERT_OK(goes->Attach(**share));
  ASSERT_OK(stays.Attach(**other));
  EXPECT_TRUE(CallUnderLock(easy, url("/"), [&] {
    goes.reset();
    other->reset();
  }));
  EXPECT_EQ((*share)->attached(), 1u) << "the handle was not released";
  EXPECT_EQ(stays.share(), nullptr);
  EXPECT_OK(stays.Fetch(url("/")).status());
}

// ---- Raw handles

TEST_P(EasyTest, AnAttachmentPerforms) {
  auto share = CreateShare();
  ASSERT_OK(share.status());
  CURL* curl = curl_easy_init();
  std::string body;
  const curl_write_callback on_body = [](char* data, size_t size, size_t n,
                                         void* out) {
    static_cast<std::string*>(out)->append(data, size * n);
    return size * n;
  };
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body), CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body), CURLE_OK);
  {
    auto attachment = (*share)->Attach(curl);
    ASSERT_OK(attachment.status());
    {
      auto use = attachment->BeginUse();
      ASSERT_OK(use.status());
      ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, url("/bytes?n=9").c_str()),
                CURLE_OK);
    }
    EXPECT_OK(attachment->Perform());
    EXPECT_OK(attachment->Perform());
    EXPECT_EQ(body.size(), 18u);
    EXPECT_EQ(server_->counts().connections, 1);
    // And by curl_easy_perform, within a transfer; not in a gated share.
    if (auto transfer = attachment->BeginTransfer(); transfer.ok()) {
      EXPECT_FALSE((*share)->gated());
      EXPECT_OK(transfer->End(curl_easy_perform(curl)));
      EXPECT_EQ(body.size(), 27u);
    } else {
      EXPECT_TRUE((*share)->gated());
      EXPECT_THAT(transfer.status(),
                  StatusIs(absl::StatusCode::kFailedPrecondition));
    }
    {
      auto use = attachment->BeginUse();
      ASSERT_OK(use.status());
      ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_URL, "http://127.0.0.1:1/"),
                CURLE_OK);
    }
    EXPECT_THAT(attachment->Perform(),
                StatusIs(absl::StatusCode::kUnavailable));
  }
  curl_easy_cleanup(curl);
}

}  // namespace
}  // namespace curlshare
