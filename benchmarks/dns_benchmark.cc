// SPDX-License-Identifier: Apache-2.0
// New handles for each request, with a resolver that takes 50 ms (see
// scripted_resolver.h): look-ups, and the time to the first byte of the answer.
//
// Counters: "lookups", "lookups_per_request"; "first_byte_ms", the mean of all
// requests, and "first_byte_later_ms", without the first one of each thread,
// which finds the share's cache empty.
#include <cstdint>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/transfer_fixture.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/verification/scripted_resolver.h"

namespace curlshare::benchmarks {
namespace {

constexpr char kSlowHost[] = "slow.curlshare.test";
// Of each thread.
constexpr int kRequests = 20;

constexpr Job Dns(Way way) {
  Job job{way, "/"};
  job.host = kSlowHost;
  job.kinds = LockData::kDns;
  return job;
}
template <Way kWay>
constexpr Job kDns = Dns(kWay);

void FirstByte(benchmark::State& state, World& world) {
  if (state.thread_index() == 0) {
    testing::ScriptName(kSlowHost, {"127.0.0.1"}, absl::Milliseconds(50));
  }
  absl::Duration first;
  absl::Duration later;
  int64_t requests = 0;
  bool ok = world.Prepare(state);
  world.Start(state);
  for (auto _ : state) {
    Client client(world, state.thread_index());
    ok = client.Fetch() && ok;
    (requests++ == 0 ? first : later) += client.first_byte();
  }
  using ::benchmark::Counter;
  const auto mean = [](absl::Duration sum, int64_t count) {
    return Counter(absl::ToDoubleMilliseconds(sum) / static_cast<double>(count),
                   Counter::kAvgThreads);
  };
  state.counters["first_byte_ms"] = mean(first + later, requests);
  state.counters["first_byte_later_ms"] = mean(later, requests - 1);
  world.Report(state, ok, absl::ZeroDuration());
  if (state.thread_index() != 0) return;
  const int64_t lookups = testing::Lookups(kSlowHost);
  const int64_t all = requests * state.threads();
  const bool shared = world.job().way != Way::kNoShare;
  // At the start all threads look up at once; then the cache answers.
  if (shared ? lookups > state.threads() : lookups != all) {
    state.SkipWithError("the sharing that is measured did not happen");
  }
  state.counters["lookups"] = static_cast<double>(lookups);
  state.counters["lookups_per_request"] =
      static_cast<double>(lookups) / static_cast<double>(all);
}

template <Way kWay>
void Register(const char* name) {
  RegisterTransfers<kDns<kWay>>(name, &FirstByte)
      ->ThreadRange(1, 64)
      ->Iterations(kRequests);
}

void RegisterAll() {
  Register<Way::kNoShare>("BM_Dns/no_share");
  Register<Way::kByHand>("BM_Dns/by_hand");
  Register<Way::kLibrary>("BM_Dns/library");
  Register<Way::kSharePerThread>("BM_Dns/share_per_thread");
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
