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

#include "absl/base/no_destructor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace curlshare::testing {
namespace {

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

absl::StatusOr<SelfSignedCertificate> Make() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslError("EVP_EC_gen");
  CertificatePtr certificate(X509_new());
  X509* const x509 = certificate.get();
  if (x509 == nullptr) return OpenSslError("X509_new");
  // Unlike those of other processes, which may have had the same port.
  uint32_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial)) !=
      1) {
    return OpenSslError("RAND_bytes");
  }
  X509_NAME* const name = X509_get_subject_name(x509);
  constexpr unsigned char kName[] = "curl_share test server";
  constexpr long kDay = 24L * 60 * 60;
  if (X509_set_version(x509, X509_VERSION_3) != 1 ||
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial) != 1 ||
      // An hour ago, for clocks that are late.
      X509_gmtime_adj(X509_getm_notBefore(x509), -60L * 60) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(x509), kDay) == nullptr ||
      X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, kName, -1,
                                 -1, 0) != 1 ||
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
  const BioPtr memory(BIO_new(BIO_s_mem()));
  if (memory == nullptr || PEM_write_bio_X509(memory.get(), x509) != 1) {
    return OpenSslError("PEM_write_bio_X509");
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return SelfSignedCertificate{certificate.release(), key.release(),
                               std::string(text, size)};
}

}  // namespace

const absl::StatusOr<SelfSignedCertificate>& GetSelfSignedCertificate() {
  static const absl::NoDestructor<absl::StatusOr<SelfSignedCertificate>> made(
      Make());
  return *made;
}

}  // namespace curlshare::testing
