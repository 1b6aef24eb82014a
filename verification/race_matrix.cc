// SPDX-License-Identifier: Apache-2.0
// Every kind of shared data, alone and all together, over HTTP and HTTPS, with
// many threads, three ways: libcurl by hand with one mutex a kind, with one
// mutex for all, and this library. Then connections, alone and with all other
// kinds, in each scenario of race_workload.h: by default with this library.
//
//   bazel run --config=tsan //verification:race_matrix
//   bazel run --config=tsan //verification:race_matrix -- --scenarios=ftp,proxy
//   bazel run -c opt //verification:race_matrix -- --json
//
// Each case runs in a process of its own, since some crash. The exit status is
// 0 if the library's cases are all clean, whatever the others do; else 1.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/verification/race_servers.h"
#include "curlshare/verification/race_workload.h"
#include "curlshare/verification/table.h"
#include "curlshare/verification/temp_file.h"
#include "nlohmann/json.hpp"

namespace curlshare::testing {
namespace {

using Json = nlohmann::ordered_json;

#if defined(__SANITIZE_THREAD__)
constexpr bool kTsan = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kTsan = true;
#else
constexpr bool kTsan = false;
#endif
#else
constexpr bool kTsan = false;
#endif

struct Case {
  Scenario scenario = Scenario::kKept;
  LockDataSet kinds;
  bool tls = false;
  Way way = Way::kLibrary;

  std::string kinds_name() const {
    if (kinds.size() == 1) return kinds.ToString();
    return kinds == LockDataSet::Available() ? "all" : "default";
  }
};

struct Outcome {
  int reports = 0;       // of ThreadSanitizer
  bool crashed = false;  // ended before its requests had
  bool hung = false;     // had to be ended
  int requests_ok = 0;
};

struct Settings {
  int threads = 8;
  int requests = 200;
  double limit_seconds = 30;
  std::vector<std::string> scenarios;
  bool library_only = false;
  bool by_hand_in_all = false;
  bool json = false;
};

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int Count(absl::string_view text, absl::string_view what) {
  int count = 0;
  for (size_t at = text.find(what); at != text.npos;
       at = text.find(what, at + what.size())) {
    ++count;
  }
  return count;
}

// Runs one case in a child of this very program.
Outcome RunCase(const Case& one, const WorkloadServers& servers,
                const std::string& ca_file, const Settings& settings) {
  const TempFile out;
  const TempFile err;
  std::vector<std::string> arguments = {
      "race_matrix",
      "--child",
      absl::StrCat("--kinds=", one.kinds.ToString()),
      absl::StrCat("--way=", WayName(one.way)),
      absl::StrCat("--scenario=", ScenarioName(one.scenario)),
      absl::StrCat("--port=", servers.port),
      absl::StrCat("--other_port=", servers.other_port),
      absl::StrCat("--proxy_port=", servers.proxy_port),
      absl::StrCat("--ftp_port=", servers.ftp_port),
      absl::StrCat("--threads=", settings.threads),
      absl::StrCat("--requests=", settings.requests)};
  if (one.tls) arguments.push_back(absl::StrCat("--cacert=", ca_file));
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.path().c_str(),
                                   O_WRONLY | O_TRUNC, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.path().c_str(),
                                   O_WRONLY | O_TRUNC, 0);
  Outcome outcome;
  pid_t child = 0;
  const int spawned = posix_spawn(&child, "/proc/self/exe", &files, nullptr,
                                  argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (spawned != 0) {
    outcome.crashed = true;
    return outcome;
  }
  const absl::Time limit = absl::Now() + absl::Seconds(settings.limit_seconds);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (absl::Now() > limit) {
      outcome.hung = true;
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  const std::string errors = Read(err.path());
  outcome.reports = Count(errors, "WARNING: ThreadSanitizer:");
  // It has survived if it has come to print its count.
  if (!absl::SimpleAtoi(Read(out.path()), &outcome.requests_ok)) {
    outcome.requests_ok = 0;
    outcome.crashed = !outcome.hung;
  }
  if (one.way == Way::kLibrary && (outcome.crashed || outcome.reports > 0)) {
    std::fputs(errors.c_str(), stderr);
  }
  return outcome;
}

int RunChild(const WorkloadOptions& options) {
  const absl::StatusOr<int> ok = RunWorkload(options);
  if (!ok.ok()) {
    std::fputs(absl::StrCat(ok.status().ToString(), "\n").c_str(), stderr);
    return EXIT_FAILURE;
  }
  std::fputs(absl::StrCat(*ok, "\n").c_str(), stdout);
  return EXIT_SUCCESS;
}

std::string Describe(const Outcome& outcome, int expected) {
  std::string text;
  if (outcome.crashed) absl::StrAppend(&text, "CRASHED ");
  if (outcome.hung) absl::StrAppend(&text, "HUNG ");
  if (kTsan) absl::StrAppend(&text, outcome.reports, " reports, ");
  absl::StrAppend(&text, outcome.requests_ok, "/", expected);
  return text;
}

// What a row of the table is about.
struct Row {
  Scenario scenario;
  LockDataSet kinds;
};

std::vector<Row> Rows(const std::vector<Scenario>& scenarios) {
  const LockDataSet all = LockDataSet::Available();
  std::vector<Row> rows;
  for (const Scenario scenario : scenarios) {
    if (scenario == Scenario::kKept) {
      for (LockData kind : all) rows.push_back({scenario, kind});
    } else {
      rows.push_back({scenario, LockData::kConnect});
    }
    rows.push_back({scenario, all});
    // Where "all" needs the gate, threads meet inside libcurl in this alone.
    if (DefaultLockData() != all) rows.push_back({scenario, DefaultLockData()});
  }
  return rows;
}

std::vector<Way> WaysOf(Scenario scenario, const Settings& settings) {
  const bool by_hand = !settings.library_only &&
                       (scenario == Scenario::kKept || settings.by_hand_in_all);
  if (!by_hand) return {Way::kLibrary};
  return {Way::kRawPerKind, Way::kRawOneMutex, Way::kLibrary};
}

int RunMatrix(const Settings& settings,
              const std::vector<Scenario>& scenarios) {
  // All but what the sanitizer finds is told by the process's exit status.
  // No other thread runs yet.
  setenv("TSAN_OPTIONS", "exitcode=0:halt_on_error=0",  // NOLINT
         /*overwrite=*/1);
  const int expected = settings.threads * settings.requests;
  const std::vector<Row> wanted = Rows(scenarios);

  Json json;
  json["libcurl"] = RunningLibcurl().version;
  json["threads"] = settings.threads;
  json["cases"] = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"scenario", "kinds", "scheme", "by hand, mutex per kind",
       "by hand, one mutex", "this library"}};
  bool clean = true;
  for (const bool tls : {false, true}) {
    const auto servers = RaceServers::Start(tls);
    if (!servers.ok()) {
      std::fputs(absl::StrCat(servers.status().ToString(), "\n").c_str(),
                 stderr);
      return EXIT_FAILURE;
    }
    const TempFile ca;
    std::ofstream(ca.path()) << servers->addresses().ca_pem;
    for (const auto& [scenario, kinds] : wanted) {
      if (tls && !HasTls(scenario)) continue;
      const std::string scheme = scenario == Scenario::kFtp ? "ftp"
                                 : tls                      ? "https"
                                                            : "http";
      const std::vector<Way> ways = WaysOf(scenario, settings);
      std::vector<std::string> row;
      for (const Way way : ways) {
        const Case one{scenario, kinds, tls, way};
        if (row.empty()) {
          row = {std::string(ScenarioName(scenario)), one.kinds_name(), scheme};
          if (ways.size() == 1) row.insert(row.end(), {"", ""});
        }
        const Outcome outcome =
            RunCase(one, servers->addresses(), ca.path(), settings);
        row.push_back(Describe(outcome, expected));
        json["cases"].push_back(
            {{"scenario", row[0]},
             {"kinds", one.kinds_name()},
             {"scheme", scheme},
             {"way", std::string(WayName(way))},
             {"reports", kTsan ? Json(outcome.reports) : Json()},
             {"crashed", outcome.crashed},
             {"hung", outcome.hung},
             {"requests_ok", outcome.requests_ok},
             {"requests_expected", expected}});
        if (way == Way::kLibrary) {
          clean = clean && outcome.reports == 0 && !outcome.crashed &&
                  !outcome.hung && outcome.requests_ok == expected;
        }
      }
      clean = clean && servers->WereUsedFor(scenario);
      rows.push_back(std::move(row));
      if (isatty(STDERR_FILENO) == 1) {
        std::fputs(absl::StrCat("\r", rows.size() - 1, " rows\x1b[K").c_str(),
                   stderr);
      }
    }
  }
  if (isatty(STDERR_FILENO) == 1) std::fputs("\r\x1b[K", stderr);
  if (settings.json) {
    std::fputs(absl::StrCat(json.dump(), "\n").c_str(), stdout);
  } else {
    std::fputs(absl::StrCat("libcurl ", RunningLibcurl().version, ", ",
                            settings.threads, " threads, ", settings.requests,
                            " requests each",
                            kTsan ? ", reports of ThreadSanitizer" : "",
                            "; requests that ended as they should\n",
                            DrawTable(std::move(rows)))
                   .c_str(),
               stdout);
  }
  return clean ? EXIT_SUCCESS : EXIT_FAILURE;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app(
      "Runs threads that use everything a libcurl share holds, by hand and "
      "with this library, and counts races, crashes and requests.",
      "race_matrix");
  app.add_option("--threads", settings.threads)
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--requests", settings.requests, "Of each thread")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--limit", settings.limit_seconds,
                 "Seconds after which a case has hung")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--scenarios", settings.scenarios,
                 "Of race_workload.h, with commas between; all without it")
      ->delimiter(',');
  app.add_flag("--library_only", settings.library_only, "Nothing by hand");
  app.add_flag("--by_hand_in_all", settings.by_hand_in_all,
               "All scenarios by hand, too, not \"kept\" alone");
  app.add_flag("--json", settings.json, "One JSON object instead of a table");
  // For the program's own children.
  bool child = false;
  std::string kinds;
  std::string way;
  std::string scenario;
  std::string ca_file;
  WorkloadServers servers;
  app.add_flag("--child", child)->group("");
  app.add_option("--kinds", kinds)->group("");
  app.add_option("--way", way)->group("");
  app.add_option("--cacert", ca_file)->group("");
  app.add_option("--scenario", scenario)->group("");
  app.add_option("--port", servers.port)->group("");
  app.add_option("--other_port", servers.other_port)->group("");
  app.add_option("--proxy_port", servers.proxy_port)->group("");
  app.add_option("--ftp_port", servers.ftp_port)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : 2;
  }
  if (!child) {
    std::vector<Scenario> scenarios;
    for (const std::string& name : settings.scenarios) {
      const std::optional<Scenario> one = ParseScenario(name);
      if (!one.has_value()) {
        std::fputs(absl::StrCat("no scenario \"", name, "\"\n").c_str(),
                   stderr);
        return 2;
      }
      scenarios.push_back(*one);
    }
    return RunMatrix(settings, scenarios.empty() ? AllScenarios() : scenarios);
  }
  const absl::StatusOr<LockDataSet> set = LockDataSet::Parse(kinds);
  const std::optional<Way> which = ParseWay(way);
  const std::optional<Scenario> what = ParseScenario(scenario);
  if (!set.ok() || !which.has_value() || !what.has_value()) return 2;
  WorkloadOptions options;
  options.kinds = *set;
  options.way = *which;
  options.scenario = *what;
  options.servers = servers;
  options.threads = settings.threads;
  options.requests = settings.requests;
  if (!ca_file.empty()) options.servers.ca_pem = Read(ca_file);
  return RunChild(options);
}

}  // namespace
}  // namespace curlshare::testing

int main(int argc, char** argv) { return curlshare::testing::Main(argc, argv); }
