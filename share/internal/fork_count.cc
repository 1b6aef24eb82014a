// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/fork_count.h"

#include <pthread.h>

#include <atomic>

namespace curlshare::internal {
namespace {

// Runs in the child, where only async-signal-safe calls are allowed (fork(2)).
void OnForkInChild() {
  this_process.store(CountOfChild(ThisProcess()), std::memory_order_relaxed);
}

}  // namespace

bool CountForks() {
  // A second handler would count each fork twice.
  static bool counting = false;
  if (!counting) {
    counting = pthread_atfork(nullptr, nullptr, &OnForkInChild) == 0;
  }
  return counting;
}

}  // namespace curlshare::internal
