// One CURL* that can be in a share: who uses it now, which CURLSH it is
// attached to, and the loop that transfers on it.
//
// A libcurl easy handle has no lock. Here at most one thread at a time is the
// handle's *holder*; only the holder may pass `curl_` to libcurl. A close
// makes itself the holder of idle handles to detach them, and leaves busy ones
// alone: those detach when their holder leaves.
//
// clang-format off
//   mode_      | holder_   | Enter(kUse)   | Enter(kTransfer, kChange) | a close
//   -----------+-----------+---------------+---------------------------+----------
//   idle       | nobody    | holds         | holds                     | detaches
//   use,change | caller    | nests         | FailedPrecondition        | leaves it
//              | other     | waits         | waits                     | leaves it
//   transfer   | caller    | nests         | FailedPrecondition        | leaves it,
//              | other     | FailedPrecon. | FailedPrecondition        | or cancels
// clang-format on
//
// The wait is for uses alone, which are short. Every Enter that succeeds is
// followed by one Leave on the same thread.
//
// Where the handle is attached to a gated generation (see share_core.h), who
// becomes its holder is inside the gate first, and until it leaves, but for the
// poll of a transfer. In that order: who waits for the gate holds nothing that
// a callback inside may want.
//
// In a forked child, a handle that has transferred in the parent, or is in a
// share that has, is the parent's: everything here refuses, before it takes a
// mutex that a thread of the parent may have held. Released, it is kept for
// ever as it is.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/fork_count.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// Safe for concurrent use as the table above says. Always owned by RefPtrs: a
// close, and a transfer, keep it alive while they need it.
class Handle : public ConnectionKeeper, public ListNode, public RefCounted {
 public:
  enum class Mode : uint8_t {
    kIdle,
    kUse,       // reading or setting options
    kTransfer,  // between begin and end of a transfer
    kChange,    // attaching, detaching, releasing
  };

  // `curl` is not owned: it outlives Release(). Easy overrides that.
  explicit Handle(CURL* curl) : curl_(curl) {}
  virtual ~Handle();

  // REQUIRES: the caller is the holder, or needs the address alone.
  CURL* curl() const { return curl_; }

  // Makes the caller the holder. kTransfer moves the handle to its share's
  // newest CURLSH first, or out of a share that is closing; its wait for the
  // gate ends with kDeadlineExceeded when the transfer's timeout has passed,
  // and is told in `waited`, for Drive.
  absl::Status Enter(Mode mode, absl::Duration* waited = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter; detaches where the share is closing, releases where
  // the owner has gone.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  absl::Status Attach(const RefPtr<ShareCore>& share) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether it is attached to a gated generation. REQUIRES: as for curl().
  bool gated() const ABSL_LOCKS_EXCLUDED(mu_);

  // A whole transfer, on a multi handle of this handle's own.
  absl::Status Perform() ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the transfer under way, or its wait for the gate, if there is one:
  // true then.
  bool Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // For progress callbacks. Lock-free.
  bool cancelled() const {
    return cancelled_.load(std::memory_order_acquire) != Cancelled::kNo;
  }
  // The Status of a transfer that ended with `code`, or was cancelled.
  absl::Status TransferStatus(CURLcode code);

  // The owner has gone. Lets go of the share and, where it is owned, of the
  // CURL*: at once, or when the use or transfer in progress ends. Inside a
  // callback that runs under a share's lock, where detaching could deadlock,
  // an owned handle waits for that thread's next Leave; so it does inside the
  // gate of another share, unless the own one is free.
  void Release() ABSL_LOCKS_EXCLUDED(mu_);

  // Frees what deferred releases have left on this thread, if it may now. To be
  // called wherever a thread leaves what it could have been called back from.
  static void ReleaseDeferred() {
    if (GetThisThread().deferred != nullptr) ReleaseAllDeferred();
  }

  // A close of `share`, which had this handle on its list a moment ago.
  void OnShareClosing(ShareCore& share, bool cancel) ABSL_LOCKS_EXCLUDED(mu_);

  // Null where the handle is not attached, or its parent's.
  RefPtr<ShareCore> share() const ABSL_LOCKS_EXCLUDED(mu_);

  // Whether it, or its share, has transferred in a process that this one was
  // forked from. Of one that has transferred itself it is known without `mu_`.
  bool IsParents() const ABSL_LOCKS_EXCLUDED(mu_) {
    const ForkCount process = transferred_in_.load(std::memory_order_relaxed);
    return ABSL_PREDICT_FALSE(process != ThisProcess()) &&
           (process != kNoProcess ||
            (ThisProcess() != kNeverForked && ShareIsParents()));
  }
  // Whether its owner has gone in a child, and perhaps the CURL*, too.
  bool left_behind() const {
    return transferred_in_.load(std::memory_order_relaxed) == kLeftBehind;
  }

 protected:
  // The following need the caller to be the holder.

  // The transfer itself, once entered. The timeout counts from `waited` ago on.
  absl::Status Drive(absl::Duration waited) ABSL_LOCKS_EXCLUDED(mu_);

  // Sets what the shared kinds ask of the handle: the cookie engine on. After
  // attaching, and after curl_easy_reset of an Easy.
  absl::Status PrepareForKinds() ABSL_LOCKS_EXCLUDED(mu_);
  // libcurl puts the addresses of CURLOPT_RESOLVE into the DNS cache once, at
  // the first transfer: with another share, or none, they have to be given
  // again. That of a raw handle is its owner's to set.
  virtual void ReloadResolve() {}
  // Its share, without counting a reference: the holder alone changes it.
  ShareCore* HolderShare() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_.get();
  }
  // Whether the CURLSH that the handle is attached to shares `kind`.
  bool Shares(LockData kind) const;

  // What the handle's options say, which cannot be read.
  static constexpr long kDefaultMaxConnects = 5;  // DEFAULT_CONNCACHE_SIZE
  // Of a multi handle without a pool. Of a raw handle, as many as its share
  // keeps idle.
  virtual long max_connects() const;
  virtual bool quick_exit() const { return false; }
  // CURLOPT_URL; null: not known.
  virtual const char* url() const { return nullptr; }
  // CURLOPT_TIMEOUT_MS; 0: none, or not known.
  virtual long timeout_ms() const { return 0; }
  // Whether it has options of which libcurl cannot tell connections apart, or
  // which a connection keeps: such a handle has connections of its own.
  virtual bool wants_own_connections() const { return false; }
  // What else a handle must have in common with those whose connections it
  // uses, as libcurl does not compare it.
  virtual absl::string_view partition() const { return ""; }
  // Whether it can let go of its connections at any time, without touching what
  // is its owner's: then others may take them over while it is idle. Keeps what
  // the owner may still ask for, first; false where it could not.
  virtual bool CanLetGoLater() const { return false; }
  virtual bool SaveAnswers() { return true; }
  // Otherwise: whether it is to let go at the end of each transfer.
  virtual bool LetsGoAtOnce() const { return true; }
  // Whether it might authenticate by what belongs to the connection (Digest,
  // NTLM, Negotiate).
  virtual bool MayAuthenticateConnections() const { return true; }
  // To be called where what CanLetGoLater says has changed.
  void UpdateMayLend() ABSL_LOCKS_EXCLUDED(mu_);
  // It has left a share of cookies, which are saved where CURLOPT_COOKIEJAR
  // says.
  virtual void AfterLeavingCookies();
  // Whether its CURLOPT_RESOLVE may name addresses.
  virtual bool MayPinNames() const { return true; }
  // Whether it connects to another host than its URL's (a proxy,
  // CURLOPT_CONNECT_TO), as far as CURLINFO_USED_PROXY does not tell.
  virtual bool ConnectsElsewhere() const { return false; }
  // Sets CURLOPT_DNS_CACHE_TIMEOUT as the share says.
  virtual CURLcode LimitDnsAge(long seconds);
  // Around LetGoOfConnections.
  virtual void BeforeLettingGo() {}
  virtual void AfterLettingGo() {}
  // Turns the cookie engine on, in a share of cookies.
  virtual CURLcode TurnCookiesOn();

  // Whether Release() is to free the CURL*, and how. The caller is the holder,
  // for the last time; the multi handle goes after it.
  virtual bool OwnsCurl() const { return false; }
  virtual void FreeCurl() {}
  // A better Status than the code alone gives.
  virtual absl::Status MakeStatus(CURLcode code);

 private:
  enum class Cancelled : uint8_t { kNo, kByCaller, kByClose };

  enum class Admission : uint8_t {
    kNested,   // the caller is the holder already
    kHolder,   // it is now; and inside the gate where that is needed
    kBusy,     // another thread transfers
    kRefused,  // it would have to wait inside another share's gate, or its wait
               // for the gate was cancelled, or too long
  };

  // Makes the caller the holder if that can be. `refusal` tells of
  // kRefused. `release` asks for a release, which cannot fail: it happens here,
  // or when the use or transfer in progress ends; kRefused is then only where
  // the gate is occupied.
  Admission Admit(Mode mode, bool release, absl::Status& refusal,
                  absl::Duration* waited = nullptr) ABSL_LOCKS_EXCLUDED(mu_);
  // Where somebody has to be waited for, or a gate to be entered.
  ABSL_ATTRIBUTE_NOINLINE Admission AdmitSlowly(Mode mode, bool release,
                                                absl::Status& refusal,
                                                absl::Duration* waited)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The share whose gate a holder has to be inside; null if none.
  ShareCore* GateFor(Mode mode) const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (share_ == nullptr) return nullptr;
    // To move to another generation, either of which may be gated.
    const bool moves = mode == Mode::kTransfer && IsStale();
    return gated_ || (moves && share_->may_be_gated()) ? share_.get() : nullptr;
  }
  // The same, for the holder.
  bool HolderIsStale() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_ != nullptr && share_->epoch() != epoch_;
  }
  bool IsStale() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return share_ != nullptr && share_->epoch() != epoch_;
  }
  static absl::Status LockHeldError();
  static absl::Status ParentsError();
  // Of a handle that has not transferred, in a forked child.
  ABSL_ATTRIBUTE_NOINLINE bool ShareIsParents() const ABSL_LOCKS_EXCLUDED(mu_);
  bool HasTransferredHere() const {
    return transferred_in_.load(std::memory_order_relaxed) == ThisProcess();
  }
  // Before its first transfer. By the holder.
  ABSL_ATTRIBUTE_NOINLINE void NoteTransfer() ABSL_LOCKS_EXCLUDED(mu_);
  // Instead of a release, of one that is the parent's.
  void LeaveBehind();
  absl::Status AlreadyAttached() const ABSL_LOCKS_EXCLUDED(mu_);
  void Defer();
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseAllDeferred();

  // Has who waits for its turn, at the gate or at the pool's limits, look; true
  // where there is a transfer, or one that waits for the gate.
  bool WakeCancelled(ShareCore* share, bool in_transfer)
      ABSL_LOCKS_EXCLUDED(mu_);
  void CancelLocked(Cancelled by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsFree() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return holder_ == nullptr || mode_ == Mode::kTransfer;
  }
  void BecomeHolder(Mode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BecomeIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ShareIsClosing() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return share_ != nullptr && ShareCore::IsClosing(share_->epoch());
  }

  // The following need the caller to be the holder.
  absl::Status PrepareTransfer() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MoveToNewest(ShareCore& share) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status DetachNow() ABSL_LOCKS_EXCLUDED(mu_);
  // The same by its owner: a raw handle leaves its connections to the share.
  absl::Status LeaveForGood() ABSL_LOCKS_EXCLUDED(mu_);
  CURLcode SetShare(const ShareHandle* share);
  void LeaveShare() ABSL_LOCKS_EXCLUDED(mu_);
  void ReleaseNow() ABSL_LOCKS_EXCLUDED(mu_);
  // For a CURL* that stays attached until its owner cleans it up, at a time
  // that nobody can know: what it needs until then is never freed. Needs no
  // memory.
  void KeepForever() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status AttachInGate(const RefPtr<ShareCore>& share, bool in_gate,
                            bool* try_again) ABSL_LOCKS_EXCLUDED(mu_);
  // The last Leave, where there is more to do than to become idle; `release`
  // says that a release has been asked for.
  ABSL_ATTRIBUTE_NOINLINE void LeaveSlowly(bool release)
      ABSL_LOCKS_EXCLUDED(mu_);

  MultiHandle* HolderMulti() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return multi_;
  }
  void SetMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // The same for another one than before.
  void ChangeMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the multi handle out of its hands, for whom it is given to.
  std::unique_ptr<MultiHandle> TakeMulti() ABSL_LOCKS_EXCLUDED(mu_);
  // Sees that it keeps a multi handle for a transfer to `key`, with `pool` if
  // there is one. The one that it kept before, if it is to be given back once
  // the transfer has begun, is in `previous`.
  absl::Status ObtainMulti(ConnectionPool* pool, OriginKey key,
                           std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ObtainOwnMulti(std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the pool has to be asked: not where the one it keeps will do.
  bool NeedsOther(ConnectionPool& pool, OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // `shortened`: other waits have taken a part of its timeout.
  absl::Status RunOn(ConnectionPool* pool, OriginKey key,
                     bool shortened = false) ABSL_LOCKS_EXCLUDED(mu_);
  // Where it has waited, or may have to for others to the same host.
  ABSL_ATTRIBUTE_NOINLINE absl::Status RunInTurn(ConnectionPool* pool,
                                                 OriginKey key,
                                                 absl::Duration waited)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The same with what is left of the timeout since `begin`.
  absl::Status RunWithin(ConnectionPool* pool, OriginKey key, absl::Time begin)
      ABSL_LOCKS_EXCLUDED(mu_);
  // After a transfer: a name that was not found, or to which there was no
  // connection, leaves the share's cache.
  ABSL_ATTRIBUTE_NOINLINE void ForgetFailedName(CURLcode code)
      ABSL_LOCKS_EXCLUDED(mu_);
  // What becomes of the multi handle after a transfer.
  // `blames_host`: a timeout tells something of where it went.
  void KeepOrGiveBack(ConnectionPool& pool, OriginKey key, CURLcode code,
                      bool alive, bool blames_host) ABSL_LOCKS_EXCLUDED(mu_);
  bool StartsWithHttp() const;
  bool MayLend() const ABSL_LOCKS_EXCLUDED(mu_);
  // Where it leaves the pool: what it keeps stays its own.
  void LeavePool() ABSL_LOCKS_EXCLUDED(mu_);
  OriginKey CurrentOrigin() const;

  // ConnectionKeeper.
  bool TryHold(Purpose purpose) final ABSL_LOCKS_EXCLUDED(mu_);
  bool CanHold() const final ABSL_LOCKS_EXCLUDED(mu_);
  bool IsHeld() const final ABSL_LOCKS_EXCLUDED(mu_);
  bool LetGo() final ABSL_LOCKS_EXCLUDED(mu_);
  void Surrender() final ABSL_LOCKS_EXCLUDED(mu_);
  void EndHold() final ABSL_LOCKS_EXCLUDED(mu_);

  friend RefPtr<Handle> EnterAttached(Handle*);
  friend void LeaveAttached(Handle*);

  // In an order that leaves no gaps: there may be very many handles.
  std::atomic<Cancelled> cancelled_{Cancelled::kNo};
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kIdle;
  bool release_requested_ ABSL_GUARDED_BY(mu_) = false;
  bool gated_ ABSL_GUARDED_BY(mu_) = false;  // as `generation_`, for others

 protected:
  CURL* curl_;  // the holder's

 private:
  mutable absl::Mutex mu_;
  ThreadToken holder_ ABSL_GUARDED_BY(mu_) = nullptr;
  // The following are written by the holder, under `mu_` so that others may
  // look.
  RefPtr<ShareCore> share_ ABSL_GUARDED_BY(mu_);
  MultiHandle* multi_ ABSL_GUARDED_BY(mu_) = nullptr;  // owned
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;            // of `generation_`
  int depth_ ABSL_GUARDED_BY(mu_) = 0;
  // While idle, others may take over what it keeps.
  bool may_lend_ ABSL_GUARDED_BY(mu_) = false;
  // The holder's alone.
  bool keeps_credentials_ = false;  // see connection_references.h
  // Written by the holder, or by a release in a child. Where it says that it
  // has transferred, the share that it is in says so, too.
  std::atomic<ForkCount> transferred_in_{kNoProcess};
  std::shared_ptr<const ShareHandle>
      generation_;          // what `curl_` is attached to
  RefPtr<ShareCore> gate_;  // what Admit has entered; null if none
  // Links of the table of attached handles, and of ThisThread::deferred.
  Handle* next_attached_ = nullptr;
  Handle* next_deferred_ = nullptr;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_H_
