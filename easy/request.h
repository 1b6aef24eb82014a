// SPDX-License-Identifier: Apache-2.0
// The request of an Easy: one method and one body, translated into the options
// of libcurl that together decide what is sent. Internal to Easy.
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

// The method and the body of the requests of one CURL*.
//
// libcurl has about a dozen options that decide the method and the body, and
// each of them silently undoes others (CURLOPT_POSTFIELDS also makes the
// request a POST, CURLOPT_HTTPGET drops an upload, ...). This class holds the
// method and the body that the user wants, and sets all of these options from
// them:
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
// GET and HEAD drop the body. With this class, libcurl never reads the
// process's standard input, which it otherwise does for a POST or an upload
// without a body.
//
// Thread-compatible: used by one thread at a time, the one that may use the
// CURL*. libcurl has its address, so it cannot be moved, and it must outlive
// the CURL*'s last transfer. The CURL* is not owned.
//
// A method that returns an error has changed nothing; the one exception is at
// Change.
//
// Source: https://curl.se/libcurl/c/CURLOPT_POST.html, CURLOPT_UPLOAD.html,
//         CURLOPT_POSTREDIR.html, CURLOPT_CUSTOMREQUEST.html
class Request {
 public:
  explicit Request(CURL* curl) : curl_(curl) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Sets the read callback and its data. For a new handle, and after
  // curl_easy_reset.
  CURLcode Install();
  // Forgets the method, the body and everything else that was set here. For use
  // with curl_easy_reset: does not call libcurl.
  void Clear();
  // Takes over the request of `source`. REQUIRES: curl_easy_duphandle has made
  // this object's CURL* from that of `source`.
  CURLcode CopyFrom(const Request& source);

  CURLcode SetMethod(std::string method);
  // Makes `bytes` the body.
  CURLcode SetBytes(std::string bytes);
  // Makes `form`, which is not owned, the body. Null: removes the form, if a
  // form is the body.
  CURLcode SetForm(curl_mime* form);
  // Makes `form` the body and keeps it alive. `files`: the paths of the files
  // that it sends.
  CURLcode SetForm(std::shared_ptr<curl_mime> form,
                   std::vector<std::string> files);
  // Makes what `read` returns the body (CURLOPT_READFUNCTION). Null: removes
  // the reader, if a reader is the body.
  CURLcode SetReader(curl_read_callback read, void* data);
  // Makes `source` the body. Null: removes the source, if a source is the body.
  CURLcode SetSource(std::shared_ptr<BodySource> source);

  // What the user has set for CURLOPT_SEEKFUNCTION and its data.
  CURLcode SetSeek(curl_seek_callback seek, void* data);
  // CURLOPT_INFILESIZE_LARGE: the size of a reader's body in bytes. -1: not
  // known. CURLE_BAD_FUNCTION_ARGUMENT if it is less than -1.
  CURLcode SetReaderSize(curl_off_t size);
  // CURLOPT_POSTREDIR.
  CURLcode SetPostRedirects(long kept);
  // CURLOPT_CUSTOMREQUEST; nullopt: the name that follows from the method.
  CURLcode SetCustomName(std::optional<std::string> name);

  // To be called before each transfer. Errors: those of BodySource::Begin.
  absl::Status Begin();
  // To be called after each transfer whose Begin() has succeeded.
  void End();
  // Returns the error with which the body ended the newest transfer; OK if it
  // did not.
  absl::Status status() const;
  // Returns the paths of the files of the form. Empty if the body is not a
  // form, or is a form of the user's.
  const std::vector<std::string>& files() const { return plan_.files; }

 private:
  // The kinds of bodies: those of SetBytes, SetForm, SetReader and SetSource.
  enum class Body : uint8_t { kNone, kBytes, kForm, kReader, kSource };

  // What the user wants to send. Not thread-safe: a part of the Request.
  struct Plan {
    std::string method;  // empty: not set
    std::optional<std::string> custom_name;
    Body body = Body::kNone;
    // The form, if it is the body. Owned, except if it is the user's: the
    // pointer then has no deleter. Null if libcurl owns the form, because
    // curl_easy_duphandle has copied it.
    std::shared_ptr<curl_mime> form;
    std::vector<std::string> files;
    curl_read_callback reader = nullptr;
    void* reader_data = nullptr;
    std::shared_ptr<BodySource> source;

    // Returns the value for CURLOPT_CUSTOMREQUEST. Null if libcurl chooses the
    // right name by itself.
    const char* name() const;
    // Whether libcurl reads the body through Request::Read. It does so for a
    // PUT of bytes, which is an upload.
    bool puts_bytes() const {
      return method == "PUT" && (body == Body::kNone || body == Body::kBytes);
    }
    bool reads() const {
      return body == Body::kReader || body == Body::kSource;
    }
  };

  // Returns `plan_` with another kind of body. A method that cannot have that
  // body (GET, HEAD) is dropped.
  Plan PlanWith(Body body) const;
  // Makes `plan` the current one. `form` is the new form, if the call sets one;
  // otherwise null.
  //
  // If libcurl refuses `form`, the form that was set before remains, with one
  // exception: a form that curl_easy_duphandle has copied is lost, and there is
  // no body then.
  CURLcode Change(Plan plan, std::shared_ptr<curl_mime> form = nullptr);
  // Sets libcurl's options from the members.
  CURLcode Apply();
  CURLcode ApplySeek();

  // CURLOPT_READFUNCTION and CURLOPT_SEEKFUNCTION for `bytes_`. `request` is a
  // Request*.
  static size_t Read(char* to, size_t size, size_t count,
                     void* request) noexcept;
  static int Seek(void* request, curl_off_t offset, int origin) noexcept;

  CURL* const curl_;
  Plan plan_;
  std::string bytes_;                  // libcurl has its address
  size_t read_ = 0;                    // how many of `bytes_` libcurl has read
  curl_off_t reader_size_ = -1;        // see SetReaderSize
  long kept_redirects_ = 0;            // the user's CURLOPT_POSTREDIR
  curl_seek_callback seek_ = nullptr;  // the user's
  void* seek_data_ = nullptr;
};

}  // namespace curlshare

#endif  // CURLSHARE_EASY_REQUEST_H_
