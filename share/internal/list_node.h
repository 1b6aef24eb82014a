// SPDX-License-Identifier: Apache-2.0
// An intrusive, circular, doubly linked list.
#ifndef CURLSHARE_SHARE_INTERNAL_LIST_NODE_H_
#define CURLSHARE_SHARE_INTERNAL_LIST_NODE_H_

namespace curlshare::internal {

// A link of a list, or its sentinel. An object is put on a list by being a
// ListNode, so that this needs no memory; it is on one list at most. Owns
// nothing. Thread-compatible: a list and its links are guarded by one mutex.
struct ListNode {
  ListNode() : prev(this), next(this) {}
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  // Whether a sentinel's list is empty, or whether a link is on no list.
  bool empty() const { return next == this; }
  // Puts this link in front of `position`. In front of the sentinel is the end
  // of the list. REQUIRES: this link is on no list.
  void InsertBefore(ListNode* position) {
    prev = position->prev;
    next = position;
    prev->next = this;
    next->prev = this;
  }
  // Takes this link off its list. Does nothing if it is on none.
  void Remove() {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  // Moves all links of the list of `other`, a sentinel, to the end of this
  // one's.
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
