// SPDX-License-Identifier: Apache-2.0
// What a forked child may do with what its parent has made: nothing with what
// has transferred, everything with the rest.
//
// The server's threads run when the tests fork, so that a child does only what
// is asked of it, and tells by its exit code.
#include <curl/curl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// Ends the process where something does not hold: a test's expectations do not
// reach the parent.
void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "in the child, not so: %s\n", what);
  _exit(2);
}
#define CHECK_THAT(...) Check((__VA_ARGS__), #__VA_ARGS__)

// Whether all of `child` holds in a process that is forked here.
template <typename F>
bool HoldsInAChild(F child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(20);  // What waits for a mutex of its parent's, waits for ever.
    child();
    _exit(0);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return false;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    std::fprintf(stderr, "the child did not end\n");
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Whether the child is told, and told what to do.
bool IsRefused(const absl::Status& status) {
  const bool refused = status.code() == absl::StatusCode::kFailedPrecondition &&
                       absl::StrContains(status.message(), "forked") &&
                       absl::StrContains(status.message(), "after the fork");
  if (!refused) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return refused;
}

struct Setting {
  const char* name;
  bool tls;
  Concurrency concurrency;
};

void PrintTo(const Setting& setting, std::ostream* os) { *os << setting.name; }

class ForkTest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
#ifdef ABSL_HAVE_THREAD_SANITIZER
    GTEST_SKIP() << "ThreadSanitizer does not fork with threads";
#endif
    HttpServerOptions options;
    options.tls = GetParam().tls;
    auto server = HttpServer::Start(options);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
    url_ = server_->url("/bytes?n=1000");
    ca_pem_ = server_->ca_pem();
    share_ = NewShare();
  }

  static std::unique_ptr<Share> NewShare() {
    ShareOptions options;
    options.lock_data = LockDataSet::Available();
    options.concurrency = GetParam().concurrency;
    return Share::Create(options).value();
  }
  // In `share`, unless that is null.
  Easy NewEasy(Share* share) const {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.SetUrl(url_));
    if (!ca_pem_.empty()) {
      EXPECT_OK(easy.SetCaCertificates(ca_pem_));
    }
    if (share != nullptr) {
      EXPECT_OK(easy.Attach(*share));
    }
    return easy;
  }
  CurlPtr NewCurl() {
    CurlPtr curl(curl_easy_init());
    curl_easy_setopt(curl.get(), CURLOPT_URL, url_.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    const curl_write_callback drop = [](char*, size_t size, size_t count,
                                        void*) { return size * count; };
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop);
    if (!ca_pem_.empty()) {
      curl_blob blob = {ca_pem_.data(), ca_pem_.size(), CURL_BLOB_COPY};
      curl_easy_setopt(curl.get(), CURLOPT_CAINFO_BLOB, &blob);
    }
    return curl;
  }
  // What the server has counted since the last call.
  int Requests() {
    const int all = server_->counts().requests;
    return all - std::exchange(requests_, all);
  }
  int Connections() {
    const int all = server_->counts().connections;
    return all - std::exchange(connections_, all);
  }

  std::unique_ptr<HttpServer> server_;
  std::string url_;
  std::string ca_pem_;
  std::unique_ptr<Share> share_;

 private:
  int requests_ = 0;
  int connections_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    All, ForkTest,
    ::testing::Values(Setting{"Http", false, Concurrency::kUnchecked},
                      Setting{"HttpGated", false, Concurrency::kGated},
                      Setting{"Tls", true, Concurrency::kUnchecked},
                      Setting{"TlsGated", true, Concurrency::kGated}),
    [](const auto& test) { return test.param.name; });

// ---- What has transferred

// Every call of an Easy that could come near libcurl.
void ExpectAllRefused(Easy& easy, const std::string& url) {
  CHECK_THAT(IsRefused(easy.Fetch(url).status()));
  CHECK_THAT(IsRefused(easy.Perform()));
  CHECK_THAT(IsRefused(easy.SetUrl(url)));
  CHECK_THAT(IsRefused(easy.SetHeaders({"A: b"})));
  CHECK_THAT(IsRefused(easy.SetSink(nullptr)));
  CHECK_THAT(IsRefused(easy.GetHeaders().status()));
  CHECK_THAT(IsRefused(easy.GetInfo<CURLINFO_RESPONSE_CODE>().status()));
  CHECK_THAT(IsRefused(easy.Reset()));
  CHECK_THAT(IsRefused(easy.Duplicate().status()));
  CHECK_THAT(IsRefused(easy.BeginUse().status()));
  CHECK_THAT(IsRefused(easy.Detach()));
  CHECK_THAT(!easy.Cancel());
  CHECK_THAT(!easy.Resume());
  CHECK_THAT(easy.share() == nullptr);
  CHECK_THAT(easy.native_handle() == nullptr);
}

TEST_P(ForkTest, AnEasyInAShareIsRefusedAndTheParentGoesOn) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  EXPECT_EQ(Requests(), 1);
  EXPECT_TRUE(HoldsInAChild([&] {
    ExpectAllRefused(easy, url_);
    const auto own = NewShare();
    CHECK_THAT(IsRefused(easy.Attach(*own)));
  }));
  EXPECT_EQ(Requests(), 0);
  auto response = easy.Fetch(url_);
  ASSERT_OK(response.status());
  EXPECT_TRUE(response->connection_reused);
  EXPECT_EQ(Connections(), 1);
  EXPECT_EQ(easy.share(), share_.get());
}

TEST_P(ForkTest, AnEasyWithoutAShareIsRefusedAndTheParentGoesOn) {
  Easy easy = NewEasy(nullptr);
  ASSERT_OK(easy.Fetch(url_).status());
  EXPECT_EQ(Requests(), 1);
  EXPECT_TRUE(HoldsInAChild([&] {
    ExpectAllRefused(easy, url_);
    CHECK_THAT(IsRefused(easy.Attach(*share_)));  // which has not transferred
  }));
  EXPECT_EQ(Requests(), 0);
  auto response = easy.Fetch(url_);
  ASSERT_OK(response.status());
  EXPECT_TRUE(response->connection_reused);
  EXPECT_EQ(Connections(), 1);
}

TEST_P(ForkTest, ARawHandleIsRefusedAndTheParentGoesOn) {
  const CurlPtr curl = NewCurl();
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(attachment->Perform());
  EXPECT_EQ(Requests(), 1);
  EXPECT_TRUE(HoldsInAChild([&] {
    CHECK_THAT(IsRefused(attachment->Perform()));
    CHECK_THAT(IsRefused(attachment->BeginUse().status()));
    CHECK_THAT(IsRefused(attachment->BeginTransfer().status()));
    CHECK_THAT(IsRefused(attachment->Detach()));
    CHECK_THAT(!attachment->Cancel());
    CHECK_THAT(!attachment->attached());
    CHECK_THAT(attachment->handle() == curl.get());
    const auto own = NewShare();
    CHECK_THAT(IsRefused(own->Attach(curl.get()).status()));
  }));
  EXPECT_EQ(Requests(), 0);
  EXPECT_OK(attachment->Perform());
  EXPECT_EQ(Connections(), 1);
  EXPECT_TRUE(attachment->attached());
}

TEST_P(ForkTest, ATransferOfTheOwnersCountsToo) {
  if (share_->gated()) GTEST_SKIP() << "refuses BeginTransfer";
  const CurlPtr curl = NewCurl();
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  {
    auto transfer = attachment->BeginTransfer();
    ASSERT_OK(transfer.status());
    ASSERT_OK(transfer->End(curl_easy_perform(curl.get())));
  }
  EXPECT_TRUE(HoldsInAChild([&] {
    CHECK_THAT(IsRefused(attachment->Perform()));
    CHECK_THAT(IsRefused(attachment->BeginTransfer().status()));
    CHECK_THAT(IsRefused(share_->Close()));
  }));
  EXPECT_EQ(Requests(), 1);
}

TEST_P(ForkTest, AShareIsRefusedAndTheParentGoesOn) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  const std::string name = share_->name();
  EXPECT_TRUE(HoldsInAChild([&] {
    CHECK_THAT(IsRefused(share_->Close()));
    CHECK_THAT(IsRefused(share_->CloseNow()));
    CHECK_THAT(IsRefused(share_->Enable({})));
    CHECK_THAT(IsRefused(share_->Disable(LockData::kDns)));
    CHECK_THAT(IsRefused(share_->ExportCookies().status()));
    CHECK_THAT(IsRefused(share_->ImportCookies("")));
    CHECK_THAT(IsRefused(share_->ExportTlsSessions().status()));
    CHECK_THAT(IsRefused(share_->ImportTlsSessions("")));
    CHECK_THAT(share_->CloseIdleConnections() == 0);
    Easy own = NewEasy(nullptr);
    CHECK_THAT(IsRefused(own.Attach(*share_)));
    CHECK_THAT(own.Fetch(url_).ok());  // on its own
    const CurlPtr curl = NewCurl();
    CHECK_THAT(IsRefused(share_->Attach(curl.get()).status()));
    CHECK_THAT(share_->Attach(nullptr).status().code() ==
               absl::StatusCode::kInvalidArgument);
    // What cannot be an error.
    CHECK_THAT(share_->lock_data().empty());
    CHECK_THAT(!share_->gated());
    CHECK_THAT(share_->attached() == 0);
    CHECK_THAT(!share_->closed());
    CHECK_THAT(share_->stats().connections.opened == 0);
    CHECK_THAT(share_->stats().lock_data.empty());
    CHECK_THAT(share_->name() == name);
  }));
  EXPECT_EQ(share_->attached(), 1U);
  EXPECT_EQ(Connections(), 2);  // its own
  EXPECT_OK(easy.Fetch(url_).status());
  EXPECT_EQ(Connections(), 0);
  EXPECT_OK(share_->Close());
}

// It could not leave the share without touching it.
TEST_P(ForkTest, AHandleThatHasNotTransferredIsRefusedWhereItsShareHas) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  Easy fresh = NewEasy(share_.get());
  const CurlPtr curl = NewCurl();
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_TRUE(HoldsInAChild([&] {
    ExpectAllRefused(fresh, url_);
    CHECK_THAT(IsRefused(attachment->Perform()));
    CHECK_THAT(IsRefused(attachment->BeginUse().status()));
    CHECK_THAT(!attachment->attached());
  }));
  EXPECT_EQ(Requests(), 1);
  EXPECT_OK(fresh.Fetch(url_).status());
  EXPECT_OK(attachment->Perform());
}

// A close could not take that handle out.
TEST_P(ForkTest, AShareIsRefusedWhereAHandleInItHasTransferredBefore) {
  Easy easy = NewEasy(nullptr);
  ASSERT_OK(easy.Fetch(url_).status());
  ASSERT_OK(easy.Attach(*share_));
  EXPECT_TRUE(HoldsInAChild([&] {
    CHECK_THAT(IsRefused(share_->Close()));
    CHECK_THAT(IsRefused(easy.Perform()));
  }));
  EXPECT_OK(share_->Close());
}

TEST_P(ForkTest, ATransferUnderWayIsNotTheChilds) {
  Easy easy = NewEasy(share_.get());
  std::thread other(
      [&] { easy.Fetch(server_->url("/stall")).status().IgnoreError(); });
  EXPECT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(20)));
  EXPECT_TRUE(HoldsInAChild([&] {
    ExpectAllRefused(easy, url_);
    CHECK_THAT(IsRefused(share_->CloseNow()));
    std::optional<Easy> gone(std::move(easy));
    gone.reset();
    share_.reset();
  }));
  EXPECT_TRUE(easy.Cancel());
  other.join();
}

TEST_P(ForkTest, WhatAThreadOfTheParentHoldsIsNotWaitedFor) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  Easy fresh = NewEasy(share_.get());
  absl::Notification inside;
  absl::Notification done;
  // Inside the gate, where there is one, and the handle's holder.
  std::thread other([&] {
    auto use = easy.BeginUse();
    inside.Notify();
    done.WaitForNotification();
  });
  inside.WaitForNotification();
  EXPECT_TRUE(HoldsInAChild([&] {
    ExpectAllRefused(easy, url_);
    ExpectAllRefused(fresh, url_);
    CHECK_THAT(IsRefused(share_->Close()));
    CHECK_THAT(share_->CloseIdleConnections() == 0);
    std::optional<Easy> gone(std::move(fresh));
    gone.reset();
    gone.emplace(std::move(easy));
    gone.reset();
    share_.reset();
  }));
  done.Notify();
  other.join();
  EXPECT_OK(share_->Close());
}

// ---- Destruction

// TLS would say goodbye on the parent's connection.
TEST_P(ForkTest, DestructionInAChildLeavesTheParentsConnectionsAlone) {
  std::optional<Easy> alone = NewEasy(nullptr);
  std::optional<Easy> easy = NewEasy(share_.get());
  std::optional<Easy> fresh = NewEasy(share_.get());
  const CurlPtr curl = NewCurl();
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  ASSERT_OK(alone->Fetch(url_).status());
  ASSERT_OK(easy->Fetch(url_).status());
  ASSERT_OK(attachment->Perform());
  const int connections = Connections();
  EXPECT_TRUE(HoldsInAChild([&] {
    easy.reset();
    share_.reset();
    *alone = NewEasy(nullptr);  // by assignment
    CHECK_THAT(alone->Fetch(url_).ok());
    fresh.reset();
    attachment = Attachment();
  }));
  EXPECT_TRUE(HoldsInAChild([&] {
    share_.reset();
    attachment = Attachment();
    fresh.reset();
    alone.reset();
    easy.reset();
    // The owner of a CURL* may have freed it: another may have its address.
    const auto own = NewShare();
    auto again = own->Attach(curl.get());
    CHECK_THAT(again.ok());
    CHECK_THAT(again->attached());
  }));
  EXPECT_EQ(Connections(), 1);  // the first child's own
  for (Easy* each : {&*alone, &*easy}) {
    auto response = each->Fetch(url_);
    ASSERT_OK(response.status());
    EXPECT_TRUE(response->connection_reused);
  }
  EXPECT_OK(attachment->Perform());
  EXPECT_OK(fresh->Fetch(url_).status());
  EXPECT_LE(Connections(), 3 - connections);
  EXPECT_EQ(share_->attached(), 3U);
  EXPECT_OK(share_->Close());
}

// ---- What has not transferred

// As in a program that prepares everything, then becomes a daemon.
TEST_P(ForkTest, WhatHasNotTransferredWorksInParentAndChild) {
  std::optional<Easy> alone = NewEasy(nullptr);
  std::optional<Easy> easy = NewEasy(share_.get());
  const CurlPtr curl = NewCurl();
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  const auto use_all = [&] {
    CHECK_THAT(easy->share() == share_.get());
    CHECK_THAT(easy->SetHeaders({"A: b"}).ok());
    CHECK_THAT(share_->attached() == 2);
    CHECK_THAT(share_->lock_data() == LockDataSet::Available());
    CHECK_THAT(easy->Fetch(url_).ok());
    CHECK_THAT(attachment->Perform().ok());
    CHECK_THAT(alone->Fetch(url_).ok());
    Easy more = NewEasy(share_.get());
    CHECK_THAT(more.Fetch(url_).ok());
    CHECK_THAT(share_->stats().connections.opened > 0);
    CHECK_THAT(share_->Disable(LockData::kDns).ok());
    CHECK_THAT(easy->Fetch(url_).ok());
    CHECK_THAT(attachment->Detach().ok());
    easy.reset();
    alone.reset();
    CHECK_THAT(share_->Close().ok());
    CHECK_THAT(share_->closed());
    CHECK_THAT(more.Fetch(url_).ok());
    share_.reset();
  };
  EXPECT_TRUE(HoldsInAChild(use_all));
  EXPECT_TRUE(HoldsInAChild(use_all)) << "for a second child, as for the first";
  use_all();
  EXPECT_EQ(Requests(), 18);
}

TEST_P(ForkTest, AShareThatHasNotTransferredClosesInTheChild) {
  Easy easy = NewEasy(share_.get());
  EXPECT_TRUE(HoldsInAChild([&] {
    CHECK_THAT(share_->Close().ok());
    CHECK_THAT(easy.share() == nullptr);
    CHECK_THAT(easy.Fetch(url_).ok());
  }));
  EXPECT_OK(easy.Fetch(url_).status());
}

// ---- What the child makes

TEST_P(ForkTest, WhatAChildMakesItselfWorks) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  EXPECT_TRUE(HoldsInAChild([&] {
    const auto own = NewShare();
    Easy fresh = NewEasy(own.get());
    CHECK_THAT(fresh.Fetch(url_).ok());
    CHECK_THAT(fresh.Fetch(url_)->connection_reused);
    const CurlPtr curl = NewCurl();
    auto attachment = own->Attach(curl.get());
    CHECK_THAT(attachment.ok());
    CHECK_THAT(attachment->Perform().ok());
    CHECK_THAT(attachment->Detach().ok());
    CHECK_THAT(own->attached() == 1);
    CHECK_THAT(own->Close().ok());
  }));
  EXPECT_EQ(Requests(), 4);
}

TEST_P(ForkTest, AChildOfAChildIsRefusedWhatBothHaveUsed) {
  Easy easy = NewEasy(share_.get());
  ASSERT_OK(easy.Fetch(url_).status());
  const auto unused = NewShare();
  Easy for_grandchild = NewEasy(unused.get());
  EXPECT_TRUE(HoldsInAChild([&] {
    const auto own = NewShare();
    Easy fresh = NewEasy(own.get());
    CHECK_THAT(fresh.Fetch(url_).ok());
    CHECK_THAT(HoldsInAChild([&] {
      ExpectAllRefused(easy, url_);
      ExpectAllRefused(fresh, url_);
      CHECK_THAT(IsRefused(share_->Close()));
      CHECK_THAT(IsRefused(own->Close()));
      CHECK_THAT(for_grandchild.Fetch(url_).ok());
      CHECK_THAT(unused->Close().ok());
    }));
    CHECK_THAT(IsRefused(share_->Close()));
    CHECK_THAT(fresh.Fetch(url_)->connection_reused);
    CHECK_THAT(for_grandchild.Fetch(url_).ok());
    CHECK_THAT(own->Close().ok());
  }));
  EXPECT_EQ(Requests(), 5);
  EXPECT_OK(easy.Fetch(url_).status());
  EXPECT_OK(for_grandchild.Fetch(url_).status());
}

}  // namespace
}  // namespace curlshare
