// SPDX-License-Identifier: Apache-2.0
// Certificates that sign themselves: one for servers on loopback, made when
// first asked for, and others for clients.
#ifndef CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_
#define CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_

#include <openssl/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace curlshare::testing {

struct SelfSignedCertificate {
  X509* certificate;
  EVP_PKEY* key;
  std::string pem;  // of the certificate
};

// For 127.0.0.1, localhost and *.curlshare.test, valid for a day from now; one
// for the life of the process, never freed. kInternal, with OpenSSL's text,
// where that fails. Safe to call from any thread.
const absl::StatusOr<SelfSignedCertificate>& GetSelfSignedCertificate();

struct PemCertificate {
  std::string certificate;
  std::string key;
};

// Another, with a name and a key of its own, each time.
absl::StatusOr<PemCertificate> NewPemCertificate(
    const std::string& common_name);

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_
