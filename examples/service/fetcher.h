// SPDX-License-Identifier: Apache-2.0
// Fetches URLs on worker threads whose handles are in one Share. The URLs come
// from a queue of limited size. When the service stops, it reports a result for
// each of them.
//
//   absl::StatusOr<std::unique_ptr<Fetcher>> fetcher =
//       Fetcher::Start(options, [](const std::string& url,
//                                  const absl::StatusOr<Response>& r) { ... });
//   if (!fetcher.ok()) return fetcher.status();
//   absl::Status queued = (*fetcher)->Submit("https://example.com/");
//   ...
//   (*fetcher)->Finish();  // waits for all URLs; or, to stop within 10 s:
//   (*fetcher)->Shutdown(absl::Now() + absl::Seconds(10));
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

// Thread-compatible: a plain value.
struct FetcherOptions {
  int workers = 8;           // threads, 1 or more
  size_t queue_size = 1024;  // 1 or more
  absl::Duration request_timeout = absl::Seconds(30);
  int64_t max_body_size = 64 << 20;  // in bytes; 0: no limit
  // PEM certificates to trust instead of the system's; empty: the system's.
  std::string ca_pem;
  // What the workers share. Unset: Share's default, which needs no gate.
  std::optional<curlshare::LockDataSet> lock_data;
};

// What became of the URLs. Each URL that Submit has accepted is finally counted
// in `submitted` and in one of the others. Thread-compatible: a plain value.
struct FetchCounts {
  int64_t submitted = 0;    // accepted by Submit
  int64_t answered = 0;     // there was a response, whatever its HTTP status
  int64_t failed = 0;       // there was no response
  int64_t cancelled = 0;    // by Abort, or at the deadline of Shutdown
  int64_t not_started = 0;  // still queued at Stop, or just taken out
};

// The queue, its workers and their share. Thread-safe, except that Shutdown and
// the destructor must be called last, and by one thread.
class Fetcher {
 public:
  // Called once for each URL that Submit has accepted, on any thread, and by
  // several threads at the same time. kCancelled: the transfer was ended;
  // kFailedPrecondition: it was not started.
  using OnResult =
      std::function<void(const std::string& url,
                         const absl::StatusOr<curlshare::Response>& response)>;

  // Starts the workers. kInvalidArgument if an option is out of range;
  // otherwise the errors of Share::Create and Easy.
  static absl::StatusOr<std::unique_ptr<Fetcher>> Start(FetcherOptions options,
                                                        OnResult on_result);
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;
  // Calls Shutdown with a deadline that has passed.
  ~Fetcher();

  // Puts `url` into the queue. Waits for room; kDeadlineExceeded if there is
  // none until `deadline`. kFailedPrecondition after Finish, Stop or Shutdown.
  absl::Status Submit(std::string url,
                      absl::Time deadline = absl::InfiniteFuture());

  // Accepts no more URLs. Returns when all have been fetched, or at Stop.
  void Finish() ABSL_LOCKS_EXCLUDED(mu_);

  // Accepts no more URLs, and starts no more transfers. Does not wait for those
  // in progress.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Calls Stop, and tells the transfers in progress to end. Does not wait for
  // them.
  void Abort();

  // Calls Stop, waits until `deadline` for the transfers in progress, and then
  // ends them. When this returns, each URL has been reported. An error here
  // concerns only the closing of the share.
  absl::Status Shutdown(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);

  FetchCounts counts() const ABSL_LOCKS_EXCLUDED(mu_);
  curlshare::ShareStats share_stats() const { return share_->stats(); }

 private:
  Fetcher(const FetcherOptions& options, OnResult on_result,
          std::unique_ptr<curlshare::Share> share);

  // Returns a handle in the share, for one worker.
  absl::StatusOr<curlshare::Easy> NewEasy(const FetcherOptions& options);
  // The work of one worker thread.
  void Work(curlshare::Easy& easy) ABSL_LOCKS_EXCLUDED(mu_);
  // Counts a result, and calls on_result_.
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
