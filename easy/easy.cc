// SPDX-License-Identifier: Apache-2.0
// An Easy is a reference on an Easy::Core, which is an internal::Handle that
// owns its CURL* and knows the options that were set on it.
//
// Invariants:
//  - Every method of Easy first enters the handle (CURLSHARE_ENTER), which
//    makes the caller the *holder*: see internal::HandleHolder. Only the holder
//    passes the CURL* to libcurl and touches the members of Core. The only
//    exceptions are the atomic members.
//  - libcurl has the address of the Core as the data of its callbacks. After
//    curl_easy_duphandle the copy still has the address of the original, so
//    CopyFrom sets each of these options again.
//  - libcurl cannot be asked for the value of an option. So Core records the
//    values that something else depends on. A record changes only together with
//    the option; where that takes two steps, the order is such that a failure
//    in between leaves the record on the safe side (own connections, no
//    secrets). Memory is allocated before anything is changed.
//  - After native_handle() the records may be out of date (`exposed_`). From
//    then on everything that reads them assumes the worst case.
//  - No exception leaves a callback that libcurl calls: it would pass through
//    libcurl, which would keep its locks. See Run().
#include "curlshare/easy/easy.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy_options.h"
#include "curlshare/easy/form.h"
#include "curlshare/easy/request.h"
#include "curlshare/easy/source.h"
#include "curlshare/share/cancel_token.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/dns_cache.h"
#include "curlshare/share/internal/error.h"
#include "curlshare/share/internal/handle.h"
#include "curlshare/share/internal/multi_handle.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"

namespace curlshare {
namespace {

using Mode = internal::Handle::Mode;

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using SlistPtr = std::unique_ptr<curl_slist, SlistDeleter>;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

using internal::Error;
using internal::HostPort;
using internal::NoThrow;

absl::Status MovedFrom() {
  return Error(absl::StatusCode::kFailedPrecondition,
               "this Easy was moved from");
}

std::string OptionCall(CURLoption option) {
  const curl_easyoption* known = curl_easy_option_by_id(option);
  return absl::StrCat(
      "curl_easy_setopt(CURLOPT_",
      known == nullptr ? absl::StrCat(static_cast<int>(option)) : known->name,
      ")");
}

absl::Status OptionStatus(CURLcode code, CURLoption option) {
  if (code == CURLE_OK) return absl::OkStatus();
  absl::Status status = NoThrow(
      "curl_easy_setopt", [&] { return EasyStatus(code, OptionCall(option)); });
  // If there was no memory for the option's name, leave it out.
  return GetEasyCode(status) == code ? status
                                     : EasyStatus(code, "curl_easy_setopt");
}

// Returns the strings in `list`. Throws what std::vector throws.
absl::StatusOr<std::vector<std::string>> ToVector(const curl_slist* list) {
  std::vector<std::string> values;
  for (; list != nullptr; list = list->next) values.emplace_back(list->data);
  return values;
}

absl::Status InfoStatus(CURLcode code) {
  return EasyStatus(code, "curl_easy_getinfo");
}

// Returns whether `text` is a token (RFC 9110 section 5.6.2).
bool IsToken(absl::string_view text) {
  constexpr absl::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z') || kOthers.find(c) != kOthers.npos;
  });
}

// Calls Leave() at the end of a scope in which the handle was entered. Not
// thread-safe: for the thread that entered.
class Entered {
 public:
  explicit Entered(internal::Handle& handle) : handle_(handle) {}
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered() { handle_.Leave(); }

 private:
  internal::Handle& handle_;
};

}  // namespace

std::optional<absl::string_view> Response::Header(
    absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) return value;
  }
  return std::nullopt;
}

// The state of an Easy. The Easy owns a reference, and so does a transfer while
// it runs: an Easy may be destroyed in a callback of its own transfer.
//
// Every function here needs the caller to be the holder (see the top of this
// file), except for Resume, Cancel, share(), timeout_ms and OwnsCurl, which are
// safe to call from any thread.
class Easy::Core final : public internal::Handle {
 public:
  static absl::StatusOr<internal::RefPtr<Core>> Create(CURL* curl) {
    if (curl == nullptr) {
      return EasyStatus(CURLE_OUT_OF_MEMORY, "curl_easy_init");
    }
    CurlPtr owned(curl);
    internal::RefPtr<Core> core(new Core(curl));
    (void)owned.release();  // Release() frees it from now on
    if (absl::Status status = core->SetBaseOptions(); !status.ok()) {
      core->Release();
      return status;
    }
    return core;
  }

  explicit Core(CURL* curl) : Handle(curl), request_(curl) {}

  // Sets the options that every Easy has, after Create, Reset and Duplicate.
  absl::Status SetBaseOptions() {
    CURLcode code = curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_NOSIGNAL);
    code = curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error_.data());
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_ERRORBUFFER);
    const curl_write_callback on_body = &Core::OnBody;
    code = curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_body);
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_WRITEFUNCTION);
    code = curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_WRITEDATA);
    if (absl::Status status = InstallLookupCount(); !status.ok()) return status;
    code = request_.Install();
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_READFUNCTION);
    // Other callbacks (for headers, progress, each request) are installed only
    // while they are needed: each costs calls in every transfer.
    return InstallHeaderSink();
  }

  // Has libcurl call OnLookup before each look-up of a name.
  absl::Status InstallLookupCount() {
    const curl_resolver_start_callback on_lookup = &Core::OnLookup;
    CURLcode code = curl_easy_setopt(curl_, CURLOPT_RESOLVER_START_DATA, this);
    if (code == CURLE_OK) {
      code =
          curl_easy_setopt(curl_, CURLOPT_RESOLVER_START_FUNCTION, on_lookup);
    }
    return OptionStatus(code, CURLOPT_RESOLVER_START_FUNCTION);
  }

  // Allows only the default protocols. For a new handle, and after Reset. Not
  // for a duplicate, which has what its source allows.
  absl::Status RestrictProtocols() {
    for (const CURLoption option :
         {CURLOPT_PROTOCOLS_STR, CURLOPT_REDIR_PROTOCOLS_STR}) {
      const CURLcode code =
          curl_easy_setopt(curl_, option, DefaultProtocols(option));
      if (code != CURLE_OK) return OptionStatus(code, option);
    }
    return absl::OkStatus();
  }

  // Installs OnHeader if there is a header sink, else removes it.
  //
  // CURLOPT_HEADERDATA must not be set without CURLOPT_HEADERFUNCTION: libcurl
  // would then pass header lines to CURLOPT_WRITEFUNCTION, here OnBody
  // (chop_write in lib/sendf.c of 7.88, lib/cw-out.c of later versions). Hence
  // the order of the calls. If the second call fails, OnHeader drops the lines.
  absl::Status InstallHeaderSink() {
    const curl_write_callback on_header = &Core::OnHeader;
    CURLcode code = CURLE_OK;
    if (header_sink_ != nullptr) {
      code = curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, on_header);
      if (code == CURLE_OK) {
        code = curl_easy_setopt(curl_, CURLOPT_HEADERDATA, this);
      }
    } else {
      code = curl_easy_setopt(curl_, CURLOPT_HEADERDATA, nullptr);
      if (code == CURLE_OK) {
        code = curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, nullptr);
      }
    }
    return OptionStatus(code, CURLOPT_HEADERFUNCTION);
  }

  // Whether libcurl is to call OnProgress. It is needed for SetProgress and, if
  // the URL is not known to be HTTP, for Cancel: some protocols (telnet, ldap)
  // block inside curl_multi_perform, where a progress callback is the only way
  // to end the transfer. For HTTP, Cancel does without it, since libcurl would
  // call it for each piece of data.
  bool WantsProgress() const {
    return progress_ != nullptr || url() == nullptr ||
           !absl::StartsWithIgnoreCase(url_, "http");
  }

  // Installs OnProgress, or removes it, as WantsProgress says. Called when that
  // has changed since the transfer before.
  absl::Status InstallProgress() {
    const bool wanted = WantsProgress();
    const curl_xferinfo_callback on_progress =
        wanted ? &Core::OnProgress : nullptr;
    CURLcode code = curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, this);
    if (code == CURLE_OK) {
      code = curl_easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, on_progress);
    }
    if (code == CURLE_OK) {
      code = curl_easy_setopt(curl_, CURLOPT_NOPROGRESS, wanted ? 0L : 1L);
    }
    if (code == CURLE_OK) reports_progress_ = wanted;
    return OptionStatus(code, CURLOPT_XFERINFOFUNCTION);
  }

  absl::Status SetHeaderSink(Sink sink) {
    header_sink_.swap(sink);
    absl::Status status = InstallHeaderSink();
    if (!status.ok()) {
      header_sink_.swap(sink);
      InstallHeaderSink().IgnoreError();  // the first error is returned
    }
    return status;
  }

  // Sets the headers of SetHeaders and of SetSecretHeaders. libcurl gets the
  // list with both; ChooseHeaders replaces it before a request that must not
  // have the secrets.
  absl::Status SetHeaderLists(absl::Span<const std::string> headers,
                              std::vector<std::string> secret) {
    SlistPtr shown;
    SlistPtr all;
    absl::Status status = Append(headers, shown);
    if (status.ok() && !secret.empty()) {
      status = Append(headers, all);
      if (status.ok()) status = Append(secret, all);
    }
    if (!status.ok()) return status;
    SlistPtr& slot = slists_[CURLOPT_HTTPHEADER];  // may throw: so it is first
    // OnRequest is installed before libcurl gets the secrets, and removed only
    // after they have gone.
    const bool hides = all != nullptr;
    if (hides && unified_headers_) return SecretsInConnect();
    if (hides) status = InstallPrereq(hides);
    if (!status.ok()) return status;
    const CURLcode code = curl_easy_setopt(curl_, CURLOPT_HTTPHEADER,
                                           hides ? all.get() : shown.get());
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_HTTPHEADER);
    slot = std::move(shown);
    all_headers_ = std::move(all);
    secret_headers_ = std::move(secret);
    // If this fails, OnRequest stays installed, and has nothing to hide.
    if (!hides) InstallPrereq(hides).IgnoreError();
    return absl::OkStatus();
  }
  // Sets the secret headers, beside the headers that are set now.
  absl::Status SetSecretHeaders(absl::Span<const std::string> secret) {
    absl::StatusOr<std::vector<std::string>> headers =
        ToVector(slists_[CURLOPT_HTTPHEADER].get());
    return SetHeaderLists(*headers, {secret.begin(), secret.end()});
  }

  // Installs OnRequest if it is needed, to hide secret headers or to call the
  // user's CURLOPT_PREREQFUNCTION; else removes it.
  absl::Status InstallPrereq(bool hides) {
    const curl_prereq_callback on_request = &Core::OnRequest;
    const bool wanted = hides || prereq_ != nullptr;
    if (!wanted && !has_prereq_) return absl::OkStatus();
    CURLcode code = curl_easy_setopt(curl_, CURLOPT_PREREQDATA, this);
    if (code == CURLE_OK) {
      code = curl_easy_setopt(curl_, CURLOPT_PREREQFUNCTION,
                              wanted ? on_request : nullptr);
    }
    if (code == CURLE_OK) has_prereq_ = wanted;
    return OptionStatus(code, CURLOPT_PREREQFUNCTION);
  }

  // Appends copies of `values` to `list`.
  static absl::Status Append(absl::Span<const std::string> values,
                             SlistPtr& list) {
    for (const std::string& value : values) {
      curl_slist* longer = curl_slist_append(list.get(), value.c_str());
      if (longer == nullptr) {
        return EasyStatus(CURLE_OUT_OF_MEMORY, "curl_slist_append");
      }
      (void)list.release();
      list.reset(longer);
    }
    return absl::OkStatus();
  }

  // Sets an option that takes a list; an empty one unsets it. Throws what
  // containers throw.
  absl::Status SetSlist(CURLoption option,
                        absl::Span<const std::string> values) {
    if (option == CURLOPT_HTTPHEADER) {
      return SetHeaderLists(values, secret_headers_);
    }
    SlistPtr list;
    if (absl::Status status = Append(values, list); !status.ok()) return status;
    SlistPtr& slot = slists_[option];  // may throw: so it is first
    const bool added =
        NeedsOwnConnections(option) && own_options_.insert(option).second;
    const CURLcode code = curl_easy_setopt(curl_, option, list.get());
    if (code != CURLE_OK) {
      if (added) own_options_.erase(option);
      if (slot == nullptr) slists_.erase(option);
      return OptionStatus(code, option);
    }
    if (list == nullptr) own_options_.erase(option);
    slot = std::move(list);
    if (option == CURLOPT_RESOLVE && HolderShare() != nullptr) {
      HolderShare()->NotePinnedNames();
    }
    return absl::OkStatus();
  }

  // Completes the work of curl_easy_duphandle, which has copied the options of
  // `source`: copies the records and the callables, and replaces all pointers
  // into `source` by pointers into this object.
  absl::Status CopyFrom(const Core& source) {
    sink_ = source.sink_;
    header_sink_ = source.header_sink_;
    progress_ = source.progress_;
    lookup_function_ = source.lookup_function_;
    lookup_data_ = source.lookup_data_;
    if (absl::Status status = SetBaseOptions(); !status.ok()) return status;
    prereq_ = source.prereq_;
    prereq_data_ = source.prereq_data_;
    has_prereq_ = source.has_prereq_;
    secret_headers_ = source.secret_headers_;
    // In libcurl's copy of a form, a file that no longer exists is silently an
    // empty part: Curl_mime_duppart (lib/mime.c) ignores CURLE_READ_ERROR.
    for (const std::string& file : source.request_.files()) {
      absl::Status status = CheckFormFile(file);
      if (!status.ok()) return status;
    }
    const CURLcode code = request_.CopyFrom(source.request_);
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_POSTFIELDS);
    for (const auto& [option, list] : source.slists_) {
      absl::StatusOr<std::vector<std::string>> values = ToVector(list.get());
      if (absl::Status status = SetSlist(option, *values); !status.ok()) {
        return status;
      }
    }
    // The copied callback has `source` as its data.
    if (absl::Status status = InstallPrereq(!secret_headers_.empty());
        !status.ok()) {
      return status;
    }
    is_set_up_ = source.is_set_up_;
    max_connects_ = source.max_connects_;
    quick_exit_ = source.quick_exit_;
    verbose_ = source.verbose_;
    curlu_ = source.curlu_;
    reads_cookie_file_ = source.reads_cookie_file_;
    exposed_ = source.exposed_.load();  // unknown options are copied, too
    authenticates_connections_ = source.authenticates_connections_;
    timeout_ms_ = source.timeout_ms_.load();
    max_body_size_ = source.max_body_size_;
    own_dns_age_ = source.own_dns_age_;
    is_dns_age_limited_ = source.is_dns_age_limited_;
    // Until Attach limits it again: the share of `source` may be closing.
    (void)UnlimitDnsAge();
    reports_progress_ = source.reports_progress_;
    own_options_ = source.own_options_;
    own_connections_ = source.own_connections_;
    has_port_ = source.has_port_;
    unified_headers_ = source.unified_headers_;
    url_ = source.url_;
    proxy_ = source.proxy_;
    partition_ = source.partition_;
    // The copied callback has `source` as its data.
    return reports_progress_ ? InstallProgress() : absl::OkStatus();
  }

  // Resets libcurl's options and all records of them. `exposed_` stays: the
  // user still has the CURL*.
  absl::Status ResetOptions() {
    // curl_easy_reset does not clear libcurl's second pointer to this list
    // (data->state.resolve), which is freed below. The next transfer would read
    // it (Curl_loadhostpairs in lib/hostip.c).
    const CURLcode code = curl_easy_setopt(curl_, CURLOPT_RESOLVE, nullptr);
    if (code != CURLE_OK) return OptionStatus(code, CURLOPT_RESOLVE);
    curl_easy_reset(curl_);
    cookies_on_ = false;
    slists_.clear();
    all_headers_.reset();
    secret_headers_.clear();
    prereq_ = nullptr;
    prereq_data_ = nullptr;
    has_prereq_ = false;
    request_.Clear();
    sink_ = nullptr;
    header_sink_ = nullptr;
    progress_ = nullptr;
    lookup_function_ = nullptr;
    lookup_data_ = nullptr;
    reports_progress_ = false;
    max_connects_ = kDefaultMaxConnects;
    quick_exit_ = false;
    verbose_ = false;
    curlu_ = nullptr;
    reads_cookie_file_ = false;
    timeout_ms_ = 0;
    max_body_size_ = 0;
    own_dns_age_.reset();
    is_dns_age_limited_ = false;
    own_options_.clear();
    own_connections_.reset();
    has_port_ = unified_headers_ = false;
    url_.clear();
    proxy_.clear();
    partition_.clear();
    answers_.reset();
    is_set_up_ = false;
    return SetUp();
  }

  // Sets, after Reset, what Create sets. If that fails, each transfer tries
  // again first, and does not begin without it: with half of these options,
  // libcurl would call one of its default functions with this object as the
  // data, or a function of this class with other data.
  absl::Status SetUp() {
    if (is_set_up_) return absl::OkStatus();
    absl::Status status = SetBaseOptions();
    if (status.ok()) status = RestrictProtocols();
    if (status.ok()) status = PrepareForKinds();
    is_set_up_ = status.ok();
    return status;
  }

  // Runs a transfer. `waited`: how long Enter has waited for it, which counts
  // towards the timeout.
  absl::Status Transfer(absl::Duration waited) {
    if (absl::Status status = SetUp(); !status.ok()) return status;
    if (reports_progress_ != WantsProgress()) {
      absl::Status status = InstallProgress();
      if (!status.ok()) return status;
    }
    untold_progress_.reset();
    progress_told_ = 0;
    error_[0] = '\0';
    callback_status_ = absl::OkStatus();
    callback_code_.reset();
    body_size_ = 0;
    first_origin_.reset();
    has_begun_ = false;
    answers_.reset();
    lookups_ = 0;
    // The user of native_handle() may have set another function.
    if (exposed_ && all_headers_ != nullptr) {
      absl::Status status = InstallPrereq(/*hides=*/true);
      if (!status.ok()) return status;
    }
    if (absl::Status status = request_.Begin(); !status.ok()) return status;
    // Drops a Resume of the time before. Acquire: what its caller did before
    // becomes visible to the callables.
    (void)resumed_.exchange(false, std::memory_order_acquire);
    in_transfer_ = true;
    absl::Status status = Drive(waited);
    in_transfer_ = false;
    request_.End();
    // Reports the progress that OnProgress has held back, so that the last
    // report has the final sizes.
    if (ABSL_PREDICT_FALSE(untold_progress_.has_value()) && status.ok()) {
      status =
          NoThrow("a callback", [&] { return progress_(*untold_progress_); });
      if (status.ok() && cancelled()) {
        status = TransferStatus(CURLE_ABORTED_BY_CALLBACK);
      }
    }
    return status;
  }

  // Runs a transfer and returns its response. If `sink` is not null, a body of
  // a 2xx response goes to *sink, which may be empty, instead of the Response.
  absl::StatusOr<Response> FetchNow(absl::Duration waited, const Sink* sink) {
    Response response;
    body_ = &response.body;
    fetch_sink_ = sink;
    absl::Status status = Transfer(waited);
    body_ = nullptr;
    fetch_sink_ = nullptr;
    if (status.ok()) status = Describe(response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<Response> ResponseWithoutBody() {
    // libcurl would return the results of an earlier transfer.
    if (!has_begun_) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "GetResponse: there was no transfer, or the newest ended "
                   "before it had begun");
    }
    Response response;
    if (absl::Status status = Describe(response); !status.ok()) return status;
    return response;
  }

  template <typename T>
  absl::StatusOr<T> GetInfo(CURLINFO info) {
    T value{};
    const CURLcode code = curl_easy_getinfo(curl_, info, &value);
    if (code != CURLE_OK) return InfoStatus(code);
    return value;
  }

  // Returns the headers of the newest response. Throws what containers throw.
  std::vector<std::pair<std::string, std::string>> Headers() const {
    if (answers_ != nullptr) return answers_->headers;
    std::vector<std::pair<std::string, std::string>> headers;
    curl_header* header = nullptr;
    while ((header = curl_easy_nextheader(curl_, CURLH_HEADER, -1, header)) !=
           nullptr) {
      headers.emplace_back(header->name, header->value);
    }
    return headers;
  }

  // When the handle lets go of its connections, libcurl loses some results of
  // the newest transfer; SaveAnswers keeps them. The four functions that follow
  // return the saved value for `info`. Null or nullopt: ask libcurl.
  const std::string* SavedText(CURLINFO info) const {
    if (answers_ == nullptr) return nullptr;
    switch (info) {
      case CURLINFO_EFFECTIVE_URL:
        return &answers_->effective_url;
      case CURLINFO_EFFECTIVE_METHOD:
        return &answers_->effective_method;
      case CURLINFO_REDIRECT_URL:
        return &answers_->redirect_url;
      case CURLINFO_REFERER:
        return &answers_->referer;
      default:
        return nullptr;
    }
  }
  std::optional<curl_off_t> SavedMicroseconds(CURLINFO info) const {
    if (answers_ == nullptr) return std::nullopt;
    switch (info) {
      case CURLINFO_TOTAL_TIME:
      case CURLINFO_TOTAL_TIME_T:
        return answers_->total_time;
      case CURLINFO_PRETRANSFER_TIME:
      case CURLINFO_PRETRANSFER_TIME_T:
        return answers_->pretransfer_time;
      default:
        return std::nullopt;
    }
  }
  std::optional<long> SavedLong(CURLINFO info) const {
    if (answers_ == nullptr) return std::nullopt;
    if (info == CURLINFO_REDIRECT_COUNT) return answers_->redirect_count;
    if (info == CURLINFO_OS_ERRNO) return answers_->os_errno;
    return std::nullopt;
  }
  std::optional<curl_off_t> SavedNumber(CURLINFO info) const {
    if (answers_ == nullptr) return std::nullopt;
    if (info == kTransferId) return answers_->transfer_id;
    if (info == kConnectionId) return answers_->connection_id;
    return SavedMicroseconds(info);
  }

  // Overrides of Handle: what the records say about this handle's options.
  bool wants_own_connections() const override {
    return !own_options_.empty() || own_connections_.any();
  }
  const char* url() const override {
    return exposed_ || curlu_ != nullptr || url_.empty() ? nullptr
                                                         : url_.c_str();
  }
  absl::string_view partition() const override { return partition_; }
  long timeout_ms() const override {
    return timeout_ms_.load(std::memory_order_relaxed);
  }
  bool CanLetGoLater() const override {
    return !exposed_ && !reads_cookie_file_ && curlu_ == nullptr;
  }
  bool MayAuthenticateConnections() const override {
    return exposed_ || authenticates_connections_;
  }
  bool LetsGoAtOnce() const override { return !exposed_; }
  bool SaveAnswers() override {
    return NoThrow(
               "SaveAnswers",
               [&] {
                 auto answers = std::make_unique<Answers>();
                 answers->headers = Headers();
                 answers->effective_url = Text(CURLINFO_EFFECTIVE_URL);
                 answers->effective_method = Text(CURLINFO_EFFECTIVE_METHOD);
                 answers->redirect_url = Text(CURLINFO_REDIRECT_URL);
                 answers->referer = Text(CURLINFO_REFERER);
                 if (const auto count = GetInfo<long>(CURLINFO_REDIRECT_COUNT);
                     count.ok()) {
                   answers->redirect_count = *count;
                 }
                 if (const auto value = GetInfo<long>(CURLINFO_OS_ERRNO);
                     value.ok()) {
                   answers->os_errno = *value;
                 }
                 answers->transfer_id = Number(kTransferId);
                 answers->connection_id = Number(kConnectionId);
                 answers->total_time = Number(CURLINFO_TOTAL_TIME_T);
                 answers->pretransfer_time =
                     Number(CURLINFO_PRETRANSFER_TIME_T);
                 // If the handle has let go before, and there was no transfer
                 // since, the answers saved then count.
                 if (answers_ == nullptr) answers_ = std::move(answers);
                 return absl::OkStatus();
               })
        .ok();
  }
  // Around a transfer that libcurl starts and fails at once, to let go of
  // connections (LetGoOfConnections). It may run on another thread, and the
  // owner must not notice: so it must not call the owner's debug callback or
  // change error_. The results of these calls are ignored, since options that
  // libcurl has accepted before cannot fail.
  void BeforeLettingGo() override {
    if (verbose_) (void)curl_easy_setopt(curl_, CURLOPT_VERBOSE, 0L);
    (void)curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
  }
  void AfterLettingGo() override {
    (void)curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error_.data());
    if (verbose_) (void)curl_easy_setopt(curl_, CURLOPT_VERBOSE, 1L);
    ReloadResolve();  // letting go has cleared CURLOPT_RESOLVE
  }

  // Notes that the user has the CURL*, and may set options unknown here.
  void Expose() {
    if (exposed_.load(std::memory_order_relaxed)) return;
    exposed_.store(true, std::memory_order_relaxed);
    if (const auto share = this->share(); share != nullptr) {
      share->NotePinnedNames();
    }
    // Only the holder may do the rest: another thread may be taking over the
    // connections of this handle right now. If this thread cannot become the
    // holder, as in a callback under a share's lock, LetGo sees to it.
    if (!Enter(Mode::kUse).ok()) return;
    UpdateLends();
    Leave();
  }

  // Records an option that libcurl has accepted, if something here depends on
  // its value.
  void Note(CURLoption option, long value) {
    switch (option) {
      case CURLOPT_MAXCONNECTS:
        // 0 means the default, as in libcurl 8.21 and later (lib/setopt.c).
        max_connects_ = value > 0 ? value : kDefaultMaxConnects;
        break;
      case CURLOPT_QUICK_EXIT:
        quick_exit_ = value != 0;
        break;
      case CURLOPT_VERBOSE:
        verbose_ = value != 0;
        break;
      case CURLOPT_HAPROXYPROTOCOL:
        own_connections_[0] = value != 0;
        break;
      case CURLOPT_HTTPAUTH:
      case CURLOPT_PROXYAUTH:
        // Before 8.21, libcurl reuses a connection that Negotiate has
        // authenticated without comparing the user (lib/url.c).
        own_connections_[option == CURLOPT_HTTPAUTH ? 1 : 2] =
            RunningLibcurl().version_num < LibcurlVersion(8, 21, 0) &&
            (static_cast<unsigned long>(value) & CURLAUTH_NEGOTIATE) != 0;
        // Digest, NTLM and Negotiate: their state belongs to the connection.
        authenticates_connections_ |=
            (static_cast<unsigned long>(value) &
             ~(CURLAUTH_BASIC | CURLAUTH_BEARER | CURLAUTH_AWS_SIGV4)) != 0;
        break;
      case CURLOPT_PORT:
        has_port_ = value != 0;
        break;
      case CURLOPT_HEADEROPT:
        // libcurl then sends CURLOPT_HTTPHEADER to the proxy as well, and does
        // not compare it when it reuses a tunnel. It may hold credentials.
        unified_headers_ =
            (static_cast<unsigned long>(value) & CURLHEADER_SEPARATE) == 0;
        own_connections_[3] = unified_headers_;
        break;
      case CURLOPT_DNS_CACHE_TIMEOUT:
        own_dns_age_ = value;
        break;
      case CURLOPT_TIMEOUT:
        timeout_ms_ = value * 1000;
        break;
      case CURLOPT_TIMEOUT_MS:
        timeout_ms_ = value;
        break;
      default:
        break;
    }
  }
  // CURLOPT_HAPROXY_CLIENT_IP, since 8.2. By number, for older headers.
  static constexpr auto kHaproxyClientIp =
      static_cast<CURLoption>(CURLOPTTYPE_STRINGPOINT + 323);
  // Whether a handle with this option must not use the connections of others,
  // nor lend its own. libcurl does not compare the options when it chooses a
  // connection.
  static bool NeedsOwnConnections(CURLoption option) {
    return option == CURLOPT_SSL_CTX_FUNCTION ||
           option == CURLOPT_OPENSOCKETFUNCTION ||
           option == CURLOPT_SOCKOPTFUNCTION ||
           option == CURLOPT_CLOSESOCKETFUNCTION ||
           option == CURLOPT_SSH_KEYFUNCTION ||
           option == CURLOPT_SSH_HOSTKEYFUNCTION ||
           // Sent once, at the beginning of a connection.
           option == kHaproxyClientIp ||
           // May hold credentials for a tunnel.
           option == CURLOPT_PROXYHEADER;
  }
  // Sets a callback and its data. Throws what containers throw; nothing has
  // changed then.
  absl::Status SetFunction(CURLoption option, void (*function)(),
                           CURLoption data_option, void* data) {
    if (option == CURLOPT_READFUNCTION) {
      const auto read =
          reinterpret_cast<curl_read_callback>(function);  // NOLINT
      return OptionStatus(request_.SetReader(read, data), option);
    }
    if (option == CURLOPT_SEEKFUNCTION) {
      const auto seek =
          reinterpret_cast<curl_seek_callback>(function);  // NOLINT
      return OptionStatus(request_.SetSeek(seek, data), option);
    }
    if (option == CURLOPT_RESOLVER_START_FUNCTION) {
      // The user of native_handle() may have set another function.
      absl::Status status = InstallLookupCount();
      if (!status.ok()) return status;
      lookup_function_ =
          reinterpret_cast<curl_resolver_start_callback>(function);  // NOLINT
      lookup_data_ = data;
      return status;
    }
    if (option == CURLOPT_PREREQFUNCTION) {
      const curl_prereq_callback before = prereq_;
      prereq_ = reinterpret_cast<curl_prereq_callback>(function);  // NOLINT
      std::swap(prereq_data_, data);
      absl::Status status = InstallPrereq(!secret_headers_.empty());
      if (!status.ok()) {
        prereq_ = before;
        prereq_data_ = data;
      }
      return status;
    }
    const bool own = NeedsOwnConnections(option);
    // Recorded before the option is set: from here on no other handle gets the
    // connections. Taken back below if the option could not be set, or if it
    // was set to null.
    const bool is_new =
        own && function != nullptr && own_options_.insert(option).second;
    // The data first, so that the function is never called with data of
    // another function.
    CURLcode code = curl_easy_setopt(curl_, data_option, data);
    if (code != CURLE_OK) {
      if (is_new) own_options_.erase(option);
      return OptionStatus(code, data_option);
    }
    code = curl_easy_setopt(curl_, option, function);
    if (is_new ? code != CURLE_OK : code == CURLE_OK && function == nullptr) {
      own_options_.erase(option);
    }
    return OptionStatus(code, option);
  }

  // Sets an option that takes a string. Throws what strings throw; nothing has
  // changed then.
  absl::Status SetText(CURLoption option,
                       std::optional<absl::string_view> value) {
    std::optional<std::string> text(value);
    // With NULL, libcurl would allow all protocols (lib/setopt.c).
    if (!text.has_value() && DefaultProtocols(option) != nullptr) {
      text = DefaultProtocols(option);
    }
    if (option == CURLOPT_CUSTOMREQUEST) {
      return OptionStatus(request_.SetCustomName(text), option);
    }
    // All strings that are needed below are made first.
    std::map<CURLoption, std::string> proxy;
    std::string partition;
    const bool is_proxy = IsProxy(option);
    std::string url;
    std::string answer;
    if (option == CURLOPT_URL && text.has_value()) url = answer = *text;
    const bool own = NeedsOwnConnections(option);
    const bool is_new =
        own && text.has_value() && own_options_.insert(option).second;
    if (is_proxy) {
      proxy = proxy_;
      if (text.has_value()) {
        proxy[option] = *text;
      } else {
        proxy.erase(option);
      }
      // With sizes, so that different settings never give the same text.
      for (const auto& [name, setting] : proxy) {
        absl::StrAppend(&partition, static_cast<int>(name), "=", setting.size(),
                        ":", setting, "\n");
      }
    }
    if (option == CURLOPT_URL) ForgetFirstOrigin();
    CURLU* const curlu = option == CURLOPT_URL ? curlu_ : nullptr;
    // If both are set, libcurl uses the CURLOPT_CURLU. It is unset before the
    // URL is set, since to set it, even to null, drops the URL.
    if (curlu != nullptr) (void)SetCurlu(nullptr);
    const CURLcode code = curl_easy_setopt(
        curl_, option, text.has_value() ? text->c_str() : nullptr);
    if (code != CURLE_OK && curlu != nullptr) (void)SetCurlu(curlu);
    // CURLOPT_HAPROXY_CLIENT_IP stays noted: libcurl 8.14.1 turns
    // CURLOPT_HAPROXYPROTOCOL on even with null (lib/setopt.c).
    if (is_new ? code != CURLE_OK
               : own && code == CURLE_OK && !text.has_value() &&
                     option != kHaproxyClientIp) {
      own_options_.erase(option);
    }
    if (code != CURLE_OK) return OptionStatus(code, option);
    if (is_proxy) {
      proxy_ = std::move(proxy);
      partition_ = std::move(partition);
    }
    if (option == CURLOPT_COOKIEFILE) {
      if (!text.has_value()) cookies_on_ = false;
      // libcurl appends each file to a list, and reads all of them when a
      // transfer begins (Curl_cookie_loadfiles, from lib/transfer.c).
      reads_cookie_file_ =
          text.has_value() && (reads_cookie_file_ || !text->empty());
      UpdateLends();
    }
    // As in libcurl, CURLINFO_EFFECTIVE_URL is the new URL from now on.
    if (option == CURLOPT_URL) {
      url_ = std::move(url);
      if (answers_ != nullptr) answers_->effective_url = std::move(answer);
    }
    return absl::OkStatus();
  }

  CURLcode SetCurlu(CURLU* url) {
    // libcurl would drop the URL.
    if (url == nullptr && curlu_ == nullptr) return CURLE_OK;
    const CURLcode code = curl_easy_setopt(curl_, CURLOPT_CURLU, url);
    if (code != CURLE_OK) return code;
    ForgetFirstOrigin();
    curlu_ = url;
    url_.clear();
    UpdateLends();
    return code;
  }

  bool MayPinNames() const override {
    return exposed_ || slists_.count(CURLOPT_RESOLVE) > 0;
  }
  bool ConnectsElsewhere() const override {
    return exposed_ || !proxy_.empty() || slists_.count(CURLOPT_CONNECT_TO) > 0;
  }
  // nullopt: the user of native_handle() may have set another function, so that
  // OnLookup was not called.
  std::optional<int> lookups() const override {
    return exposed_ ? std::nullopt : std::optional<int>(lookups_);
  }
  // The handle's own CURLOPT_DNS_CACHE_TIMEOUT takes precedence if it is
  // shorter. A negative number means no limit.
  CURLcode LimitDnsAge(long seconds) override {
    if (own_dns_age_.has_value() && *own_dns_age_ >= 0 &&
        (seconds < 0 || *own_dns_age_ < seconds)) {
      seconds = *own_dns_age_;
    }
    is_dns_age_limited_ = true;
    return Handle::LimitDnsAge(seconds);
  }
  CURLcode UnlimitDnsAge() override {
    if (!is_dns_age_limited_) return CURLE_OK;
    is_dns_age_limited_ = false;
    constexpr long kDefault = 60;  // seconds; libcurl's own
    return Handle::LimitDnsAge(own_dns_age_.value_or(kDefault));
  }
  using Handle::LimitDnsAgeByShare;
  void ReloadResolve() override {
    const auto list = slists_.find(CURLOPT_RESOLVE);
    if (list == slists_.end()) return;
    // Cannot fail: libcurl has accepted the list before.
    (void)curl_easy_setopt(curl_, CURLOPT_RESOLVE, list->second.get());
  }
  bool OwnsCurl() const override { return true; }
  void FreeCurl() override {
    curl_easy_cleanup(curl_);
    curl_ = nullptr;
  }
  absl::Status MakeStatus(CURLcode code) override {
    if (code == CURLE_OK) return absl::OkStatus();
    if (!callback_status_.ok()) {
      return WithEasyCode(callback_status_, callback_code_.value_or(code));
    }
    if (absl::Status status = request_.status(); !status.ok()) {
      return WithEasyCode(std::move(status), code);
    }
    // libcurl returns this code also for a response that is not HTTP, or is of
    // an unsupported version (lib/http.c). Only the text tells that the scheme
    // of the URL was refused.
    if (code == CURLE_UNSUPPORTED_PROTOCOL &&
        absl::StartsWith(error_.data(), "Protocol \"")) {
      return ProtocolStatus();
    }
    return CodeStatus(code, error_.data());
  }
  void OnBegun() override { has_begun_ = true; }
  long max_connects() const override { return max_connects_; }
  bool quick_exit() const override { return quick_exit_; }
  CURLcode TurnCookiesOn() override {
    if (cookies_on_) return CURLE_OK;
    const CURLcode code = Handle::TurnCookiesOn();
    cookies_on_ = code == CURLE_OK;
    return code;
  }
  using Handle::Shares;

  // Safe to call from any thread. Release, and acquire in TakeResumed: what the
  // caller did before is visible to the callables of the transfer. The flag is
  // set before the poll is woken, so that no call is lost.
  bool Resume() {
    resumed_.store(true, std::memory_order_release);
    return WakeTransfer();
  }
  // Called ahead of each curl_multi_perform. The plain load keeps that cheap.
  bool TakeResumed() override {
    return resumed_.load(std::memory_order_relaxed) &&
           resumed_.exchange(false, std::memory_order_acquire);
  }

  // The error of secret headers together with CURLHEADER_UNIFIED.
  static absl::Status SecretsInConnect() {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "SetSecretHeaders: with CURLOPT_HEADEROPT as "
                 "CURLHEADER_UNIFIED libcurl would send the headers to the "
                 "proxy of a tunnel, too");
  }
  bool has_secret_headers() const { return all_headers_ != nullptr; }
  Request& request() { return request_; }

  Sink sink_;
  Sink header_sink_;
  Progress progress_;
  int64_t max_body_size_ = 0;  // in bytes; 0: no limit
  bool cookies_on_ = false;    // TurnCookiesOn has succeeded

 private:
  // The functions that libcurl calls. `core` is a Core*.

  static size_t OnBody(char* data, size_t size, size_t count,
                       void* core) noexcept {
    auto* self = static_cast<Core*>(core);
    const absl::string_view piece(data, size * count);
    return self->Run([&] { return self->TakeBody(piece); }) ? piece.size()
           : self->Pauses() ? CURL_WRITEFUNC_PAUSE
                            : CURL_WRITEFUNC_ERROR;
  }
  // Returns whether the sink returned NotNow(). If so, takes that back as the
  // error of the transfer, which pauses instead.
  bool Pauses() {
    if (!IsNotNow(callback_status_)) return false;
    callback_status_ = absl::OkStatus();
    return true;
  }

  // Hands one piece of the body on: to the Response of Fetch, or to a sink.
  // Throws what strings and sinks throw.
  //
  // Only the last response's body comes here: libcurl drops the bodies of
  // redirects that it follows and of authentication challenges that it answers
  // (`ignorebody` in lib/http.c).
  absl::Status TakeBody(absl::string_view piece) {
    body_size_ += static_cast<int64_t>(piece.size());
    if (max_body_size_ > 0 && body_size_ > max_body_size_) {
      callback_code_ = CURLE_FILESIZE_EXCEEDED;
      return Error(absl::StatusCode::kOutOfRange,
                   "the body is larger than the ", max_body_size_,
                   " bytes that SetMaxBodySize allows");
    }
    const Sink* sink = &sink_;
    if (body_ != nullptr) {
      if (fetch_sink_ == nullptr || IsError()) {
        const size_t room = fetch_sink_ == nullptr
                                ? piece.size()
                                : kMaxErrorBody - body_->size();
        body_->append(piece.data(), std::min(piece.size(), room));
        return absl::OkStatus();
      }
      sink = fetch_sink_;
    }
    if (*sink == nullptr) return absl::OkStatus();
    absl::Status status = (*sink)(piece);
    // libcurl will pass the same bytes again.
    if (IsNotNow(status)) body_size_ -= static_cast<int64_t>(piece.size());
    return status;
  }

  // Whether the body that arrives is not that of a 2xx response. A code below
  // 200 is not an error: an FTP server has answered 150 at this point.
  bool IsError() {
    const absl::StatusOr<long> status = GetInfo<long>(CURLINFO_RESPONSE_CODE);
    return status.ok() && *status >= 300;
  }

  static size_t OnHeader(char* data, size_t size, size_t count,
                         void* core) noexcept {
    auto* self = static_cast<Core*>(core);
    const absl::string_view line(data, size * count);
    // Both can be null if InstallHeaderSink has failed half way.
    if (self == nullptr || self->header_sink_ == nullptr) return line.size();
    return self->Run([&] { return self->header_sink_(line); })
               ? line.size()
               : CURL_WRITEFUNC_ERROR;
  }

  // CURLOPT_RESOLVER_START_FUNCTION: libcurl calls it before each look-up of a
  // name that its DNS cache has no answer for.
  static int OnLookup(void* resolver, void* reserved, void* core) {
    auto* self = static_cast<Core*>(core);
    ++self->lookups_;
    return self->lookup_function_ == nullptr
               ? 0
               : self->lookup_function_(resolver, reserved, self->lookup_data_);
  }

  // CURLOPT_PREREQFUNCTION: libcurl calls it before each request, including
  // those after redirects and challenges, when there is a connection. It is the
  // only callback between a redirect and the first byte that libcurl sends to
  // the new host.
  static int OnRequest(void* core, char* remote_ip, char* local_ip,
                       int remote_port, int local_port) noexcept {
    auto* self = static_cast<Core*>(core);
    if (self->all_headers_ != nullptr &&
        !self->Run([&] { return self->ChooseHeaders(); })) {
      return CURL_PREREQFUNC_ABORT;
    }
    if (self->prereq_ == nullptr) return CURL_PREREQFUNC_OK;
    return self->prereq_(self->prereq_data_, remote_ip, local_ip, remote_port,
                         local_port);
  }

  // The URL is being changed. In a callback during a transfer, the next request
  // may then go anywhere: an empty origin matches none, so that no further
  // request of this transfer gets the secret headers.
  void ForgetFirstOrigin() {
    if (in_transfer_) first_origin_.emplace();
  }
  // Gives libcurl the headers for the request that comes next: with the secret
  // ones if it goes to the origin of the transfer's first request, else
  // without. Throws what strings throw.
  absl::Status ChooseHeaders() {
    const absl::StatusOr<HostPort> host =
        internal::HostPortOf(Text(CURLINFO_EFFECTIVE_URL).c_str());
    // The scheme of the connection, since the first URL may have none.
    const std::string scheme = Text(CURLINFO_SCHEME);
    // Empty if it is not known; then the secrets are not sent.
    const std::string origin =
        host.ok() && !scheme.empty()
            ? absl::AsciiStrToLower(
                  absl::StrCat(scheme, "://", host->host, ":", host->port))
            : "";
    if (!first_origin_.has_value()) first_origin_ = origin;
    // CURLOPT_PORT does not appear in the URL, and libcurl does not use it
    // after a redirect to an absolute URL. So with it, only requests before the
    // first redirect are known to go to the first origin.
    const bool first =
        !origin.empty() && origin == *first_origin_ &&
        (!has_port_ || GetInfo<long>(CURLINFO_REDIRECT_COUNT).value_or(1) == 0);
    // In time: libcurl reads the list when it writes the request, after this
    // callback.
    return OptionStatus(
        curl_easy_setopt(
            curl_, CURLOPT_HTTPHEADER,
            first ? all_headers_.get() : slists_[CURLOPT_HTTPHEADER].get()),
        CURLOPT_HTTPHEADER);
  }

  static int OnProgress(void* core, curl_off_t download_expected,
                        curl_off_t downloaded, curl_off_t upload_expected,
                        curl_off_t uploaded) noexcept {
    auto* self = static_cast<Core*>(core);
    if (self->cancelled()) return 1;
    if (self->progress_ == nullptr) return 0;  // for Cancel: see WantsProgress
    self->untold_progress_ = TransferProgress{download_expected, downloaded,
                                              upload_expected, uploaded};
    // libcurl calls this with each piece of data, which is too often for the
    // user's function.
    const int64_t now = internal::CoarseNow();
    if (now - self->progress_told_ < kProgressInterval) return 0;
    self->progress_told_ = now;
    const TransferProgress progress = *self->untold_progress_;
    self->untold_progress_.reset();
    return self->Run([&] { return self->progress_(progress); }) ? 0 : 1;
  }

  // The results of a transfer that libcurl loses when the handle lets go of its
  // connections. Not thread-safe: a part of the Core.
  struct Answers {
    std::vector<std::pair<std::string, std::string>> headers;
    std::string effective_url;
    std::string effective_method;
    std::string redirect_url;
    std::string referer;
    long redirect_count = 0;
    long os_errno = 0;
    curl_off_t transfer_id = -1;
    curl_off_t connection_id = -1;
    curl_off_t total_time = 0;
    curl_off_t pretransfer_time = 0;
  };

  // CURLINFO_XFER_ID and CURLINFO_CONN_ID, since 8.2. By number, for older
  // headers.
  static constexpr auto kTransferId =
      static_cast<CURLINFO>(CURLINFO_OFF_T + 63);
  static constexpr auto kConnectionId =
      static_cast<CURLINFO>(CURLINFO_OFF_T + 64);
  // Returns the value of `info`; 0 if libcurl does not know it.
  curl_off_t Number(CURLINFO info) {
    const absl::StatusOr<curl_off_t> number = GetInfo<curl_off_t>(info);
    return number.ok() ? *number : 0;
  }

  // Returns the text of `info`; empty if libcurl has none.
  std::string Text(CURLINFO info) {
    const absl::StatusOr<char*> text = GetInfo<char*>(info);
    return text.ok() && *text != nullptr ? *text : "";
  }

  // Returns the default of an Easy for an option that lists protocols. Null for
  // any other option.
  static const char* DefaultProtocols(CURLoption option) {
    if (option != CURLOPT_PROTOCOLS_STR &&
        option != CURLOPT_REDIR_PROTOCOLS_STR) {
      return nullptr;
    }
    // libcurl refuses a list with a protocol that it was built without.
    return RunningLibcurl().ssl_version.empty() ? "http" : "http,https";
  }

  // The error for a scheme that was refused. libcurl's text names the scheme,
  // but in some versions does not say whether the scheme is unknown or only not
  // allowed. So this always says how to allow one.
  absl::Status ProtocolStatus() {
    return NoThrow("transfer", [&] {
      return EasyStatus(
          CURLE_UNSUPPORTED_PROTOCOL, "transfer",
          absl::StrCat(error_.data(),
                       "; an Easy does HTTP and HTTPS unless "
                       "SetOption<CURLOPT_PROTOCOLS_STR> allows more, for "
                       "redirects CURLOPT_REDIR_PROTOCOLS_STR"));
    });
  }

  // Whether `option` is a part of the partition, the text that handles must
  // have in common to use each other's connections. Before 8.21, libcurl does
  // not compare the credentials for an HTTP proxy (lib/url.c): one user could
  // use a tunnel that another user has opened.
  static bool IsProxy(CURLoption option) {
    return RunningLibcurl().version_num < LibcurlVersion(8, 21, 0) &&
           (option == CURLOPT_PROXY || option == CURLOPT_PROXYUSERPWD ||
            option == CURLOPT_PROXYUSERNAME || option == CURLOPT_PROXYPASSWORD);
  }

  // Calls a callable of the user's in a callback of libcurl's. Returns whether
  // the transfer may go on; if not, callback_status_ says why.
  bool Run(absl::FunctionRef<absl::Status()> callable) {
    // An exception must not pass through libcurl, which would keep its locks.
    absl::Status status = NoThrow("a callback", callable);
    if (status.ok()) return true;
    callback_status_ = std::move(status);
    return false;
  }

  // Fills in all of `response` except for the body.
  absl::Status Describe(Response& response) {
    curl_off_t name_lookup = 0;
    curl_off_t connect = 0;
    curl_off_t tls_handshake = 0;
    curl_off_t first_byte = 0;
    curl_off_t total = 0;
    curl_off_t retry_after = 0;
    long connects = 0;
    char* url = nullptr;
    const auto get = [this](CURLINFO info, auto* value) {
      return curl_easy_getinfo(curl_, info, value);
    };
    for (const CURLcode code : {
             get(CURLINFO_RESPONSE_CODE, &response.status),
             get(CURLINFO_HTTP_VERSION, &response.http_version),
             get(CURLINFO_NUM_CONNECTS, &connects),
             get(CURLINFO_EFFECTIVE_URL, &url),
             get(CURLINFO_NAMELOOKUP_TIME_T, &name_lookup),
             get(CURLINFO_CONNECT_TIME_T, &connect),
             get(CURLINFO_APPCONNECT_TIME_T, &tls_handshake),
             get(CURLINFO_STARTTRANSFER_TIME_T, &first_byte),
             get(CURLINFO_TOTAL_TIME_T, &total),
             get(CURLINFO_RETRY_AFTER, &retry_after),
             get(CURLINFO_REDIRECT_COUNT, &response.redirects),
         }) {
      if (code != CURLE_OK) return InfoStatus(code);
    }
    total = SavedMicroseconds(CURLINFO_TOTAL_TIME_T).value_or(total);
    response.redirects =
        SavedLong(CURLINFO_REDIRECT_COUNT).value_or(response.redirects);
    // libcurl 7.88 returns a negative number for a date in the past.
    response.retry_after = absl::Seconds(std::max<curl_off_t>(retry_after, 0));
    // Without a request, as for file:, there was no connection to reuse.
    response.connection_reused =
        connects == 0 && GetInfo<long>(CURLINFO_REQUEST_SIZE).value_or(0) > 0;
    if (answers_ != nullptr) {
      response.effective_url = answers_->effective_url;
    } else if (url != nullptr) {
      response.effective_url = url;
    }
    response.timings = {
        absl::Microseconds(name_lookup), absl::Microseconds(connect),
        absl::Microseconds(tls_handshake), absl::Microseconds(first_byte),
        absl::Microseconds(total)};
    response.headers = Headers();
    return absl::OkStatus();
  }

  Request request_;
  std::atomic<bool> resumed_{false};  // Resume was called, TakeResumed not yet
  bool is_set_up_ = true;             // false after a Reset that has failed
  std::array<char, CURL_ERROR_SIZE> error_{};  // CURLOPT_ERRORBUFFER
  // With what a callable of the user's has ended the transfer; OK if none has.
  absl::Status callback_status_;
  std::optional<CURLcode> callback_code_;  // to use instead of libcurl's
  int64_t body_size_ = 0;                  // bytes of the body so far
  long max_connects_ = kDefaultMaxConnects;
  bool quick_exit_ = false;
  bool verbose_ = false;
  CURLU* curlu_ = nullptr;
  bool reads_cookie_file_ = false;
  // native_handle() was called. Atomic: set by a thread that may not be the
  // holder.
  std::atomic<bool> exposed_{false};
  // Digest, NTLM or Negotiate has been allowed. Once true it stays true, also
  // after Reset.
  bool authenticates_connections_ = false;
  // Atomic: a thread that waits to become the holder reads it as well.
  std::atomic<long> timeout_ms_{0};
  std::optional<long> own_dns_age_;  // CURLOPT_DNS_CACHE_TIMEOUT, if it was set
  bool is_dns_age_limited_ = false;  // libcurl has the share's in its place
  // The options for which the handle has its own connections (see
  // wants_own_connections): callbacks, strings and lists; and, by index,
  // CURLOPT_HAPROXYPROTOCOL, CURLOPT_HTTPAUTH, CURLOPT_PROXYAUTH,
  // CURLOPT_HEADEROPT.
  std::set<CURLoption> own_options_;
  std::bitset<4> own_connections_;
  std::string url_;                          // CURLOPT_URL
  std::map<CURLoption, std::string> proxy_;  // see IsProxy
  std::string partition_;                    // made of proxy_
  std::unique_ptr<Answers> answers_;         // null: libcurl still has them
  // Of the transfer in progress: when progress_ was last called (CoarseNow()),
  // and the progress that it has not been called with yet.
  static constexpr int64_t kProgressInterval = 100'000'000;  // ns
  int64_t progress_told_ = 0;
  std::optional<TransferProgress> untold_progress_;
  bool reports_progress_ = false;  // OnProgress is installed
  // While Fetch runs: the Response's body, and the sink that Fetch was given.
  std::string* body_ = nullptr;
  const Sink* fetch_sink_ = nullptr;
  int lookups_ = 0;  // look-ups of names, begun in the newest transfer
  curl_resolver_start_callback lookup_function_ = nullptr;
  void* lookup_data_ = nullptr;
  // The lists that libcurl has. It does not copy them, so each lives until
  // libcurl has another one.
  std::map<CURLoption, SlistPtr> slists_;
  // The headers of SetSecretHeaders; and the list of these after those of
  // SetHeaders, null if there are no secret ones.
  std::vector<std::string> secret_headers_;
  SlistPtr all_headers_;
  // Of the transfer in progress: scheme, host and port of its first request.
  // Empty: not known, matches none.
  std::optional<std::string> first_origin_;
  curl_prereq_callback prereq_ = nullptr;  // the user's
  void* prereq_data_ = nullptr;
  bool has_prereq_ = false;       // OnRequest is installed
  bool has_port_ = false;         // CURLOPT_PORT is set
  bool unified_headers_ = false;  // CURLOPT_HEADEROPT is CURLHEADER_UNIFIED
  bool in_transfer_ = false;
  bool has_begun_ = false;  // libcurl has begun the newest transfer
};

Easy::Easy(internal::RefPtr<Core> core) : core_(std::move(core)) {}

Easy::Easy(Easy&& other) noexcept = default;

Easy& Easy::operator=(Easy&& other) noexcept {
  if (this != &other) {
    if (core_ != nullptr) core_->Release();
    core_ = std::move(other.core_);
  }
  return *this;
}

Easy::~Easy() {
  if (core_ != nullptr) core_->Release();
}

absl::StatusOr<Easy> Easy::Create() {
  if (absl::Status status = InitLibcurl(); !status.ok()) return status;
  return NoThrow("Easy::Create", []() -> absl::StatusOr<Easy> {
    absl::StatusOr<internal::RefPtr<Core>> core =
        Core::Create(curl_easy_init());
    if (!core.ok()) return core.status();
    Easy easy(*std::move(core));
    if (absl::Status status = easy.core_->RestrictProtocols(); !status.ok()) {
      return status;
    }
    return easy;
  });
}

// The beginning of most methods: enters the handle in the given Mode, or
// returns the error. The rest of the method runs as the holder; the handle is
// left when it returns.
#define CURLSHARE_ENTER(...)                                            \
  if (core_ == nullptr) return MovedFrom();                             \
  const internal::RefPtr<Core> core = core_;                            \
  if (absl::Status entered = core->Enter(__VA_ARGS__); !entered.ok()) { \
    return entered;                                                     \
  }                                                                     \
  const Entered leave_at_end(*core)

absl::Status Easy::SetUrl(absl::string_view url) {
  return SetString(CURLOPT_URL, url);
}

absl::Status Easy::SetMethod(absl::string_view method) {
  if (!IsToken(method)) {
    return Error(
        absl::StatusCode::kInvalidArgument,
        "SetMethod: a method is a token of RFC 9110, such as GET or PUT");
  }
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetMethod", [&] {
    return OptionStatus(core->request().SetMethod(std::string(method)),
                        CURLOPT_CUSTOMREQUEST);
  });
}

absl::Status Easy::SetHeaders(absl::Span<const std::string> headers) {
  for (const std::string& header : headers) {
    if (header.find_first_of("\r\n") != header.npos) {
      return Error(absl::StatusCode::kInvalidArgument,
                   "SetHeaders: a header must not hold a line break");
    }
  }
  return SetSlist(CURLOPT_HTTPHEADER, headers);
}

absl::Status Easy::SetSecretHeaders(absl::Span<const std::string> headers) {
  for (const std::string& header : headers) {
    if (absl::string_view(header).find_first_of(
            absl::string_view("\r\n\0", 3)) != header.npos) {
      return Error(absl::StatusCode::kInvalidArgument,
                   "SetSecretHeaders: a header must hold neither a line break "
                   "nor a NUL byte");
    }
  }
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetSecretHeaders",
                 [&] { return core->SetSecretHeaders(headers); });
}

absl::Status Easy::SetBody(absl::string_view body) {
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetBody", [&] {
    return OptionStatus(core->request().SetBytes(std::string(body)),
                        CURLOPT_POSTFIELDS);
  });
}

absl::Status Easy::SetForm(absl::Span<const FormPart> parts) {
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetForm", [&]() -> absl::Status {
    absl::StatusOr<std::shared_ptr<curl_mime>> form =
        NewForm(core->curl(), parts);
    if (!form.ok()) return form.status();
    std::vector<std::string> files;
    for (const FormPart& part : parts) {
      if (part.path.has_value()) files.push_back(*part.path);
    }
    return OptionStatus(
        core->request().SetForm(*std::move(form), std::move(files)),
        CURLOPT_MIMEPOST);
  });
}

absl::Status Easy::SetSource(Source source, std::optional<int64_t> size,
                             Rewind rewind) {
  if (size.has_value() && *size < 0) {
    return Error(absl::StatusCode::kInvalidArgument, "SetSource: a size of ",
                 *size);
  }
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetSource", [&] {
    std::shared_ptr<BodySource> made;
    if (source != nullptr) {
      made = std::make_shared<BodySource>(std::move(source), size,
                                          std::move(rewind));
    }
    return OptionStatus(core->request().SetSource(std::move(made)),
                        CURLOPT_READFUNCTION);
  });
}

namespace {

// Returns `timeout` in milliseconds, the unit of libcurl, rounded up. 0: none.
absl::StatusOr<long> TimeoutMilliseconds(absl::string_view method,
                                         absl::Duration timeout) {
  if (timeout <= absl::ZeroDuration()) {
    return NoThrow(method, [&] {
      return absl::InvalidArgumentError(absl::StrCat(
          method, ": ", absl::FormatDuration(timeout), " is not positive"));
    });
  }
  if (timeout == absl::InfiniteDuration()) return 0;
  const int64_t ms =
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  // libcurl refuses more milliseconds than an int can hold (24 days).
  return static_cast<long>(std::min<int64_t>(ms, INT_MAX));
}

}  // namespace

absl::Status Easy::SetTimeout(absl::Duration timeout) {
  const absl::StatusOr<long> ms = TimeoutMilliseconds("SetTimeout", timeout);
  return ms.ok() ? SetLong(CURLOPT_TIMEOUT_MS, *ms) : ms.status();
}

absl::Status Easy::SetConnectTimeout(absl::Duration timeout) {
  const absl::StatusOr<long> ms =
      TimeoutMilliseconds("SetConnectTimeout", timeout);
  return ms.ok() ? SetLong(CURLOPT_CONNECTTIMEOUT_MS, *ms) : ms.status();
}

absl::Status Easy::SetFollowRedirects(int most) {
  if (most < 0) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "SetFollowRedirects: ", most, " is negative");
  }
  CURLSHARE_ENTER(Mode::kUse);
  // No limit instead of 0: libcurl counts the request that answers an
  // authentication challenge as a redirect, too (Curl_follow in lib/transfer.c
  // of 7.88, lib/http.c of later versions). With 0, Digest would fail.
  CURLcode code = curl_easy_setopt(core->curl(), CURLOPT_MAXREDIRS,
                                   most > 0 ? static_cast<long>(most) : -1L);
  if (code == CURLE_OK) {
    // CURLFOLLOW_OBEYCODE, from 8.16 on: a method set by
    // CURLOPT_CUSTOMREQUEST also changes as the status code says. Earlier
    // versions treat every number but 0 alike.
    constexpr long kObeyCode = 2;
    code = curl_easy_setopt(core->curl(), CURLOPT_FOLLOWLOCATION,
                            most > 0 ? kObeyCode : 0L);
  }
  return OptionStatus(code, CURLOPT_FOLLOWLOCATION);
}

absl::Status Easy::SetCaCertificates(absl::string_view pem) {
  return SetBlob(CURLOPT_CAINFO_BLOB, pem);
}

absl::Status Easy::SetMaxBodySize(int64_t most) {
  if (most < 0) {
    return Error(absl::StatusCode::kInvalidArgument, "SetMaxBodySize: ", most,
                 " is negative");
  }
  CURLSHARE_ENTER(Mode::kUse);
  core->max_body_size_ = most;
  return absl::OkStatus();
}

absl::Status Easy::SetSink(Sink sink) {
  CURLSHARE_ENTER(Mode::kChange);
  core->sink_ = std::move(sink);
  return absl::OkStatus();
}

absl::Status Easy::SetHeaderSink(Sink sink) {
  CURLSHARE_ENTER(Mode::kChange);
  return core->SetHeaderSink(std::move(sink));
}

absl::Status Easy::SetProgress(Progress progress) {
  CURLSHARE_ENTER(Mode::kChange);
  core->progress_ = std::move(progress);
  return absl::OkStatus();
}

absl::Status Easy::SetLong(CURLoption option, long value) {
  CURLSHARE_ENTER(Mode::kUse);
  // Before 8.21, libcurl frees the list here (CURLOPT_HSTS_CTRL in
  // lib/setopt.c), even if it is the share's and other handles use it.
  if (option == CURLOPT_HSTS_CTRL && (value & CURLHSTS_ENABLE) == 0 &&
      core->Shares(LockData::kHsts)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "CURLOPT_HSTS_CTRL cannot turn HSTS off while share #",
                 core->share()->id(), " shares it: detach first");
  }
  if (option == CURLOPT_CONNECT_ONLY && value != 0) {
    return Error(absl::StatusCode::kUnimplemented,
                 "CURLOPT_CONNECT_ONLY: its connection would be closed when "
                 "Perform returns. Use a CURL* of your own: curl_easy_perform "
                 "within an Attachment::Transfer");
  }
  if (option == CURLOPT_HEADEROPT &&
      (static_cast<unsigned long>(value) & CURLHEADER_SEPARATE) == 0 &&
      core->has_secret_headers()) {
    return Core::SecretsInConnect();
  }
  if (option == CURLOPT_INFILESIZE) return SetOffT(option, value);
  CURLcode code = option == CURLOPT_POSTREDIR
                      ? core->request().SetPostRedirects(value)
                      : curl_easy_setopt(core->curl(), option, value);
  if (code == CURLE_OK) core->Note(option, value);
  if (code == CURLE_OK && option == CURLOPT_DNS_CACHE_TIMEOUT) {
    code = core->LimitDnsAgeByShare();  // which may be shorter
  }
  return OptionStatus(code, option);
}

namespace {

absl::Status HoldsNul(CURLoption option) {
  return NoThrow("SetOption", [&] {
    return absl::InvalidArgumentError(absl::StrCat(
        OptionCall(option),
        ": a value holds a NUL byte, at which libcurl would end it"));
  });
}

}  // namespace

absl::Status Easy::SetOffT(CURLoption option, curl_off_t value) {
  CURLSHARE_ENTER(Mode::kUse);
  const CURLcode code =
      option == CURLOPT_INFILESIZE || option == CURLOPT_INFILESIZE_LARGE
          ? core->request().SetReaderSize(value)
          : curl_easy_setopt(core->curl(), option, value);
  return OptionStatus(code, option);
}

absl::Status Easy::SetString(CURLoption option,
                             std::optional<absl::string_view> value) {
  if (value.has_value() && value->find('\0') != value->npos) {
    return HoldsNul(option);
  }
  CURLSHARE_ENTER(Mode::kUse);
  if (option == CURLOPT_COOKIEFILE && !value.has_value() &&
      core->Shares(LockData::kCookie)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "CURLOPT_COOKIEFILE NULL would take the handle out of the "
                 "cookies of share #",
                 core->share()->id(), ", in silence: detach first");
  }
  if (option == CURLOPT_COOKIEJAR && core->Shares(LockData::kCookie) &&
      !core->gated()) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "CURLOPT_COOKIEJAR must be set before the handle joins share #",
        core->share()->id(), ", which shares cookies and is not gated");
  }
  return NoThrow("SetOption", [&] { return core->SetText(option, value); });
}

absl::Status Easy::SetSlist(CURLoption option,
                            absl::Span<const std::string> values) {
  for (const std::string& value : values) {
    if (value.find('\0') != value.npos) {
      return HoldsNul(option);
    }
  }
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("SetOption", [&] { return core->SetSlist(option, values); });
}

absl::Status Easy::SetBlob(CURLoption option,
                           std::optional<absl::string_view> value) {
  CURLSHARE_ENTER(Mode::kUse);
  if (!value.has_value()) {
    return OptionStatus(curl_easy_setopt(core->curl(), option, nullptr),
                        option);
  }
  curl_blob blob;
  blob.data = const_cast<char*>(value->data());  // NOLINT: libcurl copies it
  blob.len = value->size();
  blob.flags = CURL_BLOB_COPY;
  return OptionStatus(curl_easy_setopt(core->curl(), option, &blob), option);
}

absl::Status Easy::SetFunction(CURLoption option, void (*function)(),
                               CURLoption data_option, void* data) {
  // The body must not change during a transfer, so that these two are refused
  // in its callbacks (kChange).
  const bool of_body =
      option == CURLOPT_READFUNCTION || option == CURLOPT_SEEKFUNCTION;
  CURLSHARE_ENTER(of_body ? Mode::kChange : Mode::kUse);
  return NoThrow("SetOption", [&] {
    return core->SetFunction(option, function, data_option, data);
  });
}

absl::Status Easy::SetPointer(CURLoption option, void* pointer) {
  if (option == CURLOPT_MIMEPOST) {
    CURLSHARE_ENTER(Mode::kChange);
    return NoThrow("SetOption", [&] {
      return OptionStatus(
          core->request().SetForm(static_cast<curl_mime*>(pointer)), option);
    });
  }
  CURLSHARE_ENTER(Mode::kUse);
  const CURLcode code = option == CURLOPT_CURLU
                            ? core->SetCurlu(static_cast<CURLU*>(pointer))
                            : curl_easy_setopt(core->curl(), option, pointer);
  return OptionStatus(code, option);
}

absl::Status Easy::PerformWith(const CancelToken* token) {
  if (core_ == nullptr) return MovedFrom();
  const internal::RefPtr<Core> core = core_;
  return core->RunEntered(
      token, [&](absl::Duration waited) { return core->Transfer(waited); });
}

absl::Status Easy::Perform() { return PerformWith(nullptr); }

absl::Status Easy::Perform(const CancelToken& token) {
  return PerformWith(&token);
}

absl::StatusOr<Response> Easy::FetchWith(absl::string_view url,
                                         const Sink* sink,
                                         const CancelToken* token) {
  if (core_ == nullptr) return MovedFrom();
  const internal::RefPtr<Core> core = core_;
  absl::StatusOr<Response> response;
  absl::Status status = core->RunEntered(token, [&](absl::Duration waited) {
    absl::Status set = SetUrl(url);
    if (!set.ok()) return set;
    response = NoThrow("Fetch", [&] { return core->FetchNow(waited, sink); });
    return response.status();
  });
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<Response> Easy::Fetch(absl::string_view url) {
  return FetchWith(url, nullptr, nullptr);
}

absl::StatusOr<Response> Easy::Fetch(absl::string_view url,
                                     const CancelToken& token) {
  return FetchWith(url, nullptr, &token);
}

absl::StatusOr<Response> Easy::Fetch(absl::string_view url, const Sink& sink) {
  return FetchWith(url, &sink, nullptr);
}

absl::StatusOr<Response> Easy::Fetch(absl::string_view url, const Sink& sink,
                                     const CancelToken& token) {
  return FetchWith(url, &sink, &token);
}

absl::StatusOr<Response> Easy::GetResponse() {
  CURLSHARE_ENTER(Mode::kUse);
  return NoThrow("GetResponse", [&] { return core->ResponseWithoutBody(); });
}

absl::StatusOr<std::string> Easy::GetString(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  absl::StatusOr<char*> value = core->GetInfo<char*>(info);
  if (!value.ok()) return value.status();
  return NoThrow("GetInfo", [&]() -> absl::StatusOr<std::string> {
    if (const std::string* saved = core->SavedText(info)) return *saved;
    return std::string(*value == nullptr ? "" : *value);
  });
}

absl::StatusOr<long> Easy::GetLong(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  if (const std::optional<long> saved = core->SavedLong(info)) return *saved;
  return core->GetInfo<long>(info);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>>
Easy::GetHeaders() {
  CURLSHARE_ENTER(Mode::kUse);
  return NoThrow(
      "GetHeaders",
      [&]()
          -> absl::StatusOr<std::vector<std::pair<std::string, std::string>>> {
        return core->Headers();
      });
}

absl::StatusOr<double> Easy::GetDouble(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  if (const auto saved = core->SavedMicroseconds(info)) {
    return static_cast<double>(*saved) / 1e6;
  }
  return core->GetInfo<double>(info);
}

absl::StatusOr<std::vector<std::string>> Easy::GetSlist(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  absl::StatusOr<curl_slist*> value = core->GetInfo<curl_slist*>(info);
  if (!value.ok()) return value.status();
  const SlistPtr list(*value);
  return NoThrow("GetInfo", [&] { return ToVector(list.get()); });
}

absl::StatusOr<curl_socket_t> Easy::GetSocket(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  return core->GetInfo<curl_socket_t>(info);
}

absl::StatusOr<curl_off_t> Easy::GetOffT(CURLINFO info) {
  CURLSHARE_ENTER(Mode::kUse);
  if (const auto saved = core->SavedNumber(info)) return *saved;
  return core->GetInfo<curl_off_t>(info);
}

absl::Status Easy::Attach(Share& share) {
  if (core_ == nullptr) return MovedFrom();
  return core_->Attach(share.core_);
}

absl::Status Easy::Detach() {
  if (core_ == nullptr) return MovedFrom();
  return core_->Detach();
}

Share* Easy::share() const {
  if (core_ == nullptr) return nullptr;
  const internal::RefPtr<internal::ShareCore> share = core_->share();
  return share == nullptr ? nullptr : share->facade();
}

bool Easy::Cancel() { return core_ != nullptr && core_->Cancel(); }

bool Easy::Resume() { return core_ != nullptr && core_->Resume(); }

absl::Status Easy::Reset() {
  CURLSHARE_ENTER(Mode::kChange);
  return core->ResetOptions();
}

absl::StatusOr<Easy> Easy::Duplicate() {
  CURLSHARE_ENTER(Mode::kChange);
  return NoThrow("Duplicate", [&] { return DuplicateNow(*core); });
}

absl::StatusOr<Easy> Easy::DuplicateNow(Core& core) {
  absl::StatusOr<internal::RefPtr<Core>> copy =
      Core::Create(curl_easy_duphandle(core.curl()));
  if (!copy.ok()) return copy.status();
  Easy easy(*std::move(copy));
  if (absl::Status status = easy.core_->CopyFrom(core); !status.ok()) {
    return status;
  }
  const internal::RefPtr<internal::ShareCore> share = core.share();
  if (share == nullptr) {
    easy.core_->RefuseAs(core);
    return easy;
  }
  if (absl::Status status = easy.core_->Attach(share); !status.ok()) {
    // If the share has begun to close, the duplicate is attached to none, as
    // `core` will be.
    if (!internal::ShareCore::IsClosing(share->epoch())) return status;
    easy.core_->RefuseAs(core);
  }
  return easy;
}

absl::StatusOr<Easy::Use> Easy::BeginUse() {
  if (core_ == nullptr) return MovedFrom();
  if (absl::Status status = core_->Enter(Mode::kUse); !status.ok()) {
    return status;
  }
  return Use(core_);
}

CURL* Easy::native_handle() const {
  if (core_ == nullptr || core_->IsParents()) return nullptr;
  core_->Expose();
  return core_->curl();
}

Easy::Use::Use(internal::RefPtr<Core> core) : core_(std::move(core)) {}

Easy::Use::Use(Use&& other) noexcept = default;

Easy::Use::~Use() {
  if (core_ != nullptr) core_->Leave();
}

#undef CURLSHARE_ENTER

}  // namespace curlshare
