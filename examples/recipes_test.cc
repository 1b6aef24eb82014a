// SPDX-License-Identifier: Apache-2.0
// The code of docs/recipes.md, as it runs.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ios>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::curlshare::testing::HttpServer;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class RecipesTest : public ::testing::Test {
 protected:
  RecipesTest() { std::ofstream(path) << "the bytes of a file"; }
  ~RecipesTest() override { std::filesystem::remove(path); }

  std::string Fetch(absl::string_view target) {
    absl::StatusOr<curlshare::Response> response =
        easy.Fetch(server_->url(target));
    EXPECT_OK(response.status());
    return response.ok() ? response->body : "";
  }

  const std::string path = ::testing::TempDir() + "/recipes_test.txt";
  curlshare::Easy easy = curlshare::Easy::Create().value();

 private:
  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

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
