// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/ftp_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"

namespace curlshare::testing {
namespace {

// How long a client may keep the server waiting: for a command, and for
// anything else.
constexpr timeval kCommandPatience = {120, 0};
constexpr timeval kPatience = {10, 0};

void SetPatience(int socket, timeval read) {
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &read, sizeof(read));
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
}

bool Send(int socket, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// A socket that listens on a free port of 127.0.0.1; -1 where there is none.
int Listen(int* port) {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listening < 0) return -1;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);  // NOLINT
  if (bind(listening, any, size) != 0 || listen(listening, 128) != 0 ||
      getsockname(listening, any, &size) != 0) {
    close(listening);
    return -1;
  }
  *port = ntohs(address.sin_port);
  return listening;
}

// The size of the file of that name; -1 where there is none.
int FileSize(absl::string_view name) {
  int size = 0;
  name = absl::StripPrefix(name, "/");
  return absl::ConsumeSuffix(&name, ".txt") && absl::SimpleAtoi(name, &size) &&
                 size >= 0
             ? size
             : -1;
}

// Reads the lines that come over a socket.
class Lines {
 public:
  explicit Lines(int socket) : socket_(socket) {}

  // False at the end.
  bool Next(std::string* line) {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == buffer_.npos) {
      char bytes[512];
      const ssize_t got = recv(socket_, bytes, sizeof(bytes), 0);
      if (got <= 0 || buffer_.size() > 4096) return false;
      buffer_.append(bytes, static_cast<size_t>(got));
    }
    *line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return true;
  }

 private:
  const int socket_;
  std::string buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FtpServer>> FtpServer::Start() {
  int port = 0;
  const int listening = Listen(&port);
  if (listening < 0) {
    return absl::UnavailableError(
        absl::StrCat("no port of 127.0.0.1 can be listened on: ",
                     std::strerror(errno)));  // NOLINT(concurrency-*)
  }
  return std::unique_ptr<FtpServer>(new FtpServer(listening, port));
}

FtpServer::FtpServer(int listening, int port)
    : listening_(listening), port_(port), accepting_([this] { Accept(); }) {}

FtpServer::~FtpServer() {
  // Ends the accept() under way.
  shutdown(listening_, SHUT_RDWR);
  accepting_.join();
  close(listening_);
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mu_);
    for (Connection& connection : connections_) {
      if (connection.socket >= 0) shutdown(connection.socket, SHUT_RDWR);
      threads.push_back(std::move(connection.thread));
    }
  }
  for (std::thread& thread : threads) thread.join();
}

std::string FtpServer::url(absl::string_view path) const {
  return absl::StrCat("ftp://127.0.0.1:", port_, "/",
                      absl::StripPrefix(path, "/"));
}

void FtpServer::Accept() {
  while (true) {
    const int socket = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    SetPatience(socket, kCommandPatience);
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    absl::MutexLock lock(&mu_);
    // Those that are over are about to end, and take no lock any more.
    connections_.remove_if([](Connection& connection) {
      if (connection.socket >= 0) return false;
      connection.thread.join();
      return true;
    });
    Connection& added = connections_.emplace_back();
    added.socket = socket;
    added.thread = std::thread([this, socket, &added] {
      Serve(socket);
      absl::MutexLock lock(&mu_);
      close(socket);
      added.socket = -1;
    });
  }
}

void FtpServer::Serve(int control) {
  if (!Send(control, "220 ready\r\n")) return;
  int data_listening = -1;
  Lines lines(control);
  std::string line;
  while (lines.Next(&line)) {
    const std::pair<std::string, std::string> command = {
        line.substr(0, line.find(' ')),
        line.find(' ') == line.npos ? "" : line.substr(line.find(' ') + 1)};
    std::string answer = "500 not here\r\n";
    if (command.first == "USER") {
      answer = "331 password?\r\n";
    } else if (command.first == "PASS") {
      ++logins_;
      answer = "230 welcome\r\n";
    } else if (command.first == "PWD") {
      answer = "257 \"/\"\r\n";
    } else if (command.first == "TYPE") {
      answer = "200 so be it\r\n";
    } else if (command.first == "CWD") {
      answer = "250 there\r\n";
    } else if (command.first == "SIZE") {
      const int size = FileSize(command.second);
      answer = size < 0 ? "550 no such file\r\n"
                        : absl::StrCat("213 ", size, "\r\n");
    } else if (command.first == "EPSV") {
      if (data_listening >= 0) close(data_listening);
      int port = 0;
      data_listening = Listen(&port);
      answer = data_listening < 0
                   ? "425 no port\r\n"
                   : absl::StrCat("229 come to (|||", port, "|)\r\n");
      // accept() heeds it, too.
      if (data_listening >= 0) SetPatience(data_listening, kPatience);
    } else if (command.first == "RETR") {
      const int size = FileSize(command.second);
      const int data =
          size < 0 || data_listening < 0
              ? -1
              : accept4(data_listening, nullptr, nullptr, SOCK_CLOEXEC);
      answer = size < 0 ? "550 no such file\r\n" : "425 no connection\r\n";
      if (data >= 0) {
        SetPatience(data, kPatience);
        const bool sent =
            Send(control, "150 here it comes\r\n") &&
            Send(data, std::string(static_cast<size_t>(size), 'x'));
        close(data);
        if (sent) ++files_sent_;
        answer = sent ? "226 done\r\n" : "426 broken\r\n";
      }
      if (data_listening >= 0) close(std::exchange(data_listening, -1));
    } else if (command.first == "QUIT") {
      Send(control, "221 bye\r\n");
      break;
    }
    if (!Send(control, answer)) break;
  }
  if (data_listening >= 0) close(data_listening);
}

}  // namespace curlshare::testing
