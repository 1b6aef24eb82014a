// SPDX-License-Identifier: Apache-2.0
// Gets each URL on the command line, with two event loops whose handles share
// DNS answers and TLS sessions.
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/share.h"
#include "event_loop.h"

namespace event_loop {
namespace {

using ::curlshare::AfterClose;
using ::curlshare::Share;
using ::curlshare::ShareOptions;

void Print(const std::string& url, const absl::StatusOr<std::string>& body) {
  if (body.ok()) {
    absl::PrintF("%s: %d bytes\n", url, body->size());
  } else {
    absl::PrintF("%s: %s\n", url, body.status().ToString());
  }
}

absl::Status Run(const std::vector<std::string>& urls) {
  ShareOptions options;
  options.after_close = AfterClose::kRefuse;
  absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(options);
  if (!share.ok()) return share.status();
  std::vector<std::unique_ptr<EventLoop>> loops;
  for (int i = 0; i < 2; ++i) {
    absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Start(**share);
    if (!loop.ok()) return loop.status();
    loops.push_back(*std::move(loop));
  }
  absl::BlockingCounter unanswered(static_cast<int>(urls.size()));
  for (size_t i = 0; i < urls.size(); ++i) {
    loops[i % loops.size()]->Get(
        urls[i], [&, i](const absl::StatusOr<std::string>& body) {
          Print(urls[i], body);
          unanswered.DecrementCount();
        });
  }
  unanswered.Wait();
  absl::Status status;
  for (const std::unique_ptr<EventLoop>& loop : loops) {
    status.Update(loop->Shutdown(absl::Now() + absl::Seconds(10)));
  }
  return status;
}

}  // namespace
}  // namespace event_loop

int main(int argc, char** argv) {
  const absl::Status status = event_loop::Run({argv + 1, argv + argc});
  if (status.ok()) return EXIT_SUCCESS;
  absl::FPrintF(stderr, "%s\n", status.ToString());
  return EXIT_FAILURE;
}
