// SPDX-License-Identifier: Apache-2.0
#include "curlshare/testing/self_signed_certificate.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/no_destructor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace curlshare::testing {
namespace {

// A deleter for std::unique_ptr that calls a function of OpenSSL.
template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Deleter<X509_free>>;
using ExtensionPtr =
    std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free>>;

absl::Status OpenSslError(absl::string_view call) {
  char text[256] = "no text";
  ERR_error_string_n(ERR_get_error(), text, sizeof(text));
  return absl::InternalError(absl::StrCat(call, ": ", text));
}

bool AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension != nullptr &&
         X509_add_ext(certificate, extension.get(), -1) == 1;
}

// Returns what `write`, one of PEM_write_bio_*, writes to its BIO.
absl::StatusOr<std::string> ToPem(absl::FunctionRef<int(BIO*)> write) {
  const BioPtr memory(BIO_new(BIO_s_mem()));
  if (memory == nullptr || write(memory.get()) != 1) {
    return OpenSslError("PEM_write_bio");
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return std::string(text, size);
}

// Makes a key and a certificate, which the caller owns.
absl::StatusOr<SelfSignedCertificate> Make(const std::string& common_name) {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslError("EVP_EC_gen");
  CertificatePtr certificate(X509_new());
  X509* const x509 = certificate.get();
  if (x509 == nullptr) return OpenSslError("X509_new");
  // Random, so that it differs from the serial number of another process's
  // server, which may have had the same port.
  uint32_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial)) !=
      1) {
    return OpenSslError("RAND_bytes");
  }
  X509_NAME* const name = X509_get_subject_name(x509);
  constexpr long kDay = 24L * 60 * 60;
  if (X509_set_version(x509, X509_VERSION_3) != 1 ||
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial) != 1 ||
      // Valid from an hour ago, for clocks that are slow.
      X509_gmtime_adj(X509_getm_notBefore(x509), -60L * 60) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(x509), kDay) == nullptr ||
      X509_NAME_add_entry_by_NID(
          name, NID_commonName, MBSTRING_UTF8,
          reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
          0) != 1 ||
      X509_set_issuer_name(x509, name) != 1 ||
      X509_set_pubkey(x509, key.get()) != 1 ||
      !AddExtension(x509, NID_basic_constraints, "critical,CA:TRUE") ||
      !AddExtension(x509, NID_subject_key_identifier, "hash") ||
      !AddExtension(x509, NID_subject_alt_name,
                    "IP:127.0.0.1,DNS:localhost,DNS:*.curlshare.test")) {
    return OpenSslError("X509_set");
  }
  if (X509_sign(x509, key.get(), EVP_sha256()) == 0) {
    return OpenSslError("X509_sign");
  }
  const absl::StatusOr<std::string> pem =
      ToPem([x509](BIO* bio) { return PEM_write_bio_X509(bio, x509); });
  if (!pem.ok()) return pem.status();
  return SelfSignedCertificate{certificate.release(), key.release(), *pem};
}

}  // namespace

const absl::StatusOr<SelfSignedCertificate>& GetSelfSignedCertificate() {
  static const absl::NoDestructor<absl::StatusOr<SelfSignedCertificate>> made(
      Make("curl_share test server"));
  return *made;
}

absl::StatusOr<PemCertificate> NewPemCertificate(
    const std::string& common_name) {
  const absl::StatusOr<SelfSignedCertificate> made = Make(common_name);
  if (!made.ok()) return made.status();
  const CertificatePtr certificate(made->certificate);
  const KeyPtr key(made->key);
  absl::StatusOr<std::string> key_pem = ToPem([&key](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0,
                                    nullptr, nullptr);
  });
  if (!key_pem.ok()) return key_pem.status();
  return PemCertificate{made->pem, *std::move(key_pem)};
}

}  // namespace curlshare::testing
