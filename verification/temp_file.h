// SPDX-License-Identifier: Apache-2.0
// A temporary file that is deleted together with its object.
//
// testonly.
#ifndef CURLSHARE_VERIFICATION_TEMP_FILE_H_
#define CURLSHARE_VERIFICATION_TEMP_FILE_H_

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace curlshare::testing {

// An empty file in the directory for temporary files. Not movable, since other
// objects hold its path. Thread-compatible.
class TempFile {
 public:
  TempFile()
      : path_((std::filesystem::temp_directory_path() / "curl_share.XXXXXX")
                  .string()) {
    const int fd = mkstemp(path_.data());
    if (fd >= 0) close(fd);
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile() { unlink(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace curlshare::testing

#endif  // CURLSHARE_VERIFICATION_TEMP_FILE_H_
