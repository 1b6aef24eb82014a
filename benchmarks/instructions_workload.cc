// SPDX-License-Identifier: Apache-2.0
// Requests one after another, on one thread and one kept connection: what
// tools/benchmark_report runs under callgrind, whose count of instructions is
// the same whatever else the machine does. The server is in another process
// (instructions_server.cc), which also tells how many connections there were.
//
//   instructions_workload library|new|no_share|by_hand URL REQUESTS
//
// "library" is an Easy in a share, "new" a new one for each request, "no_share"
// an Easy without a share, "by_hand" a CURL* in a CURLSH. The exit status is 0
// if every request succeeded.
#include <curl/curl.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/verification/raw_share.h"

namespace curlshare::benchmarks {
namespace {

using ::curlshare::testing::RawShare;

// What is shared by default, and on every libcurl the TLS sessions, which up to
// 8.9 several threads cannot share without a gate. Here is one thread.
LockDataSet Kinds() { return DefaultLockData() | LockData::kSslSession; }

std::optional<Easy> NewEasy(const std::string& url, Share* share) {
  absl::StatusOr<Easy> easy = Easy::Create();
  if (!easy.ok() || (share != nullptr && !easy->Attach(*share).ok()) ||
      !easy->SetUrl(url).ok()) {
    return std::nullopt;
  }
  return *std::move(easy);
}

bool RunEasy(const std::string& url, int requests, bool with_share,
             bool new_handles) {
  std::unique_ptr<Share> share;
  if (with_share) {
    ShareOptions options;
    options.lock_data = Kinds();
    options.concurrency = Concurrency::kUnchecked;
    share = Share::Create(options).value();
  }
  std::optional<Easy> easy;
  bool ok = true;
  for (int i = 0; i < requests; ++i) {
    if (new_handles) easy.reset();
    if (!easy.has_value()) easy = NewEasy(url, share.get());
    ok = easy.has_value() && easy->Perform().ok() && ok;
  }
  return ok;
}

bool RunByHand(const std::string& url, int requests) {
  const std::unique_ptr<RawShare> share =
      RawShare::Create(Kinds() - LockData::kConnect,
                       RawShare::Mutexes::kOnePerKind)
          .value();
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
      curl_easy_init(), &curl_easy_cleanup);
  const curl_write_callback drop = [](char*, size_t size, size_t count, void*) {
    return size * count;
  };
  for (const CURLcode code :
       {curl_easy_setopt(curl.get(), CURLOPT_SHARE, share->get()),
        curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
        curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str())}) {
    if (code != CURLE_OK) return false;
  }
  bool ok = true;
  for (int i = 0; i < requests; ++i) {
    ok = curl_easy_perform(curl.get()) == CURLE_OK && ok;
  }
  return ok;
}

int Main(int argc, char** argv) {
  const absl::string_view way = argc > 1 ? argv[1] : "";
  int requests = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[3], &requests) ||
      (way != "library" && way != "new" && way != "no_share" &&
       way != "by_hand")) {
    std::fputs(
        "usage: instructions_workload library|new|no_share|by_hand URL "
        "REQUESTS\n",
        stderr);
    return 2;
  }
  const bool ok = way == "by_hand" ? RunByHand(argv[2], requests)
                                   : RunEasy(argv[2], requests,
                                             /*with_share=*/way != "no_share",
                                             /*new_handles=*/way == "new");
  if (ok) return EXIT_SUCCESS;
  std::fputs("instructions_workload: a request failed\n", stderr);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace curlshare::benchmarks

int main(int argc, char** argv) {
  return curlshare::benchmarks::Main(argc, argv);
}
