// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/share_handle.h"

#include <curl/curl.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ShareHandle, LivesUntilTheLastReferenceGoes) {
  const int64_t before = ShareHandle::live_count();
  auto created =
      ShareHandle::Create(LockData::kDns, false, std::make_shared<KindLocks>());
  ASSERT_OK(created.status());
  std::shared_ptr<const ShareHandle> first = *std::move(created);
  std::shared_ptr<const ShareHandle> second = first;
  EXPECT_EQ(ShareHandle::live_count(), before + 1);
  EXPECT_EQ(first->kinds(), LockDataSet(LockData::kDns));
  first.reset();
  EXPECT_EQ(ShareHandle::live_count(), before + 1);
  second.reset();
  EXPECT_EQ(ShareHandle::live_count(), before);
}

TEST(ShareHandle, SharesEachKindThatIsAvailable) {
  for (LockData kind : LockDataSet::Available()) {
    EXPECT_OK(ShareHandle::Create(kind, false, std::make_shared<KindLocks>())
                  .status())
        << LockDataName(kind);
  }
}

TEST(ShareHandle, LeavesNothingBehindWhereAKindIsMissing) {
  const LockDataSet missing = LockDataSet::All() - LockDataSet::Available();
  if (missing.empty()) return;  // This libcurl has everything.
  const int64_t before = ShareHandle::live_count();
  for (LockData kind : missing) {
    const absl::Status status =
        ShareHandle::Create(kind, false, std::make_shared<KindLocks>())
            .status();
    EXPECT_EQ(GetShareCode(status), CURLSHE_NOT_BUILT_IN);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnimplemented,
                                 HasSubstr(LockDataName(kind))));
  }
  EXPECT_EQ(ShareHandle::live_count(), before);
}

// A handle that was attached behind the library's back must find the locks
// alive when it is cleaned up: here the CURLSH is kept for ever. Wrong in cpr
// and mORMot2, whose mutexes went first.
TEST(ShareHandle, StaysWhereAHandleIsStillAttached) {
  const int64_t before = ShareHandle::live_count();
  auto created =
      ShareHandle::Create(LockData::kDns, false, std::make_shared<KindLocks>());
  ASSERT_OK(created.status());
  CURL* curl = curl_easy_init();
  CURLSH* share = (*created)->get();
  ASSERT_EQ(curl_easy_setopt(curl, CURLOPT_SHARE, share), CURLE_OK);
  *created = nullptr;
  EXPECT_EQ(ShareHandle::live_count(), before + 1);
  curl_easy_cleanup(curl);  // Calls the locks.
  EXPECT_EQ(curl_share_cleanup(share), CURLSHE_OK);
}

}  // namespace
}  // namespace curlshare
