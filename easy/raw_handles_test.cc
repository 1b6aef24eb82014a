// SPDX-License-Identifier: Apache-2.0
// What becomes of a CURL* of the user's, and of what it points to: a close, and
// who takes its connections over, read and call nothing that is its owner's.
// What an Easy has to do with that, too.
#include <curl/curl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/ftp_server.h"
#include "curlshare/verification/temp_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::FtpServer;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::curlshare::testing::TempFile;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

size_t Drop(char*, size_t size, size_t count, void*) { return size * count; }

// A CURL* in a share.
class Raw {
 public:
  Raw(Share& share, const std::string& url)
      : curl_(curl_easy_init(), &curl_easy_cleanup) {
    const curl_write_callback drop = &Drop;
    Set(CURLOPT_WRITEFUNCTION, drop);
    Set(CURLOPT_URL, url.c_str());
    Set(CURLOPT_TIMEOUT, 20L);
    auto attachment = share.Attach(curl_.get());
    EXPECT_OK(attachment.status());
    attachment_ = *std::move(attachment);
  }

  template <typename T>
  void Set(CURLoption option, T value) {
    auto use = attachment_.BeginUse();
    EXPECT_EQ(curl_easy_setopt(curl_.get(), option, value), CURLE_OK);
  }

  Raw(Raw&&) = default;
  Raw& operator=(Raw&&) = delete;

  CURL* get() const { return curl_.get(); }
  Attachment& attachment() { return attachment_; }

 private:
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  Attachment attachment_;  // goes first
};

std::unique_ptr<Share> NewShare(ShareOptions options = {}) {
  if (!options.lock_data.has_value()) options.lock_data = LockData::kConnect;
  return Share::Create(options).value();
}

Easy NewEasy(Share& share) {
  Easy easy = Easy::Create().value();
  EXPECT_OK(easy.Attach(share));
  EXPECT_OK(easy.SetTimeout(absl::Seconds(20)));
  return easy;
}

// A page with a text at its end, which goes with this: who reads it then is
// ended by a signal.
class Page {
 public:
  explicit Page(absl::string_view text)
      : page_(mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    EXPECT_NE(page_, MAP_FAILED);
    memcpy(page_, text.data(), text.size());
  }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() { EXPECT_EQ(munmap(page_, kSize), 0); }
  const char* text() const { return static_cast<const char*>(page_); }

 private:
  static constexpr size_t kSize = 4096;
  void* const page_;
};

// What others do with a handle's connection, on a thread of their own.
enum class Others { kClose, kTakeOver, kCloseIdle };

// By that, and by where the transfer before went: what the handle then keeps
// differs.
class OwnersThingsTest
    : public ::testing::TestWithParam<std::tuple<Others, const char*>> {
 protected:
  static void LetOthers(Share& share, const HttpServer& server) {
    std::thread([&] {
      switch (std::get<Others>(GetParam())) {
        case Others::kClose:
          break;
        case Others::kTakeOver:
          EXPECT_OK(NewEasy(share).Fetch(server.url("/")).status());
          break;
        case Others::kCloseIdle:
          share.CloseIdleConnections();
          break;
      }
      EXPECT_OK(share.Close());
    }).join();
  }
  void LetOthers() { LetOthers(*share_, *server_); }
  std::string url() const {
    return server_->url(std::get<const char*>(GetParam()));
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  const std::unique_ptr<Share> share_ = NewShare();
};

INSTANTIATE_TEST_SUITE_P(
    Others, OwnersThingsTest,
    ::testing::Combine(::testing::Values(Others::kClose, Others::kTakeOver,
                                         Others::kCloseIdle),
                       ::testing::Values("/", "/redirect?to=/",
                                         "/auth/digest?user=any",
                                         "/drop?after=10")));

TEST_P(OwnersThingsTest, ABodyMayGoBeforeAClose) {
  Raw raw(*share_, url());
  {
    const Page body("body");
    raw.Set(CURLOPT_POSTFIELDS, body.text());
    raw.attachment().Perform().IgnoreError();
  }
  LetOthers();
}

TEST_P(OwnersThingsTest, ABodyMayGoBeforeItsHandleLeaves) {
  Raw raw(*share_, url());
  {
    const Page body("body");
    raw.Set(CURLOPT_POSTFIELDS, body.text());
    raw.attachment().Perform().IgnoreError();
  }
  EXPECT_OK(raw.attachment().Detach());
  LetOthers();
}

TEST_P(OwnersThingsTest, ACurluMayChangeOrGoBeforeAClose) {
  const auto elsewhere = HttpServer::Start().value();
  for (const bool frees : {false, true}) {
    SCOPED_TRACE(frees);
    const auto share = NewShare();
    CURLU* const parsed = curl_url();
    ASSERT_EQ(curl_url_set(parsed, CURLUPART_URL, url().c_str(), 0), CURLUE_OK);
    CURLU* const parsed_too = curl_url_dup(parsed);
    Raw raw(*share, url());
    raw.Set(CURLOPT_CURLU, parsed);
    raw.attachment().Perform().IgnoreError();
    Easy easy = NewEasy(*share);
    ASSERT_OK(easy.SetOption<CURLOPT_CURLU>(parsed_too));
    easy.Perform().IgnoreError();
    for (CURLU* const each : {parsed, parsed_too}) {
      if (frees) {
        curl_url_cleanup(each);
      } else {
        ASSERT_EQ(
            curl_url_set(each, CURLUPART_URL, elsewhere->url("/").c_str(), 0),
            CURLUE_OK);
      }
    }
    LetOthers(*share, *server_);
    EXPECT_EQ(elsewhere->counts().connections, 0);
    if (!frees) {
      curl_url_cleanup(parsed);
      curl_url_cleanup(parsed_too);
    }
  }
}

struct DebugCalls {
  static int Count(CURL*, curl_infotype, char*, size_t, void* calls) {
    auto* const self = static_cast<DebugCalls*>(calls);
    ++(std::this_thread::get_id() == self->owner ? self->here
                                                 : self->elsewhere);
    return 0;
  }
  const std::thread::id owner = std::this_thread::get_id();
  std::atomic<int> here{0};
  std::atomic<int> elsewhere{0};
};

TEST_P(OwnersThingsTest, NobodyElsesThreadCallsADebugFunction) {
  const curl_debug_callback count = &DebugCalls::Count;
  DebugCalls calls;
  Raw raw(*share_, url());
  raw.Set(CURLOPT_VERBOSE, 1L);
  raw.Set(CURLOPT_DEBUGFUNCTION, count);
  raw.Set(CURLOPT_DEBUGDATA, &calls);
  raw.attachment().Perform().IgnoreError();
  DebugCalls easy_calls;
  Easy easy = NewEasy(*share_);
  ASSERT_OK(easy.SetOption<CURLOPT_VERBOSE>(true));
  ASSERT_OK(easy.SetOption<CURLOPT_DEBUGFUNCTION>(count, &easy_calls));
  easy.Fetch(url()).status().IgnoreError();
  for (DebugCalls* each : {&calls, &easy_calls}) {
    EXPECT_GT(each->here, 0);
    each->here = 0;
  }
  LetOthers();
  for (const DebugCalls* each : {&calls, &easy_calls}) {
    EXPECT_EQ(each->here, 0);
    EXPECT_EQ(each->elsewhere, 0);
  }
}

TEST_P(OwnersThingsTest, NobodyElseWritesAnErrorBuffer) {
  std::array<char, CURL_ERROR_SIZE> buffer;
  Raw raw(*share_, url());
  raw.Set(CURLOPT_ERRORBUFFER, buffer.data());
  raw.attachment().Perform().IgnoreError();
  buffer.fill('?');
  LetOthers();
  for (const char c : buffer) ASSERT_EQ(c, '?');
}

TEST_P(OwnersThingsTest, NobodyElseReadsACookieFile) {
  const TempFile file;
  Raw raw(*share_, url());
  raw.Set(CURLOPT_COOKIEFILE, file.path().c_str());
  raw.attachment().Perform().IgnoreError();
  Easy easy = NewEasy(*share_);
  ASSERT_OK(easy.SetOption<CURLOPT_COOKIEFILE>(file.path()));
  easy.Fetch(url()).status().IgnoreError();
  std::ofstream(file.path()) << "Set-Cookie: late=1; domain=127.0.0.1\n";
  LetOthers();
  curl_slist* cookies = nullptr;
  EXPECT_EQ(curl_easy_getinfo(raw.get(), CURLINFO_COOKIELIST, &cookies),
            CURLE_OK);
  EXPECT_EQ(cookies, nullptr);
  curl_slist_free_all(cookies);
  const auto of_easy = easy.GetInfo<CURLINFO_COOKIELIST>();
  ASSERT_OK(of_easy.status());
  EXPECT_THAT(*of_easy, IsEmpty());
  // The file would have been understood.
  ASSERT_OK(easy.Fetch(server_->url("/")).status());
  EXPECT_EQ(easy.GetInfo<CURLINFO_COOKIELIST>()->size(), 1u);
}

// ---- Connections of a share without LockData::kConnect

int ConnectionsToTenHosts(int max_idle) {
  const auto server = HttpServer::Start().value();
  ShareOptions options;
  options.lock_data = LockData::kDns;
  options.connections.max_idle = max_idle;
  const auto share = NewShare(options);
  Raw raw(*share, server->url("/"));
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> to_here(
      curl_slist_append(nullptr,
                        absl::StrCat("::127.0.0.1:", server->port()).c_str()),
      &curl_slist_free_all);
  raw.Set(CURLOPT_CONNECT_TO, to_here.get());
  raw.Set(CURLOPT_MAXCONNECTS, 20L);
  for (int round = 0; round < 3; ++round) {
    for (int host = 0; host < 10; ++host) {
      raw.Set(CURLOPT_URL, absl::StrCat("http://h", host, ".test/").c_str());
      EXPECT_OK(raw.attachment().Perform());
    }
  }
  EXPECT_EQ(server->counts().requests, 30);
  return server->counts().connections;
}

TEST(RawHandlesOwnConnections, AreKeptAsTheOptionsOfTheShareSay) {
  EXPECT_EQ(ConnectionsToTenHosts(ConnectionOptions().max_idle), 10);
  EXPECT_EQ(ConnectionsToTenHosts(5), 30) << "the oldest is the next wanted";
}

// ---- Credentials

// From libcurl 8.21 on a handle and a connection to an FTP server count
// references on the same credentials, and nothing but curl_easy_cleanup lets go
// of them: for ThreadSanitizer, too.
class FtpCredentialsTest : public ::testing::Test {
 protected:
  static bool AreCounted() {
    return RunningLibcurl().version_num >= LibcurlVersion(8, 21, 0);
  }
  Easy NewUser() {
    Easy easy = NewEasy(*share_);
    EXPECT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("ftp"));
    EXPECT_OK(easy.SetOption<CURLOPT_USERPWD>("any:secret"));
    return easy;
  }
  // On a thread of its own, how often it had to log in.
  int LoginsOfAnother() {
    const int before = server_->logins();
    std::thread([&] {
      EXPECT_OK(NewUser().Fetch(server_->url("10.txt")).status());
    }).join();
    return server_->logins() - before;
  }

  const std::unique_ptr<FtpServer> server_ = FtpServer::Start().value();
  const std::unique_ptr<Share> share_ = NewShare();
};

TEST_F(FtpCredentialsTest, OfAnEasyStayWithItUntilItGoes) {
  {
    Easy easy = NewUser();
    ASSERT_OK(easy.Fetch(server_->url("1.txt")).status());
    EXPECT_EQ(LoginsOfAnother(), AreCounted() ? 1 : 0);
    const int before = server_->logins();
    ASSERT_OK(easy.Fetch(server_->url("1.txt")).status());
    EXPECT_EQ(server_->logins(), before);
  }
  EXPECT_EQ(LoginsOfAnother(), 0);
}

TEST_F(FtpCredentialsTest, OfAnEasyThatLeavesGoAlong) {
  Easy easy = NewUser();
  ASSERT_OK(easy.Fetch(server_->url("1.txt")).status());
  ASSERT_OK(easy.Detach());
  EXPECT_EQ(LoginsOfAnother(), 1);
  const int before = server_->logins();
  RunThreads(2, [&](int thread) {
    if (thread == 0) {
      EXPECT_OK(easy.Fetch(server_->url("1.txt")).status());
      const Easy gone = std::move(easy);
      return;
    }
    for (int i = 0; i < 3; ++i) {
      EXPECT_OK(NewUser().Fetch(server_->url("10.txt")).status());
    }
    EXPECT_OK(share_->Close());
  });
  EXPECT_EQ(server_->logins(), before);
}

TEST_F(FtpCredentialsTest, OfARawHandleThatLeavesGoAlong) {
  for (const bool detach : {true, false}) {
    SCOPED_TRACE(detach);
    Raw raw(*share_, server_->url("1.txt"));
    raw.Set(CURLOPT_USERPWD, "any:secret");
    ASSERT_OK(raw.attachment().Perform());
    if (detach) {
      ASSERT_OK(raw.attachment().Detach());
    } else {
      ASSERT_OK(share_->Close());
    }
    // The owner frees it, while others are busy there.
    RunThreads(2, [&](int thread) {
      if (thread == 0) {
        const Raw gone = std::move(raw);
        return;
      }
      for (int i = 0; detach && i < 3; ++i) {
        EXPECT_OK(NewUser().Fetch(server_->url("10.txt")).status());
      }
    });
  }
}

// ---- CURLOPT_CONNECT_ONLY

// A handle whose connection is open, so that it cannot leave its share.
class ConnectOnlyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RunningLibcurl().version_num < LibcurlVersion(8, 22, 0)) {
      GTEST_SKIP() << "libcurl " << RunningLibcurl().version
                   << " lets such a handle leave its share";
    }
  }

  static void ConnectAndSend(Raw& raw) {
    raw.Set(CURLOPT_CONNECT_ONLY, 1L);
    {
      auto transfer = raw.attachment().BeginTransfer();
      ASSERT_OK(transfer.status());
      ASSERT_OK(transfer->End(curl_easy_perform(raw.get())));
    }
    auto use = raw.attachment().BeginUse();
    ASSERT_OK(use.status());
    size_t sent = 0;
    ASSERT_EQ(curl_easy_send(raw.get(), "GET ", 4, &sent), CURLE_OK);
  }
  static auto Refuses(int handles) {
    return StatusIs(
        absl::StatusCode::kFailedPrecondition,
        AllOf(HasSubstr(absl::StrCat(handles, " handle")),
              HasSubstr("CURLOPT_CONNECT_ONLY"), HasSubstr("Transfer")));
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  const std::unique_ptr<Share> share_ = NewShare();
};

TEST_F(ConnectOnlyTest, ACloseSaysWhoKeepsTheShareAndDoesNotWait) {
  const int64_t before = ShareHandle::live_count() - 1;
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  Raw other(*share_, server_->url("/"));
  EXPECT_THAT(share_->Close(), Refuses(1));
  EXPECT_FALSE(share_->closed());
  EXPECT_EQ(share_->attached(), 1u) << "the other has left";
  EXPECT_THAT(share_->Close(absl::Now() + absl::Hours(1)), Refuses(1));
  EXPECT_THAT(share_->CloseNow(absl::InfinitePast()), Refuses(1));
  EXPECT_THAT(raw.attachment().Detach(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("CURLOPT_CONNECT_ONLY")));
  EXPECT_TRUE(raw.attachment().attached());
  // Its own transfer lets go of the connection, and so of the share.
  raw.Set(CURLOPT_CONNECT_ONLY, 0L);
  EXPECT_FALSE(share_->closed());
  {
    auto transfer = raw.attachment().BeginTransfer();
    ASSERT_OK(transfer.status());
    EXPECT_OK(transfer->End(curl_easy_perform(raw.get())));
  }
  EXPECT_TRUE(share_->closed());
  EXPECT_OK(share_->Close());
  EXPECT_EQ(ShareHandle::live_count(), before);
}

TEST_F(ConnectOnlyTest, PerformLetsItLeave) {
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  EXPECT_THAT(share_->Close(), Refuses(1));
  raw.Set(CURLOPT_CONNECT_ONLY, 0L);
  EXPECT_OK(raw.attachment().Perform());
  EXPECT_FALSE(raw.attachment().attached());
  EXPECT_OK(share_->Close());
  EXPECT_OK(raw.attachment().Perform());
}

// What lets it leave is not refused; what comes after that is.
TEST_F(ConnectOnlyTest, MayLeaveAShareThatRefusesTransfersAfterItsClose) {
  ShareOptions options;
  options.after_close = AfterClose::kRefuse;
  const auto share = NewShare(options);
  Raw raw(*share, server_->url("/"));
  ConnectAndSend(raw);
  EXPECT_THAT(share->Close(), Refuses(1));
  raw.Set(CURLOPT_CONNECT_ONLY, 0L);
  EXPECT_OK(raw.attachment().Perform());
  EXPECT_FALSE(raw.attachment().attached());
  EXPECT_OK(share->Close());
  EXPECT_THAT(raw.attachment().Perform(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// The CURLSH stays, since the CURL* refers to it; the share is closed.
TEST_F(ConnectOnlyTest, WithItsAttachmentGoneTheShareIsClosed) {
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  EXPECT_THAT(share_->Close(), Refuses(1));
  raw.attachment() = Attachment();
  EXPECT_TRUE(share_->closed());
  EXPECT_OK(share_->Close());
}

TEST_F(ConnectOnlyTest, AChangeOfKindsWaitsUntilItCanMove) {
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  ASSERT_OK(share_->Enable(LockData::kDns));
  raw.Set(CURLOPT_CONNECT_ONLY, 0L);
  EXPECT_OK(raw.attachment().Perform());
  EXPECT_OK(raw.attachment().Perform());
  EXPECT_OK(share_->Close());
}

// The close begins while it is in use, and another one is busy for longer.
TEST_F(ConnectOnlyTest, ACloseWaitsForTheOthers) {
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  Raw busy(*share_, server_->url("/"));
  absl::Notification in_use;
  const auto is_closing = [&] {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
        curl_easy_init(), &curl_easy_cleanup);
    return !share_->Attach(curl.get()).ok();
  };
  RunThreads(2, [&](int thread) {
    if (thread == 0) {
      in_use.WaitForNotification();
      EXPECT_THAT(share_->Close(), Refuses(1));
      return;
    }
    auto use = raw.attachment().BeginUse();
    ASSERT_OK(use.status());
    auto busy_use = busy.attachment().BeginUse();
    ASSERT_OK(busy_use.status());
    in_use.Notify();
    while (!is_closing()) {
    }
    EXPECT_THAT(share_->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("2 handles still in use")));
    { const auto ended = *std::move(use); }
    EXPECT_THAT(share_->Close(absl::InfinitePast()),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         AllOf(HasSubstr("1 handle still in use"),
                               HasSubstr("1 handle cannot leave"),
                               HasSubstr("CURLOPT_CONNECT_ONLY"))));
  });
  EXPECT_EQ(share_->attached(), 1u);
}

// A close that finds it in use, at whatever moment of that, waits no longer
// than the use.
TEST_F(ConnectOnlyTest, ClosesAgainstUses) {
  Raw raw(*share_, server_->url("/"));
  ConnectAndSend(raw);
  for (int round = 0; round < 2000; ++round) {
    RunThreads(3, [&](int thread) {
      if (thread < 2) {
        EXPECT_THAT(share_->Close(absl::Now() + absl::Seconds(20)), Refuses(1));
      } else {
        EXPECT_OK(raw.attachment().BeginUse().status());
      }
    });
  }
}

// Also where it has cookies to save, and cannot.
TEST(OwnersCookieJar, IsSavedWithoutCallingTheOwnerBack) {
  const auto server = HttpServer::Start().value();
  ShareOptions options;
  options.lock_data = LockData::kCookie;
  const auto share = Share::Create(options).value();
  const curl_debug_callback count = &DebugCalls::Count;
  DebugCalls calls;
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_COOKIEJAR>("/nonexistent/directory/jar"));
  ASSERT_OK(easy.SetOption<CURLOPT_VERBOSE>(true));
  ASSERT_OK(easy.SetOption<CURLOPT_DEBUGFUNCTION>(count, &calls));
  ASSERT_OK(easy.Attach(*share));
  ASSERT_OK(easy.Fetch(server->url("/cookie/set?name=a&value=b&max_age=999"))
                .status());
  std::thread([&] { EXPECT_OK(share->Close()); }).join();
  EXPECT_EQ(calls.elsewhere, 0);
}

// Set where this library does not see it.
TEST(OwnersCookieJar, OfANativeHandleIsSavedToo) {
  const auto server = HttpServer::Start().value();
  ShareOptions options;
  options.lock_data = LockData::kCookie;
  const auto share = Share::Create(options).value();
  const TempFile jar;
  {
    Easy easy = Easy::Create().value();
    {
      const Easy::Use use = easy.BeginUse().value();
      ASSERT_EQ(curl_easy_setopt(easy.native_handle(), CURLOPT_COOKIEJAR,
                                 jar.path().c_str()),
                CURLE_OK);
    }
    ASSERT_OK(easy.Attach(*share));
    ASSERT_OK(
        easy.Fetch(server->url("/cookie/set?name=a&value=saved&max_age=999"))
            .status());
    ASSERT_OK(share->Close());
    ASSERT_OK(easy.Fetch(server->url("/")).status());
  }
  std::ifstream in(jar.path());
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(in), {}),
              HasSubstr("saved"));
}

// ---- Callbacks of connections that a share closes

struct FlushesAtClose {
  Share* share;
  absl::Status flushed = absl::UnknownError("not called");

  static int OnClose(void* self, curl_socket_t socket) {
    auto* const flushes = static_cast<FlushesAtClose*>(self);
    flushes->flushed = flushes->share->Flush(LockData::kDns);
    return close(socket);
  }
};

// They may call the share, whose kinds are being changed.
TEST(CloseSocketTest, MayFlushTheShareThatClosesTheConnection) {
  const auto server = HttpServer::Start().value();
  ShareOptions options;
  options.lock_data = {LockData::kConnect, LockData::kDns};
  const auto share = NewShare(options);
  FlushesAtClose flushes{share.get()};
  const curl_closesocket_callback on_close = &FlushesAtClose::OnClose;
  {
    Raw raw(*share, server->url("/"));
    raw.Set(CURLOPT_CLOSESOCKETFUNCTION, on_close);
    raw.Set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&flushes));
    ASSERT_OK(raw.attachment().Perform());
    EXPECT_OK(raw.attachment().Detach());
    EXPECT_EQ(share->stats().connections.idle, 1u);
    EXPECT_OK(share->Disable(LockData::kConnect));
    EXPECT_OK(flushes.flushed);
  }
  EXPECT_OK(share->Close());
}

// ---- Share::Perform

class SharePerformTest : public ::testing::TestWithParam<Concurrency> {
 protected:
  SharePerformTest() {
    ShareOptions options;
    options.lock_data = LockData::kConnect;
    options.concurrency = GetParam();
    share_ = NewShare(options);
  }

  // As an owner that knows nothing of the share.
  CurlPtr NewCurl(absl::string_view path) const {
    CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
              CURLE_OK);
    SetUrl(curl, path);
    return curl;
  }
  void SetUrl(const CurlPtr& curl, absl::string_view path) const {
    EXPECT_EQ(
        curl_easy_setopt(curl.get(), CURLOPT_URL, server_->url(path).c_str()),
        CURLE_OK);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  std::unique_ptr<Share> share_;
};

INSTANTIATE_TEST_SUITE_P(Concurrency, SharePerformTest,
                         ::testing::Values(Concurrency::kAuto,
                                           Concurrency::kGated),
                         [](const auto& info) {
                           return std::string(ConcurrencyName(info.param));
                         });

TEST_P(SharePerformTest, KeepsTheConnectionForTheNextAndForOthers) {
  const CurlPtr one = NewCurl("/");
  const CurlPtr other = NewCurl("/bytes?n=10");
  for (int i = 0; i < 10; ++i) {
    EXPECT_OK(share_->Perform(one.get()));
    EXPECT_EQ(share_->attached(), 0u);
    SetUrl(one, "/bytes?n=100");
    EXPECT_OK(share_->Perform(other.get()));
  }
  EXPECT_EQ(server_->counts().requests, 20);
  EXPECT_EQ(server_->counts().connections, 1);
  // What its owner may read is there.
  long status = 0;
  EXPECT_EQ(curl_easy_getinfo(one.get(), CURLINFO_RESPONSE_CODE, &status),
            CURLE_OK);
  EXPECT_EQ(status, 200);
}

TEST_P(SharePerformTest, AFailureIsToldAndTheHandleIsFree) {
  const CurlPtr curl = NewCurl("/drop?after=10");
  EXPECT_FALSE(share_->Perform(curl.get()).ok());
  SetUrl(curl, "/");
  EXPECT_OK(share_->Perform(curl.get()));
  EXPECT_EQ(curl_easy_perform(curl.get()), CURLE_OK) << "without the share";
  EXPECT_THAT(share_->Perform(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_THAT(share_->Perform(curl.get()),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_P(SharePerformTest, OnceTheShareIsClosedItIsRefusedOrRunsAlone) {
  const CurlPtr curl = NewCurl("/");
  EXPECT_OK(share_->Close());
  EXPECT_THAT(share_->Perform(curl.get()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(share_->name())));
  EXPECT_EQ(server_->counts().requests, 0);
  EXPECT_OK(share_->Perform(curl.get(), AfterClose::kTransferAlone));
  EXPECT_OK(share_->Perform(curl.get(), AfterClose::kTransferAlone));
  EXPECT_EQ(server_->counts().requests, 2);
  EXPECT_EQ(server_->counts().connections, 1) << "the handle's own";
}

TEST_P(SharePerformTest, CloseNowEndsIt) {
  const CurlPtr curl = NewCurl("/stall");
  std::thread thread([&] {
    EXPECT_THAT(share_->Perform(curl.get()),
                StatusIs(absl::StatusCode::kCancelled));
    EXPECT_THAT(share_->Perform(curl.get()),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  });
  ASSERT_TRUE(server_->WaitForStalled(1, absl::Now() + absl::Seconds(60)));
  EXPECT_OK(share_->CloseNow(absl::Now() + absl::Seconds(60)));
  thread.join();
}

}  // namespace
}  // namespace curlshare
