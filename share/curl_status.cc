// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/curl_status.h"

#include <curl/curl.h>

#include <cstddef>
#include <new>
#include <optional>
#include <string>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/internal/error.h"

namespace curlshare {
namespace {

// The payloads, by type URL. Each is a number in decimal, so that a Status
// which is printed shows it.
constexpr absl::string_view kEasyUrl = "curl_share/CURLcode";
constexpr absl::string_view kShareUrl = "curl_share/CURLSHcode";
constexpr absl::string_view kMultiUrl = "curl_share/CURLMcode";
constexpr absl::string_view kHttpUrl = "curl_share/http_status";
constexpr absl::string_view kSentUrl = "curl_share/request_sent";
constexpr absl::string_view kRedirectsUrl = "curl_share/redirects";

constexpr absl::string_view kEasyPrefix = "CURLE_";
constexpr absl::string_view kSharePrefix = "CURLSHE_";
constexpr absl::string_view kMultiPrefix = "CURLM_";

// The names by number. Not a switch over the enumerators: the headers of the
// oldest libcurl that is supported lack the newest codes. "" stands for a
// number that libcurl no longer uses.
constexpr absl::string_view kEasyNames[] = {"OK",
                                            "UNSUPPORTED_PROTOCOL",
                                            "FAILED_INIT",
                                            "URL_MALFORMAT",
                                            "NOT_BUILT_IN",
                                            "COULDNT_RESOLVE_PROXY",
                                            "COULDNT_RESOLVE_HOST",
                                            "COULDNT_CONNECT",
                                            "WEIRD_SERVER_REPLY",
                                            "REMOTE_ACCESS_DENIED",
                                            "FTP_ACCEPT_FAILED",
                                            "FTP_WEIRD_PASS_REPLY",
                                            "FTP_ACCEPT_TIMEOUT",
                                            "FTP_WEIRD_PASV_REPLY",
                                            "FTP_WEIRD_227_FORMAT",
                                            "FTP_CANT_GET_HOST",
                                            "HTTP2",
                                            "FTP_COULDNT_SET_TYPE",
                                            "PARTIAL_FILE",
                                            "FTP_COULDNT_RETR_FILE",
                                            "",
                                            "QUOTE_ERROR",
                                            "HTTP_RETURNED_ERROR",
                                            "WRITE_ERROR",
                                            "",
                                            "UPLOAD_FAILED",
                                            "READ_ERROR",
                                            "OUT_OF_MEMORY",
                                            "OPERATION_TIMEDOUT",
                                            "",
                                            "FTP_PORT_FAILED",
                                            "FTP_COULDNT_USE_REST",
                                            "",
                                            "RANGE_ERROR",
                                            "",
                                            "SSL_CONNECT_ERROR",
                                            "BAD_DOWNLOAD_RESUME",
                                            "FILE_COULDNT_READ_FILE",
                                            "LDAP_CANNOT_BIND",
                                            "LDAP_SEARCH_FAILED",
                                            "",
                                            "",
                                            "ABORTED_BY_CALLBACK",
                                            "BAD_FUNCTION_ARGUMENT",
                                            "",
                                            "INTERFACE_FAILED",
                                            "",
                                            "TOO_MANY_REDIRECTS",
                                            "UNKNOWN_OPTION",
                                            "SETOPT_OPTION_SYNTAX",
                                            "",
                                            "",
                                            "GOT_NOTHING",
                                            "SSL_ENGINE_NOTFOUND",
                                            "SSL_ENGINE_SETFAILED",
                                            "SEND_ERROR",
                                            "RECV_ERROR",
                                            "",
                                            "SSL_CERTPROBLEM",
                                            "SSL_CIPHER",
                                            "PEER_FAILED_VERIFICATION",
                                            "BAD_CONTENT_ENCODING",
                                            "",
                                            "FILESIZE_EXCEEDED",
                                            "USE_SSL_FAILED",
                                            "SEND_FAIL_REWIND",
                                            "SSL_ENGINE_INITFAILED",
                                            "LOGIN_DENIED",
                                            "TFTP_NOTFOUND",
                                            "TFTP_PERM",
                                            "REMOTE_DISK_FULL",
                                            "TFTP_ILLEGAL",
                                            "TFTP_UNKNOWNID",
                                            "REMOTE_FILE_EXISTS",
                                            "TFTP_NOSUCHUSER",
                                            "",
                                            "",
                                            "SSL_CACERT_BADFILE",
                                            "REMOTE_FILE_NOT_FOUND",
                                            "SSH",
                                            "SSL_SHUTDOWN_FAILED",
                                            "AGAIN",
                                            "SSL_CRL_BADFILE",
                                            "SSL_ISSUER_ERROR",
                                            "FTP_PRET_FAILED",
                                            "RTSP_CSEQ_ERROR",
                                            "RTSP_SESSION_ERROR",
                                            "FTP_BAD_FILE_LIST",
                                            "CHUNK_FAILED",
                                            "NO_CONNECTION_AVAILABLE",
                                            "SSL_PINNEDPUBKEYNOTMATCH",
                                            "SSL_INVALIDCERTSTATUS",
                                            "HTTP2_STREAM",
                                            "RECURSIVE_API_CALL",
                                            "AUTH_ERROR",
                                            "HTTP3",
                                            "QUIC_CONNECT_ERROR",
                                            "PROXY",
                                            "SSL_CLIENTCERT",
                                            "UNRECOVERABLE_POLL",
                                            "TOO_LARGE",
                                            "ECH_REQUIRED"};

constexpr absl::string_view kShareNames[] = {
    "OK", "BAD_OPTION", "IN_USE", "INVALID", "NOMEM", "NOT_BUILT_IN"};

// Begins at CURLM_OK. CURLM_CALL_MULTI_PERFORM, -1, is not in the table.
constexpr absl::string_view kMultiNames[] = {"OK",
                                             "BAD_HANDLE",
                                             "BAD_EASY_HANDLE",
                                             "OUT_OF_MEMORY",
                                             "INTERNAL_ERROR",
                                             "BAD_SOCKET",
                                             "UNKNOWN_OPTION",
                                             "ADDED_ALREADY",
                                             "RECURSIVE_API_CALL",
                                             "WAKEUP_FAILURE",
                                             "BAD_FUNCTION_ARGUMENT",
                                             "ABORTED_BY_CALLBACK",
                                             "UNRECOVERABLE_POLL"};

// The name of `code` without its prefix; empty where it has none.
template <size_t kSize>
absl::string_view Find(const absl::string_view (&names)[kSize], int code) {
  return code >= 0 && static_cast<size_t>(code) < kSize ? names[code] : "";
}

std::string Name(absl::string_view prefix, absl::string_view name, int code) {
  return name.empty() ? absl::StrCat(prefix, code) : absl::StrCat(prefix, name);
}

absl::StatusCode ToStatusCode(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return absl::StatusCode::kOk;
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_SETOPT_OPTION_SYNTAX:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
      return absl::StatusCode::kInvalidArgument;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_NOT_BUILT_IN:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_SSL_ENGINE_NOTFOUND:
      return absl::StatusCode::kUnimplemented;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_NO_CONNECTION_AVAILABLE:
    case CURLE_REMOTE_DISK_FULL:
      return absl::StatusCode::kResourceExhausted;
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_RANGE_ERROR:
    case CURLE_BAD_DOWNLOAD_RESUME:
    case static_cast<CURLcode>(100):  // CURLE_TOO_LARGE, from 8.6 on
      return absl::StatusCode::kOutOfRange;
    case CURLE_BAD_CONTENT_ENCODING:
      return absl::StatusCode::kDataLoss;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_FTP_ACCEPT_TIMEOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3:
    case CURLE_QUIC_CONNECT_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_INTERFACE_FAILED:
    case CURLE_PROXY:
    case CURLE_AGAIN:
      return absl::StatusCode::kUnavailable;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_AUTH_ERROR:
      return absl::StatusCode::kUnauthenticated;
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_LOGIN_DENIED:
    case CURLE_TFTP_PERM:
      return absl::StatusCode::kPermissionDenied;
    case CURLE_REMOTE_FILE_NOT_FOUND:
    case CURLE_TFTP_NOTFOUND:
    case CURLE_FILE_COULDNT_READ_FILE:
      return absl::StatusCode::kNotFound;
    case CURLE_RECURSIVE_API_CALL:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_HTTP_RETURNED_ERROR:  // if the HTTP status is not known
      return absl::StatusCode::kFailedPrecondition;
    case CURLE_ABORTED_BY_CALLBACK:
    // libcurl reports these two when a write or read callback fails.
    case CURLE_WRITE_ERROR:
    case CURLE_READ_ERROR:
    case CURLE_CHUNK_FAILED:
      return absl::StatusCode::kAborted;
    case CURLE_FAILED_INIT:
    case CURLE_UNRECOVERABLE_POLL:
      return absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kUnknown;
  }
}

// As in google/rpc/code.proto. It does not name 408, 410, 416 and 502: they get
// what is closest in meaning.
absl::StatusCode HttpToStatusCode(long http_status) {
  switch (http_status) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
    case 410:
      return absl::StatusCode::kNotFound;
    case 408:
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    case 409:
      return absl::StatusCode::kAborted;
    case 416:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 499:
      return absl::StatusCode::kCancelled;
    case 501:
      return absl::StatusCode::kUnimplemented;
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    default:
      return http_status >= 500 ? absl::StatusCode::kInternal
                                : absl::StatusCode::kFailedPrecondition;
  }
}

// The HTTP statuses after which a retry makes sense. With 425 and 429 the
// server says that it has not processed the request. After the others it, or a
// server behind it, may have.
RetrySafety HttpRetrySafety(int http_status) {
  switch (http_status) {
    case 425:  // RFC 8470, section 5.2
    case 429:  // RFC 6585, section 4
      return RetrySafety::kAlways;
    case 408:
    case 502:
    case 503:
    case 504:
      return RetrySafety::kIfIdempotent;
    default:
      return RetrySafety::kNever;
  }
}

// What the code alone says. kAlways: libcurl reports it while it makes a
// connection. kIfIdempotent: libcurl may report it before or after it has sent
// a request.
RetrySafety CodeRetrySafety(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_QUIC_CONNECT_ERROR:
    case CURLE_PROXY:
    case CURLE_INTERFACE_FAILED:
    case CURLE_NO_CONNECTION_AVAILABLE:
      return RetrySafety::kAlways;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_FTP_ACCEPT_TIMEOUT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_AGAIN:
      return RetrySafety::kIfIdempotent;
    default:
      return RetrySafety::kNever;
  }
}

absl::StatusCode ToStatusCode(CURLSHcode code) {
  switch (code) {
    case CURLSHE_OK:
      return absl::StatusCode::kOk;
    case CURLSHE_BAD_OPTION:
      return absl::StatusCode::kInvalidArgument;
    case CURLSHE_IN_USE:
      return absl::StatusCode::kFailedPrecondition;
    case CURLSHE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case CURLSHE_NOT_BUILT_IN:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::StatusCode ToStatusCode(CURLMcode code) {
  switch (code) {
    case CURLM_OK:
      return absl::StatusCode::kOk;
    case CURLM_OUT_OF_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case CURLM_UNKNOWN_OPTION:
      return absl::StatusCode::kUnimplemented;
    case CURLM_ADDED_ALREADY:
    case CURLM_RECURSIVE_API_CALL:
      return absl::StatusCode::kFailedPrecondition;
    case CURLM_ABORTED_BY_CALLBACK:
      return absl::StatusCode::kAborted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// `status` with the payload `number` under `url`; without it if there is no
// memory for it.
absl::Status WithPayload(const absl::Status& status, absl::string_view url,
                         int number) noexcept {
  const auto copy = [&] {
    // A new Status, not a copy of `status`. SetPayload on a Status whose
    // representation is shared clones it, gives up its reference to the old
    // one, and only then stores the payload. If that throws, the copy still
    // points at the old one and drops the same reference again
    // (StatusRep::CloneAndUnref in absl/status/internal/status_internal.cc).
    absl::Status result(status.code(), status.message());
    status.ForEachPayload(
        [&](absl::string_view type_url, const absl::Cord& payload) {
          result.SetPayload(type_url, payload);
        });
    result.SetPayload(url, absl::Cord(absl::StrCat(number)));
    return result;
  };
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    return copy();
  } catch (const std::bad_alloc&) {
    return status;
  }
#else
  return copy();
#endif
}

// The Status of `code`. `name` is the constant without its prefix; if empty,
// the number takes its place. Throws nothing.
template <typename Code>
absl::Status Make(absl::StatusCode status, Code code, absl::string_view url,
                  absl::string_view call, absl::string_view prefix,
                  absl::string_view name, absl::string_view text,
                  absl::string_view detail) {
  const int number = static_cast<int>(code);
  return WithPayload(
      internal::Error(
          status, call, ": ", prefix,
          name.empty() ? absl::AlphaNum(number) : absl::AlphaNum(name), " (",
          number, "): ", text, detail.empty() ? "" : ": ", detail),
      url, number);
}

// The payload under `url` as a number; nullopt if there is none.
std::optional<int> GetNumber(const absl::Status& status,
                             absl::string_view url) {
  const std::optional<absl::Cord> payload = status.GetPayload(url);
  int number = 0;
  if (!payload.has_value() ||
      !absl::SimpleAtoi(std::string(*payload), &number)) {
    return std::nullopt;
  }
  return number;
}

template <typename Code>
std::optional<Code> Get(const absl::Status& status, absl::string_view url) {
  const std::optional<int> number = GetNumber(status, url);
  if (!number.has_value()) return std::nullopt;
  return static_cast<Code>(*number);
}

}  // namespace

absl::Status EasyStatus(CURLcode code, absl::string_view call,
                        absl::string_view detail) {
  if (code == CURLE_OK) return absl::OkStatus();
  return Make(ToStatusCode(code), code, kEasyUrl, call, kEasyPrefix,
              Find(kEasyNames, code), curl_easy_strerror(code), detail);
}

absl::Status ShareStatus(CURLSHcode code, absl::string_view call,
                         absl::string_view detail) {
  if (code == CURLSHE_OK) return absl::OkStatus();
  return Make(ToStatusCode(code), code, kShareUrl, call, kSharePrefix,
              Find(kShareNames, code), curl_share_strerror(code), detail);
}

absl::Status MultiStatus(CURLMcode code, absl::string_view call,
                         absl::string_view detail) {
  if (code == CURLM_OK) return absl::OkStatus();
  return Make(ToStatusCode(code), code, kMultiUrl, call, kMultiPrefix,
              Find(kMultiNames, code), curl_multi_strerror(code), detail);
}

absl::Status HttpErrorStatus(long http_status, absl::string_view call,
                             absl::string_view detail) {
  constexpr CURLcode kCode = CURLE_HTTP_RETURNED_ERROR;
  const absl::AlphaNum number(http_status);
  return WithPayload(
      Make(HttpToStatusCode(http_status), kCode, kEasyUrl, call, kEasyPrefix,
           Find(kEasyNames, kCode), curl_easy_strerror(kCode),
           detail.empty() ? number.Piece() : detail),
      kHttpUrl, static_cast<int>(http_status));
}

std::optional<long> GetHttpStatus(const absl::Status& status) {
  // Not every Status with this payload is an HttpErrorStatus: a callback may
  // return the Status of another transfer. WithEasyCode has then replaced the
  // code by that of the callback's failure.
  if (GetEasyCode(status) != CURLE_HTTP_RETURNED_ERROR) return std::nullopt;
  return Get<long>(status, kHttpUrl);
}

absl::Status WithRedirects(absl::Status status) {
  if (status.ok()) return status;
  return WithPayload(status, kRedirectsUrl, 1);
}

absl::Status WithRequestSent(absl::Status status, bool sent) {
  if (status.ok()) return status;
  return WithPayload(status, kSentUrl, sent ? 1 : 0);
}

std::optional<bool> GetRequestSent(const absl::Status& status) {
  const std::optional<int> sent = GetNumber(status, kSentUrl);
  if (!sent.has_value()) return std::nullopt;
  return *sent != 0;
}

RetrySafety GetRetrySafety(const absl::Status& status) {
  const std::optional<CURLcode> code = GetEasyCode(status);
  if (!code.has_value() || absl::IsCancelled(status)) {
    return RetrySafety::kNever;
  }
  if (const std::optional<long> http_status = GetHttpStatus(status)) {
    const RetrySafety safety = HttpRetrySafety(static_cast<int>(*http_status));
    // The server that answered has not acted on the request, but one before the
    // redirect may have.
    return safety == RetrySafety::kAlways &&
                   GetNumber(status, kRedirectsUrl).has_value()
               ? RetrySafety::kIfIdempotent
               : safety;
  }
  const RetrySafety safety = CodeRetrySafety(*code);
  if (safety == RetrySafety::kNever) return safety;
  // What is known of this transfer counts for more than what its code says in
  // general: after a redirect, even "could not connect" comes too late.
  const std::optional<bool> sent = GetRequestSent(status);
  if (!sent.has_value()) return safety;
  return *sent ? RetrySafety::kIfIdempotent : RetrySafety::kAlways;
}

bool IsRetryable(const absl::Status& status, bool idempotent) {
  const RetrySafety safety = GetRetrySafety(status);
  return safety == RetrySafety::kAlways ||
         (safety == RetrySafety::kIfIdempotent && idempotent);
}

std::optional<CURLcode> GetEasyCode(const absl::Status& status) {
  return Get<CURLcode>(status, kEasyUrl);
}

std::optional<CURLSHcode> GetShareCode(const absl::Status& status) {
  return Get<CURLSHcode>(status, kShareUrl);
}

std::optional<CURLMcode> GetMultiCode(const absl::Status& status) {
  return Get<CURLMcode>(status, kMultiUrl);
}

absl::Status WithEasyCode(absl::Status status, CURLcode code) {
  if (status.ok()) return status;
  return WithPayload(status, kEasyUrl, static_cast<int>(code));
}

std::string EasyCodeName(CURLcode code) {
  return Name(kEasyPrefix, Find(kEasyNames, code), code);
}

std::string ShareCodeName(CURLSHcode code) {
  return Name(kSharePrefix, Find(kShareNames, code), code);
}

std::string MultiCodeName(CURLMcode code) {
  return Name(kMultiPrefix, Find(kMultiNames, code), code);
}

}  // namespace curlshare
