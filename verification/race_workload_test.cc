// SPDX-License-Identifier: Apache-2.0
// The library's column of //verification:race_matrix, shorter: every scenario,
// every kind, alone and all together, over HTTP and HTTPS. To be run under
// ThreadSanitizer.
#include "curlshare/verification/race_workload.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/race_servers.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

struct Case {
  Scenario scenario;
  LockDataSet kinds;
  bool tls;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Scenario scenario : AllScenarios()) {
    std::vector<LockDataSet> sets = {LockData::kConnect,
                                     LockDataSet::Available()};
    // Where all need the gate, threads meet inside libcurl in this alone.
    if (DefaultLockData() != LockDataSet::Available()) {
      sets.push_back(DefaultLockData());
    }
    if (scenario == Scenario::kKept) {
      for (LockData kind : LockDataSet::Available()) {
        if (kind != LockData::kConnect) sets.emplace_back(kind);
      }
    }
    for (const LockDataSet kinds : sets) {
      cases.push_back({scenario, kinds, false});
      if (HasTls(scenario)) cases.push_back({scenario, kinds, true});
    }
  }
  return cases;
}

class RaceWorkloadTest : public ::testing::TestWithParam<Case> {};

std::string NameOf(const ::testing::TestParamInfo<Case>& info) {
  const auto& [scenario, kinds, tls] = info.param;
  const std::string name = kinds.size() == 1 ? kinds.ToString()
                           : kinds == LockDataSet::Available() ? "all"
                                                               : "default";
  return absl::StrCat(ScenarioName(scenario), "_", name,
                      tls ? "_https" : "_http");
}

INSTANTIATE_TEST_SUITE_P(Scenarios, RaceWorkloadTest,
                         ::testing::ValuesIn(Cases()), NameOf);

TEST_P(RaceWorkloadTest, AllRequestsEndAsTheyShould) {
  const auto& [scenario, kinds, tls] = GetParam();
  const auto servers = RaceServers::Start(tls);
  ASSERT_OK(servers.status());
  WorkloadOptions options;
  options.kinds = kinds;
  options.scenario = scenario;
  options.servers = servers->addresses();
  options.requests = 28;
  EXPECT_THAT(RunWorkload(options),
              IsOkAndHolds(options.threads * options.requests));
  EXPECT_TRUE(servers->WereUsedFor(scenario));
  EXPECT_EQ(ShareHandle::live_count(), 0);
}

TEST(Way, HasAName) {
  for (Way way : {Way::kRawPerKind, Way::kRawOneMutex, Way::kLibrary}) {
    EXPECT_EQ(ParseWay(WayName(way)), way);
  }
  EXPECT_FALSE(ParseWay("other").has_value());
}

TEST(Scenario, HasAName) {
  for (Scenario scenario : AllScenarios()) {
    EXPECT_EQ(ParseScenario(ScenarioName(scenario)), scenario);
  }
  EXPECT_FALSE(ParseScenario("other").has_value());
}

}  // namespace
}  // namespace curlshare::testing
