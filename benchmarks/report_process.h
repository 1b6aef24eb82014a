// SPDX-License-Identifier: Apache-2.0
// Programs that the report runs, one at a time, and the signals that end it.
#ifndef CURLSHARE_BENCHMARKS_REPORT_PROCESS_H_
#define CURLSHARE_BENCHMARKS_REPORT_PROCESS_H_

#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace curlshare::benchmarks {

// Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD in this thread and in all that it
// starts: make it before there is another. Thread-compatible.
class ProcessRunner {
 public:
  ProcessRunner();
  ProcessRunner(const ProcessRunner&) = delete;
  ProcessRunner& operator=(const ProcessRunner&) = delete;

  // Runs `arguments`, the first of which is the program (looked up in PATH if
  // it has no slash), in a process group of its own, what it prints to
  // `log_path`, and calls `on_tick` several times a second.
  //
  // kCancelled where one of the signals came, now or before: the whole group
  // has then been ended, and waited for. kNotFound where there is no such
  // program; kAborted where it exited with another status than 0 or by a
  // signal, with the end of what it printed.
  absl::Status Run(std::vector<std::string> arguments,
                   const std::string& log_path,
                   const std::function<void()>& on_tick = nullptr);

  // The signal that came, if one did.
  std::optional<int> interrupted() const { return interrupted_; }

 private:
  // Waits for a signal, for at most a fifth of a second.
  void Wait();

  sigset_t signals_;
  std::optional<int> interrupted_;
};

// A whole file, "" where it cannot be read.
std::string ReadFile(const std::string& path);

// Replaces `path` by `text`, whole or not at all. kUnavailable with the reason.
absl::Status WriteFile(const std::string& path, absl::string_view text);

// A directory for passing files, gone with the object.
class TempDirectory {
 public:
  TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory();

  // Empty where it could not be made.
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_PROCESS_H_
