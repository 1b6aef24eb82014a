#include "curlshare/share/internal/handle.h"

#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/attached_handles.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {
namespace {

// Longest sleep of a transfer without news; libcurl's timers, its sockets and
// Cancel() end it earlier. As in curl_easy_perform.
constexpr int kPollMilliseconds = 1000;

// See Handle::KeepForever. Reachable from here, so that a leak checker tells it
// from what was forgotten.
ABSL_CONST_INIT absl::Mutex kept_mu(absl::kConstInit);
Handle* first_kept ABSL_GUARDED_BY(kept_mu) = nullptr;

absl::Status LockHeldError() {
  return Error(
      absl::StatusCode::kFailedPrecondition,
      "this callback runs while libcurl holds a share's lock "
      "(CURLOPT_DEBUGFUNCTION and CURLOPT_CLOSESOCKETFUNCTION do): no handle "
      "of a share can be used from it");
}

}  // namespace

// See the order of its members.
static_assert(sizeof(void*) > 8 || sizeof(Handle) <= 128);

Handle::~Handle() = default;

Handle::Admission Handle::Admit(Mode mode, bool release,
                                absl::Status& refusal) {
  {
    absl::MutexLock lock(&mu_);
    if (ABSL_PREDICT_TRUE(holder_ == nullptr && GateFor(mode) == nullptr)) {
      BecomeHolder(mode);
      return IsStale() ? Admission::kStaleHolder : Admission::kHolder;
    }
  }
  return AdmitSlowly(mode, release, refusal);
}

Handle::Admission Handle::AdmitSlowly(Mode mode, bool release,
                                      absl::Status& refusal) {
  RefPtr<ShareCore> gate;
  while (true) {
    RefPtr<ShareCore> needed;
    {
      absl::MutexLock lock(&mu_);
      release_requested_ |= release;
      // Of another thread it is known at once; of this one, no gate is needed.
      if (holder_ == ThisThreadToken()) return Admission::kNested;
      if (mode_ != Mode::kTransfer && GateFor(mode) == gate.get()) {
        mu_.Await(absl::Condition(this, &Handle::IsFree));
      }
      if (mode_ != Mode::kTransfer && GateFor(mode) == gate.get()) {
        BecomeHolder(mode);
        gate_ = std::move(gate);
        return IsStale() ? Admission::kStaleHolder : Admission::kHolder;
      }
      if (mode_ != Mode::kTransfer && GateFor(mode) != nullptr) needed = share_;
    }
    // In a transfer, or the share has changed meanwhile.
    if (gate != nullptr) gate->LeaveGate();
    if (needed == nullptr) {
      if (gate == nullptr) return Admission::kBusy;
      gate = nullptr;
      continue;
    }
    gate = std::move(needed);
    refusal = gate->EnterGate();
    if (!refusal.ok() && !(release && !KindLocks::ThisThreadHoldsAny() &&
                           gate->TryEnterGate())) {
      return Admission::kForeignGate;
    }
  }
}

absl::Status Handle::Enter(Mode mode) {
  if (KindLocks::ThisThreadHoldsAny() &&
      (mode == Mode::kChange || share() != nullptr)) {
    return LockHeldError();
  }
  absl::Status refusal;
  switch (Admit(mode, /*release=*/false, refusal)) {
    case Admission::kBusy:
      return Error(absl::StatusCode::kFailedPrecondition,
                   "the handle is in transfer on another thread");
    case Admission::kForeignGate:
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
      return absl::OkStatus();
    case Admission::kStaleHolder:
      break;
  }
  if (mode != Mode::kTransfer) return absl::OkStatus();
  absl::Status status = PrepareTransfer();
  if (!status.ok()) {
    Leave();
  } else if (gate_ != nullptr && !gated()) {
    // It was for the move alone.
    gate_->LeaveGate();
    gate_ = nullptr;
  }
  return status;
}

void Handle::Leave() {
  bool idle = false;
  {
    absl::MutexLock lock(&mu_);
    if (depth_ > 1) {
      --depth_;
      return;
    }
    idle = !release_requested_ && gate_ == nullptr && !ShareIsClosing();
    if (idle) BecomeIdle();
  }
  if (ABSL_PREDICT_FALSE(!idle)) return LeaveSlowly(/*release=*/false);
  ReleaseDeferred();
}

void Handle::LeaveSlowly(bool release) {
  // Whatever is released below may hold the last reference on this.
  RefPtr<Handle> self(release ? this : nullptr);
  RefPtr<ShareCore> gate;
  while (true) {
    if (!release) {
      absl::MutexLock lock(&mu_);
      if (!release_requested_ && !ShareIsClosing()) {
        gate = std::move(gate_);
        BecomeIdle();
        break;
      }
      if (self == nullptr) self = RefPtr<Handle>(this);
      release = release_requested_;
    }
    if (release) {
      release = false;
      ReleaseNow();
    } else if (!DetachNow().ok()) {
      // A CURLOPT_CONNECT_ONLY handle keeps its connection and so, from
      // libcurl 8.22 on, its share. The close goes on waiting; the handle's
      // next Leave tries again.
      absl::MutexLock lock(&mu_);
      if (release_requested_) continue;
      gate = std::move(gate_);
      BecomeIdle();
      break;
    }
  }
  if (gate != nullptr) gate->LeaveGate();
  ReleaseDeferred();
}

void Handle::ReleaseAllDeferred() {
  ThisThread& thread = GetThisThread();
  if (thread.kind_locks_held > 0 || thread.gates_held > 0) return;
  Handle* deferred = std::exchange(thread.deferred, nullptr);
  while (deferred != nullptr) {
    const RefPtr<Handle> first = RefPtr<Handle>::Adopt(deferred);
    deferred = std::exchange(first->next_deferred_, nullptr);
    first->Release();
  }
}

void Handle::Defer() {
  ThisThread& thread = GetThisThread();
  next_deferred_ = thread.deferred;
  thread.deferred = RefPtr<Handle>(this).Disown();
}

absl::Status Handle::AlreadyAttached() const {
  const RefPtr<ShareCore> share = this->share();
  if (share == nullptr) {
    // It is on its way in or out, on another thread.
    return Error(absl::StatusCode::kAlreadyExists,
                 "the handle is attached to another share already; detach it "
                 "first");
  }
  return Error(absl::StatusCode::kAlreadyExists,
               "the handle is attached to share #", share->id(),
               " already; detach it first");
}

bool Handle::gated() const {
  absl::MutexLock lock(&mu_);
  return gated_;
}

void Handle::BecomeHolder(Mode mode) {
  holder_ = ThisThreadToken();
  mode_ = mode;
  depth_ = 1;
  // Here, so that no Cancel() that found a transfer is lost.
  cancelled_.store(Cancelled::kNo, std::memory_order_relaxed);
  ++GetThisThread().handles_held;
}

void Handle::BecomeIdle() {
  --GetThisThread().handles_held;
  holder_ = nullptr;
  mode_ = Mode::kIdle;
  depth_ = 0;
}

absl::Status Handle::PrepareTransfer() {
  const RefPtr<ShareCore> share = this->share();
  return ShareCore::IsClosing(share->epoch()) ? DetachNow()
                                              : MoveToNewest(*share);
}

absl::Status Handle::MoveToNewest(ShareCore& share) {
  Generation newest = share.Newest();
  // A close came in between: it will find this handle in transfer.
  if (newest.handle == nullptr) return absl::OkStatus();
  // The newest has just become gated: the next transfer moves there.
  if (newest.gated && gate_ == nullptr) return absl::OkStatus();
  const CURLcode code = SetShare(newest.handle->get());
  if (code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  }
  if (!newest.handle->kinds().Contains(LockData::kConnect)) {
    LeaveConnections();
  }
  // The old one may be freed here, with no mutex held.
  generation_ = std::move(newest.handle);
  {
    absl::MutexLock lock(&mu_);
    gated_ = newest.gated;
  }
  absl::Status status = PrepareForKinds();
  if (!status.ok()) return status;
  // Only now: otherwise the next transfer comes here again.
  absl::MutexLock lock(&mu_);
  epoch_ = newest.epoch;
  return status;
}

absl::Status Handle::PrepareForKinds() {
  if (Shares(LockData::kCookie)) {
    const CURLcode code = TurnCookiesOn();
    if (code != CURLE_OK) {
      return EasyStatus(code, "curl_easy_setopt(CURLOPT_COOKIEFILE)");
    }
  }
  if (Shares(LockData::kConnect)) {
    const CURLcode code = curl_easy_setopt(curl_, CURLOPT_PIPEWAIT, 0L);
    if (code != CURLE_OK) {
      return EasyStatus(code, "curl_easy_setopt(CURLOPT_PIPEWAIT)");
    }
  }
  return absl::OkStatus();
}

CURLcode Handle::SetShare(CURLSH* share) {
  const CURLcode code = curl_easy_setopt(curl_, CURLOPT_SHARE, share);
  if (code == CURLE_OK) ReloadResolve();
  return code;
}

CURLcode Handle::TurnCookiesOn() {
  return curl_easy_setopt(curl_, CURLOPT_COOKIEFILE, "");
}

bool Handle::HasPeers() const {
  if (!Shares(LockData::kConnect) ||
      RunningLibcurl().version_num < LibcurlVersion(8, 21, 0)) {
    return false;
  }
  absl::MutexLock lock(&mu_);
  return multi_ != nullptr;  // It has transferred.
}

void Handle::LeaveConnections() {
  CURLM* multi = nullptr;
  if (!HasPeers() || !GetMulti(&multi).ok()) return;
  // A transfer lets go of them first thing; a list that cannot be read ends it
  // right after, before it touches what curl_easy_getinfo tells.
  static char unreadable[] = "none";
  static curl_slist list{unreadable, nullptr};
  if (curl_easy_setopt(curl_, CURLOPT_RESOLVE, &list) != CURLE_OK) return;
  if (FailTransfer(multi) == CURLE_URL_MALFORMAT) {
    // That came even before: it has no URL, as after curl_easy_reset.
    (void)curl_easy_setopt(curl_, CURLOPT_URL, "http://none/");
    FailTransfer(multi);
    (void)curl_easy_setopt(curl_, CURLOPT_URL, nullptr);
  }
  // With that list left in it no transfer would succeed: so once more if that
  // fails, for which libcurl, which only stores the pointer, has no reason.
  if (curl_easy_setopt(curl_, CURLOPT_RESOLVE, nullptr) != CURLE_OK) {
    (void)curl_easy_setopt(curl_, CURLOPT_RESOLVE, nullptr);
  }
  ReloadResolve();
  // Connections that it was the one to close may still be shutting down in it.
  DropMulti();
}

CURLcode Handle::FailTransfer(CURLM* multi) {
  if (curl_multi_add_handle(multi, curl_) != CURLM_OK) return CURLE_FAILED_INIT;
  // It is to fail, and nothing can be done where that fails.
  int running = 0;
  (void)curl_multi_perform(multi, &running);
  int left = 0;
  const CURLMsg* const message = curl_multi_info_read(multi, &left);
  const CURLcode result = message == nullptr ? CURLE_OK : message->data.result;
  // Where it stays in, DropMulti takes it out.
  (void)curl_multi_remove_handle(multi, curl_);
  return result;
}

bool Handle::Shares(LockData kind) const {
  return generation_ != nullptr && generation_->kinds().Contains(kind);
}

absl::Status Handle::Attach(const RefPtr<ShareCore>& share) {
  if (KindLocks::ThisThreadHoldsAny()) return LockHeldError();
  // Before anything that may be refused. One of no owner's is attached but
  // once, as soon as it is made.
  if (OwnsCurl() && this->share() != nullptr) return AlreadyAttached();
  absl::Status status;
  bool try_again = true;
  while (try_again) {
    // The gate comes before the handle; see above.
    const bool gated = share->gated();
    if (gated) {
      status = share->EnterGate();
      if (!status.ok()) return status;
    }
    status = AttachInGate(share, gated, &try_again);
    if (gated) share->LeaveGate();
    ReleaseDeferred();
  }
  return status;
}

absl::Status Handle::AttachInGate(const RefPtr<ShareCore>& share, bool in_gate,
                                  bool* try_again) {
  *try_again = false;
  if (absl::Status status = Enter(Mode::kChange); !status.ok()) return status;
  if (const RefPtr<Handle> other = EnterAttached(this); other != nullptr) {
    Leave();
    return other->AlreadyAttached();
  }
  absl::StatusOr<Generation> generation = share->Link(this);
  if (!generation.ok()) {
    LeaveAttached(this);
    Leave();
    return generation.status();
  }
  if (generation->gated && !in_gate) {
    // It has become gated since the caller looked.
    *try_again = true;
    generation->handle.reset();
    LeaveAttached(this);
    share->Unlink(this);
    Leave();
    return absl::OkStatus();
  }
  {
    absl::MutexLock lock(&mu_);
    share_ = share;
    epoch_ = generation->epoch;
    gated_ = generation->gated;
  }
  const CURLcode code = SetShare(generation->handle->get());
  absl::Status status = EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  if (status.ok()) {
    generation_ = std::move(generation->handle);
    status = PrepareForKinds();
    // What was just attached can be detached.
    if (!status.ok()) DetachNow().IgnoreError();
  } else {
    generation->handle.reset();
    LeaveShare();
  }
  Leave();
  return status;
}

absl::Status Handle::Detach() {
  if (absl::Status status = Enter(Mode::kChange); !status.ok()) return status;
  absl::Status status = share() == nullptr
                            ? Error(absl::StatusCode::kFailedPrecondition,
                                    "the handle is not attached to a share")
                            : DetachNow();
  Leave();
  return status;
}

absl::Status Handle::DetachNow() {
  const CURLcode code = SetShare(nullptr);
  if (code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE, NULL)");
  }
  LeaveConnections();
  LeaveShare();
  return absl::OkStatus();
}

void Handle::LeaveShare() {
  LeaveAttached(this);
  generation_.reset();
  RefPtr<ShareCore> share;
  {
    absl::MutexLock lock(&mu_);
    share = std::move(share_);
    gated_ = false;
  }
  share->Unlink(this);
}

RefPtr<ShareCore> Handle::share() const {
  absl::MutexLock lock(&mu_);
  return share_;
}

void Handle::OnShareClosing(ShareCore& share, bool cancel) {
  {
    absl::MutexLock lock(&mu_);
    if (share_.get() != &share) return;
    if (holder_ != nullptr) {
      if (cancel && mode_ == Mode::kTransfer) CancelLocked(Cancelled::kByClose);
      return;
    }
    if (gated_ && !share.InGate()) return;
    BecomeHolder(Mode::kChange);
  }
  Leave();
}

void Handle::CancelLocked(Cancelled by) {
  cancelled_.store(by, std::memory_order_release);
  // Ends a curl_multi_poll, the one under way or else the next. Where it fails
  // the poll ends by itself within kPollMilliseconds.
  if (multi_ != nullptr) (void)curl_multi_wakeup(multi_);
}

bool Handle::Cancel() {
  absl::MutexLock lock(&mu_);
  if (holder_ == nullptr || mode_ != Mode::kTransfer) return false;
  CancelLocked(Cancelled::kByCaller);
  return true;
}

absl::Status Handle::MakeStatus(CURLcode code) {
  return EasyStatus(code, "transfer");
}

absl::Status Handle::TransferStatus(CURLcode code) {
  if (code == CURLE_OK) return MakeStatus(code);
  switch (cancelled_.load(std::memory_order_acquire)) {
    case Cancelled::kNo:
      return MakeStatus(code);
    case Cancelled::kByCaller:
      return WithEasyCode(Error(absl::StatusCode::kCancelled,
                                "the transfer was ended by Cancel()"),
                          code);
    case Cancelled::kByClose:
      break;
  }
  return WithEasyCode(Error(absl::StatusCode::kCancelled,
                            "the transfer was ended by Share::CloseNow()"),
                      code);
}

absl::Status Handle::GetMulti(CURLM** multi) {
  {
    absl::MutexLock lock(&mu_);
    *multi = multi_;
  }
  if (*multi != nullptr) return absl::OkStatus();
  *multi = curl_multi_init();
  if (*multi == nullptr) {
    return MultiStatus(CURLM_OUT_OF_MEMORY, "curl_multi_init");
  }
  // From 8.20 on, curl_multi_cleanup would wait for a look-up under way, which
  // a cancelled transfer leaves behind. Earlier versions do not know the
  // option.
  constexpr auto kQuickExit =  // CURLMOPT_QUICK_EXIT
      static_cast<CURLMoption>(CURLOPTTYPE_LONG + 21);
  (void)curl_multi_setopt(*multi, kQuickExit, 1L);
  absl::MutexLock lock(&mu_);
  multi_ = *multi;
  return absl::OkStatus();
}

absl::Status Handle::ApplyMaxConnects(CURLM* multi) {
  long wanted = max_connects();
  if (Shares(LockData::kConnect)) {
    wanted = std::max(wanted, static_cast<long>(share()->attached()));
  }
  if (wanted == applied_max_connects_) return absl::OkStatus();
  const CURLMcode code = curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, wanted);
  if (code == CURLM_OK) applied_max_connects_ = static_cast<int>(wanted);
  return MultiStatus(code, "curl_multi_setopt(CURLMOPT_MAXCONNECTS)");
}

absl::Status Handle::Perform() {
  const RefPtr<Handle> self(this);
  if (absl::Status status = Enter(Mode::kTransfer); !status.ok()) return status;
  absl::Status status = Drive();
  Leave();
  return status;
}

absl::Status Handle::Drive() {
  CURLM* multi = nullptr;
  if (absl::Status status = GetMulti(&multi); !status.ok()) return status;
  CURLMcode code = curl_multi_add_handle(multi, curl_);
  if (code != CURLM_OK) return MultiStatus(code, "curl_multi_add_handle");

  absl::Status status = ApplyMaxConnects(multi);
  bool done = false;
  CURLcode result = CURLE_ABORTED_BY_CALLBACK;  // where it is cancelled
  while (status.ok() && !cancelled()) {
    int running = 0;
    code = curl_multi_perform(multi, &running);
    if (code != CURLM_OK) {
      status = MultiStatus(code, "curl_multi_perform");
      break;
    }
    if (running == 0) {
      int left = 0;
      // The only one, as the multi handle has no other handle.
      const CURLMsg* const message = curl_multi_info_read(multi, &left);
      if (message != nullptr && message->msg == CURLMSG_DONE) {
        result = message->data.result;
        done = true;
      } else {
        status = MultiStatus(CURLM_INTERNAL_ERROR, "curl_multi_perform");
      }
      break;
    }
    const bool paused = gate_ != nullptr && gate_->PauseGate();
    code = curl_multi_poll(multi, nullptr, 0, kPollMilliseconds, nullptr);
    if (paused) gate_->ResumeGate();
    if (code != CURLM_OK) {
      status = MultiStatus(code, "curl_multi_poll");
      break;
    }
    // The number of handles may have changed.
    if (Shares(LockData::kConnect)) status = ApplyMaxConnects(multi);
  }

  if (!done) {
    // Up to 8.19, removing a handle that resolves a name waits for the
    // resolver, unless it is told not to. Best effort: an error of either call
    // would only make the removal slower.
    (void)curl_easy_setopt(curl_, CURLOPT_QUICK_EXIT, 1L);
  }
  const CURLMcode removed = curl_multi_remove_handle(multi, curl_);
  if (!done) {
    (void)curl_easy_setopt(curl_, CURLOPT_QUICK_EXIT, quick_exit() ? 1L : 0L);
  }
  if (removed != CURLM_OK) {
    // Still in it, the handle could neither leave its share nor transfer again.
    DropMulti();
    if (status.ok()) status = MultiStatus(removed, "curl_multi_remove_handle");
  }
  if (!status.ok()) return status;
  return TransferStatus(result);
}

void Handle::Release() {
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
    case Admission::kStaleHolder:
      break;
    case Admission::kForeignGate:
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
        mu_.Await(absl::Condition(this, &Handle::IsFree));
      }
      if (holder_ != nullptr) return;
      BecomeHolder(Mode::kChange);
      break;
  }
  LeaveSlowly(/*release=*/true);
}

void Handle::DropMulti() {
  CURLM* multi = nullptr;
  {
    absl::MutexLock lock(&mu_);
    std::swap(multi, multi_);
  }
  applied_max_connects_ = -1;
  // Takes the handle out if it is in it. An error would mean that libcurl is
  // inside it just now, and nothing could be done.
  if (multi != nullptr) (void)curl_multi_cleanup(multi);
}

void Handle::ReleaseNow() {
  bool attached = false;
  bool outside_gate = false;
  {
    absl::MutexLock lock(&mu_);
    release_requested_ = false;
    attached = share_ != nullptr;
    outside_gate = gated_ && !share_->InGate();
  }
  if (OwnsCurl()) {
    // First, since the address may be used anew at once.
    LeaveAttached(this);
    FreeCurl();  // curl_easy_cleanup detaches it.
    if (attached) LeaveShare();
  } else if (attached && (KindLocks::ThisThreadHoldsAny() || outside_gate ||
                          !DetachNow().ok())) {
    KeepForever();
    return;
  }
  DropMulti();
}

void Handle::KeepForever() {
  std::shared_ptr<const ShareHandle> generation = generation_;
  LeaveShare();
  generation_ = std::move(generation);
  absl::MutexLock lock(&kept_mu);
  next_deferred_ = first_kept;
  first_kept = RefPtr<Handle>(this).Disown();
}

}  // namespace curlshare::internal
