// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>  // NOLINT(build/c++17)
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <system_error>  // NOLINT(build/c++11)
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace curlshare::benchmarks {
namespace {

// "Interrupt".
std::string SignalName(int signal) {
  const char* const name = sigdescr_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : name;
}

// The last lines of a log, for messages.
std::string Tail(const std::string& path) {
  constexpr size_t kMost = 2000;
  std::string text = ReadFile(path);
  if (text.size() > kMost) text = "..." + text.substr(text.size() - kMost);
  return text;
}

}  // namespace

ProcessRunner::ProcessRunner() {
  sigemptyset(&signals_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {
    sigaddset(&signals_, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

void ProcessRunner::Wait() {
  constexpr timespec kTick = {0, 200'000'000};
  const int signal = sigtimedwait(&signals_, nullptr, &kTick);
  if (signal > 0 && signal != SIGCHLD) interrupted_ = signal;
}

absl::Status ProcessRunner::Run(std::vector<std::string> arguments,
                                const std::string& log_path,
                                const std::function<void()>& on_tick) {
  const std::string program = arguments.at(0);
  const auto cancelled = [this, &program] {
    return absl::CancelledError(absl::StrCat(
        "interrupted (", SignalName(*interrupted_), ") in ", program));
  };
  if (interrupted_.has_value()) return cancelled();
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY,
                                   0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log_path.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  // Ctrl-C then reaches this process alone, which ends the group.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  pid_t child = 0;
  const int error =
      posix_spawnp(&child, argv[0], &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    return absl::NotFoundError(absl::StrCat(
        "cannot run ", program, ": ", std::generic_category().message(error)));
  }

  int status = 0;
  absl::Time kill_at = absl::InfiniteFuture();
  while (waitpid(child, &status, WNOHANG) == 0) {
    Wait();
    if (interrupted_.has_value() && kill_at == absl::InfiniteFuture()) {
      kill(-child, SIGTERM);
      kill_at = absl::Now() + absl::Seconds(2);
    }
    if (absl::Now() > kill_at) kill(-child, SIGKILL);
    if (on_tick && !interrupted_.has_value()) on_tick();
  }
  // What it may have started itself.
  kill(-child, SIGKILL);
  if (interrupted_.has_value()) return cancelled();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(
      program, " ",
      WIFSIGNALED(status)
          ? absl::StrCat("crashed (", SignalName(WTERMSIG(status)), ")")
          : absl::StrCat("exited with status ", WEXITSTATUS(status)),
      "; it printed:\n", Tail(log_path)));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status WriteFile(const std::string& path, absl::string_view text) {
  const std::string scratch = absl::StrCat(path, ".tmp");
  std::ofstream file(scratch, std::ios::trunc | std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file.good() || std::rename(scratch.c_str(), path.c_str()) != 0) {
    const std::string why = std::generic_category().message(errno);
    std::remove(scratch.c_str());
    return absl::UnavailableError(
        absl::StrCat("cannot write ", path, ": ", why));
  }
  return absl::OkStatus();
}

TempDirectory::TempDirectory() {
  const char* const parent = std::getenv("TMPDIR");  // NOLINT: one thread
  std::string path = absl::StrCat(parent == nullptr ? "/tmp" : parent,
                                  "/curl_share_report.XXXXXX");
  if (mkdtemp(path.data()) != nullptr) path_ = path;
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;  // What stays there is in the system's care.
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace curlshare::benchmarks
