// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/kept_forever.h"

#include <atomic>

#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {
namespace {

// A list that is linked by `next` alone. Nothing is ever taken from it.
std::atomic<ListNode*> newest{nullptr};

}  // namespace

void KeepForever(ListNode* node) {
  node->next = newest.load(std::memory_order_relaxed);
  while (!newest.compare_exchange_weak(
      node->next, node, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace curlshare::internal
