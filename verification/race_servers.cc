// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/race_servers.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/ftp_server.h"
#include "curlshare/verification/race_workload.h"

namespace curlshare::testing {

absl::StatusOr<RaceServers> RaceServers::Start(bool tls) {
  RaceServers servers;
  for (std::unique_ptr<HttpServer>* one :
       {&servers.server_, &servers.other_, &servers.proxy_}) {
    HttpServerOptions options;
    options.tls = tls && one != &servers.proxy_;
    absl::StatusOr<std::unique_ptr<HttpServer>> started =
        HttpServer::Start(options);
    if (!started.ok()) return started.status();
    *one = *std::move(started);
  }
  absl::StatusOr<std::unique_ptr<FtpServer>> ftp = FtpServer::Start();
  if (!ftp.ok()) return ftp.status();
  servers.ftp_ = *std::move(ftp);
  return servers;
}

WorkloadServers RaceServers::addresses() const {
  WorkloadServers addresses;
  addresses.port = server_->port();
  addresses.other_port = other_->port();
  addresses.proxy_port = proxy_->port();
  addresses.ftp_port = ftp_->port();
  addresses.ca_pem = server_->ca_pem();
  return addresses;
}

bool RaceServers::WereUsedFor(Scenario scenario) const {
  switch (scenario) {
    case Scenario::kFtp:
      return ftp_->logins() > 0 && ftp_->files_sent() > 0;
    case Scenario::kRedirects:
      return server_->counts().requests > 0 && other_->counts().requests > 0;
    case Scenario::kProxy:
      return server_->counts().requests > 0 && proxy_->counts().requests > 0;
    default:
      return server_->counts().requests > 0;
  }
}

}  // namespace curlshare::testing
