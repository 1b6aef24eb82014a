// SPDX-License-Identifier: Apache-2.0
// Asks a server for a version, with libcurl as it comes.
#ifndef TEST_HELPERS_VERSION_CLIENT_H_
#define TEST_HELPERS_VERSION_CLIENT_H_

#include <curl/curl.h>

#include <string>

#include "absl/status/statusor.h"

namespace test_helpers {

// `share` may be null. kUnavailable where there is no answer within
// `timeout_ms`, kNotFound where it is not a 200.
absl::StatusOr<std::string> FetchVersion(const std::string& url,
                                         long timeout_ms,
                                         CURLSH* share = nullptr);

}  // namespace test_helpers

#endif  // TEST_HELPERS_VERSION_CLIENT_H_
