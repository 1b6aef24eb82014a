// SPDX-License-Identifier: Apache-2.0
// Fetches URLs on worker threads that share DNS answers and TLS sessions, from
// a queue of limited size, and stops without losing one.
//
//   absl::StatusOr<std::unique_ptr<Fetcher>> fetcher =
//       Fetcher::Start(options, [](const std::string& url,
//                                  const absl::StatusOr<Response>& r) { ... });
//   if (!fetcher.ok()) return fetcher.status();
//   absl::Status queued = (*fetcher)->Submit("https://example.com/");
//   ...
//   (*fetcher)->Finish();                                  // all of them, or
//   (*fetcher)->Shutdown(absl::Now() + absl::Seconds(10)); // what can be
#ifndef FETCH_SERVICE_FETCHER_H_
#define FETCH_SERVICE_FETCHER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "bounded_queue.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"

namespace fetch_service {

struct FetcherOptions {
  int workers = 8;
  size_t queue_size = 1024;
  absl::Duration request_timeout = absl::Seconds(30);
  int64_t max_body_size = 64 << 20;  // in bytes; 0: no limit
  // The authorities to trust instead of the system's, in PEM; empty: those.
  std::string ca_pem;
  // What the workers share; unset: what is safe without a gate.
  std::optional<curlshare::LockDataSet> lock_data;
};

// Of the URLs that Submit accepted, each of which ends up in one of the others.
struct FetchCounts {
  int64_t submitted = 0;
  int64_t answered = 0;     // whatever the HTTP status
  int64_t failed = 0;       // no answer
  int64_t cancelled = 0;    // by Abort, or at the deadline of Shutdown
  int64_t not_started = 0;  // still queued at Stop, or just taken out
};

// Safe for concurrent use, but for Shutdown and the destruction, which come
// last and from one thread.
class Fetcher {
 public:
  // Called once for each URL that Submit accepted, on any thread, by several at
  // a time. kCancelled: ended midway; kFailedPrecondition: not started.
  using OnResult =
      std::function<void(const std::string& url,
                         const absl::StatusOr<curlshare::Response>& response)>;

  static absl::StatusOr<std::unique_ptr<Fetcher>> Start(FetcherOptions options,
                                                        OnResult on_result);
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  // Shutdown without patience, unless it has been.
  ~Fetcher();

  // Waits until `deadline` for room in the queue, then kDeadlineExceeded.
  // kFailedPrecondition after Finish, Stop or Shutdown.
  absl::Status Submit(std::string url,
                      absl::Time deadline = absl::InfiniteFuture());

  // Takes no URL any more and returns when all have been fetched, or at Stop.
  void Finish() ABSL_LOCKS_EXCLUDED(mu_);

  // Takes no URL any more and starts none. Does not wait.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Stop, and ends what is in flight. Does not wait.
  void Abort();

  // Stop, waits for what is in flight until `deadline`, then ends it. Each URL
  // has been reported when this returns; an error here is one of the clean-up.
  absl::Status Shutdown(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);

  FetchCounts counts() const ABSL_LOCKS_EXCLUDED(mu_);
  curlshare::ShareStats share_stats() const { return share_->stats(); }

 private:
  Fetcher(const FetcherOptions& options, OnResult on_result,
          std::unique_ptr<curlshare::Share> share);

  absl::StatusOr<curlshare::Easy> NewEasy(const FetcherOptions& options);
  void Work(curlshare::Easy& easy) ABSL_LOCKS_EXCLUDED(mu_);
  void Report(const std::string& url,
              const absl::StatusOr<curlshare::Response>& response)
      ABSL_LOCKS_EXCLUDED(mu_);
  bool Finished() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return working_ == 0 || stopped_;
  }

  const OnResult on_result_;
  const std::unique_ptr<curlshare::Share> share_;
  BoundedQueue<std::string> queue_;
  std::vector<std::thread> workers_;

  mutable absl::Mutex mu_;
  int working_ ABSL_GUARDED_BY(mu_) = 0;  // workers that have not ended
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  FetchCounts counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace fetch_service

#endif  // FETCH_SERVICE_FETCHER_H_
