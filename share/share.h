// SPDX-License-Identifier: Apache-2.0
// A thread-safe share: libcurl handles on any number of threads use the same
// DNS answers, TLS sessions, connections, cookies and more.
//
//   absl::StatusOr<std::unique_ptr<Share>> share = Share::Create();
//   if (!share.ok()) return share.status();
//   // On each thread:
//   absl::StatusOr<Easy> easy = Easy::Create();      // "curlshare/easy/easy.h"
//   if (absl::Status s = easy->Attach(**share); !s.ok()) return s;
//   absl::StatusOr<Response> response = easy->Fetch("https://example.com/");
//   // At the end:
//   absl::Status closed = (*share)->Close(absl::Now() + absl::Seconds(10));
//   if (!closed.ok()) closed = (*share)->CloseNow();  // end what is in flight
//
// Share::Create(options)        a new share
//   Attach(CURL*)               attaches a handle of your own; for an Easy, see
//                               Easy::Attach
//   Perform(CURL*)              one transfer of your own handle in the share
//   Close, CloseNow             detach all handles and free the share
//   Enable, Disable             change which kinds of data are shared
//   Flush                       forgets what the share knows, kind by kind
//   CloseIdleConnections        for a timer, or when the network has changed
//   ExportCookies, ImportCookies, ExportTlsSessions, ImportTlsSessions
//                               carry state over a restart of the process
//   lock_data, gated, attached, closed, options, stats, name
#ifndef CURLSHARE_SHARE_SHARE_H_
#define CURLSHARE_SHARE_SHARE_H_

#include <curl/curl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"

namespace curlshare {

class Easy;

// What happens to later transfers of a handle that Share::Close,
// Share::CloseNow or the destruction of the Share has detached. This does not
// concern a transfer that is under way when the close begins: it goes on, or
// CloseNow ends it.
enum class AfterClose {
  // They run without a share: on new connections, without the shared cookies.
  // A later CloseNow does not reach them.
  kTransferAlone,
  // They return kFailedPrecondition, until the handle is attached to another
  // share or Detach is called. For a service that shuts down.
  kRefuse,
};

// What Share::Create needs to know. Thread-compatible: a plain value, of which
// the share keeps a copy, and with it a reference to `lock_observer`.
struct ShareOptions {
  // Which kinds of data to share. If unset, DefaultLockData(): DNS answers, TLS
  // sessions, connections and the Public Suffix List. Cookies and HSTS carry
  // identity: they are shared only if they are named here. A set replaces the
  // default; to add to it, use DefaultLockData() | LockData::kCookie. An empty
  // set is allowed: Share::Enable can add to it later.
  std::optional<LockDataSet> lock_data;

  // Whether only one thread at a time is inside libcurl with this share (the
  // "gate", see lock_safety.h). By default the share has a gate if the shared
  // kinds need one on the running libcurl.
  Concurrency concurrency = Concurrency::kAuto;

  // What Close does while handles are attached. true: Close detaches them, and
  // waits for those that are in transfer. false ("strict mode"): Close returns
  // kFailedPrecondition, with their number, and changes nothing.
  bool detach_on_close = true;

  // Whether a handle may transfer after a close has detached it.
  AfterClose after_close = AfterClose::kTransferAlone;

  // Limits on the connections that the share keeps. Only used while it shares
  // LockData::kConnect.
  ConnectionOptions connections;

  // The greatest age of a DNS answer that a transfer uses. Only used while the
  // share has LockData::kDns. Must be positive; whole seconds, rounded up;
  // absl::InfiniteDuration(): no limit. The default is libcurl's: each handle's
  // CURLOPT_DNS_CACHE_TIMEOUT then stays as it is. Any other value is set as
  // CURLOPT_DNS_CACHE_TIMEOUT of each attached handle. An Easy may have a
  // shorter one, and has its own value back when it leaves the share; that of a
  // CURL* of yours stays changed.
  //
  // Failures do not wait for this age: if a transfer by Perform or Fetch does
  // not find a name, or cannot connect to it, then the share forgets that name,
  // at most once a second.
  absl::Duration dns_cache_timeout = absl::Seconds(60);

  // Watches the lock callbacks; for tests and tracing. May be null.
  std::shared_ptr<LockObserver> lock_observer;

  // "lock_data=... concurrency=... detach_on_close=... after_close=...".
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const ShareOptions& options) {
    sink.Append(options.ToString());
  }
  friend std::ostream& operator<<(std::ostream& os, const ShareOptions& o) {
    return os << o.ToString();
  }
};

// What a share did since it was created; made by Share::stats(). The figures
// are read one after the other while other threads go on: together they are no
// snapshot of one moment. Thread-compatible: a plain value.
struct ShareStats {
  // libcurl's lock of the share itself, which each attach and detach takes.
  KindLockStats share_lock;
  // The lock of one kind; all zero for a kind that was never shared.
  // REQUIRES: `kind` is one of the enumerators.
  const KindLockStats& lock(LockData kind) const {
    return locks[static_cast<size_t>(kind)];
  }

  // All zero if connections were never shared. After a close the totals stay.
  ConnectionStats connections;

  // The next three count what transfers by Perform and Fetch did to get their
  // connections, whether or not the share shares connections. A transfer that
  // uses a connection which is open already adds to none of them.
  //
  // Name look-ups that libcurl began because its DNS cache had no answer.
  // libcurl also begins a look-up for a numeric address and for "localhost",
  // without asking a resolver. Counted for each Easy whose native_handle() was
  // never called; the look-ups of all other handles are not known.
  // Source: https://curl.se/libcurl/c/CURLOPT_RESOLVER_START_FUNCTION.html
  uint64_t dns_lookups = 0;
  // Connections that the same handles opened without a look-up: the answer was
  // in the cache, or they needed none (CURLOPT_UNIX_SOCKET_PATH).
  uint64_t dns_hits = 0;
  // Transfers, of any handle, that opened a connection and completed a TLS or
  // SSH handshake. A transfer that opened several such connections, because of
  // a redirect, counts once; a handshake that failed does not count. libcurl
  // does not tell whether a handshake resumed a session.
  // Source: https://curl.se/libcurl/c/CURLINFO_APPCONNECT_TIME_T.html
  uint64_t handshakes = 0;

  KindLockStats gate;     // all zero for a share that never had a gate
  bool gated = false;     // whether it has a gate now
  LockDataSet lock_data;  // what is shared now
  size_t attached = 0;    // number of handles attached now
  bool closed = false;
  // Calls of the lock callbacks that this library had to ignore: unlocks of a
  // lock that the thread did not hold, and locks or unlocks of a kind that does
  // not exist. libcurl makes these calls; they are not an error of yours.
  uint64_t dropped_unlocks = 0;
  uint64_t unknown_kinds = 0;
  // Uses and Transfers of an Attachment that ended on another thread than the
  // one that began them. This is an error of yours; calls of the two threads
  // may be refused afterwards.
  uint64_t wrong_threads = 0;
  // Locks that libcurl took for a handle of this share while the calling thread
  // was in no Use, no Transfer and no call of this library. Most likely libcurl
  // was called on an attached CURL* outside of them, which a close cannot
  // notice. Not counted while a Transfer with TransferOptions::any_thread is
  // under way. Calls on a CURL* that could not leave the share (attachment.h,
  // rule 8) are counted, too.
  uint64_t outside_scopes = 0;

  std::array<KindLockStats, 8> locks;  // by the value of the LockData

  // One line without a line break: "name=value" pairs, separated by blanks,
  // under the names above and in ConnectionStats. The lock of a kind is
  // included if it was ever taken, as in "dns.taken=1". Future versions may add
  // pairs at the end.
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const ShareStats& stats) {
    sink.Append(stats.ToString());
  }
  friend std::ostream& operator<<(std::ostream& os, const ShareStats& stats) {
    return os << stats.ToString();
  }
};

// A CURLSH of libcurl with its locks and a pool of connections, and the handles
// that are attached to it: Easy objects, and CURL* of your own (Attachment).
//
// Thread-safe: any thread may call any method at any time, except that the
// destructor must run after every other call on the Share has returned. Handles
// and Attachments may outlive the Share.
//
// Happens-before: everything that a thread did before its transfer ended
// happens before Close returns kOk on another thread.
//
// STATES of a share, and what each call does there:
//
//                | open                    | closing             | closed
//   -------------+-------------------------+---------------------+-----------
//   Attach       | attaches                | FailedPrecondition  | FailedPr.
//   Enable,      | changes                 | FailedPrecondition  | FailedPr.
//    Disable,    |                         |                     |
//    Flush,      |                         |                     |
//    Export...,  | reads                   | FailedPrecondition  | FailedPr.
//    Import...   | adds                    | FailedPrecondition  | FailedPr.
//   Close        | closing, then closed or | waits again         | Ok
//                | DeadlineExceeded        |                     |
//   transfers    | use the share           | those in flight end | run without
//   of handles   |                         | with it, new ones   | a share
//                |                         | run without it      |
//
// A share is `closing` from the first Close (or the destructor) on, until the
// last handle in use has left it. The thread on which that last handle leaves
// frees the CURLSH. With AfterClose::kRefuse the transfers that "run without" a
// share in the table are refused instead.
//
// ERRORS are returned as absl::Status. A method that returns a Status does not
// throw. When memory runs out it returns kResourceExhausted; unless the method
// says otherwise, the share is then as it was.
//
// CALLBACKS. libcurl runs your callbacks inside a transfer. A callback may call
// every method of a Share, with three exceptions. These return
// kFailedPrecondition and change nothing:
//  - Close and CloseNow without a deadline, while handles are attached. They
//    could wait for the very transfer that they are called from. The same holds
//    while this thread has an Attachment::Use or Attachment::Transfer, or an
//    Easy::BeginUse.
//  - Everything that takes one of libcurl's locks on a share, in a callback
//    that libcurl runs while it holds such a lock (CURLOPT_DEBUGFUNCTION,
//    CURLOPT_CLOSESOCKETFUNCTION): Attach, Perform, Close, CloseNow, Enable,
//    Disable, Flush, and the exports and imports. Below, this is called "a
//    callback under a share's lock".
//  - Attach, Perform, Enable, Disable, Flush, and the exports and imports of a
//    gated share, in a callback inside the gate of another share: two threads
//    could wait for each other.
//
// FORK. A child process cannot use a share in which there was a handle that has
// transferred in the parent: the sockets are the parent's. Every method of such
// a share that returns a Status returns kFailedPrecondition; the others answer
// as if nothing was in the share; and its destruction touches no socket. A
// share whose handles have not transferred works in the child.
//
// Source: https://curl.se/libcurl/c/libcurl-share.html
class Share {
 public:
  // Makes a share, which the caller owns.
  //
  // kUnimplemented: the running libcurl lacks a kind that options.lock_data
  //   asks for (the message says which), or is older than 7.88.0.
  // kInvalidArgument: options.concurrency is none of the enumerators, or a
  //   value in options.connections or options.dns_cache_timeout is outside its
  //   range.
  // kResourceExhausted: out of memory.
  // kInternal: libcurl cannot be initialised; see InitLibcurl().
  static absl::StatusOr<std::unique_ptr<Share>> Create(
      ShareOptions options = {});

  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  // Closes the share as Close(absl::InfinitePast()) would, but never fails, and
  // never blocks on a transfer. Idle handles leave now; where another thread is
  // inside the gate, they leave when that thread leaves it. A handle in
  // transfer leaves when the transfer ends. The last one out frees the CURLSH.
  //
  // In strict mode (detach_on_close is false) nothing is detached: the attached
  // handles go on sharing, until the last of them has been detached or
  // destroyed.
  //
  // In a callback under a share's lock (see CALLBACKS) no handle can be
  // detached: an idle handle then leaves after its next use or transfer.
  ~Share();

  // Attaches `curl` to the share. The caller keeps the ownership of `curl`,
  // which must outlive the returned Attachment. As long as `curl` is attached,
  // the rules of attachment.h apply to it.
  //
  // Where cookies are shared, the handle's own cookies are lost, as
  // CURLOPT_SHARE says, and its cookie engine is turned on. The engine stays on
  // after the handle has left. Where HSTS is shared, its own entries are lost.
  //
  // After these errors the handle is as it was:
  // kInvalidArgument: `curl` is null.
  // kAlreadyExists: it is attached already; the message names the share.
  // kFailedPrecondition: this share is closing or closed; or the call comes
  //   from a callback that must not make it (see CALLBACKS).
  //
  // kResourceExhausted: out of memory. The handle is in no share.
  absl::StatusOr<Attachment> Attach(CURL* curl);

  // Makes one transfer on `curl`, which is in the share only meanwhile: Attach,
  // Attachment::Perform, and out again. For code that sets options in many
  // places: the rules of attachment.h apply to `curl` during this call alone.
  // Before and after it, the owner uses `curl` as around curl_easy_perform.
  //
  // If the share shares connections, the connection is kept for the next call,
  // within the limits that attachment.h describes under CONNECTIONS; rule 10 of
  // attachment.h then holds beyond this call. If it does not, each call makes a
  // new connection, and nothing of the CURL* outlives the call. Handles that
  // need CURLOPT_RESOLVE or CURLOPT_COOKIEJAR (rules 5 and 7) should stay
  // attached instead.
  //
  // Returns the errors of Attach and of Attachment::Perform; kCancelled after
  // CloseNow(). Once the share is closing or closed: with kRefuse
  // kFailedPrecondition; with kTransferAlone the transfer runs by
  // curl_easy_perform, without the share.
  absl::Status Perform(CURL* curl,
                       AfterClose after_close = AfterClose::kRefuse);

  // Detaches every handle and frees the CURLSH. From the beginning of this call
  // on, the share takes no new handle and no new transfer.
  //
  // This call detaches the idle handles itself. A handle that is in use or in
  // transfer leaves when that ends, on its own thread; this call waits for it,
  // and for exports, imports and changes of the kinds that are under way. A
  // detached handle is not freed: it stays usable without a share, or refuses
  // transfers (ShareOptions::after_close). It takes the connections that it
  // keeps along; the idle connections of the pool are closed.
  //
  // kOk: the share is closed: nothing is attached and the CURLSH is freed. Also
  //   if it was closed before.
  // kDeadlineExceeded: `deadline` has passed and handles are still in use. The
  //   share stays closing: each of them leaves when it can, and the last one
  //   frees the CURLSH. A further Close waits again.
  // kFailedPrecondition, and nothing has changed: handles are attached in
  //   strict mode; or the call comes from a callback or a Use without a
  //   deadline, or from a callback under a share's lock (see CALLBACKS).
  // kFailedPrecondition, and the share is closing: the only handles left are
  //   some that libcurl, from 8.22 on, refuses to detach (CURLOPT_CONNECT_ONLY
  //   with an open connection, rule 8 of attachment.h). Then this call returns
  //   at once, whatever the deadline. The message says how many there are and
  //   what to do. The last one to leave frees the CURLSH, and a further Close
  //   returns kOk.
  //
  // absl::InfinitePast() does not wait. Otherwise this call never blocks past
  // `deadline` except for two steps that may be under way: detaching a handle,
  // which does no I/O except to write its CURLOPT_COOKIEJAR; and closing idle
  // connections, where libcurl says goodbye to an FTP server and may wait for
  // its answer.
  absl::Status Close(absl::Time deadline = absl::InfiniteFuture());

  // As Close, but also ends the transfers in flight: they return kCancelled.
  // Those that begin later run on without the share, and no call ends them,
  // unless ShareOptions::after_close is kRefuse.
  //
  // A transfer by Perform or Fetch ends at once, also while it resolves a name,
  // connects or waits for the gate, but not before a callback of yours that is
  // running has returned. A transfer that you run yourself, in an
  // Attachment::Transfer, ends when libcurl next calls its progress function,
  // within about a second.
  absl::Status CloseNow(absl::Time deadline = absl::InfiniteFuture());

  // Adds `kinds` to what is shared, or removes them: all of them or, on an
  // error, none. Handles may be attached: each changes over at the start of its
  // next transfer. What the share knows of the kinds that it goes on sharing is
  // kept, to the extent that Flush describes. A call that changes nothing has
  // no effect. Waits for the gate, if the share ever had one, but for no
  // transfer.
  //
  // Returns the errors of Create and of Flush.
  absl::Status Enable(LockDataSet kinds);
  absl::Status Disable(LockDataSet kinds);

  // Closes the idle connections that were not used for `older_than`, and
  // returns how many it closed. A service calls this from a timer, since the
  // share has no thread of its own; and when the network has changed:
  // absl::ZeroDuration() closes every idle connection, so that later transfers
  // can only meet those which are in use now.
  //
  // Connections are closed together with the others of their multi handle
  // (connection_options.h), once the most recently used of them is due. Waits
  // for the gate, if there is one, but for no transfer. Inside the gate of
  // another share it does not wait, and leaves open what handles of a gated
  // share keep. In a callback under a share's lock it does nothing (see
  // CALLBACKS).
  size_t CloseIdleConnections(
      absl::Duration older_than = absl::ZeroDuration()) {
    return core_->CloseIdleConnections(older_than);
  }

  // Forgets what the share knows of `kinds`, and keeps the rest. Every kind can
  // be forgotten: DNS answers (except those of CURLOPT_RESOLVE), cookies, TLS
  // sessions, connections, HSTS entries, the Public Suffix List. Kinds that are
  // not shared are ignored.
  //
  // Handles may be attached and in transfer. A transfer that begins after this
  // call has returned uses nothing of what was forgotten; transfers under way
  // go on. Waits for the gate, if the share ever had one, but for no transfer.
  //
  // libcurl can empty DNS answers, cookies and connections. To forget another
  // kind (or DNS answers, where libcurl was built without FILE) the share makes
  // a new CURLSH, and each handle moves to it at its next transfer. Enable and
  // Disable make a new CURLSH as well. The new CURLSH has of the old one:
  //  - cookies, including session cookies. Lost are a cookie without a domain,
  //    which libcurl does not list (only a "Set-Cookie:" line in
  //    CURLOPT_COOKIELIST makes one), and, on libcurl 7.88, a cookie with a tab
  //    in its name;
  //  - HSTS entries;
  //  - connections;
  //  - TLS sessions, where ExportTlsSessions can export them.
  // What a transfer in the old CURLSH learns (a login, a logout) is known to
  // the other handles once that transfer has ended. There are two exceptions:
  // an HSTS entry that the server takes back stays until it expires, and TLS
  // sessions of that transfer are not kept. The rest is cache: other TLS
  // sessions, DNS answers (including those of a raw handle's CURLOPT_RESOLVE)
  // and the Public Suffix List are forgotten as well, and learned again.
  //
  // kFailedPrecondition: the share is closing or closed; or the call comes from
  //   a callback under a share's lock or, if this share ever had a gate, from
  //   inside the gate of another share.
  // kUnimplemented: libcurl did not accept a cookie that it had listed itself.
  //   No version is known to do that. The share is as it was.
  // kResourceExhausted: out of memory. DNS answers may be forgotten; apart from
  //   that the share is as it was.
  //
  // Source: https://curl.se/libcurl/c/CURLINFO_COOKIELIST.html,
  //         https://curl.se/libcurl/c/CURLOPT_HSTSWRITEFUNCTION.html
  absl::Status Flush(LockDataSet kinds);

  // Exports and imports: what the share knows, as strings for a later process
  // that does the same work. Where to keep them is up to the caller. They are
  // secrets: whoever has them can act as the clients of this share did. Other
  // threads may transfer, change and close the share meanwhile. None of the
  // four waits for a transfer; each waits for the gate, if there is one.
  //
  // An import adds to what is there; where there is another value, the import
  // replaces it. All four return:
  // kFailedPrecondition: the share is closing or closed, or does not share
  //   cookies or TLS sessions (Enable them); or the call comes from a callback
  //   under a share's lock or, if this share is gated, from inside the gate of
  //   another share.
  // kResourceExhausted: out of memory; an import may have added a part. Not
  //   returned if libcurl has no memory for its list of cookies, which it
  //   cannot report: that export is empty.
  // kInvalidArgument (imports): a line is not as an export of this library
  //   writes it or, for cookies, as libcurl does. Nothing was added. The
  //   message has the number of the line, but does not quote it.
  //
  // The text of cookies is in Netscape's format, one cookie a line, which
  // libcurl and other programs read and write. Session cookies are included;
  // an expired cookie is left out. An import also refuses some lines that
  // libcurl accepts, but sends to the wrong hosts or to none:
  //  - "Set-Cookie:" lines: without a Domain, libcurl sends them everywhere;
  //  - control bytes, in any field;
  //  - a cookie for all hosts of a public suffix ("co.uk") or, where libcurl
  //    has no Public Suffix List, of a name without a dot;
  //  - a cookie that breaks the rules of the prefixes __Host- and __Secure-.
  // An export contains none of these. If a public suffix has set a cookie with
  // its own name as Domain, it is exported for that host alone.
  //
  // Source: https://curl.se/libcurl/c/CURLINFO_COOKIELIST.html,
  //         https://curl.se/libcurl/c/CURLOPT_COOKIELIST.html
  absl::StatusOr<std::string> ExportCookies() const;
  absl::Status ImportCookies(absl::string_view lines);

  // The text of TLS sessions lets the first connections of the next process
  // resume. It is opaque, for this library alone, and best used with the same
  // libcurl and TLS library. libcurl exports no session with a client
  // certificate, drops expired ones, and keeps the sessions of at most 25
  // peers: importing more replaces some. An empty string imports nothing.
  //
  // Errors as above, and:
  // kUnimplemented: this libcurl cannot. It can from 8.12 on, if built with
  //   --enable-ssls-export (USE_SSLS_EXPORT).
  //
  // Source: https://curl.se/libcurl/c/curl_easy_ssls_export.html,
  //         https://curl.se/libcurl/c/curl_easy_ssls_import.html
  absl::StatusOr<std::string> ExportTlsSessions() const;
  absl::Status ImportTlsSessions(absl::string_view sessions);

  // The kinds that are shared; empty once the share is closed.
  LockDataSet lock_data() const { return core_->kinds(); }
  // Whether the share has a gate; false once it is closed. Enable and Disable
  // may change the answer.
  bool gated() const { return core_->gated(); }
  // The number of handles attached.
  size_t attached() const { return core_->attached(); }
  // True once the share is closed for good: nothing is attached, and the CURLSH
  // is freed.
  bool closed() const { return core_->closed(); }
  // The options as given to Create, with lock_data filled in. Valid as long as
  // the Share; not changed by Enable and Disable.
  const ShareOptions& options() const { return options_; }
  // What the share has done so far. Waits for no transfer.
  ShareStats stats() const;
  // "share #3", as error messages name it: the number is unique in the process.
  std::string name() const { return core_->name(); }

 private:
  friend class Easy;

  Share(ShareOptions options, std::shared_ptr<KindLocks> locks,
        std::shared_ptr<const ShareHandle> handle);

  const ShareOptions options_;
  const internal::RefPtr<internal::ShareCore> core_;
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_SHARE_H_
