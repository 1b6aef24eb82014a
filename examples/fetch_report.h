// SPDX-License-Identifier: Apache-2.0
// How //examples:fetch shows what it did.
#ifndef CURLSHARE_EXAMPLES_FETCH_REPORT_H_
#define CURLSHARE_EXAMPLES_FETCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "curlshare/share/share.h"
#include "examples/fetch_job.h"

namespace curlshare::examples {

struct Report {
  JobOptions options;
  LockDataSet lock_data;
  bool gated = false;              // the share
  bool counted_by_server = false;  // connections and TLS; else by the client
  bool interrupted = false;
  std::optional<JobResult> unshared;
  std::optional<JobResult> shared;
  ShareStats share_stats;  // of the shared run
};

// For people: a table, ending in a line break.
std::string ToTable(const Report& report);
// For programs: one JSON object, on one line.
std::string ToJson(const Report& report);

// One line on the terminal behind standard error that is drawn over again.
// Does nothing where standard error is no terminal.
class ProgressBar {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { Clear(); }

  void Show(absl::string_view label, int64_t done, int64_t of);
  void Clear();

 private:
  const bool terminal_;
  bool shown_ = false;
};

}  // namespace curlshare::examples

#endif  // CURLSHARE_EXAMPLES_FETCH_REPORT_H_
