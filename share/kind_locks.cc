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
using internal::ThisThreadToken;

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
  if (ABSL_PREDICT_TRUE(index < kSlots)) return &slots_[index];
  out_of_range_.fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

void KindLocks::Lock(CURL* /*handle*/, curl_lock_data kind,
                     curl_lock_access /*access*/, void* locks) noexcept {
  auto* self = static_cast<KindLocks*>(locks);
  Slot* slot = self->Find(kind);
  if (slot == nullptr) return;
  if (ABSL_PREDICT_FALSE(!slot->mu.TryLock())) {
    const auto start = std::chrono::steady_clock::now();
    slot->mu.Lock();
    const int64_t waited =
        std::chrono::nanoseconds(std::chrono::steady_clock::now() - start)
            .count();
    Add<uint64_t>(slot->contended, 1);
    Add<int64_t>(slot->total_wait_ns, waited);
    if (waited > slot->longest_wait_ns.load(std::memory_order_relaxed)) {
      slot->longest_wait_ns.store(waited, std::memory_order_relaxed);
    }
  }
  slot->owner.store(ThisThreadToken(), std::memory_order_relaxed);
  Add<uint64_t>(slot->taken, 1);
  ++GetThisThread().kind_locks_held;
  if (ABSL_PREDICT_FALSE(self->observer_ != nullptr)) {
    self->observer_->OnLocked(kind);
  }
}

void KindLocks::Unlock(CURL* /*handle*/, curl_lock_data kind,
                       void* locks) noexcept {
  auto* self = static_cast<KindLocks*>(locks);
  Slot* slot = self->Find(kind);
  if (slot == nullptr) return;
  // Only this thread can have stored its own token, so that a relaxed load
  // tells the truth about "mine".
  if (ABSL_PREDICT_FALSE(slot->owner.load(std::memory_order_relaxed) !=
                         ThisThreadToken())) {
    self->dropped_unlocks_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (ABSL_PREDICT_FALSE(self->observer_ != nullptr)) {
    self->observer_->OnUnlocking(kind);
  }
  --GetThisThread().kind_locks_held;
  slot->owner.store(nullptr, std::memory_order_relaxed);
  slot->mu.Unlock();
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
