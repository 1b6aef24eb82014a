// SPDX-License-Identifier: Apache-2.0
// A class that has its own CURL*, as code bases have that know libcurl only,
// put into a share. What sharing adds: attachment_, and the scopes that bracket
// what touches the handle.
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

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

// One thread at a time.
class Downloader {
 public:
  // `ca_pem`: authorities to trust instead of the system's, where not empty.
  static absl::StatusOr<std::unique_ptr<Downloader>> Create(
      curlshare::Share& share, const std::string& ca_pem = "");
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  // The body. Any share will do.
  absl::StatusOr<std::string> Download(const std::string& url);

  // The same by a curl_easy_perform of one's own, which a gated share refuses.
  absl::StatusOr<std::string> DownloadByEasyPerform(const std::string& url);

 private:
  explicit Downloader(CurlPtr curl) : curl_(std::move(curl)) {}

  // On curl_, within a scope of attachment_. `body` outlives the transfer.
  absl::Status SetOptions(const std::string& url, std::string& body);

  const CurlPtr curl_;
  // Below curl_, so that the handle leaves the share before it is cleaned up.
  curlshare::Attachment attachment_;
};

}  // namespace raw_handles

#endif  // RAW_HANDLES_DOWNLOADER_H_
