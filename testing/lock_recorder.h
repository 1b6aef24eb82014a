// SPDX-License-Identifier: Apache-2.0
// Records what a Share's lock callbacks do, and stops a thread inside one.
//
//   auto recorder = std::make_shared<LockRecorder>();
//   ShareOptions options;
//   options.lock_observer = recorder;
//   auto share = Share::Create(options);
//   ... transfer ...
//   EXPECT_GT(recorder->taken(CURL_LOCK_DATA_DNS), 0);
//   EXPECT_EQ(recorder->taken(CURL_LOCK_DATA_COOKIE), 0);
//
// To force an interleaving, BlockNext(kind) stops the next thread that locks
// `kind`, holding that lock, until Unblock():
//
//   recorder->BlockNext(CURL_LOCK_DATA_SHARE);
//   std::thread detacher([&] { easy.Detach().IgnoreError(); });
//   recorder->WaitUntilBlocked();  // it is now inside libcurl
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

// Safe for concurrent use.
class LockRecorder final : public LockObserver {
 public:
  struct Event {
    curl_lock_data kind;
    std::thread::id thread;
    bool locked;  // false: about to unlock
  };

  LockRecorder() = default;
  LockRecorder(const LockRecorder&) = delete;
  LockRecorder& operator=(const LockRecorder&) = delete;

  // All since the beginning or Clear(), in the order of the calls.
  std::vector<Event> events() const ABSL_LOCKS_EXCLUDED(mu_);
  // How often `kind` was locked; and the kinds that were.
  int taken(curl_lock_data kind) const ABSL_LOCKS_EXCLUDED(mu_);
  std::set<curl_lock_data> kinds() const ABSL_LOCKS_EXCLUDED(mu_);
  // Locks that have not been unlocked yet.
  int held() const ABSL_LOCKS_EXCLUDED(mu_);
  void Clear() ABSL_LOCKS_EXCLUDED(mu_);

  // Stops the next thread that locks `kind`. One at a time.
  void BlockNext(curl_lock_data kind) ABSL_LOCKS_EXCLUDED(mu_);
  // Returns when a thread has been stopped.
  void WaitUntilBlocked() ABSL_LOCKS_EXCLUDED(mu_);
  // Lets it go on, or no thread stop any more.
  void Unblock() ABSL_LOCKS_EXCLUDED(mu_);

  void OnLocked(curl_lock_data kind) noexcept override ABSL_LOCKS_EXCLUDED(mu_);
  void OnUnlocking(curl_lock_data kind) noexcept override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
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
