// SPDX-License-Identifier: Apache-2.0
// A server on loopback that fails below HTTP, which HttpServer cannot do: TCP
// resets, half-closed connections, TLS alerts, responses that are not HTTP.
//
//   absl::StatusOr<std::unique_ptr<FaultServer>> server =
//       FaultServer::Start(FaultServer::Fault::kResetMidway);
//   if (!server.ok()) return server.status();
//   EXPECT_THAT(easy.Fetch((*server)->url()).status(),
//               StatusIs(absl::StatusCode::kUnavailable));
//   EXPECT_EQ((*server)->connections(), 1);
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_FAULT_SERVER_H_
#define CURLSHARE_VERIFICATION_FAULT_SERVER_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/status/statusor.h"

namespace curlshare::testing {

// The server. It serves one connection at a time, on a thread of its own, from
// Start() until its destruction. Thread-safe, except for its destruction.
class FaultServer {
 public:
  // What happens on every connection when the first bytes have arrived (the
  // head of a request, or the first message of a TLS handshake). The connection
  // is closed afterwards.
  enum class Fault {
    kReset,              // TCP reset, nothing sent
    kResetMidway,        // 100 of 1000 bytes of the body, then a reset
    kHalfClose,          // no response: sends nothing, but still reads
    kHalfCloseMidway,    // 100 of 1000 bytes of the body, then as above
    kHalfCloseAtTheEnd,  // a body without a length, which ends so: no error
    kGarbage,            // bytes that are neither HTTP nor TLS
    kHugeHeader,         // one header of 1 MiB
    kTlsAlert,           // the alert "handshake failure", as from a server that
                         // has no cipher in common with the client
  };

  // Starts a server on a free port of 127.0.0.1. kUnavailable if there is none.
  static absl::StatusOr<std::unique_ptr<FaultServer>> Start(Fault fault);

  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;
  // Waits for the connection that is being served, at most some seconds.
  ~FaultServer();

  std::string url() const;      // "http://127.0.0.1:12345/"
  std::string tls_url() const;  // "https://127.0.0.1:12345/"
  // Returns the number of connections accepted since the start.
  int connections() const { return connections_; }

 private:
  FaultServer(Fault fault, int listening, int port);
  void Accept();
  void Serve(int socket) const;

  const Fault fault_;
  const int listening_;
  const int port_;
  std::atomic<int> connections_{0};
  std::thread accepting_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_FAULT_SERVER_H_
