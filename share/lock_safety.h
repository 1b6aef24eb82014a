// SPDX-License-Identifier: Apache-2.0
// Says, for each kind of shared data and each version of libcurl, whether
// correct lock callbacks are enough for several threads at once. For some kinds
// they are not: libcurl itself reads or writes the data without its lock.
//
//   const uint32_t version = RunningLibcurl().version_num;
//   LockSafetyRow row = LockSafety(LockData::kHsts, version);
//   if (!row.locks_suffice) LOG(INFO) << row.reason << " (" << row.source <<
//   ")";
//
// LockSafetyTable          every row
// LockSafetyTableMarkdown  the same as a table in Markdown
// LockSafety               the row for a kind on a version
// ConcurrentSafeKinds      the kinds that need no gate on a version
// DefaultLockData          what a Share shares by default
// Concurrency, NeedsGate   whether a Share has a gate
//
// All functions here are thread-safe.
#ifndef CURLSHARE_SHARE_LOCK_SAFETY_H_
#define CURLSHARE_SHARE_LOCK_SAFETY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {

// What holds for one kind on a range of libcurl versions. Thread-compatible: a
// plain value; the strings are static.
struct LockSafetyRow {
  LockData kind;
  uint32_t first;            // the first version, as LibcurlVersion() makes it
  uint32_t last;             // the last version; UINT32_MAX: no end is known
  bool locks_suffice;        // true: locks, or for kConnect the share's pool;
                             // false: needs the gate, whatever the locks
  absl::string_view reason;  // why, in one sentence
  absl::string_view source;  // where that is known from
};

// All rows: one or more for each kind, in the order of versions, without gaps
// from 7.88.0 on. Valid for the life of the process.
absl::Span<const LockSafetyRow> LockSafetyTable();

// The table as in docs/lock_safety.md: one line for each row.
std::string LockSafetyTableMarkdown();

// The row for `kind` on libcurl `version` (made by LibcurlVersion()). A version
// that is older than the first row gets the first row.
// REQUIRES: `kind` is one of the enumerators.
const LockSafetyRow& LockSafety(LockData kind, uint32_t version);

// The newest libcurl that this library was tested with.
inline constexpr uint32_t kNewestLibcurlTried = 0x0816ff;  // 8.22.x

// The kinds that need no gate on libcurl `version`.
LockDataSet ConcurrentSafeKinds(uint32_t version);

// What a Share shares unless ShareOptions::lock_data is set: those of DNS
// answers, TLS sessions, connections and the Public Suffix List that the
// running libcurl has and that need no gate on it. Never cookies and HSTS,
// which carry identity.
LockDataSet DefaultLockData();

// Whether a share has a gate. With a gate, only one thread at a time is inside
// libcurl with the handles of that share; while transfers wait for the network
// they are outside, so that these waits overlap. A gate makes every kind safe
// on every libcurl.
enum class Concurrency {
  kAuto,   // a gate if the shared kinds need one on the running libcurl
  kGated,  // always a gate
  // Never a gate. If the locks of a shared kind do not suffice, threads race
  // inside libcurl: wrong answers, crashes. At your own risk, for example if
  // only one thread uses the share.
  kUnchecked,
};

// "auto", "gated" or "unchecked"; "invalid" for any other value.
absl::string_view ConcurrencyName(Concurrency concurrency);

// Whether a share of `kinds` has a gate on the running libcurl. For kAuto this
// calls InitLibcurl().
bool NeedsGate(LockDataSet kinds, Concurrency concurrency);

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_LOCK_SAFETY_H_
