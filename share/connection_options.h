// SPDX-License-Identifier: Apache-2.0
// How a Share limits its open connections, and what it counts about them.
//
//   ShareOptions options;
//   options.connections.idle_timeout = absl::Seconds(30);
//   options.connections.max_transfers_per_host = 8;
//
// ConnectionOptions   limits; ShareOptions::connections
// ConnectionStats     counts; ShareStats::connections
#ifndef CURLSHARE_SHARE_CONNECTION_OPTIONS_H_
#define CURLSHARE_SHARE_CONNECTION_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace curlshare {

// Limits on the connection pool of a share that has LockData::kConnect.
//
// Connections live in libcurl's multi handles, which the pool keeps and lends.
// One multi handle can have connections to several hosts: usually one to each
// host that its transfers have visited. When one of these limits closes a
// connection, it closes the multi handle, with all idle connections in it.
//
// Thread-compatible: a plain value, which Share::Create copies. Share::Create
// returns kInvalidArgument for a value outside its range.
struct ConnectionOptions {
  // The most idle connections that are kept, to all hosts together; 0: none. If
  // there are more, the least recently used ones are closed. Connections in use
  // do not count, but those that handles keep between their transfers do. A
  // service with more threads than this, each with its own handle, should raise
  // it.
  int max_idle = 100;

  // How long a connection may be idle. One that was idle for longer is not used
  // again. The share has no thread of its own: connections that are too old are
  // closed when some connection comes back to the pool, and by
  // Share::CloseIdleConnections. Positive; resolution 10 ms;
  // absl::InfiniteDuration(): no limit.
  absl::Duration idle_timeout = absl::Seconds(60);

  // How long after it was opened a connection may be used for a new transfer.
  // Positive; resolution 10 ms; absl::InfiniteDuration(): no limit.
  absl::Duration max_lifetime = absl::InfiniteDuration();

  // The most transfers at once to one host (scheme, host and port of the URL);
  // 0: no limit. Further transfers wait in order of arrival, before libcurl
  // begins. This wait is no part of the connect timeout, but it is part of an
  // Easy's timeout (SetTimeout). Cancel(), a CancelToken and Share::CloseNow()
  // end it.
  //
  // A transfer that is redirected to another host counts for the first host.
  // The limit does not apply to transfers without a share, to those within an
  // Attachment::Transfer, and to those that a callback of another transfer
  // makes: they could wait for that transfer.
  int max_transfers_per_host = 0;
};

// What a share's connection pool did since the share was created.
// Thread-compatible: a plain value.
struct ConnectionStats {
  uint64_t opened = 0;  // connections that transfers have opened
  uint64_t reused = 0;  // transfers that opened none

  // How many there are at the moment.
  size_t in_use = 0;  // multi handles whose handle is in transfer or in use
  size_t idle = 0;    // connections in all other multi handles

  // Idle connections that the pool has closed, by reason. Connections that the
  // server or libcurl has closed are in none of these counts.
  uint64_t closed_idle = 0;      // longer than idle_timeout, or by
                                 // CloseIdleConnections and Flush
  uint64_t closed_old = 0;       // older than max_lifetime
  uint64_t closed_over_cap = 0;  // more than max_idle
  uint64_t closed_failed = 0;    // to a host where a transfer has failed

  // Transfers that had to wait because of max_transfers_per_host; how long all
  // of them waited together, and the longest single wait.
  uint64_t waited = 0;
  absl::Duration total_wait;
  absl::Duration longest_wait;
};

}  // namespace curlshare

#endif  // CURLSHARE_SHARE_CONNECTION_OPTIONS_H_
