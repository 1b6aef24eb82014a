// SPDX-License-Identifier: Apache-2.0
// What the library knows of the calling thread.
#ifndef CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_
#define CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_

namespace curlshare::internal {

class HandleHolder;

// Identifies the calling thread for as long as it lives; never null.
using ThreadToken = const void*;

// Plain data, so that it is usable until the very end of a thread and costs
// no initialisation check.
struct ThisThread {
  int kind_locks_held = 0;  // of any share: see KindLocks
  int handles_held = 0;     // in transfer or in use: see HandleHolder
  int gates_held = 0;       // of gated shares: see Gate
  HandleHolder* deferred =
      nullptr;  // a list of those to release: HandleHolder::Release
};

inline ThisThread& GetThisThread() {
  static thread_local ThisThread this_thread;
  return this_thread;
}

inline ThreadToken ThisThreadToken() { return &GetThisThread(); }

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_
