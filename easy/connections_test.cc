// SPDX-License-Identifier: Apache-2.0
// The connection pool of a share, by what the server counted.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

std::unique_ptr<HttpServer> NewServer(bool tls = false) {
  HttpServerOptions options;
  options.tls = tls;
  return HttpServer::Start(options).value();
}

std::unique_ptr<Share> NewShare(ConnectionOptions connections = {}) {
  ShareOptions options;
  options.lock_data = LockData::kConnect;
  options.connections = connections;
  return Share::Create(options).value();
}

Easy NewEasy(Share& share, absl::string_view ca_pem = "") {
  Easy easy = Easy::Create().value();
  EXPECT_OK(easy.Attach(share));
  EXPECT_OK(easy.SetTimeout(absl::Seconds(20)));
  if (!ca_pem.empty()) {
    EXPECT_OK(easy.SetCaCertificates(ca_pem));
  }
  return easy;
}

// Whether libcurl is so new that handles do not lend.
bool HandlesLend() {
  return RunningLibcurl().version_num <= kNewestLibcurlTried;
}

class ConnectionsTest : public ::testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<HttpServer> server_ = NewServer(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Tls, ConnectionsTest, ::testing::Bool(),
                         [](const auto& info) {
                           return std::string(info.param ? "https" : "http");
                         });

TEST_P(ConnectionsTest, LivingHandlesUsedOneAfterAnotherOpenOne) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto share = NewShare();
  std::vector<Easy> handles;
  for (int i = 0; i < 50; ++i) {
    handles.push_back(NewEasy(*share, server_->ca_pem()));
    EXPECT_OK(handles.back().Fetch(server_->url("/")).status());
  }
  for (Easy& easy : handles) EXPECT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 1);
  const ConnectionStats stats = share->stats().connections;
  EXPECT_EQ(stats.opened, 1u);
  EXPECT_EQ(stats.reused, 99u);
  EXPECT_EQ(stats.idle, 1u);
  EXPECT_EQ(stats.in_use, 0u);
}

TEST_P(ConnectionsTest, BurstsOfNewHandlesOpenAsManyAsAreNeededAtOnce) {
  constexpr int kHandles = 32;
  const auto share = NewShare();
  for (int burst = 0; burst < 5; ++burst) {
    RunThreads(kHandles, [&](int) {
      EXPECT_OK(NewEasy(*share, server_->ca_pem())
                    .Fetch(server_->url("/delay?ms=20"))
                    .status());
    });
    EXPECT_OK(
        NewEasy(*share, server_->ca_pem()).Fetch(server_->url("/")).status());
  }
  EXPECT_LE(server_->counts().connections, kHandles);
  EXPECT_EQ(share->stats().connections.opened,
            static_cast<uint64_t>(server_->counts().connections));
}

TEST_P(ConnectionsTest, RawHandlesTakePart) {
  const auto share = NewShare();
  for (int i = 0; i < 4; ++i) {
    const CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
    auto attachment = share->Attach(curl.get());
    ASSERT_OK(attachment.status());
    {
      const auto use = attachment->BeginUse();
      EXPECT_EQ(
          curl_easy_setopt(curl.get(), CURLOPT_URL, server_->url("/").c_str()),
          CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L), CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 0L),
                CURLE_OK);
    }
    EXPECT_OK(attachment->Perform());
    long code = 0;
    EXPECT_EQ(curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &code),
              CURLE_OK);
    EXPECT_EQ(code, 200);
    EXPECT_OK(attachment->Perform());
    EXPECT_OK(attachment->Detach());
  }
  EXPECT_EQ(server_->counts().connections, HandlesLend() ? 1 : 4);
}

// A curl_easy_perform of the owner's has connections of its own.
TEST_P(ConnectionsTest, ATransferOfTheOwnersTakesNoPart) {
  const auto share = NewShare();
  EXPECT_OK(
      NewEasy(*share, server_->ca_pem()).Fetch(server_->url("/")).status());
  const CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
  EXPECT_EQ(
      curl_easy_setopt(curl.get(), CURLOPT_URL, server_->url("/").c_str()),
      CURLE_OK);
  EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L), CURLE_OK);
  EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 0L), CURLE_OK);
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  auto transfer = attachment->BeginTransfer();
  ASSERT_OK(transfer.status());
  EXPECT_OK(transfer->End(curl_easy_perform(curl.get())));
  EXPECT_EQ(server_->counts().connections, 2);
  EXPECT_OK(
      NewEasy(*share, server_->ca_pem()).Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 2);
}

// Every answer that another handle's transfer could have cost.
std::string AnswersOf(Easy& easy) {
  std::string text;
#define CURLSHARE_INFO(info)                                            \
  if (auto value = easy.GetInfo<info>(); value.ok()) {                  \
    absl::StrAppend(&text, #info, " ", *value, "\n");                   \
  } else {                                                              \
    absl::StrAppend(&text, #info, " ", value.status().message(), "\n"); \
  }
  CURLSHARE_INFO(CURLINFO_EFFECTIVE_URL)
  CURLSHARE_INFO(CURLINFO_EFFECTIVE_METHOD)
  CURLSHARE_INFO(CURLINFO_RESPONSE_CODE)
  CURLSHARE_INFO(CURLINFO_HTTP_CONNECTCODE)
  CURLSHARE_INFO(CURLINFO_FILETIME_T)
  CURLSHARE_INFO(CURLINFO_TOTAL_TIME)
  CURLSHARE_INFO(CURLINFO_TOTAL_TIME_T)
  CURLSHARE_INFO(CURLINFO_NAMELOOKUP_TIME_T)
  CURLSHARE_INFO(CURLINFO_CONNECT_TIME_T)
  CURLSHARE_INFO(CURLINFO_APPCONNECT_TIME_T)
  CURLSHARE_INFO(CURLINFO_PRETRANSFER_TIME)
  CURLSHARE_INFO(CURLINFO_PRETRANSFER_TIME_T)
  CURLSHARE_INFO(CURLINFO_STARTTRANSFER_TIME_T)
  CURLSHARE_INFO(CURLINFO_REDIRECT_TIME_T)
  CURLSHARE_INFO(CURLINFO_REDIRECT_COUNT)
  CURLSHARE_INFO(CURLINFO_REDIRECT_URL)
  CURLSHARE_INFO(CURLINFO_SIZE_UPLOAD_T)
  CURLSHARE_INFO(CURLINFO_SIZE_DOWNLOAD_T)
  CURLSHARE_INFO(CURLINFO_SPEED_DOWNLOAD_T)
  CURLSHARE_INFO(CURLINFO_SPEED_UPLOAD_T)
  CURLSHARE_INFO(CURLINFO_HEADER_SIZE)
  CURLSHARE_INFO(CURLINFO_REQUEST_SIZE)
  CURLSHARE_INFO(CURLINFO_SSL_VERIFYRESULT)
  CURLSHARE_INFO(CURLINFO_PROXY_SSL_VERIFYRESULT)
  CURLSHARE_INFO(CURLINFO_CONTENT_LENGTH_DOWNLOAD_T)
  CURLSHARE_INFO(CURLINFO_CONTENT_LENGTH_UPLOAD_T)
  CURLSHARE_INFO(CURLINFO_CONTENT_TYPE)
  CURLSHARE_INFO(CURLINFO_HTTPAUTH_AVAIL)
  CURLSHARE_INFO(CURLINFO_PROXYAUTH_AVAIL)
  CURLSHARE_INFO(CURLINFO_OS_ERRNO)
  CURLSHARE_INFO(CURLINFO_NUM_CONNECTS)
  CURLSHARE_INFO(CURLINFO_PRIMARY_IP)
  CURLSHARE_INFO(CURLINFO_PRIMARY_PORT)
  CURLSHARE_INFO(CURLINFO_LOCAL_IP)
  CURLSHARE_INFO(CURLINFO_LOCAL_PORT)
  CURLSHARE_INFO(CURLINFO_CONDITION_UNMET)
  CURLSHARE_INFO(CURLINFO_HTTP_VERSION)
  CURLSHARE_INFO(CURLINFO_SCHEME)
  CURLSHARE_INFO(CURLINFO_PROXY_ERROR)
  CURLSHARE_INFO(CURLINFO_REFERER)
  CURLSHARE_INFO(CURLINFO_RETRY_AFTER)
  CURLSHARE_INFO(CURLINFO_ACTIVESOCKET)
#undef CURLSHARE_INFO
  const auto headers = easy.GetHeaders().value();
  for (const auto& [name, value] : headers) {
    absl::StrAppend(&text, name, ": ", value, "\n");
  }
  return text;
}

// Another handle takes its connection over while it is idle.
TEST_P(ConnectionsTest, WhoseConnectionIsTakenOverAnswersAsBefore) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto share = NewShare();
  for (const char* target :
       {"/bytes?n=100", "/status?code=404", "/redirect?to=/bytes?n=10",
        "/redirect?to=/redirect?to=/"}) {
    SCOPED_TRACE(target);
    for (const bool follow : {false, true}) {
      Easy easy = NewEasy(*share, server_->ca_pem());
      ASSERT_OK(easy.SetFollowRedirects(follow ? 5 : 0));
      ASSERT_OK(easy.SetOption<CURLOPT_AUTOREFERER>(true));
      ASSERT_OK(easy.SetBody("body"));
      ASSERT_OK(easy.SetUrl(server_->url(target)));
      ASSERT_OK(easy.Perform());
      const std::string before = AnswersOf(easy);
      server_->ResetCounts();
      Easy other = NewEasy(*share, server_->ca_pem());
      EXPECT_OK(other.Fetch(server_->url("/")).status());
      EXPECT_EQ(server_->counts().connections, 0) << "it was not taken over";
      EXPECT_EQ(AnswersOf(easy), before);
      // It goes on as if nothing had been.
      const auto response = easy.Fetch(server_->url("/bytes?n=7"));
      ASSERT_OK(response.status());
      EXPECT_EQ(response->body.size(), 7u);
      EXPECT_EQ(server_->counts().connections, 0);
    }
  }
}

// Neither the close nor who takes a connection over calls the owner back or
// reads what is the owner's.
TEST_P(ConnectionsTest, WhoseConnectionIsTakenOverIsNotCalledBack) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto share = NewShare();
  Easy easy = NewEasy(*share, server_->ca_pem());
  int calls = 0;
  const curl_debug_callback on_debug = [](CURL*, curl_infotype, char*, size_t,
                                          void* calls) {
    ++*static_cast<int*>(calls);
    return 0;
  };
  ASSERT_OK(easy.SetOption<CURLOPT_DEBUGFUNCTION>(on_debug, &calls));
  ASSERT_OK(easy.SetOption<CURLOPT_VERBOSE>(true));
  ASSERT_OK(easy.Fetch(server_->url("/")).status());
  const int before = calls;
  EXPECT_GT(before, 0);
  EXPECT_OK(
      NewEasy(*share, server_->ca_pem()).Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(share->CloseIdleConnections(), 1u);
  EXPECT_OK(share->Close());
  EXPECT_EQ(calls, before);
  EXPECT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_GT(calls, before) << "it is verbose no more";
}

TEST_P(ConnectionsTest, WhoLeavesTakesItsOwnAlong) {
  const auto share = NewShare();
  Easy easy = NewEasy(*share, server_->ca_pem());
  ASSERT_OK(easy.Fetch(server_->url("/")).status());
  ASSERT_OK(easy.Detach());
  EXPECT_EQ(share->stats().connections.idle, 0u);
  EXPECT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_OK(
      NewEasy(*share, server_->ca_pem()).Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 2);
  // Back in, it uses what is there.
  ASSERT_OK(easy.Attach(*share));
  EXPECT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_EQ(server_->counts().connections, 2);
}

// To let go would reset what libcurl tells of a redirect: so the handle keeps
// its connection, until a transfer without one.
TEST(Connections, ARawHandleGivesBackWhatItKeptForARedirect) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto server = NewServer();
  const auto share = NewShare();
  const CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  for (const char* target : {"/redirect?to=/", "/"}) {
    {
      const auto use = attachment->BeginUse();
      ASSERT_OK(use.status());
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL,
                                 server->url(target).c_str()),
                CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L), CURLE_OK);
    }
    EXPECT_OK(attachment->Perform());
  }
  EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().requests, 3);
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(Connections, OfTwoHostsServeWhoNeedsThem) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto a = NewServer();
  const auto b = NewServer();
  const auto share = NewShare();
  Easy first = NewEasy(*share);
  Easy second = NewEasy(*share);
  ASSERT_OK(first.Fetch(a->url("/")).status());
  ASSERT_OK(second.Fetch(b->url("/")).status());
  for (int i = 0; i < 3; ++i) {
    EXPECT_OK(first.Fetch(b->url("/")).status());
    EXPECT_OK(second.Fetch(a->url("/")).status());
    EXPECT_OK(NewEasy(*share).Fetch(a->url("/")).status());
    EXPECT_OK(NewEasy(*share).Fetch(b->url("/")).status());
  }
  EXPECT_EQ(a->counts().connections, 1);
  EXPECT_EQ(b->counts().connections, 1);
}

// 100 living handles that have visited 5 hosts have one connection to each.
TEST(Connections, OfManyHandlesToSeveralHostsAreFew) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  std::vector<std::unique_ptr<HttpServer>> servers;
  for (int i = 0; i < 5; ++i) servers.push_back(NewServer());
  const auto share = NewShare();
  std::vector<Easy> handles;
  for (int i = 0; i < 100; ++i) {
    handles.push_back(NewEasy(*share));
    for (const auto& server : servers) {
      EXPECT_OK(handles.back().Fetch(server->url("/")).status());
    }
  }
  for (const auto& server : servers) {
    EXPECT_EQ(server->counts().connections, 1);
  }
  EXPECT_EQ(share->stats().connections.idle, 5u);
}

// What a handle says of its own connections trims nothing in the share.
// libcurl asks by transfers of its own, in the same multi handle, which want to
// wait for a connection that others may multiplex (CURLOPT_PIPEWAIT).
TEST(Connections, DnsOverHttpsWorks) {
  HttpServerOptions options;
  options.tls = true;
  const auto dns = HttpServer::Start(options).value();
  const auto server = HttpServer::Start().value();
  const auto share = Share::Create().value();
  constexpr int kThreads = 4;
  constexpr int kEach = 10;
  RunThreads(kThreads, [&](int thread) {
    for (int i = 0; i < kEach; ++i) {
      Easy easy = NewEasy(*share);
      EXPECT_OK(easy.SetTimeout(absl::Seconds(60)));
      EXPECT_OK(easy.SetOption<CURLOPT_DOH_URL>(dns->url("/dns")));
      EXPECT_OK(easy.SetOption<CURLOPT_DOH_SSL_VERIFYPEER>(false));
      EXPECT_OK(easy.SetOption<CURLOPT_DOH_SSL_VERIFYHOST>(false));
      absl::StatusOr<Response> response = easy.Fetch(server->url(
          "/", absl::StrCat("host", i, "-", thread, ".curlshare.test")));
      EXPECT_OK(response.status());
      if (response.ok()) {
        EXPECT_EQ(response->body, "ok");
      }
    }
  });
  EXPECT_GE(dns->counts().requests, kThreads * kEach);
  EXPECT_EQ(server->counts().requests, kThreads * kEach);
}

TEST(Connections, MaxConnectsOfAHandleTrimsNothing) {
  const auto a = NewServer();
  const auto b = NewServer();
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetOption<CURLOPT_MAXCONNECTS>(1L));
  for (int i = 0; i < 3; ++i) {
    EXPECT_OK(easy.Fetch(a->url("/")).status());
    EXPECT_OK(easy.Fetch(b->url("/")).status());
  }
  EXPECT_EQ(a->counts().connections, 1);
  EXPECT_EQ(b->counts().connections, 1);
}

// A server that takes the connection and says nothing, while another handle is
// in its TLS handshake there.
TEST(Connections, ATlsHandshakeKeepsNobodyOut) {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listening, 1), 0);
  ASSERT_EQ(
      getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto server = NewServer();
  const auto share = NewShare();
  Easy mute = NewEasy(*share);
  RunThreads(2, [&](int thread) {
    if (thread == 0) {
      EXPECT_THAT(mute.Fetch(absl::StrCat("https://127.0.0.1:",
                                          ntohs(address.sin_port), "/"))
                      .status(),
                  StatusIs(absl::StatusCode::kCancelled));
      return;
    }
    const int accepted = accept(listening, nullptr, nullptr);
    char hello = 0;
    EXPECT_EQ(recv(accepted, &hello, 1, 0), 1);
    EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status());
    // Only now, so that it was in its handshake all along.
    EXPECT_TRUE(mute.Cancel());
    close(accepted);
  });
  close(listening);
}

TEST(Connections, GoWithTheShare) {
  const auto server = NewServer();
  const auto share = NewShare();
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  EXPECT_EQ(share->stats().connections.idle, 1u);
  EXPECT_OK(share->Close());
  EXPECT_EQ(share->stats().connections.idle, 0u);
}

TEST(Connections, GoWithTheirKindAndStayWithOthers) {
  const auto server = NewServer();
  const auto share = NewShare();
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  ASSERT_OK(share->Enable(LockData::kDns));
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  EXPECT_EQ(server->counts().connections, 1);
  ASSERT_OK(share->Disable(LockData::kConnect));
  EXPECT_EQ(share->stats().connections.idle, 0u);
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  EXPECT_EQ(server->counts().connections, 3);
  ASSERT_OK(share->Enable(LockData::kConnect));
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
  EXPECT_EQ(server->counts().connections, 4);
}

// ---- Limits

TEST(ConnectionLimits, AreChecked) {
  const auto create = [](ConnectionOptions connections) {
    ShareOptions options;
    options.connections = connections;
    return Share::Create(options).status();
  };
  ConnectionOptions bad;
  bad.max_idle = -1;
  EXPECT_THAT(create(bad), StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("max_idle")));
  bad = {};
  bad.idle_timeout = absl::ZeroDuration();
  EXPECT_THAT(create(bad), StatusIs(absl::StatusCode::kInvalidArgument));
  bad = {};
  bad.max_lifetime = -absl::Seconds(1);
  EXPECT_THAT(create(bad), StatusIs(absl::StatusCode::kInvalidArgument));
  bad = {};
  bad.max_transfers_per_host = -1;
  EXPECT_THAT(create(bad), StatusIs(absl::StatusCode::kInvalidArgument));
}

// 8 at once, also by handles that live on: 2 are kept.
TEST(ConnectionLimits, NoMoreThanMaxIdleAreKept) {
  for (const bool keep_handles : {false, true}) {
    SCOPED_TRACE(keep_handles);
    const auto server = NewServer();
    ConnectionOptions options;
    options.max_idle = 2;
    const auto share = NewShare(options);
    std::vector<Easy> handles;
    for (int i = 0; i < 8; ++i) handles.push_back(NewEasy(*share));
    RunThreads(8, [&](int i) {
      // All at once: the server lets none go before.
      EXPECT_OK(handles[i].Fetch(server->url("/delay?ms=200")).status());
      if (!keep_handles) const Easy gone = std::move(handles[i]);
    });
    const ConnectionStats stats = share->stats().connections;
    EXPECT_EQ(server->counts().connections, 8);
    EXPECT_EQ(stats.opened, 8u);
    EXPECT_EQ(stats.idle, 2u);
    EXPECT_EQ(stats.closed_over_cap, 6u);
    server->ResetCounts();
    RunThreads(2, [&](int) {
      EXPECT_OK(NewEasy(*share).Fetch(server->url("/delay?ms=200")).status());
    });
    EXPECT_EQ(server->counts().connections, HandlesLend() ? 0 : 2);
  }
}

TEST(ConnectionLimits, NoneIsKeptWhereMaxIdleIsZero) {
  const auto server = NewServer();
  ConnectionOptions options;
  options.max_idle = 0;
  const auto share = NewShare(options);
  Easy easy = NewEasy(*share);
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 2);
  EXPECT_EQ(share->stats().connections.idle, 0u);
}

// What is in use does not count: nothing is closed under load.
TEST(ConnectionLimits, InUseAreNotCountedAsIdle) {
  constexpr int kThreads = 8;
  const auto server = NewServer();
  ConnectionOptions options;
  options.max_idle = kThreads;
  const auto share = NewShare(options);
  RunThreads(kThreads, [&](int) {
    Easy easy = NewEasy(*share);
    for (int i = 0; i < 20; ++i) {
      EXPECT_OK(easy.Fetch(server->url("/delay?ms=1")).status());
    }
  });
  EXPECT_LE(server->counts().connections, kThreads);
  EXPECT_EQ(share->stats().connections.closed_over_cap, 0u);
}

// The least recently used goes first.
TEST(ConnectionLimits, TheOldestGoesFirst) {
  const auto a = NewServer();
  const auto b = NewServer();
  const auto c = NewServer();
  ConnectionOptions options;
  options.max_idle = 2;
  const auto share = NewShare(options);
  Easy easy = NewEasy(*share);
  for (const auto* server : {&a, &b, &c, &b}) {
    // Longer than the resolution of the clock.
    ASSERT_OK(easy.Fetch((*server)->url("/delay?ms=30")).status());
  }
  EXPECT_EQ(b->counts().connections, 1);
  EXPECT_OK(easy.Fetch(c->url("/")).status());
  EXPECT_EQ(c->counts().connections, 1);
  EXPECT_OK(easy.Fetch(a->url("/")).status());
  EXPECT_EQ(a->counts().connections, 2);
}

TEST(ConnectionLimits, AnIdleOneIsNotUsedAfterIdleTimeout) {
  const auto server = NewServer();
  const auto other = NewServer();
  ConnectionOptions options;
  options.idle_timeout = absl::Milliseconds(100);
  const auto share = NewShare(options);
  Easy kept = NewEasy(*share);
  EXPECT_OK(kept.Fetch(server->url("/")).status());
  { EXPECT_OK(NewEasy(*share).Fetch(other->url("/delay?ms=150")).status()); }
  // It comes back, which closes what is due.
  const ConnectionStats stats = share->stats().connections;
  EXPECT_EQ(stats.closed_idle, 1u);
  EXPECT_EQ(stats.idle, 1u);
  EXPECT_OK(kept.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 2);
}

TEST(ConnectionLimits, AKeptOneIsNotUsedAfterIdleTimeout) {
  const auto server = NewServer();
  const auto slow = NewServer();
  ConnectionOptions options;
  options.idle_timeout = absl::Milliseconds(100);
  const auto share = NewShare(options);
  Easy kept = NewEasy(*share);
  EXPECT_OK(kept.Fetch(server->url("/")).status());
  EXPECT_OK(Easy::Create().value().Fetch(slow->url("/delay?ms=150")).status());
  EXPECT_OK(kept.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 2);
  EXPECT_EQ(share->stats().connections.closed_idle, 1u);
}

TEST(ConnectionLimits, OneKeptByAnotherHandleIsClosedAfterIdleTimeout) {
  const auto server = NewServer();
  const auto other = NewServer();
  ConnectionOptions options;
  options.idle_timeout = absl::Milliseconds(100);
  const auto share = NewShare(options);
  Easy idle = NewEasy(*share);
  EXPECT_OK(idle.Fetch(server->url("/")).status());
  Easy busy = NewEasy(*share);
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(busy.Fetch(other->url("/delay?ms=80")).status());
  }
  const ConnectionStats stats = share->stats().connections;
  EXPECT_EQ(stats.closed_idle, 1u);
  EXPECT_EQ(stats.idle, 1u);
}

TEST(ConnectionLimits, ACallClosesWhatIsIdle) {
  const auto server = NewServer();
  const auto share = NewShare();
  Easy kept = NewEasy(*share);
  EXPECT_OK(kept.Fetch(server->url("/")).status());
  Easy busy = NewEasy(*share);
  RunThreads(2, [&](int thread) {
    if (thread == 0) {
      EXPECT_OK(busy.Fetch(server->url("/stall")).status());
      return;
    }
    ASSERT_TRUE(server->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
    { EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status()); }
    EXPECT_EQ(share->CloseIdleConnections(absl::Hours(1)), 0u);
    const ConnectionStats before = share->stats().connections;
    EXPECT_EQ(before.in_use, 1u);
    EXPECT_EQ(before.idle, HandlesLend() ? 1u : 2u);
    EXPECT_EQ(share->CloseIdleConnections(), before.idle);
    EXPECT_EQ(share->CloseIdleConnections(), 0u);
    EXPECT_EQ(share->stats().connections.closed_idle, before.idle);
    server->ReleaseStalled();
  });
  server->ResetCounts();
  EXPECT_OK(busy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 0) << "it was in use";
}

TEST(ConnectionLimits, NoneIsUsedAfterMaxLifetime) {
  const auto server = NewServer();
  ConnectionOptions options;
  options.max_lifetime = absl::Milliseconds(100);
  const auto share = NewShare(options);
  Easy easy = NewEasy(*share);
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_OK(easy.Fetch(server->url("/delay?ms=150")).status());
  EXPECT_EQ(server->counts().connections, 1);
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 2);
  EXPECT_EQ(share->stats().connections.closed_old, 1u);
}

TEST(ConnectionLimits, TransfersToOneHostWaitTheirTurn) {
  constexpr int kThreads = 8;
  const auto server = NewServer();
  const auto other = NewServer();
  ConnectionOptions options;
  options.max_transfers_per_host = 2;
  const auto share = NewShare(options);
  RunThreads(kThreads, [&](int) {
    EXPECT_OK(NewEasy(*share).Fetch(server->url("/delay?ms=30")).status());
  });
  EXPECT_LE(server->counts().connections, 2);
  const ConnectionStats stats = share->stats().connections;
  EXPECT_GE(stats.waited, 1u);
  EXPECT_GT(stats.longest_wait, absl::ZeroDuration());
  EXPECT_GE(stats.total_wait, stats.longest_wait);
  // Another host has its own.
  RunThreads(3, [&](int thread) {
    if (thread < 2) {
      EXPECT_OK(NewEasy(*share).Fetch(server->url("/stall")).status());
      return;
    }
    ASSERT_TRUE(server->WaitForStalled(2, absl::Now() + absl::Seconds(20)));
    EXPECT_OK(NewEasy(*share).Fetch(other->url("/")).status());
    server->ReleaseStalled();
  });
}

// From a callback nobody waits for the very transfer that it is called from.
TEST(ConnectionLimits, ATransferWithinAnotherDoesNotWait) {
  const auto server = NewServer();
  ConnectionOptions options;
  options.max_transfers_per_host = 1;
  const auto share = NewShare(options);
  Easy outer = NewEasy(*share);
  Easy inner = NewEasy(*share);
  ASSERT_OK(outer.SetUrl(server->url("/")));
  ASSERT_OK(outer.SetSink([&](absl::string_view) {
    return inner.Fetch(server->url("/")).status();
  }));
  EXPECT_OK(outer.Perform());
  EXPECT_EQ(server->counts().requests, 2);
}

class WaitingTransferTest : public ::testing::Test {
 protected:
  WaitingTransferTest() {
    ConnectionOptions options;
    options.max_transfers_per_host = 1;
    share_ = NewShare(options);
  }

  // Calls `end` while `waiting` waits for another transfer to end; what it
  // returned.
  template <typename F>
  absl::Status EndWhileItWaits(Easy& waiting, F&& end) {
    absl::Status status;
    RunThreads(3, [&](int thread) {
      if (thread == 0) {
        Easy first = NewEasy(*share_);
        first.Fetch(server_->url("/stall")).status().IgnoreError();
        return;
      }
      ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
      if (thread == 1) {
        status = waiting.Fetch(server_->url("/")).status();
        server_->ReleaseStalled();
        return;
      }
      end();
    });
    return status;
  }

  std::unique_ptr<HttpServer> server_ = NewServer();
  std::unique_ptr<Share> share_;
};

TEST_F(WaitingTransferTest, EndsByCancel) {
  Easy waiting = NewEasy(*share_);
  EXPECT_THAT(EndWhileItWaits(waiting,
                              [&] {
                                while (!waiting.Cancel()) {
                                }
                              }),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("Cancel()")));
  EXPECT_EQ(server_->counts().requests, 1);
}

TEST_F(WaitingTransferTest, EndsByCloseNow) {
  Easy waiting = NewEasy(*share_);
  // It may begin after the close, and is then a transfer without a share.
  EndWhileItWaits(waiting, [&] {
    EXPECT_OK(share_->CloseNow(absl::Now() + absl::Seconds(20)));
  }).IgnoreError();
  EXPECT_TRUE(share_->closed());
}

TEST_F(WaitingTransferTest, EndsByItsTimeout) {
  Easy waiting = NewEasy(*share_);
  ASSERT_OK(waiting.SetTimeout(absl::Milliseconds(100)));
  EXPECT_THAT(EndWhileItWaits(waiting, [] {}),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("max_transfers_per_host")));
  EXPECT_EQ(server_->counts().requests, 1);
  // The slot is not lost.
  ASSERT_OK(waiting.SetTimeout(absl::Seconds(20)));
  EXPECT_OK(waiting.Fetch(server_->url("/")).status());
}

TEST_F(WaitingTransferTest, EndsByItsTimeoutInSeconds) {
  Easy waiting = NewEasy(*share_);
  ASSERT_OK(waiting.SetOption<CURLOPT_TIMEOUT>(1));
  const absl::Time begin = absl::Now();
  EXPECT_THAT(EndWhileItWaits(waiting, [] {}),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("max_transfers_per_host")));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(900));
  EXPECT_EQ(server_->counts().requests, 1);
}

// ---- Failures

// 8 connections whose server answers no more: one failure, not 8.
TEST(ConnectionFailures, OneOutageIsOneFailure) {
  constexpr int kConnections = 8;
  const auto server = NewServer();
  const auto share = NewShare();
  RunThreads(kConnections, [&](int) {
    EXPECT_OK(NewEasy(*share).Fetch(server->url("/delay?ms=200")).status());
  });
  EXPECT_EQ(server->counts().connections, kConnections);
  EXPECT_EQ(share->stats().connections.idle, size_t{kConnections});
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(50)));
  EXPECT_THAT(easy.Fetch(server->url("/stall")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  const ConnectionStats stats = share->stats().connections;
  EXPECT_EQ(stats.idle, 0u);
  EXPECT_EQ(stats.closed_failed, uint64_t{kConnections});
  server->ResetCounts();
  ASSERT_OK(easy.SetTimeout(absl::Seconds(20)));
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(ConnectionFailures, AFailureBeforeAConnectionLeavesThoseThereAre) {
  const auto server = NewServer();
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_FALSE(easy.Fetch("http://nowhere.invalid/").ok());
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(ConnectionFailures, AnAnswerToARefusalStays) {
  if (!HandlesLend()) GTEST_SKIP() << "not tried with this libcurl";
  const auto server = NewServer();
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_FALSE(easy.Fetch("http://127.0.0.1:1/").ok());
  const std::string before = AnswersOf(easy);
  EXPECT_THAT(before,
              HasSubstr(absl::StrCat("CURLINFO_OS_ERRNO ", ECONNREFUSED)));
  server->ResetCounts();
  EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 0) << "it was not taken over";
  EXPECT_EQ(AnswersOf(easy), before);
}

// What is no connection leaves those there are.
TEST(Connections, AFileInBetweenChangesNothing) {
  const auto server = NewServer();
  const auto share = NewShare();
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("http,file"));
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  ASSERT_OK(easy.Fetch("file:///proc/self/stat").status());
  EXPECT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_OK(NewEasy(*share).Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(ConnectOnly, IsRefusedWithWhatToDo) {
  Easy easy = Easy::Create().value();
  EXPECT_THAT(easy.SetOption<CURLOPT_CONNECT_ONLY>(1L),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("curl_easy_perform")));
  EXPECT_OK(easy.SetOption<CURLOPT_CONNECT_ONLY>(0L));
}

}  // namespace
}  // namespace curlshare
