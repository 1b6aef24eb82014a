// SPDX-License-Identifier: Apache-2.0
// Brings a CURL* of your own, or of another wrapper, into a Share. (For new
// code prefer Easy, "curlshare/easy/easy.h": it keeps the rules below itself.)
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
// Attachment             the membership of a CURL* in a Share; RAII
//   BeginUse             brackets curl_easy_setopt, curl_easy_getinfo, ...
//   Perform              a transfer, as curl_easy_perform
//   BeginTransfer        brackets a curl_easy_perform or a multi handle of your
//                        own
//   Cancel               ends the transfer in progress
//   Detach, attached, handle
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

// How Cancel() and Share::CloseNow() can end a transfer that you run yourself,
// and which threads take part in it. Thread-compatible; BeginTransfer takes it
// over.
struct TransferOptions {
  // For a curl_easy_perform on a handle without a progress function. The
  // Transfer sets CURLOPT_XFERINFOFUNCTION, CURLOPT_XFERINFODATA and
  // CURLOPT_NOPROGRESS while it lasts; at its end it sets NULL, NULL and 1. If
  // the handle has a progress function, leave this false, and return non-zero
  // from that function once Transfer::cancelled() is true.
  bool install_progress_function = false;

  // For a multi handle. Called once, when the transfer is told to end, to wake
  // the loop up (curl_multi_wakeup, a write to an eventfd). The loop then asks
  // Transfer::cancelled(), removes the handle from the multi handle, and calls
  // End. The thread that calls Cancel() or Share::CloseNow() makes this call,
  // with no mutex of this library held. It must not block, throw, or end the
  // transfer. Once End has returned, it is not called any more and no call of
  // it is under way: until then, whatever it uses must live.
  absl::AnyInvocable<void()> on_cancel;

  // Whether any thread may end or destroy the Transfer, and libcurl may call
  // back on any thread: for a loop that moves handles between threads. You
  // provide the happens-before when you hand the Transfer to another thread.
  // Two things are different in such a transfer. No Use nests in it: the
  // Transfer itself brackets every use of the handle. And Share::Close without
  // a deadline is not refused in one of its callbacks, though it would wait for
  // itself.
  bool any_thread = false;
};

// The membership of one CURL* in a Share; made by Share::Attach. The caller
// keeps the ownership of the CURL*, which must outlive the Attachment (rule 3).
// The Attachment may outlive the Share.
//
// Thread-compatible, with two exceptions: any thread may call Cancel and
// attached at any time, except while the Attachment is moved, assigned to or
// destroyed. Any thread may close the share at any time.
//
// When the share closes, the handle leaves it by itself. The Attachment stays
// usable. Its transfers then run without a share or, if
// ShareOptions::after_close says so, are refused until Detach.
//
// RULES. A CURL* has no lock, and Share::Close detaches it on the thread that
// closes. Therefore, as long as a CURL* is attached:
//
//  1. Make every libcurl call on it within a Use, a Transfer or Perform. A
//     curl_easy_perform of your own needs a Transfer. So does a multi handle:
//     the Transfer begins before curl_multi_add_handle and ends after
//     curl_multi_remove_handle.
//  2. Do not set CURLOPT_SHARE: it belongs to the Attachment.
//  3. Destroy the Attachment (or call Detach) before curl_easy_cleanup(curl).
//  4. In a gated share (Share::gated()) transfer by Perform(). BeginTransfer
//     refuses there, since a curl_easy_perform would keep every other thread
//     out of the share until it is done. A Use keeps them out as well: keep it
//     short. Where HSTS is shared, do not set CURLOPT_HSTS_CTRL to 0: before
//     libcurl 8.21 that frees the share's list, from 8.21 on it takes the
//     handle out of the shared HSTS without an error.
//  5. Do not rely on CURLOPT_RESOLVE. libcurl loads its addresses only once,
//     into one DNS cache: they are lost when the handle enters or leaves a
//     share.
//  6. Keep alive what libcurl does not copy, until the transfer that uses it
//     has ended: until Perform() or Transfer::End() has returned. That is the
//     body of CURLOPT_POSTFIELDS, a CURLU, a MIME body, lists
//     (CURLOPT_HTTPHEADER, CURLOPT_CONNECT_TO, ...), CURLOPT_ERRORBUFFER and
//     the data of callbacks. Before the next transfer, replace what you have
//     freed by something else or by NULL. Between transfers nothing reads it:
//     neither a close, nor another handle that takes over a connection. Rules 9
//     and 10 name two things that must live longer.
//  7. Set CURLOPT_COOKIEJAR before you attach the handle to an ungated share of
//     cookies: before libcurl 8.18, setting it touches the shared jar without
//     the lock. The file is written when the handle leaves these cookies, by
//     Detach, by a close or by Share::Disable. The option is then unset; set it
//     again if cookies of the handle's own are to be written later. After
//     Share::Disable the file has the cookies as of the handle's last transfer.
//     Do not set CURLOPT_COOKIEFILE to NULL: that takes the handle out of the
//     shared cookies without an error.
//  8. For CURLOPT_CONNECT_ONLY use BeginTransfer and curl_easy_perform, since
//     Perform() would close the connection. From libcurl 8.22 on, a handle
//     whose connection curl_easy_send, curl_easy_recv or curl_ws_* has used
//     cannot leave the share until its next transfer, which closes that
//     connection. Until then Detach returns an error, and Share::Close reports
//     the handle.
//  9. Keep the data of CURLOPT_DEBUGFUNCTION alive until CURLOPT_VERBOSE is off
//     or the CURL* is cleaned up. libcurl calls the function on the thread that
//     transfers or uses the handle, sometimes under a share's lock (see
//     CALLBACKS in share.h). No other thread calls it, with one exception: the
//     thread that closes the share, for a handle that cannot leave (rule 8) or
//     whose CURLOPT_COOKIEJAR cannot be written.
// 10. Do not attach a handle with CURLOPT_CLOSESOCKETFUNCTION,
//     CURLOPT_OPENSOCKETFUNCTION or CURLOPT_SOCKOPTFUNCTION to a share of
//     connections. The first, with its data, stays with each connection that
//     the handle opens and is called when that connection closes; what the
//     other two have made of the socket stays, too. In a share of connections
//     the connection may outlive the handle and serve other handles. Nor attach
//     one with CURLOPT_SSL_CTX_FUNCTION: libcurl cannot compare what that
//     function sets, so that other handles could get the connection. The
//     options of a CURL* cannot be read: this library does not notice.
//
// CONNECTIONS. If the share shares connections (LockData::kConnect), Perform()
// uses them. A curl_easy_perform or a multi handle of your own uses connections
// of its own. From libcurl 8.21 on, what Perform() leaves in the CURL* depends
// on the transfer:
//  - After a transfer that succeeded, was not redirected and asked for no
//    redirect, the connection goes back to the share at once. That clears the
//    response headers (curl_easy_nextheader finds none: use
//    CURLOPT_HEADERFUNCTION) and CURLOPT_RESOLVE; it reads the files of
//    CURLOPT_COOKIEFILE again; and it leaves a text of this library's in
//    CURLOPT_ERRORBUFFER, which a CURLOPT_DEBUGFUNCTION gets, too: "Could not
//    parse CURLOPT_RESOLVE entry 'none'".
//  - After any other transfer, and with credentials that belong to a connection
//    (FTP and similar protocols; Digest, NTLM, Negotiate), the handle keeps its
//    connection, and everything else, until its next transfer.
// If the share does not share connections, Perform() keeps the handle's own
// ones: as many idle connections as ConnectionOptions::max_idle of the share
// says (100 by default; at least one). CURLOPT_MAXCONNECTS has no effect there,
// since options of a CURL* cannot be read.
//
// FORK. If the handle, or its share, has transferred in the parent, then in a
// forked child every method returns kFailedPrecondition (attached() and
// Cancel() return false), and destruction touches no socket. Do not use the
// CURL* there either, nor clean it up. A handle that has not transferred works
// in the child, if its share has not. What the CURL* did before Share::Attach
// is not known here.
class Attachment {
 public:
  class Use;
  class Transfer;

  // An Attachment of nothing, as after a move or Detach: every call that
  // returns a Status returns kFailedPrecondition. Assignment first releases the
  // handle that this Attachment had, as the destructor does.
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
  // when that ends. If the handle cannot leave (rule 8), the share counts it as
  // gone, but the CURLSH stays allocated until the process ends.
  ~Attachment() { Release(); }

  // Brackets any use of the CURL* except transfers: as long as the Use lives,
  // no close touches the handle. Keep it short, since other threads may wait
  // for it. Uses nest, and are allowed in callbacks of the handle's own
  // transfer. Waits for a Use on another thread and, in a gated share, for the
  // gate.
  //
  // kFailedPrecondition: the handle is in transfer on another thread; or the
  //   call comes from a callback that runs under a share's lock
  //   (CURLOPT_DEBUGFUNCTION, CURLOPT_CLOSESOCKETFUNCTION) or, in a gated
  //   share, from inside the gate of another share.
  absl::StatusOr<Use> BeginUse();

  // Makes one transfer, as curl_easy_perform does; connections are kept for the
  // next one. Cancel() and Share::CloseNow() end it promptly. There is one
  // exception: a protocol that blocks inside libcurl (telnet:, ldap:) notices
  // only if CURLOPT_XFERINFOFUNCTION is set to a function that decides whether
  // to go on.
  //
  // kCancelled: Cancel() or Share::CloseNow() has ended it.
  // kFailedPrecondition: the call comes from a callback of the same handle,
  //   from a Use of it on this thread, or from a callback under a share's lock;
  //   or the handle is in transfer on another thread; or the share has closed
  //   with AfterClose::kRefuse. In a gated share also: the call comes from
  //   inside the gate of another share.
  // Otherwise the error that EasyStatus makes of the CURLcode (curl_status.h).
  absl::Status Perform();
  // The same, but also returns kCancelled once `token` is cancelled: before the
  // transfer begins, while it waits for its turn, or while it is under way.
  absl::Status Perform(const CancelToken& token);

  // Brackets a transfer that you run yourself, by curl_easy_perform or on a
  // multi handle of yours. A close waits for its end, and can end it early only
  // as `options` provide for. The Transfer must end on the thread that began
  // it, unless options.any_thread is true.
  //
  // Returns the errors that Perform() returns before it starts.
  // kFailedPrecondition also in a gated share: use Perform() there.
  //
  // Mind where you clean up. From libcurl 8.21 on, curl_easy_cleanup of a
  // handle that was in a multi handle, on another thread than that multi
  // handle's, is a data race inside libcurl, unless that multi handle has been
  // cleaned up.
  absl::StatusOr<Transfer> BeginTransfer(TransferOptions options = {});

  // Tells the transfer in progress to end; false if there is none. Does not
  // wait for its end. Safe to call from any thread, also while another thread
  // calls Detach.
  bool Cancel();

  // Takes the handle out of the share. Afterwards this is an Attachment of
  // nothing, and the owner may free the CURL*. After a close with
  // AfterClose::kRefuse, Detach ends the refusal.
  //
  // kFailedPrecondition, and nothing has changed: the share has closed, so that
  //   the handle has left already (except after a refusal, as above); or the
  //   call comes from the handle's own Use or Transfer, or from a callback that
  //   must not make it (as for Perform); or libcurl refuses (rule 8).
  absl::Status Detach();

  // Whether the handle is in the share; false once the share has closed. May
  // change at any time. Safe to call from any thread, also while another thread
  // calls Detach.
  bool attached() const {
    return handle_ != nullptr && handle_->share() != nullptr;
  }
  // The CURL*; null for an Attachment of nothing.
  CURL* handle() const { return holds_nothing() ? nullptr : handle_->curl(); }

 private:
  friend class Share;
  explicit Attachment(internal::RefPtr<internal::RawHandle> handle)
      : handle_(std::move(handle)) {}
  bool holds_nothing() const { return handle_ == nullptr || detached_; }
  void Release();

  // Kept after Detach, since another thread may be in Cancel or attached just
  // then. These two read the record of who uses the CURL*, never the CURL*
  // itself, which its owner may have freed.
  internal::RefPtr<internal::RawHandle> handle_;
  bool detached_ = false;  // not read by Cancel and attached
};

// The right to pass the CURL* to libcurl, until this object is destroyed; made
// by Attachment::BeginUse. Keeps the record of the handle alive, not the CURL*.
//
// Not thread-safe: must be destroyed on the thread that began it. On another
// thread, a debug build ends the process; a release build counts the error in
// ShareStats::wrong_threads.
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

// The right to run one transfer on the CURL*, until End() or destruction; made
// by Attachment::BeginTransfer. Keeps the record of the handle alive, not the
// CURL*.
//
// Not thread-safe, except cancelled(): must end on the thread that began it,
// unless TransferOptions::any_thread is true. On another thread, a debug build
// ends the process; a release build counts the error in
// ShareStats::wrong_threads.
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
  // True once the transfer has been told to end; false after End(). For
  // progress functions and event loops. Safe to call from any thread, except
  // while the Transfer is moved or destroyed.
  bool cancelled() const { return !over() && handle_->cancelled(); }
  // Ends the bracket. `code` is what curl_easy_perform returned, or
  // CURLMsg::data.result of the multi handle. Returns it as a Status:
  // kCancelled if the transfer failed after it was told to end, else what
  // EasyStatus makes of it; kFailedPrecondition if it has ended already.
  absl::Status End(CURLcode code);

 private:
  friend class Attachment;
  explicit Transfer(internal::RefPtr<internal::RawHandle> handle)
      : handle_(std::move(handle)) {}
  bool over() const {
    return handle_ == nullptr || ended_.load(std::memory_order_acquire);
  }
  void Finish();

  // Kept after End(), since another thread may be in cancelled() just then.
  internal::RefPtr<internal::RawHandle> handle_;
  bool progress_installed_ = false;
  bool any_thread_ = false;
  std::atomic<bool> ended_{false};
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_ATTACHMENT_H_
