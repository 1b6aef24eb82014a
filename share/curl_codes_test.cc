// SPDX-License-Identifier: Apache-2.0
// docs/curl_codes.md is what the code does. To write it anew:
//   ./bazelw run //share:curl_codes_test
#include <curl/curl.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/curl_status.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

// "kDeadlineExceeded" for DEADLINE_EXCEEDED.
std::string Name(absl::StatusCode code) {
  std::string name = "k";
  bool upper = true;
  for (const char c : absl::StatusCodeToString(code)) {
    if (c != '_') name += upper ? c : absl::ascii_tolower(c);
    upper = c == '_';
  }
  return name;
}

absl::string_view Name(RetrySafety safety) {
  switch (safety) {
    case RetrySafety::kNever:
      return "no";
    case RetrySafety::kIfIdempotent:
      return "if idempotent";
    case RetrySafety::kAlways:
      return "yes";
  }
  return "";
}

std::string Row(const absl::Status& status) {
  return absl::StrCat("`", Name(status.code()), "` | ",
                      Name(GetRetrySafety(status)), " |\n");
}

std::string Page() {
  std::string page =
      R"(# libcurl's codes as absl::Status

What a transfer that ends with a `CURLcode` returns, and whether it may be done
again. Printed by `./bazelw run //share:curl_codes_test` from
[share/curl_status.cc](../share/curl_status.cc), and held to it by that test.

`GetEasyCode(status)` tells codes apart that share an `absl::StatusCode`. The last
column is `GetRetrySafety`: "yes" where no server has acted on the request, "if
idempotent" where one may have. It is for a `Status` that does not say whether a
request was sent. Those of transfers do (`GetRequestSent`): where the column is not
"no", a byte that was sent, to any host that a redirect led to, makes it "if
idempotent", and none makes it "yes". `IsRetryable(status, idempotent)` puts that
together. A transfer that was cancelled, or ended by a callable of yours, is never to
be done again by itself.

| CURLcode | | `absl::StatusCode` | retry |
|---|---|---|---|
)";
  // Of the numbers that the enumeration has room for.
  for (int i = 1; i < 128; ++i) {
    const auto code = static_cast<CURLcode>(i);
    const std::string name = EasyCodeName(code);
    if (name == absl::StrCat("CURLE_", i)) continue;  // has no name (any more)
    absl::StrAppend(&page, "| `", name, "` | ", i, " | ",
                    Row(EasyStatus(code, "")));
  }
  absl::StrAppend(&page, R"(
## HTTP statuses

A status of the server is no error of the transfer: `Fetch` returns a `Response`. It
is one with `CURLOPT_FAILONERROR` (`CURLE_HTTP_RETURNED_ERROR`), and where you make it
one, by `HttpErrorStatus(response.status, ...)`. `GetHttpStatus` reads it back. The
`absl::StatusCode` is that of google/rpc/code.proto, where it has one. It speaks of
the last request alone: a server that redirected may have acted on one before.

| HTTP | `absl::StatusCode` | retry |
|---|---|---|
)");
  for (const long status : {400, 401, 403, 404, 408, 409, 410, 416, 425, 429,
                            499, 501, 502, 503, 504}) {
    absl::StrAppend(&page, "| ", status, " | ",
                    Row(HttpErrorStatus(status, "")));
  }
  absl::StrAppend(&page, "| other 4xx | ", Row(HttpErrorStatus(405, "")),
                  "| other 5xx | ", Row(HttpErrorStatus(500, "")));
  return page;
}

TEST(CurlCodes, ThePageIsWhatTheCodeDoes) {
  const std::string page = Page();
  // Set by `bazel run` alone.
  if (const char* root = std::getenv("BUILD_WORKSPACE_DIRECTORY")) {
    std::ofstream file(absl::StrCat(root, "/docs/curl_codes.md"));
    file << page;
    ASSERT_TRUE(file.flush()) << "cannot write docs/curl_codes.md";
    return;
  }
  std::ifstream file("docs/curl_codes.md");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), page)
      << "run ./bazelw run //share:curl_codes_test";
}

}  // namespace
}  // namespace curlshare
