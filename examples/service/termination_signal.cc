#include "termination_signal.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

namespace fetch_service {

TerminationSignal::TerminationSignal() : fd_(eventfd(0, EFD_CLOEXEC)) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

TerminationSignal::~TerminationSignal() {
  if (thread_.joinable()) {
    ending_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }
  if (fd_ >= 0) close(fd_);
}

void TerminationSignal::Watch(std::function<void(int)> on_signal) {
  thread_ = std::thread([this, on_signal = std::move(on_signal)] {
    for (int count = 1;; ++count) {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0 || ending_) return;
      on_signal(count);
      if (fd_ >= 0) eventfd_write(fd_, 1);
    }
  });
}

}  // namespace fetch_service
