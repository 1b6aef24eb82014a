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
// Users of Share never meet this class but for its statistics and for
// LockObserver, with which tests watch and steer the locking.
//
// Lock, Unlock            the two callbacks
// Hold                    one of the locks, around calls of libcurl's
// stats                   what was taken, and what it cost
// dropped_unlocks, out_of_range   calls of libcurl that had to be ignored
// ThisThreadHoldsAny      is the caller inside libcurl's critical section?
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

// What one kind's lock did since its share was created.
struct KindLockStats {
  uint64_t taken = 0;         // times it was locked
  uint64_t contended = 0;     // of those, times another thread held it
  absl::Duration total_wait;  // waited for it, all threads together
  absl::Duration longest_wait;

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
// and for tracing. Called on the thread that locks, while it holds the lock,
// in the middle of libcurl: it must not call libcurl, nor this library, and
// must not throw. `kind` may also be CURL_LOCK_DATA_SHARE, libcurl's lock of
// the share itself. Implementations must be safe for concurrent use.
class LockObserver {
 public:
  virtual ~LockObserver() = default;
  virtual void OnLocked(curl_lock_data kind) noexcept = 0;
  virtual void OnUnlocking(curl_lock_data kind) noexcept = 0;
};

// One mutex a kind. Safe for concurrent use. Not movable: libcurl keeps its
// address. Whoever creates it keeps it alive until the CURLSH and every handle
// that was ever attached to it have gone: curl_easy_cleanup still calls these
// callbacks.
//
// Every lock is exclusive, also where libcurl says CURL_LOCK_ACCESS_SHARED:
// libcurl does not tell the unlock callback which it was.
class KindLocks {
 public:
  explicit KindLocks(std::shared_ptr<LockObserver> observer = nullptr)
      : observer_(std::move(observer)) {}
  KindLocks(const KindLocks&) = delete;
  KindLocks& operator=(const KindLocks&) = delete;

  // The callbacks; `locks` is a KindLocks*. A kind that this class has no slot
  // for is counted in out_of_range() and otherwise ignored: only kinds that
  // LockData names are ever shared. An unlock by a thread that does not hold
  // the lock is counted in dropped_unlocks() and ignored: libcurl 8.20 to 8.22
  // does that in curl_easy_ssls_import.
  // (What the one locks the other unlocks: the analysis cannot follow.)
  static void Lock(CURL* handle, curl_lock_data kind, curl_lock_access access,
                   void* locks) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS;
  static void Unlock(CURL* handle, curl_lock_data kind,
                     void* locks) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Holds the lock of a kind for as long as it lives; what libcurl locks and
  // unlocks of that kind on this thread meanwhile is a part of that. For calls
  // of libcurl that look at what the lock guards before they take it. Nothing
  // of the user's may run meanwhile, and no Hold of the same kind may be made.
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

  // A snapshot; zeroes for a kind without a slot. Figures of one kind that is
  // being locked meanwhile may be one lock apart from each other.
  KindLockStats stats(curl_lock_data kind) const;
  uint64_t dropped_unlocks() const {
    return dropped_unlocks_.load(std::memory_order_relaxed);
  }
  uint64_t out_of_range() const {
    return out_of_range_.load(std::memory_order_relaxed);
  }

  // Locks that libcurl took for a handle while the calling thread was in no
  // Use, Transfer or other call of this library: 0 unless WatchScopes().
  uint64_t outside_scopes() const {
    return outside_scopes_.load(std::memory_order_relaxed);
  }
  void WatchScopes() { unwatched_.store(0, std::memory_order_relaxed); }
  // Not while handles may be used on any thread.
  void BeginAnyThread() { unwatched_.fetch_add(1, std::memory_order_relaxed); }
  void EndAnyThread() { unwatched_.fetch_sub(1, std::memory_order_relaxed); }

  // True inside a user callback that libcurl runs while it holds a lock of
  // some share (CURLOPT_DEBUGFUNCTION, CURLOPT_CLOSESOCKETFUNCTION): whatever
  // takes a share's lock there could wait for itself.
  static bool ThisThreadHoldsAny() {
    return internal::GetThisThread().kind_locks_held > 0;
  }

 private:
  // More than libcurl has today (CURL_LOCK_DATA_LAST is 8), since the running
  // libcurl may be newer than the headers.
  static constexpr size_t kSlots = 16;

  // Kinds are locked independently of each other: each on a cache line of its
  // own. Everything but `held` is written by the holder of `mu` alone, so that
  // a plain load and store does; it is atomic for those who read without `mu`.
  struct alignas(ABSL_CACHELINE_SIZE) Slot {
    // Only the calling thread itself can have stored its token: the answer is
    // right without `mu`.
    bool HeldByThisThread() const {
      return holder.load(std::memory_order_relaxed) ==
             internal::ThisThreadToken();
    }

    absl::Mutex mu;
    // Tells an unlock of the holder's from one that libcurl gets wrong; null
    // while nobody holds `mu`.
    std::atomic<internal::ThreadToken> holder{nullptr};
    std::atomic<uint64_t> taken{0};
    std::atomic<uint64_t> contended{0};
    std::atomic<int64_t> total_wait_ns{0};
    std::atomic<int64_t> longest_wait_ns{0};
    // 0 without a Hold, else 1 and what libcurl has locked in it.
    int held ABSL_GUARDED_BY(mu) = 0;
  };
  static_assert(sizeof(Slot) == ABSL_CACHELINE_SIZE,
                "neighbouring kinds must not share a cache line");

  // By reference, as what libcurl passes may be no value of the enumeration.
  Slot* Find(const curl_lock_data& kind);
  ABSL_ATTRIBUTE_NOINLINE static void WaitFor(Slot& slot) noexcept
      ABSL_EXCLUSIVE_LOCK_FUNCTION(slot.mu);
  ABSL_ATTRIBUTE_NOINLINE void NotifyUnlocking(curl_lock_data kind) noexcept;
  ABSL_ATTRIBUTE_NOINLINE void CountOutOfRange() noexcept;
  ABSL_ATTRIBUTE_NOINLINE void CountOutsideScope(const CURL* handle) noexcept;

  const std::shared_ptr<LockObserver> observer_;
  std::array<Slot, kSlots> slots_;
  std::atomic<uint64_t> dropped_unlocks_{0};
  std::atomic<uint64_t> out_of_range_{0};
  std::atomic<uint64_t> outside_scopes_{0};
  std::atomic<int> unwatched_{1};
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_KIND_LOCKS_H_
