// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/share.h"

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/raw_handle.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/saved_cookies.h"
#include "curlshare/share/internal/saved_tls_sessions.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"

namespace curlshare {
namespace {

using internal::Error;
using internal::NoThrow;

// kUnimplemented, with the kinds that are missing, unless the running libcurl
// can share all of `kinds`. Also returns the errors of InitLibcurl(). Checked
// before anything is created, so that the message names every missing kind, and
// Share::Enable changes nothing on this error.
absl::Status CheckKinds(LockDataSet kinds) {
  const absl::StatusOr<LockDataSet> available = LockDataSet::FindAvailable();
  if (!available.ok()) return available.status();
  if (const LockDataSet missing = kinds - *available; !missing.empty()) {
    return Error(absl::StatusCode::kUnimplemented, "libcurl ",
                 RunningLibcurl().version, " was built without ", missing,
                 ": it cannot be shared");
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShareOptions::ToString() const {
  return absl::StrCat(
      "lock_data=", lock_data.has_value() ? lock_data->ToString() : "default",
      " concurrency=", ConcurrencyName(concurrency),
      " detach_on_close=", detach_on_close ? "true" : "false", " after_close=",
      after_close == AfterClose::kRefuse ? "refuse" : "transfer_alone");
}

std::string ShareStats::ToString() const {
  const ConnectionStats& c = connections;
  std::string text = absl::StrCat(
      "lock_data=", lock_data, " attached=", attached, " gated=", gated ? 1 : 0,
      " closed=", closed ? 1 : 0, " opened=", c.opened, " reused=", c.reused,
      " in_use=", c.in_use, " idle=", c.idle, " closed_idle=", c.closed_idle);
  absl::StrAppend(&text, " closed_old=", c.closed_old,
                  " closed_over_cap=", c.closed_over_cap,
                  " closed_failed=", c.closed_failed, " waited=", c.waited,
                  " total_wait=", absl::FormatDuration(c.total_wait),
                  " longest_wait=", absl::FormatDuration(c.longest_wait));
  absl::StrAppend(
      &text, " dns_lookups=", dns_lookups, " dns_hits=", dns_hits,
      " handshakes=", handshakes, " dropped_unlocks=", dropped_unlocks,
      " unknown_kinds=", unknown_kinds, " wrong_threads=", wrong_threads,
      " outside_scopes=", outside_scopes);
  const auto append = [&text](absl::string_view name,
                              const KindLockStats& lock) {
    absl::StrAppend(&text, " ", name, ".taken=", lock.taken, " ", name,
                    ".contended=", lock.contended);
    absl::StrAppend(
        &text, " ", name, ".total_wait=", absl::FormatDuration(lock.total_wait),
        " ", name, ".longest_wait=", absl::FormatDuration(lock.longest_wait));
  };
  append("gate", gate);
  append("share_lock", share_lock);
  for (LockData kind : LockDataSet::All()) {
    if (lock(kind).taken > 0) append(LockDataName(kind), lock(kind));
  }
  return text;
}

absl::StatusOr<std::unique_ptr<Share>> Share::Create(ShareOptions options) {
  // Also needed where lock_data is unset: if libcurl cannot be initialised,
  // this returns the error, where DefaultLockData() is just empty.
  if (absl::Status status =
          CheckKinds(options.lock_data.value_or(LockDataSet()));
      !status.ok()) {
    return status;
  }
  if (!options.lock_data.has_value()) options.lock_data = DefaultLockData();
  if (ConcurrencyName(options.concurrency) == "invalid") {
    return Error(absl::StatusCode::kInvalidArgument,
                 "ShareOptions::concurrency is none of the enumerators");
  }
  const ConnectionOptions& connections = options.connections;
  if (connections.max_idle < 0 || connections.max_transfers_per_host < 0 ||
      connections.idle_timeout <= absl::ZeroDuration() ||
      connections.max_lifetime <= absl::ZeroDuration()) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "ShareOptions::connections: max_idle and "
                 "max_transfers_per_host must not be negative, idle_timeout "
                 "and max_lifetime must be positive");
  }
  if (options.dns_cache_timeout <= absl::ZeroDuration()) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "ShareOptions::dns_cache_timeout must be positive");
  }
  return NoThrow(
      "Share::Create", [&]() -> absl::StatusOr<std::unique_ptr<Share>> {
        auto locks = std::make_shared<KindLocks>(options.lock_observer);
        // The handles of a Share are used in scopes that KindLocks can tell:
        // a lock taken outside of them counts in ShareStats::outside_scopes.
        locks->WatchScopes();
        absl::StatusOr<std::shared_ptr<const ShareHandle>> handle =
            ShareHandle::Create(
                *options.lock_data,
                NeedsGate(*options.lock_data, options.concurrency), locks);
        if (!handle.ok()) return handle.status();
        return std::unique_ptr<Share>(new Share(
            std::move(options), std::move(locks), *std::move(handle)));
      });
}

Share::Share(ShareOptions options, std::shared_ptr<KindLocks> locks,
             std::shared_ptr<const ShareHandle> handle)
    : options_(std::move(options)),
      // `this` is what Easy::share() returns, until the destructor calls
      // Abandon. The core lives on as long as a handle is attached.
      core_(new internal::ShareCore(
          this, options_.detach_on_close, options_.concurrency,
          options_.connections, std::move(locks), std::move(handle),
          options_.dns_cache_timeout,
          options_.after_close == AfterClose::kRefuse)) {}

Share::~Share() { core_->Abandon(); }

absl::StatusOr<Attachment> Share::Attach(CURL* curl) {
  if (curl == nullptr) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "Share::Attach: the CURL* is null");
  }
  return NoThrow("Share::Attach", [&]() -> absl::StatusOr<Attachment> {
    // On an error the destructor of `attachment` drops the RawHandle, which is
    // in no share then, and does not touch the CURL*.
    Attachment attachment(
        internal::RefPtr<internal::RawHandle>(new internal::RawHandle(curl)));
    absl::Status status = attachment.handle_->Attach(core_);
    if (!status.ok()) return status;
    return attachment;
  });
}

absl::Status Share::Perform(CURL* curl, AfterClose after_close) {
  if (curl == nullptr) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "Share::Perform: the CURL* is null");
  }
  const bool refuse = after_close == AfterClose::kRefuse;
  // Not a RawHandle: nobody but CloseNow can cancel this transfer, so that it
  // never has a cancel hook.
  absl::StatusOr<internal::RefPtr<internal::Handle>> handle = NoThrow(
      "Share::Perform",
      [&]() -> absl::StatusOr<internal::RefPtr<internal::Handle>> {
        return internal::RefPtr<internal::Handle>(new internal::Handle(curl));
      });
  if (!handle.ok()) return handle.status();
  absl::Status status = (*handle)->Attach(core_, refuse);
  if (status.ok()) {
    status = (*handle)->Perform();
    // Takes the CURL* out of the share, as the destructor of an Attachment
    // does.
    (*handle)->Release();
    return status;
  }
  // kFailedPrecondition has other causes, too, such as a callback that must not
  // use a share (CALLBACKS in share.h). kTransferAlone is for this one alone.
  const bool closing = absl::IsFailedPrecondition(status) &&
                       internal::ShareCore::IsClosing(core_->epoch());
  if (refuse || !closing) return status;
  return (*handle)->TransferStatus(curl_easy_perform(curl));
}

absl::Status Share::Close(absl::Time deadline) {
  return core_->Close(deadline, /*cancel=*/false);
}

absl::Status Share::CloseNow(absl::Time deadline) {
  return core_->Close(deadline, /*cancel=*/true);
}

absl::Status Share::Enable(LockDataSet kinds) {
  if (absl::Status status = CheckKinds(kinds); !status.ok()) return status;
  absl::Status status = core_->ChangeKinds(/*add=*/kinds, /*remove=*/{});
  // To free a CURLSH, or to close connections, may run callbacks of the user's.
  // A handle that was destroyed in one of them may have had to wait until this
  // thread is out of libcurl.
  internal::Handle::ReleaseDeferred();
  return status;
}

absl::Status Share::Disable(LockDataSet kinds) {
  absl::Status status = core_->ChangeKinds(/*add=*/{}, /*remove=*/kinds);
  internal::Handle::ReleaseDeferred();
  return status;
}

absl::Status Share::Flush(LockDataSet kinds) {
  absl::Status status = core_->Flush(kinds);
  internal::Handle::ReleaseDeferred();
  return status;
}

absl::StatusOr<std::string> Share::ExportCookies() const {
  return NoThrow("Share::ExportCookies", [&]() -> absl::StatusOr<std::string> {
    std::vector<std::string> cookies;
    absl::Status status =
        core_->Visit(LockData::kCookie, [&](CURLSH* share) -> absl::Status {
          absl::StatusOr<std::vector<std::string>> read =
              internal::ReadCookies(share);
          if (!read.ok()) return read.status();
          cookies = *std::move(read);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    // Outside of Visit, which may hold the gate and keeps a close waiting.
    return internal::FormatCookies(cookies);
  });
}

absl::Status Share::ImportCookies(absl::string_view lines) {
  return NoThrow("Share::ImportCookies", [&]() -> absl::Status {
    // Before the text is parsed: a share that cannot take cookies says so,
    // whatever the text.
    if (absl::Status status = core_->CheckVisit(LockData::kCookie);
        !status.ok()) {
      return status;
    }
    // Outside of Visit, too: it takes long, since libcurl tries each cookie.
    const absl::StatusOr<std::vector<std::string>> cookies =
        internal::ParseCookies(lines);
    if (!cookies.ok()) return cookies.status();
    return core_->Visit(LockData::kCookie, [&](CURLSH* share) {
      return internal::AddCookies(share, *cookies);
    });
  });
}

absl::StatusOr<std::string> Share::ExportTlsSessions() const {
  return NoThrow(
      "Share::ExportTlsSessions", [&]() -> absl::StatusOr<std::string> {
        absl::Status status = core_->CheckVisit(LockData::kSslSession);
        if (status.ok()) status = internal::CanSaveTlsSessions();
        if (!status.ok()) return status;
        std::vector<internal::TlsSession> sessions;
        status = core_->Visit(
            LockData::kSslSession, [&](CURLSH* share) -> absl::Status {
              absl::StatusOr<std::vector<internal::TlsSession>> read =
                  internal::ReadTlsSessions(share, &core_->locks());
              if (!read.ok()) return read.status();
              sessions = *std::move(read);
              return absl::OkStatus();
            });
        if (!status.ok()) return status;
        return internal::FormatTlsSessions(sessions);
      });
}

absl::Status Share::ImportTlsSessions(absl::string_view sessions) {
  return NoThrow("Share::ImportTlsSessions", [&]() -> absl::Status {
    absl::Status status = core_->CheckVisit(LockData::kSslSession);
    if (status.ok()) status = internal::CanSaveTlsSessions();
    if (!status.ok()) return status;
    const absl::StatusOr<std::vector<internal::TlsSession>> parsed =
        internal::ParseTlsSessions(sessions);
    if (!parsed.ok()) return parsed.status();
    return core_->Visit(LockData::kSslSession, [&](CURLSH* share) {
      return internal::AddTlsSessions(share, &core_->locks(), *parsed);
    });
  });
}

ShareStats Share::stats() const {
  const KindLocks& locks = core_->locks();
  ShareStats stats;
  // In a forked child, a thread of the parent may have held a mutex of the core
  // or of its pool: take none.
  if (core_->IsParents()) return stats;
  stats.share_lock = locks.stats(CURL_LOCK_DATA_SHARE);
  for (LockData kind : LockDataSet::All()) {
    stats.locks[static_cast<size_t>(kind)] =
        locks.stats(static_cast<curl_lock_data>(kind));
  }
  stats.connections = core_->pool().stats();
  const internal::ShareCore::ConnectCounts& counts = core_->connect_counts();
  stats.dns_lookups = counts.lookups.load(std::memory_order_relaxed);
  stats.dns_hits = counts.hits.load(std::memory_order_relaxed);
  stats.handshakes = counts.handshakes.load(std::memory_order_relaxed);
  stats.gate = core_->gate_stats();
  stats.gated = core_->gated();
  stats.lock_data = core_->kinds();
  stats.attached = core_->attached();
  stats.closed = core_->closed();
  stats.dropped_unlocks = locks.dropped_unlocks();
  stats.unknown_kinds = locks.out_of_range();
  stats.wrong_threads = core_->wrong_threads();
  stats.outside_scopes = locks.outside_scopes();
  return stats;
}

}  // namespace curlshare
