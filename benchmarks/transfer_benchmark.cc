// Whole transfers, by many threads: requests per second with each way of
// sharing, side by side. The server is in this process, on loopback, so that it
// takes part of the processors.
//
//   BM_Kept       one handle a thread, which keeps its connection
//   BM_Tls        a new connection for each request, HTTPS
//   BM_Latency    a server that answers after 20 ms
//   BM_Kind<Kind> a kind that by hand is not safe: with this library only
//   BM_Psl        cookies with a Domain, so that each answer takes the PSL
//   lock:
//                 how often threads meet there
//
// Every request must succeed, and the reuse that is measured must have
// happened, by the server's counts: else the benchmark ends with an error.
#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <mutex>  // NOLINT(build/c++11): a control
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/raw_share.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::HttpServerOptions;
using ::curlshare::testing::RawShare;

enum class Way {
  kNoShare,       // by hand, each handle for itself
  kByHand,        // by hand, a share of the kinds that are safe so
  kOneLock,       // by hand, no share, one mutex around curl_easy_perform
  kLibrary,       // this library, the default kinds: no gate
  kLibraryGated,  // the same kinds behind a gate
};

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// What the threads of one run have in common.
struct World {
  World(Way way, bool tls, LockDataSet kinds) : way(way) {
    HttpServerOptions options;
    options.tls = tls;
    server = HttpServer::Start(options).value();
    if (way == Way::kByHand) {
      raw = RawShare::Create(kinds, RawShare::Mutexes::kOnePerKind).value();
    } else if (way == Way::kLibrary || way == Way::kLibraryGated) {
      ShareOptions share_options;
      share_options.lock_data = kinds;
      if (way == Way::kLibraryGated) {
        share_options.concurrency = Concurrency::kGated;
      }
      share = Share::Create(share_options).value();
    }
  }

  const Way way;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<RawShare> raw;
  std::unique_ptr<Share> share;
  std::mutex one_lock;
};

struct Job {
  Way way;
  const char* target;
  bool tls = false;
  bool new_connections = false;
  LockDataSet kinds = DefaultLockData();
  const char* host = "127.0.0.1";
  bool cookies = false;  // the handle's own cookie engine, where none is shared
};

// One thread's handle.
class Client {
 public:
  Client(World& world, const Job& job)
      : world_(world), url_(world.server->url(job.target, job.host)) {
    const std::string ca = world.server->ca_pem();
    if (world.share != nullptr) {
      easy_ = std::make_unique<Easy>(Easy::Create().value());
      ok_ = easy_->Attach(*world.share).ok() && easy_->SetUrl(url_).ok() &&
            easy_->SetOption<CURLOPT_FORBID_REUSE>(job.new_connections).ok() &&
            (!job.cookies || easy_->SetOption<CURLOPT_COOKIEFILE>("").ok()) &&
            (ca.empty() || easy_->SetCaCertificates(ca).ok());
      return;
    }
    curl_ = CurlPtr(curl_easy_init());
    const curl_write_callback drop = [](char*, size_t size, size_t count,
                                        void*) { return size * count; };
    curl_blob blob;
    blob.data = const_cast<char*>(ca.data());  // NOLINT: copied
    blob.len = ca.size();
    blob.flags = CURL_BLOB_COPY;
    ok_ = true;
    for (const CURLcode code :
         {curl_easy_setopt(curl_.get(), CURLOPT_NOSIGNAL, 1L),
          curl_easy_setopt(curl_.get(), CURLOPT_WRITEFUNCTION, drop),
          curl_easy_setopt(curl_.get(), CURLOPT_URL, url_.c_str()),
          curl_easy_setopt(curl_.get(), CURLOPT_FORBID_REUSE,
                           job.new_connections ? 1L : 0L),
          world.raw == nullptr
              ? CURLE_OK
              : curl_easy_setopt(curl_.get(), CURLOPT_SHARE, world.raw->get()),
          ca.empty()
              ? CURLE_OK
              : curl_easy_setopt(curl_.get(), CURLOPT_CAINFO_BLOB, &blob)}) {
      ok_ = ok_ && code == CURLE_OK;
    }
  }

  bool Fetch() {
    if (easy_ != nullptr) return ok_ && easy_->Perform().ok();
    if (world_.way == Way::kOneLock) {
      const std::lock_guard<std::mutex> lock(world_.one_lock);
      return ok_ && curl_easy_perform(curl_.get()) == CURLE_OK;
    }
    return ok_ && curl_easy_perform(curl_.get()) == CURLE_OK;
  }

 private:
  World& world_;
  const std::string url_;
  std::unique_ptr<Easy> easy_;
  CurlPtr curl_;
  bool ok_ = false;
};

// Runs `job`; the first thread checks `reused` at the end.
void Run(benchmark::State& state, const Job& job,
         bool (*reused)(const testing::HttpServerCounts&, int threads)) {
  static std::unique_ptr<World> world;  // of the run under way
  if (state.thread_index() == 0) {
    world = std::make_unique<World>(job.way, job.tls, job.kinds);
  }
  std::unique_ptr<Client> client;
  bool ok = true;
  for (auto _ : state) {
    // Here all threads have started, and the first has made the world.
    if (client == nullptr) {
      client = std::make_unique<Client>(*world, job);
    }
    ok = client->Fetch() && ok;
  }
  if (!ok) state.SkipWithError("a request failed");
  state.SetItemsProcessed(state.iterations());
  client = nullptr;
  if (state.thread_index() == 0) {
    const auto counts = world->server->counts();
    if (!reused(counts, state.threads())) {
      state.SkipWithError("the reuse that is measured did not happen");
    }
    if (world->share != nullptr && job.kinds == LockData::kPsl) {
      const KindLockStats psl = world->share->stats().lock(LockData::kPsl);
      state.counters["psl_taken"] = static_cast<double>(psl.taken);
      state.counters["psl_contended"] = static_cast<double>(psl.contended);
      state.counters["psl_waited_us"] =
          absl::ToDoubleMicroseconds(psl.total_wait);
    }
    state.counters["connections"] = counts.connections;
    state.counters["tls_full"] = counts.tls_full;
    state.counters["tls_resumed"] = counts.tls_resumed;
  }
}

bool ConnectionsKept(const testing::HttpServerCounts& counts, int threads) {
  return counts.connections <= threads;
}
bool Anything(const testing::HttpServerCounts&, int) { return true; }

template <Way kWay>
void BM_Kept(benchmark::State& state) {
  Run(state, {kWay, "/"}, &ConnectionsKept);
}

template <Way kWay>
void BM_Tls(benchmark::State& state) {
  Run(state, {kWay, "/", /*tls=*/true, /*new_connections=*/true}, &Anything);
}

template <Way kWay>
void BM_Latency(benchmark::State& state) {
  Run(state, {kWay, "/delay?ms=20"}, &ConnectionsKept);
}

template <LockData kKind>
void BM_Kind(benchmark::State& state) {
  Run(state,
      {Way::kLibrary,
       kKind == LockData::kCookie ? "/cookie/set?name=a&value=1" : "/",
       /*tls=*/kKind == LockData::kHsts, /*new_connections=*/false, kKind},
      &ConnectionsKept);
}

void BM_Psl(benchmark::State& state) {
  Run(state,
      {Way::kLibrary, "/cookie/set?name=a&value=1&domain=1", /*tls=*/false,
       /*new_connections=*/false, LockData::kPsl, "localhost",
       /*cookies=*/true},
      &ConnectionsKept);
}

#define CURLSHARE_WAYS(name, threads)          \
  BENCHMARK_TEMPLATE(name, Way::kNoShare)      \
      ->ThreadRange(1, threads)                \
      ->UseRealTime();                         \
  BENCHMARK_TEMPLATE(name, Way::kByHand)       \
      ->ThreadRange(1, threads)                \
      ->UseRealTime();                         \
  BENCHMARK_TEMPLATE(name, Way::kLibrary)      \
      ->ThreadRange(1, threads)                \
      ->UseRealTime();                         \
  BENCHMARK_TEMPLATE(name, Way::kLibraryGated) \
      ->ThreadRange(1, threads)                \
      ->UseRealTime()

CURLSHARE_WAYS(BM_Kept, 64);
CURLSHARE_WAYS(BM_Tls, 16);
CURLSHARE_WAYS(BM_Latency, 256);
BENCHMARK_TEMPLATE(BM_Latency, Way::kOneLock)
    ->ThreadRange(1, 256)
    ->UseRealTime();
BENCHMARK_TEMPLATE(BM_Kind, LockData::kCookie)
    ->ThreadRange(1, 16)
    ->UseRealTime();
BENCHMARK_TEMPLATE(BM_Kind, LockData::kConnect)
    ->ThreadRange(1, 16)
    ->UseRealTime();
BENCHMARK_TEMPLATE(BM_Kind, LockData::kHsts)->ThreadRange(1, 16)->UseRealTime();

BENCHMARK(BM_Psl)->ThreadRange(1, 64)->UseRealTime();

#undef CURLSHARE_WAYS

}  // namespace
}  // namespace curlshare
