// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/origin.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace curlshare::internal {

namespace {

// The length of the scheme, if "://" ends it; else npos.
size_t SchemeSize(absl::string_view url) {
  const size_t end = url.find_first_of(":/?#");
  return end != url.npos && absl::StartsWith(url.substr(end), "://")
             ? end
             : absl::string_view::npos;
}

}  // namespace

size_t OriginSize(absl::string_view url) {
  const size_t colon = SchemeSize(url);
  const size_t begin = colon == url.npos ? 0 : colon + 3;
  return std::min(url.find_first_of("/?#", begin), url.size());
}

OriginKey OriginOf(absl::string_view url) {
  const size_t colon = SchemeSize(url);
  // libcurl guesses the scheme of a URL without one, which is HTTP for most.
  absl::string_view scheme = "http";
  if (colon != url.npos) {
    scheme = url.substr(0, colon);
    url.remove_prefix(colon + 3);
  }
  absl::string_view authority = url.substr(0, url.find_first_of("/?#"));
  if (const size_t at = authority.rfind('@'); at != authority.npos) {
    authority.remove_prefix(at + 1);
  }
  if (authority.empty()) return 0;
  if (absl::EqualsIgnoreCase(scheme, "https")) {
    authority = absl::StripSuffix(authority, ":443");
  } else if (absl::EqualsIgnoreCase(scheme, "http")) {
    authority = absl::StripSuffix(authority, ":80");
  }
  // A DNS name has at most 255 bytes. What is longer is cut: for a hint that
  // does no harm.
  std::array<char, 320> text;
  char* end = text.data();
  for (absl::string_view part : {scheme, authority}) {
    const size_t room = text.data() + text.size() - end;
    part = part.substr(0, std::min<size_t>(room, 256));
    end = std::transform(part.begin(), part.end(), end, absl::ascii_tolower);
  }
  const uint64_t hash = absl::HashOf(
      absl::string_view(text.data(), end - text.data()), scheme.size());
  // 0 means that there is no origin.
  return hash == 0 ? 1 : hash;
}

}  // namespace curlshare::internal
