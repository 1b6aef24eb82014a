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
      // Of another thread it is known at once; of this one, no gate is needed.
      if (holder_ == ThisThreadToken()) return Admission::kNested;
      if (mode_ != Mode::kTransfer && GateFor(mode) == gate.get()) {
        in_use = holder_ != nullptr;
        // Whoever holds it may want what this thread has: the gate, to which it
        // has come but since, or a kind lock.
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
    // In use, in a transfer, or the share has changed meanwhile.
    if (gate != nullptr) gate->LeaveGate();
    if (in_use) {
      if (release && KindLocks::ThisThreadHoldsAny()) return Admission::kBusy;
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &HandleHolder::IsFree));
    }
    if (needed == nullptr) {
      if (gate == nullptr) return Admission::kBusy;
      gate = nullptr;
      continue;
    }
    gate = std::move(needed);
    refusal = gate->EnterGate(mode == Mode::kTransfer ? this : nullptr,
                              deadline, stop);
    if (waited != nullptr) *waited = absl::Now() - begin;
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
  // Held for a moment only, or by a thread that there is not in this process:
  // then another thread was inside the library at the fork.
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
  if (ShareCore* const share = HolderShare(); share != nullptr) {
    share->NoteTransfer();
  }
  transferred_in_.store(ThisProcess(), std::memory_order_relaxed);
}

absl::Status HandleHolder::Enter(Mode mode, absl::Duration* waited,
                                 const std::atomic<bool>* stop) {
  // All that a forked child costs a handle that has transferred before.
  const bool first = !HasTransferredHere();
  if (ABSL_PREDICT_FALSE(first) && IsParents()) return ParentsError();
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
    // It was for the move alone.
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
  // Whatever is released below may hold the last reference on this.
  RefPtr<HandleHolder> self(release ? this : nullptr);
  RefPtr<ShareCore> gate;
  RefPtr<ShareCore> changed;
  std::shared_ptr<const ShareHandle> from;
  {
    absl::MutexLock lock(&mu_);
    if (HasToCatchUp()) changed = share_;
  }
  if (changed != nullptr) {
    changed->BeginVisit();
    from = generation();
  }
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
      // A CURLOPT_CONNECT_ONLY handle keeps its connection and so, from
      // libcurl 8.22 on, its share. The close does not wait for it; the
      // handle's next Leave, and the next close, try again.
      const RefPtr<ShareCore> share = this->share();
      const uint64_t closes = share->NoteCannotLeave(this);
      {
        absl::MutexLock lock(&mu_);
        if (release_requested_) continue;
        gate = std::move(gate_);
        BecomeIdle();
      }
      // A close that came in between has found it in use, and waits.
      if (share->closes() != closes) OnShareClosing(*share, /*cancel=*/false);
      break;
    }
  }
  // As nobody's holder, since it may have to wait for the gate.
  if (changed != nullptr) {
    changed->CatchUpAfterTransfer(from);
    from.reset();
    changed->EndVisit();
  }
  if (gate != nullptr) gate->LeaveGate();
  ReleaseDeferred();
}

void HandleHolder::LeaveToAnyThread() {
  if (ShareCore* const share = HolderShare(); share != nullptr) {
    share->locks().BeginAnyThread();
  }
  --GetThisThread().handles_held;
  absl::MutexLock lock(&mu_);
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
  // Here, so that no Cancel() that found a transfer is lost.
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
    if (share_.get() != &share) return;
    in_transfer = holder_ != nullptr && mode_ == Mode::kTransfer;
    if (cancel && in_transfer) CancelLocked(Cancelled::kByClose);
    detach = IsIdleHere();
    if (detach) BecomeHolder(Mode::kChange);
  }
  if (cancel) (void)WakeCancelled(&share, in_transfer);
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
  if (in_transfer) AfterCancel();
  if (share == nullptr) return in_transfer;
  if (!in_transfer) return share->CancelGateWaits(this);
  if (share->pool().limits_transfers()) share->pool().WakeWaiters();
  return true;
}

void HandleHolder::LeaveBehind() {
  RefPtr<HandleHolder>(this).Disown();
  transferred_in_.store(kLeftBehind, std::memory_order_relaxed);
  // One that is attached is on its share's list, and found by the table of
  // attached handles.
  if (empty()) internal::KeepForever(this);
}

void HandleHolder::Release() {
  if (IsParents()) {
    LeaveBehind();
    return;
  }
  if (KindLocks::ThisThreadHoldsAny() && OwnsCurl()) {
    Defer();
    return;
  }
  absl::Status refusal;
  switch (Admit(Mode::kChange, /*release=*/true, refusal)) {
    case Admission::kNested:
    case Admission::kBusy:
      // The end of the use, or of the transfer, releases it.
      return;
    case Admission::kHolder:
      break;
    case Admission::kRefused:
      if (OwnsCurl()) {
        Defer();
        return;
      }
      // The CURL* may be gone when this returns: do without the gate, and so
      // without libcurl (ReleaseNow).
      absl::MutexLock lock(&mu_);
      // A close may be detaching it just now: inside the gate, so that it waits
      // for nobody; but it may want a kind lock that this thread holds.
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
  if (HolderLends() == lends) return;
  absl::MutexLock lock(&mu_);
  lends_ = lends;
}

bool HandleHolder::TryHold(Purpose purpose) {
  absl::MutexLock lock(&mu_);
  if (!IsIdleHere()) return false;
  if (purpose == Purpose::kLend && lends_ != Lends::kYes) return false;
  BecomeHolder(Mode::kChange);
  RefPtr<HandleHolder>(this).Disown();  // for EndHold
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
