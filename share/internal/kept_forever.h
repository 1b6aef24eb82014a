// SPDX-License-Identifier: Apache-2.0
// Objects that are never freed, since something that this library cannot see
// may use them until the process ends.
#ifndef CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_
#define CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_

#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {

// Takes over `node` and all that it owns, for ever. It stays reachable from
// here, so that a leak checker does not report it. Thread-safe, also in a
// forked child: allocates nothing, and takes no lock. REQUIRES: `node` is on no
// list.
void KeepForever(ListNode* node);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_KEPT_FOREVER_H_
