// SPDX-License-Identifier: Apache-2.0
// Threads that start together.
//
//   RunThreads(8, [&](int i) { EXPECT_OK(handles[i].Perform()); });
//
// testonly; usable by consumers' tests.
#ifndef CURLSHARE_TESTING_THREADS_H_
#define CURLSHARE_TESTING_THREADS_H_

#include <cstddef>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/synchronization/barrier.h"

namespace curlshare::testing {

// Calls `body(i)` for i = 0 to `count` - 1, each on a thread of its own, none
// before all have been started; returns when all have returned. What they did
// happens before that.
inline void RunThreads(int count, absl::FunctionRef<void(int)> body) {
  absl::Barrier start(count);  // outlives those who wait at it: see below
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&start, body, i] {
      start.Block();
      body(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_THREADS_H_
