// SPDX-License-Identifier: Apache-2.0
// Initialises the libcurl that this process runs with, and says which one it
// is.
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

// A version as a number that can be compared: 0x080e01 for 8.14.1, as
// CURL_VERSION_BITS has it.
constexpr uint32_t LibcurlVersion(uint32_t major, uint32_t minor,
                                  uint32_t patch) {
  return major << 16 | minor << 8 | patch;
}

// What is known of a libcurl. Thread-compatible: a plain value.
struct LibcurlInfo {
  std::string version;       // "8.14.1"
  uint32_t version_num = 0;  // 0x080e01: see LibcurlVersion()
  std::string ssl_version;   // "OpenSSL/3.0.17"; empty without TLS
  bool has_file = false;     // whether it supports file: URLs
};

// Initialises libcurl (curl_global_init with CURL_GLOBAL_DEFAULT) at the first
// call. Later calls return the same answer at the cost of one atomic load.
// Share::Create and Easy::Create call it. The application may call
// curl_global_init as well, before or after: libcurl counts the calls.
// Thread-safe.
//
// kInternal: libcurl refuses; or another error that EasyStatus makes of it. The
//   next call tries again.
// kResourceExhausted: out of memory. The next call tries again.
// kUnimplemented: the running libcurl is older than 7.88.0, the oldest version
//   whose behaviour this library knows. This answer is final.
absl::Status InitLibcurl();

// The libcurl that runs, which may be another one than the headers at compile
// time are for. Calls InitLibcurl(); if that fails for any reason except the
// version, all fields are empty. Thread-safe; the reference is valid for the
// life of the process.
const LibcurlInfo& RunningLibcurl();

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_LIBCURL_INFO_H_
