// SPDX-License-Identifier: Apache-2.0
#include "fetcher.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/share.h"

namespace fetch_service {

using ::curlshare::Easy;
using ::curlshare::Response;
using ::curlshare::Share;
using ::curlshare::ShareOptions;
using ::curlshare::TransferProgress;

Fetcher::Fetcher(const FetcherOptions& options, OnResult on_result,
                 std::unique_ptr<Share> share)
    : on_result_(std::move(on_result)),
      share_(std::move(share)),
      queue_(options.queue_size) {}

absl::StatusOr<std::unique_ptr<Fetcher>> Fetcher::Start(FetcherOptions options,
                                                        OnResult on_result) {
  if (options.workers < 1 || options.queue_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "workers and queue_size must be 1 or more: ", options.workers, ", ",
        options.queue_size));
  }
  ShareOptions share_options;
  share_options.lock_data = options.lock_data;
  absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(share_options);
  if (!share.ok()) return share.status();
  std::unique_ptr<Fetcher> fetcher(
      new Fetcher(options, std::move(on_result), *std::move(share)));
  // All that can fail, before the first thread.
  std::vector<Easy> handles;
  for (int i = 0; i < options.workers; ++i) {
    absl::StatusOr<Easy> easy = fetcher->NewEasy(options);
    if (!easy.ok()) return easy.status();
    handles.push_back(*std::move(easy));
  }
  {
    absl::MutexLock lock(&fetcher->mu_);
    fetcher->working_ = options.workers;
  }
  for (Easy& easy : handles) {
    fetcher->workers_.emplace_back(
        [fetcher = fetcher.get(), easy = std::move(easy)]() mutable {
          fetcher->Work(easy);
        });
  }
  return fetcher;
}

Fetcher::~Fetcher() { Shutdown(absl::InfinitePast()).IgnoreError(); }

absl::StatusOr<Easy> Fetcher::NewEasy(const FetcherOptions& options) {
  absl::StatusOr<Easy> easy = Easy::Create();
  if (!easy.ok()) return easy.status();
  if (absl::Status s = easy->Attach(*share_); !s.ok()) return s;
  if (absl::Status s = easy->SetTimeout(options.request_timeout); !s.ok()) {
    return s;
  }
  if (!options.ca_pem.empty()) {
    if (absl::Status s = easy->SetCaCertificates(options.ca_pem); !s.ok()) {
      return s;
    }
  }
  // A worker that has taken its URL when the share closes, but not begun yet,
  // fetches without the share, where CloseNow does not reach it.
  absl::Status s = easy->SetProgress([this](const TransferProgress&) {
    return aborted_ ? absl::CancelledError("aborted") : absl::OkStatus();
  });
  if (!s.ok()) return s;
  return easy;
}

void Fetcher::Work(Easy& easy) {
  while (std::optional<std::string> url = queue_.Pop()) {
    Report(*url, easy.Fetch(*url));
  }
  absl::MutexLock lock(&mu_);
  --working_;
}

void Fetcher::Report(const std::string& url,
                     const absl::StatusOr<Response>& response) {
  {
    absl::MutexLock lock(&mu_);
    if (response.ok()) {
      ++counts_.answered;
    } else if (absl::IsCancelled(response.status())) {
      ++counts_.cancelled;
    } else if (absl::IsAborted(response.status())) {
      ++counts_.not_started;
    } else {
      ++counts_.failed;
    }
  }
  on_result_(url, response);
}

absl::Status Fetcher::Submit(std::string url, absl::Time deadline) {
  if (absl::Status s = queue_.Push(std::move(url), deadline); !s.ok()) return s;
  absl::MutexLock lock(&mu_);
  ++counts_.submitted;
  return absl::OkStatus();
}

void Fetcher::Finish() {
  queue_.Close();
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &Fetcher::AllDoneOrStopped));
}

void Fetcher::Stop() {
  for (const std::string& url : queue_.CloseAndClear()) {
    Report(url, absl::AbortedError("the service is shutting down"));
  }
  absl::MutexLock lock(&mu_);
  stopped_ = true;
}

void Fetcher::Abort() {
  Stop();
  aborted_ = true;
  // Marks the transfers and wakes their threads; Shutdown waits for them.
  share_->CloseNow(absl::InfinitePast()).IgnoreError();
}

absl::Status Fetcher::Shutdown(absl::Time deadline) {
  Stop();
  bool in_time = share_->Close(deadline).ok();
  {
    absl::MutexLock lock(&mu_);
    in_time &= mu_.AwaitWithDeadline(absl::Condition(this, &Fetcher::AllDone),
                                     deadline);
  }
  if (!in_time) aborted_ = true;
  absl::Status closed = share_->CloseNow();  // Ok where it has closed.
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  return closed;
}

FetchCounts Fetcher::counts() const {
  absl::MutexLock lock(&mu_);
  return counts_;
}

}  // namespace fetch_service
