// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/kept_forever.h"

#include <atomic>

#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {
namespace {

// By `next` alone, and never taken from.
std::atomic<ListNode*> newest{nullptr};

}  // namespace

void KeepForever(ListNode* node) {
  node->next = newest.load(std::memory_order_relaxed);
  while (!newest.compare_exchange_weak(
      node->next, node, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace curlshare::internal
