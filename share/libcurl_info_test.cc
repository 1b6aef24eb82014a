// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/libcurl_info.h"

#include <curl/curl.h>

#include <string>

#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

// curl_version_info itself is a data race between threads: under
// ThreadSanitizer this test fails where it is called more than once.
TEST(InitLibcurl, WorksFromManyThreadsAtOnce) {
  std::string versions[8];
  testing::RunThreads(8, [&](int i) {
    EXPECT_OK(InitLibcurl());
    versions[i] = RunningLibcurl().version;
  });
  for (const std::string& version : versions) {
    EXPECT_EQ(version, RunningLibcurl().version);
  }
}

TEST(InitLibcurl, TellsWhatRuns) {
  ASSERT_OK(InitLibcurl());
  const curl_version_info_data* data = curl_version_info(CURLVERSION_NOW);
  EXPECT_EQ(RunningLibcurl().version, data->version);
  EXPECT_EQ(RunningLibcurl().version_num, data->version_num);
  EXPECT_GE(RunningLibcurl().version_num, LibcurlVersion(7, 88, 0));
}

TEST(LibcurlVersion, IsCurlVersionBits) {
  EXPECT_EQ(LibcurlVersion(8, 14, 1), uint32_t{CURL_VERSION_BITS(8, 14, 1)});
}

}  // namespace
}  // namespace curlshare
