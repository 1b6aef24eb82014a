// SPDX-License-Identifier: Apache-2.0
// One multi handle of libcurl with the connections in it: the unit that the
// connection pool keeps, and that one thread at a time uses.
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

// Nanoseconds of a clock that never goes back and costs next to nothing to
// read; resolution 4 to 10 ms.
int64_t CoarseNow();

// Thread-compatible: used by its keeper's holder or, while it has no keeper, by
// nobody. What the pool knows of it is guarded by the pool's mutex: see there.
class MultiHandle : public ListNode {
 public:
  // At most so many connections are kept in one.
  static constexpr int kMaxConnections = 16;

  // An idle connection, as far as is known, to one origin.
  struct Connection : ListNode {  // of the origin's list
    OriginKey key = 0;            // 0: this one is free
    MultiHandle* multi = nullptr;
    PoolOrigin* origin = nullptr;
    // Written by the keeper's holder alone, read by all who have the mutex.
    std::atomic<int64_t> used{0};  // CoarseNow() when it was last used
    std::atomic<int64_t> opened{0};
  };

  // kResourceExhausted when out of memory.
  static absl::StatusOr<std::unique_ptr<MultiHandle>> Create();
  // Closes all its connections. Takes out a handle that is still in it.
  ~MultiHandle();

  CURLM* get() const { return multi_; }

  // How many idle connections libcurl keeps in it; nothing where it is that
  // already. Best effort: libcurl has no reason to refuse.
  void SetMaxConnections(long most);

  // Its connection to `key`; null if none is known.
  Connection* Find(OriginKey key) {
    for (Connection& connection : connections) {
      if (connection.key == key) return &connection;
    }
    return nullptr;
  }

  // The keeper's holder's alone.
  //
  // Which handles may use it besides the origin: equal texts only. What libcurl
  // does not compare goes in here (credentials for a proxy, before 8.21).
  std::string partition;
  // Has been used with what libcurl cannot tell apart: serves no other handle.
  bool tainted = false;
  bool pooled = false;
  // How often its pool had been flushed when it came in. Written before others
  // know it.
  uint32_t flushes = 0;
  // The origin of the newest transfer, as its URL had it, and its key: most
  // transfers go where the one before went.
  std::array<char, 64> origin_text{};
  size_t origin_size = 0;
  OriginKey origin_key = 0;

  // The pool's, guarded by its mutex.
  ConnectionKeeper* keeper = nullptr;  // null: idle
  int connection_count = 0;
  std::array<Connection, kMaxConnections> connections;
  // Written by the keeper's holder alone, read by all.
  //
  // Its transfer is over as far as the cap on idle connections goes, though its
  // keeper is held for a moment yet.
  std::atomic<bool> over{false};
  std::atomic<int64_t> used{0};
  std::atomic<uint64_t> opened_count{0};
  std::atomic<uint64_t> reused_count{0};

 private:
  explicit MultiHandle(CURLM* multi) : multi_(multi) {}

  CURLM* const multi_;
  long max_connections_ = -1;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_MULTI_HANDLE_H_
