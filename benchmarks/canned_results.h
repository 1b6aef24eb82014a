// SPDX-License-Identifier: Apache-2.0
// Results as a run would have them, of made-up values, for tests.
#ifndef CURLSHARE_BENCHMARKS_CANNED_RESULTS_H_
#define CURLSHARE_BENCHMARKS_CANNED_RESULTS_H_

#include "benchmarks/report_data.h"

namespace curlshare::benchmarks {

// Every value that the figures and ratios ask for, three repetitions each, 100
// in the mean; all ratios are 1.
Json CannedResults();

// Multiplies a metric of the benchmarks of that name.
void Scale(Json& results, const char* measurement, const char* benchmark,
           const char* metric, double factor);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_CANNED_RESULTS_H_
