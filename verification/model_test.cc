// SPDX-License-Identifier: Apache-2.0
// Random programs of operations on shares and handles: against the model, or
// with threads at the same time (--free).
//
//   bazel test //verification:model_test //verification:model_threads_test
//   bazel run -c opt //verification:model_test -- --operations=1000000
//   bazel run -c opt //verification:model_test -- --seed=7          what it had
//   before bazel run -c opt //verification:model_test -- --replay=FILE     one
//   program
//
// Programs run in a child process, since one that fails may crash or hang. That
// one is then shortened, by running parts of it, and printed in the form that
// --replay reads.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/verification/interpreter.h"
#include "curlshare/verification/operations.h"
#include "curlshare/verification/temp_file.h"

namespace curlshare::testing {
namespace {

// How long a failing program is shortened, at most.
constexpr absl::Duration kShrinkingTime = absl::Minutes(1);

struct Settings {
  int64_t operations = 10000;
  int length = 150;  // operations of a program
  uint64_t seed = 0;
  bool free = false;
  std::string replay;
  double limit_seconds = 60;
  bool child = false;
  int64_t first = 0;
  std::string progress;

  int64_t programs() const { return (operations + length - 1) / length; }
};

void Print(std::FILE* stream, absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

std::optional<std::string> Read(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// ---- The child

void Run(Interpreter& interpreter, const std::vector<Op>& program, bool free) {
  if (free) {
    interpreter.RunFree(program);
  } else {
    interpreter.RunInStep(program);
  }
}

int RunHere(const Settings& settings) {
  const absl::StatusOr<std::unique_ptr<Interpreter>> interpreter =
      Interpreter::Create();
  if (!interpreter.ok()) {
    Print(stderr, absl::StrCat(interpreter.status().ToString(), "\n"));
    return EXIT_FAILURE;
  }
  if (!settings.replay.empty()) {
    const std::optional<std::string> text = Read(settings.replay);
    if (!text.has_value()) {
      Print(stderr, absl::StrCat("cannot read ", settings.replay, "\n"));
      return 2;
    }
    const absl::StatusOr<std::vector<Op>> program = ParseProgram(*text);
    if (!program.ok()) {
      Print(stderr, absl::StrCat(settings.replay, ": ",
                                 program.status().message(), "\n"));
      return 2;
    }
    Run(**interpreter, *program, settings.free);
    Print(stdout, "the program does what it must\n");
    return EXIT_SUCCESS;
  }
  for (int64_t i = settings.first; i < settings.programs(); ++i) {
    std::ofstream(settings.progress) << i;
    Run(**interpreter, RandomProgram(settings.seed, i, settings.length),
        settings.free);
  }
  const InterpreterCounts counts = (*interpreter)->counts();
  Print(stdout, absl::StrCat("libcurl ", RunningLibcurl().version, ", seed ",
                             settings.seed, ": ", settings.programs(),
                             " programs; ", counts.ToString(), "\n"));
  // A test that skips everything shows nothing.
  if (counts.operations < counts.skipped / 4 || counts.transfers == 0 ||
      counts.callbacks == 0) {
    Print(stderr, "too little of it was done\n");
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

// ---- The parent

// Runs this program with `arguments`; true if it ended well. It is ended when
// `progress` (if not empty) has not changed for `limit`. What it says on stderr
// is kept in `errors`.
bool RunChild(std::vector<std::string> arguments, absl::Duration limit,
              const std::string& progress, std::string* errors) {
  const TempFile err;
  arguments.insert(arguments.begin(), "model_test");
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // The child inherits one end, which closes when it ends: that wakes the
  // other.
  int alive[2];
  if (pipe2(alive, O_CLOEXEC) != 0) {
    *errors = "pipe2 failed";
    return false;
  }
  constexpr int kInherited = 3;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.path().c_str(),
                                   O_WRONLY | O_TRUNC, 0);
  posix_spawn_file_actions_adddup2(&files, alive[1], kInherited);
  pid_t child = 0;
  const int spawned = posix_spawn(&child, "/proc/self/exe", &files, nullptr,
                                  argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  close(alive[1]);
  if (spawned != 0) {
    close(alive[0]);
    *errors = "posix_spawn failed";
    return false;
  }
  bool hung = false;
  std::string before;
  while (true) {
    pollfd ended = {alive[0], POLLIN, 0};
    if (poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(limit))) !=
        0) {
      break;
    }
    std::string now = progress.empty() ? "" : Read(progress).value_or("");
    if (now == before) {
      hung = true;
      kill(child, SIGKILL);
      break;
    }
    before = std::move(now);
  }
  close(alive[0]);
  int status = 0;
  waitpid(child, &status, 0);
  *errors = Read(err.path()).value_or("");
  if (hung) absl::StrAppend(errors, "it hung\n");
  return !hung && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

bool FailsAlone(const std::vector<Op>& program, const Settings& settings,
                std::string* errors) {
  const TempFile file;
  std::ofstream(file.path()) << FormatProgram(program);
  std::vector<std::string> arguments = {"--child", "--replay=" + file.path()};
  if (settings.free) arguments.emplace_back("--free");
  // A race does not show each time.
  const int tries = settings.free ? 5 : 1;
  for (int i = 0; i < tries; ++i) {
    if (!RunChild(arguments, absl::Seconds(settings.limit_seconds), "",
                  errors)) {
      return true;
    }
  }
  return false;
}

int RunAll(const Settings& settings) {
  Print(stdout, absl::StrCat("seed ", settings.seed, "\n"));
  const TempFile progress;
  std::vector<std::string> arguments = {
      "--child",
      absl::StrCat("--operations=", settings.operations),
      absl::StrCat("--length=", settings.length),
      absl::StrCat("--seed=", settings.seed),
      absl::StrCat("--first=", settings.first),
      "--progress=" + progress.path()};
  if (settings.free) arguments.emplace_back("--free");
  std::string errors;
  if (RunChild(arguments, absl::Seconds(settings.limit_seconds),
               progress.path(), &errors)) {
    return EXIT_SUCCESS;
  }
  Print(stderr, errors);
  int64_t index = 0;
  if (!absl::SimpleAtoi(Read(progress.path()).value_or(""), &index)) {
    return EXIT_FAILURE;
  }
  const std::string again = absl::StrCat(
      "--seed=", settings.seed, " --length=", settings.length,
      " --operations=", settings.operations, settings.free ? " --free" : "");
  Print(stderr, absl::StrCat("\nprogram ", index, " failed: ", again,
                             " --first=", index, "\n"));
  const std::vector<Op> program =
      RandomProgram(settings.seed, index, settings.length);
  if (!FailsAlone(program, settings, &errors)) {
    Print(stderr, absl::StrCat("it does not fail when it runs alone; ", again,
                               " runs all\n", FormatProgram(program)));
    return EXIT_FAILURE;
  }
  std::string shortest_errors = errors;
  const absl::Time enough = absl::Now() + kShrinkingTime;
  const std::vector<Op> shortest =
      ShrinkProgram(program, [&](const std::vector<Op>& part) {
        std::string told;
        if (absl::Now() > enough) return false;
        if (!FailsAlone(part, settings, &told)) return false;
        shortest_errors = std::move(told);
        return true;
      });
  Print(stderr,
        absl::StrCat("\nshortened to ", shortest.size(), " operations:\n",
                     shortest_errors, "\nto see it again, put this in FILE: ",
                     "--replay=FILE", settings.free ? " --free" : "", "\n\n",
                     FormatProgram(shortest)));
  return EXIT_FAILURE;
}

int Main(int argc, char** argv) {
  Settings settings;
  std::random_device random;
  settings.seed = random();
  CLI::App app(
      "Runs random programs of operations on shares and handles, and holds "
      "every answer against a sequential model.",
      "model_test");
  // An argument of the test rule gives way to one of the command line.
  app.option_defaults()->take_last();
  app.add_option("--operations", settings.operations, "In all")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000000}))
      ->capture_default_str();
  app.add_option("--length", settings.length, "Operations of one program")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "Random by default, and printed");
  app.add_flag(
      "--free", settings.free,
      "Threads at the same time, with noise in their schedule, instead "
      "of one operation after the other");
  app.add_option("--replay", settings.replay, "Runs the program in this file");
  app.add_option("--first", settings.first, "The program to begin with")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--limit", settings.limit_seconds,
                 "Seconds after which a program hangs")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  // For the program's own children.
  app.add_flag("--child", settings.child)->group("");
  app.add_option("--progress", settings.progress)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : 2;
  }
  return settings.child || !settings.replay.empty() ? RunHere(settings)
                                                    : RunAll(settings);
}

}  // namespace
}  // namespace curlshare::testing

int main(int argc, char** argv) { return curlshare::testing::Main(argc, argv); }
