#include "curlshare/share/lock_safety.h"

#include <cstdint>

#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

constexpr LockDataSet kDnsPsl = {LockData::kDns, LockData::kPsl};
constexpr LockDataSet kCookie = LockData::kCookie;
constexpr LockDataSet kSsl = LockData::kSslSession;

TEST(LockSafety, KnowsTheKindsThatAreSafeOnEachVersion) {
  struct {
    uint32_t version;
    LockDataSet safe;
  } const cases[] = {
      {LibcurlVersion(7, 88, 1), kDnsPsl | kCookie},
      {LibcurlVersion(8, 9, 1), kDnsPsl | kCookie},
      {LibcurlVersion(8, 10, 0), kDnsPsl | kCookie | kSsl},
      {LibcurlVersion(8, 11, 0), kDnsPsl | kSsl},
      {LibcurlVersion(8, 14, 1), kDnsPsl | kSsl},
      {LibcurlVersion(8, 15, 0), kDnsPsl | kSsl},
      {LibcurlVersion(8, 16, 0), kSsl | kCookie | LockData::kPsl},
      {LibcurlVersion(8, 19, 0), kSsl | kCookie | LockData::kPsl},
      {LibcurlVersion(8, 20, 0), kDnsPsl | kSsl | kCookie},
      {LibcurlVersion(8, 21, 0), kDnsPsl | kSsl | kCookie},
      // The newest row holds until something newer says otherwise.
      {LibcurlVersion(9, 0, 0), kDnsPsl | kSsl | kCookie},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ConcurrentSafeKinds(c.version), c.safe) << std::hex << c.version;
  }
}

TEST(LockSafety, ConnectAndHstsAreSafeNowhere) {
  for (const LockSafetyRow& row : LockSafetyTable()) {
    if (row.kind == LockData::kConnect || row.kind == LockData::kHsts) {
      EXPECT_FALSE(row.locks_suffice);
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

TEST(LockSafety, DefaultIsWhatIsSafeAndAvailable) {
  EXPECT_EQ(DefaultLockData(),
            ConcurrentSafeKinds(RunningLibcurl().version_num) &
                LockDataSet::Available());
  EXPECT_TRUE(DefaultLockData().Contains(LockData::kDns) ||
              DefaultLockData().Contains(LockData::kSslSession));
}

}  // namespace
}  // namespace curlshare
