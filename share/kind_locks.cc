// SPDX-License-Identifier: Apache-2.0
// Invariants:
//  - Only the thread that holds Slot::mu reads or writes Slot::held and writes
//    the figures. stats() reads the figures at any time.
//  - ThisThread::kind_locks_held is the number of slots, of all KindLocks, that
//    the thread holds. A lock that libcurl takes within a Hold of the same kind
//    does not count again.
//  - libcurl locks and unlocks a kind on the same thread, and never locks a
//    kind that the thread holds already. So a second lock by the holder can
//    only come from within a Hold.
//  - Nothing here throws, or calls anything but the observer: libcurl, which is
//    C, calls these functions with locks held.
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

// curl_share_setopt is variadic: without this, the compiler would accept a
// wrong prototype (curl issue 8573).
static_assert(
    std::is_convertible_v<decltype(&KindLocks::Lock), curl_lock_function>);
static_assert(
    std::is_convertible_v<decltype(&KindLocks::Unlock), curl_unlock_function>);

// For figures that one thread at a time writes: cheaper than fetch_add, which
// is a locked instruction on x86.
template <typename T>
void Add(std::atomic<T>& figure, T by) {
  figure.store(figure.load(std::memory_order_relaxed) + by,
               std::memory_order_relaxed);
}

}  // namespace

KindLocks::Slot* KindLocks::Find(const curl_lock_data& kind) {
  // A cast would read `kind` as a curl_lock_data. If the enumeration has no
  // room for the number, that is undefined behaviour, and the compiler may
  // leave out the check below.
  std::underlying_type_t<curl_lock_data> index;
  static_assert(sizeof(index) == sizeof(kind));
  std::memcpy(&index, &kind, sizeof(index));
  return ABSL_PREDICT_TRUE(index < kSlots) ? &slots_[index] : nullptr;
}

// libcurl calls Lock and Unlock several times in each transfer, so that their
// usual path is kept to a few instructions. Rare cases are in functions of
// their own, which are not inlined.

void KindLocks::Lock(CURL* handle, curl_lock_data kind,
                     curl_lock_access /*access*/, void* locks) noexcept {
  auto* self = static_cast<KindLocks*>(locks);
  Slot* slot = self->Find(kind);
  if (ABSL_PREDICT_FALSE(slot == nullptr)) return self->CountOutOfRange();
  // First without waiting, to tell a contended lock from a free one.
  if (ABSL_PREDICT_FALSE(!slot->mu.TryLock())) {
    // `held` may be read because this thread holds `mu`.
    if (slot->HeldByThisThread() && slot->held > 0) {
      ++slot->held;
      return;
    }
    WaitFor(*slot);
  }
  slot->holder.store(internal::ThisThreadToken(), std::memory_order_relaxed);
  internal::ThisThread& thread = GetThisThread();
  // Zero: this thread is in no Use, Transfer or call of this library that uses
  // a handle (this_thread.h).
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
  if (ABSL_PREDICT_FALSE(!slot->HeldByThisThread() || slot->held != 0)) {
    return self->UnlockRarely(*slot);
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
  // No handle: this is a call of the library's own, not one outside its scopes.
  Lock(nullptr, kind, CURL_LOCK_ACCESS_SINGLE, locks);
  locks->Find(kind)->held = 1;
}

KindLocks::Hold::~Hold() {
  // Otherwise Unlock would take this for one that libcurl must not make.
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

void KindLocks::UnlockRarely(Slot& slot) noexcept {
  // Within a Hold, libcurl may unlock only what it has locked since: at 1 there
  // is nothing of libcurl's left to unlock.
  if (!slot.HeldByThisThread() || slot.held == 1) {
    dropped_unlocks_.fetch_add(1, std::memory_order_relaxed);
  } else {
    --slot.held;
  }
}

void KindLocks::NotifyUnlocking(curl_lock_data kind) noexcept {
  observer_->OnUnlocking(kind);
}

void KindLocks::CountOutOfRange() noexcept {
  out_of_range_.fetch_add(1, std::memory_order_relaxed);
}

void KindLocks::CountOutsideScope(const CURL* handle) noexcept {
  // A null handle means curl_share_cleanup or a Hold: both are calls of this
  // library.
  if (handle == nullptr || unwatched_.load(std::memory_order_relaxed) != 0) {
    return;
  }
  outside_scopes_.fetch_add(1, std::memory_order_relaxed);
}

KindLockStats KindLocks::stats(curl_lock_data kind) const {
  KindLockStats stats;
  // A cast suffices here: callers pass an enumerator, unlike libcurl in Lock.
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
