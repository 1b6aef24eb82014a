// SPDX-License-Identifier: Apache-2.0
// Error() makes a Status even when memory has run out, and NoThrow() turns
// exceptions into a Status. Functions of this library that return a Status let
// no exception out.
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

// A Status with `code`, and with `pieces` as its message, joined as by
// absl::StrCat. If there is no memory for the message, it has none. Never
// throws: it can be called with locks held, and by destructors.
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

// Calls `body`, which returns a Status or StatusOr, and returns its result. An
// exception becomes a Status that names `where`: kResourceExhausted for
// std::bad_alloc, else kUnknown with the exception's text.
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
