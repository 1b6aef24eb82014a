// SPDX-License-Identifier: Apache-2.0
// The resolver of a test: what this process looks up by getaddrinfo is answered
// from a script, and counted. Linked in, it replaces the C library's for all
// names that a script exists for; others are looked up as ever.
//
//   ScriptName("flaky.curlshare.test", {"!again", "127.0.0.1"});
//
// testonly; for this repository's own tests.
#ifndef CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_
#define CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_

#include <string>
#include <vector>

namespace curlshare::testing {

// What look-ups of `name` answer from now on, one after another, the last one
// again and again: addresses, several separated by blanks, "!again" (EAI_AGAIN)
// or "!none" (EAI_NONAME). Forgets the count. Safe to call from any thread.
void ScriptName(const std::string& name, std::vector<std::string> answers);

// Look-ups of `name` since. libcurl asks for IPv4 and IPv6 at once, or for
// each: tests that count set CURLOPT_IPRESOLVE.
int Lookups(const std::string& name);

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SCRIPTED_RESOLVER_H_
