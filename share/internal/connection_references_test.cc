// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/connection_references.h"

#include <curl/curl.h>

#include <memory>
#include <string>

#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/testing/http_server.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::HttpServer;

size_t Drop(char*, size_t size, size_t count, void*) { return size * count; }

class ConnectionReferencesTest : public ::testing::Test {
 protected:
  ConnectionReferencesTest() {
    EXPECT_TRUE(InitLibcurl().ok());
    curl_ = curl_easy_init();
    multi_ = curl_multi_init();
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, drop), CURLE_OK);
  }
  ~ConnectionReferencesTest() override {
    curl_easy_cleanup(curl_);
    curl_multi_cleanup(multi_);
  }

  CURLcode Transfer(const std::string& url) {
    EXPECT_EQ(curl_easy_setopt(curl_, CURLOPT_URL, url.c_str()), CURLE_OK);
    EXPECT_EQ(curl_multi_add_handle(multi_, curl_), CURLM_OK);
    int running = 1;
    while (running > 0) {
      EXPECT_EQ(curl_multi_perform(multi_, &running), CURLM_OK);
      EXPECT_EQ(curl_multi_poll(multi_, nullptr, 0, 100, nullptr), CURLM_OK);
    }
    int left = 0;
    const CURLMsg* const message = curl_multi_info_read(multi_, &left);
    const CURLcode code =
        message == nullptr ? CURLE_FAILED_INIT : message->data.result;
    EXPECT_EQ(curl_multi_remove_handle(multi_, curl_), CURLM_OK);
    return code;
  }
  long Info(CURLINFO info) {
    long value = -1;
    EXPECT_EQ(curl_easy_getinfo(curl_, info, &value), CURLE_OK);
    return value;
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  CURL* curl_ = nullptr;
  CURLM* multi_ = nullptr;
};

TEST_F(ConnectionReferencesTest, AreCountedFromTheVersionOnThatCountsThem) {
  const uint32_t version = RunningLibcurl().version_num;
  EXPECT_EQ(ConnectionReferences() == References::kNone,
            version < LibcurlVersion(8, 21, 0));
  EXPECT_EQ(ConnectionReferences() == References::kUnknown,
            version > kNewestLibcurlTried);
}

TEST_F(ConnectionReferencesTest, AHandleLetsGoAndGoesOn) {
  ASSERT_EQ(Transfer(server_->url("/status?code=404")), CURLE_OK);
  if (ConnectionReferences() == References::kNone) return;
  EXPECT_TRUE(LetGoOfConnections(curl_, multi_, /*set_url=*/false));
  EXPECT_EQ(Info(CURLINFO_RESPONSE_CODE), 404);
  EXPECT_EQ(Info(CURLINFO_NUM_CONNECTS), 1);
  EXPECT_EQ(Transfer(server_->url("/")), CURLE_OK);
  EXPECT_EQ(server_->counts().connections, 1) << "its connection has stayed";
}

TEST_F(ConnectionReferencesTest, AHandleWithoutAUrlLetsGo) {
  ASSERT_EQ(Transfer(server_->url("/")), CURLE_OK);
  if (ConnectionReferences() == References::kNone) return;
  curl_easy_reset(curl_);
  EXPECT_FALSE(LetGoOfConnections(curl_, multi_, /*set_url=*/false));
  EXPECT_TRUE(LetGoOfConnections(curl_, multi_, /*set_url=*/true));
}

TEST_F(ConnectionReferencesTest, KnowWhatKeepsCredentials) {
  ASSERT_EQ(Transfer(server_->url("/")), CURLE_OK);
  if (ConnectionReferences() == References::kNone) return;
  EXPECT_FALSE(KeepsCredentials(curl_, /*any_redirect=*/true));
  EXPECT_EQ(curl_easy_setopt(curl_, CURLOPT_USERPWD, "user:password"),
            CURLE_OK);
  ASSERT_EQ(Transfer(server_->url("/")), CURLE_OK);
  EXPECT_FALSE(KeepsCredentials(curl_, /*any_redirect=*/true)) << "Basic";
  EXPECT_EQ(curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 1L), CURLE_OK);
  ASSERT_EQ(Transfer(server_->url("/redirect?to=/")), CURLE_OK);
  EXPECT_FALSE(KeepsCredentials(curl_, /*any_redirect=*/false));
  EXPECT_TRUE(KeepsCredentials(curl_, /*any_redirect=*/true));
}

}  // namespace
}  // namespace curlshare::internal
