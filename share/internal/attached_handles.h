// SPDX-License-Identifier: Apache-2.0
// Every handle of the process that is attached through this library, by its
// CURL*, so that attaching one twice is an error and not a broken reference
// count. libcurl offers no way to ask a handle for its share.
#ifndef CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_
#define CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_

#include "curlshare/share/internal/ref_counted.h"

namespace curlshare::internal {

class HandleMembership;

// The hash table of this process. It chains the handles themselves: an attach
// that runs out of memory cannot leave it broken (docs/design.md, "A CURL* is
// attached once"). Both functions are thread-safe.

// Enters `handle`. Where its CURL* is entered already, changes nothing and
// returns the handle that did so; else null.
RefPtr<HandleMembership> EnterAttached(HandleMembership* handle);
// Nothing where it is not entered.
void LeaveAttached(HandleMembership* handle);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_
