// SPDX-License-Identifier: Apache-2.0
// The connection pool of a share: multi handles with their connections, each
// used by one thread at a time.
//
//   keeper (a Handle) ----keeps----> MultiHandle ----has----> connections
//   nobody                           MultiHandle (idle) ----> connections
//
// A handle that has transferred keeps its multi handle, listed here: when it
// transfers to the same origin again, nothing here is touched. Who needs a
// connection takes, in this order:
//   1. an idle multi handle with a connection to that origin, newest first,
//   2. such a one that an idle handle keeps (it lets go of it first),
//   3. the multi handle that it keeps itself,
//   4. an idle one, which saves making a new one and reading the bundle of
//      certificate authorities again,
//   5. a new one.
// So n transfers at once open at most n connections to an origin.
//
// Invariants:
//  - A pooled MultiHandle is on `kept_` exactly while it has a keeper, else on
//    `idle_` (front: last used); its connections are on the list of their
//    origin of the same name.
//  - Nothing of libcurl and nothing of the user is called with `mu_` held.
//  - Who closes or takes over a kept MultiHandle is its keeper's holder
//    meanwhile (ConnectionKeeper::TryHold).
//
// The key is a hint for hits alone: libcurl itself decides which connection a
// transfer may use.
#ifndef CURLSHARE_SHARE_INTERNAL_CONNECTION_POOL_H_
#define CURLSHARE_SHARE_INTERNAL_CONNECTION_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"

namespace curlshare::internal {

// Who keeps a MultiHandle between transfers: a Handle.
class ConnectionKeeper {
 public:
  enum class Purpose { kLend, kClose };

  // Makes the calling thread the holder of an idle keeper, without waiting;
  // false where it is in use, or, for kLend, where it cannot let go. Called
  // with the pool's mutex held.
  virtual bool TryHold(Purpose purpose) = 0;
  // Whether TryHold(kClose) would succeed, and whether somebody holds it.
  // Called with the pool's mutex held.
  virtual bool CanHold() const = 0;
  virtual bool IsHeld() const = 0;

  // The following are for who holds it by TryHold, without the mutex.

  // Drops what its CURL* counts together with its connections; keeps what its
  // owner may still ask for. False: it could not, and will refuse to lend.
  virtual bool LetGo() = 0;
  // It keeps nothing any more.
  virtual void Surrender() = 0;
  virtual void EndHold() = 0;

 protected:
  ~ConnectionKeeper() = default;
};

// What the pool knows of one origin.
struct PoolOrigin {
  ListNode idle;  // MultiHandle::Connections, front: last used
  ListNode kept;
  int connections = 0;  // on either
  int transfers = 0;    // where they are limited
  ListNode waiters;     // by arrival
};

// Safe for concurrent use.
class ConnectionPool {
 public:
  explicit ConnectionPool(const ConnectionOptions& options);
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;
  // REQUIRES: no MultiHandle is kept any more.
  ~ConnectionPool();

  // A MultiHandle for a transfer to `key`, kept by `keeper` from now on: `own`,
  // which it keeps already (or null), or another. Null: make one, and Add it.
  MultiHandle* Borrow(OriginKey key, absl::string_view partition,
                      ConnectionKeeper* keeper, MultiHandle* own)
      ABSL_LOCKS_EXCLUDED(mu_);
  // One of the keeper's own comes into the pool.
  void Add(MultiHandle* multi, ConnectionKeeper* keeper)
      ABSL_LOCKS_EXCLUDED(mu_);
  // One leaves the pool with its keeper.
  void Remove(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // The keeper gives it up: others may have it. Closes what is too much or too
  // old.
  void GiveBack(std::unique_ptr<MultiHandle> multi) ABSL_LOCKS_EXCLUDED(mu_);

  // Whether `multi` can be used for `key` as it is: then Borrow would return
  // it. For the keeper's holder; touches nothing that others write.
  bool Fits(MultiHandle& multi, OriginKey key, int64_t now) const {
    const MultiHandle::Connection* connection =
        key == 0 ? nullptr : multi.Find(key);
    return connection != nullptr && !IsTooOld(*connection, now);
  }
  // Why connections are closed; kNone is counted nowhere.
  enum class Reason { kIdle, kOld, kOverCap, kFailed, kNone };
  // Whether, and why, the connection to `key` in `multi` must not be used
  // again.
  Reason WhyTooOld(MultiHandle& multi, OriginKey key, int64_t now) const;
  // A kept one is closed by its keeper's holder.
  void Close(std::unique_ptr<MultiHandle> multi, Reason reason)
      ABSL_LOCKS_EXCLUDED(mu_);

  // A transfer to `key` (0: it got no connection to there) has ended in
  // `multi`, having opened `opened` connections (`redirected`: perhaps to
  // others); `alive`: the last one that it used can be used again. By the
  // keeper's holder. False: there are too many connections, and this one has to
  // go.
  bool OnTransferEnd(MultiHandle& multi, OriginKey key, long opened,
                     bool redirected, bool alive) ABSL_LOCKS_EXCLUDED(mu_);
  // `multi` has a connection to `key`, too: where a redirect led, or began.
  void Note(MultiHandle& multi, OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // A transfer to `key` broke or timed out: the idle connections to there, from
  // before, are not to be trusted.
  void CloseIdleTo(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Closes what was not used for `older_than`; how many connections that were.
  size_t CloseIdle(absl::Duration older_than) ABSL_LOCKS_EXCLUDED(mu_);
  // No transfer that begins from now on uses a connection that there is now.
  // Closes the idle ones; those in use go with the transfers that use them.
  void Flush() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsFlushed(const MultiHandle& multi) const {
    return multi.flushes != flushes_.load(std::memory_order_acquire);
  }
  // From now on keeps nothing idle, until Open.
  void Shut() ABSL_LOCKS_EXCLUDED(mu_);
  // The two halves of that: the first closes nothing, the second does not
  // change what becomes of those that come back.
  void TakeNothing() ABSL_LOCKS_EXCLUDED(mu_);
  void CloseAllIdle() ABSL_LOCKS_EXCLUDED(mu_);
  void Open() ABSL_LOCKS_EXCLUDED(mu_);

  // Most transfers at once to one origin.
  bool limits_transfers() const { return options_.max_transfers_per_host > 0; }
  enum class Slot {
    kHave,
    kUncounted,  // without memory to count it: may begin, has nothing to end
    kCancelled,
    kTimedOut,
  };
  // Waits its turn for a transfer to `key`.
  Slot BeginTransfer(OriginKey key, absl::Time deadline,
                     absl::FunctionRef<bool()> cancelled)
      ABSL_LOCKS_EXCLUDED(mu_);
  bool HasWaiters(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends what BeginTransfer began (kHave).
  void EndTransfer(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Has those who wait look whether they are cancelled.
  void WakeWaiters() ABSL_LOCKS_EXCLUDED(mu_);

  int max_idle() const { return options_.max_idle; }
  // The most connections that one MultiHandle is to keep.
  long max_connections_each() const;
  ConnectionStats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiter;

  bool IsTooOld(const MultiHandle::Connection& connection, int64_t now) const {
    return now - connection.used.load(std::memory_order_relaxed) >
               idle_timeout_ ||
           now - connection.opened.load(std::memory_order_relaxed) >
               max_lifetime_;
  }
  // Null where there is no memory for it: then the origin is not known.
  PoolOrigin* FindOrAdd(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PoolOrigin* Find(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseIfUnused(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  static int Weight(const MultiHandle& multi) {
    return multi.connection_count == 0 ? 1 : multi.connection_count;
  }
  // To and from the lists.
  void Link(MultiHandle* multi, ConnectionKeeper* keeper)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Unlink(MultiHandle* multi) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Insert(MultiHandle* multi, OriginKey key, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Erase(MultiHandle::Connection* connection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Out of the pool for good.
  void Forget(MultiHandle* multi, Reason reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // One that is too old to be used is in `too_old`.
  MultiHandle* IdleFor(PoolOrigin& origin, absl::string_view partition,
                       int64_t now, MultiHandle** too_old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* KeptFor(PoolOrigin& origin, absl::string_view partition,
                       const MultiHandle* own, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* SpareFor(absl::string_view partition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The number of idle connections, `self` (the caller's) among them; with
  // those of idle keepers.
  int CountIdle(const MultiHandle* self) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Closes the least recently used until they are no more than max_idle. False
  // where `self` is what is too much.
  bool Trim(MultiHandle* self) ABSL_LOCKS_EXCLUDED(mu_);
  void SweepIfDue() ABSL_LOCKS_EXCLUDED(mu_);
  // The least recently used one that is idle, with or without a keeper, last
  // used at `until` or before; its keeper, if any, is held then.
  MultiHandle* HoldOldest(int64_t until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* FindOldest(int64_t until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Closes what HoldOldest or the like has found and Forget has taken out.
  static void CloseHeld(MultiHandle* multi, ConnectionKeeper* keeper);
  void UpdateCrowded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ConnectionOptions options_;
  const int64_t idle_timeout_;  // in nanoseconds
  const int64_t max_lifetime_;

  // Whether there might be more than max_idle. Read by every transfer, seldom
  // written.
  alignas(ABSL_CACHELINE_SIZE) std::atomic<bool> crowded_{false};
  // When to look for what is idle for too long. So, too.
  std::atomic<int64_t> next_sweep_{0};
  std::atomic<uint32_t> flushes_{0};  // written under mu_

  alignas(ABSL_CACHELINE_SIZE) mutable absl::Mutex mu_;
  // Not Abseil's, which does not survive a failing operator new.
  std::unordered_map<OriginKey, PoolOrigin> origins_ ABSL_GUARDED_BY(mu_);
  ListNode idle_ ABSL_GUARDED_BY(mu_);
  ListNode kept_ ABSL_GUARDED_BY(mu_);
  ListNode waiters_ ABSL_GUARDED_BY(mu_);
  int idle_weight_ ABSL_GUARDED_BY(mu_) = 0;
  int kept_weight_ ABSL_GUARDED_BY(mu_) = 0;
  bool shut_ ABSL_GUARDED_BY(mu_) = false;
  // Without what those in the lists count.
  ConnectionStats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CONNECTION_POOL_H_
