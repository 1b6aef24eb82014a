// Requests per second of whole transfers, with each way of sharing.
//
//   BM_Kept       one handle a thread, which keeps its connection
//   BM_Tls        a new handle and a new connection for each request, HTTPS
//   BM_Latency    kept connections, a server that answers after 20 ms
//   BM_Kind       kinds that by hand are not safe, with this library; beside
//                 each the same requests without a share
//   BM_Psl        cookies with a Domain, so that each answer takes the PSL
//                 lock: how often threads meet there
#include <algorithm>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/transfer_fixture.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"

namespace curlshare::benchmarks {
namespace {

constexpr Job Kept(Way way) {
  Job job{way, "/"};
  job.reused = &ConnectionsKept;
  return job;
}
template <Way kWay>
constexpr Job kKept = Kept(kWay);

constexpr Job Tls(Way way) {
  Job job{way, "/"};
  job.tls = true;
  job.reused = way == Way::kNoShare ? &NoneResumed : &SomeResumed;
  return job;
}
template <Way kWay>
constexpr Job kTls = Tls(kWay);

constexpr Job Latency(Way way) {
  Job job{way, "/delay?ms=20"};
  job.reused = &ConnectionsKept;
  return job;
}
template <Way kWay>
constexpr Job kLatency = Latency(kWay);

// Cookies: one handle is given a cookie, all send it. Connections: new handles
// take connections that others have left. HSTS: one handle learns of it, all
// follow. Each with what it is held against, the same requests without a share.
constexpr Job Cookie(Way way) {
  Job job{way, "/cookie/show"};
  job.kinds = LockData::kCookie;
  job.body_bytes = 3;  // a=1
  job.reused = &ConnectionsKept;
  if (way == Way::kNoShare) {
    job.cookie = "a=1";
  } else {
    job.first_target = "/cookie/set?name=a&value=1";
  }
  return job;
}
template <Way kWay>
constexpr Job kCookie = Cookie(kWay);

constexpr Job Connect(Way way) {
  Job job{way, "/"};
  job.kinds = LockData::kConnect;
  if (way != Way::kNoShare) job.reused = &ConnectionsReused;
  return job;
}
template <Way kWay>
constexpr Job kConnect = Connect(kWay);

constexpr Job Hsts(Way way) {
  Job job{way, "/"};
  job.tls = true;
  job.kinds = LockData::kHsts;
  if (way != Way::kNoShare) {
    job.host = "hsts.curlshare.test";
    job.first_target = "/hsts?max_age=1000";
    job.http_after_first = true;
  }
  return job;
}
template <Way kWay>
constexpr Job kHsts = Hsts(kWay);

constexpr Job Psl() {
  Job job{Way::kLibrary, "/cookie/set?name=a&value=1&domain=1"};
  job.kinds = LockData::kPsl;
  job.host = "localhost";
  job.cookies = true;
  job.reused = &ConnectionsKept;
  return job;
}
constexpr Job kPsl = Psl();

void PslLock(benchmark::State& state, World& world) {
  KeptHandles(state, world);
  if (state.thread_index() != 0) return;
  const KindLockStats psl = world.share(0)->stats().lock(LockData::kPsl);
  state.counters["psl_taken"] = static_cast<double>(psl.taken);
  state.counters["psl_contended"] = static_cast<double>(psl.contended);
  state.counters["psl_waited_us"] = absl::ToDoubleMicroseconds(psl.total_wait);
}

// A fixed number of requests of each thread, as one takes 20 ms and a thread's
// share of the time is what is measured.
void LatencyOnOneCallAtATime() {
  for (int threads = 1; threads <= 256; threads *= 2) {
    RegisterTransfers<kLatency<Way::kOneCallAtATime>>(
        "BM_Latency/one_call_at_a_time", &KeptHandles)
        ->Threads(threads)
        ->Iterations(std::max(1, 16 / threads));
  }
}

void RegisterAll() {
  RegisterTransfers<kKept<Way::kNoShare>>("BM_Kept/no_share", &KeptHandles)
      ->ThreadRange(1, 64);
  RegisterTransfers<kKept<Way::kByHand>>("BM_Kept/by_hand", &KeptHandles)
      ->ThreadRange(1, 64);
  RegisterTransfers<kKept<Way::kLibrary>>("BM_Kept/library", &KeptHandles)
      ->ThreadRange(1, 64);
  RegisterTransfers<kKept<Way::kLibraryGated>>("BM_Kept/library_gated",
                                               &KeptHandles)
      ->ThreadRange(1, 64);

  RegisterTransfers<kTls<Way::kNoShare>>("BM_Tls/no_share", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kByHand>>("BM_Tls/by_hand", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kByHandOneMutex>>("BM_Tls/by_hand_one_mutex",
                                                &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kLibrary>>("BM_Tls/library", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kSharePerThread>>("BM_Tls/share_per_thread",
                                                &FreshHandles)
      ->ThreadRange(1, 16);

  RegisterTransfers<kLatency<Way::kLibrary>>("BM_Latency/library", &KeptHandles)
      ->ThreadRange(1, 256)
      ->Iterations(16);
  RegisterTransfers<kLatency<Way::kLibraryGated>>("BM_Latency/library_gated",
                                                  &KeptHandles)
      ->ThreadRange(1, 256)
      ->Iterations(16);
  LatencyOnOneCallAtATime();

  RegisterTransfers<kCookie<Way::kLibrary>>("BM_Kind/cookie", &KeptHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kCookie<Way::kNoShare>>("BM_Kind/cookie_no_share",
                                            &KeptHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kConnect<Way::kLibrary>>("BM_Kind/connect", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kConnect<Way::kNoShare>>("BM_Kind/connect_no_share",
                                             &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kHsts<Way::kLibrary>>("BM_Kind/hsts", &KeptHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kHsts<Way::kNoShare>>("BM_Kind/hsts_no_share", &KeptHandles)
      ->ThreadRange(1, 16);

  RegisterTransfers<kPsl>("BM_Psl", &PslLock)->ThreadRange(1, 64);
}

}  // namespace
}  // namespace curlshare::benchmarks

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  curlshare::benchmarks::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
