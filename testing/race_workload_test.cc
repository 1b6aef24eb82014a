// The library's column of //testing:race_matrix, shorter: every kind, alone and
// all together, over HTTP and HTTPS. To be run under ThreadSanitizer.
#include "curlshare/testing/race_workload.h"

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

std::vector<LockDataSet> Sets() {
  std::vector<LockDataSet> sets;
  for (LockData kind : LockDataSet::Available()) sets.emplace_back(kind);
  sets.push_back(LockDataSet::Available());
  return sets;
}

class RaceWorkloadTest
    : public ::testing::TestWithParam<std::tuple<LockDataSet, bool>> {};

std::string NameOf(
    const ::testing::TestParamInfo<std::tuple<LockDataSet, bool>>& info) {
  const auto [kinds, tls] = info.param;
  return (kinds.size() == 1 ? kinds.ToString() : "all") +
         (tls ? "_https" : "_http");
}

INSTANTIATE_TEST_SUITE_P(Kinds, RaceWorkloadTest,
                         ::testing::Combine(::testing::ValuesIn(Sets()),
                                            ::testing::Bool()),
                         NameOf);

TEST_P(RaceWorkloadTest, AllRequestsEndAsTheyShould) {
  const auto [kinds, tls] = GetParam();
  HttpServerOptions server_options;
  server_options.tls = tls;
  const auto server = HttpServer::Start(server_options);
  ASSERT_OK(server.status());
  WorkloadOptions options;
  options.kinds = kinds;
  options.port = (*server)->port();
  options.ca_pem = (*server)->ca_pem();
  options.requests = 28;
  EXPECT_THAT(RunWorkload(options),
              IsOkAndHolds(options.threads * options.requests));
  EXPECT_EQ(ShareHandle::live_count(), 0);
}

TEST(Way, HasAName) {
  for (Way way : {Way::kRawPerKind, Way::kRawOneMutex, Way::kLibrary}) {
    EXPECT_EQ(ParseWay(WayName(way)), way);
  }
  EXPECT_FALSE(ParseWay("other").has_value());
}

}  // namespace
}  // namespace curlshare::testing
