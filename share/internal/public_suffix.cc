// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/public_suffix.h"

#include <curl/curl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/libcurl_info.h"

namespace curlshare::internal {
namespace {

// A server that has answered before it is asked. Thread-compatible. Must live
// until the transfer is over.
class Answer {
 public:
  Answer() = default;
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  ~Answer() {
    for (const int socket : sockets_) {
      if (socket >= 0) close(socket);
    }
  }

  // Makes the sockets, and writes the answer into one of them.
  absl::Status Write(absl::string_view text) {
    // 7.88 calls connect() even for a socket that CURLOPT_SOCKOPTFUNCTION has
    // called connected (cf_tcp_connect in lib/cf-socket.c). A datagram socket
    // can be connected a second time, if the other end has a name. Binding with
    // a family alone gives it one (autobind, unix(7)).
    const bool connects =
        RunningLibcurl().version_num < LibcurlVersion(8, 0, 0);
    const int type = connects ? SOCK_DGRAM : SOCK_STREAM;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets_) !=
        0) {
      return Error(absl::StatusCode::kResourceExhausted, "socketpair: errno ",
                   errno);
    }
    if (connects) {
      sockaddr_un any{};
      any.sun_family = AF_UNIX;
      name_size_ = sizeof(name_);
      if (bind(sockets_[1], reinterpret_cast<sockaddr*>(&any),
               sizeof(any.sun_family)) != 0 ||
          getsockname(sockets_[1], reinterpret_cast<sockaddr*>(&name_),
                      &name_size_) != 0) {
        return Error(absl::StatusCode::kInternal, "bind: errno ", errno);
      }
    }
    if (write(sockets_[1], text.data(), text.size()) !=
        static_cast<ssize_t>(text.size())) {
      return Error(absl::StatusCode::kResourceExhausted, "write: errno ",
                   errno);
    }
    return absl::OkStatus();
  }

  // CURLOPT_OPENSOCKETFUNCTION. libcurl owns the socket that it gets, and
  // closes it.
  static curl_socket_t Open(void* self, curlsocktype, curl_sockaddr* address) {
    auto* answer = static_cast<Answer*>(self);
    if (answer->name_size_ > 0) {
      // `addr` has room for an address of any kind (struct Curl_sockaddr_ex).
      std::memcpy(&address->addr, &answer->name_, answer->name_size_);
      address->addrlen = answer->name_size_;
      address->family = AF_UNIX;
    }
    const int socket = answer->sockets_[0];
    answer->sockets_[0] = -1;
    return socket < 0 ? CURL_SOCKET_BAD : socket;
  }
  // CURLOPT_SOCKOPTFUNCTION.
  static int Connected(void* /*self*/, curl_socket_t, curlsocktype) {
    return CURL_SOCKOPT_ALREADY_CONNECTED;
  }

 private:
  int sockets_[2] = {-1, -1};
  sockaddr_un name_{};       // of the other end
  socklen_t name_size_ = 0;  // 0: it needs no name
};

}  // namespace

absl::StatusOr<bool> PublicSuffixes::MayHaveCookies(absl::string_view name) {
  // Cookies are sent without regard to case. Before 8.5 libcurl asks its list
  // with the case as it came, and would let "CO.UK" pass.
  absl::ConsumeSuffix(&name, ".");
  const std::string domain = absl::AsciiStrToLower(name);
  // Characters that have another meaning in a URL or in a header.
  constexpr absl::string_view kNotInNames = "/:?#@[]\\%;,\"<>{}|^`";
  if (domain.empty() || domain.size() > 255 || domain.front() == '.' ||
      std::any_of(domain.begin(), domain.end(), [&](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte <= ' ' || byte == 0x7f || absl::StrContains(kNotInNames, c);
      })) {
    return false;
  }
  if (const auto it = known_.find(domain); it != known_.end()) {
    return it->second;
  }
  absl::StatusOr<bool> answer = Ask(domain);
  if (answer.ok()) known_.emplace(domain, *answer);
  return answer;
}

absl::StatusOr<bool> PublicSuffixes::Ask(const std::string& domain) {
  if (curl_ == nullptr) curl_.reset(curl_easy_init());
  CURL* const curl = curl_.get();
  if (curl == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "curl_easy_init");
  }
  Answer answer;
  absl::Status status = answer.Write(absl::StrCat(
      "HTTP/1.0 204 No Content\r\nSet-Cookie: a=b; Domain=", domain,
      "\r\n\r\n"));
  if (!status.ok()) return status;
  const std::string url = absl::StrCat("http://x.", domain, "/");
  // With these two no name is looked up, and no proxy is asked.
  char anywhere[] = "::127.0.0.1:1";
  curl_slist connect_to{anywhere, nullptr};
  const curl_opensocket_callback open = &Answer::Open;
  const curl_sockopt_callback connected = &Answer::Connected;
  CURLcode code = CURLE_OK;
  const auto set = [&](CURLoption option, auto value) {
    if (code == CURLE_OK) code = curl_easy_setopt(curl, option, value);
  };
  set(CURLOPT_NOSIGNAL, 1L);
  // The first line turns the cookie engine on. "ALL" removes the cookie of the
  // domain that was asked for before.
  set(CURLOPT_COOKIELIST, "# a comment");
  set(CURLOPT_COOKIELIST, "ALL");
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_CONNECT_TO, &connect_to);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_OPENSOCKETFUNCTION, open);
  set(CURLOPT_OPENSOCKETDATA, &answer);
  set(CURLOPT_SOCKOPTFUNCTION, connected);
  set(CURLOPT_FORBID_REUSE, 1L);
  // In seconds. The answer is there already: it takes tens of microseconds.
  set(CURLOPT_TIMEOUT, 10L);
  if (code == CURLE_OK) code = curl_easy_perform(curl);
  (void)curl_easy_setopt(curl, CURLOPT_CONNECT_TO, nullptr);
  if (code == CURLE_URL_MALFORMAT) return false;
  if (code != CURLE_OK) {
    return Error(code == CURLE_OUT_OF_MEMORY
                     ? absl::StatusCode::kResourceExhausted
                     : absl::StatusCode::kInternal,
                 "libcurl does not say whether a domain is a public suffix: ",
                 curl_easy_strerror(code));
  }
  curl_slist* cookies = nullptr;
  (void)curl_easy_getinfo(curl, CURLINFO_COOKIELIST, &cookies);
  const bool taken = cookies != nullptr;
  curl_slist_free_all(cookies);
  return taken;
}

}  // namespace curlshare::internal
