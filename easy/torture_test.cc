// SPDX-License-Identifier: Apache-2.0
// Everything that can fail, fails once: each allocation of libcurl, each of
// this library, each call of libcurl, one at a time, in scenarios that between
// them use the whole library. Whatever fails, every call returns a Status,
// nothing leaks, no lock stays held, nothing hangs, and what exists afterwards
// works.
//
// A failure names its n: --gtest_filter=NAME with TORTURE_N=n in the
// environment runs that one alone.
#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/easy/form.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/internal/saved_tls_sessions.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/failure_injection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::FailNth;
using ::curlshare::testing::FailureLength;
using ::curlshare::testing::FailurePoint;
using ::curlshare::testing::FailureReport;
using ::curlshare::testing::FailureScope;
using ::curlshare::testing::FailuresSoFar;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::LiveLibcurlAllocations;
using ::curlshare::testing::LiveScopedAllocations;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StopFailing;

// Far more than a run takes.
constexpr absl::Duration kLongestRun = absl::Seconds(60);

absl::Time Soon() { return absl::Now() + kLongestRun / 2; }

// Ends the process where a run hangs, telling which.
class Watchdog {
 public:
  Watchdog() : thread_([this] { Watch(); }) {}
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog() {
    done_.Notify();
    thread_.join();
  }

  void Start(int64_t n) {
    n_ = n;
    since_ = absl::ToUnixMillis(absl::Now());
  }

 private:
  void Watch() {
    while (!done_.WaitForNotificationWithTimeout(absl::Seconds(1))) {
      if (absl::Now() - absl::FromUnixMillis(since_) < kLongestRun) continue;
      std::fprintf(stderr, "the run with TORTURE_N=%lld hangs\n",
                   static_cast<long long>(n_.load()));
      std::abort();
    }
  }

  std::atomic<int64_t> n_{0};
  std::atomic<int64_t> since_{absl::ToUnixMillis(absl::Now())};
  absl::Notification done_;
  std::thread thread_;
};

// Counts the kind locks that are held, of all shares.
class HeldLocks final : public LockObserver {
 public:
  void OnLocked(curl_lock_data /*kind*/) noexcept override { ++held_; }
  void OnUnlocking(curl_lock_data /*kind*/) noexcept override { --held_; }
  int held() const { return held_; }

 private:
  std::atomic<int> held_{0};
};

// One run of a scenario: its calls of the library, each of which may fail where
// something was made to fail, and must not elsewhere.
class Attempt {
 public:
  Attempt(FailurePoint point, std::shared_ptr<HeldLocks> held)
      : point_(point), held_(std::move(held)) {}

  // What `call` returns. It is to be `expected`, unless something has failed.
  absl::Status Step(absl::string_view name,
                    absl::FunctionRef<absl::Status()> call,
                    absl::StatusCode expected = absl::StatusCode::kOk) {
    const bool failed_before = FailuresSoFar().failed;
    absl::Status status;
    {
      const FailureScope scope;
      status = call();
    }
    const FailureReport report = FailuresSoFar();
    if (status.code() == expected) return status;
    if (recovering_ || !report.failed) {
      ADD_FAILURE() << name << " returned " << status
                    << (recovering_ ? ", afterwards" : "")
                    << "; failed so far: " << report.what;
    } else if (point_ == FailurePoint::kOperatorNew && !failed_before &&
               !threads_) {
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted)
          << name << " returned " << status;
    }
    return status;
  }

  // From here on nothing fails, and every step succeeds.
  void Recover() {
    (void)StopFailing();
    recovering_ = true;
  }
  // Steps are on several threads: which one failed cannot be told.
  void set_threads() { threads_ = true; }

  // ---- What most scenarios do. Null where it failed.

  std::unique_ptr<Share> NewShare(ShareOptions options = {}) {
    options.lock_observer = held_;
    std::unique_ptr<Share> share;
    (void)Step("Share::Create", [&] {
      auto created = Share::Create(options);
      if (created.ok()) share = *std::move(created);
      return created.status();
    });
    return share;
  }

  std::optional<Easy> NewEasy() {
    std::optional<Easy> easy;
    (void)Step("Easy::Create", [&] {
      auto created = Easy::Create();
      if (created.ok()) easy = *std::move(created);
      return created.status();
    });
    return easy;
  }

  void Attach(Easy& easy, Share& share) {
    const size_t before = share.attached();
    const absl::Status status =
        Step("Easy::Attach", [&] { return easy.Attach(share); });
    if (status.ok()) {
      EXPECT_EQ(easy.share(), &share);
    } else if (!threads_) {
      EXPECT_EQ(easy.share(), nullptr) << status;
      EXPECT_EQ(share.attached(), before) << status;
    }
  }

  absl::Status Fetch(Easy& easy, const std::string& url) {
    return Step("Fetch", [&] { return easy.Fetch(url).status(); });
  }

  // Takes what is left to its end: all of it works.
  void RecoverWith(Share* share, std::optional<Easy>& easy,
                   const HttpServer& server) {
    Recover();
    if (easy.has_value()) {
      (void)Step("SetUrl", [&] { return easy->SetUrl(server.url("/")); });
      Trust(*easy, server);
      ExpectItFetches(*easy, server);
    }
    if (share == nullptr) return;
    std::optional<Easy> other = NewEasy();
    ASSERT_TRUE(other.has_value());
    Trust(*other, server);
    if (share->Enable({}).ok()) {  // open
      Attach(*other, *share);
      ExpectItFetches(*other, server);
      if (!share->options().detach_on_close) {
        if (easy.has_value() && easy->share() != nullptr) {
          EXPECT_OK(easy->Detach());
        }
        EXPECT_OK(other->Detach());
      }
    }
    EXPECT_OK(share->Close(Soon()));
    EXPECT_EQ(share->attached(), 0U);
    EXPECT_TRUE(share->closed());
    ExpectItFetches(*other, server);
  }

 private:
  static void ExpectItFetches(Easy& easy, const HttpServer& server) {
    const absl::StatusOr<Response> response =
        easy.Fetch(server.url("/bytes?n=10"));
    EXPECT_OK(response.status());
    if (response.ok()) {
      EXPECT_EQ(response->body.size(), 10U);
    }
  }

  static void Trust(Easy& easy, const HttpServer& server) {
    const std::string pem = server.ca_pem();
    if (!pem.empty()) {
      EXPECT_OK(easy.SetCaCertificates(pem));
    }
  }

  const FailurePoint point_;
  const std::shared_ptr<HeldLocks> held_;
  std::atomic<bool> recovering_{false};
  bool threads_ = false;
};

// The servers, for all runs.
struct Servers {
  std::unique_ptr<HttpServer> http = HttpServer::Start().value();
  std::unique_ptr<HttpServer> https = StartHttps();

  static std::unique_ptr<HttpServer> StartHttps() {
    HttpServerOptions options;
    options.tls = true;
    return HttpServer::Start(options).value();
  }
};

// ---- The scenarios

using Scenario = std::function<void(Attempt&, const Servers&)>;

ShareOptions Gated() {
  ShareOptions options;
  options.concurrency = Concurrency::kGated;
  return options;
}

ShareOptions Strict() {
  ShareOptions options;
  options.detach_on_close = false;
  return options;
}

// In one run a wait for what failed to leave; see Attempt::RecoverWith for the
// rest.
absl::Time InAMoment() { return absl::Now() + absl::Milliseconds(20); }

// Before, curl_easy_reset returns nothing where it finds no memory, leaving
// options without their defaults; and 7.88 leaks the list of cookie files.
bool ResetIsSound() {
  return RunningLibcurl().version_num >= LibcurlVersion(8, 21, 0);
}

// Without memory, 7.88.1 frees what belongs to others: in Curl_ssl_addsessionid
// a session's host twice, in curl_easy_duphandle the original's list of cookie
// files. 8.14.1 does not.
bool SessionsAndDuplicatesAreSound() {
  return RunningLibcurl().version_num >= LibcurlVersion(8, 14, 1);
}

enum class End { kClose, kCloseNow, kDestroyShare, kDestroyEasy, kDetach };

Scenario Transfer(ShareOptions options, End end) {
  return [options, end](Attempt& run, const Servers& servers) {
    const std::string url = servers.http->url("/bytes?n=100000");
    std::unique_ptr<Share> share = run.NewShare(options);
    std::optional<Easy> easy = run.NewEasy();
    if (share != nullptr && easy.has_value()) {
      run.Attach(*easy, *share);
      (void)run.Fetch(*easy, url);
      (void)run.Fetch(*easy, url);
      switch (end) {
        case End::kClose:
          (void)run.Step(
              "Close", [&] { return share->Close(InAMoment()); },
              options.detach_on_close ? absl::StatusCode::kOk
                                      : absl::StatusCode::kFailedPrecondition);
          break;
        case End::kCloseNow:
          (void)run.Step("CloseNow",
                         [&] { return share->CloseNow(InAMoment()); });
          break;
        case End::kDetach:
          (void)run.Step("Detach", [&] { return easy->Detach(); });
          break;
        case End::kDestroyShare: {
          const FailureScope scope;
          share = nullptr;
          break;
        }
        case End::kDestroyEasy: {
          const FailureScope scope;
          easy.reset();
          break;
        }
      }
    }
    run.RecoverWith(share.get(), easy, *servers.http);
  };
}

// Every kind, over TLS, with a gate: cookies, HSTS, connections.
void AllKinds(Attempt& run, const Servers& servers) {
  const HttpServer& server =
      SessionsAndDuplicatesAreSound() ? *servers.https : *servers.http;
  ShareOptions options;
  options.lock_data = LockDataSet::Available();
  std::unique_ptr<Share> share = run.NewShare(options);
  std::optional<Easy> easy = run.NewEasy();
  std::optional<Easy> other = run.NewEasy();
  if (share != nullptr && easy.has_value() && other.has_value()) {
    const std::string pem = server.ca_pem();
    for (Easy* each : {&*easy, &*other}) {
      if (!pem.empty()) {
        (void)run.Step("SetCaCertificates",
                       [&] { return each->SetCaCertificates(pem); });
      }
      run.Attach(*each, *share);
    }
    (void)run.Fetch(*easy, server.url("/cookie/set?name=a&value=b"));
    (void)run.Fetch(*other, server.url("/hsts?max_age=1000", "localhost"));
    (void)run.Fetch(*easy, server.url("/cookie/show"));
    (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
  }
  run.RecoverWith(share.get(), easy, server);
}

// Threads that come, transfer and go, then a close.
Scenario Threads(ShareOptions options) {
  return [options](Attempt& run, const Servers& servers) {
    run.set_threads();
    std::unique_ptr<Share> share = run.NewShare(options);
    std::optional<Easy> none;
    if (share != nullptr) {
      const std::string url = servers.http->url("/bytes?n=1000", "localhost");
      RunThreads(3, [&](int /*i*/) {
        std::optional<Easy> easy = run.NewEasy();
        if (!easy.has_value()) return;
        run.Attach(*easy, *share);
        (void)run.Fetch(*easy, url);
        (void)run.Fetch(*easy, url);
        const FailureScope scope;
        easy.reset();
      });
      (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
    }
    run.RecoverWith(share.get(), none, *servers.http);
  };
}

// CloseNow ends a transfer that the server keeps waiting.
Scenario CancelByClose(ShareOptions options) {
  return [options](Attempt& run, const Servers& servers) {
    run.set_threads();
    const std::string url = servers.http->url("/stall?after=bytes");
    std::unique_ptr<Share> share = run.NewShare(options);
    std::optional<Easy> easy = run.NewEasy();
    if (share != nullptr && easy.has_value()) {
      run.Attach(*easy, *share);
      std::atomic<bool> ended{false};
      std::thread transfer([&] {
        const bool attached = easy->share() != nullptr;
        if (attached) {
          const absl::Status status = run.Step(
              "Fetch", [&] { return easy->Fetch(url).status(); },
              absl::StatusCode::kCancelled);
          EXPECT_FALSE(status.ok());
        }
        ended = true;
      });
      while (!ended && !servers.http->WaitForStalled(1, InAMoment())) {
      }
      // A wake-up that failed costs a second: see Handle::CancelLocked.
      (void)run.Step("CloseNow", [&] {
        return share->CloseNow(absl::Now() + absl::Milliseconds(1500));
      });
      transfer.join();
      servers.http->ReleaseStalled();
    }
    run.RecoverWith(share.get(), easy, *servers.http);
  };
}

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};

// A CURL* of the application's own.
Scenario RawAttachment(ShareOptions options) {
  return [options](Attempt& run, const Servers& servers) {
    const std::string url = servers.http->url("/bytes?n=1000");
    const std::unique_ptr<CURL, CurlDeleter> curl(curl_easy_init());
    if (curl == nullptr) return;
    const curl_write_callback drop = [](char*, size_t size, size_t count,
                                        void*) { return size * count; };
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    std::unique_ptr<Share> share = run.NewShare(options);
    std::optional<Easy> none;
    if (share != nullptr) {
      Attachment attachment;
      const auto attach = [&] {
        auto attached = share->Attach(curl.get());
        if (attached.ok()) attachment = *std::move(attached);
        return attached.status();
      };
      const size_t before = share->attached();
      if (!run.Step("Share::Attach", attach).ok()) {
        EXPECT_EQ(share->attached(), before);
      } else {
        (void)run.Step("BeginUse", [&] {
          auto use = attachment.BeginUse();
          if (!use.ok()) return use.status();
          return curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()) ==
                         CURLE_OK
                     ? absl::OkStatus()
                     : absl::ResourceExhaustedError("set by the test");
        });
        (void)run.Step("Perform", [&] { return attachment.Perform(); });
        (void)run.Step(
            "BeginTransfer",
            [&] {
              auto transfer = attachment.BeginTransfer();
              if (!transfer.ok()) return transfer.status();
              return transfer->End(curl_easy_perform(curl.get()));
            },
            share->gated() ? absl::StatusCode::kFailedPrecondition
                           : absl::StatusCode::kOk);
        (void)run.Step("Detach", [&] { return attachment.Detach(); });
        (void)run.Step("Share::Attach", attach);
        const FailureScope scope;
        attachment = Attachment();
      }
      // It went, or is as it was.
      run.Recover();
      EXPECT_EQ(share->attached(), 0U);
      if (run.Step("Share::Attach", attach).ok()) {
        (void)run.Step("BeginUse", [&] {
          auto use = attachment.BeginUse();
          curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
          return use.status();
        });
        (void)run.Step("Perform", [&] { return attachment.Perform(); });
      }
    }
    run.RecoverWith(share.get(), none, *servers.http);
  };
}

// Every kind of option and information, on a handle in a share.
void Options(Attempt& run, const Servers& servers) {
  std::unique_ptr<Share> share = run.NewShare();
  std::optional<Easy> easy = run.NewEasy();
  std::optional<Easy> copy;
  if (share != nullptr && easy.has_value()) {
    const std::string url = servers.http->url("/echo");
    const std::vector<std::string> headers = {"A: 1",
                                              "B: a value longer than "
                                              "what fits in a string"};
    const std::vector<std::string> resolve = {
        absl::StrCat("a.curlshare.test:", servers.http->port(), ":127.0.0.1")};
    const std::string body(1000, 'b');
    const std::vector<FormPart> form = {
        {"a", body}, FormPart::Content("b", "a file's name", body)};
    const Easy::Sink sink = [](absl::string_view) { return absl::OkStatus(); };
    const Easy::Source source = [](absl::Span<char>) { return size_t{0}; };
    const Easy::Progress progress = [](const TransferProgress&) {
      return absl::OkStatus();
    };
    const curl_debug_callback debug = [](CURL*, curl_infotype, char*, size_t,
                                         void*) { return 0; };
    run.Attach(*easy, *share);
    (void)run.Step("SetUrl", [&] { return easy->SetUrl(url); });
    (void)run.Step("SetMethod",
                   [&] { return easy->SetMethod("A-RATHER-LONG-METHOD"); });
    (void)run.Step("SetHeaders", [&] { return easy->SetHeaders(headers); });
    (void)run.Step("SetSecretHeaders",
                   [&] { return easy->SetSecretHeaders(headers); });
    (void)run.Step("SetSource", [&] { return easy->SetSource(source); });
    (void)run.Step("SetForm", [&] { return easy->SetForm(form); });
    (void)run.Step("SetBody", [&] { return easy->SetBody(body); });
    (void)run.Step("SetMaxBodySize",
                   [&] { return easy->SetMaxBodySize(1 << 20); });
    (void)run.Step("SetTimeout",
                   [&] { return easy->SetTimeout(absl::Seconds(50)); });
    (void)run.Step("SetFollowRedirects",
                   [&] { return easy->SetFollowRedirects(3); });
    (void)run.Step("SetSink", [&] { return easy->SetSink(nullptr); });
    (void)run.Step("SetHeaderSink", [&] { return easy->SetHeaderSink(sink); });
    (void)run.Step("SetProgress", [&] { return easy->SetProgress(progress); });
    (void)run.Step("CURLOPT_RESOLVE",
                   [&] { return easy->SetOption<CURLOPT_RESOLVE>(resolve); });
    (void)run.Step("CURLOPT_USERAGENT", [&] {
      return easy->SetOption<CURLOPT_USERAGENT>("a user agent with a name");
    });
    (void)run.Step("CURLOPT_MAXCONNECTS",
                   [&] { return easy->SetOption<CURLOPT_MAXCONNECTS>(7L); });
    (void)run.Step("CURLOPT_MAXFILESIZE_LARGE", [&] {
      return easy->SetOption<CURLOPT_MAXFILESIZE_LARGE>(1 << 20);
    });
    (void)run.Step("CURLOPT_DEBUGFUNCTION", [&] {
      return easy->SetOption<CURLOPT_DEBUGFUNCTION>(debug, nullptr);
    });
    if (SessionsAndDuplicatesAreSound()) {
      (void)run.Step("Duplicate", [&] {
        auto duplicate = easy->Duplicate();
        if (duplicate.ok()) copy = *std::move(duplicate);
        return duplicate.status();
      });
    }
    (void)run.Step("Perform", [&] { return easy->Perform(CancelToken()); });
    (void)run.Step("GetResponse", [&] { return easy->GetResponse().status(); });
    (void)run.Step("CURLINFO_EFFECTIVE_URL", [&] {
      return easy->GetInfo<CURLINFO_EFFECTIVE_URL>().status();
    });
    (void)run.Step("CURLINFO_RESPONSE_CODE", [&] {
      return easy->GetInfo<CURLINFO_RESPONSE_CODE>().status();
    });
    (void)run.Step("CURLOPT_COOKIELIST", [&] {
      return easy->SetOption<CURLOPT_COOKIELIST>(
          "Set-Cookie: a=b; domain=a.curlshare.test; path=/");
    });
    (void)run.Step("CURLINFO_COOKIELIST", [&] {
      return easy->GetInfo<CURLINFO_COOKIELIST>().status();
    });
    if (copy.has_value()) {
      (void)run.Step("Perform", [&] { return copy->Perform(); });
      (void)run.Step("CURLINFO_TOTAL_TIME_T", [&] {
        return copy->GetInfo<CURLINFO_TOTAL_TIME_T>().status();
      });
    }
    if (ResetIsSound()) {
      (void)run.Step("Reset", [&] { return easy->Reset(); });
    } else {
      easy.reset();
    }
    const FailureScope scope;
    copy.reset();
  }
  run.Recover();
  // The first may have failed, and so have left the method as it was.
  if (easy.has_value() && ResetIsSound()) {
    EXPECT_OK(easy->Reset());
  }
  run.RecoverWith(share.get(), easy, *servers.http);
}

// A change of kinds while a handle is attached, and back.
void Generations(Attempt& run, const Servers& servers) {
  const std::string url = servers.http->url("/bytes?n=10");
  const LockDataSet before = LockData::kDns;
  ShareOptions options;
  options.lock_data = before;
  std::unique_ptr<Share> share = run.NewShare(options);
  std::optional<Easy> easy = run.NewEasy();
  if (share != nullptr && easy.has_value()) {
    run.Attach(*easy, *share);
    (void)run.Fetch(*easy, url);
    const LockDataSet more{LockData::kCookie, LockData::kConnect};
    const absl::Status enabled =
        run.Step("Enable", [&] { return share->Enable(more); });
    EXPECT_EQ(share->lock_data(), enabled.ok() ? before | more : before);
    (void)run.Fetch(*easy, url);
    (void)run.Step("Disable", [&] { return share->Disable(more); });
    (void)run.Fetch(*easy, url);
    (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
  }
  run.RecoverWith(share.get(), easy, *servers.http);
}

// A flush that takes a new CURLSH, under a transfer: whether it fails or not,
// the cookies stay, and what the transfer learns comes with its end, or with
// whatever comes next.
Scenario Flushes(ShareOptions options) {
  return [options](Attempt& run, const Servers& servers) {
    ShareOptions with_cookies = options;
    LockDataSet kinds{LockData::kCookie, LockData::kPsl, LockData::kDns};
    if (options.concurrency == Concurrency::kGated) {
      kinds = kinds | LockData::kHsts;
    }
    with_cookies.lock_data = kinds;
    std::unique_ptr<Share> share = run.NewShare(with_cookies);
    std::optional<Easy> easy = run.NewEasy();
    if (share != nullptr && easy.has_value()) {
      const auto has = [&](absl::string_view cookie) {
        const absl::StatusOr<std::string> all = share->ExportCookies();
        return all.ok() && absl::StrContains(*all, cookie);
      };
      run.Attach(*easy, *share);
      // Before 8.21 libcurl may lose it and not say so.
      const bool imported =
          share->ImportCookies("a.test\tFALSE\t/\tFALSE\t0\tkept\t1").ok() &&
          has("kept");
      // The share changes between the first answer and the second, which has
      // a cookie.
      const std::string url = servers.http->url(
          "/redirect?to=/cookie/set%3Fname%3Dlearned%26value%3D1");
      bool flushed = false;
      bool learned = false;
      const auto on_header = [&](absl::string_view) {
        if (!std::exchange(flushed, true)) {
          (void)run.Step("Flush", [&] { return share->Flush(LockData::kPsl); });
        }
        return absl::OkStatus();
      };
      const auto on_body = [&](absl::string_view) {
        const auto all = easy->GetInfo<CURLINFO_COOKIELIST>();
        if (!all.ok() || easy->share() == nullptr) return absl::OkStatus();
        for (const std::string& line : *all) {
          learned = learned || absl::StrContains(line, "learned");
        }
        return absl::OkStatus();
      };
      (void)run.Step("SetFollowRedirects",
                     [&] { return easy->SetFollowRedirects(3); });
      (void)run.Step("SetHeaderSink",
                     [&] { return easy->SetHeaderSink(std::cref(on_header)); });
      (void)run.Step("SetSink",
                     [&] { return easy->SetSink(std::cref(on_body)); });
      (void)run.Step("SetUrl", [&] { return easy->SetUrl(url); });
      (void)run.Step("Perform", [&] { return easy->Perform(); });
      (void)run.Step("SetHeaderSink",
                     [&] { return easy->SetHeaderSink(nullptr); });
      (void)run.Step("SetSink", [&] { return easy->SetSink(nullptr); });
      (void)run.Step("Flush", [&] {
        return share->Flush({LockData::kPsl, LockData::kDns});
      });
      {
        const FailureScope scope;
        easy.reset();
      }
      run.Recover();
      EXPECT_TRUE(!imported || has("kept"));
      EXPECT_TRUE(!learned || has("learned"));
      EXPECT_OK(share->Flush(LockData::kCookie));
      EXPECT_FALSE(has("kept") || has("learned"));
    }
    run.RecoverWith(share.get(), easy, *servers.http);
  };
}

// Callables that fail, that throw, and that destroy handles.
void Callbacks(Attempt& run, const Servers& servers) {
  const std::string url = servers.http->url("/bytes?n=10");
  std::unique_ptr<Share> share = run.NewShare();
  std::optional<Easy> easy = run.NewEasy();
  std::optional<Easy> other = run.NewEasy();
  if (share != nullptr && easy.has_value() && other.has_value()) {
    run.Attach(*easy, *share);
    run.Attach(*other, *share);
    const Easy::Sink fails = [](absl::string_view) {
      return absl::DataLossError("a message that does not fit");
    };
    (void)run.Step("SetSink", [&] { return easy->SetSink(fails); });
    (void)run.Step("SetUrl", [&] { return easy->SetUrl(url); });
    (void)run.Step(
        "Perform", [&] { return easy->Perform(); },
        absl::StatusCode::kDataLoss);
    // Under a lock of the share, so that it cannot go at once: twice, as each
    // has to be remembered.
    struct Victims {
      std::optional<Easy>* easy;
      std::atomic<bool> gone{false};
    } victims{&other};
    const curl_debug_callback destroy = [](CURL*, curl_infotype, char*, size_t,
                                           void* data) {
      auto* const victim = static_cast<Victims*>(data);
      if (internal::GetThisThread().kind_locks_held > 0) {
        victim->easy->reset();
        victim->gone = true;
      }
      return 0;
    };
    (void)run.Step("CURLOPT_DEBUGFUNCTION", [&] {
      return easy->SetOption<CURLOPT_DEBUGFUNCTION>(destroy, &victims);
    });
    (void)run.Step("CURLOPT_VERBOSE",
                   [&] { return easy->SetOption<CURLOPT_VERBOSE>(true); });
    (void)run.Fetch(*easy, servers.http->url("/bytes?n=10", "localhost"));
    if (ResetIsSound()) {
      (void)run.Step("Reset", [&] { return easy->Reset(); });
    } else {
      easy.reset();
    }
    (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
  }
  run.RecoverWith(share.get(), easy, *servers.http);
}

// Every error has a message, and costs memory.
void Errors(Attempt& run, const Servers& servers) {
  constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ShareOptions options = Strict();
  options.lock_data = LockDataSet{LockData::kConnect, LockData::kHsts};
  std::unique_ptr<Share> share = run.NewShare(options);
  std::unique_ptr<Share> closed = run.NewShare();
  std::optional<Easy> easy = run.NewEasy();
  if (share != nullptr && closed != nullptr && easy.has_value()) {
    Attachment none;
    (void)run.Step("Close", [&] { return closed->Close(); });
    if (closed->closed()) {
      (void)run.Step(
          "Attach", [&] { return easy->Attach(*closed); }, kPrecondition);
      (void)run.Step(
          "Enable", [&] { return closed->Enable(LockData::kDns); },
          kPrecondition);
    }
    (void)run.Step(
        "Attach", [&] { return share->Attach(nullptr).status(); }, kInvalid);
    (void)run.Step(
        "Detach", [&] { return easy->Detach(); }, kPrecondition);
    (void)run.Step(
        "Perform", [&] { return none.Perform(); }, kPrecondition);
    run.Attach(*easy, *share);
    (void)run.Step(
        "Attach", [&] { return easy->Attach(*share); },
        absl::StatusCode::kAlreadyExists);
    (void)run.Step(
        "Close", [&] { return share->Close(); }, kPrecondition);
    (void)run.Step(
        "CURLOPT_CONNECT_ONLY",
        [&] { return easy->SetOption<CURLOPT_CONNECT_ONLY>(1L); },
        absl::StatusCode::kUnimplemented);
    (void)run.Step(
        "CURLOPT_HSTS_CTRL",
        [&] { return easy->SetOption<CURLOPT_HSTS_CTRL>(0L); }, kPrecondition);
    (void)run.Step(
        "SetMethod", [&] { return easy->SetMethod("not a token"); }, kInvalid);
    (void)run.Step(
        "SetTimeout", [&] { return easy->SetTimeout(absl::ZeroDuration()); },
        kInvalid);
    (void)run.Step(
        "SetUrl", [&] { return easy->SetUrl(absl::string_view("a\0b", 3)); },
        kInvalid);
    (void)run.Step(
        "CURLOPT_TIMEOUT",
        [&] { return easy->SetOption<CURLOPT_TIMEOUT>(-1L); }, kInvalid);
    (void)run.Step(
        "Fetch", [&] { return easy->Fetch("no-scheme://a/").status(); },
        absl::StatusCode::kUnimplemented);
    (void)run.Step(
        "BeginUse",
        [&] {
          auto use = easy->BeginUse();
          if (!use.ok()) return use.status();
          return easy->Perform();
        },
        kPrecondition);
  }
  run.RecoverWith(share.get(), easy, *servers.http);
}

// What the connection pool does: lends, takes over, closes what is too much.
void Pool(Attempt& run, const Servers& servers) {
  ShareOptions options;
  options.lock_data = LockData::kConnect;
  options.connections.max_idle = 1;
  options.connections.max_transfers_per_host = 1;
  const std::string ca_pem = servers.https->ca_pem();
  std::unique_ptr<Share> share = run.NewShare(options);
  std::optional<Easy> first = run.NewEasy();
  std::optional<Easy> second = run.NewEasy();
  if (share != nullptr && first.has_value() && second.has_value()) {
    run.Attach(*first, *share);
    run.Attach(*second, *share);
    (void)run.Step("CURLOPT_PROXYUSERPWD", [&] {
      return second->SetOption<CURLOPT_PROXYUSERPWD>("alice:secret");
    });
    (void)run.Step("CURLOPT_PROXYUSERPWD", [&] {
      return second->SetOption<CURLOPT_PROXYUSERPWD>(nullptr);
    });
    const HttpServer& tls =
        SessionsAndDuplicatesAreSound() ? *servers.https : *servers.http;
    for (const HttpServer* server :
         {static_cast<const HttpServer*>(servers.http.get()), &tls}) {
      for (Easy* easy : {&*first, &*second}) {
        (void)run.Step("SetCaCertificates",
                       [&] { return easy->SetCaCertificates(ca_pem); });
        // The second takes over from the first.
        (void)run.Fetch(*easy, server->url("/bytes?n=10"));
      }
    }
    // It had let go, and still answers.
    (void)run.Step("GetHeaders", [&] { return first->GetHeaders().status(); });
    (void)run.Step("GetInfo", [&] {
      return first->GetInfo<CURLINFO_EFFECTIVE_URL>().status();
    });
    (void)share->CloseIdleConnections();
    EXPECT_EQ(share->stats().connections.idle, 0u);
    (void)run.Fetch(*first, servers.http->url("/bytes?n=10"));
    (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
  }
  run.RecoverWith(share.get(), first, *servers.http);
}

// What a share knows is exported, forgotten, and imported again.
void SavedState(Attempt& run, const Servers& servers) {
  const bool tls = SessionsAndDuplicatesAreSound();
  const HttpServer& server = tls ? *servers.https : *servers.http;
  const absl::StatusCode can_save = internal::CanSaveTlsSessions().code();
  const LockDataSet kinds{LockData::kCookie, LockData::kDns,
                          LockData::kSslSession};
  ShareOptions options;
  options.lock_data = kinds;
  std::unique_ptr<Share> share = run.NewShare(options);
  std::optional<Easy> easy = run.NewEasy();
  if (share != nullptr && easy.has_value()) {
    const std::string pem = server.ca_pem();
    if (!pem.empty()) {
      (void)run.Step("SetCaCertificates",
                     [&] { return easy->SetCaCertificates(pem); });
    }
    run.Attach(*easy, *share);
    (void)run.Fetch(*easy, server.url("/cookie/set?name=a&value=b"));
    std::string cookies;
    (void)run.Step("ExportCookies", [&] {
      auto exported = share->ExportCookies();
      if (exported.ok()) cookies = *std::move(exported);
      return exported.status();
    });
    std::string sessions;
    (void)run.Step(
        "ExportTlsSessions",
        [&] {
          auto exported = share->ExportTlsSessions();
          if (exported.ok()) sessions = *std::move(exported);
          return exported.status();
        },
        can_save);
    (void)run.Step("Flush", [&] { return share->Flush(kinds); });
    (void)run.Step("ImportCookies",
                   [&] { return share->ImportCookies(cookies); });
    (void)run.Step(
        "ImportTlsSessions", [&] { return share->ImportTlsSessions(sessions); },
        can_save);
    (void)run.Step(
        "ImportCookies", [&] { return share->ImportCookies("no cookie"); },
        absl::StatusCode::kInvalidArgument);
    (void)run.Fetch(*easy, server.url("/cookie/show"));
    (void)run.Step("Close", [&] { return share->Close(InAMoment()); });
  }
  run.RecoverWith(share.get(), easy, server);
}

// ---- What runs them

struct Case {
  std::string name;
  Scenario scenario;
};

std::vector<Case> Cases() {
  return {
      {"Close", Transfer({}, End::kClose)},
      {"CloseGated", Transfer(Gated(), End::kClose)},
      {"CloseNow", Transfer({}, End::kCloseNow)},
      {"CloseNowGated", Transfer(Gated(), End::kCloseNow)},
      {"CloseStrict", Transfer(Strict(), End::kClose)},
      {"DetachGated", Transfer(Gated(), End::kDetach)},
      {"DestroyShareFirst", Transfer(Gated(), End::kDestroyShare)},
      {"DestroyShareFirstStrict", Transfer(Strict(), End::kDestroyShare)},
      {"DestroyEasyFirst", Transfer({}, End::kDestroyEasy)},
      {"AllKinds", AllKinds},
      {"Threads", Threads({})},
      {"ThreadsGated", Threads(Gated())},
      {"CancelByClose", CancelByClose({})},
      {"CancelByCloseGated", CancelByClose(Gated())},
      {"RawAttachment", RawAttachment({})},
      {"RawAttachmentGated", RawAttachment(Gated())},
      {"Options", Options},
      {"Generations", Generations},
      {"Flushes", Flushes({})},
      {"FlushesGated", Flushes(Gated())},
      {"Callbacks", Callbacks},
      {"Errors", Errors},
      {"Pool", Pool},
      {"SavedState", SavedState},
  };
}

struct What {
  absl::string_view name;
  FailurePoint point;
  FailureLength length;
};

std::ostream& operator<<(std::ostream& os, const What& what) {
  return os << what.name;
}

constexpr What kWhats[] = {
    {"LibcurlAllocation", FailurePoint::kLibcurlAllocation,
     FailureLength::kOnce},
    {"LibcurlAllocationsFromThere", FailurePoint::kLibcurlAllocation,
     FailureLength::kOn},
    {"OperatorNew", FailurePoint::kOperatorNew, FailureLength::kOnce},
    {"OperatorNewFromThere", FailurePoint::kOperatorNew, FailureLength::kOn},
    // Not on and on: what libcurl refuses for ever can never be freed.
    {"LibcurlCall", FailurePoint::kLibcurlCall, FailureLength::kOnce},
};

class TortureTest : public ::testing::TestWithParam<std::tuple<What, size_t>> {
 protected:
  static void SetUpTestSuite() {
    servers_ = new Servers();
    FillTables();
    watchdog_ = new Watchdog();
  }
  static void TearDownTestSuite() {
    delete watchdog_;
    delete servers_;
  }

  // What the library keeps for the process grows with the handles that are
  // attached at once: to more than any scenario has.
  static void FillTables() {
    const auto share = Share::Create().value();
    std::vector<Easy> handles;
    for (int i = 0; i < 500; ++i) {
      handles.push_back(Easy::Create().value());
      ASSERT_OK(handles.back().Attach(*share));
    }
  }

  // Runs the scenario with the `n`-th failing.
  FailureReport RunOnce(const What& what, const Scenario& scenario, int64_t n) {
    const auto held = std::make_shared<HeldLocks>();
    const int64_t shares = ShareHandle::live_count();
    const int64_t libcurl = LiveLibcurlAllocations();
    const int64_t scoped = LiveScopedAllocations();
    watchdog_->Start(n);
    FailNth(what.point, n, what.length);
    {
      Attempt run(what.point, held);
      scenario(run, *servers_);
    }
    FailureReport report = StopFailing();
    EXPECT_EQ(held->held(), 0) << "a lock is held";
    const internal::ThisThread& thread = internal::GetThisThread();
    EXPECT_EQ(thread.kind_locks_held, 0);
    EXPECT_EQ(thread.handles_held, 0);
    EXPECT_EQ(thread.gates_held, 0);
    EXPECT_EQ(thread.deferred, nullptr);
    // What libcurl refuses to free, or to take a handle out of, is kept.
    const bool kept =
        report.what == "curl_share_cleanup" ||
        report.what == absl::StrCat("curl_easy_setopt(", CURLOPT_SHARE, ")");
    if (kept && ShareHandle::live_count() == shares + 1) return report;
    // So is one that an import tries TLS sessions in, which nobody knows then.
    if (report.what == "curl_share_cleanup" && may_lose_share_) return report;
    EXPECT_EQ(ShareHandle::live_count(), shares) << "a CURLSH leaked";
    EXPECT_EQ(LiveLibcurlAllocations(), libcurl) << "libcurl leaked";
    EXPECT_EQ(LiveScopedAllocations(), scoped) << "memory leaked";
    return report;
  }

  bool may_lose_share_ = false;
  static Servers* servers_;
  static Watchdog* watchdog_;
};

Servers* TortureTest::servers_ = nullptr;
Watchdog* TortureTest::watchdog_ = nullptr;

TEST_P(TortureTest, WhateverFailsNothingBreaks) {
  const auto& [what, index] = GetParam();
#ifndef ABSL_HAVE_EXCEPTIONS
  if (what.point == FailurePoint::kOperatorNew) {
    GTEST_SKIP() << "without exceptions it ends the process";
  }
#endif
  const Case torture = Cases()[index];
  may_lose_share_ = torture.name == "SavedState";
  // What is made once in a process is made before counting.
  constexpr int kWarmUps = 2;
  int64_t total = 0;
  for (int i = 0; i < kWarmUps; ++i) {
    {
      Attempt run(what.point, std::make_shared<HeldLocks>());
      FailNth(what.point, 0);
      torture.scenario(run, *servers_);
    }
    total = std::max(total, StopFailing().seen);
  }
  ASSERT_GT(total, 0) << "nothing that could fail";

  if (const char* only = std::getenv("TORTURE_N")) {
    int64_t n = 0;
    ASSERT_TRUE(absl::SimpleAtoi(only, &n));
    const FailureReport report = RunOnce(what, torture.scenario, n);
    std::printf("failed: %d %s\n", report.failed, report.what.c_str());
    return;
  }
  int failed = 0;
  int not_reached = 0;
  const absl::Time start = absl::Now();
  // Their number varies a little from run to run.
  constexpr int kEnough = 3;
  for (int64_t n = 1; n <= total || not_reached < kEnough; ++n) {
    SCOPED_TRACE(absl::StrCat("TORTURE_N=", n));
    const FailureReport report = RunOnce(what, torture.scenario, n);
    failed += report.failed ? 1 : 0;
    not_reached = report.failed ? 0 : not_reached + 1;
    if (HasFailure()) {
      FAIL() << "at " << report.what;
    }
  }
  EXPECT_GE(failed, total / 2);
  RecordProperty("failed", failed);
  std::printf("%s, %s: %d failed in turn, %.1f s\n",
              std::string(what.name).c_str(), torture.name.c_str(), failed,
              absl::ToDoubleSeconds(absl::Now() - start));
}

// libcurl makes a list of what CURLOPT_COOKIEFILE is given, longer each time.
TEST(Attach, AgainAndAgainNeedsNoMoreMemory) {
  ShareOptions options;
  options.lock_data = LockData::kCookie;
  const auto share = Share::Create(options).value();
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.Attach(*share));
  ASSERT_OK(easy.Detach());
  const int64_t before = LiveLibcurlAllocations();
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(easy.Attach(*share));
    ASSERT_OK(easy.Detach());
  }
  EXPECT_EQ(LiveLibcurlAllocations(), before);
}

// However many are attached already: a table of all of them that could not grow
// must still find each.
TEST(Attach, EachOfThousandsMayRunOutOfMemory) {
#ifndef ABSL_HAVE_EXCEPTIONS
  GTEST_SKIP() << "operator new ends the process";
#endif
  constexpr size_t kHandles = 3000;
  const auto share = Share::Create().value();
  std::vector<std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>> curls;
  std::vector<Attachment> attachments;
  curls.reserve(kHandles);
  attachments.reserve(kHandles);
  while (attachments.size() < kHandles) {
    CURL* const curl =
        curls.emplace_back(curl_easy_init(), &curl_easy_cleanup).get();
    for (int64_t n = 1; attachments.size() < curls.size(); ++n) {
      FailNth(FailurePoint::kOperatorNew, n);
      absl::StatusOr<Attachment> attachment = [&] {
        const FailureScope scope;
        return share->Attach(curl);
      }();
      if (StopFailing().failed) {
        ASSERT_EQ(attachment.status().code(),
                  absl::StatusCode::kResourceExhausted)
            << attachment.status();
        continue;
      }
      ASSERT_OK(attachment.status());
      attachments.push_back(*std::move(attachment));
    }
  }
  EXPECT_EQ(share->attached(), kHandles);
  for (const auto& curl : curls) {
    ASSERT_EQ(share->Attach(curl.get()).status().code(),
              absl::StatusCode::kAlreadyExists);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TortureTest,
                         ::testing::Combine(::testing::ValuesIn(kWhats),
                                            ::testing::Range(size_t{0},
                                                             Cases().size())),
                         [](const auto& info) {
                           return absl::StrCat(
                               std::get<0>(info.param).name, "_",
                               Cases()[std::get<1>(info.param)].name);
                         });

}  // namespace
}  // namespace curlshare

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (!curlshare::testing::CountLibcurlAllocations()) {
    std::fprintf(stderr, "curl_global_init_mem failed\n");
    return 1;
  }
  return RUN_ALL_TESTS();
}
