// SPDX-License-Identifier: Apache-2.0
#include "service_signals.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

namespace fetch_service {

ServiceSignals::ServiceSignals() : fd_(eventfd(0, EFD_CLOEXEC)) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

ServiceSignals::~ServiceSignals() {
  if (thread_.joinable()) {
    // Wakes the thread from sigwait; it then sees that it is to end.
    ending_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }
  if (fd_ >= 0) close(fd_);
}

void ServiceSignals::Watch(std::function<void(int)> on_stop,
                           std::function<void()> on_report) {
  thread_ = std::thread(
      [this, on_stop = std::move(on_stop), on_report = std::move(on_report)] {
        int stops = 0;
        while (true) {
          int signal = 0;
          if (sigwait(&signals_, &signal) != 0 || ending_) return;
          if (signal == SIGUSR1) {
            on_report();
            continue;
          }
          on_stop(++stops);
          if (fd_ >= 0) eventfd_write(fd_, 1);
        }
      });
}

}  // namespace fetch_service
