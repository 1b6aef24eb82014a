// SPDX-License-Identifier: Apache-2.0
// Lock + unlock of one kind through libcurl's two callbacks: this library's,
// which count and know their owner, against bare mutexes.
//
//   BM_LockUnlock<Locks>/same:0/threads:8     each thread a kind of its own
//   BM_LockUnlock<Locks>/same:1/threads:8     all threads one kind
//   BM_EachKind<Locks>/3                      one thread, CURL_LOCK_DATA_DNS
#include <curl/curl.h>
#include <pthread.h>

#include <array>
#include <mutex>  // NOLINT(build/c++11): a control

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "benchmark/benchmark.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"

namespace curlshare {
namespace {

constexpr size_t kKinds = 16;

// This library.
struct Library {
  static constexpr auto Lock = &KindLocks::Lock;      // NOLINT: as below
  static constexpr auto Unlock = &KindLocks::Unlock;  // NOLINT
  void* data() { return &locks; }

  KindLocks locks;
};

// What one writes by hand, well: a mutex for each kind.
struct PthreadPerKind {
  PthreadPerKind() {
    for (pthread_mutex_t& mutex : mutexes) pthread_mutex_init(&mutex, nullptr);
  }
  static void Lock(CURL*, curl_lock_data kind, curl_lock_access, void* self) {
    pthread_mutex_lock(&static_cast<PthreadPerKind*>(self)->mutexes[kind]);
  }
  static void Unlock(CURL*, curl_lock_data kind, void* self) {
    pthread_mutex_unlock(&static_cast<PthreadPerKind*>(self)->mutexes[kind]);
  }
  void* data() { return this; }

  std::array<pthread_mutex_t, kKinds> mutexes;
};

// What one should not write: it deadlocks as soon as libcurl nests two kinds.
struct StdMutexForAll {
  static void Lock(CURL*, curl_lock_data, curl_lock_access, void* self) {
    static_cast<StdMutexForAll*>(self)->mutex.lock();
  }
  static void Unlock(CURL*, curl_lock_data, void* self) {
    static_cast<StdMutexForAll*>(self)->mutex.unlock();
  }
  void* data() { return this; }

  std::mutex mutex;
};

// absl::Mutex alone: what counting and owners cost on top.
struct AbslPerKind {
  // Two halves of one critical section: not for the analysis.
  static void Lock(CURL*, curl_lock_data kind, curl_lock_access,
                   void* self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    static_cast<AbslPerKind*>(self)->mutexes[kind].mutex.Lock();
  }
  static void Unlock(CURL*, curl_lock_data kind,
                     void* self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    static_cast<AbslPerKind*>(self)->mutexes[kind].mutex.Unlock();
  }
  void* data() { return this; }

  struct alignas(ABSL_CACHELINE_SIZE) Padded {
    absl::Mutex mutex;
  };
  std::array<Padded, kKinds> mutexes;
};

template <typename Locks>
void LockUnlock(benchmark::State& state, Locks* locks, curl_lock_data kind) {
  // As libcurl has them: pointers that the compiler knows nothing of.
  curl_lock_function lock = Locks::Lock;
  curl_unlock_function unlock = Locks::Unlock;
  benchmark::DoNotOptimize(lock);
  benchmark::DoNotOptimize(unlock);
  // As in a transfer, and not as in a call outside of all scopes, which this
  // library would look at more closely.
  internal::GetThisThread().handles_held = 1;
  for (auto _ : state) {
    lock(nullptr, kind, CURL_LOCK_ACCESS_SINGLE, locks->data());
    unlock(nullptr, kind, locks->data());
  }
  internal::GetThisThread().handles_held = 0;
}

template <typename Locks>
void BM_LockUnlock(benchmark::State& state) {
  static Locks* const locks = new Locks;  // for all threads
  const bool same = state.range(0) != 0;
  LockUnlock(
      state, locks,
      static_cast<curl_lock_data>(CURL_LOCK_DATA_COOKIE +
                                  (same ? 0 : state.thread_index() % 6)));
}

template <typename Locks>
void BM_EachKind(benchmark::State& state) {
  static Locks* const locks = new Locks;
  LockUnlock(state, locks, static_cast<curl_lock_data>(state.range(0)));
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("same")->Arg(0)->Arg(1)->ThreadRange(1, 16)->UseRealTime();
}

void Kinds(benchmark::internal::Benchmark* benchmark) {
  benchmark->DenseRange(CURL_LOCK_DATA_SHARE, CURL_LOCK_DATA_HSTS);
}

BENCHMARK_TEMPLATE(BM_EachKind, Library)->Apply(Kinds);
BENCHMARK_TEMPLATE(BM_EachKind, PthreadPerKind)->Apply(Kinds);
BENCHMARK_TEMPLATE(BM_EachKind, AbslPerKind)->Apply(Kinds);
BENCHMARK_TEMPLATE(BM_EachKind, StdMutexForAll)->Apply(Kinds);
BENCHMARK_TEMPLATE(BM_LockUnlock, Library)->Apply(Arguments);
BENCHMARK_TEMPLATE(BM_LockUnlock, PthreadPerKind)->Apply(Arguments);
BENCHMARK_TEMPLATE(BM_LockUnlock, AbslPerKind)->Apply(Arguments);
BENCHMARK_TEMPLATE(BM_LockUnlock, StdMutexForAll)->Apply(Arguments);

}  // namespace
}  // namespace curlshare
