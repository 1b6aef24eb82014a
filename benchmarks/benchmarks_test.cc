// SPDX-License-Identifier: Apache-2.0
// Each benchmark runs, for a moment, with few threads: so that none rots. What
// they measure is not looked at.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/testing/http_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::benchmarks {
namespace {

using ::curlshare::testing::HttpServer;
using ::testing::HasSubstr;
using ::testing::Not;

// The exit status of a command of the shell.
int ExitStatus(const std::string& command) {
  return WEXITSTATUS(std::system(command.c_str()));  // NOLINT(cert-env33-c)
}

struct Smoke {
  const char* program;
  const char* filter;
};

class BenchmarksTest : public ::testing::TestWithParam<Smoke> {};

TEST_P(BenchmarksTest, Runs) {
  const std::string out =
      absl::StrCat(::testing::TempDir(), GetParam().program, ".json");
  ASSERT_EQ(ExitStatus(absl::StrCat(
                "benchmarks/", GetParam().program, " --benchmark_filter='",
                GetParam().filter,
                "' --benchmark_min_time=0.001 --benchmark_repetitions=2 "
                "--benchmark_enable_random_interleaving=true "
                "--benchmark_out_format=json --benchmark_out=",
                out)),
            0);
  std::ifstream file(out);
  const std::string json(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(json, HasSubstr("\"run_type\": \"iteration\""));
  // A request that failed, or connections that were not reused.
  EXPECT_THAT(json, Not(HasSubstr("\"error_occurred\": true")));
}

INSTANTIATE_TEST_SUITE_P(
    All, BenchmarksTest,
    ::testing::Values(Smoke{"lock_benchmark", "threads:2$|EachKind.*/3$"},
                      Smoke{"attach_benchmark", "threads:2$|Close.*/10/"},
                      Smoke{"pool_benchmark", "/10$"},
                      Smoke{"transfer_benchmark",
                            "threads:2$|BM_Bundle.*threads:1$"},
                      Smoke{"dns_benchmark", "threads:2$"}),
    [](const auto& info) { return std::string(info.param.program); });

TEST(InstructionsWorkload, KeepsItsConnection) {
  const auto server = HttpServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  for (const absl::string_view way :
       {"library", "new", "no_share", "by_hand"}) {
    (*server)->ResetCounts();
    EXPECT_EQ(ExitStatus(absl::StrCat("benchmarks/instructions_workload ", way,
                                      " ", (*server)->url("/"), " 10")),
              0);
    EXPECT_EQ((*server)->counts().requests, 10);
    EXPECT_EQ((*server)->counts().connections, 1);
  }
}

TEST(InstructionsWorkload, FailsWhereARequestFails) {
  constexpr char kProgram[] = "benchmarks/instructions_workload ";
  EXPECT_EQ(ExitStatus(absl::StrCat(kProgram, "library http://127.0.0.1:1/ 1")),
            1);
  EXPECT_EQ(ExitStatus(absl::StrCat(kProgram, "by_hand http://127.0.0.1:1/ 1")),
            1);
  EXPECT_EQ(ExitStatus(absl::StrCat(kProgram, "neither http://127.0.0.1:1/ 1")),
            2);
  EXPECT_EQ(ExitStatus(absl::StrCat(kProgram, "library http://127.0.0.1:1/ x")),
            2);
}

TEST(InstructionsServer, CountsUntilItsInputEnds) {
  const std::string out = ::testing::TempDir() + "counts";
  // As tools/benchmark_report drives it: the URL comes first, then the counts.
  ASSERT_EQ(
      ExitStatus(absl::StrCat(
          "pipe=$(mktemp -u) && mkfifo $pipe && "
          "{ benchmarks/instructions_server < $pipe > ",
          out, " & } && exec 3> $pipe && rm $pipe && until grep -q http ", out,
          "; do sleep 0.01; kill -0 $! || exit 9; done; "
          "benchmarks/instructions_workload new $(cat ",
          out, ")/ 3; status=$?; exec 3>&-; wait; exit $status")),
      0);
  std::ifstream file(out);
  std::string url;
  std::string counts;
  std::getline(file, url);
  std::getline(file, counts);
  EXPECT_EQ(counts, "3 1");
}

}  // namespace
}  // namespace curlshare::benchmarks
