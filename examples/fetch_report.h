// SPDX-License-Identifier: Apache-2.0
// The output of //examples:fetch: a table, JSON, and a progress bar.
#ifndef CURLSHARE_EXAMPLES_FETCH_REPORT_H_
#define CURLSHARE_EXAMPLES_FETCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "curlshare/share/share.h"
#include "examples/fetch_job.h"

namespace curlshare::examples {

// What there is to show. Thread-compatible: a plain value.
struct Report {
  JobOptions options;
  LockDataSet lock_data;
  bool gated = false;  // whether the share is gated
  // Whether connections and handshakes were counted by the server; otherwise
  // they were counted by the client.
  bool counted_by_server = false;
  bool interrupted = false;
  std::optional<JobResult> unshared;
  std::optional<JobResult> shared;
  ShareStats share_stats;  // after the run with the share
};

// Returns a table for people, which ends with a line break.
std::string ToTable(const Report& report);
// Returns a JSON object for programs, on one line.
std::string ToJson(const Report& report);

// A line on standard error that shows progress and is redrawn in place. Does
// nothing if standard error is not a terminal. Not thread-safe.
class ProgressBar {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { Clear(); }

  // Draws the line: `done` of `of` requests.
  void Show(absl::string_view label, int64_t done, int64_t of);
  // Removes the line.
  void Clear();

 private:
  const bool terminal_;
  bool shown_ = false;
};

}  // namespace curlshare::examples

#endif  // CURLSHARE_EXAMPLES_FETCH_REPORT_H_
