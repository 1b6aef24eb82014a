// SPDX-License-Identifier: Apache-2.0
// Forms, by what the server took out of them.
#include "curlshare/easy/form.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curlshare/easy/easy.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "curlshare/verification/temp_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::curlshare::testing::TempFile;
using ::testing::HasSubstr;

void Write(const TempFile& file, absl::string_view text) {
  std::ofstream(file.path()) << text;
}

std::string Basename(const TempFile& file) {
  return file.path().substr(file.path().rfind('/') + 1);
}

class FormTest : public ::testing::Test {
 protected:
  // The parts that came: see HttpServer, /echo.
  std::string Send(Easy& easy, absl::string_view target = "/echo") {
    absl::StatusOr<Response> response = easy.Fetch(server_->url(target));
    EXPECT_OK(response.status());
    if (!response.ok()) return "";
    const size_t head = response->body.find("\n\n");
    return head == std::string::npos ? "" : response->body.substr(head + 2);
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
  Easy easy_ = Easy::Create().value();
};

TEST_F(FormTest, HasValuesAndFiles) {
  TempFile file;
  Write(file, "from a file");
  FormPart typed = FormPart::Content("json", "a.json", "{}");
  typed.content_type = "application/x-mine";
  FormPart renamed = FormPart::File("other", file.path());
  renamed.filename = "a \"name\".txt";
  ASSERT_OK(easy_.SetForm({{"empty", ""},
                           FormPart::File("file", file.path()),
                           typed,
                           renamed,
                           {"user", std::string("m\0e\r\n", 5)}}));
  const std::string expected = absl::StrCat(
      "empty|||\n",                                                        //
      "file|", Basename(file), "|application/octet-stream|from a file\n",  //
      "json|a.json|application/x-mine|{}\n",                               //
      "other|a %22name%22.txt|text/plain|from a file\n",                   //
      "user|||", std::string("m\0e\r\n", 5), "\n");
  EXPECT_EQ(Send(easy_), expected);
  // Once more; the file is read anew.
  EXPECT_EQ(Send(easy_), expected);
}

TEST_F(FormTest, MayHaveTheSameNameTwice) {
  ASSERT_OK(easy_.SetForm({{"a", "1"}, {"a", "2"}}));
  EXPECT_EQ(Send(easy_), "a|||1\na|||2\n");
}

TEST_F(FormTest, CanBeBig) {
  TempFile file;
  const std::string bytes(10 << 20, 'x');
  Write(file, bytes);
  ASSERT_OK(easy_.SetForm({FormPart::File("file", file.path())}));
  EXPECT_TRUE(Send(easy_) == absl::StrCat("file|", Basename(file),
                                          "|application/octet-stream|", bytes,
                                          "\n"));
}

TEST_F(FormTest, IsCopiedByDuplicateAndDroppedByReset) {
  TempFile file;
  Write(file, "text");
  ASSERT_OK(easy_.SetForm({{"a", "1"}, FormPart::File("file", file.path())}));
  const std::string expected = absl::StrCat("a|||1\nfile|", Basename(file),
                                            "|application/octet-stream|text\n");
  Easy copy = easy_.Duplicate().value();
  ASSERT_OK(easy_.Reset());
  EXPECT_EQ(Send(easy_), "");
  { const Easy gone = std::move(easy_); }
  EXPECT_EQ(Send(copy), expected);
  Easy second = copy.Duplicate().value();
  { const Easy gone = std::move(copy); }
  EXPECT_EQ(Send(second), expected);
  // libcurl's own copy would be an empty part.
  unlink(file.path().c_str());
  EXPECT_THAT(second.Duplicate().status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(file.path())));
  EXPECT_FALSE(second.Fetch(server_->url("/echo")).ok());
  // Another body has no files.
  ASSERT_OK(second.SetBody("text"));
  EXPECT_OK(second.Duplicate().status());
}

TEST_F(FormTest, TakesTurnsWithABody) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(easy_.SetForm({{"a", "1"}}));
    EXPECT_EQ(Send(easy_), "a|||1\n");
    ASSERT_OK(easy_.SetForm({{"b", "2"}}));
    EXPECT_EQ(Send(easy_), "b|||2\n");
    ASSERT_OK(easy_.SetBody("text"));
    absl::StatusOr<Response> response = easy_.Fetch(server_->url("/echo"));
    ASSERT_OK(response.status());
    EXPECT_THAT(response->body, HasSubstr("Content-Length: 4\n"));
    EXPECT_THAT(response->body, HasSubstr("\n\ntext"));
  }
}

TEST_F(FormTest, IsSentAgainAfterARedirect) {
  TempFile file;
  Write(file, "text");
  ASSERT_OK(easy_.SetFollowRedirects(3));
  ASSERT_OK(easy_.SetForm({FormPart::File("file", file.path())}));
  EXPECT_EQ(Send(easy_, "/redirect?to=/echo&code=307"),
            absl::StrCat("file|", Basename(file),
                         "|application/octet-stream|text\n"));
}

TEST_F(FormTest, MayBePut) {
  ASSERT_OK(easy_.SetMethod("PUT"));
  ASSERT_OK(easy_.SetForm({{"a", "1"}}));
  EXPECT_EQ(Send(easy_), "a|||1\n");
}

// libcurl takes the file's name from the path.
TEST_F(FormTest, APathIsNoWayIntoAHeader) {
  const std::string path = ::testing::TempDir() + "/a\r\nX-Evil: 1";
  std::ofstream(path) << "text";
  EXPECT_THAT(easy_.SetForm({FormPart::File("f", path)}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  FormPart renamed = FormPart::File("f", path);
  renamed.filename = "good";
  EXPECT_OK(easy_.SetForm({renamed}));
  EXPECT_EQ(Send(easy_), "f|good|application/octet-stream|text\n");
  EXPECT_EQ(std::remove(path.c_str()), 0);
}

// The body before stays.
TEST_F(FormTest, IsRefusedAsAWhole) {
  ASSERT_OK(easy_.SetForm({{"before", "1"}}));
  for (const char* breaks : {"\r\nX: y", "\n", "\r", "\t", "\x7f"}) {
    const std::string text = absl::StrCat("a", breaks);
    FormPart typed = {"a", "1"};
    typed.content_type = text;
    const FormPart named = {text, "1"};
    for (const FormPart& part :
         {named, typed, FormPart::Content("a", text, "1")}) {
      EXPECT_THAT(easy_.SetForm({{"a", "1"}, part}),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           HasSubstr("a control character")));
    }
  }
  EXPECT_THAT(easy_.SetForm({{std::string("a\0", 2), "1"}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(easy_.SetForm({FormPart::File("a", std::string("/dev\0", 5))}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
  EXPECT_THAT(
      easy_.SetForm({FormPart::File("a", "/")}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("directory")));
  EXPECT_THAT(
      easy_.SetForm({FormPart::File("a", "/no/such/file")}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/file")));
  FormPart both = FormPart::File("a", "/dev/null");
  both.content = "1";
  EXPECT_THAT(easy_.SetForm({both}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Send(easy_), "before|||1\n");
}

TEST_F(FormTest, ThatCannotBeReadIsRefused) {
  if (getuid() == 0) GTEST_SKIP() << "the superuser can read every file";
  TempFile file;
  ASSERT_EQ(chmod(file.path().c_str(), 0), 0);
  EXPECT_THAT(easy_.SetForm({FormPart::File("a", file.path())}),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace curlshare
