// SPDX-License-Identifier: Apache-2.0
// The libcurl that this process runs with, initialised and asked once.
//
// curl_global_init must run once, before any other use of libcurl, and
// curl_version_info writes to static data, so that two threads that call it
// race. Both happen here, once, under a mutex; the rest of the library reads
// the kept answer.
//
//   if (absl::Status s = InitLibcurl(); !s.ok()) return s;
//   LOG(INFO) << "libcurl " << RunningLibcurl().version;
//
// Source: https://curl.se/libcurl/c/curl_global_init.html,
//         https://curl.se/libcurl/c/curl_version_info.html
#ifndef CURLSHARE_SHARE_LIBCURL_INFO_H_
#define CURLSHARE_SHARE_LIBCURL_INFO_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace curlshare {

// 8.14.1 is 0x080e01, as in CURL_VERSION_BITS.
constexpr uint32_t LibcurlVersion(uint32_t major, uint32_t minor,
                                  uint32_t patch) {
  return major << 16 | minor << 8 | patch;
}

struct LibcurlInfo {
  std::string version;       // "8.14.1"
  uint32_t version_num = 0;  // 0x080e01: see LibcurlVersion()
  std::string ssl_version;   // "OpenSSL/3.0.17"; empty without TLS
  bool has_file = false;     // whether it knows file:
};

// Initialises libcurl (CURL_GLOBAL_DEFAULT) at the first call; later calls
// return the same answer at the cost of one load. Share::Create and
// Easy::Create call it. An application that has called curl_global_init
// itself loses nothing: libcurl counts.
//
// kInternal where libcurl refuses, kResourceExhausted when out of memory: the
// next call tries again; kUnimplemented where the running libcurl is
// older than 7.88.0, the oldest whose behaviour this library knows.
//
// Safe to call from any thread.
absl::Status InitLibcurl();

// What runs, not what the headers said at compile time. All empty where
// InitLibcurl() failed for another reason than the version. Safe to call from
// any thread; the reference is valid for the life of the process.
const LibcurlInfo& RunningLibcurl();

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_LIBCURL_INFO_H_
