// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/lock_safety.h"

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"

namespace curlshare {
namespace {

// The oldest libcurl that InitLibcurl() accepts.
constexpr uint32_t kFirst = LibcurlVersion(7, 88, 0);
constexpr uint32_t kOpen = UINT32_MAX;

// The last release before `major.minor.0`.
constexpr uint32_t Before(uint32_t major, uint32_t minor) {
  return LibcurlVersion(major, minor, 0) - 1;
}

// Rules of the table: the rows of a kind stand together, by version, and each
// begins where the previous one ends (LockSafety() relies on the order).
// "Tried" means: run under ThreadSanitizer, with libcurl instrumented, by the
// race matrix (docs/lock_safety.md).
//
// Where the races are in libcurl:
//  - kCookie, 8.11 to 8.15: Curl_cookie_getlist (lib/cookie.c) returns pointers
//    into the jar, where it returned copies before; http_cookies (lib/http.c)
//    uses them after it has released the lock. From 8.16 on it holds the lock
//    until it has used them.
//  - kSslSession, before 8.10: all connections to a host get the same
//    SSL_SESSION from the cache (lib/vtls/openssl.c).
//  - kConnect, the pool that this library does not use: CPOOL_IS_LOCKED
//    (lib/conncache.c, in 8.14.1 and later) does not tell whether it is the
//    calling thread that has locked the pool.
//  - kHsts: Curl_hsts_parse and the look-up (Curl_hsts, in 8.22
//    Curl_hsts_applies; lib/hsts.c) take no lock; only Curl_hsts_loadfiles
//    does.
constexpr LockSafetyRow kTable[] = {
    {LockData::kCookie, kFirst, Before(8, 11), true,
     "the jar is read and written under the COOKIE lock, but by setting "
     "CURLOPT_COOKIEJAR, which an attached handle refuses",
     "lib/cookie.c"},
    {LockData::kCookie, LibcurlVersion(8, 11, 0), Before(8, 16), false,
     "a request reads cookies of the shared jar after it has released the "
     "lock: use after free",
     "curl issues 16838 and 17774"},
    {LockData::kCookie, LibcurlVersion(8, 16, 0), Before(8, 18), false,
     "setting CURLOPT_COOKIEJAR on an attached handle touches the shared jar "
     "without its lock",
     "lib/setopt.c, lib/cookie.c"},
    {LockData::kCookie, LibcurlVersion(8, 18, 0), kNewestLibcurlTried, true,
     "every access to the jar is under the COOKIE lock, and a request uses its "
     "list before it releases the lock",
     "lib/cookie.c, lib/http.c; ThreadSanitizer"},
    // The safe side: cookies have been broken before (8.11), and libcurl says
    // that it does not support them. Other kinds keep the last verdict.
    {LockData::kCookie, kNewestLibcurlTried + 1, kOpen, false,
     "not tried yet, and libcurl's documentation disclaims it",
     "CURL_LOCK_DATA_COOKIE in CURLSHOPT_SHARE(3)"},

    {LockData::kDns, kFirst, Before(8, 16), true,
     "the cache is read and written under the DNS lock", "lib/hostip.c"},
    {LockData::kDns, LibcurlVersion(8, 16, 0), Before(8, 20), false,
     "the cache of failed look-ups is written without the DNS lock",
     "curl issue 21209"},
    {LockData::kDns, LibcurlVersion(8, 20, 0), kOpen, true,
     "the cache is read and written under the DNS lock", "lib/dnscache.c"},

    {LockData::kSslSession, kFirst, Before(8, 10), false,
     "one OpenSSL session object is used by several connections at once",
     "curl pull request 14751"},
    {LockData::kSslSession, LibcurlVersion(8, 10, 0), kOpen, true,
     "sessions are kept serialised and copied under the SSL_SESSION lock",
     "curl pull request 14751; lib/vtls/vtls_scache.c"},

    {LockData::kConnect, kFirst, kOpen, true,
     "the share has its own pool; libcurl's pool tests without the lock "
     "whether it is locked, and goes on unlocked if another thread holds it",
     "lib/conncache.c; CURL_LOCK_DATA_CONNECT in CURLSHOPT_SHARE(3)"},

    {LockData::kPsl, kFirst, kOpen, true,
     "the list is read and loaded under the PSL lock", "lib/psl.c"},

    {LockData::kHsts, kFirst, kOpen, false,
     "entries are looked up, added and removed without the HSTS lock, which "
     "is taken for files alone",
     "CURL_LOCK_DATA_HSTS in CURLSHOPT_SHARE(3)"},
};

}  // namespace

absl::Span<const LockSafetyRow> LockSafetyTable() { return kTable; }

const LockSafetyRow& LockSafety(LockData kind, uint32_t version) {
  const LockSafetyRow* found = nullptr;
  for (const LockSafetyRow& row : kTable) {
    if (row.kind != kind) continue;
    if (found == nullptr || row.first <= version) found = &row;
  }
  return *found;
}

LockDataSet ConcurrentSafeKinds(uint32_t version) {
  LockDataSet safe;
  for (LockData kind : LockDataSet::All()) {
    if (LockSafety(kind, version).locks_suffice) safe = safe | kind;
  }
  return safe;
}

LockDataSet DefaultLockData() {
  constexpr LockDataSet kWanted{LockData::kDns, LockData::kSslSession,
                                LockData::kConnect, LockData::kPsl};
  LockDataSet safe;
  // Each kind by itself: one that needs a gate is left out, rather than that it
  // slows the others down.
  for (LockData kind : kWanted& LockDataSet::Available()) {
    if (!NeedsGate(kind, Concurrency::kAuto)) safe = safe | kind;
  }
  return safe;
}

std::string LockSafetyTableMarkdown() {
  const auto name = [](uint32_t version) {
    return absl::StrCat(version >> 16, ".", version >> 8 & 0xff);
  };
  std::string text =
      "| kind | libcurl | needs | because | source |\n|---|---|---|---|---|\n";
  for (const LockSafetyRow& row : kTable) {
    absl::StrAppend(
        &text, "| ", LockDataName(row.kind), " | ", name(row.first),
        row.last == kOpen ? " and later" : absl::StrCat(" - ", name(row.last)),
        " | ",
        !row.locks_suffice               ? "**the gate**"
        : row.kind == LockData::kConnect ? "nothing"
                                         : "locks",
        " | ", row.reason, " | ", row.source, " |\n");
  }
  return text;
}

absl::string_view ConcurrencyName(Concurrency concurrency) {
  switch (concurrency) {
    case Concurrency::kAuto:
      return "auto";
    case Concurrency::kGated:
      return "gated";
    case Concurrency::kUnchecked:
      return "unchecked";
  }
  return "invalid";
}

bool NeedsGate(LockDataSet kinds, Concurrency concurrency) {
  switch (concurrency) {
    case Concurrency::kGated:
      return true;
    case Concurrency::kUnchecked:
      return false;
    case Concurrency::kAuto:
      break;
  }
  const LibcurlInfo& libcurl = RunningLibcurl();
  // Not in the table, which does not know TLS libraries. libcurl 8.10 with
  // wolfSSL still keeps session objects, whose references are counted without
  // atomics; from 8.11 on they are serialised.
  if (kinds.Contains(LockData::kSslSession) &&
      libcurl.version_num < LibcurlVersion(8, 11, 0) &&
      absl::StrContains(libcurl.ssl_version, "wolfSSL")) {
    return true;
  }
  return !ConcurrentSafeKinds(libcurl.version_num).ContainsAll(kinds);
}

}  // namespace curlshare
