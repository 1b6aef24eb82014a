// SPDX-License-Identifier: Apache-2.0
// Runs every benchmark and writes a report of what sharing gains and what this
// library costs: index.html, report.md, results.json, and the plots.
//
//   ./bazelw run -c opt //benchmarks:report
//   ./bazelw run -c opt //benchmarks:report -- --quick --out=/tmp/report
//   ./bazelw run -c opt //benchmarks:report -- --compare=old/results.json
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>  // NOLINT(build/c++17)
#include <map>
#include <optional>
#include <string>
#include <system_error>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_figures.h"
#include "benchmarks/report_process.h"
#include "benchmarks/report_ratios.h"
#include "benchmarks/report_run.h"
#include "benchmarks/report_text.h"

namespace curlshare::benchmarks {
namespace {

namespace fs = ::std::filesystem;

constexpr int kExitFailed = 1;
constexpr int kExitBadArguments = 2;

struct Arguments {
  std::string out;
  std::string compare;
  std::string from;
  RunOptions run;
  int repetitions = 0;  // 0: as the mode has it
};

int Fail(int exit_code, absl::string_view message) {
  std::fputs(absl::StrCat("report: ", message, "\n").c_str(), stderr);
  return exit_code;
}

// No other thread runs yet.
std::string Environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT
  return value == nullptr ? "" : value;
}

// Makes the directory, and sees whether files can be made there.
absl::Status Prepare(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat(
        "cannot make the directory ", directory, ": ", error.message()));
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot write to the directory ", directory));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> DrawPlots(
    const Json& results, ProcessRunner& runner) {
  const TempDirectory scratch;
  const auto path = [&scratch](absl::string_view name) {
    return absl::StrCat(scratch.path(), "/", name);
  };
  std::map<std::string, std::string> svgs;
  for (const Figure& figure : Figures()) {
    if (figure.file == nullptr) continue;
    const std::string name = absl::StrCat(figure.file, ".svg");
    const std::string script = GnuplotScript(figure, results, path(name));
    if (script.empty()) continue;
    if (absl::Status s = WriteFile(path("script"), script); !s.ok()) return s;
    if (absl::Status s = runner.Run({"gnuplot", path("script")}, path("log"));
        !s.ok()) {
      return s;
    }
    svgs[name] = ReadFile(path(name));
    if (svgs[name].empty()) {
      return absl::InternalError(absl::StrCat(
          "gnuplot drew no ", name, "; it printed:\n", ReadFile(path("log"))));
    }
  }
  return svgs;
}

void PrintRatios(absl::Span<const Ratio> ratios) {
  for (const Ratio& ratio : ratios) {
    std::fputs(absl::StrCat(
                   ratio.spec->name, ": ",
                   ratio.spread.count == 0 ? "-" : Number(ratio.spread.median),
                   ratio.spec->relation == Relation::kNone
                       ? ""
                       : absl::StrCat(" (goal ", GoalText(*ratio.spec), ")"),
                   ratio.verdict == Verdict::kNoGoal
                       ? ""
                       : absl::StrCat(" ", VerdictText(ratio)),
                   "\n")
                   .c_str(),
               stdout);
  }
}

int ExitCode(const absl::Status& status, const ProcessRunner& runner,
             const std::string& out) {
  if (!runner.interrupted().has_value()) {
    return Fail(kExitFailed, status.message());
  }
  // 128 + the signal, as shells have it.
  return Fail(128 + *runner.interrupted(),
              absl::StrCat(status.message(), "; ", out, " is as it was"));
}

int Run(Arguments& arguments) {
  ProcessRunner runner;  // before there is another thread
  std::optional<Json> before;
  std::optional<Json> results;
  // What can be wrong is found before minutes of measuring.
  for (const auto& [path, into] : {std::pair(&arguments.compare, &before),
                                   std::pair(&arguments.from, &results)}) {
    if (path->empty()) continue;
    absl::StatusOr<Json> read = ReadResults(*path);
    if (!read.ok()) return Fail(kExitBadArguments, read.status().message());
    *into = *std::move(read);
  }
  if (absl::Status s = runner.Run({"gnuplot", "--version"}, "/dev/null");
      !s.ok()) {
    return runner.interrupted().has_value()
               ? ExitCode(s, runner, arguments.out)
               : Fail(kExitFailed,
                      "gnuplot, which draws the plots, does not run here; "
                      "install it (Debian: apt-get install gnuplot-nox)");
  }
  if (absl::Status s = Prepare(arguments.out); !s.ok()) {
    return Fail(kExitFailed, s.message());
  }

  if (!results.has_value()) {
#ifndef NDEBUG
    std::fputs("report: built without -c opt: the figures will say nothing\n",
               stderr);
#endif
    absl::StatusOr<Json> measured = RunBenchmarks(arguments.run, runner);
    if (!measured.ok()) {
      return ExitCode(measured.status(), runner, arguments.out);
    }
    results = *std::move(measured);
  }
  const std::vector<Ratio> ratios = ComputeRatios(RatioTable(), *results);
  (*results)["ratios"] = RatiosToJson(ratios);
  const std::string comparison =
      before.has_value() ? ComparisonMarkdown(*before, *results) : "";
  const auto svgs = DrawPlots(*results, runner);
  if (!svgs.ok()) return ExitCode(svgs.status(), runner, arguments.out);
  const std::string markdown = ReportMarkdown(*results, ratios, comparison);
  const auto html = ReportHtml(markdown, *svgs);
  if (!html.ok()) return Fail(kExitFailed, html.status().message());

  // Signals wait from here on: the files change all or not at all.
  std::map<std::string, std::string> files = *svgs;
  files["index.html"] = *html;
  files["report.md"] = markdown;
  files["results.json"] = ResultsText(*results);
  for (const auto& [name, text] : files) {
    if (absl::Status s =
            WriteFile(absl::StrCat(arguments.out, "/", name), text);
        !s.ok()) {
      return Fail(kExitFailed, s.message());
    }
  }
  PrintRatios(ratios);
  std::fputs(comparison.c_str(), stdout);
  std::fputs(
      absl::StrCat("\nThe report: ", arguments.out, "/index.html\n").c_str(),
      stdout);
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  // The benchmarks are built next to this program.
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  // `bazel run` starts programs elsewhere than where it was called.
  if (const std::string directory = Environment("BUILD_WORKING_DIRECTORY");
      !directory.empty() && chdir(directory.c_str()) != 0) {
    return Fail(kExitFailed, absl::StrCat("cannot go to ", directory));
  }
  Arguments arguments;
  arguments.run.programs = self.parent_path().string();
  arguments.run.workspace = Environment("BUILD_WORKSPACE_DIRECTORY");
  arguments.out = arguments.run.workspace.empty()
                      ? "report"
                      : absl::StrCat(arguments.run.workspace, "/report");
  CLI::App app(
      "Runs every benchmark beside its control, and writes what sharing gains "
      "and what this library costs on this machine: index.html, report.md, "
      "results.json, and the plots.",
      "report");
  app.add_option("--out", arguments.out,
                 "The directory for the report; what it holds of an older one "
                 "is replaced at the end")
      ->capture_default_str();
  auto* const quick =
      app.add_flag("--quick", arguments.run.quick,
                   "Less than 3 minutes instead of less than 30: fewer "
                   "repetitions, shorter ones, fewer numbers of threads");
  auto* const repetitions =
      app.add_option("--repetitions", arguments.repetitions,
                     "Of each benchmark; by default 7, with --quick 3")
          ->check(CLI::Range(2, 100));
  app.add_option("--compare", arguments.compare,
                 "An older results.json: says what has changed");
  app.add_option("--from", arguments.from,
                 "A results.json: makes the report of it again, without "
                 "running anything")
      ->excludes(quick)
      ->excludes(repetitions);
  app.add_option("--programs", arguments.run.programs)->group("");
  app.footer(
      "Exit status: 0 the report is written (goals that are missed are in it), "
      "1 it is not, 2 bad arguments, 128 + n ended by signal n. Needs gnuplot; "
      "without valgrind the counts of instructions are missing.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& parse_error) {
    return app.exit(parse_error) == 0 ? EXIT_SUCCESS : kExitBadArguments;
  }
  arguments.run.repetitions = arguments.repetitions > 0 ? arguments.repetitions
                              : arguments.run.quick     ? 3
                                                        : 7;
  return Run(arguments);
}

}  // namespace
}  // namespace curlshare::benchmarks

int main(int argc, char** argv) {
  return curlshare::benchmarks::Main(argc, argv);
}
