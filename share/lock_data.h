// SPDX-License-Identifier: Apache-2.0
// The kinds of data that libcurl can share between easy handles, and sets of
// them.
//
//   LockDataSet kinds = {LockData::kDns, LockData::kSslSession};
//   absl::StatusOr<LockDataSet> parsed = LockDataSet::Parse("dns,ssl_session");
//   if (!LockDataSet::Available().ContainsAll(kinds)) ...
//   for (LockData kind : kinds) LOG(INFO) << LockDataName(kind);
//
// LockData       one kind; the values are libcurl's CURL_LOCK_DATA_*
// LockDataName   its name: "cookie", "dns", ...
// LockDataSet    a set of kinds
//   Parse, ToString               text
//   All, Available                every kind; what the running libcurl has
//   Contains, ContainsAll, empty, size, begin, end
//   |, &, -, ==                   set algebra
//
// Source: https://curl.se/libcurl/c/CURLSHOPT_SHARE.html
#ifndef CURLSHARE_SHARE_LOCK_DATA_H_
#define CURLSHARE_SHARE_LOCK_DATA_H_

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace curlshare {

// A kind of data that a share can hold. Each value is that of libcurl's
// constant of the same name, so that static_cast<curl_lock_data> converts it.
enum class LockData : int {
  kCookie = 2,  // CURL_LOCK_DATA_COOKIE: the cookie jar
  // CURL_LOCK_DATA_DNS: the DNS cache. The shortest CURLOPT_DNS_CACHE_TIMEOUT
  // of any handle applies to all of them (ShareOptions::dns_cache_timeout
  // sets it for all); with 0, the
  // end of each transfer of that handle empties the cache. To look up one name
  // anew, set CURLOPT_RESOLVE to "-HOST:PORT".
  kDns = 3,
  kSslSession = 4,  // CURL_LOCK_DATA_SSL_SESSION: TLS sessions and tickets
  kConnect = 5,     // CURL_LOCK_DATA_CONNECT: the pool of open connections
  // CURL_LOCK_DATA_PSL: the Public Suffix List, by which libcurl checks the
  // domains of cookies. If it is not shared, each multi handle loads its own.
  kPsl = 6,
  kHsts = 7,  // CURL_LOCK_DATA_HSTS: the HSTS cache (RFC 6797)
};

// "cookie", "dns", "ssl_session", "connect", "psl" or "hsts"; "invalid" for a
// value that is none of the enumerators. Thread-safe; the string is static.
absl::string_view LockDataName(LockData kind);

// A set of kinds. Thread-compatible: a plain value, cheap to copy.
class LockDataSet {
 public:
  class Iterator;

  constexpr LockDataSet() = default;
  // Ignores values that are none of the enumerators.
  constexpr LockDataSet(std::initializer_list<LockData> kinds) {
    for (LockData kind : kinds) bits_ |= Bit(kind);
  }
  // Implicit, so that one kind can stand for a set: Enable(LockData::kDns).
  constexpr LockDataSet(LockData kind)  // NOLINT(google-explicit-constructor)
      : bits_(Bit(kind)) {}

  // Every kind.
  static constexpr LockDataSet All() {
    return {LockData::kCookie,  LockData::kDns, LockData::kSslSession,
            LockData::kConnect, LockData::kPsl, LockData::kHsts};
  }

  // The kinds that the running libcurl can share. A build without libpsl, for
  // example, lacks kPsl. libcurl is asked at the first call, and the answer is
  // kept. Thread-safe.
  //
  // Returns the errors of InitLibcurl(), and kResourceExhausted when out of
  // memory. After an error the next call asks again.
  static absl::StatusOr<LockDataSet> FindAvailable();
  // The same; the empty set where FindAvailable() returns an error.
  static LockDataSet Available();

  // Reads names that are separated by commas: "dns,ssl_session". Upper and
  // lower case are the same; blanks around a name are ignored. "all" stands for
  // every kind; "none", and an empty text, for no kind.
  //
  // kInvalidArgument: any other name; the message lists the valid ones.
  static absl::StatusOr<LockDataSet> Parse(absl::string_view text);

  // The set as Parse reads it: "dns,ssl_session"; "none" for the empty set.
  std::string ToString() const;

  constexpr bool Contains(LockData kind) const {
    return Bit(kind) != 0 && (bits_ & Bit(kind)) != 0;
  }
  constexpr bool ContainsAll(LockDataSet other) const {
    return (bits_ & other.bits_) == other.bits_;
  }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr int size() const {
    int n = 0;
    for (uint32_t rest = bits_; rest != 0; rest &= rest - 1) ++n;
    return n;
  }

  // For loops over the kinds of the set, in the order of the enumerators.
  constexpr Iterator begin() const;
  constexpr Iterator end() const;

  friend constexpr LockDataSet operator|(LockDataSet a, LockDataSet b) {
    return LockDataSet(a.bits_ | b.bits_);
  }
  friend constexpr LockDataSet operator&(LockDataSet a, LockDataSet b) {
    return LockDataSet(a.bits_ & b.bits_);
  }
  // The kinds of `a` that are not in `b`.
  friend constexpr LockDataSet operator-(LockDataSet a, LockDataSet b) {
    return LockDataSet(a.bits_ & ~b.bits_);
  }
  friend constexpr bool operator==(LockDataSet a, LockDataSet b) {
    return a.bits_ == b.bits_;
  }
  friend constexpr bool operator!=(LockDataSet a, LockDataSet b) {
    return a.bits_ != b.bits_;
  }

  template <typename Sink>
  friend void AbslStringify(Sink& sink, LockDataSet set) {
    sink.Append(set.ToString());
  }
  friend std::ostream& operator<<(std::ostream& os, LockDataSet set) {
    return os << set.ToString();
  }

 private:
  static constexpr int kFirst = static_cast<int>(LockData::kCookie);
  static constexpr int kLast = static_cast<int>(LockData::kHsts);

  explicit constexpr LockDataSet(uint32_t bits) : bits_(bits) {}

  static constexpr uint32_t Bit(LockData kind) {
    const int value = static_cast<int>(kind);
    return value < kFirst || value > kLast ? 0 : uint32_t{1} << value;
  }

  uint32_t bits_ = 0;
};

// The set of the two.
constexpr LockDataSet operator|(LockData a, LockData b) {
  return LockDataSet(a) | LockDataSet(b);
}

// A position in a copy of a LockDataSet: just what a range-based for loop
// needs. Thread-compatible. Stays valid when the set changes or is destroyed.
class LockDataSet::Iterator {
 public:
  constexpr LockData operator*() const { return static_cast<LockData>(value_); }
  constexpr Iterator& operator++() {
    ++value_;
    SkipToMember();
    return *this;
  }
  friend constexpr bool operator!=(Iterator a, Iterator b) {
    return a.value_ != b.value_;
  }

 private:
  friend class LockDataSet;
  constexpr Iterator(uint32_t bits, int value) : bits_(bits), value_(value) {
    SkipToMember();
  }
  constexpr void SkipToMember() {
    while (value_ <= kLast && (bits_ >> value_ & 1) == 0) ++value_;
  }

  uint32_t bits_;
  int value_;
};

constexpr LockDataSet::Iterator LockDataSet::begin() const {
  return Iterator(bits_, kFirst);
}
constexpr LockDataSet::Iterator LockDataSet::end() const {
  return Iterator(bits_, kLast + 1);
}

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_LOCK_DATA_H_
