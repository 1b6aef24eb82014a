// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/slow_resolver.h"

#include <dlfcn.h>
#include <netdb.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace curlshare::benchmarks {
namespace {

std::atomic<int64_t> lookups{0};

}  // namespace

int64_t SlowLookups() { return lookups.load(); }

}  // namespace curlshare::benchmarks

// What it answers comes from the C library, so that freeaddrinfo fits.
extern "C" int getaddrinfo(const char* node, const char* service,
                           const addrinfo* hints, addrinfo** result) {
  static const auto next =
      reinterpret_cast<decltype(&getaddrinfo)>(  // NOLINT: what dlsym returns
          dlsym(RTLD_NEXT, "getaddrinfo"));
  if (next == nullptr) return EAI_SYSTEM;
  if (node == nullptr ||
      std::strcmp(node, curlshare::benchmarks::kSlowHost) != 0) {
    return next(node, service, hints, result);
  }
  curlshare::benchmarks::lookups.fetch_add(1);
  absl::SleepFor(curlshare::benchmarks::kSlowLookup);
  return next("127.0.0.1", service, hints, result);
}
