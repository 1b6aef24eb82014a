// SPDX-License-Identifier: Apache-2.0
// Records what the lock callbacks of a Share do. Can also block a thread inside
// a lock callback, to force an interleaving.
//
//   auto recorder = std::make_shared<LockRecorder>();
//   ShareOptions options;
//   options.lock_observer = recorder;
//   auto share = Share::Create(options);
//   ... transfer ...
//   EXPECT_GT(recorder->taken(CURL_LOCK_DATA_DNS), 0);
//   EXPECT_EQ(recorder->taken(CURL_LOCK_DATA_COOKIE), 0);
//
// BlockNext(kind) blocks the next thread that locks `kind`, while that thread
// holds the lock, until Unblock():
//
//   recorder->BlockNext(CURL_LOCK_DATA_SHARE);
//   std::thread detacher([&] { easy.Detach().IgnoreError(); });
//   recorder->WaitUntilBlocked();  // `detacher` is now inside libcurl
//   ... what is to happen meanwhile ...
//   recorder->Unblock();
//
// testonly; usable by consumers' tests.
#ifndef CURLSHARE_TESTING_LOCK_RECORDER_H_
#define CURLSHARE_TESTING_LOCK_RECORDER_H_

#include <curl/curl.h>

#include <set>
#include <thread>  // NOLINT(build/c++11): std::thread::id
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/kind_locks.h"

namespace curlshare::testing {

// A LockObserver for ShareOptions::lock_observer. The test and the Share own it
// together (std::shared_ptr). Thread-safe.
class LockRecorder final : public LockObserver {
 public:
  // One call of a lock callback. Thread-compatible: a plain value.
  struct Event {
    curl_lock_data kind;
    std::thread::id thread;
    bool locked;  // false: about to unlock
  };

  LockRecorder() = default;
  LockRecorder(const LockRecorder&) = delete;
  LockRecorder& operator=(const LockRecorder&) = delete;

  // Returns all events since the creation or the last Clear(), in the order of
  // the calls.
  std::vector<Event> events() const ABSL_LOCKS_EXCLUDED(mu_);
  // Returns how often those events locked `kind`.
  int taken(curl_lock_data kind) const ABSL_LOCKS_EXCLUDED(mu_);
  // Returns the kinds that occur in those events.
  std::set<curl_lock_data> kinds() const ABSL_LOCKS_EXCLUDED(mu_);
  // Returns the number of locks that are held now. Clear() does not change it.
  int held() const ABSL_LOCKS_EXCLUDED(mu_);
  // Forgets the events.
  void Clear() ABSL_LOCKS_EXCLUDED(mu_);

  // Blocks the next thread that locks `kind`, once. Only one thread can be
  // blocked at a time.
  void BlockNext(curl_lock_data kind) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits until BlockNext has blocked a thread. Has no deadline.
  void WaitUntilBlocked() ABSL_LOCKS_EXCLUDED(mu_);
  // Continues the thread that is blocked. If none is blocked yet, cancels the
  // BlockNext.
  void Unblock() ABSL_LOCKS_EXCLUDED(mu_);

  // LockObserver.
  void OnLocked(curl_lock_data kind) noexcept override ABSL_LOCKS_EXCLUDED(mu_);
  void OnUnlocking(curl_lock_data kind) noexcept override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // kArmed: after BlockNext. kBlocked: a thread is blocked in OnLocked.
  enum class Block { kNone, kArmed, kBlocked };

  bool IsBlocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return block_ == Block::kBlocked;
  }
  bool IsUnblocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return block_ == Block::kNone;
  }

  mutable absl::Mutex mu_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mu_);
  int held_ ABSL_GUARDED_BY(mu_) = 0;
  Block block_ ABSL_GUARDED_BY(mu_) = Block::kNone;
  curl_lock_data block_kind_ ABSL_GUARDED_BY(mu_) = CURL_LOCK_DATA_NONE;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_LOCK_RECORDER_H_
