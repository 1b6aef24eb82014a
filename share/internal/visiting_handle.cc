// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/visiting_handle.h"

#include <curl/curl.h>

#include "curlshare/share/internal/this_thread.h"

namespace curlshare::internal {

VisitingHandle::VisitingHandle(CURLSH* share) : curl_(curl_easy_init()) {
  // Counts as a handle that this thread holds, so that KindLocks does not take
  // the locks of this handle for calls outside of this library
  // (outside_scopes).
  ++GetThisThread().handles_held;
  if (curl_ == nullptr) return;
  // Neither has a reason to fail: the handle is new, and the CURLSH exists.
  // CURLOPT_NOSIGNAL: libcurl must not touch the signals of a threaded program.
  if (curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
      curl_easy_setopt(curl_, CURLOPT_SHARE, share) != CURLE_OK) {
    curl_easy_cleanup(curl_);
    curl_ = nullptr;
  }
}

VisitingHandle::~VisitingHandle() {
  if (curl_ != nullptr) curl_easy_cleanup(curl_);
  --GetThisThread().handles_held;
}

bool VisitingHandle::TakeOneStep() {
  CURLM* const multi = curl_multi_init();
  if (multi == nullptr) return false;
  const bool added = curl_multi_add_handle(multi, curl_) == CURLM_OK;
  if (added) {
    int running = 0;
    (void)curl_multi_perform(multi, &running);
    (void)curl_multi_remove_handle(multi, curl_);
  }
  // Cannot fail: the multi handle is empty.
  (void)curl_multi_cleanup(multi);
  return added;
}

}  // namespace curlshare::internal
