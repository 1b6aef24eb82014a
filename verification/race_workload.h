// SPDX-License-Identifier: Apache-2.0
// What //verification:race_matrix runs: threads that use everything that a
// share holds, all at once, in one of three ways.
#ifndef CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_
#define CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

enum class Way {
  kRawPerKind,   // libcurl by hand, one pthread mutex for each kind
  kRawOneMutex,  // libcurl by hand, one pthread mutex for all kinds
  kLibrary,      // Share, Easy and Attachment
};

// "raw_per_kind", "raw_one_mutex", "library".
absl::string_view WayName(Way way);
std::optional<Way> ParseWay(absl::string_view name);

// Which handles there are, and what they ask for. "The mix" is: cookies, HSTS,
// bodies, connections dropped and refused.
enum class Scenario {
  kKept,    // the mix, on a handle for each thread, renewed now and then
  kFresh,   // the mix, every second request on a new handle
  kMany,    // the mix, on several handles of each thread in turn
  kPool,    // the mix, on handles that go from thread to thread
  kLimits,  // as kMany, in a share with tight limits on connections
  kRaw,     // the mix, every second thread with a CURL* and an Attachment
  kLeave,   // the mix, on handles of both sorts that leave the share and live
            // on, and come back
  kRedirects,  // two origins, with redirects from one to the other
  kProxy,      // one connection to a proxy for changing origins, with and
               // without credentials for it; CURLOPT_CONNECT_TO
  kFtp,     // FTP with the credentials of two users, which a connection keeps
  kDigest,  // HTTP with Digest and Basic, for two users, and without
};

const std::vector<Scenario>& AllScenarios();
// "kept", "fresh", ...
absl::string_view ScenarioName(Scenario scenario);
std::optional<Scenario> ParseScenario(absl::string_view name);
// Whether there is one over TLS that differs.
bool HasTls(Scenario scenario);

// On this machine; see race_servers.h.
struct WorkloadServers {
  int port = 0;        // of an HttpServer
  int other_port = 0;  // of another; for kRedirects
  int proxy_port = 0;  // of one that is plain HTTP; for kProxy
  int ftp_port = 0;    // of an FtpServer; for kFtp
  std::string ca_pem;  // of the first two; empty: plain HTTP
};

struct WorkloadOptions {
  LockDataSet kinds;
  Way way = Way::kLibrary;
  Scenario scenario = Scenario::kKept;
  WorkloadServers servers;
  int threads = 8;
  int requests = 60;  // of each thread
};

// Runs it and returns how many requests ended as they should: with the answer
// to that very request, or with the error that was provoked (connections
// dropped, refused). That is threads * requests when all is well. Errors as for
// Share::Create.
//
// In the raw ways it may crash, hang, or race.
absl::StatusOr<int> RunWorkload(const WorkloadOptions& options);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_RACE_WORKLOAD_H_
