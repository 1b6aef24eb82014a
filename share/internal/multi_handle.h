// SPDX-License-Identifier: Apache-2.0
// One multi handle of libcurl's with the connections in it: the unit that the
// connection pool keeps and lends.
#ifndef CURLSHARE_SHARE_INTERNAL_MULTI_HANDLE_H_
#define CURLSHARE_SHARE_INTERNAL_MULTI_HANDLE_H_

#include <curl/curl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "curlshare/share/internal/list_node.h"
#include "curlshare/share/internal/origin.h"

namespace curlshare::internal {

class ConnectionKeeper;
struct PoolOrigin;

// Nanoseconds of a monotonic clock that is very cheap to read. Its resolution
// is 4 to 10 ms. Thread-safe.
int64_t CoarseNow();

// A CURLM, what the pool knows of the connections in it, and what its user
// remembers from one transfer to the next.
//
// Thread-compatible. Used by one thread at a time: the holder of its keeper
// (see ConnectionKeeper) or, while it has no keeper, nobody but the pool. The
// members say which of them are guarded by the pool's mutex.
class MultiHandle : public ListNode {
 public:
  // The most connections that the pool keeps in one MultiHandle.
  static constexpr int kMaxConnections = 16;

  // An idle connection to one origin, as far as the pool knows. Written under
  // the pool's mutex, apart from the times, and only by the holder of the
  // keeper (by the pool while there is none), who may therefore read it
  // without.
  struct Connection : ListNode {  // of the origin's list
    OriginKey key = 0;            // 0: this one is free
    MultiHandle* multi = nullptr;
    PoolOrigin* origin = nullptr;
    // In nanoseconds of CoarseNow(). Written by the holder of the keeper alone,
    // and read under the pool's mutex.
    std::atomic<int64_t> used{0};  // when it was last used
    std::atomic<int64_t> opened{0};
  };

  // Makes a CURLM. kResourceExhausted: out of memory.
  static absl::StatusOr<std::unique_ptr<MultiHandle>> Create();
  // Closes all its connections, and takes out a CURL* that is still in it.
  ~MultiHandle();

  CURLM* get() const { return multi_; }

  // Sets how many idle connections libcurl keeps in it (CURLMOPT_MAXCONNECTS).
  // Does nothing if that is the number already. Best effort: libcurl has no
  // reason to refuse.
  void SetMaxConnections(long most);

  // The connection to `key`. Null if none is known.
  Connection* Find(OriginKey key) {
    for (Connection& connection : connections) {
      if (connection.key == key) return &connection;
    }
    return nullptr;
  }

  // The following belong to the holder of the keeper alone.
  //
  // Handles may use this MultiHandle only if their partitions are equal. The
  // text stands for what libcurl does not compare when it chooses a connection
  // (credentials for a proxy, before 8.21).
  std::string partition;
  // It was used with options by which libcurl cannot tell connections apart: it
  // serves no other handle.
  bool tainted = false;
  bool pooled = false;  // whether it is in a pool
  // How often its pool had been flushed when it came in. Written before other
  // threads know of it.
  uint32_t flushes = 0;
  // The origin of the newest transfer, as its URL had it, and its key. Most
  // transfers go to the same origin as the previous one, so that the key need
  // not be computed again.
  std::array<char, 64> origin_text{};
  size_t origin_size = 0;
  OriginKey origin_key = 0;

  // The following are written under the pool's mutex: see Connection.
  ConnectionKeeper* keeper = nullptr;  // null: idle
  int connection_count = 0;
  std::array<Connection, kMaxConnections> connections;
  // The following are written by the holder of the keeper alone (by the pool
  // while there is none), and read by all threads.
  //
  // Whether the transfer is over as far as the cap on idle connections goes.
  // Its keeper may be held for a moment longer.
  std::atomic<bool> over{false};
  std::atomic<int64_t> used{0};           // CoarseNow() when last used
  std::atomic<uint64_t> opened_count{0};  // connections opened
  std::atomic<uint64_t> reused_count{0};  // transfers that opened none

 private:
  explicit MultiHandle(CURLM* multi) : multi_(multi) {}

  CURLM* const multi_;
  long max_connections_ = -1;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_MULTI_HANDLE_H_
