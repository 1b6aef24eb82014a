// SPDX-License-Identifier: Apache-2.0
// Asks a server for a version, using libcurl directly.
#ifndef TEST_HELPERS_VERSION_CLIENT_H_
#define TEST_HELPERS_VERSION_CLIENT_H_

#include <curl/curl.h>

#include <string>

#include "absl/status/statusor.h"

namespace test_helpers {

// Returns the body of `url`. `share` may be null; it is used without any
// locking of this function's. kUnavailable if the transfer fails or takes
// longer than `timeout_ms`; kNotFound if the HTTP status is not 200. Safe to
// call from any thread.
absl::StatusOr<std::string> FetchVersion(const std::string& url,
                                         long timeout_ms,
                                         CURLSH* share = nullptr);

}  // namespace test_helpers

#endif  // TEST_HELPERS_VERSION_CLIENT_H_
