// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/scripted_resolver.h"

#include <dlfcn.h>
#include <netdb.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace curlshare::testing {
namespace {

struct Script {
  std::vector<std::string> answers;
  absl::Duration delay;
  int lookups = 0;
};

struct Answer {
  std::string text;
  absl::Duration delay;
};

struct Scripts {
  absl::Mutex mu;
  std::map<std::string, Script> of ABSL_GUARDED_BY(mu);
  bool held ABSL_GUARDED_BY(mu) = false;
};

Scripts& All() {
  static absl::NoDestructor<Scripts> scripts;
  return *scripts;
}

}  // namespace

void ScriptName(const std::string& name, std::vector<std::string> answers,
                absl::Duration delay) {
  absl::MutexLock lock(&All().mu);
  All().of[name] = {std::move(answers), delay, 0};
}

HoldLookups::HoldLookups() {
  absl::MutexLock lock(&All().mu);
  All().held = true;
}

HoldLookups::~HoldLookups() {
  absl::MutexLock lock(&All().mu);
  All().held = false;
}

void AwaitLookup(const std::string& name) {
  absl::MutexLock lock(&All().mu);
  const auto looked_up = [&name]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(All().mu) {
    return All().of[name].lookups > 0;
  };
  All().mu.Await(absl::Condition(&looked_up));
}

int Lookups(const std::string& name) {
  absl::MutexLock lock(&All().mu);
  return All().of[name].lookups;
}

// The next answer; none where there is no script.
std::optional<Answer> NextAnswer(const char* name) {
  if (name == nullptr) return std::nullopt;
  absl::MutexLock lock(&All().mu);
  const auto script = All().of.find(name);
  if (script == All().of.end() || script->second.answers.empty()) {
    return std::nullopt;
  }
  Script& found = script->second;
  const size_t i = std::min<size_t>(found.lookups, found.answers.size() - 1);
  ++found.lookups;
  const auto free = []() ABSL_EXCLUSIVE_LOCKS_REQUIRED(All().mu) {
    return !All().held;
  };
  All().mu.Await(absl::Condition(&free));
  return Answer{found.answers[i], found.delay};
}

}  // namespace curlshare::testing

// What it answers comes from the C library, so that freeaddrinfo fits.
extern "C" int getaddrinfo(const char* node, const char* service,
                           const addrinfo* hints, addrinfo** result) {
  static const auto next =
      reinterpret_cast<decltype(&getaddrinfo)>(  // NOLINT: what dlsym returns
          dlsym(RTLD_NEXT, "getaddrinfo"));
  if (next == nullptr) return EAI_SYSTEM;
  const auto answer = curlshare::testing::NextAnswer(node);
  if (!answer.has_value()) return next(node, service, hints, result);
  absl::SleepFor(answer->delay);
  if (answer->text == "!again") return EAI_AGAIN;
  if (answer->text == "!none") return EAI_NONAME;
  addrinfo* first = nullptr;
  addrinfo* last = nullptr;
  for (const std::string& address :
       std::vector<std::string>(absl::StrSplit(answer->text, ' '))) {
    addrinfo* found = nullptr;
    const int code = next(address.c_str(), service, hints, &found);
    if (code != 0) {
      if (first != nullptr) freeaddrinfo(first);
      return code;
    }
    (first == nullptr ? first : last->ai_next) = found;
    for (last = found; last->ai_next != nullptr;) last = last->ai_next;
  }
  *result = first;
  return 0;
}
