// SPDX-License-Identifier: Apache-2.0
// libcurl's error codes as absl::Status, with the code kept inside.
//
//   CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
//   if (absl::Status s = EasyStatus(code, "curl_easy_setopt(CURLOPT_URL)");
//       !s.ok()) {
//     return s;  // "curl_easy_setopt(CURLOPT_URL): CURLE_OUT_OF_MEMORY (27):
//   }            //  Out of memory"
//   ...
//   if (GetEasyCode(status) == CURLE_COULDNT_CONNECT) Retry();
//
// EasyStatus, ShareStatus, MultiStatus      a code and the call -> Status
// HttpErrorStatus                           an HTTP status of 400 or more
// GetEasyCode, GetShareCode, GetMultiCode   the code that a Status carries
// GetHttpStatus, GetRequestSent             what else a transfer's Status knows
// IsRetryable, GetRetrySafety               whether to try again
// EasyCodeName, ShareCodeName, MultiCodeName   "CURLE_COULDNT_CONNECT"
//
// All functions here are safe to call from any thread.
//
// Source: https://curl.se/libcurl/c/libcurl-errors.html
#ifndef CURLSHARE_SHARE_CURL_STATUS_H_
#define CURLSHARE_SHARE_CURL_STATUS_H_

#include <curl/curl.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace curlshare {

// OkStatus for the code 0, else a Status whose message is
//   "<call>: <name of the code> (<number>): <libcurl's text>[: <detail>]"
// and whose payload holds the code. `call` names the libcurl function, with
// its option where it has one; `detail` is what else is known, such as the
// contents of CURLOPT_ERRORBUFFER.
//
// The absl::StatusCode follows what a caller can do about it:
//   kInvalidArgument     the request is malformed (URL, option value)
//   kUnimplemented       this libcurl cannot do it
//   kResourceExhausted   out of memory, or the server's disk is full
//   kOutOfRange          what came is larger than was allowed, or the server
//                        does not give that range
//   kDataLoss            the body cannot be decoded
//   kDeadlineExceeded    a timeout of the handle passed
//   kUnavailable         network, name or peer failed: a retry may succeed
//   kUnauthenticated     the peer's certificate was not accepted, or ours
//   kPermissionDenied    the server denied access or log-in
//   kNotFound            no such file on the server
//   kFailedPrecondition  not in this state (in use, recursive call; the server
//                        redirects without end, or answered with an error)
//   kAborted             a callback ended the transfer
//   kInternal            libcurl broke its own rules
//   kUnknown             any other code
// docs/curl_codes.md lists them all.
absl::Status EasyStatus(CURLcode code, absl::string_view call,
                        absl::string_view detail = "");
absl::Status ShareStatus(CURLSHcode code, absl::string_view call,
                         absl::string_view detail = "");
absl::Status MultiStatus(CURLMcode code, absl::string_view call,
                         absl::string_view detail = "");

// The Status of an answer whose HTTP status is 400 or more, as a transfer with
// CURLOPT_FAILONERROR returns it: CURLE_HTTP_RETURNED_ERROR, with the
// absl::StatusCode that docs/curl_codes.md has for `http_status`. For a
// Response that is an error to the caller:
//
//   if (r->status >= 400) return HttpErrorStatus(r->status, "GET /users");
absl::Status HttpErrorStatus(long http_status, absl::string_view call,
                             absl::string_view detail = "");
// The HTTP status that it carries; nothing where it is not of that kind.
std::optional<long> GetHttpStatus(const absl::Status& status);

// Whether a byte of a request had been sent when the transfer failed, to the
// first host or, after a redirect, to any; nothing where that is not known. The
// errors of transfers carry it; WithRequestSent is for a transfer of your own.
std::optional<bool> GetRequestSent(const absl::Status& status);
absl::Status WithRequestSent(absl::Status status, bool sent);
// `status`, an HttpErrorStatus, of an answer after a redirect: an earlier
// server may have acted on the request. The errors of transfers carry it; for a
// Response, where `r->redirects` is not 0.
absl::Status WithRedirects(absl::Status status);

// Whether what failed with a Status may be done again (RFC 9110 section 9.2.2).
enum class RetrySafety {
  kNever,         // it would fail again, was cancelled, or is no failure
  kIfIdempotent,  // a server may have acted on it
  kAlways,        // no server has acted on it
};

// By the CURLcode, the HTTP status and whether a request was sent:
//
//   kAlways        no host, no connection, no TLS handshake, whatever failed
//                  before a byte was sent, 425, 429
//   kIfIdempotent  a timeout, a broken connection, half an answer, 408, 502,
//                  503, 504; the above after a redirect
//   kNever         all else: a certificate, a malformed URL, kCancelled, too
//                  large, out of memory, a callback's Status, any Status that
//                  carries no CURLcode
//
// It does not say when, nor how often. A code alone, of a transfer of your own,
// is taken to be of one without redirects: see WithRequestSent.
//
// libcurl itself sends a request again, a POST as well, where a connection that
// it has reused ends before a byte of the answer has come: with a request that
// must not come twice, set CURLOPT_FRESH_CONNECT.
RetrySafety GetRetrySafety(const absl::Status& status);
// The same for a request that is `idempotent` (GET, HEAD, PUT, DELETE, ... and
// what the caller knows to be) or not.
bool IsRetryable(const absl::Status& status, bool idempotent);

// The code that `status` was made from; nothing where it was not made from a
// code of that kind.
std::optional<CURLcode> GetEasyCode(const absl::Status& status);
std::optional<CURLSHcode> GetShareCode(const absl::Status& status);
std::optional<CURLMcode> GetMultiCode(const absl::Status& status);

// `status` with `code` attached for GetEasyCode: for an error whose cause is
// better told by another message, such as that of a user's callback.
absl::Status WithEasyCode(absl::Status status, CURLcode code);

// The name of the constant, "CURLE_COULDNT_CONNECT"; "CURLE_<number>" for a
// code newer than this library.
std::string EasyCodeName(CURLcode code);
std::string ShareCodeName(CURLSHcode code);
std::string MultiCodeName(CURLMcode code);

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CURL_STATUS_H_
