// SPDX-License-Identifier: Apache-2.0
// The parts of a form, for Easy::SetForm.
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

// A field of multipart/form-data (RFC 7578).
//
//   {"user", "me"}                                   a value
//   FormPart::File("photo", "/tmp/photo.jpg")        a file, by its path
//   FormPart::Content("notes", "a.txt", "Hello")     a file, by its content
struct FormPart {
  // Its content is read while it is sent. The server is told the last part of
  // `path` as its name.
  static FormPart File(std::string name, std::string path);
  static FormPart Content(std::string name, std::string filename,
                          std::string content);

  std::string name;
  std::string content = {};
  std::optional<std::string> path = {};  // instead of `content`
  std::optional<std::string> filename = {};
  // A media type (RFC 9110 section 8.3.1). Unset: none for a value; for a file
  // what libcurl makes of its extension, else application/octet-stream.
  std::optional<std::string> content_type = {};
};

// Internal to Easy: what SetForm says of a file.
absl::Status CheckFormFile(const std::string& path);

// Internal to Easy: they as libcurl has them, for `curl`. Errors: see SetForm.
// Throws what strings throw.
absl::StatusOr<std::shared_ptr<curl_mime>> NewForm(
    CURL* curl, absl::Span<const FormPart> parts);

}  // namespace curlshare

#endif  // CURLSHARE_EASY_FORM_H_
