// SPDX-License-Identifier: Apache-2.0
// One CURL* that can be in a share, and the transfers on it.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_H_

#include <curl/curl.h>

#include <memory>
#include <optional>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/handle_membership.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"

namespace curlshare::internal {

// A handle, whole: who holds it (HandleHolder), which share it is in
// (HandleMembership) and, here, what it does for a transfer: it obtains a multi
// handle with connections, runs the transfer on it, and keeps it or gives it
// back.
//
// It keeps its multi handle between transfers, so that the next one to the same
// origin touches nothing that is shared. The pool may have it taken over
// meanwhile, as a close visits a handle: without waiting, and only while it is
// idle.
//
// Safe for concurrent use, as HandleHolder.
class Handle : public HandleMembership {
 public:
  // `curl` is not owned: it outlives Release(). Easy overrides that.
  explicit Handle(CURL* curl) : HandleMembership(curl) {}
  ~Handle() override;

  // Enters for a transfer, makes it, and leaves. `transfer` gets what Enter has
  // waited; it is not called where that fails, or `token` is cancelled before.
  absl::Status RunEntered(
      const CancelToken* token,
      absl::FunctionRef<absl::Status(absl::Duration waited)> transfer)
      ABSL_LOCKS_EXCLUDED(mu_);

  // A whole transfer, on a multi handle of this handle's own. Ends with
  // kCancelled once `token`, if not null, is cancelled.
  absl::Status Perform(const CancelToken* token = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);

  // The Status of a transfer that ended with `code`, or was cancelled.
  absl::Status TransferStatus(CURLcode code);

 protected:
  // The following need the caller to be the holder.

  // The transfer itself, once entered. The timeout counts from `waited` ago on.
  absl::Status Drive(absl::Duration waited) ABSL_LOCKS_EXCLUDED(mu_);

  // What the handle's options say, which cannot be read.
  static constexpr long kDefaultMaxConnects = 5;  // DEFAULT_CONNCACHE_SIZE
  // Of a multi handle without a pool. Of a raw handle, as many as its share
  // keeps idle.
  virtual long max_connects() const;
  virtual bool quick_exit() const { return false; }
  // CURLOPT_URL; null: not known.
  virtual const char* url() const { return nullptr; }
  // Whether it has options of which libcurl cannot tell connections apart, or
  // which a connection keeps: such a handle has connections of its own.
  virtual bool wants_own_connections() const { return false; }
  // What else a handle must have in common with those whose connections it
  // uses, as libcurl does not compare it.
  virtual absl::string_view partition() const { return ""; }
  // Whether it can let go of its connections at any time, without touching what
  // is its owner's: then others may take them over while it is idle. Keeps what
  // the owner may still ask for, first; false where it could not.
  virtual bool CanLetGoLater() const { return false; }
  virtual bool SaveAnswers() { return true; }
  // Otherwise: whether it is to let go at the end of each transfer.
  virtual bool LetsGoAtOnce() const { return true; }
  // Whether it might authenticate by what belongs to the connection (Digest,
  // NTLM, Negotiate).
  virtual bool MayAuthenticateConnections() const { return true; }
  // To be called where what CanLetGoLater says has changed.
  void UpdateLends() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether it connects to another host than its URL's (a proxy,
  // CURLOPT_CONNECT_TO), as far as CURLINFO_USED_PROXY does not tell.
  virtual bool ConnectsElsewhere() const { return false; }
  // libcurl has begun on the transfer.
  virtual void OnBegun() {}
  // How many look-ups of names libcurl began in the newest transfer; none: not
  // known.
  virtual std::optional<int> lookups() const { return std::nullopt; }

  // Frees the CURL*, where Release() is to. The caller is the holder, for the
  // last time; the multi handle goes after it.
  virtual void FreeCurl() {}
  // Whether a paused transfer is to go on: true once for each time that it was
  // asked for. Who does that calls WakeTransfer(), too.
  virtual bool TakeResumed() { return false; }
  // A better Status than the code alone gives.
  virtual absl::Status MakeStatus(CURLcode code);
  // EasyStatus, or HttpErrorStatus where the code says so.
  absl::Status CodeStatus(CURLcode code, absl::string_view detail);

 private:
  class TokenListener;

  // The following need the caller to be the holder.

  // Whether a byte of a request has left in the newest transfer.
  bool MayHaveSent();
  void ReleaseNow() final ABSL_LOCKS_EXCLUDED(mu_);
  // For a CURL* that stays attached until its owner cleans it up, at a time
  // that nobody can know: what it needs until then is never freed. Needs no
  // memory.
  void KeepForever() ABSL_LOCKS_EXCLUDED(mu_);

  MultiHandle* HolderMulti() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return multi_;
  }
  void SetMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // The same for another one than before.
  void ChangeMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the multi handle out of its hands, for whom it is given to.
  std::unique_ptr<MultiHandle> TakeMulti() ABSL_LOCKS_EXCLUDED(mu_);
  // Sees that it keeps a multi handle for a transfer to `key`, with `pool` if
  // there is one. The one that it kept before, if it is to be given back once
  // the transfer has begun, is in `previous`.
  absl::Status ObtainMulti(ConnectionPool* pool, OriginKey key,
                           std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ObtainOwnMulti(std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the pool has to be asked: not where the one it keeps will do.
  bool NeedsOther(ConnectionPool& pool, OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // `shortened`: other waits have taken a part of its timeout.
  absl::Status RunOn(ConnectionPool* pool, OriginKey key,
                     bool shortened = false) ABSL_LOCKS_EXCLUDED(mu_);
  // Where it has waited, or may have to for others to the same host.
  ABSL_ATTRIBUTE_NOINLINE absl::Status RunInTurn(ConnectionPool* pool,
                                                 OriginKey key,
                                                 absl::Duration waited)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The same with what is left of the timeout since `begin`.
  absl::Status RunWithin(ConnectionPool* pool, OriginKey key, absl::Time begin)
      ABSL_LOCKS_EXCLUDED(mu_);
  // After a transfer: a name that was not found, or to which there was no
  // connection, leaves the share's cache.
  ABSL_ATTRIBUTE_NOINLINE void ForgetFailedName(CURLcode code)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Counts, for the share's statistics, what the transfer did to get its
  // connections. `begun`: libcurl has begun on it.
  void CountConnecting(bool begun);
  // What becomes of the multi handle after a transfer.
  // `blames_host`: a timeout tells something of where it went.
  void KeepOrGiveBack(ConnectionPool& pool, OriginKey key, CURLcode code,
                      bool alive, bool blames_host) ABSL_LOCKS_EXCLUDED(mu_);
  bool StartsWithHttp() const;
  OriginKey CurrentOrigin() const;

  // HandleHolder, HandleMembership.
  void WakePoll() final ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeavePool() final ABSL_LOCKS_EXCLUDED(mu_);
  void GiveBackConnections() final ABSL_LOCKS_EXCLUDED(mu_);

  // ConnectionKeeper.
  bool LetGo() final ABSL_LOCKS_EXCLUDED(mu_);
  void Surrender() final ABSL_LOCKS_EXCLUDED(mu_);

  // Owned. Written by the holder, under `mu_` so that others may look.
  MultiHandle* multi_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_H_
