// SPDX-License-Identifier: Apache-2.0
// In which process of a line of forks this is. What has sockets remembers in
// which one it got them: in a child they are its parent's.
//
//   std::atomic<ForkCount> transferred_in{kNoProcess};
//   if (IsOfParent(transferred_in.load(std::memory_order_relaxed))) return ...;
#ifndef CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_
#define CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_

#include <atomic>
#include <cstdint>

namespace curlshare::internal {

// Small, as every handle has one.
using ForkCount = uint16_t;

inline constexpr ForkCount kNoProcess = 0;
inline constexpr ForkCount kNeverForked = 1;
// No process either: what was destroyed in a child.
inline constexpr ForkCount kLeftBehind = 0xffff;

// The count of the child of a process with `count`. After very many it begins
// anew, where it says that it was forked.
constexpr ForkCount CountOfChild(ForkCount count) {
  return count + 1 == kLeftBehind ? kNeverForked + 1 : count + 1;
}

// Of this process. Written where it has but one thread, while it is forked.
inline std::atomic<ForkCount> this_process{kNeverForked};
inline ForkCount ThisProcess() {
  return this_process.load(std::memory_order_relaxed);
}

// Whether that is another process than this one: a parent.
inline bool IsOfParent(ForkCount process) {
  return process != ThisProcess() && process != kNoProcess;
}

// From now on forks are counted; further calls do nothing. False when out of
// memory. Children by other ways than fork() (_Fork, clone) are not counted.
// REQUIRES: one thread at a time.
bool CountForks();

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_FORK_COUNT_H_
