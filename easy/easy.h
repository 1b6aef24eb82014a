// SPDX-License-Identifier: Apache-2.0
// A libcurl easy handle that can be in a Share.
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
//                              the frequent options
//   SetBody, SetForm, SetSource
//                              what is sent
//   SetOption<CURLOPT_...>     every other option, its type checked
//   SetSink, SetHeaderSink, SetProgress       your callables
//   Perform, Fetch             a transfer
//   GetResponse, GetHeaders, GetInfo<CURLINFO_...>
//                              about the newest transfer
//   Attach, Detach, share      membership in a Share
//   Cancel, Resume             ends the transfer, or has it go on, from any
//                              thread; see CancelToken, too
//   Reset, Duplicate
//   BeginUse, native_handle    for what libcurl offers besides
// Response                     what Fetch and GetResponse return
//
// ERRORS. Every method returns kFailedPrecondition on a moved-from Easy, and
// while the handle is in transfer on another thread. Those that a callback of
// the handle's own transfer must not call say so. In a callback that libcurl
// runs while it holds a share's lock (CURLOPT_DEBUGFUNCTION,
// CURLOPT_CLOSESOCKETFUNCTION) every method of a handle that is in a share
// returns kFailedPrecondition. An error of libcurl comes as EasyStatus (see
// curl_status.h) makes it; GetEasyCode reads the CURLcode back. A call that
// fails leaves the handle as it was.
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

// When each phase was over, since the transfer began; zero for a phase that
// did not happen (the connection was reused, say). Resolution 1 us.
struct Timings {
  absl::Duration name_lookup;    // CURLINFO_NAMELOOKUP_TIME_T
  absl::Duration connect;        // CURLINFO_CONNECT_TIME_T
  absl::Duration tls_handshake;  // CURLINFO_APPCONNECT_TIME_T
  absl::Duration first_byte;     // CURLINFO_STARTTRANSFER_TIME_T
  absl::Duration total;          // CURLINFO_TOTAL_TIME_T
};

// An answer, whatever its status: 404 is not an error of the transfer
// (HttpErrorStatus makes it one).
struct Response {
  long status = 0;  // HTTP status code, 0 for protocols without one
  // Of the last response, where there were redirects; in order.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;                // see Fetch
  std::string effective_url;       // after redirects
  long redirects = 0;              // that were followed
  long http_version = 0;           // CURL_HTTP_VERSION_1_1, ...
  bool connection_reused = false;  // no new connection was opened
  // When the server wants to be asked again (Retry-After, RFC 9110 section
  // 10.2.3), from now on; zero where it does not say. libcurl 8.14 and later
  // say 6 hours at most.
  absl::Duration retry_after;  // CURLINFO_RETRY_AFTER
  Timings timings;

  // The value of the first header of that name, in any case.
  std::optional<absl::string_view> Header(absl::string_view name) const;
};

// Bytes so far and expected; an expected size of 0 is not known.
struct TransferProgress {
  int64_t download_expected = 0;
  int64_t downloaded = 0;
  int64_t upload_expected = 0;
  int64_t uploaded = 0;
};

// Thread-compatible: one thread at a time, but for Cancel, Resume and share(),
// which any thread may call while the Easy lives, and is neither moved nor
// assigned to. A Share that the handle is in may be closed or destroyed by any
// thread at any time.
//
// In a forked child, one that has transferred in the parent, or is in a share
// that has, is kFailedPrecondition in every method (share() and native_handle()
// are null, Cancel() is false), and its destruction touches no socket. One that
// has not works there.
//
// It differs from libcurl's defaults: CURLOPT_NOSIGNAL is 1, as threads
// require; a body without a sink is dropped, not written to standard output;
// standard input is never read; HTTP and HTTPS are the only protocols, for URLs
// and for redirects, until CURLOPT_PROTOCOLS_STR and
// CURLOPT_REDIR_PROTOCOLS_STR allow others.
class Easy {
 public:
  // Receives a piece of the body, or one header line. A Status other than kOk
  // ends the transfer, which returns it (of the body, NotNow() has it wait: see
  // Resume); so does an exception, as kUnknown with its text, std::bad_alloc as
  // kResourceExhausted. Must not move, assign or destroy the Easy's sinks.
  // Copied by Duplicate.
  using Sink = std::function<absl::Status(absl::string_view)>;
  using Progress = std::function<absl::Status(const TransferProgress&)>;
  // Writes the next bytes of the body into the span, which is not empty, and
  // returns how many, at least one; 0 at the end. Errors, exceptions and
  // NotNow() as of a Sink.
  using Source = std::function<absl::StatusOr<size_t>(absl::Span<char>)>;
  // Has its source begin anew.
  using Rewind = std::function<absl::Status()>;

  // kResourceExhausted when out of memory; errors of InitLibcurl().
  static absl::StatusOr<Easy> Create();

  Easy(Easy&& other) noexcept;
  Easy& operator=(Easy&& other) noexcept;
  // Leaves its share and frees the handle. Allowed in callbacks, those of the
  // handle's own transfer included: the handle then goes when that ends.
  ~Easy();

  // ---- Options. They stay for further transfers, until Reset().

  // A transfer to a URL of another scheme than HTTP and HTTPS ends with
  // kUnimplemented (CURLE_UNSUPPORTED_PROTOCOL), which names it, before
  // anything is read or connected.
  // SetOption<CURLOPT_PROTOCOLS_STR>("http,https,ftp") allows what it lists, in
  // place of that, CURLOPT_REDIR_PROTOCOLS_STR for redirects; null brings the
  // default back, as Reset does.
  absl::Status SetUrl(absl::string_view url);
  // "GET", "HEAD", "POST", "PUT", or any other token (RFC 9110 section 9).
  // "GET" and "HEAD" drop the body; "POST", "PUT" and "PATCH" without one send
  // an empty body. kInvalidArgument for what is no token. Not in callbacks of
  // the handle's own transfer.
  //
  // A body that is set after "GET" or "HEAD" makes the request a POST;
  // otherwise the order of this and of what sets the body does not matter.
  // Redirects, by SetFollowRedirects: after a 301 or 302 a POST becomes a GET
  // without the body, any other method is repeated with it; after a 303 all but
  // HEAD become GET; after a 307 or 308 all are repeated as they were. Before
  // libcurl 8.16, after a 303, methods other than POST and PUT, and PUT with a
  // form, are repeated without the body. Before 8.7 or so libcurl asks for
  // leave ahead of each PUT (Expect: 100-continue), and waits for up to a
  // second for a server that does not know that: SetHeaders({"Expect:"}) ends
  // it.
  absl::Status SetMethod(absl::string_view method);
  // "Name: value" each, replacing those set before. libcurl's own headers can
  // be replaced, or removed with "Name:". kInvalidArgument for a line break.
  // Not in callbacks of the handle's own transfer.
  //
  // They go with every redirect, to whatever host it leads, but for
  // "Authorization" and "Cookie", which libcurl keeps to the first scheme, host
  // and port (unless CURLOPT_UNRESTRICTED_AUTH). Keys and tokens under other
  // names are for SetSecretHeaders.
  absl::Status SetHeaders(absl::Span<const std::string> headers);
  // Further headers, which go to the scheme, host and port of the transfer's
  // first request alone: after a redirect to another they are left out, with
  // CURLOPT_PORT after any, and once a callback has set another URL.
  // kFailedPrecondition with CURLHEADER_UNIFIED of CURLOPT_HEADEROPT, which
  // would show them to a proxy. As SetHeaders else; SetHeaders leaves them
  // alone.
  absl::Status SetSecretHeaders(absl::Span<const std::string> headers);
  // The request's body, copied, in place of the one before; the method becomes
  // POST unless SetMethod has named another that is neither GET nor HEAD. Not
  // in callbacks of the handle's own transfer.
  //
  // Other bodies, each instead of the one before, too: SetForm, SetSource, and
  //   SetOption<CURLOPT_MIMEPOST>(form)            as SetBody; not owned
  //   SetOption<CURLOPT_READFUNCTION>(read, data)  as SetBody, but that the
  //       method becomes PUT. Its size is what CURLOPT_INFILESIZE_LARGE says;
  //       else it is sent in chunks. CURLOPT_SEEKFUNCTION rewinds it.
  // Null takes such a body away.
  absl::Status SetBody(absl::string_view body);
  // A form as the body, sent as multipart/form-data (RFC 7578), in place of the
  // body before; the method as with SetBody. Not in callbacks of the handle's
  // own transfer.
  //
  //   SetForm({{"user", "me"}, FormPart::File("photo", "/tmp/photo.jpg")})
  //
  // Contents are copied; a file is read in each transfer, and should not change
  // in size until then. Duplicate copies it, and fails as this does where a
  // file has gone. SetOption<CURLOPT_MIMEPOST>(nullptr) takes it away.
  //
  // kInvalidArgument for a control character in a name, a file's name or a
  // content type, for a directory, and for a part with a content and a path;
  // kNotFound and kPermissionDenied for a file that cannot be read.
  absl::Status SetForm(absl::Span<const FormPart> parts);
  // A body that is read while it is sent, in place of the body before; an empty
  // source takes the one before away. The method becomes PUT unless SetMethod
  // has named another that is neither GET nor HEAD. Not in callbacks of the
  // handle's own transfer.
  //
  // `size` in bytes: the source is asked for so many and no more, and a
  // transfer for which it has less fails with kOutOfRange. Without: until it
  // returns 0; HTTP/1.1 then sends chunks, which not every server takes.
  //
  // `rewind` is called before a transfer where the source has been read from
  // since it was set or rewound; and within one where libcurl sends the body
  // again: at a redirect that keeps it, after a challenge to authenticate, or
  // on a new connection where a kept one turns out to be dead. Where there is
  // none each of these fails with kFailedPrecondition.
  //
  // Duplicate shares it, as there is one stream: while one handle transfers,
  // the other's transfers are kFailedPrecondition. To send two at a time, set
  // another source on the duplicate.
  //
  // Source: https://curl.se/libcurl/c/CURLOPT_READFUNCTION.html,
  //         https://curl.se/libcurl/c/CURLOPT_SEEKFUNCTION.html
  absl::Status SetSource(Source source,
                         std::optional<int64_t> size = std::nullopt,
                         Rewind rewind = nullptr);
  // For the whole transfer, and for connecting. Rounded up to milliseconds.
  // InfiniteDuration: none (libcurl's default; 300 s for connecting).
  // kInvalidArgument unless positive. That for the whole counts from the call
  // of Perform or Fetch on: the waits for the gate and for
  // max_transfers_per_host are part of it. In a gated share a transfer notices
  // it once other handles' callbacks are out of the gate.
  absl::Status SetTimeout(absl::Duration timeout);
  absl::Status SetConnectTimeout(absl::Duration timeout);
  // Follows at most `most` redirects; 0: none, the default. One more ends the
  // transfer with kFailedPrecondition (CURLE_TOO_MANY_REDIRECTS). What becomes
  // of the method and the body, see SetMethod: a body that is repeated goes to
  // whatever host the redirect leads to. What becomes of headers, see
  // SetHeaders. CURLOPT_USERPWD and CURLOPT_XOAUTH2_BEARER stay with the first
  // scheme, host and port; CURLOPT_COOKIE does from libcurl 8.21 or so on, and
  // goes everywhere before: use SetSecretHeaders({"Cookie: ..."}). A URL of
  // another scheme than HTTP and HTTPS is refused: see SetUrl.
  absl::Status SetFollowRedirects(int most);
  template <typename T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0>
  absl::Status SetFollowRedirects(T) {
    static_assert(!std::is_same_v<T, bool>,
                  "say how many redirects to follow at most: "
                  "SetFollowRedirects(5)");
    return absl::OkStatus();
  }
  // The authorities to trust instead of the system's: PEM, any number. libcurl
  // parses them anew for each new connection: nothing for a few, 35 ms of CPU
  // for a whole bundle. For that, or for more than a few, use
  // SetOption<CURLOPT_CAINFO>(file), which is parsed once for each multi handle
  // and a day, so in a share of connections hardly ever.
  absl::Status SetCaCertificates(absl::string_view pem);
  // The most bytes of a body that a transfer takes, decoded ones where
  // CURLOPT_ACCEPT_ENCODING is set, wherever they go; 0: any number, the
  // default. A body that is larger ends the transfer with kOutOfRange
  // (CURLE_FILESIZE_EXCEEDED), and nothing beyond has been handed on. Unlike
  // CURLOPT_MAXFILESIZE_LARGE it does not go by what the server announces.
  // kInvalidArgument for a negative number.
  absl::Status SetMaxBodySize(int64_t most);

  // Where the body goes, piece by piece; empty: nowhere. Not in callbacks of
  // the handle's own transfer.
  absl::Status SetSink(Sink sink);
  // Where header lines go, each with its line break; empty: nowhere. As above.
  absl::Status SetHeaderSink(Sink sink);
  // Called about ten times a second while data come, at least once a second,
  // and at the end of a transfer that has succeeded. As above.
  absl::Status SetProgress(Progress progress);

  // Any option, by its name in libcurl; a value of the wrong type does not
  // compile:
  //
  //   SetOption<CURLOPT_VERBOSE>(1L)                   long: any integer, bool
  //   SetOption<CURLOPT_MAXFILESIZE_LARGE>(1 << 20)    curl_off_t
  //   SetOption<CURLOPT_USERAGENT>("me/1.0")           string; nullptr unsets
  //   SetOption<CURLOPT_RESOLVE>({"a.test:80:127.0.0.1"})        list, copied
  //   SetOption<CURLOPT_SSLCERT_BLOB>(bytes)           blob, copied
  //   SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, data) callback and its data
  //   SetOption<CURLOPT_CURLU>(url)                    not owned, must outlive
  //
  // A callback given here is a plain C callback: it must not throw.
  // CURLOPT_SHARE, _ERRORBUFFER, _WRITEFUNCTION, _HEADERFUNCTION,
  // _XFERINFOFUNCTION, _NOPROGRESS, _POSTFIELDS and their data are Easy's own:
  // see Attach, SetSink, SetHeaderSink, SetProgress, SetBody; so is _NOSIGNAL.
  // What SetMethod and the body decide (CURLOPT_POST, _HTTPGET, _NOBODY,
  // _UPLOAD, _POSTFIELDSIZE) does not compile; CURLOPT_CUSTOMREQUEST replaces
  // the method's name alone, until the next SetMethod. Of a URL and a
  // CURLOPT_CURLU the newest counts.
  //
  // kInvalidArgument for a string with a NUL byte; kFailedPrecondition for
  // CURLOPT_COOKIEJAR in a share of cookies that is not gated (libcurl would
  // touch the shared jar without its lock: set it before Attach; the file is
  // written when the handle leaves those cookies, and the option unset then),
  // for CURLOPT_COOKIEFILE null in a share of cookies, for CURLOPT_HSTS_CTRL 0
  // in a share of HSTS (libcurl would free the shared list), and for lists in
  // callbacks of the handle's own transfer; kUnimplemented for
  // CURLOPT_CONNECT_ONLY, whose connection would be closed when Perform
  // returns: use a CURL* of your own, curl_easy_perform within an
  // Attachment::Transfer, then curl_easy_send, curl_easy_recv or curl_ws_*
  // within a Use; else libcurl's error.
  //
  // CURLOPT_DNS_CACHE_TIMEOUT in a share of DNS answers is that of all: at the
  // end of each transfer of this handle libcurl drops from the shared cache
  // what is older, and with 0 everything. To look one name up anew, set
  // CURLOPT_RESOLVE to {"-HOST:PORT"} before the transfer; for another time for
  // all, set the same one on each handle; for none, leave LockData::kDns out.
  //
  // A handle with one of these has connections of its own also in a share of
  // connections, as libcurl cannot tell them apart, or keeps them for longer
  // than the handle: CURLOPT_SSL_CTX_FUNCTION, CURLOPT_OPENSOCKETFUNCTION,
  // CURLOPT_SOCKOPTFUNCTION, CURLOPT_CLOSESOCKETFUNCTION,
  // CURLOPT_SSH_KEYFUNCTION, CURLOPT_SSH_HOSTKEYFUNCTION, CURLOPT_PROXYHEADER,
  // CURLOPT_HAPROXYPROTOCOL, CURLOPT_HAPROXY_CLIENT_IP and, before 8.21,
  // CURLAUTH_NEGOTIATE.
  template <CURLoption kOption, typename T>
  absl::Status SetOption(T&& value);
  template <CURLoption kOption>
  absl::Status SetOption(std::initializer_list<std::string> values) {
    static_assert(KindOfOption(kOption) == OptionKind::kSlist,
                  "this option does not take a list");
    return SetSlist(kOption, {values.begin(), values.size()});
  }
  template <CURLoption kOption>
  absl::Status SetOption(typename FunctionOption<kOption>::Function function,
                         void* data) {
    return SetFunction(kOption,
                       reinterpret_cast<void (*)()>(function),  // NOLINT
                       FunctionOption<kOption>::kData, data);
  }
  // What the above does not take: does not compile, and says why.
  template <CURLoption kOption, typename F, typename D,
            std::enable_if_t<!OptionTakesFunction<kOption, F, D>(), int> = 0>
  absl::Status SetOption(F&& function, D&& data);

  // ---- Transfers

  // Transfers once. Not in callbacks of the handle's own transfer; in those of
  // other handles it works.
  //
  // kCancelled after Cancel() or Share::CloseNow(); the Status of a callable
  // that ended it; else EasyStatus of libcurl's code, with the text of
  // CURLOPT_ERRORBUFFER. IsRetryable (curl_status.h) says whether to try again.
  absl::Status Perform();
  // The same, but kCancelled also once `token` is cancelled: before it begins,
  // while it waits, or under way. Cancelling it later has no effect on the
  // handle.
  absl::Status Perform(const CancelToken& token);

  // SetUrl, then a transfer whose body and headers are kept in memory (the
  // body's sink is not called, that of the headers is). Errors as Perform;
  // SetMaxBodySize limits the memory.
  absl::StatusOr<Response> Fetch(absl::string_view url);
  // The same for a body that is large, or of no interest: `sink`, in place of
  // that of SetSink, gets the body of a 2xx answer, the last where there were
  // redirects; empty: nobody does. Response::body has of every other answer the
  // first kMaxErrorBody bytes, and of a 2xx nothing.
  absl::StatusOr<Response> Fetch(absl::string_view url, const Sink& sink);
  static constexpr size_t kMaxErrorBody = size_t{64} * 1024;
  // With a token, as Perform.
  absl::StatusOr<Response> Fetch(absl::string_view url,
                                 const CancelToken& token);
  absl::StatusOr<Response> Fetch(absl::string_view url, const Sink& sink,
                                 const CancelToken& token);

  // What Fetch returns, without a body, of the newest transfer: after Perform.
  // kFailedPrecondition where there was none, or it ended before libcurl had
  // begun on it; kResourceExhausted when out of memory.
  absl::StatusOr<Response> GetResponse();

  // About the newest transfer; the type follows from the name: std::string,
  // long, double, std::vector<std::string>, curl_socket_t, curl_off_t.
  //
  //   absl::StatusOr<long> n = easy.GetInfo<CURLINFO_NUM_CONNECTS>();
  template <CURLINFO kInfo>
  auto GetInfo();

  // The headers of the newest response, the last of several; in order. Empty
  // where there is none. kResourceExhausted when out of memory.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> GetHeaders();

  // ---- Sharing

  // Puts the handle into `share`. Its own cookies and HSTS entries are lost.
  // Where cookies are shared its cookie engine is turned on, and stays so.
  //
  // kAlreadyExists where it is in a share, which is named: Detach first;
  // kFailedPrecondition where `share` is closing or closed. Not in callbacks
  // of the handle's own transfer.
  absl::Status Attach(Share& share);
  // Leaves the share. kFailedPrecondition where it is in none (any more). Not
  // in callbacks of the handle's own transfer.
  absl::Status Detach();
  // The share that it is in; null where it is in none, the share has closed,
  // or the Share object has gone.
  Share* share() const;

  // Ends the transfer in progress, promptly, also while the server stalls: it
  // returns kCancelled. False where there is none; later ones are not
  // affected. Who does not know whether the transfer has begun, or ended and
  // another begun, uses a CancelToken.
  bool Cancel();

  // Has the transfer in progress go on where its source or its sink has said
  // NotNow(): the source is asked again, the sink is given the same bytes,
  // perhaps with more, or in other pieces. False where there is no transfer.
  //
  // None is lost: to call it once there is something to read (or room), after
  // that has become visible to the callable, is enough, whether or not the
  // callable has returned yet. A call too many has the callable asked once more
  // than need be. Timeouts go on while a transfer waits; Cancel ends it.
  //
  // Source: https://curl.se/libcurl/c/curl_easy_pause.html
  bool Resume();

  // All options back to their defaults, sinks dropped. Connections, cookies
  // and the share stay, as with curl_easy_reset. Not in callbacks of the
  // handle's own transfer.
  absl::Status Reset();

  // A new handle with the same options, copies of the callables (but see
  // SetSource), and in the same share (libcurl's own duplicate is in none); in
  // none where that share is closing. Data of raw callbacks is not copied. Not
  // in callbacks of the handle's own transfer.
  absl::StatusOr<Easy> Duplicate();

  // Brackets direct use of native_handle(): while it lives, no Share::Close
  // touches the handle.
  class Use;
  absl::StatusOr<Use> BeginUse();
  // For what has no method here. Not owned; use it within BeginUse() only, and
  // never to transfer, to set CURLOPT_SHARE, or to clean up. From the first
  // call on, libcurl 8.21 and later, the handle does not lend its connections
  // to others while it lives, as nobody knows what was set. Where it was not
  // called before, curl_easy_nextheader may find nothing on a handle in a share
  // of connections: GetHeaders() does. curl_easy_upkeep does nothing for its
  // connections, which are in a multi handle.
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
  // None unsets, of a blob as well.
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

// Ends when it goes, on the thread that began it.
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
  // Those of which another check has told.
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
