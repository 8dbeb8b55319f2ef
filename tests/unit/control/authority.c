/* SPDX-License-Identifier: Apache-2.0 */
#include "authority.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

char authority_cert[64], authority_key[64];
static char dir[40];

void authority_write(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_EXTENSION *ext =
		X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
	BIO *bio;

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	ASN1_TIME_set(X509_getm_notBefore(cert), 0);
	ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)4000000000);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
				   (const unsigned char *)"cleat nodes", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	X509_add_ext(cert, ext, -1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	bio = BIO_new_file(authority_cert, "w");
	PEM_write_bio_X509(bio, cert);
	BIO_free(bio);
	bio = BIO_new_file(authority_key, "w");
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	BIO_free(bio);
	X509_EXTENSION_free(ext);
	X509_free(cert);
	EVP_PKEY_free(key);
}

int authority_set_up(void **state)
{
	(void)state;
	memcpy(dir, "/tmp/cleat-sign-XXXXXX", 23);
	assert_non_null(mkdtemp(dir));
	snprintf(authority_cert, sizeof(authority_cert), "%s/ca.crt", dir);
	snprintf(authority_key, sizeof(authority_key), "%s/ca.key", dir);
	authority_write();
	return 0;
}

int authority_tear_down(void **state)
{
	(void)state;
	unlink(authority_cert);
	unlink(authority_key);
	rmdir(dir);
	return 0;
}
