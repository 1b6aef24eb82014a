// SPDX-License-Identifier: Apache-2.0
// HTTP/2 in a share of connections, by what the server counted.
#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http2_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::Http2Server;
using ::curlshare::testing::Http2ServerOptions;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

constexpr int kThreads = 8;

// The parameter: over TLS or in clear text.
class Http2Test : public ::testing::TestWithParam<bool> {
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
    ShareOptions options;
    options.lock_data = LockData::kConnect;
    share_ = Share::Create(options).value();
  }

  void Restart(Http2ServerOptions options) {
    options.tls = GetParam();
    server_ = Http2Server::Start(options).value();
  }

  Easy NewEasy() {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(*share_));
    EXPECT_OK(easy.SetTimeout(absl::Seconds(20)));
    if (GetParam()) {
      EXPECT_OK(easy.SetCaCertificates(server_->ca_pem()));
    } else {
      EXPECT_OK(easy.SetOption<CURLOPT_HTTP_VERSION>(
          CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
    }
    return easy;
  }

  // One request, which succeeds over HTTP/2.
  void Fetch(Easy& easy, absl::string_view target = "/") {
    const auto response = easy.Fetch(server_->url(target));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->http_version, CURL_HTTP_VERSION_2_0);
    EXPECT_EQ(response->body, "ok");
  }

  // That the share and the server agree, that there were `requests`, all
  // answered, and that no connection had two at once.
  void ExpectCounts(int requests) {
    const auto counts = server_->counts();
    EXPECT_EQ(counts.requests, requests);
    EXPECT_EQ(counts.most_streams, 1);
    const ConnectionStats stats = share_->stats().connections;
    EXPECT_EQ(stats.opened, static_cast<uint64_t>(counts.connections));
    EXPECT_EQ(stats.reused, static_cast<uint64_t>(requests) - stats.opened);
    EXPECT_EQ(stats.closed_failed, 0u);
  }

  // One transfer with each handle, all at the same time: each has a connection
  // of its own.
  void FetchAtOnce(std::vector<Easy>& handles) {
    absl::Mutex mu;
    size_t answered = 0;
    const auto all = [&] { return answered == handles.size(); };
    RunThreads(static_cast<int>(handles.size()), [&](int i) {
      Easy& easy = handles[static_cast<size_t>(i)];
      ASSERT_OK(easy.SetUrl(server_->url("/")));
      bool waited = false;
      ASSERT_OK(easy.SetSink([&](absl::string_view) {
        absl::MutexLock lock(&mu);
        if (!waited) ++answered;
        waited = true;
        return mu.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(30))
                   ? absl::OkStatus()
                   : absl::AbortedError("not all are answered");
      }));
      EXPECT_OK(easy.Perform());
      EXPECT_OK(easy.SetSink(nullptr));
    });
    EXPECT_EQ(answered, handles.size());
  }

  std::unique_ptr<Http2Server> server_;
  std::unique_ptr<Share> share_;
};

INSTANTIATE_TEST_SUITE_P(Tls, Http2Test, ::testing::Bool(),
                         [](const auto& info) {
                           return std::string(info.param ? "tls" : "clear");
                         });

// ---- Reuse

TEST_P(Http2Test, NewHandlesOnThreadsOpenOneConnectionForEachThread) {
  constexpr int kRequests = 25;
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < kRequests; ++i) {
      Easy easy = NewEasy();
      Fetch(easy);
    }
  });
  EXPECT_LE(server_->counts().connections, kThreads);
  ExpectCounts(kThreads * kRequests);
}

TEST_P(Http2Test, TransfersAtOnceHaveAConnectionEach) {
  std::vector<Easy> handles;
  for (int i = 0; i < kThreads; ++i) handles.push_back(NewEasy());
  for (int round = 0; round < 3; ++round) FetchAtOnce(handles);
  EXPECT_EQ(server_->counts().connections, kThreads);
  ExpectCounts(3 * kThreads);
}

TEST_P(Http2Test, HandlesOneAfterAnotherOpenOneConnection) {
  for (int i = 0; i < 10; ++i) {
    Easy easy = NewEasy();
    Fetch(easy);
  }
  Easy kept = NewEasy();
  for (int i = 0; i < 10; ++i) Fetch(kept);
  EXPECT_EQ(server_->counts().connections, 1);
  ExpectCounts(20);
}

TEST_P(Http2Test, RawHandlesOnThreadsOpenOneConnectionForEachThread) {
  constexpr int kRequests = 10;
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < kRequests; ++i) {
      const CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
      auto attachment = share_->Attach(curl.get());
      ASSERT_OK(attachment.status());
      {
        const auto use = attachment->BeginUse();
        EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL,
                                   server_->url("/").c_str()),
                  CURLE_OK);
        EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L), CURLE_OK);
        EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 20L), CURLE_OK);
        EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 0L),
                  CURLE_OK);
        if (!GetParam()) {
          EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION,
                                     long{CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE}),
                    CURLE_OK);
        }
      }
      EXPECT_OK(attachment->Perform());
      long status = 0;
      long version = 0;
      curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
      curl_easy_getinfo(curl.get(), CURLINFO_HTTP_VERSION, &version);
      EXPECT_EQ(status, 200);
      EXPECT_EQ(version, CURL_HTTP_VERSION_2_0);
      EXPECT_OK(attachment->Detach());
    }
  });
  EXPECT_LE(server_->counts().connections, kThreads);
  ExpectCounts(kThreads * kRequests);
}

// ---- Outages

// Connections that stay open, and on which nothing comes any more, as when a
// router has forgotten them. Half of them are kept by handles that live.
TEST_P(Http2Test, AnOutageIsOneFailure) {
  std::vector<Easy> handles;
  for (int i = 0; i < kThreads; ++i) handles.push_back(NewEasy());
  FetchAtOnce(handles);
  handles.erase(handles.begin() + kThreads / 2, handles.end());
  ASSERT_EQ(server_->counts().connections, kThreads);
  ASSERT_EQ(share_->stats().connections.idle, uint64_t{kThreads});

  server_->GoDeaf();
  server_->ResetCounts();
  Easy first = NewEasy();
  ASSERT_OK(first.SetTimeout(absl::Milliseconds(200)));
  EXPECT_THAT(first.Fetch(server_->url("/")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(server_->counts().connections, 0) << "it had a pooled connection";
  const ConnectionStats stats = share_->stats().connections;
  EXPECT_EQ(stats.closed_failed, uint64_t{kThreads});
  EXPECT_EQ(stats.closed_idle + stats.closed_old + stats.closed_over_cap, 0u);
  EXPECT_EQ(stats.idle, 0u);

  server_->Hear();
  Fetch(first);
  EXPECT_EQ(server_->counts().connections, 1);
  FetchAtOnce(handles);
  RunThreads(kThreads, [&](int) {
    Easy easy = NewEasy();
    Fetch(easy);
  });
  EXPECT_LE(server_->counts().connections, kThreads);
  EXPECT_EQ(share_->stats().connections.closed_failed, uint64_t{kThreads})
      << "another failure";
}

// libcurl resets the stream alone, and would use the connection again.
TEST_P(Http2Test, AConnectionWhereATransferTimedOutDoesNotComeBack) {
  Easy easy = NewEasy();
  Fetch(easy);
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(100)));
  EXPECT_THAT(easy.Fetch(server_->url("/delay?ms=60000")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(share_->stats().connections.closed_failed, 1u);
  ASSERT_OK(easy.SetTimeout(absl::Seconds(20)));
  Fetch(easy);
  EXPECT_EQ(server_->counts().connections, 2);
}

// ---- Servers that end connections, or want few streams

TEST_P(Http2Test, AServerThatGoesAwayBetweenRequestsDoesNoHarm) {
  std::vector<Easy> handles;
  for (int i = 0; i < kThreads; ++i) handles.push_back(NewEasy());
  for (int round = 0; round < 3; ++round) {
    FetchAtOnce(handles);
    server_->SendGoAway();
  }
  EXPECT_EQ(server_->counts().connections, 3 * kThreads);
  ExpectCounts(3 * kThreads);
}

TEST_P(Http2Test, AServerThatLimitsRequestsOfAConnectionDoesNoHarm) {
  constexpr int kRequests = 10;
  Http2ServerOptions options;
  options.max_requests_per_connection = 3;
  Restart(options);
  RunThreads(kThreads, [&](int) {
    for (int i = 0; i < kRequests; ++i) {
      Easy easy = NewEasy();
      Fetch(easy);
    }
  });
  // Each but the last few had all that it may have.
  EXPECT_LE(server_->counts().connections, kThreads * kRequests / 3 + kThreads);
  ExpectCounts(kThreads * kRequests);
}

TEST_P(Http2Test, AServerThatTakesOneStreamAtATimeDoesNoHarm) {
  Http2ServerOptions options;
  options.max_concurrent_streams = 1;
  Restart(options);
  std::vector<Easy> handles;
  for (int i = 0; i < kThreads; ++i) handles.push_back(NewEasy());
  for (int round = 0; round < 3; ++round) FetchAtOnce(handles);
  EXPECT_EQ(server_->counts().connections, kThreads);
  ExpectCounts(3 * kThreads);
}

}  // namespace
}  // namespace curlshare
