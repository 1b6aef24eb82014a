// SPDX-License-Identifier: Apache-2.0
// Errors that can also be told when memory has run out, and the end of every
// exception.
//
//   return Error(absl::StatusCode::kFailedPrecondition, "share #", id,
//                " is closed");
//
//   return NoThrow("Easy::Fetch", [&]() -> absl::StatusOr<Response> {
//     ... what may throw: strings, containers, std::make_shared ...
//   });
#ifndef CURLSHARE_SHARE_INTERNAL_ERROR_H_
#define CURLSHARE_SHARE_INTERNAL_ERROR_H_

#include <exception>
#include <new>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace curlshare::internal {

// A Status of `code`, its message `pieces` as absl::StrCat joins them; without
// one where there is no memory for it. So an error can be returned with locks
// held and from what destructors call.
template <typename... T>
absl::Status Error(absl::StatusCode code, const T&... pieces) noexcept {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    return absl::Status(code, absl::StrCat(pieces...));
  } catch (const std::bad_alloc&) {
    return absl::Status(code, "");  // the one form that allocates nothing
  }
#else
  return absl::Status(code, absl::StrCat(pieces...));
#endif
}

// What `body`, which returns a Status or StatusOr, returns. What it throws
// becomes a Status that names `where`: kResourceExhausted for std::bad_alloc,
// else kUnknown with the exception's text.
template <typename F>
auto NoThrow(absl::string_view where, F&& body) noexcept -> decltype(body()) {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Error(absl::StatusCode::kResourceExhausted, where,
                 ": out of memory");
  } catch (const std::exception& e) {
    return Error(absl::StatusCode::kUnknown, where, " threw: ", e.what());
  } catch (...) {
    return Error(absl::StatusCode::kUnknown, where,
                 " threw something that is no std::exception");
  }
#else
  (void)where;
  return body();
#endif
}

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_ERROR_H_
