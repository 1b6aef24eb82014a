// SPDX-License-Identifier: Apache-2.0
// The origin of a URL (RFC 6454: scheme, host and port) as a number, by which
// the connection pool finds connections that may fit.
#ifndef CURLSHARE_SHARE_INTERNAL_ORIGIN_H_
#define CURLSHARE_SHARE_INTERNAL_ORIGIN_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace curlshare::internal {

// A hash, which is equal for equal origins within one process. Only a hint:
// libcurl decides which connection a transfer may use.
using OriginKey = uint64_t;

// The key of the origin of `url`; 0 if it has none. Case, user information, and
// the default ports of HTTP and HTTPS make no difference. Allocates nothing.
// Thread-safe.
OriginKey OriginOf(absl::string_view url);

// How many bytes at the beginning of `url` tell what its origin is.
size_t OriginSize(absl::string_view url);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_ORIGIN_H_
