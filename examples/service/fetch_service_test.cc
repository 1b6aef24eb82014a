// SPDX-License-Identifier: Apache-2.0
// Runs the service as a supervisor would: URLs in, SIGTERM, a line for each
// out.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLongEnough = absl::Seconds(30);

// A run of the program; standard input and output are pipes, standard error a
// file.
class ServiceProcess {
 public:
  explicit ServiceProcess(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "./fetch_service");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int in[2];
    int out[2];
    EXPECT_EQ(pipe(in), 0);
    EXPECT_EQ(pipe(out), 0);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err_.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int fd : {in[0], in[1], out[0], out[1]}) {
      posix_spawn_file_actions_addclose(&files, fd);
    }
    EXPECT_EQ(
        posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  ServiceProcess(const ServiceProcess&) = delete;
  ServiceProcess& operator=(const ServiceProcess&) = delete;
  ~ServiceProcess() {
    if (pid_ != 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    if (in_ >= 0) close(in_);
    close(out_);
  }

  void Write(absl::string_view text) {
    EXPECT_EQ(write(in_, text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }
  void EndInput() {
    close(in_);
    in_ = -1;
  }
  void Terminate() const { kill(pid_, SIGTERM); }
  void AskForReport() const { kill(pid_, SIGUSR1); }

  // Waits until `n` lines have come in all; false at the end of the output.
  bool ReadLines(size_t n) {
    while (Lines().size() < n) {
      if (!Read()) return false;
    }
    return true;
  }
  std::vector<std::string> Lines() const {
    return absl::StrSplit(text_, '\n', absl::SkipEmpty());
  }
  int Count(absl::string_view what) const {
    int count = 0;
    for (const std::string& line : Lines()) {
      count += absl::StrContains(line, absl::StrCat("\t", what, "\t"));
    }
    return count;
  }

  // Its exit status; -1 where a signal ended it.
  int Wait() {
    while (Read()) {
    }
    int status = 0;
    EXPECT_EQ(waitpid(std::exchange(pid_, 0), &status, 0) > 0, true);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string Log() const {
    std::ifstream file(err_);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

 private:
  // Some more output; false at its end, or when that takes too long.
  bool Read() {
    pollfd fd = {out_, POLLIN, 0};
    if (poll(&fd, 1,
             static_cast<int>(absl::ToInt64Milliseconds(kLongEnough))) != 1) {
      ADD_FAILURE() << "no output for " << kLongEnough << "; so far: " << text_
                    << Log();
      return false;
    }
    char buffer[4096];
    const ssize_t n = read(out_, buffer, sizeof(buffer));
    if (n <= 0) return false;
    text_.append(buffer, n);
    return true;
  }

  const std::string err_ = ::testing::TempDir() + "/err";
  pid_t pid_ = 0;
  int in_ = -1;
  int out_ = -1;
  std::string text_;
};

class FetchServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HttpServerOptions options;
    options.tls = true;
    auto server = HttpServer::Start(options);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
    std::ofstream(ca_file_) << server_->ca_pem();
  }

  std::unique_ptr<ServiceProcess> NewService(
      std::vector<std::string> arguments) {
    arguments.push_back("--cacert=" + ca_file_);
    return std::make_unique<ServiceProcess>(std::move(arguments));
  }

  // Five URLs that stall, on two workers, both of which are at it.
  void SubmitFiveAndWaitForTwo(ServiceProcess& service) {
    for (int i = 0; i < 5; ++i) {
      service.Write(server_->url(absl::StrCat("/stall?i=", i)) + "\n");
    }
    ASSERT_TRUE(server_->WaitForStalled(2, absl::Now() + kLongEnough));
  }

  std::unique_ptr<HttpServer> server_;
  const std::string ca_file_ = ::testing::TempDir() + "/ca.pem";
};

TEST_F(FetchServiceTest, FetchesAllUntilItsInputEnds) {
  constexpr int kUrls = 200;
  const auto service = NewService({"--workers=4", "--queue_size=10"});
  for (int i = 0; i < kUrls; ++i) service->Write(server_->url("/") + "\n");
  service->Write("\n" + server_->url("/status?code=404"));  // No line break.
  service->EndInput();
  EXPECT_EQ(service->Wait(), 0) << service->Log();
  EXPECT_EQ(service->Count("200"), kUrls);
  EXPECT_EQ(service->Count("404"), 1);
  EXPECT_THAT(service->Log(), HasSubstr("201 submitted: 201 answered"));
  EXPECT_EQ(server_->counts().requests, kUrls + 1);
  EXPECT_LE(server_->counts().connections, 4);
}

TEST_F(FetchServiceTest, SaysWhatMayBeTriedAgain) {
  const auto service = NewService({"--workers=1", "--max_body_size=1000"});
  service->Write("https://127.0.0.1:1/\n");
  service->Write(server_->url("/bytes?n=1001") + "\n");
  service->EndInput();
  EXPECT_EQ(service->Wait(), 1) << service->Log();
  EXPECT_EQ(service->Count("try again"), 1);
  EXPECT_EQ(service->Count("failed"), 1);
  EXPECT_THAT(service->Log(), HasSubstr("0 answered, 2 failed"));
}

TEST_F(FetchServiceTest, AtSigtermWhatIsInFlightEnds) {
  const auto service = NewService({"--workers=2", "--grace=1h"});
  SubmitFiveAndWaitForTwo(*service);
  service->Terminate();
  ASSERT_TRUE(service->ReadLines(3));  // It has seen the signal.
  EXPECT_EQ(service->Count("not started"), 3);
  server_->ReleaseStalled();
  EXPECT_EQ(service->Wait(), 0) << service->Log();
  EXPECT_EQ(service->Count("200"), 2);
  EXPECT_EQ(service->Lines().size(), 5u);
  EXPECT_THAT(service->Log(), HasSubstr("5 submitted: 2 answered, 0 failed, 0 "
                                        "cancelled, 3 not started"));
  EXPECT_EQ(server_->counts().requests, 2);
}

TEST_F(FetchServiceTest, AtTheEndOfTheGraceWhatIsInFlightIsCancelled) {
  const auto service = NewService({"--workers=2", "--grace=300ms"});
  SubmitFiveAndWaitForTwo(*service);
  const absl::Time start = absl::Now();
  service->Terminate();
  EXPECT_EQ(service->Wait(), 1) << service->Log();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
  // Prompt, and certainly not the 30 seconds that a request may take.
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_EQ(service->Count("cancelled"), 2);
  EXPECT_EQ(service->Count("not started"), 3);
  EXPECT_THAT(service->Log(), HasSubstr("5 submitted: 0 answered, 0 failed, 2 "
                                        "cancelled, 3 not started"));
}

TEST_F(FetchServiceTest, ASecondSignalEndsTheGrace) {
  const auto service = NewService({"--workers=2", "--grace=1h"});
  SubmitFiveAndWaitForTwo(*service);
  service->Terminate();
  ASSERT_TRUE(service->ReadLines(3));
  service->Terminate();
  EXPECT_EQ(service->Wait(), 1) << service->Log();
  EXPECT_EQ(service->Count("cancelled"), 2);
  EXPECT_EQ(service->Lines().size(), 5u);
}

TEST_F(FetchServiceTest, SaysWhatItsShareDidAtSigusr1AndAtTheEnd) {
  const auto service = NewService({"--workers=1", "--grace=1h"});
  service->Write(server_->url("/") + "\n");
  ASSERT_TRUE(service->ReadLines(1));
  service->AskForReport();
  // It goes on.
  service->Write(server_->url("/") + "\n");
  ASSERT_TRUE(service->ReadLines(2));
  service->Terminate();  // Taken after the report, if that has not been yet.
  EXPECT_EQ(service->Wait(), 0) << service->Log();
  std::vector<std::string> reports;
  for (const absl::string_view line : absl::StrSplit(service->Log(), '\n')) {
    if (absl::StrContains(line, "share: ")) reports.emplace_back(line);
  }
  ASSERT_EQ(reports.size(), 2u) << service->Log();
  EXPECT_THAT(reports[0],
              AllOf(HasSubstr(" attached=1 "), HasSubstr(" closed=0 "),
                    HasSubstr(" opened=1 "), HasSubstr(" dns_lookups=1 "),
                    HasSubstr(" handshakes=1 ")));
  EXPECT_THAT(reports[1],
              AllOf(HasSubstr(" attached=0 "), HasSubstr(" closed=1 "),
                    HasSubstr(" opened=1 "), HasSubstr(" reused=1 "),
                    HasSubstr(" dns_lookups=1 "), HasSubstr(" handshakes=1 ")));
  EXPECT_EQ(server_->counts().connections, 1);
}

TEST_F(FetchServiceTest, SigtermEndsAnIdleService) {
  const auto service = NewService({"--grace=1h"});
  service->Write(server_->url("/") + "\n");
  ASSERT_TRUE(service->ReadLines(1));
  service->Terminate();
  EXPECT_EQ(service->Wait(), 0) << service->Log();
  EXPECT_THAT(service->Log(), HasSubstr("1 submitted: 1 answered"));
}

// The queue is full, and the service waits for room in it, not for its input.
TEST_F(FetchServiceTest, SigtermEndsTheWaitForRoomInTheQueue) {
  const auto service =
      NewService({"--workers=2", "--queue_size=1", "--grace=10ms"});
  SubmitFiveAndWaitForTwo(*service);
  service->Terminate();
  EXPECT_EQ(service->Wait(), 1) << service->Log();
  EXPECT_EQ(service->Count("cancelled"), 2);
  // What was queued, and what had been read but found no room.
  EXPECT_EQ(service->Count("not started"), 3);
}

TEST_F(FetchServiceTest, SaysWhatIsWrongWithItsFlags) {
  const auto service = NewService({"--workers=0"});
  EXPECT_EQ(service->Wait(), 1);
  EXPECT_THAT(service->Log(), HasSubstr("workers"));
  const auto other = NewService({"--lock_data=dns,nothing"});
  EXPECT_EQ(other->Wait(), 1);
  EXPECT_THAT(other->Log(), HasSubstr("nothing"));
}

TEST(QuickStart, FetchesItsUrl) {
  auto server = HttpServer::Start();
  ASSERT_OK(server.status());
  const std::string command = "./quick_start " + (*server)->url("/");
  EXPECT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ((*server)->counts().requests, 1);
}

}  // namespace
