// SPDX-License-Identifier: Apache-2.0
#include "curlshare/testing/http2_server.h"

#include <curl/curl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

// The parameter: with TLS or without.
class Http2ServerTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_OK(InitLibcurl());
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_HTTP2) ==
        0) {
      GTEST_SKIP() << "this libcurl is built without HTTP/2";
    }
    if (!GetParam() && RunningLibcurl().version_num < LibcurlVersion(8, 0, 0)) {
      GTEST_SKIP() << "before 8.0 libcurl fails on a connection of prior "
                      "knowledge that it uses again (curl #10634)";
    }
    Restart({});
  }

  void Restart(Http2ServerOptions options) {
    options.tls = GetParam();
    auto server = Http2Server::Start(options);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }

  Easy NewEasy() {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.SetTimeout(absl::Seconds(30)));
    if (GetParam()) {
      EXPECT_OK(easy.SetCaCertificates(server_->ca_pem()));
    } else {
      EXPECT_OK(easy.SetOption<CURLOPT_HTTP_VERSION>(
          CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
    }
    return easy;
  }

  std::unique_ptr<Http2Server> server_;
};

INSTANTIATE_TEST_SUITE_P(Tls, Http2ServerTest, ::testing::Bool(),
                         [](const auto& info) {
                           return std::string(info.param ? "tls" : "clear");
                         });

TEST_P(Http2ServerTest, ServesHttp2AndCounts) {
  EXPECT_EQ(server_->url("/x?y=1"),
            absl::StrCat(GetParam() ? "https" : "http",
                         "://127.0.0.1:", server_->port(), "/x?y=1"));
  EXPECT_LT(server_->port(), 32768);
  Easy easy = NewEasy();
  for (absl::string_view target : {"/", "/delay?ms=1", "/bytes?n=100000"}) {
    const auto response = easy.Fetch(server_->url(target));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->status, 200) << target;
    EXPECT_EQ(response->http_version, CURL_HTTP_VERSION_2_0) << target;
    EXPECT_EQ(response->body,
              target == "/bytes?n=100000" ? std::string(100000, 'x') : "ok");
  }
  EXPECT_EQ(easy.Fetch(server_->url("/other")).value().status, 404);
  // Its body is longer than the first window.
  ASSERT_OK(easy.SetBody(std::string(1000000, 'x')));
  EXPECT_EQ(easy.Fetch(server_->url("/")).value().body, "ok");
  ASSERT_OK(NewEasy().Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 2);
  EXPECT_EQ(server_->counts().requests, 6);
  EXPECT_EQ(server_->counts().most_streams, 1);
  server_->ResetCounts();
  EXPECT_EQ(server_->counts().requests, 0);
}

TEST_P(Http2ServerTest, SpeaksNothingElse) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetOption<CURLOPT_HTTP_VERSION>(long{CURL_HTTP_VERSION_1_1}));
  EXPECT_FALSE(easy.Fetch(server_->url("/")).ok());
  EXPECT_EQ(server_->counts().requests, 0);
}

// Drives every transfer of `multi` to its end.
void RunTransfers(CURLM* multi) {
  int running = 1;
  while (running > 0 && curl_multi_perform(multi, &running) == CURLM_OK) {
    if (running > 0) curl_multi_poll(multi, nullptr, 0, 100, nullptr);
  }
}

// Two transfers of one multi handle that has a connection already, as libcurl
// does it without a share.
int MostStreamsOfTwoTransfers(Http2Server& server, bool tls) {
  CURLM* const multi = curl_multi_init();
  std::vector<CURL*> handles;
  for (int i = 0; i < 2; ++i) {
    CURL* const curl = curl_easy_init();
    handles.push_back(curl);
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_URL, server.url("/").c_str()),
              CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L), CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L), CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L), CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_NOBODY, 1L), CURLE_OK);
    if (!tls) {
      EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                                 long{CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE}),
                CURLE_OK);
    }
  }
  curl_multi_add_handle(multi, handles[0]);
  RunTransfers(multi);
  curl_multi_remove_handle(multi, handles[0]);
  for (CURL* const curl : handles) {
    EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_URL,
                               server.url("/delay?ms=300").c_str()),
              CURLE_OK);
    curl_multi_add_handle(multi, curl);
  }
  RunTransfers(multi);
  for (CURL* const curl : handles) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    EXPECT_EQ(status, 200);
    curl_multi_remove_handle(multi, curl);
    curl_easy_cleanup(curl);
  }
  curl_multi_cleanup(multi);
  return server.counts().most_streams;
}

TEST_P(Http2ServerTest, SeesStreamsAtOnce) {
  // Another on the connection before the first has ended.
  EXPECT_EQ(MostStreamsOfTwoTransfers(*server_, GetParam()), 2);
  EXPECT_EQ(server_->counts().connections, 1);
}

TEST_P(Http2ServerTest, ToldOneStreamAtATimeTheClientKeepsToIt) {
  Http2ServerOptions options;
  options.max_concurrent_streams = 1;
  Restart(options);
  EXPECT_EQ(MostStreamsOfTwoTransfers(*server_, GetParam()), 1);
}

TEST_P(Http2ServerTest, DeafItAnswersNothingAndItsConnectionsStayOpen) {
  Easy before = NewEasy();
  ASSERT_OK(before.Fetch(server_->url("/")).status());
  server_->GoDeaf();
  Easy during = NewEasy();
  for (Easy* const easy : {&before, &during}) {
    ASSERT_OK(easy->SetTimeout(absl::Milliseconds(100)));
    EXPECT_THAT(easy->Fetch(server_->url("/")).status(),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  EXPECT_EQ(server_->counts().requests, 1);
  server_->Hear();
  EXPECT_OK(NewEasy().Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().requests, 2);
}

TEST_P(Http2ServerTest, WhatWasDeafStaysDeaf) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.Fetch(server_->url("/")).status());
  server_->GoDeaf();
  server_->Hear();
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(100)));
  EXPECT_THAT(easy.Fetch(server_->url("/")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(server_->counts().connections, 1);
}

TEST_P(Http2ServerTest, GoesAwayWhenTold) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.Fetch(server_->url("/")).status());
  server_->SendGoAway();
  EXPECT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 2);
}

TEST_P(Http2ServerTest, GoesAwayAfterTheRequestsOfAConnection) {
  Http2ServerOptions options;
  options.max_requests_per_connection = 3;
  Restart(options);
  Easy easy = NewEasy();
  for (int i = 0; i < 7; ++i) {
    EXPECT_OK(easy.Fetch(server_->url("/bytes?n=100000")).status());
  }
  EXPECT_EQ(server_->counts().connections, 3);
}

}  // namespace
}  // namespace curlshare::testing
