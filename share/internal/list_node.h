// SPDX-License-Identifier: Apache-2.0
// An intrusive, circular, doubly linked list.
#ifndef CURLSHARE_SHARE_INTERNAL_LIST_NODE_H_
#define CURLSHARE_SHARE_INTERNAL_LIST_NODE_H_

namespace curlshare::internal {

// A link, or the sentinel of a list. Thread-compatible.
struct ListNode {
  ListNode() : prev(this), next(this) {}
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  bool empty() const { return next == this; }
  void InsertBefore(ListNode* position) {
    prev = position->prev;
    next = position;
    prev->next = this;
    next->prev = this;
  }
  void Remove() {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  // Moves all of `other`, a sentinel too, to this list's end.
  void TakeAll(ListNode* other) {
    if (other->empty()) return;
    other->next->prev = prev;
    prev->next = other->next;
    other->prev->next = this;
    prev = other->prev;
    other->prev = other->next = other;
  }

  ListNode* prev;
  ListNode* next;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_LIST_NODE_H_
