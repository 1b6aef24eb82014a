// SPDX-License-Identifier: Apache-2.0
// Layers, from below: Transport moves the bytes of a connection, with or
// without TLS. Session speaks HTTP/2 on it, with nghttp2. Http2Server::Impl has
// one thread that accepts connections and one thread for each connection, which
// owns that connection's Transport and Session.
//
// All sockets are non-blocking. Every kTickMs each thread looks at the orders
// that other threads have left under Impl::mu_ (GoDeaf, SendGoAway, the
// destructor), so that nobody has to interrupt a thread.
#include "curlshare/testing/http2_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/testing/listening_port.h"
#include "curlshare/testing/self_signed_certificate.h"

namespace curlshare::testing {
namespace {

// How often each thread looks for new orders.
constexpr int kTickMs = 10;
// How long a connection may stay open without receiving anything.
constexpr absl::Duration kPatience = absl::Minutes(2);

using SslContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

// Waits until `socket` has something to read, at most kTickMs.
void WaitForBytes(int socket) {
  pollfd waited = {socket, POLLIN, 0};
  // The result does not matter: the caller tries to read in any case.
  (void)poll(&waited, 1, kTickMs);
}

// The callback that selects the protocol by ALPN: selects "h2", and ends the
// handshake with an alert if the client does not offer it.
int ChooseHttp2(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                const unsigned char* offered, unsigned offered_size, void*) {
  constexpr absl::string_view kHttp2 = "h2";
  // Each name is preceded by its size, in one byte (RFC 7301 section 3.1).
  absl::string_view rest(reinterpret_cast<const char*>(offered),  // NOLINT
                         offered_size);
  while (!rest.empty()) {
    const auto size = static_cast<unsigned char>(rest.front());
    const absl::string_view name = rest.substr(1, size);
    if (name == kHttp2) {
      *chosen = reinterpret_cast<const unsigned char*>(name.data());  // NOLINT
      *chosen_size = size;
      return SSL_TLSEXT_ERR_OK;
    }
    rest.remove_prefix(1 + name.size());
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

absl::StatusOr<SslContextPtr> NewSslContext() {
  const absl::StatusOr<SelfSignedCertificate>& certificate =
      GetSelfSignedCertificate();
  if (!certificate.ok()) return certificate.status();
  SslContextPtr context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (context == nullptr ||
      SSL_CTX_use_certificate(context.get(), certificate->certificate) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), certificate->key) != 1 ||
      SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
    return absl::InternalError("OpenSSL does not take the certificate");
  }
  SSL_CTX_set_alpn_select_cb(context.get(), &ChooseHttp2, nullptr);
  // For non-blocking writes: nghttp2 may offer the rest of its data again from
  // another buffer.
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

// Sends and receives the bytes of one connection, with or without TLS. Read and
// Write never block. They return the number of bytes moved, or an error code of
// nghttp2. Not thread-safe: used by the connection's thread.
class Transport {
 public:
  // Does not own `socket`, which must be non-blocking. `context` null: clear
  // text.
  Transport(int socket, SSL_CTX* context)
      : socket_(socket),
        ssl_(context == nullptr ? nullptr : SSL_new(context), &SSL_free) {
    if (ssl_ == nullptr) return;
    SSL_set_accept_state(ssl_.get());
    // If this fails (out of memory), every read fails, which ends the
    // connection.
    (void)SSL_set_fd(ssl_.get(), socket);
  }

  ssize_t Read(uint8_t* bytes, size_t size) {
    if (ssl_ == nullptr) return Result(recv(socket_, bytes, size, 0));
    ERR_clear_error();
    size_t got = 0;
    return TlsResult(SSL_read_ex(ssl_.get(), bytes, size, &got), got);
  }

  ssize_t Write(const uint8_t* bytes, size_t size) {
    if (ssl_ == nullptr) {
      return Result(send(socket_, bytes, size, MSG_NOSIGNAL));
    }
    ERR_clear_error();
    size_t sent = 0;
    return TlsResult(SSL_write_ex(ssl_.get(), bytes, size, &sent), sent);
  }

  // Tells the client that no more data will be sent.
  void EndWriting() {
    if (ssl_ != nullptr) (void)SSL_shutdown(ssl_.get());
    shutdown(socket_, SHUT_WR);
  }

 private:
  static ssize_t Result(ssize_t moved) {
    if (moved > 0) return moved;
    if (moved == 0) return NGHTTP2_ERR_EOF;
    return errno == EAGAIN || errno == EINTR ? NGHTTP2_ERR_WOULDBLOCK
                                             : NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  ssize_t TlsResult(int ok, size_t moved) const {
    if (ok == 1) return static_cast<ssize_t>(moved);
    switch (SSL_get_error(ssl_.get(), ok)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return NGHTTP2_ERR_WOULDBLOCK;
      case SSL_ERROR_ZERO_RETURN:
        return NGHTTP2_ERR_EOF;
      default:
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
  }

  const int socket_;
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
};

// The counts of the server. Thread-safe.
class Counter {
 public:
  void OnConnection() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ++counts_.connections;
  }
  void OnRequest() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    ++counts_.requests;
  }
  void OnStreams(size_t open) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    counts_.most_streams =
        std::max(counts_.most_streams, static_cast<int>(open));
  }
  Http2ServerCounts counts() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return counts_;
  }
  void Reset() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    counts_ = {};
  }

 private:
  mutable absl::Mutex mu_;
  Http2ServerCounts counts_ ABSL_GUARDED_BY(mu_);
};

// The HTTP/2 session of one connection. nghttp2 keeps the protocol's state, and
// calls the static functions below. Not thread-safe: used by the connection's
// thread. `transport` and `counter` must outlive it.
class Session {
 public:
  Session(const Http2ServerOptions& options, Transport& transport,
          Counter& counter)
      : options_(options), transport_(transport), counter_(counter) {
    nghttp2_session_callbacks* callbacks = nullptr;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return;
    nghttp2_session_callbacks_set_recv_callback(callbacks, &OnRead);
    nghttp2_session_callbacks_set_send_callback(callbacks, &OnWrite);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
                                                            &OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           &OnStreamClose);
    // `this` is passed to the callbacks; hence a Session cannot be moved.
    const int made = nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    if (made != 0) return;
    const nghttp2_settings_entry settings = {
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
        options.max_concurrent_streams};
    (void)nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &settings, 1);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { nghttp2_session_del(session_); }

  // Reads what has arrived, and sends what is due. Returns false if the
  // connection has ended.
  bool Step() {
    if (session_ == nullptr || nghttp2_session_recv(session_) != 0) {
      return false;
    }
    AnswerWhatIsDue();
    return nghttp2_session_send(session_) == 0 &&
           (nghttp2_session_want_read(session_) != 0 ||
            nghttp2_session_want_write(session_) != 0);
  }

  // Sends GOAWAY: no new streams are accepted, and Step ends the connection
  // when the existing ones are finished.
  void GoAway() {
    if (session_ == nullptr) return;
    (void)nghttp2_submit_goaway(
        session_, NGHTTP2_FLAG_NONE,
        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
        nullptr, 0);
  }

  absl::Time last_read() const { return last_read_; }

 private:
  // One request and its response.
  struct Stream {
    std::string path;
    bool complete = false;  // the request has been received completely
    bool answered = false;
    absl::Time due = absl::InfinitePast();  // when to answer
    bool found = false;                     // status 200, else 404
    std::string body;
    size_t sent = 0;
  };

  static Session& Self(void* user_data) {
    return *static_cast<Session*>(user_data);
  }

  static ssize_t OnRead(nghttp2_session*, uint8_t* bytes, size_t size, int,
                        void* self) {
    const ssize_t got = Self(self).transport_.Read(bytes, size);
    if (got > 0) Self(self).last_read_ = absl::Now();
    return got;
  }
  static ssize_t OnWrite(nghttp2_session*, const uint8_t* bytes, size_t size,
                         int, void* self) {
    return Self(self).transport_.Write(bytes, size);
  }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame,
                            void* user_data) {
    Session& self = Self(user_data);
    self.streams_.try_emplace(frame->hd.stream_id);
    self.counter_.OnStreams(self.streams_.size());
    return 0;
  }
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame,
                      const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t,
                      void* self) {
    if (Text(name, name_size) == ":path") {
      Self(self).streams_[frame->hd.stream_id].path =
          std::string(Text(value, value_size));
    }
    return 0;
  }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame,
                     void* user_data) {
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      Self(user_data).OnRequest(frame->hd.stream_id);
    }
    return 0;
  }
  static int OnStreamClose(nghttp2_session*, int32_t stream, uint32_t,
                           void* self) {
    Self(self).streams_.erase(stream);
    return 0;
  }
  static ssize_t OnBody(nghttp2_session*, int32_t, uint8_t* bytes, size_t size,
                        uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* const stream = static_cast<Stream*>(source->ptr);
    size = std::min(size, stream->body.size() - stream->sent);
    std::copy_n(stream->body.data() + stream->sent, size, bytes);
    stream->sent += size;
    if (stream->sent == stream->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  static absl::string_view Text(const uint8_t* bytes, size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};  // NOLINT
  }

  void OnRequest(int32_t id) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    counter_.OnRequest();
    Stream& stream = found->second;
    stream.complete = stream.found = true;
    stream.body = "ok";
    absl::string_view path = stream.path;
    int number = 0;
    if (absl::ConsumePrefix(&path, "/bytes?n=") &&
        absl::SimpleAtoi(path, &number) && number >= 0) {
      stream.body = std::string(static_cast<size_t>(number), 'x');
    } else if (absl::ConsumePrefix(&path, "/delay?ms=") &&
               absl::SimpleAtoi(path, &number)) {
      stream.due = absl::Now() + absl::Milliseconds(number);
    } else if (path != "/") {
      stream.found = false;
    }
    // GOAWAY goes out before the response, as nginx does it.
    if (++requests_ == options_.max_requests_per_connection) GoAway();
  }

  void AnswerWhatIsDue() {
    const absl::Time now = absl::Now();
    for (auto& [id, stream] : streams_) {
      if (!stream.complete || stream.answered || stream.due > now) continue;
      stream.answered = true;
      // nghttp2 copies the name and the value.
      uint8_t name[] = ":status";
      uint8_t value[] = "200";
      if (!stream.found) std::copy_n("404", 3, value);
      const nghttp2_nv status = {name, value, sizeof(name) - 1,
                                 sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE};
      nghttp2_data_provider body = {};
      body.source.ptr = &stream;  // erased in OnStreamClose, after its last use
      body.read_callback = &OnBody;
      (void)nghttp2_submit_response(session_, id, &status, 1, &body);
    }
  }

  const Http2ServerOptions options_;
  Transport& transport_;
  Counter& counter_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Stream> streams_;  // nghttp2 has the addresses of nodes
  int requests_ = 0;
  absl::Time last_read_ = absl::Now();
};

}  // namespace

class Http2Server::Impl {
 public:
  explicit Impl(Http2ServerOptions options) : options_(options) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::Status Start() {
    if (options_.tls) {
      absl::StatusOr<SslContextPtr> context = NewSslContext();
      if (!context.ok()) return context.status();
      context_ = *std::move(context);
    }
    absl::Status status =
        ListenOnAnyPort([this](int port) { return Listen(port); });
    if (status.ok()) accepting_ = std::thread([this] { Accept(); });
    return status;
  }

  ~Impl() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    // After this, nothing is added to connections_.
    if (accepting_.joinable()) accepting_.join();
    if (listening_ >= 0) close(listening_);
    std::list<Connection> connections;
    {
      absl::MutexLock lock(&mu_);
      // splice keeps the elements where they are: each running thread has a
      // reference to its own. They are joined without mu_, which they need.
      connections.splice(connections.end(), connections_);
    }
    for (Connection& connection : connections) connection.thread.join();
  }

  bool tls() const { return options_.tls; }
  int port() const { return port_; }
  Counter& counter() { return counter_; }
  const Counter& counter() const { return counter_; }

  void GoDeaf() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    deaf_ = true;
    for (Connection& connection : connections_) {
      connection.order = Order::kBeDeaf;
    }
    mu_.Await(absl::Condition(this, &Impl::NobodyWorks));
  }
  void Hear() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    deaf_ = false;
  }
  void SendGoAway() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    for (Connection& connection : connections_) {
      if (connection.order == Order::kServe) {
        connection.order = Order::kGoAway;
      }
    }
    mu_.Await(absl::Condition(this, &Impl::AllHaveGone));
  }

 private:
  // What a connection's thread is to do.
  enum class Order { kServe, kGoAway, kBeDeaf };
  // The members are guarded by mu_, except that the destructor joins `thread`
  // without it.
  struct Connection {
    Order order = Order::kServe;
    bool working = false;  // the thread is reading or answering
    bool over = false;     // the client has been told of the connection's end
    std::thread thread;
  };

  // Conditions that GoDeaf and SendGoAway wait for.
  bool NobodyWorks() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return std::none_of(connections_.begin(), connections_.end(),
                        [](const Connection& c) { return c.working; });
  }
  bool AllHaveGone() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return std::none_of(connections_.begin(), connections_.end(),
                        [](const Connection& c) {
                          return c.order == Order::kGoAway && !c.over;
                        });
  }

  absl::Status Listen(int port) {
    const int listening =
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    if (listening < 0 ||
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(listening, reinterpret_cast<sockaddr*>(&address),  // NOLINT
             sizeof(address)) != 0 ||
        listen(listening, 128) != 0) {
      absl::Status status = absl::UnavailableError(
          absl::StrCat("port ", port, " of 127.0.0.1 cannot be listened on: ",
                       std::strerror(errno)));  // NOLINT(concurrency-*)
      if (listening >= 0) close(listening);
      return status;
    }
    listening_ = listening;
    port_ = port;
    return absl::OkStatus();
  }

  void Accept() ABSL_LOCKS_EXCLUDED(mu_) {
    while (true) {
      WaitForBytes(listening_);
      absl::MutexLock lock(&mu_);
      if (stopping_) return;
      const int socket =
          accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (socket < 0) continue;
      const int on = 1;
      setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      counter_.OnConnection();
      Connection& added = connections_.emplace_back();
      if (deaf_) added.order = Order::kBeDeaf;
      added.thread = std::thread([this, socket, &added] {
        // OpenSSL writes to the socket without MSG_NOSIGNAL, which would raise
        // SIGPIPE when the client has closed the connection.
        sigset_t broken_pipe;
        sigemptyset(&broken_pipe);
        sigaddset(&broken_pipe, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
        Serve(socket, added);
        close(socket);
        OPENSSL_thread_stop();
      });
    }
  }

  // Serves one connection. Returns when its socket is to be closed.
  void Serve(int socket, Connection& connection) ABSL_LOCKS_EXCLUDED(mu_) {
    Transport transport(socket, context_.get());
    Session session(options_, transport, counter_);
    bool goes_away = false;
    bool open = true;
    while (open) {
      WaitForBytes(socket);
      bool go_away = false;
      {
        absl::MutexLock lock(&mu_);
        if (connection.order == Order::kBeDeaf) {
          mu_.Await(absl::Condition(&stopping_));
        }
        if (stopping_) return;
        go_away = connection.order == Order::kGoAway && !goes_away;
        connection.working = true;
      }
      if (go_away) session.GoAway();
      goes_away |= go_away;
      open = session.Step() && absl::Now() - session.last_read() < kPatience;
      absl::MutexLock lock(&mu_);
      connection.working = false;
    }
    transport.EndWriting();
    {
      absl::MutexLock lock(&mu_);
      connection.over = true;
    }
    // To close a socket that has unread bytes sends a RST, and the client would
    // lose what it has not read yet.
    DrainUntilTheEnd(socket);
  }

  // Reads and drops bytes until the client closes the connection, the server
  // stops, or kPatience has passed.
  void DrainUntilTheEnd(int socket) ABSL_LOCKS_EXCLUDED(mu_) {
    const absl::Time end = absl::Now() + kPatience;
    while (absl::Now() < end) {
      WaitForBytes(socket);
      char bytes[4096];
      const ssize_t got = recv(socket, bytes, sizeof(bytes), 0);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
      absl::MutexLock lock(&mu_);
      if (stopping_) return;
    }
  }

  const Http2ServerOptions options_;
  SslContextPtr context_{nullptr, &SSL_CTX_free};  // null: clear text
  int listening_ = -1;
  int port_ = 0;
  Counter counter_;
  std::thread accepting_;

  absl::Mutex mu_;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mu_);
  bool deaf_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

Http2Server::Http2Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Http2Server::~Http2Server() = default;

absl::StatusOr<std::unique_ptr<Http2Server>> Http2Server::Start(
    Http2ServerOptions options) {
  auto impl = std::make_unique<Impl>(options);
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Http2Server>(new Http2Server(std::move(impl)));
}

int Http2Server::port() const { return impl_->port(); }

std::string Http2Server::url(absl::string_view target) const {
  return absl::StrCat(impl_->tls() ? "https" : "http",
                      "://127.0.0.1:", impl_->port(), "/",
                      absl::StripPrefix(target, "/"));
}

std::string Http2Server::ca_pem() const {
  // OK, since the server would not have started without a certificate.
  return impl_->tls() ? GetSelfSignedCertificate()->pem : "";
}

Http2ServerCounts Http2Server::counts() const {
  return impl_->counter().counts();
}
void Http2Server::ResetCounts() { impl_->counter().Reset(); }

void Http2Server::GoDeaf() { impl_->GoDeaf(); }
void Http2Server::Hear() { impl_->Hear(); }
void Http2Server::SendGoAway() { impl_->SendGoAway(); }

}  // namespace curlshare::testing
