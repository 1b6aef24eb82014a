// SPDX-License-Identifier: Apache-2.0
// The "after" of docs/migration.md: each does what the code before it did.
#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;

size_t Append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

// Options that functions far from the transfer set.
void SetLimits(CURL* curl) {
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
}
void SetRequest(CURL* curl, const std::string& url, std::string& body) {
  const curl_write_callback append = &Append;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
}

absl::StatusOr<std::string> WithARawHandle(Share& share,
                                           const std::string& url) {
  std::string body;
  CURL* curl = curl_easy_init();
  if (curl == nullptr) return absl::ResourceExhaustedError("curl_easy_init");
  SetLimits(curl);
  SetRequest(curl, url, body);
  absl::Status status = share.Perform(curl);
  long code = 0;  // NOLINT(runtime/int)
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  curl_easy_cleanup(curl);
  if (!status.ok()) return status;
  EXPECT_EQ(code, 200);
  return body;
}

// With a handle that stays, and a share of the kinds that were shared by hand.
absl::StatusOr<std::string> WithAShareOfOnesOwn(const std::string& url) {
  std::string body;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(
      curl_easy_init(), &curl_easy_cleanup);
  if (handle == nullptr) return absl::ResourceExhaustedError("curl_easy_init");
  CURL* const curl = handle.get();
  SetRequest(curl, url, body);
  ShareOptions options;
  options.lock_data = {LockData::kDns, LockData::kSslSession};
  auto share = Share::Create(options);
  if (!share.ok()) return share.status();
  auto attachment = (*share)->Attach(curl);
  if (!attachment.ok()) return attachment.status();
  absl::Status done = attachment->Perform();
  absl::Status closed = (*share)->CloseNow(absl::Now() + absl::Seconds(10));
  done.Update(closed);
  if (!done.ok()) return done;
  EXPECT_TRUE((*share)->closed());
  return body;
}

absl::StatusOr<Response> WithoutAPool(Share& share, const std::string& url) {
  auto easy = Easy::Create();
  if (!easy.ok()) return easy.status();
  if (absl::Status s = easy->Attach(share); !s.ok()) return s;
  return easy->Fetch(url);
}

absl::StatusOr<std::string> AsWithPycurl(const std::string& url) {
  ShareOptions options;
  options.lock_data = LockData::kDns;
  auto share = Share::Create(options);
  if (!share.ok()) return share.status();
  auto easy = Easy::Create();
  if (!easy.ok()) return easy.status();
  if (absl::Status s = easy->Attach(**share); !s.ok()) return s;
  absl::StatusOr<Response> response = easy->Fetch(url);
  if (!response.ok()) return response.status();
  if (absl::Status s = (*share)->Close(); !s.ok()) return s;
  return response->body;
}

class MigrationTest : public ::testing::Test {
 protected:
  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  const std::unique_ptr<Share> share_ = Share::Create().value();
};

TEST_F(MigrationTest, RawHandlesThatComeAndGoUseOneConnection) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(WithARawHandle(*share_, server_->url("/")), IsOkAndHolds("ok"));
  }
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_OK(share_->Close());
  EXPECT_THAT(WithARawHandle(*share_, server_->url("/")).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MigrationTest, AShareByHandIsAShare) {
  EXPECT_THAT(WithAShareOfOnesOwn(server_->url("/")), IsOkAndHolds("ok"));
  EXPECT_THAT(AsWithPycurl(server_->url("/")), IsOkAndHolds("ok"));
}

TEST_F(MigrationTest, WithoutAPoolRequestsUseOneConnection) {
  for (int i = 0; i < 5; ++i) {
    auto response = WithoutAPool(*share_, server_->url("/"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->body, "ok");
    EXPECT_EQ(response->connection_reused, i > 0);
  }
  EXPECT_EQ(server_->counts().connections, 1);
}

}  // namespace
}  // namespace curlshare
