// SPDX-License-Identifier: Apache-2.0
// One CURLSH with what must live as long as it: a "generation" of a Share.
// Internal to Share, except live_count(), for leak checks:
//
//   EXPECT_EQ(ShareHandle::live_count(), 0);
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

// A CURLSH refuses every change while a handle is attached to it
// (CURLSHE_IN_USE). So a Share whose kinds change makes a new ShareHandle, and
// each attached handle moves to it at the start of its next transfer.
//
// Owned by std::shared_ptr. Everybody who is attached to the CURLSH holds a
// reference, and the last one to go frees it:
//
//   attached handle ---+
//   attached handle ---+--> ShareHandle (CURLSH) --> KindLocks
//   Share (newest) ----+
//
// Thus the mutexes outlive the CURLSH, and the CURLSH outlives every attached
// handle, in whatever order the owners are destroyed.
//
// Thread-safe: immutable once it is created.
class ShareHandle {
 public:
  // Makes a CURLSH that shares `kinds` and locks by `locks`. `gated` says
  // whether its handles are used behind the share's gate; this class only keeps
  // that fact.
  //
  // On an error nothing is left behind. The errors are those of InitLibcurl()
  // and of ShareStatus:
  // kUnimplemented: this libcurl lacks a kind, which the message names.
  // kResourceExhausted: out of memory.
  static absl::StatusOr<std::shared_ptr<const ShareHandle>> Create(
      LockDataSet kinds, bool gated, std::shared_ptr<KindLocks> locks);

  ShareHandle(const ShareHandle&) = delete;
  ShareHandle& operator=(const ShareHandle&) = delete;

  // Keeps `handle` until the process ends. For a CURL* that stays attached
  // until its owner cleans it up, at a time that this library cannot know.
  // Allocates nothing.
  static void KeepForever(std::shared_ptr<const ShareHandle> handle);

  // Owned by this object; valid as long as it.
  CURLSH* get() const { return share_; }
  // As given to Create. May contain kConnect, which the CURLSH itself does not
  // share: connections are in the Share's own pool.
  LockDataSet kinds() const { return kinds_; }
  bool gated() const { return gated_; }

  // The number of CURLSH that this library has created and not yet freed. For
  // tests and leak checks. Thread-safe.
  static int64_t live_count();

 private:
  ShareHandle(CURLSH* share, LockDataSet kinds, bool gated,
              std::shared_ptr<KindLocks> locks)
      : share_(share), kinds_(kinds), gated_(gated), locks_(std::move(locks)) {}
  ~ShareHandle() = default;

  // The deleter of the std::shared_ptr: frees the CURLSH, then `handle`. If
  // libcurl refuses, because somebody has attached a CURL* without this
  // library, both are kept until the process ends. A leak is better than to
  // free the locks of a handle that uses them.
  static void Destroy(const ShareHandle* handle);

  CURLSH* const share_;
  const LockDataSet kinds_;
  const bool gated_;
  const std::shared_ptr<KindLocks> locks_;
  // For KeepForever: the first call sets `kept_`, and that thread alone then
  // sets `self_`, a reference to this object itself.
  mutable std::atomic<bool> kept_{false};
  mutable std::shared_ptr<const ShareHandle> self_;
  mutable internal::ListNode kept_node_;
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_SHARE_HANDLE_H_
