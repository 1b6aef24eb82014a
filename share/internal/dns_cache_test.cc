// SPDX-License-Identifier: Apache-2.0
// What is taken out of a share's cache is shown by easy/dns_test.
#include "curlshare/share/internal/dns_cache.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::StatusIs;

std::string Text(const char* url) {
  const absl::StatusOr<HostPort> found = HostPortOf(url);
  return found.ok() ? absl::StrCat(found->host, " ", found->port)
                    : std::string(found.status().message());
}

TEST(HostPortOf, IsWhereAUrlLeads) {
  EXPECT_EQ(Text("http://a.test/"), "a.test 80");
  EXPECT_EQ(Text("https://me:secret@a.test/x?y#z"), "a.test 443");
  EXPECT_EQ(Text("https://a.test:8443"), "a.test 8443");
  EXPECT_EQ(Text("http://[::1]:81/"), "::1 81");
  EXPECT_EQ(Text("a.test"), "a.test 80");
  EXPECT_EQ(Text("ftp.a.test/file"), "ftp.a.test 21");
}

TEST(HostPortOf, RefusesWhatIsNoUrlOrHasNoHost) {
  for (const char* url : {"", "http://", "http://a b/", "file:///etc/hosts"}) {
    EXPECT_THAT(HostPortOf(url).status(),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << url;
  }
}

TEST(ForgottenNames, AreForgottenAgainAfterAWhileOnly) {
  ForgottenNames names;
  EXPECT_TRUE(names.Note("a.test:80"));
  EXPECT_FALSE(names.Note("a.test:80"));
  EXPECT_TRUE(names.Note("a.test:81"));
  EXPECT_TRUE(names.Note(""));
  EXPECT_FALSE(names.Note(""));
}

TEST(ForgottenNames, AreNoMoreThanFitInALittleMemory) {
  ForgottenNames names;
  for (int i = 0; i < 100'000; ++i) EXPECT_TRUE(names.Note(absl::StrCat(i)));
}

}  // namespace
}  // namespace curlshare::internal
