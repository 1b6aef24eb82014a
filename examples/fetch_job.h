// SPDX-License-Identifier: Apache-2.0
// What //examples:fetch does: fetches URLs from many threads, and counts.
#ifndef CURLSHARE_EXAMPLES_FETCH_JOB_H_
#define CURLSHARE_EXAMPLES_FETCH_JOB_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/share.h"

namespace curlshare::examples {

struct JobOptions {
  std::vector<std::string> urls;  // fetched in turn; not empty
  int threads = 8;
  int64_t requests = 1000;  // in all
  // A new handle for each request: only a share can carry anything over from
  // one to the next. Otherwise one handle a thread, which keeps its connection.
  bool new_handles = true;
  absl::Duration timeout = absl::Seconds(30);  // of a request
  std::string ca_pem;  // trusted instead of the system's, unless empty
};

struct JobResult {
  int64_t ok = 0;
  int64_t failed = 0;
  std::map<std::string, int64_t> failures;  // reason -> how often
  absl::Duration elapsed;
  int64_t connections = 0;
  int64_t dns_lookups = 0;
  // Absent where this libcurl's TLS is not OpenSSL's, which cannot be asked.
  std::optional<int64_t> tls_full = 0;
  std::optional<int64_t> tls_resumed = 0;

  double requests_per_second() const {
    return elapsed > absl::ZeroDuration() ? static_cast<double>(ok + failed) /
                                                absl::ToDoubleSeconds(elapsed)
                                          : 0;
  }
};

// One run of the job, with or without a share. Safe for concurrent use.
class Job {
 public:
  // `share` may be null, and must outlive the Job.
  Job(JobOptions options, Share* share);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Returns when all requests are done, or the job was stopped. Once.
  JobResult Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Requests that have ended so far.
  int64_t done() const { return done_.load(std::memory_order_relaxed); }
  // Ends the transfers in flight, and starts no more. Returns when Run() is
  // about to. From any thread, before or during Run().
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What one thread keeps.
  struct Worker {
    std::unique_ptr<Easy> easy;  // null between two handles
    JobResult counts;
    CURL* curl = nullptr;
  };

  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status NewHandle(Worker& worker) ABSL_LOCKS_EXCLUDED(mu_);
  void DropHandle(Worker& worker) ABSL_LOCKS_EXCLUDED(mu_);
  // One request; its outcome goes to worker.counts.
  void Fetch(Worker& worker, const std::string& url) ABSL_LOCKS_EXCLUDED(mu_);

  const JobOptions options_;
  Share* const share_;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> done_{0};
  std::atomic<bool> stop_{false};

  absl::Mutex mu_;
  JobResult result_ ABSL_GUARDED_BY(mu_);
  int working_ ABSL_GUARDED_BY(mu_) = 0;          // threads
  std::set<Easy*> handles_ ABSL_GUARDED_BY(mu_);  // of all threads
};

}  // namespace curlshare::examples

#endif  // CURLSHARE_EXAMPLES_FETCH_JOB_H_
