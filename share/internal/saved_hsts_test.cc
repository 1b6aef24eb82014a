// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/saved_hsts.h"

#include <curl/curl.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::internal {

void PrintTo(const HstsEntry& entry, std::ostream* os) {
  *os << (entry.subdomains ? "." : "") << entry.host << " " << entry.expires;
}

namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using ::testing::UnorderedElementsAreArray;

constexpr char kSoon[] = "20971231 23:59:59";
constexpr char kLater[] = "20981231 23:59:59";

class SavedHstsTest : public ::testing::Test {
 protected:
  SavedHstsTest() {
    EXPECT_OK(InitLibcurl());
    share_.reset(curl_share_init());
    EXPECT_EQ(
        curl_share_setopt(share_.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_HSTS),
        CURLSHE_OK);
  }

  CURLSH* share() const { return share_.get(); }

 private:
  std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share_{
      nullptr, &curl_share_cleanup};
};

TEST_F(SavedHstsTest, ReadsWhatWasAdded) {
  EXPECT_THAT(ReadHsts(share()), IsOkAndHolds(IsEmpty()));
  // A subdomain that its parent covers, for a shorter time; the longest name.
  const std::vector<HstsEntry> entries = {
      {"a.test", true, kSoon},
      {"sub.a.test", true, kLater},
      {"b.test", false, ""},
      {absl::StrCat(std::string(251, 'c'), ".test"), false, kSoon}};
  EXPECT_OK(AddHsts(share(), entries));
  EXPECT_THAT(ReadHsts(share()),
              IsOkAndHolds(UnorderedElementsAreArray(entries)));
  EXPECT_THAT(ReadHsts(share()),
              IsOkAndHolds(UnorderedElementsAreArray(entries)))
      << "reading takes nothing out";
}

// Nothing is to become a shorter, or a narrower, wish for HTTPS.
TEST_F(SavedHstsTest, AHostHasOneEntry) {
  EXPECT_OK(AddHsts(share(), {{"a.test", false, kSoon}}));
  EXPECT_OK(AddHsts(share(), {{"a.test", true, kLater}}));
  EXPECT_THAT(ReadHsts(share()),
              IsOkAndHolds(ElementsAre(HstsEntry{"a.test", true, kLater})));
  EXPECT_OK(AddHsts(share(), {{"a.test", false, kSoon}}));
  EXPECT_THAT(ReadHsts(share()),
              IsOkAndHolds(ElementsAre(HstsEntry{"a.test", true, kLater})));
  EXPECT_OK(AddHsts(share(), {{"a.test", false, ""}}));
  EXPECT_THAT(ReadHsts(share()),
              IsOkAndHolds(ElementsAre(HstsEntry{"a.test", true, ""})));
}

TEST(HstsChangesTest, AreWhatIsNewAndWhatIsOtherwise) {
  const HstsEntry same{"same.test", false, kSoon};
  const HstsEntry gone{"gone.test", false, kSoon};
  const HstsEntry before{"a.test", false, kSoon};
  const HstsEntry after{"a.test", true, kSoon};
  const HstsEntry added{"b.test", false, ""};
  EXPECT_THAT(HstsChanges({same, gone, before}, {added, after, same}),
              UnorderedElementsAre(after, added));
  EXPECT_THAT(HstsChanges({same}, {same}), IsEmpty());
}

}  // namespace
}  // namespace curlshare::internal
