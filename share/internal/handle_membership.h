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

// The second of the three classes that make a Handle (see handle_holder.h): in
// which share a handle is.
//
// A share has one CURLSH at a time that handles move to, and older ones that
// handles may still be attached to. Each of these is a *generation*. A handle
// is in a share exactly while three things hold: its CURL* is attached to a
// generation of that share, the handle is on the share's list, and it is in the
// table of attached handles (attached_handles.h). A handle moves to the newest
// generation when one of its transfers begins.
//
// Thread-safe, as HandleHolder. Owned as HandleHolder: by references.
class HandleMembership : public HandleHolder {
 public:
  ~HandleMembership() override;

  // Attaches the handle to `share`. With `refuse_after_close`, the handle may
  // not transfer after a close has taken it out of the share, until it is
  // attached again or detached.
  //
  // kAlreadyExists: the CURL* is in a share already, through this handle or
  // another one. kFailedPrecondition: the share is closing or closed, or
  // belongs to the parent process; or the handle cannot be entered now
  // (HandleHolder::Enter with kChange). Otherwise the error of libcurl's that
  // kept the handle out.
  absl::Status Attach(const RefPtr<ShareCore>& share, bool refuse_after_close)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Attach(const RefPtr<ShareCore>& share) ABSL_LOCKS_EXCLUDED(mu_) {
    return Attach(share, share->refuses_after_close());
  }
  // Makes this handle, a copy of `other`, refuse transfers from now on if
  // `other` refuses them or would after a close. To be called when `other` is
  // in no share, or in one that is closing, so that the copy cannot be
  // attached. REQUIRES: the caller is the holder of both handles.
  void RefuseAs(const HandleMembership& other) {
    if (other.refusal_ != Refusal::kNever) refusal_ = Refusal::kNow;
  }
  // Takes the handle out of its share, and ends a refusal (see Attach).
  // kFailedPrecondition: the handle is in no share and refuses nothing; or
  // libcurl cannot take it out yet, since it has an open connection of
  // CURLOPT_CONNECT_ONLY.
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  using HandleHolder::HandleHolder;

  // REQUIRES, for the following: the caller is the holder.

  // Sets what the shared kinds need from the handle: the cookie engine, and
  // CURLOPT_DNS_CACHE_TIMEOUT. To be called after an attach or a move, and
  // after curl_easy_reset of an Easy.
  absl::Status PrepareForKinds() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the CURLSH that the handle is attached to shares `kind`.
  bool Shares(LockData kind) const;
  const std::shared_ptr<const ShareHandle>& generation() const final {
    return generation_;
  }
  // Detaches the handle because its owner wants so. A raw handle then leaves
  // its connections to the share, if libcurl allows that (GiveBackConnections).
  absl::Status LeaveForGood() ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the membership on this library's side. REQUIRES: libcurl has taken the
  // CURL* out of the share, or the share's CURLSH is kept for ever.
  void LeaveShare() ABSL_LOCKS_EXCLUDED(mu_);

  // Moves a handle that is about to leave to the newest generation, as that has
  // all the cookies that the share knows. Best effort.
  void MoveForCookies() ABSL_LOCKS_EXCLUDED(mu_);

  // Hooks for the derived classes. The caller is the holder.

  // Takes the handle's multi handle out of the share's pool. The handle keeps
  // it.
  virtual void LeavePool() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // Gives the handle's multi handle to the share's pool, if libcurl allows
  // that.
  virtual void GiveBackConnections() ABSL_LOCKS_EXCLUDED(mu_) = 0;
  // libcurl puts the addresses of CURLOPT_RESOLVE into the DNS cache only once,
  // in the first transfer after the option was set (Curl_loadhostpairs). In
  // another share, or in none, they are missing, so that the option has to be
  // set again. The default does nothing: a raw handle's CURLOPT_RESOLVE is its
  // owner's.
  virtual void ReloadResolve() {}
  // Whether the handle's CURLOPT_RESOLVE may contain addresses.
  virtual bool MayPinNames() const { return true; }
  // Sets CURLOPT_DNS_CACHE_TIMEOUT to `seconds`; -1: no limit.
  virtual CURLcode LimitDnsAge(long seconds);
  // Ends what LimitDnsAge has done. The default does nothing: the value that
  // the owner of a raw handle had set is not known.
  virtual CURLcode UnlimitDnsAge() { return CURLE_OK; }
  // Calls the one or the other, as ShareOptions::dns_cache_timeout says.
  CURLcode LimitDnsAgeByShare();
  // Turns the handle's cookie engine on. REQUIRES: attached to a generation
  // that shares cookies.
  virtual CURLcode TurnCookiesOn();
  // Called when the handle has left a share of cookies. Those are saved by now
  // in the file that CURLOPT_COOKIEJAR names, if it names one.
  virtual void AfterLeavingCookies();
  // Called around each step in which libcurl may call the handle's own
  // callbacks (CURLOPT_DEBUGFUNCTION, say) for something that the owner has not
  // asked for.
  virtual void BeforeLettingGo() {}
  virtual void AfterLettingGo() {}

 private:
  friend RefPtr<HandleMembership> EnterAttached(HandleMembership*);
  friend void LeaveAttached(HandleMembership*);

  absl::Status PrepareTransfer() final ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status DetachNow() final ABSL_LOCKS_EXCLUDED(mu_);

  // The error of an attach whose CURL* is in a share already. Called on the
  // handle that is in the share.
  absl::Status AlreadyAttached() const ABSL_LOCKS_EXCLUDED(mu_);
  // One try of Attach. `in_gate`: the caller is inside the share's gate. Sets
  // `*try_again`, and leaves everything as it was, if the share has become
  // gated since the caller looked.
  absl::Status AttachInGate(const RefPtr<ShareCore>& share,
                            bool refuse_after_close, bool in_gate,
                            bool* try_again) ABSL_LOCKS_EXCLUDED(mu_);
  // Attaches the handle to the newest generation of `share`, which it is in. OK
  // also if it could not move now and may transfer where it is.
  absl::Status MoveToNewest(ShareCore& share) ABSL_LOCKS_EXCLUDED(mu_);
  // CURLOPT_SHARE; null: detaches. Saves shared cookies first if the handle
  // leaves them.
  CURLcode SetShare(const ShareHandle* share);

  std::shared_ptr<const ShareHandle> generation_;  // the holder's
  HandleMembership* next_attached_ = nullptr;      // see attached_handles.h
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_MEMBERSHIP_H_
