// SPDX-License-Identifier: Apache-2.0
// Bodies that are read while they are sent, by what the server saw; and
// transfers that wait for who reads or writes.
#include "curlshare/easy/source.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

// Bytes as a source.
struct Stream {
  explicit Stream(std::string text) : bytes(std::move(text)) {}

  absl::StatusOr<size_t> Read(absl::Span<char> to) {
    const size_t n = std::min({to.size(), most, bytes.size() - at});
    std::memcpy(to.data(), bytes.data() + at, n);
    at += n;
    return n;
  }
  Easy::Source source() {
    return [this](absl::Span<char> to) { return Read(to); };
  }
  Easy::Rewind rewind() {
    return [this] {
      at = 0;
      ++rewinds;
      return absl::OkStatus();
    };
  }

  std::string bytes;
  size_t most = std::numeric_limits<size_t>::max();  // at a time
  size_t at = 0;
  int rewinds = 0;
};

// Bytes that show a gap or a repetition.
std::string Bytes(size_t size) {
  std::string bytes;
  for (size_t i = 0; bytes.size() < size; ++i) absl::StrAppend(&bytes, i, ",");
  bytes.resize(size);
  return bytes;
}

class SourceTest : public ::testing::Test {
 protected:
  static Easy NewEasy() {
    Easy easy = Easy::Create().value();
    EXPECT_OK(easy.SetTimeout(absl::Seconds(60)));
    // Before 8.7 libcurl would wait for leave. A form would be of limited size.
    EXPECT_OK(easy.SetHeaders({"Expect:", "Content-Type: text/plain"}));
    return easy;
  }

  // Has the server seen `body`, and the head a line with `head`?
  void ExpectSent(Easy& easy, absl::string_view body,
                  absl::string_view head = "",
                  absl::string_view target = "/echo") {
    absl::StatusOr<Response> response = easy.Fetch(server_->url(target));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->status, 200);
    const size_t end = response->body.find("\n\n");
    ASSERT_NE(end, std::string::npos);
    EXPECT_THAT(response->body.substr(0, end + 1), HasSubstr(head));
    // Not the bytes themselves, if they are many.
    EXPECT_TRUE(absl::string_view(response->body).substr(end + 2) == body)
        << response->body.size() - end - 2 << " of " << body.size();
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

TEST_F(SourceTest, IsSentWhole) {
  for (const size_t size : {0, 1, 5, 100'000}) {
    for (const char* method : {"", "PUT", "POST", "PATCH"}) {
      for (const bool known : {true, false}) {
        SCOPED_TRACE(absl::StrCat(size, " bytes, ", method, " ", known));
        Stream stream(Bytes(size));
        stream.most = 1'234;
        Easy easy = NewEasy();
        ASSERT_OK(
            easy.SetSource(stream.source(),
                           known ? std::optional<int64_t>(size) : std::nullopt,
                           stream.rewind()));
        if (*method != '\0') {
          ASSERT_OK(easy.SetMethod(method));
        }
        const std::string head =
            absl::StrCat(known ? absl::StrCat("Content-Length: ", size)
                               : "Transfer-Encoding: chunked",
                         "\n");
        ExpectSent(easy, stream.bytes, head);
        EXPECT_EQ(stream.rewinds, 0);
        ExpectSent(easy, stream.bytes, head);
        // An empty one of known size is never asked.
        EXPECT_EQ(stream.rewinds, known && size == 0 ? 0 : 1);
      }
    }
  }
  EXPECT_EQ(server_->counts().requests, 4 * 4 * 2 * 2);
}

TEST_F(SourceTest, MayBeBig) {
  for (const bool known : {true, false}) {
    Stream stream(Bytes(10 << 20));
    Easy easy = NewEasy();
    ASSERT_OK(
        easy.SetSource(stream.source(), known ? std::optional<int64_t>(10 << 20)
                                              : std::nullopt));
    ExpectSent(easy, stream.bytes);
  }
}

TEST_F(SourceTest, IsNotAskedForMoreThanItsSize) {
  Stream stream(Bytes(100'000));
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(stream.source(), 70'000));
  ExpectSent(easy, absl::string_view(stream.bytes).substr(0, 70'000));
  EXPECT_EQ(stream.at, 70'000u);
}

TEST_F(SourceTest, ThatEndsEarlyIsAnError) {
  Stream stream(Bytes(3));
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(stream.source(), 5));
  EXPECT_THAT(
      easy.Fetch(server_->url("/echo")).status(),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("after 3 of 5 bytes")));
}

TEST_F(SourceTest, ThatSaysMoreThanItWasAskedForIsAnError) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource([](absl::Span<char> to) { return to.size() + 1; }));
  EXPECT_THAT(
      easy.Fetch(server_->url("/echo")).status(),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("the source gave")));
}

TEST_F(SourceTest, OfANegativeSizeIsRefused) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetBody("before"));
  Stream stream("text");
  EXPECT_THAT(easy.SetSource(stream.source(), -1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
  ExpectSent(easy, "before");
}

TEST_F(SourceTest, ItsErrorEndsTheTransferAndIsTold) {
  for (const size_t after : {0, 1'000}) {
    Stream stream(Bytes(after));
    Easy easy = NewEasy();
    ASSERT_OK(
        easy.SetSource([&](absl::Span<char> to) -> absl::StatusOr<size_t> {
          const absl::StatusOr<size_t> read = stream.Read(to);
          if (*read == 0) return absl::DataLossError("the disk is gone");
          return read;
        }));
    const absl::Status status = easy.Fetch(server_->url("/echo")).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr("the disk is gone")));
    EXPECT_EQ(GetEasyCode(status), CURLE_ABORTED_BY_CALLBACK);
    ASSERT_OK(easy.SetBody("instead"));
    ExpectSent(easy, "instead");
  }
}

#ifdef ABSL_HAVE_EXCEPTIONS
TEST_F(SourceTest, ItsExceptionIsAnError) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource([](absl::Span<char>) -> absl::StatusOr<size_t> {
    throw std::runtime_error("thrown");
  }));
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("thrown")));
  ASSERT_OK(easy.SetSource([](absl::Span<char>) -> absl::StatusOr<size_t> {
    throw std::bad_alloc();
  }));
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kResourceExhausted));
  Stream stream("text");
  ASSERT_OK(easy.SetSource(stream.source(), std::nullopt, []() -> absl::Status {
    throw std::runtime_error("no way back");
  }));
  ExpectSent(easy, "text");
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("no way back")));
}
#endif

TEST_F(SourceTest, WithoutARewindIsSentOnce) {
  Stream stream("text");
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(stream.source(), 4));
  // What never asked for a byte does not count.
  ASSERT_OK(easy.SetOption<CURLOPT_CONNECT_TO>({"::127.0.0.1:1"}));
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK(easy.SetOption<CURLOPT_CONNECT_TO>(nullptr));
  ExpectSent(easy, "text");
  EXPECT_THAT(
      easy.Fetch(server_->url("/echo")).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SetSource")));
  EXPECT_EQ(server_->counts().requests, 1);
  // A new one is at its beginning.
  stream.at = 0;
  ASSERT_OK(easy.SetSource(stream.source(), 4));
  ExpectSent(easy, "text");
}

TEST_F(SourceTest, AfterARedirectIsRewound) {
  for (const char* method : {"PUT", "POST"}) {
    for (const bool known : {true, false}) {
      const std::optional<int64_t> size =
          known ? std::optional<int64_t>(50'000) : std::nullopt;
      constexpr char kRedirect[] = "/redirect?to=/echo&code=307";
      Stream stream(Bytes(50'000));
      Easy easy = NewEasy();
      ASSERT_OK(easy.SetFollowRedirects(3));
      ASSERT_OK(easy.SetMethod(method));
      ASSERT_OK(easy.SetSource(stream.source(), size, stream.rewind()));
      ExpectSent(easy, stream.bytes, "", kRedirect);
      EXPECT_EQ(stream.rewinds, 1);
      // Without a rewind.
      stream.at = 0;
      ASSERT_OK(easy.SetSource(stream.source(), size));
      EXPECT_THAT(easy.Fetch(server_->url(kRedirect)).status(),
                  StatusIs(absl::StatusCode::kFailedPrecondition,
                           HasSubstr("SetSource")));
      // With one that fails.
      stream.at = 0;
      ASSERT_OK(easy.SetSource(stream.source(), size, [] {
        return absl::DataLossError("the tape is torn");
      }));
      EXPECT_THAT(
          easy.Fetch(server_->url(kRedirect)).status(),
          StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the tape is torn")));
    }
  }
}

TEST_F(SourceTest, ThatIsNotSentAgainNeedsNoRewind) {
  Stream stream("text");
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetFollowRedirects(3));
  ASSERT_OK(easy.SetSource(stream.source(), 4));
  ExpectSent(easy, "", "GET /echo", "/redirect?to=/echo&code=303");
}

TEST_F(SourceTest, IsRewoundForAuthentication) {
  for (const bool known : {true, false}) {
    Stream stream("text");
    Easy easy = NewEasy();
    ASSERT_OK(easy.SetOption<CURLOPT_USERPWD>("me:secret"));
    ASSERT_OK(easy.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_ANY));
    ASSERT_OK(easy.SetSource(stream.source(),
                             known ? std::optional<int64_t>(4) : std::nullopt,
                             stream.rewind()));
    absl::StatusOr<Response> response =
        easy.Fetch(server_->url("/auth/digest?user=me"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(stream.rewinds, 1);
    EXPECT_EQ(stream.at, 4u);
  }
}

// Reads the first two requests of its first connection, answers the first with
// its body, and hangs up on the second; answers all on other connections. So a
// client finds that a connection that it kept is dead once it has sent a
// request on it. Serves one connection at a time; ends when it is closed.
class HangingUpServer {
 public:
  HangingUpServer() {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);  // NOLINT
    EXPECT_EQ(bind(listening_, any, size), 0);
    EXPECT_EQ(listen(listening_, 8), 0);
    EXPECT_EQ(getsockname(listening_, any, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  // The clients have gone.
  ~HangingUpServer() {
    shutdown(listening_, SHUT_RDWR);
    thread_.join();
    close(listening_);
  }

  std::string url() const {
    return absl::StrCat("http://127.0.0.1:", port_, "/");
  }
  int requests() const { return requests_; }

 private:
  void Accept() {
    int connections = 0;
    int socket = -1;
    while ((socket = accept(listening_, nullptr, nullptr)) >= 0) {
      const timeval patience = {20, 0};
      setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
      Serve(socket, ++connections == 1);
      close(socket);
    }
  }

  void Serve(int socket, bool hangs_up) {
    for (int i = 0; i < 2 || !hangs_up; ++i) {
      std::string request;
      while (!IsWhole(request)) {
        char buffer[4096];
        const ssize_t n = recv(socket, buffer, sizeof(buffer), 0);
        if (n <= 0) return;
        request.append(buffer, static_cast<size_t>(n));
      }
      ++requests_;
      if (hangs_up && i == 1) return;
      const std::string body = request.substr(request.find("\r\n\r\n") + 4);
      const std::string answer = absl::StrCat(
          "HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
      send(socket, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  static bool IsWhole(absl::string_view request) {
    const size_t end = request.find("\r\n\r\n");
    if (end == request.npos) return false;
    constexpr absl::string_view kLength = "Content-Length: ";
    const size_t length = request.find(kLength);
    if (length == request.npos) {
      return absl::EndsWith(request, "\r\n0\r\n\r\n");
    }
    size_t size = 0;
    const absl::string_view digits = request.substr(length + kLength.size());
    EXPECT_TRUE(absl::SimpleAtoi(digits.substr(0, digits.find('\r')), &size));
    return request.size() == end + 4 + size;
  }

  const int listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port_ = 0;
  std::atomic<int> requests_{0};
  std::thread thread_;
};

TEST_F(SourceTest, IsRewoundWhereAKeptConnectionIsDead) {
  for (const bool known : {true, false}) {
    for (const bool rewinds : {true, false}) {
      SCOPED_TRACE(absl::StrCat(known, " ", rewinds));
      HangingUpServer server;
      Stream first("first");
      Stream second("second");
      Easy easy = NewEasy();
      ASSERT_OK(easy.SetSource(first.source(), 5));
      ASSERT_OK(easy.Fetch(server.url()).status());
      ASSERT_OK(easy.SetSource(second.source(),
                               known ? std::optional<int64_t>(6) : std::nullopt,
                               rewinds ? second.rewind() : nullptr));
      const absl::StatusOr<Response> response = easy.Fetch(server.url());
      if (rewinds) {
        ASSERT_OK(response.status());
        EXPECT_EQ(response->body,
                  known ? "second" : "6\r\nsecond\r\n0\r\n\r\n");
        EXPECT_EQ(second.rewinds, 1);
        EXPECT_EQ(server.requests(), 3);
      } else {
        EXPECT_THAT(response.status(),
                    StatusIs(absl::StatusCode::kFailedPrecondition,
                             HasSubstr("SetSource")));
      }
    }
  }
}

TEST_F(SourceTest, IsSharedByADuplicate) {
  for (const bool rewinds : {true, false}) {
    Stream stream("text");
    Easy easy = NewEasy();
    ASSERT_OK(easy.SetSource(stream.source(), 4,
                             rewinds ? stream.rewind() : nullptr));
    absl::StatusOr<Easy> copy = easy.Duplicate();
    ASSERT_OK(copy.status());
    ExpectSent(easy, "text");
    if (rewinds) {
      // Also once the handle that it was set on has gone.
      { const Easy gone = std::move(easy); }
      ExpectSent(*copy, "text");
    } else {
      EXPECT_THAT(copy->Fetch(server_->url("/echo")).status(),
                  StatusIs(absl::StatusCode::kFailedPrecondition));
    }
  }
}

TEST_F(SourceTest, BelongsToOneTransferAtATime) {
  Stream stream("text");
  absl::Notification reading;
  absl::Notification go_on;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(
      [&](absl::Span<char> to) {
        if (!reading.HasBeenNotified()) {
          reading.Notify();
          go_on.WaitForNotification();
        }
        return stream.Read(to);
      },
      4, stream.rewind()));
  Easy copy = easy.Duplicate().value();
  std::thread other([&] { ExpectSent(easy, "text"); });
  reading.WaitForNotification();
  EXPECT_THAT(
      copy.Fetch(server_->url("/echo")).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use")));
  go_on.Notify();
  other.join();
  ExpectSent(copy, "text");
}

TEST_F(SourceTest, IsDroppedByResetAndByAnotherBody) {
  const auto held = std::make_shared<int>();
  const Easy::Source source = [held](absl::Span<char>) { return size_t{0}; };
  const long before = held.use_count();
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(source));
  EXPECT_EQ(held.use_count(), before + 1);
  ASSERT_OK(easy.Reset());
  EXPECT_EQ(held.use_count(), before);
  absl::StatusOr<Response> response = easy.Fetch(server_->url("/echo"));
  ASSERT_OK(response.status());
  EXPECT_TRUE(absl::StartsWith(response->body, "GET "));
  ASSERT_OK(easy.SetSource(source));
  ASSERT_OK(easy.SetBody("text"));
  EXPECT_EQ(held.use_count(), before);
  ASSERT_OK(easy.SetSource(source));
  ASSERT_OK(easy.SetForm({{"name", "value"}}));
  EXPECT_EQ(held.use_count(), before);
  ASSERT_OK(easy.SetSource(source));
  ASSERT_OK(easy.SetMethod("GET"));
  EXPECT_EQ(held.use_count(), before);
}

TEST_F(SourceTest, CancelEndsAnUpload) {
  absl::Notification reading;
  absl::Notification cancelled;
  Easy easy = NewEasy();
  // Without an end.
  ASSERT_OK(easy.SetSource([&](absl::Span<char> to) {
    if (!reading.HasBeenNotified()) {
      reading.Notify();
      cancelled.WaitForNotification();
    }
    std::memset(to.data(), 'x', to.size());
    return to.size();
  }));
  std::thread other([&] {
    reading.WaitForNotification();
    EXPECT_TRUE(easy.Cancel());
    cancelled.Notify();
  });
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kCancelled));
  other.join();
}

TEST_F(SourceTest, WorksInAShare) {
  const std::unique_ptr<Share> share = Share::Create().value();
  Stream stream(Bytes(100'000));
  Easy easy = NewEasy();
  ASSERT_OK(easy.Attach(*share));
  ASSERT_OK(easy.SetSource(stream.source(), std::nullopt, stream.rewind()));
  ExpectSent(easy, stream.bytes);
  ExpectSent(easy, stream.bytes);
  Easy copy = easy.Duplicate().value();
  ExpectSent(copy, stream.bytes);
  EXPECT_EQ(server_->counts().connections, 1);
  share->CloseNow().IgnoreError();
  ExpectSent(copy, stream.bytes);
}

TEST_F(SourceTest, TheHandleMayGoInIt) {
  Stream stream("text");
  auto easy = std::make_unique<Easy>(NewEasy());
  std::string body;
  ASSERT_OK(easy->SetUrl(server_->url("/echo")));
  ASSERT_OK(easy->SetSink([&](absl::string_view piece) {
    absl::StrAppend(&body, piece);
    return absl::OkStatus();
  }));
  ASSERT_OK(easy->SetSource([&](absl::Span<char> to) {
    easy.reset();
    return stream.Read(to);
  }));
  Easy& handle = *easy;
  EXPECT_OK(handle.Perform());
  EXPECT_TRUE(absl::EndsWith(body, "\n\ntext"));
}

// ---- Waiting

// Here each comes from the callable itself, so always too early.
TEST_F(SourceTest, AResumeBeforeThePauseCounts) {
  Stream stream(Bytes(100'000));
  stream.most = 10'000;
  int asked = 0;
  std::string got;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(server_->url("/echo")));
  ASSERT_OK(easy.SetSource([&](absl::Span<char> to) -> absl::StatusOr<size_t> {
    if (++asked % 2 == 0) return stream.Read(to);
    EXPECT_TRUE(easy.Resume());
    return NotNow();
  }));
  int given = 0;
  ASSERT_OK(easy.SetSink([&](absl::string_view piece) {
    if (++given % 2 != 0) {
      EXPECT_TRUE(easy.Resume());
      return NotNow();
    }
    absl::StrAppend(&got, piece);
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.Perform());
  EXPECT_TRUE(absl::EndsWith(got, absl::StrCat("\n\n", stream.bytes)));
  EXPECT_GE(asked, 22);
  EXPECT_GE(given, 2);
}

// It wakes the poll, which would else last for a second.
TEST_F(SourceTest, AnyThreadResumesIt) {
  constexpr int kTimes = 50;
  Stream stream(Bytes(kTimes));
  stream.most = 1;
  std::vector<absl::Notification> asked(kTimes);
  std::atomic<int> ready{0};
  int calls = 0;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource(
      [&](absl::Span<char> to) -> absl::StatusOr<size_t> {
        if (static_cast<int>(stream.at) < ready) return stream.Read(to);
        ++calls;
        if (!asked[stream.at].HasBeenNotified()) asked[stream.at].Notify();
        return NotNow();
      },
      kTimes));
  std::thread writer([&] {
    for (int i = 0; i < kTimes; ++i) {
      // Otherwise the transfer has failed.
      if (!asked[i].WaitForNotificationWithTimeout(absl::Seconds(60))) return;
      ready = i + 1;
      EXPECT_TRUE(easy.Resume());
    }
  });
  const absl::Time begin = absl::Now();
  ExpectSent(easy, stream.bytes);
  writer.join();
  EXPECT_GE(calls, kTimes);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(25));
}

TEST_F(SourceTest, ASinkIsGivenTheSameBytesAgain) {
  constexpr size_t kSize = 1'000'000;
  absl::Notification full;
  absl::Notification resumed;
  size_t got = 0;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(server_->url(absl::StrCat("/bytes?n=", kSize))));
  ASSERT_OK(easy.SetSink([&](absl::string_view piece) {
    if (got > 0 && !full.HasBeenNotified()) full.Notify();
    if (got > 0 && !resumed.HasBeenNotified()) return NotNow();
    got += piece.size();
    return absl::OkStatus();
  }));
  std::thread reader([&] {
    full.WaitForNotification();
    resumed.Notify();
    EXPECT_TRUE(easy.Resume());
  });
  EXPECT_OK(easy.Perform());
  reader.join();
  EXPECT_EQ(got, kSize);
}

// libcurl calls it from curl_easy_pause, which does not end the transfer.
TEST_F(SourceTest, ASinkMayFailAfterAPause) {
  bool paused = false;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetUrl(server_->url("/bytes?n=1000")));
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    if (paused) return absl::DataLossError("full");
    paused = true;
    EXPECT_TRUE(easy.Resume());
    return NotNow();
  }));
  EXPECT_THAT(easy.Perform(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("full")));
  EXPECT_TRUE(paused);
  ASSERT_OK(easy.SetSink(nullptr));
  EXPECT_OK(easy.Perform());
}

TEST_F(SourceTest, CancelEndsAPause) {
  absl::Notification paused;
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetSource([&](absl::Span<char>) -> absl::StatusOr<size_t> {
    if (!paused.HasBeenNotified()) paused.Notify();
    return NotNow();
  }));
  std::thread other([&] {
    paused.WaitForNotification();
    EXPECT_TRUE(easy.Cancel());
  });
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kCancelled));
  other.join();
  // Nothing was read.
  Stream stream("text");
  ASSERT_OK(easy.SetSource(stream.source(), 4));
  ExpectSent(easy, "text");
}

TEST_F(SourceTest, ATimeoutEndsAPause) {
  Easy easy = NewEasy();
  ASSERT_OK(easy.SetTimeout(absl::Milliseconds(200)));
  ASSERT_OK(easy.SetSource(
      [](absl::Span<char>) -> absl::StatusOr<size_t> { return NotNow(); }));
  EXPECT_THAT(easy.Fetch(server_->url("/echo")).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SourceTest, WhereNothingCanWaitNotNowIsAnError) {
  Easy easy = NewEasy();
  EXPECT_FALSE(easy.Resume());
  ASSERT_OK(easy.SetHeaderSink([](absl::string_view) { return NotNow(); }));
  EXPECT_THAT(easy.Fetch(server_->url("/")).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("NotNow()")));
  EXPECT_FALSE(IsNotNow(absl::UnavailableError("")));
  EXPECT_FALSE(IsNotNow(absl::OkStatus()));
}

}  // namespace
}  // namespace curlshare
