// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/canned_results.h"

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_figures.h"
#include "benchmarks/report_ratios.h"

namespace curlshare::benchmarks {

Json CannedResults() {
  // By measurement: name and threads, then metrics.
  std::map<std::string,
           std::map<std::pair<std::string, int>, std::set<std::string>>>
      wanted;
  for (const Figure& figure : Figures()) {
    for (const Series& series : figure.series) {
      for (const int x : figure.xs) {
        const std::string name = figure.x_is_argument
                                     ? absl::StrCat(series.benchmark, "/", x)
                                     : std::string(series.benchmark);
        wanted[figure.measurement][{name, figure.x_is_argument ? 1 : x}].insert(
            figure.metric);
      }
    }
  }
  for (const RatioSpec& spec : RatioTable()) {
    for (const Term& term : {spec.numerator, spec.denominator}) {
      if (term.measurement == nullptr) continue;
      wanted[term.measurement][{term.benchmark, term.threads}].insert(
          term.metric);
    }
  }
  wanted["psl"][{"BM_Psl", 8}] = {"psl_taken", "psl_contended"};
  Json results;
  results["format"] = kResultsFormat;
  results["machine"] = {{"processor", "An engine"}, {"processors", 2}};
  results["versions"] = {{"libcurl", "8.21.0"}, {"optimized", true}};
  results["run"] = {{"date", "2026-11-24 12:00 UTC"},
                    {"mode", "full"},
                    {"repetitions", 3},
                    {"command", "./bazelw run -c opt //benchmarks:report"}};
  for (const auto& [measurement, benchmarks] : wanted) {
    Json& rows = results["measurements"][measurement]["benchmarks"];
    for (const auto& [id, metrics] : benchmarks) {
      for (const double value : {98.0, 100.0, 102.0}) {
        Json row = {{"name", id.first},
                    {"run_name", id.first},
                    {"run_type", "iteration"},
                    {"threads", id.second}};
        for (const std::string& metric : metrics) row[metric] = value;
        rows.push_back(row);
      }
    }
  }
  results["ratios"] = RatiosToJson(ComputeRatios(RatioTable(), results));
  return results;
}

void Scale(Json& results, const char* measurement, const char* benchmark,
           const char* metric, double factor) {
  for (Json& row : results["measurements"][measurement]["benchmarks"]) {
    if (row["run_name"] == benchmark && row.contains(metric)) {
      row[metric] = row[metric].get<double>() * factor;
    }
  }
}

}  // namespace curlshare::benchmarks
