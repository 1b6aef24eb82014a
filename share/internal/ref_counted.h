// SPDX-License-Identifier: Apache-2.0
// A reference count inside the object. It takes half the space of
// std::shared_ptr's, and a reference can be made from a plain pointer (from a
// list, for example).
#ifndef CURLSHARE_SHARE_INTERNAL_REF_COUNTED_H_
#define CURLSHARE_SHARE_INTERNAL_REF_COUNTED_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/attributes.h"

namespace curlshare::internal {

// The base of a class whose objects RefPtrs own. Thread-safe: the count is
// atomic, and the last release happens after all others.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

 protected:
  ~RefCounted() = default;

 private:
  template <typename T>
  friend class RefPtr;

  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  // True if that was the last reference. If the count is 1, nobody else has one
  // to copy, so that the atomic subtraction can be saved.
  bool Unref() {
    return refs_.load(std::memory_order_acquire) == 1 ||
           refs_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  std::atomic<uint32_t> refs_{0};
};

// One reference to an object, which deletes the object if it was the last.
// Thread-compatible: several RefPtrs to one object may be used by several
// threads.
template <typename T>
class RefPtr {
 public:
  RefPtr() = default;
  RefPtr(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as of std
  explicit RefPtr(T* object) : object_(object) {
    if (object_ != nullptr) object_->Ref();
  }
  RefPtr(const RefPtr& other) : RefPtr(other.object_) {}
  RefPtr(RefPtr&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)) {}
  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~RefPtr() {
    if (object_ != nullptr && object_->Unref()) Delete(object_);
  }

  // Disown gives the reference away as a plain pointer, and Adopt takes it
  // back.
  T* Disown() { return std::exchange(object_, nullptr); }
  static RefPtr Adopt(T* object) {
    RefPtr ptr;
    ptr.object_ = object;
    return ptr;
  }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  friend bool operator==(const RefPtr& ptr, std::nullptr_t) {
    return ptr.object_ == nullptr;
  }
  friend bool operator!=(const RefPtr& ptr, std::nullptr_t) {
    return ptr.object_ != nullptr;
  }

 private:
  // Separate, so that the rest is small enough to be inlined.
  ABSL_ATTRIBUTE_NOINLINE static void Delete(T* object) { delete object; }

  T* object_ = nullptr;
};

}  // namespace curlshare::internal

#endif  // CURLSHARE_SHARE_INTERNAL_REF_COUNTED_H_
