// What //testing:race_matrix runs: threads that use everything that a share
// holds, all at once, in one of three ways.
#ifndef CURLSHARE_TESTING_RACE_WORKLOAD_H_
#define CURLSHARE_TESTING_RACE_WORKLOAD_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/lock_data.h"

namespace curlshare::testing {

enum class Way {
  kRawPerKind,   // libcurl by hand, one pthread mutex for each kind
  kRawOneMutex,  // libcurl by hand, one pthread mutex for all kinds
  kLibrary,      // Share and Easy
};

// "raw_per_kind", "raw_one_mutex", "library".
absl::string_view WayName(Way way);
std::optional<Way> ParseWay(absl::string_view name);

struct WorkloadOptions {
  LockDataSet kinds;
  Way way = Way::kLibrary;
  int port = 0;        // of an HttpServer on this machine
  std::string ca_pem;  // of that server; empty: plain HTTP
  int threads = 8;
  int requests = 60;  // of each thread
};

// Runs it and returns how many requests ended as they should: with an answer,
// or with the error that was provoked (connections dropped, refused). That is
// threads * requests when all is well. Errors as for Share::Create.
//
// In the raw ways it may crash, hang, or race.
absl::StatusOr<int> RunWorkload(const WorkloadOptions& options);

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_RACE_WORKLOAD_H_
