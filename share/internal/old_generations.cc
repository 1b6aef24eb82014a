// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/old_generations.h"

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/saved_cookies.h"
#include "curlshare/share/internal/saved_hsts.h"
#include "curlshare/share/internal/saved_tls_sessions.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

namespace curlshare::internal {
namespace {

// The kinds whose changes are brought along. The others are caches.
constexpr LockDataSet kLasting{LockData::kCookie, LockData::kHsts};

// TLS sessions are a cache: without them, handshakes are made in full. So the
// only error is a lack of memory.
absl::Status CopyTlsSessions(const ShareHandle& from, const ShareHandle& to,
                             KindLocks* locks) {
  absl::Status status = CanSaveTlsSessions();
  if (status.ok()) {
    const absl::StatusOr<std::vector<TlsSession>> sessions =
        ReadTlsSessions(from.get(), locks);
    status = sessions.ok() ? AddTlsSessions(to.get(), locks, *sessions)
                           : sessions.status();
  }
  return absl::IsResourceExhausted(status) ? status : absl::OkStatus();
}

}  // namespace

absl::StatusOr<OldGenerations::State> OldGenerations::Read(
    const ShareHandle& share, LockDataSet kinds) {
  State state;
  if (kinds.Contains(LockData::kCookie)) {
    absl::StatusOr<std::vector<std::string>> cookies = CopyCookies(share.get());
    if (!cookies.ok()) return cookies.status();
    state.cookies = *std::move(cookies);
  }
  if (kinds.Contains(LockData::kHsts)) {
    absl::StatusOr<std::vector<HstsEntry>> hsts = ReadHsts(share.get());
    if (!hsts.ok()) return hsts.status();
    state.hsts = *std::move(hsts);
  }
  return state;
}

absl::Status OldGenerations::Add(const ShareHandle& share, const State& state) {
  absl::Status status = PutCookies(share.get(), state.cookies);
  if (status.ok()) status = AddHsts(share.get(), state.hsts);
  return status;
}

absl::Status OldGenerations::Succeed(
    const std::shared_ptr<const ShareHandle>& from, const ShareHandle& to,
    LockDataSet kept, LockDataSet forgotten, KindLocks* locks) {
  return NoThrow("OldGenerations::Succeed", [&]() -> absl::Status {
    DropThoseLeft();
    // The order matters: what can fail comes first, and the last steps, which
    // change this object, need no memory.
    const LockDataSet kinds = kLasting & from->kinds() & to.kinds();
    absl::StatusOr<State> known = Read(*from, kinds);
    if (!known.ok()) return known.status();
    State to_keep = *known;
    // What is not to be kept still counts as known: it must not come as a
    // change.
    if (!kept.Contains(LockData::kCookie)) to_keep.cookies.clear();
    if (!kept.Contains(LockData::kHsts)) to_keep.hsts.clear();
    if (absl::Status status = Add(to, to_keep); !status.ok()) return status;
    const LockDataSet kept_by_both = kept & from->kinds() & to.kinds();
    if (kept_by_both.Contains(LockData::kSslSession)) {
      absl::Status status = CopyTlsSessions(*from, to, locks);
      if (!status.ok()) return status;
    }
    std::list<Old> added;
    added.push_back({from.get(), from, kinds, *std::move(known), nullptr});
    if (absl::Status status = Forget(forgotten); !status.ok()) return status;
    for (Old& old : old_) {
      old.kinds = old.kinds & to.kinds();
      // CatchUp no longer reads these kinds: what is known of them would look
      // as if it had been deleted since.
      if (!old.kinds.Contains(LockData::kCookie)) old.known.cookies.clear();
      if (!old.kinds.Contains(LockData::kHsts)) old.known.hsts.clear();
    }
    old_.splice(old_.end(), added);
    return absl::OkStatus();
  });
}

absl::Status OldGenerations::CatchUp(const ShareHandle& from,
                                     const ShareHandle& newest) {
  return NoThrow("OldGenerations::CatchUp", [&]() -> absl::Status {
    DropThoseLeft();
    for (Old& old : old_) {
      if (old.handle != &from) continue;
      absl::StatusOr<State> now = Read(from, old.kinds);
      if (!now.ok()) return now.status();
      absl::Status status =
          Add(newest, {CookieChanges(old.known.cookies, now->cookies),
                       HstsChanges(old.known.hsts, now->hsts)});
      // A cookie that libcurl does not take back must not keep a transfer
      // waiting: it is given up.
      if (!status.ok() && !absl::IsUnimplemented(status)) return status;
      old.known = *std::move(now);
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<OldGenerations::State>> OldGenerations::ReadAll(
    LockDataSet kinds) const {
  std::vector<State> states;
  for (const Old& old : old_) {
    const std::shared_ptr<const ShareHandle> handle = old.alive.lock();
    states.emplace_back();
    if (handle == nullptr) continue;
    absl::StatusOr<State> now = Read(*handle, old.kinds & kinds);
    if (!now.ok()) return now.status();
    states.back() = *std::move(now);
  }
  return states;
}

absl::Status OldGenerations::Forget(LockDataSet kinds) {
  return NoThrow("OldGenerations::Forget", [&]() -> absl::Status {
    // All of them are read before the first is changed: that may fail.
    absl::StatusOr<std::vector<State>> states = ReadAll(kinds);
    if (!states.ok()) return states.status();
    size_t i = 0;
    for (Old& old : old_) {
      State& now = (*states)[i++];
      if (kinds.Contains(LockData::kCookie)) {
        old.known.cookies = std::move(now.cookies);
      }
      if (kinds.Contains(LockData::kHsts)) old.known.hsts = std::move(now.hsts);
    }
    return absl::OkStatus();
  });
}

void OldGenerations::Keep(const std::shared_ptr<const ShareHandle>& from) {
  for (Old& old : old_) {
    // One that has left is not kept: its last handle has gone, so that nothing
    // can be read from it.
    if (old.handle == from.get() && !old.alive.expired()) old.kept = from;
  }
}

std::shared_ptr<const ShareHandle> OldGenerations::TakeKept() {
  for (Old& old : old_) {
    if (old.kept != nullptr) return std::move(old.kept);
  }
  return nullptr;
}

// Also because the address of one that has gone may belong to another by now.
void OldGenerations::DropThoseLeft() {
  old_.remove_if([](const Old& old) { return old.alive.expired(); });
}

}  // namespace curlshare::internal
