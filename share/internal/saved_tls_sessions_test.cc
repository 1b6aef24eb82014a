// What a server makes of it: easy/saved_state_test.
#include "curlshare/share/internal/saved_tls_sessions.h"

#include <curl/curl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

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
  for (const std::string& first :
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

TEST_F(SavedTlsSessionsTest, AreReadFromAShareAndAddedToOne) {
  KindLocks locks;
  const std::unique_ptr<CURLSH, decltype(&curl_share_cleanup)> share(
      curl_share_init(), &curl_share_cleanup);
  CURLSH* const s = share.get();
  const curl_lock_function lock = &KindLocks::Lock;
  const curl_unlock_function unlock = &KindLocks::Unlock;
  curl_share_setopt(s, CURLSHOPT_LOCKFUNC, lock);
  curl_share_setopt(s, CURLSHOPT_UNLOCKFUNC, unlock);
  curl_share_setopt(s, CURLSHOPT_USERDATA, &locks);
  ASSERT_EQ(curl_share_setopt(s, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION),
            CURLSHE_OK);
  EXPECT_THAT(ReadTlsSessions(s, &locks), IsOkAndHolds(IsEmpty()));
  ASSERT_OK(AddTlsSessions(s, &locks, {NewSession()}));
  const auto sessions = ReadTlsSessions(s, &locks);
  ASSERT_OK(sessions.status());
  ASSERT_THAT(*sessions, SizeIs(1));
  EXPECT_EQ(sessions->front().peer, NewSession().peer);
  EXPECT_THAT(AddTlsSessions(s, &locks, {{NewSession().peer, "rubbish"}}),
              Not(::curlshare::testing::StatusIs(absl::StatusCode::kOk)));
  EXPECT_EQ(locks.dropped_unlocks(), 0u);
  EXPECT_FALSE(KindLocks::ThisThreadHoldsAny());
}

}  // namespace
}  // namespace curlshare::internal
