// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/interpreter.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/operations.h"
#include "curlshare/verification/schedule_noise.h"
#include "curlshare/verification/share_model.h"

namespace curlshare::testing {
namespace {

using Code = absl::StatusCode;

constexpr char kHost[] = "a.curlshare.test";
constexpr char kTlsHost[] = "b.curlshare.test";  // the one that HSTS is for
constexpr int kBodyBytes = 3;
constexpr absl::Duration kTransferTimeout = absl::Seconds(60);
// After which a thread that should have answered hangs.
constexpr absl::Duration kPatience = absl::Seconds(40);

// What was done and answered, for the message when something does not hold.
class Trace {
 public:
  void Add(std::string line) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    lines_.push_back(std::move(line));
  }
  void Clear() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    lines_.clear();
  }
  [[noreturn]] void Die(absl::string_view message) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    std::string text = "operations so far:\n";
    for (const std::string& line : lines_) {
      absl::StrAppend(&text, "  ", line, "\n");
    }
    absl::StrAppend(&text, "DOES NOT HOLD: ", message, "\n");
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
    std::abort();
  }

 private:
  absl::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

std::string CodeName(Code code) { return absl::StatusCodeToString(code); }

std::string Names(absl::Span<const Code> codes) {
  std::string text;
  for (Code code : codes) {
    absl::StrAppend(&text, text.empty() ? "" : " or ", CodeName(code));
  }
  return text;
}

// Sees that a kind is locked once at a time and unlocked at the end.
class BalanceObserver final : public LockObserver {
 public:
  explicit BalanceObserver(Trace& trace) : trace_(trace) {}

  void OnLocked(curl_lock_data kind) noexcept override {
    if (held_[kind].fetch_add(1, std::memory_order_relaxed) != 0) {
      trace_.Die(absl::StrCat("kind ", kind, " is locked twice"));
    }
    ScheduleNoise();
  }
  void OnUnlocking(curl_lock_data kind) noexcept override {
    ScheduleNoise();
    held_[kind].fetch_sub(1, std::memory_order_relaxed);
  }
  void CheckAllUnlocked() {
    for (size_t kind = 0; kind < held_.size(); ++kind) {
      if (held_[kind].load(std::memory_order_relaxed) != 0) {
        trace_.Die(absl::StrCat("kind ", kind, " is locked at the end"));
      }
    }
  }

 private:
  Trace& trace_;
  std::array<std::atomic<int>, 16> held_{};
};

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};

// An Easy, or a CURL* with its Attachment. Used by one thread at a time, but
// that any thread may Cancel: `mu` is held to do so, and to take `easy` or
// `attachment` away.
struct TestHandle {
  absl::Mutex mu;
  std::optional<Easy> easy;
  std::unique_ptr<CURL, CurlDeleter> curl;
  Attachment attachment;
};

// Closes with a reset, so that no port is left waiting: a long run opens more
// connections than there are ports.
int OnSocket(void* /*data*/, curl_socket_t socket, curlsocktype) noexcept {
  const linger reset = {1, 0};
  return setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0
             ? CURL_SOCKOPT_OK
             : CURL_SOCKOPT_ERROR;
}

// A port of 127.0.0.1 where connecting is refused, for as long as this lives.
class RefusingPort {
 public:
  RefusingPort() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    // Bound, and nobody listens.
    if (bind(socket_, any, size) == 0 &&
        getsockname(socket_, any, &size) == 0) {
      port_ = ntohs(address.sin_port);
    }
  }
  RefusingPort(const RefusingPort&) = delete;
  RefusingPort& operator=(const RefusingPort&) = delete;
  ~RefusingPort() { close(socket_); }
  int port() const { return port_; }

 private:
  const int socket_;
  int port_ = 0;
};

}  // namespace

std::string InterpreterCounts::ToString() const {
  return absl::StrCat(operations, " operations done, ", skipped, " skipped; ",
                      transfers, " transfers, ", callbacks,
                      " callbacks with operations, ", probes,
                      " calls refused under a lock");
}

// What the threads work on.
class Interpreter::World {
 public:
  World();
  absl::Status Start();
  ~World();

  void RunInStep(absl::Span<const Op> program);
  void RunFree(absl::Span<const Op> program);
  InterpreterCounts counts() const {
    return {operations_, skipped_, transfers_ended_, callbacks_, probes_};
  }

 private:
  friend class Interpreter::Worker;

  std::shared_ptr<Share> GetShare(int slot) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return shares_[slot];
  }
  std::shared_ptr<TestHandle> GetHandle(int slot) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return handles_[slot];
  }
  std::shared_ptr<TestHandle> NewHandle(int slot);
  void Prepare(Easy& easy);
  std::shared_ptr<Share> NewShare(uint8_t variant);
  void Check(bool holds, absl::string_view message) {
    if (!holds) trace_.Die(message);
  }
  void Check(const absl::Status& status) {
    if (!status.ok()) trace_.Die(status.ToString());
  }

  void Begin();
  void End();
  void Step(const Op& op);
  void Compare();
  // After what keeps the cookies of a share, or does not.
  void CompareCookies(int slot);
  std::string Difference();
  std::string Url(Request request, bool easy) const;

  Trace trace_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpServer> tls_server_;
  const RefusingPort refusing_;
  std::vector<std::unique_ptr<Worker>> workers_;

  absl::Mutex mu_;
  std::array<std::shared_ptr<Share>, kProgramShares> shares_
      ABSL_GUARDED_BY(mu_);
  std::array<std::shared_ptr<TestHandle>, kProgramHandles> handles_
      ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<BalanceObserver>> observers_ ABSL_GUARDED_BY(mu_);

  std::atomic<bool> free_{false};
  std::optional<ShareModel> model_;
  int64_t live_before_ = 0;
  int stalls_ = 0;  // requests stalled since the server let go last

  std::atomic<int64_t> operations_{0};
  std::atomic<int64_t> skipped_{0};
  std::atomic<int64_t> transfers_begun_{0};
  std::atomic<int64_t> transfers_ended_{0};
  std::atomic<int64_t> callbacks_{0};
  std::atomic<int64_t> probes_{0};
};

// One of the threads.
class Interpreter::Worker {
 public:
  Worker(World& world, int index)
      : world_(world), index_(index), thread_([this] { Loop(); }) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    {
      absl::MutexLock lock(&mu_);
      stop_ = true;
    }
    thread_.join();
  }

  struct Event {
    bool parked = false;
    Code code = Code::kOk;
  };

  // In step: hands over one operation, and waits for what comes of it.
  void Give(const Op& op) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    next_ = op;
  }
  std::optional<Event> Await(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const auto there = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return event_.has_value();
    };
    mu_.AwaitWithTimeout(absl::Condition(&there), patience);
    return std::exchange(event_, std::nullopt);
  }
  // Free: hands over a whole program; its end is an event.
  void Give(std::vector<Op> program) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    program_ = std::move(program);
    position_ = 0;
    has_program_ = true;
  }

 private:
  static Worker*& Current() {
    static thread_local Worker* current = nullptr;
    return current;
  }

  void Loop();
  void Report(Event event) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    event_ = event;
  }
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return next_.has_value() || has_program_ || stop_;
  }

  // Runs operations until one ends the frame; true if that is in error.
  bool RunFrame();
  // Free: nothing at the end of the program.
  std::optional<Op> NextFree();
  void RunFreely(const Op& op);
  bool IsAllowedFreely(const Op& op) const;

  // kUnknown: skipped.
  Code Execute(const Op& op);
  Code CreateShare(const Op& op);
  Code UseShare(const Op& op);
  Code CreateHandle(const Op& op);
  Code DestroyHandle(const Op& op);
  Code Attach(const Op& op);
  Code Detach(const Op& op);
  Code Duplicate(const Op& op);
  Code SetOption(const Op& op);
  Code Transfer(const Op& op);
  Code BeginUse(const Op& op);
  Code Cancel(const Op& op);
  absl::Status SetUrl(TestHandle& handle, const std::string& url, bool probe);
  absl::Status Perform(TestHandle& handle, const Op& op);

  absl::Status OnBody(size_t size);
  static size_t OnWrite(char*, size_t size, size_t count, void*) noexcept;
  static int OnDebug(CURL*, curl_infotype, char*, size_t, void*) noexcept;
  friend class Interpreter::World;

  World& world_;
  const int index_;

  absl::Mutex mu_;
  std::optional<Op> next_ ABSL_GUARDED_BY(mu_);
  std::optional<Event> event_ ABSL_GUARDED_BY(mu_);
  bool has_program_ ABSL_GUARDED_BY(mu_) = false;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;

  // The thread's own, but while a program is handed over.
  std::vector<Op> program_;
  size_t position_ = 0;
  std::vector<int> frames_;  // the slots of the handles it is in
  // Of the transfer that it is in.
  bool run_in_callback_ = false;
  bool fail_in_callback_ = false;
  size_t received_ = 0;

  std::thread thread_;
};

// ---- The thread

void Interpreter::Worker::Loop() {
  Current() = this;
  while (true) {
    std::optional<Op> op;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Worker::HasWork));
      if (stop_) return;
      op = std::exchange(next_, std::nullopt);
      has_program_ = false;
    }
    if (op.has_value()) {
      Report({false, Execute(*op)});
      continue;
    }
    while (std::optional<Op> next = NextFree()) RunFreely(*next);
    Report({});
  }
}

std::optional<Op> Interpreter::Worker::NextFree() {
  if (position_ == program_.size()) return std::nullopt;
  return program_[position_++];
}

bool Interpreter::Worker::RunFrame() {
  ++world_.callbacks_;
  if (world_.free_) {
    while (std::optional<Op> next = NextFree()) {
      if (next->kind == OpKind::kEndFrame) return EndsInError(next->variant);
      RunFreely(*next);
    }
    return false;
  }
  Report({true, Code::kOk});
  while (true) {
    Op op;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Worker::HasWork));
      op = *std::exchange(next_, std::nullopt);
    }
    if (op.kind == OpKind::kEndFrame) return EndsInError(op.variant);
    Report({false, Execute(op)});
  }
}

bool Interpreter::Worker::IsAllowedFreely(const Op& op) const {
  if (op.kind == OpKind::kReleaseStalled) return false;
  if (IsEasy(op.handle) || frames_.empty()) return true;
  switch (op.kind) {
    // An Attachment that goes inside another share's gate while its own is
    // occupied keeps its CURLSH for ever, as documented.
    case OpKind::kDropAttachment:
    case OpKind::kDestroyHandle:
      return false;
    // Of a CURL* that this thread is using, and whose share may have closed:
    // forbidden.
    case OpKind::kAttach:
      return !absl::c_linear_search(frames_, op.handle);
    default:
      return true;
  }
}

void Interpreter::Worker::RunFreely(const Op& op) {
  if (!IsAllowedFreely(op)) {
    ++world_.skipped_;
    return;
  }
  ScheduleNoise();
  const Code code = Execute(op);
  if (code == Code::kUnknown) {
    ++world_.skipped_;
    return;
  }
  ++world_.operations_;
  ShareModel::Codes allowed = {Code::kOk, Code::kFailedPrecondition};
  switch (op.kind) {
    case OpKind::kCreateShare:
    case OpKind::kDestroyShare:
    case OpKind::kCreateHandle:
    case OpKind::kDestroyHandle:
    case OpKind::kDropAttachment:
      allowed = {Code::kOk};
      break;
    case OpKind::kAttach:
      allowed.push_back(Code::kAlreadyExists);
      break;
    case OpKind::kClose:
      if (HasDeadline(op.variant)) allowed.push_back(Code::kDeadlineExceeded);
      break;
    case OpKind::kTransfer:
      allowed.push_back(OutcomeOf(RequestOf(op.variant), IsEasy(op.handle)));
      allowed.push_back(Code::kCancelled);
      break;
    case OpKind::kTransferWithCallback:
      allowed.push_back(SinkErrorCode(IsEasy(op.handle)));
      allowed.push_back(Code::kCancelled);
      break;
    case OpKind::kStalledTransfer:
      allowed.push_back(Code::kCancelled);
      break;
    case OpKind::kFlush:
      allowed.push_back(Code::kUnimplemented);
      break;
    case OpKind::kCancel:
      allowed = {Code::kOk, Code::kNotFound};
      break;
    default:
      break;
  }
  if (!absl::c_linear_search(allowed, code)) {
    world_.trace_.Die(absl::StrCat(FormatOp(op), " returned ", CodeName(code),
                                   " where ", Names(allowed), " is allowed"));
  }
}

// ---- The operations

Code Interpreter::Worker::Execute(const Op& op) {
  switch (op.kind) {
    case OpKind::kCreateShare:
      return CreateShare(op);
    case OpKind::kDestroyShare:
    case OpKind::kEnable:
    case OpKind::kDisable:
    case OpKind::kClose:
    case OpKind::kCloseIdle:
    case OpKind::kFlush:
    case OpKind::kSaveCookies:
      return UseShare(op);
    case OpKind::kCreateHandle:
      return CreateHandle(op);
    case OpKind::kDestroyHandle:
    case OpKind::kDropAttachment:
      return DestroyHandle(op);
    case OpKind::kAttach:
      return Attach(op);
    case OpKind::kDetach:
      return Detach(op);
    case OpKind::kDuplicate:
      return Duplicate(op);
    case OpKind::kReset:
    case OpKind::kSetOption:
      return SetOption(op);
    case OpKind::kTransfer:
    case OpKind::kTransferWithCallback:
    case OpKind::kStalledTransfer:
      return Transfer(op);
    case OpKind::kBeginUse:
      return BeginUse(op);
    case OpKind::kCancel:
      return Cancel(op);
    case OpKind::kEndFrame:
    case OpKind::kReleaseStalled:
      break;
  }
  return Code::kUnknown;
}

Code Interpreter::Worker::UseShare(const Op& op) {
  // A Share goes with the last thread that uses it.
  std::shared_ptr<Share> share = world_.GetShare(op.share);
  if (share == nullptr) return Code::kUnknown;
  switch (op.kind) {
    case OpKind::kEnable:
      return share->Enable(KindsOfVariant(op.variant)).code();
    case OpKind::kDisable:
      return share->Disable(KindsOfVariant(op.variant)).code();
    case OpKind::kFlush:
      return share->Flush(KindsOfVariant(op.variant)).code();
    case OpKind::kSaveCookies: {
      const absl::StatusOr<std::string> cookies = share->ExportCookies();
      if (!cookies.ok()) return cookies.status().code();
      return share
          ->ImportCookies(absl::StrCat(
              *cookies, ImportsACookie(op.variant)
                            ? "model.test\tFALSE\t/\tFALSE\t0\ta\tb\n"
                            : ""))
          .code();
    }
    case OpKind::kCloseIdle:
      (void)share->CloseIdleConnections();
      return Code::kOk;
    case OpKind::kClose: {
      const absl::Time deadline = HasDeadline(op.variant)
                                      ? absl::InfinitePast()
                                      : absl::InfiniteFuture();
      return (CancelsTransfers(op.variant) ? share->CloseNow(deadline)
                                           : share->Close(deadline))
          .code();
    }
    default: {
      absl::MutexLock lock(&world_.mu_);
      if (world_.shares_[op.share] == share) {
        world_.shares_[op.share] = nullptr;
      }
      return Code::kOk;
    }
  }
}

Code Interpreter::Worker::CreateShare(const Op& op) {
  if (world_.GetShare(op.share) != nullptr) return Code::kUnknown;
  std::shared_ptr<Share> share = world_.NewShare(op.variant);
  absl::MutexLock lock(&world_.mu_);
  // Another thread may have been faster; `share` then goes after the lock.
  if (world_.shares_[op.share] == nullptr) {
    std::swap(world_.shares_[op.share], share);
  }
  return Code::kOk;
}

Code Interpreter::Worker::CreateHandle(const Op& op) {
  if (world_.GetHandle(op.handle) != nullptr) return Code::kUnknown;
  std::shared_ptr<TestHandle> handle = world_.NewHandle(op.handle);
  absl::MutexLock lock(&world_.mu_);
  world_.handles_[op.handle] = std::move(handle);
  return Code::kOk;
}

Code Interpreter::Worker::DestroyHandle(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  const bool drop = op.kind == OpKind::kDropAttachment;
  if (drop && handle->attachment.handle() == nullptr) return Code::kUnknown;
  if (!drop) {
    absl::MutexLock lock(&world_.mu_);
    world_.handles_[op.handle] = nullptr;
  }
  // At once, though others may still have `handle`.
  std::optional<Easy> easy;
  Attachment attachment;
  {
    absl::MutexLock lock(&handle->mu);
    easy = std::exchange(handle->easy, std::nullopt);
    attachment = std::exchange(handle->attachment, Attachment());
  }
  easy.reset();
  attachment = Attachment();
  if (!drop) handle->curl.reset();
  return Code::kOk;
}

Code Interpreter::Worker::Attach(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  const std::shared_ptr<Share> share = world_.GetShare(op.share);
  if (handle == nullptr || share == nullptr) return Code::kUnknown;
  if (IsEasy(op.handle)) return handle->easy->Attach(*share).code();
  absl::StatusOr<Attachment> attachment = share->Attach(handle->curl.get());
  if (!attachment.ok()) return attachment.status().code();
  {
    absl::MutexLock lock(&handle->mu);
    std::swap(handle->attachment, *attachment);
  }
  return Code::kOk;
}

Code Interpreter::Worker::Detach(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  if (IsEasy(op.handle)) return handle->easy->Detach().code();
  // Taken out first, as a Detach that succeeds changes the Attachment.
  Attachment attachment;
  {
    absl::MutexLock lock(&handle->mu);
    std::swap(handle->attachment, attachment);
  }
  const absl::Status status = attachment.Detach();
  absl::MutexLock lock(&handle->mu);
  std::swap(handle->attachment, attachment);
  return status.code();
}

Code Interpreter::Worker::Duplicate(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr || !IsEasy(op.handle)) return Code::kUnknown;
  // Free, a thread has one Easy: its copy goes at once.
  int slot = 0;
  while (slot < kProgramEasies && world_.GetHandle(slot) != nullptr) ++slot;
  if (slot == kProgramEasies && !world_.free_) return Code::kUnknown;
  absl::StatusOr<Easy> easy = handle->easy->Duplicate();
  if (!easy.ok()) return easy.status().code();
  if (world_.free_) return Code::kOk;
  auto copy = std::make_shared<TestHandle>();
  copy->easy = *std::move(easy);
  absl::MutexLock lock(&world_.mu_);
  world_.handles_[slot] = std::move(copy);
  return Code::kOk;
}

Code Interpreter::Worker::SetOption(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  if (op.kind == OpKind::kReset) {
    if (!IsEasy(op.handle)) return Code::kUnknown;
    const absl::Status status = handle->easy->Reset();
    if (status.ok()) world_.Prepare(*handle->easy);
    return status.code();
  }
  if (IsEasy(op.handle)) {
    return handle->easy->SetOption<CURLOPT_USERAGENT>("model").code();
  }
  const absl::StatusOr<Attachment::Use> use = handle->attachment.BeginUse();
  if (!use.ok()) return use.status().code();
  world_.Check(EasyStatus(
      curl_easy_setopt(use->handle(), CURLOPT_USERAGENT, "model"), "setopt"));
  return Code::kOk;
}

absl::Status Interpreter::Worker::SetUrl(TestHandle& handle,
                                         const std::string& url, bool probe) {
  if (handle.easy.has_value()) {
    absl::Status status = handle.easy->SetUrl(url);
    if (status.ok()) {
      status = handle.easy->SetOption<CURLOPT_VERBOSE>(probe);
    }
    if (status.ok() && probe) {
      status = handle.easy->SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, nullptr);
    }
    return status;
  }
  const absl::StatusOr<Attachment::Use> use = handle.attachment.BeginUse();
  if (!use.ok()) return use.status();
  return EasyStatus(curl_easy_setopt(use->handle(), CURLOPT_URL, url.c_str()),
                    "curl_easy_setopt");
}

absl::Status Interpreter::Worker::Perform(TestHandle& handle, const Op& op) {
  if (handle.easy.has_value()) return handle.easy->Perform();
  if (op.kind == OpKind::kStalledTransfer || !TransfersByItself(op.variant)) {
    return handle.attachment.Perform();
  }
  TransferOptions options;
  options.install_progress_function = true;
  absl::StatusOr<Attachment::Transfer> transfer =
      handle.attachment.BeginTransfer(std::move(options));
  if (!transfer.ok()) return transfer.status();
  return transfer->End(curl_easy_perform(transfer->handle()));
}

Code Interpreter::Worker::Transfer(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  Request request = Request::kBytes;
  if (op.kind == OpKind::kTransfer) request = RequestOf(op.variant);
  std::string url = world_.Url(request, IsEasy(op.handle));
  if (op.kind == OpKind::kStalledTransfer) {
    url = world_.server_->url(world_.free_ ? "/delay?ms=3" : "/stall",
                              IsEasy(op.handle) ? kHost : "127.0.0.1");
  }
  const absl::Status set =
      SetUrl(*handle, url, request == Request::kProbeUnderLock);
  if (!set.ok()) return set.code();

  // A transfer inside a callback has its own.
  const size_t received = std::exchange(received_, 0);
  fail_in_callback_ = request == Request::kSinkFails;
  run_in_callback_ = op.kind == OpKind::kTransferWithCallback;
  frames_.push_back(op.handle);
  ++world_.transfers_begun_;
  const absl::Status status = Perform(*handle, op);
  ++world_.transfers_ended_;
  frames_.pop_back();
  fail_in_callback_ = false;
  run_in_callback_ = false;
  if (status.ok() && request == Request::kBytes &&
      op.kind != OpKind::kStalledTransfer) {
    world_.Check(received_ == kBodyBytes,
                 absl::StrCat(FormatOp(op), ": a transfer returned kOk with ",
                              received_, " bytes of ", kBodyBytes));
  }
  received_ = received;
  if (status.code() == Code::kUnknown) world_.Check(status);
  return status.code();
}

Code Interpreter::Worker::BeginUse(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  frames_.push_back(op.handle);
  absl::Status status;
  if (IsEasy(op.handle)) {
    const absl::StatusOr<Easy::Use> use = handle->easy->BeginUse();
    status = use.status();
    if (status.ok()) RunFrame();
  } else {
    const absl::StatusOr<Attachment::Use> use = handle->attachment.BeginUse();
    status = use.status();
    if (status.ok()) RunFrame();
  }
  frames_.pop_back();
  return status.code();
}

Code Interpreter::Worker::Cancel(const Op& op) {
  const std::shared_ptr<TestHandle> handle = world_.GetHandle(op.handle);
  if (handle == nullptr) return Code::kUnknown;
  absl::MutexLock lock(&handle->mu);
  const bool found = handle->easy.has_value() ? handle->easy->Cancel()
                                              : handle->attachment.Cancel();
  return found ? Code::kOk : Code::kNotFound;
}

// ---- The callbacks

absl::Status Interpreter::Worker::OnBody(size_t size) {
  received_ += size;
  if (fail_in_callback_)
    return absl::DataLossError("the sink was told to fail");
  if (!std::exchange(run_in_callback_, false)) return absl::OkStatus();
  const size_t received = received_;
  const bool error = RunFrame();
  received_ = received;
  return error ? absl::DataLossError("the program says so") : absl::OkStatus();
}

size_t Interpreter::Worker::OnWrite(char*, size_t size, size_t count,
                                    void*) noexcept {
  return Current()->OnBody(size * count).ok() ? size * count
                                              : CURL_WRITEFUNC_ERROR;
}

int Interpreter::Worker::OnDebug(CURL*, curl_infotype, char*, size_t,
                                 void*) noexcept {
  if (!KindLocks::ThisThreadHoldsAny()) return 0;
  World& world = Current()->world_;
  const int own = Current()->index_;
  const auto refused = [&](const absl::Status& status, absl::string_view call) {
    ++world.probes_;
    world.Check(
        status.code() == Code::kFailedPrecondition,
        absl::StrCat(call, " under a share's lock: ", status.ToString()));
  };
  for (int slot = 0; slot < kProgramShares; ++slot) {
    const std::shared_ptr<Share> share = world.GetShare(slot);
    if (share == nullptr) continue;
    if (!share->closed()) {
      const absl::Status closed = share->Close(absl::InfinitePast());
      // Another thread may have closed it meanwhile.
      if (!world.free_ || !closed.ok()) refused(closed, "Close");
    }
    refused(share->Enable(LockDataSet::Available()), "Enable");
    const std::shared_ptr<TestHandle> raw =
        world.GetHandle(own + kProgramEasies);
    if (raw != nullptr && raw->curl != nullptr) {
      refused(share->Attach(raw->curl.get()).status(), "Attach");
    }
  }
  return 0;
}

// ---- The world

Interpreter::World::World() = default;

absl::Status Interpreter::World::Start() {
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  for (const bool tls : {false, true}) {
    HttpServerOptions options;
    options.tls = tls;
    absl::StatusOr<std::unique_ptr<HttpServer>> server =
        HttpServer::Start(options);
    if (!server.ok()) return server.status();
    (tls ? tls_server_ : server_) = *std::move(server);
  }
  if (refusing_.port() == 0) {
    return absl::UnavailableError("no port of 127.0.0.1 can be bound");
  }
  for (int i = 0; i < kProgramThreads; ++i) {
    workers_.push_back(std::make_unique<Worker>(*this, i));
  }
  return absl::OkStatus();
}

Interpreter::World::~World() = default;

std::string Interpreter::World::Url(Request request, bool easy) const {
  // CURLOPT_RESOLVE is not for a CURL* in a share: see attachment.h.
  const char* const host = easy ? kHost : "127.0.0.1";
  const char* const tls_host = easy ? kTlsHost : "127.0.0.1";
  switch (request) {
    case Request::kCookie:
    case Request::kProbeUnderLock:
      return server_->url("/cookie/set?name=a&value=b", host);
    case Request::kHsts:
      return tls_server_->url("/hsts?max_age=1000", tls_host);
    case Request::kNotFound:
      return server_->url("/status?code=404", host);
    case Request::kDropped:
      return server_->url("/drop?after=1", host);
    case Request::kRefused:
      return absl::StrCat("http://127.0.0.1:", refusing_.port(), "/");
    case Request::kBytes:
    case Request::kSinkFails:
      break;
  }
  return server_->url(absl::StrCat("/bytes?n=", kBodyBytes), host);
}

void Interpreter::World::Prepare(Easy& easy) {
  Check(easy.SetTimeout(kTransferTimeout));
  Check(easy.SetSink([](absl::string_view piece) {
    return Worker::Current()->OnBody(piece.size());
  }));
  Check(easy.SetCaCertificates(tls_server_->ca_pem()));
  Check(easy.SetOption<CURLOPT_RESOLVE>(
      {absl::StrCat(kHost, ":", server_->port(), ":127.0.0.1"),
       absl::StrCat(kTlsHost, ":", tls_server_->port(), ":127.0.0.1")}));
  Check(easy.SetOption<CURLOPT_SOCKOPTFUNCTION>(&OnSocket, nullptr));
}

std::shared_ptr<TestHandle> Interpreter::World::NewHandle(int slot) {
  auto handle = std::make_shared<TestHandle>();
  if (IsEasy(slot)) {
    absl::StatusOr<Easy> easy = Easy::Create();
    Check(easy.status());
    Prepare(*easy);
    handle->easy = *std::move(easy);
    return handle;
  }
  handle->curl.reset(curl_easy_init());
  CURL* const curl = handle->curl.get();
  Check(curl != nullptr, "curl_easy_init");
  std::string pem = tls_server_->ca_pem();
  curl_blob ca{pem.data(), pem.size(), CURL_BLOB_COPY};
  const curl_write_callback on_write = &Worker::OnWrite;
  for (const CURLcode code : {
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
           curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L),
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write),
           curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca),
           curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, &OnSocket),
       }) {
    Check(EasyStatus(code, "curl_easy_setopt"));
  }
  return handle;
}

std::shared_ptr<Share> Interpreter::World::NewShare(uint8_t variant) {
  auto observer = std::make_shared<BalanceObserver>(trace_);
  ShareOptions options;
  options.lock_data = KindsOfVariant(variant);
  options.concurrency = ConcurrencyOf(variant);
  options.detach_on_close = !IsStrict(variant);
  options.lock_observer = observer;
  absl::StatusOr<std::unique_ptr<Share>> share =
      Share::Create(std::move(options));
  Check(share.status());
  absl::MutexLock lock(&mu_);
  observers_.push_back(std::move(observer));
  return *std::move(share);
}

void Interpreter::World::Begin() {
  trace_.Clear();
  live_before_ = ShareHandle::live_count();
  for (int slot = 0; slot < kProgramHandles; ++slot) {
    std::shared_ptr<TestHandle> handle = NewHandle(slot);
    absl::MutexLock lock(&mu_);
    handles_[slot] = std::move(handle);
  }
}

void Interpreter::World::End() {
  Check(ShareHandle::live_count() == live_before_,
        absl::StrCat(ShareHandle::live_count() - live_before_,
                     " CURLSH are left at the end"));
  Check(transfers_begun_ == transfers_ended_, "a transfer has not ended");
  absl::MutexLock lock(&mu_);
  for (const auto& observer : observers_) observer->CheckAllUnlocked();
  observers_.clear();
}

// ---- In step

void Interpreter::World::RunInStep(absl::Span<const Op> program) {
  Begin();
  model_.emplace();
  Compare();
  for (const Op& op : program) Step(op);
  // Out of everything, and all away.
  Op op;
  op.kind = OpKind::kReleaseStalled;
  Step(op);
  const auto in_frames = [this] {
    int count = 0;
    for (int i = 0; i < kProgramThreads; ++i) count += model_->InFrame(i);
    return count;
  };
  while (in_frames() > 0) {
    for (int i = 0; i < kProgramThreads; ++i) {
      op.kind = OpKind::kEndFrame;
      op.thread = static_cast<uint8_t>(i);
      Step(op);
    }
  }
  op.thread = 0;
  op.kind = OpKind::kDestroyShare;
  for (op.share = 0; op.share < kProgramShares; ++op.share) Step(op);
  op.share = 0;
  op.kind = OpKind::kDestroyHandle;
  for (op.handle = 0; op.handle < kProgramHandles; ++op.handle) Step(op);
  Check(model_->live() == 0, "the model is left with a CURLSH");
  End();
}

void Interpreter::World::Step(const Op& op) {
  const ShareModel::Prediction expected = model_->Apply(op);
  if (expected.what == ShareModel::What::kSkip) {
    ++skipped_;
    return;
  }
  ++operations_;
  const std::string text = FormatOp(op);
  const auto await = [&](int thread, bool parks,
                         const ShareModel::Codes& allowed) {
    const std::optional<Worker::Event> event =
        workers_[thread]->Await(kPatience);
    const std::string wanted = parks ? "a callback or Use" : Names(allowed);
    if (!event.has_value()) {
      trace_.Die(absl::StrCat("thread ", thread, " hangs at ", text,
                              "; the model has ", wanted));
    }
    trace_.Add(absl::StrCat(
        text, thread == op.thread ? "" : absl::StrCat(" (thread ", thread, ")"),
        " -> ", event->parked ? "inside" : CodeName(event->code)));
    Check(event->parked == parks &&
              (parks || absl::c_linear_search(allowed, event->code)),
          absl::StrCat(text, ": the model has ", wanted));
  };
  if (op.kind == OpKind::kReleaseStalled) {
    server_->ReleaseStalled();
    stalls_ = 0;
    trace_.Add(text);
  } else {
    workers_[op.thread]->Give(op);
    if (expected.what == ShareModel::What::kStalls) {
      ++stalls_;
      const absl::Time deadline = absl::Now() + kPatience;
      while (!server_->WaitForStalled(stalls_,
                                      absl::Now() + absl::Milliseconds(50))) {
        const std::optional<Worker::Event> event =
            workers_[op.thread]->Await(absl::ZeroDuration());
        Check(!event.has_value() && absl::Now() < deadline,
              absl::StrCat(text,
                           event.has_value()
                               ? " returned " + CodeName(event->code)
                               : " hangs",
                           "; the model has it stalled"));
      }
      trace_.Add(absl::StrCat(text, " -> stalled"));
    } else {
      await(op.thread, expected.what == ShareModel::What::kParks,
            expected.allowed);
    }
  }
  for (const ShareModel::Finished& finished : expected.finished) {
    await(finished.thread, false, finished.allowed);
  }
  if (op.kind == OpKind::kEnable || op.kind == OpKind::kDisable ||
      op.kind == OpKind::kFlush || op.kind == OpKind::kSaveCookies) {
    CompareCookies(op.share);
  }
  if (model_->stalled() == 0 && stalls_ > 0) {
    // The requests that were cancelled.
    server_->ReleaseStalled();
    stalls_ = 0;
  }
  Compare();
}

void Interpreter::World::CompareCookies(int slot) {
  const std::optional<bool> expected = model_->has_cookie(slot);
  if (!expected.has_value()) return;
  const absl::StatusOr<std::string> cookies = GetShare(slot)->ExportCookies();
  Check(cookies.status());
  Check(absl::StrContains(*cookies, "\ta\tb\n") == *expected,
        absl::StrCat("the model has ", *expected ? "a" : "no",
                     " cookie in share ", slot, ": ", *cookies));
}

void Interpreter::World::Compare() {
  std::string difference = Difference();
  const absl::Time deadline = absl::Now() + kPatience;
  while (!difference.empty() && model_->settles_by_itself() &&
         absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
    difference = Difference();
  }
  Check(difference.empty(), difference);
}

std::string Interpreter::World::Difference() {
  const auto differ = [](absl::string_view what, int slot, const auto& is,
                         const auto& model) {
    return is == model ? std::string()
                       : absl::StrCat(what, " ", slot, " is ", is,
                                      "; the model has ", model);
  };
  std::string text;
  std::array<const Share*, kProgramShares> known{};
  for (int slot = 0; slot < kProgramShares; ++slot) {
    const std::shared_ptr<Share> share = GetShare(slot);
    known[slot] = share.get();
    text = differ("existence of share", slot, share != nullptr,
                  model_->has_share(slot));
    if (!text.empty()) return text;
    if (share == nullptr) continue;
    const ShareStats stats = share->stats();
    for (const std::string& found :
         {differ("handles attached to share", slot, share->attached(),
                 model_->attached(slot)),
          differ("closed() of share", slot, share->closed(),
                 model_->closed(slot)),
          differ("gated() of share", slot, share->gated(), model_->gated(slot)),
          differ("kinds of share", slot, share->lock_data().ToString(),
                 model_->kinds(slot).ToString()),
          differ("dropped unlocks of share", slot, stats.dropped_unlocks,
                 uint64_t{0}),
          differ("unknown kinds of share", slot, stats.unknown_kinds,
                 uint64_t{0})}) {
      if (!found.empty()) return found;
    }
  }
  for (int slot = 0; slot < kProgramHandles; ++slot) {
    const std::shared_ptr<TestHandle> handle = GetHandle(slot);
    text = differ("existence of handle", slot, handle != nullptr,
                  model_->has_handle(slot));
    if (!text.empty()) return text;
    if (handle == nullptr) continue;
    const int expected = model_->share_of(slot);
    if (IsEasy(slot)) {
      const Share* const wanted = expected < 0 ? nullptr : known[expected];
      if (handle->easy->share() != wanted) {
        return absl::StrCat(
            "handle ", slot,
            " is not in the share that the model has: ", expected);
      }
    } else {
      text = differ("attached() of handle", slot, handle->attachment.attached(),
                    expected != ShareModel::kNone);
      if (!text.empty()) return text;
    }
  }
  return differ("CURLSH, before the program", static_cast<int>(live_before_),
                ShareHandle::live_count() - live_before_,
                static_cast<int64_t>(model_->live()));
}

// ---- Free

void Interpreter::World::RunFree(absl::Span<const Op> program) {
  Begin();
  free_ = true;
  SetScheduleNoise(true);
  std::array<std::vector<Op>, kProgramThreads> parts;
  for (Op op : program) {
    // Handles of its own, but any to cancel.
    if (op.kind != OpKind::kCancel) {
      op.handle = static_cast<uint8_t>(
          op.thread + (IsEasy(op.handle) ? 0 : kProgramEasies));
    }
    parts[op.thread].push_back(op);
  }
  for (int i = 0; i < kProgramThreads; ++i) {
    trace_.Add(absl::StrCat("thread ", i, ":"));
    for (const Op& op : parts[i]) trace_.Add(FormatOp(op));
  }
  for (int i = 0; i < kProgramThreads; ++i) {
    workers_[i]->Give(std::move(parts[i]));
  }
  for (int i = 0; i < kProgramThreads; ++i) {
    Check(workers_[i]->Await(absl::InfiniteDuration()).has_value(), "hangs");
  }
  SetScheduleNoise(false);
  free_ = false;

  // Quiet: nobody is in use, so that every close ends at once.
  std::vector<std::shared_ptr<Share>> strict;
  for (int slot = 0; slot < kProgramShares; ++slot) {
    std::shared_ptr<Share> share;
    {
      absl::MutexLock lock(&mu_);
      share = std::exchange(shares_[slot], nullptr);
    }
    if (share == nullptr) continue;
    size_t easies = 0;
    for (int i = 0; i < kProgramEasies; ++i) {
      const std::shared_ptr<TestHandle> handle = GetHandle(i);
      if (handle != nullptr && handle->easy->share() == share.get()) ++easies;
    }
    Check(
        share->attached() >= easies &&
            share->attached() <=
                easies + static_cast<size_t>(kProgramHandles - kProgramEasies),
        absl::StrCat(share->name(), ": ", share->attached(), " attached, with ",
                     easies, " Easy in it"));
    Check(share->stats().dropped_unlocks == 0, "an unlock was dropped");
    if (!share->options().detach_on_close) {
      strict.push_back(std::move(share));
      continue;
    }
    Check(share->Close());
    Check(share->closed() && share->attached() == 0,
          "a share is closed with handles attached");
  }
  for (int slot = 0; slot < kProgramHandles; ++slot) {
    std::shared_ptr<TestHandle> handle;
    {
      absl::MutexLock lock(&mu_);
      handle = std::exchange(handles_[slot], nullptr);
    }
    if (handle != nullptr) handle->attachment = Attachment();
  }
  for (const std::shared_ptr<Share>& share : strict) {
    Check(share->attached() == 0, "a handle has gone and is attached");
    Check(share->Close());
  }
  strict.clear();
  End();
}

// ---- The interface

absl::StatusOr<std::unique_ptr<Interpreter>> Interpreter::Create() {
  auto world = std::make_unique<World>();
  if (absl::Status status = world->Start(); !status.ok()) return status;
  return std::unique_ptr<Interpreter>(new Interpreter(std::move(world)));
}

Interpreter::Interpreter(std::unique_ptr<World> world)
    : world_(std::move(world)) {}
Interpreter::~Interpreter() = default;

void Interpreter::RunInStep(absl::Span<const Op> program) {
  world_->RunInStep(program);
}
void Interpreter::RunFree(absl::Span<const Op> program) {
  world_->RunFree(program);
}
InterpreterCounts Interpreter::counts() const { return world_->counts(); }

}  // namespace curlshare::testing
