# SPDX-License-Identifier: Apache-2.0
"""Tests tools/benchmark_report.py: what it computes, and the whole of it with shell
scripts in place of the benchmarks, gnuplot and valgrind.

    python3 tools/benchmark_report_test.py
"""

import contextlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True  # nothing untracked in tools/

import benchmark_report as report

SCRIPT = pathlib.Path(report.__file__)
RATIO = report.Ratio("r", "what", report.cpu("m", "BM_A"), report.cpu("m", "BM_B"), "<= 1")


def results_of(numerators, denominators):
    rows = [{"run_name": name, "threads": 1, "cpu_time": value}
            for name, values in (("BM_A/x", numerators), ("BM_B", denominators))
            for value in values]
    return {"measurements": {"m": rows}}


class ComputeTest(unittest.TestCase):
    def test_is_the_median_of_the_quotients_of_each_repetition(self):
        figure = report.compute(RATIO, results_of([1, 6, 4], [2, 2, 4]))
        self.assertEqual((figure["value"], figure["min"], figure["max"]), (1, 0.5, 3))

    def test_verdict_tells_noise(self):
        for numerators, verdict in (
                ([0.5, 0.9, 1], "met"), ([0.5, 0.9, 1.1], "met, within the noise"),
                ([1.1, 1.2, 1.3], "missed"), ([1.2, 1.2, 0.9], "missed, within the noise")):
            figure = report.compute(RATIO, results_of(numerators, [1, 1, 1]))
            self.assertEqual(figure["verdict"], verdict)
        at_least = report.Ratio("r", "what", report.cpu("m", "BM_A"), None, ">= 2")
        self.assertEqual(report.compute(at_least, results_of([2], []))["verdict"], "met")
        self.assertEqual(report.compute(at_least, results_of([1.9], []))["verdict"], "missed")

    def test_what_was_not_measured_or_is_zero_has_no_figure(self):
        self.assertIsNone(report.compute(RATIO, results_of([], [1])))
        self.assertIsNone(report.compute(RATIO, results_of([1], [0])))
        self.assertIsNone(report.compute(RATIO, {"measurements": {}}))

    def test_a_name_fits_one_benchmark_by_whole_parts(self):
        rows = [{"run_name": "BM_A/share_gated/real_time", "threads": 1, "cpu_time": 1},
                {"run_name": "BM_A/share/real_time", "threads": 1, "cpu_time": 2},
                {"run_name": "BM_A/share/real_time", "threads": 8, "cpu_time": 3}]
        results = {"measurements": {"m": rows}}
        self.assertEqual(report.values(results, report.cpu("m", "BM_A/share")), [2])
        with self.assertRaisesRegex(report.ReportError, "BM_A fits several"):
            report.values(results, report.cpu("m", "BM_A"))


class RatiosTest(unittest.TestCase):
    def test_names_are_unique(self):
        names = [ratio.name for ratio in report.RATIOS]
        self.assertEqual(len(names), len(set(names)))

    def test_measurements_exist(self):
        known = {m.name for m in report.MEASUREMENTS} | {"instructions"}
        for ratio in report.RATIOS:
            for term in (ratio.numerator, ratio.denominator or ratio.numerator):
                self.assertIn(term.measurement, known)


class NumberTest(unittest.TestCase):
    def test_has_as_many_digits_as_a_reader_wants(self):
        for value, text in ((49512.3, "49,512"), (128, "128"), (61.64, "61.6"), (7.71, "7.71"),
                            (0.987, "0.987"), (1.0431, "1.043"), (0.857, "0.86"),
                            (0.0587, "0.059"), (0, "0")):
            self.assertEqual(report.number(value), text)


class BenchmarkOutputTest(unittest.TestCase):
    def test_keeps_the_repetitions(self):
        rows, context = report.parse_benchmarks("lock", """{"context": {"libcurl": "8"},
            "benchmarks": [{"run_name": "a", "run_type": "iteration"},
            {"run_name": "a", "run_type": "aggregate", "cv": nan, "min": -inf}]}""")
        self.assertEqual(rows, [{"run_name": "a", "run_type": "iteration"}])
        self.assertEqual(context, {"libcurl": "8"})

    def test_errors_name_the_benchmark(self):
        for text, message in (
                ('{"context": {}, "benchm', "lock wrote no valid JSON"),
                ("[]", "lock wrote no valid JSON"),
                ('{"context": {}, "benchmarks": []}', "lock ran no benchmark"),
                ('{"context": {}, "benchmarks": [{"name": "BM_X/8", "error_occurred": true, '
                 '"error_message": "a request failed"}]}',
                 "lock: the benchmark BM_X/8 ended with an error: a request failed")):
            with self.assertRaisesRegex(report.ReportError, message):
                report.parse_benchmarks("lock", text)


# What each benchmark's script writes: all that its ratios and plots need.
def canned_rows():
    rows = {}
    terms = [term for ratio in report.RATIOS
             for term in (ratio.numerator, ratio.denominator) if term]
    terms += [report.rate(plot.measurement, series[1], threads)
              for plot in report.PLOTS for series in plot.series for threads in (1, 8)]
    for term in terms:
        row = rows.setdefault(term[:3], {
            "name": term.benchmark, "run_name": term.benchmark, "run_type": "iteration",
            "threads": term.threads})
        row[term.metric] = 100
    return rows


class ProgramTest(unittest.TestCase):
    def setUp(self):
        # Whoever started this test in the background may have it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name)
        (self.path / "bin").mkdir()
        # PATH has what the scripts need and no more.
        self.script("bin/gnuplot", r"""
            out=$(sed -n "s/^set output '\(.*\)'$/\1/p" "$1")
            echo '<svg/>' > "$out" """)
        self.script("bin/valgrind", r"""
            out=${2#*=}; shift 2
            [ "$2" = library ] && each=50 || each=40
            echo "totals: $((1000 + each * $4))" > "$out"; echo "$4" > "$(dirname $0)/requests" """)
        self.script("instructions_server", r"""
            echo http://server; cat; echo "$(cat bin/requests) 1" """)
        for program in {m.program for m in report.MEASUREMENTS}:
            names = {m.name for m in report.MEASUREMENTS if m.program == program}
            self.benchmark(program, [
                row for key, row in canned_rows().items() if key[0] in names])

    def script(self, name, body):
        path = self.path / name
        path.write_text("#!/bin/sh\nPATH=/usr/bin:/bin\ncd '%s'\n%s\n" % (self.path, body))
        path.chmod(0o755)

    def benchmark(self, program, rows):
        (self.path / (program + ".json")).write_text(
            json.dumps({"context": {"libcurl": "libcurl/8"}, "benchmarks": rows}))
        self.script(program, """
            touch ran
            for a in "$@"; do case $a in --benchmark_out=*) out=${a#*=};; esac; done
            cat %s.json > "$out" """ % program)

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), "--programs=%s" % self.path,
             "--out=%s" % (self.path / "report"), *arguments],
            env={**os.environ, "PATH": str(self.path / "bin")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

    def run_report(self, *arguments):
        process = self.start(*arguments)
        out, errors = process.communicate()
        return process.returncode, out, errors

    def make_old_report(self):
        (self.path / "report").mkdir()
        (self.path / "report/report.md").write_text("old")

    def expect_old_report(self):
        self.assertEqual([p.name for p in (self.path / "report").iterdir()], ["report.md"])
        self.assertEqual((self.path / "report/report.md").read_text(), "old")

    def test_writes_the_page_the_plots_and_every_repetition(self):
        status, out, errors = self.run_report("--quick")
        self.assertEqual(status, 0, errors)
        self.assertIn("11 of 11  instructions", errors)
        # 50 a request against 40, however many the start takes.
        self.assertIn("instructions_vs_no_share: 1.25 (1.25 - 1.25) <= 1.02 missed", out)
        page = (self.path / "report/report.md").read_text()
        self.assertIn("(`http_8_kept_vs_pool`) | 1 | 1 - 1 | \u2265 0.97 | met |", page)
        self.assertIn("- `instructions_vs_by_hand`: the multi handle", page)
        self.assertNotIn("not measured", page)
        for plot in report.PLOTS:
            self.assertIn("(%s.svg)" % plot.file, page)
            self.assertTrue((self.path / "report" / (plot.file + ".svg")).exists())
        results = json.loads((self.path / "report/results.json").read_text())
        self.assertEqual(results["run"]["repetitions"], 3)
        self.assertEqual(results["versions"]["libcurl"], "libcurl/8")
        self.assertEqual(results["versions"]["curl_share"], "unknown")  # without git

    def test_makes_the_page_anew_and_compares(self):
        self.assertEqual(self.run_report()[0], 0)
        results = json.loads((self.path / "report/results.json").read_text())
        old = self.path / "old.json"
        results["ratios"]["http_8_kept_vs_pool"].update(value=2, min=1.5, max=3)
        old.write_text(json.dumps(results))
        (self.path / "ran").unlink()
        status, _, errors = self.run_report(
            "--from=%s" % (self.path / "report/results.json"), "--compare=%s" % old)
        self.assertEqual(status, 0, errors)
        self.assertFalse((self.path / "ran").exists())
        page = (self.path / "report/report.md").read_text()
        self.assertIn("| 1 | 1 - 1 | \u2265 0.97 | met | **2 (1.50 - 3)** |", page)
        self.assertIn("| met | 1 (1 - 1) |", page)

    def test_a_benchmark_that_goes_wrong_is_named_and_the_old_report_stays(self):
        self.make_old_report()
        for body, message in (
                ("echo it hurts; exit 3", "exited with status 3; it printed:\nit hurts"),
                ("kill -SEGV $$", "attach_benchmark ended by signal 11 (Segmentation fault)"),
                ("echo '{' > \"${5#*=}\"", "attach (attach_benchmark) wrote no valid JSON"),
                (None, "attach_benchmark: No such file")):
            if body is None:
                (self.path / "attach_benchmark").unlink()
            else:
                self.script("attach_benchmark", body)
            status, _, errors = self.run_report()
            self.assertEqual(status, 1)
            self.assertIn(message, errors)
            self.expect_old_report()

    def test_a_server_that_counted_otherwise_is_an_error(self):
        self.script("instructions_server", "echo http://server; cat; echo 5 2")
        status, _, errors = self.run_report()
        self.assertEqual(status, 1)
        self.assertIn("library: one connection should have served 100 requests", errors)

    def test_a_gnuplot_that_fails_is_named(self):
        self.make_old_report()
        for body, message in (("echo no terminal; exit 1", "no terminal"),
                              ("exit 0", "gnuplot drew no requests.svg")):
            self.script("bin/gnuplot", body)
            status, _, errors = self.run_report()
            self.assertEqual(status, 1)
            self.assertIn(message, errors)
            self.expect_old_report()
            # What took half an hour to measure is not lost.
            kept = re.search("--from=(.*)", errors)[1]
            self.assertEqual(json.loads(pathlib.Path(kept).read_text())["format"],
                             report.FORMAT)
            os.unlink(kept)

    def test_a_file_that_cannot_be_written_leaves_the_old_report(self):
        self.make_old_report()
        (self.path / "report/results.json.new").mkdir()
        status, _, errors = self.run_report()
        self.assertEqual(status, 1)
        self.assertIn("Is a directory", errors)
        self.assertEqual((self.path / "report/report.md").read_text(), "old")
        os.unlink(re.search("--from=(.*)", errors)[1])

    def test_an_interrupted_run_ends_its_child_and_touches_nothing(self):
        self.make_old_report()
        for sent in (signal.SIGINT, signal.SIGTERM):
            self.script("attach_benchmark", "echo $$ > pid; exec sleep 1000")
            process = self.start()
            while not (self.path / "pid").exists() or not (self.path / "pid").read_text():
                self.assertIsNone(process.poll())
                time.sleep(0.01)
            child = int((self.path / "pid").read_text())
            process.send_signal(sent)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + sent)
            with self.assertRaises(ProcessLookupError):
                os.kill(child, 0)
            self.expect_old_report()
            (self.path / "pid").unlink()

    def test_bad_arguments_are_refused_before_it_measures(self):
        (self.path / "broken.json").write_text('{"format": ')
        (self.path / "foreign.json").write_text('{"benchmarks": []}')
        for option in ("--compare", "--from"):
            for file, message in (("missing.json", "cannot read"), (".", "cannot read"),
                                  ("broken.json", "is no valid JSON"),
                                  ("foreign.json", "is no results.json of this report")):
                status, _, errors = self.run_report("%s=%s" % (option, self.path / file))
                self.assertEqual(status, 2)
                self.assertIn(message, errors)
        for bad in ("--repetitions=0", "--repetitions=x", "--unknown"):
            self.assertEqual(self.run_report(bad)[0], 2)
        self.assertFalse((self.path / "ran").exists())
        self.assertFalse((self.path / "report").exists())

    def test_help(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), self.assertRaises(SystemExit) as end:
            report.parse_arguments(["--help"])
        self.assertEqual(end.exception.code, 0)
        self.assertIn("--compare", out.getvalue())


if __name__ == "__main__":
    unittest.main()
