// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_data.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>  // NOLINT(build/c++17)
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <system_error>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace curlshare::benchmarks {
namespace {

// A string of the object, or "".
std::string Text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : "";
}

absl::Status Foreign(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is not a results.json of this report: ", why));
}

// An object or array with a line for each element.
std::string Lines(const Json& json) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : json.items()) {
    lines.push_back(json.is_object()
                        ? absl::StrCat(Json(key).dump(), ": ", value.dump())
                        : value.dump());
  }
  return absl::StrCat(json.is_object() ? "{\n" : "[\n",
                      absl::StrJoin(lines, ",\n"),
                      json.is_object() ? "}" : "]");
}

bool IsNamed(absl::string_view full, absl::string_view name) {
  return absl::StartsWith(full, name) &&
         (full.size() == name.size() || full[name.size()] == '/');
}

}  // namespace

absl::StatusOr<Json> ParseBenchmarkOutput(absl::string_view name,
                                          absl::string_view text) {
  // Where a mean is 0, Google Benchmark writes its coefficient of variation as
  // JSON cannot have it.
  const std::string repaired =
      absl::StrReplaceAll(text, {{"\": NaN", "\": null"},
                                 {"\": -NaN", "\": null"},
                                 {"\": Infinity", "\": null"},
                                 {"\": -Infinity", "\": null"}});
  Json json = Json::parse(repaired, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("benchmarks") ||
      !json["benchmarks"].is_array()) {
    return absl::DataLossError(
        absl::StrCat(name, " wrote no valid JSON of Google Benchmark (",
                     text.size(), " bytes)"));
  }
  Json rows = Json::array();
  for (Json& row : json["benchmarks"]) {
    if (!row.is_object() || !row.contains("run_name")) {
      return absl::DataLossError(
          absl::StrCat(name, " wrote a benchmark without a name"));
    }
    if (row.value("error_occurred", false)) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, ": the benchmark ", Text(row, "name"),
                       " ended with an error: ", Text(row, "error_message")));
    }
    if (Text(row, "run_type") == "iteration") rows.push_back(std::move(row));
  }
  if (rows.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, " ran no benchmark"));
  }
  json["benchmarks"] = std::move(rows);
  if (json.contains("context")) {
    json["context"].erase("host_name");
    json["context"].erase("executable");
  }
  return json;
}

absl::StatusOr<Json> ReadResults(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(
        absl::StrCat("cannot read ", path, ": it is a directory"));
  }
  std::ifstream file(path);
  if (!file.is_open()) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::DataLossError(
        absl::StrCat(path, " is broken: it is no valid JSON"));
  }
  if (!json.is_object()) return Foreign(path, "it holds no object");
  if (Text(json, "format") != kResultsFormat) {
    return Foreign(
        path, absl::StrCat("its \"format\" is not \"", kResultsFormat, "\""));
  }
  for (const char* key :
       {"machine", "versions", "run", "ratios", "measurements"}) {
    if (!json.contains(key) || !json[key].is_object()) {
      return Foreign(path, absl::StrCat("it has no object \"", key, "\""));
    }
  }
  for (const auto& [name, ratio] : json["ratios"].items()) {
    const auto value = ratio.is_object() ? ratio.find("value") : ratio.end();
    if (!ratio.is_object() || value == ratio.end() ||
        !(value->is_number() || value->is_null())) {
      return Foreign(path, absl::StrCat("its ratio ", name, " has no value"));
    }
  }
  return json;
}

std::string ResultsText(const Json& results) {
  std::string text = "{\n";
  for (const auto& [key, value] : results.items()) {
    if (key == "measurements") continue;
    absl::StrAppend(&text, " ", Json(key).dump(), ": ",
                    key == "ratios" ? Lines(value) : value.dump(), ",\n");
  }
  std::vector<std::string> measurements;
  for (const auto& [name, value] : results.at("measurements").items()) {
    std::vector<std::string> parts;
    for (const auto& [key, part] : value.items()) {
      parts.push_back(
          absl::StrCat("  ", Json(key).dump(), ": ",
                       part.is_array() ? Lines(part) : part.dump()));
    }
    measurements.push_back(absl::StrCat(Json(name).dump(), ": {\n",
                                        absl::StrJoin(parts, ",\n"), "}"));
  }
  return absl::StrCat(text, " \"measurements\": {\n",
                      absl::StrJoin(measurements, ",\n"), "}\n}\n");
}

absl::StatusOr<std::vector<double>> Values(const Json& results,
                                           absl::string_view measurement,
                                           absl::string_view benchmark,
                                           int threads,
                                           absl::string_view metric) {
  const Json& all = results.at("measurements");
  const auto found = all.find(std::string(measurement));
  if (found == all.end()) {
    return absl::NotFoundError(absl::StrCat(measurement, " was not measured"));
  }
  if (const std::string why = Text(*found, "missing"); !why.empty()) {
    return absl::NotFoundError(why);
  }
  std::vector<double> values;
  std::set<std::string> names;
  for (const Json& row : found->at("benchmarks")) {
    const std::string name = Text(row, "run_name");
    if (!IsNamed(name, benchmark) || row.value("threads", 1) != threads) {
      continue;
    }
    const auto value = row.find(std::string(metric));
    if (value == row.end() || !value->is_number()) continue;
    values.push_back(value->get<double>());
    names.insert(name);
  }
  if (values.empty()) {
    return absl::NotFoundError(absl::StrCat(measurement, " has no ", metric,
                                            " of ", benchmark, " with ",
                                            threads, " threads"));
  }
  if (names.size() > 1) {
    return absl::InternalError(
        absl::StrCat(benchmark, " fits several benchmarks of ", measurement));
  }
  return values;
}

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  Spread spread;
  const size_t n = values.size();
  spread.count = static_cast<int>(n);
  spread.min = values.front();
  spread.max = values.back();
  spread.median = (values[(n - 1) / 2] + values[n / 2]) / 2;
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) /
                      static_cast<double>(n);
  if (n > 1 && mean != 0) {
    double squares = 0;
    for (double value : values) squares += (value - mean) * (value - mean);
    spread.cv = std::sqrt(squares / static_cast<double>(n - 1)) / mean;
  }
  return spread;
}

}  // namespace curlshare::benchmarks
