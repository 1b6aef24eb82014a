// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/kind_locks.h"

#include <curl/curl.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/base/optimization.h"
#include "absl/time/time.h"

namespace curlshare {
namespace {

using internal::GetThisThread;

// curl_share_setopt is variadic: nothing else would notice a wrong prototype
// (curl issue 8573).
static_assert(
    std::is_convertible_v<decltype(&KindLocks::Lock), curl_lock_function>);
static_assert(
    std::is_convertible_v<decltype(&KindLocks::Unlock), curl_unlock_function>);

// For figures with one writer at a time.
template <typename T>
void Add(std::atomic<T>& figure, T by) {
  figure.store(figure.load(std::memory_order_relaxed) + by,
               std::memory_order_relaxed);
}

}  // namespace

KindLocks::Slot* KindLocks::Find(const curl_lock_data& kind) {
  // Not a cast: to read a number that the enumeration has no room for is
  // undefined, and a compiler may take the check below for superfluous.
  std::underlying_type_t<curl_lock_data> index;
  static_assert(sizeof(index) == sizeof(kind));
  std::memcpy(&index, &kind, sizeof(index));
  return ABSL_PREDICT_TRUE(index < kSlots) ? &slots_[index] : nullptr;
}

// The usual path of both is kept to a few instructions: what is seldom needed
// is in functions of its own.

void KindLocks::Lock(CURL* handle, curl_lock_data kind,
                     curl_lock_access /*access*/, void* locks) noexcept {
  auto* self = static_cast<KindLocks*>(locks);
  Slot* slot = self->Find(kind);
  if (ABSL_PREDICT_FALSE(slot == nullptr)) return self->CountOutOfRange();
  if (ABSL_PREDICT_FALSE(!slot->mu.TryLock())) {
    if (slot->HeldByThisThread() && slot->held > 0) {
      ++slot->held;
      return;
    }
    WaitFor(*slot);
  }
  slot->holder.store(internal::ThisThreadToken(), std::memory_order_relaxed);
  internal::ThisThread& thread = GetThisThread();
  if (ABSL_PREDICT_FALSE(thread.handles_held == 0)) {
    self->CountOutsideScope(handle);
  }
  ++thread.kind_locks_held;
  Add<uint64_t>(slot->taken, 1);
  if (ABSL_PREDICT_FALSE(self->observer_ != nullptr)) {
    self->observer_->OnLocked(kind);
  }
}

void KindLocks::Unlock(CURL* /*handle*/, curl_lock_data kind,
                       void* locks) noexcept {
  auto* self = static_cast<KindLocks*>(locks);
  Slot* slot = self->Find(kind);
  if (ABSL_PREDICT_FALSE(slot == nullptr)) return self->CountOutOfRange();
  // Of a Hold, libcurl can unlock only what it has locked meanwhile.
  if (ABSL_PREDICT_FALSE(!slot->HeldByThisThread() || slot->held == 1)) {
    self->dropped_unlocks_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (ABSL_PREDICT_FALSE(slot->held > 1)) {
    --slot->held;
    return;
  }
  if (ABSL_PREDICT_FALSE(self->observer_ != nullptr)) {
    self->NotifyUnlocking(kind);
  }
  --GetThisThread().kind_locks_held;
  slot->holder.store(nullptr, std::memory_order_relaxed);
  slot->mu.Unlock();
}

KindLocks::Hold::Hold(KindLocks* locks, curl_lock_data kind) noexcept
    : locks_(locks), kind_(kind) {
  Lock(nullptr, kind, CURL_LOCK_ACCESS_SINGLE, locks);
  locks->Find(kind)->held = 1;
}

KindLocks::Hold::~Hold() {
  locks_->Find(kind_)->held = 0;
  Unlock(nullptr, kind_, locks_);
}

void KindLocks::WaitFor(Slot& slot) noexcept {
  const auto start = std::chrono::steady_clock::now();
  slot.mu.Lock();
  const int64_t waited =
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - start)
          .count();
  Add<uint64_t>(slot.contended, 1);
  Add<int64_t>(slot.total_wait_ns, waited);
  if (waited > slot.longest_wait_ns.load(std::memory_order_relaxed)) {
    slot.longest_wait_ns.store(waited, std::memory_order_relaxed);
  }
}

void KindLocks::NotifyUnlocking(curl_lock_data kind) noexcept {
  observer_->OnUnlocking(kind);
}

void KindLocks::CountOutOfRange() noexcept {
  out_of_range_.fetch_add(1, std::memory_order_relaxed);
}

void KindLocks::CountOutsideScope(const CURL* handle) noexcept {
  // Null: of curl_share_cleanup, or a Hold.
  if (handle == nullptr || unwatched_.load(std::memory_order_relaxed) != 0) {
    return;
  }
  outside_scopes_.fetch_add(1, std::memory_order_relaxed);
}

KindLockStats KindLocks::stats(curl_lock_data kind) const {
  KindLockStats stats;
  const auto index = static_cast<size_t>(kind);
  if (index >= kSlots) return stats;
  const Slot& slot = slots_[index];
  stats.taken = slot.taken.load(std::memory_order_relaxed);
  stats.contended = slot.contended.load(std::memory_order_relaxed);
  stats.total_wait =
      absl::Nanoseconds(slot.total_wait_ns.load(std::memory_order_relaxed));
  stats.longest_wait =
      absl::Nanoseconds(slot.longest_wait_ns.load(std::memory_order_relaxed));
  return stats;
}

}  // namespace curlshare
