// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGUSR1 on a thread, where anything may be called,
// instead of in a signal handler, where almost nothing may.
#ifndef FETCH_SERVICE_SERVICE_SIGNALS_H_
#define FETCH_SERVICE_SERVICE_SIGNALS_H_

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>  // NOLINT(build/c++11)

namespace fetch_service {

// Blocks the three signals in all threads that are started from here on, so it
// is made before any other thread.
class ServiceSignals {
 public:
  ServiceSignals();
  ServiceSignals(const ServiceSignals&) = delete;
  ServiceSignals& operator=(const ServiceSignals&) = delete;
  // The signals stay blocked: what comes now ends nothing any more.
  ~ServiceSignals();

  // Calls `on_stop(1)` at the first SIGTERM or SIGINT, (2) at the second, and
  // so on, and `on_report` at each SIGUSR1, on a thread of its own. Once.
  void Watch(std::function<void(int)> on_stop, std::function<void()> on_report);

  // Readable, and stays so, when `on_stop(1)` has returned; for poll(2).
  int fd() const { return fd_; }

 private:
  sigset_t signals_;
  const int fd_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace fetch_service

#endif  // FETCH_SERVICE_SERVICE_SIGNALS_H_
