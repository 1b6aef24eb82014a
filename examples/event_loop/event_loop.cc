// SPDX-License-Identifier: Apache-2.0
#include "event_loop.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/share.h"

namespace event_loop {

using ::curlshare::AfterClose;
using ::curlshare::Attachment;
using ::curlshare::EasyStatus;
using ::curlshare::MultiStatus;
using ::curlshare::Share;
using ::curlshare::TransferOptions;

namespace {

// The largest body; a larger one is an error.
constexpr size_t kMostBytes = size_t{64} << 20;

// CURLOPT_WRITEFUNCTION. `body` is a std::string*.
size_t Append(char* data, size_t size, size_t count, void* body) {
  auto* const text = static_cast<std::string*>(body);
  if (text->size() + size * count > kMostBytes) return 0;
  text->append(data, size * count);
  return size * count;
}

absl::Status ShutDown() {
  return absl::CancelledError("the loop is shutting down");
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Start(
    Share& share, EventLoopOptions options) {
  if (share.gated() || share.options().after_close != AfterClose::kRefuse) {
    return absl::FailedPreconditionError(
        "the share must have no gate, and AfterClose::kRefuse");
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(share, std::move(options)));
  if (loop->multi_ == nullptr) {
    return absl::ResourceExhaustedError("curl_multi_init");
  }
  loop->thread_ = std::thread(&EventLoop::Run, loop.get());
  return loop;
}

EventLoop::~EventLoop() {
  if (thread_.joinable()) Shutdown(absl::InfinitePast()).IgnoreError();
}

void EventLoop::Get(std::string url, Done done) {
  Request request{std::move(url), std::move(done), 0, options_.first_pause};
  bool taken = false;
  {
    absl::MutexLock lock(&mu_);
    taken = !stopping_;
    if (taken) incoming_.push_back(std::move(request));
  }
  if (taken) {
    curl_multi_wakeup(multi_.get());
  } else {
    request.done(ShutDown());
  }
}

absl::Status EventLoop::Shutdown(absl::Time deadline) {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  curl_multi_wakeup(multi_.get());
  const absl::Status closed = share_.CloseNow(deadline);
  if (thread_.joinable()) thread_.join();
  return closed;
}

void EventLoop::Run() {
  do {
    int number = 0;
    CURLMcode code =
        curl_multi_poll(multi_.get(), nullptr, 0, PollMilliseconds(), &number);
    if (code == CURLM_OK) code = curl_multi_perform(multi_.get(), &number);
    while (CURLMsg* message = curl_multi_info_read(multi_.get(), &number)) {
      End(message->easy_handle, message->data.result);
    }
    // Apart from errors in this class, libcurl fails here only if it is out of
    // memory.
    if (code != CURLM_OK) EndAll(CURLE_OUT_OF_MEMORY, false);
    if (some_cancelled_.exchange(false)) {
      EndAll(CURLE_ABORTED_BY_CALLBACK, true);
    }
  } while (TakeRequests() || !running_.empty());
}

bool EventLoop::TakeRequests() {
  std::deque<Request> incoming;
  bool stopping = false;
  {
    absl::MutexLock lock(&mu_);
    incoming.swap(incoming_);
    stopping = stopping_;
  }
  const absl::Time now = absl::Now();
  for (Request& r : incoming) waiting_.emplace(now, std::move(r));
  while (!waiting_.empty() &&
         (stopping || (waiting_.begin()->first <= now &&
                       running_.size() < options_.parallel))) {
    Request request = std::move(waiting_.extract(waiting_.begin()).mapped());
    if (stopping) {
      request.done(ShutDown());
    } else {
      Try(std::move(request));
    }
  }
  return !stopping;
}

// Until the next request is due. Everything else that happens wakes the poll.
int EventLoop::PollMilliseconds() const {
  absl::Duration wait = absl::Minutes(1);
  if (!waiting_.empty() && running_.size() < options_.parallel) {
    wait = std::min(wait, waiting_.begin()->first - absl::Now());
  }
  return std::max<int>(
      0, absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1))));
}

void EventLoop::Try(Request request) {
  ++request.tries;
  auto running = std::make_unique<Running>();
  running->request = std::move(request);
  absl::Status status = Begin(*running);
  if (status.ok()) {
    CURL* const curl = running->curl.get();
    running_.emplace(curl, std::move(running));
    return;
  }
  {
    absl::MutexLock lock(&mu_);
    // The error may come from the share, which refuses since it is closing.
    if (stopping_) status = ShutDown();
  }
  running->request.done(status);
}

absl::Status EventLoop::Begin(Running& running) {
  CURL* const curl = running.curl.get();
  if (curl == nullptr) return absl::ResourceExhaustedError("curl_easy_init");
  // No Use is needed for options that are set before the handle is attached.
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &running.body);
  if (const std::string& pem = options_.ca_pem; !pem.empty()) {
    // Not copied: the loop outlives the handle.
    curl_blob blob = {const_cast<char*>(pem.data()), pem.size(), 0};
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
  }
  if (absl::Status s = EasyStatus(
          curl_easy_setopt(curl, CURLOPT_URL, running.request.url.c_str()),
          "CURLOPT_URL");
      !s.ok()) {
    return s;
  }
  absl::StatusOr<Attachment> attachment = share_.Attach(curl);
  if (!attachment.ok()) return attachment.status();
  running.attachment = *std::move(attachment);
  TransferOptions options;
  options.on_cancel = [this] {
    some_cancelled_ = true;
    curl_multi_wakeup(multi_.get());
  };
  auto transfer = running.attachment.BeginTransfer(std::move(options));
  if (!transfer.ok()) return transfer.status();
  running.transfer.emplace(*std::move(transfer));
  return MultiStatus(curl_multi_add_handle(multi_.get(), curl),
                     "curl_multi_add_handle");
}

void EventLoop::End(CURL* curl, CURLcode code) {
  const std::unique_ptr<Running> running =
      std::move(running_.extract(curl).mapped());
  curl_multi_remove_handle(multi_.get(), curl);
  // The handle may leave the share from here on.
  const absl::Status status = running->transfer->End(code);
  Request& request = running->request;
  if (status.ok()) {
    request.done(std::move(running->body));
  } else if (absl::IsUnavailable(status) && request.tries < options_.tries) {
    const absl::Time due = absl::Now() + request.pause;
    request.pause *= 2;
    waiting_.emplace(due, std::move(request));
  } else {
    request.done(status);
  }
}

void EventLoop::EndAll(CURLcode code, bool only_cancelled) {
  std::vector<CURL*> ended;
  for (const auto& [curl, running] : running_) {
    if (!only_cancelled || running->transfer->cancelled()) {
      ended.push_back(curl);
    }
  }
  for (CURL* curl : ended) End(curl, code);
}

}  // namespace event_loop
