// SPDX-License-Identifier: Apache-2.0
// A model of shares, handles and gates. It predicts what each operation of a
// program must return, and the state that it must lead to, if the operations
// are executed one after the other. It uses neither libcurl nor this library,
// except for the table of the kinds that need a gate, and the mapping of codes.
//
//   ShareModel model;
//   ShareModel::Prediction p = model.Apply(op);
//   if (p.what == ShareModel::What::kReturns) ... p.allowed ...
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

// What Op::variant means for an operation. The interpreter and the model use
// the same functions.

// For kCreateShare, kEnable, kDisable and kFlush: the kinds of data.
LockDataSet KindsOfVariant(uint8_t variant);
// For kCreateShare: options of the share.
inline bool IsStrict(uint8_t variant) { return variant % 4 == 3; }
inline Concurrency ConcurrencyOf(uint8_t variant) {
  return variant % 4 == 2 ? Concurrency::kGated : Concurrency::kAuto;
}
// For kClose: with a deadline that has passed; CloseNow instead of Close.
inline bool HasDeadline(uint8_t variant) { return (variant & 1) != 0; }
inline bool CancelsTransfers(uint8_t variant) { return (variant & 2) != 0; }
// For kTransfer and kTransferWithCallback on a CURL* with an Attachment: by
// curl_easy_perform within BeginTransfer, instead of Attachment::Perform.
inline bool TransfersByItself(uint8_t variant) { return (variant & 8) != 0; }
// For kSaveCookies: a cookie is added to the exported ones before they are
// imported again.
inline bool ImportsACookie(uint8_t variant) { return (variant & 1) != 0; }
// For kEndFrame: the callback that ends makes its transfer fail.
inline bool EndsInError(uint8_t variant) { return (variant & 1) != 0; }
// Whether Op::handle is an Easy; otherwise it is a CURL* with an Attachment.
inline bool IsEasy(int handle) { return handle < kProgramEasies; }

// For kTransfer: what is requested, and what happens then.
enum class Request : uint8_t {
  kBytes,
  kCookie,
  kHsts,
  kNotFound,
  kSinkFails,
  kDropped,
  kRefused,
  // On an Easy: its CURLOPT_DEBUGFUNCTION calls, while libcurl holds a share's
  // lock, what must be refused there. On other handles as kBytes.
  kProbeUnderLock,
};
// The Request that a variant stands for.
inline Request RequestOf(uint8_t variant) {
  return static_cast<Request>(variant % 8);
}
// Returns the code with which a transfer ends that nobody cancels. `easy`: by
// an Easy, otherwise by an Attachment.
absl::StatusCode OutcomeOf(Request request, bool easy);
// Returns the code with which a transfer ends that the sink (or write callback)
// makes fail.
absl::StatusCode SinkErrorCode(bool easy);

// The state of one program's shares, handles and threads.
//
// A thread can be in the middle of something: in a callback, in a Use, or in a
// transfer that the server stalls. Each of these is a *frame* of the thread.
//
// An operation is skipped if it would have to wait for another thread, or if
// the headers forbid it. Also skipped is one known limit of the library: a
// handle that enters the gate of one share while another thread is inside its
// own (docs/design.md, "One gate a thread").
//
// Thread-compatible; copyable. Slots, threads and handles are the numbers in
// operations.h.
class ShareModel {
 public:
  // What the thread of an operation does then.
  enum class What : uint8_t {
    kSkip,     // nothing: the operation is to be skipped
    kReturns,  // the call returns one of `allowed`
    kParks,    // stays inside a callback or a Use, and takes operations there
    kStalls,   // stays in a transfer until it is cancelled or released
  };
  using Codes = std::vector<absl::StatusCode>;
  // A stalled transfer that has ended, and what it may return. Plain value.
  struct Finished {
    int thread;
    Codes allowed;
  };
  // What an operation must do. Plain value.
  struct Prediction {
    What what = What::kSkip;
    Codes allowed;
    // Stalled transfers of other threads that end through this operation.
    std::vector<Finished> finished;
  };

  // The state at the beginning of a program: all handles exist, and no share.
  ShareModel();

  // Predicts `op`, and executes it on the model unless it is to be skipped.
  Prediction Apply(const Op& op);

  // The state that users can see. `slot` is the number of a share or a handle.
  bool has_share(int slot) const { return slot_share_[slot] >= 0; }
  size_t attached(int slot) const { return Attached(slot_share_[slot]); }
  bool closed(int slot) const;
  bool gated(int slot) const;
  LockDataSet kinds(int slot) const;
  // Whether the share has the cookie that a transfer has received
  // (Request::kCookie). nullopt if that cannot be asked now without waiting.
  std::optional<bool> has_cookie(int slot) const;
  // share_of returns the slot of the share that the handle is attached to;
  // kNone if there is none, kGone if that Share object has been destroyed.
  static constexpr int kNone = -1;
  static constexpr int kGone = -2;
  bool has_handle(int slot) const { return slot_exists_[slot]; }
  int share_of(int slot) const;
  // The number of CURLSHs that exist: all generations of all shares.
  int live() const;
  // Whether `thread` is in a frame.
  bool InFrame(int thread) const { return !frames_[thread].empty(); }
  // Whether `thread` is in a stalled transfer.
  bool IsStalled(int thread) const {
    return InFrame(thread) && frames_[thread].back().type == Frame::kStalled;
  }
  // The number of stalled transfers.
  int stalled() const;
  // Whether handles that a close could not reach may leave the share a moment
  // later, because a stalled transfer enters and leaves the gate by itself.
  bool settles_by_itself() const { return stalled() > 0; }

 private:
  // How a handle is held: see internal::HandleHolder::Mode.
  enum class Mode : uint8_t { kIdle, kUse, kTransfer, kChange };
  // The states of a share: see share.h.
  enum class State : uint8_t { kOpen, kClosing, kClosed };
  // What becomes of an attempt to enter a gate or a handle. kBlocks: it would
  // wait.
  enum class Entry : uint8_t { kEntered, kNested, kRefused, kBlocks };

  // A share. -1 stands for "none" wherever an id or a thread is stored.
  struct ModelShare {
    LockDataSet kinds;
    Concurrency concurrency = Concurrency::kAuto;
    bool strict = false;
    State state = State::kOpen;
    bool cancel = false;     // a CloseNow was called
    bool abandoned = false;  // strict, and the Share has been destroyed
    bool gated = false;
    bool ever_gated = false;
    bool has_cookie = false;
    int generation = 0;
  };
  // An Easy, or an Attachment. Attachments get a new id with each attach.
  struct ModelHandle {
    int slot = 0;
    int share = -1;
    int generation = 0;  // of the share
    bool gated = false;  // attached to a gated generation
    int holder = -1;     // the thread
    Mode mode = Mode::kIdle;
    int depth = 0;           // how often the holder has entered
    bool released = false;   // its owner has gone
    bool cancelled = false;  // its transfer is to end
    bool dead = false;       // freed
  };
  // What a thread is in the middle of.
  struct Frame {
    enum Type : uint8_t { kCallback, kUse, kStalled };
    Type type;
    int handle;
    int gate;             // the share whose gate it has entered; -1 for none
    bool let_go = false;  // stalled: the server has answered
  };

  // Executes `op` on the model without Settle; and one function for each kind
  // of operation.
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

  // Ends the stalled transfers that can end now. Returns false if one of them
  // would end and then wait for the gate when it is no longer the holder of its
  // handle: the operation is skipped then.
  bool Settle(std::vector<Finished>& finished);
  // Whether a transfer that ends now in an older generation can add what it has
  // learned to the newest generation without waiting.
  bool CanCatchUp(int thread, int handle) const;
  // Enters and leaves the gate of the share, if there ever was one, as a call
  // that changes the share does. Returns the answer if that is not possible.
  std::optional<Prediction> EnterToChange(int thread, int share);

  // The number of handles that are attached to `share`.
  size_t Attached(int share) const;
  // Whether the next transfer of `handle` first moves it to a newer generation,
  // or out of a share that is closing.
  bool MovesAtTransfer(const ModelHandle& handle) const;
  // The share whose gate a holder of `handle` must be inside; -1 for none.
  int GateFor(const ModelHandle& handle, Mode mode) const;
  // The thread inside the gate of `share`; -1 for none. A thread in a stalled
  // transfer is outside, unless it is also in a callback inside the gate.
  int GateOwner(int share) const;
  bool GatePaused(int share) const;
  // Whether `thread` is inside the gate of another share.
  bool InOtherGate(int thread, int share) const;
  int Depth(int thread, int share) const;  // how often it has entered the gate
  Entry EnterGate(int thread, int share) const;
  // As a close or a destruction does, which do not wait. True: inside the gate.
  bool TryEnterGate(int thread, int share) const;
  void LeaveGate(int thread, int share);

  // As Enter and Leave of internal::HandleHolder. `gate`: the share whose gate
  // was entered, -1 for none.
  Entry Enter(int thread, int handle, Mode mode, int& gate);
  void Leave(int thread, int handle, int gate);
  // Enter, then Leave. Returns the answer if Enter does not succeed.
  std::optional<Prediction> EnterBriefly(int thread, int handle, Mode mode);
  void DetachNow(int handle);
  // Puts `handle` into the newest generation of `share`.
  void JoinNewest(ModelHandle& handle, int share);
  // Detaches the idle handles of `share`: all, or only those that no gate
  // protects.
  void DetachIdle(int share, bool gated_too);
  // Closes a share that is closing, once no handle is attached to it.
  void FinishIfEmpty(int share);
  void StartClosing(int thread, int share);
  // Whether `thread` can destroy `handle` now without waiting; if not, the
  // operation is skipped.
  bool CanRelease(int thread, int handle) const;
  void Release(int thread, int handle);

  // Shares and handles by id. They stay here after their end. The slots hold
  // the ids of those that the program can name.
  std::vector<ModelShare> shares_;
  std::vector<ModelHandle> handles_;
  std::array<int, kProgramShares> slot_share_;
  // The id of the Easy, or of the Attachment of the CURL*; -1 for none.
  std::array<int, kProgramHandles> slot_handle_;
  std::array<bool, kProgramHandles> slot_exists_;
  std::array<std::vector<Frame>, kProgramThreads> frames_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_SHARE_MODEL_H_
