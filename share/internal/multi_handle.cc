// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/multi_handle.h"

#include <curl/curl.h>
#include <time.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"

namespace curlshare::internal {

int64_t CoarseNow() {
  timespec now{};
  // Cannot fail: the clock exists, and the address is good.
  (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

absl::StatusOr<std::unique_ptr<MultiHandle>> MultiHandle::Create() {
  return NoThrow(
      "MultiHandle", []() -> absl::StatusOr<std::unique_ptr<MultiHandle>> {
        std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> multi(
            curl_multi_init(), &curl_multi_cleanup);
        if (multi == nullptr) {
          return MultiStatus(CURLM_OUT_OF_MEMORY, "curl_multi_init");
        }
        // From 8.20 on each multi handle has threads of its own that resolve
        // names, and curl_multi_cleanup waits for them unless this is set
        // (Curl_async_thrdd_multi_destroy, called in lib/multi.c). A cancelled
        // transfer leaves such a look-up behind. Earlier versions do not know
        // the option, hence the number and the (void).
        constexpr auto kQuickExit =  // CURLMOPT_QUICK_EXIT
            static_cast<CURLMoption>(CURLOPTTYPE_LONG + 21);
        (void)curl_multi_setopt(multi.get(), kQuickExit, 1L);
        std::unique_ptr<MultiHandle> handle(new MultiHandle(multi.get()));
        (void)multi.release();
        return handle;
      });
}

// An error would mean that libcurl is inside this multi handle just now;
// nothing could be done about it.
MultiHandle::~MultiHandle() { (void)curl_multi_cleanup(multi_); }

void MultiHandle::SetMaxConnections(long most) {
  if (most == max_connections_) return;
  if (curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, most) == CURLM_OK) {
    max_connections_ = most;
  }
}

}  // namespace curlshare::internal
