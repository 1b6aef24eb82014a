// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/lock_data.h"

#include <sstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(LockDataSet, IsEmptyByDefault) {
  const LockDataSet set;
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(set.size(), 0);
  EXPECT_EQ(set.ToString(), "none");
  for (LockData kind : set) ADD_FAILURE() << LockDataName(kind);
}

TEST(LockDataSet, HoldsWhatItWasGiven) {
  constexpr LockDataSet kSet = {LockData::kHsts, LockData::kCookie};
  EXPECT_EQ(kSet.size(), 2);
  EXPECT_TRUE(kSet.Contains(LockData::kCookie));
  EXPECT_TRUE(kSet.Contains(LockData::kHsts));
  EXPECT_FALSE(kSet.Contains(LockData::kDns));
}

TEST(LockDataSet, IteratesInTheOrderOfTheEnumerators) {
  std::vector<LockData> kinds;
  for (LockData kind : LockDataSet::All()) kinds.push_back(kind);
  EXPECT_THAT(kinds, ElementsAre(LockData::kCookie, LockData::kDns,
                                 LockData::kSslSession, LockData::kConnect,
                                 LockData::kPsl, LockData::kHsts));
}

TEST(LockDataSet, LeavesOutWhatIsNoKind) {
  // 0 and 1 are libcurl's own; 8 and more do not exist.
  for (int value : {-1, 0, 1, 8, 31, 32, 1000}) {
    const LockDataSet set = static_cast<LockData>(value);
    EXPECT_TRUE(set.empty()) << value;
    EXPECT_FALSE(LockDataSet::All().Contains(static_cast<LockData>(value)))
        << value;
    EXPECT_EQ(LockDataName(static_cast<LockData>(value)), "invalid");
  }
}

TEST(LockDataSet, HasTheAlgebraOfSets) {
  const LockDataSet dns_psl = {LockData::kDns, LockData::kPsl};
  const LockDataSet psl_hsts = {LockData::kPsl, LockData::kHsts};
  EXPECT_EQ(dns_psl & psl_hsts, LockDataSet(LockData::kPsl));
  EXPECT_EQ((dns_psl | psl_hsts).size(), 3);
  EXPECT_EQ(LockData::kDns | LockData::kPsl, dns_psl);
  EXPECT_EQ(dns_psl - psl_hsts, LockDataSet(LockData::kDns));
  EXPECT_NE(dns_psl, psl_hsts);
  EXPECT_TRUE(LockDataSet::All().ContainsAll(dns_psl));
  EXPECT_FALSE(dns_psl.ContainsAll(psl_hsts));
  EXPECT_TRUE(dns_psl.ContainsAll({}));
}

TEST(LockDataSet, ParsesWhatItPrints) {
  for (LockData kind : LockDataSet::All()) {
    EXPECT_THAT(LockDataSet::Parse(LockDataName(kind)),
                IsOkAndHolds(LockDataSet(kind)));
  }
  EXPECT_THAT(LockDataSet::Parse(LockDataSet::All().ToString()),
              IsOkAndHolds(LockDataSet::All()));
  EXPECT_THAT(LockDataSet::Parse(LockDataSet().ToString()),
              IsOkAndHolds(LockDataSet()));
}

TEST(LockDataSet, ParsesAnyCaseBlanksAllAndNone) {
  EXPECT_THAT(LockDataSet::Parse(" DNS , Ssl_Session"),
              IsOkAndHolds(LockDataSet{LockData::kDns, LockData::kSslSession}));
  EXPECT_THAT(LockDataSet::Parse("all"), IsOkAndHolds(LockDataSet::All()));
  EXPECT_THAT(LockDataSet::Parse("none"), IsOkAndHolds(LockDataSet()));
  EXPECT_THAT(LockDataSet::Parse(""), IsOkAndHolds(LockDataSet()));
}

TEST(LockDataSet, ParseNamesWhatItDoesNotKnow) {
  EXPECT_THAT(LockDataSet::Parse("dns,cokie"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'cokie' is no kind")));
  EXPECT_THAT(LockDataSet::Parse("dns,"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(LockDataSet, Prints) {
  const LockDataSet set = {LockData::kDns, LockData::kSslSession};
  std::ostringstream out;
  out << set;
  EXPECT_EQ(out.str(), "dns,ssl_session");
  EXPECT_EQ(absl::StrCat(set), "dns,ssl_session");
}

TEST(LockDataSet, AvailableHasTheKindsThatEveryLibcurlHas) {
  EXPECT_TRUE(LockDataSet::Available().ContainsAll(
      {LockData::kDns, LockData::kConnect}));
}

}  // namespace
}  // namespace curlshare
