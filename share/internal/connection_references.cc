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

// CURLINFO_HTTPAUTH_USED and CURLINFO_PROXYAUTH_USED, since 8.12. By number, as
// the headers may be older than the libcurl that runs.
constexpr auto kHttpAuthUsed = static_cast<CURLINFO>(CURLINFO_LONG + 69);
constexpr auto kProxyAuthUsed = static_cast<CURLINFO>(CURLINFO_LONG + 70);

// Whether credentials of this scheme, if there are any, belong to the request.
// With other schemes (FTP, IMAP and the like) they belong to the connection:
// url_set_conn_login in lib/url.c.
bool IsPerRequestScheme(absl::string_view scheme) {
  for (absl::string_view known : {"http", "https", "ws", "wss", "file"}) {
    if (absl::EqualsIgnoreCase(scheme, known)) return true;
  }
  return scheme.empty();
}

// Whether all methods in `info` keep nothing beyond the request. NTLM,
// Negotiate and Digest do keep something.
bool IsPerRequest(CURL* curl, CURLINFO info) {
  long used = 0;
  return curl_easy_getinfo(curl, info, &used) == CURLE_OK &&
         (static_cast<unsigned long>(used) &
          ~(CURLAUTH_BASIC | CURLAUTH_BEARER | CURLAUTH_AWS_SIGV4)) == 0;
}

// Runs a transfer that is to fail in its first step, and returns its code. Any
// other code than the expected one says that something else happened.
CURLcode FailTransfer(CURL* curl, CURLM* multi) {
  if (curl_multi_add_handle(multi, curl) != CURLM_OK) return CURLE_FAILED_INIT;
  // The call is to make the transfer fail. If the call itself fails, the code
  // below is not the expected one.
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
  // From 8.22 on, libcurl keeps the peer of a Digest challenge even if nobody
  // answers the challenge (Curl_input_digest in lib/http_digest.c). So the
  // methods that were offered count as well as those that were used.
  for (const CURLINFO info :
       {kHttpAuthUsed, kProxyAuthUsed, CURLINFO_HTTPAUTH_AVAIL,
        CURLINFO_PROXYAUTH_AVAIL}) {
    if (!IsPerRequest(curl, info)) return true;
  }
  // The answers above are those of the last request alone.
  long redirects = 0;
  return any_redirect && (curl_easy_getinfo(curl, CURLINFO_REDIRECT_COUNT,
                                            &redirects) != CURLE_OK ||
                          redirects > 0);
}

bool LetGoOfConnections(CURL* curl, CURLM* multi, bool set_url) {
  // Curl_pretransfer (lib/transfer.c) first drops the handle's references to
  // its peers. A little later it reads the list of CURLOPT_RESOLVE, and an
  // entry that it cannot read ends the transfer with CURLE_SETOPT_OPTION_SYNTAX
  // (Curl_loadhostpairs). That is before Curl_initinfo, which would reset the
  // times and sizes that curl_easy_getinfo tells of the newest transfer.
  static char unreadable[] = "none";
  static curl_slist list{unreadable, nullptr};
  if (curl_easy_setopt(curl, CURLOPT_RESOLVE, &list) != CURLE_OK) return false;
  CURLcode result = FailTransfer(curl, multi);
  if (result == CURLE_URL_MALFORMAT && set_url) {
    // The handle has no URL, as after curl_easy_reset. Curl_pretransfer checks
    // that before it drops anything.
    (void)curl_easy_setopt(curl, CURLOPT_URL, "http://none/");
    result = FailTransfer(curl, multi);
    (void)curl_easy_setopt(curl, CURLOPT_URL, nullptr);
  }
  // No transfer would succeed with that list in the handle, so try twice.
  // libcurl has no reason to fail: it only stores the pointer.
  if (curl_easy_setopt(curl, CURLOPT_RESOLVE, nullptr) != CURLE_OK) {
    (void)curl_easy_setopt(curl, CURLOPT_RESOLVE, nullptr);
  }
  return result == CURLE_SETOPT_OPTION_SYNTAX;
}

}  // namespace curlshare::internal
