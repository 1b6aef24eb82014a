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
// GetEasyCode, GetShareCode, GetMultiCode   the code that a Status carries
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
//   kResourceExhausted   out of memory, or a limit was met
//   kDeadlineExceeded    a timeout of the handle passed
//   kUnavailable         network, name or peer failed: a retry may succeed
//   kUnauthenticated     the peer's certificate was not accepted, or ours
//   kPermissionDenied    the server denied access or log-in
//   kNotFound            no such file on the server
//   kFailedPrecondition  not in this state (in use, recursive call)
//   kAborted             a callback ended the transfer
//   kInternal            libcurl broke its own rules
//   kUnknown             any other code
absl::Status EasyStatus(CURLcode code, absl::string_view call,
                        absl::string_view detail = "");
absl::Status ShareStatus(CURLSHcode code, absl::string_view call,
                         absl::string_view detail = "");
absl::Status MultiStatus(CURLMcode code, absl::string_view call,
                         absl::string_view detail = "");

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
