// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/fork_count.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

// What `child` returns in a process that is forked here.
template <typename F>
int InAChild(F child) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child());
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ForkCount, CountsEachForkOnceInTheChild) {
  ASSERT_TRUE(CountForks());
  ASSERT_TRUE(CountForks());  // does nothing
  EXPECT_EQ(ThisProcess(), kNeverForked);
  EXPECT_EQ(InAChild([] { return int{ThisProcess()}; }), kNeverForked + 1);
  EXPECT_EQ(
      InAChild([] { return InAChild([] { return int{ThisProcess()}; }); }),
      kNeverForked + 2);
  EXPECT_EQ(ThisProcess(), kNeverForked);
}

TEST(ForkCount, TellsAParentFromThisProcess) {
  ASSERT_TRUE(CountForks());
  const ForkCount here = ThisProcess();
  EXPECT_FALSE(IsOfParent(here));
  EXPECT_FALSE(IsOfParent(kNoProcess));
  EXPECT_EQ(InAChild([here] {
              return IsOfParent(here) && !IsOfParent(ThisProcess()) &&
                             !IsOfParent(kNoProcess)
                         ? 0
                         : 1;
            }),
            0);
}

TEST(ForkCount, BeginsAnewAsThatOfAChild) {
  EXPECT_EQ(CountOfChild(kNeverForked), 2);
  EXPECT_EQ(CountOfChild(kLeftBehind - 1), 2);
  EXPECT_EQ(CountOfChild(kLeftBehind - 2), kLeftBehind - 1);
}

}  // namespace
}  // namespace curlshare::internal
