// SPDX-License-Identifier: Apache-2.0
// A share that any number of threads can use: DNS answers, TLS sessions,
// cookies and more, kept in common by many libcurl handles.
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
//   Attach(CURL*)               puts a handle of your own in; Easy has Attach
//   Close, CloseNow             takes all handles out, frees the share
//   Enable, Disable             changes what is shared
//   Flush                       forgets what the share knows, kind by kind
//   CloseIdleConnections        for a timer, or when the network has changed
//   ExportCookies, ImportCookies, ExportTlsSessions, ImportTlsSessions
//                               across a restart of the process
//   lock_data, attached, closed, options, stats
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
// `closing` lasts from a Close until the last handle in use has left; that one
// frees the CURLSH.
//
// ERRORS come as absl::Status; nothing that returns one throws. When out of
// memory it is kResourceExhausted, and the share is as it was.
//
// CALLBACKS. libcurl runs your callbacks inside a transfer. From one, every
// method here may be called, with two exceptions that return
// kFailedPrecondition and change nothing: Close and CloseNow without a
// deadline while handles are attached, since they could wait for the very
// transfer that they are called from (the same holds within a Use or Transfer
// scope of this thread); and, in a callback that libcurl runs while it holds a
// share's lock (CURLOPT_DEBUGFUNCTION, CURLOPT_CLOSESOCKETFUNCTION),
// everything that takes such a lock: Attach, Close, CloseNow, Enable, Disable,
// Flush, and the exports and imports.
//
// Source: https://curl.se/libcurl/c/libcurl-share.html
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

// What becomes of the transfers of a handle once the share that it was in is
// closing, by Share::Close or the destruction of the Share.
enum class AfterClose {
  // They run without a share: new connections, no shared cookies, and out of
  // reach of a further CloseNow.
  kTransferAlone,
  // They return kFailedPrecondition, until the handle is attached to another
  // share, or Detach is called: for a service that shuts down.
  kRefuse,
};

struct ShareOptions {
  // What to share. Unset: DefaultLockData(): DNS answers, TLS sessions,
  // connections and the Public Suffix List. Cookies and HSTS, which carry
  // identity, only where asked for. A set may be empty: see Share::Enable.
  std::optional<LockDataSet> lock_data;

  // Whether one thread at a time is inside libcurl with this share; see
  // lock_safety.h. By default where the kinds need it on the running libcurl.
  Concurrency concurrency = Concurrency::kAuto;

  // What Close does while handles are attached. true: takes them out, waiting
  // for those in transfer. false ("strict"): returns kFailedPrecondition with
  // their number and changes nothing.
  bool detach_on_close = true;

  // Whether its handles transfer on without it. Those under way when the close
  // begins go on in any case.
  AfterClose after_close = AfterClose::kTransferAlone;

  // Limits on the connections that it keeps, where it shares
  // LockData::kConnect.
  ConnectionOptions connections;

  // Longest age of a DNS answer that a transfer uses, where the share has
  // LockData::kDns; the default is libcurl's. Positive; whole seconds, rounded
  // up; absl::InfiniteDuration(): no limit. Another than the default is set as
  // CURLOPT_DNS_CACHE_TIMEOUT of each handle that is attached. A name that was
  // not found, or to which no connection could be made, is forgotten by Perform
  // and Fetch, at most once a second, whatever its age.
  absl::Duration dns_cache_timeout = absl::Seconds(60);

  // Watches the lock callbacks; for tests and tracing. May be null.
  std::shared_ptr<LockObserver> lock_observer;

  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const ShareOptions& options) {
    sink.Append(options.ToString());
  }
  friend std::ostream& operator<<(std::ostream& os, const ShareOptions& o) {
    return os << o.ToString();
  }
};

// What a share did since it was created.
struct ShareStats {
  // libcurl's lock of the share itself, taken at each attach and detach.
  KindLockStats share_lock;
  // The lock of one kind; all zero for a kind that is not shared.
  const KindLockStats& lock(LockData kind) const {
    return locks[static_cast<size_t>(kind)];
  }

  ConnectionStats connections;  // all zero where they are not shared

  // What transfers by Perform and Fetch did to get their connections, whether
  // or not those are shared. A transfer that opens none, as it has one to use,
  // counts in none of these.
  //
  // Look-ups of names that libcurl began since its DNS cache had no answer; it
  // also begins one, and asks nobody, for an address and for "localhost". Of
  // each Easy whose native_handle() was never asked for: what others look up
  // is not known.
  // Source: https://curl.se/libcurl/c/CURLOPT_RESOLVER_START_FUNCTION.html
  uint64_t dns_lookups = 0;
  // Connections that the same handles opened without one: the answer was in the
  // cache, or they needed none (CURLOPT_UNIX_SOCKET_PATH).
  uint64_t dns_hits = 0;
  // Transfers, of any handle, that opened a connection with a handshake of TLS
  // (or SSH); one that opened several, for a redirect, counts once. Whether a
  // handshake resumed a session libcurl does not tell.
  // Source: https://curl.se/libcurl/c/CURLINFO_APPCONNECT_TIME_T.html
  uint64_t handshakes = 0;

  KindLockStats gate;     // all zero for a share that never was gated
  bool gated = false;     // now
  LockDataSet lock_data;  // what is shared now
  size_t attached = 0;    // handles attached now
  bool closed = false;
  // Calls of libcurl to the lock callbacks that had to be ignored: unlocks of
  // locks not held, and kinds that do not exist. Not an error of yours.
  uint64_t dropped_unlocks = 0;
  uint64_t unknown_kinds = 0;
  // Uses and Transfers of an Attachment that ended on another thread than they
  // began: an error of yours, after which that thread may be refused.
  uint64_t wrong_threads = 0;
  // Locks that libcurl took for a handle of this share while the thread was in
  // no Use, Transfer or call of this library: most likely libcurl was called on
  // an attached CURL* outside of them, which a close does not see. Not counted
  // while a Transfer of TransferOptions::any_thread is under way. Also counted
  // are calls on a CURL* that could not leave (attachment.h, rule 8).
  uint64_t outside_scopes = 0;

  std::array<KindLockStats, 8> locks;  // by the value of the LockData

  // One line, without a line break: "name=value", separated by blanks, the
  // names as above and in ConnectionStats. Of the locks of kinds, as
  // "dns.taken=1", those that were ever taken. More may come at the end.
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const ShareStats& stats) {
    sink.Append(stats.ToString());
  }
  friend std::ostream& operator<<(std::ostream& os, const ShareStats& stats) {
    return os << stats.ToString();
  }
};

// Safe for concurrent use without external synchronization, but for its
// destruction, which must come after every other call on it has returned.
// Handles and Attachments may outlive it.
//
// Whatever a thread did before its transfer ended happens before Close
// returns kOk on another.
//
// In a forked child, a share in which a handle was that has transferred in the
// parent is kFailedPrecondition in every method that returns a Status, the
// others answer as of a share with nothing in it, and its destruction touches
// no socket. One that has not transferred works there.
class Share {
 public:
  // kUnimplemented where the running libcurl lacks a kind that
  // options.lock_data asks for (the message says which); kInvalidArgument for
  // an options.concurrency that is none of the enumerators;
  // kResourceExhausted when out of memory.
  static absl::StatusOr<std::unique_ptr<Share>> Create(
      ShareOptions options = {});

  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  // Closes as Close(absl::InfinitePast()) would, but never fails: idle handles
  // leave now (where another thread is inside the gate, when it leaves that),
  // those in transfer when that ends, the last one out frees the CURLSH. In
  // strict mode nothing is taken out: the attached handles go on
  // sharing until the last of them has left or gone. Never blocks on a
  // transfer.
  ~Share();

  // Puts `curl` into the share. Its own cookies and HSTS entries are lost, as
  // CURLOPT_SHARE says. Where cookies are shared its cookie engine is turned
  // on, and stays so. `curl` is not owned and must outlive the Attachment; from
  // here on the rules of attachment.h apply to it.
  //
  // kInvalidArgument for null; kAlreadyExists where it is attached already,
  // with the share; kFailedPrecondition where this share is closing or closed,
  // or in a callback under a share's lock. The handle is then as it was.
  absl::StatusOr<Attachment> Attach(CURL* curl);

  // One transfer on `curl`, in the share for as long as that takes: Attach,
  // Attachment::Perform, and out again, for code that sets options in many
  // places. The rules of attachment.h apply to `curl` during this call alone;
  // before and after it is its owner's, as for curl_easy_perform. In a
  // share of connections the connection is kept for the next call, and rule 10
  // holds for longer than this one; in another share each call makes its own,
  // so that nothing of the CURL* outlives the call. CURLOPT_RESOLVE and
  // CURLOPT_COOKIEJAR (rules 5 and 7) are for handles that stay attached.
  //
  // Errors of Attach and of Attachment::Perform; kCancelled after CloseNow().
  // Once the share is closing: kFailedPrecondition or, with kTransferAlone, the
  // transfer runs by curl_easy_perform.
  absl::Status Perform(CURL* curl,
                       AfterClose after_close = AfterClose::kRefuse);

  // Takes every handle out and frees the CURLSH. Idle handles are taken out by
  // this call; a handle in use or in transfer leaves at the end of that, on
  // its own thread, and this call waits for it. From the moment that Close is
  // called the share takes no new handle and no new transfer. Handles are
  // detached, not closed: they stay usable, without a share, but for
  // AfterClose::kRefuse.
  //
  // kOk: closed, nothing attached, the CURLSH freed. Also when it was before.
  // kDeadlineExceeded: `deadline` passed with handles in use; the share stays
  //   closing, each leaves when it can, the last one frees the CURLSH, and a
  //   further Close waits again.
  // kFailedPrecondition, nothing changed: strict mode with handles attached;
  //   or called without a deadline from a callback or a Use, or under a
  //   share's lock (see CALLBACKS above).
  // kFailedPrecondition, the share closing: none but handles are left that
  //   libcurl, from 8.22 on, does not take out (CURLOPT_CONNECT_ONLY with an
  //   open connection: rule 8 of attachment.h). Returns at once then, whatever
  //   the deadline; the message says how many, and what to do. The last one to
  //   leave frees the CURLSH, and a further Close returns kOk.
  //
  // A handle takes the connections that it keeps along; idle ones are closed.
  //
  // Never blocks past `deadline` but for what is under way: detaching a handle,
  // which does no I/O but to write its CURLOPT_COOKIEJAR; and closing idle
  // connections, where libcurl says goodbye to the server of an FTP connection
  // and may wait for the answer. absl::InfinitePast() does not wait.
  absl::Status Close(absl::Time deadline = absl::InfiniteFuture());

  // As Close, and ends the transfers in flight: they return kCancelled. What
  // runs in a Transfer of your own ends when its progress function is next
  // called, within about a second.
  absl::Status CloseNow(absl::Time deadline = absl::InfiniteFuture());

  // Adds to, or removes from, what is shared: all of `kinds` or, on an error,
  // none. Allowed while handles are attached: each moves over at the start of
  // its next transfer. What the share knows of the kinds that it goes on with
  // is kept as Flush keeps it. A call that changes nothing does nothing. Waits
  // for the gate, if there ever was one, but for no transfer.
  //
  // Errors as for Create, and as for Flush.
  absl::Status Enable(LockDataSet kinds);
  absl::Status Disable(LockDataSet kinds);

  // Closes the idle connections that were not used for `older_than`, and says
  // how many that were. For a service's timer, as the share has no thread of
  // its own, and for when the network has changed: with absl::ZeroDuration()
  // none is left that a later transfer could use, but those in use now. A
  // connection goes together with the others of its multi handle: once the
  // newest of them is due. Waits for the gate, if there is one, but for no
  // transfer. From a callback that runs under a share's lock it does nothing.
  size_t CloseIdleConnections(
      absl::Duration older_than = absl::ZeroDuration()) {
    return core_->CloseIdleConnections(older_than);
  }

  // Forgets what the share knows of `kinds`, and keeps the rest, while handles
  // are attached and transfer: DNS answers (but those of CURLOPT_RESOLVE),
  // cookies, TLS sessions, connections, HSTS, the Public Suffix List. No
  // transfer that begins after it has returned uses what was forgotten; those
  // under way go on. What is not shared is passed over.
  //
  // libcurl can empty DNS answers, cookies and connections; of the other kinds
  // (and of DNS answers where it was built without FILE) the share makes a new
  // CURLSH, to which handles move at their next transfer. Then it keeps, as
  // Enable and Disable do, which make one too:
  //  - cookies, those that end with the session included. Not one without a
  //    domain, which libcurl does not list (only "Set-Cookie:" lines in
  //    CURLOPT_COOKIELIST make one), and, on libcurl 7.88, one with a tab in
  //    its name;
  //  - HSTS;
  //  - connections;
  //  - TLS sessions, where ExportTlsSessions can export them.
  // What a transfer under way learns then (a login, a logout) is known to the
  // others when it ends; but an HSTS entry that its server takes back stays
  // until it expires, and its TLS sessions are not kept. Other TLS sessions,
  // DNS answers (those of a raw handle's CURLOPT_RESOLVE included) and the list
  // are caches: they are forgotten besides, and learned again.
  //
  // Waits for the gate, if there ever was one, but for no transfer.
  //
  // kFailedPrecondition where the share is closing or closed, in a callback
  //   under a share's lock, or, if it ever had a gate, inside that of another
  //   share;
  // kUnimplemented where libcurl does not take back a cookie that it has
  // listed,
  //   which none is known to do; the share is as it was;
  // kResourceExhausted when out of memory: DNS answers may be forgotten, and
  //   else the share is as it was.
  //
  // Source: https://curl.se/libcurl/c/CURLINFO_COOKIELIST.html,
  //         https://curl.se/libcurl/c/CURLOPT_HSTSWRITEFUNCTION.html
  absl::Status Flush(LockDataSet kinds);

  // What the share knows, for a later process that does the same work: strings
  // to keep in a file, or wherever it may be. They are secrets: whoever has
  // them can act as the clients of this share did. Safe for concurrent use,
  // also with transfers, changes and closes, as every method is; none waits for
  // a transfer, but each for the gate, if there is one.
  //
  // All four are kFailedPrecondition where the share is closing or closed, or
  // does not share cookies or TLS sessions (Enable them), or in a callback
  // under a share's lock or inside the gate of another share, where this one is
  // gated; kResourceExhausted when out of memory: an import may then have added
  // a part. (libcurl cannot say that it has no memory for a list of cookies:
  // that export has none.)
  //
  // An import adds to what is there, and replaces what it has another value
  // for. kInvalidArgument, with the number of the line and nothing added, where
  // a line is not as an export of this library, and for cookies libcurl, writes
  // it. The message does not quote the line.
  //
  // Cookies: a line each, in Netscape's format, which libcurl and others read
  // and write, those that end with the session included. One that has expired
  // is left out. Refused is also what libcurl takes, and gives to the wrong
  // hosts or to none:
  //  - "Set-Cookie:" lines: without a Domain, libcurl sends them everywhere;
  //  - control bytes, in whatever field;
  //  - a cookie for all hosts of a public suffix ("co.uk"), or, where libcurl
  //    has no Public Suffix List, of a name without a dot;
  //  - what breaks the rules of the prefixes __Host- and __Secure-.
  // An export has none of these. A cookie that a public suffix has set for
  // itself, with its own name as Domain, is exported for that host alone.
  //
  // Source: https://curl.se/libcurl/c/CURLINFO_COOKIELIST.html,
  //         https://curl.se/libcurl/c/CURLOPT_COOKIELIST.html
  absl::StatusOr<std::string> ExportCookies() const;
  absl::Status ImportCookies(absl::string_view lines);

  // TLS sessions, so that the first connections of the next process resume:
  // opaque, for this library alone, and best for the same libcurl and TLS
  // library. kUnimplemented where libcurl cannot: it can from 8.12 on, where
  // built with --enable-ssls-export (USE_SSLS_EXPORT).
  //
  // libcurl exports no session with a client certificate, drops what has
  // expired, and keeps those of 25 peers at most: more push each other out. An
  // empty string imports nothing.
  //
  // Source: https://curl.se/libcurl/c/curl_easy_ssls_export.html,
  //         https://curl.se/libcurl/c/curl_easy_ssls_import.html
  absl::StatusOr<std::string> ExportTlsSessions() const;
  absl::Status ImportTlsSessions(absl::string_view sessions);

  // What is shared; nothing once closed.
  LockDataSet lock_data() const { return core_->kinds(); }
  // Whether it has a gate; false once closed. Changes with Enable and Disable.
  bool gated() const { return core_->gated(); }
  // The number of handles attached.
  size_t attached() const { return core_->attached(); }
  // True once closed for good: nothing attached, the CURLSH freed.
  bool closed() const { return core_->closed(); }
  // As given to Create, lock_data filled in.
  const ShareOptions& options() const { return options_; }
  ShareStats stats() const;
  // "share #3": a number unique in the process, as error messages name it.
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
