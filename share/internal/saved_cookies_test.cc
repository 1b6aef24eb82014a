// SPDX-License-Identifier: Apache-2.0
// What goes to and comes from a server: easy/saved_state_test.
#include "curlshare/share/internal/saved_cookies.h"

#include <curl/curl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class SavedCookiesTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(InitLibcurl()); }
};

// In the year 2286, and in 2001.
#define LATER "9999999999"
#define EARLIER "999999999"

TEST_F(SavedCookiesTest, AreReadAsLibcurlWritesThem) {
  EXPECT_THAT(
      ParseCookies("# Netscape HTTP Cookie File\n"
                   "\n"
                   "me.test\tFALSE\t/\tFALSE\t0\ta\t1\n"
                   "#HttpOnly_.me.test\tTRUE\t/x\tTRUE\t" LATER "\tb\t\r\n"
                   ".127.0.0.1\tFALSE\t/x/\tFALSE\t0\tc\t\"2 ; 3\""),
      IsOkAndHolds(
          ElementsAre("me.test\tFALSE\t/\tFALSE\t0\ta\t1",
                      "#HttpOnly_.me.test\tTRUE\t/x\tTRUE\t" LATER "\tb\t",
                      "127.0.0.1\tFALSE\t/x/\tFALSE\t0\tc\t\"2 ; 3\"")));
  EXPECT_THAT(ParseCookies(""), IsOkAndHolds(IsEmpty()));
}

TEST_F(SavedCookiesTest, ThatHaveExpiredAreLeftOut) {
  EXPECT_THAT(ParseCookies("me.test\tFALSE\t/\tFALSE\t" EARLIER "\ta\t1\n"
                           "me.test\tFALSE\t/\tFALSE\t0\tb\t2\n"),
              IsOkAndHolds(ElementsAre("me.test\tFALSE\t/\tFALSE\t0\tb\t2")));
}

TEST_F(SavedCookiesTest, ChangesMakeOneJarTheOther) {
  const std::vector<std::string> before = {
      "me.test\tFALSE\t/\tFALSE\t0\tsame\t1",
      "me.test\tFALSE\t/\tFALSE\t0\tchanged\t1",
      "me.test\tFALSE\t/x\tFALSE\t0\tgone\t1",
      "#HttpOnly_.me.test\tTRUE\t/\tTRUE\t" LATER "\tgone\t1",
      "me.test\tFALSE\t/\tFALSE\t" EARLIER "\texpired\t1"};
  const std::vector<std::string> after = {
      "me.test\tFALSE\t/\tFALSE\t0\tsame\t1",
      "#HttpOnly_ME.test\tFALSE\t/\tFALSE\t" LATER "\tchanged\t1",
      "me.test\tFALSE\t/\tFALSE\t0\tgone\t1"};
  EXPECT_THAT(
      CookieChanges(before, after),
      ElementsAre("#HttpOnly_ME.test\tFALSE\t/\tFALSE\t" LATER "\tchanged\t1",
                  "me.test\tFALSE\t/\tFALSE\t0\tgone\t1",
                  "me.test\tFALSE\t/x\tFALSE\t1\tgone\t1",
                  "#HttpOnly_.me.test\tTRUE\t/\tTRUE\t1\tgone\t1"));
  EXPECT_THAT(CookieChanges(after, after), IsEmpty());
}

TEST_F(SavedCookiesTest, APutSaysWhatLibcurlDoesNotTake) {
  const std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share(
      curl_share_init(), &curl_share_cleanup);
  ASSERT_EQ(
      curl_share_setopt(share.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE),
      CURLSHE_OK);
  const std::string good = "me.test\tFALSE\t/\tFALSE\t0\ta\t1";
  EXPECT_OK(
      PutCookies(share.get(), {good, "me.test\tFALSE\t/\tFALSE\t1\tb\t1"}));
  EXPECT_THAT(CopyCookies(share.get()), IsOkAndHolds(ElementsAre(good)));
  // The prefix wants a secure cookie.
  EXPECT_THAT(
      PutCookies(share.get(), {"me.test\tFALSE\t/\tFALSE\t0\t__Secure-c\t1"}),
      StatusIs(absl::StatusCode::kUnimplemented));
}

struct Bad {
  const char* line;
  const char* why;
};

TEST_F(SavedCookiesTest, AreRefusedWithTheNumberOfTheLine) {
  const std::string huge = absl::StrCat("me.test\tFALSE\t/\tFALSE\t0\ta\t",
                                        std::string(9'000'000, 'x'));
  const std::vector<Bad> bad = {
      {"Set-Cookie: a=secret", "header"},
      {"set-cookie: a=secret; Domain=me.test", "header"},
      {"me.test\tFALSE\t/\tFALSE\t0\ta\tsec\x01ret", "control"},
      {"me.test\tFALSE\t/\tFALSE\t0\ta\x7f\tsecret", "control"},
      {"me.test\tFALSE\t/\tFALSE\t0\ta\tsec\rret", "control"},
      {"me.test\tFALSE\t/\tFALSE\t0\ta", "seven"},
      {"me.test\tFALSE\t/\tFALSE\t0\ta\tsecret\t", "seven"},
      {"me.test FALSE / FALSE 0 a secret", "seven"},
      {"secret", "seven"},
      {"\tFALSE\t/\tFALSE\t0\ta\tsecret", "domain"},
      {".\tTRUE\t/\tFALSE\t0\ta\tsecret", "domain"},
      {"..me.test\tTRUE\t/\tFALSE\t0\ta\tsecret", "domain"},
      {"me .test\tFALSE\t/\tFALSE\t0\ta\tsecret", "domain"},
      {"me.test\tfalse\t/\tFALSE\t0\ta\tsecret", "flag"},
      {"me.test\t\t/\tFALSE\t0\ta\tsecret", "flag"},
      {"me.test\tFALSE\t/\t1\t0\ta\tsecret", "flag"},
      {"me.test\tFALSE\tTRUE\tFALSE\t0\ta\tsecret", "path"},
      {"me.test\tFALSE\t\tFALSE\t0\ta\tsecret", "path"},
      {"me.test\tFALSE\t/\tFALSE\t\ta\tsecret", "expiry"},
      {"me.test\tFALSE\t/\tFALSE\t-1\ta\tsecret", "expiry"},
      {"me.test\tFALSE\t/\tFALSE\t1.5\ta\tsecret", "expiry"},
      {"me.test\tFALSE\t/\tFALSE\t99999999999999999999\ta\tsecret", "expiry"},
      {"me.test\tFALSE\t/\tFALSE\t0\t\tsecret", "name"},
      {".com\tTRUE\t/\tFALSE\t0\ta\tsecret", "public suffix"},
      {"co.uk\tTRUE\t/\tFALSE\t0\ta\tsecret", "public suffix"},
      {".CO.UK\tTRUE\t/\tFALSE\t0\ta\tsecret", "public suffix"},
      {".me/x.test\tTRUE\t/\tFALSE\t0\ta\tsecret", "no name"},
      {"me.test\tFALSE\t/\tFALSE\t0\t__Host-a\tsecret", "__Host-"},
      {"me.test\tFALSE\t/\tFALSE\t0\t__Secure-a\tsecret", "__Secure-"},
      {huge.c_str(), "libcurl"},
  };
  for (const Bad& b : bad) {
    const absl::Status status =
        ParseCookies(absl::StrCat("# a comment\n",
                                  "me.test\tFALSE\t/\tFALSE\t0\tgood\t1\n",
                                  b.line, "\nrubbish\n"))
            .status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("line 3 "), HasSubstr(b.why),
                                       Not(HasSubstr("secret")))))
        << absl::string_view(b.line).substr(0, 60);
  }
  // Which no C string shows.
  const std::string with_nul = absl::StrCat("me.test\tFALSE\t/\tFALSE\t0\ta\tx",
                                            std::string(1, '\0'), "y");
  EXPECT_THAT(ParseCookies(with_nul).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("line 1 has a control byte")));
}

TEST_F(SavedCookiesTest, OfAPublicSuffixItselfAreTaken) {
  EXPECT_OK(ParseCookies("co.uk\tFALSE\t/\tFALSE\t0\ta\t1\n").status());
}

TEST_F(SavedCookiesTest, AreWrittenSoThatTheyCanBeRead) {
  const std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share(
      curl_share_init(), &curl_share_cleanup);
  ASSERT_EQ(
      curl_share_setopt(share.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE),
      CURLSHE_OK);
  ASSERT_OK(AddCookies(
      share.get(),
      {
          "me.test\tFALSE\t/\tFALSE\t0\ta\t1",
          // A host that is a public suffix, with "Domain=" of itself.
          ".localhost\tTRUE\t/\tFALSE\t0\tb\t2",
          // Before 8.21 libcurl writes the path as the server had it.
          "me.test\tFALSE\tx\tFALSE\t0\tc\t3",
          "me.test\tFALSE\t\"/x/\"\tFALSE\t0\td\t4",
          "#HttpOnly_.me.test\tTRUE\t/\tTRUE\t" LATER "\te\t",
      }));
  const auto lines = ReadCookies(share.get());
  ASSERT_OK(lines.status());
  const auto text = FormatCookies(*lines);
  ASSERT_OK(text.status());
  EXPECT_THAT(ParseCookies(*text),
              IsOkAndHolds(::testing::UnorderedElementsAre(
                  "me.test\tFALSE\t/\tFALSE\t0\ta\t1",
                  "localhost\tFALSE\t/\tFALSE\t0\tb\t2",
                  "me.test\tFALSE\t/\tFALSE\t0\tc\t3",
                  "me.test\tFALSE\t/x\tFALSE\t0\td\t4",
                  "#HttpOnly_.me.test\tTRUE\t/\tTRUE\t" LATER "\te\t")));
}

TEST_F(SavedCookiesTest, AreForgotten) {
  const std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share(
      curl_share_init(), &curl_share_cleanup);
  ASSERT_EQ(
      curl_share_setopt(share.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE),
      CURLSHE_OK);
  ASSERT_OK(
      AddCookies(share.get(), {"me.test\tFALSE\t/\tFALSE\t0\ta\t1",
                               "me.test\tFALSE\t/\tFALSE\t" LATER "\tb\t2"}));
  EXPECT_TRUE(ForgetCookies(share.get()));
  EXPECT_THAT(ReadCookies(share.get()), IsOkAndHolds(IsEmpty()));
}

TEST_F(SavedCookiesTest, AreLeftOutWhereNoLineHoldsThem) {
  EXPECT_THAT(FormatCookies({"me.test\tFALSE\t/\tFALSE\t0\ta\tb\tc",
                             "me.test\tFALSE\t/\tFALSE\t0\ta\tb\x01"}),
              IsOkAndHolds("# Netscape HTTP Cookie File\n"));
}

}  // namespace
}  // namespace curlshare::internal
