// SPDX-License-Identifier: Apache-2.0
// One transfer: a CURL* driven on a multi handle until it is done, fails, or is
// cancelled.
#ifndef CURLSHARE_SHARE_INTERNAL_TRANSFER_H_
#define CURLSHARE_SHARE_INTERNAL_TRANSFER_H_

#include <curl/curl.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace curlshare::internal {

// What RunTransfer needs. A plain value, valid for one call. The functions are
// called on the thread of that call.
struct TransferSpec {
  CURL* curl;
  CURLM* multi;
  // Asked before each step: whether to end the transfer. A thread that makes
  // the answer true also wakes the poll (curl_multi_wakeup).
  absl::FunctionRef<bool()> cancelled;
  // Asked before each step: whether a paused transfer is to go on. True once
  // for each request; the thread that makes it also wakes the poll.
  absl::FunctionRef<bool()> resumed;
  // Called before and after each wait for the network (to leave the gate
  // meanwhile).
  absl::FunctionRef<void()> before_poll;
  absl::FunctionRef<void()> after_poll;
  // Called once, when libcurl has begun on the transfer and has not ended it
  // yet: by then the CURL* has let go of connections of earlier transfers. Also
  // called after a transfer that succeeded in its first step. Not called if the
  // first step fails.
  absl::FunctionRef<void()> begun;
  bool quick_exit;  // the value of CURLOPT_QUICK_EXIT, to be restored
};

// How a transfer went. A plain value.
struct TransferResult {
  // The first error of a call on the multi handle; OK if there was none.
  absl::Status status;
  // The result of the transfer. CURLE_ABORTED_BY_CALLBACK if it was cancelled.
  CURLcode code = CURLE_ABORTED_BY_CALLBACK;
  // Whether the connection that it used last is open and can be used again.
  bool connection_alive = false;
  // False: libcurl did not take `curl` out of the multi handle, which must not
  // be used again.
  bool removed = true;
};

// Runs a transfer: adds `curl` to `multi`, drives it until it is done, fails or
// is cancelled, and takes it out again. Blocks. REQUIRES: nobody else uses
// `curl` and `multi`; `curl` is in no multi handle, and `multi` has no other
// handle.
TransferResult RunTransfer(const TransferSpec& spec);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_TRANSFER_H_
