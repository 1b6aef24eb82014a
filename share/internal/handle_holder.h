// SPDX-License-Identifier: Apache-2.0
// Which thread may pass a CURL* to libcurl now.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_HOLDER_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_HOLDER_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/fork_count.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// The first of three classes that make a Handle: HandleMembership and Handle
// build on it.
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
//
// Safe for concurrent use as the table says. Owned by RefPtrs: a close, and a
// transfer, keep it alive while they need it.
class HandleHolder : public ConnectionKeeper,
                     public ListNode,
                     public RefCounted {
 public:
  enum class Mode : uint8_t {
    kIdle,
    kUse,       // reading or setting options
    kTransfer,  // between begin and end of a transfer
    kChange,    // attaching, detaching, releasing
  };
  // Whether transfers without the share are refused that a close has taken the
  // handle out of.
  enum class Refusal : uint8_t { kNever, kAfterClose, kNow };

  virtual ~HandleHolder();

  // REQUIRES: the caller is the holder, or needs the address alone.
  CURL* curl() const { return curl_; }

  // Makes the caller the holder. kTransfer moves the handle to its share's
  // newest CURLSH first, or out of a share that is closing; its wait for the
  // gate ends with kDeadlineExceeded when the transfer's timeout has passed,
  // and is told in `waited`; with kCancelled where `stop` is true: see
  // Gate::Enter.
  absl::Status Enter(Mode mode, absl::Duration* waited = nullptr,
                     const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter; detaches where the share is closing, releases where
  // the owner has gone.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  // The transfer of the caller, its holder, is no thread's: no use nests in it,
  // and any thread may end it by LeaveFromAnyThread(). REQUIRES: not gated.
  void LeaveToAnyThread() ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveFromAnyThread() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether it is attached to a gated generation. REQUIRES: as for curl().
  bool gated() const ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the transfer under way, or its wait for the gate, if there is one:
  // true then.
  bool Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // For progress callbacks. Lock-free.
  bool cancelled() const { return cancelled_by() != Cancelled::kNo; }

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
  enum class Cancelled : uint8_t { kNo, kByCaller, kByClose };
  // Whether others may take over what it keeps while it is idle.
  enum class Lends : uint8_t {
    kNo,
    kYes,
    kNever,  // it keeps credentials, see connection_references.h
  };

  // `curl` is not owned.
  explicit HandleHolder(CURL* curl) : curl_(curl) {}

  // What it asks of the classes that build on it. The caller is the holder.

  // What a transfer does first where the share has changed, or is closing.
  virtual absl::Status PrepareTransfer() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // The CURLSH that it is attached to; null where there is none.
  virtual const std::shared_ptr<const ShareHandle>& generation() const = 0;
  // Takes the CURL* out of its share, which is not null.
  virtual absl::Status DetachNow() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // The owner has gone: frees what is owned. The caller is the holder for the
  // last time.
  virtual void ReleaseNow() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // Whether that frees the CURL*, too. Asked by anyone.
  virtual bool OwnsCurl() const { return false; }

  // The same, whoever calls.

  // Ends the poll of the transfer under way, or else the next.
  virtual void WakePoll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // A transfer was told to end.
  virtual void AfterCancel() ABSL_LOCKS_EXCLUDED(mu_) {}
  // CURLOPT_TIMEOUT_MS; 0: none, or not known. Called by who is about to
  // transfer.
  virtual long timeout_ms() const { return 0; }

  // What it offers them.

  Cancelled cancelled_by() const {
    return cancelled_.load(std::memory_order_acquire);
  }
  // Its share, for the holder, without counting a reference: the holder alone
  // changes it.
  ShareCore* HolderShare() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_.get();
  }
  // Whether the share has changed, or is closing. For the holder.
  bool HolderIsStale() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_ != nullptr && share_->epoch() != epoch_;
  }
  // Whether others may take over what it keeps. For the holder, who alone
  // changes it.
  Lends HolderLends() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return lends_; }
  void SetLends(Lends lends) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the poll of the transfer under way, or else its next; false where
  // there is no transfer. For any thread.
  bool WakeTransfer() ABSL_LOCKS_EXCLUDED(mu_);

  static absl::Status LockHeldError();
  static absl::Status ParentsError();
  static absl::Status AfterCloseError();
  bool HasTransferredHere() const {
    return transferred_in_.load(std::memory_order_relaxed) == ThisProcess();
  }

 private:
  // The members stand in an order that leaves no gaps: there may be very many
  // handles.
  int depth_ ABSL_GUARDED_BY(mu_) = 0;  // of the holder's Enters

 protected:
  CURL* curl_;  // the holder's
  mutable absl::Mutex mu_;
  // Written by the holder, under `mu_` so that others may look.
  RefPtr<ShareCore> share_ ABSL_GUARDED_BY(mu_);
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;  // of what it is attached to
  // The holder's: what it has entered; null if none.
  RefPtr<ShareCore> gate_;

 private:
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
                  absl::Duration* waited = nullptr,
                  const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Where somebody has to be waited for, or a gate to be entered.
  ABSL_ATTRIBUTE_NOINLINE Admission AdmitSlowly(Mode mode, bool release,
                                                absl::Status& refusal,
                                                absl::Duration* waited,
                                                const std::atomic<bool>* stop)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The share whose gate a holder has to be inside; null if none.
  ShareCore* GateFor(Mode mode) const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (share_ == nullptr) return nullptr;
    // To move to another generation, either of which may be gated.
    const bool moves = mode == Mode::kTransfer && share_->epoch() != epoch_;
    return gated_ || (moves && share_->may_be_gated()) ? share_.get() : nullptr;
  }
  // The last Leave, where there is more to do than to become idle; `release`
  // says that a release has been asked for.
  ABSL_ATTRIBUTE_NOINLINE void LeaveSlowly(bool release)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whoever leaves is not the thread that entered.
  ABSL_ATTRIBUTE_NOINLINE void NoteWrongThread() const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);
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
  // Whether the caller could become the holder without waiting.
  bool IsIdleHere() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return holder_ == nullptr && (!gated_ || share_->InGate());
  }
  void BecomeHolder(Mode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BecomeIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ShareIsClosing() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return share_ != nullptr && ShareCore::IsClosing(share_->epoch());
  }

  // Whether a transfer ends in an older generation than its share's newest,
  // which is to know what that has learned.
  bool HasToCatchUp() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return mode_ == Mode::kTransfer && share_ != nullptr &&
           share_->epoch() != epoch_;
  }

  // Of a handle that has not transferred, in a forked child.
  ABSL_ATTRIBUTE_NOINLINE bool ShareIsParents() const ABSL_LOCKS_EXCLUDED(mu_);
  // Before its first transfer. By the holder.
  ABSL_ATTRIBUTE_NOINLINE void NoteTransfer() ABSL_LOCKS_EXCLUDED(mu_);
  // Instead of a release, of one that is the parent's.
  void LeaveBehind();

  // ConnectionKeeper. EndHold is the Leave of TryHold.
  bool TryHold(Purpose purpose) final ABSL_LOCKS_EXCLUDED(mu_);
  bool CanHold() const final ABSL_LOCKS_EXCLUDED(mu_);
  bool IsHeld() const final ABSL_LOCKS_EXCLUDED(mu_);
  void EndHold() final ABSL_LOCKS_EXCLUDED(mu_);

  ThreadToken holder_ ABSL_GUARDED_BY(mu_) = nullptr;
  HandleHolder* next_deferred_ = nullptr;  // of ThisThread::deferred
  // Written by the holder, or by a release in a child. Where it says that it
  // has transferred, the share that it is in says so, too.
  std::atomic<ForkCount> transferred_in_{kNoProcess};
  std::atomic<Cancelled> cancelled_{Cancelled::kNo};
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kIdle;
  Lends lends_ ABSL_GUARDED_BY(mu_) = Lends::kNo;
  bool release_requested_ ABSL_GUARDED_BY(mu_) = false;

 protected:
  Refusal refusal_ = Refusal::kNever;  // the holder's
  // Whether what it is attached to is gated. Written by the holder, under `mu_`
  // so that others may look.
  bool gated_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_HOLDER_H_
