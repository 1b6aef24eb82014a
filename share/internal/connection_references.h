// SPDX-License-Identifier: Apache-2.0
// What a CURL* still has to do with the connections that it has used, once its
// transfer is over.
//
// From libcurl 8.21 on a handle and its connections hold counted references on
// the same records, and the counts are no atomics: `struct Curl_peer` after
// every transfer (data->state.origin and initial_origin, lib/transfer.c), and
// `struct Curl_creds` where the credentials belong to the connection (lib/url.c
// url_set_conn_login, lib/http_ntlm.c, lib/http_negotiate.c; lib/http_digest.c
// keeps a peer). Whoever hands connections on to another thread must have the
// handle let go of them first.
#ifndef CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_
#define CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_

#include <curl/curl.h>

namespace curlshare::internal {

enum class References {
  kNone,     // up to 8.20: there is nothing to let go of
  kCounted,  // 8.21 up to the newest libcurl that was tried
  kUnknown,  // newer ones: only curl_easy_cleanup is sure to let go
};
// Of the running libcurl.
References ConnectionReferences();

// Whether the newest transfer of `curl` left references that only
// curl_easy_cleanup drops: credentials of the connection. Where it is true once
// it stays so. `any_redirect`: where a redirect may hide such a one, take it
// for true.
bool KeepsCredentials(CURL* curl, bool any_redirect);

// Has `curl`, which is idle and whose connections are in `multi`, let go of
// them: by a transfer that its options end before it begins. False where it did
// not. Clears CURLOPT_RESOLVE, and what curl_easy_getinfo tells of redirects,
// curl_easy_nextheader and CURLOPT_ERRORBUFFER of the newest transfer. Reads
// what CURLOPT_POSTFIELDS and CURLOPT_CURLU point to, and calls
// CURLOPT_DEBUGFUNCTION of a verbose handle. With `set_url` it may give a
// handle without a URL one for the moment.
bool LetGoOfConnections(CURL* curl, CURLM* multi, bool set_url);

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_CONNECTION_REFERENCES_H_
