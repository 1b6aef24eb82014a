// SPDX-License-Identifier: Apache-2.0
// Downloads the URLs on the command line, each on its own thread. The handles
// of the threads are in one share.
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/share.h"
#include "downloader.h"

namespace raw_handles {
namespace {

void DownloadAndPrint(curlshare::Share& share, const std::string& url) {
  const auto download = [&]() -> absl::StatusOr<std::string> {
    auto downloader = Downloader::Create(share);
    if (!downloader.ok()) return downloader.status();
    return (*downloader)->Download(url);
  };
  const absl::StatusOr<std::string> body = download();
  if (body.ok()) {
    absl::PrintF("%s: %d bytes\n", url, body->size());
  } else {
    absl::PrintF("%s: %s\n", url, body.status().ToString());
  }
}

int Run(const std::vector<std::string>& urls) {
  auto share = curlshare::Share::Create();
  if (!share.ok()) {
    absl::FPrintF(stderr, "%s\n", share.status().ToString());
    return EXIT_FAILURE;
  }
  std::vector<std::thread> threads;
  threads.reserve(urls.size());
  for (const std::string& url : urls) {
    threads.emplace_back([&] { DownloadAndPrint(**share, url); });
  }
  for (std::thread& thread : threads) thread.join();
  const absl::Status closed = (*share)->Close(absl::Now() + absl::Seconds(10));
  return closed.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace raw_handles

int main(int argc, char** argv) {
  return raw_handles::Run({argv + 1, argv + argc});
}
