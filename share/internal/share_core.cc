// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/share_core.h"

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/dns_cache.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/gate.h"
#include "curlshare/share/internal/handle_holder.h"
#include "curlshare/share/internal/kept_forever.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/saved_cookies.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// Invariants (the lock order is in the header):
//  - A handle is on one of the three lists exactly while its `share_` is this
//    core, or while it is on its way in or out. `attached_` counts the handles
//    on the lists.
//  - Once the closing bit is in `epoch_`, the lists only shrink.
//  - Nothing of libcurl's and nothing of the user's is called with `mu_` held:
//    VisitAttached takes a reference, unlocks, then visits; a CURLSH is moved
//    out under `mu_` and freed afterwards.
//  - What a transfer has learned in an older generation is in the newest one
//    from the end of that transfer on (old_generations.h). For that the epoch
//    changes before the old generation is read: a transfer that ends later sees
//    the new epoch, and catches up.
//  - `current_` becomes null when the core finishes, and stays so. The thread
//    that takes it out frees it outside `mu_`, then sets `state_` to kClosed.
//  - A close is noticed by everybody whom it does not reach: the closing bit is
//    set before handles are visited and before the gate is tried. So a busy
//    handle sees it at its last Leave, and a thread inside the gate at
//    LeaveGate.

namespace {

std::atomic<uint64_t> last_id{0};

// To be put after a number of handles.
const char* Handles(size_t count) {
  return count == 1 ? " handle" : " handles";
}

}  // namespace

ShareCore::ShareCore(Share* facade, bool detach_on_close,
                     Concurrency concurrency,
                     const ConnectionOptions& connections,
                     std::shared_ptr<KindLocks> locks,
                     std::shared_ptr<const ShareHandle> first,
                     absl::Duration dns_cache_timeout, bool refuses_after_close)
    : id_(last_id.fetch_add(1, std::memory_order_relaxed) + 1),
      detach_on_close_(detach_on_close),
      refuses_after_close_(refuses_after_close),
      concurrency_(concurrency),
      locks_(std::move(locks)),
      may_be_gated_(first->gated()),
      pool_(connections),
      dns_cache_timeout_(dns_cache_timeout),
      facade_(facade),
      current_(std::move(first)) {}

std::string ShareCore::name() const { return absl::StrCat("share #", id_); }

absl::Status ShareCore::CheckProcess() const {
  if (ABSL_PREDICT_TRUE(!IsParents())) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
               " has transferred in the process that this one was forked from, "
               "and has connections of that: make a new Share, and new "
               "handles, after the fork");
}

absl::Status ShareCore::CheckOpen() const {
  switch (state_) {
    case State::kOpen:
      return absl::OkStatus();
    case State::kClosing:
      return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
                   " is closing: ", attached_, " handles have yet to leave it");
    case State::kClosed:
      break;
  }
  return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
               " is closed");
}

absl::Status ShareCore::CheckShares(LockData kind) const {
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  if (current_->kinds().Contains(kind)) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
               " does not share ", LockDataName(kind),
               ": name it in ShareOptions::lock_data, or Enable it");
}

absl::Status ShareCore::CheckVisit(LockData kind) const {
  if (absl::Status status = CheckProcess(); !status.ok()) return status;
  if (KindLocks::ThisThreadHoldsAny()) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "this callback runs while libcurl holds a share's lock: from "
                 "here nothing can be read from share #",
                 id_, ", nor put into it");
  }
  absl::MutexLock lock(&mu_);
  return CheckShares(kind);
}

absl::Status ShareCore::Visit(LockData kind,
                              absl::FunctionRef<absl::Status(CURLSH*)> use) {
  absl::Status status;
  bool try_again = true;
  while (try_again) {
    status = CheckVisit(kind);
    if (!status.ok()) return status;
    const bool in_gate = gated();
    // Whether it is gated is looked at again in VisitInGate, under `mu_`.
    if (in_gate) {
      status = EnterGate();
      if (!status.ok()) return status;
    }
    CatchUpWithKept();
    status = VisitInGate(kind, use, in_gate, &try_again);
    if (in_gate) LeaveGate();
  }
  HandleHolder::ReleaseDeferred();
  return status;
}

absl::Status ShareCore::VisitInGate(
    LockData kind, absl::FunctionRef<absl::Status(CURLSH*)> use, bool in_gate,
    bool* try_again) {
  std::shared_ptr<const ShareHandle> generation;
  {
    absl::MutexLock lock(&mu_);
    // The share may have closed, or changed its kinds, during the wait for the
    // gate.
    absl::Status status = CheckShares(kind);
    *try_again = status.ok() && current_->gated() && !in_gate;
    if (!status.ok() || *try_again) return status;
    generation = current_;
    ++visits_;
  }
  absl::Status status = use(generation->get());
  // Before EndVisit, which may free the newest generation, and with no mutex
  // held.
  generation.reset();
  EndVisit();
  return status;
}

void ShareCore::BeginVisit() {
  absl::MutexLock lock(&mu_);
  ++visits_;
}

void ShareCore::EndVisit() {
  std::shared_ptr<const ShareHandle> last;
  {
    absl::MutexLock lock(&mu_);
    --visits_;
    last = TakeIfDone();
  }
  if (last != nullptr) Finish(std::move(last));
}

absl::StatusOr<Generation> ShareCore::Link(HandleHolder* handle) {
  absl::MutexLock lock(&mu_);
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  handle->InsertBefore(&unvisited_);
  ++attached_;
  return Generation{current_, current_epoch_};
}

void ShareCore::Unlink(HandleHolder* handle) {
  std::shared_ptr<const ShareHandle> last;
  {
    absl::MutexLock lock(&mu_);
    handle->Remove();
    --attached_;
    last = TakeIfDone();
  }
  if (last != nullptr) Finish(std::move(last));
}

uint64_t ShareCore::NoteCannotLeave(HandleHolder* handle) {
  absl::MutexLock lock(&mu_);
  handle->Remove();
  handle->InsertBefore(&cannot_leave_);
  return closes_;
}

uint64_t ShareCore::closes() const {
  absl::MutexLock lock(&mu_);
  return closes_;
}

Generation ShareCore::Newest() const {
  absl::MutexLock lock(&mu_);
  return Generation{current_, current_epoch_};
}

bool ShareCore::gated() const {
  if (!may_be_gated() || IsParents()) return false;
  absl::MutexLock lock(&mu_);
  return current_ != nullptr && current_->gated();
}

bool ShareCore::MustNotWaitForGate() const {
  // Two threads, each inside one gate and waiting for the other, would wait for
  // ever. A kind lock may be wanted by the thread inside the gate.
  return !gate_.OwnedByThisThread() &&
         (GetThisThread().gates_held > 0 || KindLocks::ThisThreadHoldsAny());
}

absl::Status ShareCore::EnterGate(const void* who, absl::Time deadline,
                                  const std::atomic<bool>* stop) {
  if (MustNotWaitForGate()) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "this callback runs inside the gate of another share, or under a "
        "share's lock: to wait here for the gate of share #",
        id_, " could be to wait for each other");
  }
  bool cancelled = false;
  if (gate_.Enter(deadline, who, &cancelled, stop)) return absl::OkStatus();
  if (!cancelled) {
    return WithRequestSent(
        WithEasyCode(Error(absl::StatusCode::kDeadlineExceeded,
                           "the transfer's timeout passed while it waited for "
                           "the gate of share #",
                           id_),
                     CURLE_OPERATION_TIMEDOUT),
        false);
  }
  return Error(absl::StatusCode::kCancelled,
               "the transfer was ended by Cancel() or Share::CloseNow() while "
               "it waited for the gate of share #",
               id_);
}

void ShareCore::LeaveGate() {
  const bool outermost = gate_.depth() == 1;
  gate_.Leave();
  if (!outermost) return;
  // A close that found the gate occupied did so before this Leave, and had set
  // the closing bit before that: so it is seen here. If another thread is
  // inside again by now, the same holds for its Leave.
  while (IsClosing(epoch()) && HasUnvisited() && TryEnterGate()) {
    VisitAttached();
    gate_.Leave();
  }
}

bool ShareCore::PauseGate() {
  if (gate_.depth() > 1) return false;
  LeaveGate();
  return true;
}

bool ShareCore::HasUnvisited() const {
  absl::MutexLock lock(&mu_);
  return !unvisited_.empty();
}

void ShareCore::BeginClosing(bool cancel) {
  state_ = State::kClosing;
  cancel_ = cancel_ || cancel;
  epoch_.fetch_or(kClosingBit, std::memory_order_acq_rel);
  ++closes_;
  // A second close visits all handles again: it may want to cancel them, and
  // those that could not leave may be able to leave now.
  unvisited_.TakeAll(&visited_);
  unvisited_.TakeAll(&cannot_leave_);
}

void ShareCore::VisitAttached() {
  while (true) {
    RefPtr<HandleHolder> handle;
    bool cancel = false;
    {
      absl::MutexLock lock(&mu_);
      if (unvisited_.empty()) return;
      auto* first = static_cast<HandleHolder*>(unvisited_.next);
      first->Remove();
      first->InsertBefore(&visited_);
      // Alive: the handle is taken off the list, under `mu_`, before its last
      // reference goes.
      handle = RefPtr<HandleHolder>(first);
      cancel = cancel_;
    }
    handle->OnShareClosing(*this, cancel);
  }
}

void ShareCore::VisitThroughGate(absl::Time deadline) {
  if (!may_be_gated()) {
    VisitAttached();
    return;
  }
  // Outside the gate first: to cancel a transfer needs no gate, and may be what
  // makes the thread inside leave it.
  VisitAttached();
  {
    absl::MutexLock lock(&mu_);
    unvisited_.TakeAll(&visited_);
  }
  if (MustNotWaitForGate()) deadline = absl::InfinitePast();
  if (!gate_.Enter(deadline)) return;
  VisitAttached();
  LeaveGate();
}

std::shared_ptr<const ShareHandle> ShareCore::TakeIfDone() {
  const bool wanted = state_ == State::kClosing || abandoned_;
  if (!wanted || attached_ > 0 || visits_ > 0) return nullptr;
  return std::exchange(current_, nullptr);
}

void ShareCore::FinishIfEmpty() {
  std::shared_ptr<const ShareHandle> last;
  {
    absl::MutexLock lock(&mu_);
    last = TakeIfDone();
  }
  if (last != nullptr) Finish(std::move(last));
}

void ShareCore::Finish(std::shared_ptr<const ShareHandle> last) {
  // All handles have left, so this frees the CURLSH. libcurl may call back
  // meanwhile (CURLOPT_CLOSESOCKETFUNCTION), and a Close in that callback must
  // not wait for this thread: `handles_held` makes it refuse.
  ++GetThisThread().handles_held;
  pool_.Shut();
  last.reset();
  bool kept = true;
  while (kept) {
    std::shared_ptr<const ShareHandle> old;  // freed after the unlock
    absl::MutexLock reconfigure(&reconfigure_mu_);
    old = old_.TakeKept();
    kept = old != nullptr;
  }
  --GetThisThread().handles_held;
  absl::MutexLock lock(&mu_);
  state_ = State::kClosed;
}

absl::Status ShareCore::Close(absl::Time deadline, bool cancel) {
  if (absl::Status status = CheckProcess(); !status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    if (state_ == State::kClosed) return absl::OkStatus();
    if (KindLocks::ThisThreadHoldsAny()) {
      return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
                   " cannot be closed from a callback that libcurl "
                   "runs while it holds a share's lock");
    }
    if (!detach_on_close_ && attached_ > 0) {
      return Error(
          absl::StatusCode::kFailedPrecondition, "share #", id_, " has ",
          attached_, Handles(attached_),
          " attached, and detach_on_close is false: detach or destroy them "
          "first");
    }
    // `current_` is null while a thread frees the CURLSH. That may be this very
    // thread, in a callback of libcurl's.
    if ((attached_ > 0 || visits_ > 0 || current_ == nullptr) &&
        deadline == absl::InfiniteFuture() &&
        (GetThisThread().handles_held > 0 || GetThisThread().gates_held > 0)) {
      return Error(
          absl::StatusCode::kFailedPrecondition, "share #", id_, " has ",
          attached_, Handles(attached_),
          " attached, and this thread is inside a transfer's callback "
          "or has a handle in use: to wait for them without a deadline could "
          "be to wait for itself. Pass a deadline");
    }
    BeginClosing(cancel);
  }
  VisitThroughGate(deadline);
  pool_.Shut();
  FinishIfEmpty();
  HandleHolder::ReleaseDeferred();
  absl::MutexLock lock(&mu_);
  const bool settled = mu_.AwaitWithDeadline(
      absl::Condition(this, &ShareCore::IsSettled), deadline);
  if (IsClosed()) return absl::OkStatus();
  size_t stuck = 0;
  for (const ListNode* node = cannot_leave_.next; node != &cannot_leave_;
       node = node->next) {
    ++stuck;
  }
  // Only their owners can end that.
  constexpr absl::string_view kStuck =
      " cannot leave it: each has an open connection of CURLOPT_CONNECT_ONLY, "
      "with which libcurl refuses to change its share. Transfer with it once "
      "more, which closes that connection, or destroy its Attachment";
  if (settled) {
    return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
                 " is closing, but ", stuck, Handles(stuck), kStuck,
                 "; the last one out frees the share");
  }
  const size_t busy = attached_ - stuck + visits_;
  if (stuck > 0) {
    return Error(absl::StatusCode::kDeadlineExceeded, "share #", id_,
                 " is closing: ", busy, Handles(busy),
                 " still in use at the deadline, and ", stuck, Handles(stuck),
                 kStuck);
  }
  return Error(
      absl::StatusCode::kDeadlineExceeded, "share #", id_,
      " is closing: ", busy, Handles(busy),
      " still in use at the deadline; each leaves when its transfer ends, and "
      "the last frees the share");
}

void ShareCore::Abandon() {
  if (IsParents()) {
    // The parent's: nothing can be detached or freed here. See fork_count.h.
    RefPtr<ShareCore>(this).Disown();
    KeepForever(&kept_node_);
    return;
  }
  {
    absl::MutexLock lock(&mu_);
    facade_ = nullptr;
    if (state_ == State::kClosed) return;
    if (detach_on_close_) {
      BeginClosing(/*cancel=*/false);
    } else {
      abandoned_ = true;
    }
  }
  // To detach takes the SHARE lock. Under a kind lock, libcurl may hold that
  // one on this very thread. The handles then leave at the end of their next
  // use or transfer.
  if (detach_on_close_ && !KindLocks::ThisThreadHoldsAny()) {
    VisitThroughGate(absl::InfinitePast());
    pool_.Shut();
  }
  FinishIfEmpty();
  HandleHolder::ReleaseDeferred();
}

absl::Status ShareCore::CheckMayChange() const {
  if (absl::Status status = CheckProcess(); !status.ok()) return status;
  if (!KindLocks::ThisThreadHoldsAny()) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition, "share #", id_,
               " cannot be changed from a callback that libcurl "
               "runs while it holds a share's lock");
}

absl::Status ShareCore::ChangeKinds(LockDataSet add, LockDataSet remove) {
  return Apply({add, remove, {}});
}

absl::Status ShareCore::Flush(LockDataSet kinds) {
  return Apply({{}, {}, kinds});
}

absl::Status ShareCore::Apply(const Change& change) {
  absl::Status status;
  bool try_again = true;
  while (try_again) {
    status = CheckMayChange();
    if (!status.ok()) return status;
    {
      // Before the wait for the gate: an answer that is known already needs
      // none.
      absl::MutexLock lock(&mu_);
      status = CheckOpen();
      if (!status.ok() || change.IsNone(current_->kinds())) return status;
    }
    const bool in_gate = may_be_gated();
    if (in_gate) {
      status = EnterGate();
      if (!status.ok()) return status;
    }
    CatchUpWithKept();
    status = ApplyInGate(change, in_gate, &try_again);
    // With no mutex held, since this closes connections. Inside the gate, since
    // it also closes those that handles of a gated generation keep.
    if (status.ok() && !try_again) {
      if (change.flush.Contains(LockData::kConnect)) pool_.Flush();
      if (change.remove.Contains(LockData::kConnect)) pool_.CloseAllIdle();
    }
    if (in_gate) LeaveGate();
  }
  return status;
}

absl::Status ShareCore::ApplyInGate(const Change& change, bool in_gate,
                                    bool* try_again) {
  // Both are dropped with no lock held, since libcurl may call back while a
  // CURLSH is freed.
  std::shared_ptr<const ShareHandle> newest;
  std::shared_ptr<const ShareHandle> old;
  absl::Status status;
  {
    absl::MutexLock reconfigure(&reconfigure_mu_);
    *try_again = !in_gate && may_be_gated();
    if (*try_again) return absl::OkStatus();
    {
      absl::MutexLock lock(&mu_);
      status = CheckOpen();
      if (!status.ok()) return status;
      newest = current_;
      // A visit: a close waits until `newest` is dropped.
      ++visits_;
    }
    status = ApplyTo(newest, change, old);
  }
  newest.reset();
  old.reset();
  EndVisit();
  return status;
}

absl::Status ShareCore::ApplyTo(
    const std::shared_ptr<const ShareHandle>& newest, const Change& change,
    std::shared_ptr<const ShareHandle>& old) {
  const LockDataSet shared = newest->kinds();
  const LockDataSet wanted = change.Wanted(shared);
  const LockDataSet flush = change.flush & shared;
  // libcurl has no call that empties these in a CURLSH. For DNS answers there
  // is a way, but only with the FILE protocol (ForgetAllNames).
  LockDataSet whole{LockData::kSslSession, LockData::kHsts, LockData::kPsl};
  if (!CanForgetAllNames()) whole = whole | LockData::kDns;
  if (wanted != shared || !(flush & whole).empty()) {
    return StartGeneration(newest, wanted, flush, old);
  }
  return FlushInPlace(newest->get(), flush);
}

absl::Status ShareCore::StartGeneration(
    const std::shared_ptr<const ShareHandle>& newest, LockDataSet kinds,
    LockDataSet flush, std::shared_ptr<const ShareHandle>& old) {
  absl::StatusOr<std::shared_ptr<const ShareHandle>> fresh =
      ShareHandle::Create(kinds, NeedsGate(kinds, concurrency_), locks_);
  if (!fresh.ok()) return fresh.status();
  old = *std::move(fresh);
  // Before the epoch, which sends handles there: they must see that a gate may
  // be needed.
  if (old->gated()) may_be_gated_.store(true, std::memory_order_release);
  // Before the old generation is read: a transfer that ends after this sees the
  // new epoch, waits for `reconfigure_mu_`, and brings what it has learned. A
  // transfer that begins after this waits, too.
  epoch_.fetch_add(kGenerationStep, std::memory_order_acq_rel);
  absl::Status status =
      old_.Succeed(newest, *old, kinds - flush, flush, locks_.get());
  if (status.ok() && kinds.Contains(LockData::kConnect)) pool_.Open();
  {
    absl::MutexLock lock(&mu_);
    if (status.ok()) status = CheckOpen();
    // If the change has failed, `current_` is what it was. Handles then only
    // take note of the new epoch.
    current_epoch_ = epoch() & ~kClosingBit;
    if (!status.ok()) return status;
    std::swap(old, current_);
  }
  // Handles that have yet to move still keep connections. Those are closed as
  // they come back.
  if (!kinds.Contains(LockData::kConnect)) pool_.TakeNothing();
  return absl::OkStatus();
}

absl::Status ShareCore::FlushInPlace(CURLSH* newest, LockDataSet kinds) {
  const auto forget = [&](LockData kind, bool (*forget_in)(CURLSH*)) {
    if (!kinds.Contains(kind) || forget_in(newest)) return absl::OkStatus();
    return Error(absl::StatusCode::kResourceExhausted, "share #", id_,
                 ": no memory to flush ", LockDataName(kind));
  };
  absl::Status status = forget(LockData::kDns, &ForgetAllNames);
  if (!status.ok() || !kinds.Contains(LockData::kCookie)) return status;
  // What transfers in older generations have learned up to now must not come
  // back with a later CatchUp.
  status = old_.Forget(LockData::kCookie);
  if (status.ok()) status = forget(LockData::kCookie, &ForgetCookies);
  return status;
}

bool ShareCore::MayUse(const ShareHandle& a, const ShareHandle& b) const {
  // A call of libcurl's on a gated generation needs the gate. If neither is
  // gated, there is nothing that a gate would guard.
  return InGate() || (!a.gated() && !b.gated());
}

absl::Status ShareCore::CatchUp(const std::shared_ptr<const ShareHandle>& from,
                                Generation* newest) {
  CatchUpWithKept();
  absl::MutexLock reconfigure(&reconfigure_mu_);
  *newest = Newest();
  if (newest->handle == nullptr || !MayUse(*from, *newest->handle)) {
    return absl::OkStatus();
  }
  return old_.CatchUp(*from, *newest->handle);
}

void ShareCore::CatchUpAfterTransfer(
    const std::shared_ptr<const ShareHandle>& from) {
  // A handle that leaves a closing share has seen to its CURLOPT_COOKIEJAR
  // already (MoveForCookies), and nobody else will ask what the share knows.
  if (IsClosing(epoch())) return;
  const bool under_lock = KindLocks::ThisThreadHoldsAny();
  const bool in_gate =
      !under_lock && may_be_gated() && (EnterGate().ok() || TryEnterGate());
  if (!under_lock) CatchUpWithKept();
  Generation newest;
  // A thread with `reconfigure_mu_` may wait for the very kind lock that this
  // thread is under. If it is taken, nothing is noted: the next CatchUp of
  // `from` brings it.
  if (!under_lock) {
    reconfigure_mu_.Lock();
  } else if (!reconfigure_mu_.TryLock()) {
    return;
  }
  newest = Newest();
  if (newest.handle != nullptr && !IsClosing(epoch()) &&
      (under_lock || !MayUse(*from, *newest.handle) ||
       !old_.CatchUp(*from, *newest.handle).ok())) {
    old_.Keep(from);
    some_kept_.store(true, std::memory_order_relaxed);
  }
  reconfigure_mu_.Unlock();
  newest.handle.reset();
  if (in_gate) LeaveGate();
}

void ShareCore::CatchUpWithKept() {
  if (!some_kept_.load(std::memory_order_relaxed)) return;
  BeginVisit();
  {
    std::shared_ptr<const ShareHandle> kept;  // dropped after the unlock
    Generation newest;
    absl::MutexLock reconfigure(&reconfigure_mu_);
    newest = Newest();
    kept = old_.TakeKept();
    some_kept_.store(kept != nullptr, std::memory_order_relaxed);
    if (kept != nullptr && newest.handle != nullptr &&
        (!MayUse(*kept, *newest.handle) ||
         !old_.CatchUp(*kept, *newest.handle).ok())) {
      old_.Keep(kept);
    }
  }
  EndVisit();
}

LockDataSet ShareCore::kinds() const {
  if (IsParents()) return LockDataSet();
  absl::MutexLock lock(&mu_);
  return current_ == nullptr ? LockDataSet() : current_->kinds();
}

void ShareCore::ForgetFailedName(CURLSH* share, const std::string& host,
                                 int port) {
  // ForgetName would also take out an address of CURLOPT_RESOLVE, which nobody
  // would put in again. ForgetAllNames leaves those: they have no age.
  const bool all =
      host.empty() || may_have_pinned_names_.load(std::memory_order_relaxed);
  std::string name;
  const bool named = NoThrow("ForgetFailedName", [&] {
                       if (!all) name = absl::StrCat(host, ":", port);
                       return absl::OkStatus();
                     }).ok();
  if (!named || !forgotten_names_.Note(name)) return;
  // Without memory the name stays until it is too old, as always.
  (void)(all ? ForgetAllNames(share) : ForgetName(share, host, port));
}

size_t ShareCore::CloseIdleConnections(absl::Duration older_than) {
  if (IsParents()) return 0;
  // Connections that handles of a gated generation keep are closed inside the
  // gate. If this thread must not wait for it, those stay.
  const bool in_gate = may_be_gated() && EnterGate().ok();
  const size_t closed =
      KindLocks::ThisThreadHoldsAny() ? 0 : pool_.CloseIdle(older_than);
  if (in_gate) LeaveGate();
  return closed;
}

size_t ShareCore::attached() const {
  if (IsParents()) return 0;
  absl::MutexLock lock(&mu_);
  return attached_;
}

bool ShareCore::closed() const {
  if (IsParents()) return false;
  absl::MutexLock lock(&mu_);
  return IsClosed();
}

Share* ShareCore::facade() const {
  absl::MutexLock lock(&mu_);
  return facade_;
}

}  // namespace curlshare::internal
