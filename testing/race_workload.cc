#include "curlshare/testing/race_workload.h"

#include <curl/curl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/raw_share.h"
#include "curlshare/testing/threads.h"

namespace curlshare::testing {
namespace {

// Names the certificate has; with a domain, for the Public Suffix List and
// HSTS.
constexpr char kHost[] = "a.curlshare.test";
constexpr absl::Duration kTimeout = absl::Seconds(20);
// More than any workload opens: the default would close those of others.
constexpr long kMaxConnects = 64;
// A handle lives for so many requests, so that some always come and go.
constexpr int kRequestsPerHandle = 10;

struct Request {
  std::string url;
  // Codes that it may end with.
  std::vector<CURLcode> expected = {CURLE_OK};
  bool close = false;  // the connection, so that the next needs a handshake
};

Request MakeRequest(const WorkloadOptions& options, int thread, int i) {
  const bool tls = !options.ca_pem.empty();
  const std::string base =
      absl::StrCat(tls ? "https" : "http", "://", kHost, ":", options.port);
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
    case 2:
      // Upgraded where HSTS is shared (this handle or another has learnt it).
      request.url =
          absl::StrCat(options.kinds.Contains(LockData::kHsts) && tls
                           ? absl::StrCat("http://", kHost, ":", options.port)
                           : base,
                       "/bytes?n=100");
      break;
    case 3:
      request.url = absl::StrCat(base, "/drop?after=100");
      // TLS notices that the end is missing before the body does.
      request.expected = {CURLE_PARTIAL_FILE, CURLE_RECV_ERROR};
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
      break;
  }
  return request;
}

std::string ResolveEntry(int port) {
  return absl::StrCat(kHost, ":", port, ":127.0.0.1");
}

// ---- By hand

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

size_t DropBody(char*, size_t size, size_t count, void*) {
  return size * count;
}

class RawHandle {
 public:
  RawHandle(const WorkloadOptions& options, CURLSH* share)
      : resolve_(
            curl_slist_append(nullptr, ResolveEntry(options.port).c_str())),
        curl_(curl_easy_init()) {
    const curl_write_callback drop = &DropBody;
    curl_blob ca;
    ca.data = const_cast<char*>(options.ca_pem.data());  // NOLINT: copied
    ca.len = options.ca_pem.size();
    ca.flags = CURL_BLOB_COPY;
    CURL* const curl = curl_.get();
    for (const CURLcode code :
         {curl_easy_setopt(curl, CURLOPT_SHARE, share),
          curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
          curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop),
          curl_easy_setopt(curl, CURLOPT_COOKIEFILE, ""),
          curl_easy_setopt(curl, CURLOPT_MAXCONNECTS, kMaxConnects),
          curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve_.get()),
          curl_easy_setopt(
              curl, CURLOPT_TIMEOUT_MS,
              static_cast<long>(absl::ToInt64Milliseconds(kTimeout))),
          ca.len == 0 ? CURLE_OK
                      : curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca)}) {
      if (code != CURLE_OK) ready_ = code;
    }
  }

  CURLcode Perform(const Request& request) {
    if (ready_ != CURLE_OK) return ready_;
    CURLcode code =
        curl_easy_setopt(curl_.get(), CURLOPT_URL, request.url.c_str());
    if (code != CURLE_OK) return code;
    code = curl_easy_setopt(curl_.get(), CURLOPT_FORBID_REUSE,
                            request.close ? 1L : 0L);
    return code != CURLE_OK ? code : curl_easy_perform(curl_.get());
  }

 private:
  const std::unique_ptr<curl_slist, SlistDeleter> resolve_;
  const std::unique_ptr<CURL, CurlDeleter> curl_;
  CURLcode ready_ = CURLE_OK;
};

// ---- With the library

class LibraryHandle {
 public:
  LibraryHandle(const WorkloadOptions& options, Share& share)
      : easy_(Easy::Create()) {
    status_ = easy_.status();
    if (status_.ok()) status_ = easy_->Attach(share);
    if (status_.ok()) status_ = easy_->SetTimeout(kTimeout);
    if (status_.ok()) {
      status_ = easy_->SetOption<CURLOPT_RESOLVE>({ResolveEntry(options.port)});
    }
    if (status_.ok() && !options.ca_pem.empty()) {
      status_ = easy_->SetCaCertificates(options.ca_pem);
    }
  }

  CURLcode Perform(const Request& request) {
    absl::Status status = status_;
    if (status.ok()) status = easy_->SetUrl(request.url);
    if (status.ok()) {
      status = easy_->SetOption<CURLOPT_FORBID_REUSE>(request.close);
    }
    if (status.ok()) status = easy_->Perform();
    if (status.ok()) return CURLE_OK;
    return GetEasyCode(status).value_or(CURLE_FAILED_INIT);
  }

 private:
  absl::StatusOr<Easy> easy_;
  absl::Status status_;
};

template <typename Handle, typename ShareType>
int Run(const WorkloadOptions& options, ShareType&& share) {
  std::atomic<int> as_expected{0};
  RunThreads(options.threads, [&](int thread) {
    std::optional<Handle> handle;
    for (int i = 0; i < options.requests; ++i) {
      if (i % kRequestsPerHandle == 0) {
        handle.reset();
        handle.emplace(options, share);
      }
      const Request request = MakeRequest(options, thread, i);
      if (absl::c_linear_search(request.expected, handle->Perform(request))) {
        ++as_expected;
      }
    }
  });
  return as_expected;
}

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

absl::StatusOr<int> RunWorkload(const WorkloadOptions& options) {
  if (options.way == Way::kLibrary) {
    ShareOptions share_options;
    share_options.lock_data = options.kinds;
    absl::StatusOr<std::unique_ptr<Share>> share = Share::Create(share_options);
    if (!share.ok()) return share.status();
    const int as_expected = Run<LibraryHandle>(options, **share);
    if (absl::Status closed = (*share)->Close(); !closed.ok()) return closed;
    return as_expected;
  }
  absl::StatusOr<std::unique_ptr<RawShare>> share =
      RawShare::Create(options.kinds, options.way == Way::kRawPerKind
                                          ? RawShare::Mutexes::kOnePerKind
                                          : RawShare::Mutexes::kOneForAll);
  if (!share.ok()) return share.status();
  return Run<RawHandle>(options, (*share)->get());
}

}  // namespace curlshare::testing
