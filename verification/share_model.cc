// SPDX-License-Identifier: Apache-2.0
#include "curlshare/verification/share_model.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/verification/operations.h"

namespace curlshare::testing {
namespace {

using Prediction = ShareModel::Prediction;
using What = ShareModel::What;

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

Prediction Skip() { return {}; }
Prediction Returns(ShareModel::Codes codes) {
  return {What::kReturns, std::move(codes), {}};
}
Prediction Returns(absl::StatusCode code) {
  return Returns(ShareModel::Codes{code});
}

}  // namespace

LockDataSet KindsOfVariant(uint8_t variant) {
  const LockDataSet all = LockDataSet::Available();
  switch (variant / 4) {
    case 0:
      return LockDataSet(LockData::kDns) & all;
    case 1:
      return LockDataSet{LockData::kCookie, LockData::kPsl} & all;
    case 2:
      return LockDataSet{LockData::kConnect, LockData::kHsts,
                         LockData::kSslSession} &
             all;
    default:
      return all;
  }
}

absl::StatusCode SinkErrorCode(bool easy) {
  return easy ? absl::StatusCode::kDataLoss
              : EasyStatus(CURLE_WRITE_ERROR, "").code();
}

absl::StatusCode OutcomeOf(Request request, bool easy) {
  switch (request) {
    case Request::kSinkFails:
      return SinkErrorCode(easy);
    case Request::kDropped:
      return EasyStatus(CURLE_PARTIAL_FILE, "").code();
    case Request::kRefused:
      return EasyStatus(CURLE_COULDNT_CONNECT, "").code();
    default:
      return kOk;
  }
}

ShareModel::ShareModel() {
  slot_share_.fill(-1);
  slot_handle_.fill(-1);
  slot_exists_.fill(true);
  for (int slot = 0; slot < kProgramEasies; ++slot) {
    slot_handle_[slot] = static_cast<int>(handles_.size());
    handles_.emplace_back().slot = slot;
  }
}

ShareModel::Prediction ShareModel::Apply(const Op& op) {
  ShareModel next = *this;
  Prediction prediction = next.Do(op);
  if (prediction.what != What::kSkip) {
    if (!next.Settle(prediction.finished)) return Skip();
    *this = std::move(next);
  }
  return prediction;
}

ShareModel::Prediction ShareModel::Do(const Op& op) {
  if (op.kind == OpKind::kReleaseStalled) return ReleaseStalled();
  if (IsStalled(op.thread)) return Skip();
  switch (op.kind) {
    case OpKind::kCreateShare:
      return CreateShare(op);
    case OpKind::kDestroyShare:
      return DestroyShare(op);
    case OpKind::kEnable:
    case OpKind::kDisable:
      return ChangeKinds(op);
    case OpKind::kClose:
      return Close(op);
    case OpKind::kCloseIdle:
      return CloseIdle(op);
    case OpKind::kFlush:
      return Flush(op);
    case OpKind::kSaveCookies:
      return SaveCookies(op);
    case OpKind::kCreateHandle:
      return CreateHandle(op);
    case OpKind::kBeginUse:
      return BeginUse(op);
    case OpKind::kEndFrame:
      return EndFrame(op);
    default:
      break;
  }
  if (!slot_exists_[op.handle]) return Skip();
  switch (op.kind) {
    case OpKind::kDestroyHandle:
    case OpKind::kDropAttachment:
      return DestroyHandle(op);
    case OpKind::kAttach:
      return Attach(op);
    case OpKind::kDetach:
      return Detach(op);
    case OpKind::kDuplicate:
      return IsEasy(op.handle) ? Duplicate(op) : Skip();
    case OpKind::kReset:
      return IsEasy(op.handle) ? BriefChange(op, Mode::kChange) : Skip();
    case OpKind::kSetOption:
      return BriefChange(op, Mode::kUse);
    case OpKind::kTransfer:
    case OpKind::kTransferWithCallback:
    case OpKind::kStalledTransfer:
      return Transfer(op);
    case OpKind::kCancel:
      return Cancel(op);
    default:
      return Skip();
  }
}

// ---- Shares

ShareModel::Prediction ShareModel::CreateShare(const Op& op) {
  if (slot_share_[op.share] >= 0) return Skip();
  slot_share_[op.share] = static_cast<int>(shares_.size());
  ModelShare& share = shares_.emplace_back();
  share.kinds = KindsOfVariant(op.variant);
  share.strict = IsStrict(op.variant);
  share.concurrency = ConcurrencyOf(op.variant);
  share.gated = NeedsGate(share.kinds, share.concurrency);
  share.ever_gated = share.gated;
  return Returns(kOk);
}

void ShareModel::StartClosing(int thread, int id) {
  ModelShare& share = shares_[id];
  share.state = State::kClosing;
  for (ModelHandle& handle : handles_) {
    if (handle.share == id && handle.holder >= 0 && share.cancel &&
        handle.mode == Mode::kTransfer) {
      handle.cancelled = true;
    }
  }
  DetachIdle(id, /*gated_too=*/GateOwner(id) == thread);
}

ShareModel::Prediction ShareModel::DestroyShare(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  slot_share_[op.share] = -1;
  if (shares_[id].state == State::kClosed) return Returns(kOk);
  if (shares_[id].strict) {
    shares_[id].abandoned = true;
  } else {
    StartClosing(op.thread, id);
    if (TryEnterGate(op.thread, id)) DetachIdle(id, /*gated_too=*/true);
  }
  FinishIfEmpty(id);
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::Close(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  if (shares_[id].state == State::kClosed) return Returns(kOk);
  if (shares_[id].strict && Attached(id) > 0) return Returns(kRefused);
  const bool deadline = HasDeadline(op.variant);
  if (!deadline && Attached(id) > 0 && InFrame(op.thread)) {
    return Returns(kRefused);
  }
  if (CancelsTransfers(op.variant)) shares_[id].cancel = true;
  StartClosing(op.thread, id);
  if (shares_[id].ever_gated) {
    const int owner = GateOwner(id);
    if (!deadline && owner >= 0 && owner != op.thread) return Skip();
    if (TryEnterGate(op.thread, id)) DetachIdle(id, /*gated_too=*/true);
  }
  FinishIfEmpty(id);
  if (shares_[id].state == State::kClosed) return Returns(kOk);
  Prediction prediction;
  if (!Settle(prediction.finished)) return Skip();
  prediction.what = What::kReturns;
  if (shares_[id].state == State::kClosed) {
    prediction.allowed = {kOk};
    // They may end before this call looks for the last time, or after.
    if (deadline) {
      prediction.allowed.push_back(absl::StatusCode::kDeadlineExceeded);
    }
    return prediction;
  }
  if (!deadline) return Skip();
  prediction.allowed = {absl::StatusCode::kDeadlineExceeded};
  return prediction;
}

ShareModel::Prediction ShareModel::ChangeKinds(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  ModelShare& share = shares_[id];
  if (share.state != State::kOpen) return Returns(kRefused);
  const LockDataSet kinds = KindsOfVariant(op.variant);
  const LockDataSet wanted =
      op.kind == OpKind::kEnable ? share.kinds | kinds : share.kinds - kinds;
  if (wanted == share.kinds) return Returns(kOk);
  if (auto answer = EnterToChange(op.thread, id)) return *answer;
  share.kinds = wanted;
  // All of it is kept, but for what is not shared any more.
  if (!wanted.Contains(LockData::kCookie)) share.has_cookie = false;
  ++share.generation;
  share.gated = NeedsGate(wanted, share.concurrency);
  share.ever_gated = share.ever_gated || share.gated;
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::CloseIdle(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  if (!shares_[id].ever_gated) return Returns(kOk);
  switch (EnterGate(op.thread, id)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:  // It closes what it can without.
      break;
    case Entry::kEntered:
    case Entry::kNested:
      LeaveGate(op.thread, id);
      FinishIfEmpty(id);
      break;
  }
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::Flush(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  ModelShare& share = shares_[id];
  if (share.state != State::kOpen) return Returns(kRefused);
  const LockDataSet kinds = KindsOfVariant(op.variant) & share.kinds;
  if (kinds.empty()) return Returns(kOk);
  if (auto answer = EnterToChange(op.thread, id)) return *answer;
  if (kinds.Contains(LockData::kCookie)) share.has_cookie = false;
  const LockDataSet anew = kinds & LockDataSet{LockData::kSslSession,
                                               LockData::kHsts, LockData::kPsl};
  if (!anew.empty()) ++share.generation;
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::SaveCookies(const Op& op) {
  const int id = slot_share_[op.share];
  if (id < 0) return Skip();
  ModelShare& share = shares_[id];
  if (share.state != State::kOpen || !share.kinds.Contains(LockData::kCookie)) {
    return Returns(kRefused);
  }
  if (share.gated) {
    if (auto answer = EnterToChange(op.thread, id)) return *answer;
  }
  if (ImportsACookie(op.variant)) share.has_cookie = true;
  return Returns(kOk);
}

std::optional<ShareModel::Prediction> ShareModel::EnterToChange(int thread,
                                                                int share) {
  if (!shares_[share].ever_gated) return std::nullopt;
  switch (EnterGate(thread, share)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  LeaveGate(thread, share);
  return std::nullopt;
}

void ShareModel::FinishIfEmpty(int id) {
  ModelShare& share = shares_[id];
  if ((share.state == State::kClosing || share.abandoned) &&
      Attached(id) == 0) {
    share.state = State::kClosed;
  }
}

void ShareModel::DetachIdle(int share, bool gated_too) {
  for (size_t id = 0; id < handles_.size(); ++id) {
    const ModelHandle& handle = handles_[id];
    if (handle.share == share && handle.holder < 0 &&
        (gated_too || !handle.gated)) {
      DetachNow(static_cast<int>(id));
    }
  }
}

void ShareModel::JoinNewest(ModelHandle& handle, int share) {
  handle.share = share;
  handle.generation = shares_[share].generation;
  handle.gated = shares_[share].gated;
}

void ShareModel::DetachNow(int id) {
  const int share = handles_[id].share;
  handles_[id].share = -1;
  handles_[id].gated = false;
  FinishIfEmpty(share);
}

size_t ShareModel::Attached(int share) const {
  return static_cast<size_t>(
      std::count_if(handles_.begin(), handles_.end(),
                    [&](const ModelHandle& h) { return h.share == share; }));
}

// ---- Gates

int ShareModel::Depth(int thread, int share) const {
  return static_cast<int>(
      std::count_if(frames_[thread].begin(), frames_[thread].end(),
                    [&](const Frame& frame) { return frame.gate == share; }));
}

int ShareModel::GateOwner(int share) const {
  for (int thread = 0; thread < kProgramThreads; ++thread) {
    const int depth = Depth(thread, share);
    const bool paused =
        depth == 1 && IsStalled(thread) && frames_[thread].back().gate == share;
    if (depth > 0 && !paused) return thread;
  }
  return -1;
}

bool ShareModel::GatePaused(int share) const {
  for (int thread = 0; thread < kProgramThreads; ++thread) {
    if (IsStalled(thread) && frames_[thread].back().gate == share) return true;
  }
  return false;
}

bool ShareModel::InOtherGate(int thread, int share) const {
  return std::any_of(frames_[thread].begin(), frames_[thread].end(),
                     [&](const Frame& frame) {
                       return frame.gate >= 0 && frame.gate != share;
                     });
}

ShareModel::Entry ShareModel::EnterGate(int thread, int share) const {
  const int owner = GateOwner(share);
  if (owner == thread) return Entry::kNested;
  if (InOtherGate(thread, share)) return Entry::kRefused;
  return owner < 0 ? Entry::kEntered : Entry::kBlocks;
}

bool ShareModel::TryEnterGate(int thread, int share) const {
  const int owner = GateOwner(share);
  return owner < 0 || owner == thread;
}

void ShareModel::LeaveGate(int thread, int share) {
  if (Depth(thread, share) == 0 && shares_[share].state == State::kClosing) {
    DetachIdle(share, /*gated_too=*/true);
  }
}

// ---- Holders

bool ShareModel::MovesAtTransfer(const ModelHandle& handle) const {
  const ModelShare& share = shares_[handle.share];
  return share.state != State::kOpen || share.generation != handle.generation;
}

int ShareModel::GateFor(const ModelHandle& handle, Mode mode) const {
  if (handle.share < 0) return -1;
  const bool moves = mode == Mode::kTransfer && MovesAtTransfer(handle);
  return handle.gated || (moves && shares_[handle.share].ever_gated)
             ? handle.share
             : -1;
}

ShareModel::Entry ShareModel::Enter(int thread, int id, Mode mode, int& gate) {
  gate = -1;
  ModelHandle& handle = handles_[id];
  if (handle.holder == thread) {
    if (mode != Mode::kUse) return Entry::kRefused;
    ++handle.depth;
    return Entry::kNested;
  }
  if (handle.mode == Mode::kTransfer) return Entry::kRefused;
  const int needed = GateFor(handle, mode);
  if (needed >= 0) {
    const Entry entry = EnterGate(thread, needed);
    if (entry == Entry::kRefused || entry == Entry::kBlocks) return entry;
  }
  if (handle.holder >= 0) return Entry::kBlocks;
  gate = needed;
  handle.holder = thread;
  handle.mode = mode;
  handle.depth = 1;
  handle.cancelled = false;
  if (mode != Mode::kTransfer) return Entry::kEntered;
  if (handle.share < 0 || !MovesAtTransfer(handle)) return Entry::kEntered;
  const ModelShare& share = shares_[handle.share];
  if (share.state == State::kOpen) {
    JoinNewest(handle, handle.share);
  } else {
    DetachNow(id);
  }
  if (gate >= 0 && !handles_[id].gated) {
    LeaveGate(thread, gate);
    gate = -1;
  }
  return Entry::kEntered;
}

void ShareModel::Leave(int thread, int id, int gate) {
  ModelHandle& handle = handles_[id];
  if (handle.depth > 1) {
    --handle.depth;
    return;
  }
  if (handle.released) handle.dead = true;
  if (handle.share >= 0 &&
      (handle.released || shares_[handle.share].state == State::kClosing)) {
    DetachNow(id);
  }
  handle.holder = -1;
  handle.mode = Mode::kIdle;
  handle.depth = 0;
  if (gate >= 0) LeaveGate(thread, gate);
}

std::optional<ShareModel::Prediction> ShareModel::EnterBriefly(int thread,
                                                               int handle,
                                                               Mode mode) {
  int gate = -1;
  switch (Enter(thread, handle, mode, gate)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  Leave(thread, handle, gate);
  return std::nullopt;
}

// ---- Handles

ShareModel::Prediction ShareModel::CreateHandle(const Op& op) {
  if (slot_exists_[op.handle]) return Skip();
  slot_exists_[op.handle] = true;
  if (IsEasy(op.handle)) {
    slot_handle_[op.handle] = static_cast<int>(handles_.size());
    handles_.emplace_back().slot = op.handle;
  }
  return Returns(kOk);
}

bool ShareModel::CanRelease(int thread, int id) const {
  const ModelHandle& handle = handles_[id];
  if (handle.holder >= 0) return handle.holder == thread;
  const int gate = GateFor(handle, Mode::kChange);
  if (gate < 0 || GateOwner(gate) == thread) return true;
  // Occupied, it would have to wait, or to be kept for ever; see above.
  return GateOwner(gate) < 0 &&
         !(InOtherGate(thread, gate) && GatePaused(gate));
}

void ShareModel::Release(int thread, int id) {
  ModelHandle& handle = handles_[id];
  handle.released = true;
  if (handle.holder == thread) return;  // Its frame's end does it.
  const int gate = GateFor(handle, Mode::kChange);
  if (handle.share >= 0) DetachNow(id);
  handles_[id].dead = true;
  if (gate >= 0) LeaveGate(thread, gate);
}

ShareModel::Prediction ShareModel::DestroyHandle(const Op& op) {
  const int slot = op.handle;
  const int id = slot_handle_[slot];
  const bool drop = op.kind == OpKind::kDropAttachment;
  if (drop && (IsEasy(slot) || id < 0)) return Skip();
  if (id >= 0 && !CanRelease(op.thread, id)) return Skip();
  if (!drop && !IsEasy(slot)) {
    // curl_easy_cleanup comes after every use of the CURL*.
    for (const ModelHandle& handle : handles_) {
      if (handle.slot == slot && handle.holder >= 0) return Skip();
    }
  }
  slot_handle_[slot] = -1;
  if (!drop) slot_exists_[slot] = false;
  if (id >= 0) Release(op.thread, id);
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::Attach(const Op& op) {
  const int slot = op.handle;
  const int share = slot_share_[op.share];
  if (share < 0) return Skip();
  bool attached = false;
  if (IsEasy(slot)) {
    if (handles_[slot_handle_[slot]].share >= 0) {
      return Returns(absl::StatusCode::kAlreadyExists);
    }
  } else {
    bool busy = false;
    for (const ModelHandle& handle : handles_) {
      if (handle.slot != slot) continue;
      attached = attached || handle.share >= 0;
      busy = busy || handle.holder >= 0;
    }
    // Nothing knows any more that it is in use: the headers forbid it.
    if (busy && !attached) return Skip();
  }
  const bool gated =
      shares_[share].state != State::kClosed && shares_[share].gated;
  if (gated) {
    const Entry entry = EnterGate(op.thread, share);
    if (entry == Entry::kBlocks) return Skip();
    if (entry == Entry::kRefused) return Returns(kRefused);
  }
  Prediction prediction = Returns(kOk);
  if (attached) {
    prediction = Returns(absl::StatusCode::kAlreadyExists);
  } else {
    int gate = -1;
    int id = slot_handle_[slot];
    if (IsEasy(slot)) {
      const Entry entry = Enter(op.thread, id, Mode::kChange, gate);
      if (entry == Entry::kBlocks) return Skip();
      if (entry == Entry::kRefused) prediction = Returns(kRefused);
    }
    const bool entered = prediction.allowed.front() == kOk;
    if (entered && shares_[share].state != State::kOpen) {
      prediction = Returns(kRefused);
    } else if (entered) {
      if (!IsEasy(slot)) {
        // The Attachment of before, which has left its share, goes.
        if (id >= 0) handles_[id].dead = true;
        id = slot_handle_[slot] = static_cast<int>(handles_.size());
        handles_.emplace_back().slot = slot;
      }
      JoinNewest(handles_[id], share);
    }
    if (entered && IsEasy(slot)) Leave(op.thread, id, gate);
  }
  if (gated) LeaveGate(op.thread, share);
  return prediction;
}

ShareModel::Prediction ShareModel::Detach(const Op& op) {
  const int id = slot_handle_[op.handle];
  if (id < 0) return Returns(kRefused);
  int gate = -1;
  switch (Enter(op.thread, id, Mode::kChange, gate)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  const bool attached = handles_[id].share >= 0;
  if (attached) DetachNow(id);
  Leave(op.thread, id, gate);
  if (attached && !IsEasy(op.handle)) {
    handles_[id].dead = true;
    slot_handle_[op.handle] = -1;
  }
  return Returns(attached ? kOk : kRefused);
}

ShareModel::Prediction ShareModel::Duplicate(const Op& op) {
  int free_slot = 0;
  while (free_slot < kProgramEasies && slot_exists_[free_slot]) ++free_slot;
  if (free_slot == kProgramEasies) return Skip();
  const int id = slot_handle_[op.handle];
  int gate = -1;
  switch (Enter(op.thread, id, Mode::kChange, gate)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  ModelHandle copy;
  copy.slot = free_slot;
  const int share = handles_[id].share;
  absl::StatusCode code = kOk;
  if (share >= 0) {
    const ModelShare& source = shares_[share];
    Entry entry = Entry::kNested;
    if (source.gated && gate != share) entry = EnterGate(op.thread, share);
    if (entry == Entry::kBlocks) return Skip();
    if (source.state != State::kOpen) {
      // It leaves that share itself.
    } else if (entry == Entry::kRefused) {
      code = kRefused;
    } else {
      JoinNewest(copy, share);
    }
  }
  if (code == kOk) {
    slot_exists_[free_slot] = true;
    slot_handle_[free_slot] = static_cast<int>(handles_.size());
    handles_.push_back(copy);
  }
  Leave(op.thread, id, gate);
  return Returns(code);
}

ShareModel::Prediction ShareModel::BriefChange(const Op& op, Mode mode) {
  const int id = slot_handle_[op.handle];
  if (id < 0) return Returns(kRefused);
  return EnterBriefly(op.thread, id, mode).value_or(Returns(kOk));
}

// ---- Transfers and uses

ShareModel::Prediction ShareModel::Transfer(const Op& op) {
  const int id = slot_handle_[op.handle];
  if (id < 0) return Returns(kRefused);
  // The URL is set first.
  if (auto answer = EnterBriefly(op.thread, id, Mode::kUse)) return *answer;
  int gate = -1;
  switch (Enter(op.thread, id, Mode::kTransfer, gate)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  const bool easy = IsEasy(op.handle);
  if (op.kind == OpKind::kStalledTransfer) {
    frames_[op.thread].push_back({Frame::kStalled, id, gate});
    return {What::kStalls, {}, {}};
  }
  if (!easy && TransfersByItself(op.variant) && handles_[id].gated) {
    Leave(op.thread, id, gate);
    return Returns(kRefused);
  }
  if (op.kind == OpKind::kTransferWithCallback) {
    frames_[op.thread].push_back({Frame::kCallback, id, gate});
    return {What::kParks, {}, {}};
  }
  const Request request = RequestOf(op.variant);
  if (const int share = handles_[id].share;
      share >= 0 && shares_[share].kinds.Contains(LockData::kCookie) &&
      (request == Request::kCookie || request == Request::kProbeUnderLock)) {
    shares_[share].has_cookie = true;
  }
  Leave(op.thread, id, gate);
  return Returns(OutcomeOf(request, easy));
}

ShareModel::Prediction ShareModel::BeginUse(const Op& op) {
  if (!slot_exists_[op.handle]) return Skip();
  const int id = slot_handle_[op.handle];
  if (id < 0) return Returns(kRefused);
  int gate = -1;
  switch (Enter(op.thread, id, Mode::kUse, gate)) {
    case Entry::kBlocks:
      return Skip();
    case Entry::kRefused:
      return Returns(kRefused);
    case Entry::kEntered:
    case Entry::kNested:
      break;
  }
  frames_[op.thread].push_back({Frame::kUse, id, gate});
  return {What::kParks, {}, {}};
}

ShareModel::Prediction ShareModel::EndFrame(const Op& op) {
  if (!InFrame(op.thread)) return Skip();
  const Frame frame = frames_[op.thread].back();
  frames_[op.thread].pop_back();
  if (frame.type == Frame::kCallback && !CanCatchUp(op.thread, frame.handle)) {
    return Skip();
  }
  const ModelHandle& handle = handles_[frame.handle];
  Codes allowed = {kOk};
  if (frame.type == Frame::kCallback) {
    if (EndsInError(op.variant)) {
      allowed = {handle.cancelled ? absl::StatusCode::kCancelled
                                  : SinkErrorCode(IsEasy(handle.slot))};
    } else if (handle.cancelled) {
      // The answer may have been there already.
      allowed.push_back(absl::StatusCode::kCancelled);
    }
  }
  Leave(op.thread, frame.handle, frame.gate);
  return Returns(std::move(allowed));
}

ShareModel::Prediction ShareModel::Cancel(const Op& op) {
  const int id = slot_handle_[op.handle];
  if (id < 0 || handles_[id].holder < 0 ||
      handles_[id].mode != Mode::kTransfer) {
    return Returns(absl::StatusCode::kNotFound);
  }
  handles_[id].cancelled = true;
  return Returns(kOk);
}

ShareModel::Prediction ShareModel::ReleaseStalled() {
  bool any = false;
  for (int thread = 0; thread < kProgramThreads; ++thread) {
    if (!IsStalled(thread)) continue;
    frames_[thread].back().let_go = true;
    any = true;
  }
  return any ? Returns(kOk) : Skip();
}

bool ShareModel::CanCatchUp(int thread, int id) const {
  const ModelHandle& handle = handles_[id];
  if (handle.share < 0) return true;
  const ModelShare& share = shares_[handle.share];
  if (share.state != State::kOpen || share.generation == handle.generation ||
      !share.ever_gated) {
    return true;
  }
  const int owner = GateOwner(handle.share);
  return owner < 0 || owner == thread;
}

bool ShareModel::Settle(std::vector<Finished>& finished) {
  for (bool again = true; again;) {
    again = false;
    for (int thread = 0; thread < kProgramThreads; ++thread) {
      if (!IsStalled(thread)) continue;
      const Frame frame = frames_[thread].back();
      const bool cancelled = handles_[frame.handle].cancelled;
      if (!cancelled && !frame.let_go) continue;
      if (frame.gate >= 0) {
        const int owner = GateOwner(frame.gate);
        if (owner >= 0 && owner != thread) continue;
      }
      if (!CanCatchUp(thread, frame.handle)) return false;
      Codes allowed;
      if (frame.let_go) allowed.push_back(kOk);
      if (cancelled) allowed.push_back(absl::StatusCode::kCancelled);
      frames_[thread].pop_back();
      Leave(thread, frame.handle, frame.gate);
      finished.push_back({thread, std::move(allowed)});
      again = true;
    }
  }
  return true;
}

// ---- What can be seen

bool ShareModel::closed(int slot) const {
  return shares_[slot_share_[slot]].state == State::kClosed;
}
bool ShareModel::gated(int slot) const {
  return !closed(slot) && shares_[slot_share_[slot]].gated;
}
std::optional<bool> ShareModel::has_cookie(int slot) const {
  const int id = slot_share_[slot];
  if (id < 0 || shares_[id].state != State::kOpen || GateOwner(id) >= 0 ||
      !shares_[id].kinds.Contains(LockData::kCookie)) {
    return std::nullopt;
  }
  return shares_[id].has_cookie;
}
LockDataSet ShareModel::kinds(int slot) const {
  return closed(slot) ? LockDataSet() : shares_[slot_share_[slot]].kinds;
}

int ShareModel::share_of(int slot) const {
  const int id = slot_handle_[slot];
  if (id < 0 || handles_[id].share < 0) return kNone;
  for (int share = 0; share < kProgramShares; ++share) {
    if (slot_share_[share] == handles_[id].share) return share;
  }
  return kGone;
}

int ShareModel::live() const {
  std::set<std::pair<int, int>> all;
  for (size_t id = 0; id < shares_.size(); ++id) {
    if (shares_[id].state != State::kClosed) {
      all.emplace(static_cast<int>(id), shares_[id].generation);
    }
  }
  for (const ModelHandle& handle : handles_) {
    if (handle.share >= 0) all.emplace(handle.share, handle.generation);
  }
  return static_cast<int>(all.size());
}

int ShareModel::stalled() const {
  int count = 0;
  for (int thread = 0; thread < kProgramThreads; ++thread) {
    if (IsStalled(thread)) ++count;
  }
  return count;
}

}  // namespace curlshare::testing
