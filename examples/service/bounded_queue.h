// SPDX-License-Identifier: Apache-2.0
// A queue of limited size between threads.
//
//   BoundedQueue<std::string> queue(1024);
//   absl::Status pushed = queue.Push("a", absl::InfiniteFuture());
//   while (std::optional<std::string> value = queue.Pop()) ...
#ifndef FETCH_SERVICE_BOUNDED_QUEUE_H_
#define FETCH_SERVICE_BOUNDED_QUEUE_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace fetch_service {

// Thread-safe. What a thread did before Push happens before the Pop of that
// value returns.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t limit) : limit_(limit) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Adds a value. Waits for room; kDeadlineExceeded if there is none until
  // `deadline`, kFailedPrecondition if the queue is closed.
  absl::Status Push(T value, absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (!mu_.AwaitWithDeadline(
            absl::Condition(this, &BoundedQueue::MayReturnFromPush),
            deadline)) {
      return absl::DeadlineExceededError("the queue is full");
    }
    if (closed_) return absl::FailedPreconditionError("the queue is closed");
    values_.push_back(std::move(value));
    return absl::OkStatus();
  }

  // Waits for a value and returns it. nullopt once the queue is closed and
  // empty.
  std::optional<T> Pop() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(this, &BoundedQueue::MayReturnFromPop));
    if (values_.empty()) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

  // Closes the queue: Push fails from now on.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    closed_ = true;
  }

  // Closes the queue, removes the values that are left, and returns them.
  std::deque<T> CloseAndClear() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    return std::exchange(values_, {});
  }

 private:
  bool MayReturnFromPush() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return closed_ || values_.size() < limit_;
  }
  bool MayReturnFromPop() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return closed_ || !values_.empty();
  }

  const size_t limit_;
  absl::Mutex mu_;
  std::deque<T> values_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace fetch_service

#endif  // FETCH_SERVICE_BOUNDED_QUEUE_H_
