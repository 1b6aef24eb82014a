// SPDX-License-Identifier: Apache-2.0
// A handle of the share's own, which is in a CURLSH for a moment: some of what
// a share knows libcurl shows, and forgets, by a handle in it alone.
#ifndef CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_

#include <curl/curl.h>

namespace curlshare::internal {

// Thread-compatible; others may use `share` meanwhile, as with any handle that
// is in it. REQUIRES: what a transfer on such a handle requires (the gate).
class VisitingHandle {
 public:
  explicit VisitingHandle(CURLSH* share);
  VisitingHandle(const VisitingHandle&) = delete;
  VisitingHandle& operator=(const VisitingHandle&) = delete;
  ~VisitingHandle();

  // Null when out of memory.
  CURL* get() const { return curl_; }

  // Begins a transfer with what was set, takes the first step, and ends it,
  // whatever came of it. False when out of memory.
  bool TakeOneStep();

 private:
  CURL* curl_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_
