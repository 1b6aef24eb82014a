// SPDX-License-Identifier: Apache-2.0
// Fetches URLs from many threads, first without a share and then with one, and
// shows the difference. Without a URL it starts an HTTPS server on loopback and
// fetches from that.
//
//   bazel run -c opt //examples:fetch
//   bazel run -c opt //examples:fetch -- --threads=16 https://example.com/
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "examples/fetch_job.h"
#include "examples/fetch_report.h"

namespace curlshare::examples {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;

constexpr int kExitFailed = 1;
constexpr int kExitBadArguments = 2;
constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as in shells

// The command line.
struct Arguments {
  JobOptions job;
  std::string urls_file;
  std::string ca_file;
  std::string handles = "new";
  std::string lock_data = "default";
  std::string concurrency = "auto";
  double timeout_seconds = 30;
  bool json = false;
};

int Fail(int exit_code, absl::string_view message) {
  std::fputs(absl::StrCat("fetch: ", message, "\n").c_str(), stderr);
  return exit_code;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  return text;
}

// Adds the URLs in a file, one on each line. Ignores empty lines and lines that
// begin with #.
absl::Status AddUrls(const std::string& path, std::vector<std::string>& urls) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty() && line[0] != '#') urls.emplace_back(line);
  }
  return urls.empty()
             ? absl::InvalidArgumentError(absl::StrCat(path, " holds no URL"))
             : absl::OkStatus();
}

// Blocks SIGINT in this thread, and so in all threads that it starts later, and
// lets this thread wait for the signal. A signal handler could call almost
// nothing; here anything may be called. Not thread-safe.
class InterruptWaiter {
 public:
  InterruptWaiter() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  InterruptWaiter(const InterruptWaiter&) = delete;
  InterruptWaiter& operator=(const InterruptWaiter&) = delete;

  // Waits for SIGINT. Returns false if none arrives within `timeout`. After the
  // first, another SIGINT ends the process at once.
  bool Wait(absl::Duration timeout) {
    const timespec time = absl::ToTimespec(timeout);
    if (sigtimedwait(&signals_, nullptr, &time) != SIGINT) return false;
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    return true;
  }

 private:
  sigset_t signals_;
};

// Runs `job` on another thread and shows its progress. At Ctrl-C sets
// `interrupted` and stops the job; the result is what was done until then.
JobResult RunJob(Job& job, absl::string_view label, int64_t requests,
                 InterruptWaiter& interrupt, bool& interrupted) {
  JobResult result;
  absl::Notification done;
  std::thread runner([&] {
    result = job.Run();
    done.Notify();
  });
  {
    ProgressBar bar;
    while (!done.HasBeenNotified()) {
      bar.Show(label, job.done(), requests);
      // The timeout also sets the pace at which the bar is redrawn.
      if (!interrupted && interrupt.Wait(absl::Milliseconds(50))) {
        interrupted = true;
        job.Stop();
      }
    }
  }
  runner.join();
  return result;
}

int Run(const Arguments& arguments) {
  Report report;
  report.options = arguments.job;
  JobOptions& options = report.options;
  options.new_handles = arguments.handles == "new";
  options.timeout = absl::Seconds(arguments.timeout_seconds);
  if (!arguments.urls_file.empty()) {
    if (absl::Status s = AddUrls(arguments.urls_file, options.urls); !s.ok()) {
      return Fail(kExitBadArguments, s.message());
    }
  }
  if (!arguments.ca_file.empty()) {
    absl::StatusOr<std::string> pem = ReadFile(arguments.ca_file);
    if (!pem.ok()) return Fail(kExitBadArguments, pem.status().message());
    options.ca_pem = *std::move(pem);
  }
  ShareOptions share_options;
  if (arguments.lock_data != "default") {
    absl::StatusOr<LockDataSet> kinds = LockDataSet::Parse(arguments.lock_data);
    if (!kinds.ok()) {
      return Fail(kExitBadArguments,
                  absl::StrCat("--lock_data: ", kinds.status().message()));
    }
    share_options.lock_data = *kinds;
    if (absl::EqualsIgnoreCase(arguments.lock_data, "all")) {
      share_options.lock_data = LockDataSet::Available();
    }
  }
  for (Concurrency concurrency :
       {Concurrency::kAuto, Concurrency::kGated, Concurrency::kUnchecked}) {
    if (arguments.concurrency == ConcurrencyName(concurrency)) {
      share_options.concurrency = concurrency;
    }
  }

  InterruptWaiter interrupt;  // before there is another thread
  absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(share_options);
  if (!share.ok()) {
    return Fail(kExitBadArguments,
                absl::StrCat("--lock_data: ", share.status().message()));
  }
  report.lock_data = (*share)->lock_data();
  report.gated = (*share)->gated();

  std::unique_ptr<HttpServer> server;
  if (options.urls.empty()) {
    HttpServerOptions server_options;
    server_options.tls = true;
    auto started = HttpServer::Start(server_options);
    if (!started.ok()) {
      return Fail(kExitFailed,
                  absl::StrCat("no server: ", started.status().message()));
    }
    server = *std::move(started);
    options.urls = {server->url("/bytes?n=1000", "localhost")};
    options.ca_pem = server->ca_pem();
    report.counted_by_server = true;
  }
  // The server's own counts, if it is ours, are more reliable than the
  // client's.
  const auto count = [&server](JobResult& result) {
    if (server == nullptr) return;
    const auto counts = server->counts();
    result.connections = counts.connections;
    result.tls_full = counts.tls_full;
    result.tls_resumed = counts.tls_resumed;
    server->ResetCounts();
  };

  {
    Job job(options, nullptr);
    report.unshared = RunJob(job, "without share", options.requests, interrupt,
                             report.interrupted);
    count(*report.unshared);
  }
  if (!report.interrupted) {
    Job job(options, share->get());
    report.shared = RunJob(job, "with share", options.requests, interrupt,
                           report.interrupted);
    count(*report.shared);
    report.share_stats = (*share)->stats();
  }
  const absl::Status closed = (*share)->Close();
  std::fputs(arguments.json ? ToJson(report).c_str() : ToTable(report).c_str(),
             stdout);
  if (!closed.ok()) return Fail(kExitFailed, closed.ToString());
  if (report.interrupted) return kExitInterrupted;
  const int64_t failed = report.unshared->failed + report.shared->failed;
  if (failed > 0) {
    return Fail(kExitFailed, absl::StrCat(failed, " of ", 2 * options.requests,
                                          " requests failed"));
  }
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  // `bazel run` starts a program in another directory than the user's. (getenv
  // is safe: there is no other thread yet.)
  if (const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");  // NOLINT
      directory != nullptr && chdir(directory) != 0) {
    return Fail(kExitFailed, absl::StrCat("cannot go to ", directory));
  }
  Arguments arguments;
  CLI::App app(
      "Fetches URLs from many threads, once without a share and once through "
      "one, and shows what sharing changed. With no URL it starts an HTTPS "
      "server of its own, on loopback.",
      "fetch");
  app.add_option("url", arguments.job.urls, "What to fetch, in turn");
  app.add_option("--file", arguments.urls_file,
                 "A file with further URLs, one a line");
  app.add_option("--threads", arguments.job.threads, "Threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--requests", arguments.job.requests,
                 "Requests in all, of each of the two runs")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--handles", arguments.handles,
                 "'new': a new handle for each request; 'kept': one for each "
                 "thread")
      ->check(CLI::IsMember({"new", "kept"}))
      ->capture_default_str();
  app.add_option("--lock_data", arguments.lock_data,
                 "Kinds of data to share: 'default', 'all' that this libcurl "
                 "has, 'none', or names separated by commas: " +
                     LockDataSet::All().ToString())
      ->capture_default_str();
  app.add_option(
         "--concurrency", arguments.concurrency,
         "'auto': behind a gate where a kind needs it; 'gated': always; "
         "'unchecked': never, which can crash")
      ->check(CLI::IsMember({"auto", "gated", "unchecked"}))
      ->capture_default_str();
  app.add_option("--timeout", arguments.timeout_seconds,
                 "Longest time for a request, in seconds")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  app.add_option("--cacert", arguments.ca_file,
                 "A PEM file of authorities to trust instead of the system's");
  app.add_flag("--json", arguments.json, "One JSON object instead of tables");
  app.footer(
      "Exit status: 0 all requests succeeded, 1 some failed, 2 bad arguments, "
      "130 interrupted.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : kExitBadArguments;
  }
  return Run(arguments);
}

}  // namespace
}  // namespace curlshare::examples

int main(int argc, char** argv) {
  return curlshare::examples::Main(argc, argv);
}
