// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_run.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_process.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/http_server.h"

namespace curlshare::benchmarks {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerCounts;
using ::curlshare::testing::HttpServerOptions;

struct Measurement {
  const char* name;
  const char* label;  // for progress
  const char* program;
  const char* filter;
  const char* quick_filter;
  double min_time;  // seconds for each repetition
  double quick_min_time;
  // How long it takes about, with the default repetitions.
  int seconds;
  int quick_seconds;
};

constexpr Measurement kMeasurements[] = {
    {"lock", "lock and unlock", "lock_benchmark", ".", "threads:(1|8|16)$",
     0.05, 0.02, 40, 5},
    {"attach", "attach and detach", "attach_benchmark", "AttachDetach",
     "AttachDetach.*threads:(1|8|16)$", 0.1, 0.05, 12, 2},
    {"close", "close of many handles", "attach_benchmark", "Close",
     "Close.*/(1000|100000)/", 0.1, 0.1, 12, 5},
    {"scope", "begin and end of a transfer", "attach_benchmark", "BeginEnd",
     "BeginEnd.*threads:(1|16)$", 0.1, 0.05, 12, 2},
    {"pool", "the connection pool alone", "pool_benchmark", ".", ".", 0.1, 0.05,
     4, 1},
    {"requests", "requests over HTTP and HTTPS", "transfer_benchmark",
     "BM_Https?/", "BM_Https?/.*threads:(1|8|16|64)$", 0.4, 0.15, 230, 40},
    {"tls", "new HTTPS connections", "transfer_benchmark", "BM_Tls|BM_Bundle",
     "BM_(Tls|Bundle).*threads:(1|8)$", 0.5, 0.2, 170, 25},
    {"latency", "a server that takes 20 ms", "transfer_benchmark", "BM_Latency",
     "BM_Latency/library.*threads:(1|64|256)$|"
     "BM_Latency/one_call.*threads:(1|64)$",
     0.1, 0.1, 190, 20},
    {"dns", "a resolver that takes 50 ms", "dns_benchmark", ".",
     "threads:(1|8|64)$", 0.1, 0.1, 100, 15},
    {"kinds", "cookies, HSTS", "transfer_benchmark", "BM_Kind",
     "BM_Kind.*threads:(1|8)$", 0.3, 0.15, 120, 14},
    {"psl", "the Public Suffix List", "transfer_benchmark", "BM_Psl",
     "BM_Psl.*threads:(8|64)$", 0.3, 0.15, 30, 3},
};
constexpr int kInstructionsSeconds = 100;
constexpr int kQuickInstructionsSeconds = 40;
constexpr int kDefaultRepetitions = 7;
constexpr int kQuickRepetitions = 3;

std::string Clock(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

// A line that stays in place on a terminal; elsewhere one for each step.
class Progress {
 public:
  Progress(int steps, absl::Duration expected)
      : steps_(steps), expected_(expected) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (terminal_ && step_ > 0) std::fputs("\r\x1b[K", stderr);
  }

  void Next(absl::string_view label) {
    ++step_;
    label_ = std::string(label);
    Show();
    if (!terminal_) std::fputs("\n", stderr);
  }
  void Tick() {
    if (terminal_) Show();
  }
  absl::Duration elapsed() const { return absl::Now() - start_; }

 private:
  void Show() const {
    std::fputs(absl::StrCat(terminal_ ? "\r\x1b[K" : "", step_, " of ", steps_,
                            "  ", label_, "  ", Clock(elapsed()), " of about ",
                            Clock(expected_))
                   .c_str(),
               stderr);
  }

  const int steps_;
  const absl::Duration expected_;
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  const absl::Time start_ = absl::Now();
  int step_ = 0;
  std::string label_;
};

absl::StatusOr<Json> Measure(const Measurement& measurement,
                             const RunOptions& options,
                             const std::string& scratch, ProcessRunner& runner,
                             Progress& progress) {
  const std::string out = absl::StrCat(scratch, "/", measurement.name, ".json");
  const std::string log = absl::StrCat(scratch, "/", measurement.name, ".log");
  const absl::Status ran = runner.Run(
      {absl::StrCat(options.programs, "/", measurement.program),
       absl::StrCat("--benchmark_filter=", options.quick
                                               ? measurement.quick_filter
                                               : measurement.filter),
       absl::StrCat("--benchmark_min_time=", options.quick
                                                 ? measurement.quick_min_time
                                                 : measurement.min_time),
       absl::StrCat("--benchmark_repetitions=", options.repetitions),
       "--benchmark_enable_random_interleaving=true",
       absl::StrCat("--benchmark_out=", out), "--benchmark_out_format=json"},
      log, [&progress] { progress.Tick(); });
  if (!ran.ok()) {
    return absl::Status(ran.code(),
                        absl::StrCat(measurement.name, ": ", ran.message()));
  }
  return ParseBenchmarkOutput(
      absl::StrCat(measurement.name, " (", measurement.program, ")"),
      ReadFile(out));
}

// The number behind "totals: " in what callgrind wrote.
absl::StatusOr<int64_t> Instructions(const std::string& path) {
  for (absl::string_view line : absl::StrSplit(ReadFile(path), '\n')) {
    int64_t count = 0;
    if (absl::ConsumePrefix(&line, "totals: ") &&
        absl::SimpleAtoi(line, &count)) {
      return count;
    }
  }
  return absl::DataLossError("callgrind wrote no totals");
}

// What requests take in instructions: the difference of runs with more and with
// fewer of them, so that start and end do not count.
struct Counting {
  const char* name;
  bool tls;  // and a new connection for each request
  const char* target;
  int few;
  int many;
  int quick_many;
  std::vector<const char*> ways;
};

const std::vector<Counting>& Countings() {
  static const auto* const countings = new std::vector<Counting>{
      // The server takes a moment for each answer, so that the client always
      // finds none yet and waits once: else chance would decide how often it
      // looks.
      {"instructions",
       false,
       "/delay?ms=3",
       100,
       600,
       400,
       {"library", "new", "no_share", "by_hand"}},
      {"instructions_tls",
       true,
       "/",
       3,
       23,
       13,
       {"library", "by_hand", "no_share"}}};
  return *countings;
}

// Whether the server saw the reuse that is counted.
bool Reused(const Counting& counting, absl::string_view way, int requests,
            const HttpServerCounts& counts) {
  if (counts.requests != requests) return false;
  if (!counting.tls) return counts.connections == 1;
  return counts.connections == requests &&
         counts.tls_resumed == (way == "no_share" ? 0 : requests - 1);
}

absl::StatusOr<double> InstructionsPerRequest(
    const Counting& counting, const char* way, const RunOptions& options,
    const std::string& scratch, HttpServer& server, ProcessRunner& runner,
    Progress& progress) {
  const std::string out = absl::StrCat(scratch, "/callgrind.out");
  const std::string ca_file = absl::StrCat(scratch, "/ca.pem");
  std::vector<int64_t> counted;
  const int many = options.quick ? counting.quick_many : counting.many;
  for (const int requests : {counting.few, many}) {
    std::vector<std::string> arguments = {
        "valgrind",
        "--tool=callgrind",
        absl::StrCat("--callgrind-out-file=", out),
        absl::StrCat(options.programs, "/instructions_workload"),
        way,
        server.url(counting.target),
        absl::StrCat(requests)};
    if (counting.tls) {
      if (absl::Status s = WriteFile(ca_file, server.ca_pem()); !s.ok()) {
        return s;
      }
      arguments.push_back(ca_file);
    }
    server.ResetCounts();
    absl::Status ran = runner.Run(std::move(arguments),
                                  absl::StrCat(scratch, "/callgrind.log"),
                                  [&progress] { progress.Tick(); });
    if (!ran.ok()) return ran;
    const HttpServerCounts counts = server.counts();
    if (!Reused(counting, way, requests, counts)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the reuse that is counted did not happen: ", counts.requests,
          " requests, ", counts.connections, " connections, ",
          counts.tls_resumed, " resumed"));
    }
    const absl::StatusOr<int64_t> count = Instructions(out);
    if (!count.ok()) return count.status();
    counted.push_back(*count);
  }
  return static_cast<double>(counted[1] - counted[0]) / (many - counting.few);
}

// In the shape of Google Benchmark's JSON, so that it is read the same.
absl::StatusOr<Json> MeasureInstructions(const RunOptions& options,
                                         const std::string& scratch,
                                         ProcessRunner& runner,
                                         Progress& progress) {
  Json rows = Json::array();
  const int repetitions = options.quick ? 2 : 3;
  for (const Counting& counting : Countings()) {
    HttpServerOptions server_options;
    server_options.tls = counting.tls;
    const auto server = HttpServer::Start(server_options);
    if (!server.ok()) return server.status();
    for (int i = 0; i < repetitions; ++i) {
      for (const char* way : counting.ways) {
        const std::string name = absl::StrCat(counting.name, "/", way);
        const absl::StatusOr<double> count = InstructionsPerRequest(
            counting, way, options, scratch, **server, runner, progress);
        if (!count.ok()) {
          return absl::Status(
              count.status().code(),
              absl::StrCat(name, ": ", count.status().message()));
        }
        rows.push_back({{"name", name},
                        {"run_name", name},
                        {"run_type", "iteration"},
                        {"repetitions", repetitions},
                        {"repetition_index", i},
                        {"threads", 1},
                        {"per_request", *count}});
      }
    }
  }
  return Json{{"benchmarks", rows}};
}

Json Machine() {
  std::string processor = "unknown";
  for (absl::string_view line :
       absl::StrSplit(ReadFile("/proc/cpuinfo"), '\n')) {
    if (absl::StartsWith(line, "model name")) {
      processor = std::string(
          absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
      break;
    }
  }
  utsname system;
  uname(&system);
  struct sysinfo info;
  sysinfo(&info);
  const auto bytes =
      static_cast<double>(info.totalram) * static_cast<double>(info.mem_unit);
  return {{"processor", processor},
          {"processors", std::thread::hardware_concurrency()},
          {"memory", absl::StrFormat("%.0f GiB", bytes / (1 << 30))},
          {"system", absl::StrCat(system.sysname, " ", system.release, " ",
                                  system.machine)}};
}

// The commit of the repository, "unknown" where git does not tell.
std::string Commit(const RunOptions& options, const std::string& scratch,
                   ProcessRunner& runner) {
  if (options.workspace.empty()) return "unknown";
  const std::string log = absl::StrCat(scratch, "/git.log");
  if (!runner
           .Run({"git", "-C", options.workspace, "describe", "--always",
                 "--dirty=, with changes", "--abbrev=12"},
                log)
           .ok()) {
    return "unknown";
  }
  return std::string(absl::StripAsciiWhitespace(ReadFile(log)));
}

Json Versions(const std::string& commit) {
  if (absl::Status status = InitLibcurl(); !status.ok()) return Json::object();
#if defined(NDEBUG) && defined(__OPTIMIZE__)
  constexpr bool kOptimized = true;
#else
  constexpr bool kOptimized = false;
#endif
#if defined(__clang__)
  const std::string compiler(
      absl::StripAsciiWhitespace("clang " __clang_version__));
#else
  const std::string compiler = absl::StrCat("gcc ", __VERSION__);
#endif
#if defined(ABSL_LTS_RELEASE_VERSION)
  const std::string abseil =
      absl::StrCat(ABSL_LTS_RELEASE_VERSION, ".", ABSL_LTS_RELEASE_PATCH_LEVEL);
#else
  const std::string abseil = "of no release";
#endif
  return {{"curl_share", commit},
          {"libcurl", RunningLibcurl().version},
          {"tls", RunningLibcurl().ssl_version},
          {"abseil", abseil},
          {"compiler", compiler},
          {"flags", kOptimized ? "-c opt" : "not -c opt"},
          {"optimized", kOptimized}};
}

}  // namespace

absl::StatusOr<Json> RunBenchmarks(const RunOptions& options,
                                   ProcessRunner& runner) {
  const TempDirectory scratch;
  if (scratch.path().empty()) {
    return absl::UnavailableError("cannot make a temporary directory");
  }
  const std::string date =
      absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone());
  double load = 0;  // before this adds to it
  getloadavg(&load, 1);
  const std::string commit = Commit(options, scratch.path(), runner);

  std::string no_valgrind;
  if (const absl::Status found =
          runner.Run({"valgrind", "--version"},
                     absl::StrCat(scratch.path(), "/valgrind.log"));
      !found.ok()) {
    if (absl::IsCancelled(found)) return found;
    no_valgrind =
        "valgrind does not run here; install it (Debian: apt-get install "
        "valgrind)";
    std::fputs(absl::StrCat("report: without instructions: ", no_valgrind, "\n")
                   .c_str(),
               stderr);
  }

  int seconds = 0;
  if (no_valgrind.empty()) {
    seconds = options.quick ? kQuickInstructionsSeconds : kInstructionsSeconds;
  }
  for (const Measurement& measurement : kMeasurements) {
    seconds += options.quick ? measurement.quick_seconds * options.repetitions /
                                   kQuickRepetitions
                             : measurement.seconds * options.repetitions /
                                   kDefaultRepetitions;
  }
  Progress progress(static_cast<int>(std::size(kMeasurements)) +
                        (no_valgrind.empty() ? 1 : 0),
                    absl::Seconds(seconds));
  Json measurements = Json::object();
  for (const Measurement& measurement : kMeasurements) {
    progress.Next(measurement.label);
    absl::StatusOr<Json> measured =
        Measure(measurement, options, scratch.path(), runner, progress);
    if (!measured.ok()) return measured.status();
    measurements[measurement.name] = *std::move(measured);
  }
  if (no_valgrind.empty()) {
    progress.Next("instructions, under callgrind");
    absl::StatusOr<Json> measured =
        MeasureInstructions(options, scratch.path(), runner, progress);
    if (!measured.ok()) return measured.status();
    measurements["instructions"] = *std::move(measured);
  } else {
    measurements["instructions"] = {{"missing", no_valgrind}};
  }

  std::string command = "./bazelw run -c opt //benchmarks:report";
  if (options.quick) command += " -- --quick";
  if (options.repetitions !=
      (options.quick ? kQuickRepetitions : kDefaultRepetitions)) {
    absl::StrAppend(&command, options.quick ? "" : " --",
                    " --repetitions=", options.repetitions);
  }
  Json results;
  results["format"] = kResultsFormat;
  results["machine"] = Machine();
  results["versions"] = Versions(commit);
  results["run"] = {{"date", date},
                    {"mode", options.quick ? "quick" : "full"},
                    {"repetitions", options.repetitions},
                    {"flags", "--benchmark_enable_random_interleaving=true"},
                    {"load_average_before", absl::StrFormat("%.2f", load)},
                    {"took", absl::StrCat(Clock(progress.elapsed()), " min")},
                    {"command", command}};
  results["measurements"] = std::move(measurements);
  return results;
}

}  // namespace curlshare::benchmarks
