// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/handle_holder.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/fork_count.h"
#include "curlshare/share/internal/kept_forever.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/share_handle.h"

// Invariants:
//  - `holder_` is null exactly while `mode_` is kIdle; `depth_` is then 0.
//  - `share_`, `epoch_`, `gated_`, `lends_` and `multi_` (of Handle) are
//    written by the holder alone, and under `mu_`. So the holder reads them
//    without `mu_`, and every other thread with it.
//  - `gate_` is not null only while the holder is inside that share's gate,
//    apart from the polls of a transfer.
//  - `mu_` is held for a few instructions and is a leaf: no other mutex of this
//    library is taken under it. ConnectionPool calls TryHold, CanHold and
//    IsHeld with its own mutex held, so that the order is pool, then handle.
//  - The only call of libcurl's under `mu_` is curl_multi_wakeup (WakePoll),
//    which any thread may make (curl_multi_wakeup(3)). `mu_` keeps the multi
//    handle from going meanwhile.
//  - A release that finds the handle in use sets `release_requested_`, and the
//    last Leave makes it.

namespace curlshare::internal {
HandleHolder::~HandleHolder() = default;

absl::Status HandleHolder::LockHeldError() {
  return Error(
      absl::StatusCode::kFailedPrecondition,
      "this callback runs while libcurl holds a share's lock "
      "(CURLOPT_DEBUGFUNCTION and CURLOPT_CLOSESOCKETFUNCTION do): no handle "
      "of a share can be used from it");
}

HandleHolder::Admission HandleHolder::Admit(Mode mode, bool release,
                                            absl::Status& refusal,
                                            absl::Duration* waited,
                                            const std::atomic<bool>* stop) {
  {
    // The common case, a free handle that needs no gate, takes `mu_` once.
    absl::MutexLock lock(&mu_);
    if (ABSL_PREDICT_TRUE(holder_ == nullptr && GateFor(mode) == nullptr)) {
      BecomeHolder(mode);
      return Admission::kHolder;
    }
  }
  return AdmitSlowly(mode, release, refusal, waited, stop);
}

HandleHolder::Admission HandleHolder::AdmitSlowly(
    Mode mode, bool release, absl::Status& refusal, absl::Duration* waited,
    const std::atomic<bool>* stop) {
  RefPtr<ShareCore> gate;
  const absl::Time begin = absl::Now();
  const absl::Time deadline = mode == Mode::kTransfer && timeout_ms() > 0
                                  ? begin + absl::Milliseconds(timeout_ms())
                                  : absl::InfiniteFuture();
  while (true) {
    RefPtr<ShareCore> needed;
    bool in_use = false;
    {
      absl::MutexLock lock(&mu_);
      release_requested_ |= release;
      // A nested Enter needs no gate: its thread came inside with its first
      // Enter. A transfer of another thread is refused below, without the gate.
      if (holder_ == ThisThreadToken()) return Admission::kNested;
      if (mode_ != Mode::kTransfer && GateFor(mode) == gate.get()) {
        in_use = holder_ != nullptr;
        // The holder may want what this thread has: the gate, which the holder
        // may have come to need after its Enter, or a kind lock. So wait here
        // only without either.
        if (in_use && gate == nullptr &&
            !(release && KindLocks::ThisThreadHoldsAny())) {
          mu_.Await(absl::Condition(this, &HandleHolder::IsFree));
          in_use = false;
        }
      }
      if (!in_use && mode_ != Mode::kTransfer && GateFor(mode) == gate.get()) {
        BecomeHolder(mode);
        gate_ = std::move(gate);
        return Admission::kHolder;
      }
      if (!in_use && mode_ != Mode::kTransfer && GateFor(mode) != nullptr) {
        needed = share_;
      }
    }
    // Here the handle is in use, or in transfer, or it needs another gate than
    // `gate` because its share has changed. In each case leave the gate before
    // anything else: inside it, this thread must not wait for the holder.
    if (gate != nullptr) gate->LeaveGate();
    if (in_use) {
      // That holder's last Leave makes the release.
      if (release && KindLocks::ThisThreadHoldsAny()) return Admission::kBusy;
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &HandleHolder::IsFree));
    }
    if (needed == nullptr) {
      // Without a gate, nothing has changed: another thread transfers. With
      // one, the gate was not needed after all: look again.
      if (gate == nullptr) return Admission::kBusy;
      gate = nullptr;
      continue;
    }
    gate = std::move(needed);
    refusal = gate->EnterGate(mode == Mode::kTransfer ? this : nullptr,
                              deadline, stop);
    if (waited != nullptr) *waited = absl::Now() - begin;
    // To wait was refused, as this thread is inside another share's gate. A
    // release cannot fail, so it still takes its own gate if that is free: not
    // waiting, it cannot be part of a deadlock.
    if (!refusal.ok() && !(release && !KindLocks::ThisThreadHoldsAny() &&
                           gate->TryEnterGate())) {
      return Admission::kRefused;
    }
  }
}

absl::Status HandleHolder::ParentsError() {
  return Error(
      absl::StatusCode::kFailedPrecondition,
      "the handle, or its share, has transferred in the process that this one "
      "was forked from, and has connections of that: make new handles, and a "
      "new Share, after the fork");
}

absl::Status HandleHolder::AfterCloseError() {
  return Error(absl::StatusCode::kFailedPrecondition,
               "the share that the handle was in has closed, and its handles "
               "are not to transfer without it (AfterClose::kRefuse): attach "
               "the handle to another share, or detach it first");
}

bool HandleHolder::ShareIsParents() const {
  // In a forked child there are two cases. A thread of this process holds `mu_`
  // for a moment. Or a thread of the parent held it at the fork, so that it is
  // never unlocked here: then the library was in use at the fork, and "the
  // parent's" is the safe answer.
  for (int tries = 0; tries < 1000; ++tries) {
    if (mu_.TryLock()) {
      const bool is = share_ != nullptr && share_->IsParents();
      mu_.Unlock();
      return is;
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

void HandleHolder::NoteTransfer() {
  // The share first: if the handle says that it has transferred, its share must
  // say so, too (see `transferred_in_`).
  if (ShareCore* const share = HolderShare(); share != nullptr) {
    share->NoteTransfer();
  }
  transferred_in_.store(ThisProcess(), std::memory_order_relaxed);
}

absl::Status HandleHolder::Enter(Mode mode, absl::Duration* waited,
                                 const std::atomic<bool>* stop) {
  // This is all that a handle pays which has transferred in this process
  // before: one load and one comparison.
  const bool first = !HasTransferredHere();
  if (ABSL_PREDICT_FALSE(first) && IsParents()) return ParentsError();
  // This thread is in a callback that libcurl runs under a share's lock.
  // CURLOPT_SHARE takes the SHARE lock, and other calls on an attached handle
  // take the locks of the kinds: the thread could wait for itself.
  if (KindLocks::ThisThreadHoldsAny() &&
      (mode == Mode::kChange || share() != nullptr)) {
    return LockHeldError();
  }
  absl::Status refusal;
  switch (Admit(mode, /*release=*/false, refusal, waited, stop)) {
    case Admission::kBusy:
      return Error(absl::StatusCode::kFailedPrecondition,
                   "the handle is in transfer on another thread");
    case Admission::kRefused:
      return refusal;
    case Admission::kNested: {
      absl::MutexLock lock(&mu_);
      if (mode != Mode::kUse) {
        return Error(
            absl::StatusCode::kFailedPrecondition,
            mode_ == Mode::kTransfer
                ? "not possible from a callback of the handle's own transfer"
                : "not possible while the handle is in use on this thread");
      }
      ++depth_;
      return absl::OkStatus();
    }
    case Admission::kHolder:
      break;
  }
  if (mode != Mode::kTransfer) return absl::OkStatus();
  if (ABSL_PREDICT_FALSE(first)) NoteTransfer();
  const bool refused = refusal_ == Refusal::kNow;
  if (ABSL_PREDICT_TRUE(!HolderIsStale() && !refused)) return absl::OkStatus();
  absl::Status status = refused ? AfterCloseError() : PrepareTransfer();
  if (!status.ok()) {
    Leave();
  } else if (gate_ != nullptr && !gated()) {
    // The gate was needed for the move alone: the newest generation is not
    // gated.
    gate_->LeaveGate();
    gate_ = nullptr;
  }
  return status;
}

void HandleHolder::Leave() {
  bool idle = false;
  {
    absl::MutexLock lock(&mu_);
    if (ABSL_PREDICT_FALSE(holder_ != ThisThreadToken())) NoteWrongThread();
    if (depth_ > 1) {
      --depth_;
      return;
    }
    idle = !release_requested_ && gate_ == nullptr && !ShareIsClosing() &&
           !HasToCatchUp();
    if (idle) BecomeIdle();
  }
  if (ABSL_PREDICT_FALSE(!idle)) return LeaveSlowly(/*release=*/false);
  ReleaseDeferred();
}

void HandleHolder::NoteWrongThread() const {
  if (share_ != nullptr) share_->NoteWrongThread();
  ABSL_DLOG(FATAL) << "curlshare: a Use or a Transfer ends on another thread "
                      "than the one that began it; see "
                      "TransferOptions::any_thread";
}

void HandleHolder::LeaveSlowly(bool release) {
  // ReleaseNow may drop the last reference to this handle: keep one until the
  // end.
  RefPtr<HandleHolder> self(release ? this : nullptr);
  RefPtr<ShareCore> gate;
  RefPtr<ShareCore> changed;
  std::shared_ptr<const ShareHandle> from;
  {
    absl::MutexLock lock(&mu_);
    if (HasToCatchUp()) changed = share_;
  }
  // The visit keeps a close from finishing while `from` is held. `from` is read
  // now, since a detach below resets it.
  if (changed != nullptr) {
    changed->BeginVisit();
    from = generation();
  }
  // A loop, since a release may be requested, or a close may begin, while this
  // thread detaches.
  while (true) {
    if (!release) {
      absl::MutexLock lock(&mu_);
      if (!release_requested_ && !ShareIsClosing()) {
        gate = std::move(gate_);
        BecomeIdle();
        break;
      }
      if (self == nullptr) self = RefPtr<HandleHolder>(this);
      release = release_requested_;
    }
    if (release) {
      release = false;
      {
        absl::MutexLock lock(&mu_);
        release_requested_ = false;
      }
      ReleaseNow();
    } else if (DetachNow().ok()) {
      if (refusal_ == Refusal::kAfterClose) refusal_ = Refusal::kNow;
    } else {
      // From 8.22 on, libcurl refuses to change the share of a handle that has
      // a connection (setopt_share in lib/setopt.c: CURLE_BAD_FUNCTION_ARGUMENT
      // while data->conn is set), and a CURLOPT_CONNECT_ONLY handle keeps its
      // connection after the transfer. The close does not wait for such a
      // handle: its next Leave, and the next close, try again.
      const RefPtr<ShareCore> share = this->share();
      const uint64_t closes = share->NoteCannotLeave(this);
      {
        absl::MutexLock lock(&mu_);
        if (release_requested_) continue;
        gate = std::move(gate_);
        BecomeIdle();
      }
      // A close that began after NoteCannotLeave found this handle in use, and
      // waits for it: do now what that close would have done.
      if (share->closes() != closes) OnShareClosing(*share, /*cancel=*/false);
      break;
    }
  }
  // Only after the handle is idle, since this may wait for the gate: see the
  // header.
  if (changed != nullptr) {
    changed->CatchUpAfterTransfer(from);
    from.reset();
    changed->EndVisit();
  }
  if (gate != nullptr) gate->LeaveGate();
  ReleaseDeferred();
}

void HandleHolder::LeaveToAnyThread() {
  // From here on, calls of libcurl's on this handle are made outside the scopes
  // that KindLocks watches: see KindLocks::outside_scopes().
  if (ShareCore* const share = HolderShare(); share != nullptr) {
    share->locks().BeginAnyThread();
  }
  --GetThisThread().handles_held;
  absl::MutexLock lock(&mu_);
  // No thread's token: so no Enter takes itself for a nested one.
  holder_ = this;
}

void HandleHolder::LeaveFromAnyThread() {
  {
    absl::MutexLock lock(&mu_);
    holder_ = ThisThreadToken();
  }
  ++GetThisThread().handles_held;
  if (ShareCore* const share = HolderShare(); share != nullptr) {
    share->locks().EndAnyThread();
  }
  Leave();
}

void HandleHolder::ReleaseAllDeferred() {
  ThisThread& thread = GetThisThread();
  // Not yet: a later Leave of this thread calls this again.
  if (thread.kind_locks_held > 0 || thread.gates_held > 0) return;
  HandleHolder* deferred = std::exchange(thread.deferred, nullptr);
  while (deferred != nullptr) {
    const RefPtr<HandleHolder> first = RefPtr<HandleHolder>::Adopt(deferred);
    deferred = std::exchange(first->next_deferred_, nullptr);
    first->Release();
  }
}

void HandleHolder::Defer() {
  ThisThread& thread = GetThisThread();
  next_deferred_ = thread.deferred;
  thread.deferred = RefPtr<HandleHolder>(this).Disown();
}

bool HandleHolder::gated() const {
  absl::MutexLock lock(&mu_);
  return gated_;
}

void HandleHolder::BecomeHolder(Mode mode) {
  holder_ = ThisThreadToken();
  mode_ = mode;
  depth_ = 1;
  // Reset under `mu_`, where Cancel() and a close also look whether there is a
  // transfer: so no Cancel() that found this transfer is lost.
  cancelled_.store(Cancelled::kNo, std::memory_order_relaxed);
  ++GetThisThread().handles_held;
}

void HandleHolder::BecomeIdle() {
  --GetThisThread().handles_held;
  holder_ = nullptr;
  mode_ = Mode::kIdle;
  depth_ = 0;
}

RefPtr<ShareCore> HandleHolder::share() const {
  if (IsParents()) return nullptr;
  absl::MutexLock lock(&mu_);
  return share_;
}

void HandleHolder::OnShareClosing(ShareCore& share, bool cancel) {
  bool in_transfer = false;
  bool detach = false;
  {
    absl::MutexLock lock(&mu_);
    // The handle has left that share meanwhile.
    if (share_.get() != &share) return;
    in_transfer = holder_ != nullptr && mode_ == Mode::kTransfer;
    if (cancel && in_transfer) CancelLocked(Cancelled::kByClose);
    detach = IsIdleHere();
    if (detach) BecomeHolder(Mode::kChange);
  }
  if (cancel) (void)WakeCancelled(&share, in_transfer);
  // The Leave sees the share closing, and detaches.
  if (detach) Leave();
}

void HandleHolder::CancelLocked(Cancelled by) {
  cancelled_.store(by, std::memory_order_release);
  WakePoll();
}

bool HandleHolder::Cancel() {
  if (IsParents()) return false;
  RefPtr<ShareCore> share;
  bool in_transfer = false;
  {
    absl::MutexLock lock(&mu_);
    in_transfer = holder_ != nullptr && mode_ == Mode::kTransfer;
    if (in_transfer) CancelLocked(Cancelled::kByCaller);
    share = share_;
  }
  return WakeCancelled(share.get(), in_transfer);
}

bool HandleHolder::WakeTransfer() {
  if (IsParents()) return false;
  absl::MutexLock lock(&mu_);
  if (holder_ == nullptr || mode_ != Mode::kTransfer) return false;
  WakePoll();
  return true;
}

bool HandleHolder::WakeCancelled(ShareCore* share, bool in_transfer) {
  // With no mutex held: AfterCancel calls a hook of the user's, and the gate
  // and the pool have mutexes of their own.
  if (in_transfer) AfterCancel();
  if (share == nullptr) return in_transfer;
  // A thread that waits for the gate is not the holder yet, so such a transfer
  // is not found under `mu_`. A thread that waits at the pool's limits is the
  // holder already.
  if (!in_transfer) return share->CancelGateWaits(this);
  if (share->pool().limits_transfers()) share->pool().WakeWaiters();
  return true;
}

void HandleHolder::LeaveBehind() {
  // The reference that is given up here is never dropped: the object lives for
  // ever.
  RefPtr<HandleHolder>(this).Disown();
  transferred_in_.store(kLeftBehind, std::memory_order_relaxed);
  // An attached handle stays reachable without that: it is on its share's list,
  // and the table of attached handles has it.
  if (empty()) internal::KeepForever(this);
}

void HandleHolder::Release() {
  if (IsParents()) {
    LeaveBehind();
    return;
  }
  // FreeCurl would take the lock that libcurl holds on this thread.
  if (KindLocks::ThisThreadHoldsAny() && OwnsCurl()) {
    Defer();
    return;
  }
  absl::Status refusal;
  switch (Admit(Mode::kChange, /*release=*/true, refusal)) {
    case Admission::kNested:
    case Admission::kBusy:
      // The end of the use, or of the transfer, makes the release.
      return;
    case Admission::kHolder:
      break;
    case Admission::kRefused:
      if (OwnsCurl()) {
        Defer();
        return;
      }
      // The owner may free the CURL* as soon as this returns, so that the
      // release cannot be deferred. It is made without the gate, hence without
      // libcurl: see ReleaseNow.
      absl::MutexLock lock(&mu_);
      // A close, or the pool, may hold the handle just now. It is inside the
      // gate already and waits for nobody, so that this may wait for it; but
      // not under a kind lock, which it may want.
      if (!KindLocks::ThisThreadHoldsAny()) {
        mu_.Await(absl::Condition(this, &HandleHolder::IsFree));
      }
      if (holder_ != nullptr) return;
      BecomeHolder(Mode::kChange);
      break;
  }
  LeaveSlowly(/*release=*/true);
}

void HandleHolder::SetLends(Lends lends) {
  // Without `mu_`: the caller is the holder. Most calls change nothing.
  if (HolderLends() == lends) return;
  absl::MutexLock lock(&mu_);
  lends_ = lends;
}

bool HandleHolder::TryHold(Purpose purpose) {
  absl::MutexLock lock(&mu_);
  if (!IsIdleHere()) return false;
  if (purpose == Purpose::kLend && lends_ != Lends::kYes) return false;
  BecomeHolder(Mode::kChange);
  RefPtr<HandleHolder>(this).Disown();  // adopted by EndHold
  return true;
}

bool HandleHolder::CanHold() const {
  absl::MutexLock lock(&mu_);
  return IsIdleHere();
}

bool HandleHolder::IsHeld() const {
  absl::MutexLock lock(&mu_);
  return holder_ != nullptr;
}

void HandleHolder::EndHold() {
  const RefPtr<HandleHolder> self = RefPtr<HandleHolder>::Adopt(this);
  Leave();
}

}  // namespace curlshare::internal
