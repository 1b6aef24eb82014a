// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_text.h"

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "benchmarks/canned_results.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_figures.h"
#include "benchmarks/report_ratios.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::benchmarks {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Markdown(const Json& results, absl::string_view comparison = "") {
  return ReportMarkdown(results, ComputeRatios(RatioTable(), results),
                        comparison);
}

std::map<std::string, std::string> Svgs() {
  std::map<std::string, std::string> svgs;
  for (const Figure& figure : Figures()) {
    if (figure.file == nullptr) continue;
    svgs[absl::StrCat(figure.file, ".svg")] = absl::StrCat(
        "<?xml version=\"1.0\"?>\n<svg viewBox=\"0 0 1 1\" "
        "xmlns=\"http://www.w3.org/2000/svg\"><title>Gnuplot</title><path "
        "d=\"",
        figure.file, "\"/></svg>");
  }
  return svgs;
}

TEST(Report, HasEverySectionEveryRatioAndEveryPlot) {
  const std::string text = Markdown(CannedResults());
  for (absl::string_view heading :
       {"In short", "Requests over HTTP and HTTPS", "The connection pool alone",
        "Instructions for a request", "New HTTPS connections",
        "A server that answers after 20 ms", "A resolver that takes 50 ms",
        "Cookies, HSTS", "Lock and unlock", "Attach and detach",
        "Close, and memory", "Begin and end of a transfer",
        "The Public Suffix List", "Other ratios", "How this was measured"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n## ", heading, "\n")));
  }
  for (const RatioSpec& spec : RatioTable()) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("(`", spec.name, "`)")));
  }
  for (const Figure& figure : Figures()) {
    if (figure.file == nullptr) continue;
    EXPECT_THAT(text, HasSubstr(absl::StrCat("](", figure.file, ".svg)")));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("An engine"), HasSubstr("8.21.0"),
                          HasSubstr("2026-11-24 12:00 UTC"),
                          HasSubstr("Repetitions | 3"),
                          HasSubstr("```sh\n./bazelw run")));
  EXPECT_THAT(text, Not(HasSubstr("ot measured")));
  EXPECT_THAT(text, Not(HasSubstr("?")));
}

TEST(Report, TheFirstPageIsOneTableAndOnePlot) {
  const std::string text = Markdown(CannedResults());
  const std::string page = text.substr(0, text.find("\n## Requests over"));
  EXPECT_THAT(page, AllOf(HasSubstr("(`instructions_vs_no_share`)"),
                          Not(HasSubstr("(`lock_uncontended_vs_pthread`)")),
                          HasSubstr("](requests.svg)")));
  EXPECT_THAT(text.substr(page.size()), Not(HasSubstr("](requests.svg)")));
}

TEST(Report, SaysWhyAGoalWasMissed) {
  Json results = CannedResults();
  EXPECT_THAT(Markdown(results),
              Not(HasSubstr("`attach_detach_vs_by_hand`: ")));
  Scale(results, "attach", "BM_AttachDetach_Library", "cpu_time", 3);
  EXPECT_THAT(Markdown(results),
              AllOf(HasSubstr("| \xE2\x89\xA4 2 | **missed** |"),
                    HasSubstr("- `attach_detach_vs_by_hand`: by hand it is")));
}

TEST(Report, SaysWhatWasNotMeasured) {
  Json results = CannedResults();
  results["measurements"]["instructions"] = {{"missing", "no valgrind"}};
  results["measurements"].erase("dns");
  const std::string text = Markdown(results);
  EXPECT_THAT(text, AllOf(HasSubstr("**Not measured:** no valgrind."),
                          HasSubstr("| not measured: no valgrind |"),
                          HasSubstr("**Not measured:** it is not in the "
                                    "results.")));
}

TEST(Report, AnUnoptimizedBuildIsToldAtTheTop) {
  Json results = CannedResults();
  EXPECT_THAT(Markdown(results), Not(HasSubstr("optimization")));
  results["versions"]["optimized"] = false;
  EXPECT_THAT(Markdown(results), HasSubstr("Built without optimization"));
}

TEST(Report, AMachineWithOtherWorkIsToldAtTheTop) {
  Json results = CannedResults();
  results["run"]["load_average_before"] = "0.40";
  EXPECT_THAT(Markdown(results), Not(HasSubstr("other work")));
  results["run"]["load_average_before"] = "0.60";  // of 2 processors
  EXPECT_THAT(Markdown(results),
              HasSubstr("**The machine had other work:** its "
                        "load average was 0.60"));
}

TEST(Html, IsOnePageThatLoadsNothing) {
  const auto html = ReportHtml(Markdown(CannedResults()), Svgs());
  ASSERT_TRUE(html.ok()) << html.status();
  EXPECT_THAT(*html,
              AllOf(HasSubstr("<!DOCTYPE html>"),
                    HasSubstr("width=device-width"), HasSubstr("@media print"),
                    HasSubstr("<h2 id=\"new-https-connections\">"),
                    HasSubstr("<a href=\"#new-https-connections\">")));
  for (const Figure& figure : Figures()) {
    if (figure.file == nullptr) continue;
    EXPECT_THAT(*html, HasSubstr(absl::StrCat("d=\"", figure.file, "\"/>")));
  }
  EXPECT_THAT(*html, Not(HasSubstr("Gnuplot</title>")));
  EXPECT_THAT(*html, Not(HasSubstr("<?xml")));
  // Nothing that a browser would fetch.
  EXPECT_THAT(*html, Not(ContainsRegex("<(img|script|link|iframe|object)")));
  EXPECT_THAT(*html, Not(ContainsRegex("(src|href)=[\"'][^#]")));
  EXPECT_THAT(*html, Not(ContainsRegex("url\\(|@import")));
}

TEST(Html, APlotThatIsMissingIsAnError) {
  auto svgs = Svgs();
  svgs.erase("kept.svg");
  const auto html = ReportHtml(Markdown(CannedResults()), svgs);
  EXPECT_EQ(html.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(html.status().ToString(), HasSubstr("kept.svg"));
}

TEST(Comparison, NamesFlippedVerdictsAndChanges) {
  const Json before = CannedResults();
  Json now = before;
  EXPECT_THAT(ComparisonMarkdown(before, now),
              AllOf(HasSubstr("No verdict has changed"),
                    HasSubstr("+0.0 %, within the noise")));
  Scale(now, "requests", "BM_Http/kept", "requests_per_second", 0.5);
  now["ratios"] = RatiosToJson(ComputeRatios(RatioTable(), now));
  now["machine"]["processors"] = 64;
  now["run"]["mode"] = "quick";
  const std::string text = ComparisonMarkdown(before, now);
  EXPECT_THAT(text,
              AllOf(HasSubstr("Compared with 2026-11-24 12:00 UTC"),
                    HasSubstr("The machine differs"),
                    HasSubstr("That was a full run, this is a quick one"),
                    HasSubstr("`http_8_kept_vs_pool`: was met (1), is "
                              "missed (0.50)"),
                    HasSubstr("| `http_8_kept_vs_pool` | 1 | 0.50 | -50.0 "
                              "% |")));
  EXPECT_THAT(Markdown(now, text), HasSubstr("## Compared with"));
}

TEST(Figures, ScriptsDrawEverySeriesWithItsSpread) {
  const Json results = CannedResults();
  for (const Figure& figure : Figures()) {
    if (figure.file == nullptr) continue;
    const std::string script = GnuplotScript(figure, results, "/out.svg");
    EXPECT_THAT(script,
                AllOf(HasSubstr("set output '/out.svg'"),
                      HasSubstr("yerrorbars"), HasSubstr(figure.y_label)));
    for (const Series& series : figure.series) {
      EXPECT_THAT(script,
                  HasSubstr(absl::StrCat("title \"", series.label, "\"")));
    }
  }
  EXPECT_EQ(GnuplotScript(Figures()[0], {{"measurements", Json::object()}},
                          "/out.svg"),
            "");
}

TEST(Figures, NumbersHaveTheDigitsThatReadersWant) {
  EXPECT_EQ(Number(49512.3), "49,512");
  EXPECT_EQ(Number(1234567), "1,234,567");
  EXPECT_EQ(Number(999), "999");
  EXPECT_EQ(Number(123.4), "123");
  EXPECT_EQ(Number(12.34), "12.3");
  EXPECT_EQ(Number(1.234), "1.23");
  EXPECT_EQ(Number(1.0076), "1.008");  // what goals of 1 % hang on
  EXPECT_EQ(Number(0.0731), "0.073");
  EXPECT_EQ(Number(0.05), "0.050");
  EXPECT_EQ(Number(-2500), "-2,500");
  EXPECT_EQ(Number(4), "4");
}

}  // namespace
}  // namespace curlshare::benchmarks
