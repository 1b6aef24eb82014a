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

using ::curlshare::AfterClose;
using ::curlshare::Easy;
using ::curlshare::Response;
using ::curlshare::Share;
using ::curlshare::ShareOptions;

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
  // A worker that has taken a URL just before the share closes must not start
  // its transfer.
  share_options.after_close = AfterClose::kRefuse;
  absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(share_options);
  if (!share.ok()) return share.status();
  std::unique_ptr<Fetcher> fetcher(
      new Fetcher(options, std::move(on_result), *std::move(share)));
  // Everything that can fail comes before the first thread.
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
  absl::Status s = easy->Attach(*share_);
  if (s.ok()) s = easy->SetTimeout(options.request_timeout);
  if (s.ok()) s = easy->SetMaxBodySize(options.max_body_size);
  if (s.ok() && !options.ca_pem.empty()) {
    s = easy->SetCaCertificates(options.ca_pem);
  }
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
    } else if (absl::IsFailedPrecondition(response.status())) {
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
  mu_.Await(absl::Condition(this, &Fetcher::Finished));
}

void Fetcher::Stop() {
  for (const std::string& url : queue_.CloseAndClear()) {
    Report(url, absl::FailedPreconditionError("the service is shutting down"));
  }
  absl::MutexLock lock(&mu_);
  stopped_ = true;
}

void Fetcher::Abort() {
  Stop();
  // The deadline has passed, so this only tells the transfers to end and wakes
  // their threads. Shutdown waits for them.
  share_->CloseNow(absl::InfinitePast()).IgnoreError();
}

absl::Status Fetcher::Shutdown(absl::Time deadline) {
  Stop();
  absl::Status closed = share_->Close(deadline);
  if (!closed.ok()) closed = share_->CloseNow();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  return closed;
}

FetchCounts Fetcher::counts() const {
  absl::MutexLock lock(&mu_);
  return counts_;
}

}  // namespace fetch_service
