// SPDX-License-Identifier: Apache-2.0
// What a run of //benchmarks:report measured: the object that results.json
// holds, and the values in it.
//
//   {"format": "curl_share benchmark report 1",
//    "machine": {...}, "versions": {...}, "run": {...},
//    "ratios": {name: {"value", "goal", "met", "verdict", "spread"}},
//    "measurements": {name: what Google Benchmark wrote, or {"missing": why}}}
#ifndef CURLSHARE_BENCHMARKS_REPORT_DATA_H_
#define CURLSHARE_BENCHMARKS_REPORT_DATA_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace curlshare::benchmarks {

using Json = nlohmann::ordered_json;

constexpr char kResultsFormat[] = "curl_share benchmark report 1";

// Parses and checks the JSON that a benchmark wrote, and drops what names the
// machine or its paths, and the aggregates, which follow from the rest.
// `name` is for messages. kDataLoss for what is no such JSON;
// kFailedPrecondition where it holds no benchmark, or one that ended with an
// error.
absl::StatusOr<Json> ParseBenchmarkOutput(absl::string_view name,
                                          absl::string_view text);

// Reads a results.json. kNotFound, kDataLoss (no JSON), kInvalidArgument (the
// JSON of something else), each with the path.
absl::StatusOr<Json> ReadResults(const std::string& path);

// The text of a results.json: for people, but a line for each repetition.
std::string ResultsText(const Json& results);

// One value of each repetition, in the order in which they ran, of the
// benchmark whose name is `benchmark`, or begins with that and a slash, with
// `threads` threads. `metric` is "real_time" or "cpu_time", in ns, or a
// counter. kNotFound says what is missing, and why where that is known;
// kInternal where several benchmarks fit.
absl::StatusOr<std::vector<double>> Values(const Json& results,
                                           absl::string_view measurement,
                                           absl::string_view benchmark,
                                           int threads,
                                           absl::string_view metric);

struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
  double cv = 0;  // standard deviation (of a sample) / mean; 0 of one value
  int count = 0;
};

// REQUIRES: `values` is not empty.
Spread SpreadOf(std::vector<double> values);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_DATA_H_
