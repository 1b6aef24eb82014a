// SPDX-License-Identifier: Apache-2.0
// Runs programs of operations (operations.h) on the library.
//
//   auto interpreter = Interpreter::Create();
//   (*interpreter)->RunInStep(program);   // against the model
//   (*interpreter)->RunFree(program);     // threads at the same time
//
// In step: each operation on the thread that it names, one after the other,
// and each answer and the state after it compared with ShareModel. A thread in
// a callback, in a Use, or in a transfer that the server stalls stays there
// while operations of the others go on.
//
// Free: each thread runs its own operations, on handles of its own and shares
// of all, with noise in the schedule. Each answer must be one that the headers
// allow; at the end everything must be closed, freed and unlocked.
//
// What does not hold ends the process, with the operations that led there, by
// std::abort(): there is no way to unwind a library that is in a wrong state.
#ifndef CURLSHARE_VERIFICATION_INTERPRETER_H_
#define CURLSHARE_VERIFICATION_INTERPRETER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "curlshare/verification/operations.h"

namespace curlshare::testing {

// What was done since the interpreter was made.
struct InterpreterCounts {
  int64_t operations = 0;  // done; and of those given, skipped:
  int64_t skipped = 0;
  int64_t transfers = 0;  // begun, and ended
  int64_t callbacks = 0;  // in which operations ran
  int64_t probes = 0;     // calls under a share's lock, each refused

  std::string ToString() const;
};

// Not safe for concurrent use: one program at a time.
class Interpreter {
 public:
  // Errors of HttpServer::Start and of InitLibcurl.
  static absl::StatusOr<std::unique_ptr<Interpreter>> Create();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  ~Interpreter();

  void RunInStep(absl::Span<const Op> program);
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
