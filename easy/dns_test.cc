// SPDX-License-Identifier: Apache-2.0
// A share spreads no trouble of the resolver's: what failed is not given to
// others. By a resolver of the test's own, and by what the server counted.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/scripted_resolver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::AwaitLookup;
using ::curlshare::testing::HoldLookups;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::Lookups;
using ::curlshare::testing::ScriptName;
using ::curlshare::testing::StatusIs;
using ::testing::AnyOf;

constexpr char kName[] = "flaky.curlshare.test";
constexpr int kOthers = 8;
// Nobody listens there: the server has 127.0.0.1 alone.
constexpr char kRefuses[] = "127.0.0.77";
constexpr char kSilent[] = "127.0.0.78";  // see FullListener

// The parameter: whether transfers go by an Attachment.
class DnsTest : public ::testing::TestWithParam<bool> {
 protected:
  static size_t Drop(char*, size_t size, size_t count, void*) {
    return size * count;
  }

  // What a new handle in `share` gets from `url`.
  absl::Status Fetch(Share& share, const std::string& url,
                     absl::Duration timeout = absl::Seconds(60)) {
    if (!GetParam()) {
      absl::StatusOr<Easy> easy = Easy::Create();
      EXPECT_OK(easy.status());
      EXPECT_OK(easy->Attach(share));
      EXPECT_OK(easy->SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
      EXPECT_OK(easy->SetConnectTimeout(timeout));
      return easy->Fetch(url).status();
    }
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
        curl_easy_init(), &curl_easy_cleanup);
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
              CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()), CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L), CURLE_OK);
    EXPECT_EQ(
        curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS,
                         static_cast<long>(absl::ToInt64Milliseconds(timeout))),
        CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_IPRESOLVE,
                               static_cast<long>(CURL_IPRESOLVE_V4)),
              CURLE_OK);
    absl::StatusOr<Attachment> attachment = share.Attach(curl.get());
    EXPECT_OK(attachment.status());
    return attachment->Perform();
  }

  // Of new handles, one after another.
  int Failures(Share& share, const std::string& url) {
    int failures = 0;
    for (int i = 0; i < kOthers; ++i) {
      failures += Fetch(share, url).ok() ? 0 : 1;
    }
    return failures;
  }

  static std::unique_ptr<Share> NewShare(
      absl::Duration dns_cache_timeout = absl::Seconds(60)) {
    ShareOptions options;
    options.lock_data = LockData::kDns;
    options.dns_cache_timeout = dns_cache_timeout;
    return Share::Create(options).value();
  }

  std::string url(absl::string_view target = "/") const {
    return server_->url(target, kName);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

INSTANTIATE_TEST_SUITE_P(Handle, DnsTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "Attachment" : "Easy";
                         });

// The answers themselves are shared: one look-up for all.
TEST_P(DnsTest, OneLookupServesAll) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare();
  EXPECT_EQ(Failures(*share, url()), 0);
  EXPECT_EQ(Lookups(kName), 1);
}

TEST_P(DnsTest, AResolverThatFailsOnceFailsOneTransfer) {
  ScriptName(kName, {"!again", "127.0.0.1"});
  const auto share = NewShare();
  EXPECT_EQ(GetEasyCode(Fetch(*share, url())), CURLE_COULDNT_RESOLVE_HOST);
  EXPECT_EQ(Failures(*share, url()), 0);
}

TEST_P(DnsTest, AnAddressThatRefusesFailsOneTransfer) {
  ScriptName(kName, {kRefuses, "127.0.0.1"});
  const auto share = NewShare();
  EXPECT_EQ(GetEasyCode(Fetch(*share, url())), CURLE_COULDNT_CONNECT);
  EXPECT_EQ(Failures(*share, url()), 0);
  EXPECT_EQ(Lookups(kName), 2);
}

// Listens at kSilent with that port and is full: who connects waits.
class FullListener {
 public:
  explicit FullListener(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(inet_pton(AF_INET, kSilent, &address.sin_addr), 1);
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    for (int& fd : fds_) {
      fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      EXPECT_GE(fd, 0);
    }
    EXPECT_EQ(bind(fds_[0], name, sizeof(address)), 0);
    EXPECT_EQ(listen(fds_[0], 0), 0);
    for (size_t i = 1; i < fds_.size(); ++i) {
      (void)connect(fds_[i], name, sizeof(address));
    }
  }
  FullListener(const FullListener&) = delete;
  FullListener& operator=(const FullListener&) = delete;
  ~FullListener() {
    for (const int fd : fds_) close(fd);
  }

 private:
  std::array<int, 4> fds_{};
};

TEST_P(DnsTest, AnAddressThatDoesNotAnswerFailsOneTransfer) {
  ScriptName(kName, {kSilent, "127.0.0.1"});
  const FullListener listener(server_->port());
  const auto share = NewShare();
  EXPECT_EQ(GetEasyCode(Fetch(*share, url(), absl::Milliseconds(200))),
            CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(Failures(*share, url()), 0);
  EXPECT_EQ(Lookups(kName), 2);
}

// A timeout of a server that has been reached says nothing of its name.
TEST_P(DnsTest, AServerThatIsSlowKeepsItsName) {
  if (GetParam()) GTEST_SKIP() << "the same as with an Easy";
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare();
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.Attach(*share));
  ASSERT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(200)));
  EXPECT_EQ(GetEasyCode(easy.Fetch(url("/stall")).status()),
            CURLE_OPERATION_TIMEDOUT);
  server_->ReleaseStalled();
  EXPECT_EQ(Failures(*share, url()), 0);
  EXPECT_EQ(Lookups(kName), 1);
}

// A name that fails for good is looked up once a second for what was cached of
// it, and not once for each transfer.
TEST_P(DnsTest, ANameThatFailsForGoodIsForgottenOnceASecond) {
  ScriptName(kName, {kRefuses});
  const auto share = NewShare();
  const absl::Time begin = absl::Now();
  constexpr int kTransfers = 30;
  for (int i = 0; i < kTransfers; ++i) {
    EXPECT_EQ(GetEasyCode(Fetch(*share, url())), CURLE_COULDNT_CONNECT);
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  EXPECT_LE(Lookups(kName), 3 + seconds);
}

// What a proxy's name fails with: which one it is nobody tells.
TEST_P(DnsTest, AProxysNameIsForgotten) {
  if (GetParam()) GTEST_SKIP() << "the same as with an Easy";
  ScriptName(kName, {"!again", "127.0.0.1"});
  const auto share = NewShare();
  const auto fetch = [&] {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(*share));
    EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    EXPECT_OK(easy.SetOption<CURLOPT_PROXY>(url()));
    return easy.Fetch("http://origin.test/").status();
  };
  // 8.14.1 calls it the host's where the resolver's thread is done before
  // libcurl first looks (Curl_resolv, lib/hostip.c).
  EXPECT_THAT(GetEasyCode(fetch()),
              AnyOf(CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST));
  for (int i = 0; i < kOthers; ++i) EXPECT_OK(fetch());
}

TEST_P(DnsTest, AConnectToIsForgotten) {
  if (GetParam()) GTEST_SKIP() << "the same as with an Easy";
  ScriptName(kName, {kRefuses, "127.0.0.1"});
  const auto share = NewShare();
  const auto fetch = [&] {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.Attach(*share));
    EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    EXPECT_OK(easy.SetOption<CURLOPT_CONNECT_TO>(
        {absl::StrCat("::", kName, ":", server_->port())}));
    return easy.Fetch("http://origin.test/").status();
  };
  EXPECT_EQ(GetEasyCode(fetch()), CURLE_COULDNT_CONNECT);
  for (int i = 0; i < kOthers; ++i) EXPECT_OK(fetch());
}

// An address that CURLOPT_RESOLVE gave is no answer of the resolver's.
TEST_P(DnsTest, AnAddressThatWasGivenStays) {
  if (GetParam()) GTEST_SKIP() << "the same as with an Easy";
  ScriptName(kName, {"!none"});
  const auto share = NewShare();
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat(kName, ":", server_->port(), ":", kRefuses)}));
  ASSERT_OK(easy.Attach(*share));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(GetEasyCode(easy.Fetch(url()).status()), CURLE_COULDNT_CONNECT);
    // Another one, which has that address of the first, and was given none.
    EXPECT_EQ(GetEasyCode(Fetch(*share, url())), CURLE_COULDNT_CONNECT);
  }
  EXPECT_EQ(Lookups(kName), 0);
}

// What others have in the cache is left alone, but where the name that failed
// cannot be told.
TEST_P(DnsTest, OtherNamesStay) {
  if (GetParam()) GTEST_SKIP() << "of raw handles nobody knows";
  constexpr char kOther[] = "other.curlshare.test";
  ScriptName(kOther, {"127.0.0.1"});
  ScriptName(kName, {kRefuses});
  const auto share = NewShare();
  ASSERT_OK(Fetch(*share, server_->url("/", kOther)));
  EXPECT_FALSE(Fetch(*share, url()).ok());
  ASSERT_OK(Fetch(*share, server_->url("/", kOther)));
  EXPECT_EQ(Lookups(kOther), 1);
}

TEST_P(DnsTest, AnswersAreAsOldAsTheShareSays) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare(absl::Seconds(1));
  ASSERT_OK(Fetch(*share, url()));
  ASSERT_OK(Fetch(*share, url()));
  EXPECT_LE(Lookups(kName), 2);
  const int before = Lookups(kName);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (Lookups(kName) == before) {
    ASSERT_LT(absl::Now(), deadline) << "it does not age";
    ASSERT_OK(Fetch(*share, url()));
  }
}

// The resolver answers only once the share has been closed: a close that waited
// for it would wait for ever.
TEST_P(DnsTest, CloseNowEndsATransferThatResolves) {
  ScriptName(kName, {"127.0.0.1"});
  const auto share = NewShare();
  std::optional<HoldLookups> hold(std::in_place);
  absl::Status fetched;
  std::thread thread([&] { fetched = Fetch(*share, url()); });
  AwaitLookup(kName);
  EXPECT_OK(share->CloseNow());
  thread.join();
  EXPECT_THAT(fetched, StatusIs(absl::StatusCode::kCancelled));
  hold.reset();
}

// A handle may have a shorter limit of its own, no longer one; in whatever
// order it is set.
TEST_P(DnsTest, AHandleCannotHaveThemOlder) {
  if (GetParam()) GTEST_SKIP() << "an owner sets a CURL* as it likes";
  for (const bool attached_first : {true, false}) {
    ScriptName(kName, {"127.0.0.1"});
    const auto share = NewShare(absl::Seconds(1));
    Easy easy = Easy::Create().value();
    if (attached_first) {
      ASSERT_OK(easy.Attach(*share));
    }
    ASSERT_OK(easy.SetOption<CURLOPT_DNS_CACHE_TIMEOUT>(3600));
    if (!attached_first) {
      ASSERT_OK(easy.Attach(*share));
    }
    ASSERT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (Lookups(kName) < 2) {
      ASSERT_LT(absl::Now(), deadline) << "it does not age";
      ASSERT_OK(easy.SetOption<CURLOPT_FRESH_CONNECT>(1));
      ASSERT_OK(easy.Fetch(url()).status());
    }
  }
}

TEST_P(DnsTest, AHandleMayHaveThemYounger) {
  if (GetParam()) GTEST_SKIP() << "an owner sets a CURL* as it likes";
  for (const bool attached_first : {true, false}) {
    ScriptName(kName, {"127.0.0.1"});
    const auto share = NewShare(absl::Hours(1));
    Easy easy = Easy::Create().value();
    if (attached_first) {
      ASSERT_OK(easy.Attach(*share));
    }
    ASSERT_OK(easy.SetOption<CURLOPT_DNS_CACHE_TIMEOUT>(1));
    if (!attached_first) {
      ASSERT_OK(easy.Attach(*share));
    }
    ASSERT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
    ASSERT_OK(easy.SetOption<CURLOPT_FRESH_CONNECT>(1));
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (Lookups(kName) < 2) {
      ASSERT_LT(absl::Now(), deadline) << "it has the age of the share's";
      ASSERT_OK(easy.Fetch(url()).status());
    }
  }
}

// What one share says of its answers does not go along to the next, which a
// handle with a short limit would empty for all.
TEST_P(DnsTest, TheLimitOfAShareStaysWithIt) {
  if (GetParam()) GTEST_SKIP() << "the value of a CURL* is its owner's";
  ScriptName(kName, {"127.0.0.1"});
  const auto first = NewShare(absl::Seconds(1));
  const auto second = NewShare();
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
  ASSERT_OK(easy.SetOption<CURLOPT_FRESH_CONNECT>(1));
  ASSERT_OK(easy.Attach(*first));
  Easy copy = easy.Duplicate().value();
  for (Easy* const each : {&easy, &copy}) {
    ASSERT_OK(each->Detach());
    ASSERT_OK(each->Attach(*second));
    ASSERT_OK(each->Fetch(url()).status());
  }
  // Until a limit of one second has passed, by an answer that came later.
  constexpr char kWitness[] = "witness.curlshare.test";
  ScriptName(kWitness, {"127.0.0.1"});
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (Lookups(kWitness) < 2) {
    ASSERT_LT(absl::Now(), deadline) << "it does not age";
    ASSERT_OK(Fetch(*first, server_->url("/", kWitness)));
  }
  for (Easy* const each : {&easy, &copy}) {
    ASSERT_OK(each->Fetch(url()).status());
  }
  EXPECT_EQ(Lookups(kName), 1);
}

// docs/operations.md, "DNS": one answer has one order, whatever the option
// says. By the addresses that libcurl is about to connect to.
class DnsShuffleTest : public ::testing::Test {
 protected:
  // By so many new connections; all to one of three only once in 10^13 times,
  // where each is chosen anew.
  static constexpr int kConnections = 30;

  void SetUp() override {
    ScriptName(kName, {"127.0.0.1 127.0.0.2 127.0.0.3"});
  }

  // To which addresses new handles connect; `before_each` is called between.
  std::set<std::string> Addresses(Share* share,
                                  const std::function<void()>& before_each) {
    std::set<std::string> addresses;
    // It connects to the server, whichever address it was to be.
    const curl_opensocket_callback note = [](void* addresses, curlsocktype,
                                             curl_sockaddr* address) {
      auto* const to = reinterpret_cast<sockaddr_in*>(&address->addr);
      std::array<char, INET_ADDRSTRLEN> text{};
      inet_ntop(AF_INET, &to->sin_addr, text.data(), text.size());
      static_cast<std::set<std::string>*>(addresses)->insert(text.data());
      to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return socket(address->family, address->socktype, address->protocol);
    };
    for (int i = 0; i < kConnections; ++i) {
      before_each();
      Easy easy = Easy::Create().value();
      if (share != nullptr) {
        EXPECT_OK(easy.Attach(*share));
      }
      EXPECT_OK(easy.SetOption<CURLOPT_IPRESOLVE>(CURL_IPRESOLVE_V4));
      EXPECT_OK(easy.SetOption<CURLOPT_DNS_SHUFFLE_ADDRESSES>(true));
      EXPECT_OK(easy.SetOption<CURLOPT_OPENSOCKETFUNCTION>(note, &addresses));
      EXPECT_OK(easy.Fetch(server_->url("/", kName)).status());
    }
    EXPECT_EQ(server_->counts().connections, kConnections);
    return addresses;
  }

  static std::unique_ptr<Share> NewShare(LockDataSet kinds) {
    ShareOptions options;
    options.lock_data = kinds;
    return Share::Create(options).value();
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

TEST_F(DnsShuffleTest, ASharedAnswerHasOneFirstAddress) {
  const auto share = NewShare(LockData::kDns);
  EXPECT_EQ(Addresses(share.get(), [] {}).size(), 1u);
  EXPECT_EQ(Lookups(kName), 1);
}

TEST_F(DnsShuffleTest, WithoutSharedAnswersEachHandleChooses) {
  const auto share = NewShare(LockData::kConnect);
  EXPECT_GT(Addresses(share.get(), [] {}).size(), 1u);
  EXPECT_EQ(Lookups(kName), kConnections);
}

TEST_F(DnsShuffleTest, AFlushHasTheNextOneChoose) {
  const auto share = NewShare(LockData::kDns);
  const auto flush = [&] { EXPECT_OK(share->Flush(LockData::kDns)); };
  EXPECT_GT(Addresses(share.get(), flush).size(), 1u);
  EXPECT_EQ(Lookups(kName), kConnections);
}

TEST(DnsCacheTimeout, IsPositive) {
  ShareOptions options;
  for (const absl::Duration bad :
       {absl::ZeroDuration(), absl::Seconds(-1), -absl::InfiniteDuration()}) {
    options.dns_cache_timeout = bad;
    EXPECT_THAT(Share::Create(options).status(),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  options.dns_cache_timeout = absl::InfiniteDuration();
  const auto share = Share::Create(options).value();
  Easy easy = Easy::Create().value();
  EXPECT_OK(easy.Attach(*share));
}

}  // namespace
}  // namespace curlshare
