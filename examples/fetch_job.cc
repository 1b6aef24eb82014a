// SPDX-License-Identifier: Apache-2.0
#include "examples/fetch_job.h"

#include <curl/curl.h>
#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/share.h"

namespace curlshare::examples {
namespace {

// CURLOPT_RESOLVER_START_FUNCTION: libcurl calls it before it looks up a name,
// but not if its DNS cache has the answer.
int OnLookup(void* /*resolver*/, void* /*reserved*/, void* counts) {
  ++static_cast<JobResult*>(counts)->dns_lookups;
  return 0;
}

// Called by CURLOPT_PREREQFUNCTION when there is a connection, new or reused,
// and before the request is sent. Only at that time libcurl gives access to the
// SSL object of the connection (CURLINFO_TLS_SSL_PTR), which knows whether its
// session was resumed.
int OnConnected(CURL* curl, JobResult* counts) {
  long connects = 0;
  if (curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects) != CURLE_OK ||
      connects == 0) {
    return CURL_PREREQFUNC_OK;
  }
  const curl_tlssessioninfo* tls = nullptr;
  if (curl_easy_getinfo(curl, CURLINFO_TLS_SSL_PTR, &tls) != CURLE_OK ||
      tls == nullptr || tls->internals == nullptr) {
    return CURL_PREREQFUNC_OK;  // no TLS
  }
  if (tls->backend != CURLSSLBACKEND_OPENSSL) {
    counts->tls_full.reset();
    counts->tls_resumed.reset();
  } else if (SSL_session_reused(static_cast<SSL*>(tls->internals)) == 1) {
    ++*counts->tls_resumed;
  } else {
    ++*counts->tls_full;
  }
  return CURL_PREREQFUNC_OK;
}

// Returns a short name for an error, to count errors by it.
std::string Reason(const absl::Status& status) {
  const std::optional<CURLcode> code = GetEasyCode(status);
  return code.has_value() && status.code() != absl::StatusCode::kCancelled
             ? EasyCodeName(*code)
             : absl::StatusCodeToString(status.code());
}

// Adds `part` to `sum`. If one of them is not known, the sum is not known.
void Add(std::optional<int64_t>& sum, const std::optional<int64_t>& part) {
  if (sum.has_value() && part.has_value()) {
    *sum += *part;
  } else {
    sum.reset();
  }
}

}  // namespace

Job::Job(JobOptions options, Share* share)
    : options_(std::move(options)), share_(share) {}

absl::Status Job::NewHandle(Worker& worker) {
  absl::StatusOr<Easy> created = Easy::Create();
  if (!created.ok()) return created.status();
  auto easy = std::make_unique<Easy>(*std::move(created));
  if (share_ != nullptr) {
    if (absl::Status s = easy->Attach(*share_); !s.ok()) return s;
  }
  if (!options_.ca_pem.empty()) {
    if (absl::Status s = easy->SetCaCertificates(options_.ca_pem); !s.ok()) {
      return s;
    }
  }
  worker.curl = easy->native_handle();
  for (const absl::Status& s : {
           easy->SetTimeout(options_.timeout),
           easy->SetOption<CURLOPT_RESOLVER_START_FUNCTION>(&OnLookup,
                                                            &worker.counts),
           easy->SetOption<CURLOPT_PREREQFUNCTION>(
               [](void*data, char*, char*, int, int) {
                 auto* worker = static_cast<Worker*>(data);
                 return OnConnected(worker->curl, &worker->counts);
               },
               &worker),
       }) {
    if (!s.ok()) return s;
  }
  absl::MutexLock lock(&mu_);
  handles_.insert(easy.get());
  worker.easy = std::move(easy);
  return absl::OkStatus();
}

void Job::DropHandle(Worker& worker) {
  absl::MutexLock lock(&mu_);
  handles_.erase(worker.easy.get());
  worker.easy = nullptr;
}

void Job::Fetch(Worker& worker, const std::string& url) {
  JobResult& counts = worker.counts;
  absl::Status status =
      worker.easy == nullptr ? NewHandle(worker) : absl::OkStatus();
  long code = 0;
  if (status.ok()) status = worker.easy->SetUrl(url);
  if (status.ok()) {
    status = worker.easy->Perform();
    code = worker.easy->GetInfo<CURLINFO_RESPONSE_CODE>().value_or(0);
    counts.connections +=
        worker.easy->GetInfo<CURLINFO_NUM_CONNECTS>().value_or(0);
  }
  if (!status.ok()) {
    ++counts.failures[Reason(status)];
  } else if (code >= 400) {
    ++counts.failures[absl::StrCat("HTTP ", code)];
  } else {
    ++counts.ok;
  }
}

void Job::Work() {
  Worker worker;
  while (!stop_) {
    const int64_t i = next_++;
    if (i >= options_.requests) break;
    Fetch(worker, options_.urls[i % options_.urls.size()]);
    if (options_.new_handles) DropHandle(worker);
    ++done_;
  }
  DropHandle(worker);
  const JobResult& counts = worker.counts;
  absl::MutexLock lock(&mu_);
  result_.ok += counts.ok;
  for (const auto& [reason, times] : counts.failures) {
    result_.failures[reason] += times;
    result_.failed += times;
  }
  result_.connections += counts.connections;
  result_.dns_lookups += counts.dns_lookups;
  Add(result_.tls_full, counts.tls_full);
  Add(result_.tls_resumed, counts.tls_resumed);
  --working_;
}

JobResult Job::Run() {
  {
    absl::MutexLock lock(&mu_);
    working_ = options_.threads;
  }
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  threads.reserve(options_.threads);
  for (int i = 0; i < options_.threads; ++i) {
    threads.emplace_back([this] { Work(); });
  }
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&mu_);
  result_.elapsed = absl::Now() - start;
  return result_;
}

void Job::Stop() {
  stop_ = true;
  if (share_ != nullptr) {
    // If it does not succeed in that time, the handles are still cancelled
    // below.
    share_->CloseNow(absl::Now() + absl::Seconds(1)).IgnoreError();
  }
  // A thread may have looked at `stop_` just before it was set, and begin a
  // transfer after the first Cancel(). So this repeats until no thread is left.
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return working_ == 0;
  };
  absl::MutexLock lock(&mu_);
  do {
    for (Easy* easy : handles_) easy->Cancel();
  } while (
      !mu_.AwaitWithTimeout(absl::Condition(&idle), absl::Milliseconds(50)));
}

}  // namespace curlshare::examples
