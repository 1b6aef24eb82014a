// SPDX-License-Identifier: Apache-2.0
// A class with its own CURL*, as in a code base that uses libcurl directly,
// whose handle is in a Share. What sharing adds to it: attachment_, and the
// scopes around everything that touches the handle.
#ifndef RAW_HANDLES_DOWNLOADER_H_
#define RAW_HANDLES_DOWNLOADER_H_

#include <curl/curl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/share.h"

namespace raw_handles {

// Cleans a CURL* up. Stateless.
struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// Downloads files, one at a time. Owns its CURL*. Thread-compatible: used by
// one thread at a time. The share may be closed by any thread at any time.
class Downloader {
 public:
  // Returns a Downloader in `share`. `ca_pem`: PEM certificates to trust;
  // empty: the system's.
  static absl::StatusOr<std::unique_ptr<Downloader>> Create(
      curlshare::Share& share, const std::string& ca_pem = "");
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  // Returns the body of `url`. Works with every share.
  absl::StatusOr<std::string> Download(const std::string& url);

  // The same, but calls curl_easy_perform itself. kFailedPrecondition in a
  // gated share, which does not allow that.
  absl::StatusOr<std::string> DownloadByEasyPerform(const std::string& url);

 private:
  explicit Downloader(CurlPtr curl) : curl_(std::move(curl)) {}

  // Sets the options of a transfer. REQUIRES: the caller is within a Use or
  // Transfer of attachment_, and `body` outlives the transfer.
  absl::Status SetOptions(const std::string& url, std::string& body);

  const CurlPtr curl_;
  // Declared after curl_, and so destroyed before it: the handle leaves the
  // share before it is cleaned up.
  curlshare::Attachment attachment_;
};

}  // namespace raw_handles

#endif  // RAW_HANDLES_DOWNLOADER_H_
