#include "curlshare/share/internal/kept_forever.h"

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "curlshare/share/internal/list_node.h"

namespace curlshare::internal {
namespace {

struct Kept {
  absl::Mutex mu;
  ListNode list ABSL_GUARDED_BY(mu);
};

}  // namespace

void KeepForever(ListNode* node) {
  static absl::NoDestructor<Kept> kept;
  absl::MutexLock lock(&kept->mu);
  node->InsertBefore(&kept->list);
}

}  // namespace curlshare::internal
