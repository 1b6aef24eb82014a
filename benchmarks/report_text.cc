#include "benchmarks/report_text.h"

#include <cctype>
#include <cmath>
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
#include "absl/strings/substitute.h"
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
    {"kept", "Kept connections",
     "Each thread has a handle, which keeps its connection; plain HTTP, an "
     "answer of 2 bytes, server and clients on the same processors. Nothing "
     "shared is needed once the connection is open, so that this shows costs: "
     "of the library, and of the gate where the processor is the limit."},
    {"instructions", "Instructions for a request",
     "Counted by callgrind, on one thread, the server in another process: the "
     "difference of two runs, so that start and end do not count. A request on "
     "a kept connection (plain HTTP), and one on a new connection (HTTPS), for "
     "which every handshake but without a share is resumed."},
    {"tls", "New HTTPS connections",
     "A new handle, and so a new connection, for each request. Without a share "
     "every handshake is a full one. TLS 1.3 tickets are used once, and "
     "libcurl "
     "keeps few for each server: threads that connect at the same moment may "
     "find none. The server's key is an elliptic curve's (P-256), for which a "
     "full handshake is cheap."},
    {"latency", "A server that answers after 20 ms",
     "Kept connections. The gate lets waits overlap; a mutex around "
     "curl_easy_perform, which also makes every kind safe, does not."},
    {"dns", "A resolver that takes 50 ms",
     "A new handle for each request, 20 requests of each thread. The benchmark "
     "defines getaddrinfo itself: it sleeps 50 ms, counts, and answers "
     "127.0.0.1, so that no look-up leaves the process. The share is empty at "
     "the start, where all threads look up at once."},
    {"kinds", "Cookies, connections, HSTS",
     "By hand these crash or race, whatever the locks; here they are behind "
     "the "
     "gate. Cookies: one handle is given a cookie, every request sends it (the "
     "control sends it without a share). Connections: a new handle for each "
     "request takes a connection that another has left. HSTS: one handle "
     "learns "
     "that the server wants HTTPS, every other asks for http:// and follows "
     "(the control asks for https://)."},
    {"psl", "The Public Suffix List",
     "Each answer sets a cookie with a Domain, for which libcurl takes the PSL "
     "lock, always exclusive here."},
};

const Ratio* Find(absl::Span<const Ratio> ratios, absl::string_view name) {
  for (const Ratio& ratio : ratios) {
    if (ratio.spec->name == name) return &ratio;
  }
  return nullptr;
}

// Where a quotient stands to 1, by all of its repetitions.
enum class Side {
  kUnknown,  // not measured
  kNoisy,    // some above, some below, far apart: no saying
  kBelow,
  kSame,
  kAbove,
};

class Summary {
 public:
  Summary(const Json& results, absl::Span<const Ratio> ratios)
      : results_(results), ratios_(ratios) {}

  std::string Text() const {
    return absl::StrCat("## What sharing gains here\n\n", Gains(),
                        "\n## What it costs\n\n", Costs(),
                        "\n## When not to share\n\n", WhenNot(), "\n");
  }

 private:
  Side SideOf(absl::string_view name) const {
    const Ratio* const ratio = Find(ratios_, name);
    if (ratio == nullptr || ratio->spread.count == 0) return Side::kUnknown;
    const Spread& spread = ratio->spread;
    // Less than a hundredth is of no use to anybody.
    if (spread.min > 1)
      return spread.median > 1.01 ? Side::kAbove : Side::kSame;
    if (spread.max < 1)
      return spread.median < 0.99 ? Side::kBelow : Side::kSame;
    constexpr double kFarApart = 0.2;
    return spread.max - spread.min > kFarApart ? Side::kNoisy : Side::kSame;
  }

  // "**1.34 times** (1.30 to 1.41)", "0.99 times (0.97 to 1.03, within the
  // noise)".
  std::string Times(absl::string_view name) const {
    const Side side = SideOf(name);
    if (side == Side::kUnknown) return "(not measured)";
    const Spread& spread = Find(ratios_, name)->spread;
    const std::string range =
        absl::StrCat(Number(spread.min), " to ", Number(spread.max));
    if (side == Side::kSame || side == Side::kNoisy) {
      return absl::StrCat(
          Number(spread.median), " times (", range,
          spread.min <= 1 && spread.max >= 1 ? ", within the noise)" : ")");
    }
    return absl::StrCat("**", Number(spread.median), " times** (", range, ")");
  }

  std::string Value(const char* measurement, const char* benchmark, int threads,
                    const char* metric, double scale = 1) const {
    const auto values =
        Values(results_, measurement, benchmark, threads, metric);
    return values.ok() ? Number(SpreadOf(*values).median * scale)
                       : "(not measured)";
  }

  std::string Gains() const {
    std::string text;
    absl::StrAppend(
        &text,
        "- **Slow name look-ups.** With a resolver that takes 50 ms, 8 "
        "threads and a new handle for each request, the first byte comes "
        "after ",
        Value("dns", "BM_Dns/library", 8, "first_byte_ms"), " ms instead of ",
        Value("dns", "BM_Dns/no_share", 8, "first_byte_ms"), " ms, with ",
        Value("dns", "BM_Dns/library", 8, "lookups"), " look-ups instead of ",
        Value("dns", "BM_Dns/no_share", 8, "lookups"), ".\n");
    absl::StrAppend(
        &text, "- **New HTTPS connections.** With 8 threads one share gives ",
        Times("tls_8_vs_no_share"), " the requests/s of no share (",
        Value("tls", "BM_Tls/library", 8, "requests_per_second"), " against ",
        Value("tls", "BM_Tls/no_share", 8, "requests_per_second"), "), and ",
        Value("tls", "BM_Tls/library", 8, "resumed_percent"),
        " % of the handshakes are resumed. CPU time: of the client ",
        Times("tls_8_client_cpu_vs_no_share"), ", of the server ",
        Times("tls_8_server_cpu_vs_no_share"), ".\n");
    absl::StrAppend(
        &text,
        "- **New handles on open connections.** A share of connections, "
        "which by hand races, gives 8 threads that make a new handle for each "
        "request ",
        Times("connect_8_vs_no_share"), " the requests/s of no share.\n");
    return text;
  }

  std::string Costs() const {
    std::string text;
    absl::StrAppend(
        &text, "- **A request** on a kept connection: ",
        Times("instructions_vs_by_hand"),
        " the instructions of libcurl by hand; with 8 threads ",
        Times("kept_8_vs_by_hand"), " its requests/s.\n",
        "- **Lock + unlock:** ",
        Value("lock", "BM_LockUnlock<Library>/same:0", 1, "cpu_time"),
        " ns, a pthread mutex by hand ",
        Value("lock", "BM_LockUnlock<PthreadPerKind>/same:0", 1, "cpu_time"),
        " ns.\n", "- **Attach + detach:** ",
        Value("attach", "BM_AttachDetach_Library", 1, "cpu_time"),
        " ns, by hand ",
        Value("attach", "BM_AttachDetach_ByHand", 1, "cpu_time"), " ns; ",
        Value("close", "BM_Close_Library/100000", 1, "bytes"),
        " bytes for each handle.\n");
    absl::StrAppend(
        &text,
        "- **The gate**, which cookies, connections and HSTS need: where "
        "transfers wait for the server, with 64 threads, ",
        Times("latency_64_gated_vs_ungated"),
        " the requests/s of no gate; where the processor is the limit, ",
        Times("gated_1_vs_ungated"), " with 1 thread, ",
        Times("gated_2_vs_ungated"), " with 2, ", Times("gated_8_vs_ungated"),
        " with 8.\n");
    return text;
  }

  // What to say for where the quotient stands; $0 is Times(name).
  std::string Advice(absl::string_view name, absl::string_view subject,
                     absl::string_view below, absl::string_view same,
                     absl::string_view above) const {
    absl::string_view text;
    switch (SideOf(name)) {
      case Side::kUnknown:
        return absl::StrCat("- ", subject, ": not measured.\n");
      case Side::kNoisy:
        return absl::StrCat("- ", subject, ": this run cannot tell; ",
                            Times(name), ".\n");
      case Side::kBelow:
        text = below;
        break;
      case Side::kSame:
        text = same;
        break;
      case Side::kAbove:
        text = above;
        break;
    }
    return absl::StrCat("- ", absl::Substitute(text, Times(name)), "\n");
  }

  std::string WhenNot() const {
    constexpr absl::string_view kKeptNothing =
        "Where each thread keeps its handle and its connection, sharing gains "
        "nothing once they are open: $0 the requests/s of no share, with 8 "
        "threads.";
    constexpr absl::string_view kGateFree =
        "The gate is no reason against a kind on this machine: with 8 threads "
        "that the processor limits, $0 the requests/s of no gate.";
    constexpr absl::string_view kOwnShares =
        "Few threads that live long and make new connections to one server are "
        "as well off with a share each: $0 the requests/s of one share, with 8 "
        "threads, as each finds a ticket of its own. Each then looks names up "
        "for itself, and starts without what others know.";
    return absl::StrCat(
        Advice("kept_8_vs_no_share",
               "What sharing gains threads that keep their connections",
               kKeptNothing, kKeptNothing,
               "Threads that keep their handle and its connection gained even "
               "so: $0 the requests/s of no share, with 8 threads."),
        Advice(
            "gated_8_vs_ungated",
            "What the gate costs where the processor is the limit",
            "Where the processor is the limit and not the network, leave out "
            "the kinds that need the gate: it gives $0 the requests/s of no "
            "gate, with 8 threads.",
            kGateFree, kGateFree),
        Advice("share_per_thread_tls_8_vs_library",
               "Whether a share for each thread would do for new connections",
               "A share for each thread is no substitute: $0 the requests/s of "
               "one share on new HTTPS connections, with 8 threads.",
               kOwnShares, kOwnShares));
  }

  const Json& results_;
  const absl::Span<const Ratio> ratios_;
};

std::string RatioTableMarkdown(absl::Span<const Ratio> ratios) {
  std::string text =
      "## Figures and goals\n\n"
      "| What | Value | Range | cv | Goal | Verdict |\n"
      "|:---|---:|:---:|---:|---:|:---|\n";
  for (const Ratio& ratio : ratios) {
    const bool known = ratio.spread.count > 0;
    const std::string verdict = VerdictText(ratio);
    const bool missed = ratio.verdict == Verdict::kMissed ||
                        ratio.verdict == Verdict::kMissedInNoise;
    absl::StrAppend(
        &text, "| ", ratio.spec->what, " (`", ratio.spec->name, "`) | ",
        known ? Number(ratio.spread.median) : "", " | ",
        known ? absl::StrCat(Number(ratio.spread.min), " - ",
                             Number(ratio.spread.max))
              : "",
        " | ", known ? absl::StrFormat("%.1f %%", 100 * ratio.spread.cv) : "",
        " | ",
        absl::StrReplaceAll(GoalText(*ratio.spec),
                            {{"<=", "\xE2\x89\xA4"}, {">=", "\xE2\x89\xA5"}}),
        " | ", missed ? absl::StrCat("**", verdict, "**") : verdict, " |\n");
  }
  absl::StrAppend(
      &text,
      "\nA value is the median of the quotients of the repetitions, the first "
      "of the one with the first of the other, and so on; the range runs from "
      "the smallest quotient to the largest, cv is their coefficient of "
      "variation. A verdict is *within the noise* where some quotients meet "
      "the "
      "goal and some do not.\n\n");
  std::string why;
  for (const Ratio& ratio : ratios) {
    if (ratio.spec->if_missed != nullptr &&
        (ratio.verdict == Verdict::kMissed ||
         ratio.verdict == Verdict::kMissedInNoise)) {
      absl::StrAppend(&why, "- `", ratio.spec->name,
                      "`: ", ratio.spec->if_missed, "\n");
    }
  }
  if (!why.empty()) {
    absl::StrAppend(&text, "Why goals were missed, as far as is known:\n\n",
                    why, "\n");
  }
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
       {std::pair("kept, this library", "instructions/library"),
        std::pair("kept, by hand", "instructions/by_hand"),
        std::pair("new, this library", "instructions_tls/library"),
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
    if (figure.file != nullptr) {
      absl::StrAppend(&text, "![", figure.title(results), "](", figure.file,
                      ".svg)\n\n");
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
      "largest; points are medians. results.json has every repetition.\n\n"
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
  text += Summary(results, ratios).Text();
  text += comparison;
  text += RatioTableMarkdown(ratios);
  for (const Section& section : kSections) {
    text += SectionMarkdown(section, results);
  }
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
  const size_t first = body.find("<h2");
  body.insert(first == body.npos ? 0 : first,
              absl::StrCat("<nav><ul>\n", contents, "</ul></nav>\n"));
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>curl_share: what sharing gains, what it "
      "costs</title>\n<style>",
      kStyle, "</style>\n</head>\n<body>\n", body, "</body>\n</html>\n");
}

}  // namespace curlshare::benchmarks
