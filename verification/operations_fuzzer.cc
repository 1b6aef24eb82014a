// SPDX-License-Identifier: Apache-2.0
// libFuzzer's target: its bytes are a program of operations (operations.h),
// which runs on the library against the model (interpreter.h). What does not
// hold aborts, with the operations that led there.
//
//   bazel run --config=fuzz //verification:operations_fuzzer --
//       -max_total_time=60 "$PWD/verification/operations_corpus"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "curlshare/verification/interpreter.h"
#include "curlshare/verification/operations.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using curlshare::testing::Interpreter;
  // Its servers and threads serve every input.
  static const absl::StatusOr<std::unique_ptr<Interpreter>> interpreter =
      Interpreter::Create();
  if (!interpreter.ok()) {
    std::fprintf(stderr, "%s\n", interpreter.status().ToString().c_str());
    std::abort();
  }
  (*interpreter)
      ->RunInStep(curlshare::testing::DecodeProgram(
          absl::Span<const uint8_t>(data, size)));
  return 0;
}
