// SPDX-License-Identifier: Apache-2.0
#include "curlshare/testing/lock_recorder.h"

#include <curl/curl.h>

#include <algorithm>
#include <set>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/synchronization/mutex.h"

namespace curlshare::testing {

std::vector<LockRecorder::Event> LockRecorder::events() const {
  absl::MutexLock lock(&mu_);
  return events_;
}

int LockRecorder::taken(curl_lock_data kind) const {
  absl::MutexLock lock(&mu_);
  return static_cast<int>(std::count_if(
      events_.begin(), events_.end(),
      [&](const Event& event) { return event.locked && event.kind == kind; }));
}

std::set<curl_lock_data> LockRecorder::kinds() const {
  absl::MutexLock lock(&mu_);
  std::set<curl_lock_data> kinds;
  for (const Event& event : events_) kinds.insert(event.kind);
  return kinds;
}

int LockRecorder::held() const {
  absl::MutexLock lock(&mu_);
  return held_;
}

void LockRecorder::Clear() {
  absl::MutexLock lock(&mu_);
  events_.clear();
}

void LockRecorder::BlockNext(curl_lock_data kind) {
  absl::MutexLock lock(&mu_);
  block_ = Block::kArmed;
  block_kind_ = kind;
}

void LockRecorder::WaitUntilBlocked() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &LockRecorder::IsBlocked));
}

void LockRecorder::Unblock() {
  absl::MutexLock lock(&mu_);
  block_ = Block::kNone;
}

void LockRecorder::OnLocked(curl_lock_data kind) noexcept {
  absl::MutexLock lock(&mu_);
  events_.push_back({kind, std::this_thread::get_id(), /*locked=*/true});
  ++held_;
  if (block_ == Block::kArmed && block_kind_ == kind) {
    block_ = Block::kBlocked;
    // Await releases mu_: other threads' events are recorded meanwhile.
    mu_.Await(absl::Condition(this, &LockRecorder::IsUnblocked));
  }
}

void LockRecorder::OnUnlocking(curl_lock_data kind) noexcept {
  absl::MutexLock lock(&mu_);
  events_.push_back({kind, std::this_thread::get_id(), /*locked=*/false});
  --held_;
}

}  // namespace curlshare::testing
