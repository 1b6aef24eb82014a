// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 server in this process, on loopback, that counts connections and
// streams, and can fall silent as a host does whose network has gone.
//
//   absl::StatusOr<std::unique_ptr<Http2Server>> server = Http2Server::Start();
//   if (!server.ok()) return server.status();
//   easy.SetCaCertificates((*server)->ca_pem());
//   easy.Fetch((*server)->url("/"));
//   EXPECT_EQ((*server)->counts().most_streams, 1);
//
// It speaks HTTP/2 alone (RFC 9113): over TLS where the client offers "h2" by
// ALPN, in clear text where the client knows that beforehand
// (CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE). What it serves, whatever the method:
//
//   /               "ok"
//   /bytes?n=N      N bytes
//   /delay?ms=N     "ok", after that time; other streams of the connection are
//                   answered meanwhile
//   anything else   404
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

struct Http2ServerOptions {
  // False: clear text.
  bool tls = true;
  // SETTINGS_MAX_CONCURRENT_STREAMS, 1 or more.
  uint32_t max_concurrent_streams = 100;
  // Each connection sends GOAWAY with the answer to its request of this number,
  // and closes. 0: never.
  int max_requests_per_connection = 0;
};

// Since the start, or ResetCounts().
struct Http2ServerCounts {
  int connections = 0;   // accepted, those that are never answered included
  int requests = 0;      // that have come completely
  int most_streams = 0;  // open at the same time on one connection, at most
};

// Safe for concurrent use, but for its destruction, which closes every
// connection and waits for every thread of the server. A thread for each
// connection. A connection on which nothing comes for two minutes is closed.
class Http2Server {
 public:
  // Listens on a free port of 127.0.0.1. kUnavailable where there is none;
  // kInternal where OpenSSL cannot make a certificate.
  static absl::StatusOr<std::unique_ptr<Http2Server>> Start(
      Http2ServerOptions options = {});

  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server();

  int port() const;
  // "https://127.0.0.1:20080/bytes?n=1" for "/bytes?n=1".
  std::string url(absl::string_view target) const;
  // The certificate, in PEM: see HttpServer::ca_pem(). Empty without TLS.
  std::string ca_pem() const;

  Http2ServerCounts counts() const;
  void ResetCounts();

  // From when this returns nothing is read or answered: neither on the
  // connections that are open, which stay open, nor on new ones, which are
  // accepted.
  void GoDeaf();
  // Connections from now on are answered. Those before stay deaf, for good.
  void Hear();

  // Sends GOAWAY on every connection that is not deaf, and closes each once its
  // streams have ended; returns when all are closed. A connection that comes
  // meanwhile stays.
  void SendGoAway();

 private:
  class Impl;
  explicit Http2Server(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_HTTP2_SERVER_H_
