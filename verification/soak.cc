// SPDX-License-Identifier: Apache-2.0
// Hours of a busy service in minutes: threads come and go, handles come and go,
// shares of all kinds and limits open and close under load, idle connections
// are closed at any moment. At the end, memory, file descriptors and threads
// must be where they were, and no handle may have lost or mixed up what it was
// answered.
//
//   bazel run -c opt //verification:soak -- --minutes=20
//   bazel run --config=tsan //verification:soak -- --minutes=3
//
// The time is cut into stretches. After each, everything is closed and joined,
// and what the process still has is measured. The exit status is 0 if the last
// measurement is level with that after the first stretch, which warms up, and
// if every call returned what it may; else 1.
#include <curl/curl.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/verification/ftp_server.h"
#include "curlshare/verification/table.h"

// The sanitizers' allocators, where one is linked in; glibc's figures are then
// of memory that nobody uses.
extern "C" size_t __sanitizer_get_current_allocated_bytes()  // NOLINT
    __attribute__((weak));

namespace curlshare::testing {
namespace {

using Code = absl::StatusCode;

constexpr int kShares = 4;
constexpr int kClosers = 2;
constexpr int kStretches = 6;
constexpr char kHost[] = "a.curlshare.test";
constexpr char kTlsHost[] = "b.curlshare.test";
constexpr absl::Duration kTransferTimeout = absl::Seconds(60);
// Of a transfer in a callback, which may wait for the very transfer that it is
// in: max_transfers_per_host.
constexpr absl::Duration kNestedTimeout = absl::Milliseconds(200);
// Living handles of one thread, used in turn.
constexpr size_t kHandlesPerThread = 4;
// How much more may be in use at the end: caches that have grown to their size.
constexpr int64_t kMallocSlack = int64_t{512} << 10;
constexpr int64_t kRssSlack = int64_t{32} << 20;

struct Settings {
  double minutes = 1;
  int threads = 12;
};

struct Counts {
  std::atomic<int64_t> transfers{0};
  std::atomic<int64_t> cancelled{0};
  std::atomic<int64_t> failed_as_provoked{0};
  std::atomic<int64_t> nested{0};
  std::atomic<int64_t> handles{0};
  std::atomic<int64_t> threads{0};
  std::atomic<int64_t> shares{0};
  std::atomic<int64_t> deadlines_passed{0};
  std::atomic<int64_t> redirects{0};
  std::atomic<int64_t> answers{0};  // looked at again later
  std::atomic<int64_t> traced{0};   // calls of CURLOPT_DEBUGFUNCTION
  // Of the shares that a closer has taken leave of.
  std::atomic<uint64_t> reused{0};
  std::atomic<uint64_t> closed_idle{0};  // by age, or when told to
  std::atomic<uint64_t> closed_over_cap{0};
  std::atomic<uint64_t> waited{0};
  std::atomic<int64_t> wrong{0};  // calls that returned what they must not
};

// What the process has.
struct Footprint {
  int64_t malloc_bytes = 0;
  int64_t rss_bytes = 0;
  int64_t descriptors = 0;
  int64_t threads = 0;
  int64_t curlsh = 0;
};

bool SanitizerAllocates() {
  return &__sanitizer_get_current_allocated_bytes != nullptr;
}

int64_t CountEntries(const char* path) {
  std::error_code error;
  const std::filesystem::directory_iterator directory(path, error);
  return error ? -1 : std::distance(begin(directory), end(directory));
}

Footprint Measure() {
  malloc_trim(0);
  Footprint now;
  now.malloc_bytes =
      SanitizerAllocates()
          ? static_cast<int64_t>(__sanitizer_get_current_allocated_bytes())
          : static_cast<int64_t>(mallinfo2().uordblks + mallinfo2().hblkhd);
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  now.rss_bytes = pages * sysconf(_SC_PAGESIZE);
  now.descriptors = CountEntries("/proc/self/fd") - 1;  // that of the directory
  now.threads = CountEntries("/proc/self/task");
  now.curlsh = ShareHandle::live_count();
  return now;
}

// Closes with a reset, so that no port is left waiting.
int OnSocket(void* /*data*/, curl_socket_t socket, curlsocktype) noexcept {
  const linger reset = {1, 0};
  return setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0
             ? CURL_SOCKOPT_OK
             : CURL_SOCKOPT_ERROR;
}

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};

size_t Ignore(char*, size_t size, size_t count, void*) noexcept {
  return size * count;
}

// Nobody but the thread that transfers may call it: `count` has no lock.
int OnDebug(CURL*, curl_infotype, char*, size_t, void* count) noexcept {
  ++*static_cast<int64_t*>(count);
  return 0;
}

using Random = std::minstd_rand;

// What a transfer is to end with.
struct Expected {
  Code outcome = Code::kOk;
  bool has_headers = true;  // HTTP
  int size = -1;            // of the body; -1: any
};

// A handle that lives for some transfers among others of its thread.
struct LivingEasy {
  explicit LivingEasy(Easy made) : easy(std::move(made)) {}

  int64_t traced = 0;  // outlives the handle, which points to it
  Easy easy;
  // What its newest answer was; unset where that is not known.
  std::optional<int> size;
};

class Soak {
 public:
  explicit Soak(int threads) : threads_(threads) {}

  // Load until `until`, then quiet: all threads joined, all shares closed, the
  // servers stopped.
  absl::Status Run(absl::Time until);
  const Counts& counts() const { return counts_; }

 private:
  void Worker(uint32_t seed);
  std::unique_ptr<LivingEasy> NewEasy(Random& random);
  void UseEasy(LivingEasy& living, Random& random);
  void CheckAnswer(LivingEasy& living);
  void UseRaw(Random& random);
  void SaveAndRestore(Share& share);
  void Closer(uint32_t seed, absl::Time until);
  std::shared_ptr<Share> NewShare(Random& random);
  void Close(Share& share, Random& random);
  void CountAtEnd(const Share& share);
  std::string Url(Random& random, Expected* expected);

  // Notes what a call returned; true for kOk.
  bool Expect(const absl::Status& status, std::initializer_list<Code> others,
              absl::string_view call);
  bool ExpectTransfer(const absl::Status& status, Code outcome);

  std::shared_ptr<Share> Pick(Random& random) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return shares_[random() % kShares];
  }

  const int threads_;
  // Of one stretch: a server keeps the threads that it once needed.
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpServer> other_server_;
  std::unique_ptr<HttpServer> tls_server_;
  std::unique_ptr<FtpServer> ftp_server_;
  Counts counts_;
  std::atomic<bool> stop_{false};
  absl::Mutex mu_;
  std::array<std::shared_ptr<Share>, kShares> shares_ ABSL_GUARDED_BY(mu_);
};

bool Soak::Expect(const absl::Status& status,
                  std::initializer_list<Code> others, absl::string_view call) {
  if (status.ok()) return true;
  if (absl::c_linear_search(others, status.code())) return false;
  // The first few tell enough.
  if (counts_.wrong.fetch_add(1) < 10) {
    std::fputs(absl::StrCat(call, ": ", status.ToString(), "\n").c_str(),
               stderr);
  }
  return false;
}

bool Soak::ExpectTransfer(const absl::Status& status, Code outcome) {
  ++counts_.transfers;
  if (status.code() == Code::kCancelled) ++counts_.cancelled;
  if (!status.ok() && status.code() == outcome) ++counts_.failed_as_provoked;
  return Expect(status, {Code::kCancelled, outcome}, "transfer");
}

std::string Soak::Url(Random& random, Expected* expected) {
  *expected = {};
  const int size = 10 + static_cast<int>(random() % 1000);
  const std::string bytes = absl::StrCat("/bytes?n=", size);
  switch (random() % 16) {
    case 0:
      return server_->url("/cookie/set?name=a&value=b", kHost);
    case 1:
      return tls_server_->url("/hsts?max_age=1000", kTlsHost);
    case 2:
      return tls_server_->url("/cookie/show", kTlsHost);
    case 3:
      return server_->url("/delay?ms=2", kHost);
    case 4:
      expected->outcome = EasyStatus(CURLE_PARTIAL_FILE, "").code();
      return server_->url("/drop?after=10", kHost);
    case 5:
      return server_->url("/bytes?n=100000", kHost);
    case 6:
      expected->size = size;
      return tls_server_->url(bytes, kTlsHost);
    case 7:
    case 8: {
      // From one server to the other.
      HttpServer* const from =
          random() % 2 == 0 ? server_.get() : other_server_.get();
      HttpServer* const to = random() % 3 == 0       ? tls_server_.get()
                             : from == server_.get() ? other_server_.get()
                                                     : server_.get();
      ++counts_.redirects;
      expected->size = size;
      return from->url(
          absl::StrCat(
              "/redirect?to=",
              to->url(bytes, to == tls_server_.get() ? kTlsHost : kHost)),
          kHost);
    }
    case 9:
      expected->size = size;
      return other_server_->url(bytes, kHost);
    // Connections, and handles, that keep the credentials of a user.
    case 10:
      expected->size = size;
      expected->has_headers = false;
      return absl::StrCat("ftp://u", random() % 2,
                          ":secret@127.0.0.1:", ftp_server_->port(), "/", size,
                          ".txt");
    case 11: {
      const std::string user = absl::StrCat("u", random() % 2);
      return server_->url(absl::StrCat("/auth/digest?user=", user),
                          absl::StrCat(user, ":secret@", kHost));
    }
    default:
      expected->size = size;
      return server_->url(bytes, kHost);
  }
}

std::unique_ptr<LivingEasy> Soak::NewEasy(Random& random) {
  absl::StatusOr<Easy> made = Easy::Create();
  if (!Expect(made.status(), {}, "Easy::Create")) return nullptr;
  ++counts_.handles;
  auto living = std::make_unique<LivingEasy>(*std::move(made));
  Easy& easy = living->easy;
  for (const absl::Status& status :
       {easy.SetTimeout(kTransferTimeout),
        easy.SetOption<CURLOPT_PROTOCOLS_STR>("http,https,ftp"),
        easy.SetCaCertificates(tls_server_->ca_pem()),
        easy.SetFollowRedirects(3),
        easy.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_DIGEST),
        easy.SetOption<CURLOPT_RESOLVE>(
            {absl::StrCat(kHost, ":", server_->port(), ":127.0.0.1"),
             absl::StrCat(kHost, ":", other_server_->port(), ":127.0.0.1"),
             absl::StrCat(kTlsHost, ":", tls_server_->port(),
                          ":127.0.0.1")})}) {
    Expect(status, {}, "an option");
  }
  if (random() % 8 == 0) {
    // This one has connections of its own.
    Expect(easy.SetOption<CURLOPT_SOCKOPTFUNCTION>(&OnSocket, nullptr), {},
           "an option");
  }
  if (random() % 4 == 0) {
    Expect(easy.SetOption<CURLOPT_DEBUGFUNCTION>(&OnDebug, &living->traced), {},
           "an option");
    Expect(easy.SetOption<CURLOPT_VERBOSE>(true), {}, "an option");
  }
  Expect(easy.Attach(*Pick(random)), {Code::kFailedPrecondition}, "Attach");
  return living;
}

void Soak::CheckAnswer(LivingEasy& living) {
  const auto headers = living.easy.GetHeaders();
  if (!Expect(headers.status(), {}, "GetHeaders")) return;
  if (!living.size.has_value()) return;
  ++counts_.answers;
  const std::string size = absl::StrCat(*living.size);
  const bool found = absl::c_any_of(*headers, [&](const auto& header) {
    return absl::EqualsIgnoreCase(header.first, "Content-Length") &&
           header.second == size;
  });
  const absl::StatusOr<long> code =
      living.easy.GetInfo<CURLINFO_RESPONSE_CODE>();
  if (found && code.ok() && *code == 200) return;
  // The answer to QUIT: this libcurl says goodbye to the FTP server on the
  // handle whose transfer has just ended, when it keeps one connection too many
  // (Curl_conncache_return_conn).
  if (found && code.ok() && *code == 221 &&
      RunningLibcurl().version_num < LibcurlVersion(8, 12, 0)) {
    return;
  }
  Expect(absl::InternalError(
             absl::StrCat("of an answer of ", size, " bytes: ", headers->size(),
                          " headers, status ", code.value_or(-1))),
         {}, "GetHeaders");
}

void Soak::UseEasy(LivingEasy& living, Random& random) {
  Easy& easy = living.easy;
  // Whatever became of its connections meanwhile.
  CheckAnswer(living);
  const int transfers = 1 + static_cast<int>(random() % 3);
  for (int i = 0; i < transfers; ++i) {
    Expected expected;
    int64_t got = 0;
    Expect(easy.SetUrl(Url(random, &expected)), {}, "SetUrl");
    const bool nested = random() % 8 == 0;
    // From a callback: a copy comes, transfers, and goes.
    bool done = !nested;
    Expect(easy.SetSink([&](absl::string_view piece) {
      got += static_cast<int64_t>(piece.size());
      if (std::exchange(done, true)) return absl::OkStatus();
      absl::StatusOr<Easy> other = Easy::Create();
      if (!Expect(other.status(), {}, "Easy::Create")) return absl::OkStatus();
      ++counts_.handles;
      ++counts_.nested;
      Expect(other->SetTimeout(kNestedTimeout), {}, "an option");
      Expect(other->Attach(*Pick(random)), {Code::kFailedPrecondition},
             "Attach in a callback");
      const absl::Status status =
          other->Fetch(server_->url("/bytes?n=10")).status();
      ++counts_.transfers;
      Expect(status,
             {Code::kCancelled, Code::kFailedPrecondition,
              Code::kDeadlineExceeded},
             "Fetch in a callback");
      return absl::OkStatus();
    }),
           {}, "SetSink");
    const absl::Status status = easy.Perform();
    Expect(easy.SetSink(nullptr), {}, "SetSink");
    living.size.reset();
    if (ExpectTransfer(status, expected.outcome) && expected.size >= 0) {
      if (expected.has_headers) living.size = expected.size;
      if (got != expected.size) {
        Expect(absl::InternalError(
                   absl::StrCat(got, " bytes instead of ", expected.size)),
               {}, "transfer");
      }
    }
    if (random() % 4 == 0) CheckAnswer(living);
    if (random() % 16 == 0) {
      Expect(easy.Detach(), {Code::kFailedPrecondition}, "Detach");
      // For a while some are in no share, and keep their connections.
      if (random() % 2 == 0) {
        Expect(easy.Attach(*Pick(random)),
               {Code::kFailedPrecondition, Code::kAlreadyExists}, "Attach");
      }
    } else if (easy.share() == nullptr && random() % 2 == 0) {
      Expect(easy.Attach(*Pick(random)),
             {Code::kFailedPrecondition, Code::kAlreadyExists}, "Attach");
    }
    if (random() % 32 == 0) (void)Pick(random)->CloseIdleConnections();
    if (random() % 16 == 0) {
      absl::StatusOr<Easy> copy = easy.Duplicate();
      if (Expect(copy.status(), {}, "Duplicate")) {
        easy = *std::move(copy);
        living.size.reset();
      }
      ++counts_.handles;
    }
  }
}

void Soak::UseRaw(Random& random) {
  const std::unique_ptr<CURL, CurlDeleter> curl(curl_easy_init());
  if (curl == nullptr) {
    ++counts_.wrong;
    return;
  }
  ++counts_.handles;
  const curl_write_callback ignore = &Ignore;
  for (const CURLcode code :
       {curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 60L),
        curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, ignore),
        curl_easy_setopt(curl.get(), CURLOPT_SOCKOPTFUNCTION, &OnSocket)}) {
    Expect(EasyStatus(code, "curl_easy_setopt"), {}, "an option");
  }
  absl::StatusOr<Attachment> attachment = Pick(random)->Attach(curl.get());
  if (!Expect(attachment.status(), {Code::kFailedPrecondition}, "Attach")) {
    return;
  }
  const int transfers = 1 + static_cast<int>(random() % 6);
  for (int i = 0; i < transfers; ++i) {
    {
      const absl::StatusOr<Attachment::Use> use = attachment->BeginUse();
      if (!Expect(use.status(), {}, "BeginUse")) return;
      Expect(EasyStatus(curl_easy_setopt(use->handle(), CURLOPT_URL,
                                         server_->url("/bytes?n=10").c_str()),
                        "curl_easy_setopt"),
             {}, "an option");
    }
    if (random() % 2 == 0) {
      ExpectTransfer(attachment->Perform(), Code::kOk);
      continue;
    }
    TransferOptions options;
    options.install_progress_function = true;
    absl::StatusOr<Attachment::Transfer> transfer =
        attachment->BeginTransfer(std::move(options));
    // Gated; or cancelled while it waited for the gate of one that was.
    if (!Expect(transfer.status(),
                {Code::kFailedPrecondition, Code::kCancelled},
                "BeginTransfer")) {
      continue;
    }
    ExpectTransfer(transfer->End(curl_easy_perform(transfer->handle())),
                   Code::kOk);
  }
}

void Soak::Worker(uint32_t seed) {
  Random random(seed);
  std::array<std::unique_ptr<LivingEasy>, kHandlesPerThread> living;
  const int uses = 1 + static_cast<int>(random() % 60);
  for (int i = 0; i < uses && !stop_; ++i) {
    if (random() % 6 == 0) {
      UseRaw(random);
      continue;
    }
    std::unique_ptr<LivingEasy>& one = living[random() % living.size()];
    if (random() % 8 == 0) one.reset();
    if (one == nullptr) one = NewEasy(random);
    if (one != nullptr) UseEasy(*one, random);
    if (one != nullptr) counts_.traced += std::exchange(one->traced, 0);
  }
}

std::shared_ptr<Share> Soak::NewShare(Random& random) {
  const LockDataSet all = LockDataSet::Available();
  ShareOptions options;
  switch (random() % 4) {
    case 0:
      break;  // what needs no gate
    case 1:
      options.lock_data = LockDataSet(LockData::kConnect) | LockData::kCookie;
      break;
    default:
      options.lock_data = all;
  }
  if (random() % 8 == 0) options.concurrency = Concurrency::kGated;
  options.detach_on_close = random() % 8 != 0;
  ConnectionOptions& connections = options.connections;
  if (random() % 3 == 0) connections.max_idle = static_cast<int>(random() % 6);
  if (random() % 4 == 0) {
    connections.idle_timeout = absl::Milliseconds(10 + random() % 100);
  }
  if (random() % 4 == 0) {
    connections.max_lifetime = absl::Milliseconds(10 + random() % 300);
  }
  if (random() % 4 == 0) {
    connections.max_transfers_per_host = 1 + static_cast<int>(random() % 4);
  }
  absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(options);
  if (!Expect(share.status(), {}, "Share::Create")) std::abort();
  ++counts_.shares;
  return *std::move(share);
}

void Soak::CountAtEnd(const Share& share) {
  const ConnectionStats stats = share.stats().connections;
  counts_.reused += stats.reused;
  counts_.closed_idle += stats.closed_idle + stats.closed_old;
  counts_.closed_over_cap += stats.closed_over_cap;
  counts_.waited += stats.waited;
}

void Soak::Close(Share& share, Random& random) {
  switch (random() % 4) {
    case 0:
      // As the last of those who use it goes.
      return;
    case 1: {
      const absl::Status status =
          share.Close(absl::Now() + absl::Milliseconds(3));
      Expect(status, {Code::kDeadlineExceeded, Code::kFailedPrecondition},
             "Close");
      if (status.code() == Code::kDeadlineExceeded) {
        ++counts_.deadlines_passed;
        Expect(share.CloseNow(absl::Now() + kTransferTimeout), {},
               "CloseNow after a deadline");
      }
      return;
    }
    case 2:
      Expect(share.Close(), {Code::kFailedPrecondition}, "Close");
      return;
    default:
      Expect(share.CloseNow(), {Code::kFailedPrecondition}, "CloseNow");
  }
}

void Soak::SaveAndRestore(Share& share) {
  const absl::StatusOr<std::string> cookies = share.ExportCookies();
  Expect(cookies.status(), {Code::kFailedPrecondition}, "ExportCookies");
  Expect(share.ImportCookies(cookies.value_or("")), {Code::kFailedPrecondition},
         "ImportCookies");
  const absl::StatusOr<std::string> sessions = share.ExportTlsSessions();
  Expect(sessions.status(), {Code::kFailedPrecondition, Code::kUnimplemented},
         "ExportTlsSessions");
  Expect(share.ImportTlsSessions(sessions.value_or("")),
         {Code::kFailedPrecondition, Code::kUnimplemented},
         "ImportTlsSessions");
}

void Soak::Closer(uint32_t seed, absl::Time until) {
  Random random(seed);
  while (absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(random() % 30));
    const std::shared_ptr<Share> some = Pick(random);
    const LockDataSet kinds = random() % 2 == 0
                                  ? LockDataSet(LockData::kSslSession)
                                  : LockDataSet(LockData::kConnect);
    Expect(random() % 2 == 0 ? some->Enable(kinds) : some->Disable(kinds),
           {Code::kFailedPrecondition}, "Enable or Disable");
    if (random() % 2 == 0) {
      (void)Pick(random)->CloseIdleConnections(
          absl::Milliseconds(random() % 2 * 20));
    }
    if (random() % 2 == 0) {
      constexpr LockDataSet kWhich[] = {
          LockDataSet::All(), LockData::kConnect,
          // What takes a new CURLSH, and what is emptied in place.
          LockDataSet{LockData::kSslSession, LockData::kPsl},
          LockDataSet{LockData::kCookie, LockData::kDns}};
      Expect(Pick(random)->Flush(kWhich[random() % std::size(kWhich)]),
             {Code::kFailedPrecondition}, "Flush");
    }
    if (random() % 4 == 0) SaveAndRestore(*Pick(random));
    if (random() % 4 != 0) continue;
    std::shared_ptr<Share> share = NewShare(random);
    {
      absl::MutexLock lock(&mu_);
      std::swap(shares_[random() % kShares], share);
    }
    CountAtEnd(*share);
    Close(*share, random);
  }
}

absl::Status Soak::Run(absl::Time until) {
  for (std::unique_ptr<HttpServer>* server :
       {&server_, &other_server_, &tls_server_}) {
    HttpServerOptions options;
    options.tls = server == &tls_server_;
    absl::StatusOr<std::unique_ptr<HttpServer>> started =
        HttpServer::Start(options);
    if (!started.ok()) return started.status();
    *server = *std::move(started);
  }
  absl::StatusOr<std::unique_ptr<FtpServer>> ftp = FtpServer::Start();
  if (!ftp.ok()) return ftp.status();
  ftp_server_ = *std::move(ftp);
  Random random(std::random_device{}());
  for (int slot = 0; slot < kShares; ++slot) {
    std::shared_ptr<Share> share = NewShare(random);
    absl::MutexLock lock(&mu_);
    shares_[slot] = std::move(share);
  }
  stop_ = false;
  std::vector<std::thread> closers;
  closers.reserve(kClosers);
  for (int i = 0; i < kClosers; ++i) {
    closers.emplace_back([this, until, seed = static_cast<uint32_t>(random())] {
      Closer(seed, until);
    });
  }
  struct Slot {
    std::thread thread;
    std::atomic<bool> ended{true};
  };
  std::vector<Slot> slots(threads_);
  while (absl::Now() < until) {
    for (Slot& slot : slots) {
      if (!slot.ended) continue;
      if (slot.thread.joinable()) slot.thread.join();
      slot.ended = false;
      ++counts_.threads;
      slot.thread =
          std::thread([this, &slot, seed = static_cast<uint32_t>(random())] {
            Worker(seed);
            slot.ended = true;
          });
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  stop_ = true;
  for (Slot& slot : slots) {
    if (slot.thread.joinable()) slot.thread.join();
  }
  for (std::thread& closer : closers) closer.join();
  std::array<std::shared_ptr<Share>, kShares> shares;
  {
    absl::MutexLock lock(&mu_);
    shares.swap(shares_);
  }
  for (const std::shared_ptr<Share>& share : shares) {
    if (share->attached() != 0) {
      ++counts_.wrong;
      std::fputs("a share is left with handles attached\n", stderr);
    }
    CountAtEnd(*share);
    Expect(share->Close(), {}, "the last Close");
  }
  server_.reset();
  other_server_.reset();
  tls_server_.reset();
  ftp_server_.reset();
  return absl::OkStatus();
}

std::string Mib(int64_t bytes) {
  return absl::StrFormat("%.2f", static_cast<double>(bytes) / (1 << 20));
}

int RunSoak(const Settings& settings) {
  Soak soak(settings.threads);
  std::vector<std::vector<std::string>> rows = {
      {"after", "transfers", "cancelled", "threads run", "handles", "shares",
       "malloc MiB", "RSS MiB", "files", "threads", "CURLSH"}};
  const absl::Time start = absl::Now();
  Footprint first;
  Footprint last;
  for (int i = 1; i <= kStretches; ++i) {
    const absl::Status status =
        soak.Run(absl::Now() + absl::Minutes(settings.minutes) / kStretches);
    if (!status.ok()) {
      std::fputs(absl::StrCat(status.ToString(), "\n").c_str(), stderr);
      return EXIT_FAILURE;
    }
    last = Measure();
    if (i == 1) first = last;
    const Counts& counts = soak.counts();
    rows.push_back(
        {absl::StrFormat("%.0f s", absl::ToDoubleSeconds(absl::Now() - start)),
         absl::StrCat(counts.transfers.load()),
         absl::StrCat(counts.cancelled.load()),
         absl::StrCat(counts.threads.load()),
         absl::StrCat(counts.handles.load()),
         absl::StrCat(counts.shares.load()), Mib(last.malloc_bytes),
         Mib(last.rss_bytes), absl::StrCat(last.descriptors),
         absl::StrCat(last.threads), absl::StrCat(last.curlsh)});
    if (isatty(STDERR_FILENO) == 1) {
      std::fputs(absl::StrCat("\r", i, " of ", kStretches, "\x1b[K").c_str(),
                 stderr);
    }
  }
  if (isatty(STDERR_FILENO) == 1) std::fputs("\r\x1b[K", stderr);
  const Counts& counts = soak.counts();
  std::fputs(absl::StrCat(
                 "libcurl ", RunningLibcurl().version, ", ", settings.threads,
                 " threads at a time, ", kClosers, " more that close\n",
                 DrawTable(std::move(rows)), counts.nested.load(),
                 " transfers in callbacks, ", counts.failed_as_provoked.load(),
                 " failed as provoked, ", counts.deadlines_passed.load(),
                 " closes met their deadline first\n", counts.redirects.load(),
                 " redirects, ", counts.answers.load(),
                 " answers looked at later, ", counts.traced.load(),
                 " lines of traces\nconnections: ", counts.reused.load(),
                 " transfers on one of the share's, ",
                 counts.closed_idle.load(), " closed by age or when told to, ",
                 counts.closed_over_cap.load(), " as one too many, ",
                 counts.waited.load(), " transfers waited their turn\n",
                 counts.wrong.load(), " calls returned what they must not\n")
                 .c_str(),
             stdout);

  std::string problems;
  const auto level = [&](absl::string_view what, int64_t before, int64_t after,
                         int64_t slack) {
    if (after > before + slack) {
      absl::StrAppend(&problems, what, " grew from ", before, " to ", after,
                      "\n");
    }
  };
  level("memory in use", first.malloc_bytes, last.malloc_bytes, kMallocSlack);
  // A sanitizer keeps what it has seen.
  if (!SanitizerAllocates()) {
    level("resident memory", first.rss_bytes, last.rss_bytes, kRssSlack);
  }
  level("file descriptors", first.descriptors, last.descriptors, 0);
  level("threads", first.threads, last.threads, 0);
  level("CURLSH", 0, last.curlsh, 0);
  if (counts.wrong > 0) absl::StrAppend(&problems, "see above\n");
  if (counts.transfers == 0 || counts.cancelled == 0 || counts.nested == 0 ||
      counts.redirects == 0 || counts.answers == 0 || counts.traced == 0 ||
      counts.reused == 0 || counts.closed_idle == 0 ||
      counts.closed_over_cap == 0 || counts.waited == 0) {
    absl::StrAppend(&problems, "too little was done\n");
  }
  if (problems.empty()) return EXIT_SUCCESS;
  std::fputs(absl::StrCat("NOT LEVEL: ", problems).c_str(), stderr);
  return EXIT_FAILURE;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app(
      "Lets threads, handles and shares come and go under load, and looks "
      "whether memory, file descriptors and threads are level at the end.",
      "soak");
  app.add_option("--minutes", settings.minutes)
      ->check(CLI::Range(0.05, 10000.0))
      ->capture_default_str();
  app.add_option("--threads", settings.threads, "At a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EXIT_SUCCESS : 2;
  }
  return RunSoak(settings);
}

}  // namespace
}  // namespace curlshare::testing

int main(int argc, char** argv) { return curlshare::testing::Main(argc, argv); }
