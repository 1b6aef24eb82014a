// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/fault_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace curlshare::testing {
namespace {

// How long a client may keep the server waiting.
constexpr timeval kPatience = {10, 0};

constexpr absl::string_view kHead =
    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
// Record: alert, TLS 1.2, two bytes; fatal, handshake_failure (RFC 8446 B.2).
constexpr absl::string_view kAlert("\x15\x03\x03\x00\x02\x02\x28", 7);

void Send(int socket, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // The client has had enough.
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

// The client hears of no more bytes; the server waits until it goes.
void HalfClose(int socket) {
  shutdown(socket, SHUT_WR);
  char buffer[1024];
  while (recv(socket, buffer, sizeof(buffer), 0) > 0) {
  }
}

// The next close is a reset.
void Reset(int socket) {
  const linger at_once = {1, 0};
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaultServer>> FaultServer::Start(Fault fault) {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);  // NOLINT
  if (listening < 0 || bind(listening, any, size) != 0 ||
      listen(listening, 128) != 0 || getsockname(listening, any, &size) != 0) {
    const std::string error = std::strerror(errno);  // NOLINT(concurrency-*)
    if (listening >= 0) close(listening);
    return absl::UnavailableError(
        absl::StrCat("no port of 127.0.0.1 can be listened on: ", error));
  }
  return std::unique_ptr<FaultServer>(
      new FaultServer(fault, listening, ntohs(address.sin_port)));
}

FaultServer::FaultServer(Fault fault, int listening, int port)
    : fault_(fault),
      listening_(listening),
      port_(port),
      accepting_([this] { Accept(); }) {}

FaultServer::~FaultServer() {
  // Ends the accept() under way.
  shutdown(listening_, SHUT_RDWR);
  accepting_.join();
  close(listening_);
}

std::string FaultServer::url() const {
  return absl::StrCat("http://127.0.0.1:", port_, "/");
}

std::string FaultServer::tls_url() const {
  return absl::StrCat("https://127.0.0.1:", port_, "/");
}

void FaultServer::Accept() {
  while (true) {
    const int socket = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    ++connections_;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
    Serve(socket);
    close(socket);
  }
}

void FaultServer::Serve(int socket) const {
  // On loopback the request comes in one piece, and more of it hurts nobody.
  char request[16 << 10];
  if (recv(socket, request, sizeof(request), 0) <= 0) return;
  switch (fault_) {
    case Fault::kReset:
      Reset(socket);
      return;
    case Fault::kResetMidway:
      Send(socket, kHead);
      Send(socket, std::string(100, 'x'));
      Reset(socket);
      return;
    case Fault::kHalfClose:
      HalfClose(socket);
      return;
    case Fault::kHalfCloseMidway:
      Send(socket, kHead);
      Send(socket, std::string(100, 'x'));
      HalfClose(socket);
      return;
    case Fault::kHalfCloseAtTheEnd:
      Send(socket, "HTTP/1.1 200 OK\r\n\r\nall of it");
      HalfClose(socket);
      return;
    case Fault::kGarbage:
      Send(socket, "neither HTTP nor TLS\r\n\r\n");
      HalfClose(socket);
      return;
    case Fault::kHugeHeader:
      Send(socket, absl::StrCat("HTTP/1.1 200 OK\r\nA: ",
                                std::string(1 << 20, 'a'), "\r\n\r\n"));
      HalfClose(socket);
      return;
    case Fault::kTlsAlert:
      Send(socket, kAlert);
      HalfClose(socket);
      return;
  }
}

}  // namespace curlshare::testing
