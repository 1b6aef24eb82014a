// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/saved_tls_sessions.h"

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/visiting_handle.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"

// As in the headers of 8.12 and later. Weak: if the libcurl that runs is older,
// the addresses are null, whatever the headers were.
extern "C" {
// NOLINTBEGIN(readability-redundant-declaration): not in older headers.
using CurlShareSessionFunction = CURLcode(CURL*, void*, const char*,
                                          const unsigned char*, size_t,
                                          const unsigned char*, size_t,
                                          curl_off_t, int, const char*, size_t);
ABSL_ATTRIBUTE_WEAK CURLcode curl_easy_ssls_export(
    CURL* curl, CurlShareSessionFunction* function, void* userptr);
ABSL_ATTRIBUTE_WEAK CURLcode curl_easy_ssls_import(
    CURL* curl, const char* session_key, const unsigned char* shmac,
    size_t shmac_len, const unsigned char* sdata, size_t sdata_len);
// NOLINTEND(readability-redundant-declaration)
}

namespace curlshare::internal {
namespace {

constexpr absl::string_view kFirstLine = "curl_share TLS sessions 1";

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using SharePtr = std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)>;

const unsigned char* Bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
std::string Text(const unsigned char* bytes, size_t size) {
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

// With the hash of the peer instead of its name.
CURLcode Import(CURL* curl, const TlsSession& session) {
  return curl_easy_ssls_import(curl, nullptr, Bytes(session.peer),
                               session.peer.size(), Bytes(session.data),
                               session.data.size());
}

// What the callback below has got so far.
struct Exported {
  std::vector<TlsSession> sessions;
  absl::Status status;
};

// libcurl calls this once for each session, while it holds the lock of the
// sessions: it must not call libcurl, and must not throw.
CURLcode Append(CURL*, void* userptr, const char* /*session_key*/,
                const unsigned char* shmac, size_t shmac_len,
                const unsigned char* sdata, size_t sdata_len,
                curl_off_t /*valid_until*/, int /*ietf_tls_id*/,
                const char* /*alpn*/, size_t /*earlydata_max*/) {
  auto* exported = static_cast<Exported*>(userptr);
  exported->status = NoThrow("curl_easy_ssls_export", [&] {
    exported->sessions.push_back(
        {Text(shmac, shmac_len), Text(sdata, sdata_len)});
    return absl::OkStatus();
  });
  return exported->status.ok() ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

// Calls `use` with a handle in `share`, under the lock of the sessions if there
// is one.
//
// From 8.20 on libcurl reads without the lock whether its cache of sessions is
// locked (`is_locked` in lib/vtls/vtls_scache.c). Up to 8.21 both calls then
// refuse (CURLE_RECURSIVE_API_CALL), even if it is another thread that has
// locked it. And an import that fails unlocks the cache if it finds it locked,
// whoever has locked it (Curl_ssl_session_import). Neither happens while this
// thread holds the lock, as then no other thread has the cache locked.
template <typename Use>
absl::Status WithHandle(CURLSH* share, KindLocks* locks, Use use) {
  const VisitingHandle handle(share);
  if (handle.get() == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
  }
  std::optional<KindLocks::Hold> hold;
  if (locks != nullptr) hold.emplace(locks, CURL_LOCK_DATA_SSL_SESSION);
  return use(handle.get());
}

// Parses a line. False if it holds no session.
bool Read(absl::string_view line, TlsSession* session) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  return fields.size() == 2 &&
         absl::Base64Unescape(fields[0], &session->peer) &&
         absl::Base64Unescape(fields[1], &session->data) &&
         !session->peer.empty() && !session->data.empty();
}

}  // namespace

absl::Status CanSaveTlsSessions() {
  const LibcurlInfo& libcurl = RunningLibcurl();
  const bool has =
      &curl_easy_ssls_export != nullptr && &curl_easy_ssls_import != nullptr;
  if (!has) {
    return Error(absl::StatusCode::kUnimplemented, "libcurl ", libcurl.version,
                 " cannot export and import TLS sessions: that takes 8.12 or "
                 "later, built with --enable-ssls-export (USE_SSLS_EXPORT)");
  }
  const CurlPtr curl(curl_easy_init(), &curl_easy_cleanup);
  if (curl == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
  }
  // An import of nothing fails on every build, with a code that differs between
  // versions. Only a build without the function says CURLE_NOT_BUILT_IN.
  const CURLcode code =
      curl_easy_ssls_import(curl.get(), nullptr, nullptr, 0, nullptr, 0);
  if (code != CURLE_NOT_BUILT_IN) return absl::OkStatus();
  return Error(absl::StatusCode::kUnimplemented, "libcurl ", libcurl.version,
               " was built without the export and import of TLS sessions: "
               "--enable-ssls-export (USE_SSLS_EXPORT)");
}

absl::StatusOr<std::vector<TlsSession>> ParseTlsSessions(
    absl::string_view text) {
  std::vector<TlsSession> sessions;
  if (text.empty()) return sessions;
  const auto in_line = [](size_t number, absl::string_view what) {
    return Error(absl::StatusCode::kInvalidArgument, "TLS sessions: line ",
                 number, " ", what);
  };
  // Nobody uses this CURLSH: what is put into it only shows whether libcurl
  // takes it.
  const SharePtr share(curl_share_init(), &curl_share_cleanup);
  if (share == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_share_init");
  }
  const CURLSHcode code = curl_share_setopt(share.get(), CURLSHOPT_SHARE,
                                            CURL_LOCK_DATA_SSL_SESSION);
  if (code != CURLSHE_OK) {
    return ShareStatus(code, "curl_share_setopt(CURLSHOPT_SHARE)");
  }
  absl::Status status = WithHandle(share.get(), nullptr, [&](CURL* curl) {
    return NoThrow("ParseTlsSessions", [&]() -> absl::Status {
      std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
      if (lines.front() != kFirstLine) {
        return in_line(1, "is not what an export of this version begins with");
      }
      // The last line ends with a newline, too, so that a text that was cut off
      // can be told.
      if (!lines.back().empty()) {
        return in_line(lines.size(), "has no end: the rest is missing");
      }
      lines.pop_back();
      for (size_t i = 1; i < lines.size(); ++i) {
        TlsSession session;
        if (!Read(lines[i], &session)) return in_line(i + 1, "is no session");
        const CURLcode imported = Import(curl, session);
        if (imported == CURLE_OUT_OF_MEMORY) {
          return EasyStatus(imported, "curl_easy_ssls_import");
        }
        if (imported != CURLE_OK) {
          return in_line(i + 1, "is no session that this libcurl takes");
        }
        sessions.push_back(std::move(session));
      }
      return absl::OkStatus();
    });
  });
  if (!status.ok()) return status;
  return sessions;
}

std::string FormatTlsSessions(const std::vector<TlsSession>& sessions) {
  std::string text = absl::StrCat(kFirstLine, "\n");
  for (const TlsSession& session : sessions) {
    absl::StrAppend(&text, absl::Base64Escape(session.peer), " ",
                    absl::Base64Escape(session.data), "\n");
  }
  return text;
}

absl::StatusOr<std::vector<TlsSession>> ReadTlsSessions(CURLSH* share,
                                                        KindLocks* locks) {
  Exported exported;
  absl::Status status = WithHandle(share, locks, [&](CURL* curl) {
    const CURLcode code = curl_easy_ssls_export(curl, &Append, &exported);
    if (!exported.status.ok()) return exported.status;
    return EasyStatus(code, "curl_easy_ssls_export");
  });
  if (!status.ok()) return status;
  return std::move(exported.sessions);
}

absl::Status AddTlsSessions(CURLSH* share, KindLocks* locks,
                            const std::vector<TlsSession>& sessions) {
  return WithHandle(share, locks, [&](CURL* curl) {
    for (const TlsSession& session : sessions) {
      const CURLcode code = Import(curl, session);
      if (code != CURLE_OK) return EasyStatus(code, "curl_easy_ssls_import");
    }
    return absl::OkStatus();
  });
}

}  // namespace curlshare::internal
