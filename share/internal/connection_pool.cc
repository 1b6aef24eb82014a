// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/connection_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/share/internal/error.h"

namespace curlshare::internal {

// Invariants:
//  - A pooled MultiHandle is on `kept_` exactly while it has a keeper, and else
//    on `idle_`. Its connections are on the list of the same name of their
//    PoolOrigin.
//  - Nothing of libcurl's and nothing of the user's is called with `mu_` held:
//    what is to be closed is taken out of the lists first, then freed without
//    the mutex.
//  - The thread that closes or takes over a kept MultiHandle is its keeper's
//    holder meanwhile (ConnectionKeeper::TryHold). It never waits for that, so
//    that no circle of waiting threads can arise.
//  - `idle_weight_` and `kept_weight_` are the sums of Weight over the two
//    lists. `crowded_` says whether they exceed max_idle; it counts those in
//    use, too, so it may be true when there is nothing to close, but not the
//    other way round.
//  - The times and counters of a kept MultiHandle are written by its keeper's
//    holder without `mu_`, hence the atomics. Everything else of it that other
//    threads read is guarded by `mu_`.

namespace {

using Clock = std::chrono::steady_clock;
using Connection = MultiHandle::Connection;

// Saturates, so that no time exceeds InfiniteDuration.
int64_t Nanoseconds(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

void Increase(std::atomic<uint64_t>& counter, uint64_t by) {
  // No fetch_add: there is one writer at a time, see MultiHandle.
  counter.store(counter.load(std::memory_order_relaxed) + by,
                std::memory_order_relaxed);
}

void Prepend(ListNode* node, ListNode* list) { node->InsertBefore(list->next); }

}  // namespace

// A thread in BeginTransfer, on its stack. It is on two lists: its origin's, in
// order of arrival, until it gets a slot, and the pool's, until it has woken.
struct ConnectionPool::Waiter : ListNode {  // of the origin's list
  struct Link : ListNode {                  // of the pool's list
    absl::CondVar woken;
  } link;
  bool has_slot = false;
};

ConnectionPool::ConnectionPool(const ConnectionOptions& options)
    : options_(options),
      idle_timeout_(Nanoseconds(options.idle_timeout)),
      max_lifetime_(Nanoseconds(options.max_lifetime)) {}

ConnectionPool::~ConnectionPool() { Shut(); }

long ConnectionPool::max_connections_each() const {
  return std::clamp(options_.max_idle, 1, MultiHandle::kMaxConnections);
}

// ---- Origins

PoolOrigin* ConnectionPool::Find(OriginKey key) {
  const auto found = origins_.find(key);
  return found == origins_.end() ? nullptr : &found->second;
}

PoolOrigin* ConnectionPool::FindOrAdd(OriginKey key) {
  PoolOrigin* origin = nullptr;
  NoThrow("ConnectionPool", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // The caller has the mutex, which the analysis does not see in a lambda.
    origin = &origins_[key];
    return absl::OkStatus();
  }).IgnoreError();
  return origin;
}

void ConnectionPool::EraseIfUnused(OriginKey key) {
  const auto found = origins_.find(key);
  if (found == origins_.end()) return;
  const PoolOrigin& origin = found->second;
  // Otherwise a client that visits many hosts would collect them all.
  if (origin.connections == 0 && origin.transfers == 0 &&
      origin.waiters.empty()) {
    origins_.erase(found);
  }
}

// ---- Lists

void ConnectionPool::Link(MultiHandle* multi, ConnectionKeeper* keeper) {
  multi->keeper = keeper;
  ListNode* newer = keeper == nullptr ? &idle_ : &kept_;
  ListNode* const list = newer;
  if (keeper == nullptr) {
    // By last use. What comes back is the newest, as a rule, but not if a
    // handle has kept it for long.
    const int64_t used = multi->used.load(std::memory_order_relaxed);
    while (newer->next != list &&
           static_cast<MultiHandle*>(newer->next)
                   ->used.load(std::memory_order_relaxed) > used) {
      newer = newer->next;
    }
  }
  Prepend(multi, newer);
  (keeper == nullptr ? idle_weight_ : kept_weight_) += Weight(*multi);
  for (Connection& connection : multi->connections) {
    if (connection.key == 0) continue;
    Prepend(&connection, keeper == nullptr ? &connection.origin->idle
                                           : &connection.origin->kept);
  }
}

void ConnectionPool::Unlink(MultiHandle* multi) {
  (multi->keeper == nullptr ? idle_weight_ : kept_weight_) -= Weight(*multi);
  multi->ListNode::Remove();
  for (Connection& connection : multi->connections) {
    if (connection.key != 0) connection.Remove();
  }
}

void ConnectionPool::Insert(MultiHandle* multi, OriginKey key, int64_t now) {
  PoolOrigin* const origin = FindOrAdd(key);
  if (origin == nullptr) return;  // other handles will not find it
  if (multi->connection_count >= max_connections_each()) {
    // libcurl has closed one connection, too, the one that was idle for longest
    // (CURLMOPT_MAXCONNECTS, lib/conncache.c).
    Connection* oldest = nullptr;
    for (Connection& connection : multi->connections) {
      if (connection.key != 0 &&
          (oldest == nullptr ||
           connection.used.load(std::memory_order_relaxed) <
               oldest->used.load(std::memory_order_relaxed))) {
        oldest = &connection;
      }
    }
    if (oldest != nullptr) Erase(oldest);
  }
  Connection* const place = multi->Find(0);
  if (place == nullptr) return;
  kept_weight_ -= Weight(*multi);
  place->key = key;
  place->multi = multi;
  place->origin = origin;
  place->used.store(now, std::memory_order_relaxed);
  place->opened.store(now, std::memory_order_relaxed);
  ++origin->connections;
  ++multi->connection_count;
  Prepend(place, &origin->kept);
  kept_weight_ += Weight(*multi);
}

void ConnectionPool::Erase(Connection* connection) {
  MultiHandle* const multi = connection->multi;
  int& weight = multi->keeper == nullptr ? idle_weight_ : kept_weight_;
  weight -= Weight(*multi);
  connection->Remove();
  const OriginKey key = connection->key;
  connection->key = 0;
  --connection->origin->connections;
  --multi->connection_count;
  weight += Weight(*multi);
  EraseIfUnused(key);
}

void ConnectionPool::Forget(MultiHandle* multi, Reason reason) {
  const auto count = static_cast<uint64_t>(multi->connection_count);
  switch (reason) {
    case Reason::kIdle:
      stats_.closed_idle += count;
      break;
    case Reason::kOld:
      stats_.closed_old += count;
      break;
    case Reason::kOverCap:
      stats_.closed_over_cap += count;
      break;
    case Reason::kFailed:
      stats_.closed_failed += count;
      break;
    case Reason::kNone:
      break;
  }
  for (Connection& connection : multi->connections) {
    // Each Erase changes the weight that Unlink subtracts.
    if (connection.key != 0) Erase(&connection);
  }
  Unlink(multi);
  // From here on stats() does not find this MultiHandle on the lists.
  stats_.opened += multi->opened_count.exchange(0, std::memory_order_relaxed);
  stats_.reused += multi->reused_count.exchange(0, std::memory_order_relaxed);
  multi->keeper = nullptr;
  UpdateCrowded();
}

void ConnectionPool::UpdateCrowded() {
  const bool crowded = idle_weight_ + kept_weight_ > options_.max_idle;
  // Only stored if it changes, since every transfer reads this cache line.
  if (crowded != crowded_.load(std::memory_order_relaxed)) {
    crowded_.store(crowded, std::memory_order_relaxed);
  }
}

// ---- Lending

MultiHandle* ConnectionPool::IdleFor(PoolOrigin& origin,
                                     absl::string_view partition, int64_t now,
                                     MultiHandle** too_old) {
  for (ListNode* node = origin.idle.next; node != &origin.idle;
       node = node->next) {
    auto* const connection = static_cast<Connection*>(node);
    if (IsTooOld(*connection, now)) {
      *too_old = connection->multi;
    } else if (connection->multi->partition == partition) {
      return connection->multi;
    }
  }
  return nullptr;
}

MultiHandle* ConnectionPool::KeptFor(PoolOrigin& origin,
                                     absl::string_view partition,
                                     const MultiHandle* own, int64_t now) {
  for (ListNode* node = origin.kept.next; node != &origin.kept;
       node = node->next) {
    auto* const connection = static_cast<Connection*>(node);
    MultiHandle* const multi = connection->multi;
    // TryHold last, since it has an effect.
    if (multi != own && !IsTooOld(*connection, now) && !IsFlushed(*multi) &&
        multi->partition == partition &&
        multi->keeper->TryHold(ConnectionKeeper::Purpose::kLend)) {
      return multi;
    }
  }
  return nullptr;
}

MultiHandle* ConnectionPool::SpareFor(absl::string_view partition) {
  // One that was used long ago: its own hosts need it least. Only a few are
  // looked at, so that this takes no longer with many.
  int looked_at = 0;
  for (ListNode* node = idle_.prev; node != &idle_ && looked_at < 8;
       node = node->prev, ++looked_at) {
    auto* const multi = static_cast<MultiHandle*>(node);
    if (multi->connection_count < max_connections_each() &&
        multi->partition == partition) {
      return multi;
    }
  }
  return nullptr;
}

MultiHandle* ConnectionPool::Borrow(OriginKey key, absl::string_view partition,
                                    ConnectionKeeper* keeper,
                                    MultiHandle* own) {
  while (true) {
    MultiHandle* kept = nullptr;
    ConnectionKeeper* other = nullptr;
    std::unique_ptr<MultiHandle> closed;  // freed after the unlock
    {
      absl::MutexLock lock(&mu_);
      const int64_t now = CoarseNow();
      PoolOrigin* const origin = Find(key);
      MultiHandle* too_old = nullptr;
      MultiHandle* idle = origin == nullptr
                              ? nullptr
                              : IdleFor(*origin, partition, now, &too_old);
      if (too_old != nullptr) {
        Forget(too_old, WhyTooOld(*too_old, key, now));
        closed.reset(too_old);
        continue;
      }
      if (idle == nullptr && origin != nullptr) {
        kept = KeptFor(*origin, partition, own, now);
      }
      if (kept == nullptr) {
        if (idle == nullptr && own != nullptr) return own;
        if (idle == nullptr) idle = SpareFor(partition);
        if (idle == nullptr) return nullptr;
        Unlink(idle);
        Link(idle, keeper);
        UpdateCrowded();
        return idle;
      }
      other = kept->keeper;
    }
    // Without the mutex, since LetGo calls libcurl. Nobody else takes `kept`
    // meanwhile: this thread holds its keeper.
    const bool let_go = other->LetGo();
    if (let_go) {
      {
        absl::MutexLock lock(&mu_);
        Unlink(kept);
        Link(kept, keeper);
      }
      other->Surrender();
    }
    other->EndHold();
    if (let_go) return kept;
  }
}

void ConnectionPool::Add(MultiHandle* multi, ConnectionKeeper* keeper) {
  absl::MutexLock lock(&mu_);
  multi->pooled = true;
  multi->flushes = flushes_.load(std::memory_order_relaxed);
  Link(multi, keeper);
  UpdateCrowded();
}

void ConnectionPool::Remove(MultiHandle* multi) {
  absl::MutexLock lock(&mu_);
  Forget(multi, Reason::kNone);
  multi->pooled = false;
}

void ConnectionPool::Close(std::unique_ptr<MultiHandle> multi, Reason reason) {
  absl::MutexLock lock(&mu_);
  Forget(multi.get(), reason);
  // `multi` is freed after the unlock.
}

void ConnectionPool::GiveBack(std::unique_ptr<MultiHandle> multi) {
  {
    absl::MutexLock lock(&mu_);
    if (IsFlushed(*multi)) {
      // Its connections were not to be used any more.
      Forget(multi.get(), Reason::kIdle);
    } else if (!shut_) {
      Unlink(multi.get());
      Link(multi.release(), nullptr);
      UpdateCrowded();
    } else {
      Forget(multi.get(), Reason::kNone);
    }
  }
  multi.reset();
  if (crowded_.load(std::memory_order_relaxed)) (void)Trim(nullptr);
  SweepIfDue();
}

// ---- Closing

ConnectionPool::Reason ConnectionPool::WhyTooOld(MultiHandle& multi,
                                                 OriginKey key,
                                                 int64_t now) const {
  const Connection* const connection = key == 0 ? nullptr : multi.Find(key);
  if (connection == nullptr) return Reason::kNone;
  if (now - connection->used.load(std::memory_order_relaxed) > idle_timeout_) {
    return Reason::kIdle;
  }
  return IsTooOld(*connection, now) ? Reason::kOld : Reason::kNone;
}

bool ConnectionPool::OnTransferEnd(MultiHandle& multi, OriginKey key,
                                   long opened, bool redirected, bool alive) {
  const int64_t now = CoarseNow();
  multi.used.store(now, std::memory_order_relaxed);
  if (opened > 0) {
    Increase(multi.opened_count, static_cast<uint64_t>(opened));
  } else if (alive || key != 0) {
    // The connection was used, whether it lives on or its server has closed it.
    Increase(multi.reused_count, 1);
  }
  Connection* const connection = key == 0 ? nullptr : multi.Find(key);
  if (ABSL_PREDICT_TRUE(alive && connection != nullptr)) {
    connection->used.store(now, std::memory_order_relaxed);
    if (opened > 0 && !redirected) {
      connection->opened.store(now, std::memory_order_relaxed);
    }
  } else if (key != 0 && (alive || connection != nullptr)) {
    // Only a change of which connections there are needs the mutex.
    absl::MutexLock lock(&mu_);
    if (alive) {
      Insert(&multi, key, now);
    } else {
      Erase(connection);
    }
    UpdateCrowded();
  }
  if (ABSL_PREDICT_FALSE(now > next_sweep_.load(std::memory_order_relaxed))) {
    SweepIfDue();
  }
  return ABSL_PREDICT_TRUE(!crowded_.load(std::memory_order_relaxed)) ||
         Trim(&multi);
}

void ConnectionPool::Note(MultiHandle& multi, OriginKey key) {
  const int64_t now = CoarseNow();
  if (key == 0) return;
  if (Connection* const connection = multi.Find(key); connection != nullptr) {
    connection->used.store(now, std::memory_order_relaxed);
    return;
  }
  absl::MutexLock lock(&mu_);
  Insert(&multi, key, now);
  UpdateCrowded();
}

void ConnectionPool::CloseHeld(MultiHandle* multi, ConnectionKeeper* keeper) {
  // In this order: a keeper never has a MultiHandle that was freed.
  if (keeper != nullptr) keeper->Surrender();
  delete multi;
  if (keeper != nullptr) keeper->EndHold();
}

MultiHandle* ConnectionPool::HoldOldest(int64_t until) {
  while (true) {
    MultiHandle* const oldest = FindOldest(until);
    if (oldest == nullptr || oldest->keeper == nullptr ||
        oldest->keeper->TryHold(ConnectionKeeper::Purpose::kClose)) {
      return oldest;
    }
    // It came into use after FindOldest looked, which does not find it again.
  }
}

MultiHandle* ConnectionPool::FindOldest(int64_t until) {
  MultiHandle* oldest = nullptr;
  if (!idle_.empty()) {
    auto* const last = static_cast<MultiHandle*>(idle_.prev);
    if (last->used.load(std::memory_order_relaxed) <= until) oldest = last;
  }
  for (ListNode* node = kept_.next; node != &kept_; node = node->next) {
    auto* const multi = static_cast<MultiHandle*>(node);
    const int64_t used = multi->used.load(std::memory_order_relaxed);
    if (used <= until && multi->keeper->CanHold() &&
        (oldest == nullptr ||
         used < oldest->used.load(std::memory_order_relaxed))) {
      oldest = multi;
    }
  }
  return oldest;
}

int ConnectionPool::CountIdle(const MultiHandle* self) const {
  // Each kept one is asked, so that the cap does not count those in use. Only
  // done when `crowded_`.
  int count = idle_weight_;
  for (const ListNode* node = kept_.next; node != &kept_; node = node->next) {
    const auto* const multi = static_cast<const MultiHandle*>(node);
    if (multi == self || multi->over.load(std::memory_order_relaxed) ||
        !multi->keeper->IsHeld()) {
      count += Weight(*multi);
    }
  }
  return count;
}

bool ConnectionPool::Trim(MultiHandle* self) {
  while (true) {
    MultiHandle* victim = nullptr;
    ConnectionKeeper* keeper = nullptr;
    {
      absl::MutexLock lock(&mu_);
      if (CountIdle(self) <= options_.max_idle) {
        // From here on other threads count `self` as idle, though its keeper is
        // held for a moment yet.
        if (self != nullptr) self->over.store(true, std::memory_order_relaxed);
        return true;
      }
      victim = HoldOldest(std::numeric_limits<int64_t>::max());
      if (victim == nullptr) return self == nullptr;
      keeper = victim->keeper;
      Forget(victim, Reason::kOverCap);
    }
    CloseHeld(victim, keeper);
  }
}

void ConnectionPool::SweepIfDue() {
  if (options_.idle_timeout == absl::InfiniteDuration()) return;
  {
    absl::MutexLock lock(&mu_);
    const int64_t now = CoarseNow();
    // An idle one that is too old is seen at once. To look through the kept
    // ones takes longer, so that is done four times in each period.
    const bool idle_is_due =
        !idle_.empty() && now - static_cast<MultiHandle*>(idle_.prev)
                                      ->used.load(std::memory_order_relaxed) >
                              idle_timeout_;
    if (!idle_is_due && now < next_sweep_.load(std::memory_order_relaxed)) {
      return;
    }
    next_sweep_.store(now + idle_timeout_ / 4, std::memory_order_relaxed);
  }
  (void)CloseIdle(options_.idle_timeout);
}

size_t ConnectionPool::CloseIdle(absl::Duration older_than) {
  size_t closed = 0;
  const int64_t until =
      CoarseNow() - Nanoseconds(std::max(older_than, absl::ZeroDuration()));
  while (true) {
    MultiHandle* multi = nullptr;
    ConnectionKeeper* keeper = nullptr;
    {
      absl::MutexLock lock(&mu_);
      multi = HoldOldest(until);
      if (multi == nullptr) return closed;
      keeper = multi->keeper;
      closed += static_cast<size_t>(multi->connection_count);
      Forget(multi, Reason::kIdle);
    }
    CloseHeld(multi, keeper);
  }
}

void ConnectionPool::Flush() {
  {
    // First the count: what comes back, or is used next, after that is closed.
    absl::MutexLock lock(&mu_);
    flushes_.store(flushes_.load(std::memory_order_relaxed) + 1,
                   std::memory_order_release);
  }
  (void)CloseIdle(absl::ZeroDuration());
}

void ConnectionPool::CloseIdleTo(OriginKey key) {
  while (true) {
    MultiHandle* found = nullptr;
    ConnectionKeeper* keeper = nullptr;
    {
      absl::MutexLock lock(&mu_);
      PoolOrigin* const origin = Find(key);
      if (origin == nullptr) return;
      if (!origin->idle.empty()) {
        found = static_cast<Connection*>(origin->idle.next)->multi;
      }
      for (ListNode* node = origin->kept.next;
           found == nullptr && node != &origin->kept; node = node->next) {
        MultiHandle* const multi = static_cast<Connection*>(node)->multi;
        if (multi->keeper->TryHold(ConnectionKeeper::Purpose::kClose)) {
          found = multi;
        }
      }
      if (found == nullptr) return;
      keeper = found->keeper;
      Forget(found, Reason::kFailed);
    }
    CloseHeld(found, keeper);
  }
}

void ConnectionPool::TakeNothing() {
  absl::MutexLock lock(&mu_);
  shut_ = true;
}

void ConnectionPool::Shut() {
  TakeNothing();
  CloseAllIdle();
}

void ConnectionPool::CloseAllIdle() {
  while (true) {
    MultiHandle* multi = nullptr;
    {
      absl::MutexLock lock(&mu_);
      if (idle_.empty()) return;
      multi = static_cast<MultiHandle*>(idle_.next);
      Forget(multi, Reason::kNone);
    }
    CloseHeld(multi, nullptr);
  }
}

void ConnectionPool::Open() {
  absl::MutexLock lock(&mu_);
  shut_ = false;
}

// ---- Limits on transfers

ConnectionPool::Slot ConnectionPool::BeginTransfer(
    OriginKey key, absl::Time deadline, absl::FunctionRef<bool()> cancelled) {
  absl::MutexLock lock(&mu_);
  PoolOrigin* const origin = FindOrAdd(key);
  // Without memory nobody is counted, so nobody waits.
  if (origin == nullptr) return Slot::kUncounted;
  if (origin->transfers < options_.max_transfers_per_host) {
    ++origin->transfers;
    return Slot::kHave;
  }
  const Clock::time_point since = Clock::now();
  Waiter self;
  self.InsertBefore(&origin->waiters);
  // `origin` stays where it is: it is not erased while it has transfers or
  // waiters, and the map does not move it.
  self.link.InsertBefore(&waiters_);
  bool expired = false;
  while (!self.has_slot && !expired && !cancelled()) {
    expired = self.link.woken.WaitWithDeadline(&mu_, deadline);
  }
  self.link.Remove();
  const absl::Duration waited = absl::FromChrono(Clock::now() - since);
  ++stats_.waited;
  stats_.total_wait += waited;
  stats_.longest_wait = std::max(stats_.longest_wait, waited);
  if (self.has_slot) return Slot::kHave;
  self.Remove();
  return expired ? Slot::kTimedOut : Slot::kCancelled;
}

bool ConnectionPool::HasWaiters(OriginKey key) {
  absl::MutexLock lock(&mu_);
  const PoolOrigin* const origin = Find(key);
  return origin != nullptr && !origin->waiters.empty();
}

void ConnectionPool::EndTransfer(OriginKey key) {
  absl::MutexLock lock(&mu_);
  PoolOrigin* const origin = Find(key);
  if (origin == nullptr || origin->transfers == 0) return;
  if (origin->waiters.empty()) {
    --origin->transfers;
    EraseIfUnused(key);
    return;
  }
  // The slot is handed over, so that nobody who comes later takes it. The
  // number of transfers stays the same.
  auto* const first = static_cast<Waiter*>(origin->waiters.next);
  first->Remove();
  first->has_slot = true;
  first->link.woken.Signal();
}

void ConnectionPool::WakeWaiters() {
  absl::MutexLock lock(&mu_);
  for (ListNode* node = waiters_.next; node != &waiters_; node = node->next) {
    static_cast<Waiter::Link*>(node)->woken.Signal();
  }
}

ConnectionStats ConnectionPool::stats() const {
  absl::MutexLock lock(&mu_);
  ConnectionStats stats = stats_;
  const auto add = [&stats](const ListNode* list) {
    for (const ListNode* node = list->next; node != list; node = node->next) {
      const auto* const multi = static_cast<const MultiHandle*>(node);
      stats.opened += multi->opened_count.load(std::memory_order_relaxed);
      stats.reused += multi->reused_count.load(std::memory_order_relaxed);
      if (multi->keeper != nullptr && multi->keeper->IsHeld()) {
        ++stats.in_use;
      } else {
        stats.idle += static_cast<size_t>(multi->connection_count);
      }
    }
  };
  add(&idle_);
  add(&kept_);
  return stats;
}

}  // namespace curlshare::internal
