// SPDX-License-Identifier: Apache-2.0
// A CURL* of your own, or of another wrapper, in a Share.
//
//   absl::StatusOr<Attachment> attachment = share->Attach(curl);
//   if (!attachment.ok()) return attachment.status();
//   {
//     absl::StatusOr<Attachment::Use> use = attachment->BeginUse();
//     if (!use.ok()) return use.status();
//     curl_easy_setopt(curl, CURLOPT_URL, url);
//   }
//   absl::Status done = attachment->Perform();
//   ...
//   attachment = ...;  // or its destructor: the handle leaves the share
//   curl_easy_cleanup(curl);
//
// Attachment             the membership; RAII
//   BeginUse             brackets setting options, curl_easy_getinfo, ...
//   Perform              a transfer, as curl_easy_perform
//   BeginTransfer        brackets a curl_easy_perform of your own
//   Cancel               ends the transfer in progress
//   Detach, attached, handle
//
// RULES. libcurl's handle has no lock, and Share::Close detaches handles from
// the thread that closes. So, while a CURL* is attached:
//  1. Every libcurl call on it happens inside a Use, a Transfer or Perform.
//     curl_easy_perform, and a multi handle that the CURL* is in, need a
//     Transfer from before curl_multi_add_handle to after
//     curl_multi_remove_handle.
//  2. CURLOPT_SHARE is the Attachment's alone.
//  3. The Attachment goes before curl_easy_cleanup(curl).
//  4. In a gated share (Share::gated()) a transfer is Perform(): BeginTransfer
//     refuses, as curl_easy_perform would keep every other thread out until it
//     is done. A Use keeps them out, too: keep it short. CURLOPT_HSTS_CTRL 0
//     must not be set where HSTS is shared: it frees the share's list.
//  5. CURLOPT_RESOLVE is no option for it: libcurl loads it into one DNS cache,
//     once, and it is lost when the handle comes into a share or leaves one.
//  6. What libcurl does not copy lives until the transfer that uses it has
//     ended, that is, until Perform() or Transfer::End() has returned: the body
//     of CURLOPT_POSTFIELDS, a CURLU, a MIME body, lists (CURLOPT_HTTPHEADER,
//     CURLOPT_CONNECT_TO, ...), CURLOPT_ERRORBUFFER, the data of callbacks.
//     Before the next transfer, put others or NULL in the place of what has
//     gone. In between nothing is read: no close, and no handle that takes a
//     connection over, touches any of it. Two things live longer: see 9 and 10.
//  7. CURLOPT_COOKIEJAR is set before the handle comes into a share of cookies
//     that is not gated: before libcurl 8.18, to set it touches the shared jar
//     without its lock. The file is written when the handle leaves those
//     cookies, by Detach, a close, or Share::Disable, and the option is unset
//     then; for cookies of its own after that, set it again. After
//     Share::Disable it has what the handle knew at its last transfer. A
//     CURLOPT_COOKIEFILE of NULL takes the handle out of the shared cookies, in
//     silence: not there.
//  8. CURLOPT_CONNECT_ONLY is for BeginTransfer and curl_easy_perform, as
//     Perform() would close the connection. From libcurl 8.22 on, once
//     curl_easy_send, curl_easy_recv or curl_ws_* has used that connection, the
//     handle cannot leave the share until its next transfer, which closes it:
//     Detach refuses, and Share::Close says so.
//  9. CURLOPT_DEBUGFUNCTION is called by the thread that transfers or uses the
//     handle, sometimes under a share's lock: see CALLBACKS in share.h. Its
//     data lives until CURLOPT_VERBOSE is off, or the handle has gone. No other
//     thread calls it, but the one that closes, for a handle that
//     cannot leave (rule 8), or whose CURLOPT_COOKIEJAR cannot be written.
// 10. CURLOPT_CLOSESOCKETFUNCTION and its data stay with each connection that
//     the handle opens, and are called when that is closed. In a share of
//     connections it may outlive the handle, and serve others, as may what
//     CURLOPT_OPENSOCKETFUNCTION and CURLOPT_SOCKOPTFUNCTION have made of its
//     socket. A handle with one of the three does not belong in a share of
//     connections; nor does one with CURLOPT_SSL_CTX_FUNCTION, whose settings
//     libcurl cannot compare. Options of a CURL* cannot be read, so that nobody
//     notices.
//
// CONNECTIONS. Where the share has connections (LockData::kConnect), Perform()
// uses them; a curl_easy_perform, or a multi handle, of your own uses
// connections of its own. What Perform() leaves, from libcurl 8.21 on:
//  - After a transfer that succeeded, was not redirected and asked for no
//    redirect, the connection is given back at once. That clears its response
//    headers (curl_easy_nextheader finds none: use CURLOPT_HEADERFUNCTION), and
//    leaves a text of this library's in CURLOPT_ERRORBUFFER, also for a
//    CURLOPT_DEBUGFUNCTION: "Could not parse CURLOPT_RESOLVE entry 'none'".
//    It clears CURLOPT_RESOLVE, too, and reads files of CURLOPT_COOKIEFILE
//    again.
//  - After any other transfer, and for credentials that belong to connections
//    (FTP and its like; Digest, NTLM, Negotiate), the handle keeps its
//    connection, and everything else, until its next transfer.
// Where the share has none, Perform() keeps the handle's own connections: as
// many idle ones as ConnectionOptions::max_idle of its share says (100 by
// default; at least one). CURLOPT_MAXCONNECTS does nothing there, as options of
// a CURL* cannot be read.
//
// The easy/ package does all of that by itself: prefer it for new code.
#ifndef CURLSHARE_SHARE_ATTACHMENT_H_
#define CURLSHARE_SHARE_ATTACHMENT_H_

#include <curl/curl.h>

#include <atomic>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/internal/raw_handle.h"
#include "curlshare/share/internal/ref_counted.h"

namespace curlshare {

// How Cancel() and Share::CloseNow() end a transfer of your own, and who may.
struct TransferOptions {
  // For a curl_easy_perform, where the handle has no progress function of its
  // own: the Transfer sets CURLOPT_XFERINFOFUNCTION, CURLOPT_XFERINFODATA and
  // CURLOPT_NOPROGRESS for its duration, and puts NULL, NULL and 1 back. A
  // handle with a progress function keeps it, and returns non-zero from it when
  // Transfer::cancelled().
  bool install_progress_function = false;

  // For a multi handle: called once when the transfer is told to end, to wake
  // the loop (curl_multi_wakeup, a write to an eventfd); the loop then asks
  // Transfer::cancelled(), takes the handle out and calls End. Called by the
  // thread that calls Cancel() or Share::CloseNow(), with no mutex of this
  // library held; must not block, throw, or end the transfer. From End on it is
  // not called, and no call of it is under way: what it uses lives until then.
  absl::AnyInvocable<void()> on_cancel;

  // Whether any thread may end the Transfer, or destroy it, and libcurl may
  // call back on any: for a loop that moves handles between threads. Who hands
  // it over sees to the happens-before. No Use nests in such a transfer, it
  // brackets every use of the handle itself; and a Share::Close without a
  // deadline from one of its callbacks, which would wait for itself, is not
  // refused.
  bool any_thread = false;
};

// Made by Share::Attach. Thread-compatible, but for Cancel and attached, which
// any thread may call at any time but while the Attachment is moved, assigned
// to or destroyed; a close of the share from any thread is safe at any time.
// Where the share closes, the handle leaves it by itself; the Attachment stays
// usable, its transfers then run without a share, or are refused where
// ShareOptions::after_close says so, until Detach.
//
// In a forked child, one that has transferred in the parent, or whose share
// has, is kFailedPrecondition in every method (attached() and Cancel() are
// false), and its destruction touches no socket; the CURL* must not be used
// there either, nor cleaned up. One that has not transferred works there. What
// the CURL* did before Share::Attach is not known here.
class Attachment {
 public:
  class Use;
  class Transfer;

  // An Attachment of nothing: every call returns kFailedPrecondition.
  Attachment() = default;
  Attachment(Attachment&& other) noexcept
      : handle_(std::move(other.handle_)), detached_(other.detached_) {}
  Attachment& operator=(Attachment&& other) noexcept {
    if (this != &other) {
      Release();
      handle_ = std::move(other.handle_);
      detached_ = other.detached_;
    }
    return *this;
  }
  // Takes the handle out of the share: at once or, within a Use or Transfer,
  // when that ends. Where it cannot leave (rule 8), the share counts it as
  // gone, but its CURLSH stays allocated for ever.
  ~Attachment() { Release(); }

  // Brackets any use of the CURL* but transfers: while it lives, no close
  // touches the handle. Keep it short: it may make others wait. Uses nest, and
  // are allowed in callbacks of the handle's own transfer.
  //
  // kFailedPrecondition while the handle is in transfer on another thread, and
  // in a callback that runs under a share's lock (CURLOPT_DEBUGFUNCTION,
  // CURLOPT_CLOSESOCKETFUNCTION).
  absl::StatusOr<Use> BeginUse();

  // Transfers, as curl_easy_perform would, with keep-alive. Can be cancelled
  // at any time, promptly; over a protocol that blocks inside libcurl (telnet:,
  // ldap:) only where CURLOPT_XFERINFOFUNCTION is set, to a function that asks
  // whether to go on.
  //
  // kCancelled after Cancel() or Share::CloseNow(); kFailedPrecondition inside
  // a callback of the same handle, a Use of this thread, or a callback that
  // runs under a share's lock; else what EasyStatus makes of the CURLcode.
  absl::Status Perform();
  // The same, but kCancelled also once `token` is cancelled: before it begins,
  // while it waits, or under way.
  absl::Status Perform(const CancelToken& token);

  // Brackets a transfer that you run yourself, by curl_easy_perform or on a
  // multi handle of yours: a close waits for its end, and can end it early only
  // as `options` say. Must end on the thread that began it, unless
  // options.any_thread. Errors as Perform(), before it starts;
  // kFailedPrecondition in a gated share: use Perform() there.
  //
  // From libcurl 8.21 on, to clean up a handle on another thread than that of
  // the multi handle which it was in last is a data race of libcurl's own,
  // unless that multi handle has gone.
  absl::StatusOr<Transfer> BeginTransfer(TransferOptions options = {});

  // Ends the transfer in progress: true if there was one. Safe to call from
  // any thread, also while another one calls Detach.
  bool Cancel();

  // Takes the handle out of the share; afterwards this is an Attachment of
  // nothing. kFailedPrecondition, changing nothing, where it has left already
  // (the share closed) and its transfers are not refused since, inside the
  // handle's own Use or Transfer, and where libcurl refuses (rule 8).
  absl::Status Detach();

  // False once the share has closed. May change at any time. Safe to call from
  // any thread, as Cancel.
  bool attached() const {
    return handle_ != nullptr && handle_->share() != nullptr;
  }
  // The CURL*, null for an Attachment of nothing.
  CURL* handle() const { return holds_nothing() ? nullptr : handle_->curl(); }

 private:
  friend class Share;
  explicit Attachment(internal::RefPtr<internal::RawHandle> handle)
      : handle_(std::move(handle)) {}
  bool holds_nothing() const { return handle_ == nullptr || detached_; }
  void Release();

  // Stays after Detach, since Cancel and attached may be using it just then.
  // They touch the record of who uses the CURL*, and not the CURL*, which may
  // be gone.
  internal::RefPtr<internal::RawHandle> handle_;
  bool detached_ = false;  // not for Cancel and attached
};

// Ends when it goes. Must go on the thread that began it: elsewhere a debug
// build ends the process, and ShareStats::wrong_threads counts it.
class Attachment::Use {
 public:
  Use(Use&&) noexcept = default;
  Use& operator=(Use&&) = delete;
  ~Use() {
    if (handle_ != nullptr) handle_->Leave();
  }
  CURL* handle() const { return handle_->curl(); }

 private:
  friend class Attachment;
  explicit Use(internal::RefPtr<internal::RawHandle> handle)
      : handle_(std::move(handle)) {}

  internal::RefPtr<internal::RawHandle> handle_;
};

// Ends by End(), or when it goes: on the thread that began it, but for
// TransferOptions::any_thread. Elsewhere a debug build ends the process, and
// ShareStats::wrong_threads counts it.
class Attachment::Transfer {
 public:
  Transfer(Transfer&& other) noexcept
      : handle_(std::move(other.handle_)),
        progress_installed_(other.progress_installed_),
        any_thread_(other.any_thread_),
        ended_(other.ended_.load(std::memory_order_relaxed)) {}
  Transfer& operator=(Transfer&&) = delete;
  ~Transfer() { Finish(); }

  // Null after End().
  CURL* handle() const { return over() ? nullptr : handle_->curl(); }
  // True once the transfer is to end; false after End(). Safe to call from any
  // thread, but while the Transfer is moved or destroyed; meant for progress
  // functions.
  bool cancelled() const { return !over() && handle_->cancelled(); }
  // Ends the transfer. Turns what curl_easy_perform returned into a Status,
  // kCancelled where it failed because it was cancelled.
  absl::Status End(CURLcode code);

 private:
  friend class Attachment;
  explicit Transfer(internal::RefPtr<internal::RawHandle> handle)
      : handle_(std::move(handle)) {}
  bool over() const {
    return handle_ == nullptr || ended_.load(std::memory_order_acquire);
  }
  void Finish();

  // Stays after End(), since another thread may be in cancelled() just then.
  internal::RefPtr<internal::RawHandle> handle_;
  bool progress_installed_ = false;
  bool any_thread_ = false;
  std::atomic<bool> ended_{false};
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_ATTACHMENT_H_
