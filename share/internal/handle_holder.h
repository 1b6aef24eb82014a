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

// The first of three classes that make a Handle. HandleMembership derives from
// it, and Handle derives from HandleMembership. This class knows which thread
// may use the CURL* now.
//
// A libcurl easy handle has no lock of its own (libcurl-thread(3): "You must
// never share the same handle in multiple threads"). So at most one thread at a
// time is the handle's *holder*, and only the holder may pass `curl_` to
// libcurl. Enter makes the calling thread the holder, Leave ends that. No mutex
// is held in between: `mu_` guards only the record of who the holder is. A
// callback of libcurl's may therefore call any function of this library.
//
// A close becomes the holder of each idle handle and detaches it. It leaves
// busy handles alone: each of those detaches when its holder leaves.
//
// In this table "caller" means that the calling thread is the holder, and
// "other" that another thread is.
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
// Apart from the gate, Enter waits only for uses and changes, which are short,
// and never for a transfer. Each Enter that succeeds is followed by exactly one
// Leave, on the same thread.
//
// Gate: if the handle is attached to a gated generation (see share_core.h), a
// thread enters the gate before it becomes the holder. It stays inside until it
// leaves the handle, except while its transfer polls. The order matters: a
// thread that waits for the gate must hold nothing that a callback inside the
// gate may wait for. (After a poll a transfer waits for the gate as the holder
// of its handle, but nobody waits for a transfer.)
//
// Fork: in a forked child, a handle belongs to the parent if it, or the share
// it is in, has transferred in the parent. Every function of this class then
// refuses, before it takes a mutex that a thread of the parent may have held at
// the fork. If such a handle is released in the child, it is never freed and
// stays as it is.
//
// Thread-safe, as far as the table says. Members and functions that say
// "holder" are for the holder alone. Reference-counted (RefPtr): a close and a
// transfer keep the handle alive for as long as they need it.
class HandleHolder : public ConnectionKeeper,
                     public ListNode,
                     public RefCounted {
 public:
  // What the holder does with the handle.
  enum class Mode : uint8_t {
    kIdle,
    kUse,       // reading or setting options
    kTransfer,  // between begin and end of a transfer
    kChange,    // attaching, detaching, releasing
  };
  // Whether this handle may transfer without a share after a close has taken it
  // out of its share (AfterClose::kRefuse). kNever: it may. kAfterClose: it
  // must not, once a close takes it out. kNow: a close has done so, and
  // transfers are refused.
  enum class Refusal : uint8_t { kNever, kAfterClose, kNow };

  virtual ~HandleHolder();

  // REQUIRES: the caller is the holder, or needs the address alone.
  CURL* curl() const { return curl_; }

  // Makes the calling thread the holder.
  //
  // For kTransfer it also moves the handle to its share's newest CURLSH, or
  // takes it out of a share that is closing. A kTransfer that waits for the
  // gate stores in `waited`, if not null, how long it took to get in.
  //
  // kFailedPrecondition: see the table; also if the handle belongs to the
  // parent process, if this thread is under a kind lock (and the handle is in a
  // share, or `mode` is kChange) or inside another share's gate, or if
  // transfers are refused after a close. kDeadlineExceeded: the transfer's
  // timeout passed while it waited for the gate. kCancelled: the wait for the
  // gate was cancelled, or `stop` was true (see Gate::Enter). A move has errors
  // of libcurl's as well.
  absl::Status Enter(Mode mode, absl::Duration* waited = nullptr,
                     const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter of the holder. The last Leave also detaches the
  // handle if the share is closing, and releases it if its owner has gone.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  // LeaveToAnyThread: the caller, who is the holder, keeps the transfer open,
  // but the transfer now belongs to no thread. No use nests in it, and any
  // thread may end it with LeaveFromAnyThread(). REQUIRES: the handle is in a
  // transfer, without nested uses, and is not gated (a gate belongs to a
  // thread).
  void LeaveToAnyThread() ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveFromAnyThread() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether the handle is attached to a gated generation. REQUIRES: the caller
  // is the holder.
  bool gated() const ABSL_LOCKS_EXCLUDED(mu_);

  // Tells the transfer under way to end, or ends its wait for the gate. True if
  // there was one or the other. For any thread.
  bool Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // For progress callbacks: whether the transfer was told to end. Lock-free.
  bool cancelled() const { return cancelled_by() != Cancelled::kNo; }

  // To be called when the owner has gone. Lets go of the share and, if the
  // CURL* is owned, of the CURL*: at once, or when the use or transfer in
  // progress ends.
  //
  // It cannot fail, and it must not wait where two threads could wait for each
  // other. So an owned handle is deferred to a later Leave of this thread
  // (ReleaseDeferred) if the caller is in a callback that libcurl runs under a
  // share's lock, or if the caller is inside another share's gate and this
  // handle's own gate is not free.
  void Release() ABSL_LOCKS_EXCLUDED(mu_);

  // Releases the handles that Release has deferred on this thread, unless the
  // thread is still under a kind lock or inside a gate. To be called wherever a
  // thread leaves a section in which a callback may have run.
  static void ReleaseDeferred() {
    if (GetThisThread().deferred != nullptr) ReleaseAllDeferred();
  }

  // Called by a close of `share`, which had this handle on its list a moment
  // ago. Detaches the handle if it is idle. With `cancel`, also tells a
  // transfer to end.
  void OnShareClosing(ShareCore& share, bool cancel) ABSL_LOCKS_EXCLUDED(mu_);

  // The share that the handle is in. Null if it is in none, or belongs to the
  // parent process.
  RefPtr<ShareCore> share() const ABSL_LOCKS_EXCLUDED(mu_);

  // Whether the handle, or its share, has transferred in a process that this
  // one was forked from. If the handle itself has transferred, in any process,
  // this takes no mutex.
  bool IsParents() const ABSL_LOCKS_EXCLUDED(mu_) {
    const ForkCount process = transferred_in_.load(std::memory_order_relaxed);
    return ABSL_PREDICT_FALSE(process != ThisProcess()) &&
           (process != kNoProcess ||
            (ThisProcess() != kNeverForked && ShareIsParents()));
  }
  // Whether its owner released it in a forked child. Then the owner has gone,
  // and the CURL* may have gone, too.
  bool left_behind() const {
    return transferred_in_.load(std::memory_order_relaxed) == kLeftBehind;
  }

 protected:
  // Whether, and by whom, the transfer was told to end.
  enum class Cancelled : uint8_t { kNo, kByCaller, kByClose };
  // Whether another handle may take over this one's connections while it is
  // idle.
  enum class Lends : uint8_t {
    kNo,
    kYes,
    kNever,  // it keeps credentials, see connection_references.h
  };

  // Does not own `curl`, which must outlive Release(). Easy owns its CURL* and
  // overrides OwnsCurl().
  explicit HandleHolder(CURL* curl) : curl_(curl) {}

  // Hooks for the derived classes. In this first group the caller is the
  // holder.

  // Called when a transfer begins and the share has changed or is closing.
  // Moves the handle, or detaches it.
  virtual absl::Status PrepareTransfer() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // The CURLSH that the handle is attached to. Null if there is none.
  virtual const std::shared_ptr<const ShareHandle>& generation() const = 0;
  // Takes the CURL* out of its share. REQUIRES: it is in one. The error is
  // libcurl's, or kFailedPrecondition if the handle cannot leave yet.
  virtual absl::Status DetachNow() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // The owner has gone: frees everything that is owned. The caller is the
  // holder for the last time.
  virtual void ReleaseNow() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // Whether ReleaseNow frees the CURL* as well. May be asked by any thread.
  virtual bool OwnsCurl() const { return false; }

  // More hooks. These may be called by any thread, unless they say otherwise.

  // Ends the poll of the transfer under way. If the transfer is not polling,
  // its next poll returns at once.
  virtual void WakePoll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) = 0;
  // Called after a transfer was told to end, with no mutex held.
  virtual void AfterCancel() ABSL_LOCKS_EXCLUDED(mu_) {}
  // CURLOPT_TIMEOUT_MS in milliseconds. 0: no timeout, or not known. Called by
  // a thread that is about to transfer.
  virtual long timeout_ms() const { return 0; }

  // What this class offers the derived classes.

  Cancelled cancelled_by() const {
    return cancelled_.load(std::memory_order_acquire);
  }
  // The share that the handle is in, without taking a reference. For the
  // holder: only the holder changes it.
  ShareCore* HolderShare() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_.get();
  }
  // Whether the share has changed since the handle was attached or moved, or is
  // closing. For the holder.
  bool HolderIsStale() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return share_ != nullptr && share_->epoch() != epoch_;
  }
  // Whether others may take over this handle's connections. For the holder:
  // only the holder changes it.
  Lends HolderLends() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return lends_; }
  void SetLends(Lends lends) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the poll of the transfer under way, or its next poll. False if there
  // is no transfer. For any thread.
  bool WakeTransfer() ABSL_LOCKS_EXCLUDED(mu_);

  // The errors that several functions return.
  static absl::Status LockHeldError();
  static absl::Status ParentsError();
  static absl::Status AfterCloseError();
  bool HasTransferredHere() const {
    return transferred_in_.load(std::memory_order_relaxed) == ThisProcess();
  }

 private:
  // The members are ordered so that there are no gaps between them, since a
  // program may have very many handles (see the static_assert in handle.cc).
  int depth_ ABSL_GUARDED_BY(mu_) = 0;  // of the holder's Enters

 protected:
  CURL* curl_;  // the holder's
  mutable absl::Mutex mu_;
  // Written by the holder, and under `mu_`, so that other threads may read it
  // under `mu_`.
  RefPtr<ShareCore> share_ ABSL_GUARDED_BY(mu_);
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;  // of the generation attached to
  // The share whose gate the holder has entered. Null if it has entered none.
  RefPtr<ShareCore> gate_;

 private:
  // The result of Admit.
  enum class Admission : uint8_t {
    kNested,   // the caller is the holder already
    kHolder,   // the caller is the holder now, and inside the gate if needed
    kBusy,     // another thread transfers
    kRefused,  // it must not wait for the gate here, or the wait for the gate
               // was cancelled or took too long
  };

  // Makes the caller the holder if that is possible; `refusal` says why not for
  // kRefused. For kNested the caller counts the nested use.
  //
  // `release` asks for a release, which cannot fail. For kHolder the caller
  // makes the release. For kNested and kBusy the end of the use or transfer in
  // progress makes it. A release gets kRefused only if the gate is occupied, or
  // if the thread is under a kind lock.
  Admission Admit(Mode mode, bool release, absl::Status& refusal,
                  absl::Duration* waited = nullptr,
                  const std::atomic<bool>* stop = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The slow path of Admit: there is a holder, or a gate to enter.
  ABSL_ATTRIBUTE_NOINLINE Admission AdmitSlowly(Mode mode, bool release,
                                                absl::Status& refusal,
                                                absl::Duration* waited,
                                                const std::atomic<bool>* stop)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The share whose gate the next holder must be inside. Null if it needs none.
  ShareCore* GateFor(Mode mode) const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (share_ == nullptr) return nullptr;
    // A transfer that moves to another generation needs the gate if either
    // generation may be gated.
    const bool moves = mode == Mode::kTransfer && share_->epoch() != epoch_;
    return gated_ || (moves && share_->may_be_gated()) ? share_.get() : nullptr;
  }
  // The last Leave, when there is more to do than to become idle. `release`:
  // the caller was admitted by Release().
  ABSL_ATTRIBUTE_NOINLINE void LeaveSlowly(bool release)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Records that the thread that leaves is not the one that entered.
  ABSL_ATTRIBUTE_NOINLINE void NoteWrongThread() const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Puts this handle on the calling thread's list of deferred releases.
  void Defer();
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseAllDeferred();

  // Wakes a transfer that waits for the gate or for the pool's limits, so that
  // it sees that it is cancelled. True if there is a transfer, or one that
  // waits for the gate.
  bool WakeCancelled(ShareCore* share, bool in_transfer)
      ABSL_LOCKS_EXCLUDED(mu_);
  void CancelLocked(Cancelled by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The condition to wait for: nobody is inside a use or change. A transfer is
  // not waited for.
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

  // Whether a transfer ends in an older generation of its share. The newest
  // generation must then learn what that transfer has learned.
  bool HasToCatchUp() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return mode_ == Mode::kTransfer && share_ != nullptr &&
           share_->epoch() != epoch_;
  }

  // For a handle that has not transferred itself, in a forked child.
  ABSL_ATTRIBUTE_NOINLINE bool ShareIsParents() const ABSL_LOCKS_EXCLUDED(mu_);
  // Records, before the handle's first transfer, in which process that is. For
  // the holder.
  ABSL_ATTRIBUTE_NOINLINE void NoteTransfer() ABSL_LOCKS_EXCLUDED(mu_);
  // Replaces the release of a handle that belongs to the parent process.
  void LeaveBehind();

  // ConnectionKeeper. EndHold is the Leave that belongs to TryHold.
  bool TryHold(Purpose purpose) final ABSL_LOCKS_EXCLUDED(mu_);
  bool CanHold() const final ABSL_LOCKS_EXCLUDED(mu_);
  bool IsHeld() const final ABSL_LOCKS_EXCLUDED(mu_);
  void EndHold() final ABSL_LOCKS_EXCLUDED(mu_);

  ThreadToken holder_ ABSL_GUARDED_BY(mu_) = nullptr;
  HandleHolder* next_deferred_ = nullptr;  // of ThisThread::deferred
  // The process in which the handle first transferred. Written by the holder,
  // or by a release in a forked child. If it is set, so is that of the share
  // that the handle is in.
  std::atomic<ForkCount> transferred_in_{kNoProcess};
  std::atomic<Cancelled> cancelled_{Cancelled::kNo};
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kIdle;
  Lends lends_ ABSL_GUARDED_BY(mu_) = Lends::kNo;
  bool release_requested_ ABSL_GUARDED_BY(mu_) = false;

 protected:
  Refusal refusal_ = Refusal::kNever;  // the holder's
  // Whether the generation that the handle is attached to is gated. Written by
  // the holder, and under `mu_`, so that other threads may read it under `mu_`.
  bool gated_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_HOLDER_H_
