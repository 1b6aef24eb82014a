// SPDX-License-Identifier: Apache-2.0
// An FTP server on loopback, of just what libcurl needs to read a file: for
// connections that belong to a user.
//
//   absl::StatusOr<std::unique_ptr<FtpServer>> server = FtpServer::Start();
//   if (!server.ok()) return server.status();
//   easy.SetOption<CURLOPT_USERPWD>("any:secret");
//   easy.Fetch((*server)->url("100.txt"));  // 100 bytes
//
// Every user may log in, and is asked for a password. "N.txt" is a file of N
// bytes, for every number N; nothing else exists.
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_FTP_SERVER_H_
#define CURLSHARE_VERIFICATION_FTP_SERVER_H_

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace curlshare::testing {

// Safe for concurrent use, but for its destruction.
class FtpServer {
 public:
  // Listens on a free port of 127.0.0.1. kUnavailable where there is none.
  static absl::StatusOr<std::unique_ptr<FtpServer>> Start();

  FtpServer(const FtpServer&) = delete;
  FtpServer& operator=(const FtpServer&) = delete;
  // Ends every connection, and waits for its threads, at most some seconds.
  ~FtpServer();

  int port() const { return port_; }
  // "ftp://127.0.0.1:12345/100.txt" for "100.txt".
  std::string url(absl::string_view path) const;
  // Since the start.
  int logins() const { return logins_; }
  int files_sent() const { return files_sent_; }

 private:
  struct Connection {
    int socket = -1;  // -1: it is over
    std::thread thread;
  };

  FtpServer(int listening, int port);
  void Accept();
  void Serve(int control);

  const int listening_;
  const int port_;
  std::atomic<int> logins_{0};
  std::atomic<int> files_sent_{0};
  absl::Mutex mu_;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mu_);
  std::thread accepting_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_FTP_SERVER_H_
