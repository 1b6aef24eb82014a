// SPDX-License-Identifier: Apache-2.0
// The report's text, made from results: Markdown, and the same as one
// self-contained page of HTML.
#ifndef CURLSHARE_BENCHMARKS_REPORT_TEXT_H_
#define CURLSHARE_BENCHMARKS_REPORT_TEXT_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_ratios.h"

namespace curlshare::benchmarks {

// What changed since the results `before`, as a section of Markdown.
std::string ComparisonMarkdown(const Json& before, const Json& now);

// The report. `comparison` is such a section, or empty.
std::string ReportMarkdown(const Json& results, absl::Span<const Ratio> ratios,
                           absl::string_view comparison);

// The page for that Markdown, with the plots in it: `svgs` by file name
// ("kept.svg"). kInternal where an image of the Markdown is not among them.
absl::StatusOr<std::string> ReportHtml(
    const std::string& markdown,
    const std::map<std::string, std::string>& svgs);

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_REPORT_TEXT_H_
