// SPDX-License-Identifier: Apache-2.0
// Requests per second of whole transfers, with each way of sharing.
//
//   BM_Http, BM_Https   a new handle for each request without a share, in a
//                       share, and from a pool made by hand; and kept handles
//   BM_Tls              a new handle and a new connection for each request,
//                       HTTPS, of which TLS sessions alone are shared
//   BM_Bundle           the same in a default share, with the system's bundle
//                       of certificate authorities
//   BM_Latency          kept connections, a server that answers after 20 ms
//   BM_Kind             cookies and HSTS, beside the same requests without
//   BM_Psl              cookies with a Domain, so that each answer takes the
//                       PSL lock: how often threads meet there
#include <curl/curl.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/transfer_fixture.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"

namespace curlshare::benchmarks {
namespace {

constexpr Job Plain(Way way, bool tls, bool kept) {
  Job job{way, "/"};
  job.tls = tls;
  job.reused =
      kept || way != Way::kNoShare ? &ConnectionsKept : &ConnectionsNew;
  return job;
}
template <Way kWay, bool kHttps>
constexpr Job kFresh = Plain(kWay, kHttps, false);
template <Way kWay, bool kHttps>
constexpr Job kKept = Plain(kWay, kHttps, true);

constexpr Job Tls(Way way) {
  Job job{way, "/"};
  job.tls = true;
  job.fewer_kinds = LockData::kConnect;
  job.reused = way == Way::kNoShare ? &NoneResumed : &SomeResumed;
  return job;
}
template <Way kWay>
constexpr Job kTls = Tls(kWay);

constexpr Job Bundle(Way way) {
  Job job{way, "/"};
  job.tls = true;
  job.new_connections_and_bundle = true;
  job.reused = &ConnectionsNew;
  return job;
}
template <Way kWay>
constexpr Job kNewWithBundle = Bundle(kWay);

constexpr Job Latency(Way way) {
  Job job{way, "/delay?ms=20"};
  job.reused = &ConnectionsKept;
  return job;
}
template <Way kWay>
constexpr Job kLatency = Latency(kWay);

// Cookies: every request sends one. Where they are shared one handle has got it
// from the server, where not each has its own copy of it.
constexpr Job Cookie(Way way, bool shared) {
  Job job{way, "/cookie/show"};
  job.body_bytes = 3;  // a=1
  job.reused = &ConnectionsKept;
  if (shared) {
    job.more_kinds = LockData::kCookie;
    job.first_target = "/cookie/set?name=a&value=1";
  } else {
    job.cookies = true;
    job.cookie = "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t1";
  }
  return job;
}
template <Way kWay, bool kShared>
constexpr Job kCookie = Cookie(kWay, kShared);

// HSTS: one handle learns that the server wants HTTPS, all follow.
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

void UsualThreads(benchmark::internal::Benchmark* registered) {
  for (const int threads : {1, 2, 8, 16, 64}) registered->Threads(threads);
}

template <bool kHttps>
void RegisterRequests(const std::string& name) {
  const auto add = [&name](const char* way, auto* registered, auto* body) {
    registered((name + way).c_str(), body)->Apply(&UsualThreads);
  };
  add("/no_share", &RegisterTransfers<kFresh<Way::kNoShare, kHttps>>,
      &FreshHandles);
  add("/share", &RegisterTransfers<kFresh<Way::kLibrary, kHttps>>,
      &FreshHandles);
  add("/pool", &RegisterTransfers<kFresh<Way::kHandMadePool, kHttps>>,
      &FreshHandles);
  add("/kept", &RegisterTransfers<kKept<Way::kLibrary, kHttps>>, &KeptHandles);
}

void RegisterAll() {
  RegisterRequests<false>("BM_Http");
  RegisterTransfers<kKept<Way::kLibraryGated, false>>("BM_Http/kept_gated",
                                                      &KeptHandles)
      ->Apply(&UsualThreads);
  RegisterRequests<true>("BM_Https");

  RegisterTransfers<kTls<Way::kNoShare>>("BM_Tls/no_share", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kByHand>>("BM_Tls/by_hand", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kLibrary>>("BM_Tls/library", &FreshHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kTls<Way::kSharePerThread>>("BM_Tls/share_per_thread",
                                                &FreshHandles)
      ->ThreadRange(1, 16);
  if (std::ifstream(kBundle).is_open()) {
    // So many that what each thread reads once, in a share, does not weigh.
    for (const int threads : {1, 8}) {
      RegisterTransfers<kNewWithBundle<Way::kNoShare>>("BM_Bundle/no_share",
                                                       &FreshHandles)
          ->Threads(threads)
          ->Iterations(30);
      RegisterTransfers<kNewWithBundle<Way::kLibrary>>("BM_Bundle/share",
                                                       &FreshHandles)
          ->Threads(threads)
          ->Iterations(30);
    }
  }

  RegisterTransfers<kLatency<Way::kLibrary>>("BM_Latency/library", &KeptHandles)
      ->ThreadRange(1, 256)
      ->Iterations(16);
  RegisterTransfers<kLatency<Way::kLibraryGated>>("BM_Latency/library_gated",
                                                  &KeptHandles)
      ->ThreadRange(1, 256)
      ->Iterations(16);
  LatencyOnOneCallAtATime();

  RegisterTransfers<kCookie<Way::kLibrary, true>>("BM_Kind/cookie",
                                                  &KeptHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kCookie<Way::kLibrary, false>>("BM_Kind/cookie_own",
                                                   &KeptHandles)
      ->ThreadRange(1, 16);
  RegisterTransfers<kCookie<Way::kNoShare, false>>("BM_Kind/cookie_no_share",
                                                   &KeptHandles)
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
  // For tools/benchmark_report.
  benchmark::AddCustomContext("libcurl", curl_version());
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  curlshare::benchmarks::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
