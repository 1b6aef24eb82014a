// SPDX-License-Identifier: Apache-2.0
// Turns libcurl's error codes into absl::Status, with the code kept inside, and
// says whether a transfer may be tried again.
//
//   CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
//   if (absl::Status s = EasyStatus(code, "curl_easy_setopt(CURLOPT_URL)");
//       !s.ok()) {
//     return s;  // "curl_easy_setopt(CURLOPT_URL): CURLE_OUT_OF_MEMORY (27):
//   }            //  Out of memory"
//   ...
//   if (GetEasyCode(status) == CURLE_COULDNT_CONNECT) Retry();
//
// EasyStatus, ShareStatus, MultiStatus      make a Status from a code
// HttpErrorStatus                           makes one from an HTTP status
// WithEasyCode, WithRequestSent, WithRedirects   add to a Status of your own
// GetEasyCode, GetShareCode, GetMultiCode   the code that a Status carries
// GetHttpStatus, GetRequestSent             what else a transfer's Status tells
// IsRetryable, GetRetrySafety               whether to try again
// EasyCodeName, ShareCodeName, MultiCodeName   "CURLE_COULDNT_CONNECT"
//
// All functions are thread-safe. Those that return a Status throw nothing: if
// there is no memory for its message or its code, the Status lacks it.
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

// Return OkStatus for the code 0. Any other code becomes a Status with the
// message
//   "<call>: <name of the code> (<number>): <libcurl's text>[: <detail>]"
// and the code as a payload. `call` is the name of the libcurl function, with
// its option where it has one. `detail` is whatever else is known, such as the
// contents of CURLOPT_ERRORBUFFER.
//
// The absl::StatusCode tells what a caller can do about the error:
//   kInvalidArgument     the request is malformed (URL, option value)
//   kUnimplemented       this libcurl cannot do it
//   kResourceExhausted   out of memory, or the server's disk is full
//   kOutOfRange          the answer is larger than was allowed, or the server
//                        does not provide the range
//   kDataLoss            the body cannot be decoded
//   kDeadlineExceeded    a timeout of the handle passed
//   kUnavailable         network, name or peer failed: a retry may succeed
//   kUnauthenticated     the peer's certificate, or the client's, was refused
//   kPermissionDenied    the server denied access or log-in
//   kNotFound            no such file on the server
//   kFailedPrecondition  not possible in this state (in use, recursive call;
//                        the server redirects without end, or answered with an
//                        error)
//   kAborted             a callback ended the transfer
//   kInternal            libcurl broke its own rules
//   kUnknown             any other code
// docs/curl_codes.md lists every code.
absl::Status EasyStatus(CURLcode code, absl::string_view call,
                        absl::string_view detail = "");
absl::Status ShareStatus(CURLSHcode code, absl::string_view call,
                         absl::string_view detail = "");
absl::Status MultiStatus(CURLMcode code, absl::string_view call,
                         absl::string_view detail = "");

// The Status of an answer whose HTTP status is 400 or more, as a transfer with
// CURLOPT_FAILONERROR returns it. Its code is CURLE_HTTP_RETURNED_ERROR; its
// absl::StatusCode depends on `http_status` (docs/curl_codes.md). `call` and
// `detail` as above. For callers to whom such a Response is an error:
//
//   if (r->status >= 400) return HttpErrorStatus(r->status, "GET /users");
absl::Status HttpErrorStatus(long http_status, absl::string_view call,
                             absl::string_view detail = "");
// The HTTP status that `status` carries; nullopt unless it is such a Status.
std::optional<long> GetHttpStatus(const absl::Status& status);

// Whether a byte of a request had been sent when the transfer failed: to the
// first host or, after a redirect, to any host. nullopt if that is not known.
// The errors of this library's transfers carry it.
std::optional<bool> GetRequestSent(const absl::Status& status);
// `status` with this fact, for a transfer that you run yourself.
absl::Status WithRequestSent(absl::Status status, bool sent);
// `status`, an HttpErrorStatus, with the fact that the answer came after a
// redirect: an earlier server may have acted on the request. The errors of this
// library's transfers carry it. Use it if you make an HttpErrorStatus of a
// Response whose `redirects` is not 0.
absl::Status WithRedirects(absl::Status status);

// Whether a request that failed may be sent again (RFC 9110 section 9.2.2).
enum class RetrySafety {
  kNever,         // it would fail again, was cancelled, or did not fail
  kIfIdempotent,  // a server may have acted on it
  kAlways,        // no server has acted on it
};

// Decides by the CURLcode, the HTTP status, and whether a request was sent:
//
//   kAlways        no host, no connection, no TLS handshake; a timeout or a
//                  broken connection before a byte was sent; HTTP 425, 429
//   kIfIdempotent  a timeout, a broken connection, half an answer; HTTP 408,
//                  502, 503, 504; after a redirect also what is kAlways else
//   kNever         everything else: a certificate, a malformed URL, kCancelled,
//                  too large, out of memory, a callback's Status, any Status
//                  without a CURLcode
//
// The answer does not say when to retry, nor how often. If `status` has nothing
// but a code, as for a transfer that you run yourself, this assumes a transfer
// without redirects; see WithRequestSent.
//
// libcurl itself sends a request again, even a POST, if a reused connection
// ends before a byte of the answer has arrived (Curl_retry_request in
// lib/transfer.c). If a request must not arrive twice, set
// CURLOPT_FRESH_CONNECT.
RetrySafety GetRetrySafety(const absl::Status& status);
// The same as yes or no. `idempotent` says whether the request is: GET, HEAD,
// PUT, DELETE, ..., and any other that the caller knows to be.
bool IsRetryable(const absl::Status& status, bool idempotent);

// The code that `status` was made from; nullopt if it was not made from a code
// of that kind.
std::optional<CURLcode> GetEasyCode(const absl::Status& status);
std::optional<CURLSHcode> GetShareCode(const absl::Status& status);
std::optional<CURLMcode> GetMultiCode(const absl::Status& status);

// `status` with `code` for GetEasyCode. For an error that another message tells
// better than libcurl's, such as that of a user's callback.
absl::Status WithEasyCode(absl::Status status, CURLcode code);

// The name of the constant, such as "CURLE_COULDNT_CONNECT". For a code that
// this library does not know, because it is newer: "CURLE_<number>".
std::string EasyCodeName(CURLcode code);
std::string ShareCodeName(CURLSHcode code);
std::string MultiCodeName(CURLMcode code);

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CURL_STATUS_H_
