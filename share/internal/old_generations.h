// SPDX-License-Identifier: Apache-2.0
// What a share knows, and how it goes along when the share goes on with another
// CURLSH.
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

// The older generations of a share, in which transfers may be under way for
// long, and what the newest generation already has of each.
//
// What goes along when a share gets a new generation:
//
//   cookies        copied; what a transfer under way changes in the old
//                  generation is brought to the newest one when it has ended
//   HSTS entries   the same, but libcurl has no way to take one out
//   TLS sessions   copied if libcurl can export them, else learned again
//   DNS answers, the Public Suffix List      learned again
//   connections    they are in the share's own pool, not in the CURLSH
//
// How changes are found: for each old generation this class remembers the
// cookies and HSTS entries that the newest one has of it (`known`). Whatever is
// different in the old generation later has changed since, and is brought to
// the newest one.
//
// Thread-compatible: ShareCore guards it with `reconfigure_mu_`. REQUIRES, for
// all functions: the caller may use every CURLSH that was ever passed in as a
// transfer on a handle in it would, which means inside the gate if it is gated.
class OldGenerations {
 public:
  // Makes `to` the successor of `from`: copies to it what `from` knows of the
  // kinds in `kept`, and remembers `from`. Of the kinds in `forgotten`, nothing
  // that older generations have learned so far will be brought. `locks` are
  // those of both. REQUIRES: `to` has no handle yet; and each transfer that
  // ends in `from` after this call begins is followed by a CatchUp.
  //
  // kResourceExhausted: out of memory. kUnimplemented: libcurl does not take
  // its own cookies back. In both cases nothing has changed, except in `to`.
  absl::Status Succeed(const std::shared_ptr<const ShareHandle>& from,
                       const ShareHandle& to, LockDataSet kept,
                       LockDataSet forgotten, KindLocks* locks);

  // Brings what has changed in `from` to `newest`. Does nothing if `from` is
  // not one of the old generations. kResourceExhausted: try again.
  absl::Status CatchUp(const ShareHandle& from, const ShareHandle& newest);

  // Nothing that the old generations have learned of `kinds` so far will be
  // brought. kResourceExhausted: nothing has changed.
  absl::Status Forget(LockDataSet kinds);

  // Notes that `from` needs a CatchUp that cannot be made now, and keeps it
  // alive until then.
  void Keep(const std::shared_ptr<const ShareHandle>& from);
  // Takes one of the generations that were noted by Keep, for a CatchUp or
  // another Keep. Null if there is none.
  std::shared_ptr<const ShareHandle> TakeKept();

 private:
  // What is compared: the cookies and HSTS entries of a generation.
  struct State {
    std::vector<std::string> cookies;  // as lines, see CopyCookies
    std::vector<HstsEntry> hsts;
  };
  // One old generation.
  struct Old {
    const ShareHandle* handle;  // tells which; dangles once `alive` has expired
    std::weak_ptr<const ShareHandle> alive;
    // Cookies and HSTS, if each generation since has shared them, too.
    LockDataSet kinds;
    State known;                              // what the newest one has of it
    std::shared_ptr<const ShareHandle> kept;  // set by Keep
  };

  // Read returns what `share` knows of `kinds`, and Add puts that into `share`.
  static absl::StatusOr<State> Read(const ShareHandle& share,
                                    LockDataSet kinds);
  static absl::Status Add(const ShareHandle& share, const State& state);
  // The states of all old generations, of `kinds`, in the order of `old_`.
  absl::StatusOr<std::vector<State>> ReadAll(LockDataSet kinds) const;
  // Removes the generations that nobody uses any more.
  void DropThoseLeft();

  std::list<Old> old_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_OLD_GENERATIONS_H_
