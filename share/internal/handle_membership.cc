// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/handle_membership.h"

#include <curl/curl.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/attached_handles.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// A handle comes in and goes out in a fixed order, so that a close and other
// attaches see it whole at each moment (the caller is the holder throughout):
//
//  - In (AttachInGate): table of attached handles, list of the share, `share_`,
//    CURLOPT_SHARE, `generation_`. The table comes first, as it tells whether
//    the CURL* is in a share already.
//  - Out (DetachNow, LeaveShare): CURLOPT_SHARE, pool, table, `generation_`,
//    `share_`, list. The list comes last: Unlink of the last handle frees the
//    CURLSH, to which this handle must not hold a reference any more.
//
// Each step either needs no memory or is undone when the next one fails.
// Handle::ReleaseNow, which frees an owned CURL*, leaves the table first: the
// address may belong to a new CURL* at once.

HandleMembership::~HandleMembership() = default;

absl::Status HandleMembership::AlreadyAttached() const {
  if (IsParents()) return ParentsError();
  const RefPtr<ShareCore> share = this->share();
  if (share == nullptr) {
    // It is on its way in or out of a share, on another thread.
    return Error(absl::StatusCode::kAlreadyExists,
                 "the handle is attached to another share already; detach it "
                 "first");
  }
  return Error(absl::StatusCode::kAlreadyExists,
               "the handle is attached to share #", share->id(),
               " already; detach it first");
}

absl::Status HandleMembership::PrepareTransfer() {
  const RefPtr<ShareCore> share = this->share();
  if (!ShareCore::IsClosing(share->epoch())) return MoveToNewest(*share);
  if (DetachNow().ok() && refusal_ == Refusal::kAfterClose) {
    refusal_ = Refusal::kNow;
    return AfterCloseError();
  }
  // A handle that cannot leave (see HandleHolder::LeaveSlowly) transfers once
  // more in the closing share. That closes the connection which keeps it there.
  return absl::OkStatus();
}

absl::Status HandleMembership::MoveToNewest(ShareCore& share) {
  // What is new in the old generation since the handle's last transfer: its
  // owner may have set cookies by CURLOPT_COOKIELIST, for instance.
  Generation newest;
  absl::Status status = share.CatchUp(generation_, &newest);
  // A close came in between. It finds this handle in transfer, and the last
  // Leave detaches it.
  if (newest.handle == nullptr) return absl::OkStatus();
  // The newest has become gated only now, and this thread is not inside the
  // gate. The next transfer moves.
  if (newest.handle->gated() && gate_ == nullptr) return absl::OkStatus();
  if (!status.ok()) return status;
  const CURLcode code = SetShare(newest.handle.get());
  // The handle has a connection of CURLOPT_CONNECT_ONLY (see
  // HandleHolder::LeaveSlowly): it may move before a later transfer.
  if (code == CURLE_BAD_FUNCTION_ARGUMENT) return absl::OkStatus();
  if (code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  }
  if (!newest.handle->kinds().Contains(LockData::kConnect)) LeavePool();
  // This may free the old generation. No mutex is held here, since libcurl then
  // calls back.
  generation_ = std::move(newest.handle);
  {
    absl::MutexLock lock(&mu_);
    gated_ = generation_->gated();
  }
  status = PrepareForKinds();
  if (!status.ok()) return status;
  // Last, since a handle with the old epoch comes here again at its next
  // transfer: a move that failed half way is repeated.
  absl::MutexLock lock(&mu_);
  epoch_ = newest.epoch;
  return status;
}

absl::Status HandleMembership::PrepareForKinds() {
  if (Shares(LockData::kCookie)) {
    const CURLcode code = TurnCookiesOn();
    if (code != CURLE_OK) {
      return EasyStatus(code, "curl_easy_setopt, to turn cookies on");
    }
  }
  if (const CURLcode code = LimitDnsAgeByShare(); code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_DNS_CACHE_TIMEOUT)");
  }
  if (Shares(LockData::kDns) && MayPinNames()) HolderShare()->NotePinnedNames();
  return absl::OkStatus();
}

CURLcode HandleMembership::LimitDnsAgeByShare() {
  if (!Shares(LockData::kDns)) return UnlimitDnsAge();
  const absl::Duration age = HolderShare()->dns_cache_timeout();
  if (age == ShareCore::kDefaultDnsCacheTimeout) return UnlimitDnsAge();
  if (age == absl::InfiniteDuration()) return LimitDnsAge(-1);
  // libcurl takes whole seconds, as an int: rounded up, as 0 would turn the
  // cache off.
  return LimitDnsAge(static_cast<long>(std::min<int64_t>(
      absl::ToInt64Seconds(absl::Ceil(age, absl::Seconds(1))), INT_MAX)));
}

CURLcode HandleMembership::LimitDnsAge(long seconds) {
  return curl_easy_setopt(curl_, CURLOPT_DNS_CACHE_TIMEOUT, seconds);
}

CURLcode HandleMembership::SetShare(const ShareHandle* share) {
  const bool leaves_cookies =
      Shares(LockData::kCookie) &&
      (share == nullptr || !share->kinds().Contains(LockData::kCookie));
  // Once it has left, the handle does not see these cookies any more, so that
  // curl_easy_cleanup could not save them. "FLUSH" writes them to the file of
  // CURLOPT_COOKIEJAR now, if that is set (Curl_flush_cookies in lib/cookie.c).
  // libcurl reports no error here.
  if (leaves_cookies) {
    BeforeLettingGo();
    (void)curl_easy_setopt(curl_, CURLOPT_COOKIELIST, "FLUSH");
    AfterLettingGo();
  }
  const CURLcode code = curl_easy_setopt(
      curl_, CURLOPT_SHARE, share == nullptr ? nullptr : share->get());
  if (code != CURLE_OK) return code;
  if (leaves_cookies) AfterLeavingCookies();
  ReloadResolve();
  return code;
}

// Otherwise curl_easy_cleanup, or another "FLUSH", would replace the file that
// was just written by the handle's own jar, which lacks the share's cookies.
// Setting the option also gives the handle a jar of its own (Curl_cookie_init
// in CURLOPT_COOKIEJAR, lib/setopt.c), so that its cookie engine stays on.
void HandleMembership::AfterLeavingCookies() {
  (void)curl_easy_setopt(curl_, CURLOPT_COOKIEJAR, nullptr);
}

// A shared jar alone does not turn on a handle's cookie engine, and nobody can
// ask whether it is on. Each way to turn it on has a drawback:
//
//  - CURLOPT_COOKIEFILE appends to a list in the handle. It would grow with
//    each attach.
//  - The first line for CURLOPT_COOKIELIST turns the engine on, but only in a
//    handle without a jar (CURLOPT_COOKIELIST in lib/setopt.c), and an attached
//    handle has the shared jar.
//
// So the handle leaves the share for a moment, which takes the shared jar from
// it, and gets a line that is only a comment. The jar that libcurl makes for
// that line goes when the handle is back in the share. The engine stays on
// until curl_easy_cleanup.
CURLcode HandleMembership::TurnCookiesOn() {
  CURLcode code = curl_easy_setopt(curl_, CURLOPT_SHARE, nullptr);
  if (code != CURLE_OK) return code;
  code = curl_easy_setopt(curl_, CURLOPT_COOKIELIST, "# a comment");
  const CURLcode back =
      curl_easy_setopt(curl_, CURLOPT_SHARE, generation_->get());
  return code == CURLE_OK ? back : code;
}

bool HandleMembership::Shares(LockData kind) const {
  return generation_ != nullptr && generation_->kinds().Contains(kind);
}

absl::Status HandleMembership::Attach(const RefPtr<ShareCore>& share,
                                      bool refuse_after_close) {
  if (IsParents()) return ParentsError();
  if (absl::Status status = share->CheckProcess(); !status.ok()) return status;
  if (KindLocks::ThisThreadHoldsAny()) return LockHeldError();
  // An owned CURL* is known to this library alone, so that only this handle can
  // have attached it: answer before anything that may be refused. Easy attaches
  // such a handle once, right after it made it.
  if (OwnsCurl() && this->share() != nullptr) return AlreadyAttached();
  absl::Status status;
  bool try_again = true;
  while (try_again) {
    // The gate comes before the handle, as in HandleHolder::Enter. Whether
    // there is one is looked at again in AttachInGate, since the share's kinds
    // may change meanwhile.
    const bool gated = share->gated();
    if (gated) {
      status = share->EnterGate();
      if (!status.ok()) return status;
    }
    status = AttachInGate(share, refuse_after_close, gated, &try_again);
    if (gated) share->LeaveGate();
    ReleaseDeferred();
  }
  return status;
}

absl::Status HandleMembership::AttachInGate(const RefPtr<ShareCore>& share,
                                            bool refuse_after_close,
                                            bool in_gate, bool* try_again) {
  *try_again = false;
  if (absl::Status status = Enter(Mode::kChange); !status.ok()) return status;
  if (const RefPtr<HandleMembership> other = EnterAttached(this);
      other != nullptr) {
    Leave();
    return other->AlreadyAttached();
  }
  absl::StatusOr<Generation> generation = share->Link(this);
  if (!generation.ok()) {
    LeaveAttached(this);
    Leave();
    return generation.status();
  }
  if (generation->handle->gated() && !in_gate) {
    // The share has become gated since the caller looked.
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
    gated_ = generation->handle->gated();
  }
  // In a forked child this handle could not be taken out again, so the whole
  // share then belongs to the parent.
  if (HasTransferredHere()) share->NoteTransfer();
  const CURLcode code = SetShare(generation->handle.get());
  absl::Status status = EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  if (status.ok()) {
    generation_ = std::move(generation->handle);
    status = PrepareForKinds();
    if (status.ok()) {
      refusal_ = refuse_after_close ? Refusal::kAfterClose : Refusal::kNever;
    } else {
      // Cannot fail: a handle that was just attached has no connection.
      DetachNow().IgnoreError();
    }
  } else {
    generation->handle.reset();
    LeaveShare();
  }
  Leave();
  return status;
}

absl::Status HandleMembership::Detach() {
  if (absl::Status status = Enter(Mode::kChange); !status.ok()) return status;
  absl::Status status;
  // Out of every share, a handle that refuses transfers since a close is still
  // "detached": that ends the refusal.
  if (share() != nullptr) {
    status = LeaveForGood();
  } else if (refusal_ != Refusal::kNow) {
    status = Error(absl::StatusCode::kFailedPrecondition,
                   "the handle is not attached to a share");
  }
  if (status.ok()) refusal_ = Refusal::kNever;
  Leave();
  return status;
}

absl::Status HandleMembership::LeaveForGood() {
  GiveBackConnections();
  return DetachNow();
}

// The file of CURLOPT_COOKIEJAR is then written from the newest generation. If
// the move is not possible now, it is written from the old one, which is right
// but for what others have learned since.
void HandleMembership::MoveForCookies() {
  if (!Shares(LockData::kCookie) || !HolderIsStale() ||
      KindLocks::ThisThreadHoldsAny()) {
    return;
  }
  ShareCore& share = *HolderShare();
  Generation newest;
  const absl::Status status = share.CatchUp(generation_, &newest);
  if (!status.ok() || newest.handle == nullptr ||
      newest.handle == generation_ ||
      !newest.handle->kinds().Contains(LockData::kCookie) ||
      (newest.handle->gated() && !share.InGate())) {
    return;
  }
  if (SetShare(newest.handle.get()) != CURLE_OK) return;
  generation_ = std::move(newest.handle);
  absl::MutexLock lock(&mu_);
  gated_ = generation_->gated();
}

absl::Status HandleMembership::DetachNow() {
  MoveForCookies();
  const CURLcode code = SetShare(nullptr);
  if (code == CURLE_BAD_FUNCTION_ARGUMENT) {
    return WithEasyCode(
        Error(absl::StatusCode::kFailedPrecondition,
              "libcurl does not take the handle out of share #",
              HolderShare()->id(),
              " while it has an open connection of CURLOPT_CONNECT_ONLY: "
              "transfer with it once more, which closes that"),
        code);
  }
  if (code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE, NULL)");
  }
  (void)UnlimitDnsAge();  // cannot fail: it sets a number
  LeaveShare();
  return absl::OkStatus();
}

void HandleMembership::LeaveShare() {
  LeavePool();
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

}  // namespace curlshare::internal
