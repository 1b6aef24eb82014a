// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/public_suffix.h"

#include <sys/resource.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;

class PublicSuffixesTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(InitLibcurl()); }
  PublicSuffixes suffixes_;
};

TEST_F(PublicSuffixesTest, MayNotHaveCookies) {
  for (const char* domain : {"com", "uk", "co.uk", "CO.UK", "co.uk.",
                             "github.io", "ck", "intranet", "localhost"}) {
    EXPECT_THAT(suffixes_.MayHaveCookies(domain), IsOkAndHolds(false))
        << domain;
  }
}

TEST_F(PublicSuffixesTest, AreToldFromDomainsBelowThem) {
  for (const char* domain : {"example.com", "a.b.example.co.uk", "me.github.io",
                             "www.ck", "Example.COM", "xn--bcher-kva.test"}) {
    EXPECT_THAT(suffixes_.MayHaveCookies(domain), IsOkAndHolds(true)) << domain;
    // Remembered.
    EXPECT_THAT(suffixes_.MayHaveCookies(domain), IsOkAndHolds(true)) << domain;
  }
}

TEST_F(PublicSuffixesTest, WhatIsNoNameMayNotHaveCookies) {
  const std::string longest = absl::StrCat(std::string(300, 'x'), ".test");
  for (const std::string& domain :
       {std::string(), std::string("."), std::string("::1"),
        std::string("a b.test"), std::string("me.test;x"),
        std::string("me.test/x"), longest}) {
    EXPECT_THAT(suffixes_.MayHaveCookies(domain), IsOkAndHolds(false))
        << domain;
  }
}

// It needs two sockets. That there were none is not remembered.
TEST_F(PublicSuffixesTest, AreNotToldWithoutAFileDescriptor) {
  EXPECT_THAT(suffixes_.MayHaveCookies("example.com"), IsOkAndHolds(true));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status refused = suffixes_.MayHaveCookies("example.org").status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(suffixes_.MayHaveCookies("example.org"), IsOkAndHolds(true));
}

}  // namespace
}  // namespace curlshare::internal
