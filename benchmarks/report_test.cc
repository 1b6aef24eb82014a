// SPDX-License-Identifier: Apache-2.0
// Runs //benchmarks:report as a user would, with shell scripts in place of the
// benchmarks, gnuplot and valgrind.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "benchmarks/canned_results.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::benchmarks {
namespace {

namespace fs = ::std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    fs::create_directory(Path("bin"));
    fs::create_directory(Path("programs"));
    Script("bin/gnuplot", R"sh(
[ "$1" = --version ] && exit 0
out=$(sed -n "s/^set output '\(.*\)'$/\1/p" "$1")
echo '<svg viewBox="0 0 1 1"><title>Gnuplot</title></svg>' > "$out")sh");
    for (const char* program :
         {"lock_benchmark", "attach_benchmark", "pool_benchmark",
          "transfer_benchmark", "dns_benchmark"}) {
      Benchmark(program, R"sh({"name": "BM_X", "run_name": "BM_X",
                             "run_type": "iteration", "threads": 1})sh");
    }
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(directory_.path(), "/", name);
  }
  void Script(absl::string_view name, absl::string_view body) const {
    std::ofstream(Path(name)) << "#!/bin/sh\nPATH=/usr/bin:/bin\n"
                              << body << "\n";
    ASSERT_EQ(chmod(Path(name).c_str(), 0755), 0);
  }
  // A benchmark that writes these rows, and that it ran.
  void Benchmark(absl::string_view name, absl::string_view rows) const {
    Script(absl::StrCat("programs/", name),
           absl::StrCat("touch ", Path("ran"), R"sh(
for a in "$@"; do case $a in --benchmark_out=*) out=${a#*=};; esac; done
cat > "$out" <<'END'
{"context": {}, "benchmarks": [)sh",
                        rows, "]}\nEND"));
  }
  void Write(absl::string_view name, absl::string_view text) const {
    std::ofstream(Path(name)) << text;
  }

  void Start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "benchmarks/report");
    arguments.push_back(absl::StrCat("--programs=", Path("programs")));
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::string path = absl::StrCat("PATH=", Path("bin"));
    std::string temp = absl::StrCat("TMPDIR=", directory_.path());
    std::vector<char*> environment = {path.data(), temp.data(), nullptr};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO,
                                     Path("stdout").c_str(), kFlags, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO,
                                     Path("stderr").c_str(), kFlags, 0600);
    ASSERT_EQ(posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(),
                          environment.data()),
              0);
    posix_spawn_file_actions_destroy(&files);
  }
  // The exit status, -1 for a signal.
  int Wait() const {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int Run(std::vector<std::string> arguments) {
    Start(std::move(arguments));
    return Wait();
  }
  std::string Out() const { return absl::StrCat("--out=", Path("report")); }
  std::string Errors() const { return ReadFile(Path("stderr")); }

  // An older report, which must stay as it is.
  void MakeOldReport() const {
    fs::create_directory(Path("report"));
    for (const char* name : {"index.html", "report.md", "results.json"}) {
      Write(absl::StrCat("report/", name), "old");
    }
  }
  void ExpectOldReport() const {
    int files = 0;
    for (const auto& entry : fs::directory_iterator(Path("report"))) {
      ++files;
      EXPECT_EQ(ReadFile(entry.path().string()), "old") << entry.path();
    }
    EXPECT_EQ(files, 3);
  }

  const TempDirectory directory_;
  pid_t pid_ = 0;
};

TEST_F(ReportTest, WritesItsFilesWithoutValgrindToo) {
  EXPECT_EQ(Run({Out()}), 0) << Errors();
  EXPECT_THAT(Errors(), AllOf(HasSubstr("without instructions: valgrind does "
                                        "not run here; install it"),
                              ContainsRegex("1 of 11  lock and unlock")));
  const auto results = ReadResults(Path("report/results.json"));
  ASSERT_TRUE(results.ok()) << results.status();
  const Json& ratio = (*results)["ratios"]["instructions_vs_by_hand"];
  EXPECT_TRUE(ratio["value"].is_null());
  EXPECT_THAT(ratio["verdict"].get<std::string>(),
              HasSubstr("not measured: valgrind"));
  EXPECT_EQ((*results)["run"]["repetitions"], 7);
  EXPECT_THAT(ReadFile(Path("report/report.md")),
              HasSubstr("**Not measured:** valgrind"));
  EXPECT_THAT(ReadFile(Path("report/index.html")), HasSubstr("</html>"));
  EXPECT_THAT(ReadFile(Path("stdout")),
              HasSubstr("instructions_vs_by_hand: - (goal <= 1.01) not "
                        "measured: valgrind"));
}

TEST_F(ReportTest, CountsInstructionsByTheDifferenceOfTwoRuns) {
  // The real workload, counted by a script: 1000 for the start, 50 a request,
  // 40 by hand.
  Script("bin/valgrind", R"sh(
[ "$1" = --version ] && exit 0
out=${2#*=}
shift 2
"$@" || exit 1
[ "$2" = library ] && each=50 || each=40
echo "totals: $((1000 + each * $4))" > "$out")sh");
  fs::create_symlink(fs::absolute("benchmarks/instructions_workload"),
                     Path("programs/instructions_workload"));
  EXPECT_EQ(Run({Out(), "--quick"}), 0) << Errors();
  const auto results = ReadResults(Path("report/results.json"));
  ASSERT_TRUE(results.ok()) << results.status();
  const Json& ratio = (*results)["ratios"]["instructions_vs_by_hand"];
  EXPECT_EQ(ratio["value"], 1.25);
  EXPECT_EQ((*results)["ratios"]["instructions_vs_no_share"]["value"], 1.25);
  EXPECT_EQ((*results)["ratios"]["tls_instructions_vs_no_share"]["value"],
            1.25);
  EXPECT_EQ(ratio["met"], false);
  EXPECT_EQ(ratio["verdict"], "missed");
}

TEST_F(ReportTest, AnInterruptedRunEndsItsChildrenAndTouchesNothing) {
  for (const int signal : {SIGINT, SIGTERM}) {
    fs::remove_all(Path("report"));
    MakeOldReport();
    // It and a child of its own hold the pipe open; the one outlives SIGTERM.
    unlink(Path("pipe").c_str());
    ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
    Script("programs/attach_benchmark",
           absl::StrCat("exec 9> ", Path("pipe"), R"sh(
trap '' TERM
echo running >&9
sleep 1000 &
sleep 1000)sh"));
    Start({Out()});
    // Returns once the script has opened it.
    std::ifstream pipe(Path("pipe"));
    std::string line;
    ASSERT_TRUE(std::getline(pipe, line));
    ASSERT_EQ(kill(pid_, signal), 0);
    // Ends when nobody is left who holds it.
    EXPECT_FALSE(std::getline(pipe, line));
    EXPECT_EQ(Wait(), 128 + signal);
    EXPECT_THAT(Errors(),
                AllOf(HasSubstr("interrupted ("), HasSubstr("attach_benchmark"),
                      HasSubstr("is as it was")));
    ExpectOldReport();
  }
}

TEST_F(ReportTest, ABenchmarkThatGoesWrongIsNamedAndTheOldReportStays) {
  MakeOldReport();
  const auto fails_with = [this](absl::string_view text) {
    EXPECT_EQ(Run({Out()}), 1);
    EXPECT_THAT(Errors(), HasSubstr(std::string(text)));
    ExpectOldReport();
  };
  Benchmark("attach_benchmark", R"sh({"name": "BM_Attach/8", "run_name": "BM_A",
      "run_type": "iteration", "error_occurred": true,
      "error_message": "a request failed"})sh");
  fails_with(
      "attach (attach_benchmark): the benchmark BM_Attach/8 ended with an "
      "error: a request failed");
  Benchmark("attach_benchmark", "{");
  fails_with("attach (attach_benchmark) wrote no valid JSON");
  Script("programs/attach_benchmark", "exit 0");
  fails_with("attach (attach_benchmark) wrote no valid JSON");
  Script("programs/attach_benchmark", "echo it hurts; kill -SEGV $$");
  fails_with(
      "attach_benchmark crashed (Segmentation fault); it printed:\n"
      "it hurts");
  Script("programs/attach_benchmark", "exit 3");
  fails_with("attach_benchmark exited with status 3");
  fs::remove(Path("programs/attach_benchmark"));
  fails_with("attach_benchmark: No such file");
}

TEST_F(ReportTest, WithoutGnuplotItSaysWhatToInstallBeforeItMeasures) {
  fs::remove(Path("bin/gnuplot"));
  EXPECT_EQ(Run({Out()}), 1);
  EXPECT_THAT(Errors(), HasSubstr("apt-get install gnuplot-nox"));
  EXPECT_FALSE(fs::exists(Path("ran")));
}

TEST_F(ReportTest, AGnuplotThatFailsIsNamed) {
  Script("bin/gnuplot", R"sh([ "$1" = --version ] && exit 0
echo no terminal; exit 1)sh");
  Write("canned.json", ResultsText(CannedResults()));
  MakeOldReport();
  EXPECT_EQ(Run({Out(), "--from", Path("canned.json")}), 1);
  EXPECT_THAT(Errors(), AllOf(HasSubstr("gnuplot exited with status 1"),
                              HasSubstr("no terminal")));
  ExpectOldReport();
}

TEST_F(ReportTest, BadInputIsRefusedBeforeItMeasures) {
  Write("broken.json", "{\"format\": ");
  Write("foreign.json", "{\"benchmarks\": []}");
  Json results = CannedResults();
  results["ratios"]["http_8_kept_vs_pool"].erase("value");
  Write("no_value.json", ResultsText(results));
  for (const char* option : {"--compare", "--from"}) {
    for (const auto& [file, text] :
         {std::pair("missing.json", "cannot read"),
          std::pair("programs", "cannot read"),
          std::pair("broken.json", "is broken: it is no valid JSON"),
          std::pair("foreign.json", "is not a results.json of this report"),
          std::pair("no_value.json",
                    "its ratio http_8_kept_vs_pool has no value")}) {
      EXPECT_EQ(Run({Out(), option, Path(file)}), 2) << option << file;
      EXPECT_THAT(Errors(), AllOf(HasSubstr(text), HasSubstr(Path(file))));
    }
  }
  Write("file", "");
  EXPECT_EQ(Run({absl::StrCat("--out=", Path("file"))}), 1);
  EXPECT_THAT(Errors(), HasSubstr("cannot make the directory"));
  EXPECT_EQ(Run({"--repetitions=0"}), 2);
  EXPECT_EQ(Run({"--quick", "--from", Path("broken.json")}), 2);
  EXPECT_EQ(Run({"--unknown"}), 2);
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_FALSE(fs::exists(Path("ran")));
  EXPECT_FALSE(fs::exists(Path("report")));
}

TEST_F(ReportTest, MakesTheReportAgainAndComparesIt) {
  Json results = CannedResults();
  Write("old.json", ResultsText(results));
  Scale(results, "requests", "BM_Http/kept", "requests_per_second", 0.5);
  Write("new.json", ResultsText(results));
  EXPECT_EQ(
      Run({Out(), "--from", Path("new.json"), "--compare", Path("old.json")}),
      0)
      << Errors();
  EXPECT_FALSE(fs::exists(Path("ran")));
  for (const std::string& text :
       {ReadFile(Path("stdout")), ReadFile(Path("report/report.md"))}) {
    EXPECT_THAT(text, HasSubstr("`http_8_kept_vs_pool`: was met (1), is missed "
                                "(0.50)"));
  }
  // What it wrote reads back as what it was made from.
  const auto again = ReadResults(Path("report/results.json"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)["measurements"], results["measurements"]);
  EXPECT_THAT((*again)["ratios"]["http_8_kept_vs_pool"].dump(),
              Not(HasSubstr("null")));
}

}  // namespace
}  // namespace curlshare::benchmarks
