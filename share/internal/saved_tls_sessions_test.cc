// SPDX-License-Identifier: Apache-2.0
// What a server makes of it: easy/saved_state_test.
#include "curlshare/share/internal/saved_tls_sessions.h"

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// As in the headers of 8.12 and later.
extern "C" {
using CurlShareSessionFunction = CURLcode(CURL*, void*, const char*,
                                          const unsigned char*, size_t,
                                          const unsigned char*, size_t,
                                          curl_off_t, int, const char*, size_t);
ABSL_ATTRIBUTE_WEAK CURLcode curl_easy_ssls_export(
    CURL* curl, CurlShareSessionFunction* function, void* userptr);
}

namespace curlshare::internal {
namespace {

using ::curlshare::testing::IsOkAndHolds;
using ::curlshare::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// As libcurl packs it: version 1, a ticket (4) of 6 bytes, TLS 1.3 (2), valid
// until the year 2286 (3).
TlsSession NewSession(char peer = 'p') {
  return {std::string(64, peer),
          std::string("\x01\x04\x00\x06secret\x02\x03\x04\x03\x00\x00\x00\x02"
                      "\x54\x0b\xe3\xff",
                      22)};
}

class SavedTlsSessionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(InitLibcurl());
    if (!CanSaveTlsSessions().ok()) {
      GTEST_SKIP() << CanSaveTlsSessions();
    }
  }
};

TEST(CanSaveTlsSessions, SaysWhatItTakes) {
  ASSERT_OK(InitLibcurl());
  if (RunningLibcurl().version_num < LibcurlVersion(8, 12, 0)) {
    EXPECT_THAT(CanSaveTlsSessions(),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr("8.12"), HasSubstr("ssls-export"))));
  } else {
    EXPECT_OK(CanSaveTlsSessions());
  }
}

TEST_F(SavedTlsSessionsTest, AreReadAsTheyWereWritten) {
  const std::string text =
      FormatTlsSessions({NewSession('a'), NewSession('b')});
  const auto sessions = ParseTlsSessions(text);
  ASSERT_OK(sessions.status());
  ASSERT_THAT(*sessions, SizeIs(2));
  EXPECT_EQ((*sessions)[1].peer, NewSession('b').peer);
  EXPECT_EQ((*sessions)[1].data, NewSession('b').data);
  EXPECT_THAT(ParseTlsSessions(FormatTlsSessions({})), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(ParseTlsSessions(""), IsOkAndHolds(IsEmpty()));
}

TEST_F(SavedTlsSessionsTest, AreRefusedWithTheNumberOfTheLine) {
  const std::string good = FormatTlsSessions({NewSession()});
  const std::string peer = absl::Base64Escape(NewSession().peer);
  const std::string data = absl::Base64Escape(NewSession().data);
  const auto refused = [](int line) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    HasSubstr(absl::StrCat("line ", line, " ")));
  };
  for (const char* first :
       {"curl_share TLS sessions 2\n", "\n", " ", "secret\n"}) {
    EXPECT_THAT(ParseTlsSessions(first).status(), refused(1)) << first;
  }
  for (const std::string& line : std::vector<std::string>{
           "", "secret", peer, absl::StrCat(peer, " "), absl::StrCat(" ", data),
           absl::StrCat(peer, " ", data, " "), absl::StrCat(peer, "  ", data),
           absl::StrCat("* ", data), absl::StrCat(peer, " *"),
           // libcurl's part: a peer too short, no session, half a session.
           absl::StrCat("cGVlcg== ", data),
           absl::StrCat(peer, " ", absl::Base64Escape("secret")),
           absl::StrCat(peer, " ",
                        absl::Base64Escape(NewSession().data.substr(0, 9)))}) {
    const absl::Status status =
        ParseTlsSessions(absl::StrCat(good, line, "\nrubbish\n")).status();
    EXPECT_THAT(status, refused(3)) << line;
    EXPECT_THAT(status.message(), Not(HasSubstr("secret")));
  }
  EXPECT_THAT(ParseTlsSessions(good.substr(0, good.size() - 1)).status(),
              refused(2));
}

// A CURLSH of TLS sessions.
class TlsShare {
 public:
  TlsShare() {
    const curl_lock_function lock = &KindLocks::Lock;
    const curl_unlock_function unlock = &KindLocks::Unlock;
    curl_share_setopt(get(), CURLSHOPT_LOCKFUNC, lock);
    curl_share_setopt(get(), CURLSHOPT_UNLOCKFUNC, unlock);
    curl_share_setopt(get(), CURLSHOPT_USERDATA, &locks_);
    EXPECT_EQ(
        curl_share_setopt(get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION),
        CURLSHE_OK);
  }
  CURLSH* get() const { return share_.get(); }
  KindLocks* locks() { return &locks_; }

 private:
  KindLocks locks_;
  const std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share_{
      curl_share_init(), &curl_share_cleanup};
};

TEST_F(SavedTlsSessionsTest, AreReadFromAShareAndAddedToOne) {
  TlsShare share;
  EXPECT_THAT(ReadTlsSessions(share.get(), share.locks()),
              IsOkAndHolds(IsEmpty()));
  ASSERT_OK(AddTlsSessions(share.get(), share.locks(), {NewSession()}));
  const auto sessions = ReadTlsSessions(share.get(), share.locks());
  ASSERT_OK(sessions.status());
  ASSERT_THAT(*sessions, SizeIs(1));
  EXPECT_EQ(sessions->front().peer, NewSession().peer);
  EXPECT_THAT(AddTlsSessions(share.get(), share.locks(),
                             {{NewSession().peer, "rubbish"}}),
              Not(StatusIs(absl::StatusCode::kOk)));
  EXPECT_EQ(share.locks()->dropped_unlocks(), 0u);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

// From 8.20 on libcurl looks whether another thread is there, and then refuses.
TEST_F(SavedTlsSessionsTest, WaitForWhoUsesThem) {
  TlsShare share;
  ASSERT_OK(AddTlsSessions(share.get(), share.locks(), {NewSession()}));
  struct Steps {
    absl::Notification inside;
    absl::Notification added;
  } steps;
  std::thread other([&] {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
        curl_easy_init(), &curl_easy_cleanup);
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SHARE, share.get()),
              CURLE_OK);
    const auto stay = [](CURL*, void* data, const char*, const unsigned char*,
                         size_t, const unsigned char*, size_t, curl_off_t, int,
                         const char*, size_t) {
      auto* const steps = static_cast<Steps*>(data);
      steps->inside.Notify();
      EXPECT_FALSE(
          steps->added.WaitForNotificationWithTimeout(absl::Milliseconds(200)))
          << "it has not waited";
      return CURLE_OK;
    };
    EXPECT_EQ(curl_easy_ssls_export(curl.get(), stay, &steps), CURLE_OK);
  });
  steps.inside.WaitForNotification();
  EXPECT_OK(AddTlsSessions(share.get(), share.locks(), {NewSession('q')}));
  steps.added.Notify();
  EXPECT_THAT(ReadTlsSessions(share.get(), share.locks()),
              IsOkAndHolds(SizeIs(2)));
  other.join();
  EXPECT_EQ(share.locks()->dropped_unlocks(), 0u);
}

}  // namespace
}  // namespace curlshare::internal
