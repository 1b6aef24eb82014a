// SPDX-License-Identifier: Apache-2.0
// What a share counts of the look-ups and handshakes of its transfers, held
// against what the resolver and the server counted.
#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/scripted_resolver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerCounts;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::Lookups;
using ::curlshare::testing::ScriptName;

constexpr char kName[] = "statistics.curlshare.test";

class ShareStatisticsTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Share> NewShare(LockDataSet kinds) {
    ShareOptions options;
    options.lock_data = kinds;
    return Share::Create(options).value();
  }

  static std::unique_ptr<HttpServer> NewTlsServer() {
    HttpServerOptions options;
    options.tls = true;
    return HttpServer::Start(options).value();
  }

  // One look-up for each name, not one for each of two families.
  static Easy NewEasy(Share& share) {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(share));
    EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    return easy;
  }

  static size_t Drop(char*, size_t size, size_t count, void*) {
    return size * count;
  }

  std::string url(absl::string_view target = "/") const {
    return server_->url(target, kName);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

TEST_F(ShareStatisticsTest, ALookupAndItsHitsAreWhatTheResolverSaw) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare(LockData::kDns);
  constexpr int kHandles = 9;  // with a connection each
  for (int i = 0; i < kHandles; ++i) {
    ASSERT_OK(NewEasy(*share).Fetch(url()).status());
  }
  EXPECT_EQ(server_->counts().connections, kHandles);
  EXPECT_EQ(Lookups(kName), 1);
  EXPECT_EQ(share->stats().dns_lookups, 1u);
  EXPECT_EQ(share->stats().dns_hits, kHandles - 1u);
  ASSERT_OK(share->Flush(LockData::kDns));
  ASSERT_OK(NewEasy(*share).Fetch(url()).status());
  EXPECT_EQ(Lookups(kName), 2);
  EXPECT_EQ(share->stats().dns_lookups, 2u);
  EXPECT_EQ(share->stats().dns_hits, kHandles - 1u);
  EXPECT_EQ(share->stats().handshakes, 0u);
}

TEST_F(ShareStatisticsTest, ATransferThatHasAConnectionCountsNothing) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare(LockDataSet(LockData::kDns) | LockData::kConnect);
  Easy easy = NewEasy(*share);
  for (int i = 0; i < 5; ++i) ASSERT_OK(easy.Fetch(url()).status());
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(share->stats().dns_lookups, 1u);
  EXPECT_EQ(share->stats().dns_hits, 0u);
  EXPECT_EQ(share->stats().connections.reused, 4u);
}

TEST_F(ShareStatisticsTest, ALookupThatFailsIsOne) {
  ScriptName(kName, {"!none"});
  const auto share = NewShare(LockData::kDns);
  EXPECT_EQ(GetEasyCode(NewEasy(*share).Fetch(url()).status()),
            CURLE_COULDNT_RESOLVE_HOST);
  EXPECT_EQ(Lookups(kName), 1);
  EXPECT_EQ(share->stats().dns_lookups, 1u);
  EXPECT_EQ(share->stats().dns_hits, 0u);
}

// libcurl still tells what the transfer before did.
TEST_F(ShareStatisticsTest, ATransferThatDoesNotBeginCountsNothing) {
  const auto server = NewTlsServer();
  const auto share = NewShare(LockData::kDns);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  ASSERT_OK(easy.Fetch(server->url("/")).status());
  const ShareStats before = share->stats();
  EXPECT_EQ(before.handshakes, 1u);
  ASSERT_OK(easy.SetOption<CURLOPT_URL>(nullptr));
  EXPECT_EQ(GetEasyCode(easy.Perform()), CURLE_URL_MALFORMAT);
  EXPECT_EQ(share->stats().handshakes, 1u);
  EXPECT_EQ(share->stats().dns_lookups, before.dns_lookups);
  EXPECT_EQ(share->stats().dns_hits, before.dns_hits);
}

TEST_F(ShareStatisticsTest, AFunctionOfTheUsersIsCalledAndCounted) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare(LockDataSet());  // Each handle looks up.
  int calls = 0;
  const curl_resolver_start_callback count = [](void*, void*, void* calls) {
    ++*static_cast<int*>(calls);
    return 0;
  };
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(count, &calls));
  ASSERT_OK(easy.Fetch(url()).status());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(share->stats().dns_lookups, 1u);
  // It goes along.
  Easy copy = easy.Duplicate().value();
  ASSERT_OK(copy.Fetch(url()).status());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(share->stats().dns_lookups, 2u);
  ASSERT_OK(copy.Reset());
  ASSERT_OK(copy.Fetch(server_->url("/", "a.localhost")).status());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(share->stats().dns_lookups, 3u);
  // What it says is done.
  const curl_resolver_start_callback refuse = [](void*, void*, void*) {
    return 1;
  };
  Easy refused = NewEasy(*share);
  ASSERT_OK(
      refused.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(refuse, nullptr));
  EXPECT_FALSE(refused.Fetch(url()).ok());
  ASSERT_OK(refused.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(
      curl_resolver_start_callback{nullptr}, nullptr));
  EXPECT_OK(refused.Fetch(url()).status());
}

TEST_F(ShareStatisticsTest, HandshakesAreThoseThatTheServerSaw) {
  const auto server = NewTlsServer();
  const auto share =
      NewShare(LockDataSet(LockData::kDns) | LockData::kSslSession);
  constexpr int kThreads = 4;
  constexpr int kRequests = 10;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int request = 0; request < kRequests; ++request) {
        Easy easy = NewEasy(*share);
        EXPECT_OK(easy.SetCaCertificates(server->ca_pem()));
        EXPECT_OK(easy.Fetch(server->url("/")).status());
        EXPECT_OK(easy.Fetch(server->url("/")).status());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const HttpServerCounts counts = server->counts();
  EXPECT_EQ(counts.tls_full + counts.tls_resumed, kThreads * kRequests);
  EXPECT_EQ(share->stats().handshakes, uint64_t{kThreads * kRequests});
  // Of an address, too.
  EXPECT_EQ(share->stats().dns_lookups + share->stats().dns_hits,
            uint64_t{kThreads * kRequests});
}

// Whose CURL* others have, they may have set another function there.
TEST_F(ShareStatisticsTest, OfRawHandlesHandshakesAlone) {
  const auto server = NewTlsServer();
  const auto share = NewShare(LockData::kDns);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
      curl_easy_init(), &curl_easy_cleanup);
  const curl_write_callback drop = &Drop;
  const std::string url = server->url("/");
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
            CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()), CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 0L), CURLE_OK);
  ASSERT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L), CURLE_OK);
  absl::StatusOr<Attachment> attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(attachment->Perform());
  EXPECT_EQ(share->stats().handshakes, 1u);
  Easy easy = NewEasy(*share);
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  {
    const auto use = easy.BeginUse();
    ASSERT_OK(use.status());
    ASSERT_EQ(curl_easy_setopt(easy.native_handle(),
                               CURLOPT_RESOLVER_START_FUNCTION, nullptr),
              CURLE_OK);
  }
  ASSERT_OK(easy.Fetch(url).status());
  EXPECT_EQ(share->stats().handshakes, 2u);
  EXPECT_EQ(share->stats().dns_lookups, 0u);
  EXPECT_EQ(share->stats().dns_hits, 0u);
}

}  // namespace
}  // namespace curlshare
