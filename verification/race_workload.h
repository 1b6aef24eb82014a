// SPDX-License-Identifier: Apache-2.0
// The workloads that //verification:race_matrix runs: threads that use all data
// of a share at the same time, with this library or with libcurl directly.
#ifndef CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_
#define CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

// How the threads share.
enum class Way {
  kRawPerKind,   // libcurl directly, one pthread mutex for each kind
  kRawOneMutex,  // libcurl directly, one pthread mutex for all kinds
  kLibrary,      // Share, Easy and Attachment
};

// "raw_per_kind", "raw_one_mutex", "library".
absl::string_view WayName(Way way);
std::optional<Way> ParseWay(absl::string_view name);

// Which handles the threads use, and for which requests. "The mix" stands for
// requests for cookies, HSTS and bodies, and for connections that the server
// drops or refuses.
enum class Scenario {
  kKept,    // the mix, on one handle for each thread, replaced now and then
  kFresh,   // the mix, every second request on a new handle
  kMany,    // the mix, on several handles of each thread in turn
  kPool,    // the mix, on handles that are passed from thread to thread
  kLimits,  // as kMany, in a share with tight limits on connections
  kRaw,     // the mix, every second thread with a CURL* and an Attachment
  kLeave,   // the mix, on handles of both kinds that leave the share, are used
            // without it, and come back
  kRedirects,  // two origins, with redirects from one to the other
  kProxy,      // connections to a proxy for changing origins, with and without
               // credentials for the proxy; CURLOPT_CONNECT_TO
  kFtp,        // FTP for two users, whose credentials belong to the connection
  kDigest,     // HTTP with Digest and with Basic for two users, and without
};

// Returns all scenarios, in the order above.
const std::vector<Scenario>& AllScenarios();
// "kept", "fresh", ...
absl::string_view ScenarioName(Scenario scenario);
std::optional<Scenario> ParseScenario(absl::string_view name);
// Returns whether the scenario differs when it runs over TLS.
bool HasTls(Scenario scenario);

// The ports, on 127.0.0.1, of the servers that a workload uses; see
// race_servers.h. Thread-compatible: a plain value.
struct WorkloadServers {
  int port = 0;        // an HttpServer
  int other_port = 0;  // another HttpServer, for kRedirects
  int proxy_port = 0;  // an HttpServer without TLS, for kProxy
  int ftp_port = 0;    // an FtpServer, for kFtp
  std::string ca_pem;  // certificate of the first two; empty: without TLS
};

// Thread-compatible: a plain value.
struct WorkloadOptions {
  LockDataSet kinds;
  Way way = Way::kLibrary;
  Scenario scenario = Scenario::kKept;
  WorkloadServers servers;
  int threads = 8;
  int requests = 60;  // by each thread
};

// Runs a workload on threads of its own, and returns when they have ended.
// Returns the number of requests that ended as they should: with the response
// to that very request, or with the error that was provoked (connections
// dropped or refused). If all is well, that is threads * requests. Errors as
// for Share::Create.
//
// With kRawPerKind and kRawOneMutex it may crash, hang, or have data races.
absl::StatusOr<int> RunWorkload(const WorkloadOptions& options);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_
