// SPDX-License-Identifier: Apache-2.0
// Runs //examples:fetch as a user would.
#include <fcntl.h>
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

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string TempFile(absl::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/", name);
}

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A run of the program, with standard output and error in files.
class FetchProcess {
 public:
  explicit FetchProcess(std::vector<std::string> arguments) {
    // Tests start in the directory that holds the repository.
    arguments.insert(arguments.begin(), "examples/fetch");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out_.c_str(),
                                     kFlags, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err_.c_str(),
                                     kFlags, 0600);
    EXPECT_EQ(
        posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  FetchProcess(const FetchProcess&) = delete;
  FetchProcess& operator=(const FetchProcess&) = delete;

  void Interrupt() const { kill(pid_, SIGINT); }

  struct Result {
    int exit_code;  // -1: ended by a signal
    std::string out;
    std::string err;
  };
  Result Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read(out_),
            Read(err_)};
  }

 private:
  const std::string out_ = TempFile("out");
  const std::string err_ = TempFile("err");
  pid_t pid_ = 0;
};

FetchProcess::Result Fetch(std::vector<std::string> arguments) {
  return FetchProcess(std::move(arguments)).Wait();
}

TEST(Fetch, SharesConnectionsOfItsOwnServer) {
  const auto result = Fetch({"--json", "--threads=4", "--requests=100"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty()) << "not quiet in a pipe";
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["libcurl"], RunningLibcurl().version);
  EXPECT_EQ(json["counted_by"], "server");
  EXPECT_EQ(json["interrupted"], false);
  for (const char* mode : {"unshared", "shared"}) {
    const auto& run = json["modes"][mode];
    EXPECT_EQ(run["requests_ok"], 100) << mode;
    EXPECT_EQ(run["requests_failed"], 0) << mode;
    EXPECT_GT(run["requests_per_second"], 0) << mode;
    EXPECT_EQ(static_cast<int>(run["tls_full"]) +
                  static_cast<int>(run["tls_resumed"]),
              run["connections"])
        << mode;
  }
  EXPECT_EQ(json["modes"]["unshared"]["connections"], 100);
  EXPECT_EQ(json["modes"]["unshared"]["tls_resumed"], 0);
  EXPECT_EQ(json["modes"]["unshared"]["dns_lookups"], 100);
  const auto& shared = json["modes"]["shared"];
  EXPECT_LE(shared["connections"], 4);
  EXPECT_EQ(shared["pool"]["opened"], shared["connections"]);
  EXPECT_EQ(static_cast<int>(shared["pool"]["opened"]) +
                static_cast<int>(shared["pool"]["reused"]),
            100);
  // All threads may ask before the first answer is there.
  EXPECT_LE(shared["dns_lookups"], 4);
}

TEST(Fetch, SharesTlsSessions) {
  const auto result = Fetch(
      {"--json", "--threads=4", "--requests=100", "--lock_data=ssl_session"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  const auto& run = json["modes"]["shared"];
  EXPECT_EQ(run["connections"], 100);
  EXPECT_GT(run["tls_resumed"], 50);
  EXPECT_GT(run["locks"]["ssl_session"]["taken"], 0);
}

TEST(Fetch, KeepsConnections) {
  const auto result =
      Fetch({"--json", "--threads=3", "--requests=60", "--handles=kept"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  for (const char* mode : {"unshared", "shared"}) {
    EXPECT_LE(json["modes"][mode]["connections"], 3) << mode;
  }
}

TEST(Fetch, PrintsATable) {
  const auto result = Fetch({"--requests=20"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("without share"), HasSubstr("with share"),
                    HasSubstr("TLS handshakes, resumed"),
                    HasSubstr("longest wait"), Not(HasSubstr("\x1b"))));
}

// What the client counts is what the server counts.
TEST(Fetch, CountsByItselfWhatAnotherServerServes) {
  testing::HttpServerOptions options;
  options.tls = true;
  const auto server = HttpServer::Start(options);
  ASSERT_OK(server.status());
  const std::string ca = TempFile("ca.pem");
  std::ofstream(ca) << (*server)->ca_pem();
  const std::string urls = TempFile("urls");
  std::ofstream(urls) << "# what to fetch\n\n"
                      << (*server)->url("/bytes?n=1") << "\n"
                      << (*server)->url("/bytes?n=2") << "\n";
  const auto result = Fetch({"--json", "--threads=2", "--requests=40",
                             "--cacert=" + ca, "--file=" + urls});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["counted_by"], "client");
  int full = 0;
  int resumed = 0;
  int connections = 0;
  for (const char* mode : {"unshared", "shared"}) {
    const auto& run = json["modes"][mode];
    connections += static_cast<int>(run["connections"]);
    full += static_cast<int>(run["tls_full"]);
    resumed += static_cast<int>(run["tls_resumed"]);
  }
  EXPECT_EQ(connections, (*server)->counts().connections);
  EXPECT_EQ(full, (*server)->counts().tls_full);
  EXPECT_EQ(resumed, (*server)->counts().tls_resumed);
}

TEST(Fetch, TellsFailuresByTheirReason) {
  const auto server = HttpServer::Start();
  ASSERT_OK(server.status());
  const auto result =
      Fetch({"--json", "--threads=2", "--requests=6", "http://127.0.0.1:1/",
             (*server)->url("/status?code=404"), (*server)->url("/")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("8 of 12 requests failed"));
  const auto json = nlohmann::json::parse(result.out);
  for (const char* mode : {"unshared", "shared"}) {
    EXPECT_EQ(json["modes"][mode]["requests_ok"], 2);
    EXPECT_EQ(json["modes"][mode]["requests_failed"], 4);
    EXPECT_EQ(json["modes"][mode]["failures"]["CURLE_COULDNT_CONNECT"], 2);
    EXPECT_EQ(json["modes"][mode]["failures"]["HTTP 404"], 2);
  }
}

TEST(Fetch, RefusesBadArguments) {
  const std::string empty = TempFile("empty");
  std::ofstream(empty) << "# nothing\n";
  const std::pair<std::string, std::string> cases[] = {
      {"--threads=0", "--threads"},
      {"--threads=many", "--threads"},
      {"--requests=-1", "--requests"},
      {"--handles=some", "--handles"},
      {"--lock_data=cookies", "'cookies' is no kind of data"},
      {"--concurrency=some", "--concurrency"},
      {"--timeout=0", "--timeout"},
      {"--file=/no/such/file", "cannot read /no/such/file"},
      {"--file=" + empty, "holds no URL"},
      {"--cacert=/no/such/file", "cannot read /no/such/file"},
      {"--no_such_flag", "--no_such_flag"},
  };
  for (const auto& [argument, message] : cases) {
    const auto result = Fetch({argument});
    EXPECT_EQ(result.exit_code, 2) << argument;
    EXPECT_THAT(result.err, HasSubstr(message)) << argument;
    EXPECT_THAT(result.out, IsEmpty()) << argument;
  }
}

// Handles come and go; their connections stay in the share.
TEST(Fetch, SharesEveryKindBehindAGate) {
  const auto result = Fetch({"--json", "--lock_data=all", "--threads=4",
                             "--requests=80", "--handles=kept"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["gated"], true);
  EXPECT_EQ(json["lock_data"], LockDataSet::Available().ToString());
  const auto& shared = json["modes"]["shared"];
  EXPECT_EQ(shared["requests_ok"], 80);
  EXPECT_LE(shared["connections"], 4);
  EXPECT_GT(shared["locks"]["gate"]["taken"], 80);
  const auto table = Fetch(
      {"--lock_data=cookie,connect", "--requests=20", "--concurrency=gated"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out,
              AllOf(HasSubstr("sharing cookie,connect behind a gate"),
                    HasSubstr("│ gate ")));
}

TEST(Fetch, RunsWithoutAGateIfTold) {
  const auto result = Fetch({"--json", "--lock_data=connect", "--threads=1",
                             "--requests=5", "--concurrency=unchecked"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["gated"], false);
  EXPECT_TRUE(json["modes"]["shared"]["locks"]["gate"].is_null());
}

TEST(Fetch, Helps) {
  const auto result = Fetch({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("--lock_data"), HasSubstr("130")));
}

// The server never answers: an interrupt alone can end it, in either run.
TEST(Fetch, AnInterruptEndsItAndPrintsWhatWasDone) {
  const auto server = HttpServer::Start();
  ASSERT_OK(server.status());
  for (const bool in_shared_run : {false, true}) {
    FetchProcess process({"--json", "--threads=2", "--requests=2",
                          "--timeout=100", (*server)->url("/stall")});
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    ASSERT_TRUE((*server)->WaitForStalled(2, deadline));
    if (in_shared_run) {
      (*server)->ReleaseStalled();
      ASSERT_TRUE((*server)->WaitForStalled(2, deadline));
    }
    process.Interrupt();
    const auto result = process.Wait();
    EXPECT_EQ(result.exit_code, 130) << result.err;
    const auto json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json["interrupted"], true);
    EXPECT_EQ(json["modes"].contains("shared"), in_shared_run);
    const auto& last = json["modes"][in_shared_run ? "shared" : "unshared"];
    EXPECT_EQ(last["failures"]["CANCELLED"], 2);
    (*server)->ReleaseStalled();
  }
}

}  // namespace
}  // namespace curlshare
