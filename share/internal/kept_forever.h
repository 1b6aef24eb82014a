// SPDX-License-Identifier: Apache-2.0
// What is never freed, since something that this library cannot see may use it
// until the process ends.
#ifndef CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_
#define CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_

#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {

// The caller gives up `node` and all that it owns. It stays reachable from
// here, so that a leak checker tells it from what was forgotten. Safe to call
// from any thread, and in a forked child; allocates nothing, locks nothing.
// REQUIRES: `node` is on no list.
void KeepForever(ListNode* node);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_
