// That sharing shares: what the server counted, and which locks were taken.
#include <curl/curl.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/lock_recorder.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::LockRecorder;
using ::curlshare::testing::RunThreads;

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  auto server = HttpServer::Start(options);
  EXPECT_OK(server.status());
  return *std::move(server);
}

// One handle a thread, one request each after the other threads' earlier ones,
// a new connection for each request.
void FetchOnThreads(HttpServer& server, Share* share, int threads,
                    int requests) {
  RunThreads(threads, [&](int) {
    auto easy = Easy::Create();
    ASSERT_OK(easy.status());
    if (share != nullptr) ASSERT_OK(easy->Attach(*share));
    if (!server.ca_pem().empty()) {
      ASSERT_OK(easy->SetCaCertificates(server.ca_pem()));
    }
    for (int i = 0; i < requests; ++i) {
      ASSERT_OK(easy->SetOption<CURLOPT_FRESH_CONNECT>(true));
      ASSERT_OK(easy->SetOption<CURLOPT_FORBID_REUSE>(true));
      EXPECT_OK(easy->Fetch(server.url("/")).status());
    }
  });
}

TEST(SharingTls, SessionsResumeAcrossThreadsWithTheShareOnly) {
  if (!DefaultLockData().Contains(LockData::kSslSession)) {
    // Before 8.10: not safe, and therefore refused; see share_test.cc.
    EXPECT_LT(RunningLibcurl().version_num, LibcurlVersion(8, 10, 0));
    return;
  }
  constexpr int kThreads = 8;
  const auto server = NewServer(/*tls=*/true);
  // One request a thread: a handle of its own has nothing to resume.
  FetchOnThreads(*server, nullptr, kThreads, 1);
  EXPECT_EQ(server->counts().tls_full, kThreads);
  EXPECT_EQ(server->counts().tls_resumed, 0);

  auto share = Share::Create();
  ASSERT_OK(share.status());
  FetchOnThreads(*server, share->get(), 1, 1);  // One full handshake ...
  server->ResetCounts();
  for (int i = 0; i < kThreads; ++i) {
    // ... and each further thread, though new, resumes.
    FetchOnThreads(*server, share->get(), 1, 1);
  }
  EXPECT_EQ(server->counts().tls_full, 0);
  EXPECT_EQ(server->counts().tls_resumed, kThreads);
}

TEST(SharingTls, SessionsResumeUnderConcurrency) {
  if (!DefaultLockData().Contains(LockData::kSslSession)) return;
  constexpr int kThreads = 8;
  constexpr int kRequests = 20;
  const auto server = NewServer(/*tls=*/true);
  auto share = Share::Create();
  ASSERT_OK(share.status());
  FetchOnThreads(*server, share->get(), kThreads, kRequests);
  const auto counts = server->counts();
  EXPECT_EQ(counts.tls_full + counts.tls_resumed, kThreads * kRequests);
  // Tickets of TLS 1.3 are for one use each, and a peer's cache is small: a
  // burst can find it empty. Most find a ticket.
  EXPECT_GT(counts.tls_resumed, kThreads * kRequests / 2);
}

TEST(SharingDns, AnAnswerOfOneThreadServesTheOthers) {
  if (!DefaultLockData().Contains(LockData::kDns)) return;
  const auto server = NewServer(/*tls=*/false);
  auto share = Share::Create();
  ASSERT_OK(share.status());
  const std::string url =
      "http://shared-dns.test:" + std::to_string(server->port()) + "/";
  auto first = Easy::Create();
  ASSERT_OK(first.status());
  ASSERT_OK(first->Attach(**share));
  ASSERT_OK(first->SetOption<CURLOPT_RESOLVE>(
      {"shared-dns.test:" + std::to_string(server->port()) + ":127.0.0.1"}));
  ASSERT_OK(first->Fetch(url).status());
  // No resolver knows that name: the others can have it from the share only.
  RunThreads(4, [&](int) {
    auto easy = Easy::Create();
    ASSERT_OK(easy.status());
    ASSERT_OK(easy->Attach(**share));
    EXPECT_OK(easy->Fetch(url).status());
  });
  auto stranger = Easy::Create();
  ASSERT_OK(stranger.status());
  EXPECT_FALSE(stranger->Fetch(url).ok());
}

TEST(SharingCookies, ACookieOfOneThreadIsSentByTheOthers) {
  if (!DefaultLockData().Contains(LockData::kCookie)) return;
  const auto server = NewServer(/*tls=*/false);
  auto share = Share::Create();
  ASSERT_OK(share.status());
  auto first = Easy::Create();
  ASSERT_OK(first.status());
  ASSERT_OK(first->Attach(**share));
  ASSERT_OK(first->SetOption<CURLOPT_COOKIEFILE>(""));
  ASSERT_OK(first->Fetch(server->url("/cookie/set?name=a&value=1")).status());
  RunThreads(4, [&](int) {
    auto easy = Easy::Create();
    ASSERT_OK(easy.status());
    ASSERT_OK(easy->Attach(**share));
    ASSERT_OK(easy->SetOption<CURLOPT_COOKIEFILE>(""));
    auto response = easy->Fetch(server->url("/cookie/show"));
    ASSERT_OK(response.status());
    EXPECT_THAT(response->body, ::testing::HasSubstr("a=1"));
  });
}

// Each kind alone: transfers take its lock, that of the share, and no other.
TEST(SharingLocks, TakeTheLockOfEachSharedKindAndNoOther) {
  const auto server = NewServer(/*tls=*/true);
  for (LockData kind : DefaultLockData()) {
    auto recorder = std::make_shared<LockRecorder>();
    ShareOptions options;
    options.lock_data = kind;
    options.lock_observer = recorder;
    auto share = Share::Create(options);
    ASSERT_OK(share.status());
    RunThreads(2, [&](int) {
      auto easy = Easy::Create();
      ASSERT_OK(easy.status());
      ASSERT_OK(easy->Attach(**share));
      ASSERT_OK(easy->SetCaCertificates(server->ca_pem()));
      ASSERT_OK(easy->SetOption<CURLOPT_COOKIEFILE>(""));
      // The Public Suffix List is asked about cookies with a domain.
      ASSERT_OK(easy->SetOption<CURLOPT_COOKIELIST>(
          "Set-Cookie: a=b; domain=localhost; path=/"));
      for (int i = 0; i < 2; ++i) {
        ASSERT_OK(easy->SetOption<CURLOPT_FORBID_REUSE>(true));
        EXPECT_OK(easy->Fetch(server->url("/cookie/set?name=c&value=1&domain=1",
                                          "localhost"))
                      .status());
      }
    });
    ASSERT_OK((*share)->Close());
    EXPECT_EQ(recorder->kinds(),
              (std::set<curl_lock_data>{CURL_LOCK_DATA_SHARE,
                                        static_cast<curl_lock_data>(kind)}))
        << LockDataName(kind);
    EXPECT_EQ(recorder->held(), 0) << LockDataName(kind);
    EXPECT_GT((*share)->stats().lock(kind).taken, 0u);
  }
}

TEST(SharingLocks, AnEmptyShareTakesNoLockOfAKind) {
  const auto server = NewServer(/*tls=*/false);
  auto recorder = std::make_shared<LockRecorder>();
  ShareOptions options;
  options.lock_data = LockDataSet();
  options.lock_observer = recorder;
  auto share = Share::Create(options);
  ASSERT_OK(share.status());
  FetchOnThreads(*server, share->get(), 2, 2);
  EXPECT_EQ(recorder->kinds(),
            (std::set<curl_lock_data>{CURL_LOCK_DATA_SHARE}));
}

}  // namespace
}  // namespace curlshare
