// SPDX-License-Identifier: Apache-2.0
// The figures and tables of the report, made from results, and their plots,
// drawn by gnuplot.
#ifndef CURLSHARE_BENCHMARKS_REPORT_FIGURES_H_
#define CURLSHARE_BENCHMARKS_REPORT_FIGURES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmarks/report_data.h"

namespace curlshare::benchmarks {

// One line of a plot, one column of a table.
struct Series {
  const char* label;
  const char* benchmark;
  int style;  // the same for the same way of sharing: see report_figures.cc
};

struct Figure {
  // "kept" for kept.svg; null: a table alone.
  const char* file;
  const char* measurement;
  const char* metric;
  double scale;  // of the metric, for the unit in y_label
  const char* x_label;
  const char* y_label;
  // The values of x: numbers of threads, or, where x_is_argument, of what
  // follows the benchmark's name.
  std::vector<int> xs;
  bool x_is_argument;
  bool log_y;
  std::vector<Series> series;
  const char* title;  // of the plot
};

// Every figure, in the order of the report. The first one is the plot of the
// report's first page.
const std::vector<Figure>& Figures();

// The median of one value in the figure's unit, with what Values() refuses.
absl::StatusOr<Spread> Point(const Figure& figure, const Series& series, int x,
                             const Json& results);

// The values as a table in Markdown: medians, and their coefficient of
// variation. Rows without a value are left out; "" where there is none at all.
std::string FigureTable(const Figure& figure, const Json& results);

// What gnuplot is told to draw `figure` to `svg_path`; "" where there are no
// values.
std::string GnuplotScript(const Figure& figure, const Json& results,
                          absl::string_view svg_path);

// "49,500", "7.7", "0.012": as many digits as a reader wants.
std::string Number(double value);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_FIGURES_H_
