// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_ratios.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmarks/report_data.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::benchmarks {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Json Row(const std::string& name, int threads, const char* metric,
         double value) {
  return {{"run_name", name}, {"threads", threads}, {metric, value}};
}

// Two benchmarks, "BM_A" and "BM_B", of these times.
Json ResultsOf(const std::vector<double>& a, const std::vector<double>& b) {
  Json rows = Json::array();
  for (double time : a) rows.push_back(Row("BM_A/x", 1, "real_time", time));
  for (double time : b) rows.push_back(Row("BM_B", 1, "real_time", time));
  Json results;
  results["measurements"]["m"]["benchmarks"] = rows;
  return results;
}

constexpr Term kA = {"m", "BM_A", 1, "real_time"};
constexpr Term kB = {"m", "BM_B", 1, "real_time"};

RatioSpec AtMost(double goal) {
  return {"r", "what", kA, kB, Relation::kAtMost, goal};
}
RatioSpec AtLeast(double goal) {
  return {"r", "what", kA, kB, Relation::kAtLeast, goal};
}

TEST(Spread, IsMedianRangeAndCoefficientOfVariation) {
  const Spread odd = SpreadOf({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 3);
  EXPECT_EQ(odd.count, 3);
  EXPECT_THAT(odd.cv, DoubleNear(0.5, 1e-9));  // 1 / 2, of a sample
  EXPECT_EQ(SpreadOf({1, 2, 3, 10}).median, 2.5);
  EXPECT_EQ(SpreadOf({7}).cv, 0);
}

TEST(Ratio, IsTheMedianOfTheQuotientsOfPairs) {
  const RatioSpec spec = AtMost(5);
  const Ratio ratio = ComputeRatio(spec, ResultsOf({2, 6, 30}, {1, 2, 3}));
  EXPECT_EQ(ratio.spread.median, 3);  // of 2, 3, 10
  EXPECT_EQ(ratio.spread.min, 2);
  EXPECT_EQ(ratio.spread.max, 10);
}

TEST(Ratio, PairsAsManyAsBothHave) {
  const RatioSpec spec = AtMost(5);
  EXPECT_EQ(ComputeRatio(spec, ResultsOf({2, 6, 30}, {1, 2})).spread.count, 2);
}

TEST(Ratio, VerdictsSayWhetherAllPairsAgree) {
  const auto verdict = [](const RatioSpec& spec, std::vector<double> a) {
    return ComputeRatio(spec, ResultsOf(a, {1, 1, 1})).verdict;
  };
  EXPECT_EQ(verdict(AtMost(3), {1, 2, 3}), Verdict::kMet);
  EXPECT_EQ(verdict(AtMost(2), {1, 2, 3}), Verdict::kMetInNoise);
  EXPECT_EQ(verdict(AtMost(1.5), {1, 2, 3}), Verdict::kMissedInNoise);
  EXPECT_EQ(verdict(AtMost(0.5), {1, 2, 3}), Verdict::kMissed);
  EXPECT_EQ(verdict(AtLeast(1), {1, 2, 3}), Verdict::kMet);
  EXPECT_EQ(verdict(AtLeast(2), {1, 2, 3}), Verdict::kMetInNoise);
  EXPECT_EQ(verdict(AtLeast(2.5), {1, 2, 3}), Verdict::kMissedInNoise);
  EXPECT_EQ(verdict(AtLeast(4), {1, 2, 3}), Verdict::kMissed);
  EXPECT_EQ(verdict({"r", "what", kA, kB}, {1, 2, 3}), Verdict::kNoGoal);
}

TEST(Ratio, WithoutADenominatorIsTheFigureItself) {
  const RatioSpec spec = {
      "bytes",           "what", kA, {nullptr, nullptr, 0, nullptr},
      Relation::kAtMost, 128};
  const Ratio ratio = ComputeRatio(spec, ResultsOf({120, 130, 120}, {}));
  EXPECT_EQ(ratio.spread.median, 120);
  EXPECT_EQ(ratio.verdict, Verdict::kMetInNoise);
}

TEST(Ratio, ThatIsMissingSaysWhy) {
  const RatioSpec spec = AtMost(1);
  Json results = ResultsOf({1}, {});
  Ratio ratio = ComputeRatio(spec, results);
  EXPECT_EQ(ratio.verdict, Verdict::kNotMeasured);
  EXPECT_THAT(VerdictText(ratio), HasSubstr("not measured: m has no real_time "
                                            "of BM_B with 1 threads"));
  results["measurements"]["m"] = {{"missing", "no tool for it"}};
  ratio = ComputeRatio(spec, results);
  EXPECT_EQ(VerdictText(ratio), "not measured: no tool for it");
  const Json json = RatiosToJson({&ratio, 1});
  EXPECT_TRUE(json["r"]["value"].is_null());
  EXPECT_TRUE(json["r"]["met"].is_null());
  EXPECT_TRUE(json["r"]["spread"].is_null());
  EXPECT_EQ(json["r"]["goal"], "<= 1");
}

TEST(Ratio, IsNotDividedByZero) {
  const RatioSpec spec = AtMost(1);
  EXPECT_EQ(ComputeRatio(spec, ResultsOf({1}, {0})).verdict,
            Verdict::kNotMeasured);
}

TEST(Values, AreOfOneBenchmarkByWholePartsOfItsName) {
  Json results = ResultsOf({}, {});
  Json& rows = results["measurements"]["m"]["benchmarks"];
  rows.push_back(Row("BM_A/library_gated/real_time", 8, "x", 1));
  rows.push_back(Row("BM_A/library/real_time", 8, "x", 2));
  rows.push_back(Row("BM_A/library/real_time", 16, "x", 3));
  rows.push_back(Row("BM_A/library/real_time", 8, "x", 4));
  EXPECT_THAT(*Values(results, "m", "BM_A/library", 8, "x"), ElementsAre(2, 4));
  EXPECT_EQ(Values(results, "m", "BM_A", 8, "x").status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(Values(results, "m", "BM_A/library", 8, "y").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Values(results, "n", "BM_A/library", 8, "x").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(RatioTable, NamesAreUniqueAndGoalsAreWhereRelationsAre) {
  std::set<std::string> names;
  for (const RatioSpec& spec : RatioTable()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_EQ(spec.relation == Relation::kNone, spec.goal == 0) << spec.name;
  }
}

Json OneRatio(double value, double min, double max, bool met) {
  return {{"value", value},
          {"goal", "<= 1"},
          {"met", met},
          {"verdict", met ? "met" : "missed"},
          {"spread", {{"cv", 0.1}, {"min", min}, {"max", max}}}};
}

TEST(Compare, TellsNoiseFromChangeAndFindsFlippedVerdicts) {
  const Json before = {{"same", OneRatio(0.9, 0.8, 1.0, true)},
                       {"worse", OneRatio(0.9, 0.8, 1.0, true)},
                       {"gone", OneRatio(1, 1, 1, true)},
                       {"unknown", OneRatio(1, 1, 1, true)}};
  Json now = {{"same", OneRatio(0.95, 0.9, 1.1, true)},
              {"worse", OneRatio(1.2, 1.1, 1.3, false)},
              {"new", OneRatio(1, 1, 1, true)},
              {"unknown", OneRatio(1, 1, 1, true)}};
  now["unknown"]["value"] = Json();
  const auto changes = CompareRatios(before, now);
  ASSERT_THAT(changes, SizeIs(5));
  EXPECT_EQ(changes[0].name, "same");
  EXPECT_FALSE(changes[0].beyond_noise);
  EXPECT_FALSE(changes[0].verdict_flipped);
  EXPECT_EQ(changes[1].name, "worse");
  EXPECT_TRUE(changes[1].beyond_noise);
  EXPECT_TRUE(changes[1].verdict_flipped);
  EXPECT_EQ(changes[2].name, "new");
  EXPECT_TRUE(changes[2].before.is_null());
  EXPECT_FALSE(changes[3].verdict_flipped);  // unknown now
  EXPECT_EQ(changes[4].name, "gone");
  EXPECT_TRUE(changes[4].now.is_null());
}

std::string BenchmarkJson(const std::string& rows) {
  return absl::StrCat(
      R"({"context": {"host_name": "h", "executable": "/x", "date": "d"},
          "benchmarks": [)",
      rows, "]}");
}

TEST(BenchmarkOutput, KeepsRepetitionsAndNothingThatNamesTheMachine) {
  const auto json = ParseBenchmarkOutput(
      "lock", BenchmarkJson(
                  R"({"name": "a", "run_name": "a", "run_type": "iteration"},
             {"name": "a_cv", "run_name": "a", "run_type": "aggregate",
              "real_time": NaN})"));
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["benchmarks"].size(), 1u);
  EXPECT_EQ((*json)["context"].dump(), R"({"date":"d"})");
}

TEST(BenchmarkOutput, ErrorsNameTheBenchmark) {
  EXPECT_THAT(ParseBenchmarkOutput("lock", "{\"benchm").status().ToString(),
              HasSubstr("lock wrote no valid JSON of Google Benchmark"));
  EXPECT_THAT(ParseBenchmarkOutput("lock", "[]").status().ToString(),
              HasSubstr("lock wrote no valid JSON"));
  EXPECT_THAT(
      ParseBenchmarkOutput("lock", BenchmarkJson("")).status().ToString(),
      HasSubstr("lock ran no benchmark"));
  EXPECT_THAT(
      ParseBenchmarkOutput("lock",
                           BenchmarkJson(R"({"name": "BM_X", "run_name": "BM_X",
                           "run_type": "iteration", "error_occurred": true,
                           "error_message": "a request failed"})"))
          .status()
          .ToString(),
      HasSubstr("lock: the benchmark BM_X ended with an error: a request "
                "failed"));
}

}  // namespace
}  // namespace curlshare::benchmarks
