// SPDX-License-Identifier: Apache-2.0
// What membership costs: attaching and detaching, closing with n handles
// attached, memory, and beginning and ending a transfer. The control is libcurl
// by hand, or, where libcurl has no counterpart, shares that have nothing in
// common.
#include <curl/curl.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/verification/raw_share.h"

namespace {

// Bytes that operator new has given out and not got back, of this thread.
thread_local int64_t allocated_bytes = 0;

// Before what is given out lies its size.
constexpr size_t kSmallHeader = alignof(std::max_align_t);

void* Allocate(size_t size, size_t header) {
  // A multiple of the alignment, as aligned_alloc asks for.
  const size_t whole = (size + 2 * header - 1) / header * header;
  void* const memory = std::aligned_alloc(header, whole);
  if (memory == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(memory) = size;
  allocated_bytes += static_cast<int64_t>(size);
  return static_cast<char*>(memory) + header;
}

void Free(void* memory, size_t header) {
  if (memory == nullptr) return;
  void* const start = static_cast<char*>(memory) - header;
  allocated_bytes -= static_cast<int64_t>(*static_cast<size_t*>(start));
  std::free(start);
}

size_t Header(std::align_val_t alignment) {
  return std::max(kSmallHeader, static_cast<size_t>(alignment));
}

}  // namespace

void* operator new(size_t size) { return Allocate(size, kSmallHeader); }
void operator delete(void* memory) noexcept { Free(memory, kSmallHeader); }
void operator delete(void* memory, size_t) noexcept {
  Free(memory, kSmallHeader);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, Header(alignment));
}
void operator delete(void* memory, std::align_val_t alignment) noexcept {
  Free(memory, Header(alignment));
}
void operator delete(void* memory, size_t,
                     std::align_val_t alignment) noexcept {
  Free(memory, Header(alignment));
}

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

// The same handles for the library and its control, so that they lie in memory
// alike; made when first needed, as 100,000 take a while, and kept.
CURL* Handle(int64_t index) {
  static auto* const handles = [] {
    auto* const made = new std::vector<CurlPtr>;
    made->reserve(100000);
    return made;
  }();
  while (static_cast<int64_t>(handles->size()) <= index) {
    handles->emplace_back(curl_easy_init());
  }
  return (*handles)[index].get();
}

// What this thread has used: nothing here waits, and others may run meanwhile.
absl::Duration ThreadCpu() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

void PerHandle(benchmark::State& state, int64_t n) {
  state.counters["per_handle"] = benchmark::Counter(
      static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate |
                                  benchmark::Counter::kInvert);
}

// Closes a share of n attached handles. "per_handle" is the time for each,
// "bytes" what each attachment takes beyond libcurl's own: the most that was
// seen for this n, since tables that grow do so once.
void BM_Close_Library(benchmark::State& state) {
  const int64_t n = state.range(0);
  Handle(n - 1);
  std::vector<Attachment> attachments(n);
  static auto* const most_bytes = new std::map<int64_t, double>;
  double& bytes = (*most_bytes)[n];
  for (auto _ : state) {
    const auto share = NewShare();
    const int64_t before = allocated_bytes;
    for (int64_t i = 0; i < n; ++i) {
      attachments[i] = share->Attach(Handle(i)).value();
    }
    bytes = std::max(bytes, static_cast<double>(allocated_bytes - before) /
                                static_cast<double>(n));
    const absl::Duration start = ThreadCpu();
    const absl::Status closed = share->Close();
    state.SetIterationTime(absl::ToDoubleSeconds(ThreadCpu() - start));
    if (!closed.ok()) state.SkipWithError("Close failed");
    for (Attachment& attachment : attachments) attachment = Attachment();
  }
  state.counters["bytes"] = bytes;
  PerHandle(state, n);
}

void BM_Close_ByHand(benchmark::State& state) {
  const int64_t n = state.range(0);
  Handle(n - 1);
  for (auto _ : state) {
    auto share = NewRawShare();
    for (int64_t i = 0; i < n; ++i) {
      if (curl_easy_setopt(Handle(i), CURLOPT_SHARE, share->get()) !=
          CURLE_OK) {
        state.SkipWithError("curl_easy_setopt failed");
      }
    }
    const absl::Duration start = ThreadCpu();
    for (int64_t i = 0; i < n; ++i) {
      if (curl_easy_setopt(Handle(i), CURLOPT_SHARE, nullptr) != CURLE_OK) {
        state.SkipWithError("curl_easy_setopt failed");
      }
    }
    share = nullptr;
    state.SetIterationTime(absl::ToDoubleSeconds(ThreadCpu() - start));
  }
  PerHandle(state, n);
}

void BeginEndTransfer(benchmark::State& state, Share& share) {
  const CurlPtr curl(curl_easy_init());
  absl::StatusOr<Attachment> attachment = share.Attach(curl.get());
  for (auto _ : state) {
    auto transfer = attachment->BeginTransfer();
    if (!transfer.ok() || !transfer->End(CURLE_OK).ok()) {
      state.SkipWithError("BeginTransfer failed");
    }
  }
}

// Each thread its own handle, all of one ungated share: nothing that one writes
// is read by another, so that the CPU time stays as it is with more threads.
void BM_BeginEndTransfer_OneShare(benchmark::State& state) {
  static Share* const share = NewShare().release();
  BeginEndTransfer(state, *share);
}

// The control: threads that have nothing in common.
void BM_BeginEndTransfer_OwnShare(benchmark::State& state) {
  const auto share = NewShare();
  BeginEndTransfer(state, *share);
}

BENCHMARK(BM_AttachDetach_Library)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(BM_AttachDetach_ByHand)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(BM_BeginEndTransfer_OneShare)->ThreadRange(1, 16)->UseRealTime();
BENCHMARK(BM_BeginEndTransfer_OwnShare)->ThreadRange(1, 16)->UseRealTime();

// With a number of iterations, since what is not timed, attaching, takes longer
// than what is: Google Benchmark would not know when to stop.
const int registered = [] {
  for (int n = 1; n <= 100000; n *= 10) {
    const int iterations = std::clamp(100000 / n, 2, 2000);
    for (auto& [name, function] :
         {std::pair("BM_Close_Library", &BM_Close_Library),
          std::pair("BM_Close_ByHand", &BM_Close_ByHand)}) {
      benchmark::RegisterBenchmark(name, function)
          ->Arg(n)
          ->Iterations(iterations)
          ->UseManualTime();
    }
  }
  return 0;
}();

}  // namespace
}  // namespace curlshare
