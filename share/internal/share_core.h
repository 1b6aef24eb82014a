// SPDX-License-Identifier: Apache-2.0
// The state behind a Share, which lives for as long as anything is attached to
// it. Share (share.h) is the interface that users see.
#ifndef CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_
#define CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/dns_cache.h"
#include "curlshare/share/internal/fork_count.h"
#include "curlshare/share/internal/gate.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/old_generations.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"

namespace curlshare {

class Share;

namespace internal {

class HandleHolder;

// A CURLSH of a share, and the epoch in which it is the newest.
struct Generation {
  std::shared_ptr<const ShareHandle> handle;
  uint64_t epoch = 0;
};

// The state behind a Share: the handles that are attached to it, the CURLSH
// that they move to, the connection pool, the gate, and whether the share is
// open, closing or closed.
//
// *Generations.* A CURLSH cannot be changed while a handle is attached to it
// (curl_share_setopt(3): CURLSHE_IN_USE). To change the kinds, the core makes a
// new CURLSH, and each handle moves there when its next transfer begins.
// Handles may thus be attached to several generations at once. The epoch tells
// a handle that there is something to do: it changes with each new generation,
// and has a bit for closing.
//
// *The gate.* A generation whose kinds are not safe by their locks alone is
// gated: every call of libcurl's on a handle that is attached to it happens
// inside the gate, except curl_multi_poll. A thread may stay in a callback
// inside the gate for as long as the user likes. So a close that cannot enter
// the gate in time leaves its idle handles to the thread that leaves the gate
// next (LeaveGate).
//
// *Lock order:* gate -> holder of a Handle -> `reconfigure_mu_` -> `mu_`. A
// Handle's own mutex is never held together with `mu_`. Nothing of libcurl's
// and nothing of the user's is called with `mu_` held.
//
// Thread-safe. Reference-counted (RefPtr): the Share has a reference, and each
// attached handle has one. In a forked child, whatever Share calls here refuses
// if the share has transferred in the parent (IsParents).
class ShareCore final : public RefCounted {
 public:
  // `facade` is what Easy::share() returns, until Abandon(). Not owned. `first`
  // is the first generation, and locks by `locks`. For the other parameters see
  // ShareOptions.
  ShareCore(Share* facade, bool detach_on_close, Concurrency concurrency,
            const ConnectionOptions& connections,
            std::shared_ptr<KindLocks> locks,
            std::shared_ptr<const ShareHandle> first,
            absl::Duration dns_cache_timeout = kDefaultDnsCacheTimeout,
            bool refuses_after_close = false);
  ShareCore(const ShareCore&) = delete;
  ShareCore& operator=(const ShareCore&) = delete;

  // The number that tells attached handles at their next transfer boundary that
  // the share has changed or is closing. It is all that a transfer reads of its
  // share, in general, so it is on a cache line that is seldom written.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  static bool IsClosing(uint64_t epoch) { return (epoch & kClosingBit) != 0; }

  // Puts `handle` on the share's list and returns the generation to attach it
  // to. kFailedPrecondition: the share is closing or closed. The caller is the
  // handle's holder.
  absl::StatusOr<Generation> Link(HandleHolder* handle)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Takes `handle` off the list. REQUIRES: the handle holds no ShareHandle of
  // this share any more. The last one out of a share that is closing frees the
  // CURLSH.
  void Unlink(HandleHolder* handle) ABSL_LOCKS_EXCLUDED(mu_);
  // Puts `handle` on the list of those that libcurl does not let go although
  // the share is closing. Returns how many closes have begun. A close that
  // begins later tries the handle again, unless it finds it still held: the
  // caller, who is its holder, has to compare with closes() once the handle is
  // idle.
  uint64_t NoteCannotLeave(HandleHolder* handle) ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t closes() const ABSL_LOCKS_EXCLUDED(mu_);
  // The generation to move to. `handle` is null if the share has finished.
  Generation Newest() const ABSL_LOCKS_EXCLUDED(mu_);
  // Brings what transfers in `from`, an older generation, have learned to the
  // newest generation, and stores that in `*newest`. Waits for a change of the
  // kinds that is under way. If one of the two is gated and the caller is not
  // inside the gate, nothing is brought, which is no error. kResourceExhausted:
  // try again.
  absl::Status CatchUp(const std::shared_ptr<const ShareHandle>& from,
                       Generation* newest)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // CatchUp at the end of a transfer, by a thread that is not the holder of its
  // handle any more. What cannot be done now is noted, as a rule, and done by a
  // later call (CatchUpWithKept). REQUIRES: between BeginVisit and EndVisit.
  void CatchUpAfterTransfer(const std::shared_ptr<const ShareHandle>& from)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // A close waits for the time between BeginVisit and EndVisit. A reference to
  // a generation that is taken in between is dropped before EndVisit.
  void BeginVisit() ABSL_LOCKS_EXCLUDED(mu_);
  void EndVisit() ABSL_LOCKS_EXCLUDED(mu_);

  // Called when a handle of the share transfers, or when a handle that has
  // transferred is attached.
  void NoteTransfer() {
    if (transferred_in_.load(std::memory_order_relaxed) == ThisProcess()) {
      return;
    }
    transferred_in_.store(ThisProcess(), std::memory_order_relaxed);
  }
  // Whether the share has transferred in a process that this one was forked
  // from. Then it belongs to that process. Checked before any mutex is taken,
  // since a thread of the parent may have held that mutex at the fork.
  bool IsParents() const {
    return IsOfParent(transferred_in_.load(std::memory_order_relaxed));
  }
  // kFailedPrecondition if IsParents().
  absl::Status CheckProcess() const;

  // Counts each Use or Transfer that ended on another thread than the one that
  // began it.
  void NoteWrongThread() {
    wrong_threads_.fetch_add(1, std::memory_order_relaxed);
  }
  uint64_t wrong_threads() const {
    return wrong_threads_.load(std::memory_order_relaxed);
  }

  // CURLOPT_DNS_CACHE_TIMEOUT of the handles that share DNS answers. The
  // default is libcurl's.
  static constexpr absl::Duration kDefaultDnsCacheTimeout = absl::Seconds(60);
  absl::Duration dns_cache_timeout() const { return dns_cache_timeout_; }
  // Whether handles that a close has taken out may not transfer any more.
  bool refuses_after_close() const { return refuses_after_close_; }
  // To be called for a handle whose CURLOPT_RESOLVE may put addresses into the
  // share's DNS cache. When libcurl is told to forget a name, it does not tell
  // such addresses from answers of a resolver: see ForgetFailedName.
  void NotePinnedNames() {
    if (may_have_pinned_names_.load(std::memory_order_relaxed)) return;
    may_have_pinned_names_.store(true, std::memory_order_relaxed);
  }
  // Forgets what `share` knows of the name `host`, which was not found or to
  // which no connection could be made: at most once a second for each name.
  // Empty `host`: it is not known which name failed, so that all names are
  // forgotten. `share` is one of this share's generations, and shares DNS
  // answers. REQUIRES: what a transfer on a handle in `share` requires (the
  // gate).
  void ForgetFailedName(CURLSH* share, const std::string& host, int port);

  // What transfers did to get their connections. A transfer that opens none
  // writes none of these. Each counter is exact, but several that are read one
  // after the other are no snapshot.
  struct ConnectCounts {
    std::atomic<uint64_t> lookups{0};
    std::atomic<uint64_t> hits{0};
    std::atomic<uint64_t> handshakes{0};
  };
  ConnectCounts& connect_counts() { return connect_counts_; }

  // The pool for the generations that share connections.
  ConnectionPool& pool() { return pool_; }
  const ConnectionPool& pool() const { return pool_; }
  // See Share::CloseIdleConnections.
  size_t CloseIdleConnections(absl::Duration older_than)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Runs `use` with the newest CURLSH, inside the gate if there is one. A close
  // waits for it. For what a handle of the share's own has to do there
  // (VisitingHandle). `use` must wait for nothing but libcurl, and call nothing
  // of the user's.
  //
  // Returns what `use` returns. kFailedPrecondition, without calling `use`: the
  // share belongs to the parent process, is closing or closed, or does not
  // share `kind`; or the thread is under a kind lock, or inside the gate of
  // another share.
  absl::Status Visit(LockData kind,
                     absl::FunctionRef<absl::Status(CURLSH*)> use)
      ABSL_LOCKS_EXCLUDED(mu_);
  // What Visit would refuse now, apart from the gate, for which it does not
  // wait.
  absl::Status CheckVisit(LockData kind) const ABSL_LOCKS_EXCLUDED(mu_);

  // Enters the gate; nests. kFailedPrecondition if the thread is inside another
  // share's gate or under a kind lock, since two threads could then wait for
  // each other. A wait with `who` not null ends with kCancelled when
  // CancelGateWaits(who) is called. kDeadlineExceeded at `deadline`. For `stop`
  // see Gate::Enter.
  absl::Status EnterGate(const void* who = nullptr,
                         absl::Time deadline = absl::InfiniteFuture(),
                         const std::atomic<bool>* stop = nullptr);
  // Ends waits for the gate: see Gate::CancelWaits.
  bool CancelGateWaits(const void* who,
                       const std::atomic<bool>* stop = nullptr) {
    return gate_.CancelWaits(who, stop);
  }
  // Enters the gate if that is possible without waiting; true if so. Never
  // waits, and therefore allowed also inside another gate and under a kind
  // lock.
  bool TryEnterGate() { return gate_.Enter(absl::InfinitePast()); }
  // Ends the newest Enter of this thread. A thread that leaves the gate of a
  // closing share takes out the idle handles that the close could not get at.
  void LeaveGate() ABSL_LOCKS_EXCLUDED(mu_);
  bool InGate() const { return gate_.OwnedByThisThread(); }
  // Leaves the gate, so that others get in while the caller waits for the
  // network. Does nothing if the caller is inside more than once, as an outer
  // call is then in the middle of libcurl's data. True if it has left: then
  // ResumeGate() goes with it.
  bool PauseGate() ABSL_LOCKS_EXCLUDED(mu_);
  void ResumeGate() { gate_.Enter(); }
  KindLockStats gate_stats() const { return gate_.stats(); }
  // Whether any generation was ever gated. Cheaper than gated().
  bool may_be_gated() const {
    return may_be_gated_.load(std::memory_order_acquire);
  }

  // See the functions of the same names in Share. Abandon is what ~Share does.
  bool gated() const ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Close(absl::Time deadline, bool cancel) ABSL_LOCKS_EXCLUDED(mu_);
  void Abandon() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ChangeKinds(LockDataSet add, LockDataSet remove)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  absl::Status Flush(LockDataSet kinds)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  LockDataSet kinds() const ABSL_LOCKS_EXCLUDED(mu_);
  size_t attached() const ABSL_LOCKS_EXCLUDED(mu_);
  bool closed() const ABSL_LOCKS_EXCLUDED(mu_);
  Share* facade() const ABSL_LOCKS_EXCLUDED(mu_);

  uint64_t id() const { return id_; }
  KindLocks& locks() { return *locks_; }
  // "share #3"
  std::string name() const;

 private:
  static constexpr uint64_t kClosingBit = 1;
  static constexpr uint64_t kGenerationStep = 2;

  enum class State { kOpen, kClosing, kClosed };

  absl::Status CheckShares(LockData kind) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // One try of Visit. `in_gate`: the caller is inside the gate. Sets
  // `*try_again` and does nothing if the share has become gated since the
  // caller looked.
  absl::Status VisitInGate(LockData kind,
                           absl::FunctionRef<absl::Status(CURLSH*)> use,
                           bool in_gate, bool* try_again)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CheckOpen() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Whether this thread may change or flush kinds now.
  absl::Status CheckMayChange() const;
  // What ChangeKinds and Flush ask for.
  struct Change {
    LockDataSet add;
    LockDataSet remove;
    LockDataSet flush;

    LockDataSet Wanted(LockDataSet shared) const {
      return (shared | add) - remove;
    }
    bool IsNone(LockDataSet shared) const {
      return Wanted(shared) == shared && (flush & shared).empty();
    }
  };
  absl::Status Apply(const Change& change)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // One try of Apply. `in_gate` and `*try_again` as for VisitInGate.
  absl::Status ApplyInGate(const Change& change, bool in_gate, bool* try_again)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // Makes a new generation for `change` if one is needed, or flushes the
  // newest.
  absl::Status ApplyTo(const std::shared_ptr<const ShareHandle>& newest,
                       const Change& change,
                       std::shared_ptr<const ShareHandle>& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Flushes DNS answers and cookies, which libcurl can empty in place.
  absl::Status FlushInPlace(CURLSH* newest, LockDataSet kinds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Makes a CURLSH with `kinds` the newest generation. It knows what `newest`
  // knows, except for `flush`. `old` gets a reference that the caller drops
  // with no lock held.
  absl::Status StartGeneration(const std::shared_ptr<const ShareHandle>& newest,
                               LockDataSet kinds, LockDataSet flush,
                               std::shared_ptr<const ShareHandle>& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether this thread may call libcurl for handles in both, as far as the
  // gate goes.
  bool MayUse(const ShareHandle& a, const ShareHandle& b) const;
  void BeginClosing(bool cancel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Visits each handle that is not visited yet: tells a transfer to end if a
  // close has asked for that, and detaches the handle if it is idle. A handle
  // of a gated generation is detached only inside the gate. O(attached);
  // allocates nothing.
  void VisitAttached() ABSL_LOCKS_EXCLUDED(mu_);
  // VisitAttached for a close. If the share may be gated, it visits all handles
  // twice: first outside the gate, to tell transfers to end, then inside, to
  // detach. If the gate is occupied until `deadline`, the thread inside does
  // the second part.
  void VisitThroughGate(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  bool MustNotWaitForGate() const;
  // Catches up with a generation that CatchUpAfterTransfer has noted, if there
  // is one.
  void CatchUpWithKept() ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  bool HasUnvisited() const ABSL_LOCKS_EXCLUDED(mu_);
  // Takes out the newest CURLSH if nothing needs it any more, else returns
  // null. The caller passes it to Finish once `mu_` is free.
  std::shared_ptr<const ShareHandle> TakeIfDone()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Frees the newest CURLSH, and closes the share.
  void Finish(std::shared_ptr<const ShareHandle> last) ABSL_LOCKS_EXCLUDED(mu_);
  void FinishIfEmpty() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsClosed() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return state_ == State::kClosed;
  }
  // Whether a close has nothing left to wait for: the share is closed, or every
  // handle left is one that libcurl does not let go.
  bool IsSettled() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return IsClosed() ||
           (!cannot_leave_.empty() && unvisited_.empty() && visited_.empty());
  }

  const uint64_t id_;
  const bool detach_on_close_;
  const bool refuses_after_close_;
  const Concurrency concurrency_;
  const std::shared_ptr<KindLocks> locks_;
  std::atomic<bool> may_be_gated_;
  Gate gate_;
  ConnectionPool pool_;
  const absl::Duration dns_cache_timeout_;
  std::atomic<bool> may_have_pinned_names_{false};
  std::atomic<uint64_t> wrong_threads_{0};
  ForgottenNames forgotten_names_;
  ConnectCounts connect_counts_;

  // On a cache line of their own: transfers read these, whereas each attach and
  // detach writes `mu_`.
  alignas(ABSL_CACHELINE_SIZE) std::atomic<uint64_t> epoch_{0};
  std::atomic<ForkCount> transferred_in_{kNoProcess};

  // Held while a generation is made, and while what one has learned is brought
  // to another. libcurl is called with it held, for handles of the share's own,
  // which have no callbacks. These calls take kind locks, so a thread that is
  // under a kind lock must not wait for this mutex.
  alignas(ABSL_CACHELINE_SIZE) absl::Mutex reconfigure_mu_
      ABSL_ACQUIRED_BEFORE(mu_);
  OldGenerations old_ ABSL_GUARDED_BY(reconfigure_mu_);
  std::atomic<bool> some_kept_{false};  // whether `old_` has to catch up
  mutable absl::Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kOpen;
  // The Share has gone in strict mode: the last handle to leave finishes.
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  bool cancel_ ABSL_GUARDED_BY(mu_) = false;  // a close wants transfers ended
  Share* facade_ ABSL_GUARDED_BY(mu_);
  // Handles on the three lists.
  size_t attached_ ABSL_GUARDED_BY(mu_) = 0;
  // Calls between BeginVisit and EndVisit, and others that use a CURLSH.
  size_t visits_ ABSL_GUARDED_BY(mu_) = 0;
  ListNode unvisited_ ABSL_GUARDED_BY(mu_);  // all, until a close begins
  ListNode visited_ ABSL_GUARDED_BY(mu_);    // seen by the close under way
  // Handles that were idle when a close, or their own Leave, tried to take them
  // out, and libcurl refused.
  ListNode cannot_leave_ ABSL_GUARDED_BY(mu_);
  uint64_t closes_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<const ShareHandle> current_ ABSL_GUARDED_BY(mu_);
  // The epoch of `current_`. It is less than `epoch_` while a successor is
  // made: a transfer that begins or ends then waits for `reconfigure_mu_`.
  uint64_t current_epoch_ ABSL_GUARDED_BY(mu_) = 0;
  ListNode kept_node_;  // in kept_forever.h, if abandoned in a forked child
};

}  // namespace internal
}  // namespace curlshare

#endif  // CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_
