// SPDX-License-Identifier: Apache-2.0
// The mutexes behind libcurl's CURLSHOPT_LOCKFUNC and CURLSHOPT_UNLOCKFUNC.
//
//   auto locks = std::make_shared<KindLocks>();
//   curl_share_setopt(share, CURLSHOPT_LOCKFUNC, &KindLocks::Lock);
//   curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, &KindLocks::Unlock);
//   curl_share_setopt(share, CURLSHOPT_USERDATA, locks.get());
//   ...
//   LOG(INFO) << locks->stats(CURL_LOCK_DATA_DNS);
//
// A user of Share needs only the statistics, and LockObserver, with which tests
// watch and steer the locking. The rest is for the implementation.
//
// KindLockStats           what one lock did, and what it cost
// LockObserver            watches the callbacks
// KindLocks
//   Lock, Unlock          the two callbacks
//   Hold                  holds one of the locks around calls of libcurl
//   stats                 the statistics of one kind
//   dropped_unlocks, out_of_range, outside_scopes
//                         calls of libcurl that were wrong, or came from the
//                         wrong place
//   ThisThreadHoldsAny    is the caller inside libcurl's critical section?
//
// Source: https://curl.se/libcurl/c/CURLSHOPT_LOCKFUNC.html
#ifndef CURLSHARE_SHARE_KIND_LOCKS_H_
#define CURLSHARE_SHARE_KIND_LOCKS_H_

#include <curl/curl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/this_thread.h"

namespace curlshare {

// What the lock of one kind did since its share was created. Thread-compatible:
// a plain value.
struct KindLockStats {
  uint64_t taken = 0;           // times it was locked
  uint64_t contended = 0;       // of those, times when another thread held it
  absl::Duration total_wait;    // time spent waiting, all threads together
  absl::Duration longest_wait;  // the longest single wait

  template <typename Sink>
  friend void AbslStringify(Sink& sink, const KindLockStats& stats) {
    absl::Format(&sink, "taken %d, contended %d, waited %s (longest %s)",
                 stats.taken, stats.contended,
                 absl::FormatDuration(stats.total_wait),
                 absl::FormatDuration(stats.longest_wait));
  }
  friend std::ostream& operator<<(std::ostream& os, const KindLockStats& s) {
    return os << absl::StrCat(s);
  }
};

// Watches the lock callbacks of a share: for tests that record or block them,
// and for tracing (ShareOptions::lock_observer). Both methods are called on the
// thread that locks, while it holds the lock, in the middle of libcurl. They
// must not call libcurl or this library, and must not throw. `kind` may also be
// CURL_LOCK_DATA_SHARE, libcurl's lock of the share itself.
//
// Implementations must be thread-safe. The observer lives as long as the share
// and every handle that is attached to it.
class LockObserver {
 public:
  virtual ~LockObserver() = default;
  // Right after the calling thread has got the lock.
  virtual void OnLocked(curl_lock_data kind) noexcept = 0;
  // Right before the calling thread gives the lock up.
  virtual void OnUnlocking(curl_lock_data kind) noexcept = 0;
};

// One mutex for each kind of data. A single mutex for all kinds would deadlock:
// libcurl takes PSL while it holds COOKIE, and DNS while it holds CONNECT.
//
// Every lock is exclusive, also where libcurl asks for CURL_LOCK_ACCESS_SHARED:
// the unlock callback is not told which of the two it ends.
//
// Thread-safe. What a thread did before an unlock happens before what the next
// thread does that locks the same kind.
//
// The owner must keep this object, at the same address, until the CURLSH and
// every handle that was ever attached to it have been freed: libcurl keeps the
// address, and curl_easy_cleanup still calls the callbacks.
class KindLocks {
 public:
  // `observer` may be null.
  explicit KindLocks(std::shared_ptr<LockObserver> observer = nullptr)
      : observer_(std::move(observer)) {}
  KindLocks(const KindLocks&) = delete;
  KindLocks& operator=(const KindLocks&) = delete;

  // The callbacks, for curl_share_setopt; `locks` is the KindLocks*. Lock waits
  // until the lock is free; it is not recursive, except within a Hold.
  //
  // A call for a kind that this class has no slot for is counted in
  // out_of_range() and ignored. It is harmless, since this library shares only
  // the kinds that LockData names. An unlock by a thread that does not hold the
  // lock is counted in dropped_unlocks() and ignored: libcurl 8.20 to 8.22 does
  // that in curl_easy_ssls_import, with data that it cannot read
  // (Curl_ssl_session_import in lib/vtls/vtls_scache.c).
  //
  // No thread-safety analysis: what one function locks, the other unlocks.
  static void Lock(CURL* handle, curl_lock_data kind, curl_lock_access access,
                   void* locks) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS;
  static void Unlock(CURL* handle, curl_lock_data kind,
                     void* locks) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Holds the lock of one kind from construction to destruction. If libcurl
  // locks and unlocks the same kind on this thread meanwhile, that nests. For
  // calls of libcurl that look at what the lock guards before they take it
  // (curl_easy_ssls_export and _import, from libcurl 8.20 on).
  //
  // Not thread-safe; used by one thread. Meanwhile no code of the user may run,
  // and this thread must not make another Hold of the same kind.
  class Hold {
   public:
    // REQUIRES: `kind` is one that LockData names.
    Hold(KindLocks* locks,
         curl_lock_data kind) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS;
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() ABSL_NO_THREAD_SAFETY_ANALYSIS;

   private:
    KindLocks* const locks_;
    const curl_lock_data kind_;
  };

  // The statistics of `kind`; all zero for a kind without a slot. If the kind
  // is being locked meanwhile, the figures may be one lock apart from each
  // other.
  KindLockStats stats(curl_lock_data kind) const;
  // Unlocks that were ignored, and calls for kinds without a slot: see Lock.
  uint64_t dropped_unlocks() const {
    return dropped_unlocks_.load(std::memory_order_relaxed);
  }
  uint64_t out_of_range() const {
    return out_of_range_.load(std::memory_order_relaxed);
  }

  // Locks that libcurl took for a handle while the calling thread was in no
  // Use, no Transfer and no other call of this library. Always 0 before
  // WatchScopes() is called.
  uint64_t outside_scopes() const {
    return outside_scopes_.load(std::memory_order_relaxed);
  }
  // Begins to count them. REQUIRES: no handle is in use yet.
  void WatchScopes() { unwatched_.store(0, std::memory_order_relaxed); }
  // Between these two nothing is counted: libcurl may rightly be called on any
  // thread (TransferOptions::any_thread). Pairs may overlap.
  void BeginAnyThread() { unwatched_.fetch_add(1, std::memory_order_relaxed); }
  void EndAnyThread() { unwatched_.fetch_sub(1, std::memory_order_relaxed); }

  // Whether the calling thread holds a lock of any share. True inside a user
  // callback that libcurl runs while it holds one (CURLOPT_DEBUGFUNCTION,
  // CURLOPT_CLOSESOCKETFUNCTION). There, a call that takes a share's lock could
  // wait for its own thread.
  static bool ThisThreadHoldsAny() {
    return internal::GetThisThread().kind_locks_held > 0;
  }

 private:
  // More than libcurl has today (CURL_LOCK_DATA_LAST is 8): the running libcurl
  // may be newer than the headers.
  static constexpr size_t kSlots = 16;

  // The lock of one kind and its figures. Each has a cache line of its own,
  // since threads lock different kinds independently of each other. Only the
  // thread that holds `mu` writes the figures, so that a plain load and store
  // suffice; they are atomic because stats() reads them without `mu`.
  struct alignas(ABSL_CACHELINE_SIZE) Slot {
    // Right without `mu`: only the calling thread can have stored its token.
    bool HeldByThisThread() const {
      return holder.load(std::memory_order_relaxed) ==
             internal::ThisThreadToken();
    }

    absl::Mutex mu;
    // The thread that holds `mu`, or null. By this record an unlock that
    // libcurl gets wrong is told from one by the holder; absl::Mutex cannot be
    // asked.
    std::atomic<internal::ThreadToken> holder{nullptr};
    std::atomic<uint64_t> taken{0};
    std::atomic<uint64_t> contended{0};
    std::atomic<int64_t> total_wait_ns{0};
    std::atomic<int64_t> longest_wait_ns{0};
    // 0 without a Hold; within a Hold, 1 plus the locks that libcurl has taken
    // and not yet released.
    int held ABSL_GUARDED_BY(mu) = 0;
  };
  static_assert(sizeof(Slot) == ABSL_CACHELINE_SIZE,
                "neighbouring kinds must not share a cache line");

  // The slot of `kind`; null if there is none. By reference: what libcurl
  // passes may be no value of the enumeration, and must not be read as one.
  Slot* Find(const curl_lock_data& kind);
  // Locks `slot`, and records the wait.
  ABSL_ATTRIBUTE_NOINLINE static void WaitFor(Slot& slot) noexcept
      ABSL_EXCLUSIVE_LOCK_FUNCTION(slot.mu);
  // An unlock within a Hold, or by a thread that does not hold `slot`. (Which
  // of the two is known only when it runs: the analysis cannot follow.)
  ABSL_ATTRIBUTE_NOINLINE void UnlockRarely(Slot& slot) noexcept
      ABSL_NO_THREAD_SAFETY_ANALYSIS;
  ABSL_ATTRIBUTE_NOINLINE void NotifyUnlocking(curl_lock_data kind) noexcept;
  ABSL_ATTRIBUTE_NOINLINE void CountOutOfRange() noexcept;
  ABSL_ATTRIBUTE_NOINLINE void CountOutsideScope(const CURL* handle) noexcept;

  const std::shared_ptr<LockObserver> observer_;
  std::array<Slot, kSlots> slots_;
  std::atomic<uint64_t> dropped_unlocks_{0};
  std::atomic<uint64_t> out_of_range_{0};
  std::atomic<uint64_t> outside_scopes_{0};
  // Number of reasons not to count in outside_scopes_: 1 before WatchScopes(),
  // and 1 for each BeginAnyThread() that has not ended.
  std::atomic<int> unwatched_{1};
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_KIND_LOCKS_H_
