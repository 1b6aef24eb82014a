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

constexpr absl::string_view kUnlimited = "unlimited";  // libcurl's word
constexpr size_t kDayLength = 8;                       // of "20261231"

// Before 8.21 libcurl may have several entries of a host, of which the first
// counts. What remains here asks for HTTPS as long and as widely as any.
void Unite(HstsEntry& entry, const HstsEntry& other) {
  entry.subdomains |= other.subdomains;
  if (other.expires.empty() ||
      (!entry.expires.empty() && entry.expires < other.expires)) {
    entry.expires = other.expires;
  }
}

struct Written {
  std::vector<HstsEntry> entries;
  std::unordered_map<std::string, size_t> by_host;
  absl::Status status;
};

CURLSTScode Write(CURL*, curl_hstsentry* entry, curl_index*, void* userptr) {
  auto* written = static_cast<Written*>(userptr);
  written->status = NoThrow("ReadHsts", [&] {
    absl::string_view expires = entry->expire;
    // libcurl has room for years of four digits, and cuts longer ones off.
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

struct ToRead {
  std::vector<const HstsEntry*> entries;
  size_t next = 0;
  bool all = false;
};

CURLSTScode Read(CURL*, curl_hstsentry* entry, void* userptr) {
  auto* to_read = static_cast<ToRead*>(userptr);
  if (to_read->next == to_read->entries.size()) {
    to_read->all = true;
    return CURLSTS_FAIL;  // which ends the transfer before it connects
  }
  const HstsEntry& from = *to_read->entries[to_read->next++];
  // libcurl has `namelen` bytes and one for the null; it gave the name itself.
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
  handle.reset();  // writes them
  if (!written.status.ok()) return written.status;
  return std::move(written.entries);
}

absl::Status AddHsts(CURLSH* share, const std::vector<HstsEntry>& entries) {
  if (entries.empty()) return absl::OkStatus();
  return NoThrow("AddHsts", [&]() -> absl::Status {
    ToRead to_read;
    for (const HstsEntry& entry : entries) to_read.entries.push_back(&entry);
    // Subdomains first: libcurl takes no entry of a subdomain that one of a
    // parent's covers, which may expire earlier.
    std::stable_sort(to_read.entries.begin(), to_read.entries.end(),
                     [](const HstsEntry* a, const HstsEntry* b) {
                       return a->host.size() > b->host.size();
                     });
    VisitingHandle handle(share);
    CURL* const curl = handle.get();
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
