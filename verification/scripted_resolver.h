// SPDX-License-Identifier: Apache-2.0
// A resolver for tests. In a program that is linked with this, getaddrinfo
// answers from a script for each name that has one, and counts these look-ups.
// All other names are looked up by the C library as usual.
//
//   ScriptName("flaky.curlshare.test", {"!again", "127.0.0.1"});
//
// testonly; for this repository's own tests.
#ifndef CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_
#define CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace curlshare::testing {

// From now on, the look-ups of `name` are answered by `answers`, one after the
// other; the last answer is repeated. An answer is one or more addresses,
// separated by blanks, or "!again" (EAI_AGAIN), or "!none" (EAI_NONAME). Each
// look-up takes `delay`. Sets the count of `name` to zero. Safe to call from
// any thread.
void ScriptName(const std::string& name, std::vector<std::string> answers,
                absl::Duration delay = absl::ZeroDuration());

// While it exists, look-ups of names that have a script do not return.
// Thread-compatible; one at a time.
class HoldLookups {
 public:
  HoldLookups();
  HoldLookups(const HoldLookups&) = delete;
  HoldLookups& operator=(const HoldLookups&) = delete;
  ~HoldLookups();
};

// Waits until `name` has been looked up since the last ScriptName for it. Safe
// to call from any thread.
void AwaitLookup(const std::string& name);

// Returns the number of look-ups of `name` since the last ScriptName for it.
// libcurl looks up IPv4 and IPv6 either together or separately, so a test that
// counts should set CURLOPT_IPRESOLVE. Safe to call from any thread.
int Lookups(const std::string& name);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_
