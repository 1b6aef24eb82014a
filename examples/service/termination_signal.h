// SIGTERM and SIGINT on a thread, where anything may be called, instead of in a
// signal handler, where almost nothing may.
#ifndef FETCH_SERVICE_TERMINATION_SIGNAL_H_
#define FETCH_SERVICE_TERMINATION_SIGNAL_H_

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>  // NOLINT(build/c++11)

namespace fetch_service {

// Blocks the two signals in all threads that are started from here on, so it is
// made before any other thread.
class TerminationSignal {
 public:
  TerminationSignal();
  TerminationSignal(const TerminationSignal&) = delete;
  TerminationSignal& operator=(const TerminationSignal&) = delete;
  // The signals stay blocked: what comes now ends nothing any more.
  ~TerminationSignal();

  // Calls `on_signal(1)` at the first signal, (2) at the second, and so on, on
  // a thread of its own. Once.
  void Watch(std::function<void(int)> on_signal);

  // Readable, and stays so, when `on_signal(1)` has returned; for poll(2).
  int fd() const { return fd_; }

 private:
  sigset_t signals_;
  const int fd_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace fetch_service

#endif  // FETCH_SERVICE_TERMINATION_SIGNAL_H_
