// A share forgets what it is told to forget, and keeps the rest, in use: by
// what the server saw and counted.
#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/scripted_resolver.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
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

constexpr char kName[] = "flush.curlshare.test";

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

TEST_P(FlushTest, NeverLosesWhatWasToStay) {
  const auto share = NewShare(LockDataSet(LockData::kSslSession) |
                              LockData::kCookie | LockData::kConnect);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.Fetch(url("/cookie/set?name=a&value=b")).status());
  EXPECT_THAT(share->Flush(LockData::kSslSession),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("ssl_session"), HasSubstr("cookie"))));
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "a=b");
  EXPECT_OK(
      share->Flush(LockDataSet(LockData::kSslSession) | LockData::kCookie));
  EXPECT_EQ(easy.Fetch(url("/cookie/show"))->body, "");
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
