// SPDX-License-Identifier: Apache-2.0
// What a handle does for a transfer: which connections it has, by what the
// server counted.
#include "curlshare/share/internal/handle.h"

#include <curl/curl.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/internal/connection_pool.h"
#include "curlshare/share/internal/connection_references.h"
#include "curlshare/share/internal/ref_counted.h"
#include "curlshare/share/internal/share_core.h"
#include "curlshare/share/internal/this_thread.h"
#include "curlshare/share/kind_locks.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/lock_safety.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace curlshare::internal {
namespace {

using ::curlshare::testing::HttpServer;

size_t Drop(char*, size_t size, size_t count, void*) { return size * count; }

// As an Easy, as far as its connections go.
class LendingHandle : public Handle {
 public:
  using Handle::Handle;
  bool may_authenticate = false;
  bool own_connections = false;
  bool lets_go_at_once = true;
  int saved = 0;

 private:
  bool CanLetGoLater() const override { return true; }
  bool MayAuthenticateConnections() const override { return may_authenticate; }
  bool wants_own_connections() const override { return own_connections; }
  bool LetsGoAtOnce() const override { return lets_go_at_once; }
  bool SaveAnswers() override {
    ++saved;
    return true;
  }
};

struct Client {
  explicit Client(const std::string& url)
      : curl(curl_easy_init(), &curl_easy_cleanup),
        handle(new LendingHandle(curl.get())) {
    const curl_write_callback drop = &Drop;
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, drop),
              CURLE_OK);
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()), CURLE_OK);
  }
  ~Client() { Release(); }

  void Release() {
    if (!released) handle->Release();
    released = true;
  }

  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl;
  RefPtr<LendingHandle> handle;
  bool released = false;
};

class HandleTest : public ::testing::Test {
 protected:
  HandleTest() {
    const auto locks = std::make_shared<KindLocks>(nullptr);
    core_ = RefPtr<ShareCore>(new ShareCore(
        nullptr, /*detach_on_close=*/true, Concurrency::kAuto, {}, locks,
        ShareHandle::Create(LockData::kConnect, /*gated=*/false, locks)
            .value()));
  }
  ~HandleTest() override {
    EXPECT_OK(core_->Close(absl::InfiniteFuture(), /*cancel=*/false));
    EXPECT_EQ(GetThisThread().handles_held, 0);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  RefPtr<ShareCore> core_;
};

TEST_F(HandleTest, WithoutAShareItHasConnectionsOfItsOwn) {
  Client client(server_->url("/"));
  EXPECT_OK(client.handle->Perform());
  EXPECT_OK(client.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 1);
  EXPECT_EQ(core_->pool().stats().opened, 0u);
}

// What an idle handle keeps, another takes over: it saves what its owner may
// still ask for, and is idle again.
TEST_F(HandleTest, AnIdleHandlesConnectionIsTakenOver) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  EXPECT_EQ(core_->pool().stats().idle, 1u);
  EXPECT_OK(second.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 1);
  const bool lets_go = ConnectionReferences() != References::kNone;
  EXPECT_EQ(first.handle->saved, lets_go ? 1 : 0);
  EXPECT_OK(first.handle->Enter(Handle::Mode::kChange));
  first.handle->Leave();
}

// One in use does not give anything away.
TEST_F(HandleTest, ABusyHandlesConnectionIsNot) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  ASSERT_OK(first.handle->Enter(Handle::Mode::kUse));
  EXPECT_OK(second.handle->Perform());
  first.handle->Leave();
  EXPECT_EQ(server_->counts().connections, 2);
}

TEST_F(HandleTest, WhatLibcurlCannotTellApartIsNotShared) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  first.handle->own_connections = true;
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  EXPECT_OK(second.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2);
  EXPECT_EQ(core_->pool().stats().opened, 1u);
}

// Of what it kept before that it has no use: others have.
TEST_F(HandleTest, WhoseConnectionsAreItsOwnFromNowOnGivesTheOthersBack) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  first.handle->own_connections = true;
  EXPECT_OK(first.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2);
  EXPECT_EQ(core_->pool().stats().opened, 1u);
  if (ConnectionReferences() == References::kUnknown) return;
  EXPECT_OK(second.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2) << "it was not given back";
}

// Its owner may have changed what a transfer to let go depends on.
TEST_F(HandleTest, WhoCannotLetGoKeepsItsConnection) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  first.handle->lets_go_at_once = false;
  EXPECT_OK(second.handle->Perform());
  const int expected = ConnectionReferences() == References::kNone ? 1 : 2;
  EXPECT_EQ(server_->counts().connections, expected);
  EXPECT_EQ(first.handle->saved, 0);
  EXPECT_OK(first.handle->Perform());
  EXPECT_EQ(server_->counts().connections, expected);
}

// Where libcurl must not be called, its connections stay open, and nobody's.
TEST_F(HandleTest, WhatIsReleasedUnderALockKeepsItsConnection) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  EXPECT_EQ(core_->pool().stats().idle, 1u);
  KindLocks other(nullptr);
  KindLocks::Lock(nullptr, CURL_LOCK_DATA_DNS, CURL_LOCK_ACCESS_SINGLE, &other);
  first.Release();
  KindLocks::Unlock(nullptr, CURL_LOCK_DATA_DNS, &other);
  EXPECT_EQ(core_->attached(), 1u);
  EXPECT_EQ(core_->pool().stats().idle, 0u);
  EXPECT_OK(second.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2);
}

TEST_F(HandleTest, AFailedTransfersConnectionDoesNotComeBack) {
  Client client(server_->url("/delay?ms=10000"));
  ASSERT_OK(client.handle->Attach(core_));
  EXPECT_EQ(curl_easy_setopt(client.curl.get(), CURLOPT_TIMEOUT_MS, 50L),
            CURLE_OK);
  const absl::Status status = client.handle->Perform();
  EXPECT_EQ(GetEasyCode(status), CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(core_->pool().stats().idle, 0u);
  EXPECT_EQ(curl_easy_setopt(client.curl.get(), CURLOPT_URL,
                             server_->url("/").c_str()),
            CURLE_OK);
  EXPECT_OK(client.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2);
}

// It leaves the share, and its connections, to others, or takes them along:
// in any case both go on.
TEST_F(HandleTest, TransfersAfterItHasLeft) {
  Client first(server_->url("/"));
  Client second(server_->url("/"));
  ASSERT_OK(first.handle->Attach(core_));
  ASSERT_OK(second.handle->Attach(core_));
  EXPECT_OK(first.handle->Perform());
  EXPECT_OK(first.handle->Detach());
  EXPECT_EQ(core_->pool().stats().in_use, 0u);
  EXPECT_OK(second.handle->Perform());
  EXPECT_OK(first.handle->Perform());
  EXPECT_EQ(server_->counts().connections, 2);
}

}  // namespace
}  // namespace curlshare::internal
