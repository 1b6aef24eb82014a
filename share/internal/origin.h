// SPDX-License-Identifier: Apache-2.0
// The origin of a URL (RFC 6454: scheme, host, port) as a number: what the
// connection pool goes by to find a connection that may fit.
#ifndef CURLSHARE_SHARE_INTERNAL_ORIGIN_H_
#define CURLSHARE_SHARE_INTERNAL_ORIGIN_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace curlshare::internal {

// A hash, the same for equal origins within one process. It is a hint: libcurl
// decides which connection a transfer may use.
using OriginKey = uint64_t;

// The key of `url`'s origin; 0 where it has none. Upper and lower case, user
// information and the default port of HTTP and HTTPS make no difference.
// Allocates nothing.
OriginKey OriginOf(absl::string_view url);

// How many bytes at the beginning of `url` say what its origin is.
size_t OriginSize(absl::string_view url);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_ORIGIN_H_
