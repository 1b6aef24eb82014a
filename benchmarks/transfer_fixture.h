// SPDX-License-Identifier: Apache-2.0
// Whole transfers by many threads against a server in this process, on
// loopback: what the benchmarks of transfers have in common.
//
//   constexpr Job kJob = {Way::kLibrary, "/"};
//   RegisterTransfers<kJob>("BM_Kept/library", &KeptHandles)->ThreadRange(1,
//   8);
//
// A benchmark ends with an error where a request failed, or where the reuse
// that it is about did not happen, by the server's counts.
//
// Counters of every run: "requests_per_second", from when all threads start to
// when the last one ends (Google Benchmark's own rate is of each thread's time,
// which is less than that where some wait for others); "requests",
// "connections", "tls_full", "tls_resumed", "resumed_percent" (of handshakes),
// by the server's counts, warm-up included; and "client_cpu_s" and
// "server_cpu_s", the CPU seconds that a thousand requests took.
#ifndef CURLSHARE_BENCHMARKS_TRANSFER_FIXTURE_H_
#define CURLSHARE_BENCHMARKS_TRANSFER_FIXTURE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>  // NOLINT(build/c++11): a control
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/raw_share.h"
#include "curlshare/verification/temp_file.h"

namespace curlshare::benchmarks {

enum class Way {
  kNoShare,         // this library, each handle for itself
  kLibrary,         // this library, one share
  kLibraryGated,    // the same behind a gate
  kSharePerThread,  // this library, a share for each thread
  kByHand,          // by hand, a share, a mutex for each kind
  kHandMadePool,    // by hand, no share, handles that threads take in turn
  kOneCallAtATime,  // by hand, no share, one mutex around curl_easy_perform
};

struct Job {
  Way way;
  const char* target;
  bool tls = false;
  // What is shared; empty: DefaultLockData(). By hand never connections, which
  // libcurl's locks do not protect.
  LockDataSet kinds = {};
  LockDataSet more_kinds = {};
  LockDataSet fewer_kinds = {};
  const char* host = "127.0.0.1";
  // A cookie engine for each handle, where cookies are not shared, and what is
  // in it at the start, a line of Netscape's format.
  bool cookies = false;
  const char* cookie = nullptr;
  // What one handle of the share fetches before all others, so that these have
  // something to share.
  const char* first_target = nullptr;
  // All but the first request ask for http://: only a handle that knows from
  // HSTS that it must not can talk to the server. Hosts lead to the server.
  bool http_after_first = false;
  // Each request makes a new connection, and trusts the system's bundle of
  // certificate authorities besides the server's own, in one file.
  bool new_connections_and_bundle = false;
  // How many bytes the body of each answer must have; -1: any number.
  int64_t body_bytes = -1;
  // What must hold of the server's counts at the end; null: nothing.
  bool (*reused)(const testing::HttpServerCounts& counts,
                 int threads) = nullptr;
};

// The system's bundle of certificate authorities.
inline constexpr char kBundle[] = "/etc/ssl/certs/ca-certificates.crt";

// At most a connection for each thread, and one for the first request.
bool ConnectionsKept(const testing::HttpServerCounts& counts, int threads);
// One for each request.
bool ConnectionsNew(const testing::HttpServerCounts& counts, int threads);
// Some handshakes were resumed.
bool SomeResumed(const testing::HttpServerCounts& counts, int threads);
// None was.
bool NoneResumed(const testing::HttpServerCounts& counts, int threads);

// What one writes by hand to keep connections without a share: easy handles,
// each for the thread that has taken it. Safe for concurrent use.
class HandMadePool {
 public:
  HandMadePool() = default;
  HandMadePool(const HandMadePool&) = delete;
  HandMadePool& operator=(const HandMadePool&) = delete;
  ~HandMadePool() {
    for (CURL* const curl : idle_) curl_easy_cleanup(curl);
  }

  // The one that was used last; null where there is none.
  CURL* Take() ABSL_LOCKS_EXCLUDED(mu_) {
    const absl::MutexLock lock(&mu_);
    if (idle_.empty()) return nullptr;
    CURL* const curl = idle_.back();
    idle_.pop_back();
    return curl;
  }
  void GiveBack(CURL* curl) ABSL_LOCKS_EXCLUDED(mu_) {
    const absl::MutexLock lock(&mu_);
    idle_.push_back(curl);
  }

 private:
  absl::Mutex mu_;
  std::vector<CURL*> idle_ ABSL_GUARDED_BY(mu_);
};

// What the threads of one run have in common.
class World {
 public:
  World(const Job& job, int threads);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const Job& job() const { return job_; }
  const std::string& url() const { return url_; }
  const std::string& first_url() const { return first_url_; }
  const std::string& ca_pem() const { return ca_pem_; }
  testing::HttpServer& server() { return *server_; }
  // Null where this library does not take part.
  Share* share(int thread) const {
    return shares_.empty() ? nullptr : shares_[thread % shares_.size()].get();
  }
  CURLSH* raw_share() const { return raw_ == nullptr ? nullptr : raw_->get(); }
  HandMadePool& pool() { return pool_; }
  // Where the job asks for the bundle: that and the server's own certificate.
  const std::string& ca_file() const { return ca_file_.path(); }
  std::mutex& one_call() { return one_call_; }

  // Each thread calls Prepare before it does anything, which makes the job's
  // first request, Start right before the requests that are timed, and Report
  // right after them; all wait for all threads. `client_cpu` is what the thread
  // used, warm-up included.
  [[nodiscard]] bool Prepare(const benchmark::State& state);
  void Start(const benchmark::State& state);
  void Report(benchmark::State& state, bool ok, absl::Duration client_cpu);

 private:
  const Job job_;
  const std::unique_ptr<testing::HttpServer> server_;
  const std::string url_;
  const std::string first_url_;
  const std::string ca_pem_;
  // The mutexes of libcurl's share outlive the handles: Clients go first.
  std::unique_ptr<testing::RawShare> raw_;
  std::vector<std::unique_ptr<Share>> shares_;
  HandMadePool pool_;
  const testing::TempFile ca_file_;
  std::mutex one_call_;
  absl::Barrier all_prepared_;
  absl::Barrier all_ready_;
  absl::Barrier all_done_;
  absl::Time start_;  // written and read by the first thread
  std::atomic<int64_t> client_cpu_ns_{0};
  absl::Duration process_cpu_before_;
};

// A handle in one of the ways.
class Client {
 public:
  // `url` must outlive it.
  Client(World& world, int thread, const std::string& url);
  Client(World& world, int thread) : Client(world, thread, world.url()) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  // True if the request succeeded.
  bool Fetch() { return FetchAnything() && BodyIsRight(); }
  // The same, whatever the body.
  bool FetchAnything() { return ok_ && Perform(); }
  // Of the newest request.
  absl::Duration first_byte();

 private:
  bool SetUpEasy(int thread, const std::string& url);
  bool SetUpByHand(const std::string& url);
  bool Perform();
  bool BodyIsRight();

  World& world_;
  std::optional<Easy> easy_;  // or:
  CURL* curl_ = nullptr;
  bool ok_ = false;
};

// One handle a thread, which has made a request before the time is taken.
void KeptHandles(benchmark::State& state, World& world);
// A new handle for each request, or one of the hand-made pool.
void FreshHandles(benchmark::State& state, World& world);

// The World of the run under way.
std::unique_ptr<World>& CurrentWorld();

// Registers a benchmark that runs `body` on each thread, in a World for kJob
// that is made before the threads start.
template <const Job& kJob>
benchmark::internal::Benchmark* RegisterTransfers(
    const char* name, void (*body)(benchmark::State&, World&)) {
  return benchmark::RegisterBenchmark(
             name,
             [body](benchmark::State& state) { body(state, *CurrentWorld()); })
      ->Setup([](const benchmark::State& state) {
        CurrentWorld() = std::make_unique<World>(kJob, state.threads());
      })
      ->Teardown([](const benchmark::State&) { CurrentWorld() = nullptr; })
      ->UseRealTime();
}

}  // namespace curlshare::benchmarks

#endif  // CURLSHARE_BENCHMARKS_TRANSFER_FIXTURE_H_
