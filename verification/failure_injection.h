// SPDX-License-Identifier: Apache-2.0
// Makes the n-th memory allocation, or the n-th call of libcurl, fail. A test
// that does so for each n in turn covers every point where the code can fail.
//
//   int main(int argc, char** argv) {
//     testing::InitGoogleTest(&argc, argv);
//     CountLibcurlAllocations();  // before libcurl is used in any way
//     return RUN_ALL_TESTS();
//   }
//
//   for (int64_t n = 1;; ++n) {
//     FailNth(FailurePoint::kOperatorNew, n);
//     {
//       const FailureScope scope;  // operator new of this thread counts
//       ... the calls under test ...
//     }
//     if (!StopFailing().failed) break;  // there was no n-th
//   }
//
// A binary that depends on this target has its operator new replaced, and its
// calls of libcurl go through this file (ld --wrap, for the functions that
// curl_share uses). Until FailNth is called, both behave as without it.
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_
#define CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_

#include <cstdint>
#include <string>

namespace curlshare::testing {

// What can be made to fail.
enum class FailurePoint {
  // An allocation by libcurl, on any thread: returns null.
  kLibcurlAllocation,
  // operator new within a FailureScope: throws std::bad_alloc, or returns null
  // (nothrow).
  kOperatorNew,
  // A call of libcurl within a FailureScope, except calls by libcurl itself:
  // returns an error without doing anything. curl_share_cleanup returns
  // CURLSHE_IN_USE; the others return out of memory, or the closest error that
  // they have. curl_multi_cleanup does its work nevertheless, since callers
  // never try it again.
  kLibcurlCall,
};

// Makes libcurl allocate its memory through this file. Returns false if that
// fails. REQUIRES: libcurl is not initialised yet.
bool CountLibcurlAllocations();

// How many failures FailNth causes.
enum class FailureLength {
  kOnce,  // only the n-th, as if one large block did not fit
  kOn,    // the n-th and all later ones, as if memory had run out
};

// From now on counts what happens at `point`, and makes the `n`-th fail; 0:
// none. Applies to the whole process; one FailNth at a time. Safe to call from
// any thread.
void FailNth(FailurePoint point, int64_t n,
             FailureLength length = FailureLength::kOnce);

// What has happened since FailNth. Thread-compatible: a plain value.
struct FailureReport {
  int64_t seen = 0;     // allocations or calls at the point so far
  bool failed = false;  // the n-th was reached and failed
  std::string what;     // for kLibcurlCall: "curl_easy_setopt(10100)"
};

// Returns the report so far. Safe to call from any thread.
FailureReport FailuresSoFar();
// Ends what FailNth began, and returns the report. Safe to call from any
// thread.
FailureReport StopFailing();

// While it lives, allocations and calls of libcurl by its thread count for
// kOperatorNew and kLibcurlCall. Scopes can nest. Not thread-safe: created and
// destroyed on one thread.
class FailureScope {
 public:
  FailureScope();
  FailureScope(const FailureScope&) = delete;
  FailureScope& operator=(const FailureScope&) = delete;
  ~FailureScope();
};

// Return the number of blocks that are allocated now: by libcurl, and by
// operator new within a FailureScope. Safe to call from any thread.
int64_t LiveLibcurlAllocations();
int64_t LiveScopedAllocations();

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_
