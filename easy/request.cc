// SPDX-License-Identifier: Apache-2.0
// `plan_` is what the user wants to send. Change() is the one way to another
// plan. It first makes the calls of libcurl that can fail for want of memory,
// and only then replaces `plan_`; Apply() then derives all options from it.
//
// Apply() starts from CURLOPT_HTTPGET, which ends every other mode in all
// versions, since the options do not undo each other symmetrically (see
// lib/setopt.c): CURLOPT_POSTFIELDS and CURLOPT_MIMEPOST do not end an upload
// in 7.88, CURLOPT_NOBODY stays set after CURLOPT_POSTFIELDS, and more.
#include "curlshare/easy/request.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "curlshare/easy/source.h"

namespace curlshare {
namespace {

// Sets options until one fails, and keeps the error. Not thread-safe: a local
// variable.
class Options {
 public:
  explicit Options(CURL* curl) : curl_(curl) {}

  template <typename T>
  void Set(CURLoption option, T value) {
    if (code_ == CURLE_OK) code_ = curl_easy_setopt(curl_, option, value);
  }
  CURLcode code() const { return code_; }

 private:
  CURL* const curl_;
  CURLcode code_ = CURLE_OK;
};

bool DropsBody(const std::string& method) {
  return method == "GET" || method == "HEAD";
}

}  // namespace

CURLcode Request::Install() {
  curl_read_callback read = &Request::Read;
  void* data = this;
  if (plan_.body == Body::kReader) {
    read = plan_.reader;
    data = plan_.reader_data;
  } else if (plan_.body == Body::kSource) {
    read = &BodySource::OnRead;
    data = plan_.source.get();
  }
  Options options(curl_);
  // The data first, so that the function is never called with data of another
  // function.
  options.Set(CURLOPT_READDATA, data);
  options.Set(CURLOPT_READFUNCTION, read);
  return options.code();
}

void Request::Clear() {
  plan_ = Plan();
  bytes_.clear();
  reader_size_ = -1;
  kept_redirects_ = 0;
  seek_ = nullptr;
  seek_data_ = nullptr;
}

CURLcode Request::CopyFrom(const Request& source) {
  plan_ = source.plan_;
  bytes_ = source.bytes_;
  reader_size_ = source.reader_size_;
  kept_redirects_ = source.kept_redirects_;
  seek_ = source.seek_;
  seek_data_ = source.seek_data_;
  plan_.form = nullptr;
  // Sets again the options that point into `source`. Not the form:
  // curl_easy_duphandle has made a copy, which libcurl owns.
  return Apply();
}

const char* Request::Plan::name() const {
  if (custom_name.has_value()) return custom_name->c_str();
  if (method.empty() || method == "POST" || DropsBody(method)) return nullptr;
  // libcurl sends an upload as PUT by itself, but a form as POST.
  if (method == "PUT" && body != Body::kForm) return nullptr;
  return method.c_str();
}

Request::Plan Request::PlanWith(Body body) const {
  Plan plan = plan_;
  if (body != Body::kNone && DropsBody(plan.method)) plan.method.clear();
  plan.body = body;
  if (body != Body::kForm) plan.files.clear();
  if (body != Body::kSource) plan.source = nullptr;
  return plan;
}

CURLcode Request::Change(Plan plan, std::shared_ptr<curl_mime> form) {
  // First, since libcurl needs memory for it: if it fails, nothing has changed.
  CURLcode code = curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, plan.name());
  if (code != CURLE_OK) return code;
  if (form != nullptr ||
      (plan_.body == Body::kForm && plan.body != Body::kForm)) {
    // In 7.88, CURLOPT_MIMEPOST does not end an upload. Setting a long cannot
    // fail.
    (void)curl_easy_setopt(curl_, CURLOPT_HTTPGET, 1L);
    code = curl_easy_setopt(curl_, CURLOPT_MIMEPOST, form.get());
    if (code != CURLE_OK) {
      // Back to what was before. That needs memory only for a method's name.
      // libcurl has already dropped the old form (Curl_mime_set_subparts in
      // lib/mime.c), so it is set again; a copied form is lost (see the
      // header).
      if (plan_.body == Body::kForm &&
          (plan_.form == nullptr ||
           curl_easy_setopt(curl_, CURLOPT_MIMEPOST, plan_.form.get()) !=
               CURLE_OK)) {
        plan_.body = Body::kNone;
      }
      (void)curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, plan_.name());
      (void)Apply();
      return code;
    }
    plan.form = std::move(form);
  }
  plan_ = std::move(plan);
  return Apply();
}

CURLcode Request::Apply() {
  const CURLcode installed = Install();
  if (installed != CURLE_OK) return installed;
  Options options(curl_);
  if (plan_.body != Body::kForm) {
    options.Set(CURLOPT_POSTFIELDS, nullptr);
    options.Set(CURLOPT_HTTPGET, 1L);  // ends every other mode: see above
  }
  bool posts = plan_.body == Body::kForm;
  if (plan_.method == "HEAD") {
    options.Set(CURLOPT_NOBODY, 1L);
  } else if (plan_.puts_bytes()) {
    const size_t size = plan_.body == Body::kNone ? 0 : bytes_.size();
    options.Set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
    options.Set(CURLOPT_UPLOAD, 1L);
  } else if (plan_.reads()) {
    const curl_off_t size =
        plan_.body == Body::kSource ? plan_.source->size() : reader_size_;
    options.Set(CURLOPT_INFILESIZE_LARGE, size);
    options.Set(CURLOPT_POSTFIELDSIZE_LARGE, size);
    options.Set(plan_.method == "POST" ? CURLOPT_POST : CURLOPT_UPLOAD, 1L);
  } else if (plan_.body == Body::kBytes) {
    posts = true;
    options.Set(CURLOPT_POSTFIELDSIZE_LARGE,
                static_cast<curl_off_t>(bytes_.size()));
    options.Set(CURLOPT_POSTFIELDS, bytes_.data());
  } else if (plan_.body == Body::kNone &&
             (plan_.method == "POST" || plan_.method == "PATCH")) {
    // An empty body, so that there is a Content-Length of 0: without one, a
    // server may wait for a body. It also keeps libcurl from reading standard
    // input.
    posts = true;
    options.Set(CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t{0});
    options.Set(CURLOPT_POSTFIELDS, "");
  }
  // For libcurl, any other method with a body is a POST with another name. At a
  // 301 or 302 it would drop the body and keep the name (Curl_follow in
  // lib/transfer.c of 7.88, Curl_http_follow in lib/http.c later). These two
  // bits make it repeat the body.
  options.Set(CURLOPT_POSTREDIR,
              posts && plan_.name() != nullptr
                  ? kept_redirects_ | CURL_REDIR_POST_301 | CURL_REDIR_POST_302
                  : kept_redirects_);
  return options.code() == CURLE_OK ? ApplySeek() : options.code();
}

CURLcode Request::ApplySeek() {
  curl_seek_callback seek = seek_;
  void* data = seek_data_;
  if (plan_.puts_bytes()) {
    seek = &Request::Seek;
    data = this;
  } else if (plan_.body == Body::kSource) {
    seek = &BodySource::OnSeek;
    data = plan_.source.get();
  }
  Options options(curl_);
  options.Set(CURLOPT_SEEKDATA, data);
  options.Set(CURLOPT_SEEKFUNCTION, seek);
  return options.code();
}

absl::Status Request::Begin() {
  read_ = 0;
  // In 7.88, a redirect that ends an upload clears the option itself, also for
  // later transfers (Curl_follow in lib/transfer.c). Setting a long cannot
  // fail.
  if (plan_.puts_bytes() || (plan_.reads() && plan_.method != "POST")) {
    (void)curl_easy_setopt(curl_, CURLOPT_UPLOAD, 1L);
  }
  return plan_.source == nullptr ? absl::OkStatus() : plan_.source->Begin();
}

void Request::End() {
  if (plan_.source != nullptr) plan_.source->End();
}

absl::Status Request::status() const {
  return plan_.source == nullptr ? absl::OkStatus() : plan_.source->status();
}

CURLcode Request::SetMethod(std::string method) {
  Plan plan = PlanWith(DropsBody(method) ? Body::kNone : plan_.body);
  plan.method = std::move(method);
  plan.custom_name.reset();
  return Change(std::move(plan));
}

CURLcode Request::SetBytes(std::string bytes) {
  Plan plan = PlanWith(Body::kBytes);
  bytes_.swap(bytes);
  const CURLcode code = Change(std::move(plan));
  if (code != CURLE_OK) {
    bytes_.swap(bytes);
    (void)Apply();  // the first error is returned
  }
  return code;
}

CURLcode Request::SetForm(curl_mime* form) {
  if (form != nullptr) {
    // A pointer without an owner: it never frees the form, which is the user's.
    return SetForm(std::shared_ptr<curl_mime>(std::shared_ptr<void>(), form),
                   {});
  }
  return plan_.body == Body::kForm ? Change(PlanWith(Body::kNone)) : CURLE_OK;
}

CURLcode Request::SetForm(std::shared_ptr<curl_mime> form,
                          std::vector<std::string> files) {
  Plan plan = PlanWith(Body::kForm);
  plan.files = std::move(files);
  return Change(std::move(plan), std::move(form));
}

CURLcode Request::SetReader(curl_read_callback read, void* data) {
  if (read == nullptr && plan_.body != Body::kReader) return CURLE_OK;
  Plan plan = PlanWith(read == nullptr ? Body::kNone : Body::kReader);
  plan.reader = read;
  plan.reader_data = data;
  return Change(std::move(plan));
}

CURLcode Request::SetSource(std::shared_ptr<BodySource> source) {
  if (source == nullptr && plan_.body != Body::kSource) return CURLE_OK;
  Plan plan = PlanWith(source == nullptr ? Body::kNone : Body::kSource);
  plan.source = std::move(source);
  return Change(std::move(plan));
}

CURLcode Request::SetSeek(curl_seek_callback seek, void* data) {
  seek_ = seek;
  seek_data_ = data;
  return ApplySeek();
}

CURLcode Request::SetReaderSize(curl_off_t size) {
  if (size < -1) return CURLE_BAD_FUNCTION_ARGUMENT;
  reader_size_ = size;
  return plan_.body == Body::kReader ? Apply() : CURLE_OK;
}

CURLcode Request::SetPostRedirects(long kept) {
  const CURLcode code = curl_easy_setopt(curl_, CURLOPT_POSTREDIR, kept);
  if (code != CURLE_OK) return code;
  kept_redirects_ = kept;
  return Apply();
}

CURLcode Request::SetCustomName(std::optional<std::string> name) {
  Plan plan = PlanWith(plan_.body);
  plan.custom_name = std::move(name);
  return Change(std::move(plan));
}

size_t Request::Read(char* to, size_t size, size_t count,
                     void* request) noexcept {
  auto* const self = static_cast<Request*>(request);
  if (self->plan_.body != Body::kBytes) return 0;
  const size_t n = self->bytes_.copy(to, size * count, self->read_);
  self->read_ += n;
  return n;
}

// libcurl only seeks from the start (CURLOPT_SEEKFUNCTION(3)).
int Request::Seek(void* request, curl_off_t offset, int origin) noexcept {
  auto* const self = static_cast<Request*>(request);
  if (origin != SEEK_SET || offset < 0 ||
      offset > static_cast<curl_off_t>(self->bytes_.size())) {
    return CURL_SEEKFUNC_FAIL;
  }
  self->read_ = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

}  // namespace curlshare
