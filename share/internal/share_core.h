// What lives behind a Share for as long as anything is attached to it.
//
// Invariants:
//  - A Handle is on one of the two lists exactly while its `share_` is this
//    core or it is on its way in or out; `attached_` counts them.
//  - Once `closing` is in `epoch_`, the lists only shrink.
//  - Nothing of libcurl and nothing of the user is called with `mu_` held.
//  - `current_` is null exactly once the core has finished, or is about to:
//    who takes it out frees it, outside `mu_`, then sets `finished_`.
//
// Lock order: reconfigure_mu_ -> mu_. A Handle's own mutex is never held
// together with `mu_`.
#ifndef CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_
#define CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare {

class Share;

namespace internal {

class Handle;

// A link of a circular list with a sentinel.
struct ListNode {
  ListNode() : prev(this), next(this) {}
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  bool empty() const { return next == this; }
  void InsertBefore(ListNode* position) {
    prev = position->prev;
    next = position;
    prev->next = this;
    next->prev = this;
  }
  void Remove() {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  // Moves all of `other`, a sentinel too, to this list's end.
  void TakeAll(ListNode* other) {
    if (other->empty()) return;
    other->next->prev = prev;
    prev->next = other->next;
    other->prev->next = this;
    prev = other->prev;
    other->prev = other->next = other;
  }

  ListNode* prev;
  ListNode* next;
};

// A CURLSH and the epoch that it belongs to.
struct Generation {
  std::shared_ptr<const ShareHandle> handle;
  uint64_t epoch = 0;
};

// Safe for concurrent use.
class ShareCore {
 public:
  // `facade` is what Easy::share() answers while that object lives.
  ShareCore(Share* facade, bool detach_on_close,
            std::shared_ptr<KindLocks> locks,
            std::shared_ptr<const ShareHandle> first);
  ShareCore(const ShareCore&) = delete;
  ShareCore& operator=(const ShareCore&) = delete;

  // Changes whenever attached handles have something to do at their next
  // transfer boundary. The only thing that a transfer reads of its share.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  static bool IsClosing(uint64_t epoch) { return (epoch & kClosingBit) != 0; }

  // Takes `handle` in and says what to attach it to. kFailedPrecondition where
  // the share is closing or closed.
  absl::StatusOr<Generation> Link(Handle* handle) ABSL_LOCKS_EXCLUDED(mu_);
  // Lets `handle` go; it holds no ShareHandle of this share any more. The last
  // one out of a share that is closing frees the CURLSH.
  void Unlink(Handle* handle) ABSL_LOCKS_EXCLUDED(mu_);
  // What to move to; `handle` is null where the share has finished.
  Generation Newest() const ABSL_LOCKS_EXCLUDED(mu_);

  // See Share for the following.
  absl::Status Close(absl::Time deadline, bool cancel) ABSL_LOCKS_EXCLUDED(mu_);
  void Abandon() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ChangeKinds(LockDataSet add, LockDataSet remove)
      ABSL_LOCKS_EXCLUDED(mu_, reconfigure_mu_);
  LockDataSet kinds() const ABSL_LOCKS_EXCLUDED(mu_);
  size_t attached() const ABSL_LOCKS_EXCLUDED(mu_);
  bool closed() const ABSL_LOCKS_EXCLUDED(mu_);
  Share* facade() const ABSL_LOCKS_EXCLUDED(mu_);

  uint64_t id() const { return id_; }
  bool detach_on_close() const { return detach_on_close_; }
  const KindLocks& locks() const { return *locks_; }
  // "share #3"
  std::string name() const;

 private:
  static constexpr uint64_t kClosingBit = 1;
  static constexpr uint64_t kGenerationStep = 2;

  enum class State { kOpen, kClosing, kClosed };

  absl::Status CheckOpen() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void BeginClosing(bool cancel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Detaches every idle handle, and has those in transfer cancelled if a close
  // asked for that. O(attached), allocates nothing.
  void VisitAttached() ABSL_LOCKS_EXCLUDED(mu_);
  // Frees the newest CURLSH where nothing needs it any more.
  void FinishIfEmpty() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsClosed() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return state_ == State::kClosed;
  }

  const uint64_t id_;
  const bool detach_on_close_;
  const std::shared_ptr<KindLocks> locks_;

  // Apart from `mu_`, which attach and detach write: transfers read it.
  alignas(ABSL_CACHELINE_SIZE) std::atomic<uint64_t> epoch_{0};

  // Serialises ChangeKinds, which must create a CURLSH without `mu_`.
  alignas(ABSL_CACHELINE_SIZE) absl::Mutex reconfigure_mu_
      ABSL_ACQUIRED_BEFORE(mu_);
  mutable absl::Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kOpen;
  // The Share has gone in strict mode: finish when the last handle leaves.
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  bool cancel_ ABSL_GUARDED_BY(mu_) = false;  // a close wants transfers ended
  Share* facade_ ABSL_GUARDED_BY(mu_);
  size_t attached_ ABSL_GUARDED_BY(mu_) = 0;
  ListNode unvisited_ ABSL_GUARDED_BY(mu_);  // all, until a close begins
  ListNode visited_ ABSL_GUARDED_BY(mu_);    // seen by the close under way
  std::shared_ptr<const ShareHandle> current_ ABSL_GUARDED_BY(mu_);
};

}  // namespace internal
}  // namespace curlshare

#endif  // CURLSHARE_SHARE_INTERNAL_SHARE_CORE_H_
