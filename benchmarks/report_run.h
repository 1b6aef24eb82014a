// SPDX-License-Identifier: Apache-2.0
// Runs the benchmarks, and puts together what they measured.
#ifndef CURLSHARE_BENCHMARKS_REPORT_RUN_H_
#define CURLSHARE_BENCHMARKS_REPORT_RUN_H_

#include <string>

#include "absl/status/statusor.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_process.h"

namespace curlshare::benchmarks {

struct RunOptions {
  bool quick = false;
  int repetitions = 7;
  // Where the benchmark programs are.
  std::string programs;
  // The repository, for the commit; may be empty.
  std::string workspace;
};

// Runs every benchmark, each measurement in a process of its own, showing
// progress on standard error. The results lack "ratios".
//
// kCancelled where a signal came. Any other error names the benchmark: one that
// crashed, ended with an error, or wrote no valid JSON. A missing valgrind is
// no error: what needs it is then {"missing": ...}.
absl::StatusOr<Json> RunBenchmarks(const RunOptions& options,
                                   ProcessRunner& runner);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_RUN_H_
