// SPDX-License-Identifier: Apache-2.0
// Wrong calls, each with what comes of it: those of the table in
// docs/thread_safety.md that no other test has.
#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/attachment.h"
#include "curlshare/share/lock_data.h"
#include "curlshare/share/share.h"
#include "curlshare/share/share_handle.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using CurlPtr = std::unique_ptr<CURL, CurlDeleter>;

class MisuseTest : public ::testing::Test {
 protected:
  ~MisuseTest() override {
    share_ = nullptr;
    other_ = nullptr;
    EXPECT_EQ(ShareHandle::live_count(), live_before_) << "a CURLSH leaked";
  }

  const int64_t live_before_ = ShareHandle::live_count();
  std::unique_ptr<Share> share_ = Share::Create().value();
  std::unique_ptr<Share> other_ = Share::Create().value();
};

// An Easy and an Attachment are two ways to one CURL*.
TEST_F(MisuseTest, AHandleIsAttachedOnceHoweverItIsReached) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.Attach(*share_));
  EXPECT_THAT(
      other_->Attach(easy.native_handle()).status(),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(share_->name())));
  EXPECT_THAT(easy.Attach(*share_), StatusIs(absl::StatusCode::kAlreadyExists,
                                             HasSubstr(share_->name())));
  EXPECT_EQ(share_->attached(), 1U);
  EXPECT_EQ(other_->attached(), 0U);
}

TEST_F(MisuseTest, ATransferEndsOnce) {
  const CurlPtr curl(curl_easy_init());
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  auto transfer = attachment->BeginTransfer();
  ASSERT_OK(transfer.status());
  EXPECT_OK(transfer->End(CURLE_OK));
  EXPECT_THAT(transfer->End(CURLE_OK),
              StatusIs(kPrecondition, HasSubstr("ended already")));
  EXPECT_EQ(transfer->handle(), nullptr);
  EXPECT_FALSE(transfer->cancelled());
  EXPECT_OK(attachment->BeginTransfer().status()) << "the handle is free";
}

TEST_F(MisuseTest, WithinItsOwnUseAHandleNeitherLeavesNorTransfers) {
  const CurlPtr curl(curl_easy_init());
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.Attach(*share_));
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    auto easy_use = easy.BeginUse();
    ASSERT_OK(easy_use.status());
    for (const absl::Status& status :
         {attachment->Detach(), attachment->Perform(),
          attachment->BeginTransfer().status(), easy.Detach(), easy.Perform(),
          easy.Reset(), easy.SetBody("x"), easy.SetSink(nullptr),
          easy.Duplicate().status()}) {
      EXPECT_THAT(status, StatusIs(kPrecondition, HasSubstr("in use")));
    }
    EXPECT_EQ(share_->attached(), 2U);
  }
  EXPECT_OK(attachment->Detach());
  EXPECT_OK(easy.Detach());
}

TEST_F(MisuseTest, AHandleThatWasTakenOutBehindTheLibraryStillCloses) {
  const CurlPtr curl(curl_easy_init());
  auto attachment = share_->Attach(curl.get());
  ASSERT_OK(attachment.status());
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    EXPECT_EQ(curl_easy_setopt(curl.get(), CURLOPT_SHARE, nullptr), CURLE_OK);
  }
  EXPECT_EQ(share_->attached(), 1U) << "the library cannot know";
  EXPECT_OK(share_->Close());
  EXPECT_FALSE(attachment->attached());
}

TEST_F(MisuseTest, ACloseWithinAUseNeedsADeadline) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.Attach(*share_));
  {
    auto use = easy.BeginUse();
    ASSERT_OK(use.status());
    EXPECT_THAT(share_->Close(),
                StatusIs(kPrecondition, HasSubstr("Pass a deadline")));
    EXPECT_THAT(share_->CloseNow(),
                StatusIs(kPrecondition, HasSubstr("Pass a deadline")));
  }
  EXPECT_OK(share_->Close());
}

// Noticed where it takes a share's lock, on a thread that is in nothing else of
// this library's.
TEST_F(MisuseTest, ACallOutsideItsScopesIsCounted) {
  ShareOptions options;
  options.lock_data = LockData::kCookie;
  const auto share = Share::Create(options).value();
  const CurlPtr curl(curl_easy_init());
  auto attachment = share->Attach(curl.get());
  ASSERT_OK(attachment.status());
  const auto read_cookies = [&curl] {
    curl_slist* cookies = nullptr;
    EXPECT_EQ(curl_easy_getinfo(curl.get(), CURLINFO_COOKIELIST, &cookies),
              CURLE_OK);
    curl_slist_free_all(cookies);
  };
  {
    auto use = attachment->BeginUse();
    ASSERT_OK(use.status());
    read_cookies();
    auto transfer = attachment->BeginTransfer();
    EXPECT_THAT(transfer.status(), StatusIs(kPrecondition));
  }
  EXPECT_OK(share->ImportCookies("h.test\tFALSE\t/\tFALSE\t0\ta\tb\n"));
  EXPECT_OK(share->ExportCookies().status());
  EXPECT_OK(share->Flush(LockData::kCookie));
  EXPECT_OK(share->Enable(LockData::kDns));
  {
    Easy easy = Easy::Create().value();
    ASSERT_OK(easy.Attach(*share));
    EXPECT_OK(easy.SetOption<CURLOPT_COOKIELIST>("ALL"));
  }
  EXPECT_EQ(share->stats().outside_scopes, 0u);
  read_cookies();
  EXPECT_EQ(share->stats().outside_scopes, 1u);
  if (!share->gated()) {
    TransferOptions any_thread;
    any_thread.any_thread = true;
    auto transfer = attachment->BeginTransfer(std::move(any_thread));
    ASSERT_OK(transfer.status());
    read_cookies();
  }
  EXPECT_OK(share->Close());
  EXPECT_EQ(share->stats().outside_scopes, 1u);
}

// ---- The table itself

std::string Read(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// Every "[`Test`](../path)" of the table is a test of that file.
TEST(MisuseTable, NamesTestsThatExist) {
  std::istringstream lines(Read("docs/thread_safety.md"));
  bool inside = false;
  int found = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("## ", 0) == 0) inside = line == "## Misuse";
    if (!inside) continue;
    size_t end = 0;
    for (size_t begin = 0; (begin = line.find("[`", end)) != line.npos;) {
      const size_t middle = line.find("`](../", begin);
      ASSERT_NE(middle, line.npos) << line;
      end = line.find(')', middle);
      ASSERT_NE(end, line.npos) << line;
      const std::string name = line.substr(begin + 2, middle - begin - 2);
      const std::string path = line.substr(middle + 6, end - middle - 6);
      EXPECT_THAT(Read(path), HasSubstr(", " + name + ") {"));
      ++found;
    }
  }
  EXPECT_GT(found, 20);
}

}  // namespace
}  // namespace curlshare
