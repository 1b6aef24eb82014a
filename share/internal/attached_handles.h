// Every CURL* of the process that is attached through this library, so that
// attaching one twice is an error and not a broken reference count. libcurl
// offers no way to ask a handle for its share.
#ifndef CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_
#define CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_

#include <curl/curl.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace curlshare::internal {

// Safe for concurrent use; sharded, so that threads that attach and detach at
// once seldom meet.
class AttachedHandles {
 public:
  // The one of this process; never destroyed.
  static AttachedHandles& Get();

  // Notes that `curl` belongs to share `share_id`. Returns 0, or where `curl`
  // is noted already, the id of that share, changing nothing.
  uint64_t Insert(CURL* curl, uint64_t share_id);
  void Erase(CURL* curl);

 private:
  struct alignas(ABSL_CACHELINE_SIZE) Shard {
    absl::Mutex mu;
    absl::flat_hash_map<CURL*, uint64_t> share_ids ABSL_GUARDED_BY(mu);
  };

  Shard& ShardOf(CURL* curl);

  std::array<Shard, 16> shards_;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_ATTACHED_HANDLES_H_
