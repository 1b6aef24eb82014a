// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/dns_cache.h"

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/visiting_handle.h"
#include "curlshare/share/libcurl_info.h"

namespace curlshare::internal {
namespace {

constexpr int64_t kInterval = 1'000'000'000;  // one second, in ns

}  // namespace

absl::StatusOr<HostPort> HostPortOf(const char* url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(
      curl_url(), &curl_url_cleanup);
  if (parsed == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_url");
  }
  const auto get = [&](CURLUPart part, unsigned flags) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, flags) != CURLUE_OK) {
      text = nullptr;
    }
    return std::unique_ptr<char, decltype(&curl_free)>(text, &curl_free);
  };
  if (curl_url_set(parsed.get(), CURLUPART_URL, url,
                   CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) !=
      CURLUE_OK) {
    return Error(absl::StatusCode::kInvalidArgument, "no URL");
  }
  const auto host = get(CURLUPART_HOST, 0);
  const auto port = get(CURLUPART_PORT, CURLU_DEFAULT_PORT);
  int number = 0;
  if (host == nullptr || port == nullptr ||
      !absl::SimpleAtoi(port.get(), &number)) {
    return Error(absl::StatusCode::kInvalidArgument, "a URL without a host");
  }
  return NoThrow("HostPortOf", [&]() -> absl::StatusOr<HostPort> {
    absl::string_view name = host.get();
    if (absl::ConsumePrefix(&name, "[")) absl::ConsumeSuffix(&name, "]");
    return HostPort{std::string(name), number};
  });
}

bool ForgetName(CURLSH* share, const std::string& host, int port) {
  std::string entry;
  const bool named = NoThrow("ForgetName", [&] {
                       const bool ipv6 = host.find(':') != host.npos;
                       entry = absl::StrCat("-", ipv6 ? "[" : "", host,
                                            ipv6 ? "]" : "", ":", port);
                       return absl::OkStatus();
                     }).ok();
  if (!named) return false;
  // A transfer first reads the list of CURLOPT_RESOLVE: "-HOST:PORT" removes an
  // entry, and the next line, which cannot be read, ends the transfer there
  // (Curl_loadhostpairs), before anything is looked up.
  char unreadable[] = "none";
  curl_slist end{unreadable, nullptr};
  curl_slist list{entry.data(), &end};
  VisitingHandle handle(share);
  CURL* const curl = handle.get();
  return curl != nullptr &&
         curl_easy_setopt(curl, CURLOPT_URL, "http://none/") == CURLE_OK &&
         curl_easy_setopt(curl, CURLOPT_RESOLVE, &list) == CURLE_OK &&
         handle.TakeOneStep();
}

bool ForgetAllNames(CURLSH* share) {
  // At the end of a transfer libcurl removes the entries that are older than
  // the handle's CURLOPT_DNS_CACHE_TIMEOUT: with 0, all that have an age
  // (Curl_dnscache_prune, earlier Curl_hostcache_prune; called by multi_done in
  // lib/multi.c). A transfer from a file needs no network, and is done in its
  // first step.
  VisitingHandle handle(share);
  CURL* const curl = handle.get();
  return curl != nullptr &&
         curl_easy_setopt(curl, CURLOPT_URL, "file:///dev/null") == CURLE_OK &&
         curl_easy_setopt(curl, CURLOPT_DNS_CACHE_TIMEOUT, 0L) == CURLE_OK &&
         handle.TakeOneStep();
}

bool CanForgetAllNames() { return RunningLibcurl().has_file; }

bool ForgottenNames::Note(const std::string& name) {
  return NoThrow("ForgottenNames",
                 [&] {
                   const int64_t now = CoarseNow();
                   absl::MutexLock lock(&mu_);
                   if (forgotten_.size() >= kMost) forgotten_.clear();
                   int64_t& last =
                       forgotten_.try_emplace(name, 0).first->second;
                   if (last != 0 && now - last < kInterval) {
                     return absl::AlreadyExistsError("");
                   }
                   last = now;
                   return absl::OkStatus();
                 })
      .ok();
}

}  // namespace curlshare::internal
