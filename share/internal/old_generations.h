// SPDX-License-Identifier: Apache-2.0
// What a share knows goes along when it goes on with another CURLSH: which one
// is then an old generation, in which transfers may be under way for long.
//
//   cookies       copied; what a transfer under way changes is made up for when
//                 it has ended
//   HSTS          copied; likewise, but that libcurl can take none out
//   TLS sessions  copied where libcurl can export them, else learned again
//   DNS answers, the Public Suffix List      learned again
//   connections   are not the CURLSH's
//
// An old generation is remembered with the cookies and HSTS entries that the
// newest one has of it. What it has otherwise later on has changed since.
#ifndef CURLSHARE_SHARE_INTERNAL_OLD_GENERATIONS_H_
#define CURLSHARE_SHARE_INTERNAL_OLD_GENERATIONS_H_

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/internal/saved_hsts.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {

// Thread-compatible. Every CURLSH that is passed to it, or was before, is used
// as a transfer on a handle in it would be: inside the gate where it is gated.
class OldGenerations {
 public:
  // Puts into `to`, in which no handle is yet, what `from` knows of `kept`, and
  // remembers `from`: to be called once every transfer that ends in there from
  // now on is followed by a CatchUp. Of `forgotten` nothing that the older ones
  // have learned so far is to come. `locks` are those of both.
  //
  // kResourceExhausted, and kUnimplemented where libcurl does not take its own
  // cookies: then nothing has happened, but to `to`.
  absl::Status Succeed(const std::shared_ptr<const ShareHandle>& from,
                       const ShareHandle& to, LockDataSet kept,
                       LockDataSet forgotten, KindLocks* locks);

  // Brings what has changed in `from` to `newest`, where `from` is one of
  // these. kResourceExhausted: to be tried again.
  absl::Status CatchUp(const ShareHandle& from, const ShareHandle& newest);

  // Nothing of `kinds` that the old ones have learned so far is to come.
  // kResourceExhausted: nothing has happened.
  absl::Status Forget(LockDataSet kinds);

  // `from` needs a CatchUp that cannot be made now: it is kept until then.
  void Keep(const std::shared_ptr<const ShareHandle>& from);
  // One of those, null if none: to be caught up with, or kept again.
  std::shared_ptr<const ShareHandle> TakeKept();

 private:
  struct State {
    std::vector<std::string> cookies;  // lines
    std::vector<HstsEntry> hsts;
  };
  struct Old {
    const ShareHandle* handle;
    std::weak_ptr<const ShareHandle> alive;
    // Of cookies and HSTS those that each generation since has shared, too.
    LockDataSet kinds;
    State known;
    std::shared_ptr<const ShareHandle> kept;
  };

  static absl::StatusOr<State> Read(const ShareHandle& share,
                                    LockDataSet kinds);
  static absl::Status Add(const ShareHandle& share, const State& state);
  // Of `kinds`, in the order of `old_`.
  absl::StatusOr<std::vector<State>> ReadAll(LockDataSet kinds) const;
  void DropThoseLeft();

  std::list<Old> old_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_OLD_GENERATIONS_H_
