// SPDX-License-Identifier: Apache-2.0
// What a CURL* still shares with the connections that it has used, after its
// transfer is over, and how to make it let go of that.
//
// From libcurl 8.21 on, a handle and its connections hold counted references to
// the same records, and the counts are not atomic:
//
//  - `struct Curl_peer` after every transfer (data->state.origin and
//    initial_origin, lib/transfer.c);
//  - `struct Curl_creds` if the credentials belong to the connection
//    (url_set_conn_login in lib/url.c, lib/http_ntlm.c, lib/http_negotiate.c);
//  - a peer in the state of Digest (lib/http_digest.c).
//
// So before connections go to another thread, the handle must let go of them.
#ifndef CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_
#define CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_

#include <curl/curl.h>

namespace curlshare::internal {

// What a handle counts together with its connections, by version of libcurl.
enum class References {
  kNone,     // up to 8.20: there is nothing to let go of
  kCounted,  // 8.21 up to the newest libcurl that was tried
  kUnknown,  // newer ones: only curl_easy_cleanup is sure to let go
};
// The answer for the running libcurl. Thread-safe.
References ConnectionReferences();

// Whether the newest transfer of `curl` has left references that only
// curl_easy_cleanup drops, which are those to credentials of the connection.
// Once true, it stays true for that handle: the caller remembers it.
// `any_redirect`: also true after any redirect, as the request before it may
// have left such references. REQUIRES: nobody else uses `curl`.
bool KeepsCredentials(CURL* curl, bool any_redirect);

// Makes `curl` let go of its connections, by a transfer that its own options
// end before it begins. True if it has. REQUIRES: nobody else uses `curl` and
// `multi`; `curl` is in no transfer, and its connections are in `multi`.
//
// The price: this clears CURLOPT_RESOLVE; what curl_easy_getinfo tells of
// redirects; the headers of curl_easy_nextheader; and CURLOPT_ERRORBUFFER of
// the newest transfer. It reads what CURLOPT_POSTFIELDS and CURLOPT_CURLU point
// to, and calls the CURLOPT_DEBUGFUNCTION of a verbose handle. With `set_url`,
// it may give a handle without a URL one for the moment.
bool LetGoOfConnections(CURL* curl, CURLM* multi, bool set_url);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_
