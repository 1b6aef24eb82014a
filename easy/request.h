// SPDX-License-Identifier: Apache-2.0
// What an Easy sends: a method and a body, kept in step with the dozen options
// of libcurl that decide it and that undo each other in silence.
//
//   body      | method: none set, POST | PUT          | another
//   ----------+------------------------+--------------+------------------------
//   none      | GET; an empty POST     | an empty PUT | it, without a body; an
//             |                        |              | empty PATCH
//   bytes     | POST of them           | PUT of them  | it, with them
//   form      | POST                   | PUT          | it, with the form
//   reader,   | PUT (none set); POST   | PUT          | it, with what is read
//   source    |                        |              |
//
// GET and HEAD drop the body. libcurl never reads the process's standard input,
// which it does for a POST or an upload that nobody gave a body.
//
// Source: https://curl.se/libcurl/c/CURLOPT_POST.html, CURLOPT_UPLOAD.html,
//         CURLOPT_POSTREDIR.html, CURLOPT_CUSTOMREQUEST.html
#ifndef CURLSHARE_EASY_REQUEST_H_
#define CURLSHARE_EASY_REQUEST_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "curlshare/easy/source.h"

namespace curlshare {

// Thread-compatible. Internal to Easy. Its address is given to libcurl, so it
// stays where it is. A function that returns an error has changed nothing, but
// see Change.
class Request {
 public:
  explicit Request(CURL* curl) : curl_(curl) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Sets what a new handle, and one after curl_easy_reset, needs.
  CURLcode Install();
  // As a new one; for curl_easy_reset.
  void Clear();
  // That of `source`, whose options curl_easy_duphandle has copied.
  CURLcode CopyFrom(const Request& source);

  CURLcode SetMethod(std::string method);
  CURLcode SetBytes(std::string bytes);
  // Null: takes it away, if it is the body.
  CURLcode SetForm(curl_mime* form);
  // The same for one that is kept here, with the files that it is to send.
  CURLcode SetForm(std::shared_ptr<curl_mime> form,
                   std::vector<std::string> files);
  CURLcode SetReader(curl_read_callback read, void* data);
  // Null: as with a form.
  CURLcode SetSource(std::shared_ptr<BodySource> source);

  // Of CURLOPT_SEEKFUNCTION, CURLOPT_INFILESIZE_LARGE (-1: not known),
  // CURLOPT_POSTREDIR, CURLOPT_CUSTOMREQUEST.
  CURLcode SetSeek(curl_seek_callback seek, void* data);
  CURLcode SetReaderSize(curl_off_t size);
  CURLcode SetPostRedirects(long kept);
  CURLcode SetCustomName(std::optional<std::string> name);

  // Around each transfer; End() where Begin() has succeeded. Errors: those of
  // BodySource::Begin.
  absl::Status Begin();
  void End();
  // Why the body ended the transfer under way; else OK.
  absl::Status status() const;
  // Of a form that is kept here, or was where this was copied from.
  const std::vector<std::string>& files() const { return plan_.files; }

 private:
  enum class Body : uint8_t { kNone, kBytes, kForm, kReader, kSource };

  struct Plan {
    std::string method;  // empty: not set
    std::optional<std::string> custom_name;
    Body body = Body::kNone;
    // Null also of a copied one, which libcurl owns; not owned where it is the
    // user's.
    std::shared_ptr<curl_mime> form;
    std::vector<std::string> files;
    curl_read_callback reader = nullptr;
    void* reader_data = nullptr;
    std::shared_ptr<BodySource> source;

    // Of CURLOPT_CUSTOMREQUEST: null where libcurl sends it of its own.
    const char* name() const;
    // Whether libcurl reads the bytes by Read, as it does to upload them.
    bool puts_bytes() const {
      return method == "PUT" && (body == Body::kNone || body == Body::kBytes);
    }
    bool reads() const {
      return body == Body::kReader || body == Body::kSource;
    }
  };

  // `plan_` with another body, and without a method that has none.
  Plan PlanWith(Body body) const;
  // Where the body becomes a form, or another one, `form` is it; else null. The
  // form that was there before is lost where libcurl refuses `form`, if it is a
  // copy: then there is no body.
  CURLcode Change(Plan plan, std::shared_ptr<curl_mime> form = nullptr);
  // Has libcurl do what the members say.
  CURLcode Apply();
  CURLcode ApplySeek();

  static size_t Read(char* to, size_t size, size_t count,
                     void* request) noexcept;
  static int Seek(void* request, curl_off_t offset, int origin) noexcept;

  CURL* const curl_;
  Plan plan_;
  std::string bytes_;  // libcurl has the address
  size_t read_ = 0;    // of them
  curl_off_t reader_size_ = -1;
  long kept_redirects_ = 0;
  curl_seek_callback seek_ = nullptr;
  void* seek_data_ = nullptr;
};

}  // namespace curlshare

#endif  // CURLSHARE_EASY_REQUEST_H_
