// SPDX-License-Identifier: Apache-2.0
#include "curlshare/easy/form.h"

#include <curl/curl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/error.h"

namespace curlshare {
namespace {

using internal::Error;

// Checks a text that libcurl writes into a header of a part. libcurl would
// begin another header at a line break, and end the text at a NUL byte.
absl::Status CheckHeaderText(absl::string_view what, absl::string_view text) {
  if (std::none_of(text.begin(), text.end(), absl::ascii_iscntrl)) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kInvalidArgument, "SetForm: ", what,
               " holds a control character");
}

// Checks all of `part` before libcurl gets any of it.
absl::Status Check(const FormPart& part) {
  absl::Status status = CheckHeaderText("the name of a part", part.name);
  if (status.ok() && part.filename.has_value()) {
    status = CheckHeaderText("a file's name", *part.filename);
  }
  if (status.ok() && part.content_type.has_value()) {
    status = CheckHeaderText("a content type", *part.content_type);
  }
  if (status.ok() && part.path.has_value()) {
    if (!part.content.empty()) {
      return Error(absl::StatusCode::kInvalidArgument,
                   "SetForm: a part has a content and a path");
    }
    status = CheckFormFile(*part.path);
    // Without a file name, libcurl uses the last component of the path.
    if (status.ok() && !part.filename.has_value()) {
      status = CheckHeaderText("a file's name",
                               part.path->substr(part.path->rfind('/') + 1));
    }
  }
  return status;
}

// Adds `part`, which Check has accepted, to `form`. libcurl copies all of it.
absl::Status Add(curl_mime* form, const FormPart& part) {
  curl_mimepart* const added = curl_mime_addpart(form);
  if (added == nullptr) {
    return EasyStatus(CURLE_OUT_OF_MEMORY, "curl_mime_addpart");
  }
  CURLcode code = curl_mime_name(added, part.name.c_str());
  if (code != CURLE_OK) return EasyStatus(code, "curl_mime_name");
  if (part.path.has_value()) {
    code = curl_mime_filedata(added, part.path->c_str());
    if (code != CURLE_OK) return EasyStatus(code, "curl_mime_filedata");
  } else {
    code = curl_mime_data(added, part.content.data(), part.content.size());
    if (code != CURLE_OK) return EasyStatus(code, "curl_mime_data");
  }
  if (part.filename.has_value()) {
    code = curl_mime_filename(added, part.filename->c_str());
    if (code != CURLE_OK) return EasyStatus(code, "curl_mime_filename");
  }
  if (part.content_type.has_value()) {
    code = curl_mime_type(added, part.content_type->c_str());
    if (code != CURLE_OK) return EasyStatus(code, "curl_mime_type");
  }
  return absl::OkStatus();
}

}  // namespace

FormPart FormPart::File(std::string name, std::string path) {
  FormPart part;
  part.name = std::move(name);
  part.path = std::move(path);
  return part;
}

FormPart FormPart::Content(std::string name, std::string filename,
                           std::string content) {
  FormPart part;
  part.name = std::move(name);
  part.content = std::move(content);
  part.filename = std::move(filename);
  return part;
}

absl::Status CheckFormFile(const std::string& path) {
  struct stat file = {};
  if (path.find('\0') != path.npos) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "SetForm: a path holds a NUL byte");
  }
  if (stat(path.c_str(), &file) != 0) {
    return Error(absl::StatusCode::kNotFound, "SetForm: there is no file ",
                 path);
  }
  // libcurl would silently send an empty part.
  if (S_ISDIR(file.st_mode)) {
    return Error(absl::StatusCode::kInvalidArgument, "SetForm: ", path,
                 " is a directory");
  }
  if (access(path.c_str(), R_OK) != 0) {
    return Error(absl::StatusCode::kPermissionDenied, "SetForm: ", path,
                 " cannot be read");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<curl_mime>> NewForm(
    CURL* curl, absl::Span<const FormPart> parts) {
  for (const FormPart& part : parts) {
    if (absl::Status status = Check(part); !status.ok()) return status;
  }
  curl_mime* const made = curl_mime_init(curl);
  if (made == nullptr) {
    return EasyStatus(CURLE_OUT_OF_MEMORY, "curl_mime_init");
  }
  std::shared_ptr<curl_mime> form(made, &curl_mime_free);
  for (const FormPart& part : parts) {
    if (absl::Status status = Add(made, part); !status.ok()) return status;
  }
  return form;
}

}  // namespace curlshare
