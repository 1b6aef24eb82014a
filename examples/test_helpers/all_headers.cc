// SPDX-License-Identifier: Apache-2.0
// Includes every public header of curl_share. It is compiled with more warnings
// than most code bases enable, as errors (.bazelrc). The headers of libcurl,
// Abseil and GoogleTest are included first, with warnings off, since their
// warnings cannot be fixed here.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <curl/curl.h>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#pragma GCC diagnostic pop

#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/lock_recorder.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"

// A compiler reports the warnings of a template only where it is used.
namespace test_helpers {

absl::Status UseTemplates(curlshare::Easy& easy) {
  if (absl::Status s = easy.SetOption<CURLOPT_VERBOSE>(false); !s.ok()) {
    return s;
  }
  if (absl::Status s = easy.SetOption<CURLOPT_MAXFILESIZE_LARGE>(1); !s.ok()) {
    return s;
  }
  if (absl::Status s = easy.SetOption<CURLOPT_USERAGENT>("a"); !s.ok()) {
    return s;
  }
  if (absl::Status s = easy.SetOption<CURLOPT_RESOLVE>({"a:80:127.0.0.1"});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = easy.SetOption<CURLOPT_SSLCERT_BLOB>("a"); !s.ok()) {
    return s;
  }
  curlshare::testing::RunThreads(1, [](int) {});
  return easy.GetInfo<CURLINFO_NUM_CONNECTS>().status();
}

}  // namespace test_helpers

// A consumer's search path for <...> must contain nothing of curl_share but
// curlshare/, and libcurl. ("..." cannot be checked: for it, Bazel adds the
// root of every repository.)
#if __has_include(<share/share.h>) || __has_include(<share.h>) ||          \
    __has_include(<easy/easy.h>) || __has_include(<easy.h>) ||             \
    __has_include(<testing/http_server.h>) ||                              \
    __has_include(<http_server.h>) || __has_include(<curl_config.h>) ||    \
    __has_include(<share/internal/handle.h>) || __has_include(<setopt.h>)
#error "curl_share has put more than curlshare/ on the search path"
#endif
