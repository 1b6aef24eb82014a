// SPDX-License-Identifier: Apache-2.0
// The example of README.md as a program: fetches the URL on the command line.
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/share.h"

int main(int argc, char** argv) {
  const std::string url = argc > 1 ? argv[1] : "https://example.com/";
  curlshare::ShareOptions options;
  options.after_close = curlshare::AfterClose::kRefuse;
  auto share = curlshare::Share::Create(options).value();
  // On each thread:
  std::thread thread([&] {
    auto easy = curlshare::Easy::Create().value();
    if (!easy.Attach(*share).ok()) return;
    CHECK_OK(easy.SetTimeout(absl::Seconds(30)));  // by default there is none
    absl::StatusOr<curlshare::Response> r = easy.Fetch(url);
    if (r.ok()) LOG(INFO) << r->status << ": " << r->body.size() << " bytes";
  });
  thread.join();
  // At the end, from any thread: ends all transfers, and refuses new ones.
  CHECK_OK(share->CloseNow());
  LOG(INFO) << share->stats();  // connections, look-ups, handshakes, locks
  return EXIT_SUCCESS;
}
