// SPDX-License-Identifier: Apache-2.0
// That sharing shares: what the server counted, and which locks were taken.
#include <curl/curl.h>

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
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
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::LockRecorder;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  auto server = HttpServer::Start(options);
  EXPECT_OK(server.status());
  return *std::move(server);
}

std::unique_ptr<Share> NewShare(LockDataSet kinds) {
  ShareOptions options;
  options.lock_data = kinds;
  auto share = Share::Create(options);
  EXPECT_OK(share.status());
  return *std::move(share);
}

Easy NewEasy(Share& share) {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  EXPECT_OK(easy->Attach(share));
  return *std::move(easy);
}

// One handle a thread, one request each after the other threads' earlier ones,
// a new connection for each request.
void FetchOnThreads(HttpServer& server, Share* share, int threads,
                    int requests) {
  RunThreads(threads, [&](int) {
    auto easy = Easy::Create();
    ASSERT_OK(easy.status());
    if (share != nullptr) {
      ASSERT_OK(easy->Attach(*share));
    }
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
  constexpr int kThreads = 8;
  const auto server = NewServer(/*tls=*/true);
  // One request a thread: a handle of its own has nothing to resume.
  FetchOnThreads(*server, nullptr, kThreads, 1);
  EXPECT_EQ(server->counts().tls_full, kThreads);
  EXPECT_EQ(server->counts().tls_resumed, 0);

  const auto share = NewShare(LockData::kSslSession);
  FetchOnThreads(*server, share.get(), 1, 1);  // One full handshake ...
  server->ResetCounts();
  for (int i = 0; i < kThreads; ++i) {
    // ... and each further thread, though new, resumes.
    FetchOnThreads(*server, share.get(), 1, 1);
  }
  EXPECT_EQ(server->counts().tls_full, 0);
  EXPECT_EQ(server->counts().tls_resumed, kThreads);
}

TEST(SharingTls, SessionsResumeUnderConcurrency) {
  constexpr int kThreads = 8;
  constexpr int kRequests = 20;
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kSslSession);
  FetchOnThreads(*server, share.get(), kThreads, kRequests);
  const auto counts = server->counts();
  EXPECT_EQ(counts.tls_full + counts.tls_resumed, kThreads * kRequests);
  // Tickets of TLS 1.3 are for one use each, and a peer's cache is small: a
  // burst can find it empty. Most find a ticket.
  EXPECT_GT(counts.tls_resumed, kThreads * kRequests / 2);
}

TEST(SharingDns, AnAnswerOfOneThreadServesTheOthers) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kDns);
  const std::string url =
      "http://shared-dns.test:" + std::to_string(server->port()) + "/";
  auto first = Easy::Create();
  ASSERT_OK(first.status());
  ASSERT_OK(first->Attach(*share));
  ASSERT_OK(first->SetOption<CURLOPT_RESOLVE>(
      {"shared-dns.test:" + std::to_string(server->port()) + ":127.0.0.1"}));
  ASSERT_OK(first->Fetch(url).status());
  // The others can have it from the share only: no resolver is asked.
  const curl_resolver_start_callback refuse = [](void*, void*, void*) {
    return 1;
  };
  RunThreads(4, [&](int) {
    Easy easy = NewEasy(*share);
    ASSERT_OK(easy.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(refuse, nullptr));
    EXPECT_OK(easy.Fetch(url).status());
  });
  auto stranger = Easy::Create();
  ASSERT_OK(stranger.status());
  ASSERT_OK(
      stranger->SetOption<CURLOPT_RESOLVER_START_FUNCTION>(refuse, nullptr));
  EXPECT_FALSE(stranger->Fetch(url).ok());
}

// What easy.h says of CURLOPT_DNS_CACHE_TIMEOUT, and what to do instead.
TEST(SharingDns, AShortCacheTimeoutOfOneHandleIsThatOfAll) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kDns);
  // A name that libcurl knows by itself, once it has looked it up.
  const std::string url = server->url("/", "a.localhost");
  const std::string other_url = server->url("/", "b.localhost");
  int lookups = 0;
  const curl_resolver_start_callback count = [](void*, void*, void* lookups) {
    ++*static_cast<int*>(lookups);
    return 0;
  };
  const auto new_easy = [&] {
    Easy easy = NewEasy(*share);
    EXPECT_OK(easy.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(count, &lookups));
    EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(long{CURL_IPRESOLVE_V4}));
    return easy;
  };
  const auto lookups_of = [&](Easy easy, const std::string& to) {
    lookups = 0;
    EXPECT_OK(easy.Fetch(to).status());
    return lookups;
  };
  EXPECT_EQ(lookups_of(new_easy(), url), 1);
  EXPECT_EQ(lookups_of(new_easy(), other_url), 1);
  EXPECT_EQ(lookups_of(new_easy(), url), 0);
  // It wants nothing of that name.
  Easy hasty = new_easy();
  ASSERT_OK(hasty.SetOption<CURLOPT_DNS_CACHE_TIMEOUT>(0L));
  lookups_of(std::move(hasty), server->url("/"));
  EXPECT_EQ(lookups_of(new_easy(), url), 1) << "the others' answers have gone";
  EXPECT_EQ(lookups_of(new_easy(), other_url), 1);
  // Instead: one name alone is forgotten, once.
  Easy fresh = new_easy();
  ASSERT_OK(fresh.SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat("-a.localhost:", server->port())}));
  EXPECT_EQ(lookups_of(std::move(fresh), url), 1);
  EXPECT_EQ(lookups_of(new_easy(), url), 0);
  EXPECT_EQ(lookups_of(new_easy(), other_url), 0);
}

// Regression, for ThreadSanitizer: from libcurl 8.21 on, a handle counts
// references together with the connections that it has opened, not atomically
// (struct Curl_peer). One that had left the share raced with those who used, or
// closed, its connections there.
TEST(SharingConnections, AHandleThatHasLeftHasNothingToDoWithTheShare) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kConnect);
  absl::Notification left;
  RunThreads(2, [&](int thread) {
    if (thread == 1) left.WaitForNotification();
    Easy easy = NewEasy(*share);
    ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
    ASSERT_OK(easy.SetUrl(server->url("/status?code=404")));
    ASSERT_OK(easy.Perform());
    EXPECT_THAT(easy.GetInfo<CURLINFO_NUM_CONNECTS>(), IsOkAndHolds(1));
    if (thread == 0) {
      ASSERT_OK(easy.Detach());
      EXPECT_THAT(easy.GetInfo<CURLINFO_RESPONSE_CODE>(), IsOkAndHolds(404));
      left.Notify();
      // It has taken its connection along.
      EXPECT_OK(easy.Perform());
      EXPECT_THAT(easy.GetInfo<CURLINFO_NUM_CONNECTS>(), IsOkAndHolds(0));
    } else {
      EXPECT_OK(share->CloseNow(absl::Now() + absl::Seconds(20)));
    }
  });
}

// Regression, for ThreadSanitizer, of the same count: the multi handle of who
// had left was still shutting down a connection that another handle had opened,
// as the server did not answer the end of TLS, and dropped it outside the gate.
TEST(SharingConnections, AHandleThatHasLeftClosesNoConnectionOfTheShare) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kConnect);
  absl::Notification opened;
  absl::Notification left;
  RunThreads(2, [&](int thread) {
    if (thread == 1) opened.WaitForNotification();
    Easy easy = NewEasy(*share);
    ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
    if (thread == 0) {
      ASSERT_OK(easy.Fetch(server->url("/")).status());
      opened.Notify();
      left.WaitForNotification();
      // Lets go of its record of the connection that the other drops.
      EXPECT_OK(easy.Fetch(server->url("/")).status());
    } else {
      ASSERT_OK(easy.SetOption<CURLOPT_FORBID_REUSE>(true));
      ASSERT_OK(easy.Fetch(server->url("/stall?after=body")).status());
      EXPECT_THAT(easy.GetInfo<CURLINFO_NUM_CONNECTS>(), IsOkAndHolds(0));
      ASSERT_OK(easy.Detach());
      left.Notify();
    }
  });
}

// Regression, for ThreadSanitizer, of the same count: curl_easy_reset takes the
// URL, and without one a transfer ended before the handle let go.
TEST(SharingConnections, AHandleThatHasLeftAfterAResetKeepsNothing) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  absl::Notification left;
  RunThreads(2, [&](int thread) {
    if (thread == 1) {
      left.WaitForNotification();
      EXPECT_OK(share->CloseNow(absl::Now() + absl::Seconds(20)));
      return;
    }
    Easy easy = NewEasy(*share);
    ASSERT_OK(easy.Fetch(server->url("/")).status());
    ASSERT_OK(easy.Reset());
    ASSERT_OK(easy.Detach());
    left.Notify();
  });
}

// Regression, for ThreadSanitizer, of the same count: a CURL* of the user's
// that was moved out of the connections for a transfer that never began.
TEST(SharingConnections, ARawHandleThatHasLeftKeepsNothing) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  absl::Notification attached;
  absl::Notification left;
  RunThreads(2, [&](int thread) {
    if (thread == 1) {
      Easy easy = NewEasy(*share);
      attached.Notify();
      left.WaitForNotification();
      // The last one out of the connections closes them.
      EXPECT_OK(easy.Fetch(server->url("/")).status());
      return;
    }
    attached.WaitForNotification();
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
        curl_easy_init(), &curl_easy_cleanup);
    absl::StatusOr<Attachment> attachment = share->Attach(curl.get());
    ASSERT_OK(attachment.status());
    ASSERT_EQ(
        curl_easy_setopt(curl.get(), CURLOPT_URL, server->url("/").c_str()),
        CURLE_OK);
    ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L), CURLE_OK);
    ASSERT_OK(attachment->Perform());
    ASSERT_OK(share->Disable(LockData::kConnect));
    EXPECT_OK(attachment->BeginTransfer().status());
    ASSERT_OK(attachment->Detach());
    left.Notify();
  });
}

// Regression: libcurl loads CURLOPT_RESOLVE into the DNS cache that the handle
// has at its first transfer. In a share that it came into later, or that had
// changed its kinds since, the names were not found.
TEST(SharingDns, ResolveStaysInForceWhateverShareTheHandleIsIn) {
  const auto server = NewServer(/*tls=*/false);
  const std::string url = server->url("/", "pinned.curlshare.test");
  auto easy = Easy::Create();
  ASSERT_OK(easy.status());
  ASSERT_OK(easy->SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat("pinned.curlshare.test:", server->port(), ":127.0.0.1")}));
  ASSERT_OK(easy->SetOption<CURLOPT_FRESH_CONNECT>(true));
  EXPECT_OK(easy->Fetch(url).status());

  const auto share = NewShare(LockData::kDns);
  ASSERT_OK(easy->Attach(*share));
  EXPECT_OK(easy->Fetch(url).status()) << "after Attach";
  ASSERT_OK(share->Enable(LockData::kSslSession));
  EXPECT_OK(easy->Fetch(url).status()) << "after Enable";
  ASSERT_OK(easy->Detach());
  EXPECT_OK(easy->Fetch(url).status()) << "after Detach";
  ASSERT_OK(easy->Attach(*share));
  EXPECT_OK(easy->Fetch(url).status()) << "after Attach once more";
  ASSERT_OK(share->Close());
  EXPECT_OK(easy->Fetch(url).status()) << "after Close";
}

// ---- Kinds that libcurl's locks alone do not make safe

// A cookie is sent by every transfer that starts after the answer that set it
// has ended, whatever the thread; and no longer once it is gone.
TEST(SharingCookies, EveryThreadSendsWhatAnyThreadWasGiven) {
  constexpr int kThreads = 8;
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kCookie);
  const auto expect_shown = [&](absl::string_view cookies) {
    RunThreads(kThreads, [&](int) {
      auto response = NewEasy(*share).Fetch(server->url("/cookie/show"));
      ASSERT_OK(response.status());
      EXPECT_EQ(response->body, cookies);
    });
  };
  const auto fetch_on_a_thread = [&](absl::string_view target) {
    std::thread([&] {
      EXPECT_OK(NewEasy(*share).Fetch(server->url(target)).status());
    }).join();
  };
  expect_shown("");
  fetch_on_a_thread("/cookie/set?name=a&value=1");
  expect_shown("a=1");
  fetch_on_a_thread("/cookie/set?name=a&value=2");
  expect_shown("a=2");
  fetch_on_a_thread("/cookie/expire?name=a");
  expect_shown("");
  fetch_on_a_thread("/cookie/set?name=b&value=3&max_age=1");
  // Longer than it lives: cookies are counted in whole seconds.
  fetch_on_a_thread("/delay?ms=2100");
  expect_shown("");
}

// Threads that set and send cookies all at once.
TEST(SharingCookies, MayBeSetByAllThreadsAtOnce) {
  constexpr int kThreads = 8;
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kCookie);
  RunThreads(kThreads, [&](int i) {
    Easy easy = NewEasy(*share);
    const std::string own = absl::StrCat("/cookie/set?name=n", i, "&value=", i);
    for (int n = 0; n < 20; ++n) {
      ASSERT_OK(easy.Fetch(server->url(own)).status());
      auto response = easy.Fetch(server->url("/cookie/show"));
      ASSERT_OK(response.status());
      EXPECT_THAT(response->body, HasSubstr(absl::StrCat("n", i, "=", i)));
    }
  });
}

class SharingConnectionsTest : public ::testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(Tls, SharingConnectionsTest, ::testing::Bool(),
                         [](const auto& info) {
                           return std::string(info.param ? "https" : "http");
                         });

TEST_P(SharingConnectionsTest, ThreadsOpenAsManyAsTheyNeedAtOnce) {
  constexpr int kThreads = 8;
  constexpr int kRequests = 200;
  const auto server = NewServer(GetParam());
  const auto share = NewShare(LockData::kConnect);
  RunThreads(kThreads, [&](int) {
    Easy easy = NewEasy(*share);
    if (GetParam()) {
      ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
    }
    for (int i = 0; i < kRequests; ++i) {
      EXPECT_OK(easy.Fetch(server->url("/")).status());
    }
  });
  EXPECT_EQ(server->counts().requests, kThreads * kRequests);
  EXPECT_LE(server->counts().connections, kThreads);
}

// Each transfer has a multi handle to itself: there is none to wait for.
TEST_P(SharingConnectionsTest, PipewaitDoesNoHarm) {
  constexpr int kThreads = 8;
  const auto server = NewServer(GetParam());
  const auto share = NewShare(LockData::kConnect);
  RunThreads(kThreads, [&](int) {
    for (int round = 0; round < 5; ++round) {
      Easy easy = NewEasy(*share);
      ASSERT_OK(easy.SetOption<CURLOPT_PIPEWAIT>(true));
      ASSERT_OK(easy.SetTimeout(absl::Seconds(20)));
      if (GetParam()) {
        ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
      }
      EXPECT_OK(easy.Fetch(server->url("/delay?ms=5")).status());
    }
  });
  EXPECT_LE(server->counts().connections, kThreads);
}

// The handle that opened it has gone; another thread's takes it over.
TEST_P(SharingConnectionsTest, AConnectionOutlivesItsHandle) {
  const auto server = NewServer(GetParam());
  const auto share = NewShare(LockData::kConnect);
  for (int i = 0; i < 4; ++i) {
    std::thread([&] {
      Easy easy = NewEasy(*share);
      if (GetParam()) {
        ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
      }
      auto response = easy.Fetch(server->url("/"));
      ASSERT_OK(response.status());
      EXPECT_EQ(response->connection_reused, i > 0);
    }).join();
  }
  EXPECT_EQ(server->counts().connections, 1);
}

TEST_P(SharingConnectionsTest, OneThatTheServerClosedIsNoticed) {
  HttpServerOptions options;
  options.tls = GetParam();
  options.keep_alive = absl::Seconds(1);
  const auto server = HttpServer::Start(options);
  const auto other = NewServer(/*tls=*/false);
  ASSERT_OK(server.status());
  const auto share = NewShare(LockData::kConnect);
  for (int i = 0; i < 2; ++i) {
    Easy easy = NewEasy(*share);
    if (GetParam()) {
      ASSERT_OK(easy.SetCaCertificates((*server)->ca_pem()));
    }
    EXPECT_OK(easy.Fetch((*server)->url("/")).status());
    // Longer than the server keeps it.
    EXPECT_OK(NewEasy(*share).Fetch(other->url("/delay?ms=1500")).status());
  }
  EXPECT_EQ((*server)->counts().connections, 2);
  EXPECT_EQ((*server)->counts().requests, 2);
}

// Learnt on one thread, honoured by all: no request goes out unencrypted.
TEST(SharingHsts, OneThreadLearnsForAll) {
  constexpr int kThreads = 8;
  const auto https = NewServer(/*tls=*/true);
  const auto http = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kHsts);
  const auto fetch = [&](absl::string_view url) {
    Easy easy = NewEasy(*share);
    EXPECT_OK(easy.SetCaCertificates(https->ca_pem()));
    EXPECT_OK(easy.SetOption<CURLOPT_CONNECT_TO>(
        {absl::StrCat("a.curlshare.test:443:127.0.0.1:", https->port()),
         absl::StrCat("a.curlshare.test:80:127.0.0.1:", http->port())}));
    EXPECT_OK(easy.Fetch(url).status());
  };
  fetch("http://a.curlshare.test/");
  EXPECT_EQ(http->counts().requests, 1);
  std::thread([&] {
    fetch("https://a.curlshare.test/hsts?max_age=1000");
  }).join();
  RunThreads(kThreads, [&](int) { fetch("http://a.curlshare.test/"); });
  EXPECT_EQ(http->counts().requests, 1);
  EXPECT_EQ(https->counts().requests, 1 + kThreads);
  // And unlearnt.
  std::thread([&] { fetch("https://a.curlshare.test/hsts?max_age=0"); }).join();
  fetch("http://a.curlshare.test/");
  EXPECT_EQ(http->counts().requests, 2);
}

// Each kind alone: transfers take its lock, that of the share, and no other.
TEST(SharingLocks, TakeTheLockOfEachSharedKindAndNoOther) {
  const auto server = NewServer(/*tls=*/true);
  const std::string hsts_file = ::testing::TempDir() + "/hsts";
  std::ofstream(hsts_file) << "a.test \"unlimited\"\n";
  // Connections are the share's own, without a lock of libcurl's.
  for (LockData kind : LockDataSet::Available() - LockData::kConnect) {
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
      // The lock of HSTS is taken to load a file, and not otherwise.
      ASSERT_OK(easy->SetOption<CURLOPT_HSTS>(hsts_file));
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
