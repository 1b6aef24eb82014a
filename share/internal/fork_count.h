// SPDX-License-Identifier: Apache-2.0
// Which process this is, in a line of forks. An object with sockets remembers
// in which process it got them: in a forked child they belong to the parent.
//
//   std::atomic<ForkCount> transferred_in{kNoProcess};
//   if (IsOfParent(transferred_in.load(std::memory_order_relaxed))) return ...;
#ifndef CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_
#define CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_

#include <atomic>
#include <cstdint>

namespace curlshare::internal {

// The number of a process in a line of forks. Small, since every handle has
// one.
using ForkCount = uint16_t;

inline constexpr ForkCount kNoProcess = 0;    // has not transferred
inline constexpr ForkCount kNeverForked = 1;  // the first process
// Not a process either: the object was destroyed in a forked child.
inline constexpr ForkCount kLeftBehind = 0xffff;

// The number of a child of the process with `count`. After 65,533 forks in a
// line the numbers begin again, at one that says that the process was forked.
constexpr ForkCount CountOfChild(ForkCount count) {
  return count + 1 == kLeftBehind ? kNeverForked + 1 : count + 1;
}

// The number of this process. Written only in a child while it is forked, when
// it has a single thread.
inline std::atomic<ForkCount> this_process{kNeverForked};
inline ForkCount ThisProcess() {
  return this_process.load(std::memory_order_relaxed);
}

// Whether `process` is another process than this one: then it is a parent.
inline bool IsOfParent(ForkCount process) {
  return process != ThisProcess() && process != kNoProcess;
}

// From now on forks are counted. Further calls do nothing. False: out of
// memory. Children that are not made by fork() (_Fork, clone) are not counted.
// REQUIRES: one thread at a time.
bool CountForks();

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_
