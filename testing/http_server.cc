// SPDX-License-Identifier: Apache-2.0
// The server is httplib::Server; this file adds routes, counts and
// misbehaviour. Threads: one accepts connections and runs everything that is
// said to be "on the accepting thread"; each open connection has another one,
// which runs the handlers. State that several threads use is guarded by
// Impl::mu_, except for the atomic flag stop_accepting_. No handler of a test
// is called with mu_ held.
#include "curlshare/testing/http_server.h"

#include <openssl/obj_mac.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/testing/listening_port.h"
#include "curlshare/testing/self_signed_certificate.h"
#include "httplib.h"

namespace curlshare::testing {
namespace {

// Gives each open connection a thread. httplib's own thread pool has a fixed
// size, so that stalled connections would keep others waiting. When a
// connection ends, its thread waits for the next one.
//
// Invariant: `idle_` is the number of threads that serve no connection,
// including those that have been created and not yet started.
class ThreadPerConnection final : public httplib::TaskQueue {
 public:
  // Both are called on the accepting thread: `on_connection` for each new
  // connection, which is dropped if it returns false; `on_idle` then, and
  // several times a second.
  ThreadPerConnection(std::function<bool()> on_connection,
                      std::function<void()> on_idle)
      : on_connection_(std::move(on_connection)),
        on_idle_(std::move(on_idle)) {}

  bool enqueue(std::function<void()> serve) override ABSL_LOCKS_EXCLUDED(mu_) {
    const bool wanted = on_connection_();
    on_idle_();
    if (!wanted) return false;
    absl::MutexLock lock(&mu_);
    waiting_.push_back(std::move(serve));
    if (waiting_.size() > idle_) {
      threads_.emplace_back([this] { Serve(); });
      ++idle_;  // the new thread, until it takes a connection
    }
    return true;
  }

  void shutdown() override ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<std::thread> threads;
    {
      absl::MutexLock lock(&mu_);
      shutdown_ = true;
      threads.swap(threads_);
    }
    for (std::thread& thread : threads) thread.join();
  }

  void on_idle() override { on_idle_(); }

 private:
  void Serve() ABSL_LOCKS_EXCLUDED(mu_) {
    while (true) {
      std::function<void()> serve;
      {
        absl::MutexLock lock(&mu_);
        mu_.Await(absl::Condition(this, &ThreadPerConnection::HasNews));
        if (waiting_.empty()) break;
        serve = std::move(waiting_.front());
        waiting_.pop_front();
        --idle_;
      }
      serve();
      absl::MutexLock lock(&mu_);
      ++idle_;
    }
    OPENSSL_thread_stop();
  }
  // Whether Serve() has something to do: a connection, or to end.
  bool HasNews() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return !waiting_.empty() || shutdown_;
  }

  const std::function<bool()> on_connection_;
  const std::function<void()> on_idle_;
  absl::Mutex mu_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mu_);
  size_t idle_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  bool shutdown_ ABSL_GUARDED_BY(mu_) = false;
};

// Returns the answer to a DNS query (RFC 1035 section 4.1): the address
// 127.0.0.1 to a query for IPv4 addresses (type A), and no record to any other.
// Empty if `query` is too short for a query with one question.
std::string DnsAnswer(absl::string_view query) {
  constexpr size_t kHeaderSize = 12;
  size_t end = kHeaderSize;
  while (end < query.size() && query[end] != 0) {
    end += 1 + static_cast<unsigned char>(query[end]);
  }
  end += 1 + 4;  // the empty label that ends the name, then type and class
  if (end > query.size()) return "";
  const bool for_ipv4 = query[end - 4] == 0 && query[end - 3] == 1;
  std::string answer(query.substr(0, 2));  // the query's id
  // Flags: a response without error. Then the numbers of questions (1), of
  // answers, and of records in the two other sections (0).
  answer.append("\x81\x80\0\1\0", 5);
  answer.push_back(for_ipv4 ? 1 : 0);
  answer.append("\0\0\0\0", 4);
  absl::StrAppend(&answer, query.substr(kHeaderSize, end - kHeaderSize));
  // A pointer to the question's name; type A, class IN; TTL 60 s; 4 bytes.
  if (for_ipv4) {
    answer.append("\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", 16);
  }
  return answer;
}

// Returns a parameter of the request's query as a number. 0 if it is missing or
// not a number.
int64_t Number(const httplib::Request& request, const char* name) {
  int64_t number = 0;
  return absl::SimpleAtoi(request.get_param_value(name), &number) ? number : 0;
}

// Returns the common name in the client's certificate. Empty if there is none.
std::string ClientName(const SSL* ssl) {
  if (ssl == nullptr) return "";
  X509* const certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return "";
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                            name, sizeof(name));
  return name;
}

// Returns `text` in gzip format (RFC 1952). Empty if zlib has no memory.
std::string Gzip(std::string text) {
  // The largest window; 16 selects the gzip format instead of zlib's (zlib.h).
  constexpr int kWindowBitsOfGzip = 15 + 16;
  constexpr int kMemory = 8;
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                   kWindowBitsOfGzip, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) {
    return "";
  }
  std::string compressed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());  // NOLINT
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());  // NOLINT
  stream.avail_out = static_cast<uInt>(compressed.size());
  const bool all = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  compressed.resize(all ? stream.total_out : 0);
  deflateEnd(&stream);
  return compressed;
}

HttpRequest RequestOf(const httplib::Request& request) {
  HttpRequest result;
  result.method = request.method;
  result.target = request.target;
  result.headers.assign(request.headers.begin(), request.headers.end());
  result.body = request.body;
  for (const auto& [name, part] : request.files) {
    result.parts.push_back(
        {name, part.filename, part.content_type, part.content});
  }
  return result;
}

constexpr char kBytes[] = "application/octet-stream";

std::string Block(size_t size) { return std::string(size, 'x'); }

// Sends up to `size` bytes. httplib calls the content provider again for the
// rest. Returns false if the connection is broken.
bool Write(httplib::DataSink& sink, size_t size) {
  // Never destroyed: a server may still be running when the process exits.
  static const absl::NoDestructor<std::string> block(Block(size_t{64} << 10));
  return sink.write(block->data(), std::min(size, block->size()));
}

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(HttpServerOptions options) : options_(options) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::Status Start() {
    if (options_.port != 0) return StartOn(options_.port);
    return ListenOnAnyPort([this](int port) { return StartOn(port); });
  }

  ~Impl() {
    stop_accepting_ = true;
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    if (accepting_.joinable()) accepting_.join();
  }

  bool tls() const { return options_.tls; }
  int port() const { return port_; }
  void Refuse() {
    stop_accepting_ = true;
    refusing_.WaitForNotification();
  }

  HttpServerCounts counts() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return counts_;
  }
  void ResetCounts() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    counts_ = {};
  }
  void Handle(absl::string_view path, HttpHandler handler)
      ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (handler == nullptr) {
      handlers_.erase(std::string(path));
    } else {
      handlers_[std::string(path)] = std::move(handler);
    }
  }
  void DropNextConnections(int n) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    drop_ = n;
  }

  bool WaitForStalled(int n, absl::Time deadline) const
      ABSL_LOCKS_EXCLUDED(mu_) {
    const auto enough = [this, n]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return stalled_ >= n;
    };
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithDeadline(absl::Condition(&enough), deadline);
  }
  void ReleaseStalled() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ++releases_;
    stalled_ = 0;
  }

 private:
  absl::Status MakeServer() {
    if (!options_.tls) {
      server_ = std::make_unique<httplib::Server>();
      return absl::OkStatus();
    }
    const absl::StatusOr<SelfSignedCertificate>& certificate =
        GetSelfSignedCertificate();
    if (!certificate.ok()) return certificate.status();
    server_ = std::make_unique<httplib::SSLServer>([&](SSL_CTX& context) {
      SSL_CTX_set_app_data(&context, this);
      SSL_CTX_set_info_callback(&context, &Impl::OnTls);
      if (options_.request_client_certificate) {
        SSL_CTX_set_verify(&context, SSL_VERIFY_PEER,
                           [](int, X509_STORE_CTX*) { return 1; });
        // Without a context, OpenSSL refuses to resume the sessions of clients
        // that have been asked for a certificate: see the man page of
        // SSL_CTX_set_session_id_context.
        constexpr unsigned char kContext[] = "curlshare";
        SSL_CTX_set_session_id_context(&context, kContext, sizeof(kContext));
      }
      return SSL_CTX_use_certificate(&context, certificate->certificate) == 1 &&
             SSL_CTX_use_PrivateKey(&context, certificate->key) == 1 &&
             SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION) == 1;
    });
    if (!server_->is_valid()) {
      return absl::InternalError("OpenSSL does not take the certificate");
    }
    return absl::OkStatus();
  }

  // Listens on `port`. Makes a new httplib::Server for each try, since a
  // httplib::Server that could not bind cannot be used again.
  absl::Status StartOn(int port) {
    if (absl::Status status = MakeServer(); !status.ok()) return status;
    server_->set_tcp_nodelay(true);
    server_->set_keep_alive_max_count(1 << 30);
    server_->set_keep_alive_timeout(absl::ToInt64Seconds(
        absl::Ceil(options_.keep_alive, absl::Seconds(1))));
    server_->set_read_timeout(absl::ToChronoSeconds(options_.longest_stall));
    server_->set_write_timeout(absl::ToChronoSeconds(options_.longest_stall));
    // Every 20 ms the accepting thread checks whether it is to stop (OnIdle).
    // It closes the listening socket itself. If another thread closed it, the
    // accepting thread might wait on a file descriptor that has been reused.
    server_->set_idle_interval(0, 20000);
    server_->new_task_queue = [this] {
      return new ThreadPerConnection([this] { return OnConnection(); },
                                     [this] { OnIdle(); });
    };
    server_->set_pre_routing_handler(
        [this](const httplib::Request&, httplib::Response&) {
          absl::MutexLock lock(&mu_);
          ++counts_.requests;
          return httplib::Server::HandlerResponse::Unhandled;
        });
    // httplib refuses a method that it does not know before it reads the
    // headers, and would take the rest of that request for the next ones. So
    // the client must not use the connection again.
    server_->set_error_handler(
        [](const httplib::Request& request, httplib::Response& response) {
          if (response.status == 400 && request.headers.empty()) {
            response.set_header("Connection", "close");
          }
        });
    Route();
    // Replaces httplib's default, SO_REUSEPORT, with which two servers could
    // listen on the same port.
    server_->set_socket_options([](int socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    if (!server_->bind_to_port("127.0.0.1", port)) {
      return absl::UnavailableError(
          absl::StrCat("port ", port, " of 127.0.0.1 cannot be listened on"));
    }
    port_ = port;
    accepting_ = std::thread([this] { server_->listen_after_bind(); });
    server_->wait_until_ready();
    return absl::OkStatus();
  }

  // Called on the accepting thread. Returns whether to serve the connection.
  bool OnConnection() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ++counts_.connections;
    if (drop_ == 0) return true;
    --drop_;
    return false;
  }

  // Called on the accepting thread.
  void OnIdle() {
    if (!stop_accepting_ || refusing_.HasBeenNotified()) return;
    server_->stop();
    refusing_.Notify();
  }

  // OpenSSL's info callback: counts handshakes.
  static void OnTls(const SSL* ssl, int where, int /*value*/) {
    if ((where & SSL_CB_HANDSHAKE_DONE) == 0) return;
    // OpenSSL may report the end of the handshake several times for one
    // connection, so the connection is marked.
    static const int counted =
        SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    if (SSL_get_ex_data(ssl, counted) != nullptr) return;
    auto* self = static_cast<Impl*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    // OpenSSL declares the parameter const, but passes the SSL itself.
    SSL_set_ex_data(const_cast<SSL*>(ssl), counted, self);  // NOLINT
    absl::MutexLock lock(&self->mu_);
    ++(SSL_session_reused(ssl) == 1 ? self->counts_.tls_resumed
                                    : self->counts_.tls_full);
  }

  // Returns at the next ReleaseStalled(), when the server stops, or after
  // options_.longest_stall.
  void Stall() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const int releases = releases_;
    const auto released = [this, releases]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return releases_ != releases || stopping_;
    };
    ++stalled_;
    mu_.AwaitWithTimeout(absl::Condition(&released), options_.longest_stall);
    if (releases_ == releases) --stalled_;  // else ReleaseStalled has reset it
  }

  bool stopping() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return stopping_;
  }

  void Route() {
    using httplib::DataSink;
    using httplib::Request;
    using httplib::Response;
    On("/", [](const Request&, Response& response) {
      response.set_content("ok", "text/plain");
    });
    On("/bytes", [](const Request& request, Response& response) {
      response.set_content_provider(Number(request, "n"), kBytes,
                                    [](size_t, size_t length, DataSink& sink) {
                                      return Write(sink, length);
                                    });
    });
    On("/echo", [](const Request& request, Response& response) {
      std::string text =
          absl::StrCat(request.method, " ", request.target, "\n");
      for (const auto& [name, value] : request.headers) {
        absl::StrAppend(&text, name, ": ", value, "\n");
      }
      absl::StrAppend(&text, "\n", request.body);
      for (const auto& [name, part] : request.files) {
        absl::StrAppend(&text, name, "|", part.filename, "|", part.content_type,
                        "|", part.content, "\n");
      }
      response.set_content(text, "text/plain");
    });
    On("/gzip", [](const Request& request, Response& response) {
      std::string body = Block(static_cast<size_t>(Number(request, "n")));
      response.set_header("Vary", "Accept-Encoding");
      if (absl::StrContains(request.get_header_value("Accept-Encoding"),
                            "gzip")) {
        body = Gzip(std::move(body));
        response.set_header("Content-Encoding", "gzip");
      }
      response.set_content(std::move(body), kBytes);
    });
    On("/dns", [](const Request& request, Response& response) {
      response.set_content(DnsAnswer(request.body), "application/dns-message");
    });
    On("/status", [](const Request& request, Response& response) {
      response.status = static_cast<int>(Number(request, "code"));
      if (request.has_param("n")) {
        response.set_content(std::string(Number(request, "n"), 'x'),
                             "text/plain");
      }
      if (request.has_param("retry_after")) {
        response.set_header("Retry-After",
                            request.get_param_value("retry_after"));
      }
    });
    On("/redirect", [](const Request& request, Response& response) {
      const int code = request.has_param("code")
                           ? static_cast<int>(Number(request, "code"))
                           : 302;
      response.set_redirect(request.get_param_value("to"), code);
    });
    On("/delay", [this](const Request& request, Response& response) {
      {
        absl::MutexLock lock(&mu_);
        mu_.AwaitWithTimeout(absl::Condition(&stopping_),
                             std::min(absl::Milliseconds(Number(request, "ms")),
                                      options_.longest_stall));
      }
      response.set_content("ok", "text/plain");
    });
    On("/stall", [this](const Request& request, Response& response) {
      const std::string after = request.get_param_value("after");
      const size_t headers = request.get_param_value_count("header");
      for (size_t i = 0; i < headers; ++i) {
        const std::string text = request.get_param_value("header", i);
        const std::pair<absl::string_view, absl::string_view> header =
            absl::StrSplit(text, absl::MaxSplits(':', 1));
        response.set_header(std::string(header.first),
                            std::string(header.second));
      }
      if (after.empty()) {
        Stall();
        response.set_content("ok", "text/plain");
        return;
      }
      if (after == "body") {
        response.set_content_provider(2, "text/plain",
                                      [this](size_t, size_t, DataSink& sink) {
                                        if (!Write(sink, 2)) return false;
                                        Stall();
                                        return true;
                                      });
        return;
      }
      response.set_chunked_content_provider(
          kBytes, [this, after](size_t offset, DataSink& sink) {
            if (after == "bytes" && offset == 0) return Write(sink, 100);
            Stall();
            if (!Write(sink, 2)) return false;
            sink.done();
            return true;
          });
    });
    On("/endless", [this](const Request&, Response& response) {
      response.set_chunked_content_provider(
          kBytes, [this](size_t, DataSink& sink) {
            return !stopping() && Write(sink, size_t{16} << 10);
          });
    });
    On("/drop", [](const Request& request, Response& response) {
      const size_t after = Number(request, "after");
      response.set_content_provider(
          after + 1, kBytes, [after](size_t offset, size_t, DataSink& sink) {
            return offset < after && Write(sink, after - offset);
          });
    });
    On("/cookie/set", [](const Request& request, Response& response) {
      std::string cookie =
          absl::StrCat(request.get_param_value("name"), "=",
                       request.get_param_value("value"), "; Path=/");
      if (request.has_param("max_age")) {
        absl::StrAppend(&cookie, "; Max-Age=", Number(request, "max_age"));
      }
      if (request.has_param("domain")) {
        const std::string host = request.get_header_value("Host");
        absl::StrAppend(&cookie, "; Domain=", host.substr(0, host.find(':')));
      }
      response.set_header("Set-Cookie", cookie);
      response.set_content("ok", "text/plain");
    });
    On("/cookie/expire", [](const Request& request, Response& response) {
      response.set_header("Set-Cookie",
                          absl::StrCat(request.get_param_value("name"),
                                       "=; Path=/; Max-Age=0"));
      response.set_content("ok", "text/plain");
    });
    On("/cookie/show", [](const Request& request, Response& response) {
      response.set_content(request.get_header_value("Cookie"), "text/plain");
    });
    On("/auth/digest", [](const Request& request, Response& response) {
      const std::string given = request.get_header_value("Authorization");
      if (absl::StartsWith(given, "Digest ") &&
          absl::StrContains(
              given, absl::StrCat("username=\"",
                                  request.get_param_value("user"), "\""))) {
        response.set_content("ok", "text/plain");
        return;
      }
      response.status = 401;
      response.set_header("WWW-Authenticate",
                          "Digest realm=\"test\", nonce=\"0123456789\", "
                          "qop=\"auth\", algorithm=MD5");
      response.set_content("who?", "text/plain");
    });
    On("http://.*", [](const Request& request, Response& response) {
      response.set_content(request.target, "text/plain");
    });
    On("/tls/client", [](const Request& request, Response& response) {
      response.set_content(ClientName(request.ssl), "text/plain");
    });
    On("/hsts", [](const Request& request, Response& response) {
      response.set_header("Strict-Transport-Security",
                          absl::StrCat("max-age=", Number(request, "max_age")));
      response.set_content("ok", "text/plain");
    });
    // All other paths are 404, unless the test has a handler for them.
    On(".*", [](const Request&, Response& response) { response.status = 404; });
  }

  // Serves all paths that match the regular expression `path`, with any method.
  // A handler of the test takes precedence over `handler`.
  void On(const char* path, const httplib::Server::Handler& handler) {
    const httplib::Server::Handler answer = [this, handler](
                                                const httplib::Request& request,
                                                httplib::Response& response) {
      if (!AnswerByHandler(request, response)) handler(request, response);
    };
    server_
        ->Get(path, answer)  // and HEAD
        .Post(path, answer)
        .Put(path, answer)
        .Patch(path, answer)
        .Delete(path, answer)
        .Options(path, answer);
  }

  // Returns false if the test has no handler for the request's path.
  bool AnswerByHandler(const httplib::Request& request,
                       httplib::Response& response) ABSL_LOCKS_EXCLUDED(mu_) {
    HttpHandler handler;
    {
      absl::MutexLock lock(&mu_);
      const auto found = handlers_.find(request.path);
      if (found == handlers_.end()) return false;
      handler = found->second;
    }
    HttpAnswer answer = handler(RequestOf(request));
    response.status = answer.status;
    std::string content_type = "text/plain";
    for (auto& [name, value] : answer.headers) {
      if (absl::EqualsIgnoreCase(name, "Content-Type")) {
        content_type = std::move(value);
      } else {
        response.set_header(name, value);
      }
    }
    response.set_content(std::move(answer.body), content_type);
    return true;
  }

  const HttpServerOptions options_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  // Tells the accepting thread to close the listening socket; `refusing_` says
  // that it has done so.
  std::atomic<bool> stop_accepting_{false};
  absl::Notification refusing_;
  std::thread accepting_;

  mutable absl::Mutex mu_;
  HttpServerCounts counts_ ABSL_GUARDED_BY(mu_);
  // The test's handlers, by path.
  std::map<std::string, HttpHandler> handlers_ ABSL_GUARDED_BY(mu_);
  int drop_ ABSL_GUARDED_BY(mu_) = 0;      // connections still to be dropped
  int stalled_ ABSL_GUARDED_BY(mu_) = 0;   // requests, since the last release
  int releases_ ABSL_GUARDED_BY(mu_) = 0;  // calls of ReleaseStalled
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<ClientCertificate> NewClientCertificate(
    absl::string_view common_name) {
  auto made = NewPemCertificate(std::string(common_name));
  if (!made.ok()) return made.status();
  return ClientCertificate{std::move(made->certificate), std::move(made->key)};
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    HttpServerOptions options) {
  auto impl = std::make_unique<Impl>(options);
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port(); }

std::string HttpServer::url(absl::string_view target,
                            absl::string_view host) const {
  return absl::StrCat(impl_->tls() ? "https" : "http", "://", host, ":",
                      impl_->port(), "/", absl::StripPrefix(target, "/"));
}

std::string HttpServer::ca_pem() const {
  // OK, since the server would not have started without a certificate.
  return impl_->tls() ? GetSelfSignedCertificate()->pem : "";
}

void HttpServer::Handle(absl::string_view path, HttpHandler handler) {
  impl_->Handle(path, std::move(handler));
}

HttpServerCounts HttpServer::counts() const { return impl_->counts(); }
void HttpServer::ResetCounts() { impl_->ResetCounts(); }

bool HttpServer::WaitForStalled(int n, absl::Time deadline) const {
  return impl_->WaitForStalled(n, deadline);
}
void HttpServer::ReleaseStalled() { impl_->ReleaseStalled(); }
void HttpServer::DropNextConnections(int n) { impl_->DropNextConnections(n); }
void HttpServer::Refuse() { impl_->Refuse(); }

}  // namespace curlshare::testing
