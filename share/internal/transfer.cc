// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/transfer.h"

#include <curl/curl.h>

#include "curlshare/share/curl_status.h"

namespace curlshare::internal {
namespace {

// The longest sleep of a transfer without news, in milliseconds;
// curl_easy_perform uses the same (lib/easy.c). Timers and sockets of
// libcurl's, and curl_multi_wakeup, end it earlier.
constexpr int kPollMilliseconds = 1000;

// Drives the transfer until it is over: then true, with the code in `result`.
// False if it was cancelled or could not go on.
//
// Not curl_easy_perform, for two reasons: nothing can wake it up, so that a
// transfer without news could not be cancelled before its timeout; and it waits
// for the network inside one call, which would have to be inside the gate.
bool RunSteps(const TransferSpec& spec, TransferResult& result) {
  bool begun = false;
  while (!spec.cancelled()) {
    if (spec.resumed()) {
      const CURLcode resumed = curl_easy_pause(spec.curl, CURLPAUSE_CONT);
      // CURLE_BAD_FUNCTION_ARGUMENT: the transfer has no connection yet
      // (curl_easy_pause in lib/easy.c), so there is nothing to resume. Another
      // error comes from a callback that was given the data kept for it during
      // the pause.
      if (resumed != CURLE_OK && resumed != CURLE_BAD_FUNCTION_ARGUMENT) {
        result.code = resumed;
        return false;
      }
    }
    int running = 0;
    CURLMcode code = curl_multi_perform(spec.multi, &running);
    if (code != CURLM_OK) {
      result.status = MultiStatus(code, "curl_multi_perform");
      return false;
    }
    if (running == 0) {
      int left = 0;
      // The multi handle has no other handle, so this message is that of
      // `curl`.
      const CURLMsg* const message = curl_multi_info_read(spec.multi, &left);
      if (message == nullptr || message->msg != CURLMSG_DONE) {
        result.status = MultiStatus(CURLM_INTERNAL_ERROR, "curl_multi_perform");
        return false;
      }
      result.code = message->data.result;
      // The transfer may have been done in its first step. If it failed there,
      // it is not known whether it had begun.
      if (!begun && result.code == CURLE_OK) spec.begun();
      return true;
    }
    // libcurl begins on a transfer in the first curl_multi_perform
    // (Curl_pretransfer, called by lib/multi.c in MSTATE_INIT).
    if (!begun) {
      begun = true;
      spec.begun();
    }
    spec.before_poll();
    code = curl_multi_poll(spec.multi, nullptr, 0, kPollMilliseconds, nullptr);
    spec.after_poll();
    if (code != CURLM_OK) {
      result.status = MultiStatus(code, "curl_multi_poll");
      return false;
    }
  }
  return false;
}

}  // namespace

TransferResult RunTransfer(const TransferSpec& spec) {
  TransferResult result;
  const CURLMcode added = curl_multi_add_handle(spec.multi, spec.curl);
  if (added != CURLM_OK) {
    result.status = MultiStatus(added, "curl_multi_add_handle");
    return result;
  }
  const bool done = RunSteps(spec, result);
  if (done) {
    // Before the removal, since libcurl looks for the connection in the multi
    // handle (Curl_getconnectinfo in lib/connect.c).
    curl_socket_t socket = CURL_SOCKET_BAD;
    result.connection_alive =
        curl_easy_getinfo(spec.curl, CURLINFO_ACTIVESOCKET, &socket) ==
            CURLE_OK &&
        socket != CURL_SOCKET_BAD;
  } else {
    // Up to 8.19, curl_multi_remove_handle waits for a name that is still being
    // resolved (Curl_resolver_kill in lib/asyn-thread.c, later
    // Curl_async_thrdd_shutdown), unless CURLOPT_QUICK_EXIT is set. Best
    // effort: if one of the two calls fails, the removal is only slower.
    (void)curl_easy_setopt(spec.curl, CURLOPT_QUICK_EXIT, 1L);
  }
  const CURLMcode removed = curl_multi_remove_handle(spec.multi, spec.curl);
  if (!done) {
    (void)curl_easy_setopt(spec.curl, CURLOPT_QUICK_EXIT,
                           spec.quick_exit ? 1L : 0L);
  }
  if (removed != CURLM_OK) {
    result.removed = false;
    result.connection_alive = false;
    if (result.status.ok()) {
      result.status = MultiStatus(removed, "curl_multi_remove_handle");
    }
  }
  return result;
}

}  // namespace curlshare::internal
