// What membership costs: attaching and detaching, closing with n handles
// attached, and beginning and ending a transfer. The control is libcurl by
// hand.
#include <curl/curl.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/raw_share.h"

namespace {

// Bytes that operator new has given out and not got back, of this thread.
thread_local int64_t allocated_bytes = 0;

constexpr size_t kHeader = alignof(std::max_align_t);

void* Allocate(size_t size) {
  void* const memory = std::malloc(size + kHeader);
  if (memory == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(memory) = size;
  allocated_bytes += static_cast<int64_t>(size);
  return static_cast<char*>(memory) + kHeader;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  void* const start = static_cast<char*>(memory) - kHeader;
  allocated_bytes -= static_cast<int64_t>(*static_cast<size_t*>(start));
  std::free(start);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }

namespace curlshare {
namespace {

using ::curlshare::testing::RawShare;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

constexpr LockDataSet kKinds = {LockData::kDns, LockData::kPsl};

std::unique_ptr<Share> NewShare() {
  ShareOptions options;
  options.lock_data = kKinds;
  return Share::Create(options).value();
}

std::unique_ptr<RawShare> NewRawShare() {
  return RawShare::Create(kKinds, RawShare::Mutexes::kOnePerKind).value();
}

void BM_AttachDetach_Library(benchmark::State& state) {
  static Share* const share = NewShare().release();  // for all threads
  const CurlPtr curl(curl_easy_init());
  for (auto _ : state) {
    absl::StatusOr<Attachment> attachment = share->Attach(curl.get());
    if (!attachment.ok()) state.SkipWithError("Attach failed");
  }
}

void BM_AttachDetach_ByHand(benchmark::State& state) {
  static RawShare* const share = NewRawShare().release();
  const CurlPtr curl(curl_easy_init());
  for (auto _ : state) {
    if (curl_easy_setopt(curl.get(), CURLOPT_SHARE, share->get()) != CURLE_OK ||
        curl_easy_setopt(curl.get(), CURLOPT_SHARE, nullptr) != CURLE_OK) {
      state.SkipWithError("curl_easy_setopt failed");
    }
  }
}

std::vector<CurlPtr> NewHandles(int64_t count) {
  std::vector<CurlPtr> handles;
  handles.reserve(count);
  for (int64_t i = 0; i < count; ++i) handles.emplace_back(curl_easy_init());
  return handles;
}

// Closes a share of n attached handles. "per_handle" is the time for each,
// "bytes" what each attachment takes beyond libcurl's own.
void BM_Close_Library(benchmark::State& state) {
  const int64_t n = state.range(0);
  const std::vector<CurlPtr> handles = NewHandles(n);
  std::vector<Attachment> attachments(n);
  double bytes = 0;
  for (auto _ : state) {
    const auto share = NewShare();
    const int64_t before = allocated_bytes;
    for (int64_t i = 0; i < n; ++i) {
      attachments[i] = share->Attach(handles[i].get()).value();
    }
    bytes =
        static_cast<double>(allocated_bytes - before) / static_cast<double>(n);
    const absl::Time start = absl::Now();
    const absl::Status closed = share->Close();
    state.SetIterationTime(absl::ToDoubleSeconds(absl::Now() - start));
    if (!closed.ok()) state.SkipWithError("Close failed");
    for (Attachment& attachment : attachments) attachment = Attachment();
  }
  state.counters["bytes"] = bytes;
  state.counters["per_handle"] = benchmark::Counter(
      static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate |
                                  benchmark::Counter::kInvert);
}

void BM_Close_ByHand(benchmark::State& state) {
  const int64_t n = state.range(0);
  const std::vector<CurlPtr> handles = NewHandles(n);
  for (auto _ : state) {
    auto share = NewRawShare();
    for (const CurlPtr& curl : handles) {
      if (curl_easy_setopt(curl.get(), CURLOPT_SHARE, share->get()) !=
          CURLE_OK) {
        state.SkipWithError("curl_easy_setopt failed");
      }
    }
    const absl::Time start = absl::Now();
    for (const CurlPtr& curl : handles) {
      if (curl_easy_setopt(curl.get(), CURLOPT_SHARE, nullptr) != CURLE_OK) {
        state.SkipWithError("curl_easy_setopt failed");
      }
    }
    share = nullptr;
    state.SetIterationTime(absl::ToDoubleSeconds(absl::Now() - start));
  }
  state.counters["per_handle"] = benchmark::Counter(
      static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate |
                                  benchmark::Counter::kInvert);
}

// Each thread its own handle, all of one ungated share: nothing that one writes
// is read by another, so that the time stays as it is with more threads.
void BM_BeginEndTransfer_Library(benchmark::State& state) {
  static Share* const share = NewShare().release();
  const CurlPtr curl(curl_easy_init());
  absl::StatusOr<Attachment> attachment = share->Attach(curl.get());
  TransferOptions options;
  options.install_progress_function = false;
  for (auto _ : state) {
    auto transfer = attachment->BeginTransfer(options);
    if (!transfer.ok() || !transfer->End(CURLE_OK).ok()) {
      state.SkipWithError("BeginTransfer failed");
    }
  }
}

BENCHMARK(BM_AttachDetach_Library)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(BM_AttachDetach_ByHand)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(BM_Close_Library)
    ->RangeMultiplier(10)
    ->Range(1, 100000)
    ->UseManualTime();
BENCHMARK(BM_Close_ByHand)
    ->RangeMultiplier(10)
    ->Range(1, 100000)
    ->UseManualTime();
BENCHMARK(BM_BeginEndTransfer_Library)->ThreadRange(1, 16)->UseRealTime();

}  // namespace
}  // namespace curlshare
