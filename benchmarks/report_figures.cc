// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_figures.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "benchmarks/report_data.h"

namespace curlshare::benchmarks {
namespace {

// Okabe and Ito's colours, which people with any colour vision can tell apart,
// each with a point and a dash of its own for those who print in grey.
struct Style {
  const char* colour;
  int point;
  int dash;
};
constexpr Style kStyles[] = {
    {"#0072B2", 7, 1},   // 0 this library
    {"#E69F00", 9, 1},   // 1 this library, gated; cookies
    {"#009E73", 5, 1},   // 2 by hand
    {"#000000", 13, 2},  // 3 no share
    {"#D55E00", 11, 4},  // 4 a mistake
    {"#CC79A7", 15, 5},  // 5 another mistake
    {"#56B4E9", 4, 3},   // 6 a lower bound
    {"#0072B2", 6, 3},   // 7 this library, HTTPS
    {"#009E73", 4, 3},   // 8 by hand, HTTPS
    {"#000000", 12, 3},  // 9 no share, HTTPS
};

const std::vector<int> kTo16 = {1, 2, 4, 8, 16};
const std::vector<int> kRequests = {1, 2, 8, 16, 64};
const std::vector<int> kTo64 = {1, 2, 4, 8, 16, 32, 64};
const std::vector<int> kTo256 = {1, 2, 4, 8, 16, 32, 64, 128, 256};

std::vector<Figure> MakeFigures() {
  static constexpr char kThreads[] = "threads";
  static constexpr char kRate[] = "requests_per_second";
  const std::vector<Series> ways = {
      {"this library", "BM_Tls/library", 0},
      {"a share by hand", "BM_Tls/by_hand", 2},
      {"no share", "BM_Tls/no_share", 3},
      {"a share per thread", "BM_Tls/share_per_thread", 5}};
  const std::vector<Series> dns = {
      {"this library", "BM_Dns/library", 0},
      {"a share by hand", "BM_Dns/by_hand", 2},
      {"no share", "BM_Dns/no_share", 3},
      {"a share per thread", "BM_Dns/share_per_thread", 5}};
  const std::vector<Series> requests = {
      {"HTTP, a share", "BM_Http/share", 0},
      {"HTTPS, a share", "BM_Https/share", 7},
      {"HTTP, hand-made pool", "BM_Http/pool", 2},
      {"HTTPS, hand-made pool", "BM_Https/pool", 8},
      {"HTTP, no share", "BM_Http/no_share", 3},
      {"HTTPS, no share", "BM_Https/no_share", 9}};
  const std::vector<Series> in_a_share = {
      {"HTTP, new handles", "BM_Http/share", 0},
      {"HTTPS, new handles", "BM_Https/share", 7},
      {"HTTP, kept handles", "BM_Http/kept", 0},
      {"HTTPS, kept handles", "BM_Https/kept", 7}};
  return {
      {"requests", "requests", kRate, 1, kThreads, "requests/s", kRequests,
       false, true, requests, "A new handle for each request"},
      {nullptr, "requests", "client_cpu_s", 1, kThreads,
       "CPU seconds of the client for 1,000 requests", kRequests, false, false,
       requests, nullptr},
      {nullptr, "requests", "connections", 1, kThreads,
       "connections that the server counted", kRequests, false, false, requests,
       nullptr},
      {nullptr, "requests", "pool_reused_percent", 1, kThreads,
       "% of the transfers for which the share's pool had a connection",
       kRequests, false, false, in_a_share, nullptr},
      {nullptr, "requests", "pool_closed", 1, kThreads,
       "connections that the pool closed: idle too long, too old, over the "
       "cap, "
       "or after a failure",
       kRequests, false, false, in_a_share, nullptr},
      {"kept",
       "requests",
       kRate,
       1,
       kThreads,
       "requests/s",
       kRequests,
       false,
       false,
       {{"HTTP, a share", "BM_Http/kept", 0},
        {"HTTPS, a share", "BM_Https/kept", 7},
        {"HTTP, hand-made pool", "BM_Http/pool", 2},
        {"HTTPS, hand-made pool", "BM_Https/pool", 8},
        {"HTTP, a share, gated", "BM_Http/kept_gated", 1}},
       "A kept handle for each thread"},
      {nullptr,
       "pool",
       "cpu_time",
       1,
       "idle connections",
       "ns of CPU time to borrow and give back",
       {1, 10, 100},
       true,
       false,
       {{"one thread", "BM_BorrowGiveBack", 0}},
       nullptr},
      {nullptr,
       "tls",
       "client_cpu_s",
       1,
       kThreads,
       "CPU seconds of the client for 1,000 requests, with the system's "
       "certificate authorities",
       {1, 8},
       false,
       false,
       {{"this library", "BM_Bundle/share", 0},
        {"no share", "BM_Bundle/no_share", 3}},
       nullptr},
      {"lock",
       "lock",
       "cpu_time",
       1,
       kThreads,
       "ns of CPU time for lock + unlock",
       kTo16,
       false,
       false,
       {{"this library", "BM_LockUnlock<Library>/same:0", 0},
        {"pthread mutex per kind", "BM_LockUnlock<PthreadPerKind>/same:0", 2},
        {"absl::Mutex per kind", "BM_LockUnlock<AbslPerKind>/same:0", 6},
        {"one std::mutex for all", "BM_LockUnlock<StdMutexForAll>/same:0", 4}},
       "Each thread a kind of its own"},
      {"lock_same_kind",
       "lock",
       "real_time",
       1,
       kThreads,
       "ns for lock + unlock",
       kTo16,
       false,
       false,
       {{"this library", "BM_LockUnlock<Library>/same:1", 0},
        {"pthread mutex per kind", "BM_LockUnlock<PthreadPerKind>/same:1", 2},
        {"absl::Mutex per kind", "BM_LockUnlock<AbslPerKind>/same:1", 6},
        {"one std::mutex for all", "BM_LockUnlock<StdMutexForAll>/same:1", 4}},
       "All threads the same kind"},
      {nullptr,
       "lock",
       "real_time",
       1,
       "CURL_LOCK_DATA_*",
       "ns for lock + unlock",
       {1, 2, 3, 4, 5, 6, 7},
       true,
       false,
       {{"this library", "BM_EachKind<Library>", 0},
        {"pthread mutex per kind", "BM_EachKind<PthreadPerKind>", 2},
        {"absl::Mutex per kind", "BM_EachKind<AbslPerKind>", 6},
        {"one std::mutex for all", "BM_EachKind<StdMutexForAll>", 4}},
       nullptr},
      {"attach",
       "attach",
       "cpu_time",
       1,
       kThreads,
       "ns of CPU time for attach + detach",
       kTo16,
       false,
       false,
       {{"this library", "BM_AttachDetach_Library", 0},
        {"by hand", "BM_AttachDetach_ByHand", 2}},
       "Attach + detach"},
      {"close",
       "close",
       "per_handle",
       1e9,
       "handles attached",
       "ns of CPU time for each handle",
       {1, 10, 100, 1000, 10000, 100000},
       true,
       false,
       {{"this library", "BM_Close_Library", 0},
        {"by hand", "BM_Close_ByHand", 2}},
       "Close of a share"},
      {nullptr,
       "close",
       "bytes",
       1,
       "handles attached",
       "bytes for each handle",
       {1, 10, 100, 1000, 10000, 100000},
       true,
       false,
       {{"this library", "BM_Close_Library", 0}},
       nullptr},
      {"scope",
       "scope",
       "cpu_time",
       1,
       kThreads,
       "ns of CPU time",
       kTo16,
       false,
       false,
       {{"one share", "BM_BeginEndTransfer_OneShare", 0},
        {"a share per thread", "BM_BeginEndTransfer_OwnShare", 5}},
       "Begin + end of a transfer"},
      {"tls", "tls", kRate, 1, kThreads, "requests/s", kTo16, false, false,
       ways, "New HTTPS connections"},
      {nullptr, "tls", "resumed_percent", 1, kThreads,
       "% of handshakes resumed", kTo16, false, false, ways, nullptr},
      {nullptr, "tls", "client_cpu_s", 1, kThreads,
       "CPU seconds of the client for 1,000 requests", kTo16, false, false,
       ways, nullptr},
      {nullptr, "tls", "server_cpu_s", 1, kThreads,
       "CPU seconds of the server for 1,000 requests", kTo16, false, false,
       ways, nullptr},
      {"latency",
       "latency",
       kRate,
       1,
       kThreads,
       "requests/s",
       kTo256,
       false,
       true,
       {{"this library", "BM_Latency/library", 0},
        {"this library, gated", "BM_Latency/library_gated", 1},
        {"a mutex around each call", "BM_Latency/one_call_at_a_time", 4}},
       "A server that takes 20 ms"},
      {"dns", "dns", "first_byte_ms", 1, kThreads, "ms to the first byte",
       kTo64, false, true, dns, "A resolver that takes 50 ms"},
      {nullptr, "dns", "first_byte_later_ms", 1, kThreads,
       "ms to the first byte, without each thread's first request", kTo64,
       false, false, dns, nullptr},
      {nullptr, "dns", "lookups", 1, kThreads,
       "look-ups for 20 requests of each thread", kTo64, false, false, dns,
       nullptr},
      {"kinds",
       "kinds",
       kRate,
       1,
       kThreads,
       "requests/s",
       kTo16,
       false,
       false,
       {{"cookies in a share", "BM_Kind/cookie", 0},
        {"a share without them", "BM_Kind/cookie_own", 6},
        {"cookies, no share", "BM_Kind/cookie_no_share", 3},
        {"HSTS in a share", "BM_Kind/hsts", 1},
        {"HSTS, no share", "BM_Kind/hsts_no_share", 5}},
       "Kinds that are not among the default ones"},
  };
}

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\"", "'"}, {"\\", "/"}});
}

}  // namespace

const std::vector<Figure>& Figures() {
  static const auto* const figures = new std::vector<Figure>(MakeFigures());
  return *figures;
}

std::string Number(double value) {
  if (std::isnan(value)) return "?";
  const double size = std::abs(value);
  if (size >= 1000) {
    // Thousands apart.
    std::string digits = absl::StrCat(std::llround(size));
    for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
      digits.insert(at, ",");
    }
    return (value < 0 ? "-" : "") + digits;
  }
  if (size >= 100 || value == std::floor(value)) {
    return absl::StrFormat("%.0f", value);
  }
  if (size >= 10) return absl::StrFormat("%.1f", value);
  if (size >= 0.95 && size < 1.05) return absl::StrFormat("%.3f", value);
  if (size >= 0.1) return absl::StrFormat("%.2f", value);
  return absl::StrFormat("%#.2g", value);
}

absl::StatusOr<Spread> Point(const Figure& figure, const Series& series, int x,
                             const Json& results) {
  absl::StatusOr<std::vector<double>> values =
      figure.x_is_argument
          ? Values(results, figure.measurement,
                   absl::StrCat(series.benchmark, "/", x), 1, figure.metric)
          : Values(results, figure.measurement, series.benchmark, x,
                   figure.metric);
  if (!values.ok()) return values.status();
  for (double& value : *values) value *= figure.scale;
  return SpreadOf(*std::move(values));
}

std::string FigureTable(const Figure& figure, const Json& results) {
  std::string rows;
  for (const int x : figure.xs) {
    std::string row = absl::StrCat("| ", Number(x), " |");
    bool any = false;
    for (const Series& series : figure.series) {
      const auto point = Point(figure, series, x, results);
      any = any || point.ok();
      absl::StrAppend(
          &row, " ",
          point.ok() ? absl::StrFormat("%s (%.1f %%)", Number(point->median),
                                       100 * point->cv)
                     : "",
          " |");
    }
    if (any) absl::StrAppend(&rows, row, "\n");
  }
  if (rows.empty()) return "";
  std::string heads = absl::StrCat("| ", figure.x_label, " |");
  std::string lines = "|---:|";
  for (const Series& series : figure.series) {
    absl::StrAppend(&heads, " ", series.label, " |");
    lines += "---:|";
  }
  return absl::StrCat("*", figure.y_label,
                      "*, median (coefficient of variation):\n\n", heads, "\n",
                      lines, "\n", rows, "\n");
}

std::string GnuplotScript(const Figure& figure, const Json& results,
                          absl::string_view svg_path) {
  std::string data;
  std::vector<std::string> plots;
  std::vector<int> xs;
  for (const Series& series : figure.series) {
    const std::string block = absl::StrCat("$data", plots.size());
    std::string lines;
    for (const int x : figure.xs) {
      const auto point = Point(figure, series, x, results);
      if (!point.ok()) continue;
      absl::StrAppendFormat(&lines, "%d %.9g %.9g %.9g\n", x, point->median,
                            point->min, point->max);
      if (std::find(xs.begin(), xs.end(), x) == xs.end()) xs.push_back(x);
    }
    if (lines.empty()) continue;
    absl::StrAppend(&data, block, " << END\n", lines, "END\n");
    const Style& style = kStyles[series.style];
    plots.push_back(absl::StrFormat(
        "%s using 1:2:3:4 with yerrorbars linecolor rgb '%s' pointtype %d "
        "pointsize 0.7 linewidth 1 notitle, %s using 1:2 with linespoints "
        "linecolor rgb '%s' pointtype %d pointsize 0.7 linewidth 2 dashtype %d "
        "title \"%s\"",
        block, style.colour, style.point, block, style.colour, style.point,
        style.dash, Escaped(series.label)));
  }
  if (plots.empty()) return "";
  std::sort(xs.begin(), xs.end());
  std::vector<std::string> tics;
  tics.reserve(xs.size());
  for (const int x : xs) {
    tics.push_back(absl::StrFormat("'%s' %d", Number(x), x));
  }
  return absl::StrCat(
      "set encoding utf8\n"
      "set terminal svg size 540,440 dynamic noenhanced background 'white' "
      "font 'Helvetica,Arial,sans-serif,15' linewidth 1\n",
      "set output '", svg_path, "'\n", "set title \"",
      figure.title == nullptr ? "" : figure.title, "\"\n", "set xlabel '",
      figure.x_label, "' offset 0,0.6\n", "set ylabel '", figure.y_label, "'\n",
      "set logscale x ", figure.x_is_argument ? "10" : "2", "\n",
      figure.log_y ? "set logscale y 10\n" : "set yrange [0:*]\n",
      "set xtics nomirror (", absl::StrJoin(tics, ", "), ")\n",
      "set ytics nomirror\n"
      "set format y ",
      figure.log_y ? "'%g'" : "\"%'.0f\"", "\n",
      "set decimalsign locale \"C\"\n"
      "set border 3 linecolor rgb '#555555'\n"
      "set grid ytics linecolor rgb '#cccccc' linewidth 1 dashtype 1\n"
      "set key bmargin center horizontal Left reverse samplen 2 width 1 "
      "spacing 1.1 maxcols 2\n"
      "set offsets graph 0.02, graph 0.02, 0, 0\n",
      data, "plot ", absl::StrJoin(plots, ", \\\n  "), "\n");
}

}  // namespace curlshare::benchmarks
