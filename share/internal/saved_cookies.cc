// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/saved_cookies.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/public_suffix.h"
#include "curlshare/share/internal/visiting_handle.h"

namespace curlshare::internal {
namespace {

constexpr absl::string_view kHttpOnly = "#HttpOnly_";

using CurlPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

bool HasExpired(int64_t expires) {
  return expires != 0 && expires < std::time(nullptr);
}

// A parsed line. Refers to the line's text.
struct Cookie {
  bool http_only = false;
  absl::string_view domain;  // without the dot in front
  bool subdomains = false;
  absl::string_view path;
  bool secure = false;
  int64_t expires = 0;  // 0: with the session
  absl::string_view name;
  absl::string_view value;

  bool Expired() const { return HasExpired(expires); }
  std::string Line() const {
    return absl::StrCat(http_only ? kHttpOnly : "", subdomains ? "." : "",
                        domain, "\t", subdomains ? "TRUE" : "FALSE", "\t", path,
                        "\t", secure ? "TRUE" : "FALSE", "\t", expires, "\t",
                        name, "\t", value);
  }
  // Whether a server sees no difference between the two. The expiry does not
  // count: libcurl may limit how long a cookie lives.
  bool SentAs(const Cookie& other) const {
    return http_only == other.http_only && domain == other.domain &&
           subdomains == other.subdomains && path == other.path &&
           secure == other.secure && name == other.name && value == other.value;
  }
};

// The path as libcurl compares it (RFC 6265, 5.1.4). Some versions write that
// path, others the one that the server sent.
absl::string_view PathThatCounts(absl::string_view path) {
  if (absl::ConsumePrefix(&path, "\"")) absl::ConsumeSuffix(&path, "\"");
  if (path.empty() || path.front() != '/') return "/";
  if (path.size() > 1) absl::ConsumeSuffix(&path, "/");
  return path;
}

// A line that libcurl wrote, with its path as libcurl compares it.
std::string WithPathThatCounts(absl::string_view line) {
  std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
  if (fields.size() == 7) fields[2] = PathThatCounts(fields[2]);
  return absl::StrJoin(fields, "\t");
}

// What makes this cookie replace another one, or be a different one, from a
// line of seven fields. `*expires`: when it ends, in seconds since the epoch;
// 0: with the session.
std::string Identity(absl::string_view line, int64_t* expires) {
  absl::ConsumePrefix(&line, kHttpOnly);
  const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
  if (!absl::SimpleAtoi(fields[4], expires)) *expires = 0;
  return absl::StrCat(absl::AsciiStrToLower(fields[0]), "\t", fields[1], "\t",
                      fields[2], "\t", fields[5]);
}

bool IsFlag(absl::string_view text) {
  return text == "TRUE" || text == "FALSE";
}

// Parses `line`. Nothing if it holds no cookie; `*wrong` then says why.
std::optional<Cookie> Read(absl::string_view line, const char** wrong) {
  const auto no = [&](const char* why) {
    *wrong = why;
    return std::nullopt;
  };
  if (absl::StartsWithIgnoreCase(line, "Set-Cookie:")) {
    return no(
        "is a header: without a Domain libcurl would send its cookie to every "
        "host");
  }
  if (std::any_of(line.begin(), line.end(), [](unsigned char c) {
        return (c < ' ' && c != '\t') || c == 0x7f;
      })) {
    return no("has a control byte in it");
  }
  Cookie cookie;
  cookie.http_only = absl::ConsumePrefix(&line, kHttpOnly);
  const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
  if (fields.size() != 7) {
    return no("has not seven fields with a tab between them");
  }
  cookie.domain = absl::StripPrefix(fields[0], ".");
  if (cookie.domain.empty() || cookie.domain.front() == '.' ||
      absl::StrContains(cookie.domain, ' ')) {
    return no("has no domain");
  }
  if (!IsFlag(fields[1]) || !IsFlag(fields[3])) {
    return no("has something else than TRUE or FALSE for a flag");
  }
  cookie.subdomains = fields[1] == "TRUE";
  cookie.secure = fields[3] == "TRUE";
  cookie.path = fields[2];
  if (!absl::StartsWith(cookie.path, "/")) {
    return no("has a path that does not begin with /");
  }
  if (fields[4].empty() ||
      fields[4].find_first_not_of("0123456789") != fields[4].npos ||
      !absl::SimpleAtoi(fields[4], &cookie.expires)) {
    return no("has an expiry that is no number of seconds");
  }
  cookie.name = fields[5];
  cookie.value = fields[6];
  if (cookie.name.empty()) return no("has no name");
  return cookie;
}

// The lines of the jar that `curl` uses. If there is no memory for all of them,
// libcurl returns none, without an error (cookie_list in lib/cookie.c).
std::vector<std::string> ReadJar(CURL* curl) {
  curl_slist* first = nullptr;
  (void)curl_easy_getinfo(curl, CURLINFO_COOKIELIST, &first);
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> list(
      first, &curl_slist_free_all);
  std::vector<std::string> lines;
  for (const curl_slist* node = first; node != nullptr; node = node->next) {
    lines.emplace_back(node->data);
  }
  return lines;
}

// A jar that nobody uses, to see what libcurl makes of a line. Not thread-safe;
// each instance is used by one thread.
class Trial {
 public:
  // To be called first: whether there is memory for it.
  absl::Status Begin() {
    if (curl_ == nullptr) {
      return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
    }
    return absl::OkStatus();
  }

  // kInvalidArgument: libcurl does not take `line` for `cookie`.
  absl::Status Check(const Cookie& cookie, const std::string& line) {
    absl::StatusOr<std::vector<std::string>> jar = Give(line);
    if (!jar.ok()) return jar.status();
    const char* wrong = nullptr;
    if (jar->size() == 1) {
      std::optional<Cookie> taken = Read(jar->front(), &wrong);
      Cookie wanted = cookie;
      wanted.path = PathThatCounts(wanted.path);
      if (taken.has_value()) taken->path = PathThatCounts(taken->path);
      if (taken.has_value() && taken->SentAs(wanted)) {
        return absl::OkStatus();
      }
    }
    // An expired cookie is not in the jar, whatever else is true of it.
    if (cookie.Expired()) return absl::OkStatus();
    if (absl::Status status = CheckMemory(); !status.ok()) return status;
    return Error(absl::StatusCode::kInvalidArgument,
                 "is not what libcurl takes it for (a name with __Host- or "
                 "__Secure- in front has rules)");
  }

  // Whether there is memory for a cookie. If not, the jar stays empty, but
  // before 8.21 CURLOPT_COOKIELIST returns CURLE_OK all the same. Tries a line
  // that every version takes.
  absl::Status CheckMemory() {
    const absl::StatusOr<std::vector<std::string>> jar =
        Give("a.test\tFALSE\t/\tFALSE\t0\ta\tb");
    if (!jar.ok()) return jar.status();
    if (!jar->empty()) return absl::OkStatus();
    return Error(absl::StatusCode::kResourceExhausted,
                 "no memory for a cookie");
  }

  // kInvalidArgument: hosts of several owners would get the cookie. libcurl
  // does not look into the Public Suffix List for CURLOPT_COOKIELIST.
  absl::Status CheckDomain(const Cookie& cookie) {
    if (!cookie.subdomains) return absl::OkStatus();
    const absl::StatusOr<bool> may = suffixes_.MayHaveCookies(cookie.domain);
    if (!may.ok()) return may.status();
    if (*may) return absl::OkStatus();
    return Error(absl::StatusCode::kInvalidArgument,
                 "is for all hosts of a public suffix, or of what is no name");
  }

 private:
  // Puts `line` alone into the jar, and returns what is in it.
  absl::StatusOr<std::vector<std::string>> Give(const std::string& line) {
    CURLcode code = curl_easy_setopt(curl_.get(), CURLOPT_COOKIELIST, "ALL");
    if (code == CURLE_OK) {
      code = curl_easy_setopt(curl_.get(), CURLOPT_COOKIELIST, line.c_str());
    }
    if (code == CURLE_OUT_OF_MEMORY) {
      return EasyStatus(code, "curl_easy_setopt(CURLOPT_COOKIELIST)");
    }
    // Any other error means that the line is too long (CURL_MAX_INPUT_LENGTH).
    if (code != CURLE_OK) return std::vector<std::string>();
    return ReadJar(curl_.get());
  }

  const CurlPtr curl_{curl_easy_init(), &curl_easy_cleanup};
  PublicSuffixes suffixes_;
};

// Calls `use` with a handle in `share`. The handle uses the shared jar. Its
// cookie engine is off, which only transfers need.
template <typename Use>
absl::Status WithHandle(CURLSH* share, Use use) {
  const VisitingHandle handle(share);
  if (handle.get() == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
  }
  return use(handle.get());
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseCookies(absl::string_view text) {
  Trial trial;
  if (absl::Status status = trial.Begin(); !status.ok()) return status;
  std::vector<std::string> cookies;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    absl::ConsumeSuffix(&line, "\r");
    const bool comment =
        absl::StartsWith(line, "#") && !absl::StartsWith(line, kHttpOnly);
    if (line.empty() || comment) continue;
    const auto in_line = [&](absl::string_view what) {
      return Error(absl::StatusCode::kInvalidArgument, "cookies: line ", number,
                   " ", what);
    };
    const char* wrong = nullptr;
    const std::optional<Cookie> cookie = Read(line, &wrong);
    if (!cookie.has_value()) return in_line(wrong);
    std::string as_written = cookie->Line();
    absl::Status status = trial.CheckDomain(*cookie);
    if (status.ok()) status = trial.Check(*cookie, as_written);
    if (absl::IsInvalidArgument(status)) return in_line(status.message());
    if (!status.ok()) return status;
    if (!cookie->Expired()) cookies.push_back(std::move(as_written));
  }
  return cookies;
}

absl::StatusOr<std::vector<std::string>> ReadCookies(CURLSH* share) {
  std::vector<std::string> cookies;
  absl::Status status = WithHandle(share, [&](CURL* curl) {
    return NoThrow("ReadCookies", [&] {
      cookies = ReadJar(curl);
      return absl::OkStatus();
    });
  });
  if (!status.ok()) return status;
  return cookies;
}

absl::StatusOr<std::string> FormatCookies(
    const std::vector<std::string>& cookies) {
  Trial trial;
  if (absl::Status status = trial.Begin(); !status.ok()) return status;
  std::string text = "# Netscape HTTP Cookie File\n";
  for (const std::string& line : cookies) {
    const std::string mended = WithPathThatCounts(line);
    const char* wrong = nullptr;
    std::optional<Cookie> cookie = Read(mended, &wrong);
    if (!cookie.has_value()) continue;
    absl::Status status = trial.CheckDomain(*cookie);
    // A host that is a public suffix may have cookies of its own. If it sets
    // one with itself as the Domain, that is for this host alone (RFC 6265,
    // 5.3, step 5). libcurl follows that from 8.22 on; before, the cookie was
    // for all hosts below, too.
    if (absl::IsInvalidArgument(status)) {
      cookie->subdomains = false;
      status = absl::OkStatus();
    }
    const std::string as_written = cookie->Line();
    if (status.ok()) status = trial.Check(*cookie, as_written);
    if (absl::IsInvalidArgument(status)) continue;
    if (!status.ok()) return status;
    absl::StrAppend(&text, as_written, "\n");
  }
  return text;
}

absl::Status AddCookies(CURLSH* share,
                        const std::vector<std::string>& cookies) {
  return WithHandle(share, [&](CURL* curl) {
    for (const std::string& cookie : cookies) {
      const CURLcode code =
          curl_easy_setopt(curl, CURLOPT_COOKIELIST, cookie.c_str());
      if (code != CURLE_OK) {
        return EasyStatus(code, "curl_easy_setopt(CURLOPT_COOKIELIST)");
      }
    }
    return absl::OkStatus();
  });
}

bool ForgetCookies(CURLSH* share) {
  const VisitingHandle handle(share);
  return handle.get() != nullptr &&
         curl_easy_setopt(handle.get(), CURLOPT_COOKIELIST, "ALL") == CURLE_OK;
}

absl::StatusOr<std::vector<std::string>> CopyCookies(CURLSH* share) {
  absl::StatusOr<std::vector<std::string>> jar = ReadCookies(share);
  // If libcurl has no memory to list a jar, the jar looks empty, and would be
  // taken for one that was emptied. So it has to look empty twice.
  if (jar.ok() && jar->empty()) jar = ReadCookies(share);
  if (!jar.ok()) return jar.status();
  return NoThrow("CopyCookies", [&] {
    std::vector<std::string> cookies;
    for (const std::string& line : *jar) {
      // A tab in a field makes a line of more than seven fields.
      if (std::count(line.begin(), line.end(), '\t') != 6) continue;
      std::string mended = WithPathThatCounts(line);
      int64_t expires = 0;
      (void)Identity(mended, &expires);
      if (!HasExpired(expires)) cookies.push_back(std::move(mended));
    }
    return absl::StatusOr<std::vector<std::string>>(std::move(cookies));
  });
}

std::vector<std::string> CookieChanges(const std::vector<std::string>& before,
                                       const std::vector<std::string>& after) {
  int64_t expires = 0;
  std::unordered_map<std::string, absl::string_view> old;
  for (const std::string& line : before) old[Identity(line, &expires)] = line;
  std::vector<std::string> changes;
  for (const std::string& line : after) {
    const auto found = old.find(Identity(line, &expires));
    if (found == old.end() || found->second != line) changes.push_back(line);
    if (found != old.end()) old.erase(found);
  }
  // In the order of `before`, so that the result does not depend on the map.
  for (const std::string& line : before) {
    const auto found = old.find(Identity(line, &expires));
    if (found == old.end() || HasExpired(expires)) continue;
    std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
    fields[4] = "1";  // 1970: libcurl removes the cookie that it replaces
    changes.push_back(absl::StrJoin(fields, "\t"));
  }
  return changes;
}

absl::Status PutCookies(CURLSH* share, const std::vector<std::string>& lines) {
  return NoThrow("PutCookies", [&]() -> absl::Status {
    std::vector<std::string> missing = lines;
    // Before 8.21, libcurl does not report a lack of memory: so look, and try
    // twice.
    for (int tries = 0; tries < 2 && !missing.empty(); ++tries) {
      absl::Status status = AddCookies(share, missing);
      if (!status.ok()) return status;
      const absl::StatusOr<std::vector<std::string>> jar = CopyCookies(share);
      if (!jar.ok()) return jar.status();
      int64_t expires = 0;
      std::unordered_set<std::string> there;
      for (const std::string& line : *jar) {
        there.insert(Identity(line, &expires));
      }
      const auto is_done = [&](const std::string& line) {
        const std::string identity = Identity(line, &expires);
        return HasExpired(expires) || there.count(identity) > 0;
      };
      missing.erase(std::remove_if(missing.begin(), missing.end(), is_done),
                    missing.end());
    }
    if (missing.empty()) return absl::OkStatus();
    Trial trial;
    if (absl::Status status = trial.Begin(); !status.ok()) return status;
    if (absl::Status status = trial.CheckMemory(); !status.ok()) return status;
    return Error(absl::StatusCode::kUnimplemented, "libcurl does not take ",
                 missing.size(), " of its own cookies back");
  });
}

}  // namespace curlshare::internal
