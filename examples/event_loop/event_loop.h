// SPDX-License-Identifier: Apache-2.0
// A loop of one's own over a multi handle: one thread transfers, any other
// hands requests over. What sharing adds: Running::attachment and ::transfer,
// and Share::CloseNow, which ends all that is under way. Within one multi
// handle libcurl shares by itself; the Share is for several loops, and for
// threads beside them: DNS answers and TLS sessions serve all, while each multi
// handle has connections of its own.
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

struct EventLoopOptions {
  size_t parallel = 100;  // transfers at once; what else there is waits
  int tries = 4;          // of one request, in all
  absl::Duration first_pause = absl::Milliseconds(100);  // then twice that, ...
  std::string ca_pem;  // authorities to trust; empty: the system's
};

// Safe for concurrent use, but for Shutdown and the destruction, which come
// last and from one thread other than the loop's.
class EventLoop {
 public:
  // Called once for each Get, by the loop's thread, which it should not keep;
  // it may call Get.
  using Done = std::function<void(const absl::StatusOr<std::string>& body)>;

  // `share` outlives the loop. kFailedPrecondition where it is gated, and with
  // AfterClose::kTransferAlone: a handle that a close finds between Attach and
  // BeginTransfer would transfer, out of the close's reach.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Start(
      curlshare::Share& share, EventLoopOptions options = {});
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();  // Shutdown without patience, unless it has been

  // Never waits for the network. Tries again where that may help (kUnavailable:
  // see curl_status.h). kCancelled from Shutdown on, by this thread.
  void Get(std::string url, Done done) ABSL_LOCKS_EXCLUDED(mu_);

  // Closes the share, which ends the transfers under way, those of other loops
  // too. Each Get of this loop has been answered when this returns; a Done that
  // blocks is waited for, `deadline` or not. An error is Share::CloseNow's.
  absl::Status Shutdown(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Request {
    std::string url;
    Done done;
    int tries = 0;
    absl::Duration pause;  // before the next try
  };
  // One try. Goes from the last member up: the handle leaves the share, then it
  // is cleaned up. That is done by the loop's thread: from libcurl 8.21 on, by
  // another it would race with the multi handle, inside libcurl.
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
  // All that follow: the loop's thread alone.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Starts what is due or, once stopping, answers what waits; false then.
  bool TakeRequests() ABSL_LOCKS_EXCLUDED(mu_);
  int PollMilliseconds() const;
  void Try(Request request) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Begin(Running& running);
  void End(CURL* curl, CURLcode code);
  void EndAll(CURLcode code, bool only_cancelled);

  curlshare::Share& share_;
  const EventLoopOptions options_;
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi_{
      curl_multi_init(), &curl_multi_cleanup};
  std::atomic<bool> some_cancelled_{false};

  // Held for the push and the swap alone: neither libcurl nor a callback is
  // called with it.
  absl::Mutex mu_;
  std::deque<Request> incoming_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // The loop's thread alone.
  std::multimap<absl::Time, Request> waiting_;  // by when they are due
  std::unordered_map<CURL*, std::unique_ptr<Running>> running_;

  std::thread thread_;
};

}  // namespace event_loop

#endif  // EVENT_LOOP_EVENT_LOOP_H_
