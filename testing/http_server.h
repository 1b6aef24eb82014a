// SPDX-License-Identifier: Apache-2.0
// An HTTP or HTTPS server in this process, on loopback, that counts what a
// share is about (connections, TLS handshakes) and misbehaves when told.
//
//   HttpServerOptions options;
//   options.tls = true;
//   absl::StatusOr<std::unique_ptr<HttpServer>> server =
//       HttpServer::Start(options);
//   if (!server.ok()) return server.status();
//   easy.SetCaCertificates((*server)->ca_pem());  // verification stays on
//   easy.Fetch((*server)->url("/bytes?n=1000"));
//   EXPECT_EQ((*server)->counts().connections, 1);
//
// What it serves, for every method that HTTP/1.1 has:
//
//   /                         "ok"
//   /bytes?n=N                N bytes
//   /echo                     the request: method, target, headers, body; of
//                             a multipart body (RFC 7578) a line for each part,
//                             by name: "NAME|FILENAME|TYPE|CONTENT"
//   /gzip?n=N                 N bytes, compressed for who accepts gzip
//   /status?code=N            that status; n=N for a body of N bytes,
//                             retry_after=TEXT for a Retry-After header
//   /redirect?to=TARGET       302; code=N for another
//   /delay?ms=N               "ok", after that time
//   /stall                    nothing until ReleaseStalled(), then "ok"; any
//                             stall with header=NAME:VALUE, as often as wanted,
//                             for headers of the answer
//   /stall?after=headers      the head of the answer, then as above
//   /stall?after=bytes        a part of the body too, then as above
//   /stall?after=body         the whole answer; then the connection is not read
//                             from until ReleaseStalled()
//   /endless                  a body without an end
//   /drop?after=N             N bytes of a longer body, then the connection
//                             is closed
//   /cookie/set?name=A&value=B    sets a cookie; max_age=S, and domain=1 for a
//                             Domain attribute (the host of the request)
//   /cookie/expire?name=A     expires it
//   /cookie/show              the Cookie header that came
//   /hsts?max_age=S           Strict-Transport-Security
//   /auth/digest?user=A       "ok" for that user with Digest (the digest itself
//                             is not looked at), else a challenge
//   /dns                      DNS over HTTPS (RFC 8484): every name is at
//                             127.0.0.1
//   http://...                as of a proxy: the target that it was asked for
//   /tls/client               the common name in the client's certificate,
//                             empty without one: see request_client_certificate
//
// and what a test adds:
//
//   server->Handle("/retry", [&](const HttpRequest&) {
//     HttpAnswer answer;
//     if (calls++ == 0) answer.status = 503;
//     return answer;
//   });
//
// The server itself is cpp-httplib; see docs/dependencies.md.
//
// testonly; usable by consumers' tests.
#ifndef CURLSHARE_TESTING_HTTP_SERVER_H_
#define CURLSHARE_TESTING_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace curlshare::testing {

struct HttpServerOptions {
  // HTTPS, with a certificate made at start: see HttpServer::ca_pem().
  bool tls = false;
  // The port of 127.0.0.1; 0: a free one. For a server that comes back.
  int port = 0;
  // Asks each client for a certificate; any one will do, or none.
  bool request_client_certificate = false;
  // Longest stall or delay: whatever a test forgets, the server ends.
  absl::Duration longest_stall = absl::Seconds(120);
  // How long a connection without a request stays open.
  absl::Duration keep_alive = absl::Seconds(60);
};

// In PEM, for CURLOPT_SSLCERT_BLOB and CURLOPT_SSLKEY_BLOB.
struct ClientCertificate {
  std::string certificate;
  std::string key;
};

// A new certificate, which signs itself. kInternal where OpenSSL cannot make
// it.
absl::StatusOr<ClientCertificate> NewClientCertificate(
    absl::string_view common_name);

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// One part of a multipart body.
struct HttpPart {
  std::string name;
  std::string filename;      // empty: none
  std::string content_type;  // empty: none
  std::string body;
};

// What a client has sent.
struct HttpRequest {
  std::string method;
  std::string target;  // with the query, as it came
  HttpHeaders headers;
  std::string body;             // empty where there are parts
  std::vector<HttpPart> parts;  // by name
};

// What it gets.
struct HttpAnswer {
  int status = 200;
  HttpHeaders headers;
  std::string body;  // text/plain, unless a header says otherwise
};

using HttpHandler = std::function<HttpAnswer(const HttpRequest&)>;

// Since the start, or ResetCounts().
struct HttpServerCounts {
  int connections = 0;  // accepted, those that were dropped at once included
  int requests = 0;     // whose head has been read
  int tls_full = 0;     // handshakes completed, with a certificate ...
  int tls_resumed = 0;  // ... and without, by a session or ticket
};

// Safe for concurrent use, but for its destruction, which ends every request
// and every thread of the server, and waits for them.
class HttpServer {
 public:
  // Listens on options.port. kUnavailable where that, or any, is not free;
  // kInternal where OpenSSL cannot make a certificate.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      HttpServerOptions options = {});

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  int port() const;
  // "http://127.0.0.1:8080/bytes?n=1" for "/bytes?n=1". Other hosts that the
  // certificate names: "localhost", and "<anything>.curlshare.test" for use
  // with CURLOPT_RESOLVE or CURLOPT_CONNECT_TO.
  std::string url(absl::string_view target,
                  absl::string_view host = "127.0.0.1") const;
  // The certificate, which signs itself, in PEM: for CURLOPT_CAINFO_BLOB. The
  // same for every server of this process; empty without TLS.
  std::string ca_pem() const;

  // From now on `handler` answers requests of every method for `path` ("/a",
  // without the query), instead of what is served there; null: no more. It is
  // called on the server's threads, several at once where there are several
  // requests, until the server is destroyed, and may call the server.
  void Handle(absl::string_view path, HttpHandler handler);

  HttpServerCounts counts() const;
  void ResetCounts();

  // Returns true once `n` requests or more are stalled at the same time, false
  // at `deadline`.
  bool WaitForStalled(int n, absl::Time deadline) const;
  // Lets go on what is stalled now; what comes later stalls again.
  void ReleaseStalled();

  // Accepts the next `n` connections and closes each at once, unanswered.
  void DropNextConnections(int n);
  // From now on connecting is refused (a connection that is open stays usable
  // for the request under way). Cannot be undone.
  void Refuse();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_HTTP_SERVER_H_
