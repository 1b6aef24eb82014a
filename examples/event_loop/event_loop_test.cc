// SPDX-License-Identifier: Apache-2.0
#include "event_loop.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace event_loop {
namespace {

using ::curlshare::AfterClose;
using ::curlshare::LockData;
using ::curlshare::Share;
using ::curlshare::ShareOptions;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::RunThreads;
using ::curlshare::testing::StatusIs;
using ::testing::Each;
using ::testing::SizeIs;

constexpr auto kCancelled = absl::StatusCode::kCancelled;

// Far more than anything here takes, and less than a transfer or a poll of the
// loop lasts by itself.
absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  return HttpServer::Start(options).value();
}

std::unique_ptr<Share> NewShare() {
  ShareOptions options;
  options.after_close = AfterClose::kRefuse;
  return Share::Create(options).value();
}

// What came back, in the order in which it came.
class Answers {
 public:
  EventLoop::Done Done() {
    return [this](const absl::StatusOr<std::string>& body) {
      absl::MutexLock lock(&mu_);
      answers_.push_back(body);
    };
  }
  // Once there are `n`, or as many as there are Soon().
  std::vector<absl::StatusOr<std::string>> Wait(size_t n) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return answers_.size() >= n;
    };
    mu_.AwaitWithDeadline(absl::Condition(&enough), Soon());
    return answers_;
  }

 private:
  absl::Mutex mu_;
  std::vector<absl::StatusOr<std::string>> answers_ ABSL_GUARDED_BY(mu_);
};

TEST(EventLoopTest, AnswersEachOfManyThreads) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  const auto loop = EventLoop::Start(*share).value();
  RunThreads(4, [&](int) {
    for (int i = 0; i < 25; ++i) loop->Get(server->url("/"), answers.Done());
  });
  EXPECT_THAT(answers.Wait(100), Each(IsOkAndHolds("ok")));
  EXPECT_OK(loop->Shutdown(Soon()));
  EXPECT_THAT(answers.Wait(0), SizeIs(100));
  EXPECT_EQ(server->counts().requests, 100);
}

TEST(EventLoopTest, TransfersInParallel) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  const auto loop = EventLoop::Start(*share).value();
  for (int i = 0; i < 8; ++i) loop->Get(server->url("/stall"), answers.Done());
  EXPECT_TRUE(server->WaitForStalled(8, Soon()));
  server->ReleaseStalled();
  EXPECT_THAT(answers.Wait(8), Each(IsOkAndHolds("ok")));
}

TEST(EventLoopTest, ResumesTlsSessionsOfAnotherLoop) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare();
  if (!share->lock_data().Contains(LockData::kSslSession)) {
    GTEST_SKIP() << "this libcurl needs a gate for them";
  }
  EventLoopOptions options;
  options.ca_pem = server->ca_pem();
  const auto one = EventLoop::Start(*share, options).value();
  const auto other = EventLoop::Start(*share, options).value();
  Answers answers;
  one->Get(server->url("/"), answers.Done());
  EXPECT_THAT(answers.Wait(1), Each(IsOkAndHolds("ok")));
  other->Get(server->url("/"), answers.Done());
  EXPECT_THAT(answers.Wait(2), Each(IsOkAndHolds("ok")));
  EXPECT_EQ(server->counts().connections, 2);
  EXPECT_EQ(server->counts().tls_full, 1);
  EXPECT_EQ(server->counts().tls_resumed, 1);
}

TEST(EventLoopTest, TriesAgainWhereTheServerDropsTheConnection) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  EventLoopOptions options;
  options.tries = 3;
  options.first_pause = absl::Milliseconds(20);
  const auto loop = EventLoop::Start(*share, options).value();
  server->DropNextConnections(2);
  const absl::Time start = absl::Now();
  loop->Get(server->url("/"), answers.Done());
  EXPECT_THAT(answers.Wait(1), Each(IsOkAndHolds("ok")));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20 + 40));
  EXPECT_EQ(server->counts().connections, 3);
  EXPECT_EQ(server->counts().requests, 1);
}

TEST(EventLoopTest, GivesUpAfterTheLastTry) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  EventLoopOptions options;
  options.tries = 2;
  options.first_pause = absl::Milliseconds(1);
  const auto loop = EventLoop::Start(*share, options).value();
  server->DropNextConnections(2);
  loop->Get(server->url("/"), answers.Done());
  EXPECT_THAT(answers.Wait(1), Each(StatusIs(absl::StatusCode::kUnavailable)));
  EXPECT_EQ(server->counts().connections, 2);
}

TEST(EventLoopTest, TriesOnceWhereAnotherTryIsOfNoUse) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  const auto loop = EventLoop::Start(*share).value();
  loop->Get(server->url("/status?code=404"), answers.Done());
  loop->Get("no-such-protocol://127.0.0.1/", answers.Done());
  for (const absl::StatusOr<std::string>& answer : answers.Wait(2)) {
    EXPECT_FALSE(answer.ok());
  }
  EXPECT_EQ(server->counts().requests, 1);
}

// One pauses before its next try, three stall, two wait for their turn, one
// comes too late.
TEST(EventLoopTest, ShutdownAnswersAllAtOnce) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  EventLoopOptions options;
  options.parallel = 3;
  options.first_pause = absl::Hours(1);
  const auto loop = EventLoop::Start(*share, options).value();
  server->DropNextConnections(1);
  for (int i = 0; i < 6; ++i) loop->Get(server->url("/stall"), answers.Done());
  ASSERT_TRUE(server->WaitForStalled(3, Soon()));
  EXPECT_OK(loop->Shutdown(Soon()));
  loop->Get(server->url("/"), answers.Done());
  EXPECT_THAT(answers.Wait(7), Each(StatusIs(kCancelled)));
  EXPECT_THAT(answers.Wait(0), SizeIs(7));
  EXPECT_TRUE(share->closed());
  EXPECT_EQ(server->counts().requests, 3);
}

// Nothing but the Share tells the loop.
TEST(EventLoopTest, ACloseOfTheShareEndsItsTransfers) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  const auto loop = EventLoop::Start(*share).value();
  loop->Get(server->url("/stall"), answers.Done());
  ASSERT_TRUE(server->WaitForStalled(1, Soon()));
  EXPECT_OK(share->CloseNow(Soon()));
  EXPECT_THAT(answers.Wait(1), Each(StatusIs(kCancelled)));
  Answers refused;
  loop->Get(server->url("/"), refused.Done());
  EXPECT_THAT(refused.Wait(1),
              Each(StatusIs(absl::StatusCode::kFailedPrecondition)));
}

TEST(EventLoopTest, ItsDestructionAnswersAllAtOnce) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  auto loop = EventLoop::Start(*share).value();
  loop->Get(server->url("/stall"), answers.Done());
  ASSERT_TRUE(server->WaitForStalled(1, Soon()));
  loop = nullptr;
  EXPECT_THAT(answers.Wait(1), Each(StatusIs(kCancelled)));
}

TEST(EventLoopTest, TheLoopsThreadMayAskForMore) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare();
  Answers answers;
  const auto loop = EventLoop::Start(*share).value();
  loop->Get(server->url("/"), [&](const absl::StatusOr<std::string>& body) {
    answers.Done()(body);
    loop->Get(server->url("/"), answers.Done());
  });
  EXPECT_THAT(answers.Wait(2), Each(IsOkAndHolds("ok")));
}

TEST(EventLoopTest, TakesNoShareThatIsNotForIt) {
  EXPECT_THAT(EventLoop::Start(*Share::Create().value()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ShareOptions options;
  options.after_close = AfterClose::kRefuse;
  options.lock_data = LockData::kHsts;
  EXPECT_THAT(EventLoop::Start(*Share::Create(options).value()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace event_loop
