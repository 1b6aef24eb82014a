// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/origin.h"

#include <string>

#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

TEST(OriginOf, IsTheSameForOneOrigin) {
  const OriginKey key = OriginOf("http://example.com/");
  EXPECT_NE(key, 0u);
  for (const char* same :
       {"http://example.com", "HTTP://EXAMPLE.com/a/b",
        "http://example.com:80/", "http://user:p%40ss@example.com/",
        "http://a@b@example.com?q", "example.com", "example.com/path",
        "http://example.com#fragment"}) {
    EXPECT_EQ(OriginOf(same), key) << same;
  }
}

TEST(OriginOf, DiffersByHostPortAndScheme) {
  const OriginKey key = OriginOf("http://example.com/");
  for (const char* other :
       {"https://example.com/", "http://example.org/", "http://example.com:81/",
        "ftp://example.com/", "http://a.example.com/", "http://[::1]/"}) {
    EXPECT_NE(OriginOf(other), key) << other;
    EXPECT_NE(OriginOf(other), 0u) << other;
  }
  EXPECT_EQ(OriginOf("https://a.test/"), OriginOf("https://a.test:443"));
  EXPECT_NE(OriginOf("https://a.test/"), OriginOf("https://a.test:80"));
}

TEST(OriginOf, IsZeroWithoutAHost) {
  for (const char* none : {"", "http://", "file:///etc/hostname", "/path"}) {
    EXPECT_EQ(OriginOf(none), 0u) << none;
  }
}

TEST(OriginSize, EndsWithTheAuthority) {
  EXPECT_EQ(OriginSize("http://a.test/b"), 13u);
  EXPECT_EQ(OriginSize("http://a.test?q"), 13u);
  EXPECT_EQ(OriginSize("http://a.test"), 13u);
  EXPECT_EQ(OriginSize("a.test/b://c"), 6u) << "as OriginOf takes it";
  EXPECT_EQ(OriginSize(""), 0u);
}

TEST(OriginOf, TakesWhatIsTooLong) {
  const std::string host(10000, 'a');
  EXPECT_NE(OriginOf("http://" + host), 0u);
  EXPECT_NE(OriginOf(host + "://a/"), 0u);
}

}  // namespace
}  // namespace curlshare::internal
