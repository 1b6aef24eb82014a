// SPDX-License-Identifier: Apache-2.0
// A service that reads URLs from standard input, one on each line, fetches
// them, and writes one line for each to standard output:
//
//   <URL> TAB <HTTP status> TAB <bytes>
//   <URL> TAB failed | try again | cancelled | not started TAB <reason>
//
// "try again" means that it failed as well, but for a reason that may pass,
// such as a timeout or a reset connection.
//
// At the end of the input, the service fetches what is queued and ends. At
// SIGTERM or SIGINT it starts no more transfers, waits at most --grace for
// those in progress, and then ends them; a second signal ends the wait. Each
// URL gets its line in any case. At SIGUSR1, and at its end, the service logs
// the share's statistics in one line. Exit status 0: every URL was answered, or
// reported as not started.
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "fetcher.h"
#include "service_signals.h"

ABSL_FLAG(int, workers, 8, "Threads that fetch");
ABSL_FLAG(uint32_t, queue_size, 1024, "URLs that may wait for a thread");
ABSL_FLAG(absl::Duration, request_timeout, absl::Seconds(30),
          "Longest time for one URL");
ABSL_FLAG(int64_t, max_body_size, fetch_service::FetcherOptions().max_body_size,
          "Most bytes of one answer, which is kept in memory; 0: any number");
ABSL_FLAG(absl::Duration, grace, absl::Seconds(20),
          "Time for what is in flight to end, after SIGTERM");
ABSL_FLAG(std::string, lock_data, "",
          "What the threads share: names as in dns,ssl_session; empty: what is "
          "safe without a gate");
ABSL_FLAG(std::string, cacert, "",
          "A PEM file of authorities to trust instead of the system's");

namespace fetch_service {
namespace {

// Writes the line for one URL. Called by several threads; one call of PrintF
// writes a whole line, so that lines are not mixed.
void PrintResult(const std::string& url,
                 const absl::StatusOr<curlshare::Response>& response) {
  if (response.ok()) {
    absl::PrintF("%s\t%d\t%d\n", url, response->status, response->body.size());
  } else {
    const absl::Status& status = response.status();
    absl::PrintF("%s\t%s\t%s\n", url,
                 absl::IsCancelled(status)            ? "cancelled"
                 : absl::IsFailedPrecondition(status) ? "not started"
                 : curlshare::IsRetryable(status, /*idempotent=*/true)
                     ? "try again"
                     : "failed",
                 status.message());
  }
  std::fflush(stdout);
}

// Submits the URLs that are read from standard input. Returns at the end of the
// input, or when `stop_fd` is readable.
void SubmitInput(Fetcher& fetcher, int stop_fd) {
  const auto submit = [&fetcher](absl::string_view line) {
    const std::string url(absl::StripAsciiWhitespace(line));
    if (url.empty()) return;
    // Waits while the queue is full, so that the writer of the input has to
    // wait as well.
    const absl::Status submitted = fetcher.Submit(url);
    if (!submitted.ok()) PrintResult(url, submitted);
  };
  std::string unread;
  while (true) {
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (poll(fds, std::size(fds), -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return;
    char buffer[4096];
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n <= 0) {
      submit(unread);
      return;
    }
    unread.append(buffer, n);
    size_t begin = 0;
    for (size_t end; (end = unread.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      submit(absl::string_view(unread).substr(begin, end - begin));
    }
    unread.erase(0, begin);
  }
}

absl::StatusOr<FetcherOptions> OptionsFromFlags() {
  FetcherOptions options;
  options.workers = absl::GetFlag(FLAGS_workers);
  options.queue_size = absl::GetFlag(FLAGS_queue_size);
  options.request_timeout = absl::GetFlag(FLAGS_request_timeout);
  options.max_body_size = absl::GetFlag(FLAGS_max_body_size);
  if (const std::string names = absl::GetFlag(FLAGS_lock_data);
      !names.empty()) {
    auto kinds = curlshare::LockDataSet::Parse(names);
    if (!kinds.ok()) return kinds.status();
    options.lock_data = *kinds;
  }
  if (const std::string path = absl::GetFlag(FLAGS_cacert); !path.empty()) {
    std::ifstream file(path);
    options.ca_pem.assign(std::istreambuf_iterator<char>(file), {});
    if (options.ca_pem.empty()) {
      return absl::NotFoundError(absl::StrCat("cannot read ", path));
    }
  }
  return options;
}

int Run() {
  absl::StatusOr<std::unique_ptr<Fetcher>> started;  // must outlive `signals`
  ServiceSignals signals;  // before there is another thread
  absl::StatusOr<FetcherOptions> options = OptionsFromFlags();
  if (!options.ok()) {
    LOG(ERROR) << options.status().message();
    return EXIT_FAILURE;
  }
  started = Fetcher::Start(*std::move(options), PrintResult);
  if (!started.ok()) {
    LOG(ERROR) << "cannot start: " << started.status();
    return EXIT_FAILURE;
  }
  Fetcher& fetcher = **started;
  signals.Watch(
      [&fetcher](int count) {
        LOG(INFO) << (count == 1 ? "stopping" : "aborting");
        count == 1 ? fetcher.Stop() : fetcher.Abort();
      },
      [&fetcher] { LOG(INFO) << "share: " << fetcher.share_stats(); });
  LOG(INFO) << "ready";

  SubmitInput(fetcher, signals.fd());
  fetcher.Finish();
  const absl::Status closed =
      fetcher.Shutdown(absl::Now() + absl::GetFlag(FLAGS_grace));

  const FetchCounts counts = fetcher.counts();
  LOG(INFO) << counts.submitted << " submitted: " << counts.answered
            << " answered, " << counts.failed << " failed, " << counts.cancelled
            << " cancelled, " << counts.not_started << " not started";
  LOG(INFO) << "share: " << fetcher.share_stats();
  if (!closed.ok()) LOG(ERROR) << "the share did not close: " << closed;
  return closed.ok() && counts.failed == 0 && counts.cancelled == 0
             ? EXIT_SUCCESS
             : EXIT_FAILURE;
}

}  // namespace
}  // namespace fetch_service

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("fetches the URLs on standard input");
  absl::SetStderrThreshold(absl::LogSeverityAtLeast::kInfo);
  absl::ParseCommandLine(argc, argv);
  absl::InitializeLog();
  return fetch_service::Run();
}
