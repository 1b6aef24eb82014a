// SPDX-License-Identifier: Apache-2.0
// The port of a test server.
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

// Calls `listen_on` with ports of 20000 to 31999, by chance, until it returns
// something else than kUnavailable, which means that the port is in use; what
// it returned last. Safe to call from any thread.
//
// A port below those that clients are given (ip_local_port_range, from 32768
// on): a client that tries [::1] first, for "localhost", would now and then be
// given the very port that it connects to, and so talk to itself.
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
