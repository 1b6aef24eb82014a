// SPDX-License-Identifier: Apache-2.0
// What a share exports, another takes in: by what a server saw of it, also
// after a restart of the process.
#include <curl/curl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/temp_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

extern char** environ;

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::curlshare::testing::TempFile;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  auto server = HttpServer::Start(options);
  EXPECT_OK(server.status());
  return *std::move(server);
}

std::unique_ptr<Share> NewShare(LockDataSet kinds,
                                Concurrency concurrency = Concurrency::kAuto) {
  ShareOptions options;
  options.lock_data = kinds;
  options.concurrency = concurrency;
  auto share = Share::Create(options);
  EXPECT_OK(share.status());
  return *std::move(share);
}

constexpr LockDataSet kBoth{LockData::kCookie, LockData::kSslSession};

// The body of `url`, by a new handle in `share` on a new connection.
std::string Get(Share& share, const std::string& url, const std::string& ca) {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  EXPECT_OK(easy->Attach(share));
  if (!ca.empty()) {
    EXPECT_OK(easy->SetCaCertificates(ca));
  }
  auto response = easy->Fetch(url);
  EXPECT_OK(response.status());
  return response.ok() ? response->body : "";
}

bool CanSaveTlsSessions() {
  return RunningLibcurl().version_num >= LibcurlVersion(8, 12, 0);
}

class SavedStateTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(InitLibcurl()); }
};

// ---- Into another share

TEST_F(SavedStateTest, CookiesAreSentByTheNextShare) {
  const auto server = NewServer(/*tls=*/false);
  const auto first = NewShare(LockData::kCookie);
  Get(*first, server->url("/cookie/set?name=session&value=s"), "");
  Get(*first, server->url("/cookie/set?name=lasting&value=l&max_age=999"), "");
  const auto cookies = first->ExportCookies();
  ASSERT_OK(cookies.status());

  const auto second = NewShare(LockData::kCookie);
  EXPECT_EQ(Get(*second, server->url("/cookie/show"), ""), "");
  ASSERT_OK(second->ImportCookies(*cookies));
  EXPECT_THAT(Get(*second, server->url("/cookie/show"), ""),
              AllOf(HasSubstr("session=s"), HasSubstr("lasting=l")));
  EXPECT_THAT(second->ExportCookies(), IsOkAndHolds(*cookies));
  // Once more, with another value.
  ASSERT_OK(second->ImportCookies("127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tS"));
  EXPECT_THAT(Get(*second, server->url("/cookie/show"), ""),
              AllOf(HasSubstr("session=S"), HasSubstr("lasting=l")));
}

// "localhost" is a public suffix; a server there may still name it as Domain.
TEST_F(SavedStateTest, CookiesOfAPublicSuffixComeBack) {
  const auto server = NewServer(/*tls=*/false);
  const auto first = NewShare(LockData::kCookie);
  Get(*first, server->url("/cookie/set?name=a&value=1&domain=1", "localhost"),
      "");
  const auto cookies = first->ExportCookies();
  ASSERT_OK(cookies.status());
  const auto second = NewShare(LockData::kCookie);
  ASSERT_OK(second->ImportCookies(*cookies));
  EXPECT_EQ(Get(*second, server->url("/cookie/show", "localhost"), ""), "a=1");
}

TEST_F(SavedStateTest, ABadLineChangesNothing) {
  const auto share = NewShare(LockData::kCookie);
  ASSERT_OK(share->ImportCookies("me.test\tFALSE\t/\tFALSE\t0\ta\t1\n"));
  const auto before = share->ExportCookies();
  ASSERT_OK(before.status());
  EXPECT_THAT(*before, HasSubstr("me.test"));
  for (const char* bad : {"Set-Cookie: c=3", ".co.uk\tTRUE\t/\tFALSE\t0\tc\t3",
                          "me.test\tFALSE\t/\tFALSE\t0\tc\t\x01"}) {
    EXPECT_THAT(
        share->ImportCookies(
            absl::StrCat("me.test\tFALSE\t/\tFALSE\t0\tb\t2\n", bad, "\n")),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2 ")));
    EXPECT_EQ(share->ExportCookies(), before);
  }
}

TEST_F(SavedStateTest, TlsSessionsAreResumedByTheNextShare) {
  const auto server = NewServer(/*tls=*/true);
  const auto first = NewShare(LockData::kSslSession);
  if (!CanSaveTlsSessions()) {
    EXPECT_THAT(first->ExportTlsSessions().status(),
                StatusIs(absl::StatusCode::kUnimplemented));
    EXPECT_THAT(first->ImportTlsSessions(""),
                StatusIs(absl::StatusCode::kUnimplemented));
    return;
  }
  Get(*first, server->url("/"), server->ca_pem());
  const auto sessions = first->ExportTlsSessions();
  ASSERT_OK(sessions.status());
  EXPECT_THAT(*sessions, Not(HasSubstr("127.0.0.1")));

  const auto second = NewShare(LockData::kSslSession);
  ASSERT_OK(second->ImportTlsSessions(*sessions));
  // Also when it was not used in between.
  const auto again = second->ExportTlsSessions();
  ASSERT_OK(again.status());
  const auto third = NewShare(LockData::kSslSession);
  ASSERT_OK(third->ImportTlsSessions(*again));
  server->ResetCounts();
  Get(*third, server->url("/"), server->ca_pem());
  EXPECT_EQ(server->counts().tls_full, 0);
  EXPECT_EQ(server->counts().tls_resumed, 1);
  EXPECT_EQ(third->stats().dropped_unlocks, 0u);

  // A bad line takes the good ones before it along.
  const auto fourth = NewShare(LockData::kSslSession);
  EXPECT_THAT(
      fourth->ImportTlsSessions(absl::StrCat(*sessions, "cGVlcg== cGVlcg==\n")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line ")));
  server->ResetCounts();
  Get(*fourth, server->url("/"), server->ca_pem());
  EXPECT_EQ(server->counts().tls_full, 1);
}

// ---- Into another process

// What the child processes are told.
constexpr char kUrl[] = "CURL_SHARE_TEST_URL";  // with the path /
constexpr char kCa[] = "CURL_SHARE_TEST_CA";    // a file
constexpr char kCookies[] = "CURL_SHARE_TEST_COOKIES";
constexpr char kSessions[] = "CURL_SHARE_TEST_SESSIONS";

std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Run by RunsInAProcess alone.
class SavedStateChild : public ::testing::Test {
 protected:
  void SetUp() override {
    alarm(60);  // Whatever happens, it ends.
    ca_ = ReadFile(Setting(kCa));
    ASSERT_FALSE(ca_.empty());
  }
  std::string url(absl::string_view target) const {
    return absl::StrCat(Setting(kUrl), target.substr(1));
  }
  std::string ca_;
};

TEST_F(SavedStateChild, DISABLED_Leaves) {
  const auto share = NewShare(kBoth);
  Get(*share, url("/cookie/set?name=a&value=1"), ca_);
  const auto cookies = share->ExportCookies();
  ASSERT_OK(cookies.status());
  WriteFile(Setting(kCookies), *cookies);
  if (!CanSaveTlsSessions()) return;
  const auto sessions = share->ExportTlsSessions();
  ASSERT_OK(sessions.status());
  WriteFile(Setting(kSessions), *sessions);
}

TEST_F(SavedStateChild, DISABLED_ComesBack) {
  const auto share = NewShare(kBoth);
  ASSERT_OK(share->ImportCookies(ReadFile(Setting(kCookies))));
  if (CanSaveTlsSessions()) {
    ASSERT_OK(share->ImportTlsSessions(ReadFile(Setting(kSessions))));
  }
  EXPECT_EQ(Get(*share, url("/cookie/show"), ca_), "a=1");
}

// Whether a test of SavedStateChild passes in a process of its own.
bool RunsInAProcess(const std::string& test) {
  const std::string filter =
      absl::StrCat("--gtest_filter=SavedStateChild.DISABLED_", test);
  std::string program = "/proc/self/exe";
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::string which = filter;
  char* const arguments[] = {program.data(), which.data(), disabled.data(),
                             nullptr};
  std::vector<char*> settings;
  for (char** setting = environ; *setting != nullptr; ++setting) {
    // The results are this process's to write.
    if (absl::string_view(*setting).substr(0, 4) != "XML_" &&
        absl::string_view(*setting).substr(0, 5) != "TEST_" &&
        absl::string_view(*setting).substr(0, 6) != "GTEST_") {
      settings.push_back(*setting);
    }
  }
  settings.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments,
                  settings.data()) != 0) {
    return false;
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

TEST_F(SavedStateTest, ComesThroughARestart) {
  const auto server = NewServer(/*tls=*/true);
  const TempFile ca;
  const TempFile cookies;
  const TempFile sessions;
  WriteFile(ca.path(), server->ca_pem());
  setenv(kUrl, server->url("/").c_str(), 1);
  setenv(kCa, ca.path().c_str(), 1);
  setenv(kCookies, cookies.path().c_str(), 1);
  setenv(kSessions, sessions.path().c_str(), 1);
  ASSERT_TRUE(RunsInAProcess("Leaves"));
  EXPECT_EQ(server->counts().tls_full, 1);
  server->ResetCounts();
  ASSERT_TRUE(RunsInAProcess("ComesBack"));
  EXPECT_EQ(server->counts().tls_resumed, CanSaveTlsSessions() ? 1 : 0);
  EXPECT_EQ(server->counts().tls_full, CanSaveTlsSessions() ? 0 : 1);
}

// ---- Where it is refused

// All four.
std::vector<absl::Status> TryAll(Share& share) {
  return {share.ExportCookies().status(), share.ImportCookies("rubbish"),
          share.ExportTlsSessions().status(),
          share.ImportTlsSessions("rubbish")};
}

TEST_F(SavedStateTest, IsRefusedWhereTheKindIsNotShared) {
  const auto share = NewShare(LockData::kDns);
  for (const absl::Status& status : TryAll(*share)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("does not share"),
                                       HasSubstr("Enable"))));
  }
  ASSERT_OK(share->Enable(kBoth));
  EXPECT_OK(share->ExportCookies().status());
  ASSERT_OK(share->Disable(LockData::kCookie));
  EXPECT_THAT(share->ExportCookies().status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SavedStateTest, IsRefusedOnceTheShareIsClosed) {
  const auto share = NewShare(kBoth);
  ASSERT_OK(share->Close());
  for (const absl::Status& status : TryAll(*share)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("closed")));
  }
}

TEST_F(SavedStateTest, IsRefusedUnderALock) {
  const auto share = NewShare(kBoth);
  KindLocks locks;
  KindLocks::Lock(nullptr, CURL_LOCK_DATA_DNS, CURL_LOCK_ACCESS_SINGLE, &locks);
  const std::vector<absl::Status> all = TryAll(*share);
  KindLocks::Unlock(nullptr, CURL_LOCK_DATA_DNS, &locks);
  for (const absl::Status& status : all) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("lock")));
  }
}

TEST_F(SavedStateTest, WorksFromACallback) {
  for (const Concurrency concurrency :
       {Concurrency::kAuto, Concurrency::kGated}) {
    const auto server = NewServer(/*tls=*/false);
    const auto share = NewShare(LockData::kCookie, concurrency);
    auto easy = Easy::Create();
    ASSERT_OK(easy.status());
    ASSERT_OK(easy->Attach(*share));
    ASSERT_OK(easy->SetUrl(server->url("/cookie/set?name=a&value=1")));
    std::string cookies;
    ASSERT_OK(easy->SetSink([&](absl::string_view) {
      EXPECT_OK(share->ImportCookies("me.test\tFALSE\t/\tFALSE\t0\tb\t2\n"));
      cookies = share->ExportCookies().value_or("");
      return absl::OkStatus();
    }));
    EXPECT_OK(easy->Perform());
    EXPECT_THAT(cookies, AllOf(HasSubstr("\ta\t1"), HasSubstr("\tb\t2")));
  }
}

// ---- In a share in use

// For ThreadSanitizer: exports, imports, transfers and changes.
void UseAtOnce(Concurrency concurrency) {
  const auto server = NewServer(/*tls=*/true);
  std::string sessions;
  {
    const auto share = NewShare(LockData::kSslSession);
    Get(*share, server->url("/"), server->ca_pem());
    sessions = share->ExportTlsSessions().value_or("");
  }
  const auto share = NewShare(kBoth, concurrency);
  std::atomic<int> running{4};
  std::atomic<int> exports{0};
  RunThreads(6, [&](int thread) {
    if (thread < 2) {
      auto easy = Easy::Create();
      ASSERT_OK(easy.status());
      ASSERT_OK(easy->Attach(*share));
      ASSERT_OK(easy->SetCaCertificates(server->ca_pem()));
      ASSERT_OK(easy->SetOption<CURLOPT_FORBID_REUSE>(true));
      for (int i = 0; i < 20; ++i) {
        EXPECT_OK(easy->Fetch(server->url(absl::StrCat("/cookie/set?name=n", i,
                                                       "&value=", thread)))
                      .status());
      }
    } else if (thread < 4) {
      for (int i = 0; i < 20; ++i) {
        EXPECT_OK(share->ImportCookies(
            absl::StrCat("me.test\tFALSE\t/\tFALSE\t0\tm", i, "\t1\n",
                         "127.0.0.1\tFALSE\t/\tFALSE\t0\tn", i, "\tx\n")));
        if (CanSaveTlsSessions()) {
          EXPECT_OK(share->ImportTlsSessions(sessions));
        }
      }
    } else if (thread == 4) {
      while (running > 0) {
        EXPECT_OK(share->ExportCookies().status());
        if (CanSaveTlsSessions()) {
          EXPECT_OK(share->ExportTlsSessions().status());
        }
        ++exports;
      }
    } else {
      // Each of the two kinds of generation is exported from.
      auto wait_for_an_export = [&, seen = 0]() mutable {
        while (exports == seen && running > 0) std::this_thread::yield();
        seen = exports;
      };
      while (running > 0) {
        EXPECT_OK(share->Enable(LockData::kDns));
        wait_for_an_export();
        EXPECT_OK(share->Disable(LockData::kDns));
        wait_for_an_export();
      }
    }
    --running;
  });
  EXPECT_EQ(share->stats().dropped_unlocks, 0u);
}

// With kOk it has freed the CURLSH, also where an export was reading it.
TEST_F(SavedStateTest, ACloseWaitsForWhatIsUnderWay) {
  for (int round = 0; round < 50; ++round) {
    const int64_t live_before = ShareHandle::live_count();
    const auto share = NewShare(LockData::kCookie);
    std::string many;
    for (int i = 0; i < 100; ++i) {
      absl::StrAppend(&many, "me.test\tFALSE\t/\tFALSE\t0\ta", i, "\t1\n");
    }
    ASSERT_OK(share->ImportCookies(many));
    std::atomic<int> exports{0};
    RunThreads(3, [&](int thread) {
      if (thread == 0) {
        // Amid another export in each round.
        while (exports < round) std::this_thread::yield();
        EXPECT_OK(share->Close(absl::Now() + absl::Seconds(20)));
        EXPECT_EQ(ShareHandle::live_count(), live_before);
        return;
      }
      absl::Status status;
      while (status.ok()) {
        ++exports;
        status = share->ExportCookies().status();
      }
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
    });
  }
}

TEST_F(SavedStateTest, HappensInTheGate) {
  const auto share = NewShare(kBoth, Concurrency::kGated);
  const auto entered = [&](const absl::Status& status) {
    EXPECT_OK(status);
    return share->stats().gate.taken;
  };
  EXPECT_EQ(share->stats().gate.taken, 0u);
  EXPECT_EQ(entered(share->ExportCookies().status()), 1u);
  EXPECT_EQ(entered(share->ImportCookies("")), 2u);
  if (!CanSaveTlsSessions()) return;
  EXPECT_EQ(entered(share->ExportTlsSessions().status()), 3u);
  EXPECT_EQ(entered(share->ImportTlsSessions("")), 4u);
}

TEST_F(SavedStateTest, IsSafeInAShareInUse) { UseAtOnce(Concurrency::kAuto); }
TEST_F(SavedStateTest, IsSafeInAGatedShareInUse) {
  UseAtOnce(Concurrency::kGated);
}

}  // namespace
}  // namespace curlshare
