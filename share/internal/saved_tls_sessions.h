// SPDX-License-Identifier: Apache-2.0
// The TLS sessions of a CURLSH as text that another process can read, by
// curl_easy_ssls_export and curl_easy_ssls_import. libcurl has these from 8.12
// on, if it was built with them (USE_SSLS_EXPORT, --enable-ssls-export).
//
// The text is for this library alone: a first line with the version of the
// format, then one line for each session. A line holds, in base64, the salted
// hash of the session's peer, a space, and the session as libcurl has packed
// it. libcurl also offers the peer's name in plain text. That is not written:
// it would tell any reader which hosts were visited.
//
// Source: https://curl.se/libcurl/c/curl_easy_ssls_export.html,
//         https://curl.se/libcurl/c/curl_easy_ssls_import.html
#ifndef CURLSHARE_SHARE_INTERNAL_SAVED_TLS_SESSIONS_H_
#define CURLSHARE_SHARE_INTERNAL_SAVED_TLS_SESSIONS_H_

#include <curl/curl.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/kind_locks.h"

namespace curlshare::internal {

// One session. A plain value: thread-compatible.
struct TlsSession {
  std::string peer;  // salt and hash, binary
  std::string data;  // as libcurl has packed it, binary
};

// Whether the running libcurl can export and import sessions. kUnimplemented:
// it cannot; the message says what that takes. kResourceExhausted: no memory to
// find out. Thread-safe.
absl::Status CanSaveTlsSessions();

// Parses what FormatTlsSessions has made. An empty text has no sessions.
// Thread-safe. REQUIRES, unless `text` is empty: CanSaveTlsSessions().
//
// kInvalidArgument: a line is not as FormatTlsSessions writes it, or libcurl
// does not take the session; the message has the number of the line, counted
// from 1. kResourceExhausted: no memory. May throw std::bad_alloc.
absl::StatusOr<std::vector<TlsSession>> ParseTlsSessions(
    absl::string_view text);
std::string FormatTlsSessions(const std::vector<TlsSession>& sessions);

// Reads the sessions of `share`, and adds to them. `share` shares TLS sessions,
// and locks by `locks`. REQUIRES: CanSaveTlsSessions(); what a transfer on a
// handle in `share` requires (the gate, if there is one).
absl::StatusOr<std::vector<TlsSession>> ReadTlsSessions(CURLSH* share,
                                                        KindLocks* locks);
absl::Status AddTlsSessions(CURLSH* share, KindLocks* locks,
                            const std::vector<TlsSession>& sessions);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_TLS_SESSIONS_H_
