// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/curl_status.h"

#include <curl/curl.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::testing::HasSubstr;

TEST(EasyStatus, IsOkForOk) {
  EXPECT_TRUE(EasyStatus(CURLE_OK, "call").ok());
  EXPECT_TRUE(ShareStatus(CURLSHE_OK, "call").ok());
  EXPECT_TRUE(MultiStatus(CURLM_OK, "call").ok());
}

TEST(EasyStatus, NamesTheCallTheCodeLibcurlsTextAndTheDetail) {
  const absl::Status status =
      EasyStatus(CURLE_COULDNT_CONNECT, "curl_easy_perform", "port 1: refused");
  EXPECT_EQ(status.message(),
            std::string("curl_easy_perform: CURLE_COULDNT_CONNECT (7): ") +
                curl_easy_strerror(CURLE_COULDNT_CONNECT) +
                ": port 1: refused");
}

TEST(EasyStatus, KeepsTheCode) {
  const absl::Status status = EasyStatus(CURLE_GOT_NOTHING, "call");
  EXPECT_EQ(GetEasyCode(status), CURLE_GOT_NOTHING);
  EXPECT_EQ(GetShareCode(status), std::nullopt);
  EXPECT_EQ(GetMultiCode(status), std::nullopt);
  EXPECT_EQ(GetEasyCode(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(GetEasyCode(absl::InternalError("not libcurl's")), std::nullopt);
}

TEST(EasyStatus, MapsByWhatACallerCanDo) {
  const struct {
    CURLcode code;
    absl::StatusCode status;
  } cases[] = {
      {CURLE_URL_MALFORMAT, absl::StatusCode::kInvalidArgument},
      {CURLE_BAD_FUNCTION_ARGUMENT, absl::StatusCode::kInvalidArgument},
      {CURLE_UNSUPPORTED_PROTOCOL, absl::StatusCode::kUnimplemented},
      {CURLE_UNKNOWN_OPTION, absl::StatusCode::kUnimplemented},
      {CURLE_OUT_OF_MEMORY, absl::StatusCode::kResourceExhausted},
      {CURLE_OPERATION_TIMEDOUT, absl::StatusCode::kDeadlineExceeded},
      {CURLE_COULDNT_RESOLVE_HOST, absl::StatusCode::kUnavailable},
      {CURLE_COULDNT_CONNECT, absl::StatusCode::kUnavailable},
      {CURLE_RECV_ERROR, absl::StatusCode::kUnavailable},
      {CURLE_PEER_FAILED_VERIFICATION, absl::StatusCode::kUnauthenticated},
      {CURLE_LOGIN_DENIED, absl::StatusCode::kPermissionDenied},
      {CURLE_REMOTE_FILE_NOT_FOUND, absl::StatusCode::kNotFound},
      {CURLE_RECURSIVE_API_CALL, absl::StatusCode::kFailedPrecondition},
      {CURLE_ABORTED_BY_CALLBACK, absl::StatusCode::kAborted},
      {CURLE_FAILED_INIT, absl::StatusCode::kInternal},
      {CURLE_FILESIZE_EXCEEDED, absl::StatusCode::kOutOfRange},
      {CURLE_RANGE_ERROR, absl::StatusCode::kOutOfRange},
      {static_cast<CURLcode>(100),  // CURLE_TOO_LARGE
       absl::StatusCode::kOutOfRange},
      {CURLE_BAD_CONTENT_ENCODING, absl::StatusCode::kDataLoss},
      {CURLE_TOO_MANY_REDIRECTS, absl::StatusCode::kFailedPrecondition},
      {CURLE_HTTP_RETURNED_ERROR, absl::StatusCode::kFailedPrecondition},
      {static_cast<CURLcode>(127), absl::StatusCode::kUnknown},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(EasyStatus(c.code, "call").code(), c.status)
        << EasyCodeName(c.code);
  }
}

TEST(HttpErrorStatus, HasACodeOfItsOwnAndTellsTheStatus) {
  const absl::Status status = HttpErrorStatus(404, "GET /users/1");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetHttpStatus(status), 404);
  EXPECT_EQ(GetEasyCode(status), CURLE_HTTP_RETURNED_ERROR);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("GET /users/1: CURLE_HTTP_RETURNED_ERROR (22): "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(": 404"));
  EXPECT_THAT(std::string(HttpErrorStatus(503, "x", "busy").message()),
              HasSubstr(": busy"));
  EXPECT_EQ(GetHttpStatus(EasyStatus(CURLE_SEND_ERROR, "x")), std::nullopt);
}

TEST(RetrySafety, GoesByTheCodeAndWhetherARequestWasSent) {
  const absl::Status connect = EasyStatus(CURLE_COULDNT_CONNECT, "call");
  const absl::Status timeout = EasyStatus(CURLE_OPERATION_TIMEDOUT, "call");
  const absl::Status verify = EasyStatus(CURLE_PEER_FAILED_VERIFICATION, "");
  EXPECT_EQ(GetRequestSent(connect), std::nullopt);
  EXPECT_EQ(GetRetrySafety(connect), RetrySafety::kAlways);
  EXPECT_EQ(GetRetrySafety(WithRequestSent(connect, false)),
            RetrySafety::kAlways);
  EXPECT_EQ(GetRetrySafety(WithRequestSent(connect, true)),
            RetrySafety::kIfIdempotent);
  EXPECT_EQ(GetRetrySafety(timeout), RetrySafety::kIfIdempotent);
  EXPECT_EQ(GetRetrySafety(WithRequestSent(timeout, true)),
            RetrySafety::kIfIdempotent);
  EXPECT_EQ(GetRetrySafety(WithRequestSent(timeout, false)),
            RetrySafety::kAlways);
  // It would fail again, sent or not.
  EXPECT_EQ(GetRetrySafety(WithRequestSent(verify, false)),
            RetrySafety::kNever);
  EXPECT_EQ(GetEasyCode(WithRequestSent(timeout, true)),
            CURLE_OPERATION_TIMEDOUT);
}

TEST(RetrySafety, IsNeverForWhatIsNoFailureOfATransfer) {
  for (const absl::Status& status :
       {absl::OkStatus(), absl::UnavailableError("not libcurl's"),
        WithEasyCode(absl::CancelledError("x"), CURLE_OPERATION_TIMEDOUT),
        MultiStatus(CURLM_INTERNAL_ERROR, "call")}) {
    EXPECT_EQ(GetRetrySafety(status), RetrySafety::kNever) << status;
    EXPECT_FALSE(IsRetryable(status, /*idempotent=*/true)) << status;
  }
  EXPECT_TRUE(WithRequestSent(absl::OkStatus(), true).ok());
}

TEST(IsRetryable, AsksWhetherTheRequestIsIdempotentWhereThatCounts) {
  EXPECT_TRUE(IsRetryable(EasyStatus(CURLE_COULDNT_CONNECT, "x"), false));
  EXPECT_TRUE(IsRetryable(EasyStatus(CURLE_RECV_ERROR, "x"), true));
  EXPECT_FALSE(IsRetryable(EasyStatus(CURLE_RECV_ERROR, "x"), false));
  EXPECT_FALSE(IsRetryable(EasyStatus(CURLE_URL_MALFORMAT, "x"), true));
  EXPECT_TRUE(IsRetryable(HttpErrorStatus(429, "x"), false));
  EXPECT_FALSE(IsRetryable(HttpErrorStatus(503, "x"), false));
  EXPECT_TRUE(IsRetryable(HttpErrorStatus(503, "x"), true));
  EXPECT_FALSE(IsRetryable(HttpErrorStatus(500, "x"), true));
}

TEST(ShareStatus, MapsAndKeepsTheCode) {
  const absl::Status status = ShareStatus(CURLSHE_IN_USE, "curl_share_cleanup");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetShareCode(status), CURLSHE_IN_USE);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("curl_share_cleanup: CURLSHE_IN_USE (2): "));
  EXPECT_EQ(ShareStatus(CURLSHE_NOT_BUILT_IN, "call").code(),
            absl::StatusCode::kUnimplemented);
}

TEST(MultiStatus, MapsAndKeepsTheCode) {
  const absl::Status status =
      MultiStatus(CURLM_ADDED_ALREADY, "curl_multi_add_handle");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetMultiCode(status), CURLM_ADDED_ALREADY);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CURLM_ADDED_ALREADY"));
}

TEST(WithEasyCode, AddsTheCodeToAnErrorOnly) {
  EXPECT_EQ(GetEasyCode(WithEasyCode(absl::CancelledError("x"),
                                     CURLE_ABORTED_BY_CALLBACK)),
            CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(WithEasyCode(absl::OkStatus(), CURLE_WRITE_ERROR),
            absl::OkStatus());
  // What the user has put into it stays.
  absl::Status status = absl::DataLossError("x");
  status.SetPayload("url", absl::Cord("payload"));
  const absl::Status with_code = WithEasyCode(status, CURLE_WRITE_ERROR);
  EXPECT_EQ(with_code.GetPayload("url"), absl::Cord("payload"));
  EXPECT_EQ(with_code.message(), "x");
  EXPECT_EQ(GetEasyCode(with_code), CURLE_WRITE_ERROR);
}

// A spot check at both ends and around the numbers that libcurl retired.
TEST(CodeNames, AreThoseOfTheHeaders) {
  EXPECT_EQ(EasyCodeName(CURLE_OK), "CURLE_OK");
  EXPECT_EQ(EasyCodeName(CURLE_OPERATION_TIMEDOUT), "CURLE_OPERATION_TIMEDOUT");
  EXPECT_EQ(EasyCodeName(CURLE_TOO_MANY_REDIRECTS), "CURLE_TOO_MANY_REDIRECTS");
  EXPECT_EQ(EasyCodeName(CURLE_PEER_FAILED_VERIFICATION),
            "CURLE_PEER_FAILED_VERIFICATION");
  EXPECT_EQ(EasyCodeName(CURLE_SSL_CLIENTCERT), "CURLE_SSL_CLIENTCERT");
  EXPECT_EQ(EasyCodeName(static_cast<CURLcode>(101)), "CURLE_ECH_REQUIRED");
  EXPECT_EQ(EasyCodeName(static_cast<CURLcode>(20)), "CURLE_20");
  EXPECT_EQ(EasyCodeName(static_cast<CURLcode>(127)), "CURLE_127");
  EXPECT_EQ(ShareCodeName(CURLSHE_NOT_BUILT_IN), "CURLSHE_NOT_BUILT_IN");
  EXPECT_EQ(ShareCodeName(static_cast<CURLSHcode>(7)), "CURLSHE_7");
  EXPECT_EQ(MultiCodeName(CURLM_UNRECOVERABLE_POLL),
            "CURLM_UNRECOVERABLE_POLL");
  EXPECT_EQ(MultiCodeName(CURLM_CALL_MULTI_PERFORM), "CURLM_-1");
}

}  // namespace
}  // namespace curlshare
