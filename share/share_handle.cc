// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/share_handle.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/kept_forever.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {
namespace {

std::atomic<int64_t> live_handles{0};

// Frees a CURLSH for which there is no ShareHandle yet.
struct CurlshDeleter {
  // Fails only while a handle is attached (CURLSHE_IN_USE), and none ever was.
  void operator()(CURLSH* share) const { (void)curl_share_cleanup(share); }
};
using CurlshPtr = std::unique_ptr<CURLSH, CurlshDeleter>;

// Sets up a fresh CURLSH. The lock functions come first, so that no kind is
// ever shared without them.
absl::Status Configure(CURLSH* share, LockDataSet kinds, KindLocks* locks) {
  const curl_lock_function lock = &KindLocks::Lock;
  const curl_unlock_function unlock = &KindLocks::Unlock;
  // The order of these three matters if one of them fails: curl_share_cleanup
  // calls whichever lock functions have been set (lib/share.c). They need the
  // user data. And an unlock without a lock is ignored, where a lock without an
  // unlock would stay held for the other generations, which have the same
  // KindLocks.
  CURLSHcode code =
      curl_share_setopt(share, CURLSHOPT_USERDATA, static_cast<void*>(locks));
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_USERDATA)");
  }
  code = curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, unlock);
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_UNLOCKFUNC)");
  }
  code = curl_share_setopt(share, CURLSHOPT_LOCKFUNC, lock);
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_LOCKFUNC)");
  }
  for (LockData kind : kinds) {
    // Connections are in the share's own pool (internal/connection_pool.h):
    // libcurl's pool is not safe between threads, whatever the locks
    // (lock_safety.cc).
    if (kind == LockData::kConnect) continue;
    code = curl_share_setopt(share, CURLSHOPT_SHARE, static_cast<int>(kind));
    if (code != CURLSHE_OK) {
      return ShareStatus(code,
                         absl::StrCat("curl_share_setopt(CURLSHOPT_SHARE, ",
                                      LockDataName(kind), ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ShareHandle>> ShareHandle::Create(
    LockDataSet kinds, bool gated, std::shared_ptr<KindLocks> locks) {
  // Before curl_share_init: since 8.13 that creates an easy handle
  // (lib/share.c), and so would initialise libcurl itself.
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  return internal::NoThrow(
      "ShareHandle::Create",
      [&]() -> absl::StatusOr<std::shared_ptr<const ShareHandle>> {
        CurlshPtr share(curl_share_init());
        if (share == nullptr) {
          return ShareStatus(CURLSHE_NOMEM, "curl_share_init");
        }
        auto* const created =
            new ShareHandle(share.get(), kinds, gated, std::move(locks));
        // From here on Destroy frees the CURLSH.
        (void)share.release();
        live_handles.fetch_add(1, std::memory_order_relaxed);
        // If this constructor throws, it has called Destroy first.
        std::shared_ptr<const ShareHandle> handle(created, &Destroy);
        if (absl::Status status =
                Configure(created->share_, kinds, created->locks_.get());
            !status.ok()) {
          return status;
        }
        return handle;
      });
}

void ShareHandle::Destroy(const ShareHandle* handle) {
  // CURLSHE_IN_USE: a CURL* is attached that this library does not know.
  if (curl_share_cleanup(handle->share_) != CURLSHE_OK) {
    internal::KeepForever(&handle->kept_node_);
    return;
  }
  live_handles.fetch_sub(1, std::memory_order_relaxed);
  delete handle;
}

void ShareHandle::KeepForever(std::shared_ptr<const ShareHandle> handle) {
  // Several handles that share this generation may be kept: once is enough.
  if (handle->kept_.exchange(true)) return;
  const ShareHandle& kept = *handle;
  kept.self_ = std::move(handle);
  internal::KeepForever(&kept.kept_node_);
}

int64_t ShareHandle::live_count() {
  return live_handles.load(std::memory_order_relaxed);
}

}  // namespace curlshare
