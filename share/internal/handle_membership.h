// SPDX-License-Identifier: Apache-2.0
// How a CURL* comes into a share, moves from one of its generations to the
// next, and leaves it.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_MEMBERSHIP_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_MEMBERSHIP_H_

#include <curl/curl.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "curlshare/share/internal/handle_holder.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// The second of the three classes that make a Handle. A handle is in a share
// exactly while its CURL* is attached to one of that share's CURLSHs, the
// generations, and is on the share's list and in the table of attached handles.
// It moves to the newest generation when a transfer begins.
//
// Safe for concurrent use, as HandleHolder.
class HandleMembership : public HandleHolder {
 public:
  ~HandleMembership() override;

  // kAlreadyExists where the CURL* is in a share already, by this handle or
  // another. `refuse_after_close`: a close that takes it out also has its
  // transfers refused, until it is attached again or detached.
  absl::Status Attach(const RefPtr<ShareCore>& share, bool refuse_after_close)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Attach(const RefPtr<ShareCore>& share) ABSL_LOCKS_EXCLUDED(mu_) {
    return Attach(share, share->refuses_after_close());
  }
  // Refuses what `other` refuses, and will, now that the share of that one is
  // closing or none. REQUIRES: the caller is the holder of both.
  void RefuseAs(const HandleMembership& other) {
    if (other.refusal_ != Refusal::kNever) refusal_ = Refusal::kNow;
  }
  // kFailedPrecondition where it is in none. Ends a refusal.
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  using HandleHolder::HandleHolder;

  // The following need the caller to be the holder.

  // Sets what the shared kinds ask of the handle: the cookie engine on. After
  // attaching, and after curl_easy_reset of an Easy.
  absl::Status PrepareForKinds() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the CURLSH that the handle is attached to shares `kind`.
  bool Shares(LockData kind) const;
  const std::shared_ptr<const ShareHandle>& generation() const final {
    return generation_;
  }
  // It leaves as its owner says: a raw handle leaves its connections to the
  // share.
  absl::Status LeaveForGood() ABSL_LOCKS_EXCLUDED(mu_);
  // The CURL* is in no share any more, or stays in it beyond what can be known.
  void LeaveShare() ABSL_LOCKS_EXCLUDED(mu_);

  // Before it leaves: into the newest generation, where that has all cookies.
  void MoveForCookies() ABSL_LOCKS_EXCLUDED(mu_);

  // What it asks of the classes that build on it.

  // It leaves the pool: what it keeps stays its own.
  virtual void LeavePool() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // Gives what it keeps to the share, where that can be.
  virtual void GiveBackConnections() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // libcurl puts the addresses of CURLOPT_RESOLVE into the DNS cache once, at
  // the first transfer: with another share, or none, they have to be given
  // again. That of a raw handle is its owner's to set.
  virtual void ReloadResolve() {}
  // Whether its CURLOPT_RESOLVE may name addresses.
  virtual bool MayPinNames() const { return true; }
  // Sets CURLOPT_DNS_CACHE_TIMEOUT as the share says.
  virtual CURLcode LimitDnsAge(long seconds);
  // Turns the cookie engine on, in a share of cookies.
  virtual CURLcode TurnCookiesOn();
  // It has left a share of cookies, which are saved where CURLOPT_COOKIEJAR
  // says.
  virtual void AfterLeavingCookies();
  // Around whatever makes libcurl tell the handle's own callbacks of what is
  // not its owner's doing.
  virtual void BeforeLettingGo() {}
  virtual void AfterLettingGo() {}

 private:
  friend RefPtr<HandleMembership> EnterAttached(HandleMembership*);
  friend void LeaveAttached(HandleMembership*);

  absl::Status PrepareTransfer() final ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status DetachNow() final ABSL_LOCKS_EXCLUDED(mu_);

  absl::Status AlreadyAttached() const ABSL_LOCKS_EXCLUDED(mu_);
  // `*try_again`: the share has become gated since the caller looked.
  absl::Status AttachInGate(const RefPtr<ShareCore>& share,
                            bool refuse_after_close, bool in_gate,
                            bool* try_again) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MoveToNewest(ShareCore& share) ABSL_LOCKS_EXCLUDED(mu_);
  CURLcode SetShare(const ShareHandle* share);

  std::shared_ptr<const ShareHandle> generation_;  // the holder's
  HandleMembership* next_attached_ = nullptr;      // see attached_handles.h
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_MEMBERSHIP_H_
