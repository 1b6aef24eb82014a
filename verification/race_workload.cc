// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/race_workload.h"

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/attributes.h"
#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/connection_options.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/threads.h"
#include "curlshare/verification/raw_share.h"

namespace curlshare::testing {
namespace {

// Names the certificate has; with a domain, for the Public Suffix List and
// HSTS.
constexpr char kHost[] = "a.curlshare.test";
constexpr char kOtherHost[] = "b.curlshare.test";
constexpr absl::Duration kTimeout = absl::Seconds(20);
// More than any workload opens: the default would close those of others.
constexpr long kMaxConnects = 64;
// A handle lives for so many requests, so that some always come and go.
constexpr int kRequestsPerHandle = 10;
// Living handles of each thread, where it has several.
constexpr int kManyHandles = 5;

struct Request {
  std::string url;
  // Codes that it may end with.
  std::vector<CURLcode> expected = {CURLE_OK};
  // What the body has, where it ends well.
  std::optional<size_t> size;
  std::string text;

  bool close = false;  // the connection, so that the next needs a handshake
  bool follow = false;
  // Empty: none.
  std::string proxy;
  std::string proxy_user;
  std::string connect_to;
  std::string user;
  unsigned long auth = CURLAUTH_BASIC;
};

void ExpectDropped(Request& request) {
  // TLS notices that the end is missing before the body does.
  request.expected = {CURLE_PARTIAL_FILE, CURLE_RECV_ERROR};
}

// One that differs from what others ask for about then.
int SizeOf(int thread, int i) { return 1 + thread * 100 + i % 100; }

std::string Base(const WorkloadOptions& options, absl::string_view host,
                 int port) {
  return absl::StrCat(options.servers.ca_pem.empty() ? "http" : "https", "://",
                      host, ":", port);
}

// `shared`: the handle is in the share.
Request MakeMixed(const WorkloadOptions& options, int thread, int i,
                  bool shared) {
  const bool tls = !options.servers.ca_pem.empty();
  const std::string base = Base(options, kHost, options.servers.port);
  Request request;
  request.close = i % 3 == 0;
  switch (i % 7) {
    case 0:
      request.url = absl::StrCat(base, "/hsts?max_age=1000");
      break;
    case 1:
      request.url = absl::StrCat(base, "/cookie/set?name=n", thread % 4,
                                 "&value=", i, "&domain=1");
      break;
    case 2: {
      // Upgraded where HSTS is shared (this handle or another has learnt it).
      const bool upgraded =
          shared && tls && options.kinds.Contains(LockData::kHsts);
      const int size = SizeOf(thread, i);
      request.url = absl::StrCat(
          upgraded ? absl::StrCat("http://", kHost, ":", options.servers.port)
                   : base,
          "/bytes?n=", size);
      request.size = size;
      break;
    }
    case 3:
      request.url = absl::StrCat(base, "/drop?after=100");
      ExpectDropped(request);
      break;
    case 4:
      request.url = absl::StrCat(base, "/cookie/expire?name=n", thread % 4);
      break;
    case 5:
      request.url = "http://127.0.0.1:1/";
      request.expected = {CURLE_COULDNT_CONNECT};
      break;
    default:
      request.url = absl::StrCat(base, "/bytes?n=5000");
      request.size = 5000;
      break;
  }
  return request;
}

Request MakeRedirect(const WorkloadOptions& options, int thread, int i) {
  const std::string a = Base(options, kHost, options.servers.port);
  const std::string b = Base(options, kOtherHost, options.servers.other_port);
  const int size = SizeOf(thread, i);
  const std::string bytes = absl::StrCat("/bytes?n=", size);
  Request request;
  request.close = i % 5 == 0;
  request.follow = true;
  request.size = size;
  constexpr absl::string_view kTo = "/redirect?to=";
  switch ((i + thread) % 8) {
    case 0:
      request.url = absl::StrCat(a, bytes);
      break;
    case 1:
      request.url = absl::StrCat(b, bytes);
      break;
    case 2:
      request.url = absl::StrCat(a, kTo, b, bytes);
      break;
    case 3:
      request.url = absl::StrCat(b, kTo, a, bytes);
      break;
    case 4:
      request.url = absl::StrCat(a, kTo, b, kTo, a, bytes);
      break;
    case 5:
      // Not followed.
      request.url = absl::StrCat(a, kTo, b, bytes);
      request.follow = false;
      request.size.reset();
      break;
    case 6:
      request.url = absl::StrCat(b, kTo, a, "/drop?after=100");
      ExpectDropped(request);
      break;
    default:
      request.url = absl::StrCat(a, kTo, b, "/cookie/set?name=n");
      request.size.reset();
      request.text = "ok";
      break;
  }
  return request;
}

Request MakeProxied(const WorkloadOptions& options, int thread, int i) {
  Request request;
  request.close = i % 7 == 0;
  const std::string host = absl::StrCat("h", i % 3, ".curlshare.test");
  const int size = SizeOf(thread, i);
  switch ((i + thread) % 4) {
    case 0:
      request.url = absl::StrCat(Base(options, host, options.servers.port),
                                 "/bytes?n=", size);
      request.connect_to = absl::StrCat("::127.0.0.1:", options.servers.port);
      request.size = size;
      break;
    case 1:
      request.url = absl::StrCat(Base(options, host, options.servers.port),
                                 "/drop?after=100");
      request.connect_to = absl::StrCat("::127.0.0.1:", options.servers.port);
      ExpectDropped(request);
      break;
    case 2:
      request.proxy_user = absl::StrCat("u", thread % 2, ":secret");
      ABSL_FALLTHROUGH_INTENDED;
    default:
      request.url = absl::StrCat("http://", host, "/bytes?n=", size);
      request.proxy =
          absl::StrCat("http://127.0.0.1:", options.servers.proxy_port);
      request.text = request.url;
      request.size = request.url.size();
      break;
  }
  return request;
}

Request MakeFtp(const WorkloadOptions& options, int thread, int i) {
  Request request;
  request.close = i % 9 == 0;
  request.user = absl::StrCat("u", (thread + i / 4) % 2, ":secret");
  const std::string base =
      absl::StrCat("ftp://127.0.0.1:", options.servers.ftp_port, "/");
  if (i % 6 == 5) {
    request.url = absl::StrCat(base, "missing");
    request.expected = {CURLE_REMOTE_FILE_NOT_FOUND};
    return request;
  }
  const int size = SizeOf(thread, i);
  request.url = absl::StrCat(base, i % 2 == 0 ? "folder/" : "", size, ".txt");
  request.size = size;
  return request;
}

Request MakeDigest(const WorkloadOptions& options, int thread, int i) {
  const std::string base = Base(options, kHost, options.servers.port);
  const std::string user = absl::StrCat("u", (thread + i / 4) % 2);
  Request request;
  request.close = i % 9 == 0;
  switch (i % 4) {
    case 0:
    case 1:
      request.url = absl::StrCat(base, "/auth/digest?user=", user);
      request.user = absl::StrCat(user, ":secret");
      request.auth = CURLAUTH_DIGEST;
      request.text = "ok";
      break;
    case 2:
      request.url = absl::StrCat(base, "/echo");
      request.user = absl::StrCat(user, ":secret");
      request.text = "Authorization: Basic";
      break;
    default:
      request.url = absl::StrCat(base, "/auth/digest?user=", user);
      request.text = "who?";
      break;
  }
  return request;
}

Request MakeRequest(const WorkloadOptions& options, int thread, int i,
                    bool shared) {
  switch (options.scenario) {
    case Scenario::kRedirects:
      return MakeRedirect(options, thread, i);
    case Scenario::kProxy:
      return MakeProxied(options, thread, i);
    case Scenario::kFtp:
      return MakeFtp(options, thread, i);
    case Scenario::kDigest:
      return MakeDigest(options, thread, i);
    case Scenario::kLeave:
      // Credentials that were kept outside the share come into it.
      return !shared && i % 2 == 0 ? MakeDigest(options, thread, i)
                                   : MakeMixed(options, thread, i, shared);
    default:
      return MakeMixed(options, thread, i, shared);
  }
}

std::vector<std::string> ResolveEntries(const WorkloadServers& servers) {
  return {absl::StrCat(kHost, ":", servers.port, ":127.0.0.1"),
          absl::StrCat(kOtherHost, ":", servers.other_port, ":127.0.0.1")};
}

// ---- Handles

// Used by one thread at a time.
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  virtual ~Handle() = default;

  // Whether it ended as it should.
  bool Ask(const Request& request) {
    body_.clear();
    const CURLcode code = Perform(request);
    if (!absl::c_linear_search(request.expected, code)) return false;
    return code != CURLE_OK ||
           (body_.size() == request.size.value_or(body_.size()) &&
            absl::StrContains(body_, request.text));
  }
  // Out of the share, and back; false where that fails.
  virtual bool Leave() = 0;
  virtual bool Join() = 0;

 protected:
  virtual CURLcode Perform(const Request& request) = 0;

  std::string body_;
};

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistDeleter>;

const char* OrNull(const std::string& text) {
  return text.empty() ? nullptr : text.c_str();
}

// A CURL* by hand, in a CURLSH.
class RawHandle : public Handle {
 public:
  RawHandle(const WorkloadOptions& options, CURLSH* share)
      : share_(share), curl_(curl_easy_init()) {
    curl_slist* entries = nullptr;
    for (const std::string& entry : ResolveEntries(options.servers)) {
      entries = curl_slist_append(entries, entry.c_str());
    }
    resolve_.reset(entries);
    const curl_write_callback collect = &Collect;
    const std::string& ca_pem = options.servers.ca_pem;
    curl_blob ca;
    ca.data = const_cast<char*>(ca_pem.data());  // NOLINT: copied
    ca.len = ca_pem.size();
    ca.flags = CURL_BLOB_COPY;
    CURL* const curl = curl_.get();
    for (const CURLcode code :
         {share == nullptr ? CURLE_OK
                           : curl_easy_setopt(curl, CURLOPT_SHARE, share),
          curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
          curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect),
          curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body_),
          curl_easy_setopt(curl, CURLOPT_COOKIEFILE, ""),
          curl_easy_setopt(curl, CURLOPT_MAXCONNECTS, kMaxConnects),
          curl_easy_setopt(
              curl, CURLOPT_TIMEOUT_MS,
              static_cast<long>(absl::ToInt64Milliseconds(kTimeout))),
          ca.len == 0 ? CURLE_OK
                      : curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca)}) {
      if (code != CURLE_OK) ready_ = code;
    }
  }

  bool Leave() override {
    return curl_easy_setopt(curl_.get(), CURLOPT_SHARE, nullptr) == CURLE_OK;
  }
  bool Join() override {
    return curl_easy_setopt(curl_.get(), CURLOPT_SHARE, share_) == CURLE_OK;
  }

 protected:
  CURL* curl() const { return curl_.get(); }

  CURLcode SetOptions(const Request& request) {
    if (ready_ != CURLE_OK) return ready_;
    CURL* const curl = curl_.get();
    Slist connect_to(
        request.connect_to.empty()
            ? nullptr
            : curl_slist_append(nullptr, request.connect_to.c_str()));
    CURLcode result = CURLE_OK;
    for (const CURLcode code :
         {curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str()),
          // libcurl gives them to a cache once, and who knows which it uses.
          curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve_.get()),
          curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, request.close ? 1L : 0L),
          curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION,
                           request.follow ? 1L : 0L),
          curl_easy_setopt(curl, CURLOPT_PROXY, request.proxy.c_str()),
          curl_easy_setopt(curl, CURLOPT_PROXYUSERPWD,
                           OrNull(request.proxy_user)),
          curl_easy_setopt(curl, CURLOPT_CONNECT_TO, connect_to.get()),
          curl_easy_setopt(curl, CURLOPT_USERPWD, OrNull(request.user)),
          curl_easy_setopt(curl, CURLOPT_HTTPAUTH, request.auth)}) {
      if (code != CURLE_OK) result = code;
    }
    connect_to_ = std::move(connect_to);
    return result;
  }

  CURLcode Perform(const Request& request) override {
    const CURLcode code = SetOptions(request);
    return code != CURLE_OK ? code : curl_easy_perform(curl_.get());
  }

 private:
  static size_t Collect(char* data, size_t size, size_t count,
                        void* body) noexcept {
    static_cast<std::string*>(body)->append(data, size * count);
    return size * count;
  }

  CURLSH* const share_;
  Slist resolve_;
  Slist connect_to_;
  const std::unique_ptr<CURL, CurlDeleter> curl_;
  CURLcode ready_ = CURLE_OK;
};

// A CURL* in a Share, by an Attachment.
class AttachedHandle final : public RawHandle {
 public:
  AttachedHandle(const WorkloadOptions& options, Share& share)
      : RawHandle(options, nullptr), share_(share) {
    status_ = Join() ? absl::OkStatus() : absl::InternalError("not attached");
  }

  bool Leave() override { return attachment_.Detach().ok(); }
  bool Join() override {
    absl::StatusOr<Attachment> attachment = share_.Attach(curl());
    if (!attachment.ok()) return false;
    attachment_ = *std::move(attachment);
    return true;
  }

 protected:
  CURLcode Perform(const Request& request) override {
    if (!status_.ok()) return CURLE_FAILED_INIT;
    if (!attachment_.attached()) return RawHandle::Perform(request);
    {
      const absl::StatusOr<Attachment::Use> use = attachment_.BeginUse();
      if (!use.ok()) return CURLE_FAILED_INIT;
      const CURLcode code = SetOptions(request);
      if (code != CURLE_OK) return code;
    }
    const absl::Status status = attachment_.Perform();
    if (status.ok()) return CURLE_OK;
    return GetEasyCode(status).value_or(CURLE_FAILED_INIT);
  }

 private:
  Share& share_;
  absl::Status status_;
  Attachment attachment_;  // goes before the CURL*
};

class EasyHandle final : public Handle {
 public:
  EasyHandle(const WorkloadOptions& options, Share& share)
      : share_(share), easy_(Easy::Create()) {
    status_ = easy_.status();
    if (status_.ok()) status_ = easy_->Attach(share);
    if (status_.ok()) status_ = easy_->SetTimeout(kTimeout);
    if (status_.ok()) {
      status_ = easy_->SetOption<CURLOPT_PROTOCOLS_STR>("http,https,ftp");
    }
    if (status_.ok()) {
      status_ =
          easy_->SetOption<CURLOPT_RESOLVE>(ResolveEntries(options.servers));
    }
    if (status_.ok()) {
      status_ = easy_->SetSink([this](absl::string_view piece) {
        body_.append(piece.data(), piece.size());
        return absl::OkStatus();
      });
    }
    if (status_.ok() && !options.servers.ca_pem.empty()) {
      status_ = easy_->SetCaCertificates(options.servers.ca_pem);
    }
  }

  bool Leave() override { return easy_.ok() && easy_->Detach().ok(); }
  bool Join() override { return easy_.ok() && easy_->Attach(share_).ok(); }

 protected:
  CURLcode Perform(const Request& request) override {
    absl::Status status = status_;
    if (status.ok()) status = SetOptions(request);
    if (status.ok()) status = easy_->Perform();
    if (status.ok()) return CURLE_OK;
    return GetEasyCode(status).value_or(CURLE_FAILED_INIT);
  }

 private:
  template <CURLoption kOption>
  absl::Status SetOrUnset(const std::string& value) {
    return value.empty() ? easy_->SetOption<kOption>(nullptr)
                         : easy_->SetOption<kOption>(value);
  }

  absl::Status SetOptions(const Request& request) {
    std::vector<std::string> connect_to;
    if (!request.connect_to.empty()) connect_to = {request.connect_to};
    for (const absl::Status& status :
         {easy_->SetUrl(request.url),
          easy_->SetOption<CURLOPT_FORBID_REUSE>(request.close),
          // Not SetFollowRedirects(0), to which libcurl counts the second
          // request of Digest, too.
          easy_->SetOption<CURLOPT_FOLLOWLOCATION>(request.follow),
          easy_->SetOption<CURLOPT_PROXY>(request.proxy),
          SetOrUnset<CURLOPT_PROXYUSERPWD>(request.proxy_user),
          easy_->SetOption<CURLOPT_CONNECT_TO>(connect_to),
          SetOrUnset<CURLOPT_USERPWD>(request.user),
          easy_->SetOption<CURLOPT_HTTPAUTH>(
              static_cast<long>(request.auth))}) {
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  Share& share_;
  absl::StatusOr<Easy> easy_;
  absl::Status status_;
};

// ---- Threads

using Factory = std::function<std::unique_ptr<Handle>(int number)>;

// Handles that any thread takes one of, uses, and puts back.
class HandlePool {
 public:
  std::unique_ptr<Handle> Take() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (idle_.empty()) return nullptr;
    std::unique_ptr<Handle> handle = std::move(idle_.front());
    idle_.pop_front();
    return handle;
  }
  void Put(std::unique_ptr<Handle> handle) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    idle_.push_back(std::move(handle));
  }

 private:
  absl::Mutex mu_;
  std::deque<std::unique_ptr<Handle>> idle_ ABSL_GUARDED_BY(mu_);
};

// The handles of one thread, and whether each is in the share.
struct Living {
  std::unique_ptr<Handle> handle;
  bool shared = true;
};

int RunThread(const WorkloadOptions& options, const Factory& make,
              HandlePool& pool, int thread) {
  const Scenario scenario = options.scenario;
  // Idle ones are what others take connections from.
  const bool many = scenario != Scenario::kKept &&
                    scenario != Scenario::kFresh && scenario != Scenario::kRaw;
  std::vector<Living> living(many ? kManyHandles : 1);
  int as_expected = 0;
  for (int i = 0; i < options.requests; ++i) {
    Living& one = living[i % living.size()];
    const auto ask = [&](Handle& handle) {
      return handle.Ask(MakeRequest(options, thread, i, one.shared));
    };
    if (scenario == Scenario::kPool) {
      std::unique_ptr<Handle> handle = pool.Take();
      if (handle == nullptr) handle = make(i);
      if (ask(*handle)) ++as_expected;
      // Some are made anew.
      if (i % kRequestsPerHandle != 0) pool.Put(std::move(handle));
      continue;
    }
    if (scenario == Scenario::kFresh && i % 2 == 0) {
      if (ask(*make(i))) ++as_expected;
      continue;
    }
    if (one.handle == nullptr ||
        static_cast<int>(i / living.size()) % kRequestsPerHandle == 0) {
      one.handle.reset();
      one.handle = make(thread + i);
      one.shared = true;
    }
    if (scenario == Scenario::kLeave && i % 3 == 1) {
      if (!(one.shared ? one.handle->Leave() : one.handle->Join())) continue;
      one.shared = !one.shared;
    }
    if (ask(*one.handle)) ++as_expected;
  }
  return as_expected;
}

int Run(const WorkloadOptions& options, const Factory& make) {
  std::atomic<int> as_expected{0};
  HandlePool pool;
  if (options.scenario == Scenario::kPool) {
    for (int i = 0; i < 2 * options.threads; ++i) pool.Put(make(i));
  }
  RunThreads(options.threads, [&](int thread) {
    as_expected += RunThread(options, make, pool, thread);
  });
  return as_expected;
}

ConnectionOptions LimitsFor(Scenario scenario) {
  ConnectionOptions limits;
  if (scenario != Scenario::kLimits) return limits;
  limits.max_idle = 3;
  limits.idle_timeout = absl::Milliseconds(20);
  limits.max_lifetime = absl::Milliseconds(50);
  limits.max_transfers_per_host = 3;
  return limits;
}

struct ScenarioWithName {
  Scenario scenario;
  absl::string_view name;
};
constexpr ScenarioWithName kScenarios[] = {
    {Scenario::kKept, "kept"},     {Scenario::kFresh, "fresh"},
    {Scenario::kMany, "many"},     {Scenario::kPool, "pool"},
    {Scenario::kLimits, "limits"}, {Scenario::kRaw, "raw"},
    {Scenario::kLeave, "leave"},   {Scenario::kRedirects, "redirects"},
    {Scenario::kProxy, "proxy"},   {Scenario::kFtp, "ftp"},
    {Scenario::kDigest, "digest"},
};

}  // namespace

absl::string_view WayName(Way way) {
  switch (way) {
    case Way::kRawPerKind:
      return "raw_per_kind";
    case Way::kRawOneMutex:
      return "raw_one_mutex";
    case Way::kLibrary:
      break;
  }
  return "library";
}

std::optional<Way> ParseWay(absl::string_view name) {
  for (Way way : {Way::kRawPerKind, Way::kRawOneMutex, Way::kLibrary}) {
    if (WayName(way) == name) return way;
  }
  return std::nullopt;
}

const std::vector<Scenario>& AllScenarios() {
  static const absl::NoDestructor<std::vector<Scenario>> all([] {
    std::vector<Scenario> scenarios;
    for (const ScenarioWithName& one : kScenarios) {
      scenarios.push_back(one.scenario);
    }
    return scenarios;
  }());
  return *all;
}

absl::string_view ScenarioName(Scenario scenario) {
  for (const ScenarioWithName& one : kScenarios) {
    if (one.scenario == scenario) return one.name;
  }
  return "";
}

std::optional<Scenario> ParseScenario(absl::string_view name) {
  for (const ScenarioWithName& one : kScenarios) {
    if (one.name == name) return one.scenario;
  }
  return std::nullopt;
}

bool HasTls(Scenario scenario) { return scenario != Scenario::kFtp; }

absl::StatusOr<int> RunWorkload(const WorkloadOptions& options) {
  if (options.way == Way::kLibrary) {
    ShareOptions share_options;
    share_options.lock_data = options.kinds;
    share_options.connections = LimitsFor(options.scenario);
    absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(share_options);
    if (!share.ok()) return share.status();
    const bool mixed = options.scenario == Scenario::kRaw ||
                       options.scenario == Scenario::kLeave;
    const int as_expected =
        Run(options, [&](int number) -> std::unique_ptr<Handle> {
          if (mixed && number % 2 == 0) {
            return std::make_unique<AttachedHandle>(options, **share);
          }
          return std::make_unique<EasyHandle>(options, **share);
        });
    if (absl::Status closed = (*share)->Close(); !closed.ok()) return closed;
    return as_expected;
  }
  absl::StatusOr<std::unique_ptr<RawShare>> share =
      RawShare::Create(options.kinds, options.way == Way::kRawPerKind
                                          ? RawShare::Mutexes::kOnePerKind
                                          : RawShare::Mutexes::kOneForAll);
  if (!share.ok()) return share.status();
  return Run(options, [&](int) {
    return std::make_unique<RawHandle>(options, (*share)->get());
  });
}

}  // namespace curlshare::testing
