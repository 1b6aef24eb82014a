// SPDX-License-Identifier: Apache-2.0
// What the server saw of a method and a body, in whatever order they were set.
#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "curlshare/easy/easy.h"
#include "curlshare/share/curl_status.h"
#include "curlshare/share/libcurl_info.h"
#include "curlshare/share/share.h"
#include "curlshare/testing/http_server.h"
#include "curlshare/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace curlshare {
namespace {

using ::curlshare::testing::HttpServer;
using ::curlshare::testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBytes[] = "xyzzy";

// A reader of kBytes, as users write them.
struct Text {
  size_t read = 0;
};
size_t ReadText(char* to, size_t size, size_t count, void* text) {
  size_t& read = static_cast<Text*>(text)->read;
  const size_t n = std::min(size * count, std::strlen(kBytes) - read);
  std::memcpy(to, kBytes + read, n);
  read += n;
  return n;
}
int SeekText(void* text, curl_off_t offset, int /*origin*/) {
  static_cast<Text*>(text)->read = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

// What /echo said.
struct Seen {
  std::string method;
  std::vector<std::string> head;
  std::string body;
};

Seen Parse(const Response& response) {
  const size_t end = response.body.find("\n\n");
  Seen seen;
  if (end == std::string::npos) return seen;
  seen.head = absl::StrSplit(response.body.substr(0, end), '\n');
  seen.method = std::vector<std::string>(absl::StrSplit(seen.head[0], ' '))[0];
  seen.body = response.body.substr(end + 2);
  return seen;
}

class RequestTest : public ::testing::Test {
 protected:
  Seen Fetch(Easy& easy, absl::string_view target = "/echo") {
    absl::StatusOr<Response> response = easy.Fetch(server_->url(target));
    EXPECT_OK(response.status());
    return response.ok() ? Parse(*response) : Seen();
  }

  const std::unique_ptr<HttpServer> server_ = HttpServer::Start().value();
};

// ---- Method x body x order x what was done before x Duplicate x Reset

enum class BodyKind { kNone, kBytes, kForm, kOwnForm, kReader, kSource };

std::string Name(BodyKind body) {
  switch (body) {
    case BodyKind::kNone:
      return "no body";
    case BodyKind::kBytes:
      return "bytes";
    case BodyKind::kForm:
      return "a form";
    case BodyKind::kOwnForm:
      return "a form of its own";
    case BodyKind::kReader:
      return "a reader";
    case BodyKind::kSource:
      return "a source";
  }
  return "";
}

bool IsRead(BodyKind body) {
  return body == BodyKind::kReader || body == BodyKind::kSource;
}

class RequestTableTest : public RequestTest {
 protected:
  using FormPtr = std::unique_ptr<curl_mime, decltype(&curl_mime_free)>;

  curl_mime* NewForm(Easy& easy) {
    const Easy::Use use = easy.BeginUse().value();
    forms_.emplace_back(curl_mime_init(easy.native_handle()), &curl_mime_free);
    curl_mimepart* const part = curl_mime_addpart(forms_.back().get());
    curl_mime_name(part, "field");
    curl_mime_data(part, kBytes, CURL_ZERO_TERMINATED);
    return forms_.back().get();
  }

  void SetBody(Easy& easy, BodyKind body) {
    switch (body) {
      case BodyKind::kNone:
        break;
      case BodyKind::kBytes:
        EXPECT_OK(easy.SetBody(kBytes));
        break;
      case BodyKind::kForm:
        EXPECT_OK(easy.SetOption<CURLOPT_MIMEPOST>(NewForm(easy)));
        break;
      case BodyKind::kOwnForm:
        EXPECT_OK(easy.SetForm({{"field", kBytes}}));
        break;
      case BodyKind::kReader:
        text_ = Text();
        EXPECT_OK(easy.SetOption<CURLOPT_INFILESIZE_LARGE>(
            sizeof_text_known_ ? static_cast<curl_off_t>(std::strlen(kBytes))
                               : curl_off_t{-1}));
        EXPECT_OK(easy.SetOption<CURLOPT_SEEKFUNCTION>(&SeekText, &text_));
        EXPECT_OK(easy.SetOption<CURLOPT_READFUNCTION>(&ReadText, &text_));
        break;
      case BodyKind::kSource:
        source_text_ = Text();
        EXPECT_OK(easy.SetSource(
            [this](absl::Span<char> to) {
              return ReadText(to.data(), 1, to.size(), &source_text_);
            },
            sizeof_text_known_ ? std::optional<int64_t>(std::strlen(kBytes))
                               : std::nullopt,
            [this] {
              source_text_ = Text();
              return absl::OkStatus();
            }));
        break;
    }
  }

  // `method` "": not set.
  void Check(Easy& easy, const std::string& method, BodyKind body) {
    text_ = Text();
    std::string expected = method;
    if (method.empty()) {
      expected = body == BodyKind::kNone ? "GET"
                 : IsRead(body)          ? "PUT"
                                         : "POST";
    }
    if (expected == "HEAD") {
      // Without an answer's body, nobody says what has come, but the length.
      absl::StatusOr<Response> response = easy.Fetch(server_->url("/echo"));
      EXPECT_OK(response.status());
      EXPECT_EQ(response->body, "");
      EXPECT_EQ(response->status, 200);
      EXPECT_EQ(*easy.GetInfo<CURLINFO_EFFECTIVE_METHOD>(), "HEAD");
      return;
    }
    const Seen seen = Fetch(easy);
    EXPECT_EQ(seen.method, expected);
    switch (body) {
      case BodyKind::kNone:
        EXPECT_EQ(seen.body, "");
        break;
      case BodyKind::kBytes:
      case BodyKind::kReader:
      case BodyKind::kSource:
        EXPECT_EQ(seen.body, kBytes);
        break;
      case BodyKind::kForm:
      case BodyKind::kOwnForm:
        // The server takes it apart.
        EXPECT_THAT(seen.head, Contains(HasSubstr("multipart/form-data")));
        break;
    }
    if (body == BodyKind::kNone &&
        (method == "POST" || method == "PUT" || method == "PATCH")) {
      EXPECT_THAT(seen.head, Contains("Content-Length: 0"));
    }
  }

  void CheckAll(Easy& easy, const std::string& method, BodyKind body) {
    Check(easy, method, body);
    Check(easy, method, body);  // once more
    absl::StatusOr<Easy> copy = easy.Duplicate();
    ASSERT_OK(copy.status());
    Check(*copy, method, body);
    if (body != BodyKind::kForm) {
      // The copy goes on being one when its source has gone.
      Easy source = std::move(easy);
      absl::StatusOr<Easy> second = copy->Duplicate();
      ASSERT_OK(second.status());
      { const Easy gone = std::move(source); }
      { const Easy gone = *std::move(copy); }
      Check(*second, method, body);
      easy = *std::move(second);
    }
    EXPECT_OK(easy.Reset());
    Check(easy, "", BodyKind::kNone);
  }

  bool sizeof_text_known_ = true;
  Text text_;
  Text source_text_;
  std::vector<FormPtr> forms_;
};

bool DropsBody(const std::string& method) {
  return method == "GET" || method == "HEAD";
}

TEST_F(RequestTableTest, IsWhatWasAskedForInAnyOrder) {
  const std::vector<std::string> methods = {"",    "GET",   "HEAD",  "POST",
                                            "PUT", "PATCH", "DELETE"};
  const std::vector<BodyKind> bodies = {BodyKind::kNone,   BodyKind::kBytes,
                                        BodyKind::kForm,   BodyKind::kOwnForm,
                                        BodyKind::kReader, BodyKind::kSource};
  for (const std::string earlier_method : {"", "POST", "PUT", "HEAD"}) {
    for (const BodyKind earlier_body : bodies) {
      for (const std::string& method : methods) {
        for (const BodyKind body : bodies) {
          for (const bool body_first : {false, true}) {
            SCOPED_TRACE(absl::StrCat(earlier_method, " and ",
                                      Name(earlier_body), "; then ",
                                      body_first ? Name(body) : method, " and ",
                                      body_first ? method : Name(body)));
            Easy easy = Easy::Create().value();
            if (!earlier_method.empty()) {
              ASSERT_OK(easy.SetMethod(earlier_method));
            }
            SetBody(easy, earlier_body);
            if (body_first) SetBody(easy, body);
            if (!method.empty()) {
              ASSERT_OK(easy.SetMethod(method));
            }
            if (!body_first) SetBody(easy, body);
            // The newest body, and what GET and HEAD have to say.
            std::string sent_method = method.empty() ? earlier_method : method;
            BodyKind sent = body == BodyKind::kNone ? earlier_body : body;
            const bool body_is_last = body == BodyKind::kNone
                                          ? method.empty()
                                          : !body_first || method.empty();
            if (DropsBody(sent_method)) {
              if (sent != BodyKind::kNone && body_is_last) {
                sent_method.clear();
              } else {
                sent = BodyKind::kNone;
              }
            }
            if (!body_first && body == BodyKind::kNone && DropsBody(method)) {
              sent = BodyKind::kNone;
            }
            CheckAll(easy, sent_method, sent);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST_F(RequestTableTest, AReaderOfUnknownSizeIsSentInChunks) {
  sizeof_text_known_ = false;
  for (const char* method : {"", "POST", "PUT", "PATCH"}) {
    for (const BodyKind body : {BodyKind::kReader, BodyKind::kSource}) {
      Easy easy = Easy::Create().value();
      if (*method != '\0') {
        ASSERT_OK(easy.SetMethod(method));
      }
      SetBody(easy, body);
      const Seen seen = Fetch(easy);
      EXPECT_EQ(seen.body, kBytes) << method;
      EXPECT_THAT(seen.head, Contains("Transfer-Encoding: chunked"));
    }
  }
}

TEST_F(RequestTableTest, NullTakesABodyAway) {
  Easy easy = Easy::Create().value();
  SetBody(easy, BodyKind::kForm);
  EXPECT_OK(easy.SetOption<CURLOPT_MIMEPOST>(nullptr));
  Check(easy, "", BodyKind::kNone);
  SetBody(easy, BodyKind::kReader);
  EXPECT_OK(easy.SetOption<CURLOPT_READFUNCTION>(nullptr, nullptr));
  Check(easy, "", BodyKind::kNone);
  SetBody(easy, BodyKind::kOwnForm);
  EXPECT_OK(easy.SetOption<CURLOPT_MIMEPOST>(nullptr));
  Check(easy, "", BodyKind::kNone);
  SetBody(easy, BodyKind::kSource);
  EXPECT_OK(easy.SetSource(nullptr));
  Check(easy, "", BodyKind::kNone);
  // What is not the body does not take it away.
  SetBody(easy, BodyKind::kBytes);
  EXPECT_OK(easy.SetOption<CURLOPT_READFUNCTION>(nullptr, nullptr));
  EXPECT_OK(easy.SetOption<CURLOPT_MIMEPOST>(nullptr));
  EXPECT_OK(easy.SetSource(nullptr));
  Check(easy, "", BodyKind::kBytes);
}

TEST_F(RequestTest, GetDropsTheBodyForGood) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetBody(kBytes));
  ASSERT_OK(easy.SetMethod("GET"));
  ASSERT_OK(easy.SetMethod("POST"));
  const Seen seen = Fetch(easy);
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.body, "");
}

TEST_F(RequestTest, ABodyMayHoldAnyBytes) {
  const std::string body("a\0b\r\n\r\nc", 8);
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    Easy easy = Easy::Create().value();
    ASSERT_OK(easy.SetMethod(method));
    ASSERT_OK(easy.SetBody(body));
    EXPECT_EQ(Fetch(easy).body, body) << method;
  }
}

TEST_F(RequestTest, ACustomNameLastsUntilTheNextMethod) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetOption<CURLOPT_CUSTOMREQUEST>("OPTIONS"));
  EXPECT_EQ(Fetch(easy).method, "OPTIONS");
  ASSERT_OK(easy.SetBody(kBytes));
  Seen seen = Fetch(easy);
  EXPECT_EQ(seen.method, "OPTIONS");
  EXPECT_EQ(seen.body, kBytes);
  ASSERT_OK(easy.SetMethod("PUT"));
  seen = Fetch(easy);
  EXPECT_EQ(seen.method, "PUT");
  EXPECT_EQ(seen.body, kBytes);
}

// ---- Standard input

// A pipe in its place, full of what must not be sent. Nobody closes its other
// end, so that who reads on waits.
class ScopedStandardInput {
 public:
  ScopedStandardInput() {
    EXPECT_EQ(pipe(pipe_), 0);
    EXPECT_EQ(write(pipe_[1], "STDIN", 5), 5);
    saved_ = dup(STDIN_FILENO);
    EXPECT_GE(dup2(pipe_[0], STDIN_FILENO), 0);
  }
  ~ScopedStandardInput() {
    if (saved_ >= 0) dup2(saved_, STDIN_FILENO);
    if (saved_ < 0) close(STDIN_FILENO);
    for (const int fd : {pipe_[0], pipe_[1], saved_}) {
      if (fd >= 0) close(fd);
    }
  }

 private:
  int pipe_[2] = {-1, -1};
  int saved_ = -1;
};

TEST_F(RequestTest, StandardInputIsNobodysBody) {
  const ScopedStandardInput standard_input;
  for (const char* first : {"", "POST", "PUT", "PATCH", "GET"}) {
    for (const char* second : {"POST", "PUT", "PATCH", "DELETE"}) {
      Easy easy = Easy::Create().value();
      ASSERT_OK(easy.SetTimeout(absl::Seconds(20)));
      if (*first != '\0') {
        ASSERT_OK(easy.SetMethod(first));
      }
      ASSERT_OK(easy.SetMethod(second));
      const Seen seen = Fetch(easy);
      EXPECT_EQ(seen.method, second);
      EXPECT_EQ(seen.body, "");
    }
  }
}

// ---- Redirects

struct Redirect {
  int code;
  const char* method;  // of the first request
  const char* then;    // of the second one
  bool with_body;      // the second one
};

TEST_F(RequestTableTest, RedirectsKeepMethodAndBodyTogether) {
  const bool new_libcurl =
      RunningLibcurl().version_num >= LibcurlVersion(8, 16, 0);
  std::vector<Redirect> redirects = {
      {303, "POST", "GET", false},
      {303, "PUT", "GET", false},
      {303, "GET", "GET", false},
  };
  if (new_libcurl) redirects.push_back({303, "PATCH", "GET", false});
  for (const int code : {301, 302}) {
    redirects.push_back({code, "POST", "GET", false});
    redirects.push_back({code, "PUT", "PUT", true});
    redirects.push_back({code, "PATCH", "PATCH", true});
    redirects.push_back({code, "GET", "GET", false});
  }
  for (const int code : {307, 308}) {
    for (const char* method : {"POST", "PUT", "PATCH"}) {
      redirects.push_back({code, method, method, true});
    }
  }
  for (const Redirect& redirect : redirects) {
    for (const BodyKind body :
         {BodyKind::kBytes, BodyKind::kReader, BodyKind::kSource}) {
      SCOPED_TRACE(
          absl::StrCat(redirect.code, " ", redirect.method, " ", Name(body)));
      Easy easy = Easy::Create().value();
      ASSERT_OK(easy.SetFollowRedirects(3));
      SetBody(easy, body);
      ASSERT_OK(easy.SetMethod(redirect.method));
      const Seen seen =
          Fetch(easy, absl::StrCat("/redirect?to=/echo&code=", redirect.code));
      EXPECT_EQ(seen.method, redirect.then);
      EXPECT_EQ(seen.body, redirect.with_body ? kBytes : "");
    }
  }
}

TEST_F(RequestTest, APostStaysOneWhereTheUserSaysSo) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetFollowRedirects(3));
  ASSERT_OK(easy.SetOption<CURLOPT_POSTREDIR>(CURL_REDIR_POST_301));
  ASSERT_OK(easy.SetBody(kBytes));
  Seen seen = Fetch(easy, "/redirect?to=/echo&code=301");
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.body, kBytes);
  seen = Fetch(easy, "/redirect?to=/echo&code=302");
  EXPECT_EQ(seen.method, "GET");
  EXPECT_EQ(seen.body, "");
  ASSERT_OK(easy.SetOption<CURLOPT_POSTREDIR>(0));
  seen = Fetch(easy, "/redirect?to=/echo&code=301");
  EXPECT_EQ(seen.method, "GET");
  EXPECT_EQ(seen.body, "");
}

// There is nothing to send from there.
TEST_F(RequestTest, APutIsNotResumedBeyondItsBody) {
  Easy easy = Easy::Create().value();
  ASSERT_OK(easy.SetMethod("PUT"));
  ASSERT_OK(easy.SetBody(kBytes));
  ASSERT_OK(easy.SetOption<CURLOPT_RESUME_FROM>(100));
  const absl::Status status = easy.Fetch(server_->url("/echo")).status();
  EXPECT_EQ(GetEasyCode(status), CURLE_READ_ERROR) << status;
  EXPECT_EQ(server_->counts().requests, 0);
  ASSERT_OK(easy.SetOption<CURLOPT_RESUME_FROM>(0));
  EXPECT_EQ(Fetch(easy).body, kBytes);
}

// A body that has been sent once is sent again where the server asks for that.
TEST_F(RequestTest, ABodyIsSentAgainForAuthentication) {
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    Easy easy = Easy::Create().value();
    ASSERT_OK(easy.SetMethod(method));
    ASSERT_OK(easy.SetBody(std::string(5'000, 'x')));
    ASSERT_OK(easy.SetOption<CURLOPT_USERPWD>("me:secret"));
    ASSERT_OK(easy.SetOption<CURLOPT_HTTPAUTH>(CURLAUTH_DIGEST));
    absl::StatusOr<Response> response =
        easy.Fetch(server_->url("/auth/digest?user=me"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->status, 200) << method;
  }
}

// ---- Which URL

TEST_F(RequestTest, OfAUrlAndACurluTheNewestCounts) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(
      curl_url(), &curl_url_cleanup);
  ASSERT_EQ(curl_url_set(url.get(), CURLUPART_URL,
                         server_->url("/echo?curlu").c_str(), 0),
            CURLUE_OK);
  const std::unique_ptr<Share> share = Share::Create().value();
  for (const bool shared : {false, true}) {
    Easy easy = Easy::Create().value();
    if (shared) {
      ASSERT_OK(easy.Attach(*share));
    }
    ASSERT_OK(easy.SetOption<CURLOPT_CURLU>(url.get()));
    absl::StatusOr<Response> response = easy.Fetch(server_->url("/bytes?n=3"));
    ASSERT_OK(response.status());
    EXPECT_EQ(response->body.size(), 3u);
    EXPECT_TRUE(absl::EndsWith(response->effective_url, "/bytes?n=3"));
    ASSERT_OK(easy.SetOption<CURLOPT_CURLU>(url.get()));
    std::string body;
    ASSERT_OK(easy.SetSink([&](absl::string_view piece) {
      absl::StrAppend(&body, piece);
      return absl::OkStatus();
    }));
    ASSERT_OK(easy.Perform());
    EXPECT_THAT(body, HasSubstr("/echo?curlu"));
    ASSERT_OK(easy.SetUrl(server_->url("/bytes?n=4")));
    body.clear();
    ASSERT_OK(easy.Perform());
    EXPECT_EQ(body.size(), 4u);
  }
}

// ---- Callbacks

// What is sent does not change half way.
TEST_F(RequestTest, DoesNotChangeInItsOwnTransfer) {
  Easy easy = Easy::Create().value();
  std::vector<absl::Status> refused;
  ASSERT_OK(easy.SetSink([&](absl::string_view) {
    refused = {easy.SetMethod("PUT"),
               easy.SetBody("x"),
               easy.SetOption<CURLOPT_MIMEPOST>(nullptr),
               easy.SetForm({}),
               easy.SetSource(nullptr),
               easy.SetOption<CURLOPT_READFUNCTION>(nullptr, nullptr)};
    return absl::OkStatus();
  }));
  ASSERT_OK(easy.SetUrl(server_->url("/")));
  ASSERT_OK(easy.Perform());
  EXPECT_EQ(refused.size(), 6u);
  for (const absl::Status& status : refused) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  }
}

// A form belongs to one handle at a time.
TEST_F(RequestTableTest, AFormThatIsRefusedLeavesTheOneBefore) {
  Easy easy = Easy::Create().value();
  Easy other = Easy::Create().value();
  curl_mime* const taken = NewForm(other);
  ASSERT_OK(other.SetOption<CURLOPT_MIMEPOST>(taken));
  for (const BodyKind body :
       {BodyKind::kForm, BodyKind::kOwnForm, BodyKind::kBytes}) {
    SetBody(easy, body);
    EXPECT_FALSE(easy.SetOption<CURLOPT_MIMEPOST>(taken).ok());
    Check(easy, "", body);
  }
}

// libcurl drops its copy of a form, which nobody has another time.
TEST_F(RequestTableTest, AFormThatIsRefusedTakesACopiedOneAway) {
  Easy other = Easy::Create().value();
  curl_mime* const taken = NewForm(other);
  ASSERT_OK(other.SetOption<CURLOPT_MIMEPOST>(taken));
  Easy easy = Easy::Create().value();
  SetBody(easy, BodyKind::kForm);
  Easy copy = easy.Duplicate().value();
  EXPECT_FALSE(copy.SetOption<CURLOPT_MIMEPOST>(taken).ok());
  Check(copy, "", BodyKind::kNone);
  Check(easy, "", BodyKind::kForm);
}

// A redirect that ended an upload has nothing to do with the next transfer.
TEST_F(RequestTableTest, IsTheSameAfterARedirect) {
  for (const BodyKind body :
       {BodyKind::kBytes, BodyKind::kReader, BodyKind::kSource}) {
    for (const bool known : {true, false}) {
      sizeof_text_known_ = known;
      Easy easy = Easy::Create().value();
      ASSERT_OK(easy.SetTimeout(absl::Seconds(60)));
      ASSERT_OK(easy.SetFollowRedirects(3));
      ASSERT_OK(easy.SetMethod("PUT"));
      SetBody(easy, body);
      EXPECT_EQ(Fetch(easy, "/redirect?to=/echo&code=303").method, "GET");
      Check(easy, "PUT", body);
    }
  }
}

}  // namespace
}  // namespace curlshare
