// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server for tests, with or without TLS. It runs in the test's
// process, on the loopback address. It counts connections and TLS handshakes,
// which a share is meant to save, and it can misbehave on request: stall, drop
// or refuse connections.
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

// Thread-compatible: a plain value.
struct HttpServerOptions {
  // Whether to serve HTTPS. The certificate is made when it is first needed:
  // see HttpServer::ca_pem().
  bool tls = false;
  // The port of 127.0.0.1 to listen on. 0: a free one. Set it to restart a
  // server on the same port.
  int port = 0;
  // Whether to ask each client for a certificate. The server accepts every
  // certificate, and clients that have none.
  bool request_client_certificate = false;
  // The longest stall or delay. It also limits each read and write, so that the
  // server can end whatever a test forgets to release.
  absl::Duration longest_stall = absl::Seconds(120);
  // How long a connection without a request stays open. Rounded up to seconds.
  absl::Duration keep_alive = absl::Seconds(60);
};

// A certificate of a client and its private key, in PEM, for
// CURLOPT_SSLCERT_BLOB and CURLOPT_SSLKEY_BLOB. Thread-compatible: a plain
// value.
struct ClientCertificate {
  std::string certificate;
  std::string key;
};

// Returns a new self-signed certificate with `common_name` and a new key.
// kInternal if OpenSSL cannot make it. Safe to call from any thread.
absl::StatusOr<ClientCertificate> NewClientCertificate(
    absl::string_view common_name);

// The headers of a message: names and values.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// One part of a multipart body. Thread-compatible: a plain value.
struct HttpPart {
  std::string name;
  std::string filename;      // empty: none
  std::string content_type;  // empty: none
  std::string body;
};

// The request of a client. Thread-compatible: a plain value.
struct HttpRequest {
  std::string method;
  std::string target;  // as sent by the client, including the query
  HttpHeaders headers;
  std::string body;             // empty if the body is multipart
  std::vector<HttpPart> parts;  // of a multipart body, sorted by name
};

// The response to an HttpRequest. Thread-compatible: a plain value.
struct HttpAnswer {
  int status = 200;
  HttpHeaders headers;
  std::string body;  // text/plain, unless there is a Content-Type header
};

// A callable of a test that answers requests: see HttpServer::Handle.
using HttpHandler = std::function<HttpAnswer(const HttpRequest&)>;

// What the server has counted since its start, or since ResetCounts().
// Thread-compatible: a plain value.
struct HttpServerCounts {
  int connections = 0;  // accepted, including those dropped at once
  int requests = 0;     // requests whose head has been read
  int tls_full = 0;     // completed full handshakes, with a certificate
  int tls_resumed = 0;  // completed handshakes that resumed a session
};

// The server. It listens from Start() until its destruction.
//
// Thread-safe: any thread may call any method at any time. Exception: nothing
// may run while the server is destroyed. The destructor ends every request and
// every thread of the server, and waits for them.
//
// What it serves, for the methods GET, HEAD, POST, PUT, PATCH, DELETE and
// OPTIONS:
//
//   /                         "ok"
//   /bytes?n=N                N bytes
//   /echo                     the request: method, target, headers, body. For a
//                             multipart body (RFC 7578), one line for each part
//                             instead of the body, sorted by name:
//                             "NAME|FILENAME|TYPE|CONTENT"
//   /gzip?n=N                 N bytes, compressed if the client accepts gzip
//   /status?code=N            the status N; with n=N a body of N bytes, with
//                             retry_after=TEXT a Retry-After header
//   /redirect?to=TARGET       a redirect with status 302, or N with code=N
//   /delay?ms=N               "ok", after N ms
//   /stall                    nothing until ReleaseStalled(), then "ok". All
//                             forms of /stall accept header=NAME:VALUE, any
//                             number of times, to add headers to the response
//   /stall?after=headers      the head of the response, then as above
//   /stall?after=bytes        also a part of the body, then as above
//   /stall?after=body         the whole response; then the server does not read
//                             from the connection until ReleaseStalled()
//   /endless                  a body without an end
//   /drop?after=N             N bytes of a longer body, then closes the
//                             connection
//   /cookie/set?name=A&value=B    sets a cookie; max_age=S adds Max-Age, and
//                             domain=1 adds Domain (the host of the request)
//   /cookie/expire?name=A     expires that cookie
//   /cookie/show              the Cookie header of the request
//   /hsts?max_age=S           a Strict-Transport-Security header
//   /auth/digest?user=A       "ok" for Digest authentication as user A (the
//                             digest itself is not checked), else a challenge
//   /dns                      DNS over HTTPS (RFC 8484): every name has the
//                             address 127.0.0.1
//   http://...                the request's target, as from a proxy
//   /tls/client               the common name of the client's certificate;
//                             empty without one: see request_client_certificate
//
// A test can add its own paths:
//
//   server->Handle("/retry", [&](const HttpRequest&) {
//     HttpAnswer answer;
//     if (calls++ == 0) answer.status = 503;
//     return answer;
//   });
//
// The server itself is cpp-httplib; see docs/dependencies.md.
class HttpServer {
 public:
  // Starts a server that listens on options.port of 127.0.0.1. kUnavailable if
  // that port is in use or, for port 0, if no free one was found; kInternal if
  // OpenSSL cannot make a certificate.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      HttpServerOptions options = {});

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  int port() const;
  // Returns the URL of `target` on `host`: "http://127.0.0.1:8080/bytes?n=1"
  // for "/bytes?n=1". The certificate is also valid for the hosts "localhost"
  // and "<anything>.curlshare.test"; the latter need CURLOPT_RESOLVE or
  // CURLOPT_CONNECT_TO.
  std::string url(absl::string_view target,
                  absl::string_view host = "127.0.0.1") const;
  // Returns the server's self-signed certificate in PEM, for
  // CURLOPT_CAINFO_BLOB. All servers of this process have the same one. Empty
  // without TLS.
  std::string ca_pem() const;

  // From now on `handler` answers requests with any method for `path` ("/a",
  // without the query), in place of what the server has there. Null: removes
  // the handler of that path. `handler` is called on the server's threads,
  // concurrently if there are several requests, possibly until the server is
  // destroyed. It may call methods of the server.
  void Handle(absl::string_view path, HttpHandler handler);

  // Returns the counts, and sets them to zero.
  HttpServerCounts counts() const;
  void ResetCounts();

  // Waits until at least `n` requests are stalled at the same time. Returns
  // true then, and false if `deadline` passes first.
  bool WaitForStalled(int n, absl::Time deadline) const;
  // Continues the requests that are stalled now. Later ones stall again.
  void ReleaseStalled();

  // Accepts each of the next `n` connections and closes it at once, without a
  // response.
  void DropNextConnections(int n);
  // Refuses new connections from now on; returns once that is so. A connection
  // that is open stays usable for the request in progress. Cannot be undone.
  void Refuse();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_HTTP_SERVER_H_
