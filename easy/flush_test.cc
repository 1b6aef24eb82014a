// SPDX-License-Identifier: Apache-2.0
// A share forgets what it is told to forget, and keeps the rest, in use: by
// what the server saw and counted.
#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/scripted_resolver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::Lookups;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::ScriptName;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kName[] = "flush.curlshare.test";

// Answers, once it is let go, with a new cookie, and one that has changed and
// one that is gone.
constexpr char kStalledLogin[] =
    "/stall?header=Set-Cookie:new%3D1%3BPath%3D/"
    "&header=Set-Cookie:changed%3D2%3BPath%3D/"
    "&header=Set-Cookie:gone%3D%3BPath%3D/%3BMax-Age%3D0";

// All of it holds for gated shares as well.
class FlushTest : public ::testing::TestWithParam<Concurrency> {
 protected:
  FlushTest() { ScriptName(kName, {"127.0.0.1"}); }
  ~FlushTest() override {
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  std::unique_ptr<Share> NewShare(LockDataSet kinds) const {
    ShareOptions options;
    options.lock_data = kinds;
    options.concurrency = GetParam();
    return Share::Create(options).value();
  }
  Easy NewEasy(Share& share) const {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(share));
    EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    return easy;
  }
  Easy NewEasyThatTrusts(Share& share, const HttpServer& server) const {
    Easy easy = NewEasy(share);
    EXPECT_OK(easy.SetCaCertificates(server.ca_pem()));
    return easy;
  }
  // That a new handle sends.
  std::vector<std::string> Cookies(Share& share) const {
    const std::string body =
        NewEasy(share).Fetch(url("/cookie/show")).value().body;
    if (body.empty()) return {};
    return absl::StrSplit(body, "; ");
  }
  std::string url(absl::string_view target) const {
    return server_->url(target, kName);
  }
  int connections() const { return server_->counts().connections; }

  const int64_t live_before_ = ShareHandle::live_count();
  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  // What takes no new CURLSH.
  const LockDataSet in_place_ =
      LockDataSet(LockData::kCookie) | LockData::kDns | LockData::kConnect;
};

INSTANTIATE_TEST_SUITE_P(Concurrency, FlushTest,
                         ::testing::Values(Concurrency::kAuto,
                                           Concurrency::kGated),
                         [](const auto& info) {
                           return std::string(ConcurrencyName(info.param));
                         });

TEST_P(FlushTest, OfCookiesForgetsCookiesAlone) {
  const auto share = NewShare(in_place_);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=a&value=b")).status());
  ASSERT_EQ(easy.Fetch(url("/cookie/show"))->body, "a=b");
  EXPECT_OK(share->Flush(LockData::kCookie));
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "");
  EXPECT_EQ(NewEasy(*share).Fetch(url("/cookie/show"))->body, "");
  EXPECT_EQ(connections(), 1);
  EXPECT_EQ(Lookups(kName), 1);
  // It goes on learning.
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=c&value=d")).status());
  EXPECT_EQ(NewEasy(*share).Fetch(url("/cookie/show"))->body, "c=d");
}

TEST_P(FlushTest, OfConnectionsClosesThemAlone) {
  const auto share = NewShare(in_place_);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=a&value=b")).status());
  EXPECT_OK(share->Flush(LockData::kConnect));
  EXPECT_EQ(share->stats().connections.idle, 0u);
  EXPECT_EQ(share->stats().connections.closed_idle, 1u);
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "a=b");
  EXPECT_EQ(connections(), 2);
  EXPECT_EQ(Lookups(kName), 1);
  EXPECT_OK(NewEasy(*share).Fetch(url("/")).status());
  EXPECT_EQ(connections(), 2) << "new ones are kept";
}

// The connection of a transfer under way goes when that has ended.
TEST_P(FlushTest, OfConnectionsReachesThoseInUse) {
  for (const bool lives_on : {false, true}) {
    const auto share = NewShare(LockData::kConnect);
    server_->ResetCounts();
    std::optional<Easy> easy = NewEasy(*share);
    ASSERT_OK(easy->SetOption<CURLOPT_RESOLVE>(
        {absl::StrCat(kName, ":", server_->port(), ":127.0.0.1")}));
    std::thread transfer([&] {
      EXPECT_OK(easy->Fetch(url("/stall?after=headers")).status());
      if (!lives_on) easy.reset();
    });
    ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
    EXPECT_OK(share->Flush(LockData::kConnect));
    server_->ReleaseStalled();
    transfer.join();
    EXPECT_EQ(connections(), 1);
    // Of another handle, then, if it lives, its own.
    EXPECT_OK(NewEasy(*share).Fetch(url("/")).status());
    EXPECT_EQ(connections(), 2);
    if (lives_on) {
      EXPECT_OK(easy->Fetch(url("/")).status());
    }
    EXPECT_EQ(connections(), 2) << "that of the other one will do";
  }
}

TEST_P(FlushTest, OfDnsAnswersAsksAgain) {
  const auto share = NewShare(in_place_ - LockData::kConnect);
  ASSERT_OK(NewEasy(*share).Fetch(url("/cookie/set?name=a&value=b")).status());
  ASSERT_OK(NewEasy(*share).Fetch(url("/")).status());
  EXPECT_EQ(Lookups(kName), 1);
  EXPECT_OK(share->Flush(LockData::kDns));
  EXPECT_EQ(NewEasy(*share).Fetch(url("/cookie/show"))->body, "a=b");
  EXPECT_EQ(Lookups(kName), 2);
}

TEST_P(FlushTest, OfDnsAnswersKeepsAddressesThatWereGiven) {
  const auto share = NewShare(LockData::kDns);
  ScriptName(kName, {"!none"});
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat(kName, ":", server_->port(), ":127.0.0.1")}));
  ASSERT_OK(easy.Fetch(url("/")).status());
  EXPECT_OK(share->Flush(LockData::kDns));
  ASSERT_OK(easy.SetOption<CURLOPT_FRESH_CONNECT>(true));
  EXPECT_OK(easy.Fetch(url("/")).status());
}

TEST_P(FlushTest, OfTlsSessionsMakesFullHandshakes) {
  HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options).value();
  const auto share =
      NewShare(LockDataSet(LockData::kSslSession) | LockData::kConnect);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  const auto fetch = [&] {
    EXPECT_OK(share->Flush(LockData::kConnect));
    EXPECT_OK(easy.Fetch(server->url("/")).status());
    return server->counts().tls_resumed;
  };
  EXPECT_EQ(fetch(), 0);
  EXPECT_EQ(fetch(), 1);
  EXPECT_OK(share->Flush(LockData::kSslSession));
  EXPECT_EQ(fetch(), 1) << "still known";
  EXPECT_EQ(fetch(), 2);
}

// Connections are not the CURLSH's, and stay.
TEST_P(FlushTest, OfTlsSessionsKeepsConnections) {
  const auto share =
      NewShare(LockDataSet(LockData::kSslSession) | LockData::kConnect);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(url("/")).status());
  EXPECT_OK(share->Flush(LockData::kSslSession));
  ASSERT_OK(easy.Fetch(url("/")).status());
  EXPECT_EQ(connections(), 1);
}

// What only a new CURLSH forgets is forgotten alone all the same.
TEST_P(FlushTest, OfTlsSessionsKeepsCookiesAndHsts) {
  HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options).value();
  const auto share =
      NewShare(LockDataSet{LockData::kSslSession, LockData::kCookie,
                           LockData::kHsts, LockData::kConnect});
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  const auto fetch = [&](absl::string_view target) {
    EXPECT_OK(share->Flush(LockData::kConnect));
    return easy.Fetch(server->url(target, kName)).value();
  };
  (void)fetch("/cookie/set?name=a&value=b");
  (void)fetch("/hsts?max_age=1000");
  ASSERT_EQ(server->counts().tls_resumed, 1);
  ASSERT_EQ(server->counts().tls_full, 1);
  EXPECT_OK(share->Flush(LockData::kSslSession));
  EXPECT_EQ(fetch("/cookie/show").body, "a=b");
  EXPECT_EQ(server->counts().tls_full, 2);
  EXPECT_EQ(server->counts().tls_resumed, 1);
  // An http: URL to where a TLS server listens.
  const std::string plain =
      absl::StrCat("http", server->url("/cookie/show", kName).substr(5));
  EXPECT_OK(NewEasyThatTrusts(*share, *server).Fetch(plain).status());
  EXPECT_OK(share->Flush({LockData::kHsts, LockData::kConnect}));
  EXPECT_FALSE(NewEasyThatTrusts(*share, *server).Fetch(plain).ok())
      << "the entry is still known";
  EXPECT_EQ(fetch("/cookie/show").body, "a=b");
}

TEST_P(FlushTest, OfHstsKeepsTlsSessionsWhereLibcurlCanExportThem) {
  HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options).value();
  const auto share =
      NewShare({LockData::kSslSession, LockData::kHsts, LockData::kConnect});
  const bool can = share->ExportTlsSessions().ok();
  Easy easy = NewEasyThatTrusts(*share, *server);
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_OK(share->Flush(LockDataSet{LockData::kHsts, LockData::kConnect}));
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().tls_resumed, can ? 1 : 0);
  EXPECT_EQ(server->counts().tls_full, can ? 1 : 2);
}

// A transfer under way, which others cannot see the end of yet: a login, a
// logout.
TEST_P(FlushTest, WhatATransferUnderWayLearnsComesWithItsEnd) {
  for (const int flushes : {1, 2}) {
    const auto share = NewShare({LockData::kCookie, LockData::kPsl});
    Easy other = NewEasy(*share);
    for (const char* name : {"changed", "gone", "stays"}) {
      ASSERT_OK(
          other.Fetch(url(absl::StrCat("/cookie/set?value=1&name=", name)))
              .status());
    }
    std::thread transfer(
        [&] { EXPECT_OK(NewEasy(*share).Fetch(url(kStalledLogin)).status()); });
    ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
    for (int i = 0; i < flushes; ++i) EXPECT_OK(share->Flush(LockData::kPsl));
    EXPECT_THAT(Cookies(*share),
                UnorderedElementsAre("changed=1", "gone=1", "stays=1"));
    // The newest knows more by now; that stays, too.
    ASSERT_OK(other.Fetch(url("/cookie/set?name=later&value=1&max_age=100"))
                  .status());
    server_->ReleaseStalled();
    transfer.join();
    EXPECT_THAT(Cookies(*share), UnorderedElementsAre("changed=2", "new=1",
                                                      "stays=1", "later=1"));
    ASSERT_OK(other.Fetch(url("/cookie/expire?name=stays")).status());
    EXPECT_OK(share->Flush(LockData::kPsl));
    EXPECT_THAT(Cookies(*share),
                UnorderedElementsAre("changed=2", "new=1", "later=1"));
  }
}

// The same of a CURL* of one's own; and of one whose Attachment goes within.
TEST_P(FlushTest, WhatARawTransferUnderWayLearnsComesWithItsEnd) {
  for (const bool goes : {false, true}) {
    const auto share = NewShare({LockData::kCookie, LockData::kPsl});
    ASSERT_OK(
        NewEasy(*share).Fetch(url("/cookie/set?name=gone&value=1")).status());
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
        curl_easy_init(), &curl_easy_cleanup);
    std::optional<Attachment> attachment = share->Attach(curl.get()).value();
    std::function<void()> in_callback = [&] {
      if (goes) attachment.reset();
    };
    const curl_write_callback write = [](char*, size_t size, size_t n,
                                         void* userptr) {
      (*static_cast<std::function<void()>*>(userptr))();
      return size * n;
    };
    {
      auto use = attachment->BeginUse();
      ASSERT_OK(use.status());
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L), CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, write),
                CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &in_callback),
                CURLE_OK);
      EXPECT_EQ(
          curl_easy_setopt(curl.get(), CURLOPT_URL, url(kStalledLogin).c_str()),
          CURLE_OK);
    }
    std::thread transfer([&] { EXPECT_OK(attachment->Perform()); });
    ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
    EXPECT_OK(share->Flush(LockData::kPsl));
    EXPECT_THAT(Cookies(*share), UnorderedElementsAre("gone=1"));
    server_->ReleaseStalled();
    transfer.join();
    EXPECT_THAT(Cookies(*share), UnorderedElementsAre("changed=2", "new=1"));
  }
}

// A transfer in an older generation has learned it by then.
TEST_P(FlushTest, WhatWasForgottenDoesNotComeWithATransfersEnd) {
  const auto share = NewShare({LockData::kCookie, LockData::kPsl});
  Easy other = NewEasy(*share);
  ASSERT_OK(other.Fetch(url("/cookie/set?name=changed&value=1")).status());
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetUrl(url(kStalledLogin)));
  ASSERT_OK(easy.SetSink(
      [&](absl::string_view) { return share->Flush(LockData::kCookie); }));
  std::thread transfer([&] { EXPECT_OK(easy.Perform()); });
  ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
  EXPECT_OK(share->Flush(LockData::kPsl));
  EXPECT_THAT(Cookies(*share), UnorderedElementsAre("changed=1"));
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_THAT(Cookies(*share), IsEmpty());
}

TEST_P(FlushTest, HstsThatATransferUnderWayLearnsComesWithItsEnd) {
  HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options).value();
  const auto share = NewShare({LockData::kHsts, LockData::kPsl});
  const std::string plain =
      absl::StrCat("http", server->url("/", kName).substr(5));
  std::thread transfer([&] {
    EXPECT_OK(NewEasyThatTrusts(*share, *server)
                  .Fetch(server->url(
                      "/stall?header=Strict-Transport-Security:max-age%3D1000",
                      kName))
                  .status());
  });
  ASSERT_TRUE(server->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
  EXPECT_OK(share->Flush(LockData::kPsl));
  EXPECT_FALSE(NewEasyThatTrusts(*share, *server).Fetch(plain).ok());
  server->ReleaseStalled();
  transfer.join();
  EXPECT_OK(NewEasyThatTrusts(*share, *server).Fetch(plain).status());
}

TEST_P(FlushTest, EnableAndDisableKeepWhatTheyCan) {
  const auto share = NewShare(LockData::kCookie);
  Easy easy = NewEasy(*share);
  ASSERT_OK(
      easy.Fetch(url("/cookie/set?name=a&value=1&max_age=1000")).status());
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=session&value=1")).status());
  const auto both = UnorderedElementsAre("a=1", "session=1");
  EXPECT_OK(share->Enable(LockDataSet{LockData::kHsts, LockData::kDns}));
  EXPECT_THAT(Cookies(*share), both);
  EXPECT_OK(share->Disable(LockData::kHsts));
  EXPECT_THAT(Cookies(*share), both);
  std::thread transfer(
      [&] { EXPECT_OK(NewEasy(*share).Fetch(url(kStalledLogin)).status()); });
  ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
  EXPECT_OK(share->Disable(LockData::kCookie));
  EXPECT_OK(share->Enable(LockData::kCookie));
  server_->ReleaseStalled();
  transfer.join();
  EXPECT_THAT(Cookies(*share), IsEmpty()) << "of the cookies before";
}

// Of a handle that has not transferred since, and of one in transfer.
TEST_P(FlushTest, ACookieJarHasWhatTheNewestKnows) {
  for (const bool in_transfer : {false, true}) {
    const auto share = NewShare({LockData::kCookie, LockData::kPsl});
    const std::string file = absl::StrCat(::testing::TempDir(), "/jar");
    Easy easy = Easy::Create().value();
    ASSERT_OK(easy.SetOption<CURLOPT_COOKIEJAR>(file));
    ASSERT_OK(easy.Attach(*share));
    ASSERT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    ASSERT_OK(easy.Fetch(url("/cookie/set?name=gone&value=1")).status());
    std::thread transfer;
    if (in_transfer) {
      transfer = std::thread(
          [&] { EXPECT_OK(easy.Fetch(url(kStalledLogin)).status()); });
      ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
    }
    EXPECT_OK(share->Flush(LockData::kPsl));
    ASSERT_OK(
        NewEasy(*share).Fetch(url("/cookie/set?name=later&value=1")).status());
    if (in_transfer) {
      EXPECT_THAT(share->Close(absl::InfinitePast()),
                  StatusIs(absl::StatusCode::kDeadlineExceeded));
      server_->ReleaseStalled();
      transfer.join();
    }
    EXPECT_OK(share->Close());
    std::stringstream jar;
    jar << std::ifstream(file).rdbuf();
    EXPECT_THAT(jar.str(), HasSubstr("\tlater\t1"));
    if (in_transfer) {
      EXPECT_THAT(jar.str(),
                  AllOf(HasSubstr("\tnew\t1"), Not(HasSubstr("\tgone\t"))));
    } else {
      EXPECT_THAT(jar.str(), HasSubstr("\tgone\t1"));
    }
  }
}

TEST_P(FlushTest, PassesOverWhatIsNotShared) {
  const auto share = NewShare(LockData::kDns);
  EXPECT_OK(share->Flush({}));
  EXPECT_OK(share->Flush(LockDataSet::All() - LockData::kDns));
  EXPECT_OK(share->Flush(LockDataSet::All()));
}

TEST_P(FlushTest, OfAClosedShareIsRefused) {
  const auto share = NewShare(LockData::kDns);
  ASSERT_OK(share->Close());
  EXPECT_THAT(
      share->Flush(LockData::kDns),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed")));
}

// From callbacks, too, of a transfer in the share.
TEST_P(FlushTest, WorksInACallback) {
  const auto share = NewShare(in_place_);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetUrl(url("/cookie/set?name=a&value=b")));
  ASSERT_OK(
      easy.SetSink([&](absl::string_view) { return share->Flush(in_place_); }));
  EXPECT_OK(easy.Perform());
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "");
  EXPECT_EQ(connections(), 2);
}

// Nothing fails, whatever is flushed while all transfer; then the share closes
// while it is flushed.
TEST_P(FlushTest, DisturbsNoTransfer) {
  constexpr int kThreads = 6;
  constexpr int kTransfers = 40;
  const LockDataSet kinds = in_place_ | LockData::kPsl;
  const auto share = NewShare(kinds);
  std::atomic<int> done{0};
  RunThreads(kThreads + 1, [&](int thread) {
    if (thread == kThreads) {
      for (int i = 0; done < kThreads; ++i) {
        const LockDataSet which = i % 4 == 0   ? LockDataSet(LockData::kDns)
                                  : i % 4 == 1 ? LockDataSet(LockData::kConnect)
                                  : i % 4 == 2 ? LockDataSet(LockData::kCookie)
                                               : kinds;
        EXPECT_OK(share->Flush(which));
      }
      return;
    }
    Easy kept = NewEasy(*share);
    for (int i = 0; i < kTransfers; ++i) {
      EXPECT_OK(kept.Fetch(url("/cookie/set?name=a&value=b")).status());
      EXPECT_OK(NewEasy(*share).Fetch(url("/bytes?n=100")).status());
    }
    ++done;
  });
  std::thread flush([&] {
    absl::Status status;
    while (status.ok()) status = share->Flush(in_place_);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  });
  EXPECT_OK(share->Close());
  flush.join();
}

}  // namespace
}  // namespace curlshare
