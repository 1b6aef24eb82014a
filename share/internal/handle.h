// One CURL* that can be in a share: who uses it now, which CURLSH it is
// attached to, and the loop that transfers on it.
//
// A libcurl easy handle has no lock. Here at most one thread at a time is the
// handle's *holder*; only the holder may pass `curl_` to libcurl. A close
// makes itself the holder of idle handles to detach them, and leaves busy ones
// alone: those detach when their holder leaves.
//
// clang-format off
//   mode_      | holder_   | Enter(kUse)   | Enter(kTransfer, kChange) | a close
//   -----------+-----------+---------------+---------------------------+----------
//   idle       | nobody    | holds         | holds                     | detaches
//   use,change | caller    | nests         | FailedPrecondition        | leaves it
//              | other     | waits         | waits                     | leaves it
//   transfer   | caller    | nests         | FailedPrecondition        | leaves it,
//              | other     | FailedPrecon. | FailedPrecondition        | or cancels
// clang-format on
//
// The wait is for uses alone, which are short. Every Enter that succeeds is
// followed by one Leave on the same thread.
//
// Where the handle is attached to a gated generation (see share_core.h), who
// becomes its holder is inside the gate first, and until it leaves, but for the
// poll of a transfer. In that order: who waits for the gate holds nothing that
// a callback inside may want.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// Safe for concurrent use as the table above says. Always owned by RefPtrs: a
// close, and a transfer, keep it alive while they need it.
class Handle : public ListNode, public RefCounted {
 public:
  enum class Mode : uint8_t {
    kIdle,
    kUse,       // reading or setting options
    kTransfer,  // between begin and end of a transfer
    kChange,    // attaching, detaching, releasing
  };

  // `curl` is not owned: it outlives Release(). Easy overrides that.
  explicit Handle(CURL* curl) : curl_(curl) {}
  virtual ~Handle();

  // REQUIRES: the caller is the holder, or needs the address alone.
  CURL* curl() const { return curl_; }

  // Makes the caller the holder. kTransfer moves the handle to its share's
  // newest CURLSH first, or out of a share that is closing.
  absl::Status Enter(Mode mode) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the newest Enter; detaches where the share is closing, releases where
  // the owner has gone.
  void Leave() ABSL_LOCKS_EXCLUDED(mu_);

  absl::Status Attach(const RefPtr<ShareCore>& share) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);

  // Whether it is attached to a gated generation. REQUIRES: as for curl().
  bool gated() const ABSL_LOCKS_EXCLUDED(mu_);

  // A whole transfer, on a multi handle of this handle's own.
  absl::Status Perform() ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the transfer under way, if there is one: true then.
  bool Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // For progress callbacks. Lock-free.
  bool cancelled() const {
    return cancelled_.load(std::memory_order_acquire) != Cancelled::kNo;
  }
  // The Status of a transfer that ended with `code`, or was cancelled.
  absl::Status TransferStatus(CURLcode code);

  // The owner has gone. Lets go of the share and, where it is owned, of the
  // CURL*: at once, or when the use or transfer in progress ends. Inside a
  // callback that runs under a share's lock, where detaching could deadlock,
  // an owned handle waits for that thread's next Leave; so it does inside the
  // gate of another share, unless the own one is free.
  void Release() ABSL_LOCKS_EXCLUDED(mu_);

  // Frees what deferred releases have left on this thread, if it may now. To be
  // called wherever a thread leaves what it could have been called back from.
  static void ReleaseDeferred() {
    if (GetThisThread().deferred != nullptr) ReleaseAllDeferred();
  }

  // A close of `share`, which had this handle on its list a moment ago.
  void OnShareClosing(ShareCore& share, bool cancel) ABSL_LOCKS_EXCLUDED(mu_);

  // Null where the handle is not attached.
  RefPtr<ShareCore> share() const ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  // The following need the caller to be the holder.

  // The transfer itself, once entered.
  absl::Status Drive() ABSL_LOCKS_EXCLUDED(mu_);

  // Sets what the shared kinds ask of the handle: the cookie engine on, and
  // CURLOPT_PIPEWAIT off. That would wait for a connection which another handle
  // is opening, and of which only that one's multi handle would hear: for ever
  // (seen on 7.88.1 and 8.14.1). After attaching, and after curl_easy_reset.
  absl::Status PrepareForKinds() ABSL_LOCKS_EXCLUDED(mu_);
  // libcurl puts the addresses of CURLOPT_RESOLVE into the DNS cache once, at
  // the first transfer: with another share, or none, they have to be given
  // again. That of a raw handle is its owner's to set.
  virtual void ReloadResolve() {}
  // Whether the CURLSH that the handle is attached to shares `kind`.
  bool Shares(LockData kind) const;

  // What the handle's options say, which cannot be read: of a raw handle,
  // libcurl's defaults (DEFAULT_CONNCACHE_SIZE).
  static constexpr long kDefaultMaxConnects = 5;
  virtual long max_connects() const { return kDefaultMaxConnects; }
  virtual bool quick_exit() const { return false; }
  // Turns the cookie engine on. libcurl keeps a list of what this option was
  // given: who knows that it is on already, does nothing.
  virtual CURLcode TurnCookiesOn();

  // Whether Release() is to free the CURL*, and how. The caller is the holder,
  // for the last time; the multi handle goes after it.
  virtual bool OwnsCurl() const { return false; }
  virtual void FreeCurl() {}
  // A better Status than the code alone gives.
  virtual absl::Status MakeStatus(CURLcode code);

 private:
  enum class Cancelled : uint8_t { kNo, kByCaller, kByClose };

  enum class Admission : uint8_t {
    kNested,       // the caller is the holder already
    kHolder,       // it is now; and inside the gate where that is needed
    kStaleHolder,  // so too, but its share has changed or is closing
    kBusy,         // another thread transfers
    kForeignGate,  // it would have to wait inside another share's gate
  };

  // Makes the caller the holder if that can be. `refusal` tells of
  // kForeignGate. `release` asks for a release, which cannot fail: it happens
  // here, or when the use or transfer in progress ends; kForeignGate is then
  // only where the gate is occupied.
  Admission Admit(Mode mode, bool release, absl::Status& refusal)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Where somebody has to be waited for, or a gate to be entered.
  ABSL_ATTRIBUTE_NOINLINE Admission AdmitSlowly(Mode mode, bool release,
                                                absl::Status& refusal)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The share whose gate a holder has to be inside; null if none.
  ShareCore* GateFor(Mode mode) const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (share_ == nullptr) return nullptr;
    // To move to another generation, either of which may be gated.
    const bool moves = mode == Mode::kTransfer && IsStale();
    return gated_ || (moves && share_->may_be_gated()) ? share_.get() : nullptr;
  }
  bool IsStale() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return share_ != nullptr && share_->epoch() != epoch_;
  }
  absl::Status AlreadyAttached() const ABSL_LOCKS_EXCLUDED(mu_);
  void Defer();
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseAllDeferred();
  void DropMulti() ABSL_LOCKS_EXCLUDED(mu_);

  void CancelLocked(Cancelled by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsFree() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return holder_ == nullptr || mode_ == Mode::kTransfer;
  }
  void BecomeHolder(Mode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BecomeIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ShareIsClosing() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return share_ != nullptr && ShareCore::IsClosing(share_->epoch());
  }

  // The following need the caller to be the holder.
  absl::Status PrepareTransfer() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MoveToNewest(ShareCore& share) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status DetachNow() ABSL_LOCKS_EXCLUDED(mu_);
  CURLcode SetShare(CURLSH* share);
  // From libcurl 8.21 on, a handle and the connections that it has opened count
  // references to one record of the peer (struct Curl_peer), not atomically. A
  // handle that leaves a share of connections, which stay there for others to
  // use and to close, has to let go of its own while it is still inside the
  // gate: its next transfer, or curl_easy_cleanup, will not be. So does its
  // multi handle. This costs a CURL* its CURLOPT_RESOLVE, which an Easy gives
  // again.
  void LeaveConnections() ABSL_LOCKS_EXCLUDED(mu_);
  // A transfer that its options end before it begins; what it ended with.
  CURLcode FailTransfer(CURLM* multi);
  bool HasPeers() const ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveShare() ABSL_LOCKS_EXCLUDED(mu_);
  void ReleaseNow() ABSL_LOCKS_EXCLUDED(mu_);
  // For a CURL* that stays attached until its owner cleans it up, at a time
  // that nobody can know: what it needs until then is never freed. Needs no
  // memory.
  void KeepForever() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status AttachInGate(const RefPtr<ShareCore>& share, bool in_gate,
                            bool* try_again) ABSL_LOCKS_EXCLUDED(mu_);
  // The last Leave, where there is more to do than to become idle; `release`
  // says that a release has been asked for.
  ABSL_ATTRIBUTE_NOINLINE void LeaveSlowly(bool release)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status GetMulti(CURLM** multi) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ApplyMaxConnects(CURLM* multi) ABSL_LOCKS_EXCLUDED(mu_);

  friend RefPtr<Handle> EnterAttached(Handle*);
  friend void LeaveAttached(Handle*);

  // In an order that leaves no gaps: there may be very many handles.
  std::atomic<Cancelled> cancelled_{Cancelled::kNo};
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kIdle;
  bool release_requested_ ABSL_GUARDED_BY(mu_) = false;
  bool gated_ ABSL_GUARDED_BY(mu_) = false;  // `generation_` is

 protected:
  CURL* curl_;  // the holder's

 private:
  mutable absl::Mutex mu_;
  ThreadToken holder_ ABSL_GUARDED_BY(mu_) = nullptr;
  // The following are written by the holder, under `mu_` so that others may
  // look.
  RefPtr<ShareCore> share_ ABSL_GUARDED_BY(mu_);
  CURLM* multi_ ABSL_GUARDED_BY(mu_) = nullptr;
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;  // of `generation_`
  int depth_ ABSL_GUARDED_BY(mu_) = 0;
  // The holder's alone.
  int applied_max_connects_ = -1;  // what the multi handle has
  std::shared_ptr<const ShareHandle>
      generation_;          // what `curl_` is attached to
  RefPtr<ShareCore> gate_;  // what Admit has entered; null if none
  // Links of the table of attached handles, and of ThisThread::deferred or, at
  // the very end, of what is kept for ever.
  Handle* next_attached_ = nullptr;
  Handle* next_deferred_ = nullptr;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_H_
