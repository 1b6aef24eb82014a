// SPDX-License-Identifier: Apache-2.0
// Runs programs of operations (operations.h) on the library.
//
//   auto interpreter = Interpreter::Create();
//   (*interpreter)->RunInStep(program);   // against the model
//   (*interpreter)->RunFree(program);     // threads at the same time
#ifndef CURLSHARE_VERIFICATION_INTERPRETER_H_
#define CURLSHARE_VERIFICATION_INTERPRETER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "curlshare/verification/operations.h"

namespace curlshare::testing {

// What an interpreter has done since it was made. Thread-compatible: a plain
// value.
struct InterpreterCounts {
  int64_t operations = 0;  // operations that were executed
  int64_t skipped = 0;     // operations that were skipped
  int64_t transfers = 0;   // transfers that have ended
  int64_t callbacks = 0;   // callbacks in which operations were executed
  int64_t probes = 0;      // calls under a share's lock, all of them refused

  std::string ToString() const;
};

// Executes programs, and owns the threads, shares, handles and server that they
// use. Not thread-safe: one thread runs one program at a time.
//
// If a program has a result that it must not have, the interpreter prints the
// operations that led there, and ends the process by std::abort(): a library
// that is in a wrong state cannot be unwound.
class Interpreter {
 public:
  // Errors: those of HttpServer::Start and of InitLibcurl.
  static absl::StatusOr<std::unique_ptr<Interpreter>> Create();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  ~Interpreter();

  // Executes one operation after the other, each on the thread that it names.
  // Compares each answer, and the state after it, with ShareModel. A thread
  // that is in a callback, in a Use, or in a transfer that the server stalls
  // stays there while operations of other threads are executed.
  void RunInStep(absl::Span<const Op> program);
  // Executes the operations of each thread at the same time, with noise in the
  // schedule. Each thread has its own handles; the shares are common to all.
  // Each answer must be one that the headers allow, and at the end everything
  // must be closed, freed and unlocked.
  void RunFree(absl::Span<const Op> program);

  InterpreterCounts counts() const;

 private:
  class World;
  class Worker;
  explicit Interpreter(std::unique_ptr<World> world);

  const std::unique_ptr<World> world_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_INTERPRETER_H_
