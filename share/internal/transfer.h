// SPDX-License-Identifier: Apache-2.0
// One transfer: a CURL* driven on a multi handle until it is done, fails, or is
// cancelled.
#ifndef CURLSHARE_SHARE_INTERNAL_TRANSFER_H_
#define CURLSHARE_SHARE_INTERNAL_TRANSFER_H_

#include <curl/curl.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace curlshare::internal {

struct TransferSpec {
  CURL* curl;
  CURLM* multi;
  // Asked before each step. Who makes it true wakes the poll, too
  // (curl_multi_wakeup).
  absl::FunctionRef<bool()> cancelled;
  // The same, for having a paused transfer go on.
  absl::FunctionRef<bool()> resumed;
  // Around each wait for the network.
  absl::FunctionRef<void()> before_poll;
  absl::FunctionRef<void()> after_poll;
  // Once libcurl has begun on the transfer and not ended it yet: what the
  // handle had to do with connections of earlier transfers is over.
  absl::FunctionRef<void()> begun;
  bool quick_exit;  // what CURLOPT_QUICK_EXIT is set to
};

struct TransferResult {
  // Of the calls on the multi handle.
  absl::Status status;
  // Of the transfer; CURLE_ABORTED_BY_CALLBACK where it was cancelled.
  CURLcode code = CURLE_ABORTED_BY_CALLBACK;
  // The connection that it used last is open and can be used again.
  bool connection_alive = false;
  // False: the multi handle is in no state to be used again.
  bool removed = true;
};

// REQUIRES: nobody else uses `curl` and `multi`; `curl` is in no multi handle.
TransferResult RunTransfer(const TransferSpec& spec);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_TRANSFER_H_
