// SPDX-License-Identifier: Apache-2.0
// Matchers for absl::Status and absl::StatusOr in tests: Abseil's matchers,
// imported into this namespace, and the macros EXPECT_OK and ASSERT_OK.
//
//   EXPECT_OK(easy.SetUrl(url));
//   ASSERT_OK(share.status());
//   EXPECT_THAT(easy.Perform(), StatusIs(absl::StatusCode::kCancelled));
//   EXPECT_THAT(share->Close(), StatusIs(absl::StatusCode::kFailedPrecondition,
//                                        HasSubstr("2 handles attached")));
//   EXPECT_THAT(easy.GetInfo<CURLINFO_RESPONSE_CODE>(), IsOkAndHolds(200L));
//
// testonly; usable by consumers' tests.
#ifndef CURLSHARE_TESTING_STATUS_MATCHERS_H_
#define CURLSHARE_TESTING_STATUS_MATCHERS_H_

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"

namespace curlshare::testing {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;

}  // namespace curlshare::testing

// Only if they are not defined yet: other libraries define macros of the same
// names and the same meaning.
#ifndef EXPECT_OK
#define EXPECT_OK(expression) \
  EXPECT_THAT(expression, ::curlshare::testing::IsOk())
#endif
#ifndef ASSERT_OK
#define ASSERT_OK(expression) \
  ASSERT_THAT(expression, ::curlshare::testing::IsOk())
#endif

#endif  // CURLSHARE_TESTING_STATUS_MATCHERS_H_
