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

HandleMembership::~HandleMembership() = default;

absl::Status HandleMembership::AlreadyAttached() const {
  if (IsParents()) return ParentsError();
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

absl::Status HandleMembership::PrepareTransfer() {
  const RefPtr<ShareCore> share = this->share();
  if (!ShareCore::IsClosing(share->epoch())) return MoveToNewest(*share);
  if (DetachNow().ok() && refusal_ == Refusal::kAfterClose) {
    refusal_ = Refusal::kNow;
    return AfterCloseError();
  }
  // One that cannot leave (see LeaveSlowly) transfers in the share once more:
  // that closes the connection which keeps it there.
  return absl::OkStatus();
}

absl::Status HandleMembership::MoveToNewest(ShareCore& share) {
  // Whatever its owner has done with the cookies since its last transfer, say.
  Generation newest;
  absl::Status status = share.CatchUp(generation_, &newest);
  // A close came in between: it will find this handle in transfer.
  if (newest.handle == nullptr) return absl::OkStatus();
  // The newest has just become gated: the next transfer moves there.
  if (newest.handle->gated() && gate_ == nullptr) return absl::OkStatus();
  if (!status.ok()) return status;
  const CURLcode code = SetShare(newest.handle.get());
  // It has a connection of CURLOPT_CONNECT_ONLY, see LeaveSlowly: a transfer
  // after this one may move it.
  if (code == CURLE_BAD_FUNCTION_ARGUMENT) return absl::OkStatus();
  if (code != CURLE_OK) {
    return EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  }
  if (!newest.handle->kinds().Contains(LockData::kConnect)) LeavePool();
  // The old one may be freed here, with no mutex held.
  generation_ = std::move(newest.handle);
  {
    absl::MutexLock lock(&mu_);
    gated_ = generation_->gated();
  }
  status = PrepareForKinds();
  if (!status.ok()) return status;
  // Only now: otherwise the next transfer comes here again.
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
  if (Shares(LockData::kDns)) {
    const absl::Duration age = HolderShare()->dns_cache_timeout();
    if (age != ShareCore::kDefaultDnsCacheTimeout) {
      // In whole seconds, rounded up; -1: no limit.
      const CURLcode code = LimitDnsAge(
          age == absl::InfiniteDuration()
              ? -1
              : static_cast<long>(std::min<int64_t>(
                    absl::ToInt64Seconds(absl::Ceil(age, absl::Seconds(1))),
                    INT_MAX)));
      if (code != CURLE_OK) {
        return EasyStatus(code, "curl_easy_setopt(CURLOPT_DNS_CACHE_TIMEOUT)");
      }
    }
    if (MayPinNames()) HolderShare()->NotePinnedNames();
  }
  return absl::OkStatus();
}

CURLcode HandleMembership::LimitDnsAge(long seconds) {
  return curl_easy_setopt(curl_, CURLOPT_DNS_CACHE_TIMEOUT, seconds);
}

CURLcode HandleMembership::SetShare(const ShareHandle* share) {
  const bool leaves_cookies =
      Shares(LockData::kCookie) &&
      (share == nullptr || !share->kinds().Contains(LockData::kCookie));
  // Writes CURLOPT_COOKIEJAR, if that is set: from here on the handle knows
  // nothing of these cookies. libcurl tells of no error.
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

// So that curl_easy_cleanup, or whatever comes first, does not put a jar
// without the share's cookies in the place of the file that was just written.
// It also makes the handle a jar of its own: the cookie engine stays on.
void HandleMembership::AfterLeavingCookies() {
  (void)curl_easy_setopt(curl_, CURLOPT_COOKIEJAR, nullptr);
}

// CURLOPT_COOKIEFILE would turn the engine on as well, but libcurl adds what it
// is given to a list, which would grow with each attach, and cannot be asked
// whether the engine is on. The first line of CURLOPT_COOKIELIST turns it on,
// too, where there is no jar: in no share, after one of cookies, whose jar took
// the place of the handle's own. The engine then stays on until
// curl_easy_cleanup, and what this makes for the comment goes when the handle
// is back in the share.
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
    gated_ = generation->handle->gated();
  }
  // In a child it could not be taken out again.
  if (HasTransferredHere()) share->NoteTransfer();
  const CURLcode code = SetShare(generation->handle.get());
  absl::Status status = EasyStatus(code, "curl_easy_setopt(CURLOPT_SHARE)");
  if (status.ok()) {
    generation_ = std::move(generation->handle);
    status = PrepareForKinds();
    if (status.ok()) {
      refusal_ = refuse_after_close ? Refusal::kAfterClose : Refusal::kNever;
    } else {
      // What was just attached can be detached.
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

// From there its CURLOPT_COOKIEJAR, if it has one, is written.
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
