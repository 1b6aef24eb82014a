// SPDX-License-Identifier: Apache-2.0
// Each benchmark runs, for a moment, with few threads: so that none rots. What
// they measure is not looked at.
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/report_data.h"
#include "benchmarks/report_process.h"
#include "curlshare/testing/http_server.h"
#include "gtest/gtest.h"

namespace curlshare::benchmarks {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;

struct Smoke {
  const char* program;
  const char* filter;
};

class BenchmarksTest : public ::testing::TestWithParam<Smoke> {};

TEST_P(BenchmarksTest, Runs) {
  ProcessRunner runner;
  const TempDirectory directory;
  const std::string out = absl::StrCat(directory.path(), "/out.json");
  const absl::Status ran = runner.Run(
      {absl::StrCat("benchmarks/", GetParam().program),
       absl::StrCat("--benchmark_filter=", GetParam().filter),
       "--benchmark_min_time=0.001", "--benchmark_repetitions=2",
       "--benchmark_enable_random_interleaving=true",
       absl::StrCat("--benchmark_out=", out), "--benchmark_out_format=json"},
      absl::StrCat(directory.path(), "/log"));
  ASSERT_TRUE(ran.ok()) << ran;
  const auto json = ParseBenchmarkOutput(GetParam().program, ReadFile(out));
  EXPECT_TRUE(json.ok()) << json.status();
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

class InstructionsWorkload : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "benchmarks/instructions_workload");
    return runner_.Run(std::move(arguments),
                       absl::StrCat(directory_.path(), "/log"));
  }

  ProcessRunner runner_;
  const TempDirectory directory_;
};

TEST_F(InstructionsWorkload, KeepsItsConnectionOrMakesNewOnes) {
  const auto server = HttpServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  HttpServerOptions options;
  options.tls = true;
  const auto tls_server = HttpServer::Start(options);
  ASSERT_TRUE(tls_server.ok()) << tls_server.status();
  const std::string ca_file = absl::StrCat(directory_.path(), "/ca");
  ASSERT_TRUE(WriteFile(ca_file, (*tls_server)->ca_pem()).ok());
  for (const std::string way : {"library", "new", "no_share", "by_hand"}) {
    (*server)->ResetCounts();
    absl::Status ran = Run({way, (*server)->url("/"), "10"});
    EXPECT_TRUE(ran.ok()) << ran;
    EXPECT_EQ((*server)->counts().requests, 10);
    EXPECT_EQ((*server)->counts().connections, 1);
    (*tls_server)->ResetCounts();
    ran = Run({way, (*tls_server)->url("/"), "5", ca_file});
    EXPECT_TRUE(ran.ok()) << ran;
    EXPECT_EQ((*tls_server)->counts().connections, 5);
    EXPECT_EQ((*tls_server)->counts().tls_resumed, way == "no_share" ? 0 : 4);
  }
}

TEST_F(InstructionsWorkload, FailsWhereARequestFails) {
  const std::string nobody = "http://127.0.0.1:1/";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"library", nobody, "1"},
        {"by_hand", nobody, "1"},
        {"neither", nobody, "1"},
        {"library", nobody, "x"},
        {"library", nobody, "1", "no such file"}}) {
    EXPECT_EQ(Run(arguments).code(), absl::StatusCode::kAborted);
  }
}

}  // namespace
}  // namespace curlshare::benchmarks
