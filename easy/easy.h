// SPDX-License-Identifier: Apache-2.0
// A libcurl easy handle with typed options, which can be attached to a Share.
//
//   absl::StatusOr<Easy> easy = Easy::Create();
//   if (!easy.ok()) return easy.status();
//   if (absl::Status s = easy->Attach(*share); !s.ok()) return s;
//   if (absl::Status s = easy->SetTimeout(absl::Seconds(5)); !s.ok()) return s;
//   absl::StatusOr<Response> response = easy->Fetch("https://example.com/");
//   if (!response.ok()) return response.status();
//   if (response->status == 200) Use(response->body);
//
// Easy                         one handle; RAII, movable
//   SetUrl, SetMethod, SetHeaders, SetSecretHeaders, SetTimeout,
//   SetConnectTimeout, SetFollowRedirects, SetCaCertificates, SetMaxBodySize
//                              the most common options
//   SetBody, SetForm, SetSource
//                              the body of the request
//   SetOption<CURLOPT_...>     any other option; its type is checked
//   SetSink, SetHeaderSink, SetProgress       your callables
//   Perform, Fetch             run a transfer
//   GetResponse, GetHeaders, GetInfo<CURLINFO_...>
//                              results of the newest transfer
//   Attach, Detach, share      membership in a Share
//   Cancel, Resume             end or resume the transfer, from any thread; see
//                              also CancelToken
//   Reset, Duplicate
//   BeginUse, native_handle    direct access to the CURL*
// Response                     what Fetch and GetResponse return
#ifndef CURLSHARE_EASY_EASY_H_
#define CURLSHARE_EASY_EASY_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy_options.h"
#include "curlshare/easy/form.h"
#include "curlshare/easy/source.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/share.h"

namespace curlshare {

// The time from the start of a transfer to the end of each of its phases. Zero
// for a phase that did not happen, for example because a connection was reused.
// Resolution 1 us. Thread-compatible: a plain value.
struct Timings {
  absl::Duration name_lookup;    // CURLINFO_NAMELOOKUP_TIME_T
  absl::Duration connect;        // CURLINFO_CONNECT_TIME_T
  absl::Duration tls_handshake;  // CURLINFO_APPCONNECT_TIME_T
  absl::Duration first_byte;     // CURLINFO_STARTTRANSFER_TIME_T
  absl::Duration total;          // CURLINFO_TOTAL_TIME_T
};

// The response to a transfer, whatever its HTTP status. A 404 is not an error
// of the transfer; HttpErrorStatus (curl_status.h) turns it into one.
// Thread-compatible: a plain value, independent of the Easy that returned it.
struct Response {
  // The HTTP status code, or the last response code of another protocol (FTP).
  // 0 for protocols without response codes.
  long status = 0;
  // The headers of the response, in the order they came. After redirects: those
  // of the last response.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;                // see Fetch
  std::string effective_url;       // after redirects
  long redirects = 0;              // number of redirects followed
  long http_version = 0;           // CURL_HTTP_VERSION_1_1, ...
  bool connection_reused = false;  // HTTP: no new connection was opened
  // How long the server asks the client to wait before the next request
  // (Retry-After, RFC 9110 section 10.2.3), counted from the time of the
  // response. Zero if the server does not say. libcurl 8.14 and later report 6
  // hours at most.
  absl::Duration retry_after;  // CURLINFO_RETRY_AFTER
  Timings timings;

  // The value of the first header called `name`, compared without regard to
  // case. nullopt if there is none. The view points into `headers`.
  std::optional<absl::string_view> Header(absl::string_view name) const;
};

// Bytes transferred so far, and bytes expected. An expected size of 0 means
// that the size is not known. Thread-compatible: a plain value.
struct TransferProgress {
  int64_t download_expected = 0;
  int64_t downloaded = 0;
  int64_t upload_expected = 0;
  int64_t uploaded = 0;
};

// One libcurl easy handle: options, transfers, and membership in a Share. Owns
// its CURL*. Movable; to copy one, see Duplicate.
//
// Thread-compatible: one thread at a time may use an Easy. The exceptions are
// Cancel, Resume and share(): any thread may call them while the Easy lives and
// is neither moved nor assigned to. Any thread may close or destroy the Share
// that the handle is attached to, at any time.
//
// ERRORS. Every method that returns a Status or StatusOr returns
// kFailedPrecondition
//  - on a moved-from Easy;
//  - while the handle is in transfer on another thread;
//  - for a handle that is attached to a share: in a callback that libcurl runs
//    while it holds a share's lock (CURLOPT_DEBUGFUNCTION,
//    CURLOPT_CLOSESOCKETFUNCTION).
// libcurl's own errors are converted by EasyStatus (curl_status.h), and
// GetEasyCode returns the CURLcode. A call that fails leaves the handle as it
// was.
//
// CALLBACKS. Some methods must not be called from a callback of this handle's
// own transfer. Each of those says so, and returns kFailedPrecondition there.
// All other methods may be called from callbacks.
//
// FORK. An Easy must not be used in a forked child if it has transferred in the
// parent, or if its share has been used for a transfer there. Such an Easy
// returns kFailedPrecondition from every method in the child; share() and
// native_handle() return null, Cancel() and Resume() return false, and the
// destructor touches no socket. An Easy without such a history works in the
// child.
//
// DEFAULTS that differ from libcurl's:
//  - CURLOPT_NOSIGNAL is 1, as multi-threaded programs require.
//  - A body without a sink is dropped, not written to standard output.
//  - Standard input is never read.
//  - HTTP and HTTPS are the only protocols, for URLs and for redirects, until
//    CURLOPT_PROTOCOLS_STR and CURLOPT_REDIR_PROTOCOLS_STR allow others.
class Easy {
 public:
  // A callable that receives one piece of the body, or one header line.
  //
  // If it returns a Status other than kOk, the transfer ends and returns that
  // Status. One exception: if a sink for the body returns NotNow(), the
  // transfer pauses; see Resume. An exception that it throws ends the transfer
  // as well: std::bad_alloc as kResourceExhausted, any other as kUnknown with
  // the exception's text.
  //
  // It runs on the thread that transfers. It must not move, assign or destroy
  // the Easy's sinks. Duplicate copies it.
  using Sink = std::function<absl::Status(absl::string_view)>;
  // A callable that receives the progress of the transfer. Errors and
  // exceptions end the transfer as those of a Sink do.
  using Progress = std::function<absl::Status(const TransferProgress&)>;
  // A callable that writes the next bytes of the request's body into the span,
  // which is never empty. Returns the number of bytes written, at least one, or
  // 0 at the end of the body. Errors, exceptions and NotNow() have the same
  // effect as those of a Sink.
  using Source = std::function<absl::StatusOr<size_t>(absl::Span<char>)>;
  // A callable that moves its Source back to the beginning of the body. Errors
  // and exceptions end the transfer.
  using Rewind = std::function<absl::Status()>;

  // Returns a new handle with the defaults above, attached to no share.
  // kResourceExhausted when out of memory; otherwise the errors of
  // InitLibcurl() (libcurl_info.h).
  static absl::StatusOr<Easy> Create();

  Easy(Easy&& other) noexcept;
  Easy& operator=(Easy&& other) noexcept;
  // Detaches from the share and frees the handle. May be called in callbacks.
  // In a callback of the handle's own transfer, the handle is freed when that
  // transfer ends.
  ~Easy();

  // ---- Options. Each stays set for later transfers, until Reset().

  // Sets the URL of the next transfers.
  //
  // Only the schemes http and https are allowed. With any other scheme, the
  // transfer fails with kUnimplemented (CURLE_UNSUPPORTED_PROTOCOL) and an
  // error text that names the scheme, before libcurl reads or connects to
  // anything.
  // SetOption<CURLOPT_PROTOCOLS_STR>("http,https,ftp") replaces the list of
  // allowed schemes, and CURLOPT_REDIR_PROTOCOLS_STR the list for redirects.
  // Either with nullptr, and Reset, restore the default.
  absl::Status SetUrl(absl::string_view url);
  // Sets the method: "GET", "HEAD", "POST", "PUT", or any other token (RFC 9110
  // section 9). kInvalidArgument if it is not a token. Not allowed in callbacks
  // of this handle's own transfer.
  //
  // "GET" and "HEAD" drop the body. "POST", "PUT" and "PATCH" without a body
  // send an empty one. A body that is set after "GET" or "HEAD" turns the
  // request into a POST. Otherwise the order of SetMethod and the call that
  // sets the body does not matter.
  //
  // What happens to the method at a redirect (see SetFollowRedirects):
  //  - 301, 302: POST becomes GET, without the body. Any other method is
  //    repeated, with the body.
  //  - 303: every method except HEAD becomes GET. Before libcurl 8.16, methods
  //    other than POST and PUT, and PUT with a form, are instead repeated
  //    without the body.
  //  - 307, 308: every method is repeated, with the body.
  //
  // Before about 8.7, libcurl sends "Expect: 100-continue" with each PUT over
  // HTTP/1.1, and waits up to one second for servers that do not support it.
  // SetHeaders({"Expect:"}) turns that off.
  absl::Status SetMethod(absl::string_view method);
  // Sets the request's headers, each as "Name: value", in place of those that
  // an earlier call set. Can also replace the headers that libcurl adds itself,
  // or remove one with "Name:". kInvalidArgument if a header contains a line
  // break or a NUL byte. Not allowed in callbacks of this handle's own
  // transfer.
  //
  // libcurl sends these headers again after every redirect, to any host. The
  // exceptions are "Authorization" and "Cookie", which libcurl sends only to
  // the scheme, host and port of the first request (unless
  // CURLOPT_UNRESTRICTED_AUTH is set). For keys and tokens in other headers,
  // use SetSecretHeaders.
  absl::Status SetHeaders(absl::Span<const std::string> headers);
  // Sets additional headers that are sent only to the scheme, host and port of
  // the transfer's first request. They are left out
  //  - after a redirect to another scheme, host or port;
  //  - after any redirect, if CURLOPT_PORT is set;
  //  - once a callback has set another URL.
  //
  // Replaces the secret headers of an earlier call; SetHeaders does not change
  // them. Format and errors as for SetHeaders; also kFailedPrecondition if
  // CURLOPT_HEADEROPT is CURLHEADER_UNIFIED, which would send them to a proxy
  // as well. Not allowed in callbacks of this handle's own transfer.
  absl::Status SetSecretHeaders(absl::Span<const std::string> headers);
  // Sets the request's body, in place of any body set before. Copies `body`.
  // The method becomes POST, unless SetMethod has set another method that is
  // neither GET nor HEAD. Not allowed in callbacks of this handle's own
  // transfer.
  //
  // Other ways to set the body, each of which also replaces the body set
  // before: SetForm, SetSource, and
  //   SetOption<CURLOPT_MIMEPOST>(form)            Method as with SetBody. The
  //       form is not owned and must outlive its use.
  //   SetOption<CURLOPT_READFUNCTION>(read, data)  As SetBody, but the method
  //       becomes PUT. CURLOPT_INFILESIZE_LARGE sets the size; without it the
  //       body is sent in chunks. CURLOPT_SEEKFUNCTION rewinds the body.
  // Either of these two with nullptr removes the body that it has set.
  absl::Status SetBody(absl::string_view body);
  // Sets a form as the body, in place of any body set before. It is sent as
  // multipart/form-data (RFC 7578). The method as with SetBody. Not allowed in
  // callbacks of this handle's own transfer.
  //
  //   SetForm({{"user", "me"}, FormPart::File("photo", "/tmp/photo.jpg")})
  //
  // Copies the contents of the parts. A file is read during each transfer; its
  // size should not change between this call and the end of the transfer.
  // Duplicate copies the form, and fails as SetForm does if a file no longer
  // exists. SetOption<CURLOPT_MIMEPOST>(nullptr) removes the form.
  //
  // kInvalidArgument if a part's name, file name or content type contains a
  // control character, if a path contains a NUL byte or is a directory, or if a
  // part has both a content and a path. kNotFound if a file does not exist,
  // kPermissionDenied if it cannot be read.
  absl::Status SetForm(absl::Span<const FormPart> parts);
  // Sets a body that `source` produces while it is sent, in place of any body
  // set before. An empty `source` removes the source set before. The method
  // becomes PUT, unless SetMethod has set another method that is neither GET
  // nor HEAD. kInvalidArgument if `size` is negative. Not allowed in callbacks
  // of this handle's own transfer.
  //
  // `size`, in bytes: `source` is asked for exactly that many bytes. If it has
  // fewer, the transfer fails with kOutOfRange. Without `size`, `source` is
  // called until it returns 0; over HTTP/1.1 the body is then sent in chunks,
  // which not every server accepts.
  //
  // `rewind` is called before a transfer, if `source` has been read from since
  // it was set or last rewound. It is also called during a transfer, when
  // libcurl sends the body again: at a redirect that keeps the body, after an
  // authentication challenge, or when a reused connection turns out to be dead.
  // Without `rewind`, the transfer fails with kFailedPrecondition in each of
  // these cases.
  //
  // A handle made by Duplicate shares the source, since there is only one
  // stream: while one of the handles transfers, a transfer on the other returns
  // kFailedPrecondition. To send both at the same time, set another source on
  // the duplicate.
  //
  // Source: https://curl.se/libcurl/c/CURLOPT_READFUNCTION.html,
  //         https://curl.se/libcurl/c/CURLOPT_SEEKFUNCTION.html
  absl::Status SetSource(Source source,
                         std::optional<int64_t> size = std::nullopt,
                         Rewind rewind = nullptr);
  // Sets the longest duration of a transfer (CURLOPT_TIMEOUT_MS), rounded up to
  // milliseconds. absl::InfiniteDuration(), the default, means no limit.
  // kInvalidArgument unless positive.
  //
  // The time counts from the call of Perform or Fetch. It includes waits for
  // the share's gate and for ConnectionOptions::max_transfers_per_host. In a
  // gated share, a transfer notices its timeout only when it gets the gate,
  // that is, when callbacks of other handles have left it.
  absl::Status SetTimeout(absl::Duration timeout);
  // Sets the longest duration of connecting (CURLOPT_CONNECTTIMEOUT_MS),
  // rounded up to milliseconds. absl::InfiniteDuration(), the default, means
  // libcurl's 300 s. kInvalidArgument unless positive.
  absl::Status SetConnectTimeout(absl::Duration timeout);
  // Follows at most `most` redirects. 0, the default, follows none: a redirect
  // is then the response. If `most` is positive, one redirect more ends the
  // transfer with kFailedPrecondition (CURLE_TOO_MANY_REDIRECTS).
  // kInvalidArgument if `most` is negative.
  //
  // A redirect may lead to any host, but only to HTTP or HTTPS: see SetUrl. The
  // method and the body change as SetMethod says; a body that is repeated goes
  // to the host of the redirect. Headers are sent as SetHeaders says.
  // CURLOPT_USERPWD and CURLOPT_XOAUTH2_BEARER are sent only to the scheme,
  // host and port of the first request. So is CURLOPT_COOKIE from about libcurl
  // 8.21 on; earlier versions send it to every host, so use
  // SetSecretHeaders({"Cookie: ..."}) instead.
  absl::Status SetFollowRedirects(int most);
  // Does not compile: `true` would silently mean "one redirect".
  template <typename T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0>
  absl::Status SetFollowRedirects(T) {
    static_assert(!std::is_same_v<T, bool>,
                  "say how many redirects to follow at most: "
                  "SetFollowRedirects(5)");
    return absl::OkStatus();
  }
  // Sets the certificate authorities to trust instead of the system's, in PEM,
  // any number of them (CURLOPT_CAINFO_BLOB). Copies `pem`.
  //
  // libcurl parses them again for each new connection. That costs little for a
  // few certificates, but 35 ms of CPU time for a system's whole bundle. For
  // more than a few, use SetOption<CURLOPT_CAINFO>(file) instead: libcurl
  // parses a file only once a day for each multi handle, so almost never in a
  // share that has connections.
  absl::Status SetCaCertificates(absl::string_view pem);
  // Sets the largest body, in bytes, that a transfer accepts, wherever the body
  // goes. 0, the default, means no limit. kInvalidArgument if negative.
  //
  // Counts decoded bytes if CURLOPT_ACCEPT_ENCODING is set. A larger body ends
  // the transfer with kOutOfRange (CURLE_FILESIZE_EXCEEDED); no byte beyond the
  // limit reaches the sink or the Response. Unlike CURLOPT_MAXFILESIZE_LARGE,
  // this does not depend on the size that the server announces.
  absl::Status SetMaxBodySize(int64_t most);

  // Sets the sink that receives the body, piece by piece. An empty sink drops
  // the body. Not allowed in callbacks of this handle's own transfer.
  absl::Status SetSink(Sink sink);
  // Sets the sink that receives the header lines, each with its line break. An
  // empty sink drops them. Not allowed in callbacks of this handle's own
  // transfer.
  absl::Status SetHeaderSink(Sink sink);
  // Sets a callable that is called about ten times a second while data arrive,
  // at least once a second, and once more at the end of a transfer that
  // succeeded. Empty: none. Not allowed in callbacks of this handle's own
  // transfer.
  absl::Status SetProgress(Progress progress);

  // Sets any option, by its name in libcurl. A value of the wrong type does not
  // compile. What each option takes:
  //
  //   SetOption<CURLOPT_VERBOSE>(1L)                   long: any integer, bool
  //   SetOption<CURLOPT_MAXFILESIZE_LARGE>(1 << 20)    curl_off_t
  //   SetOption<CURLOPT_USERAGENT>("me/1.0")           string; nullptr unsets
  //   SetOption<CURLOPT_RESOLVE>({"a.test:80:127.0.0.1"})        list, copied
  //   SetOption<CURLOPT_SSLCERT_BLOB>(bytes)           blob, copied
  //   SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, data) callback and its data
  //   SetOption<CURLOPT_CURLU>(url)                    not owned, must outlive
  //
  // A callback given here is a plain C callback: it must not throw. The caller
  // keeps its data alive.
  //
  // These do not compile:
  //  - Options that Easy sets itself: CURLOPT_SHARE (use Attach), _ERRORBUFFER
  //    (the text is in the Status), _WRITEFUNCTION (SetSink), _HEADERFUNCTION
  //    (SetHeaderSink), _XFERINFOFUNCTION and _NOPROGRESS (SetProgress),
  //    _POSTFIELDS (SetBody), the data of these callbacks, and _NOSIGNAL.
  //  - Options that follow from SetMethod and the body: CURLOPT_POST, _HTTPGET,
  //    _NOBODY, _UPLOAD, _POSTFIELDSIZE.
  //
  // CURLOPT_CUSTOMREQUEST replaces only the method's name, until the next
  // SetMethod. If both a URL and a CURLOPT_CURLU are set, the newer one counts.
  //
  // Errors:
  //  - kInvalidArgument: a string contains a NUL byte.
  //  - kFailedPrecondition: CURLOPT_COOKIEJAR in a share that has cookies and
  //    is not gated. libcurl would access the shared jar without its lock. Set
  //    it before Attach: the file is written when the handle leaves the shared
  //    cookies, and the option is unset at that point.
  //  - kFailedPrecondition: CURLOPT_COOKIEFILE nullptr in a share that has
  //    cookies. libcurl would silently take the handle out of them.
  //  - kFailedPrecondition: CURLOPT_HSTS_CTRL 0 in a share that has HSTS.
  //    libcurl before 8.21 would free the shared list.
  //  - kFailedPrecondition: CURLOPT_HEADEROPT without CURLHEADER_SEPARATE while
  //    secret headers are set; see SetSecretHeaders.
  //  - kFailedPrecondition: a list, CURLOPT_MIMEPOST, CURLOPT_READFUNCTION or
  //    CURLOPT_SEEKFUNCTION in a callback of this handle's own transfer.
  //  - kUnimplemented: CURLOPT_CONNECT_ONLY. Its connection would be closed
  //    when Perform returns. Use a CURL* of your own instead: call
  //    curl_easy_perform within an Attachment::Transfer, then curl_easy_send,
  //    curl_easy_recv or curl_ws_* within an Attachment::Use.
  //  - Otherwise libcurl's error.
  //
  // CURLOPT_DNS_CACHE_TIMEOUT in a share that has DNS answers affects every
  // handle of the share: at the end of each transfer of this handle, libcurl
  // drops all older answers from the shared cache, and with 0 all answers. To
  // look up one name again, set CURLOPT_RESOLVE to {"-HOST:PORT"} before the
  // transfer. To change the timeout for the share, use
  // ShareOptions::dns_cache_timeout: a longer value of a handle has no effect
  // there. To not cache in common at all, leave LockData::kDns out.
  //
  // A handle with one of the following options does not use the connections of
  // its share, but has its own. libcurl either cannot compare the option when
  // it chooses a connection, or keeps the option's value with the connection,
  // which can outlive the handle: CURLOPT_SSL_CTX_FUNCTION,
  // CURLOPT_OPENSOCKETFUNCTION, CURLOPT_SOCKOPTFUNCTION,
  // CURLOPT_CLOSESOCKETFUNCTION, CURLOPT_SSH_KEYFUNCTION,
  // CURLOPT_SSH_HOSTKEYFUNCTION, CURLOPT_PROXYHEADER, CURLOPT_HAPROXYPROTOCOL,
  // CURLOPT_HAPROXY_CLIENT_IP, CURLOPT_HEADEROPT with CURLHEADER_UNIFIED and,
  // before 8.21, CURLAUTH_NEGOTIATE in CURLOPT_HTTPAUTH or CURLOPT_PROXYAUTH.
  template <CURLoption kOption, typename T>
  absl::Status SetOption(T&& value);
  // For options that take a list.
  template <CURLoption kOption>
  absl::Status SetOption(std::initializer_list<std::string> values) {
    static_assert(KindOfOption(kOption) == OptionKind::kSlist,
                  "this option does not take a list");
    return SetSlist(kOption, {values.begin(), values.size()});
  }
  // For options that take a callback; also sets the option for its data.
  template <CURLoption kOption>
  absl::Status SetOption(typename FunctionOption<kOption>::Function function,
                         void* data) {
    return SetFunction(kOption,
                       reinterpret_cast<void (*)()>(function),  // NOLINT
                       FunctionOption<kOption>::kData, data);
  }
  // For all that the overloads above do not take: does not compile, with a
  // message that says why.
  template <CURLoption kOption, typename F, typename D,
            std::enable_if_t<!OptionTakesFunction<kOption, F, D>(), int> = 0>
  absl::Status SetOption(F&& function, D&& data);

  // ---- Transfers

  // Runs one transfer with the options that are set, and returns when it has
  // ended. Not allowed in callbacks of this handle's own transfer; allowed in
  // callbacks of other handles.
  //
  // Returns OK for every HTTP status, also 503, unless CURLOPT_FAILONERROR is
  // set; HttpErrorStatus (curl_status.h) makes a Status of one. Otherwise:
  //  - kCancelled after Cancel() or Share::CloseNow();
  //  - the Status of one of your callables, if that ended the transfer;
  //  - EasyStatus of libcurl's code, with the text of CURLOPT_ERRORBUFFER.
  // IsRetryable (curl_status.h) says whether to try again.
  absl::Status Perform();
  // The same, and kCancelled also if `token` is cancelled before the transfer
  // begins, while it waits, or while it runs. Cancelling the token later has no
  // effect on the handle.
  absl::Status Perform(const CancelToken& token);

  // Calls SetUrl, then runs a transfer and returns its response, with the body
  // and the headers in memory. The sink of SetSink is not called; that of
  // SetHeaderSink is. Errors as SetUrl and Perform. SetMaxBodySize limits the
  // memory.
  absl::StatusOr<Response> Fetch(absl::string_view url);
  // The same for a body that is large, or not needed. The body of a 2xx
  // response goes to `sink` (not to that of SetSink), and Response::body stays
  // empty; an empty `sink` drops it. Of any other response, `sink` gets
  // nothing, and Response::body holds the first kMaxErrorBody bytes. After
  // redirects, the last response counts.
  absl::StatusOr<Response> Fetch(absl::string_view url, const Sink& sink);
  // The most bytes of the body of an error that Fetch with a sink keeps.
  static constexpr size_t kMaxErrorBody = size_t{64} * 1024;
  // The same two with a token, as for Perform.
  absl::StatusOr<Response> Fetch(absl::string_view url,
                                 const CancelToken& token);
  absl::StatusOr<Response> Fetch(absl::string_view url, const Sink& sink,
                                 const CancelToken& token);

  // Returns what Fetch would, without the body, for the newest transfer. For
  // use after Perform. kFailedPrecondition if there was no transfer, or if the
  // newest one ended before libcurl had begun it; kResourceExhausted when out
  // of memory.
  absl::StatusOr<Response> GetResponse();

  // Returns an absl::StatusOr of what curl_easy_getinfo says about the newest
  // transfer. Its type follows from the name: std::string, long, double,
  // std::vector<std::string>, curl_socket_t or curl_off_t.
  //
  //   absl::StatusOr<long> n = easy.GetInfo<CURLINFO_NUM_CONNECTS>();
  template <CURLINFO kInfo>
  auto GetInfo();

  // Returns the headers of the newest response, in the order they came; after
  // redirects, those of the last response. Empty if there is no response.
  // kResourceExhausted when out of memory.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> GetHeaders();

  // ---- Sharing

  // Attaches the handle to `share`. The handle loses its own cookies and HSTS
  // entries. If the share has cookies, this turns on the handle's cookie
  // engine, which stays on.
  //
  // kAlreadyExists if the handle is already attached to a share, which the
  // message names: Detach first. kFailedPrecondition if `share` is closing or
  // closed. Not allowed in callbacks of this handle's own transfer.
  absl::Status Attach(Share& share);
  // Detaches the handle from its share. kFailedPrecondition if it is attached
  // to none, or no longer. Not allowed in callbacks of this handle's own
  // transfer.
  absl::Status Detach();
  // Returns the share that the handle is attached to. Null if there is none, or
  // if the share has closed or the Share object has been destroyed. Any thread
  // may call it; the caller sees to it that the Share outlives its use.
  Share* share() const;

  // Ends the transfer in progress promptly, even while the server stalls; the
  // transfer returns kCancelled. Also ends a Perform or Fetch that still waits
  // for the share's gate. Returns false if there is no transfer. Does not
  // affect later transfers. Any thread may call it.
  //
  // A caller that cannot know whether the transfer has begun yet, or whether
  // another one has begun meanwhile, should use a CancelToken instead.
  bool Cancel();

  // Resumes a transfer that its source or its sink has paused with NotNow().
  // The source is called again; the sink is called again with the same bytes,
  // possibly followed by more, or divided into other pieces. Returns false if
  // there is no transfer. Any thread may call it.
  //
  // No call is lost. Make the new data (or the new room) visible to the
  // callable first, then call Resume once; the callable need not have returned
  // NotNow() yet. A superfluous Resume only calls the callable once more than
  // necessary. Timeouts keep running while a transfer is paused, and Cancel
  // ends a paused transfer.
  //
  // Source: https://curl.se/libcurl/c/curl_easy_pause.html
  bool Resume();

  // Sets all options back to their defaults and drops the sinks. Connections,
  // cookies and the share stay, as with curl_easy_reset. Not allowed in
  // callbacks of this handle's own transfer.
  absl::Status Reset();

  // Returns a new handle with the same options and copies of the callables (but
  // see SetSource). The new handle is attached to the same share, unless that
  // share is closing; a handle made by curl_easy_duphandle is attached to none.
  // The data of C callbacks is not copied: both handles use the same. Errors as
  // Create, Attach and the methods that set what is copied. Not allowed in
  // callbacks of this handle's own transfer.
  absl::StatusOr<Easy> Duplicate();

  // Begins a direct use of native_handle(). While the returned Use lives, no
  // Share::Close touches the handle. Allowed in callbacks of this handle's own
  // transfer.
  class Use;
  absl::StatusOr<Use> BeginUse();
  // Returns the CURL*, for functions of libcurl that have no method here. Null
  // on a moved-from Easy. The Easy keeps ownership. Use the CURL* only within
  // BeginUse(), and never to transfer, to set CURLOPT_SHARE, or to clean up.
  // The first call may wait as BeginUse() does.
  //
  // Effects on connections, in a share that has connections:
  //  - With libcurl 8.21 and later, from the first call on the handle keeps its
  //    connections to itself for as long as it lives, since options may have
  //    been set that this class does not know.
  //  - If native_handle() was not called before the transfer,
  //    curl_easy_nextheader may find no headers after it. GetHeaders() does.
  //  - curl_easy_upkeep has no effect on the handle's connections, which belong
  //    to a multi handle.
  CURL* native_handle() const;

 private:
  class Core;

  explicit Easy(internal::RefPtr<Core> core);

  static absl::StatusOr<Easy> DuplicateNow(Core& core);
  absl::Status PerformWith(const CancelToken* token);
  absl::StatusOr<Response> FetchWith(absl::string_view url, const Sink* sink,
                                     const CancelToken* token);
  absl::Status SetLong(CURLoption option, long value);
  absl::Status SetOffT(CURLoption option, curl_off_t value);
  // In SetString and SetBlob, nullopt unsets the option.
  absl::Status SetString(CURLoption option,
                         std::optional<absl::string_view> value);
  absl::Status SetSlist(CURLoption option,
                        absl::Span<const std::string> values);
  absl::Status SetBlob(CURLoption option,
                       std::optional<absl::string_view> value);
  absl::Status SetFunction(CURLoption option, void (*function)(),
                           CURLoption data_option, void* data);
  absl::Status SetPointer(CURLoption option, void* pointer);

  absl::StatusOr<std::string> GetString(CURLINFO info);
  absl::StatusOr<long> GetLong(CURLINFO info);
  absl::StatusOr<double> GetDouble(CURLINFO info);
  absl::StatusOr<std::vector<std::string>> GetSlist(CURLINFO info);
  absl::StatusOr<curl_socket_t> GetSocket(CURLINFO info);
  absl::StatusOr<curl_off_t> GetOffT(CURLINFO info);

  internal::RefPtr<Core> core_;  // null once moved from
};

// The scope of a direct use of an Easy's CURL*; see Easy::BeginUse. The use
// ends when this object is destroyed. Not thread-safe: it must be destroyed on
// the thread that called BeginUse. It keeps the handle alive, so it may outlive
// the Easy.
class Easy::Use {
 public:
  Use(Use&& other) noexcept;
  Use& operator=(Use&&) = delete;
  ~Use();

 private:
  friend class Easy;
  explicit Use(internal::RefPtr<Core> core);

  internal::RefPtr<Core> core_;
};

template <CURLoption kOption, typename T>
absl::Status Easy::SetOption(T&& value) {
  constexpr OptionKind kKind = KindOfOption(kOption);
  CheckIsForSetOption<kOption>();
  static_assert(kKind != OptionKind::kFunction && kKind != OptionKind::kData,
                "set a callback and its data together: "
                "SetOption<CURLOPT_XFUNCTION>(function, data)");
  static_assert(kKind != OptionKind::kLong || OptionTakes<kOption, T>(),
                "this option takes a long");
  static_assert(kKind != OptionKind::kOffT || OptionTakes<kOption, T>(),
                "this option takes a curl_off_t");
  static_assert(kKind != OptionKind::kString || OptionTakes<kOption, T>(),
                "this option takes a string");
  static_assert(kKind != OptionKind::kSlist || OptionTakes<kOption, T>(),
                "this option takes a list: std::vector<std::string>");
  static_assert(kKind != OptionKind::kBlob || OptionTakes<kOption, T>(),
                "this option takes bytes");
  static_assert(kKind != OptionKind::kPointer || OptionTakes<kOption, T>(),
                "this option takes a pointer of another type");
  if constexpr (kKind == OptionKind::kLong) {
    return SetLong(kOption, static_cast<long>(value));
  } else if constexpr (kKind == OptionKind::kOffT) {
    return SetOffT(kOption, static_cast<curl_off_t>(value));
  } else if constexpr (kKind == OptionKind::kString) {
    return SetString(kOption, OptionText<std::decay_t<T>>(value));
  } else if constexpr (kKind == OptionKind::kSlist) {
    if constexpr (std::is_null_pointer_v<std::decay_t<T>>) {
      return SetSlist(kOption, {});
    } else {
      return SetSlist(kOption, value);
    }
  } else if constexpr (kKind == OptionKind::kBlob) {
    return SetBlob(kOption, OptionText<std::decay_t<T>>(value));
  } else if constexpr (kKind == OptionKind::kPointer) {
    return SetPointer(kOption, value);
  }
}

template <CURLoption kOption, typename F, typename D,
          std::enable_if_t<!OptionTakesFunction<kOption, F, D>(), int>>
absl::Status Easy::SetOption(F&&, D&&) {
  CheckIsForSetOption<kOption>();
  constexpr OptionKind kKind = KindOfOption(kOption);
  static_assert(kKind != OptionKind::kData,
                "set a callback and its data together: "
                "SetOption<CURLOPT_XFUNCTION>(function, data)");
  // True for options that CheckIsForSetOption, or the check above, has reported
  // already. 56 is CURLOPT_PROGRESSFUNCTION, which libcurl has deprecated: its
  // name would cause a warning.
  constexpr bool kHasMethod =
      kKind == OptionKind::kManaged || kKind == OptionKind::kRequest ||
      kKind == OptionKind::kRefused || kKind == OptionKind::kData ||
      static_cast<int>(kOption) == CURLOPTTYPE_FUNCTIONPOINT + 56;
  static_assert(kHasMethod || kKind == OptionKind::kFunction,
                "this option takes one value, no callback: "
                "SetOption<CURLOPT_X>(value)");
  static_assert(kHasMethod || kKind != OptionKind::kFunction ||
                    kIsFunctionOption<kOption>,
                "libcurl has deprecated this callback");
  static_assert(!kIsFunctionOption<kOption> || IsFunctionFor<kOption, F>(),
                "libcurl cannot call this: it takes a plain function with the "
                "parameters and the result that the option's man page has. A "
                "lambda that captures is none: have it capture nothing, and "
                "give what it needs as the data");
  static_assert(!IsFunctionFor<kOption, F>(),
                "the data of a callback is a pointer, to what is not const");
  return absl::OkStatus();
}

template <CURLINFO kInfo>
auto Easy::GetInfo() {
  constexpr InfoKind kKind = KindOfInfo(kInfo);
  static_assert(kKind != InfoKind::kOther,
                "this one points into the handle: call curl_easy_getinfo "
                "within BeginUse()");
  if constexpr (kKind == InfoKind::kString) {
    return GetString(kInfo);
  } else if constexpr (kKind == InfoKind::kLong) {
    return GetLong(kInfo);
  } else if constexpr (kKind == InfoKind::kDouble) {
    return GetDouble(kInfo);
  } else if constexpr (kKind == InfoKind::kSlist) {
    return GetSlist(kInfo);
  } else if constexpr (kKind == InfoKind::kSocket) {
    return GetSocket(kInfo);
  } else if constexpr (kKind == InfoKind::kOffT) {
    return GetOffT(kInfo);
  }
}

}  // namespace curlshare

#endif  // CURLSHARE_EASY_EASY_H_
