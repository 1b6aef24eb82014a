// SPDX-License-Identifier: Apache-2.0
// Self-signed certificates for tests: one for all servers of the process, and
// any number for clients. testonly.
#ifndef CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_
#define CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_

#include <openssl/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace curlshare::testing {

// A certificate and its key, as objects of OpenSSL. Does not free them.
// Thread-compatible; whoever uses the OpenSSL objects on several threads must
// not change them.
struct SelfSignedCertificate {
  X509* certificate;
  EVP_PKEY* key;
  std::string pem;  // of the certificate
};

// Returns the certificate of the test servers, for 127.0.0.1, localhost and
// *.curlshare.test. The first call makes it, valid for one day; it is never
// freed. kInternal, with OpenSSL's error text, if it could not be made. Safe to
// call from any thread.
const absl::StatusOr<SelfSignedCertificate>& GetSelfSignedCertificate();

// A certificate and its private key in PEM. Thread-compatible: a plain value.
struct PemCertificate {
  std::string certificate;
  std::string key;
};

// Returns a new self-signed certificate with `common_name` and a new key, valid
// for one day. kInternal as above. Safe to call from any thread.
absl::StatusOr<PemCertificate> NewPemCertificate(
    const std::string& common_name);

}  // namespace curlshare::testing

#endif  // CURLSHARE_TESTING_SELF_SIGNED_CERTIFICATE_H_
