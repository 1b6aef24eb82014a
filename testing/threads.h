// SPDX-License-Identifier: Apache-2.0
// Runs a function on several threads that start at the same time.
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

// Calls `body(i)` for i = 0 to `count` - 1, each call on its own thread. No
// call begins before all threads have started. Returns when all calls have
// returned; everything that they did happens before that.
inline void RunThreads(int count, absl::FunctionRef<void(int)> body) {
  absl::Barrier start(count);  // outlives its waiters, which are joined below
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
