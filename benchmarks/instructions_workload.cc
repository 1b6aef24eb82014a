// SPDX-License-Identifier: Apache-2.0
// Requests one after another, on one thread: what //benchmarks:report runs
// under callgrind, whose count of instructions is the same whatever else the
// machine does. The server is in another process.
//
//   instructions_workload library|new|no_share|by_hand URL REQUESTS [CA_FILE]
//
// "library" is an Easy in a share, "new" a new one for each request, "no_share"
// an Easy without a share, "by_hand" a CURL* in a CURLSH. Over one kept
// connection; with CA_FILE, the server's certificate, a new handle and a new
// connection for each, of which TLS sessions alone are shared. The exit status
// is 0 if every request succeeded; what was kept or resumed the server knows.
#include <curl/curl.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
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

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

struct Job {
  std::string url;
  int requests = 0;
  std::string ca_pem;
};

std::optional<Easy> NewEasy(const Job& job, Share* share) {
  absl::StatusOr<Easy> easy = Easy::Create();
  if (!easy.ok() || (share != nullptr && !easy->Attach(*share).ok()) ||
      !easy->SetUrl(job.url).ok() ||
      (!job.ca_pem.empty() && !easy->SetCaCertificates(job.ca_pem).ok())) {
    return std::nullopt;
  }
  return *std::move(easy);
}

// What is shared by default, and on every libcurl the TLS sessions, which up to
// 8.9 several threads cannot share without a gate. Here is one thread.
LockDataSet Kinds() { return DefaultLockData() | LockData::kSslSession; }

bool RunEasy(const Job& job, bool with_share, bool new_handles) {
  std::unique_ptr<Share> share;
  if (with_share) {
    ShareOptions options;
    options.lock_data =
        job.ca_pem.empty() ? Kinds() : Kinds() - LockData::kConnect;
    options.concurrency = Concurrency::kUnchecked;
    share = Share::Create(options).value();
  }
  std::optional<Easy> easy;
  bool ok = true;
  for (int i = 0; i < job.requests; ++i) {
    if (new_handles) easy.reset();
    if (!easy.has_value()) easy = NewEasy(job, share.get());
    ok = easy.has_value() && easy->Perform().ok() && ok;
  }
  return ok;
}

CurlPtr NewCurl(const Job& job, const RawShare& share) {
  CurlPtr curl(curl_easy_init());
  const curl_write_callback drop = [](char*, size_t size, size_t count, void*) {
    return size * count;
  };
  curl_blob blob;
  blob.data = const_cast<char*>(job.ca_pem.data());  // NOLINT: copied
  blob.len = job.ca_pem.size();
  blob.flags = CURL_BLOB_COPY;
  for (const CURLcode code :
       {curl_easy_setopt(curl.get(), CURLOPT_SHARE, share.get()),
        curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
        curl_easy_setopt(curl.get(), CURLOPT_URL, job.url.c_str()),
        job.ca_pem.empty()
            ? CURLE_OK
            : curl_easy_setopt(curl.get(), CURLOPT_CAINFO_BLOB, &blob)}) {
    if (code != CURLE_OK) return nullptr;
  }
  return curl;
}

bool RunByHand(const Job& job) {
  const std::unique_ptr<RawShare> share =
      RawShare::Create(Kinds() - LockData::kConnect,
                       RawShare::Mutexes::kOnePerKind)
          .value();
  CurlPtr curl;
  bool ok = true;
  for (int i = 0; i < job.requests; ++i) {
    if (curl == nullptr || !job.ca_pem.empty()) {
      curl = NewCurl(job, *share);
    }
    ok = curl != nullptr && curl_easy_perform(curl.get()) == CURLE_OK && ok;
  }
  return ok;
}

int Main(int argc, char** argv) {
  Job job;
  const absl::string_view way = argc > 1 ? argv[1] : "";
  if (argc < 4 || argc > 5 || !absl::SimpleAtoi(argv[3], &job.requests) ||
      (way != "library" && way != "new" && way != "no_share" &&
       way != "by_hand")) {
    std::fputs(
        "usage: instructions_workload library|new|no_share|by_hand URL "
        "REQUESTS [CA_FILE]\n",
        stderr);
    return 2;
  }
  job.url = argv[2];
  if (argc == 5) {
    std::ifstream file(argv[4]);
    job.ca_pem.assign(std::istreambuf_iterator<char>(file), {});
    if (job.ca_pem.empty()) {
      std::fputs("instructions_workload: cannot read CA_FILE\n", stderr);
      return 2;
    }
  }
  const bool ok =
      way == "by_hand"
          ? RunByHand(job)
          : RunEasy(job, /*with_share=*/way != "no_share",
                    /*new_handles=*/way == "new" || !job.ca_pem.empty());
  if (ok) return EXIT_SUCCESS;
  std::fputs("instructions_workload: a request failed\n", stderr);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace curlshare::benchmarks

int main(int argc, char** argv) {
  return curlshare::benchmarks::Main(argc, argv);
}
