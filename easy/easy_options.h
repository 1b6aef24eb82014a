// SPDX-License-Identifier: Apache-2.0
// The type of value that each CURLoption takes, at compile time. With it,
// Easy::SetOption rejects a value of the wrong type. curl_easy_setopt cannot:
// it is variadic and accepts any argument.
//
//   static_assert(KindOfOption(CURLOPT_VERBOSE) == OptionKind::kLong);
//   static_assert(!OptionTakes<CURLOPT_VERBOSE, const char*>());
//
// Source: https://curl.se/libcurl/c/curl_easy_setopt.html,
//         https://curl.se/libcurl/c/curl_easy_option_next.html
#ifndef CURLSHARE_EASY_EASY_OPTIONS_H_
#define CURLSHARE_EASY_EASY_OPTIONS_H_

#include <curl/curl.h>

#include <cstdio>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace curlshare {

// The kinds of values that options take.
enum class OptionKind {
  kLong,      // long, also used for booleans, enumerations and bit masks
  kOffT,      // curl_off_t
  kString,    // char*, copied by libcurl
  kSlist,     // curl_slist*, not copied by libcurl: Easy owns it
  kBlob,      // curl_blob, copied
  kFunction,  // a callback; set together with its data
  kData,      // the data of a callback; set together with the callback
  kPointer,   // the address of an object that the caller keeps alive
  kManaged,   // set by Easy itself, which has a method for it
  kRequest,   // follows from SetMethod and the body
  kRefused,   // takes a struct of a deprecated interface
};

// Returns the kind of value that `option` takes.
//
// libcurl numbers its options by type (CURLOPTTYPE_LONG, ...), so the number
// tells most kinds. The options whose kind the number does not tell are listed
// here. easy_options_test.cc compares all of them with libcurl's own table
// (curl_easy_option_next).
constexpr OptionKind KindOfOption(CURLoption option) {
  switch (option) {
    case CURLOPT_SHARE:             // Attach, Detach
    case CURLOPT_ERRORBUFFER:       // the message of the Status
    case CURLOPT_WRITEFUNCTION:     // SetSink
    case CURLOPT_WRITEDATA:         //
    case CURLOPT_HEADERFUNCTION:    // SetHeaderSink
    case CURLOPT_HEADERDATA:        //
    case CURLOPT_XFERINFOFUNCTION:  // SetProgress
    case CURLOPT_XFERINFODATA:      //
    case CURLOPT_NOPROGRESS:        //
    case CURLOPT_NOSIGNAL:          // 1, as threads require
    case CURLOPT_POSTFIELDS:        // SetBody
    case CURLOPT_COPYPOSTFIELDS:    //
      return OptionKind::kManaged;
    case CURLOPT_HTTPGET:
    case CURLOPT_NOBODY:
    case CURLOPT_POST:
    case CURLOPT_POSTFIELDSIZE:
    case CURLOPT_POSTFIELDSIZE_LARGE:
    case CURLOPT_UPLOAD:
      return OptionKind::kRequest;
    case CURLOPT_CONNECT_TO:
    case CURLOPT_HTTP200ALIASES:
    case CURLOPT_HTTPHEADER:
    case CURLOPT_MAIL_RCPT:
    case CURLOPT_POSTQUOTE:
    case CURLOPT_PREQUOTE:
    case CURLOPT_PROXYHEADER:
    case CURLOPT_QUOTE:
    case CURLOPT_RESOLVE:
    case CURLOPT_TELNETOPTIONS:
      return OptionKind::kSlist;
    case CURLOPT_CHUNK_DATA:
    case CURLOPT_CLOSESOCKETDATA:
    case CURLOPT_DEBUGDATA:
    case CURLOPT_FNMATCH_DATA:
    case CURLOPT_HSTSREADDATA:
    case CURLOPT_HSTSWRITEDATA:
    case CURLOPT_INTERLEAVEDATA:
    case CURLOPT_OPENSOCKETDATA:
    case CURLOPT_PREREQDATA:
    case CURLOPT_READDATA:
    case CURLOPT_RESOLVER_START_DATA:
    case CURLOPT_SEEKDATA:
    case CURLOPT_SOCKOPTDATA:
    case CURLOPT_SSH_HOSTKEYDATA:
    case CURLOPT_SSH_KEYDATA:
    case CURLOPT_SSL_CTX_DATA:
    case CURLOPT_TRAILERDATA:
      return OptionKind::kData;
    case CURLOPT_CURLU:
    case CURLOPT_MIMEPOST:
    case CURLOPT_PRIVATE:
    case CURLOPT_STDERR:
      return OptionKind::kPointer;
    default:
      break;
  }
  const int number = static_cast<int>(option);
  switch (number) {  // libcurl has deprecated these: their names would warn.
    case CURLOPTTYPE_LONG + 54:  // CURLOPT_PUT
      return OptionKind::kRequest;
    case CURLOPTTYPE_OBJECTPOINT + 24:   // CURLOPT_HTTPPOST
    case CURLOPTTYPE_CBPOINT + 131:      // CURLOPT_IOCTLDATA
    case CURLOPTTYPE_OBJECTPOINT + 240:  // CURLOPT_STREAM_DEPENDS
    case CURLOPTTYPE_OBJECTPOINT + 241:  // CURLOPT_STREAM_DEPENDS_E
      return OptionKind::kRefused;
    default:
      break;
  }
  if (number < CURLOPTTYPE_OBJECTPOINT) return OptionKind::kLong;
  if (number < CURLOPTTYPE_FUNCTIONPOINT) return OptionKind::kString;
  if (number < CURLOPTTYPE_OFF_T) return OptionKind::kFunction;
  if (number < CURLOPTTYPE_BLOB) return OptionKind::kOffT;
  return OptionKind::kBlob;
}

// Returns whether Easy::SetOption<kOption>(value) accepts a value of type T.
template <CURLoption kOption, typename T>
constexpr bool OptionTakes() {
  using Value = std::decay_t<T>;
  switch (KindOfOption(kOption)) {
    case OptionKind::kLong:
      return (std::is_integral_v<Value> ||
              std::is_enum_v<Value>)&&sizeof(Value) <= sizeof(long);
    case OptionKind::kOffT:
      return std::is_integral_v<Value> && !std::is_same_v<Value, bool>;
    case OptionKind::kString:
      return std::is_null_pointer_v<Value> ||
             std::is_convertible_v<T, absl::string_view>;
    case OptionKind::kSlist:
      return std::is_null_pointer_v<Value> ||
             std::is_convertible_v<T, absl::Span<const std::string>>;
    case OptionKind::kBlob:
      return std::is_null_pointer_v<Value> ||
             std::is_convertible_v<T, absl::string_view>;
    case OptionKind::kPointer:
      return kOption == CURLOPT_CURLU ? std::is_convertible_v<T, CURLU*>
             : kOption == CURLOPT_MIMEPOST
                 ? std::is_convertible_v<T, curl_mime*>
             : kOption == CURLOPT_STDERR ? std::is_convertible_v<T, FILE*>
                                         : std::is_convertible_v<T, void*>;
    case OptionKind::kFunction:
    case OptionKind::kData:
    case OptionKind::kManaged:
    case OptionKind::kRequest:
    case OptionKind::kRefused:
      break;
  }
  return false;
}

// Returns the text of an option's value. nullopt for nullptr, for a null char*
// and for a string_view without data: these unset the option.
template <typename T>
std::optional<absl::string_view> OptionText(const T& value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return std::nullopt;
  } else if constexpr (std::is_convertible_v<T, const char*>) {
    const char* const text = value;
    if (text == nullptr) return std::nullopt;
    return absl::string_view(text);
  } else {
    const absl::string_view text = value;
    if (text.data() == nullptr) return std::nullopt;
    return text;
  }
}

// For an option that takes a callback: `Function`, the type of the callback,
// and `kData`, the option that takes the callback's data. Incomplete for any
// other option, and for callbacks that libcurl has deprecated.
template <CURLoption kOption>
struct FunctionOption;

// The members of FunctionOption: the base class of its specializations below.
template <typename F, CURLoption kDataOption>
struct FunctionOptionOf {
  using Function = F;
  static constexpr CURLoption kData = kDataOption;
};

template <>
struct FunctionOption<CURLOPT_CHUNK_BGN_FUNCTION>
    : FunctionOptionOf<curl_chunk_bgn_callback, CURLOPT_CHUNK_DATA> {};
template <>
struct FunctionOption<CURLOPT_CHUNK_END_FUNCTION>
    : FunctionOptionOf<curl_chunk_end_callback, CURLOPT_CHUNK_DATA> {};
template <>
struct FunctionOption<CURLOPT_CLOSESOCKETFUNCTION>
    : FunctionOptionOf<curl_closesocket_callback, CURLOPT_CLOSESOCKETDATA> {};
template <>
struct FunctionOption<CURLOPT_DEBUGFUNCTION>
    : FunctionOptionOf<curl_debug_callback, CURLOPT_DEBUGDATA> {};
template <>
struct FunctionOption<CURLOPT_FNMATCH_FUNCTION>
    : FunctionOptionOf<curl_fnmatch_callback, CURLOPT_FNMATCH_DATA> {};
template <>
struct FunctionOption<CURLOPT_HSTSREADFUNCTION>
    : FunctionOptionOf<curl_hstsread_callback, CURLOPT_HSTSREADDATA> {};
template <>
struct FunctionOption<CURLOPT_HSTSWRITEFUNCTION>
    : FunctionOptionOf<curl_hstswrite_callback, CURLOPT_HSTSWRITEDATA> {};
template <>
struct FunctionOption<CURLOPT_INTERLEAVEFUNCTION>
    : FunctionOptionOf<curl_write_callback, CURLOPT_INTERLEAVEDATA> {};
template <>
struct FunctionOption<CURLOPT_OPENSOCKETFUNCTION>
    : FunctionOptionOf<curl_opensocket_callback, CURLOPT_OPENSOCKETDATA> {};
template <>
struct FunctionOption<CURLOPT_PREREQFUNCTION>
    : FunctionOptionOf<curl_prereq_callback, CURLOPT_PREREQDATA> {};
template <>
struct FunctionOption<CURLOPT_READFUNCTION>
    : FunctionOptionOf<curl_read_callback, CURLOPT_READDATA> {};
template <>
struct FunctionOption<CURLOPT_RESOLVER_START_FUNCTION>
    : FunctionOptionOf<curl_resolver_start_callback,
                       CURLOPT_RESOLVER_START_DATA> {};
template <>
struct FunctionOption<CURLOPT_SEEKFUNCTION>
    : FunctionOptionOf<curl_seek_callback, CURLOPT_SEEKDATA> {};
template <>
struct FunctionOption<CURLOPT_SOCKOPTFUNCTION>
    : FunctionOptionOf<curl_sockopt_callback, CURLOPT_SOCKOPTDATA> {};
template <>
struct FunctionOption<CURLOPT_SSH_HOSTKEYFUNCTION>
    : FunctionOptionOf<curl_sshhostkeycallback, CURLOPT_SSH_HOSTKEYDATA> {};
template <>
struct FunctionOption<CURLOPT_SSH_KEYFUNCTION>
    : FunctionOptionOf<curl_sshkeycallback, CURLOPT_SSH_KEYDATA> {};
template <>
struct FunctionOption<CURLOPT_SSL_CTX_FUNCTION>
    : FunctionOptionOf<curl_ssl_ctx_callback, CURLOPT_SSL_CTX_DATA> {};
template <>
struct FunctionOption<CURLOPT_TRAILERFUNCTION>
    : FunctionOptionOf<curl_trailer_callback, CURLOPT_TRAILERDATA> {};

// Whether kOption takes a callback, that is, whether FunctionOption is
// specialized for it above.
template <CURLoption kOption, typename = void>
inline constexpr bool kIsFunctionOption = false;
template <CURLoption kOption>
inline constexpr bool kIsFunctionOption<
    kOption, std::void_t<decltype(FunctionOption<kOption>::kData)>> = true;

// Returns whether a value of type T can be the callback of kOption. Integers
// are accepted because NULL is an integer.
template <CURLoption kOption, typename T>
constexpr bool IsFunctionFor() {
  if constexpr (kIsFunctionOption<kOption>) {
    using Function = typename FunctionOption<kOption>::Function;
    return std::is_convertible_v<T, Function> ||
           std::is_integral_v<std::decay_t<T>>;
  } else {
    return false;
  }
}

// Returns whether Easy::SetOption<kOption>(function, data) accepts values of
// types F and D.
template <CURLoption kOption, typename F, typename D>
constexpr bool OptionTakesFunction() {
  return IsFunctionFor<kOption, F>() && (std::is_convertible_v<D, void*> ||
                                         std::is_integral_v<std::decay_t<D>>);
}

// Does not compile if kOption is an option that Easy sets itself. The message
// names the method to use instead.
template <CURLoption kOption>
constexpr void CheckIsForSetOption() {
  constexpr OptionKind kKind = KindOfOption(kOption);
  static_assert(
      kOption != CURLOPT_WRITEFUNCTION && kOption != CURLOPT_WRITEDATA,
      "Easy sets this option itself. For the body use SetSink: "
      "easy.SetSink([&](absl::string_view piece) { ...; return "
      "absl::OkStatus(); })");
  static_assert(
      kOption != CURLOPT_HEADERFUNCTION && kOption != CURLOPT_HEADERDATA,
      "Easy sets this option itself. For header lines use SetHeaderSink: "
      "easy.SetHeaderSink([&](absl::string_view line) { ...; return "
      "absl::OkStatus(); })");
  static_assert(
      kOption != CURLOPT_XFERINFOFUNCTION && kOption != CURLOPT_XFERINFODATA &&
          kOption != CURLOPT_NOPROGRESS &&
          static_cast<int>(kOption) != CURLOPTTYPE_FUNCTIONPOINT + 56,
      "Easy sets this option itself. For progress use SetProgress: "
      "easy.SetProgress([&](const TransferProgress& progress) { ...; return "
      "absl::OkStatus(); })");
  static_assert(
      kOption != CURLOPT_POSTFIELDS && kOption != CURLOPT_COPYPOSTFIELDS,
      "Easy sets this option itself. For the request's body use SetBody");
  static_assert(kOption != CURLOPT_SHARE,
                "Easy sets this option itself. To share use Attach");
  static_assert(
      kOption != CURLOPT_ERRORBUFFER,
      "Easy sets this option itself. The text is in the Status that a "
      "transfer returns");
  static_assert(kOption != CURLOPT_NOSIGNAL,
                "Easy sets this option itself. It is 1, as threads require");
  static_assert(kKind != OptionKind::kRequest,
                "SetMethod and the body (SetBody, CURLOPT_READFUNCTION, "
                "CURLOPT_MIMEPOST) say what is sent");
  static_assert(kKind != OptionKind::kRefused,
                "libcurl has deprecated this option: for a form use "
                "CURLOPT_MIMEPOST");
}

// The type of the value that a CURLINFO has. kOther: a pointer that
// Easy::GetInfo does not return.
// Source: https://curl.se/libcurl/c/curl_easy_getinfo.html
enum class InfoKind { kString, kLong, kDouble, kSlist, kSocket, kOffT, kOther };

// Returns the type of the value that `info` has. libcurl encodes it in the
// number (CURLINFO_TYPEMASK), with the exceptions that are listed here.
constexpr InfoKind KindOfInfo(CURLINFO info) {
  switch (info) {
    case CURLINFO_PRIVATE:      // the pointer that CURLOPT_PRIVATE was given
    case CURLINFO_CERTINFO:     // a struct that belongs to the handle
    case CURLINFO_TLS_SSL_PTR:  // likewise
      return InfoKind::kOther;
    default:
      break;
  }
  switch (static_cast<int>(info) & CURLINFO_TYPEMASK) {
    case CURLINFO_STRING:
      return InfoKind::kString;
    case CURLINFO_LONG:
      return InfoKind::kLong;
    case CURLINFO_DOUBLE:
      return InfoKind::kDouble;
    case CURLINFO_SLIST:
      // 43 is CURLINFO_TLS_SESSION, which libcurl has deprecated.
      return static_cast<int>(info) == CURLINFO_SLIST + 43 ? InfoKind::kOther
                                                           : InfoKind::kSlist;
    case CURLINFO_SOCKET:
      return InfoKind::kSocket;
    case CURLINFO_OFF_T:
      return InfoKind::kOffT;
    default:
      return InfoKind::kOther;
  }
}

}  // namespace curlshare

#endif  // CURLSHARE_EASY_EASY_OPTIONS_H_
