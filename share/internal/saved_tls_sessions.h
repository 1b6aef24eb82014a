// SPDX-License-Identifier: Apache-2.0
// The TLS sessions of a CURLSH as text that another process can take in.
//
// The text is ours to read alone: a first line with its version, then one line
// for each session: in base64, the salted hash of who it is for, a space, and
// what libcurl packed of it. libcurl's other name for who it is for, in plain
// text, is not written: it would tell any reader which hosts were visited.
//
// curl_easy_ssls_export and _import are there from libcurl 8.12 on, where built
// with them (USE_SSLS_EXPORT, --enable-ssls-export).
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

struct TlsSession {
  std::string peer;  // salt and hash
  std::string data;
};

// Whether the running libcurl can; kUnimplemented where not, and what it takes.
absl::Status CanSaveTlsSessions();

// kInvalidArgument with the number of the line that is not as
// FormatTlsSessions writes it, or that libcurl does not take;
// kResourceExhausted without memory. May throw std::bad_alloc.
absl::StatusOr<std::vector<TlsSession>> ParseTlsSessions(
    absl::string_view text);
std::string FormatTlsSessions(const std::vector<TlsSession>& sessions);

// Reads those of `share`, which shares them and locks by `locks`, and adds to
// them. Safe for concurrent use as far as a transfer on a handle in `share` is.
// REQUIRES: CanSaveTlsSessions().
absl::StatusOr<std::vector<TlsSession>> ReadTlsSessions(CURLSH* share,
                                                        KindLocks* locks);
absl::Status AddTlsSessions(CURLSH* share, KindLocks* locks,
                            const std::vector<TlsSession>& sessions);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_SAVED_TLS_SESSIONS_H_
