// SPDX-License-Identifier: Apache-2.0
// What a program of operations must do, one operation after the other: a
// sequential model of shares, handles and gates, without libcurl and without
// this library (but for the table of which kinds need a gate).
//
//   ShareModel model;
//   ShareModel::Prediction p = model.Apply(op);
//   if (p.what == ShareModel::What::kReturns) ... p.allowed ...
//
// The model knows threads that are in the middle of something: a callback, a
// Use, a transfer that the server stalls. An operation that would have to wait
// for another thread, or that the headers forbid, is skipped. One known limit
// of the library is skipped, too: a handle that goes inside one share's gate
// while another thread is inside its own (docs/design.md, "One gate a thread").
#ifndef CURLSHARE_VERIFICATION_SHARE_MODEL_H_
#define CURLSHARE_VERIFICATION_SHARE_MODEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/verification/operations.h"

namespace curlshare::testing {

// What the variant of an operation means.
LockDataSet KindsOfVariant(uint8_t variant);
// Of kCreateShare.
inline bool IsStrict(uint8_t variant) { return variant % 4 == 3; }
inline Concurrency ConcurrencyOf(uint8_t variant) {
  return variant % 4 == 2 ? Concurrency::kGated : Concurrency::kAuto;
}
// Of kClose.
inline bool HasDeadline(uint8_t variant) { return (variant & 1) != 0; }
inline bool CancelsTransfers(uint8_t variant) { return (variant & 2) != 0; }
// Of kTransfer and kTransferWithCallback on a CURL* of one's own: a
// BeginTransfer around curl_easy_perform.
inline bool TransfersByItself(uint8_t variant) { return (variant & 8) != 0; }
// Of kSaveCookies: a cookie is added to what is exported, before that is
// imported again.
inline bool ImportsACookie(uint8_t variant) { return (variant & 1) != 0; }
// Of kEndFrame: the callback that ends makes its transfer fail.
inline bool EndsInError(uint8_t variant) { return (variant & 1) != 0; }
inline bool IsEasy(int handle) { return handle < kProgramEasies; }

// Of kTransfer: what is asked of the server, and what comes of it.
enum class Request : uint8_t {
  kBytes,
  kCookie,
  kHsts,
  kNotFound,
  kSinkFails,
  kDropped,
  kRefused,
  // With a CURLOPT_DEBUGFUNCTION that, under a share's lock, calls what must be
  // refused there. Of an Easy; else as kBytes.
  kProbeUnderLock,
};
inline Request RequestOf(uint8_t variant) {
  return static_cast<Request>(variant % 8);
}
// The outcome of a transfer that nobody cancels.
absl::StatusCode OutcomeOf(Request request, bool easy);
// Where the callable of the application makes it fail.
absl::StatusCode SinkErrorCode(bool easy);

class ShareModel {
 public:
  enum class What : uint8_t {
    kSkip,
    kReturns,  // with one of `allowed`
    kParks,    // inside a callback or a Use: the thread takes operations there
    kStalls,   // in a transfer, until it is cancelled or released
  };
  using Codes = std::vector<absl::StatusCode>;
  struct Finished {
    int thread;
    Codes allowed;
  };
  struct Prediction {
    What what = What::kSkip;
    Codes allowed;
    // Stalled transfers of other threads that end by this operation.
    std::vector<Finished> finished;
  };

  // A program begins with every handle there and no share.
  ShareModel();

  Prediction Apply(const Op& op);

  // The state that users can see.
  bool has_share(int slot) const { return slot_share_[slot] >= 0; }
  size_t attached(int slot) const { return Attached(slot_share_[slot]); }
  bool closed(int slot) const;
  bool gated(int slot) const;
  LockDataSet kinds(int slot) const;
  // Whether it has a cookie that a transfer was given (Request::kCookie), where
  // that can be asked for now without waiting; nullopt where not.
  std::optional<bool> has_cookie(int slot) const;
  // The slot of the share that the handle is in; kNone without one, kGone where
  // that Share object has been destroyed.
  static constexpr int kNone = -1;
  static constexpr int kGone = -2;
  bool has_handle(int slot) const { return slot_exists_[slot]; }
  int share_of(int slot) const;
  // CURLSH that exist.
  int live() const;
  // Whether `thread` is inside a callback or a Use; in a stalled transfer; and
  // how many of those there are.
  bool InFrame(int thread) const { return !frames_[thread].empty(); }
  bool IsStalled(int thread) const {
    return InFrame(thread) && frames_[thread].back().type == Frame::kStalled;
  }
  int stalled() const;
  // Whether what a close could not reach may come out a moment later, as a
  // stalled transfer enters and leaves the gate on its own.
  bool settles_by_itself() const { return stalled() > 0; }

 private:
  enum class Mode : uint8_t { kIdle, kUse, kTransfer, kChange };
  enum class State : uint8_t { kOpen, kClosing, kClosed };
  enum class Entry : uint8_t { kEntered, kNested, kRefused, kBlocks };

  struct ModelShare {
    LockDataSet kinds;
    Concurrency concurrency = Concurrency::kAuto;
    bool strict = false;
    State state = State::kOpen;
    bool cancel = false;     // a CloseNow was called
    bool abandoned = false;  // strict, and the Share has gone
    bool gated = false;
    bool ever_gated = false;
    bool has_cookie = false;
    int generation = 0;
  };
  struct ModelHandle {
    int slot = 0;
    int share = -1;
    int generation = 0;
    bool gated = false;
    int holder = -1;
    Mode mode = Mode::kIdle;
    int depth = 0;
    bool released = false;
    bool cancelled = false;
    bool dead = false;
  };
  struct Frame {
    enum Type : uint8_t { kCallback, kUse, kStalled };
    Type type;
    int handle;
    int gate;             // the share whose gate it is inside; -1 for none
    bool let_go = false;  // stalled: the server has answered
  };

  Prediction Do(const Op& op);
  Prediction CreateShare(const Op& op);
  Prediction DestroyShare(const Op& op);
  Prediction ChangeKinds(const Op& op);
  Prediction CloseIdle(const Op& op);
  Prediction Flush(const Op& op);
  Prediction SaveCookies(const Op& op);
  Prediction Close(const Op& op);
  Prediction CreateHandle(const Op& op);
  Prediction DestroyHandle(const Op& op);
  Prediction Attach(const Op& op);
  Prediction Detach(const Op& op);
  Prediction Duplicate(const Op& op);
  Prediction BriefChange(const Op& op, Mode mode);
  Prediction Transfer(const Op& op);
  Prediction BeginUse(const Op& op);
  Prediction EndFrame(const Op& op);
  Prediction Cancel(const Op& op);
  Prediction ReleaseStalled();

  // Lets stalled transfers end that can. False where one would end, and then
  // wait for the gate, no longer its handle's holder: skip.
  bool Settle(std::vector<Finished>& finished);
  // Whether a transfer in an older generation that ends now, and has learned
  // what the newest is to know, can be seen to without waiting.
  bool CanCatchUp(int thread, int handle) const;
  // As a change of the share: inside the gate, if there ever was one. The
  // answer, where it does not come to that.
  std::optional<Prediction> EnterToChange(int thread, int share);

  size_t Attached(int share) const;
  bool MovesAtTransfer(const ModelHandle& handle) const;
  int GateFor(const ModelHandle& handle, Mode mode) const;
  // The thread inside, -1 for none. One in a stalled transfer is outside,
  // unless it is in a callback inside besides.
  int GateOwner(int share) const;
  bool GatePaused(int share) const;
  bool InOtherGate(int thread, int share) const;
  int Depth(int thread, int share) const;  // how often it has entered the gate
  Entry EnterGate(int thread, int share) const;
  // As a close or a destruction: without waiting. True if inside.
  bool TryEnterGate(int thread, int share) const;
  void LeaveGate(int thread, int share);

  Entry Enter(int thread, int handle, Mode mode, int& gate);
  void Leave(int thread, int handle, int gate);
  // Enter and Leave, with the answer of what comes in between.
  std::optional<Prediction> EnterBriefly(int thread, int handle, Mode mode);
  void DetachNow(int handle);
  // Puts it into the share's newest generation.
  void JoinNewest(ModelHandle& handle, int share);
  void DetachIdle(int share, bool gated_too);
  void FinishIfEmpty(int share);
  void StartClosing(int thread, int share);
  // Whether `thread` may destroy `handle` now without waiting; false: skip.
  bool CanRelease(int thread, int handle) const;
  void Release(int thread, int handle);

  // By id; the slots say which of them the program can name.
  std::vector<ModelShare> shares_;
  std::vector<ModelHandle> handles_;
  std::array<int, kProgramShares> slot_share_;
  // The handle of an Easy, the Attachment of a CURL*; -1 for none.
  std::array<int, kProgramHandles> slot_handle_;
  std::array<bool, kProgramHandles> slot_exists_;
  std::array<std::vector<Frame>, kProgramThreads> frames_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SHARE_MODEL_H_
