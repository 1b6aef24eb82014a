// SPDX-License-Identifier: Apache-2.0
#include "curlshare/share/internal/transfer.h"

#include <curl/curl.h>

#include "curlshare/share/curl_status.h"

namespace curlshare::internal {
namespace {

// Longest sleep of a transfer without news; libcurl's timers, its sockets and
// curl_multi_wakeup end it earlier. As in curl_easy_perform.
constexpr int kPollMilliseconds = 1000;

// Until it is over: true, with the code in `result`. Not curl_easy_perform,
// which cannot be woken up, and leaves no place for a gate.
bool RunSteps(const TransferSpec& spec, TransferResult& result) {
  bool begun = false;
  while (!spec.cancelled()) {
    if (spec.resumed()) {
      const CURLcode resumed = curl_easy_pause(spec.curl, CURLPAUSE_CONT);
      // Without a connection yet there is nothing to resume. Else a callback
      // has been given what was kept for it.
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
      // The only one, as the multi handle has no other handle.
      const CURLMsg* const message = curl_multi_info_read(spec.multi, &left);
      if (message == nullptr || message->msg != CURLMSG_DONE) {
        result.status = MultiStatus(CURLM_INTERNAL_ERROR, "curl_multi_perform");
        return false;
      }
      result.code = message->data.result;
      // It may have been done at once. One that failed so may not have begun.
      if (!begun && result.code == CURLE_OK) spec.begun();
      return true;
    }
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
    // Only while it is in the multi handle does libcurl look there.
    curl_socket_t socket = CURL_SOCKET_BAD;
    result.connection_alive =
        curl_easy_getinfo(spec.curl, CURLINFO_ACTIVESOCKET, &socket) ==
            CURLE_OK &&
        socket != CURL_SOCKET_BAD;
  } else {
    // Up to 8.19, removing a handle that resolves a name waits for the
    // resolver, unless it is told not to. Best effort: an error of either call
    // would only make the removal slower.
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
