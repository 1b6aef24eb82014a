// SPDX-License-Identifier: Apache-2.0
// What lives behind a Share for as long as anything is attached to it.
//
// Invariants:
//  - A Handle is on one of the three lists exactly while its `share_` is this
//    core or it is on its way in or out; `attached_` counts them.
//  - Once `closing` is in `epoch_`, the lists only shrink.
//  - Nothing of libcurl and nothing of the user is called with `mu_` held.
//  - What a transfer has learned in an older generation is in the newest one
//    from the end of that transfer on (old_generations.h): the epoch changes
//    before what is known is read, so that who ends later knows that it has to
//    catch up.
//  - `current_` is null exactly once the core has finished, or is about to:
//    who takes it out frees it, outside `mu_`, then sets `finished_`.
//
// A generation whose kinds are not safe by their locks alone is *gated*: every
// call of libcurl's on a handle that is attached to it happens inside the gate,
// but for curl_multi_poll. Its owner may be in a callback for as long as the
// user likes. So a close that cannot enter in time leaves the idle handles to
// whoever leaves the gate next (LeaveGate).
//
// Lock order: gate -> a Handle's holder -> reconfigure_mu_ -> mu_. A Handle's
// own mutex is never held together with `mu_`.
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

// A CURLSH and its epoch.
struct Generation {
  std::shared_ptr<const ShareHandle> handle;
  uint64_t epoch = 0;
};

// Safe for concurrent use. Owned by RefPtrs: the Share's, and one of each
// attached handle.
class ShareCore final : public RefCounted {
 public:
  // `facade` is what Easy::share() answers while that object lives.
  ShareCore(Share* facade, bool detach_on_close, Concurrency concurrency,
            const ConnectionOptions& connections,
            std::shared_ptr<KindLocks> locks,
            std::shared_ptr<const ShareHandle> first,
            absl::Duration dns_cache_timeout = kDefaultDnsCacheTimeout,
            bool refuses_after_close = false);
  ShareCore(const ShareCore&) = delete;
  ShareCore& operator=(const ShareCore&) = delete;

  // Changes whenever attached handles have something to do at their next
  // transfer boundary. The only thing that a transfer reads of its share.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  static bool IsClosing(uint64_t epoch) { return (epoch & kClosingBit) != 0; }

  // Takes `handle` in and says what to attach it to. kFailedPrecondition where
  // the share is closing or closed.
  absl::StatusOr<Generation> Link(HandleHolder* handle)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Lets `handle` go; it holds no ShareHandle of this share any more. The last
  // one out of a share that is closing frees the CURLSH.
  void Unlink(HandleHolder* handle) ABSL_LOCKS_EXCLUDED(mu_);
  // `handle`, whose holder calls this, cannot leave though the share is
  // closing. How many closes have begun: one that begins later tries again,
  // unless it finds the handle still held.
  uint64_t NoteCannotLeave(HandleHolder* handle) ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t closes() const ABSL_LOCKS_EXCLUDED(mu_);
  // What to move to; `handle` is null where the share has finished.
  Generation Newest() const ABSL_LOCKS_EXCLUDED(mu_);
  // Brings what transfers in `from`, an older generation, have learned to the
  // newest one, which is then `*newest`. Waits for a change of the kinds that
  // is under way. Outside of the gate only where that has nothing to do with
  // either; else nothing is brought, which is no error. kResourceExhausted: to
  // be tried again.
  absl::Status CatchUp(const std::shared_ptr<const ShareHandle>& from,
                       Generation* newest)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // The same after a transfer, by who is not its handle's holder any more. What
  // cannot be done now is left to who comes next. Within BeginVisit and
  // EndVisit.
  void CatchUpAfterTransfer(const std::shared_ptr<const ShareHandle>& from)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  // A close waits for what comes in between. A generation that is held on to is
  // let go of before the end.
  void BeginVisit() ABSL_LOCKS_EXCLUDED(mu_);
  void EndVisit() ABSL_LOCKS_EXCLUDED(mu_);

  // A handle that has transferred comes in, or one that is in transfers.
  void NoteTransfer() {
    if (transferred_in_.load(std::memory_order_relaxed) == ThisProcess()) {
      return;
    }
    transferred_in_.store(ThisProcess(), std::memory_order_relaxed);
  }
  // Whether it has transferred in a process that this one was forked from:
  // then everything here is refused, before it takes a mutex that a thread of
  // the parent may have held.
  bool IsParents() const {
    return IsOfParent(transferred_in_.load(std::memory_order_relaxed));
  }
  // kFailedPrecondition where it is.
  absl::Status CheckProcess() const;

  // A Use or a Transfer of a handle ended on another thread than it began.
  void NoteWrongThread() {
    wrong_threads_.fetch_add(1, std::memory_order_relaxed);
  }
  uint64_t wrong_threads() const {
    return wrong_threads_.load(std::memory_order_relaxed);
  }

  // What handles that share DNS answers get as CURLOPT_DNS_CACHE_TIMEOUT. The
  // default is libcurl's.
  static constexpr absl::Duration kDefaultDnsCacheTimeout = absl::Seconds(60);
  absl::Duration dns_cache_timeout() const { return dns_cache_timeout_; }
  // Whether handles that a close has taken out are not to transfer.
  bool refuses_after_close() const { return refuses_after_close_; }
  // A handle comes in, or is in, whose CURLOPT_RESOLVE may put addresses into
  // the share's cache: libcurl does not tell them from answers when it is told
  // to forget a name.
  void NotePinnedNames() {
    if (may_have_pinned_names_.load(std::memory_order_relaxed)) return;
    may_have_pinned_names_.store(true, std::memory_order_relaxed);
  }
  // To `host`, a name, no connection could be made, or it was not found: what
  // `share`, one of its generations that share DNS answers, knows of it is
  // forgotten, at most once a second. Empty: it is not known which name. Called
  // as a transfer on a handle in `share` would be.
  void ForgetFailedName(CURLSH* share, const std::string& host, int port);

  // What transfers did to get their connections. A transfer that opens none
  // writes none of them. Each by itself: together they are no snapshot.
  struct ConnectCounts {
    std::atomic<uint64_t> lookups{0};
    std::atomic<uint64_t> hits{0};
    std::atomic<uint64_t> handshakes{0};
  };
  ConnectCounts& connect_counts() { return connect_counts_; }
  const ConnectCounts& connect_counts() const { return connect_counts_; }

  // Of the generations that share connections.
  ConnectionPool& pool() { return pool_; }
  const ConnectionPool& pool() const { return pool_; }
  // See Share.
  size_t CloseIdleConnections(absl::Duration older_than)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Runs `use` with the newest CURLSH, which shares `kind`, for what a handle
  // of the share's own has to do there, inside the gate where there is one. A
  // close waits for it. `use` must not wait for anything but libcurl, and calls
  // nothing of the user's. kFailedPrecondition, `use` not run: the share is the
  // parent's, closing or closed, or does not share `kind`; the thread is under
  // a kind lock, or inside the gate of another share.
  absl::Status Visit(LockData kind,
                     absl::FunctionRef<absl::Status(CURLSH*)> use)
      ABSL_LOCKS_EXCLUDED(mu_);
  // What Visit would refuse just now; without waiting for the gate.
  absl::Status CheckVisit(LockData kind) const ABSL_LOCKS_EXCLUDED(mu_);

  // The gate. Enter nests; it is kFailedPrecondition where the thread is inside
  // another share's gate or under a kind lock, since two threads could then
  // wait for each other.
  // The wait for `who`, if not null, ends with kCancelled by CancelGateWaits,
  // and with kDeadlineExceeded at `deadline`. `stop`: see Gate::Enter.
  absl::Status EnterGate(const void* who = nullptr,
                         absl::Time deadline = absl::InfiniteFuture(),
                         const std::atomic<bool>* stop = nullptr);
  bool CancelGateWaits(const void* who,
                       const std::atomic<bool>* stop = nullptr) {
    return gate_.CancelWaits(who, stop);
  }
  // Without waiting; true if inside. In any state of the thread.
  bool TryEnterGate() { return gate_.Enter(absl::InfinitePast()); }
  // Ends the newest Enter. Whoever leaves the gate of a share that is closing
  // takes out the idle handles which the close could not get at.
  void LeaveGate() ABSL_LOCKS_EXCLUDED(mu_);
  bool InGate() const { return gate_.OwnedByThisThread(); }
  // Lets others in while the caller waits for the network, unless it is inside
  // more than once: then libcurl is in the middle of something. True if so.
  bool PauseGate() ABSL_LOCKS_EXCLUDED(mu_);
  void ResumeGate() { gate_.Enter(); }
  KindLockStats gate_stats() const { return gate_.stats(); }
  // Whether any generation was ever gated: cheaper to ask than gated().
  bool may_be_gated() const {
    return may_be_gated_.load(std::memory_order_acquire);
  }

  // See Share for the following.
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
  const KindLocks& locks() const { return *locks_; }
  KindLocks& locks() { return *locks_; }
  // "share #3"
  std::string name() const;

 private:
  static constexpr uint64_t kClosingBit = 1;
  static constexpr uint64_t kGenerationStep = 2;

  enum class State { kOpen, kClosing, kClosed };

  absl::Status CheckShares(LockData kind) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // `*try_again`: it has become gated since the caller looked.
  absl::Status VisitInGate(LockData kind,
                           absl::FunctionRef<absl::Status(CURLSH*)> use,
                           bool in_gate, bool* try_again)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CheckOpen() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Whether the kinds may be changed, or flushed, by this thread.
  absl::Status CheckMayChange() const;
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
  // `*try_again`: it has become gated since the caller looked.
  absl::Status ApplyInGate(const Change& change, bool in_gate, bool* try_again)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  absl::Status ApplyTo(const std::shared_ptr<const ShareHandle>& newest,
                       const Change& change,
                       std::shared_ptr<const ShareHandle>& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Of DNS answers and cookies.
  absl::Status FlushInPlace(CURLSH* newest, LockDataSet kinds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // A CURLSH with `kinds`, which handles move to, and which knows what `newest`
  // does, but for `flush`. `old` is one for the caller to free outside all
  // locks.
  absl::Status StartGeneration(const std::shared_ptr<const ShareHandle>& newest,
                               LockDataSet kinds, LockDataSet flush,
                               std::shared_ptr<const ShareHandle>& old)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reconfigure_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether this thread may call libcurl for both, a moment long.
  bool MayUse(const ShareHandle& a, const ShareHandle& b) const;
  void BeginClosing(bool cancel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Has the handles in transfer cancelled if a close asked for that, and
  // detaches every idle one; those of a gated generation only inside the gate.
  // O(attached), allocates nothing.
  void VisitAttached() ABSL_LOCKS_EXCLUDED(mu_);
  // The two steps of that for a share that may be gated: cancels now, detaches
  // once inside the gate, or leaves that to whoever is inside at `deadline`.
  void VisitThroughGate(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  bool MustNotWaitForGate() const;
  // Where a transfer has ended that could not be caught up with.
  void CatchUpWithKept() ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  bool HasUnvisited() const ABSL_LOCKS_EXCLUDED(mu_);
  // The newest CURLSH, where nothing needs it any more: for Finish, once `mu_`
  // is free; else null.
  std::shared_ptr<const ShareHandle> TakeIfDone()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(std::shared_ptr<const ShareHandle> last) ABSL_LOCKS_EXCLUDED(mu_);
  void FinishIfEmpty() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsClosed() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return state_ == State::kClosed;
  }
  // Whether a close has nothing to wait for.
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

  // Apart from `mu_`, which attach and detach write: transfers read it.
  alignas(ABSL_CACHELINE_SIZE) std::atomic<uint64_t> epoch_{0};
  std::atomic<ForkCount> transferred_in_{kNoProcess};

  // Serialises what makes a generation, and what brings one's cookies to
  // another. libcurl is called with it held, for handles of the share's own,
  // which have no callbacks; so it must not be waited for under a kind lock.
  alignas(ABSL_CACHELINE_SIZE) absl::Mutex reconfigure_mu_
      ABSL_ACQUIRED_BEFORE(mu_);
  OldGenerations old_ ABSL_GUARDED_BY(reconfigure_mu_);
  std::atomic<bool> some_kept_{false};  // whether `old_` has to catch up
  mutable absl::Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kOpen;
  // The Share has gone in strict mode: finish when the last handle leaves.
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  bool cancel_ ABSL_GUARDED_BY(mu_) = false;  // a close wants transfers ended
  Share* facade_ ABSL_GUARDED_BY(mu_);
  size_t attached_ ABSL_GUARDED_BY(mu_) = 0;
  size_t visits_ ABSL_GUARDED_BY(mu_) = 0;
  ListNode unvisited_ ABSL_GUARDED_BY(mu_);  // all, until a close begins
  ListNode visited_ ABSL_GUARDED_BY(mu_);    // seen by the close under way
  // Idle when a close or their own Leave tried to take them out, and libcurl
  // refused.
  ListNode cannot_leave_ ABSL_GUARDED_BY(mu_);
  uint64_t closes_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<const ShareHandle> current_ ABSL_GUARDED_BY(mu_);
  // The epoch of `current_`. Less than `epoch_` while it gets a successor: a
  // transfer that begins or ends meanwhile waits for that.
  uint64_t current_epoch_ ABSL_GUARDED_BY(mu_) = 0;
  ListNode kept_node_;  // by who abandons it in a child
};

}  // namespace internal
}  // namespace curlshare

#endif  // CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_
