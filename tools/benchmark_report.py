# SPDX-License-Identifier: Apache-2.0
"""Builds and runs every benchmark beside its control and writes report.md: a table
of ratios, each with its range and its goal, and a few plots. Beside it
results.json, with every repetition.

Exit status: 0 the report is written (goals that are missed are in it), 1 it is
not, 2 bad arguments. An error leaves an older report as it was.
"""

import argparse
import collections
import datetime
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FORMAT = "curl_share benchmark report 2"

# ---- What is measured --------------------------------------------------------

# Google Benchmark's programs and their filters. `seconds`: of one repetition.
Measurement = collections.namedtuple(
    "Measurement", "name program filter quick_filter seconds quick_seconds"
)
MEASUREMENTS = [
    Measurement("requests", "transfer_benchmark", "BM_Https?/",
                "BM_Https?/.*threads:(1|8|16|64)$", 0.4, 0.15),
    Measurement("tls", "transfer_benchmark", "BM_Tls/(library|by_hand|no_share)|BM_Bundle",
                "BM_(Tls/(library|by_hand|no_share)|Bundle).*threads:(1|8)$", 0.5, 0.2),
    Measurement("latency", "transfer_benchmark", "BM_Latency",
                "BM_Latency/library.*threads:(1|64|256)$|BM_Latency/one_call.*threads:(1|64)$",
                0.1, 0.1),
    Measurement("kinds", "transfer_benchmark", "BM_Kind.*threads:8$",
                "BM_Kind.*threads:8$", 0.3, 0.15),
    Measurement("dns", "dns_benchmark", "BM_Dns/(library|no_share).*threads:8$",
                "BM_Dns/(library|no_share).*threads:8$", 0.1, 0.1),
    Measurement("pool", "pool_benchmark", ".", ".", 0.1, 0.05),
    Measurement("lock", "lock_benchmark", "BM_LockUnlock.*/same:0.*threads:1$",
                "BM_LockUnlock.*/same:0.*threads:1$", 0.1, 0.05),
    Measurement("attach", "attach_benchmark", "AttachDetach.*threads:1$",
                "AttachDetach.*threads:1$", 0.1, 0.05),
    Measurement("scope", "attach_benchmark", "BeginEnd.*threads:16$",
                "BeginEnd.*threads:16$", 0.1, 0.05),
    Measurement("close", "attach_benchmark", "Close.*/(1000|100000)/",
                "Close.*/(1000|100000)/", 0.1, 0.1),
]
# Counted by callgrind: requests of one kept connection, or of a new handle each.
# The difference of a run with many and one with few requests, so that start and
# end do not count.
WAYS = ["library", "new", "no_share", "by_hand"]
FEW, MANY, QUICK_MANY = 100, 600, 400
# The server takes a moment for each answer, so that the client always finds none
# yet and waits once: else chance would decide how often it looks.
TARGET = "/delay?ms=3"

# ---- What is reported --------------------------------------------------------

# A value of one benchmark: `metric` is "cpu_time" or "real_time", in ns, or a
# counter of the benchmark.
Term = collections.namedtuple("Term", "measurement benchmark threads metric")


class Ratio:
    """Of two terms, or one term by itself; `goal` is ">= 0.97" or "<= 1.1"."""

    def __init__(self, name, what, numerator, denominator=None, goal="", why=""):
        self.name, self.what, self.goal, self.why = name, what, goal, why
        self.numerator, self.denominator = numerator, denominator

    def holds(self, value):
        relation, bound = self.goal.split()
        return value >= float(bound) if relation == ">=" else value <= float(bound)


def rate(measurement, benchmark, threads=8):
    return Term(measurement, benchmark, threads, "requests_per_second")


def cpu(measurement, benchmark, threads=1):
    return Term(measurement, benchmark, threads, "cpu_time")


def instructions(way):
    return Term("instructions", way, 1, "per_request")


SECTIONS = [
    ("Requests of 8 threads", """An answer of 2 bytes; server and clients share the
processors. A new handle: an `Easy` with its options for each request, in a share of
the default kinds or in none. A kept handle: one `Easy` for each thread. The hand-made
pool keeps `CURL*` handles in a vector under a mutex, set up once but for the URL.""", [
        Ratio("http_8_new_vs_no_share",
              "HTTP, a new handle for each request: requests/s in a share, to no share",
              rate("requests", "BM_Http/share"), rate("requests", "BM_Http/no_share"),
              ">= 2.4"),
        Ratio("https_8_new_vs_no_share", "the same over HTTPS",
              rate("requests", "BM_Https/share"), rate("requests", "BM_Https/no_share"),
              ">= 20"),
        Ratio("http_8_new_vs_pool",
              "HTTP, a new handle for each request: requests/s in a share, to a hand-made "
              "pool of handles",
              rate("requests", "BM_Http/share"), rate("requests", "BM_Http/pool"),
              ">= 0.85"),
        Ratio("https_8_new_vs_pool", "the same over HTTPS",
              rate("requests", "BM_Https/share"), rate("requests", "BM_Https/pool"),
              ">= 0.85"),
        Ratio("http_8_kept_vs_pool",
              "HTTP, a kept handle for each thread: requests/s in a share, to a hand-made "
              "pool of handles",
              rate("requests", "BM_Http/kept"), rate("requests", "BM_Http/pool"),
              ">= 0.97"),
        Ratio("https_8_kept_vs_pool", "the same over HTTPS",
              rate("requests", "BM_Https/kept"), rate("requests", "BM_Https/pool"),
              ">= 0.97"),
        Ratio("http_new_16_vs_8",
              "HTTP, a new handle for each request: requests/s of 16 threads, to 8",
              rate("requests", "BM_Http/share", 16), rate("requests", "BM_Http/share"),
              ">= 1"),
        Ratio("https_new_16_vs_8", "the same over HTTPS",
              rate("requests", "BM_Https/share", 16), rate("requests", "BM_Https/share"),
              ">= 1"),
        Ratio("cookie_8_vs_own",
              "cookies shared too, kept handles: requests/s, to the same share with "
              "cookies of each handle's own",
              rate("kinds", "BM_Kind/cookie"), rate("kinds", "BM_Kind/cookie_own"),
              ">= 0.97"),
        Ratio("cookie_8_vs_no_share", "the same, to no share",
              rate("kinds", "BM_Kind/cookie"), rate("kinds", "BM_Kind/cookie_no_share"),
              ">= 0.97"),
    ]),
    ("New connections", """TLS sessions are shared and connections are not, but in the
first row, where they are and may not be used again. The server's key is an elliptic
curve's (P-256), for which a full handshake is cheap. The resolver takes 50 ms.""", [
        Ratio("bundle_8_client_cpu_vs_no_share",
              "a new HTTPS connection that trusts the system's certificate authorities: "
              "the client's CPU time in a share, to no share",
              Term("tls", "BM_Bundle/share", 8, "client_cpu_s"),
              Term("tls", "BM_Bundle/no_share", 8, "client_cpu_s"), "<= 0.2"),
        Ratio("tls_1_vs_by_hand",
              "new HTTPS connections, 1 thread: requests/s, to a share by hand",
              rate("tls", "BM_Tls/library", 1), rate("tls", "BM_Tls/by_hand", 1),
              ">= 0.98"),
        Ratio("tls_8_vs_by_hand", "the same with 8 threads",
              rate("tls", "BM_Tls/library"), rate("tls", "BM_Tls/by_hand"), ">= 0.98"),
        Ratio("dns_8_first_byte_vs_no_share",
              "DNS answers shared: time to the first byte, to no share",
              Term("dns", "BM_Dns/library", 8, "first_byte_ms"),
              Term("dns", "BM_Dns/no_share", 8, "first_byte_ms")),
        Ratio("dns_8_lookups_vs_no_share", "the same: look-ups, to no share",
              Term("dns", "BM_Dns/library", 8, "lookups"),
              Term("dns", "BM_Dns/no_share", 8, "lookups")),
    ]),
    ("What the library costs", """Instructions are counted by callgrind, on one thread,
the server in another process. By hand: a `CURLSH` with a pthread mutex a kind.""", [
        Ratio("instructions_vs_no_share",
              "instructions for a request of a kept handle: in a share, to no share",
              instructions("library"), instructions("no_share"), "<= 1.02"),
        Ratio("instructions_vs_by_hand", "the same, to a share by hand",
              instructions("library"), instructions("by_hand"), "<= 1.01",
              "the multi handle of curl_multi_init, which a Cancel() can wake, has larger "
              "tables than the one inside curl_easy_perform, and libcurl walks them for "
              "each request: Curl_hash_next_element, Curl_uint32_bset_next"),
        Ratio("new_handle_instructions_vs_kept",
              "instructions for a request in a share, its connection kept: of a new "
              "handle, to those of a kept one",
              instructions("new"), instructions("library")),
        Ratio("pool_borrow_ns",
              "ns to borrow and give back a connection of the share's pool",
              cpu("pool", "BM_BorrowGiveBack/10"), None, "<= 150"),
        Ratio("pool_borrow_100_vs_1", "the same with 100 idle connections, to 1",
              cpu("pool", "BM_BorrowGiveBack/100"), cpu("pool", "BM_BorrowGiveBack/1"),
              "<= 1.1"),
        Ratio("lock_uncontended_vs_pthread",
              "lock + unlock through libcurl's callbacks, which also count and know the "
              "holder, one thread: CPU time, to a pthread mutex",
              cpu("lock", "BM_LockUnlock<Library>/same:0"),
              cpu("lock", "BM_LockUnlock<PthreadPerKind>/same:0"), "<= 1.3"),
        Ratio("begin_end_16_one_share_vs_own",
              "begin + end of a transfer, 16 threads: CPU time on one share, to a share "
              "for each thread, where nothing is in common",
              cpu("scope", "BM_BeginEndTransfer_OneShare", 16),
              cpu("scope", "BM_BeginEndTransfer_OwnShare", 16), "<= 1.1"),
        Ratio("attach_detach_vs_by_hand",
              "attach + detach, one thread: CPU time, to CURLOPT_SHARE by hand",
              cpu("attach", "BM_AttachDetach_Library"),
              cpu("attach", "BM_AttachDetach_ByHand"), "<= 2",
              "by hand it is two pointers and a count, under one lock; here also an "
              "allocated object, and its places in the share's list and in the table of "
              "all attached handles, each under a mutex"),
        Ratio("close_100000_vs_1000",
              "Close, CPU time for each handle: 100,000 handles to 1,000",
              Term("close", "BM_Close_Library/100000", 1, "per_handle"),
              Term("close", "BM_Close_Library/1000", 1, "per_handle"), "<= 1.3",
              "100,000 handles do not fit the processor's caches, libcurl's own part "
              "neither: see the next row"),
        Ratio("close_100000_vs_1000_by_hand", "the same by hand",
              Term("close", "BM_Close_ByHand/100000", 1, "per_handle"),
              Term("close", "BM_Close_ByHand/1000", 1, "per_handle")),
        Ratio("attachment_bytes",
              "bytes of memory for each attachment, beyond libcurl's own",
              Term("close", "BM_Close_Library/100000", 1, "bytes"), None, "<= 128"),
    ]),
    ("The gate", """What some kinds need on some versions of libcurl: one thread at a
time inside libcurl, while waits overlap. The server answers after 20 ms, or at once.""", [
        Ratio("latency_64_gated_vs_ungated",
              "20 ms, 64 threads: requests/s behind the gate, to none",
              rate("latency", "BM_Latency/library_gated", 64),
              rate("latency", "BM_Latency/library", 64), ">= 0.95"),
        Ratio("latency_256_gated_vs_ungated", "the same with 256 threads",
              rate("latency", "BM_Latency/library_gated", 256),
              rate("latency", "BM_Latency/library", 256), ">= 0.95",
              "256 threads are in the processor at once: 10,000 requests a second are "
              "more than one thread at a time can do"),
        Ratio("latency_64_gated_vs_one_call_at_a_time",
              "20 ms, 64 threads: behind the gate, to a mutex around curl_easy_perform",
              rate("latency", "BM_Latency/library_gated", 64),
              rate("latency", "BM_Latency/one_call_at_a_time", 64), ">= 10"),
        Ratio("gated_8_vs_ungated",
              "at once, 8 threads: requests/s behind the gate, to none",
              rate("requests", "BM_Http/kept_gated"), rate("requests", "BM_Http/kept")),
        Ratio("hsts_8_vs_no_share",
              "HSTS, at once, HTTPS, 8 threads: requests/s behind the gate, to no share",
              rate("kinds", "BM_Kind/hsts"), rate("kinds", "BM_Kind/hsts_no_share")),
    ]),
]
RATIOS = [ratio for _, _, ratios in SECTIONS for ratio in ratios]

# Plots of requests/s over threads. Series: label, benchmark, colour (Okabe and
# Ito's, which people with any colour vision can tell apart), point, dash.
BLUE, ORANGE, GREEN, BLACK, RED = "#0072B2", "#E69F00", "#009E73", "#000000", "#D55E00"
Plot = collections.namedtuple("Plot", "file title measurement log_y series")
PLOTS = [
    Plot("requests", "A new handle for each request", "requests", True, [
        ("HTTP, a share", "BM_Http/share", BLUE, 7, 1),
        ("HTTPS, a share", "BM_Https/share", BLUE, 6, 3),
        ("HTTP, hand-made pool", "BM_Http/pool", GREEN, 5, 1),
        ("HTTPS, hand-made pool", "BM_Https/pool", GREEN, 4, 3),
        ("HTTP, no share", "BM_Http/no_share", BLACK, 13, 2),
        ("HTTPS, no share", "BM_Https/no_share", BLACK, 12, 3),
    ]),
    Plot("kept", "A kept handle for each thread", "requests", False, [
        ("HTTP, a share", "BM_Http/kept", BLUE, 7, 1),
        ("HTTPS, a share", "BM_Https/kept", BLUE, 6, 3),
        ("HTTP, hand-made pool", "BM_Http/pool", GREEN, 5, 1),
        ("HTTPS, hand-made pool", "BM_Https/pool", GREEN, 4, 3),
        ("HTTP, a share, gated", "BM_Http/kept_gated", ORANGE, 9, 1),
    ]),
    Plot("latency", "A server that takes 20 ms", "latency", True, [
        ("a share", "BM_Latency/library", BLUE, 7, 1),
        ("a share, gated", "BM_Latency/library_gated", ORANGE, 9, 1),
        ("a mutex around each call", "BM_Latency/one_call_at_a_time", RED, 11, 4),
    ]),
]


class ReportError(Exception):
    """Why there is no report."""


# ---- Running -----------------------------------------------------------------


def run(arguments):
    """Runs a program that must succeed; returns what it printed."""
    try:
        done = subprocess.run(
            arguments, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, universal_newlines=True, errors="replace")
    except OSError as error:
        raise ReportError("cannot run %s: %s" % (arguments[0], error.strerror)) from error
    if done.returncode != 0:
        how = ("ended by signal %d (%s)" % (
            -done.returncode, signal.strsignal(-done.returncode))
            if done.returncode < 0 else "exited with status %d" % done.returncode)
        raise ReportError("%s %s; it printed:\n%s" % (arguments[0], how, done.stdout[-2000:]))
    return done.stdout


def need(command, package):
    """Installs a missing program, where apt can."""
    if shutil.which(command):
        return
    root = [] if os.getuid() == 0 else ["sudo"]
    if not all(map(shutil.which, ["apt-get", *root])):
        raise ReportError("%s is missing (Debian's package %s)" % (command, package))
    print("benchmark_report: installing %s" % package, file=sys.stderr)
    run([*root, "apt-get", "update", "-q"])
    run([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q",
         "--no-install-recommends", package])


def build():
    """Builds the benchmarks; returns the directory of their programs."""
    print("benchmark_report: building", file=sys.stderr)
    bazelw = os.path.join(ROOT, "bazelw")
    flags = ["-c", "opt", "--noshow_progress", "--color=no"]
    directory = os.getcwd()
    try:
        os.chdir(ROOT)
        run([bazelw, "build", *flags, "//benchmarks/..."])
        return os.path.join(run([bazelw, "info", *flags, "bazel-bin"]).split()[-1], "benchmarks")
    finally:
        os.chdir(directory)


def parse_benchmarks(name, text):
    """The repetitions in what Google Benchmark wrote, and its context."""
    # Where a mean is 0, it writes the coefficient of variation as nan.
    text = re.sub(r'": (-?nan|-?inf(?:inity)?)\b', '": null', text, flags=re.IGNORECASE)
    try:
        written = json.loads(text)
        rows, context = written["benchmarks"], written["context"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError("%s wrote no valid JSON of Google Benchmark" % name) from error
    for row in rows:
        if row.get("error_occurred"):
            raise ReportError("%s: the benchmark %s ended with an error: %s" % (
                name, row["name"], row.get("error_message")))
    rows = [row for row in rows if row.get("run_type") == "iteration"]
    if not rows:
        raise ReportError("%s ran no benchmark" % name)
    return rows, context


def run_measurement(measurement, arguments, scratch):
    out = os.path.join(scratch, "out.json")
    quick = arguments.quick
    run([os.path.join(arguments.programs, measurement.program),
         "--benchmark_filter=" + (measurement.quick_filter if quick else measurement.filter),
         "--benchmark_min_time=%g" % (
             measurement.quick_seconds if quick else measurement.seconds),
         "--benchmark_repetitions=%d" % arguments.repetitions,
         "--benchmark_enable_random_interleaving=true",
         "--benchmark_out=" + out, "--benchmark_out_format=json"])
    with open(out, encoding="utf-8") as file:
        return parse_benchmarks(
            "%s (%s)" % (measurement.name, measurement.program), file.read())


def count_instructions(way, requests, arguments, scratch):
    """Of a whole run of the workload, with a server in a process of its own."""
    out = os.path.join(scratch, "callgrind.out")
    server = subprocess.Popen(
        [os.path.join(arguments.programs, "instructions_server")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
    try:
        url = server.stdout.readline().strip() + TARGET
        run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out,
             os.path.join(arguments.programs, "instructions_workload"), way, url,
             str(requests)])
        counts, _ = server.communicate()  # it ends with its input
    finally:
        server.kill()
        server.wait()
    if counts.split() != [str(requests), "1"]:
        raise ReportError(
            "%s: one connection should have served %d requests; requests and "
            "connections that the server counted: %s" % (way, requests, counts))
    with open(out, encoding="utf-8") as file:
        totals = re.search(r"^totals: (\d+)", file.read(), re.MULTILINE)
    if totals is None:
        raise ReportError("callgrind wrote no totals")
    return int(totals[1])


def run_instructions(arguments, scratch):
    many = QUICK_MANY if arguments.quick else MANY
    rows = []
    for _ in range(2 if arguments.quick else 3):
        for way in WAYS:
            few_count, many_count = (
                count_instructions(way, n, arguments, scratch) for n in (FEW, many))
            rows.append({"run_name": way, "threads": 1,
                         "per_request": (many_count - few_count) / (many - FEW)})
    return rows


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*: (.*)", file.read(), re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"processor": model[1] if model else platform.machine(),
            "processors": os.cpu_count(),
            "memory": "%.0f GiB" % (pages / 2**30),
            "system": "%s %s" % (platform.system(), platform.release())}


def run_all(arguments):
    started = datetime.datetime.now(datetime.timezone.utc)
    load = os.getloadavg()[0]  # before this adds to it
    measurements, context = {}, {}
    steps = len(MEASUREMENTS) + 1
    with tempfile.TemporaryDirectory() as scratch:
        def step(number, label):
            seconds = (datetime.datetime.now(datetime.timezone.utc) - started).seconds
            print("%d:%02d  %d of %d  %s" % (
                *divmod(seconds, 60), number, steps, label), file=sys.stderr, flush=True)

        for number, measurement in enumerate(MEASUREMENTS, 1):
            step(number, measurement.name)
            measurements[measurement.name], told = run_measurement(
                measurement, arguments, scratch)
            context.update(told)
        step(steps, "instructions, under callgrind")
        measurements["instructions"] = run_instructions(arguments, scratch)
    try:
        commit = run(["git", "-C", ROOT, "describe", "--always", "--abbrev=12",
                      "--dirty=, with changes"]).strip()
    except ReportError:
        commit = "unknown"  # no git, or no repository
    took = (datetime.datetime.now(datetime.timezone.utc) - started).seconds
    return {
        "format": FORMAT,
        "machine": machine(),
        "versions": {"curl_share": commit,
                     "libcurl": context.get("libcurl", "unknown"),
                     "compiler": context.get("compiler", "unknown") + ", -c opt"},
        "run": {"date": started.strftime("%Y-%m-%d %H:%M UTC"),
                "command": "tools/benchmark_report" + (" --quick" if arguments.quick else ""),
                "repetitions": arguments.repetitions,
                "took": "%d:%02d min" % divmod(took, 60),
                "load_average_before": "%.2f" % load},
        "measurements": measurements,
    }


# ---- Figures -----------------------------------------------------------------


def values(results, term):
    """One of each repetition, in the order in which they ran."""
    rows = results["measurements"].get(term.measurement, [])
    found = [
        (row["run_name"], row[term.metric]) for row in rows
        if (row["run_name"] + "/").startswith(term.benchmark + "/")
        and row.get("threads", 1) == term.threads
        and isinstance(row.get(term.metric), (int, float))
    ]
    if len({name for name, _ in found}) > 1:
        raise ReportError("%s fits several benchmarks of %s" % (
            term.benchmark, term.measurement))
    return [value for _, value in found]


def compute(ratio, results):
    """Of the first repetitions of both, the second ones, and so on."""
    quotients = values(results, ratio.numerator)
    if ratio.denominator is not None:
        denominators = values(results, ratio.denominator)
        quotients = [n / d for n, d in zip(quotients, denominators) if d != 0]
    if not quotients:
        return None
    figure = {"value": statistics.median(quotients),
              "min": min(quotients), "max": max(quotients)}
    if ratio.goal:
        met = ratio.holds(figure["value"])
        agree = all(ratio.holds(quotient) == met for quotient in quotients)
        figure["goal"] = ratio.goal
        figure["verdict"] = ("met" if met else "missed") + (
            "" if agree else ", within the noise")
    return figure


def number(value):
    """As many digits as a reader wants: 49,500 or 7.7 or 0.012."""
    if abs(value) >= 100 or value == int(value):
        return format(value, ",.0f")
    if abs(value) >= 10:
        return "%.1f" % value
    if 0.95 <= abs(value) < 1.05:
        return "%.3f" % value
    if abs(value) >= 0.1:
        return "%.2f" % value
    return "%.2g" % value


def span(figure):
    return "%s - %s" % (number(figure["min"]), number(figure["max"]))


# ---- The page ----------------------------------------------------------------


def before_cell(figure, old):
    """An older figure, bold where the two ranges do not touch."""
    if old is None:
        return "-"
    text = "%s (%s)" % (number(old["value"]), span(old))
    apart = figure is not None and (
        old["max"] < figure["min"] or figure["max"] < old["min"])
    return "**%s**" % text if apart else text


def section(heading, text, ratios, figures, before):
    heads = ["What", "Value", "Range", "Goal", "Verdict"]
    lines = ["## " + heading, "", text.replace("\n", " "), ""]
    if before is not None:
        heads.append("Before")
    lines += ["| %s |" % " | ".join(heads), "|:---|---:|:---:|---:|:---|" + (
        "---:|" if before is not None else "")]
    why = []
    for ratio in ratios:
        figure = figures[ratio.name]
        verdict = "not measured" if figure is None else figure.get("verdict", "")
        if verdict.startswith("missed"):
            verdict = "**%s**" % verdict
            if ratio.why:
                why.append("- `%s`: %s." % (ratio.name, ratio.why))
        cells = ["%s (`%s`)" % (ratio.what, ratio.name),
                 number(figure["value"]) if figure else "", span(figure) if figure else "",
                 ratio.goal.replace("<=", "\u2264").replace(">=", "\u2265"), verdict]
        if before is not None:
            cells.append(before_cell(figure, before["ratios"].get(ratio.name)))
        lines.append("| %s |" % " | ".join(cells))
    if why:
        lines += ["", "Why a goal was missed, as far as is known:", "", *why]
    return lines + [""]


def page(results, figures, plots, before):
    lines = ["# What sharing gains, and what this library costs", ""]
    if before is not None:
        lines += ["Compared with the report of %s (%s). Bold: the two ranges do not "
                  "touch." % (before["run"]["date"], before["versions"]), ""]
    for heading, text, ratios in SECTIONS:
        lines += section(heading, text, ratios, figures, before)
    for plot in PLOTS:
        if plot.file + ".svg" in plots:
            lines += ["![%s: requests/s by threads](%s.svg)" % (plot.title, plot.file), ""]
    lines += ["## How this was measured", "", "| | |", "|:---|:---|"]
    for part in ("run", "machine", "versions"):
        lines += ["| %s | %s |" % (key.replace("_", " "), value)
                  for key, value in results[part].items()]
    lines += ["", """Every figure and its control are of the same process, their
repetitions in random order. Server and clients share one machine, over loopback. A
benchmark ends with an error if a request failed, or if the reuse that it is about did
not happen, by what the server counted. A ratio is the median of the quotients of the
repetitions, the first of the one with the first of the other, and so on; its range
runs from the smallest quotient to the largest; a verdict is *within the noise* where
some meet the goal and some do not. In the plots points are medians, and error bars run
from the smallest repetition to the largest. results.json has every repetition.""", ""]
    return "\n".join(lines)


def gnuplot_script(plot, results, path):
    """What gnuplot is told; None where there are no values."""
    data, drawn, ticks = [], [], set()
    for label, benchmark, colour, point, dash in plot.series:
        lines = []
        for threads in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            found = values(results, rate(plot.measurement, benchmark, threads))
            if found:
                ticks.add(threads)
                lines.append("%d %.9g %.9g %.9g" % (
                    threads, statistics.median(found), min(found), max(found)))
        if lines:
            block = "$data%d" % len(drawn)
            data += [block + " << END", *lines, "END"]
            style = "linecolor rgb '%s' pointtype %d pointsize 0.7" % (colour, point)
            drawn.append("%s using 1:2:3:4 with yerrorbars %s notitle, %s using 1:2 with "
                         "linespoints %s linewidth 2 dashtype %d title '%s'" % (
                             block, style, block, style, dash, label))
    if not drawn:
        return None
    return "\n".join([
        "set terminal svg size 540,440 dynamic noenhanced background 'white' "
        "font 'Helvetica,Arial,sans-serif,15'",
        "set output '%s'" % path,
        "set title '%s'" % plot.title,
        "set xlabel 'threads' offset 0,0.6",
        "set ylabel 'requests/s'",
        "set logscale x 2",
        "set logscale y 10" if plot.log_y else "set yrange [0:*]",
        "set xtics nomirror (%s)" % ", ".join("'%d' %d" % (t, t) for t in sorted(ticks)),
        "set ytics nomirror",
        "set border 3 linecolor rgb '#555555'",
        "set grid ytics linecolor rgb '#cccccc'",
        "set key bmargin center horizontal Left reverse samplen 2 maxcols 2",
        "set offsets graph 0.02, graph 0.02, 0, 0",
        *data,
        "plot " + ", \\\n  ".join(drawn), ""])


def draw(results):
    plots = {}
    with tempfile.TemporaryDirectory() as scratch:
        for plot in PLOTS:
            path = os.path.join(scratch, plot.file + ".svg")
            script = gnuplot_script(plot, results, path)
            if script is None:
                continue
            script_path = os.path.join(scratch, "script")
            with open(script_path, "w", encoding="utf-8") as file:
                file.write(script)
            said = run(["gnuplot", script_path])
            if not os.path.exists(path):
                raise ReportError("gnuplot drew no %s.svg; it printed:\n%s" % (
                    plot.file, said))
            with open(path, encoding="utf-8") as file:
                plots[plot.file + ".svg"] = file.read()
    return plots


# ---- The program -------------------------------------------------------------


def results_text(results):
    """JSON with a line for each ratio and each repetition."""
    return re.sub(r'("\w+": (?:\[|\{"value")|\{"(?:name|run_name)")', r"\n\1",
                  json.dumps(results)) + "\n"


def write(directory, files):
    """All of them, or none: each is complete before the first has its name."""
    for name, text in files.items():
        with open(os.path.join(directory, name + ".new"), "w", encoding="utf-8") as file:
            file.write(text)
    for name in files:
        path = os.path.join(directory, name)
        os.replace(path + ".new", path)


def write_report(results, arguments):
    figures = {ratio.name: compute(ratio, results) for ratio in RATIOS}
    results["ratios"] = figures
    files = draw(results)
    files["report.md"] = page(results, figures, files, arguments.compare)
    files["results.json"] = results_text(results)
    write(arguments.out, files)
    for name, figure in figures.items():
        print("%s: %s" % (name, "not measured" if figure is None else " ".join(
            [number(figure["value"]), "(%s)" % span(figure), figure.get("goal", ""),
             figure.get("verdict", "")]).strip()))
    print("\nThe report: %s" % os.path.join(arguments.out, "report.md"))


def measure_and_write(arguments):
    need("gnuplot", "gnuplot-nox")
    os.makedirs(arguments.out, exist_ok=True)
    if arguments.source is not None:
        write_report(arguments.source, arguments)
        return
    need("valgrind", "valgrind")
    if arguments.programs is None:
        arguments.programs = build()
    results = run_all(arguments)
    kept = tempfile.NamedTemporaryFile("w", prefix="results.", suffix=".json", delete=False)
    with kept:
        kept.write(results_text(results))
    try:
        write_report(results, arguments)
    except BaseException:
        print("benchmark_report: what was measured is kept: --from=%s" % kept.name,
              file=sys.stderr)
        raise
    os.unlink(kept.name)


def read_results(path):
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            "cannot read %s: %s" % (path, error.strerror)) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError("%s is no valid JSON" % path) from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise argparse.ArgumentTypeError(
            '%s is no results.json of this report: its "format" is not "%s"' % (path, FORMAT))
    return results


def repetitions(text):
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError("2 to 100")
    return int(text)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="benchmark_report", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(ROOT, "report"),
                        help="the directory for the report (default: report)")
    parser.add_argument("--quick", action="store_true",
                        help="3 minutes instead of half an hour: fewer and shorter "
                        "repetitions, fewer numbers of threads")
    parser.add_argument("--repetitions", type=repetitions,
                        help="of each benchmark; by default 7, with --quick 3")
    parser.add_argument("--compare", type=read_results, metavar="RESULTS_JSON",
                        help="an older results.json: adds its figures")
    parser.add_argument("--from", type=read_results, metavar="RESULTS_JSON", dest="source",
                        help="makes the page of a results.json anew, and runs nothing")
    parser.add_argument("--programs", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.repetitions = arguments.repetitions or (3 if arguments.quick else 7)
    return arguments


def main(argv):
    arguments = parse_arguments(argv)
    # What it has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        measure_and_write(arguments)
    except (ReportError, OSError) as error:
        print("benchmark_report: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmark_report: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
