// SPDX-License-Identifier: Apache-2.0
// Whether a transfer that failed may be done again, by what a server saw of it.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/fault_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::FaultServer;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::string_view kNobody = "http://127.0.0.1:1/";

Easy NewPost() {
  Easy easy = Easy::Create().value();
  EXPECT_OK(easy.SetMethod("POST"));
  EXPECT_OK(easy.SetBody("once"));
  return easy;
}

// Takes connections, and never says anything.
class SilentListener {
 public:
  SilentListener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, any, size), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    EXPECT_EQ(getsockname(socket_, any, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  SilentListener(const SilentListener&) = delete;
  SilentListener& operator=(const SilentListener&) = delete;
  ~SilentListener() { close(socket_); }
  std::string url(absl::string_view scheme) const {
    return absl::StrCat(scheme, "://127.0.0.1:", port_, "/");
  }

 private:
  const int socket_;
  uint16_t port_ = 0;
};

class RetryTest : public ::testing::Test {
 protected:
  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  Easy post_ = NewPost();
};

TEST_F(RetryTest, WhatReachedNoServerMayBeDoneAgain) {
  const absl::Status refused = post_.Fetch(kNobody).status();
  EXPECT_EQ(GetEasyCode(refused), CURLE_COULDNT_CONNECT);
  EXPECT_EQ(GetRequestSent(refused), false);
  EXPECT_TRUE(IsRetryable(refused, /*idempotent=*/false));
  const absl::Status unknown = post_.Fetch("http://no-such.invalid/").status();
  EXPECT_EQ(GetEasyCode(unknown), CURLE_COULDNT_RESOLVE_HOST);
  EXPECT_TRUE(IsRetryable(unknown, /*idempotent=*/false));
  // TLS had not begun to carry anything.
  const auto alert = FaultServer::Start(FaultServer::Fault::kTlsAlert).value();
  const absl::Status handshake = post_.Fetch(alert->tls_url()).status();
  EXPECT_EQ(GetEasyCode(handshake), CURLE_SSL_CONNECT_ERROR);
  EXPECT_TRUE(IsRetryable(handshake, /*idempotent=*/false));
}

TEST_F(RetryTest, ATimeoutBeforeTheRequestReachedNoServer) {
  const SilentListener listener;
  ASSERT_OK(post_.SetTimeout(absl::Milliseconds(200)));
  const absl::Status before = post_.Fetch(listener.url("https")).status();
  EXPECT_EQ(GetEasyCode(before), CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(GetRequestSent(before), false);
  EXPECT_TRUE(IsRetryable(before, /*idempotent=*/false));
  const absl::Status after = post_.Fetch(listener.url("http")).status();
  EXPECT_EQ(GetEasyCode(after), CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(GetRequestSent(after), true);
  EXPECT_FALSE(IsRetryable(after, /*idempotent=*/false));
  EXPECT_TRUE(IsRetryable(after, /*idempotent=*/true));
}

// ... nor did one while it waited for its turn.
TEST_F(RetryTest, ATimeoutInAWaitReachedNoServer) {
  ShareOptions options;
  options.connections.max_transfers_per_host = 1;
  const auto share = Share::Create(options).value();
  std::thread first([&] {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(*share));
    EXPECT_OK(easy.Fetch(server_->url("/stall")).status());
  });
  ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
  ASSERT_OK(post_.Attach(*share));
  ASSERT_OK(post_.SetTimeout(absl::Milliseconds(50)));
  const absl::Status status = post_.Fetch(server_->url("/echo")).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               HasSubstr("max_transfers_per_host")));
  EXPECT_TRUE(IsRetryable(status, /*idempotent=*/false));
  EXPECT_EQ(server_->counts().requests, 1);
  server_->ReleaseStalled();
  first.join();
}

TEST_F(RetryTest, WhatMayHaveReachedAServerIsForIdempotentRequestsAlone) {
  for (const auto fault :
       {FaultServer::Fault::kReset, FaultServer::Fault::kHalfClose,
        FaultServer::Fault::kResetMidway,
        FaultServer::Fault::kHalfCloseMidway}) {
    const auto server = FaultServer::Start(fault).value();
    const absl::Status status = post_.Fetch(server->url()).status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(GetRequestSent(status), true) << status;
    EXPECT_FALSE(IsRetryable(status, /*idempotent=*/false)) << status;
    EXPECT_TRUE(IsRetryable(status, /*idempotent=*/true)) << status;
  }
}

// The first server may have acted on it, and led to one that is not there.
TEST_F(RetryTest, ARefusedConnectionAfterARedirectIsForIdempotentOnesAlone) {
  ASSERT_OK(post_.SetFollowRedirects(1));
  const absl::Status status =
      post_.Fetch(server_->url(absl::StrCat("/redirect?code=303&to=", kNobody)))
          .status();
  EXPECT_EQ(GetEasyCode(status), CURLE_COULDNT_CONNECT);
  EXPECT_EQ(server_->counts().requests, 1);
  EXPECT_EQ(GetRequestSent(status), true);
  EXPECT_FALSE(IsRetryable(status, /*idempotent=*/false));
  EXPECT_TRUE(IsRetryable(status, /*idempotent=*/true));
}

TEST_F(RetryTest, WhatWouldFailAgainIsFinal) {
  HttpServerOptions options;
  options.tls = true;
  const auto tls_server = HttpServer::Start(options).value();
  for (const absl::Status& status :
       {post_.Fetch(tls_server->url("/")).status(),  // its certificate
        post_.Fetch("http://").status(), post_.Fetch("file:///x").status()}) {
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(IsRetryable(status, /*idempotent=*/true)) << status;
  }
  ASSERT_OK(post_.SetSink(
      [](absl::string_view) { return absl::UnavailableError("mine"); }));
  ASSERT_OK(post_.SetUrl(server_->url("/echo")));
  const absl::Status mine = post_.Perform();
  EXPECT_THAT(mine, StatusIs(absl::StatusCode::kUnavailable, "mine"));
  EXPECT_FALSE(IsRetryable(mine, /*idempotent=*/true));
}

TEST_F(RetryTest, ACancelledTransferIsFinal) {
  std::thread cancels([&] {
    ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
    EXPECT_TRUE(post_.Cancel());
  });
  const absl::Status status = post_.Fetch(server_->url("/stall")).status();
  cancels.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_FALSE(IsRetryable(status, /*idempotent=*/true));
}

struct HttpCase {
  int http_status;
  absl::StatusCode code;
  RetrySafety safety;
};

// With CURLOPT_FAILONERROR; of an Easy and of a raw handle.
TEST_F(RetryTest, AnHttpStatusIsToldApart) {
  ASSERT_OK(post_.SetOption<CURLOPT_FAILONERROR>(true));
  const auto share = Share::Create().value();
  CURL* const curl = curl_easy_init();
  EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L), CURLE_OK);
  auto attachment = share->Attach(curl);
  ASSERT_OK(attachment.status());
  for (const HttpCase& c : {
           HttpCase{404, absl::StatusCode::kNotFound, RetrySafety::kNever},
           HttpCase{405, absl::StatusCode::kFailedPrecondition,
                    RetrySafety::kNever},
           HttpCase{429, absl::StatusCode::kResourceExhausted,
                    RetrySafety::kAlways},
           HttpCase{500, absl::StatusCode::kInternal, RetrySafety::kNever},
           HttpCase{503, absl::StatusCode::kUnavailable,
                    RetrySafety::kIfIdempotent},
       }) {
    SCOPED_TRACE(c.http_status);
    const std::string url =
        server_->url(absl::StrCat("/status?code=", c.http_status));
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_URL, url.c_str()), CURLE_OK);
    for (const absl::Status& status :
         {post_.Fetch(url).status(), attachment->Perform()}) {
      EXPECT_EQ(status.code(), c.code) << status;
      EXPECT_EQ(GetEasyCode(status), CURLE_HTTP_RETURNED_ERROR);
      EXPECT_EQ(GetHttpStatus(status), c.http_status);
      EXPECT_EQ(GetRetrySafety(status), c.safety);
    }
  }
  *attachment = Attachment();
  curl_easy_cleanup(curl);
}

// ... and what the server sends too much of, or not as asked.
TEST_F(RetryTest, LimitsAreToldApartFromALackOfMemory) {
  ASSERT_OK(post_.SetFollowRedirects(1));
  const absl::Status redirects =
      post_.Fetch(server_->url("/redirect?to=/redirect?to=/")).status();
  EXPECT_EQ(GetEasyCode(redirects), CURLE_TOO_MANY_REDIRECTS);
  EXPECT_THAT(redirects, StatusIs(absl::StatusCode::kFailedPrecondition));
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_MAXFILESIZE_LARGE>(10));
  const absl::Status size = easy.Fetch(server_->url("/bytes?n=11")).status();
  EXPECT_EQ(GetEasyCode(size), CURLE_FILESIZE_EXCEEDED);
  EXPECT_THAT(size, StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_FALSE(IsRetryable(size, /*idempotent=*/true));
}

// What a callback returns is of the callback, wherever it has it from.
TEST_F(RetryTest, TheErrorOfACallbackIsFinal) {
  for (const absl::Status& inner :
       {HttpErrorStatus(429, "another request"),
        WithRequestSent(EasyStatus(CURLE_COULDNT_CONNECT, "transfer"),
                        false)}) {
    const absl::Status outer =
        post_.Fetch(server_->url("/"), [&](absl::string_view) { return inner; })
            .status();
    EXPECT_EQ(GetEasyCode(outer), CURLE_WRITE_ERROR);
    EXPECT_EQ(GetHttpStatus(outer), std::nullopt);
    EXPECT_EQ(GetRetrySafety(outer), RetrySafety::kNever);
  }
}

TEST_F(RetryTest, TooManyRequestsAfterARedirectIsForIdempotentOnesAlone) {
  ASSERT_OK(post_.SetFollowRedirects(2));
  ASSERT_OK(post_.SetOption<CURLOPT_FAILONERROR>(1L));
  const absl::Status at_once =
      post_.Fetch(server_->url("/status?code=429")).status();
  EXPECT_EQ(GetRetrySafety(at_once), RetrySafety::kAlways);
  const absl::Status later =
      post_.Fetch(server_->url("/redirect?code=303&to=/status?code=429"))
          .status();
  EXPECT_EQ(GetHttpStatus(later), 429);
  EXPECT_EQ(GetRetrySafety(later), RetrySafety::kIfIdempotent);
}

}  // namespace
}  // namespace curlshare
