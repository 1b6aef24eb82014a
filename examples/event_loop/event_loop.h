// SPDX-License-Identifier: Apache-2.0
// An event loop with its own multi handle, whose handles are in a Share. One
// thread transfers; other threads hand requests over to it.
//
// Within one multi handle, libcurl shares by itself. The Share is for several
// loops, and for threads beside them: all of them share DNS answers and TLS
// sessions, while each multi handle has its own connections. What sharing adds
// to such a loop: Running::attachment, Running::transfer, and Share::CloseNow,
// which ends all transfers.
//
//   ShareOptions options;
//   options.after_close = AfterClose::kRefuse;
//   auto share = Share::Create(options);
//   auto loop = EventLoop::Start(**share);
//   (*loop)->Get("https://example.com/",
//                [](const absl::StatusOr<std::string>& body) { ... });
//   absl::Status closed = (*loop)->Shutdown(absl::Now() + absl::Seconds(10));
#ifndef EVENT_LOOP_EVENT_LOOP_H_
#define EVENT_LOOP_EVENT_LOOP_H_

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/share.h"

namespace event_loop {

// Thread-compatible: a plain value.
struct EventLoopOptions {
  size_t parallel = 100;  // most transfers at the same time; others wait
  int tries = 4;          // most tries of one request, including the first
  // The pause before the second try; it doubles for each further one.
  absl::Duration first_pause = absl::Milliseconds(100);
  std::string ca_pem;  // PEM certificates to trust; empty: the system's
};

// The loop and its thread. Thread-safe, except that Shutdown and the destructor
// must be called last, and by one thread, which is not the loop's.
class EventLoop {
 public:
  // Called once for each Get, on the loop's thread. It may call Get. It should
  // not block, since no transfer goes on meanwhile.
  using Done = std::function<void(const absl::StatusOr<std::string>& body)>;

  // Starts a loop. `share` must outlive it. kFailedPrecondition if `share` is
  // gated, or if its after_close is AfterClose::kTransferAlone: a handle that a
  // close detaches between Attach and BeginTransfer would then transfer without
  // the share, and CloseNow could not end that.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Start(
      curlshare::Share& share, EventLoopOptions options = {});
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  // Calls Shutdown with a deadline that has passed, unless it was called
  // before.
  ~EventLoop();

  // Gets `url`, and calls `done` with the body or an error. Never waits for the
  // network. Tries again if that may help (kUnavailable: see curl_status.h).
  // After Shutdown, calls `done` at once, on the calling thread, with
  // kCancelled.
  void Get(std::string url, Done done) ABSL_LOCKS_EXCLUDED(mu_);

  // Closes the share, which ends all of its transfers, also those of other
  // loops. When this returns, `done` has been called for each Get of this loop;
  // it waits for a `done` that blocks, even beyond `deadline`. Errors: those of
  // Share::CloseNow.
  absl::Status Shutdown(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A Get that has not been answered yet.
  struct Request {
    std::string url;
    Done done;
    int tries = 0;
    absl::Duration pause;  // before the next try
  };
  // One try of a request. The members are destroyed from the last to the first,
  // so that the handle leaves the share before it is cleaned up. The loop's
  // thread destroys it: from libcurl 8.21 on, curl_easy_cleanup on another
  // thread would race with the multi handle.
  struct Running {
    Request request;
    std::string body;
    std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl{
        curl_easy_init(), &curl_easy_cleanup};
    curlshare::Attachment attachment;
    std::optional<curlshare::Attachment::Transfer> transfer;
  };

  EventLoop(curlshare::Share& share, EventLoopOptions options)
      : share_(share), options_(std::move(options)) {}
  // The following are called on the loop's thread only.

  // The loop.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Starts the requests that are due. After Shutdown, answers all that wait
  // instead, and returns false.
  bool TakeRequests() ABSL_LOCKS_EXCLUDED(mu_);
  // How long the poll may wait.
  int PollMilliseconds() const;
  // Starts a try of `request`; answers it if that fails.
  void Try(Request request) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Begin(Running& running);
  // Ends the transfer of `curl`, which libcurl has ended with `code`. Answers
  // its request, or has it wait for another try.
  void End(CURL* curl, CURLcode code);
  // The same for all transfers, or only for those that were cancelled.
  void EndAll(CURLcode code, bool only_cancelled);

  curlshare::Share& share_;
  const EventLoopOptions options_;
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi_{
      curl_multi_init(), &curl_multi_cleanup};
  // Set by TransferOptions::on_cancel.
  std::atomic<bool> some_cancelled_{false};

  // Held only to push and to swap: neither libcurl nor a Done is called with
  // it.
  absl::Mutex mu_;
  std::deque<Request> incoming_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Used by the loop's thread only.
  std::multimap<absl::Time, Request> waiting_;  // by the time they are due
  std::unordered_map<CURL*, std::unique_ptr<Running>> running_;

  std::thread thread_;
};

}  // namespace event_loop

#endif  // EVENT_LOOP_EVENT_LOOP_H_
