// SPDX-License-Identifier: Apache-2.0
// The first use of the library in a process, with each thing that can fail
// failing once: the next use works. Each in a process of its own, since libcurl
// is initialised once in each.
#include <curl/curl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/verification/failure_injection.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::CountLibcurlAllocations;
using ::curlshare::testing::FailNth;
using ::curlshare::testing::FailurePoint;
using ::curlshare::testing::FailureScope;
using ::curlshare::testing::StopFailing;

// How a child process tells what came of it.
enum Outcome : int {
  kAllWell,
  kNothingFailed,  // there was no n-th
  kFailedForGood,
  kKindsLost,
};

Outcome FirstUse(FailurePoint point, int64_t n) {
  if (point == FailurePoint::kLibcurlAllocation) {
    FailNth(point, n);
    (void)CountLibcurlAllocations();  // the application's curl_global_init
  } else {
    FailNth(point, n);
  }
  {
    const FailureScope scope;
    auto share = Share::Create();
    if (share.ok() && (*share)->lock_data() != DefaultLockData()) {
      return kKindsLost;
    }
  }
  const bool failed = StopFailing().failed;
  auto share = Share::Create();
  if (!share.ok() || !InitLibcurl().ok()) return kFailedForGood;
  // At least these, on every libcurl and in every build.
  if (!LockDataSet::Available().ContainsAll({LockData::kDns, LockData::kCookie,
                                             LockData::kConnect,
                                             LockData::kSslSession}) ||
      (*share)->lock_data() != DefaultLockData() || DefaultLockData().empty()) {
    return kKindsLost;
  }
  return failed ? kAllWell : kNothingFailed;
}

int OutcomeInAProcess(FailurePoint point, int64_t n) {
  const pid_t child = fork();
  if (child == 0) _exit(FirstUse(point, n));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class FirstUseTest : public ::testing::TestWithParam<FailurePoint> {};

TEST_P(FirstUseTest, WhatFailsIsTriedAgain) {
#ifndef ABSL_HAVE_EXCEPTIONS
  if (GetParam() == FailurePoint::kOperatorNew) {
    GTEST_SKIP() << "without exceptions it ends the process";
  }
#endif
  int64_t n = 1;
  int outcome = kAllWell;
  while (outcome == kAllWell) {
    outcome = OutcomeInAProcess(GetParam(), n);
    ASSERT_TRUE(outcome == kAllWell || outcome == kNothingFailed)
        << "outcome " << outcome << " at n=" << n;
    ++n;
  }
  RecordProperty("failed", absl::StrCat(n - 2));
  EXPECT_GT(n, 2) << "nothing that could fail";
}

INSTANTIATE_TEST_SUITE_P(All, FirstUseTest,
                         ::testing::Values(FailurePoint::kLibcurlAllocation,
                                           FailurePoint::kOperatorNew,
                                           FailurePoint::kLibcurlCall));

}  // namespace
}  // namespace curlshare
