// SPDX-License-Identifier: Apache-2.0
// A minimal FTP server on loopback, with just what libcurl needs to read a
// file. For tests of connections that belong to a user.
//
//   absl::StatusOr<std::unique_ptr<FtpServer>> server = FtpServer::Start();
//   if (!server.ok()) return server.status();
//   easy.SetOption<CURLOPT_USERPWD>("any:secret");
//   easy.Fetch((*server)->url("100.txt"));  // 100 bytes
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

// The server, from Start() until its destruction. It asks every user for a
// password, and accepts all of them. For every number N, "N.txt" is a file of N
// bytes; there are no other files. Each connection has a thread. Thread-safe,
// except for its destruction.
class FtpServer {
 public:
  // Starts a server on a free port of 127.0.0.1. kUnavailable if there is none.
  static absl::StatusOr<std::unique_ptr<FtpServer>> Start();

  FtpServer(const FtpServer&) = delete;
  FtpServer& operator=(const FtpServer&) = delete;
  // Ends every connection, and waits for all threads, at most some seconds.
  ~FtpServer();

  int port() const { return port_; }
  // Returns the URL of `path`: "ftp://127.0.0.1:12345/100.txt" for "100.txt".
  std::string url(absl::string_view path) const;
  // Return the numbers since the start.
  int logins() const { return logins_; }
  int files_sent() const { return files_sent_; }

 private:
  // One connection. Guarded by mu_, except while its thread is joined.
  struct Connection {
    int socket = -1;  // -1: the connection has ended
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
