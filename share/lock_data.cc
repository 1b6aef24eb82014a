// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/lock_data.h"

#include <curl/curl.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"

namespace curlshare {
namespace {

static_assert(static_cast<int>(LockData::kCookie) == CURL_LOCK_DATA_COOKIE);
static_assert(static_cast<int>(LockData::kDns) == CURL_LOCK_DATA_DNS);
static_assert(static_cast<int>(LockData::kSslSession) ==
              CURL_LOCK_DATA_SSL_SESSION);
static_assert(static_cast<int>(LockData::kConnect) == CURL_LOCK_DATA_CONNECT);
static_assert(static_cast<int>(LockData::kPsl) == CURL_LOCK_DATA_PSL);
static_assert(static_cast<int>(LockData::kHsts) == CURL_LOCK_DATA_HSTS);

// Tries each kind on a CURLSH. There is no other way to ask the libcurl that
// runs: the features of curl_version_info() do not tell of cookies, and the
// headers may be those of another libcurl.
absl::StatusOr<LockDataSet> Probe() {
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  CURLSH* share = curl_share_init();
  if (share == nullptr) return ShareStatus(CURLSHE_NOMEM, "curl_share_init");
  LockDataSet available;
  CURLSHcode code = CURLSHE_OK;
  for (LockData kind : LockDataSet::All()) {
    // Each kind only once: before 8.10, sharing CONNECT a second time leaks the
    // first pool (curl_share_setopt in lib/share.c).
    code = curl_share_setopt(share, CURLSHOPT_SHARE, static_cast<int>(kind));
    if (code == CURLSHE_OK) available = available | kind;
    // Out of memory does not tell whether libcurl has the kind. Any other error
    // means that it was built without.
    if (code == CURLSHE_NOMEM) break;
  }
  // Fails only while a handle is attached (CURLSHE_IN_USE), and none ever was.
  (void)curl_share_cleanup(share);
  if (code == CURLSHE_NOMEM) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_SHARE)");
  }
  return available;
}

}  // namespace

absl::string_view LockDataName(LockData kind) {
  switch (kind) {
    case LockData::kCookie:
      return "cookie";
    case LockData::kDns:
      return "dns";
    case LockData::kSslSession:
      return "ssl_session";
    case LockData::kConnect:
      return "connect";
    case LockData::kPsl:
      return "psl";
    case LockData::kHsts:
      return "hsts";
  }
  return "invalid";
}

absl::StatusOr<LockDataSet> LockDataSet::FindAvailable() {
  // Not a static with an initialiser: after a failure the next call must probe
  // again. Two threads may probe at the same time; they get the same answer.
  static std::atomic<LockDataSet> available{LockDataSet()};
  static std::atomic<bool> known{false};
  if (!known.load(std::memory_order_acquire)) {
    absl::StatusOr<LockDataSet> found = Probe();
    if (!found.ok()) return found;
    available.store(*found, std::memory_order_relaxed);
    known.store(true, std::memory_order_release);
  }
  return available.load(std::memory_order_relaxed);
}

LockDataSet LockDataSet::Available() {
  return FindAvailable().value_or(LockDataSet());
}

absl::StatusOr<LockDataSet> LockDataSet::Parse(absl::string_view text) {
  LockDataSet set;
  if (absl::StripAsciiWhitespace(text).empty()) return set;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::string_view name = absl::StripAsciiWhitespace(part);
    if (absl::EqualsIgnoreCase(name, "none")) continue;
    if (absl::EqualsIgnoreCase(name, "all")) {
      set = All();
      continue;
    }
    bool known = false;
    for (LockData kind : All()) {
      if (absl::EqualsIgnoreCase(name, LockDataName(kind))) {
        set = set | kind;
        known = true;
      }
    }
    if (!known) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name,
                       "' is no kind of data that libcurl shares; "
                       "the kinds are ",
                       All().ToString(), ", all and none"));
    }
  }
  return set;
}

std::string LockDataSet::ToString() const {
  if (empty()) return "none";
  std::vector<absl::string_view> names;
  for (LockData kind : *this) names.push_back(LockDataName(kind));
  return absl::StrJoin(names, ",");
}

}  // namespace curlshare
