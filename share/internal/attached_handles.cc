// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/attached_handles.h"

#include <curl/curl.h>

#include <array>
#include <cstddef>

#include "absl/base/no_destructor.h"
#include "absl/base/optimization.h"
#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/handle_membership.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare::internal {
namespace {

// For a million handles the chains are 16 long; the pages of chains that are
// never used are never there.
constexpr size_t kChains = size_t{1} << 16;
constexpr size_t kLocks = 64;

// Chain i is guarded by lock i % kLocks.
std::array<HandleMembership*, kChains> chains;

struct alignas(ABSL_CACHELINE_SIZE) Lock {
  absl::Mutex mu;
};

absl::Mutex* LockOf(size_t chain) {
  static absl::NoDestructor<std::array<Lock, kLocks>> locks;
  return &(*locks)[chain % kLocks].mu;
}

size_t ChainOf(CURL* curl) { return absl::HashOf(curl) % kChains; }

}  // namespace

RefPtr<HandleMembership> EnterAttached(HandleMembership* handle) {
  const size_t chain = ChainOf(handle->curl());
  HandleMembership*& head = chains[chain];
  absl::MutexLock lock(LockOf(chain));
  for (HandleMembership* other = head; other != nullptr;
       other = other->next_attached_) {
    if (other->curl() == handle->curl() && !other->left_behind()) {
      return RefPtr<HandleMembership>(other);
    }
  }
  handle->next_attached_ = head;
  head = handle;
  return nullptr;
}

void LeaveAttached(HandleMembership* handle) {
  const size_t chain = ChainOf(handle->curl());
  absl::MutexLock lock(LockOf(chain));
  for (HandleMembership** link = &chains[chain]; *link != nullptr;
       link = &(*link)->next_attached_) {
    if (*link != handle) continue;
    *link = handle->next_attached_;
    handle->next_attached_ = nullptr;
    return;
  }
}

}  // namespace curlshare::internal
