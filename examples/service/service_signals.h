// SPDX-License-Identifier: Apache-2.0
// Handles SIGTERM, SIGINT and SIGUSR1 on a thread, where any function may be
// called, instead of in a signal handler, where almost none may be.
//
//   ServiceSignals signals;  // before any other thread
//   signals.Watch([&](int count) { ... }, [&] { ... });
#ifndef FETCH_SERVICE_SERVICE_SIGNALS_H_
#define FETCH_SERVICE_SERVICE_SIGNALS_H_

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>  // NOLINT(build/c++11)

namespace fetch_service {

// Blocks the three signals in this thread and in all threads that it starts
// later, so it must be created before any other thread. Thread-compatible; fd()
// may be used by any thread while it lives.
class ServiceSignals {
 public:
  ServiceSignals();
  ServiceSignals(const ServiceSignals&) = delete;
  ServiceSignals& operator=(const ServiceSignals&) = delete;
  // The signals stay blocked: one that arrives later has no effect.
  ~ServiceSignals();

  // Starts a thread that calls `on_stop(1)` at the first SIGTERM or SIGINT,
  // `on_stop(2)` at the second, and so on, and `on_report()` at each SIGUSR1.
  // To be called once.
  void Watch(std::function<void(int)> on_stop, std::function<void()> on_report);

  // Returns a file descriptor for poll(2), which becomes readable for good when
  // `on_stop(1)` has returned.
  int fd() const { return fd_; }

 private:
  sigset_t signals_;
  const int fd_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace fetch_service

#endif  // FETCH_SERVICE_SERVICE_SIGNALS_H_
