// SPDX-License-Identifier: Apache-2.0
// Which kinds of shared data several threads may use at once, on which
// libcurl, when libcurl's lock callbacks are right. It is not all of them:
// libcurl itself reads or writes some shared data without taking the lock.
//
//   const uint32_t version = RunningLibcurl().version_num;
//   LockSafetyRow row = LockSafety(LockData::kHsts, version);
//   if (!row.locks_suffice) LOG(INFO) << row.reason << " (" << row.source <<
//   ")";
//
// LockSafetyTable          every row
// LockSafetyTableMarkdown  the same, to read
// LockSafety               the row for a kind on a version
// ConcurrentSafeKinds      the kinds for which the locks suffice on a version
// DefaultLockData          what a Share shares unless told
// Concurrency, NeedsGate   what a Share does about the other kinds
//
// All functions here are safe to call from any thread.
#ifndef CURLSHARE_SHARE_LOCK_SAFETY_H_
#define CURLSHARE_SHARE_LOCK_SAFETY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {

struct LockSafetyRow {
  LockData kind;
  uint32_t first;            // the first libcurl version it holds for
  uint32_t last;             // the last; UINT32_MAX: until something newer says
  bool locks_suffice;        // false: needs the gate, whatever the locks;
                             // true: locks, or for kConnect the share's pool
  absl::string_view reason;  // why, in one sentence
  absl::string_view source;  // where that is known from
};

// One or more rows a kind, by version, without gaps from 7.88.0 on.
absl::Span<const LockSafetyRow> LockSafetyTable();

// The table as docs/lock_safety.md has it: one line a kind and range of
// versions.
std::string LockSafetyTableMarkdown();

// The row for `kind` on libcurl `version` (as LibcurlVersion() makes it). A
// version older than the first row takes the first row's verdict.
// REQUIRES: `kind` is one of the enumerators.
const LockSafetyRow& LockSafety(LockData kind, uint32_t version);

// The newest libcurl that this library was tried with.
inline constexpr uint32_t kNewestLibcurlTried = 0x0816ff;  // 8.22.x

// The kinds that need no gate on libcurl `version`.
LockDataSet ConcurrentSafeKinds(uint32_t version);

// What a Share shares unless told: DNS answers, TLS sessions, connections and
// the Public Suffix List, of these what the running libcurl has and what needs
// no gate on it. Never what carries identity: cookies and HSTS.
LockDataSet DefaultLockData();

// How a share keeps threads apart. With a gate, one thread at a time is inside
// libcurl with the handles of that share; waiting for the network overlaps all
// the same. That makes every kind safe on every libcurl.
enum class Concurrency {
  kAuto,   // a gate where the kinds need one on the running libcurl
  kGated,  // always a gate
  // Never a gate: libcurl's raw behaviour. For kinds whose locks do not
  // suffice, threads then race inside libcurl: wrong answers, crashes. At your
  // own risk, for instance where one thread alone uses the share.
  kUnchecked,
};

// "auto", "gated", "unchecked"; "invalid" for any other value.
absl::string_view ConcurrencyName(Concurrency concurrency);

// Whether a share of `kinds` has a gate on the running libcurl.
bool NeedsGate(LockDataSet kinds, Concurrency concurrency);

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_LOCK_SAFETY_H_
