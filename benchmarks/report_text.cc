// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/report_text.h"

#include <cctype>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_figures.h"
#include "benchmarks/report_ratios.h"
#include "md4c-html.h"
#include "md4c.h"

namespace curlshare::benchmarks {
namespace {

struct Section {
  const char* measurement;
  const char* heading;
  const char* text;
};

constexpr Section kSections[] = {
    {"requests", "Requests over HTTP and HTTPS",
     "An answer of 2 bytes, server and clients on the same processors. A new "
     "handle for each request: an `Easy` with its options, and in a share of "
     "the default kinds, or in none. The hand-made pool keeps `CURL*` handles "
     "in "
     "a vector under a mutex, set up once but for the URL. A kept handle is "
     "one "
     "`Easy` for each thread. Gated is what some kinds need: one thread at a "
     "time in libcurl."},
    {"pool", "The connection pool alone",
     "A multi handle is borrowed for an origin and given back, while others "
     "lie "
     "in the pool."},
    {"instructions", "Instructions for a request",
     "Counted by callgrind, on one thread, the server in another process: the "
     "difference of two runs, so that start and end do not count. A request of "
     "a kept handle (plain HTTP), and one on a new connection (HTTPS), for "
     "which every handshake but without a share is resumed."},
    {"tls", "New HTTPS connections",
     "A new handle and a new connection for each request. Without a share "
     "every handshake is a full one. In the first table connections may not be "
     "used again (CURLOPT_FORBID_REUSE), and the system's certificate "
     "authorities are trusted besides the server's own: in a share they are "
     "read once for each connection at the same time. In the others TLS "
     "sessions are shared and connections are not, and the server's own "
     "certificate is all there is to read. TLS 1.3 tickets are used once, and "
     "libcurl keeps few for each server: threads that connect at the same "
     "moment may find none. The server's key is an elliptic curve's (P-256), "
     "for which a full handshake is cheap."},
    {"latency", "A server that answers after 20 ms",
     "Kept connections. The gate lets waits overlap; a mutex around "
     "curl_easy_perform, which also makes every kind safe, does not."},
    {"dns", "A resolver that takes 50 ms",
     "A new handle for each request, 20 requests of each thread, of which DNS "
     "answers alone are shared. The benchmark defines getaddrinfo itself: it "
     "sleeps 50 ms, counts, and answers 127.0.0.1, so that no look-up leaves "
     "the process. The share is empty at the start, where all threads look up "
     "at once."},
    {"kinds", "Cookies, HSTS",
     "Kept handles. Cookies: one handle of the share is given a cookie, every "
     "request sends it; the controls have each a copy of it. HSTS, behind the "
     "gate: one handle learns that the server wants HTTPS, every other asks "
     "for "
     "http:// and follows (the control asks for https://)."},
    {"lock", "Lock and unlock",
     "The two callbacks that libcurl calls for each access to shared data. "
     "This "
     "library's also count, and know who holds the lock. In the first plot "
     "each "
     "thread locks a kind of its own, in the second all lock the same. One "
     "mutex for all kinds is a mistake: libcurl nests kinds, and deadlocks."},
    {"attach", "Attach and detach",
     "A handle joins a share and leaves it. By hand this is CURLOPT_SHARE, "
     "twice. All threads use one share."},
    {"close", "Close, and memory",
     "`Share::Close` takes out all handles; by hand each is detached, then the "
     "share freed. Bytes are counted in operator new, which libcurl does not "
     "use."},
    {"scope", "Begin and end of a transfer",
     "What a transfer costs besides libcurl, on an ungated share. The control "
     "has nothing in common between threads: what is above it would be a cache "
     "line that threads write in turn."},
    {"psl", "The Public Suffix List",
     "Each answer sets a cookie with a Domain, for which libcurl takes the PSL "
     "lock, always exclusive here."},
};

std::string RatiosMarkdown(absl::Span<const Ratio> ratios) {
  std::string text =
      "| What | Value | Range | Goal | Verdict |\n"
      "|:---|---:|:---:|---:|:---|\n";
  std::string why;
  for (const Ratio& ratio : ratios) {
    const RatioSpec& spec = *ratio.spec;
    const bool known = ratio.spread.count > 0;
    const std::string verdict = VerdictText(ratio);
    const bool missed = ratio.verdict == Verdict::kMissed ||
                        ratio.verdict == Verdict::kMissedInNoise;
    absl::StrAppend(
        &text, "| ", spec.what, " (`", spec.name, "`) | ",
        known ? Number(ratio.spread.median) : "", " | ",
        known ? absl::StrCat(Number(ratio.spread.min), " - ",
                             Number(ratio.spread.max))
              : "",
        " | ",
        absl::StrReplaceAll(GoalText(spec),
                            {{"<=", "\xE2\x89\xA4"}, {">=", "\xE2\x89\xA5"}}),
        " | ", missed ? absl::StrCat("**", verdict, "**") : verdict, " |\n");
    if (missed && spec.if_missed != nullptr) {
      absl::StrAppend(&why, "- `", spec.name, "`: ", spec.if_missed, "\n");
    }
  }
  if (!why.empty()) {
    absl::StrAppend(&text, "\nWhy goals were missed, as far as is known:\n\n",
                    why);
  }
  return text + "\n";
}

std::string Image(const Figure& figure) {
  return absl::StrCat("![", figure.title, "](", figure.file, ".svg)\n\n");
}

std::string FirstPage(const Json& results, absl::Span<const Ratio> ratios) {
  std::string text = absl::StrCat(
      "## In short\n\nWith 8 threads, unless it says otherwise.\n\n",
      RatiosMarkdown(ratios.subspan(0, kFirstPageRatios)));
  const Figure& figure = Figures().front();
  if (!FigureTable(figure, results).empty()) text += Image(figure);
  return text;
}

std::string PslText(const Json& results) {
  std::string rows;
  for (int threads = 1; threads <= 64; threads *= 2) {
    const auto taken = Values(results, "psl", "BM_Psl", threads, "psl_taken");
    const auto met = Values(results, "psl", "BM_Psl", threads, "psl_contended");
    if (!taken.ok() || !met.ok()) continue;
    absl::StrAppend(&rows, "| ", threads, " | ",
                    Number(SpreadOf(*taken).median), " | ",
                    Number(SpreadOf(*met).median), " |\n");
  }
  if (rows.empty()) return "";
  return absl::StrCat(
      "| threads | times the lock was taken | of these, another thread held it "
      "|\n|---:|---:|---:|\n",
      rows, "\n");
}

std::string InstructionsText(const Json& results) {
  std::string rows;
  for (const auto& [label, benchmark] :
       {std::pair("kept, a share", "instructions/library"),
        std::pair("kept, a share, a new handle", "instructions/new"),
        std::pair("kept, no share", "instructions/no_share"),
        std::pair("kept, a share by hand", "instructions/by_hand"),
        std::pair("new, a share", "instructions_tls/library"),
        std::pair("new, a share by hand", "instructions_tls/by_hand"),
        std::pair("new, no share", "instructions_tls/no_share")}) {
    const auto values =
        Values(results, "instructions", benchmark, 1, "per_request");
    if (!values.ok()) continue;
    const Spread spread = SpreadOf(*values);
    absl::StrAppendFormat(&rows, "| %s | %s | %.2f %% |\n", label,
                          Number(spread.median), 100 * spread.cv);
  }
  if (rows.empty()) return "";
  return absl::StrCat(
      "| connection | instructions for a request | cv |\n|:---|---:|---:|\n",
      rows, "\n");
}

std::string SectionMarkdown(const Section& section, const Json& results) {
  std::string text =
      absl::StrCat("## ", section.heading, "\n\n", section.text, "\n\n");
  const Json& measurements = results.at("measurements");
  const auto measured = measurements.find(section.measurement);
  const std::string missing = measured == measurements.end()
                                  ? "it is not in the results"
                                  : measured->value("missing", "");
  if (!missing.empty()) {
    return absl::StrCat(text, "**Not measured:** ", missing, ".\n\n");
  }
  for (const Figure& figure : Figures()) {
    if (absl::string_view(figure.measurement) != section.measurement) continue;
    const std::string table = FigureTable(figure, results);
    if (table.empty()) {
      absl::StrAppend(&text, "**Not measured:** ", figure.y_label, ".\n\n");
      continue;
    }
    if (figure.file != nullptr && &figure != &Figures().front()) {
      text += Image(figure);
    }
    text += table;
  }
  if (section.measurement == absl::string_view("psl")) text += PslText(results);
  if (section.measurement == absl::string_view("instructions")) {
    text += InstructionsText(results);
  }
  return text;
}

std::string HowMarkdown(const Json& results) {
  std::string text = "## How this was measured\n\n| | |\n|:---|:---|\n";
  const auto add = [&text](const char* name, const Json& value) {
    absl::StrAppend(&text, "| ", name, " | ",
                    value.is_string() ? value.get<std::string>() : value.dump(),
                    " |\n");
  };
  for (const char* part : {"run", "machine", "versions"}) {
    for (const auto& [key, value] : results.at(part).items()) {
      std::string name = absl::StrReplaceAll(key, {{"_", " "}});
      name[0] = static_cast<char>(std::toupper(name[0]));
      add(name.c_str(), value);
    }
  }
  const std::string command = results.at("run").value("command",
                                                      "./bazelw run -c opt "
                                                      "//benchmarks:report");
  absl::StrAppend(
      &text,
      "\nEvery figure and its control are of the same process, their "
      "repetitions in random order (Google Benchmark, "
      "`--benchmark_enable_random_interleaving`). Server and clients share one "
      "machine, over loopback. A benchmark ends with an error if a request "
      "failed, or if the reuse that it is about did not happen, by what the "
      "server counted. Error bars run from the smallest repetition to the "
      "largest; points are medians. A ratio is the median of the quotients of "
      "the repetitions, the first of the one with the first of the other, and "
      "so on; its range runs from the smallest quotient to the largest, and a "
      "verdict is *within the noise* where some meet the goal and some do not. "
      "results.json has every repetition.\n\n"
      "Made by\n\n```sh\n",
      command, "\n```\n");
  return text;
}

std::string RatioCell(const Json& ratio) {
  if (!ratio.is_object()) return "-";
  const auto value = ratio.find("value");
  if (value == ratio.end() || !value->is_number()) return "not measured";
  return Number(value->get<double>());
}

std::string VerdictCell(const Json& ratio) {
  return ratio.is_object() ? ratio.value("verdict", "") : "";
}

void AppendOutput(const MD_CHAR* text, MD_SIZE size, void* out) {
  static_cast<std::string*>(out)->append(text, size);
}

constexpr char kStyle[] = R"(
:root { color-scheme: light; }
body { font: 17px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 50rem; margin: 0 auto; padding: 0 1rem 3rem;
  overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h1 { margin-top: 1.5rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
nav { font-size: .9rem; } nav ul { columns: 14rem; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th { border-bottom: 2px solid #888; }
td:not(:first-child) { white-space: nowrap; }
td[align=left]:first-child { min-width: 11rem; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; max-width: 42rem;
  height: auto; display: block; }
code { font-size: .85em; overflow-wrap: anywhere; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; }
@media print { body { font-size: 10pt; max-width: none; padding: 0; }
  nav { display: none; } figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; } .scroll { overflow: visible; } }
)";

std::string Slug(absl::string_view heading) {
  std::string slug;
  for (const char c : heading) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      slug += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  return slug;
}

// The <svg> element alone, named for those who do not see it.
std::string Inline(absl::string_view svg, absl::string_view alt) {
  const size_t start = svg.find("<svg");
  if (start == svg.npos) return "";
  std::string text(svg.substr(start));
  const size_t title = text.find("<title>");
  const size_t end = text.find("</title>");
  if (title != text.npos && end != text.npos) {
    text.replace(title, end - title, absl::StrCat("<title>", alt));
  }
  return absl::StrReplaceAll(text, {{"<svg", "<svg role=\"img\""}});
}

}  // namespace

std::string ComparisonMarkdown(const Json& before, const Json& now) {
  std::string text = absl::StrCat(
      "## Compared with ", before.at("run").value("date", "before"), "\n\n");
  for (const char* part : {"machine", "versions"}) {
    if (before.at(part) != now.at(part)) {
      absl::StrAppend(&text, "The ", part, " differ", part[0] == 'm' ? "s" : "",
                      ": then ", before.at(part).dump(), "\n\n");
    }
  }
  if (before.at("run").value("mode", "") != now.at("run").value("mode", "")) {
    absl::StrAppend(&text, "That was a ", before.at("run").value("mode", "?"),
                    " run, this is a ", now.at("run").value("mode", "?"),
                    " one.\n\n");
  }
  const auto changes = CompareRatios(before.at("ratios"), now.at("ratios"));
  std::string flipped;
  for (const RatioChange& change : changes) {
    if (!change.verdict_flipped) continue;
    absl::StrAppend(&flipped, "- `", change.name, "`: was ",
                    VerdictCell(change.before), " (", RatioCell(change.before),
                    "), is ", VerdictCell(change.now), " (",
                    RatioCell(change.now), ")\n");
  }
  absl::StrAppend(
      &text,
      flipped.empty() ? "No verdict has changed.\n"
                      : absl::StrCat("Verdicts that changed:\n\n", flipped),
      "\n| Ratio | Before | Now | Change |\n|:---|---:|---:|:---|\n");
  for (const RatioChange& change : changes) {
    std::string what;
    if (change.before.is_null()) {
      what = "new";
    } else if (change.now.is_null()) {
      what = "gone";
    } else {
      const Json& old_value = change.before["value"];
      const Json& new_value = change.now["value"];
      if (old_value.is_number() && new_value.is_number() &&
          old_value.get<double>() != 0) {
        what = absl::StrFormat(
            "%+.1f %%%s",
            100 * (new_value.get<double>() / old_value.get<double>() - 1),
            change.beyond_noise ? "" : ", within the noise");
      }
    }
    absl::StrAppend(&text, "| `", change.name, "` | ", RatioCell(change.before),
                    " | ", RatioCell(change.now), " | ", what, " |\n");
  }
  return absl::StrCat(text, "\n");
}

std::string ReportMarkdown(const Json& results, absl::Span<const Ratio> ratios,
                           absl::string_view comparison) {
  std::string text = absl::StrCat(
      "# What sharing gains, what it costs\n\n", "curl_share on ",
      results.at("machine").value("processor", "?"), ", ",
      results.at("machine").value("processors", 0), " processors, libcurl ",
      results.at("versions").value("libcurl", "?"), ", ",
      results.at("run").value("date", "?"), ".\n\n");
  if (!results.at("versions").value("optimized", true)) {
    text +=
        "**Built without optimization: these figures say nothing.** Run it "
        "with `-c opt`.\n\n";
  }
  if (results.at("run").value("mode", "") == "quick") {
    text +=
        "A quick run: few repetitions, short ones, few numbers of threads. For "
        "figures to rely on make a full one.\n\n";
  }
  double load = 0;
  if (absl::SimpleAtod(results.at("run").value("load_average_before", ""),
                       &load) &&
      load > 0.25 * results.at("machine").value("processors", 1)) {
    absl::StrAppend(
        &text, "**The machine had other work:** its load average was ",
        Number(load), " before the run. Trust the ranges, not the values.\n\n");
  }
  text += FirstPage(results, ratios);
  text += comparison;
  for (const Section& section : kSections) {
    text += SectionMarkdown(section, results);
  }
  absl::StrAppend(&text, "## Other ratios\n\n",
                  RatiosMarkdown(ratios.subspan(kFirstPageRatios)));
  text += HowMarkdown(results);
  return text;
}

absl::StatusOr<std::string> ReportHtml(
    const std::string& markdown,
    const std::map<std::string, std::string>& svgs) {
  std::string body;
  if (md_html(markdown.data(), markdown.size(), &AppendOutput, &body,
              MD_FLAG_TABLES | MD_FLAG_NOHTML, 0) != 0) {
    return absl::InternalError("md4c does not take the report's Markdown");
  }
  // Plots in place of links to them.
  constexpr absl::string_view kImage = "<p><img src=\"";
  for (size_t at = body.find(kImage); at != body.npos;
       at = body.find(kImage, at)) {
    const size_t name_at = at + kImage.size();
    const size_t name_end = body.find('"', name_at);
    const std::string name = body.substr(name_at, name_end - name_at);
    const auto svg = svgs.find(name);
    if (svg == svgs.end()) {
      return absl::InternalError(absl::StrCat("there is no plot ", name));
    }
    constexpr absl::string_view kAlt = "alt=\"";
    const size_t alt_at = body.find(kAlt, name_end) + kAlt.size();
    const std::string alt =
        body.substr(alt_at, body.find('"', alt_at) - alt_at);
    const size_t end = body.find("</p>", alt_at) + 4;
    const std::string figure =
        absl::StrCat("<figure>", Inline(svg->second, alt), "</figure>");
    body.replace(at, end - at, figure);
    at += figure.size();
  }
  // A table that is too wide scrolls, not the page.
  body =
      absl::StrReplaceAll(body, {{"<table>", "<div class=\"scroll\"><table>"},
                                 {"</table>", "</table></div>"}});
  std::string contents;
  constexpr absl::string_view kHeading = "<h2>";
  for (size_t at = body.find(kHeading); at != body.npos;
       at = body.find(kHeading, at + 1)) {
    const size_t text_at = at + kHeading.size();
    const std::string heading =
        body.substr(text_at, body.find("</h2>", text_at) - text_at);
    const std::string slug = Slug(heading);
    absl::StrAppend(&contents, "<li><a href=\"#", slug, "\">", heading,
                    "</a></li>\n");
    body.replace(at, kHeading.size(), absl::StrCat("<h2 id=\"", slug, "\">"));
  }
  // Behind the first page.
  const size_t second = body.find("<h2", body.find("<h2") + 1);
  body.insert(second == body.npos ? body.size() : second,
              absl::StrCat("<nav><ul>\n", contents, "</ul></nav>\n"));
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>curl_share: what sharing gains, what it "
      "costs</title>\n<style>",
      kStyle, "</style>\n</head>\n<body>\n", body, "</body>\n</html>\n");
}

}  // namespace curlshare::benchmarks
