// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/connection_references.h"

#include <curl/curl.h>

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_safety.h"

namespace curlshare::internal {
namespace {

// Since 8.12; the headers may be older.
constexpr auto kHttpAuthUsed = static_cast<CURLINFO>(CURLINFO_LONG + 69);
constexpr auto kProxyAuthUsed = static_cast<CURLINFO>(CURLINFO_LONG + 70);

// Whether its credentials, if it has any, belong to the request.
bool IsPerRequestScheme(absl::string_view scheme) {
  for (absl::string_view known : {"http", "https", "ws", "wss", "file"}) {
    if (absl::EqualsIgnoreCase(scheme, known)) return true;
  }
  return scheme.empty();
}

// Whether `info` names nothing but what keeps nothing beyond the request.
bool IsPerRequest(CURL* curl, CURLINFO info) {
  long used = 0;
  return curl_easy_getinfo(curl, info, &used) == CURLE_OK &&
         (static_cast<unsigned long>(used) &
          ~(CURLAUTH_BASIC | CURLAUTH_BEARER | CURLAUTH_AWS_SIGV4)) == 0;
}

CURLcode FailTransfer(CURL* curl, CURLM* multi) {
  if (curl_multi_add_handle(multi, curl) != CURLM_OK) return CURLE_FAILED_INIT;
  // It is to fail, and nothing can be done where that fails.
  int running = 0;
  (void)curl_multi_perform(multi, &running);
  int left = 0;
  const CURLMsg* const message = curl_multi_info_read(multi, &left);
  const CURLcode result = message == nullptr ? CURLE_OK : message->data.result;
  if (curl_multi_remove_handle(multi, curl) != CURLM_OK) return CURLE_OK;
  return result;
}

}  // namespace

References ConnectionReferences() {
  const uint32_t version = RunningLibcurl().version_num;
  if (version < LibcurlVersion(8, 21, 0)) return References::kNone;
  return version <= kNewestLibcurlTried ? References::kCounted
                                        : References::kUnknown;
}

bool KeepsCredentials(CURL* curl, bool any_redirect) {
  const char* scheme = nullptr;
  if (curl_easy_getinfo(curl, CURLINFO_SCHEME, &scheme) != CURLE_OK ||
      !IsPerRequestScheme(scheme == nullptr ? "" : scheme)) {
    return true;
  }
  // From 8.22 on a challenge for Digest is kept though nobody answers it
  // (Curl_input_digest), so that what was offered counts, too.
  for (const CURLINFO info :
       {kHttpAuthUsed, kProxyAuthUsed, CURLINFO_HTTPAUTH_AVAIL,
        CURLINFO_PROXYAUTH_AVAIL}) {
    if (!IsPerRequest(curl, info)) return true;
  }
  long redirects = 0;
  return any_redirect && (curl_easy_getinfo(curl, CURLINFO_REDIRECT_COUNT,
                                            &redirects) != CURLE_OK ||
                          redirects > 0);
}

bool LetGoOfConnections(CURL* curl, CURLM* multi, bool set_url) {
  // A transfer lets go first thing (Curl_pretransfer); a list that cannot be
  // read ends it right after, before it touches what curl_easy_getinfo tells of
  // times and sizes.
  static char unreadable[] = "none";
  static curl_slist list{unreadable, nullptr};
  if (curl_easy_setopt(curl, CURLOPT_RESOLVE, &list) != CURLE_OK) return false;
  CURLcode result = FailTransfer(curl, multi);
  if (result == CURLE_URL_MALFORMAT && set_url) {
    // That came even before: it has no URL, as after curl_easy_reset.
    (void)curl_easy_setopt(curl, CURLOPT_URL, "http://none/");
    result = FailTransfer(curl, multi);
    (void)curl_easy_setopt(curl, CURLOPT_URL, nullptr);
  }
  // With that list left in it no transfer would succeed: so once more if that
  // fails, for which libcurl, which only stores the pointer, has no reason.
  if (curl_easy_setopt(curl, CURLOPT_RESOLVE, nullptr) != CURLE_OK) {
    (void)curl_easy_setopt(curl, CURLOPT_RESOLVE, nullptr);
  }
  return result == CURLE_SETOPT_OPTION_SYNTAX;
}

}  // namespace curlshare::internal
