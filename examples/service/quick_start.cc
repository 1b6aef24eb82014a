// SPDX-License-Identifier: Apache-2.0
// The example of README.md as a program: fetches the URL on the command line.
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/status/statusor.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/share.h"

int main(int argc, char** argv) {
  const std::string url = argc > 1 ? argv[1] : "https://example.com/";
  auto share = curlshare::Share::Create().value();
  // On each thread:
  std::thread thread([&] {
    auto easy = curlshare::Easy::Create().value();
    CHECK_OK(easy.Attach(*share));
    absl::StatusOr<curlshare::Response> r = easy.Fetch(url);
    if (r.ok()) LOG(INFO) << r->status << ": " << r->body.size() << " bytes";
  });
  thread.join();
  // At the end, from any thread:
  CHECK_OK(share->CloseNow());
  return EXIT_SUCCESS;
}
