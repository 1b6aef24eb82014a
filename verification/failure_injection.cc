// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/failure_injection.h"

#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "absl/base/config.h"
#include "absl/debugging/leak_check.h"

namespace curlshare::testing {
namespace {

// All of it works without memory and without a lock: it runs inside operator
// new.
std::atomic<FailurePoint> point{FailurePoint::kLibcurlAllocation};
std::atomic<int64_t> fail_from{0};
std::atomic<int64_t> fail_to{0};
std::atomic<int64_t> seen{0};
std::atomic<bool> failed{false};
std::atomic<bool> counting{false};
// The newest. Written by the thread that fails, before `failed`.
char what[64];

std::atomic<int64_t> live_libcurl{0};
std::atomic<int64_t> live_scoped{0};

thread_local int scopes = 0;
thread_local int libcurl_depth = 0;  // calls of ours under way

// True where the caller, at `here`, is to fail.
bool Fails(FailurePoint here) {
  if (!counting.load(std::memory_order_acquire) ||
      point.load(std::memory_order_relaxed) != here) {
    return false;
  }
  const int64_t n = seen.fetch_add(1, std::memory_order_relaxed) + 1;
  return fail_from.load(std::memory_order_relaxed) <= n &&
         n <= fail_to.load(std::memory_order_relaxed);
}

void SetFailed() { failed.store(true, std::memory_order_release); }

// ---- libcurl's allocations

bool LibcurlAllocationFails() {
  if (!Fails(FailurePoint::kLibcurlAllocation)) return false;
  SetFailed();
  return true;
}

void* Counted(void* block) {
  if (block != nullptr) live_libcurl.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void* LibcurlMalloc(size_t size) {
  return LibcurlAllocationFails() ? nullptr : Counted(std::malloc(size));
}

void LibcurlFree(void* block) {
  if (block != nullptr) live_libcurl.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

void* LibcurlRealloc(void* block, size_t size) {
  if (LibcurlAllocationFails()) return nullptr;
  void* const moved = std::realloc(block, size);
  return block == nullptr ? Counted(moved) : moved;
}

char* LibcurlStrdup(const char* text) {
  return LibcurlAllocationFails() ? nullptr
                                  : static_cast<char*>(Counted(strdup(text)));
}

void* LibcurlCalloc(size_t count, size_t size) {
  return LibcurlAllocationFails() ? nullptr : Counted(std::calloc(count, size));
}

// ---- operator new

// In front of every block that operator new returns.
struct Header {
  void* block;
  bool scoped;
};

// Null where there is no memory.
void* New(size_t size, size_t alignment) {
  const bool scoped = scopes > 0;
  if (scoped && Fails(FailurePoint::kOperatorNew)) {
    SetFailed();
    return nullptr;
  }
  alignment = std::max(alignment, alignof(std::max_align_t));
  const size_t offset = std::max(alignment, sizeof(Header));
  const size_t total = (size + offset + alignment - 1) / alignment * alignment;
  void* const block = std::aligned_alloc(alignment, total);
  if (block == nullptr) return nullptr;
  char* const result = static_cast<char*>(block) + offset;
  reinterpret_cast<Header*>(result)[-1] = {block, scoped};  // NOLINT
  if (scoped) live_scoped.fetch_add(1, std::memory_order_relaxed);
  return result;
}

void* NewOrThrow(size_t size, size_t alignment) {
  void* const result = New(size, alignment);
#ifdef ABSL_HAVE_EXCEPTIONS
  if (result == nullptr) throw std::bad_alloc();
#else
  if (result == nullptr) std::abort();
#endif
  return result;
}

void Delete(void* pointer) {
  if (pointer == nullptr) return;
  const Header header = static_cast<Header*>(pointer)[-1];
  if (header.scoped) live_scoped.fetch_sub(1, std::memory_order_relaxed);
  std::free(header.block);
}

// ---- libcurl's functions

// One call of libcurl, by curl_share or by libcurl itself.
class Call {
 public:
  explicit Call(const char* name, int option = 0) {
    if (libcurl_depth++ > 0 || scopes == 0 ||
        !Fails(FailurePoint::kLibcurlCall)) {
      return;
    }
    fails_ = true;
    if (option == 0) {
      std::snprintf(what, sizeof(what), "%s", name);
    } else {
      std::snprintf(what, sizeof(what), "%s(%d)", name, option);
    }
    SetFailed();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { --libcurl_depth; }

  bool fails() const { return fails_; }

 private:
  bool fails_ = false;
};

}  // namespace

bool CountLibcurlAllocations() {
  return curl_global_init_mem(CURL_GLOBAL_DEFAULT, &LibcurlMalloc, &LibcurlFree,
                              &LibcurlRealloc, &LibcurlStrdup,
                              &LibcurlCalloc) == CURLE_OK;
}

void FailNth(FailurePoint at, int64_t n, FailureLength length) {
  counting = false;
  point = at;
  fail_from = n;
  fail_to = n == 0 ? -1 : length == FailureLength::kOnce ? n : INT64_MAX;
  seen = 0;
  failed = false;
  what[0] = '\0';
  counting.store(true, std::memory_order_release);
}

FailureReport FailuresSoFar() {
  FailureReport report;
  report.failed = failed.load(std::memory_order_acquire);
  report.seen = seen.load(std::memory_order_relaxed);
  if (report.failed) report.what = what;
  return report;
}

FailureReport StopFailing() {
  counting = false;
  return FailuresSoFar();
}

FailureScope::FailureScope() { ++scopes; }
FailureScope::~FailureScope() { --scopes; }

int64_t LiveLibcurlAllocations() { return live_libcurl; }
int64_t LiveScopedAllocations() { return live_scoped; }

}  // namespace curlshare::testing

// ---- What replaces operator new

using curlshare::testing::Delete;
using curlshare::testing::New;
using curlshare::testing::NewOrThrow;

void* operator new(size_t size) { return NewOrThrow(size, 0); }
void* operator new[](size_t size) { return NewOrThrow(size, 0); }
void* operator new(size_t size, std::align_val_t alignment) {
  return NewOrThrow(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return NewOrThrow(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return New(size, 0);
}
void* operator new[](size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return New(size, 0);
}
void operator delete(void* block) noexcept { Delete(block); }
void operator delete[](void* block) noexcept { Delete(block); }
void operator delete(void* block, size_t /*size*/) noexcept { Delete(block); }
void operator delete[](void* block, size_t /*size*/) noexcept { Delete(block); }
void operator delete(void* block, std::align_val_t /*alignment*/) noexcept {
  Delete(block);
}
void operator delete[](void* block, std::align_val_t /*alignment*/) noexcept {
  Delete(block);
}
void operator delete(void* block, size_t /*size*/,
                     std::align_val_t /*alignment*/) noexcept {
  Delete(block);
}
void operator delete[](void* block, size_t /*size*/,
                       std::align_val_t /*alignment*/) noexcept {
  Delete(block);
}
void operator delete(void* block, const std::nothrow_t& /*tag*/) noexcept {
  Delete(block);
}
void operator delete[](void* block, const std::nothrow_t& /*tag*/) noexcept {
  Delete(block);
}

// ---- What `ld --wrap` puts in front of libcurl; see BUILD

// NOLINTBEGIN: the linker asks for these names and variadic functions
extern "C" {

using curlshare::testing::Call;

// FUNCTION(result, name, (parameters), (arguments), what it fails with)
#define FUNCTION(result, name, parameters, arguments, failure) \
  result __real_##name parameters;                             \
  result __wrap_##name parameters {                            \
    const Call call(#name);                                    \
    if (call.fails()) return failure;                          \
    return __real_##name arguments;                            \
  }

FUNCTION(CURLcode, curl_global_init, (long flags), (flags), CURLE_FAILED_INIT)
FUNCTION(CURL*, curl_easy_init, (void), (), nullptr)
FUNCTION(CURL*, curl_easy_duphandle, (CURL * curl), (curl), nullptr)
FUNCTION(CURLcode, curl_easy_perform, (CURL * curl), (curl),
         CURLE_OUT_OF_MEMORY)
FUNCTION(const curl_easyoption*, curl_easy_option_by_id, (CURLoption id), (id),
         nullptr)
FUNCTION(curl_header*, curl_easy_nextheader,
         (CURL * curl, unsigned origin, int request, curl_header* previous),
         (curl, origin, request, previous), nullptr)
FUNCTION(CURLSH*, curl_share_init, (void), (), nullptr)
// Whoever is refused may have nowhere to keep it: not for a leak checker to
// tell. Those of ShareHandles are counted (ShareHandle::live_count).
FUNCTION(CURLSHcode, curl_share_cleanup, (CURLSH * share), (share),
         (absl::IgnoreLeak(share), CURLSHE_IN_USE))
FUNCTION(CURLM*, curl_multi_init, (void), (), nullptr)
FUNCTION(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL* curl),
         (multi, curl), CURLM_OUT_OF_MEMORY)
FUNCTION(CURLMcode, curl_multi_remove_handle, (CURLM * multi, CURL* curl),
         (multi, curl), CURLM_INTERNAL_ERROR)
FUNCTION(CURLMcode, curl_multi_perform, (CURLM * multi, int* running),
         (multi, running), CURLM_OUT_OF_MEMORY)
FUNCTION(CURLMcode, curl_multi_poll,
         (CURLM * multi, curl_waitfd* extra, unsigned extra_count, int timeout,
          int* ready),
         (multi, extra, extra_count, timeout, ready), CURLM_OUT_OF_MEMORY)
FUNCTION(CURLMcode, curl_multi_wakeup, (CURLM * multi), (multi),
         CURLM_WAKEUP_FAILURE)
FUNCTION(CURLMsg*, curl_multi_info_read, (CURLM * multi, int* left),
         (multi, left), nullptr)
FUNCTION(curl_slist*, curl_slist_append, (curl_slist * list, const char* text),
         (list, text), nullptr)
#undef FUNCTION

CURLMcode __real_curl_multi_cleanup(CURLM* multi);
CURLMcode __wrap_curl_multi_cleanup(CURLM* multi) {
  const Call call("curl_multi_cleanup");
  const CURLMcode code = __real_curl_multi_cleanup(multi);
  return call.fails() ? CURLM_INTERNAL_ERROR : code;
}

// These cannot fail; they are here so that what libcurl does inside them is not
// taken for a call of ours.
void __real_curl_easy_cleanup(CURL* curl);
void __wrap_curl_easy_cleanup(CURL* curl) {
  ++curlshare::testing::libcurl_depth;
  __real_curl_easy_cleanup(curl);
  --curlshare::testing::libcurl_depth;
}
void __real_curl_easy_reset(CURL* curl);
void __wrap_curl_easy_reset(CURL* curl) {
  ++curlshare::testing::libcurl_depth;
  __real_curl_easy_reset(curl);
  --curlshare::testing::libcurl_depth;
}

// Variadic: every value is as wide as a pointer on the platforms supported.
static_assert(sizeof(long) == sizeof(void*) &&
              sizeof(curl_off_t) == sizeof(void*));

// An enumerator is passed as an int is, and cannot stand before "...".
// SETTER(result, name, handle, option type, what it fails with)
#define SETTER(result, name, handle_type, option_type, failure)            \
  result __real_##name(handle_type* handle, option_type option, ...);      \
  result __wrap_##name(handle_type* handle, int option, ...) {             \
    va_list arguments;                                                     \
    va_start(arguments, option);                                           \
    void* const value = va_arg(arguments, void*);                          \
    va_end(arguments);                                                     \
    const Call call(#name, option);                                        \
    if (call.fails()) return failure;                                      \
    return __real_##name(handle, static_cast<option_type>(option), value); \
  }

SETTER(CURLcode, curl_easy_setopt, CURL, CURLoption, CURLE_OUT_OF_MEMORY)
SETTER(CURLcode, curl_easy_getinfo, CURL, CURLINFO, CURLE_BAD_FUNCTION_ARGUMENT)
SETTER(CURLSHcode, curl_share_setopt, CURLSH, CURLSHoption, CURLSHE_NOMEM)
SETTER(CURLMcode, curl_multi_setopt, CURLM, CURLMoption, CURLM_OUT_OF_MEMORY)
#undef SETTER

}  // extern "C"
// NOLINTEND
