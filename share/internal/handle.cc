// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/handle.h"

#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/attached_handles.h"
#include "curlshare/share/internal/cancel_state.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/connection_references.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/kept_forever.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/origin.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/internal/transfer.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share_handle.h"

// The life of a handle's multi handle. All of this is for the holder alone.
//
//  - Before a transfer (ObtainMulti): the handle uses the multi handle that it
//    keeps, if that has a connection to the origin. Otherwise it takes one from
//    the pool, or makes one.
//  - In the transfer (RunOn): a multi handle that was replaced goes back to the
//    pool once libcurl has begun on the transfer. From libcurl 8.21 on a handle
//    counts references, without atomics, to records of the connections it has
//    used (connection_references.h). It drops them when its next transfer
//    begins. Only then may another thread have those connections.
//  - After a transfer (KeepOrGiveBack): the handle keeps the multi handle,
//    gives it back, or closes it.
//  - Meanwhile another handle may take over a kept multi handle (LetGo,
//    Surrender). The pool then holds this handle, so that the code runs as its
//    holder.

namespace curlshare::internal {
namespace {

// Whether a transfer that ended with `code` casts doubt on the other
// connections to the same host: the host, or the way to it, may have gone.
bool CastsDoubt(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

// The Status of a timeout that passed before libcurl began on the transfer.
absl::Status WaitTimedOut(absl::string_view message) {
  return WithRequestSent(
      WithEasyCode(Error(absl::StatusCode::kDeadlineExceeded, message),
                   CURLE_OPERATION_TIMEDOUT),
      false);
}

long GetLong(CURL* curl, CURLINFO info) {
  long value = 0;
  return curl_easy_getinfo(curl, info, &value) == CURLE_OK ? value : 0;
}

const char* GetText(CURL* curl, CURLINFO info) {
  const char* value = nullptr;
  return curl_easy_getinfo(curl, info, &value) == CURLE_OK ? value : nullptr;
}

}  // namespace

// Handles are allocated by the thousands; their members are ordered for that:
// see HandleHolder.
static_assert(sizeof(void*) > 8 || sizeof(Handle) <= 128);

Handle::~Handle() = default;

// ---- What it keeps

void Handle::SetMulti(MultiHandle* multi) {
  absl::MutexLock lock(&mu_);
  multi_ = multi;
}

void Handle::ChangeMulti(MultiHandle* multi) {
  SetMulti(multi);
  // If DNS answers are not shared, libcurl keeps them in the multi handle: the
  // new one lacks the addresses of CURLOPT_RESOLVE.
  if (!Shares(LockData::kDns)) ReloadResolve();
}

std::unique_ptr<MultiHandle> Handle::TakeMulti() {
  absl::MutexLock lock(&mu_);
  return std::unique_ptr<MultiHandle>(std::exchange(multi_, nullptr));
}

void Handle::GiveBackConnections() {
  // An Easy may go on transferring outside of the share, and keeps its
  // connections for that. A raw handle's transfers are its owner's after this.
  // From 8.21 on it still counts references to its connections, so that those
  // go with it.
  MultiHandle* const multi = HolderMulti();
  if (!OwnsCurl() && multi != nullptr && multi->pooled &&
      ConnectionReferences() == References::kNone) {
    HolderShare()->pool().GiveBack(TakeMulti());
  }
}

void Handle::LeavePool() {
  MultiHandle* const multi = HolderMulti();
  if (multi != nullptr && multi->pooled) HolderShare()->pool().Remove(multi);
}

OriginKey Handle::CurrentOrigin() const {
  const char* url = this->url();
  // libcurl has no call that reads CURLOPT_URL. CURLINFO_EFFECTIVE_URL is the
  // URL that was set, or the end of the newest transfer's redirects if none was
  // set since. The key is only a hint, so that is good enough.
  if (url == nullptr) url = GetText(curl_, CURLINFO_EFFECTIVE_URL);
  if (url == nullptr) return 0;
  MultiHandle* const multi = HolderMulti();
  if (multi == nullptr) return OriginOf(url);
  // Most transfers go to the same origin as the previous one. Then it is enough
  // to compare the known beginning: the length of the URL is not needed.
  const size_t known = multi->origin_size;
  if (ABSL_PREDICT_TRUE(known > 0 &&
                        std::strncmp(url, multi->origin_text.data(), known) ==
                            0 &&
                        std::strchr("/?#", url[known]) != nullptr)) {
    return multi->origin_key;
  }
  const absl::string_view text = url;
  multi->origin_key = OriginOf(text);
  multi->origin_size = OriginSize(text);
  if (multi->origin_size > multi->origin_text.size()) multi->origin_size = 0;
  std::copy_n(url, multi->origin_size, multi->origin_text.begin());
  return multi->origin_key;
}

bool Handle::LetGo() {
  // Up to 8.20 nothing is counted: the connections can go to another thread.
  if (ConnectionReferences() == References::kNone) return true;
  // The owner may just have made it so, without a chance to call UpdateLends.
  if (!LetsGoAtOnce()) {
    if (HolderLends() == Lends::kYes) SetLends(Lends::kNo);
    return false;
  }
  bool let_go = false;
  const bool saved = SaveAnswers();
  if (saved) {
    BeforeLettingGo();
    let_go = LetGoOfConnections(curl_, HolderMulti()->get(), OwnsCurl());
    AfterLettingGo();
  }
  if (let_go) return true;
  if (HolderLends() == Lends::kYes) SetLends(Lends::kNo);
  // The CURL* may be in the multi handle still, and its references are not
  // dropped: the multi handle can go to nobody.
  if (saved) {
    HolderShare()->pool().Close(TakeMulti(), ConnectionPool::Reason::kNone);
  }
  return false;
}

void Handle::Surrender() { SetMulti(nullptr); }

// ---- Before a transfer

bool Handle::NeedsOther(ConnectionPool& pool, OriginKey key) {
  MultiHandle* const own = HolderMulti();
  if (own == nullptr) return true;
  if (!own->pooled) {
    // The multi handle comes from a time in which this handle was in no share
    // of connections. From 8.21 on this library does not know which references
    // the handle counts to those connections, so they do not go into a pool.
    if (own->tainted || own->partition != partition() ||
        ConnectionReferences() != References::kNone) {
      TakeMulti().reset();
      return true;
    }
    pool.Add(own, this);
  }
  // The pool was flushed: no transfer may use a connection from before.
  if (ABSL_PREDICT_FALSE(pool.IsFlushed(*own))) {
    pool.Close(TakeMulti(), ConnectionPool::Reason::kIdle);
    return true;
  }
  // The fast path: nothing here is written by other threads.
  const int64_t now = CoarseNow();
  if (ABSL_PREDICT_TRUE(pool.Fits(*own, key, now) &&
                        own->partition == partition())) {
    return false;
  }
  const ConnectionPool::Reason reason = pool.WhyTooOld(*own, key, now);
  if (reason != ConnectionPool::Reason::kNone) {
    pool.Close(TakeMulti(), reason);
    return true;
  }
  // A handle that others cannot take connections from keeps its own multi
  // handle. Otherwise it could not give that back once it has got another.
  return HolderLends() != Lends::kNever &&
         ConnectionReferences() != References::kUnknown;
}

absl::Status Handle::ObtainMulti(ConnectionPool* pool, OriginKey key,
                                 std::unique_ptr<MultiHandle>& previous) {
  if (pool == nullptr) return ObtainOwnMulti(previous);
  if (!NeedsOther(*pool, key)) return absl::OkStatus();
  MultiHandle* own = HolderMulti();
  // The handle's partition has changed since it got that multi handle.
  const bool own_fits = own == nullptr || own->partition == partition();
  MultiHandle* other =
      pool->Borrow(key, partition(), this, own_fits ? own : nullptr);
  if (other == nullptr) {
    absl::StatusOr<std::unique_ptr<MultiHandle>> made = MultiHandle::Create();
    if (!made.ok()) return made.status();
    absl::Status named = NoThrow("Handle", [&] {
      (*made)->partition = std::string(partition());
      return absl::OkStatus();
    });
    if (!named.ok()) return named;
    other = made->release();
    pool->Add(other, this);
  }
  if (other != own) {
    previous = TakeMulti();
    ChangeMulti(other);
  }
  other->SetMaxConnections(pool->max_connections_each());
  return absl::OkStatus();
}

long Handle::max_connects() const {
  const ShareCore* const share = HolderShare();
  const int most = share == nullptr ? ConnectionOptions().max_idle
                                    : share->pool().max_idle();
  return std::max(most, 1);  // libcurl takes 0 for its own default
}

// With no pool (the handle shares no connections, or its options forbid it):
// the handle uses a multi handle that nobody else will ever have.
absl::Status Handle::ObtainOwnMulti(std::unique_ptr<MultiHandle>& previous) {
  MultiHandle* own = HolderMulti();
  if (own != nullptr && own->pooled) {
    previous = TakeMulti();
    own = nullptr;
  }
  if (own == nullptr) {
    absl::StatusOr<std::unique_ptr<MultiHandle>> made = MultiHandle::Create();
    if (!made.ok()) {
      SetMulti(previous.release());
      return made.status();
    }
    own = made->release();
    ChangeMulti(own);
  }
  own->tainted |= wants_own_connections() || own->partition != partition();
  own->SetMaxConnections(max_connects());
  return absl::OkStatus();
}

// ---- A transfer

// One transfer as seen from its CancelToken. The token calls OnCancel with its
// own mutex held.
//
// Between Begin and End this handle is in the transfer that the token is for,
// so that Handle::Cancel() cannot hit another transfer. Before Begin, only a
// wait for the gate has to be ended: a token that is cancelled after that wait
// is noticed by Begin.
class Handle::TokenListener final : private CancelState::Listener {
 public:
  TokenListener(Handle& handle, const CancelToken* token)
      : handle_(handle),
        state_(token == nullptr ? nullptr : token->state_),
        may_enter_(state_ == nullptr || state_->Add(*this)) {}
  TokenListener(const TokenListener&) = delete;
  TokenListener& operator=(const TokenListener&) = delete;
  ~TokenListener() override { End(); }

  bool may_enter() const { return may_enter_; }
  const std::atomic<bool>* stop() const {
    return state_ == nullptr ? nullptr : &state_->flag();
  }
  bool Begin() { return state_ == nullptr || state_->Begin(*this); }
  void End() {
    if (state_ != nullptr && may_enter_) state_->Remove(*this);
    state_ = nullptr;
  }

  static absl::Status TooEarly() {
    return Error(absl::StatusCode::kCancelled,
                 "the transfer's CancelToken was cancelled before it began");
  }

 private:
  void OnCancel(bool begun) override {
    if (begun) {
      (void)handle_.Cancel();
    } else if (const RefPtr<ShareCore> share = handle_.share();
               share != nullptr) {
      (void)share->CancelGateWaits(&handle_, stop());
    }
  }

  Handle& handle_;
  // The token itself may go in a callback of the transfer. Null: none.
  RefPtr<CancelState> state_;
  const bool may_enter_;
};

absl::Status Handle::RunEntered(
    const CancelToken* token,
    absl::FunctionRef<absl::Status(absl::Duration waited)> transfer) {
  if (token != nullptr && token->state_ == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted,
                 "the CancelToken was made without memory");
  }
  // The owner may go in a callback of its own transfer.
  const RefPtr<Handle> self(this);
  TokenListener listener(*this, token);
  if (!listener.may_enter()) return TokenListener::TooEarly();
  absl::Duration waited;
  absl::Status status = Enter(Mode::kTransfer, &waited, listener.stop());
  if (!status.ok()) return status;
  status = listener.Begin() ? transfer(waited) : TokenListener::TooEarly();
  // Before the Leave: after it the handle may be in another transfer, which
  // this token must not cancel.
  listener.End();
  Leave();
  return status;
}

absl::Status Handle::Perform(const CancelToken* token) {
  return RunEntered(token,
                    [this](absl::Duration waited) { return Drive(waited); });
}

absl::Status Handle::Drive(absl::Duration waited) {
  ConnectionPool* const pool =
      Shares(LockData::kConnect) && !wants_own_connections()
          ? &HolderShare()->pool()
          : nullptr;
  const OriginKey key = pool == nullptr ? 0 : CurrentOrigin();
  const bool limited = pool != nullptr && pool->limits_transfers();
  if (ABSL_PREDICT_TRUE(!limited && waited == absl::ZeroDuration())) {
    return RunOn(pool, key);
  }
  return RunInTurn(pool, key, waited);
}

absl::Status Handle::RunInTurn(ConnectionPool* pool, OriginKey key,
                               absl::Duration waited) {
  const absl::Time begin = absl::Now() - waited;
  // A thread that holds another handle does not wait: it could be waiting for
  // its own other transfer to end.
  if (pool == nullptr || key == 0 || !pool->limits_transfers() ||
      GetThisThread().handles_held > 1) {
    return RunWithin(pool, key, begin);
  }
  const absl::Duration timeout = timeout_ms() > 0
                                     ? absl::Milliseconds(timeout_ms())
                                     : absl::InfiniteDuration();
  // Inside the gate this thread must not wait for a transfer whose thread may
  // want to come in.
  const bool paused = gate_ != nullptr && gate_->PauseGate();
  const ConnectionPool::Slot slot =
      pool->BeginTransfer(key, begin + timeout, [this] { return cancelled(); });
  if (paused) gate_->ResumeGate();
  switch (slot) {
    case ConnectionPool::Slot::kCancelled:
      return TransferStatus(CURLE_ABORTED_BY_CALLBACK);
    case ConnectionPool::Slot::kTimedOut:
      return WaitTimedOut(
          "the transfer's timeout passed while it waited for others to the "
          "same host to end (max_transfers_per_host)");
    case ConnectionPool::Slot::kHave:
    case ConnectionPool::Slot::kUncounted:
      break;
  }
  absl::Status status = RunWithin(pool, key, begin);
  // Hands the connections to the transfer that comes next. The pool could not
  // take them from this handle, which is not idle yet.
  if (MultiHandle* const multi = HolderMulti();
      multi != nullptr && multi->pooled && HolderLends() == Lends::kYes &&
      pool->HasWaiters(key) && LetGo()) {
    pool->GiveBack(TakeMulti());
  }
  if (slot == ConnectionPool::Slot::kHave) pool->EndTransfer(key);
  return status;
}

absl::Status Handle::RunWithin(ConnectionPool* pool, OriginKey key,
                               absl::Time begin) {
  const long timeout = timeout_ms();
  if (timeout <= 0) return RunOn(pool, key);
  const absl::Duration left =
      absl::Milliseconds(timeout) - (absl::Now() - begin);
  if (left <= absl::ZeroDuration()) {
    return WaitTimedOut("the transfer's timeout passed before its turn came");
  }
  const int64_t left_ms =
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
  // Cannot fail: the option was accepted before, with a larger value.
  (void)curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, static_cast<long>(left_ms));
  absl::Status status =
      // A transfer that got less than 90 % of its timeout is called shortened.
      RunOn(pool, key, /*shortened=*/left_ms < timeout - timeout / 10);
  (void)curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, timeout_ms());
  return status;
}

absl::Status Handle::RunOn(ConnectionPool* pool, OriginKey key,
                           bool shortened) {
  std::unique_ptr<MultiHandle> previous;
  absl::Status obtained = ObtainMulti(pool, key, previous);
  // When the transfer begins, libcurl drops the references to the connections
  // of `previous` (Curl_pretransfer), apart from credentials (Lends::kNever).
  // If it did not begin, those connections go to nobody.
  const auto part_with_previous = [&](bool begun) {
    if (previous == nullptr) return;
    const References references = ConnectionReferences();
    if (references == References::kNone ||
        (begun && references == References::kCounted &&
         HolderLends() != Lends::kNever)) {
      HolderShare()->pool().GiveBack(std::move(previous));
    } else {
      HolderShare()->pool().Close(std::move(previous),
                                  ConnectionPool::Reason::kNone);
    }
  };
  const auto at_end =
      absl::MakeCleanup([&] { part_with_previous(/*begun=*/false); });
  if (!obtained.ok()) return obtained;
  // From here on the connections count as in use, not as idle.
  HolderMulti()->over.store(false, std::memory_order_relaxed);
  bool paused = false;
  bool begun = false;
  const TransferResult result = RunTransfer({
      curl_,
      HolderMulti()->get(),
      /*cancelled=*/[this] { return cancelled(); },
      /*resumed=*/[this] { return TakeResumed(); },
      /*before_poll=*/
      [&] { paused = gate_ != nullptr && gate_->PauseGate(); },
      /*after_poll=*/
      [&] {
        if (paused) gate_->ResumeGate();
      },
      /*begun=*/
      [&] {
        begun = true;
        OnBegun();
        part_with_previous(/*begun=*/true);
      },
      quick_exit(),
  });
  CountConnecting(begun);
  if (ABSL_PREDICT_FALSE(result.code != CURLE_OK)) {
    ForgetFailedName(result.code);
  }
  if (!result.removed) {
    // While the CURL* is in the multi handle it can neither leave its share nor
    // transfer. Freeing the multi handle takes it out.
    LeavePool();
    TakeMulti().reset();
  } else if (pool != nullptr) {
    KeepOrGiveBack(*pool, key, result.code, result.connection_alive,
                   /*blames_host=*/!shortened);
  }
  if (!result.status.ok()) return result.status;
  return TransferStatus(result.code);
}

// ---- After a transfer

void Handle::WakePoll() {
  // `mu_` keeps the multi handle from going. If the call fails, the poll ends
  // by itself within kPollMilliseconds (transfer.cc).
  if (multi_ != nullptr) (void)curl_multi_wakeup(multi_->get());
}

absl::Status Handle::MakeStatus(CURLcode code) { return CodeStatus(code, ""); }

absl::Status Handle::CodeStatus(CURLcode code, absl::string_view detail) {
  long http_status = 0;
  if (code == CURLE_HTTP_RETURNED_ERROR &&
      curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &http_status) ==
          CURLE_OK &&
      http_status != 0) {
    absl::Status status = HttpErrorStatus(http_status, "transfer", detail);
    return GetLong(curl_, CURLINFO_REDIRECT_COUNT) > 0
               ? WithRedirects(std::move(status))
               : status;
  }
  return EasyStatus(code, "transfer", detail);
}

bool Handle::MayHaveSent() {
  long sent = 0;
  const char* scheme = nullptr;
  if (curl_easy_getinfo(curl_, CURLINFO_REQUEST_SIZE, &sent) != CURLE_OK ||
      curl_easy_getinfo(curl_, CURLINFO_SCHEME, &scheme) != CURLE_OK) {
    return true;
  }
  // CURLINFO_REQUEST_SIZE counts everything that libcurl sends only for HTTP.
  // For other protocols the safe answer is yes.
  return sent > 0 ||
         (scheme != nullptr && !absl::StartsWithIgnoreCase(scheme, "http"));
}

absl::Status Handle::TransferStatus(CURLcode code) {
  if (code == CURLE_OK) return MakeStatus(code);
  switch (cancelled_by()) {
    case Cancelled::kNo:
      return WithRequestSent(MakeStatus(code), MayHaveSent());
    case Cancelled::kByCaller:
      return WithEasyCode(Error(absl::StatusCode::kCancelled,
                                "the transfer was ended by Cancel()"),
                          code);
    case Cancelled::kByClose:
      break;
  }
  return WithEasyCode(Error(absl::StatusCode::kCancelled,
                            "the transfer was ended by Share::CloseNow()"),
                      code);
}

void Handle::CountConnecting(bool begun) {
  ShareCore* const share = HolderShare();
  if (share == nullptr) return;
  // If the transfer has not begun, CURLINFO_NUM_CONNECTS is still that of the
  // previous transfer.
  const long opened = begun ? GetLong(curl_, CURLINFO_NUM_CONNECTS) : 0;
  const std::optional<int> lookups = this->lookups();
  if (ABSL_PREDICT_TRUE(opened == 0 && lookups.value_or(0) == 0)) return;
  // To write counters that other threads write, too, costs nothing beside the
  // making of a connection.
  ShareCore::ConnectCounts& counts = share->connect_counts();
  const auto add = [](std::atomic<uint64_t>& counter, long by) {
    if (by > 0) {
      counter.fetch_add(static_cast<uint64_t>(by), std::memory_order_relaxed);
    }
  };
  if (lookups.has_value()) {
    // Each new connection took its address from a look-up or from the cache.
    add(counts.lookups, *lookups);
    add(counts.hits, opened - *lookups);
  }
  curl_off_t handshake = 0;
  if (opened > 0 && curl_easy_getinfo(curl_, CURLINFO_APPCONNECT_TIME_T,
                                      &handshake) == CURLE_OK) {
    add(counts.handshakes, handshake > 0 ? 1 : 0);
  }
}

void Handle::ForgetFailedName(CURLcode code) {
  // libcurl keeps what it knows of a name for CURLOPT_DNS_CACHE_TIMEOUT, also
  // addresses that refuse and, from 8.16 to 8.21, failures of the resolver that
  // may pass (as "no such name"). A share would give all that to every handle.
  if (!Shares(LockData::kDns)) return;
  bool elsewhere = ConnectsElsewhere();
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
      elsewhere = true;
      break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      break;
    case CURLE_OPERATION_TIMEDOUT: {
      // If it was connected already, the timeout tells nothing of the address.
      curl_off_t connected = 0;
      if (curl_easy_getinfo(curl_, CURLINFO_CONNECT_TIME_T, &connected) ==
              CURLE_OK &&
          connected > 0) {
        return;
      }
      break;
    }
    default:
      return;
  }
  constexpr auto kUsedProxy =  // CURLINFO_USED_PROXY, since 8.7
      static_cast<CURLINFO>(CURLINFO_LONG + 66);
  elsewhere |= GetLong(curl_, kUsedProxy) != 0;
  // Elsewhere: the name that failed is not known, so all names are forgotten.
  const char* const url = GetText(curl_, CURLINFO_EFFECTIVE_URL);
  const absl::StatusOr<HostPort> host =
      elsewhere || url == nullptr ? HostPort() : HostPortOf(url);
  if (!host.ok()) return;
  HolderShare()->ForgetFailedName(generation()->get(), host->host, host->port);
}

void Handle::UpdateLends() {
  if (HolderLends() == Lends::kNever) return;
  const References references = ConnectionReferences();
  const bool lends = references == References::kNone ||
                     (references == References::kCounted && CanLetGoLater());
  SetLends(lends ? Lends::kYes : Lends::kNo);
}

bool Handle::StartsWithHttp() const {
  // What the transfer began with, unless it was redirected: see the caller.
  const MultiHandle* const multi = HolderMulti();
  return multi->origin_size > 0 &&
         absl::StartsWithIgnoreCase(
             absl::string_view(multi->origin_text.data(), multi->origin_size),
             "http");
}

void Handle::KeepOrGiveBack(ConnectionPool& pool, OriginKey key, CURLcode code,
                            bool alive, bool blames_host) {
  const bool counted = ConnectionReferences() == References::kCounted;
  // Only what may have left credentials in a connection is looked at closer, as
  // that takes several calls of libcurl's. kNever is final.
  const bool redirected = GetLong(curl_, CURLINFO_REDIRECT_COUNT) > 0;
  const long status = GetLong(curl_, CURLINFO_RESPONSE_CODE);
  if (counted && HolderLends() != Lends::kNever &&
      (code != CURLE_OK || redirected || status == 401 || status == 407 ||
       !StartsWithHttp() || MayAuthenticateConnections()) &&
      KeepsCredentials(curl_, !CanLetGoLater())) {
    SetLends(Lends::kNever);
  }
  UpdateLends();
  if (ABSL_PREDICT_FALSE(CastsDoubt(code) && !cancelled())) {
    // Over HTTP/2 libcurl would keep the connection after a timeout.
    pool.Close(TakeMulti(), ConnectionPool::Reason::kFailed);
    // A timeout that was shortened by waits tells nothing of the host.
    if (key != 0 && (blames_host || code != CURLE_OPERATION_TIMEDOUT)) {
      pool.CloseIdleTo(key);
    }
    return;
  }
  MultiHandle& multi = *HolderMulti();
  const long opened = GetLong(curl_, CURLINFO_NUM_CONNECTS);
  if (ABSL_PREDICT_FALSE(redirected && alive)) {
    // The redirect led there, and the first connection is most likely open as
    // well: OnTransferEnd notes that one.
    const char* const url = GetText(curl_, CURLINFO_EFFECTIVE_URL);
    if (url != nullptr) pool.Note(multi, OriginOf(url));
  }
  // If the connection to `key` was not used, what is known of it is still true.
  const bool used =
      code == CURLE_OK || alive || GetLong(curl_, CURLINFO_REQUEST_SIZE) > 0;
  if (ABSL_PREDICT_FALSE(!pool.OnTransferEnd(multi, used ? key : 0, opened,
                                             redirected, alive))) {
    pool.Close(TakeMulti(), ConnectionPool::Reason::kOverCap);
    return;
  }
  // Others cannot take over this handle's connections later, so it lets go of
  // them now, if its owner loses nothing by that. To let go resets what
  // curl_easy_getinfo tells of redirects, hence those checks.
  if (counted && code == CURLE_OK && HolderLends() != Lends::kNever &&
      !CanLetGoLater() && !redirected &&
      GetText(curl_, CURLINFO_REDIRECT_URL) == nullptr && LetsGoAtOnce() &&
      LetGo()) {
    pool.GiveBack(TakeMulti());
  }
}

// ---- Its owner has gone

void Handle::ReleaseNow() {
  bool attached = false;
  bool outside_gate = false;
  {
    absl::MutexLock lock(&mu_);
    attached = share_ != nullptr;
    outside_gate = gated_ && !share_->InGate();
  }
  // A raw CURL* may stay attached, if this thread must not call libcurl for it
  // now, or libcurl refuses to take it out.
  if (OwnsCurl()) {
    if (attached) MoveForCookies();
    // Before the CURL* is freed: its address may belong to a new CURL* at once.
    LeaveAttached(this);
    FreeCurl();  // curl_easy_cleanup detaches it, and lets go of connections
    if (MultiHandle* const multi = HolderMulti();
        multi != nullptr && multi->pooled) {
      HolderShare()->pool().GiveBack(TakeMulti());
    }
    if (attached) LeaveShare();
  } else if (attached && (KindLocks::ThisThreadHoldsAny() || outside_gate ||
                          !LeaveForGood().ok())) {
    KeepForever();
  }
  TakeMulti().reset();
}

void Handle::KeepForever() {
  ShareHandle::KeepForever(generation());
  LeaveShare();
  if (MultiHandle* const multi = TakeMulti().release(); multi != nullptr) {
    internal::KeepForever(multi);
  }
}

}  // namespace curlshare::internal
