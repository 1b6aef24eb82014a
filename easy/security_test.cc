// SPDX-License-Identifier: Apache-2.0
// What a share keeps apart between those who use it, and what it does not: the
// claims of docs/security.md, by what a server saw.
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/ftp_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::ClientCertificate;
using ::curlshare::testing::FtpServer;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::NewClientCertificate;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  options.request_client_certificate = tls;
  auto server = HttpServer::Start(options);
  EXPECT_OK(server.status());
  return *std::move(server);
}

std::unique_ptr<Share> NewShare(LockDataSet kinds) {
  ShareOptions options;
  options.lock_data = kinds;
  auto share = Share::Create(options);
  EXPECT_OK(share.status());
  return *std::move(share);
}

Easy NewEasy(Share& share, absl::string_view ca_pem = "") {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  EXPECT_OK(easy->Attach(share));
  if (!ca_pem.empty()) {
    EXPECT_OK(easy->SetCaCertificates(ca_pem));
  }
  return *std::move(easy);
}

// The body of the answer; the error where there is none.
std::string Get(Easy& easy, const std::string& url) {
  auto response = easy.Fetch(url);
  return response.ok() ? response->body : response.status().ToString();
}

void DoNotVerify(Easy& easy) {
  EXPECT_OK(easy.SetOption<CURLOPT_SSL_VERIFYPEER>(false));
  EXPECT_OK(easy.SetOption<CURLOPT_SSL_VERIFYHOST>(0));
}

// A connection of its own for each request, so that it is TLS sessions that
// are, or are not, used again.
void DoNotReuse(Easy& easy) {
  EXPECT_OK(easy.SetOption<CURLOPT_FRESH_CONNECT>(true));
  EXPECT_OK(easy.SetOption<CURLOPT_FORBID_REUSE>(true));
}

void SetClientCertificate(Easy& easy, const ClientCertificate& certificate) {
  EXPECT_OK(easy.SetOption<CURLOPT_SSLCERT_BLOB>(certificate.certificate));
  EXPECT_OK(easy.SetOption<CURLOPT_SSLKEY_BLOB>(certificate.key));
}

ClientCertificate Certificate(absl::string_view name) {
  auto certificate = NewClientCertificate(name);
  EXPECT_OK(certificate.status());
  return *std::move(certificate);
}

std::string WriteFile(absl::string_view name, absl::string_view text) {
  std::string path = absl::StrCat(::testing::TempDir(), "/", name);
  std::ofstream(path) << text;
  return path;
}

// ---- Protocols

class SecurityProtocolsTest : public ::testing::Test {
 protected:
  static void ExpectRefused(const absl::Status& status,
                            absl::string_view scheme) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnimplemented,
                                 AllOf(HasSubstr(absl::StrCat("\"", scheme)),
                                       HasSubstr("CURLOPT_PROTOCOLS_STR"))));
    EXPECT_EQ(GetEasyCode(status), CURLE_UNSUPPORTED_PROTOCOL);
  }

  const std::string file_ =
      absl::StrCat("file://", WriteFile("secret.txt", "secret"));
  const std::unique_ptr<HttpServer> server_ = NewServer(/*tls=*/false);
  const std::unique_ptr<FtpServer> ftp_server_ = FtpServer::Start().value();
};

TEST_F(SecurityProtocolsTest, AreHttpAndHttpsUntilOthersAreAllowed) {
  Easy easy = Easy::Create().value();
  ExpectRefused(easy.Fetch(file_).status(), "file");
  ExpectRefused(easy.Fetch(ftp_server_->url("1.txt")).status(), "ftp");
  EXPECT_EQ(ftp_server_->logins(), 0);
  EXPECT_EQ(Get(easy, server_->url("/")), "ok");
  // However the URL is given.
  CURLU* const url = curl_url();
  ASSERT_EQ(curl_url_set(url, CURLUPART_URL, file_.c_str(), 0), CURLUE_OK);
  ASSERT_OK(easy.SetOption<CURLOPT_CURLU>(url));
  ExpectRefused(easy.Perform(), "file");
  ASSERT_OK(easy.SetOption<CURLOPT_CURLU>(nullptr));
  curl_url_cleanup(url);

  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("file"));
  EXPECT_EQ(Get(easy, file_), "secret");
  ExpectRefused(easy.Fetch(server_->url("/")).status(), "http");
}

TEST_F(SecurityProtocolsTest, OfADuplicateAreThoseOfItsSource) {
  Easy easy = Easy::Create().value();
  Easy as_created = easy.Duplicate().value();
  ExpectRefused(as_created.Fetch(file_).status(), "file");
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("file"));
  Easy allowed = easy.Duplicate().value();
  EXPECT_EQ(Get(allowed, file_), "secret");
}

TEST_F(SecurityProtocolsTest, AreTheDefaultAgainAfterAResetAndNull) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("file"));
  ASSERT_OK(easy.Reset());
  ExpectRefused(easy.Fetch(file_).status(), "file");
  EXPECT_EQ(Get(easy, server_->url("/")), "ok");
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("file"));
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>(nullptr));
  ExpectRefused(easy.Fetch(file_).status(), "file");
  EXPECT_EQ(Get(easy, server_->url("/")), "ok");
}

// Which libcurl lets a redirect go to.
TEST_F(SecurityProtocolsTest, ARedirectGoesToNoOther) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetFollowRedirects(5));
  const std::string to_ftp =
      server_->url(absl::StrCat("/redirect?to=", ftp_server_->url("1.txt")));
  ASSERT_OK(easy.SetOption<CURLOPT_PROTOCOLS_STR>("http,ftp"));
  ExpectRefused(easy.Fetch(to_ftp).status(), "ftp");
  EXPECT_EQ(ftp_server_->logins(), 0);
  EXPECT_EQ(Get(easy, server_->url("/redirect?to=/")), "ok");
  ASSERT_OK(easy.SetOption<CURLOPT_REDIR_PROTOCOLS_STR>("ftp"));
  EXPECT_EQ(Get(easy, to_ftp), "x");
  EXPECT_EQ(ftp_server_->logins(), 1);
}

// ---- Redirects

class SecurityRedirectTest : public ::testing::Test {
 protected:
  SecurityRedirectTest() {
    EXPECT_OK(easy_.SetFollowRedirects(3));
    EXPECT_OK(easy_.SetHeaders({{"X-Shown: shown"}}));
    EXPECT_OK(easy_.SetSecretHeaders(
        std::vector<std::string>{"X-Api-Key: secret", "X-Key2: secret"}));
  }
  // What the last server on the way, by redirects, was sent.
  std::string Echo(std::initializer_list<const HttpServer*> way) {
    std::string target = "/echo";
    std::string url;
    for (auto it = std::rbegin(way); it != std::rend(way); ++it) {
      url = (*it)->url(target);
      target =
          absl::StrCat("/redirect?code=307&to=",
                       absl::StrReplaceAll(url, {{"%", "%25"}, {"&", "%26"}}));
    }
    return Get(easy_, url);
  }

  const std::unique_ptr<HttpServer> server_ = NewServer(/*tls=*/false);
  const std::unique_ptr<HttpServer> other_ = NewServer(/*tls=*/false);
  Easy easy_ = Easy::Create().value();
};

// The port is not in the URL; libcurl leaves it out where a redirect names a
// host.
TEST_F(SecurityRedirectTest, WithAPortOfItsOwnTheyGoWithTheFirstRequestAlone) {
  ASSERT_OK(easy_.SetOption<CURLOPT_PORT>(server_->port()));
  EXPECT_THAT(Get(easy_, "http://127.0.0.1/echo"), HasSubstr("secret"));
  const std::string there = server_->url("/echo");
  EXPECT_THAT(Get(easy_, "http://127.0.0.1/redirect?code=307&to=" + there),
              Not(HasSubstr("secret")));
  ASSERT_OK(easy_.SetOption<CURLOPT_PORT>(0L));
  EXPECT_THAT(Echo({server_.get(), server_.get()}), HasSubstr("secret"));
}

TEST_F(SecurityRedirectTest, AreNotForTheProxyOfATunnel) {
  EXPECT_THAT(
      easy_.SetOption<CURLOPT_HEADEROPT>(static_cast<long>(CURLHEADER_UNIFIED)),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("SetSecretHeaders")));
  EXPECT_OK(easy_.SetSecretHeaders({}));
  EXPECT_OK(easy_.SetOption<CURLOPT_HEADEROPT>(
      static_cast<long>(CURLHEADER_UNIFIED)));
  EXPECT_THAT(easy_.SetSecretHeaders({{"X-Api-Key: secret"}}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// A callback sets another URL before the redirect to there: the request that is
// under way is no more that of the URL.
TEST_F(SecurityRedirectTest, AUrlOfACallbackHasNone) {
  bool told = false;
  ASSERT_OK(easy_.SetHeaderSink([&](absl::string_view) {
    if (!std::exchange(told, true)) {
      EXPECT_OK(easy_.SetUrl(other_->url("/echo")));
    }
    return absl::OkStatus();
  }));
  EXPECT_THAT(Echo({server_.get(), other_.get()}), Not(HasSubstr("secret")));
}

// Whoever has the CURL* may set what the library has set.
TEST_F(SecurityRedirectTest, AFunctionBehindTheLibraryChangesNothing) {
  const curl_prereq_callback allow = [](void*, char*, char*, int, int) {
    return CURL_PREREQFUNC_OK;
  };
  {
    auto use = easy_.BeginUse();
    ASSERT_OK(use.status());
    EXPECT_EQ(
        curl_easy_setopt(easy_.native_handle(), CURLOPT_PREREQFUNCTION, allow),
        CURLE_OK);
  }
  EXPECT_THAT(Echo({server_.get(), other_.get()}), Not(HasSubstr("secret")));
}

TEST_F(SecurityRedirectTest, SecretHeadersStayWithTheFirstHost) {
  const HttpServer* const first = server_.get();
  const HttpServer* const other = other_.get();
  // Twice: over new connections, and over those there are.
  for (int i = 0; i < 2; ++i) {
    const auto secrets =
        AllOf(HasSubstr("X-Api-Key: secret\n"), HasSubstr("X-Key2: secret\n"));
    EXPECT_THAT(Echo({first}), AllOf(secrets, HasSubstr("X-Shown: shown\n")));
    EXPECT_THAT(Echo({first, first}), secrets);
    EXPECT_THAT(Echo({first, other}),
                AllOf(Not(HasSubstr("secret")), HasSubstr("X-Shown: shown\n")));
    EXPECT_THAT(Echo({first, other, other}), Not(HasSubstr("secret")));
    EXPECT_THAT(Echo({first, other, first}), secrets) << "it led back";
    EXPECT_THAT(Echo({other}), secrets) << "this is the first one now";
  }
}

// As libcurl writes and resolves it: what is the same place counts as another.
TEST_F(SecurityRedirectTest, TheFirstHostIsTheOneOfTheUrl) {
  ASSERT_OK(easy_.SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat("a.test:", server_->port(), ":127.0.0.1")}));
  const std::string echo = server_->url("/echo", "a.test");
  EXPECT_THAT(Get(easy_, server_->url(absl::StrCat("/redirect?to=", echo))),
              AllOf(HasSubstr("X-Shown"), Not(HasSubstr("secret"))));
  EXPECT_THAT(
      Get(easy_, server_->url(absl::StrCat("/redirect?to=",
                                           server_->url("/echo", "A.test")),
                              "a.test")),
      HasSubstr("X-Api-Key: secret"));
  // A URL without a scheme.
  EXPECT_THAT(Get(easy_, absl::StrCat("127.0.0.1:", server_->port(), "/echo")),
              HasSubstr("X-Api-Key: secret"));
}

TEST_F(SecurityRedirectTest, FromHttpsToHttpIsToAnother) {
  const auto tls_server = NewServer(/*tls=*/true);
  ASSERT_OK(easy_.SetCaCertificates(tls_server->ca_pem()));
  EXPECT_THAT(Echo({tls_server.get()}), HasSubstr("X-Api-Key: secret"));
  EXPECT_THAT(Echo({tls_server.get(), server_.get()}),
              AllOf(HasSubstr("X-Shown"), Not(HasSubstr("secret"))));
}

// What is no secret to this library, or to libcurl, goes on.
TEST_F(SecurityRedirectTest, OtherHeadersAndTheBodyGoToTheOtherHost) {
  ASSERT_OK(easy_.SetSecretHeaders({}));
  ASSERT_OK(easy_.SetHeaders(std::vector<std::string>{
      "X-Api-Key: shown", "Authorization: hidden", "Cookie: hidden"}));
  ASSERT_OK(easy_.SetOption<CURLOPT_XOAUTH2_BEARER>("hidden"));
  ASSERT_OK(easy_.SetMethod("POST"));
  ASSERT_OK(easy_.SetBody("body"));
  EXPECT_THAT(Echo({server_.get(), other_.get()}),
              AllOf(HasSubstr("POST /echo"), HasSubstr("X-Api-Key: shown"),
                    HasSubstr("body"), Not(HasSubstr("hidden"))));
}

TEST_F(SecurityRedirectTest, SecretHeadersGoWithADuplicateAndNotBeyondAReset) {
  Easy copy = easy_.Duplicate().value();
  {
    const Easy gone = std::move(easy_);  // the copy has lists of its own
  }
  easy_ = std::move(copy);
  EXPECT_THAT(Echo({server_.get()}), HasSubstr("X-Api-Key: secret"));
  EXPECT_THAT(Echo({server_.get(), other_.get()}), Not(HasSubstr("secret")));
  // New ones in place of the others, each in place of its own.
  ASSERT_OK(easy_.SetHeaders({{"X-Other: shown"}}));
  EXPECT_THAT(Echo({server_.get()}),
              AllOf(HasSubstr("X-Api-Key: secret"), HasSubstr("X-Other")));
  ASSERT_OK(easy_.SetSecretHeaders({{"X-Key3: secret"}}));
  EXPECT_THAT(Echo({server_.get()}),
              AllOf(Not(HasSubstr("X-Api-Key")), HasSubstr("X-Key3: secret"),
                    HasSubstr("X-Other")));
  EXPECT_THAT(easy_.SetSecretHeaders({{"X: a\nb"}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK(easy_.Reset());
  EXPECT_THAT(Echo({server_.get()}),
              AllOf(Not(HasSubstr("X-Key3")), Not(HasSubstr("X-Other"))));
}

// It is asked as well, and can refuse.
TEST_F(SecurityRedirectTest, AUsersOwnPrereqFunctionIsCalledToo) {
  struct Calls {
    int count = 0;
    int result = CURL_PREREQFUNC_OK;
  } calls;
  const curl_prereq_callback on_request = [](void* data, char*, char*, int,
                                             int) {
    auto* const calls = static_cast<Calls*>(data);
    ++calls->count;
    return calls->result;
  };
  ASSERT_OK(easy_.SetOption<CURLOPT_PREREQFUNCTION>(on_request, &calls));
  Easy copy = easy_.Duplicate().value();
  EXPECT_THAT(Echo({server_.get(), other_.get()}), Not(HasSubstr("secret")));
  EXPECT_EQ(calls.count, 2);
  EXPECT_THAT(Get(copy, server_->url("/echo")), HasSubstr("X-Api-Key: secret"));
  EXPECT_EQ(calls.count, 3);
  calls.result = CURL_PREREQFUNC_ABORT;
  EXPECT_THAT(easy_.Fetch(server_->url("/")).status(),
              StatusIs(absl::StatusCode::kAborted));
  ASSERT_OK(easy_.SetOption<CURLOPT_PREREQFUNCTION>(nullptr, nullptr));
  EXPECT_THAT(Echo({server_.get(), other_.get()}), Not(HasSubstr("secret")));
  ASSERT_OK(easy_.SetSecretHeaders({}));
  EXPECT_THAT(Echo({server_.get()}), Not(HasSubstr("secret")));
  EXPECT_EQ(calls.count, 4);
}

// ---- Cookies: not kept apart

TEST(SecurityCookies, AreSentByEveryHandleOfTheShareAndByNoOther) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kCookie);
  const auto other_share = NewShare(LockData::kCookie);
  Easy alice = NewEasy(*share);
  EXPECT_EQ(Get(alice, server->url("/cookie/set?name=login&value=alice")),
            "ok");
  Easy bob = NewEasy(*share);
  EXPECT_EQ(Get(bob, server->url("/cookie/show")), "login=alice");
  Easy carol = NewEasy(*other_share);
  EXPECT_EQ(Get(carol, server->url("/cookie/show")), "");
}

TEST(SecurityCookies, AreNotKeptApartByPort) {
  const auto server = NewServer(/*tls=*/false);
  const auto other = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kCookie);
  Easy easy = NewEasy(*share);
  EXPECT_EQ(Get(easy, server->url("/cookie/set?name=a&value=1")), "ok");
  EXPECT_EQ(Get(easy, other->url("/cookie/show")), "a=1");
  EXPECT_EQ(Get(easy, other->url("/cookie/show", "localhost")), "");
}

// ---- Credentials of HTTP: of the request, not of the connection

TEST(SecurityCredentials, AreSentByTheHandleThatHasThem) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  Easy alice = NewEasy(*share);
  EXPECT_OK(alice.SetOption<CURLOPT_USERPWD>("alice:secret"));
  EXPECT_THAT(Get(alice, server->url("/echo")),
              HasSubstr("Authorization: Basic YWxpY2U6c2VjcmV0\n"));
  Easy bob = NewEasy(*share);
  EXPECT_THAT(Get(bob, server->url("/echo")), Not(HasSubstr("Authorization")));
  EXPECT_OK(bob.SetOption<CURLOPT_XOAUTH2_BEARER>("of-bob"));
  EXPECT_OK(bob.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_BEARER));
  EXPECT_THAT(Get(bob, server->url("/echo")),
              HasSubstr("Authorization: Bearer of-bob\n"));
  EXPECT_THAT(Get(alice, server->url("/echo")),
              HasSubstr("Authorization: Basic YWxpY2U6c2VjcmV0\n"));
  // All over one connection, which a server must not take for one client.
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(SecurityCredentials, ErrorsDoNotNameThePassword) {
  const auto share = NewShare(LockData::kDns);
  Easy easy = NewEasy(*share);
  const auto error = [&easy](absl::string_view url) {
    const absl::Status status = easy.Fetch(url).status();
    EXPECT_FALSE(status.ok()) << url;
    return status.ToString();
  };
  // Refused; not a name; not a URL; another protocol.
  for (const char* url :
       {"http://alice:secret@127.0.0.1:1/", "http://alice:secret@a.invalid/",
        "http://alice:secret@:bad:/", "nothing://alice:secret@127.0.0.1/"}) {
    EXPECT_THAT(error(url), Not(HasSubstr("secret")));
  }
  EXPECT_OK(easy.SetOption<CURLOPT_USERPWD>("alice:secret"));
  EXPECT_THAT(error("https://127.0.0.1:1/"), Not(HasSubstr("secret")));
}

// ---- TLS: kept apart by how each handle verifies

TEST(SecurityTls, AConnectionThatWasNotVerifiedIsNotUsedByOneWhoVerifies) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kConnect);
  Easy careless = NewEasy(*share);
  DoNotVerify(careless);
  EXPECT_EQ(Get(careless, server->url("/")), "ok");
  // The system's authorities do not know this server.
  Easy careful = NewEasy(*share);
  EXPECT_THAT(Get(careful, server->url("/")), HasSubstr("certificate"));
  EXPECT_EQ(server->counts().requests, 1);
  // With the right authority it works, and over a connection of its own.
  server->ResetCounts();
  EXPECT_OK(careful.SetCaCertificates(server->ca_pem()));
  EXPECT_EQ(Get(careful, server->url("/")), "ok");
  EXPECT_EQ(Get(careless, server->url("/")), "ok");
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(SecurityTls, ASessionThatWasNotVerifiedIsNotResumedByOneWhoVerifies) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kSslSession);
  Easy careless = NewEasy(*share);
  DoNotVerify(careless);
  DoNotReuse(careless);
  EXPECT_EQ(Get(careless, server->url("/")), "ok");
  EXPECT_EQ(Get(careless, server->url("/")), "ok");
  EXPECT_EQ(server->counts().tls_resumed, 1);
  Easy careful = NewEasy(*share);
  DoNotReuse(careful);
  EXPECT_THAT(Get(careful, server->url("/")), HasSubstr("certificate"));
  EXPECT_EQ(server->counts().requests, 2);
  server->ResetCounts();
  EXPECT_OK(careful.SetCaCertificates(server->ca_pem()));
  EXPECT_EQ(Get(careful, server->url("/")), "ok");
  EXPECT_EQ(server->counts().tls_resumed, 0);
}

// ---- Client certificates: kept apart, if libcurl knows of them

class SecurityClientCertificateTest
    : public ::testing::TestWithParam<LockData> {};

INSTANTIATE_TEST_SUITE_P(Kind, SecurityClientCertificateTest,
                         ::testing::Values(LockData::kConnect,
                                           LockData::kSslSession),
                         [](const auto& info) {
                           return std::string(LockDataName(info.param));
                         });

TEST_P(SecurityClientCertificateTest, AreKeptApart) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(GetParam());
  const auto new_easy = [&] {
    Easy easy = NewEasy(*share, server->ca_pem());
    if (GetParam() == LockData::kSslSession) DoNotReuse(easy);
    return easy;
  };
  Easy alice = new_easy();
  SetClientCertificate(alice, Certificate("alice"));
  Easy bob = new_easy();
  SetClientCertificate(bob, Certificate("bob"));
  Easy nobody = new_easy();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Get(alice, server->url("/tls/client")), "alice");
    EXPECT_EQ(Get(bob, server->url("/tls/client")), "bob");
    EXPECT_EQ(Get(nobody, server->url("/tls/client")), "");
  }
  if (GetParam() == LockData::kConnect) {
    EXPECT_EQ(server->counts().connections, 3);
  } else {
    EXPECT_GE(server->counts().tls_resumed, 2);  // "nobody", at the least.
  }
}

// From files, as most have them.
TEST_P(SecurityClientCertificateTest, InFilesAreKeptApart) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(GetParam());
  const auto new_easy = [&](absl::string_view name) {
    const ClientCertificate certificate = Certificate(name);
    Easy easy = NewEasy(*share, server->ca_pem());
    if (GetParam() == LockData::kSslSession) DoNotReuse(easy);
    EXPECT_OK(easy.SetOption<CURLOPT_SSLCERT>(
        WriteFile(absl::StrCat(name, ".pem"), certificate.certificate)));
    EXPECT_OK(easy.SetOption<CURLOPT_SSLKEY>(
        WriteFile(absl::StrCat(name, ".key"), certificate.key)));
    return easy;
  };
  Easy alice = new_easy("alice");
  Easy bob = new_easy("bob");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Get(alice, server->url("/tls/client")), "alice");
    EXPECT_EQ(Get(bob, server->url("/tls/client")), "bob");
  }
  EXPECT_EQ(server->counts().tls_full, 2);
}

// As blobs, by handles that do not verify the server.
TEST_P(SecurityClientCertificateTest, AsBlobsWithoutVerification) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(GetParam());
  const auto new_easy = [&](absl::string_view name) {
    Easy easy = NewEasy(*share);
    DoNotVerify(easy);
    if (GetParam() == LockData::kSslSession) DoNotReuse(easy);
    SetClientCertificate(easy, Certificate(name));
    return easy;
  };
  Easy alice = new_easy("alice");
  Easy bob = new_easy("bob");
  EXPECT_EQ(Get(alice, server->url("/tls/client")), "alice");
  const std::string seen = Get(bob, server->url("/tls/client"));
  // A multi handle that is lent on has a cache of sessions, too.
  if (RunningLibcurl().version_num == LibcurlVersion(8, 14, 1)) {
    EXPECT_EQ(seen, "alice") << "libcurl has been mended: docs/security.md";
  } else {
    EXPECT_EQ(seen, "bob");
  }
}

// What CURLOPT_SSL_CTX_FUNCTION does, libcurl does not know of: such a handle
// has connections of its own, but no sessions of its own.
TEST_P(SecurityClientCertificateTest,
       OfAContextCallbackAreKeptApartByConnection) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(GetParam());
  const auto other_share = NewShare(GetParam());
  const ClientCertificate alices = Certificate("alice");
  const std::string pem = WriteFile("ctx.pem", alices.certificate);
  const std::string key = WriteFile("ctx.key", alices.key);
  const std::pair<const char*, const char*> files(pem.c_str(), key.c_str());
  const curl_ssl_ctx_callback use_files = [](CURL*, void* context,
                                             void* data) -> CURLcode {
    auto* const paths = static_cast<std::pair<const char*, const char*>*>(data);
    auto* const ssl = static_cast<SSL_CTX*>(context);
    return SSL_CTX_use_certificate_file(ssl, paths->first, SSL_FILETYPE_PEM) ==
                       1 &&
                   SSL_CTX_use_PrivateKey_file(ssl, paths->second,
                                               SSL_FILETYPE_PEM) == 1
               ? CURLE_OK
               : CURLE_SSL_CERTPROBLEM;
  };
  const auto new_easy = [&](Share& in) {
    Easy easy = NewEasy(in, server->ca_pem());
    if (GetParam() == LockData::kSslSession) DoNotReuse(easy);
    return easy;
  };
  Easy alice = new_easy(*share);
  ASSERT_OK(alice.SetOption<CURLOPT_SSL_CTX_FUNCTION>(
      use_files, const_cast<void*>(static_cast<const void*>(&files))));
  EXPECT_EQ(Get(alice, server->url("/tls/client")), "alice");
  Easy bob = new_easy(*share);
  EXPECT_EQ(Get(bob, server->url("/tls/client")),
            GetParam() == LockData::kSslSession ? "alice" : "");
  EXPECT_EQ(Get(alice, server->url("/tls/client")), "alice");
  // Also afterwards, when nothing tells any more.
  ASSERT_OK(alice.Reset());
  ASSERT_OK(alice.SetCaCertificates(server->ca_pem()));
  EXPECT_EQ(Get(alice, server->url("/tls/client")),
            GetParam() == LockData::kSslSession ? "alice" : "");
  Easy carol = new_easy(*other_share);
  EXPECT_EQ(Get(carol, server->url("/tls/client")), "");
}

// ---- Names

TEST(SecurityDns, AnAddressThatOneHandleWasGivenServesAll) {
  const auto server = NewServer(/*tls=*/true);
  const auto share = NewShare(LockData::kDns);
  const std::string port = absl::StrCat(server->port());
  const auto resolve = [&](Easy& easy, absl::string_view host) {
    EXPECT_OK(easy.SetOption<CURLOPT_RESOLVE>(
        {absl::StrCat(host, ":", port, ":127.0.0.1")}));
    EXPECT_OK(easy.Fetch(server->url("/", host)).status());
  };
  Easy alice = NewEasy(*share);
  DoNotVerify(alice);
  // The certificate names the first, not the second.
  resolve(alice, "a.curlshare.test");
  resolve(alice, "victim.test");
  Easy bob = NewEasy(*share, server->ca_pem());
  EXPECT_EQ(Get(bob, server->url("/", "a.curlshare.test")), "ok");
  // The wrong address, but not the right certificate.
  server->ResetCounts();
  const auto answer = bob.Fetch(server->url("/", "victim.test"));
  EXPECT_EQ(GetEasyCode(answer.status()), CURLE_PEER_FAILED_VERIFICATION);
  EXPECT_EQ(server->counts().connections, 1);
  EXPECT_EQ(server->counts().requests, 0);
}

TEST(SecurityConnections, OfConnectToServeNoOther) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  Easy alice = NewEasy(*share);
  EXPECT_OK(alice.SetOption<CURLOPT_CONNECT_TO>(
      {absl::StrCat("::127.0.0.1:", server->port())}));
  EXPECT_EQ(Get(alice, "http://nowhere.test/"), "ok");
  Easy bob = NewEasy(*share);
  // Without a connection he has to look the name up, and may not.
  EXPECT_OK(bob.SetOption<CURLOPT_RESOLVER_START_FUNCTION>(
      [](void*, void*, void*) { return 1; }, nullptr));
  EXPECT_FALSE(bob.Fetch("http://nowhere.test/").ok());
  EXPECT_EQ(Get(alice, "http://nowhere.test/"), "ok");
  EXPECT_EQ(server->counts().requests, 2);
  EXPECT_EQ(server->counts().connections, 1);
}

// A server may take a connection for the user who opened it.
TEST(SecurityConnections, OfAnotherUserOfAProxyServeNoOther) {
  const auto proxy = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  const auto connections_of = [&](const char* user) {
    proxy->ResetCounts();
    Easy easy = NewEasy(*share);
    EXPECT_OK(easy.SetOption<CURLOPT_PROXY>(proxy->url("")));
    if (user != nullptr) {
      EXPECT_OK(easy.SetOption<CURLOPT_PROXYUSERPWD>(user));
    }
    EXPECT_OK(easy.Fetch("http://nowhere.test/").status());
    return proxy->counts().connections;
  };
  EXPECT_EQ(connections_of("alice:secret"), 1);
  EXPECT_EQ(connections_of("bob:secret"), 1);
  EXPECT_EQ(connections_of("alice:other"), 1);
  EXPECT_EQ(connections_of(nullptr), 1);
  EXPECT_EQ(connections_of("alice:secret"), 0);
  EXPECT_EQ(connections_of("bob:secret"), 0);
  EXPECT_EQ(connections_of(nullptr), 0);
}

// Of options that libcurl does not compare. `set` sets one, and returns whether
// it is set: then the handle has a connection of its own, which nobody else
// gets.
void ExpectApart(absl::FunctionRef<bool(Easy&)> set) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  {
    Easy first = NewEasy(*share);
    EXPECT_EQ(Get(first, server->url("/")), "ok");
  }
  EXPECT_EQ(server->counts().connections, 1);
  int expected = 0;
  {
    Easy apart = NewEasy(*share);
    EXPECT_OK(apart.SetOption<CURLOPT_TIMEOUT>(20));
    expected = set(apart) ? 2 : 1;
    // With PROXY as its first line, the server does not understand the request.
    (void)Get(apart, server->url("/"));
    EXPECT_EQ(server->counts().connections, expected);
  }
  Easy other = NewEasy(*share);
  EXPECT_EQ(Get(other, server->url("/")), "ok");
  EXPECT_EQ(server->counts().connections, expected)
      << "there is the one of the first";
}

TEST(SecurityConnections, OfTheProxyProtocolServeNoOther) {
  ExpectApart([](Easy& easy) {
    EXPECT_OK(easy.SetOption<CURLOPT_HAPROXYPROTOCOL>(true));
    return true;
  });
  ExpectApart([](Easy& easy) {
    EXPECT_OK(easy.SetOption<CURLOPT_HAPROXYPROTOCOL>(true));
    EXPECT_OK(easy.SetOption<CURLOPT_HAPROXYPROTOCOL>(false));
    return false;
  });
}

// CURLOPT_HAPROXY_CLIENT_IP, since 8.2. By number, for older headers.
constexpr auto kClientIp =
    static_cast<CURLoption>(CURLOPTTYPE_STRINGPOINT + 323);

TEST(SecurityConnections, OfAnAddressForTheProxyProtocolServeNoOther) {
  const bool known = RunningLibcurl().version_num >= LibcurlVersion(8, 2, 0);
  ExpectApart([&](Easy& easy) {
    EXPECT_EQ(easy.SetOption<kClientIp>("192.0.2.1").ok(), known);
    return known;
  });
  if (!known) return;
  // Unset, too: libcurl 8.14.1 goes on sending the protocol's line.
  ExpectApart([](Easy& easy) {
    EXPECT_OK(easy.SetOption<kClientIp>("192.0.2.1"));
    EXPECT_OK(easy.SetOption<kClientIp>(nullptr));
    return true;
  });
}

TEST(SecurityConnections, OfNegotiateServeNoOther) {
  if (RunningLibcurl().version_num >= LibcurlVersion(8, 21, 0)) {
    GTEST_SKIP() << "libcurl compares the user";
  }
  ExpectApart([](Easy& easy) {
    // With Basic, as a libcurl without Negotiate refuses that alone.
    EXPECT_OK(
        easy.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_BASIC | CURLAUTH_NEGOTIATE));
    return true;
  });
}

// A libcurl without SSH refuses it; what is not set keeps nobody apart.
TEST(SecurityConnections, OfACallbackThatWasRefusedServeAll) {
  ExpectApart([](Easy& easy) {
    const curl_sshkeycallback on_key =
        [](CURL*, const curl_khkey*, const curl_khkey*, curl_khmatch, void*) {
          return static_cast<int>(CURLKHSTAT_REJECT);
        };
    return easy.SetOption<CURLOPT_SSH_KEYFUNCTION>(on_key, nullptr).ok();
  });
}

TEST(SecurityConnections, OfACallbackThatWasUnsetServeAll) {
  ExpectApart([](Easy& easy) {
    const curl_opensocket_callback on_open = [](void*, curlsocktype,
                                                curl_sockaddr* address) {
      return socket(address->family, address->socktype, address->protocol);
    };
    EXPECT_OK(easy.SetOption<CURLOPT_OPENSOCKETFUNCTION>(on_open, nullptr));
    EXPECT_OK(easy.SetOption<CURLOPT_OPENSOCKETFUNCTION>(nullptr, nullptr));
    return false;
  });
}

// What the data of a socket callback points to may go before the connection.
// Each callback alone.
enum class SocketCallback { kOpen, kOptions, kClose };

class SecuritySocketCallbackTest
    : public ::testing::TestWithParam<SocketCallback> {
 protected:
  static absl::Status Set(Easy& easy, int* calls) {
    switch (GetParam()) {
      case SocketCallback::kOpen: {
        const curl_opensocket_callback on_open = [](void* data, curlsocktype,
                                                    curl_sockaddr* address) {
          ++*static_cast<int*>(data);
          return socket(address->family, address->socktype, address->protocol);
        };
        return easy.SetOption<CURLOPT_OPENSOCKETFUNCTION>(on_open, calls);
      }
      case SocketCallback::kOptions: {
        const curl_sockopt_callback on_options = [](void* data, curl_socket_t,
                                                    curlsocktype) {
          ++*static_cast<int*>(data);
          return CURL_SOCKOPT_OK;
        };
        return easy.SetOption<CURLOPT_SOCKOPTFUNCTION>(on_options, calls);
      }
      case SocketCallback::kClose:
        break;
    }
    const curl_closesocket_callback on_close = [](void* data,
                                                  curl_socket_t fd) {
      ++*static_cast<int*>(data);
      return close(fd);
    };
    return easy.SetOption<CURLOPT_CLOSESOCKETFUNCTION>(on_close, calls);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Callback, SecuritySocketCallbackTest,
    ::testing::Values(SocketCallback::kOpen, SocketCallback::kOptions,
                      SocketCallback::kClose),
    [](const auto& info) {
      return std::string(info.param == SocketCallback::kOpen      ? "Open"
                         : info.param == SocketCallback::kOptions ? "Options"
                                                                  : "Close");
    });

TEST_P(SecuritySocketCallbackTest, OfOneHandleServesNoOther) {
  const auto server = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kConnect);
  auto calls = std::make_unique<int>(0);
  {
    Easy alice = NewEasy(*share);
    ASSERT_OK(Set(alice, calls.get()));
    EXPECT_EQ(Get(alice, server->url("/")), "ok");
    EXPECT_EQ(Get(alice, server->url("/")), "ok");
    EXPECT_EQ(server->counts().connections, 1) << "its own it uses again";
    Easy bob = NewEasy(*share);
    EXPECT_EQ(Get(bob, server->url("/")), "ok");
    EXPECT_EQ(server->counts().connections, 2) << "it was taken over";
    EXPECT_EQ(Get(alice, server->url("/")), "ok");
    EXPECT_EQ(server->counts().connections, 2);
  }
  EXPECT_EQ(*calls, 1) << "it goes with the handle";
  calls.reset();
  Easy carol = NewEasy(*share);
  EXPECT_EQ(Get(carol, server->url("/")), "ok");
  EXPECT_EQ(server->counts().connections, 2) << "that of bob, who has gone";
  EXPECT_OK(share->Close());
}

// ---- HSTS

// A handle that does not verify lets whoever answers decide for all.
TEST(SecurityHsts, IsLearntFromAServerThatWasNotVerified) {
  const auto https = NewServer(/*tls=*/true);
  const auto http = NewServer(/*tls=*/false);
  const auto share = NewShare(LockData::kHsts);
  const auto other_share = NewShare(LockData::kHsts);
  const auto new_easy = [&](Share& in) {
    Easy easy = NewEasy(in);
    EXPECT_OK(easy.SetOption<CURLOPT_CONNECT_TO>(
        {absl::StrCat("victim.test:443:127.0.0.1:", https->port()),
         absl::StrCat("victim.test:80:127.0.0.1:", http->port())}));
    return easy;
  };
  Easy careless = new_easy(*share);
  DoNotVerify(careless);
  EXPECT_EQ(Get(careless, "https://victim.test/hsts?max_age=1000"), "ok");
  Easy careful = new_easy(*share);
  EXPECT_THAT(Get(careful, "http://victim.test/"), HasSubstr("certificate"));
  EXPECT_EQ(http->counts().requests, 0);
  Easy other = new_easy(*other_share);
  EXPECT_EQ(Get(other, "http://victim.test/"), "ok");
}

}  // namespace
}  // namespace curlshare
