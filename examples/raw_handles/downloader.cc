// SPDX-License-Identifier: Apache-2.0
#include "downloader.h"

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/share.h"

namespace raw_handles {

using ::curlshare::Attachment;
using ::curlshare::EasyStatus;
using ::curlshare::Share;

namespace {

// CURLOPT_WRITEFUNCTION. `body` is a std::string*.
size_t Append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Downloader>> Downloader::Create(
    Share& share, const std::string& ca_pem) {
  CurlPtr curl(curl_easy_init());
  if (curl == nullptr) return absl::ResourceExhaustedError("curl_easy_init");
  // No Use is needed for options that are set before the handle is attached.
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 30L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &Append);
  if (!ca_pem.empty()) {
    curl_blob blob = {const_cast<char*>(ca_pem.data()), ca_pem.size(),
                      CURL_BLOB_COPY};
    curl_easy_setopt(curl.get(), CURLOPT_CAINFO_BLOB, &blob);
  }
  std::unique_ptr<Downloader> downloader(new Downloader(std::move(curl)));
  absl::StatusOr<Attachment> attachment = share.Attach(downloader->curl_.get());
  if (!attachment.ok()) return attachment.status();
  downloader->attachment_ = *std::move(attachment);
  return downloader;
}

absl::Status Downloader::SetOptions(const std::string& url, std::string& body) {
  curl_easy_setopt(curl_.get(), CURLOPT_WRITEDATA, &body);
  return EasyStatus(curl_easy_setopt(curl_.get(), CURLOPT_URL, url.c_str()),
                    "CURLOPT_URL");
}

absl::StatusOr<std::string> Downloader::Download(const std::string& url) {
  std::string body;
  {
    // While it lives, no close of the share touches the handle.
    absl::StatusOr<Attachment::Use> use = attachment_.BeginUse();
    if (!use.ok()) return use.status();
    if (absl::Status s = SetOptions(url, body); !s.ok()) return s;
  }
  // In place of curl_easy_perform.
  if (absl::Status s = attachment_.Perform(); !s.ok()) return s;
  return body;
}

absl::StatusOr<std::string> Downloader::DownloadByEasyPerform(
    const std::string& url) {
  std::string body;
  // The Transfer begins before the options are set: one scope for both. The
  // handle has no progress function of its own, so the Transfer installs one,
  // by which Share::CloseNow() can end it.
  curlshare::TransferOptions options;
  options.install_progress_function = true;
  absl::StatusOr<Attachment::Transfer> transfer =
      attachment_.BeginTransfer(std::move(options));
  if (!transfer.ok()) return transfer.status();
  if (absl::Status s = SetOptions(url, body); !s.ok()) return s;
  const CURLcode code = curl_easy_perform(curl_.get());
  if (absl::Status s = transfer->End(code); !s.ok()) return s;
  return body;
}

}  // namespace raw_handles
