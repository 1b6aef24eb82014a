// SPDX-License-Identifier: Apache-2.0
// The work of //examples:fetch: fetches URLs from many threads, and counts
// connections, look-ups and handshakes.
//
//   Job job(options, share.get());
//   JobResult result = job.Run();
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

// Thread-compatible: a plain value.
struct JobOptions {
  std::vector<std::string> urls;  // fetched in turn; not empty
  int threads = 8;
  int64_t requests = 1000;  // by all threads together
  // True: a new handle for each request, so that only a share can keep anything
  // from one request to the next. False: one handle for each thread, which also
  // keeps its connection.
  bool new_handles = true;
  absl::Duration timeout = absl::Seconds(30);  // of one request
  // PEM certificates to trust instead of the system's; empty: the system's.
  std::string ca_pem;
};

// What a job has done. Thread-compatible: a plain value.
struct JobResult {
  int64_t ok = 0;
  int64_t failed = 0;
  std::map<std::string, int64_t> failures;  // reason -> number of requests
  absl::Duration elapsed;
  int64_t connections = 0;  // new connections
  int64_t dns_lookups = 0;
  // Handshakes. nullopt if libcurl's TLS library is not OpenSSL: other
  // libraries are not asked.
  std::optional<int64_t> tls_full = 0;
  std::optional<int64_t> tls_resumed = 0;

  double requests_per_second() const {
    return elapsed > absl::ZeroDuration() ? static_cast<double>(ok + failed) /
                                                absl::ToDoubleSeconds(elapsed)
                                          : 0;
  }
};

// One run, with or without a share. Thread-safe: done() and Stop() may be
// called from any thread while Run() runs on another.
class Job {
 public:
  // `share` may be null. It is not owned, and must outlive the Job.
  Job(JobOptions options, Share* share);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Makes the requests. Returns when all of them have ended, or when the job
  // has been stopped. To be called once.
  JobResult Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Returns the number of requests that have ended so far.
  int64_t done() const { return done_.load(std::memory_order_relaxed); }
  // Ends the transfers in progress and closes the share. No further requests
  // are made. Returns when the threads of Run() have ended their work. May be
  // called from any thread, before or during Run().
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // The state of one thread. Not thread-safe; only `easy` is used by Stop(),
  // which finds it in handles_.
  struct Worker {
    std::unique_ptr<Easy> easy;  // null between two handles
    JobResult counts;
    CURL* curl = nullptr;
  };

  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status NewHandle(Worker& worker) ABSL_LOCKS_EXCLUDED(mu_);
  void DropHandle(Worker& worker) ABSL_LOCKS_EXCLUDED(mu_);
  // Makes one request, and adds its result to worker.counts.
  void Fetch(Worker& worker, const std::string& url) ABSL_LOCKS_EXCLUDED(mu_);

  const JobOptions options_;
  Share* const share_;
  std::atomic<int64_t> next_{0};  // number of the next request
  std::atomic<int64_t> done_{0};
  std::atomic<bool> stop_{false};

  absl::Mutex mu_;
  JobResult result_ ABSL_GUARDED_BY(mu_);
  int working_ ABSL_GUARDED_BY(mu_) = 0;  // threads that have not ended
  // The handles of all threads. An Easy is destroyed with mu_ held, so that
  // Stop() can call Cancel() on those that are here.
  std::set<Easy*> handles_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::examples

#endif  // CURLSHARE_EXAMPLES_FETCH_JOB_H_
