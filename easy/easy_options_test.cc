// SPDX-License-Identifier: Apache-2.0
#include "curlshare/easy/easy_options.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

// The type that libcurl's own table gives, as far as OptionKind tells apart.
bool Agrees(const curl_easyoption& option, OptionKind kind) {
  switch (option.type) {
    case CURLOT_LONG:
    case CURLOT_VALUES:
      return kind == OptionKind::kLong || kind == OptionKind::kRequest ||
             kind == OptionKind::kManaged;
    case CURLOT_OFF_T:
      return kind == OptionKind::kOffT || kind == OptionKind::kRequest;
    case CURLOT_STRING:
      return kind == OptionKind::kString;
    case CURLOT_SLIST:
      return kind == OptionKind::kSlist;
    case CURLOT_BLOB:
      return kind == OptionKind::kBlob;
    case CURLOT_FUNCTION:
      return kind == OptionKind::kFunction || kind == OptionKind::kManaged;
    case CURLOT_CBPTR:
      return kind == OptionKind::kData || kind == OptionKind::kManaged ||
             kind == OptionKind::kRefused;
    case CURLOT_OBJECT:
      return kind == OptionKind::kPointer || kind == OptionKind::kManaged ||
             kind == OptionKind::kRefused;
  }
  return false;
}

TEST(KindOfOption, IsWhatLibcurlsOwnTableSays) {
  size_t options = 0;
  for (const curl_easyoption* option = curl_easy_option_next(nullptr);
       option != nullptr; option = curl_easy_option_next(option)) {
    ++options;
    EXPECT_TRUE(Agrees(*option, KindOfOption(option->id))) << option->name;
  }
  EXPECT_GT(options, 280u);
}

enum class Enum { kOne = 1 };

TEST(OptionTakes, TheTypeOfTheOptionAlone) {
  static_assert(OptionTakes<CURLOPT_VERBOSE, long>());
  static_assert(OptionTakes<CURLOPT_VERBOSE, bool>());
  static_assert(OptionTakes<CURLOPT_HTTP_VERSION, Enum>());
  static_assert(!OptionTakes<CURLOPT_VERBOSE, double>());
  static_assert(!OptionTakes<CURLOPT_VERBOSE, const char*>());
  static_assert(!OptionTakes<CURLOPT_VERBOSE, std::nullptr_t>());

  static_assert(OptionTakes<CURLOPT_MAXFILESIZE_LARGE, int>());
  static_assert(!OptionTakes<CURLOPT_MAXFILESIZE_LARGE, double>());
  static_assert(!OptionTakes<CURLOPT_MAXFILESIZE_LARGE, bool>());

  static_assert(OptionTakes<CURLOPT_URL, const char*>());
  static_assert(OptionTakes<CURLOPT_URL, const std::string&>());
  static_assert(OptionTakes<CURLOPT_URL, std::nullptr_t>());
  static_assert(!OptionTakes<CURLOPT_URL, int>());
  static_assert(!OptionTakes<CURLOPT_URL, std::vector<std::string>>());

  static_assert(OptionTakes<CURLOPT_HTTPHEADER, std::vector<std::string>>());
  static_assert(!OptionTakes<CURLOPT_HTTPHEADER, const char*>());
  static_assert(!OptionTakes<CURLOPT_HTTPHEADER, curl_slist*>());

  // Null unsets.
  static_assert(OptionTakes<CURLOPT_HTTPHEADER, std::nullptr_t>());
  static_assert(OptionTakes<CURLOPT_CAINFO_BLOB, std::nullptr_t>());

  static_assert(OptionTakes<CURLOPT_CAINFO_BLOB, std::string>());
  static_assert(!OptionTakes<CURLOPT_CAINFO_BLOB, curl_blob*>());

  static_assert(OptionTakes<CURLOPT_CURLU, CURLU*>());
  static_assert(!OptionTakes<CURLOPT_CURLU, FILE*>());
  static_assert(OptionTakes<CURLOPT_STDERR, FILE*>());
  static_assert(OptionTakes<CURLOPT_PRIVATE, int*>());

  // With their data, or by a method of their own.
  static_assert(!OptionTakes<CURLOPT_DEBUGFUNCTION, curl_debug_callback>());
  static_assert(!OptionTakes<CURLOPT_DEBUGDATA, void*>());
  static_assert(!OptionTakes<CURLOPT_SHARE, CURLSH*>());
  static_assert(!OptionTakes<CURLOPT_WRITEDATA, void*>());
  static_assert(!OptionTakes<CURLOPT_NOPROGRESS, long>());
  static_assert(!OptionTakes<CURLOPT_NOSIGNAL, long>());

  // What SetMethod and the body say.
  static_assert(!OptionTakes<CURLOPT_POSTFIELDSIZE, long>());
  static_assert(!OptionTakes<CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t>());
  static_assert(!OptionTakes<CURLOPT_POST, long>());
  static_assert(!OptionTakes<CURLOPT_HTTPGET, long>());
  static_assert(!OptionTakes<CURLOPT_NOBODY, long>());
  static_assert(!OptionTakes<CURLOPT_UPLOAD, long>());

  // The address of a struct, with a type that is in libcurl's table alone.
  // CURLOPT_HTTPPOST, _STREAM_DEPENDS, _STREAM_DEPENDS_E.
  static_assert(!OptionTakes<static_cast<CURLoption>(10024), const char*>());
  static_assert(!OptionTakes<static_cast<CURLoption>(10240), const char*>());
  static_assert(!OptionTakes<static_cast<CURLoption>(10241), const char*>());
}

// Null, however it is spelled.
TEST(OptionText, OfNullIsNone) {
  const char* const text = nullptr;
  char* const writable = nullptr;
  EXPECT_EQ(OptionText(nullptr), std::nullopt);
  EXPECT_EQ(OptionText(text), std::nullopt);
  EXPECT_EQ(OptionText(writable), std::nullopt);
  EXPECT_EQ(OptionText(absl::string_view()), std::nullopt);
  EXPECT_EQ(OptionText(absl::string_view("")), "");
  EXPECT_EQ(OptionText(std::string()), "");
  EXPECT_EQ(OptionText("a"), "a");
  EXPECT_EQ(OptionText(std::string("b")), "b");
}

TEST(FunctionOption, GoesWithItsOwnData) {
  static_assert(FunctionOption<CURLOPT_DEBUGFUNCTION>::kData ==
                CURLOPT_DEBUGDATA);
  static_assert(std::is_same_v<FunctionOption<CURLOPT_READFUNCTION>::Function,
                               curl_read_callback>);
  // Each has a data option, which is listed as one.
  static_assert(KindOfOption(FunctionOption<CURLOPT_SSL_CTX_FUNCTION>::kData) ==
                OptionKind::kData);
}

TEST(OptionTakesFunction, AFunctionOfTheOptionsTypeAndAPointer) {
  int data = 0;
  const int constant = 0;
  [[maybe_unused]] const auto plain = [](CURL*, curl_infotype, char*, size_t,
                                         void*) { return 0; };
  const auto captures = [&](CURL*, curl_infotype, char*, size_t, void*) {
    return data;
  };
  [[maybe_unused]] const auto other = [](void*) {};
  using Data = decltype(&data);
  static_assert(
      OptionTakesFunction<CURLOPT_DEBUGFUNCTION, decltype(plain), Data>());
  static_assert(OptionTakesFunction<CURLOPT_DEBUGFUNCTION, curl_debug_callback,
                                    std::nullptr_t>());
  static_assert(OptionTakesFunction<CURLOPT_DEBUGFUNCTION, std::nullptr_t,
                                    std::nullptr_t>());
  static_assert(
      !OptionTakesFunction<CURLOPT_DEBUGFUNCTION, decltype(captures), Data>());
  static_assert(
      !OptionTakesFunction<CURLOPT_DEBUGFUNCTION, decltype(other), Data>());
  static_assert(!OptionTakesFunction<CURLOPT_DEBUGFUNCTION, decltype(plain),
                                     decltype(&constant)>());
  static_assert(!OptionTakesFunction<CURLOPT_DEBUGFUNCTION, decltype(plain),
                                     std::string>());
  static_assert(
      !OptionTakesFunction<CURLOPT_WRITEFUNCTION, curl_write_callback, Data>());
  static_assert(!OptionTakesFunction<CURLOPT_URL, const char*, Data>());
  EXPECT_EQ(captures(nullptr, CURLINFO_TEXT, nullptr, 0, nullptr), constant);
}

TEST(KindOfInfo, FollowsTheType) {
  static_assert(KindOfInfo(CURLINFO_RESPONSE_CODE) == InfoKind::kLong);
  static_assert(KindOfInfo(CURLINFO_EFFECTIVE_URL) == InfoKind::kString);
  static_assert(KindOfInfo(CURLINFO_TOTAL_TIME) == InfoKind::kDouble);
  static_assert(KindOfInfo(CURLINFO_TOTAL_TIME_T) == InfoKind::kOffT);
  static_assert(KindOfInfo(CURLINFO_COOKIELIST) == InfoKind::kSlist);
  static_assert(KindOfInfo(CURLINFO_ACTIVESOCKET) == InfoKind::kSocket);
  static_assert(KindOfInfo(CURLINFO_CERTINFO) == InfoKind::kOther);
  static_assert(KindOfInfo(CURLINFO_PRIVATE) == InfoKind::kOther);
}

}  // namespace
}  // namespace curlshare
