// SPDX-License-Identifier: Apache-2.0
// Code that must not compile, such as the first attempts of somebody who knows
// libcurl's C API. For each line with "ERROR:", tools/check_compile_errors
// builds this file and checks that the compiler reports that text for the line.
#include <curl/curl.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "curlshare/easy/easy.h"

namespace curlshare {

size_t OnWrite(char*, size_t, size_t count, void*) { return count; }
int OnProgress(void*, double, double, double, double) { return 0; }
int OnDebug(CURL*, curl_infotype, char*, size_t, void*) { return 0; }

// clang-format off
void DoesNotCompile(Easy& easy, std::string& body) {
  const std::string constant;
  void* const data = &body;
  auto captures = [&body](CURL*, curl_infotype, char* text, size_t size, void*) { body.append(text, size); return 0; };
  // A callback and its data.
  (void)easy.SetOption<CURLOPT_WRITEFUNCTION>(&OnWrite, data);  // ERROR: use SetSink
  (void)easy.SetOption<CURLOPT_HEADERFUNCTION>(&OnWrite, data);  // ERROR: use SetHeaderSink
  (void)easy.SetOption<CURLOPT_XFERINFOFUNCTION>(nullptr, data);  // ERROR: use SetProgress
  (void)easy.SetOption<static_cast<CURLoption>(20056)>(&OnProgress, data);  // ERROR: use SetProgress
  (void)easy.SetOption<CURLOPT_DEBUGFUNCTION>(captures, data);  // ERROR: have it capture nothing
  (void)easy.SetOption<CURLOPT_DEBUGFUNCTION>(&OnWrite, data);  // ERROR: plain function with the parameters
  (void)easy.SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, body);  // ERROR: data of a callback is a pointer
  (void)easy.SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, &constant);  // ERROR: to what is not const
  (void)easy.SetOption<CURLOPT_DEBUGDATA>(&OnDebug, data);  // ERROR: a callback and its data together
  (void)easy.SetOption<CURLOPT_URL>("http://a/", data);  // ERROR: takes one value
  (void)easy.SetOption<static_cast<CURLoption>(20130)>(&OnDebug, data);  // ERROR: has deprecated this callback
  // One value.
  (void)easy.SetOption<CURLOPT_WRITEDATA>(&body);  // ERROR: use SetSink
  (void)easy.SetOption<CURLOPT_HEADERDATA>(&body);  // ERROR: use SetHeaderSink
  (void)easy.SetOption<CURLOPT_NOPROGRESS>(0L);  // ERROR: use SetProgress
  (void)easy.SetOption<CURLOPT_POSTFIELDS>("body");  // ERROR: use SetBody
  (void)easy.SetOption<CURLOPT_SHARE>(nullptr);  // ERROR: use Attach
  (void)easy.SetOption<CURLOPT_ERRORBUFFER>(nullptr);  // ERROR: is in the Status
  (void)easy.SetOption<CURLOPT_NOSIGNAL>(0L);  // ERROR: as threads require
  (void)easy.SetOption<CURLOPT_POST>(1L);  // ERROR: SetMethod and the body
  (void)easy.SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug);  // ERROR: a callback and its data together
  (void)easy.SetOption<CURLOPT_VERBOSE>("yes");  // ERROR: takes a long
  (void)easy.SetFollowRedirects(true);  // ERROR: how many redirects to follow
}
// clang-format on

}  // namespace curlshare
