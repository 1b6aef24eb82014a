// SPDX-License-Identifier: Apache-2.0
// A handle of the share's own that is in a CURLSH for a moment. libcurl shows,
// and forgets, some of what a CURLSH knows only through a handle in it.
#ifndef CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_

#include <curl/curl.h>

namespace curlshare::internal {

// Such a handle: attached by the constructor, freed by the destructor.
//
// Thread-compatible. Other threads may use `share` meanwhile, as with any
// handle that is in it. REQUIRES: what a transfer on a handle in `share`
// requires (the gate). `share` outlives this object.
class VisitingHandle {
 public:
  explicit VisitingHandle(CURLSH* share);
  VisitingHandle(const VisitingHandle&) = delete;
  VisitingHandle& operator=(const VisitingHandle&) = delete;
  ~VisitingHandle();

  // Null: out of memory.
  CURL* get() const { return curl_; }

  // Begins a transfer with the options that were set on get(), takes its first
  // step, and ends it, whatever came of it. False: out of memory. REQUIRES:
  // get() is not null.
  bool TakeOneStep();

 private:
  CURL* curl_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_VISITING_HANDLE_H_
