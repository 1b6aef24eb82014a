// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 server for tests. It runs in the test's process, on the loopback
// address. It counts connections and streams, and it can go silent on request,
// like a host whose network is down.
//
//   absl::StatusOr<std::unique_ptr<Http2Server>> server = Http2Server::Start();
//   if (!server.ok()) return server.status();
//   easy.SetCaCertificates((*server)->ca_pem());
//   easy.Fetch((*server)->url("/"));
//   EXPECT_EQ((*server)->counts().most_streams, 1);
//
// testonly.
#ifndef CURLSHARE_TESTING_HTTP2_SERVER_H_
#define CURLSHARE_TESTING_HTTP2_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace curlshare::testing {

// Thread-compatible: a plain value.
struct Http2ServerOptions {
  // Whether to use TLS; false: clear text.
  bool tls = true;
  // SETTINGS_MAX_CONCURRENT_STREAMS, 1 or more.
  uint32_t max_concurrent_streams = 100;
  // After this number of requests, a connection sends GOAWAY, answers the
  // requests that it has received, and closes. 0: never.
  int max_requests_per_connection = 0;
};

// What the server has counted since its start, or since ResetCounts().
// Thread-compatible: a plain value.
struct Http2ServerCounts {
  int connections = 0;   // accepted, including those that are never answered
  int requests = 0;      // requests received completely
  int most_streams = 0;  // most streams open at the same time on one connection
};

// The server. It listens from Start() until its destruction.
//
// Thread-safe: any thread may call any method at any time. Exception: nothing
// may run while the server is destroyed. The destructor closes every connection
// and waits for every thread of the server.
//
// It speaks only HTTP/2 (RFC 9113): over TLS if the client offers "h2" by ALPN,
// and in clear text if the client starts with HTTP/2 at once
// (CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE). What it serves, for any method:
//
//   /               "ok"
//   /bytes?n=N      N bytes
//   /delay?ms=N     "ok", after N ms; other streams of the same connection are
//                   answered meanwhile
//   anything else   404
//
// Each connection has a thread. The server closes a connection on which it has
// received nothing for two minutes.
class Http2Server {
 public:
  // Starts a server on a free port of 127.0.0.1. kUnavailable if no free port
  // was found; kInternal if OpenSSL cannot make a certificate.
  static absl::StatusOr<std::unique_ptr<Http2Server>> Start(
      Http2ServerOptions options = {});

  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server();

  int port() const;
  // Returns the URL of `target`: "https://127.0.0.1:20080/bytes?n=1" for
  // "/bytes?n=1".
  std::string url(absl::string_view target) const;
  // Returns the server's certificate in PEM: see HttpServer::ca_pem(). Empty
  // without TLS.
  std::string ca_pem() const;

  // Returns the counts, and sets them to zero.
  Http2ServerCounts counts() const;
  void ResetCounts();

  // Goes silent: once this has returned, the server reads and answers nothing.
  // Open connections stay open, and new ones are accepted.
  void GoDeaf();
  // Serves new connections again. Connections that were opened before this call
  // and after GoDeaf, or were open then, stay silent for good.
  void Hear();

  // Sends GOAWAY on every connection that is not silent, and closes each when
  // its streams have ended. Returns when all of them are closed. A connection
  // that is opened meanwhile is not affected.
  void SendGoAway();

 private:
  class Impl;
  explicit Http2Server(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_HTTP2_SERVER_H_
