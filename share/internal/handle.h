// One CURL* that can be in a share: who uses it now, which CURLSH it is
// attached to, and the loop that transfers on it.
//
// A libcurl easy handle has no lock. Here at most one thread at a time is the
// handle's *holder*; only the holder may pass `curl_` to libcurl. A close
// makes itself the holder of idle handles to detach them, and leaves busy ones
// alone: those detach when their holder leaves.
//
//   mode_      | holder_   | Enter(kUse)   | Enter(kTransfer, kChange) | a
//   close
//   -----------+-----------+---------------+---------------------------+--------
//   idle       | nobody    | holds         | holds                     |
//   detaches use,change | caller    | nests         | FailedPrecondition |
//   leaves it
//              | other     | waits         | waits                     | leaves
//              it
//   transfer   | caller    | nests         | FailedPrecondition        | leaves
//   it,
//              | other     | FailedPrecon. | FailedPrecondition        | or
//              cancels
//
// The wait is for uses alone, which are short. Every Enter that succeeds is
// followed by one Leave on the same thread.
#ifndef CURLSHARE_SHARE_INTERNAL_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_HANDLE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// Safe for concurrent use as the table above says. Always owned by
// std::shared_ptr: a close, and a transfer, keep it alive while they need it.
class Handle : public ListNode, public std::enable_shared_from_this<Handle> {
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

  absl::Status Attach(const std::shared_ptr<ShareCore>& share)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);

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
  // an owned handle waits for that thread's next Leave.
  void Release() ABSL_LOCKS_EXCLUDED(mu_);

  // A close of `share`, which had this handle on its list a moment ago.
  void OnShareClosing(const ShareCore& share, bool cancel)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Null where the handle is not attached.
  std::shared_ptr<ShareCore> share() const ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  // The following need the caller to be the holder.

  // The transfer itself, once entered.
  absl::Status Drive() ABSL_LOCKS_EXCLUDED(mu_);

  // The connections that the handle keeps open: as for curl_easy_perform, its
  // own CURLOPT_MAXCONNECTS.
  absl::Status SetMaxConnects(long connections) ABSL_LOCKS_EXCLUDED(mu_);
  long max_connects() const { return max_connects_; }
  // libcurl's own default for an easy handle (DEFAULT_CONNCACHE_SIZE).
  static constexpr long kDefaultMaxConnects = 5;

  // Whether Release() is to free the CURL*, and how. The caller is the holder,
  // for the last time; the multi handle goes after it.
  virtual bool OwnsCurl() const { return false; }
  virtual void FreeCurl() {}
  // A better Status than the code alone gives.
  virtual absl::Status MakeStatus(CURLcode code);

  CURL* curl_;

 private:
  enum class Cancelled : uint8_t { kNo, kByCaller, kByClose };

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
  absl::Status MoveToNewest(const std::shared_ptr<ShareCore>& share)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status DetachNow() ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveShare() ABSL_LOCKS_EXCLUDED(mu_);
  void ReleaseNow() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status GetMulti(CURLM** multi) ABSL_LOCKS_EXCLUDED(mu_);

  mutable absl::Mutex mu_;
  ThreadToken holder_ ABSL_GUARDED_BY(mu_) = nullptr;
  int depth_ ABSL_GUARDED_BY(mu_) = 0;
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kIdle;
  bool release_requested_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<Cancelled> cancelled_{Cancelled::kNo};
  // Written by the holder, under `mu_` so that others may look.
  std::shared_ptr<ShareCore> share_ ABSL_GUARDED_BY(mu_);
  CURLM* multi_ ABSL_GUARDED_BY(mu_) = nullptr;
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;  // of `generation_`
  // The holder's alone:
  std::shared_ptr<const ShareHandle>
      generation_;  // what `curl_` is attached to
  long max_connects_ = kDefaultMaxConnects;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_HANDLE_H_
