// SPDX-License-Identifier: Apache-2.0
// What the library knows about the calling thread.
#ifndef CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_
#define CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_

namespace curlshare::internal {

class HandleHolder;

// Identifies the calling thread for as long as it lives; never null.
using ThreadToken = const void*;

// What the library knows about one thread. Each thread has its own, which no
// other thread reads. Plain data: it can be used until the very end of the
// thread, and needs no check whether it is initialized.
struct ThisThread {
  int kind_locks_held = 0;  // of any share: see KindLocks
  int handles_held = 0;     // handles that it is the holder of
  int gates_held = 0;       // gates that it is inside: see Gate
  // A list of handles to be released later: see HandleHolder::Release.
  HandleHolder* deferred = nullptr;
};

inline ThisThread& GetThisThread() {
  static thread_local ThisThread this_thread;
  return this_thread;
}

inline ThreadToken ThisThreadToken() { return &GetThisThread(); }

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_THIS_THREAD_H_
