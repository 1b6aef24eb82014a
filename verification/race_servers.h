// SPDX-License-Identifier: Apache-2.0
// The servers that a race workload talks to; see race_workload.h.
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_RACE_SERVERS_H_
#define CURLSHARE_VERIFICATION_RACE_SERVERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/ftp_server.h"
#include "curlshare/verification/race_workload.h"

namespace curlshare::testing {

// All servers that a race workload needs, on loopback. Owns them; they stop
// when it is destroyed. Thread-compatible.
class RaceServers {
 public:
  // Starts the servers, with TLS except for the proxy if `tls`. kUnavailable
  // and kInternal as for HttpServer::Start.
  static absl::StatusOr<RaceServers> Start(bool tls);

  RaceServers(RaceServers&&) = default;
  RaceServers& operator=(RaceServers&&) = delete;

  WorkloadServers addresses() const;
  // Returns whether every server that `scenario` needs has received requests.
  bool WereUsedFor(Scenario scenario) const;

 private:
  RaceServers() = default;

  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpServer> other_;
  std::unique_ptr<HttpServer> proxy_;
  std::unique_ptr<FtpServer> ftp_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_RACE_SERVERS_H_
