// SPDX-License-Identifier: Apache-2.0
// libcurl's cookie engine, which a share of cookies turns on in the handles
// that come into it: that costs them nothing that stays.
#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/failure_injection.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::LiveLibcurlAllocations;

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

size_t Append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

CurlPtr NewCurl() { return {curl_easy_init(), &curl_easy_cleanup}; }

class CookieEngineTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Share> NewShare(LockDataSet kinds) {
    ShareOptions options;
    options.lock_data = kinds;
    return Share::Create(options).value();
  }

  // The body that `attachment`'s handle is sent.
  std::string Get(Attachment& attachment, const std::string& target) {
    std::string body;
    {
      const auto use = attachment.BeginUse();
      CURL* const curl = attachment.handle();
      const curl_write_callback append = &Append;
      EXPECT_EQ(
          curl_easy_setopt(curl, CURLOPT_URL, server_->url(target).c_str()),
          CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append),
                CURLE_OK);
      EXPECT_EQ(curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body), CURLE_OK);
    }
    EXPECT_OK(attachment.Perform());
    return body;
  }

  // Sets a cookie in `share`, by another handle.
  void SetCookie(Share& share) {
    Easy easy = Easy::Create().value();
    ASSERT_OK(easy.Attach(share));
    ASSERT_OK(easy.Fetch(server_->url("/cookie/set?name=a&value=1")).status());
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

TEST_F(CookieEngineTest, AttachingOverAndOverLeavesNothingBehind) {
  const auto share = NewShare(LockData::kCookie);
  const CurlPtr curl = NewCurl();
  Easy easy = Easy::Create().value();
  int64_t before = 0;
  for (int i = 0; i < 10'000; ++i) {
    // After the first few nothing new is made.
    if (i == 10) before = LiveLibcurlAllocations();
    ASSERT_OK(share->Attach(curl.get()).status());
    ASSERT_OK(easy.Attach(*share));
    ASSERT_OK(easy.Detach());
  }
  EXPECT_EQ(LiveLibcurlAllocations(), before);
  SetCookie(*share);
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "a=1");
}

TEST_F(CookieEngineTest, ChangesOfKindsLeaveNothingBehind) {
  const auto share = NewShare(LockData::kCookie);
  const CurlPtr curl = NewCurl();
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  const auto change = [&](int i) {
    ASSERT_OK(i % 2 == 0 ? share->Enable(LockData::kDns)
                         : share->Disable(LockData::kDns));
    EXPECT_EQ(Get(*attachment, "/cookie/show"), "");
  };
  for (int i = 0; i < 4; ++i) change(i);
  const int64_t before = LiveLibcurlAllocations();
  for (int i = 0; i < 200; ++i) change(i);
  EXPECT_LT(LiveLibcurlAllocations(), before + 100);
  SetCookie(*share);
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "a=1");
}

// A share whose kinds change while the handle is in it.
TEST_F(CookieEngineTest, ComesOnWithTheKind) {
  const auto share = NewShare(LockData::kDns);
  const CurlPtr curl = NewCurl();
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "");
  ASSERT_OK(share->Enable(LockData::kCookie));
  SetCookie(*share);
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "a=1");
}

// Whatever its owner has done with it before.
TEST_F(CookieEngineTest, ComesOnInEveryHandle) {
  const auto share = NewShare(LockData::kCookie);
  SetCookie(*share);
  const auto shown = [&](CURL* curl) {
    auto attachment = share->Attach(curl);
    EXPECT_OK(attachment.status());
    return Get(*attachment, "/cookie/show");
  };
  const CurlPtr fresh = NewCurl();
  EXPECT_EQ(shown(fresh.get()), "a=1");
  curl_easy_reset(fresh.get());
  EXPECT_EQ(shown(fresh.get()), "a=1") << "after a reset";
  EXPECT_EQ(curl_easy_setopt(fresh.get(), CURLOPT_COOKIEFILE, nullptr),
            CURLE_OK);
  EXPECT_EQ(shown(fresh.get()), "a=1") << "after its owner turned it off";
  const CurlPtr with_cookies = NewCurl();
  EXPECT_EQ(curl_easy_setopt(with_cookies.get(), CURLOPT_COOKIELIST,
                             "Set-Cookie: own=1; domain=127.0.0.1"),
            CURLE_OK);
  EXPECT_EQ(shown(with_cookies.get()), "a=1") << "with a jar of its own";
  auto attachment = share->Attach(with_cookies.get());
  ASSERT_OK(attachment.status());
  CurlPtr duplicate(nullptr, &curl_easy_cleanup);
  {
    const auto use = attachment->BeginUse();
    duplicate.reset(curl_easy_duphandle(with_cookies.get()));
  }
  EXPECT_EQ(shown(duplicate.get()), "a=1") << "a duplicate";
}

TEST_F(CookieEngineTest, StaysOnInAHandleThatLeaves) {
  const auto share = NewShare(LockData::kCookie);
  SetCookie(*share);
  const CurlPtr curl = NewCurl();
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  EXPECT_OK(share->Close());
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "") << "the share's";
  EXPECT_EQ(Get(*attachment, "/cookie/set?name=own&value=2"), "ok");
  EXPECT_EQ(Get(*attachment, "/cookie/show"), "own=2");
}

// An Easy has cookies of its own, then, also where it had a file for them.
TEST_F(CookieEngineTest, StaysOnInAnEasyThatLeaves) {
  for (const bool jar : {false, true}) {
    const auto share = NewShare(LockData::kCookie);
    SetCookie(*share);
    Easy easy = Easy::Create().value();
    if (jar) {
      ASSERT_OK(easy.SetOption<CURLOPT_COOKIEJAR>(::testing::TempDir() +
                                                  "/engine_jar"));
    }
    ASSERT_OK(easy.Attach(*share));
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "a=1");
    EXPECT_OK(share->Close());
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "");
    ASSERT_OK(
        easy.Fetch(server_->url("/cookie/set?name=own&value=2")).status());
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "own=2") << jar;
  }
}

TEST_F(CookieEngineTest, IsOnAgainInAnEasyThatComesBack) {
  const auto share = NewShare(LockData::kCookie);
  SetCookie(*share);
  Easy easy = Easy::Create().value();
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(easy.Attach(*share));
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "a=1");
    ASSERT_OK(easy.Reset());
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "a=1");
    ASSERT_OK(easy.Detach());
    EXPECT_EQ(easy.Fetch(server_->url("/cookie/show"))->body, "");
    if (i == 1) {
      ASSERT_OK(easy.SetOption<CURLOPT_COOKIEFILE>(nullptr));
    }
  }
}

}  // namespace
}  // namespace curlshare

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (!curlshare::testing::CountLibcurlAllocations()) return 1;
  return RUN_ALL_TESTS();
}
