#include "curlshare/share/internal/attached_handles.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>

#include "absl/base/no_destructor.h"
#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"

namespace curlshare::internal {

AttachedHandles& AttachedHandles::Get() {
  static absl::NoDestructor<AttachedHandles> handles;
  return *handles;
}

AttachedHandles::Shard& AttachedHandles::ShardOf(CURL* curl) {
  return shards_[absl::HashOf(curl) % shards_.size()];
}

uint64_t AttachedHandles::Insert(CURL* curl, uint64_t share_id) {
  Shard& shard = ShardOf(curl);
  absl::MutexLock lock(&shard.mu);
  const auto [it, inserted] = shard.share_ids.try_emplace(curl, share_id);
  return inserted ? 0 : it->second;
}

void AttachedHandles::Erase(CURL* curl) {
  Shard& shard = ShardOf(curl);
  absl::MutexLock lock(&shard.mu);
  shard.share_ids.erase(curl);
}

}  // namespace curlshare::internal
