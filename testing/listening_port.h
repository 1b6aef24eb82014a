// SPDX-License-Identifier: Apache-2.0
// Chooses the port that a test server listens on.
//
//   absl::Status status =
//       ListenOnAnyPort([&](int port) { return StartOn(port); });
//
// testonly.
#ifndef CURLSHARE_TESTING_LISTENING_PORT_H_
#define CURLSHARE_TESTING_LISTENING_PORT_H_

#include <random>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace curlshare::testing {

// Calls `listen_on` with random ports from 20000 to 31999 until it returns
// something other than kUnavailable, which means that the port is in use. Tries
// at most 100 ports. Returns what `listen_on` returned last. Safe to call from
// any thread.
//
// These ports are below the range from which the kernel assigns ports to
// clients (ip_local_port_range, from 32768 on). With a server port inside that
// range, a client that connects to "localhost" and tries [::1] first could be
// assigned the very port that it connects to, and so connect to itself.
inline absl::Status ListenOnAnyPort(
    absl::FunctionRef<absl::Status(int port)> listen_on) {
  constexpr int kFirst = 20000;
  constexpr int kCount = 12000;
  constexpr int kTries = 100;
  std::random_device random;
  absl::Status status;
  for (int i = 0; i < kTries; ++i) {
    status = listen_on(kFirst + static_cast<int>(random() % kCount));
    if (!absl::IsUnavailable(status)) break;
  }
  return status;
}

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_LISTENING_PORT_H_
