// SPDX-License-Identifier: Apache-2.0
// A getaddrinfo that is slow, in place of the C library's.
//
// A binary that links this defines getaddrinfo itself, so that libcurl's
// look-ups come here: each look-up of a name under "slow.curlshare.test" takes
// 50 ms, is counted, and answers 127.0.0.1. Every other goes to the C library.
// So a slow resolver needs no root, no file under /etc and no packet.
#ifndef CURLSHARE_BENCHMARKS_SLOW_RESOLVER_H_
#define CURLSHARE_BENCHMARKS_SLOW_RESOLVER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace curlshare::benchmarks {

constexpr char kSlowHost[] = "slow.curlshare.test";
constexpr absl::Duration kSlowLookup = absl::Milliseconds(50);

// Look-ups of kSlowHost since the start of the process. Any thread may call it.
int64_t SlowLookups();

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_SLOW_RESOLVER_H_
