// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/ftp_server.h"

#include <curl/curl.h>

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

using ::testing::Optional;

Easy NewEasy() {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  EXPECT_OK(easy->SetTimeout(absl::Seconds(30)));
  EXPECT_OK(easy->SetOption<CURLOPT_PROTOCOLS_STR>("ftp"));
  return *std::move(easy);
}

TEST(FtpServer, SendsFilesToWhoLogsIn) {
  const auto server = FtpServer::Start();
  ASSERT_OK(server.status());
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetOption<CURLOPT_USERPWD>("any:secret"));
  for (const char* path : {"100.txt", "folder/100.txt"}) {
    const auto response = easy.Fetch((*server)->url(path));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->body, std::string(100, 'x'));
  }
  EXPECT_EQ((*server)->logins(), 1);  // one connection
  EXPECT_EQ((*server)->files_sent(), 2);
}

TEST(FtpServer, HasNoOtherFiles) {
  const auto server = FtpServer::Start();
  ASSERT_OK(server.status());
  EXPECT_THAT(GetEasyCode(NewEasy().Fetch((*server)->url("missing")).status()),
              Optional(CURLE_REMOTE_FILE_NOT_FOUND));
  EXPECT_EQ((*server)->files_sent(), 0);
}

}  // namespace
}  // namespace curlshare::testing
