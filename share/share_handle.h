// SPDX-License-Identifier: Apache-2.0
// One CURLSH and what keeps it alive: a "generation" of a Share.
//
// A CURLSH refuses every change while a handle is attached to it, so that a
// Share that changes its kinds makes a new ShareHandle, and each attached
// handle moves to it when its transfer is over. Whoever is attached to a
// CURLSH holds a reference on its ShareHandle; the last one out frees it:
//
//   attached handle ---+
//   attached handle ---+--> ShareHandle (CURLSH) --> KindLocks
//   Share (newest) ----+
//
// so that the mutexes outlive the CURLSH, and the CURLSH every attached
// handle, in whatever order the owners go.
#ifndef CURLSHARE_SHARE_SHARE_HANDLE_H_
#define CURLSHARE_SHARE_SHARE_HANDLE_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {

// Immutable once created, so safe for concurrent use. Internal to Share, but
// for live_count().
class ShareHandle {
 public:
  // A new CURLSH that shares `kinds` and locks by `locks`; `gated` says whether
  // its handles are used behind the share's gate. Errors are those of
  // ShareStatus: kUnimplemented for a kind that this libcurl lacks (named in
  // the message), kResourceExhausted when out of memory; nothing is left
  // behind.
  static absl::StatusOr<std::shared_ptr<const ShareHandle>> Create(
      LockDataSet kinds, bool gated, std::shared_ptr<KindLocks> locks);

  ShareHandle(const ShareHandle&) = delete;
  ShareHandle& operator=(const ShareHandle&) = delete;

  // `handle` is never freed: for a CURL* that stays attached to it until its
  // owner cleans that up, at a time that nobody can know. Needs no memory.
  static void KeepForever(std::shared_ptr<const ShareHandle> handle);

  CURLSH* get() const { return share_; }
  LockDataSet kinds() const { return kinds_; }
  bool gated() const { return gated_; }

  // CURLSH that exist in this process: created by this library and not yet
  // freed. For tests and leak checks. Safe to call from any thread.
  static int64_t live_count();

 private:
  ShareHandle(CURLSH* share, LockDataSet kinds, bool gated,
              std::shared_ptr<KindLocks> locks)
      : share_(share), kinds_(kinds), gated_(gated), locks_(std::move(locks)) {}
  ~ShareHandle() = default;

  // Frees the CURLSH, then `handle`. Where libcurl refuses, because somebody
  // attached a handle behind this library's back, both are kept for ever: that
  // is better than locks that are freed under a handle that uses them.
  static void Destroy(const ShareHandle* handle);

  CURLSH* const share_;
  const LockDataSet kinds_;
  const bool gated_;
  const std::shared_ptr<KindLocks> locks_;
  // Itself, once KeepForever has been called.
  mutable std::atomic<bool> kept_{false};
  mutable std::shared_ptr<const ShareHandle> self_;  // by who has set `kept_`
  mutable internal::ListNode kept_node_;
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_SHARE_HANDLE_H_
