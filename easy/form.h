// SPDX-License-Identifier: Apache-2.0
// The parts of a form, for Easy::SetForm.
//
//   easy.SetForm({{"user", "me"}, FormPart::File("photo", "/tmp/photo.jpg")});
#ifndef CURLSHARE_EASY_FORM_H_
#define CURLSHARE_EASY_FORM_H_

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace curlshare {

// One field of a form (multipart/form-data, RFC 7578). Thread-compatible: a
// plain value.
//
//   {"user", "me"}                                   a value
//   FormPart::File("photo", "/tmp/photo.jpg")        a file, by its path
//   FormPart::Content("notes", "a.txt", "Hello")     a file, by its content
struct FormPart {
  // A file that is read from `path` while it is sent. Its name for the server
  // is the last component of `path`.
  static FormPart File(std::string name, std::string path);
  // A file called `filename` for the server, whose content is `content`.
  static FormPart Content(std::string name, std::string filename,
                          std::string content);

  std::string name;
  std::string content = {};
  std::optional<std::string> path = {};  // set: used instead of `content`
  std::optional<std::string> filename = {};
  // A media type (RFC 9110 section 8.3.1). If unset, a value has none, and a
  // file has the type that libcurl derives from its extension, or else
  // application/octet-stream.
  std::optional<std::string> content_type = {};
};

// Internal to Easy. Checks whether a form can send the file at `path`. Returns
// the errors that Easy::SetForm documents for a file. Safe to call from any
// thread.
absl::Status CheckFormFile(const std::string& path);

// Internal to Easy. Returns `parts` as libcurl's MIME structure, made for
// `curl`; it is freed with the last copy of the pointer. Errors: see
// Easy::SetForm. Throws what std::string throws. The caller is the thread that
// may use `curl`.
absl::StatusOr<std::shared_ptr<curl_mime>> NewForm(
    CURL* curl, absl::Span<const FormPart> parts);

}  // namespace curlshare

#endif  // CURLSHARE_EASY_FORM_H_
