// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/lock_safety.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

constexpr LockDataSet kAlways = {LockData::kConnect, LockData::kPsl};
constexpr LockDataSet kDns = LockData::kDns;
constexpr LockDataSet kCookie = LockData::kCookie;
constexpr LockDataSet kSsl = LockData::kSslSession;

TEST(LockSafety, KnowsTheKindsThatAreSafeOnEachVersion) {
  struct {
    uint32_t version;
    LockDataSet safe;
  } const cases[] = {
      {LibcurlVersion(7, 88, 1), kAlways | kDns | kCookie},
      {LibcurlVersion(8, 9, 1), kAlways | kDns | kCookie},
      {LibcurlVersion(8, 10, 0), kAlways | kDns | kCookie | kSsl},
      {LibcurlVersion(8, 11, 0), kAlways | kDns | kSsl},
      {LibcurlVersion(8, 14, 1), kAlways | kDns | kSsl},
      {LibcurlVersion(8, 15, 0), kAlways | kDns | kSsl},
      {LibcurlVersion(8, 16, 0), kAlways | kSsl},
      {LibcurlVersion(8, 17, 0), kAlways | kSsl},
      {LibcurlVersion(8, 18, 0), kAlways | kSsl | kCookie},
      {LibcurlVersion(8, 19, 0), kAlways | kSsl | kCookie},
      {LibcurlVersion(8, 20, 0), kAlways | kDns | kSsl | kCookie},
      {LibcurlVersion(8, 22, 0), kAlways | kDns | kSsl | kCookie},
      // Cookies are disclaimed: a newer one gets the careful answer. For the
      // rest the newest row holds until something newer says otherwise.
      {LibcurlVersion(8, 23, 0), kAlways | kDns | kSsl},
      {LibcurlVersion(9, 0, 0), kAlways | kDns | kSsl},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ConcurrentSafeKinds(c.version), c.safe) << std::hex << c.version;
  }
}

TEST(LockSafety, HstsIsSafeNowhereAndConnectionsAreEverywhere) {
  for (const LockSafetyRow& row : LockSafetyTable()) {
    if (row.kind == LockData::kHsts) {
      EXPECT_FALSE(row.locks_suffice);
    }
    if (row.kind == LockData::kConnect) {
      EXPECT_TRUE(row.locks_suffice);
    }
  }
}

TEST(LockSafety, RowsOfAKindFollowEachOtherWithoutGaps) {
  for (LockData kind : LockDataSet::All()) {
    uint32_t next = LibcurlVersion(7, 88, 0);
    for (const LockSafetyRow& row : LockSafetyTable()) {
      if (row.kind != kind) continue;
      EXPECT_EQ(row.first, next) << LockDataName(kind);
      EXPECT_LT(row.first, row.last) << LockDataName(kind);
      EXPECT_FALSE(row.reason.empty());
      EXPECT_FALSE(row.source.empty());
      next = row.last + 1;
    }
    EXPECT_EQ(next, 0u) << LockDataName(kind) << " has no row without an end";
  }
}

TEST(LockSafety, NeedsAGateWhereAKindDoesUnlessTold) {
  const LockDataSet safe = ConcurrentSafeKinds(RunningLibcurl().version_num);
  EXPECT_FALSE(NeedsGate(safe, Concurrency::kAuto));
  EXPECT_FALSE(NeedsGate({}, Concurrency::kAuto));
  for (LockData kind : LockDataSet::All() - safe) {
    EXPECT_TRUE(NeedsGate(safe | kind, Concurrency::kAuto));
  }
  EXPECT_TRUE(NeedsGate({}, Concurrency::kGated));
  EXPECT_FALSE(NeedsGate(LockDataSet::All(), Concurrency::kUnchecked));
}

TEST(LockSafety, NamesTheConcurrency) {
  EXPECT_EQ(ConcurrencyName(Concurrency::kAuto), "auto");
  EXPECT_EQ(ConcurrencyName(Concurrency::kGated), "gated");
  EXPECT_EQ(ConcurrencyName(Concurrency::kUnchecked), "unchecked");
  EXPECT_EQ(ConcurrencyName(static_cast<Concurrency>(3)), "invalid");
}

// The page shows the table that is in force: replace it by what this prints.
TEST(LockSafety, TheTableOfThePageIsThisOne) {
  std::ifstream file("docs/lock_safety.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(page.find(LockSafetyTableMarkdown()), page.npos)
      << LockSafetyTableMarkdown();
}

TEST(LockSafety, DefaultIsWhatIsSafeAndAvailableAndCarriesNoIdentity) {
  const LockDataSet safe = ConcurrentSafeKinds(RunningLibcurl().version_num);
  constexpr LockDataSet kIdentity{LockData::kCookie, LockData::kHsts};
  EXPECT_EQ(DefaultLockData(), (safe & LockDataSet::Available()) - kIdentity);
  EXPECT_TRUE(DefaultLockData().Contains(LockData::kConnect));
  EXPECT_FALSE(NeedsGate(DefaultLockData(), Concurrency::kAuto));
}

}  // namespace
}  // namespace curlshare
