// SPDX-License-Identifier: Apache-2.0
// Makes the n-th allocation, or the n-th call of libcurl, fail: for every n in
// turn, that shows what happens when anything at all goes wrong.
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
// To depend on this target replaces operator new of the whole binary, and sends
// every call of libcurl's functions that curl_share uses through here
// (ld --wrap); neither does anything else until told to.
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_
#define CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_

#include <cstdint>
#include <string>

namespace curlshare::testing {

enum class FailurePoint {
  // Of libcurl, on whichever thread: returns null.
  kLibcurlAllocation,
  // Within a FailureScope: throws std::bad_alloc, or returns null (nothrow).
  kOperatorNew,
  // A call of libcurl within a FailureScope, but not by libcurl itself: returns
  // an error, having done nothing. curl_share_cleanup says CURLSHE_IN_USE, the
  // others that memory has run out, or what they have instead.
  // curl_multi_cleanup does its work, since to do it is never tried again.
  kLibcurlCall,
};

// Has libcurl allocate through here. REQUIRES: libcurl is not initialised yet.
// False where that fails.
bool CountLibcurlAllocations();

enum class FailureLength {
  kOnce,  // the n-th alone, as where one large block does not fit
  kOn,    // the n-th and all later ones, as where memory has run out
};

// From now on counts at `point`, and makes the `n`-th fail; 0: none.
// Process-wide, one at a time. Safe to call from any thread.
void FailNth(FailurePoint point, int64_t n,
             FailureLength length = FailureLength::kOnce);

struct FailureReport {
  int64_t seen = 0;     // at the point
  bool failed = false;  // there was an n-th
  std::string what;     // of kLibcurlCall: "curl_easy_setopt(10100)"
};

// How it is going. Safe to call from any thread.
FailureReport FailuresSoFar();
// Ends what FailNth began.
FailureReport StopFailing();

// While it lives, what its thread does counts at kOperatorNew and
// kLibcurlCall. Nests.
class FailureScope {
 public:
  FailureScope();
  FailureScope(const FailureScope&) = delete;
  FailureScope& operator=(const FailureScope&) = delete;
  ~FailureScope();
};

// Blocks that exist: of libcurl; and those that operator new made within a
// FailureScope. Safe to call from any thread.
int64_t LiveLibcurlAllocations();
int64_t LiveScopedAllocations();

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_FAILURE_INJECTION_H_
