// SPDX-License-Identifier: Apache-2.0
// The server of instructions_workload, in a process of its own, so that
// callgrind counts the client alone. Prints its URL, serves until its standard
// input ends, then prints the requests and the connections that it counted.
#include <cstdio>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "curlshare/testing/http_server.h"

int main() {
  const auto server = curlshare::testing::HttpServer::Start();
  if (!server.ok()) {
    std::fputs(absl::StrCat(server.status().message(), "\n").c_str(), stderr);
    return 1;
  }
  std::puts((*server)->url("").c_str());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  const auto counts = (*server)->counts();
  std::puts(absl::StrCat(counts.requests, " ", counts.connections).c_str());
  return 0;
}
