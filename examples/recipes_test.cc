// SPDX-License-Identifier: Apache-2.0
// The code of docs/recipes.md, as it runs.
#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::curlshare::testing::HttpAnswer;
using ::curlshare::testing::HttpRequest;
using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kLongEnough = absl::Seconds(20);

class RecipesTest : public ::testing::Test {
 protected:
  RecipesTest() { std::ofstream(path) << "the bytes of a file"; }
  ~RecipesTest() override { std::filesystem::remove(path); }

  std::string Fetch(absl::string_view target) { return Fetch(target, easy); }
  std::string Fetch(absl::string_view target, curlshare::Easy& with) {
    absl::StatusOr<curlshare::Response> response =
        with.Fetch(server->url(target));
    EXPECT_OK(response.status());
    return response.ok() ? response->body : "";
  }

  const std::unique_ptr<HttpServer> server = HttpServer::Start().value();
  const std::string path = ::testing::TempDir() + "/recipes_test.txt";
  curlshare::Easy easy = curlshare::Easy::Create().value();
};

TEST_F(RecipesTest, LoginWithAndWithoutCookies) {
  curlshare::Easy other = curlshare::Easy::Create().value();
  curlshare::Easy stranger = curlshare::Easy::Create().value();
  curlshare::ShareOptions options;
  options.lock_data =
      curlshare::DefaultLockData() | curlshare::LockData::kCookie;
  auto user = curlshare::Share::Create(options).value();  // for each user
  auto nobody = curlshare::Share::Create().value();       // without cookies
  ASSERT_OK(easy.Attach(*user));
  ASSERT_OK(other.Attach(*user));
  ASSERT_OK(stranger.Attach(*nobody));
  Fetch("/cookie/set?name=session&value=me");
  EXPECT_EQ(Fetch("/cookie/show", other), "session=me");
  EXPECT_EQ(Fetch("/cookie/show", stranger), "");
  Fetch("/cookie/set?name=session&value=me", stranger);
  EXPECT_EQ(Fetch("/cookie/show", stranger), "");
}

// Whether the newest answer is a range that begins at `size`.
bool IsRangeFrom(curlshare::Easy& easy, uintmax_t size) {
  const auto headers = easy.GetHeaders();
  if (!headers.ok()) return false;
  for (const auto& [name, value] : *headers) {
    if (absl::EqualsIgnoreCase(name, "Content-Range")) {
      return absl::StartsWith(value, absl::StrCat("bytes ", size, "-"));
    }
  }
  return false;
}

class ResumeTest : public RecipesTest {
 protected:
  // Serves `whole`, with ranges for whom `etag` suits.
  void Serve() {
    server->Handle("/file", [this](const HttpRequest& request) {
      HttpAnswer answer;
      answer.body = whole;
      for (const auto& [name, value] : request.headers) {
        // The server cuts the body of a 206 to the range.
        if (name == "If-Range" && value == etag) answer.status = 206;
        if (name == "Range") range = value;
      }
      return answer;
    });
  }

  absl::StatusOr<curlshare::Response> Resume(const std::string& url) {
    std::ofstream file(path, std::ios::binary | std::ios::app);
    const auto size = std::filesystem::file_size(path);
    absl::Status status =
        easy.SetOption<CURLOPT_RANGE>(absl::StrCat(size, "-"));
    if (status.ok()) status = easy.SetHeaders({"If-Range: " + etag_of_file});
    if (!status.ok()) return status;
    bool first = true;
    return easy.Fetch(url, [&](absl::string_view piece) {
      if (std::exchange(first, false)) {
        // 206: the rest. 200: everything, as it has changed, say.
        if (easy.GetInfo<CURLINFO_RESPONSE_CODE>().value_or(0) != 206) {
          file = std::ofstream(path, std::ios::binary);
        } else if (!IsRangeFrom(easy, size)) {
          return absl::DataLossError("another range than was asked for");
        }
      }
      file.write(piece.data(), static_cast<std::streamsize>(piece.size()));
      return file.flush() ? absl::OkStatus() : absl::DataLossError(path);
    });
  }

  std::string File() const {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  const std::string etag_of_file = "\"1\"";
  std::string whole = "the bytes of a file, and more";
  std::string etag = etag_of_file;
  std::string range;  // that the newest request asked for
};

TEST_F(ResumeTest, GetsTheRest) {
  Serve();
  const auto r = Resume(server->url("/file"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 206);
  EXPECT_EQ(range, "bytes=19-");
  EXPECT_EQ(File(), whole);
}

TEST_F(ResumeTest, BeginsAnewWhereTheFileHasChanged) {
  Serve();
  whole = "other bytes, and of these more";
  etag = "\"2\"";
  const auto r = Resume(server->url("/file"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 200);
  EXPECT_EQ(range, "bytes=19-");
  EXPECT_EQ(File(), whole);
}

TEST_F(ResumeTest, AWholeFileStaysAsItIs) {
  Serve();
  whole = "the bytes of a file";
  const auto r = Resume(server->url("/file"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 416);
  EXPECT_EQ(File(), whole);
}

TEST_F(ResumeTest, AnotherRangeIsTold) {
  Serve();
  ASSERT_OK(easy.SetOption<CURLOPT_RANGE>("3-"));
  ASSERT_OK(easy.SetHeaders({"If-Range: " + etag_of_file}));
  EXPECT_FALSE(IsRangeFrom(easy, 3)) << "no answer yet";
  ASSERT_OK(easy.Fetch(server->url("/file")).status());
  EXPECT_TRUE(IsRangeFrom(easy, 3));
  EXPECT_FALSE(IsRangeFrom(easy, 19));
}

TEST_F(ResumeTest, AnErrorLeavesTheFile) {
  const auto r = Resume(server->url("/status?code=503&n=100"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 503);
  EXPECT_EQ(File(), "the bytes of a file");
}

TEST_F(ResumeTest, ByResumeFromLargeAServerWithoutRangesIsAnError) {
  Serve();
  ASSERT_OK(easy.SetOption<CURLOPT_RESUME_FROM_LARGE>(19));
  std::string got;
  const auto r =
      easy.Fetch(server->url("/file"), [&got](absl::string_view piece) {
        got.append(piece.data(), piece.size());
        return absl::OkStatus();
      });
  EXPECT_THAT(r.status(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(curlshare::GetEasyCode(r.status()), CURLE_RANGE_ERROR);
  EXPECT_EQ(got, "");
}

TEST_F(RecipesTest, SizeLimit) {
  const std::string url = server->url("/endless");
  absl::Status status = easy.SetMaxBodySize(1 << 20);
  ASSERT_OK(status);
  bool too_large = false;
  absl::StatusOr<curlshare::Response> r = easy.Fetch(url);
  if (curlshare::GetEasyCode(r.status()) == CURLE_FILESIZE_EXCEEDED) {
    too_large = true;  // kOutOfRange
  }
  EXPECT_TRUE(too_large);
  EXPECT_THAT(r.status(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(Fetch("/bytes?n=1048576").size(), 1u << 20);
}

class RetryTest : public RecipesTest {
 protected:
  absl::StatusOr<curlshare::Response> FetchWithRetries(const std::string& url) {
    std::minstd_rand random(std::random_device{}());
    absl::Duration pause = absl::Milliseconds(100);
    absl::StatusOr<curlshare::Response> r = easy.Fetch(url);
    for (int left = 3; left > 0; --left, pause *= 2) {
      absl::Status status = r.status();
      if (r.ok() && r->status >= 400) {
        status = curlshare::HttpErrorStatus(r->status, url);
      }
      if (!curlshare::IsRetryable(status, /*idempotent=*/true)) break;
      if (r.ok() && r->retry_after > absl::Minutes(1)) break;
      const auto wait =
          pause * std::uniform_real_distribution<>(0.5, 1)(random);
      absl::SleepFor(r.ok() ? std::max(wait, r->retry_after) : wait);
      r = easy.Fetch(url);
    }
    return r;
  }
};

TEST_F(RetryTest, WaitsForAsLongAsTheServerWants) {
  std::atomic<int> calls{0};
  server->Handle("/busy", [&calls](const HttpRequest&) {
    HttpAnswer answer;
    if (calls++ == 0) {
      answer.status = 503;
      answer.headers = {{"Retry-After", "1"}};
    }
    return answer;
  });
  const absl::Time start = absl::Now();
  const auto r = FetchWithRetries(server->url("/busy"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 200);
  EXPECT_EQ(calls, 2);
  EXPECT_GE(absl::Now() - start, absl::Seconds(1));
}

TEST_F(RetryTest, TriesABrokenConnectionAgain) {
  server->DropNextConnections(2);
  const auto r = FetchWithRetries(server->url("/"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->body, "ok");
  EXPECT_EQ(server->counts().connections, 3);
}

TEST_F(RetryTest, GivesUp) {
  const auto r = FetchWithRetries(server->url("/status?code=503"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 503);
  EXPECT_EQ(server->counts().requests, 4);
}

TEST_F(RetryTest, TakesNoForAnAnswer) {
  const auto r = FetchWithRetries(server->url("/status?code=404"));
  ASSERT_OK(r.status());
  EXPECT_EQ(r->status, 404);
  EXPECT_EQ(server->counts().requests, 1);
}

TEST_F(RecipesTest, Shutdown) {
  curlshare::ShareOptions options;
  options.after_close = curlshare::AfterClose::kRefuse;
  auto share = curlshare::Share::Create(options).value();
  ASSERT_OK(easy.Attach(*share));
  absl::Status under_way;
  absl::Status later;
  std::thread worker([&] {
    under_way = easy.Fetch(server->url("/stall")).status();
    later = easy.Fetch(server->url("/")).status();
  });
  EXPECT_TRUE(server->WaitForStalled(1, absl::Now() + kLongEnough));
  absl::Status closed = share->CloseNow(absl::Now() + absl::Seconds(10));
  EXPECT_OK(closed);
  worker.join();
  EXPECT_THAT(under_way, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(later, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(server->counts().requests, 1);
}

TEST_F(RecipesTest, CancellationOfOneJob) {
  const std::string urls[] = {server->url("/"), server->url("/stall"),
                              server->url("/")};
  absl::Status status;
  curlshare::CancelToken job;
  std::thread worker([&, job] {
    for (const std::string& url : urls) {
      status = easy.Fetch(url, job).status();
      if (absl::IsCancelled(status)) return;
    }
  });
  EXPECT_TRUE(server->WaitForStalled(1, absl::Now() + kLongEnough));
  job.Cancel();
  worker.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(easy.Fetch(urls[0], job).status(),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(server->counts().requests, 2);
  EXPECT_EQ(Fetch("/"), "ok");  // Another job, with the same handle.
}

TEST_F(RecipesTest, SecretsAndRedirects) {
  const auto elsewhere = HttpServer::Start().value();
  server->Handle("/away", [&elsewhere](const HttpRequest&) {
    HttpAnswer answer;
    answer.status = 302;
    answer.headers = {{"Location", elsewhere->url("/echo")}};
    return answer;
  });
  absl::Status status = easy.SetHeaders({"Accept-Language: en"});
  if (status.ok()) status = easy.SetSecretHeaders({"X-Api-Key: secret"});
  if (status.ok()) status = easy.SetFollowRedirects(5);
  ASSERT_OK(status);
  EXPECT_THAT(Fetch("/redirect?to=/echo"), HasSubstr("X-Api-Key: secret"));
  const std::string sent = Fetch("/away");
  EXPECT_THAT(sent, HasSubstr("Accept-Language: en"));
  EXPECT_THAT(sent, Not(HasSubstr("secret")));
  EXPECT_EQ(elsewhere->counts().requests, 1);
}

TEST_F(RecipesTest, UploadOfAFile) {
  std::ifstream file(path, std::ios::binary);
  absl::Status status = easy.SetSource(
      [&file](absl::Span<char> to) -> absl::StatusOr<size_t> {
        file.read(to.data(), static_cast<std::streamsize>(to.size()));
        if (file.bad()) return absl::DataLossError("the file cannot be read");
        return static_cast<size_t>(file.gcount());
      },
      std::filesystem::file_size(path),
      [&file] {
        file.clear();
        file.seekg(0);
        return absl::OkStatus();
      });
  ASSERT_OK(status);
  EXPECT_THAT(Fetch("/echo"), EndsWith("\n\nthe bytes of a file"));
  EXPECT_THAT(Fetch("/echo"), EndsWith("\n\nthe bytes of a file"));
}

TEST_F(RecipesTest, UploadOfAForm) {
  absl::Status status =
      easy.SetForm({{"user", "me"}, curlshare::FormPart::File("photo", path)});
  ASSERT_OK(status);
  const std::string form = Fetch("/echo");
  EXPECT_THAT(form, HasSubstr("photo|recipes_test.txt|text/plain|the bytes"));
  EXPECT_THAT(form, HasSubstr("user|||me"));
}

// Bytes from one thread to another.
class Queue {
 public:
  void Add(absl::string_view bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    bytes_.append(bytes.data(), bytes.size());
  }
  void End() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  size_t Take(absl::Span<char> to) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const size_t taken = bytes_.copy(to.data(), to.size());
    bytes_.erase(0, taken);
    return taken;
  }
  // And nothing is left.
  bool ended() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return ended_ && bytes_.empty();
  }

 private:
  mutable absl::Mutex mu_;
  std::string bytes_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

TEST_F(RecipesTest, UploadOfWhatAnotherThreadMakes) {
  Queue queue;
  absl::Status status =
      easy.SetSource([&queue](absl::Span<char> to) -> absl::StatusOr<size_t> {
        const size_t taken = queue.Take(to);
        if (taken == 0 && !queue.ended()) return curlshare::NotNow();
        return taken;
      });
  ASSERT_OK(status);
  std::thread writer([&] {
    for (const char* piece : {"one,", "two,", "three"}) {
      queue.Add(piece);
      easy.Resume();
    }
    queue.End();
    easy.Resume();
  });
  EXPECT_THAT(Fetch("/echo"), EndsWith("\n\none,two,three"));
  writer.join();
}

}  // namespace
