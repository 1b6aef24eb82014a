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

// The third of the three classes that make a Handle (see handle_holder.h): what
// a handle does for a transfer. It obtains a multi handle with connections,
// runs the transfer on it, and then keeps the multi handle or gives it back to
// the pool.
//
// A handle keeps its multi handle between transfers, so that the next transfer
// to the same origin touches nothing that other threads write. Meanwhile the
// pool may take the multi handle over for another handle. It does so in the way
// in which a close visits a handle: without waiting, and only while the handle
// is idle.
//
// Thread-safe, as HandleHolder. Owned as HandleHolder: by references.
class Handle : public HandleMembership {
 public:
  // Does not own `curl`, which must outlive Release(). Easy owns its CURL* and
  // overrides OwnsCurl().
  explicit Handle(CURL* curl) : HandleMembership(curl) {}
  ~Handle() override;

  // Enters for a transfer, calls `transfer`, and leaves. `transfer` gets the
  // time that Enter has waited for the gate. It is not called if Enter fails
  // (its error is returned), or if `token` is cancelled before (kCancelled).
  // kResourceExhausted: `token` has no memory.
  absl::Status RunEntered(
      const CancelToken* token,
      absl::FunctionRef<absl::Status(absl::Duration waited)> transfer)
      ABSL_LOCKS_EXCLUDED(mu_);

  // A whole transfer, on the calling thread. Ends with kCancelled once `token`,
  // if not null, is cancelled. Other errors: see Enter and TransferStatus.
  absl::Status Perform(const CancelToken* token = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);

  // The Status of a transfer that ended with `code`. kCancelled if the transfer
  // was told to end; it then failed for that reason. REQUIRES: the caller is
  // the holder.
  absl::Status TransferStatus(CURLcode code);

 protected:
  // REQUIRES, for the following: the caller is the holder.

  // The transfer itself, after Enter. CURLOPT_TIMEOUT_MS counts from the call
  // of Enter, which was `waited` ago.
  absl::Status Drive(absl::Duration waited) ABSL_LOCKS_EXCLUDED(mu_);

  // Hooks: what the handle's options say. libcurl has no call that reads an
  // option, so a raw handle has the defaults here, which assume the worst.
  static constexpr long kDefaultMaxConnects = 5;  // DEFAULT_CONNCACHE_SIZE
  // CURLMOPT_MAXCONNECTS for a multi handle that is not in the pool. The
  // default: as many connections as the share keeps idle.
  virtual long max_connects() const;
  virtual bool quick_exit() const { return false; }
  // CURLOPT_URL. Null: not known.
  virtual const char* url() const { return nullptr; }
  // Whether the handle has options by which libcurl cannot tell connections
  // apart (CURLOPT_SSL_CTX_FUNCTION, say), or which a connection keeps for its
  // life (socket callbacks). Such a handle uses no connection of others, and
  // lends none.
  virtual bool wants_own_connections() const { return false; }
  // A text that must be equal in all handles that use the same connections. It
  // stands for options that some versions of libcurl do not compare when they
  // choose a connection.
  virtual absl::string_view partition() const { return ""; }
  // Whether the handle can let go of its connections at any time, without
  // touching what belongs to its owner. If so, others may take them over while
  // it is idle.
  virtual bool CanLetGoLater() const { return false; }
  // Called before the handle lets go: saves what the owner may still ask for
  // and libcurl is about to forget. False if that is not possible.
  virtual bool SaveAnswers() { return true; }
  // If !CanLetGoLater(): whether the handle is to let go at the end of each
  // transfer instead.
  virtual bool LetsGoAtOnce() const { return true; }
  // Whether the handle might use an authentication that belongs to the
  // connection (Digest, NTLM, Negotiate).
  virtual bool MayAuthenticateConnections() const { return true; }
  // To be called when the answer of CanLetGoLater() has changed.
  void UpdateLends() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the handle connects to another host than that of its URL (a proxy,
  // CURLOPT_CONNECT_TO) where CURLINFO_USED_PROXY does not tell.
  virtual bool ConnectsElsewhere() const { return false; }
  // Called when libcurl has begun on the transfer (TransferSpec::begun).
  virtual void OnBegun() {}
  // How many names libcurl began to look up in the newest transfer. None: not
  // known.
  virtual std::optional<int> lookups() const { return std::nullopt; }

  // Frees the CURL*, if OwnsCurl(). The caller is the holder for the last time.
  // The multi handle is freed after the CURL*.
  virtual void FreeCurl() {}
  // Whether a paused transfer is to go on. True once for each request. The
  // thread that requests it calls WakeTransfer(), too.
  virtual bool TakeResumed() { return false; }
  // The Status for `code`, with more detail if the derived class knows more.
  virtual absl::Status MakeStatus(CURLcode code);
  // EasyStatus, or HttpErrorStatus for CURLE_HTTP_RETURNED_ERROR.
  absl::Status CodeStatus(CURLcode code, absl::string_view detail);

 private:
  class TokenListener;

  // REQUIRES, for the following: the caller is the holder.

  // Whether a byte of a request may have left in the newest transfer.
  bool MayHaveSent();
  // Detaches or frees the CURL*, and frees the multi handle. See HandleHolder.
  void ReleaseNow() final ABSL_LOCKS_EXCLUDED(mu_);
  // For a raw CURL* that must stay attached until its owner cleans it up, at a
  // time that this library cannot know. Whatever it needs until then is never
  // freed. Needs no memory.
  void KeepForever() ABSL_LOCKS_EXCLUDED(mu_);

  MultiHandle* HolderMulti() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return multi_;
  }
  void SetMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // SetMulti for a multi handle that this handle did not have before.
  void ChangeMulti(MultiHandle* multi) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the multi handle out of this handle. The caller owns it.
  std::unique_ptr<MultiHandle> TakeMulti() ABSL_LOCKS_EXCLUDED(mu_);
  // Makes sure that the handle keeps a multi handle for a transfer to `key`:
  // from `pool`, or one of its own if `pool` is null. If that replaces another,
  // `previous` gets the other one. It must not be given back before the
  // transfer has begun, which is when libcurl lets go of its connections. The
  // error is that of MultiHandle::Create, or kResourceExhausted.
  absl::Status ObtainMulti(ConnectionPool* pool, OriginKey key,
                           std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ObtainOwnMulti(std::unique_ptr<MultiHandle>& previous)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether to ask the pool for another multi handle than the one that is kept.
  // Closes the one that is kept if it must not be used any more.
  bool NeedsOther(ConnectionPool& pool, OriginKey key) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs the transfer on the multi handle that it obtains. `shortened`: the
  // transfer gets clearly less than its timeout, since it has waited.
  absl::Status RunOn(ConnectionPool* pool, OriginKey key,
                     bool shortened = false) ABSL_LOCKS_EXCLUDED(mu_);
  // For a transfer that has waited for the gate, or may have to wait for other
  // transfers to the same origin (max_transfers_per_host).
  ABSL_ATTRIBUTE_NOINLINE absl::Status RunInTurn(ConnectionPool* pool,
                                                 OriginKey key,
                                                 absl::Duration waited)
      ABSL_LOCKS_EXCLUDED(mu_);
  // RunOn, with the part of the timeout that is left since `begin`.
  absl::Status RunWithin(ConnectionPool* pool, OriginKey key, absl::Time begin)
      ABSL_LOCKS_EXCLUDED(mu_);
  // After a failed transfer. If the name was not found, or no connection to it
  // could be made, the name leaves the share's DNS cache.
  ABSL_ATTRIBUTE_NOINLINE void ForgetFailedName(CURLcode code)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Counts for the share's statistics the connections, look-ups and handshakes
  // of the transfer. `begun`: libcurl has begun on the transfer.
  void CountConnecting(bool begun);
  // After a transfer: keeps the multi handle, gives it back, or closes it.
  // `alive`: the last connection can be used again. `blames_host`: a timeout is
  // the host's fault, as the transfer had its full time.
  void KeepOrGiveBack(ConnectionPool& pool, OriginKey key, CURLcode code,
                      bool alive, bool blames_host) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the URL of the newest transfer began with "http", before redirects.
  bool StartsWithHttp() const;
  // The key of the origin that the next transfer goes to. 0: not known.
  OriginKey CurrentOrigin() const;

  // HandleHolder, HandleMembership.
  void WakePoll() final ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeavePool() final ABSL_LOCKS_EXCLUDED(mu_);
  void GiveBackConnections() final ABSL_LOCKS_EXCLUDED(mu_);

  // ConnectionKeeper.
  bool LetGo() final ABSL_LOCKS_EXCLUDED(mu_);
  void Surrender() final ABSL_LOCKS_EXCLUDED(mu_);

  // Owned. Written by the holder, and under `mu_`, so that other threads may
  // read it under `mu_`. Null until the first transfer.
  MultiHandle* multi_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_H_
