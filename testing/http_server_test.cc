// SPDX-License-Identifier: Apache-2.0
#include "curlshare/testing/http_server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/testing/threads.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;

std::unique_ptr<HttpServer> NewServer(bool tls = false) {
  HttpServerOptions options;
  options.tls = tls;
  auto server = HttpServer::Start(options);
  EXPECT_OK(server.status());
  return *std::move(server);
}

Easy NewEasy() {
  auto easy = Easy::Create();
  EXPECT_OK(easy.status());
  return *std::move(easy);
}

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

TEST(HttpServer, ServesOnLoopbackAndCounts) {
  const auto server = NewServer();
  EXPECT_EQ(server->url("/x?y=1"),
            absl::StrCat("http://127.0.0.1:", server->port(), "/x?y=1"));
  EXPECT_EQ(server->ca_pem(), "");
  Easy easy = NewEasy();
  for (int i = 0; i < 3; ++i) {
    auto response = easy.Fetch(server->url("/"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->body, "ok");
  }
  ASSERT_OK(NewEasy().Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().requests, 4);
  EXPECT_EQ(server->counts().connections, 2);
  server->ResetCounts();
  EXPECT_EQ(server->counts().requests, 0);
  EXPECT_EQ(server->counts().connections, 0);
}

// A client that is given its server's own port, for [::1], talks to itself:
// seen as "Received HTTP/0.9", once in some ten thousand connections.
TEST(HttpServer, ListensBelowThePortsThatClientsAreGiven) {
  const auto first = NewServer();
  const auto second = NewServer();
  EXPECT_LT(first->port(), 32768);
  EXPECT_NE(first->port(), second->port());
}

TEST(HttpServer, TellsFullFromResumedHandshakes) {
  const auto server = NewServer(/*tls=*/true);
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  ASSERT_OK(easy.SetOption<CURLOPT_FORBID_REUSE>(true));
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(easy.Fetch(server->url("/")).status());
  }
  EXPECT_EQ(server->counts().connections, 3);
  EXPECT_EQ(server->counts().tls_full, 1);
  EXPECT_EQ(server->counts().tls_resumed, 2);
}

TEST(HttpServer, AHandshakeThatTheClientRefusesIsNotCounted) {
  const auto server = NewServer(/*tls=*/true);
  EXPECT_EQ(GetEasyCode(NewEasy().Fetch(server->url("/")).status()),
            CURLE_PEER_FAILED_VERIFICATION);
  EXPECT_EQ(server->counts().connections, 1);
  EXPECT_EQ(server->counts().requests, 0);
}

TEST(HttpServer, ItsCertificateNamesTheHostsThatItSays) {
  const auto server = NewServer(/*tls=*/true);
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  ASSERT_OK(easy.SetOption<CURLOPT_CONNECT_TO>(
      {absl::StrCat("::127.0.0.1:", server->port())}));
  for (absl::string_view host :
       {"127.0.0.1", "localhost", "a.curlshare.test"}) {
    EXPECT_OK(easy.Fetch(server->url("/", host)).status()) << host;
  }
  EXPECT_FALSE(easy.Fetch(server->url("/", "other.test")).ok());
}

// Regression: where the first port that was tried was in use, every later one
// counted as in use, too.
TEST(HttpServer, StartsWherePortsAreInUse) {
  // Every 15th of those that it takes from.
  std::vector<int> sockets;
  for (int port = 20000; port < 32000; port += 15) {
    sockets.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    // It may be in use already.
    (void)bind(sockets.back(),
               reinterpret_cast<sockaddr*>(&address),  // NOLINT
               sizeof(address));
  }
  for (int i = 0; i < 60; ++i) EXPECT_OK(HttpServer::Start().status());
  for (int socket : sockets) close(socket);
}

TEST(HttpServer, StallsUntilReleased) {
  const auto server = NewServer();
  for (absl::string_view after : {"", "headers", "bytes", "body"}) {
    std::thread client([&] {
      auto response =
          NewEasy().Fetch(server->url(absl::StrCat("/stall?after=", after)));
      EXPECT_OK(response.status());
    });
    EXPECT_TRUE(server->WaitForStalled(1, Soon()));
    EXPECT_FALSE(server->WaitForStalled(2, absl::Now()));
    server->ReleaseStalled();
    client.join();
    EXPECT_FALSE(server->WaitForStalled(1, absl::Now()));
  }
}

TEST(HttpServer, EndsWhatIsStalledWhenItGoes) {
  auto server = NewServer();
  std::thread client(
      [url = server->url("/stall")] { (void)NewEasy().Fetch(url); });
  ASSERT_TRUE(server->WaitForStalled(1, Soon()));
  server.reset();
  client.join();
}

TEST(HttpServer, AStallEndsByItself) {
  HttpServerOptions options;
  options.longest_stall = absl::Seconds(1);
  auto server = HttpServer::Start(options);
  ASSERT_OK(server.status());
  EXPECT_OK(NewEasy().Fetch((*server)->url("/stall")).status());
  EXPECT_FALSE((*server)->WaitForStalled(1, absl::Now()));
}

TEST(HttpServer, DelaysAnAnswer) {
  const auto server = NewServer();
  const absl::Time start = absl::Now();
  ASSERT_OK(NewEasy().Fetch(server->url("/delay?ms=30")).status());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

// What is left of the request would else be the next one's.
TEST(HttpServer, AMethodThatItDoesNotKnowEndsTheConnection) {
  const auto server = HttpServer::Start().value();
  Easy easy = Easy::Create().value();
  for (int i = 1; i <= 10; ++i) {
    ASSERT_OK(easy.SetMethod("UNKNOWN"));
    ASSERT_OK(easy.SetBody("a body"));
    EXPECT_EQ(easy.Fetch(server->url("/echo"))->status, 400);
    ASSERT_OK(easy.SetMethod("GET"));
    EXPECT_EQ(easy.Fetch(server->url("/bytes?n=10"))->body.size(), 10U);
    EXPECT_EQ(server->counts().connections, i + 1);
  }
}

TEST(HttpServer, SendsLargeBodies) {
  constexpr int kSize = 20 << 20;
  const auto server = NewServer();
  auto response =
      NewEasy().Fetch(server->url(absl::StrCat("/bytes?n=", kSize)));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body.size(), size_t{kSize});
  response = NewEasy().Fetch(server->url("/bytes?n=0"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, "");
}

TEST(HttpServer, DropsAConnectionInTheMiddleOfABody) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  size_t received = 0;
  ASSERT_OK(easy.SetSink([&](absl::string_view piece) {
    received += piece.size();
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.SetUrl(server->url("/drop?after=100000")));
  EXPECT_EQ(GetEasyCode(easy.Perform()), CURLE_PARTIAL_FILE);
  EXPECT_EQ(received, 100000u);
}

TEST(HttpServer, DropsConnectionsUnanswered) {
  const auto server = NewServer();
  server->DropNextConnections(2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(NewEasy().Fetch(server->url("/")).status(),
                StatusIs(absl::StatusCode::kUnavailable));
  }
  EXPECT_OK(NewEasy().Fetch(server->url("/")).status());
  EXPECT_EQ(server->counts().requests, 1);
}

TEST(HttpServer, Refuses) {
  const auto server = NewServer();
  ASSERT_OK(NewEasy().Fetch(server->url("/")).status());
  server->Refuse();
  EXPECT_EQ(GetEasyCode(NewEasy().Fetch(server->url("/")).status()),
            CURLE_COULDNT_CONNECT);
}

TEST(HttpServer, SetsShowsAndExpiresCookies) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetOption<CURLOPT_COOKIEFILE>(""));
  const auto shown = [&] {
    auto response = easy.Fetch(server->url("/cookie/show", "localhost"));
    EXPECT_OK(response.status());
    return response->body;
  };
  for (absl::string_view target :
       {"/cookie/set?name=a&value=1", "/cookie/set?name=b&value=2&domain=1",
        "/cookie/set?name=c&value=3&max_age=100"}) {
    ASSERT_OK(easy.Fetch(server->url(target, "localhost")).status());
  }
  EXPECT_THAT(shown(),
              AllOf(HasSubstr("a=1"), HasSubstr("b=2"), HasSubstr("c=3")));
  ASSERT_OK(
      easy.Fetch(server->url("/cookie/expire?name=a", "localhost")).status());
  EXPECT_THAT(shown(), ::testing::Not(HasSubstr("a=1")));
}

TEST(HttpServer, SendsStrictTransportSecurity) {
  const auto server = NewServer(/*tls=*/true);
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetCaCertificates(server->ca_pem()));
  auto response = easy.Fetch(server->url("/hsts?max_age=7"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->Header("Strict-Transport-Security"),
              Optional(absl::string_view("max-age=7")));
}

TEST(HttpServer, AsksForDigest) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  auto response = easy.Fetch(server->url("/auth/digest?user=a"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 401);
  ASSERT_OK(easy.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_DIGEST));
  ASSERT_OK(easy.SetOption<CURLOPT_USERPWD>("a:secret"));
  response = easy.Fetch(server->url("/auth/digest?user=a"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, "ok");
  response = easy.Fetch(server->url("/auth/digest?user=b"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->status, 401);
}

TEST(HttpServer, AnswersAsAProxy) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetOption<CURLOPT_PROXY>(server->url("/")));
  for (const char* url : {"http://a.test/", "http://b.test:1/c?d=e"}) {
    const auto response = easy.Fetch(url);
    ASSERT_OK(response.status());
    EXPECT_EQ(response->body, url);
  }
  EXPECT_EQ(server->counts().connections, 1);
}

TEST(HttpServer, TellsThePartsOfAMultipartBody) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetBody(
      "--limit\r\n"
      "Content-Disposition: form-data; name=\"a\"\r\n"
      "\r\n"
      "12345\r\n"
      "--limit\r\n"
      "Content-Disposition: form-data; name=\"b\"; filename=\"f.bin\"\r\n"
      "Content-Type: application/octet-stream\r\n"
      "\r\n"
      "123\r\n"
      "--limit--\r\n"));
  ASSERT_OK(
      easy.SetHeaders({"Content-Type: multipart/form-data; "
                       "boundary=limit"}));
  auto response = easy.Fetch(server->url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_THAT(response->body,
              AllOf(HasSubstr("POST /echo\n"), HasSubstr("\na|||12345\n"),
                    HasSubstr("b|f.bin|application/octet-stream|123\n")));
  server->Handle("/parts", [](const HttpRequest& request) {
    EXPECT_EQ(request.parts.size(), 2u);
    HttpAnswer answer;
    for (const HttpPart& part : request.parts) answer.body += part.body;
    return answer;
  });
  response = easy.Fetch(server->url("/parts"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, "12345123");
}

TEST(HttpServer, CompressesForWhoAcceptsIt) {
  const auto server = NewServer();
  Easy easy = NewEasy();
  auto response = easy.Fetch(server->url("/gzip?n=100000"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body.size(), 100000u);
  EXPECT_EQ(response->Header("Content-Encoding"), std::nullopt);
  ASSERT_OK(easy.SetOption<CURLOPT_ACCEPT_ENCODING>("gzip"));
  response = easy.Fetch(server->url("/gzip?n=100000"));
  ASSERT_OK(response.status());
  EXPECT_EQ(response->body, std::string(100000, 'x'));
  EXPECT_THAT(response->Header("Content-Encoding"),
              Optional(absl::string_view("gzip")));
  EXPECT_LT(easy.GetInfo<CURLINFO_SIZE_DOWNLOAD_T>().value(), 1000);
}

TEST(HttpServer, AnswersAsATestsHandlerSays) {
  const auto server = NewServer();
  std::string seen;
  server->Handle("/any", [&](const HttpRequest& request) {
    seen = absl::StrCat(request.method, " ", request.target, " ", request.body);
    for (const auto& [name, value] : request.headers) {
      if (name == "X-Asked") absl::StrAppend(&seen, " ", value);
    }
    HttpAnswer answer;
    answer.status = 429;
    answer.headers = {{"Retry-After", "7"},
                      {"Content-Type", "application/json"},
                      {"X-A", "1"},
                      {"X-A", "2"}};
    answer.body = "{}";
    return answer;
  });
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetMethod("PUT"));
  ASSERT_OK(easy.SetBody("body"));
  ASSERT_OK(easy.SetHeaders({"X-Asked: yes"}));
  const auto response = easy.Fetch(server->url("/any?a=b"));
  ASSERT_OK(response.status());
  EXPECT_EQ(seen, "PUT /any?a=b body yes");
  EXPECT_EQ(response->status, 429);
  EXPECT_EQ(response->body, "{}");
  EXPECT_THAT(response->Header("Retry-After"),
              Optional(absl::string_view("7")));
  EXPECT_THAT(response->Header("Content-Type"),
              Optional(absl::string_view("application/json")));
  int values_of_a = 0;
  for (const auto& [name, value] : response->headers) {
    if (name == "X-A") ++values_of_a;
  }
  EXPECT_EQ(values_of_a, 2);
}

TEST(HttpServer, AHandlerComesBeforeWhatIsServedAndGoes) {
  const auto server = NewServer();
  const auto fetch = [&](absl::string_view target) {
    return NewEasy().Fetch(server->url(target)).value();
  };
  EXPECT_EQ(fetch("/mine").status, 404);
  for (const char* path : {"/", "/mine"}) {
    server->Handle(path, [path](const HttpRequest&) {
      HttpAnswer answer;
      answer.body = path;
      return answer;
    });
  }
  EXPECT_EQ(fetch("/").body, "/");
  EXPECT_EQ(fetch("/mine").body, "/mine");
  EXPECT_EQ(fetch("/bytes?n=3").body, "xxx");
  for (const char* path : {"/", "/mine"}) server->Handle(path, nullptr);
  EXPECT_EQ(fetch("/").body, "ok");
  EXPECT_EQ(fetch("/mine").status, 404);
}

TEST(HttpServer, ServesManyConnectionsAtOnce) {
  constexpr int kThreads = 64;
  const auto server = NewServer();
  std::thread release([&] {
    EXPECT_TRUE(server->WaitForStalled(kThreads, Soon()));
    server->ReleaseStalled();
  });
  RunThreads(kThreads, [&](int) {
    EXPECT_OK(NewEasy().Fetch(server->url("/stall")).status());
  });
  release.join();
  EXPECT_EQ(server->counts().connections, kThreads);
}

}  // namespace
}  // namespace curlshare::testing
