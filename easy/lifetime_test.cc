// SPDX-License-Identifier: Apache-2.0
// The edges of a process's life: static objects, exit with threads in transfer,
// fork, and who initialises libcurl. Each in a process of its own, whose exit
// code, and leak check, tell.
#include <curl/curl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::testing::ExitedWithCode;

// Ends the process where something does not hold: a test's expectations do not
// reach the parent.
void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  _exit(2);
}
#define CHECK_THAT(condition) Check(condition, #condition)

ShareOptions EveryKind() {
  ShareOptions options;
  options.lock_data = LockDataSet::Available();
  return options;
}

Easy NewEasy(Share& share) {
  Easy easy = Easy::Create().value();
  CHECK_THAT(easy.Attach(share).ok());
  return easy;
}

bool Fetches(Easy& easy, const std::string& url) {
  return easy.Fetch(url).ok();
}

class LifetimeTest : public ::testing::Test {
 protected:
  // A new process for each, which runs nothing else.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// ---- Static objects

// A server in a process of its own, as what it is made of has static objects
// that are destroyed. It ends with this one. REQUIRES: no other thread yet.
std::string ServerProcess() {
  int port[2];
  int alive[2];
  CHECK_THAT(pipe(port) == 0);
  CHECK_THAT(pipe(alive) == 0);
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    close(alive[1]);
    const auto server = HttpServer::Start().value();
    const int number = server->port();
    CHECK_THAT(write(port[1], &number, sizeof(number)) == sizeof(number));
    char nothing = 0;
    (void)!read(alive[0], &nothing, 1);  // returns when the parent has ended
    _exit(0);
  }
  close(alive[0]);  // alive[1] is closed by the end of the process
  int number = 0;
  CHECK_THAT(read(port[0], &number, sizeof(number)) == sizeof(number));
  return absl::StrCat("http://127.0.0.1:", number);
}

[[noreturn]] void ExitWithTheShareGoingLast() {
  const std::string server = ServerProcess();
  static const std::unique_ptr<Share> share =
      Share::Create(EveryKind()).value();
  static Easy easy = NewEasy(*share);
  CHECK_THAT(Fetches(easy, server + "/"));
  std::exit(0);
}

[[noreturn]] void ExitWithTheShareGoingFirst() {
  const std::string server = ServerProcess();
  static Easy easy = Easy::Create().value();
  static Easy other = Easy::Create().value();
  static const std::unique_ptr<Share> share =
      Share::Create(EveryKind()).value();
  for (Easy* each : {&easy, &other}) {
    CHECK_THAT(each->Attach(*share).ok());
    CHECK_THAT(Fetches(*each, server + "/"));
  }
  std::exit(0);
}

// The CURL* and its Attachment are destroyed around the Share.
[[noreturn]] void ExitWithARawHandle() {
  struct CurlDeleter {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  };
  CHECK_THAT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
  static const std::unique_ptr<CURL, CurlDeleter> curl(curl_easy_init());
  static Attachment attachment;
  static const std::unique_ptr<Share> share =
      Share::Create(EveryKind()).value();
  attachment = share->Attach(curl.get()).value();
  std::exit(0);
}

// Made by a static object that is destroyed after everything else here.
[[noreturn]] void ExitWithAFirstUseInADestructor() {
  struct Late {
    ~Late() {
      const auto share = Share::Create(EveryKind());
      CHECK_THAT(share.ok());
      Easy easy = NewEasy(**share);
      CHECK_THAT(easy.SetUrl("http://127.0.0.1/").ok());
    }
  };
  static const Late late;
  std::exit(0);
}

TEST_F(LifetimeTest, StaticObjectsMayGoInEveryOrder) {
  EXPECT_EXIT(ExitWithTheShareGoingLast(), ExitedWithCode(0), "");
  EXPECT_EXIT(ExitWithTheShareGoingFirst(), ExitedWithCode(0), "");
  EXPECT_EXIT(ExitWithARawHandle(), ExitedWithCode(0), "");
}

TEST_F(LifetimeTest, ADestructorOfAStaticObjectMayUseItFirst) {
  EXPECT_EXIT(ExitWithAFirstUseInADestructor(), ExitedWithCode(0), "");
}

// ---- Exit while threads transfer

// Threads transfer over HTTP for as long as the process lives, two more are
// stalled. `share` is a static object, and goes while they do.
[[noreturn]] void ExitUnderLoad(Concurrency concurrency) {
  static std::string server;
  server = ServerProcess();
  static std::unique_ptr<Share> share;
  ShareOptions options;
  options.concurrency = concurrency;
  share = Share::Create(options).value();
  static std::atomic<int> transfers{0};
  static std::atomic<int> stalled{0};
  for (int i = 0; i < 4; ++i) {
    auto* const easy = new Easy(NewEasy(*share));
    std::thread([easy, url = server + "/bytes?n=1000"] {
      while (true) {
        if (Fetches(*easy, url)) ++transfers;
      }
    }).detach();
  }
  for (int i = 0; i < 2; ++i) {
    auto* const easy = new Easy(NewEasy(*share));
    CHECK_THAT(easy->SetUrl(server + "/stall?after=bytes").ok());
    CHECK_THAT(easy->SetSink([](absl::string_view) {
                     ++stalled;
                     return absl::OkStatus();
                   })
                   .ok());
    std::thread([easy] { easy->Perform().IgnoreError(); }).detach();
  }
  while (transfers < 20 || stalled < 2) std::this_thread::yield();
  std::exit(0);
}

TEST_F(LifetimeTest, AProcessMayExitWhileThreadsTransfer) {
  EXPECT_EXIT(ExitUnderLoad(Concurrency::kAuto), ExitedWithCode(0), "");
  EXPECT_EXIT(ExitUnderLoad(Concurrency::kGated), ExitedWithCode(0), "");
}

// ---- Fork

// The exit code of `child`, run in a process that is forked here.
template <typename F>
int InAChild(F child) {
  const pid_t pid = fork();
  if (pid == 0) {
    child();
    _exit(0);
  }
  int status = 0;
  CHECK_THAT(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void ShareAndTransfer() {
  const auto share = Share::Create(EveryKind()).value();
  Easy easy = NewEasy(*share);
  HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options).value();
  CHECK_THAT(easy.SetCaCertificates(server->ca_pem()).ok());
  CHECK_THAT(Fetches(easy, server->url("/")));
  CHECK_THAT(share->Close().ok());
}

[[noreturn]] void ForkBeforeTheFirstUse() {
  CHECK_THAT(InAChild(&ShareAndTransfer) == 0);
  ShareAndTransfer();
  std::exit(0);
}

// After a use that is over, in a process without threads.
[[noreturn]] void ForkAfterAUse() {
  const auto share = Share::Create(EveryKind()).value();
  Easy easy = NewEasy(*share);
  CHECK_THAT(easy.SetUrl("http://127.0.0.1:1/").ok());
  CHECK_THAT(!easy.Perform().ok());  // refused
  CHECK_THAT(InAChild(&ShareAndTransfer) == 0);
  ShareAndTransfer();
  CHECK_THAT(share->Close().ok());
  std::exit(0);
}

// The child destroys what has its parent's connection, and ends as a program
// does: what is kept for ever is no leak.
[[noreturn]] void ForkAndDestroyInTheChild() {
  const std::string url = ServerProcess() + "/bytes?n=1000";
  auto share = Share::Create(EveryKind()).value();
  std::optional<Easy> easy = NewEasy(*share);
  std::optional<Easy> alone = Easy::Create().value();
  CHECK_THAT(Fetches(*easy, url));
  CHECK_THAT(Fetches(*alone, url));
  CHECK_THAT(InAChild([&] {
               easy.reset();
               share.reset();
               alone.reset();
               std::exit(0);
             }) == 0);
  for (Easy* each : {&*easy, &*alone}) {
    CHECK_THAT(each->Fetch(url)->connection_reused);
  }
  CHECK_THAT(share->Close().ok());
  std::exit(0);
}

// With a server, that is with threads, and a connection that is open: the child
// leaves what is its parent's alone, and the parent goes on with it.
[[noreturn]] void ForkWithAnOpenConnection() {
  const auto server = HttpServer::Start().value();
  const std::string url = server->url("/bytes?n=1000");
  const auto share = Share::Create(EveryKind()).value();
  std::optional<Easy> easy = NewEasy(*share);
  CHECK_THAT(Fetches(*easy, url));
  CHECK_THAT(InAChild([&] {
               const auto own = Share::Create(EveryKind()).value();
               Easy fresh = NewEasy(*own);
               CHECK_THAT(Fetches(fresh, url));
               CHECK_THAT(own->Close().ok());
             }) == 0);
  CHECK_THAT(server->counts().connections == 2);
  CHECK_THAT(Fetches(*easy, url));
  CHECK_THAT(server->counts().connections == 2);  // reused
  CHECK_THAT(share->Close().ok());
  _exit(0);
}

TEST_F(LifetimeTest, AChildForkedBeforeTheFirstUseMayUseAll) {
  EXPECT_EXIT(ForkBeforeTheFirstUse(), ExitedWithCode(0), "");
}

TEST_F(LifetimeTest, AChildForkedLaterMayUseWhatItMakesItself) {
  EXPECT_EXIT(ForkAfterAUse(), ExitedWithCode(0), "");
}

TEST_F(LifetimeTest, AChildMayDestroyWhatIsItsParents) {
  EXPECT_EXIT(ForkAndDestroyInTheChild(), ExitedWithCode(0), "");
}

TEST_F(LifetimeTest, AParentGoesOnWithItsConnectionsAfterAFork) {
#ifdef ABSL_HAVE_THREAD_SANITIZER
  GTEST_SKIP() << "ThreadSanitizer does not fork with threads";
#endif
  EXPECT_EXIT(ForkWithAnOpenConnection(), ExitedWithCode(0), "");
}

// ---- curl_global_init

[[noreturn]] void ApplicationInitialisesFirst() {
  CHECK_THAT(curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK);
  ShareAndTransfer();
  // Balances its own call: the library keeps another.
  curl_global_cleanup();
  ShareAndTransfer();
  std::exit(0);
}

[[noreturn]] void ApplicationInitialisesLater() {
  ShareAndTransfer();
  CHECK_THAT(curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK);
  curl_global_cleanup();
  ShareAndTransfer();
  std::exit(0);
}

[[noreturn]] void NobodyElseInitialises() {
  ShareAndTransfer();
  std::exit(0);
}

TEST_F(LifetimeTest, TheApplicationMayInitialiseLibcurlOrNot) {
  EXPECT_EXIT(ApplicationInitialisesFirst(), ExitedWithCode(0), "");
  EXPECT_EXIT(ApplicationInitialisesLater(), ExitedWithCode(0), "");
  EXPECT_EXIT(NobodyElseInitialises(), ExitedWithCode(0), "");
}

}  // namespace
}  // namespace curlshare
