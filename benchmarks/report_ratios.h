// SPDX-License-Identifier: Apache-2.0
// The figures that the report is about: each compares two measurements, or
// states one, and most have a goal.
//
//   for (const RatioSpec& spec : RatioTable()) {
//     Ratio ratio = ComputeRatio(spec, results);
//     std::cout << spec.name << " " << VerdictText(ratio) << "\n";
//   }
#ifndef CURLSHARE_BENCHMARKS_REPORT_RATIOS_H_
#define CURLSHARE_BENCHMARKS_REPORT_RATIOS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmarks/report_data.h"

namespace curlshare::benchmarks {

// See Values().
struct Term {
  const char* measurement;
  const char* benchmark;
  int threads;
  const char* metric;
};

enum class Relation { kNone, kAtMost, kAtLeast };

struct RatioSpec {
  const char* name;  // in results.json
  const char* what;  // one phrase, for people
  Term numerator;
  Term denominator;  // measurement null: the numerator by itself
  Relation relation = Relation::kNone;
  double goal = 0;
  // Why, where that is known; said where the goal is missed.
  const char* if_missed = nullptr;
};

enum class Verdict {
  kMet,
  kMissed,
  kMetInNoise,     // by the median, but not by every pair of repetitions
  kMissedInNoise,  // likewise
  kNoGoal,
  kNotMeasured,
};

struct Ratio {
  const RatioSpec* spec = nullptr;
  // Of numerator / denominator, repetition by repetition. Empty (count 0) where
  // a term is missing.
  Spread spread;
  std::string missing;  // why
  Verdict verdict = Verdict::kNotMeasured;
};

// Every ratio of the report, in its order; the first kFirstPageRatios are what
// its first page shows.
absl::Span<const RatioSpec> RatioTable();
constexpr size_t kFirstPageRatios = 14;

// `spec` must outlive the Ratio.
Ratio ComputeRatio(const RatioSpec& spec, const Json& results);
std::vector<Ratio> ComputeRatios(absl::Span<const RatioSpec> specs,
                                 const Json& results);

// ">= 0.99", "<= 128"; "" without a goal.
std::string GoalText(const RatioSpec& spec);
// "met", "missed", "met, within the noise", "not measured: ...", "".
std::string VerdictText(const Ratio& ratio);

// For results.json.
Json RatiosToJson(absl::Span<const Ratio> ratios);

struct RatioChange {
  std::string name;
  Json before;  // as in results.json; null where the old ones had none
  Json now;     // likewise
  // The two ranges, smallest to largest, do not touch.
  bool beyond_noise = false;
  bool verdict_flipped = false;  // from met to missed or back
};

// One for each name in either of two objects "ratios".
std::vector<RatioChange> CompareRatios(const Json& before, const Json& now);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_RATIOS_H_
