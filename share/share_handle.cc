#include "curlshare/share/share_handle.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {
namespace {

std::atomic<int64_t> live_handles{0};

// Reachable, so that a leak checker tells them from what was forgotten.
struct KeptHandles {
  absl::Mutex mu;
  std::vector<std::shared_ptr<const ShareHandle>> handles ABSL_GUARDED_BY(mu);
};

// The settings of a fresh CURLSH. The lock functions come first: no kind is
// ever shared without them.
absl::Status Configure(CURLSH* share, LockDataSet kinds, KindLocks* locks) {
  const curl_lock_function lock = &KindLocks::Lock;
  const curl_unlock_function unlock = &KindLocks::Unlock;
  CURLSHcode code = curl_share_setopt(share, CURLSHOPT_LOCKFUNC, lock);
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_LOCKFUNC)");
  }
  code = curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, unlock);
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_UNLOCKFUNC)");
  }
  code =
      curl_share_setopt(share, CURLSHOPT_USERDATA, static_cast<void*>(locks));
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_USERDATA)");
  }
  for (LockData kind : kinds) {
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
    LockDataSet kinds, std::shared_ptr<KindLocks> locks) {
  // Since 8.13 curl_share_init creates an easy handle.
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  CURLSH* share = curl_share_init();
  if (share == nullptr) {
    return ShareStatus(CURLSHE_NOMEM, "curl_share_init");
  }
  live_handles.fetch_add(1, std::memory_order_relaxed);
  std::shared_ptr<const ShareHandle> handle(
      new ShareHandle(share, kinds, std::move(locks)), &Destroy);
  if (absl::Status status = Configure(share, kinds, handle->locks_.get());
      !status.ok()) {
    return status;
  }
  return handle;
}

void ShareHandle::Destroy(const ShareHandle* handle) {
  if (curl_share_cleanup(handle->share_) != CURLSHE_OK) {
    KeepForever(std::shared_ptr<const ShareHandle>(
        handle, [](const ShareHandle*) { /* not owned any more */ }));
    return;
  }
  live_handles.fetch_sub(1, std::memory_order_relaxed);
  delete handle;
}

void ShareHandle::KeepForever(std::shared_ptr<const ShareHandle> handle) {
  static absl::NoDestructor<KeptHandles> kept;
  absl::MutexLock lock(&kept->mu);
  kept->handles.push_back(std::move(handle));
}

int64_t ShareHandle::live_count() {
  return live_handles.load(std::memory_order_relaxed);
}

}  // namespace curlshare
