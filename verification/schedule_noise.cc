// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/schedule_noise.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <thread>  // NOLINT(build/c++11)

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace curlshare::testing {
namespace {

std::atomic<bool> noise_on{false};
std::atomic<uint32_t> threads_seen{0};

// Xorshift: cheap, and without a lock that would order the threads.
uint32_t Random() {
  static thread_local uint32_t state =
      threads_seen.fetch_add(1, std::memory_order_relaxed) * 2654435769U + 1;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

}  // namespace

void SetScheduleNoise(bool on) {
  noise_on.store(on, std::memory_order_relaxed);
}

void ScheduleNoise() {
  if (!noise_on.load(std::memory_order_relaxed)) return;
  const uint32_t random = Random();
  if (random % 64 == 0) {
    absl::SleepFor(absl::Microseconds(random / 64 % 100));
  } else if (random % 4 == 0) {
    std::this_thread::yield();
  }
}

}  // namespace curlshare::testing

// The linker's --wrap=curl_multi_poll sends calls here: see the BUILD file.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" CURLMcode __real_curl_multi_poll(CURLM* multi, curl_waitfd* extra,
                                            unsigned int count, int timeout_ms,
                                            int* ready);
extern "C" CURLMcode __wrap_curl_multi_poll(CURLM* multi, curl_waitfd* extra,
                                            unsigned int count, int timeout_ms,
                                            int* ready);
CURLMcode __wrap_curl_multi_poll(CURLM* multi, curl_waitfd* extra,
                                 unsigned int count, int timeout_ms,
                                 int* ready) {
  curlshare::testing::ScheduleNoise();
  const CURLMcode code =
      __real_curl_multi_poll(multi, extra, count, timeout_ms, ready);
  curlshare::testing::ScheduleNoise();
  return code;
}
// NOLINTEND(bugprone-reserved-identifier)
