// SPDX-License-Identifier: Apache-2.0
// What the connection pool of a share costs by itself: a multi handle is
// borrowed for an origin and given back, on one thread, while `idle` of them
// lie in the pool, each with a connection to that origin, as far as it knows.
#include <cstdint>
#include <memory>
#include <utility>

#include "benchmark/benchmark.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"

namespace curlshare::internal {
namespace {

// In use for as long as it keeps something: nobody takes it over.
class BusyKeeper final : public ConnectionKeeper {
 public:
  bool TryHold(Purpose /*purpose*/) override { return false; }
  bool CanHold() const override { return false; }
  bool IsHeld() const override { return true; }
  bool LetGo() override { return false; }
  void Surrender() override {}
  void EndHold() override {}
};

void BM_BorrowGiveBack(benchmark::State& state) {
  const OriginKey key = OriginOf("https://example.com/");
  ConnectionPool pool{ConnectionOptions()};
  BusyKeeper keeper;
  for (int64_t i = 0; i < state.range(0); ++i) {
    std::unique_ptr<MultiHandle> multi = MultiHandle::Create().value();
    pool.Add(multi.get(), &keeper);
    if (!pool.OnTransferEnd(*multi, key, /*opened=*/1, /*redirected=*/false,
                            /*alive=*/true)) {
      return state.SkipWithError("the pool is full");
    }
    pool.GiveBack(std::move(multi));
  }
  for (auto _ : state) {
    MultiHandle* const multi = pool.Borrow(key, "", &keeper, nullptr);
    if (multi == nullptr) {
      state.SkipWithError("nothing to borrow");
      break;
    }
    pool.GiveBack(std::unique_ptr<MultiHandle>(multi));
  }
}

BENCHMARK(BM_BorrowGiveBack)->RangeMultiplier(10)->Range(1, 100);

}  // namespace
}  // namespace curlshare::internal
