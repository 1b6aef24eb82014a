// SPDX-License-Identifier: Apache-2.0
// A server on loopback that breaks off below HTTP, which HttpServer cannot:
// resets, half-closed connections, TLS alerts, answers that are none.
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

// Safe for concurrent use, but for its destruction.
class FaultServer {
 public:
  // What every connection gets once its first bytes have come: a request's
  // head, or the greeting of a TLS client. Each connection is closed after it.
  enum class Fault {
    kReset,              // TCP reset, nothing sent
    kResetMidway,        // 100 of 1000 bytes of the body, then a reset
    kHalfClose,          // no answer: the server sends no more, but still reads
    kHalfCloseMidway,    // 100 of 1000 bytes, then as above
    kHalfCloseAtTheEnd,  // a body without a length, which ends so: no error
    kGarbage,            // what is neither HTTP nor TLS
    kHugeHeader,         // one header of 1 MiB
    kTlsAlert,           // "handshake failure", as of a server without a cipher
                         // in common
  };

  // Listens on a free port of 127.0.0.1. kUnavailable where there is none.
  static absl::StatusOr<std::unique_ptr<FaultServer>> Start(Fault fault);

  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;
  // Waits for the connection that is being served, at most some seconds.
  ~FaultServer();

  std::string url() const;      // "http://127.0.0.1:12345/"
  std::string tls_url() const;  // "https://127.0.0.1:12345/"
  // Since the start, each of which met its fault.
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
