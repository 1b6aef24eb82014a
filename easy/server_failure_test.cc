// SPDX-License-Identifier: Apache-2.0
// What servers and the network do to transfers on a shared handle: each ends
// once, with the Status that tells why, and the share goes on. With locks alone
// and with every kind behind the gate.
#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/fault_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::FaultServer;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::testing::AnyOf;
using Fault = FaultServer::Fault;

constexpr int kThreads = 4;
constexpr int kEach = 5;
constexpr int kTransfers = kThreads * kEach;

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

std::unique_ptr<HttpServer> StartHttps() {
  HttpServerOptions options;
  options.tls = true;
  return HttpServer::Start(options).value();
}

// The parameter: whether every kind is shared, behind the gate.
class ServerFailureTest : public ::testing::TestWithParam<bool> {
 protected:
  ServerFailureTest() {
    ShareOptions options;
    if (GetParam()) options.lock_data = LockDataSet::Available();
    share_ = Share::Create(std::move(options)).value();
    for (int i = 0; i < kThreads; ++i) {
      handles_.push_back(Easy::Create().value());
      EXPECT_OK(handles_.back().Attach(*share_));
    }
  }

  ~ServerFailureTest() override {
    if (share_ != nullptr) ExpectTheShareGoesOn();
    handles_.clear();
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  // Transfers of every thread meet what `url` names: each returns `code` from
  // libcurl as `status`.
  void ExpectEach(const std::string& url, absl::StatusCode status,
                  std::vector<CURLcode> codes) {
    std::atomic<int> ended{0};
    RunThreads(kThreads, [&](int i) {
      for (int n = 0; n < kEach; ++n) {
        const absl::Status got = handles_[i].Fetch(url).status();
        EXPECT_EQ(got.code(), status) << got;
        if (!got.ok()) {
          EXPECT_THAT(codes, ::testing::Contains(GetEasyCode(got).value()))
              << got;
        }
        ++ended;
      }
    });
    EXPECT_EQ(ended, kTransfers);
  }

  // Every handle transfers through the share, which then closes.
  void ExpectTheShareGoesOn() {
    EXPECT_EQ(share_->attached(), size_t{kThreads});
    RunThreads(kThreads, [&](int i) {
      EXPECT_EQ(handles_[i].share(), share_.get());
      EXPECT_OK(handles_[i].Fetch(healthy_->url("/")).status());
    });
    EXPECT_EQ(healthy_->counts().requests, kThreads);
    EXPECT_OK(share_->Close(Soon()));
    EXPECT_EQ(share_->attached(), 0U);
  }

  const int64_t live_before_ = ShareHandle::live_count();
  const std::unique_ptr<HttpServer> healthy_ = HttpServer::Start().value();
  std::unique_ptr<Share> share_;
  std::vector<Easy> handles_;
};

INSTANTIATE_TEST_SUITE_P(All, ServerFailureTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "Gated" : "Ungated";
                         });

TEST_P(ServerFailureTest, AReset) {
  const auto server = FaultServer::Start(Fault::kReset).value();
  ExpectEach(server->url(), absl::StatusCode::kUnavailable, {CURLE_RECV_ERROR});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, AResetMidway) {
  const auto server = FaultServer::Start(Fault::kResetMidway).value();
  ExpectEach(server->url(), absl::StatusCode::kUnavailable, {CURLE_RECV_ERROR});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, AResetInsideTheTlsHandshake) {
  const auto server = FaultServer::Start(Fault::kReset).value();
  ExpectEach(server->tls_url(), absl::StatusCode::kUnavailable,
             {CURLE_SSL_CONNECT_ERROR});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, HalfClosedWithoutAnAnswer) {
  const auto server = FaultServer::Start(Fault::kHalfClose).value();
  ExpectEach(server->url(), absl::StatusCode::kUnavailable,
             {CURLE_GOT_NOTHING});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, HalfClosedMidway) {
  const auto server = FaultServer::Start(Fault::kHalfCloseMidway).value();
  ExpectEach(server->url(), absl::StatusCode::kUnavailable,
             {CURLE_PARTIAL_FILE});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, HalfClosedAtTheEndIsNoFailure) {
  const auto server = FaultServer::Start(Fault::kHalfCloseAtTheEnd).value();
  ExpectEach(server->url(), absl::StatusCode::kOk, {});
  EXPECT_EQ(server->connections(), kTransfers);
  EXPECT_EQ(handles_[0].Fetch(server->url())->body, "all of it");
}

TEST_P(ServerFailureTest, ATlsAlert) {
  const auto server = FaultServer::Start(Fault::kTlsAlert).value();
  ExpectEach(server->tls_url(), absl::StatusCode::kUnavailable,
             {CURLE_SSL_CONNECT_ERROR});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, WhatIsNoTls) {
  const auto server = FaultServer::Start(Fault::kGarbage).value();
  ExpectEach(server->tls_url(), absl::StatusCode::kUnavailable,
             {CURLE_SSL_CONNECT_ERROR});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, WhatIsNoHttp) {
  const auto server = FaultServer::Start(Fault::kGarbage).value();
  // libcurl: "Received HTTP/0.9 when not allowed".
  ExpectEach(server->url(), absl::StatusCode::kUnimplemented,
             {CURLE_UNSUPPORTED_PROTOCOL});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, AHeaderOf1MiB) {
  const auto server = FaultServer::Start(Fault::kHugeHeader).value();
  // Before 8.6 libcurl calls it out of memory.
  constexpr auto kTooLarge = static_cast<CURLcode>(100);
  const bool told = RunningLibcurl().version_num >= LibcurlVersion(8, 6, 0);
  ExpectEach(server->url(),
             told ? absl::StatusCode::kOutOfRange
                  : absl::StatusCode::kResourceExhausted,
             {told ? kTooLarge : CURLE_OUT_OF_MEMORY});
  EXPECT_EQ(server->connections(), kTransfers);
}

TEST_P(ServerFailureTest, ACertificateOfAnUnknownAuthority) {
  const auto server = StartHttps();
  ExpectEach(server->url("/"), absl::StatusCode::kUnauthenticated,
             {CURLE_PEER_FAILED_VERIFICATION});
  EXPECT_EQ(server->counts().connections, kTransfers);
  EXPECT_EQ(server->counts().requests, 0);
}

TEST_P(ServerFailureTest, ACertificateOfAnotherHost) {
  const auto server = StartHttps();
  for (Easy& easy : handles_) {
    EXPECT_OK(easy.SetCaCertificates(server->ca_pem()));
    EXPECT_OK(easy.SetOption<CURLOPT_RESOLVE>(
        {absl::StrCat("other.test:", server->port(), ":127.0.0.1")}));
  }
  ExpectEach(server->url("/", "other.test"), absl::StatusCode::kUnauthenticated,
             {CURLE_PEER_FAILED_VERIFICATION});
  EXPECT_EQ(server->counts().requests, 0);
}

TEST_P(ServerFailureTest, ARefusedConnection) {
  const auto server = HttpServer::Start().value();
  server->Refuse();
  ExpectEach(server->url("/"), absl::StatusCode::kUnavailable,
             {CURLE_COULDNT_CONNECT});
  EXPECT_EQ(server->counts().connections, 0);
}

TEST_P(ServerFailureTest, ANameThatCannotBeResolved) {
  // A label is at most 63 bytes long: the resolver refuses without asking.
  ExpectEach(absl::StrCat("http://", std::string(64, 'a'), ".test/"),
             absl::StatusCode::kUnavailable, {CURLE_COULDNT_RESOLVE_HOST});
}

TEST_P(ServerFailureTest, AServerThatStallsMeetsTheTimeout) {
  for (absl::string_view target :
       {"/stall", "/stall?after=headers", "/stall?after=bytes"}) {
    for (Easy& easy : handles_) {
      EXPECT_OK(easy.SetTimeout(absl::Milliseconds(100)));
    }
    const auto server = HttpServer::Start().value();
    ExpectEach(server->url(target), absl::StatusCode::kDeadlineExceeded,
               {CURLE_OPERATION_TIMEDOUT});
    // On a busy machine one may end before the server has read it.
    EXPECT_LE(server->counts().requests, kTransfers);
  }
  for (Easy& easy : handles_) EXPECT_OK(easy.SetTimeout(absl::Seconds(60)));
}

TEST_P(ServerFailureTest, AConnectionThatIsDroppedMidway) {
  const auto server = HttpServer::Start().value();
  ExpectEach(server->url("/drop?after=100"), absl::StatusCode::kUnavailable,
             {CURLE_PARTIAL_FILE});
  EXPECT_EQ(server->counts().requests, kTransfers);
}

// Every transfer is in the middle of its body when CloseNow comes.
TEST_P(ServerFailureTest, AnEndlessBodyEndsWithCloseNow) {
  std::atomic<int> begun{0};
  std::atomic<int> cancelled{0};
  std::vector<std::thread> threads;
  for (Easy& easy : handles_) {
    threads.emplace_back([&] {
      bool first = true;
      EXPECT_OK(easy.SetSink([&](absl::string_view) {
        if (std::exchange(first, false)) ++begun;
        return absl::OkStatus();
      }));
      EXPECT_OK(easy.SetUrl(healthy_->url("/endless")));
      EXPECT_THAT(easy.Perform(), StatusIs(absl::StatusCode::kCancelled));
      ++cancelled;
    });
  }
  while (begun < kThreads) std::this_thread::yield();
  EXPECT_OK(share_->CloseNow(Soon()));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cancelled, kThreads);
  EXPECT_EQ(healthy_->counts().requests, kThreads);
  EXPECT_EQ(share_->attached(), 0U);
  share_ = nullptr;
  for (Easy& easy : handles_) EXPECT_OK(easy.Fetch(healthy_->url("/")));
}

// Counts what threads have got done, and waits for more.
class Progress {
 public:
  void Add(bool succeeded) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ++(succeeded ? succeeded_ : failed_);
  }
  // Returns when `n` more have succeeded, or, with `or_failed`, ended.
  void WaitForMore(int n, bool or_failed) ABSL_LOCKS_EXCLUDED(mu_) {
    const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return succeeded_ + (or_failed ? failed_ : 0) >= n;
    };
    absl::MutexLock lock(&mu_);
    n += succeeded_ + (or_failed ? failed_ : 0);
    EXPECT_TRUE(mu_.AwaitWithDeadline(absl::Condition(&done), Soon()));
  }
  int succeeded() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return succeeded_;
  }
  int failed() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return failed_;
  }

 private:
  mutable absl::Mutex mu_;
  int succeeded_ ABSL_GUARDED_BY(mu_) = 0;
  int failed_ ABSL_GUARDED_BY(mu_) = 0;
};

// Threads transfer all along, over TLS, while the server goes and comes back at
// the same port, five times.
TEST_P(ServerFailureTest, AServerThatRestartsUnderLoad) {
  constexpr int kRestarts = 5;
  HttpServerOptions options;
  options.tls = true;
  auto server = HttpServer::Start(options).value();
  options.port = server->port();
  const std::string url = server->url("/bytes?n=1000");
  const std::string pem = server->ca_pem();
  Progress progress;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::atomic<int> performed{0};
  for (Easy& easy : handles_) {
    threads.emplace_back([&] {
      EXPECT_OK(easy.SetCaCertificates(pem));
      while (!stop) {
        ++performed;
        const absl::StatusOr<Response> response = easy.Fetch(url);
        EXPECT_THAT(
            response.status().code(),
            AnyOf(absl::StatusCode::kOk, absl::StatusCode::kUnavailable))
            << response.status();
        if (response.ok()) {
          EXPECT_EQ(response->body.size(), 1000U);
        }
        progress.Add(response.ok());
      }
    });
  }
  for (int i = 0; i < kRestarts; ++i) {
    progress.WaitForMore(3 * kThreads, /*or_failed=*/false);
    server = nullptr;
    progress.WaitForMore(3 * kThreads, /*or_failed=*/true);
    server = HttpServer::Start(options).value();
  }
  progress.WaitForMore(3 * kThreads, /*or_failed=*/false);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(progress.succeeded() + progress.failed(), performed);
  EXPECT_GE(progress.succeeded(), 3 * kThreads * (kRestarts + 1));
  EXPECT_GT(progress.failed(), 0);
  RecordProperty("succeeded", progress.succeeded());
  RecordProperty("failed", progress.failed());
  for (Easy& easy : handles_) {
    EXPECT_OK(easy.Fetch(url).status()) << "the newest server";
  }
}

}  // namespace
}  // namespace curlshare
