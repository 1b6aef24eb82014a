// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/transfer_fixture.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <memory>
#include <mutex>  // NOLINT(build/c++11): a control
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/raw_share.h"

namespace curlshare::benchmarks {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerCounts;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::RawShare;

absl::Duration Cpu(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return absl::DurationFromTimespec(time);
}

std::string Url(const HttpServer& server, const Job& job) {
  std::string url = server.url(job.target, job.host);
  if (job.http_after_first) url.replace(0, url.find(':'), "http");
  return url;
}

std::unique_ptr<HttpServer> NewServer(bool tls) {
  HttpServerOptions options;
  options.tls = tls;
  return HttpServer::Start(options).value();
}

// What this thread has used so far.
absl::Duration ThreadCpu() { return Cpu(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace

bool ConnectionsKept(const HttpServerCounts& counts, int threads) {
  return counts.connections <= threads + 1;
}
bool ConnectionsNew(const HttpServerCounts& counts, int /*threads*/) {
  return counts.connections == counts.requests;
}
bool SomeResumed(const HttpServerCounts& counts, int threads) {
  // The first ones of all threads come at once, and find nothing. Up to 8.9 TLS
  // sessions are not among the kinds that are shared by default.
  return counts.connections == counts.requests &&
         (counts.requests < 4 * threads || counts.tls_resumed > 0 ||
          !DefaultLockData().Contains(LockData::kSslSession));
}
bool NoneResumed(const HttpServerCounts& counts, int /*threads*/) {
  return counts.tls_resumed == 0;
}

World::World(const Job& job, int threads)
    : job_(job),
      server_(NewServer(job.tls)),
      url_(Url(*server_, job)),
      first_url_(job.first_target == nullptr
                     ? ""
                     : server_->url(job.first_target, job.host)),
      ca_pem_(server_->ca_pem()),
      all_prepared_(threads),
      all_ready_(threads),
      all_done_(threads) {
  if (job.new_connections_and_bundle) {
    // Where that fails no request succeeds, which is an error of the benchmark.
    std::ofstream(ca_file()) << std::ifstream(kBundle).rdbuf() << ca_pem_;
  }
  const LockDataSet kinds =
      ((job.kinds.empty() ? DefaultLockData() : job.kinds) | job.more_kinds) -
      job.fewer_kinds;
  switch (job.way) {
    case Way::kNoShare:
    case Way::kHandMadePool:
    case Way::kOneCallAtATime:
      break;
    case Way::kByHand:
      raw_ = RawShare::Create(kinds - LockData::kConnect,
                              RawShare::Mutexes::kOnePerKind)
                 .value();
      break;
    case Way::kLibrary:
    case Way::kLibraryGated:
    case Way::kSharePerThread:
      ShareOptions options;
      options.lock_data = kinds;
      // While threads wait for each other, all their connections are idle.
      options.connections.max_idle =
          std::max(options.connections.max_idle, threads);
      if (job.way == Way::kLibraryGated) {
        options.concurrency = Concurrency::kGated;
      }
      const int count = job.way == Way::kSharePerThread ? threads : 1;
      for (int i = 0; i < count; ++i) {
        shares_.push_back(Share::Create(options).value());
      }
      break;
  }
  process_cpu_before_ = Cpu(CLOCK_PROCESS_CPUTIME_ID);
}

bool World::Prepare(const benchmark::State& state) {
  bool ok = true;
  if (state.thread_index() == 0 && !first_url_.empty()) {
    ok = Client(*this, 0, first_url_).FetchAnything();
  }
  all_prepared_.Block();
  return ok;
}

void World::Start(const benchmark::State& state) {
  all_ready_.Block();
  if (state.thread_index() == 0) start_ = absl::Now();
}

void World::Report(benchmark::State& state, bool ok,
                   absl::Duration client_cpu) {
  if (!ok) state.SkipWithError("a request failed");
  client_cpu_ns_ += absl::ToInt64Nanoseconds(client_cpu);
  all_done_.Block();
  if (state.thread_index() != 0) return;
  state.counters["requests_per_second"] =
      static_cast<double>(state.iterations() * state.threads()) /
      absl::ToDoubleSeconds(absl::Now() - start_);
  const absl::Duration process =
      Cpu(CLOCK_PROCESS_CPUTIME_ID) - process_cpu_before_;
  const absl::Duration clients = absl::Nanoseconds(client_cpu_ns_.load());
  const HttpServerCounts counts = server_->counts();
  if (job_.reused != nullptr && !job_.reused(counts, state.threads())) {
    state.SkipWithError("the reuse that is measured did not happen");
  }
  const double thousands = counts.requests / 1000.0;
  state.counters["requests"] = counts.requests;
  state.counters["connections"] = counts.connections;
  if (!shares_.empty()) {
    double reused = 0;
    double opened = 0;
    double closed = 0;
    for (const std::unique_ptr<Share>& share : shares_) {
      const ConnectionStats stats = share->stats().connections;
      reused += static_cast<double>(stats.reused);
      opened += static_cast<double>(stats.opened);
      closed +=
          static_cast<double>(stats.closed_idle + stats.closed_old +
                              stats.closed_over_cap + stats.closed_failed);
    }
    state.counters["pool_reused_percent"] =
        100 * reused / std::max(1.0, reused + opened);
    state.counters["pool_closed"] = closed;
  }
  state.counters["tls_full"] = counts.tls_full;
  state.counters["tls_resumed"] = counts.tls_resumed;
  state.counters["resumed_percent"] =
      100.0 * counts.tls_resumed /
      std::max(1, counts.tls_full + counts.tls_resumed);
  state.counters["client_cpu_s"] = absl::ToDoubleSeconds(clients) / thousands;
  state.counters["server_cpu_s"] =
      absl::ToDoubleSeconds(process - clients) / thousands;
}

Client::Client(World& world, int thread, const std::string& url)
    : world_(world) {
  switch (world.job().way) {
    case Way::kNoShare:
    case Way::kLibrary:
    case Way::kLibraryGated:
    case Way::kSharePerThread:
      ok_ = SetUpEasy(thread, url);
      break;
    case Way::kByHand:
    case Way::kHandMadePool:
    case Way::kOneCallAtATime:
      ok_ = SetUpByHand(url);
      break;
  }
}

Client::~Client() {
  if (curl_ == nullptr) return;
  if (world_.job().way == Way::kHandMadePool) {
    world_.pool().GiveBack(curl_);
  } else {
    curl_easy_cleanup(curl_);
  }
}

bool Client::SetUpEasy(int thread, const std::string& url) {
  const Job& job = world_.job();
  const std::string& ca = world_.ca_pem();
  easy_ = Easy::Create().value();
  Easy& easy = *easy_;
  if (Share* const share = world_.share(thread);
      share != nullptr && !easy.Attach(*share).ok()) {
    return false;
  }
  if (job.new_connections_and_bundle) {
    if (!easy.SetOption<CURLOPT_CAINFO>(world_.ca_file()).ok() ||
        !easy.SetOption<CURLOPT_FORBID_REUSE>(1L).ok()) {
      return false;
    }
  } else if (!ca.empty() && !easy.SetCaCertificates(ca).ok()) {
    return false;
  }
  return easy.SetUrl(url).ok() &&
         easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4).ok() &&
         (!job.cookies || easy.SetOption<CURLOPT_COOKIEFILE>("").ok()) &&
         (job.cookie == nullptr ||
          easy.SetOption<CURLOPT_COOKIELIST>(job.cookie).ok()) &&
         (!job.http_after_first ||
          easy.SetOption<CURLOPT_CONNECT_TO>(
                  {absl::StrCat("::127.0.0.1:", world_.server().port())})
              .ok());
}

bool Client::SetUpByHand(const std::string& url) {
  const auto set = [this](CURLoption option, auto value) {
    return curl_easy_setopt(curl_, option, value) == CURLE_OK;
  };
  if (world_.job().way == Way::kHandMadePool) curl_ = world_.pool().Take();
  if (curl_ == nullptr) {
    // What is the same for every request, once.
    curl_ = curl_easy_init();
    const std::string& ca = world_.ca_pem();
    curl_blob blob;
    blob.data = const_cast<char*>(ca.data());  // NOLINT: copied
    blob.len = ca.size();
    blob.flags = CURL_BLOB_COPY;
    if (curl_ == nullptr ||
        (world_.raw_share() != nullptr &&
         !set(CURLOPT_SHARE, world_.raw_share())) ||
        !set(CURLOPT_NOSIGNAL, 1L) ||
        !set(CURLOPT_IPRESOLVE, static_cast<long>(CURL_IPRESOLVE_V4)) ||
        (!ca.empty() && !set(CURLOPT_CAINFO_BLOB, &blob))) {
      return false;
    }
  }
  const curl_write_callback drop = [](char*, size_t size, size_t count, void*) {
    return size * count;
  };
  return set(CURLOPT_WRITEFUNCTION, drop) && set(CURLOPT_URL, url.c_str());
}

bool Client::Perform() {
  if (easy_.has_value()) return easy_->Perform().ok();
  if (world_.job().way == Way::kOneCallAtATime) {
    const std::lock_guard<std::mutex> lock(world_.one_call());
    return curl_easy_perform(curl_) == CURLE_OK;
  }
  return curl_easy_perform(curl_) == CURLE_OK;
}

bool Client::BodyIsRight() {
  const int64_t expected = world_.job().body_bytes;
  if (expected < 0) return true;
  curl_off_t size = -1;
  if (easy_.has_value()) {
    size = easy_->GetInfo<CURLINFO_SIZE_DOWNLOAD_T>().value_or(-1);
  } else {
    curl_easy_getinfo(curl_, CURLINFO_SIZE_DOWNLOAD_T, &size);
  }
  return size == expected;
}

absl::Duration Client::first_byte() {
  curl_off_t us = 0;
  if (easy_.has_value()) {
    us = easy_->GetInfo<CURLINFO_STARTTRANSFER_TIME_T>().value_or(0);
  } else {
    curl_easy_getinfo(curl_, CURLINFO_STARTTRANSFER_TIME_T, &us);
  }
  return absl::Microseconds(us);
}

void KeptHandles(benchmark::State& state, World& world) {
  const absl::Duration before = ThreadCpu();
  bool ok = world.Prepare(state);
  Client client(world, state.thread_index());
  ok = client.Fetch() && ok;  // opens the connection
  world.Start(state);
  for (auto _ : state) ok = client.Fetch() && ok;
  world.Report(state, ok, ThreadCpu() - before);
}

void FreshHandles(benchmark::State& state, World& world) {
  const absl::Duration before = ThreadCpu();
  bool ok = world.Prepare(state);
  world.Start(state);
  for (auto _ : state) {
    Client client(world, state.thread_index());
    ok = client.Fetch() && ok;
  }
  world.Report(state, ok, ThreadCpu() - before);
}

std::unique_ptr<World>& CurrentWorld() {
  static std::unique_ptr<World> world;
  return world;
}

}  // namespace curlshare::benchmarks
