// SPDX-License-Identifier: Apache-2.0
// The connection pool of a share: it keeps libcurl's multi handles, with the
// connections in them, between transfers.
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

// Keeps a MultiHandle between transfers: a Handle. The pool becomes the holder
// of a keeper to take its MultiHandle, as a close becomes the holder of a
// handle.
//
// Thread-safe. Must live while the pool has a MultiHandle that it keeps, and
// from a TryHold that succeeded to its EndHold.
class ConnectionKeeper {
 public:
  // What the pool wants from a keeper: to pass its connections to another
  // handle, or to close them.
  enum class Purpose { kLend, kClose };

  // Makes the calling thread the holder of the keeper if it is idle; never
  // waits. False if it is in use, or, for kLend, if its connections cannot go
  // to another handle. Called with the pool's mutex held.
  virtual bool TryHold(Purpose purpose) = 0;
  // CanHold: whether TryHold(kClose) would succeed. IsHeld: whether any thread
  // is the holder. Called with the pool's mutex held.
  virtual bool CanHold() const = 0;
  virtual bool IsHeld() const = 0;

  // REQUIRES, for the following: the caller is the holder by TryHold, and the
  // pool's mutex is free.

  // Has the CURL* drop the references that it counts together with its
  // connections (connection_references.h). Saves first what the owner may still
  // ask for. False if that is not possible; the keeper then refuses kLend in
  // future.
  virtual bool LetGo() = 0;
  // The keeper keeps no MultiHandle any more: the caller has it.
  virtual void Surrender() = 0;
  // Ends what TryHold began.
  virtual void EndHold() = 0;

 protected:
  ~ConnectionKeeper() = default;
};

// What the pool knows of one origin. Guarded by the pool's mutex.
struct PoolOrigin {
  ListNode idle;        // of MultiHandle::Connection; front: last used
  ListNode kept;        // the same, for those that have a keeper
  int connections = 0;  // on both lists
  int transfers = 0;    // under way, if their number is limited
  ListNode waiters;     // of ConnectionPool::Waiter, in order of arrival
};

// The connection pool of a share. Its unit is the MultiHandle, with all the
// connections in it. Each is used by one thread at a time:
//
//   keeper (a Handle) ----keeps----> MultiHandle ----has----> connections
//   nobody                           MultiHandle (idle) ----> connections
//
// A CURLSH that shares CURL_LOCK_DATA_CONNECT would not do: libcurl's own pool
// is not safe between threads, whatever the locks (lock_safety.cc).
//
// A handle that has transferred keeps its MultiHandle, which is listed here.
// When it transfers to the same origin again, it touches nothing of the pool. A
// handle that needs a connection takes, in this order:
//
// 1. an idle MultiHandle with a connection to that origin, the last used first;
// 2. a MultiHandle with such a connection that an idle handle keeps, which lets
//    go of it first;
// 3. the MultiHandle that it keeps itself;
// 4. an idle MultiHandle, which saves making a new one, and reading the bundle
//    of certificate authorities again (libcurl caches that by multi handle);
// 5. a new MultiHandle.
//
// So n transfers at once open at most n connections to an origin.
//
// The key of an origin is only a hint for finding connections. libcurl itself
// decides which connection a transfer may use.
//
// The pool has no thread. Connections that are too old are closed when others
// come back. All times are in nanoseconds of CoarseNow().
//
// Thread-safe. Owns the idle MultiHandles. The others belong to their keepers.
class ConnectionPool {
 public:
  explicit ConnectionPool(const ConnectionOptions& options);
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;
  // REQUIRES: no MultiHandle is kept any more.
  ~ConnectionPool();

  // Returns a MultiHandle for a transfer to `key`, which `keeper` keeps from
  // now on: `own`, which it keeps already (null: it keeps none), or another
  // one. If it is another one, `own` remains in the pool's list until the
  // keeper gives it back or closes it. Null: there is none, so that the caller
  // makes one and calls Add. REQUIRES: the caller is the keeper's holder.
  MultiHandle* Borrow(OriginKey key, absl::string_view partition,
                      ConnectionKeeper* keeper, MultiHandle* own)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Puts a MultiHandle that `keeper` owns on the list of those that are kept.
  void Add(MultiHandle* multi, ConnectionKeeper* keeper)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Takes a MultiHandle off the list. It remains its keeper's.
  void Remove(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // The keeper gives `multi` up: others may have it. Closes what is too old,
  // and what is over the cap. REQUIRES: `multi` is in the pool, and no CURL*
  // counts references to its connections.
  void GiveBack(std::unique_ptr<MultiHandle> multi) ABSL_LOCKS_EXCLUDED(mu_);

  // Whether `multi` has a connection to `key` that can be used: Borrow would
  // then return `multi`. For the keeper's holder. Touches nothing that other
  // threads write.
  bool Fits(MultiHandle& multi, OriginKey key, int64_t now) const {
    const MultiHandle::Connection* connection =
        key == 0 ? nullptr : multi.Find(key);
    return connection != nullptr && !IsTooOld(*connection, now);
  }
  // Why connections are closed, for ConnectionStats. kNone is counted nowhere.
  enum class Reason { kIdle, kOld, kOverCap, kFailed, kNone };
  // Whether, and why, the connection to `key` in `multi` must not be used
  // again: kIdle, kOld, or kNone if it may. For the keeper's holder.
  Reason WhyTooOld(MultiHandle& multi, OriginKey key, int64_t now) const;
  // Takes `multi` out of the pool and frees it. For the keeper's holder.
  void Close(std::unique_ptr<MultiHandle> multi, Reason reason)
      ABSL_LOCKS_EXCLUDED(mu_);

  // To be called when a transfer to `key` has ended in `multi`, by the keeper's
  // holder. `key` 0: the transfer used no connection to its origin. `opened`:
  // how many connections it has opened. `redirected`: some of them may lead to
  // other origins. `alive`: the last connection that it used can be used again.
  // False: there are too many connections, and the caller has to close `multi`.
  bool OnTransferEnd(MultiHandle& multi, OriginKey key, long opened,
                     bool redirected, bool alive) ABSL_LOCKS_EXCLUDED(mu_);
  // `multi` also has a connection to `key`, where a redirect led to. For the
  // keeper's holder.
  void Note(MultiHandle& multi, OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // A transfer to `key` broke or timed out: closes the idle connections to that
  // origin, which are not to be trusted.
  void CloseIdleTo(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Closes the connections that were not used for `older_than`. Returns how
  // many those were.
  size_t CloseIdle(absl::Duration older_than) ABSL_LOCKS_EXCLUDED(mu_);
  // No transfer that begins from now on uses a connection that exists now.
  // Closes the idle ones. Those in use are closed when their transfers end, or
  // before the next transfer.
  void Flush() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether `multi` came into the pool before the newest Flush.
  bool IsFlushed(const MultiHandle& multi) const {
    return multi.flushes != flushes_.load(std::memory_order_acquire);
  }
  // Closes the idle connections, and keeps none from now on, until Open().
  void Shut() ABSL_LOCKS_EXCLUDED(mu_);
  // The two halves of Shut(). TakeNothing closes nothing: connections that come
  // back are closed from now on. CloseAllIdle does not change what happens to
  // connections that come back.
  void TakeNothing() ABSL_LOCKS_EXCLUDED(mu_);
  void CloseAllIdle() ABSL_LOCKS_EXCLUDED(mu_);
  void Open() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether the number of transfers at once to one origin is limited.
  bool limits_transfers() const { return options_.max_transfers_per_host > 0; }
  // The result of BeginTransfer.
  enum class Slot {
    kHave,       // may begin; EndTransfer ends it
    kUncounted,  // no memory to count it: may begin; nothing to end
    kCancelled,
    kTimedOut,
  };
  // Waits until a transfer to `key` may begin, in order of arrival: at most
  // until `deadline`, and until `cancelled` returns true. `cancelled` is asked
  // again after WakeWaiters(). It is called with the pool's mutex held, and
  // must not wait. REQUIRES: limits_transfers().
  Slot BeginTransfer(OriginKey key, absl::Time deadline,
                     absl::FunctionRef<bool()> cancelled)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether a transfer waits in BeginTransfer for `key`.
  bool HasWaiters(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends what BeginTransfer began. REQUIRES: that returned kHave.
  void EndTransfer(OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Has every thread in BeginTransfer ask `cancelled` again.
  void WakeWaiters() ABSL_LOCKS_EXCLUDED(mu_);

  int max_idle() const { return options_.max_idle; }
  // The most connections that one MultiHandle is to keep: max_idle, from 1 to
  // MultiHandle::kMaxConnections.
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
  // Find: null if the origin is not known. FindOrAdd: null if there is no
  // memory to add it; its connections are then not found by other handles.
  PoolOrigin* FindOrAdd(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PoolOrigin* Find(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseIfUnused(OriginKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // How much a MultiHandle counts against max_idle: by its connections. One
  // without any counts, too, so that they cannot become too many.
  static int Weight(const MultiHandle& multi) {
    return multi.connection_count == 0 ? 1 : multi.connection_count;
  }
  // Link puts a MultiHandle and its connections on the lists of those with a
  // keeper, or of the idle ones if `keeper` is null. Unlink undoes that.
  void Link(MultiHandle* multi, ConnectionKeeper* keeper)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Unlink(MultiHandle* multi) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Adds a connection to the origin of `key`. REQUIRES: `multi` is kept.
  void Insert(MultiHandle* multi, OriginKey key, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Erase(MultiHandle::Connection* connection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes `multi` out of the pool for good, and counts why.
  void Forget(MultiHandle* multi, Reason reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The three places where Borrow looks. IdleFor stores in `*too_old` one that
  // has to be closed first, if it meets one. KeptFor becomes the holder of the
  // keeper of what it returns.
  MultiHandle* IdleFor(PoolOrigin& origin, absl::string_view partition,
                       int64_t now, MultiHandle** too_old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* KeptFor(PoolOrigin& origin, absl::string_view partition,
                       const MultiHandle* own, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* SpareFor(absl::string_view partition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // How many connections are idle: those without a keeper, those that idle
  // keepers keep, and those of `self`, which the caller keeps.
  int CountIdle(const MultiHandle* self) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Closes the least recently used connections until no more than max_idle are
  // left. False if only `self` could still be closed.
  bool Trim(MultiHandle* self) ABSL_LOCKS_EXCLUDED(mu_);
  // Closes what is idle for too long, at most four times in an idle_timeout, or
  // if it sees one.
  void SweepIfDue() ABSL_LOCKS_EXCLUDED(mu_);
  // The MultiHandle that was used least recently, at `until` or before, of
  // those that are idle, with or without a keeper. HoldOldest becomes the
  // holder of the keeper, if there is one.
  MultiHandle* HoldOldest(int64_t until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MultiHandle* FindOldest(int64_t until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Frees what HoldOldest (or the like) has found, and Forget has taken out.
  static void CloseHeld(MultiHandle* multi, ConnectionKeeper* keeper);
  void UpdateCrowded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ConnectionOptions options_;
  const int64_t idle_timeout_;  // in nanoseconds
  const int64_t max_lifetime_;  // in nanoseconds

  // Whether there might be more than max_idle connections. Every transfer reads
  // this; it is seldom written.
  alignas(ABSL_CACHELINE_SIZE) std::atomic<bool> crowded_{false};
  // When to look next for what is idle for too long. Likewise.
  std::atomic<int64_t> next_sweep_{0};
  std::atomic<uint32_t> flushes_{0};  // how often; written under mu_

  alignas(ABSL_CACHELINE_SIZE) mutable absl::Mutex mu_;
  // Not one of Abseil's maps: those do not survive an operator new that fails.
  // References to its elements stay valid.
  std::unordered_map<OriginKey, PoolOrigin> origins_ ABSL_GUARDED_BY(mu_);
  ListNode idle_ ABSL_GUARDED_BY(mu_);  // front: last used
  ListNode kept_ ABSL_GUARDED_BY(mu_);
  ListNode waiters_ ABSL_GUARDED_BY(mu_);
  int idle_weight_ ABSL_GUARDED_BY(mu_) = 0;
  int kept_weight_ ABSL_GUARDED_BY(mu_) = 0;
  // Whether connections that come back are closed.
  bool shut_ ABSL_GUARDED_BY(mu_) = false;
  // The counts that are not in the MultiHandles on the lists: see stats().
  ConnectionStats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CONNECTION_POOL_H_
