// SPDX-License-Identifier: Apache-2.0
// What a Share does about open connections, and what it counts.
//
//   ShareOptions options;
//   options.connections.idle_timeout = absl::Seconds(30);
//   options.connections.max_transfers_per_host = 8;
//
// ConnectionOptions   limits; ShareOptions::connections
// ConnectionStats     counts; ShareStats::connections
//
// Both are plain values: thread-compatible.
#ifndef CURLSHARE_SHARE_CONNECTION_OPTIONS_H_
#define CURLSHARE_SHARE_CONNECTION_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace curlshare {

// Limits of the connection pool of a share of LockData::kConnect.
//
// Connections live in libcurl's multi handles, which the pool keeps and lends.
// One multi handle can have connections to several hosts: usually one to each
// host that its transfers have visited. What closes "a connection" by one of
// these limits closes its multi handle, with all idle connections in it.
struct ConnectionOptions {
  // Most idle connections kept, in all. Where there are more, the least
  // recently used go. Connections in use do not count; those that handles
  // keep between their transfers do: a service with more threads than this,
  // each with a handle of its own, raises it. 0: none is kept.
  int max_idle = 100;

  // How long a connection may be idle. An older one is not used again. The
  // share has no thread of its own: what is too old is closed when a connection
  // comes back, and by Share::CloseIdleConnections. Positive; resolution 10 ms;
  // absl::InfiniteDuration(): no limit.
  absl::Duration idle_timeout = absl::Seconds(60);

  // How long after it was opened a connection may be used for a new transfer.
  // Positive; resolution 10 ms.
  absl::Duration max_lifetime = absl::InfiniteDuration();

  // Most transfers at once to one host (scheme, host and port of the URL); 0:
  // no limit. Those above it wait in order of arrival, before libcurl begins:
  // the wait is no part of the connect timeout, but it is part of an Easy's
  // timeout (SetTimeout). It ends by Cancel() and Share::CloseNow(), too. A
  // redirect to another host counts as a transfer to the first. Not for
  // transfers without a share, those within an Attachment::Transfer, nor those
  // from a callback of another transfer, which could wait for that one.
  int max_transfers_per_host = 0;
};

// What a share's connection pool did since the share was created.
struct ConnectionStats {
  uint64_t opened = 0;  // connections opened by transfers
  uint64_t reused = 0;  // transfers that opened none

  // Now, each a snapshot.
  size_t in_use = 0;  // multi handles with a transfer under way
  size_t idle = 0;    // connections without a transfer

  // Idle connections that the pool has closed, by reason. One that the server
  // or libcurl has closed is in none of them.
  uint64_t closed_idle = 0;      // longer than idle_timeout, or by
                                 // CloseIdleConnections and Flush
  uint64_t closed_old = 0;       // older than max_lifetime
  uint64_t closed_over_cap = 0;  // more than max_idle
  uint64_t closed_failed = 0;    // to a host where a transfer has failed

  // Transfers that had to wait because of max_transfers_per_host, and for how
  // long.
  uint64_t waited = 0;
  absl::Duration total_wait;
  absl::Duration longest_wait;
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CONNECTION_OPTIONS_H_
