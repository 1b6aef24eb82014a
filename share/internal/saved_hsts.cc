// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/saved_hsts.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/visiting_handle.h"

namespace curlshare::internal {
namespace {

constexpr absl::string_view kUnlimited = "unlimited";  // UNLIMITED, lib/hsts.c
constexpr size_t kDayLength = 8;                       // of "20261231"

// Before 8.21, libcurl may have several entries for one host, and uses the
// first one. The united entry asks for HTTPS for as long, and for as many
// hosts, as any of them.
void Unite(HstsEntry& entry, const HstsEntry& other) {
  entry.subdomains |= other.subdomains;
  if (other.expires.empty() ||
      (!entry.expires.empty() && entry.expires < other.expires)) {
    entry.expires = other.expires;
  }
}

// What the write callback below has got so far.
struct Written {
  std::vector<HstsEntry> entries;
  std::unordered_map<std::string, size_t> by_host;
  absl::Status status;
};

// CURLOPT_HSTSWRITEFUNCTION: libcurl calls it once for each entry.
CURLSTScode Write(CURL*, curl_hstsentry* entry, curl_index*, void* userptr) {
  auto* written = static_cast<Written*>(userptr);
  written->status = NoThrow("ReadHsts", [&] {
    absl::string_view expires = entry->expire;
    // libcurl writes the year in full into a buffer with room for four digits
    // (curl_hstsentry::expire). A later date is cut off: taken as "never".
    if (expires == kUnlimited || expires.find(' ') != kDayLength) expires = "";
    HstsEntry read{std::string(entry->name, entry->namelen),
                   entry->includeSubDomains != 0, std::string(expires)};
    const auto [known, is_new] =
        written->by_host.try_emplace(read.host, written->entries.size());
    if (is_new) {
      written->entries.push_back(std::move(read));
    } else {
      Unite(written->entries[known->second], read);
    }
    return absl::OkStatus();
  });
  return written->status.ok() ? CURLSTS_OK : CURLSTS_FAIL;
}

// What the read callback below has still to offer.
struct ToRead {
  std::vector<const HstsEntry*> entries;
  size_t next = 0;
  bool all = false;
};

// CURLOPT_HSTSREADFUNCTION: libcurl calls it until it returns another code than
// CURLSTS_OK.
CURLSTScode Read(CURL*, curl_hstsentry* entry, void* userptr) {
  auto* to_read = static_cast<ToRead*>(userptr);
  if (to_read->next == to_read->entries.size()) {
    to_read->all = true;
    return CURLSTS_FAIL;  // ends the transfer before it connects (hsts_pull)
  }
  const HstsEntry& from = *to_read->entries[to_read->next++];
  // The buffer has `namelen` bytes and one for the NUL. The name fits: it came
  // from libcurl.
  const size_t length = std::min(from.host.size(), entry->namelen);
  std::memcpy(entry->name, from.host.data(), length);
  entry->name[length] = '\0';
  entry->includeSubDomains = from.subdomains ? 1 : 0;
  const size_t date = std::min(from.expires.size(), sizeof(entry->expire) - 1);
  std::memcpy(entry->expire, from.expires.data(), date);
  entry->expire[date] = '\0';
  return CURLSTS_OK;
}

}  // namespace

absl::StatusOr<std::vector<HstsEntry>> ReadHsts(CURLSH* share) {
  Written written;
  std::optional<VisitingHandle> handle(share);
  CURL* const curl = handle->get();
  if (curl == nullptr ||
      curl_easy_setopt(curl, CURLOPT_HSTSWRITEDATA, &written) != CURLE_OK ||
      curl_easy_setopt(curl, CURLOPT_HSTSWRITEFUNCTION, &Write) != CURLE_OK) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
  }
  handle.reset();  // curl_easy_cleanup calls Write
  if (!written.status.ok()) return written.status;
  return std::move(written.entries);
}

absl::Status AddHsts(CURLSH* share, const std::vector<HstsEntry>& entries) {
  if (entries.empty()) return absl::OkStatus();
  return NoThrow("AddHsts", [&]() -> absl::Status {
    ToRead to_read;
    for (const HstsEntry& entry : entries) to_read.entries.push_back(&entry);
    // Subdomains first. From 8.21 on libcurl does not take an entry for a
    // subdomain that an entry of a parent covers (hsts_add_host_expire in
    // lib/hsts.c), though that one may expire earlier.
    std::stable_sort(to_read.entries.begin(), to_read.entries.end(),
                     [](const HstsEntry* a, const HstsEntry* b) {
                       return a->host.size() > b->host.size();
                     });
    VisitingHandle handle(share);
    CURL* const curl = handle.get();
    // The host is never looked up: the read callback ends the transfer first.
    const bool read =
        curl != nullptr &&
        curl_easy_setopt(curl, CURLOPT_URL, "http://none/") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HSTSREADDATA, &to_read) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HSTSREADFUNCTION, &Read) == CURLE_OK &&
        handle.TakeOneStep() && to_read.all;
    if (read) return absl::OkStatus();
    return Error(absl::StatusCode::kResourceExhausted,
                 "no memory for HSTS entries");
  });
}

std::vector<HstsEntry> HstsChanges(const std::vector<HstsEntry>& before,
                                   const std::vector<HstsEntry>& after) {
  std::vector<HstsEntry> changes;
  for (const HstsEntry& entry : after) {
    if (std::find(before.begin(), before.end(), entry) == before.end()) {
      changes.push_back(entry);
    }
  }
  return changes;
}

}  // namespace curlshare::internal
