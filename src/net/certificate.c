/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests for certificates, and certificates made of them.
 *
 * A request is hostile: whoever may create a CertificateSigningRequest has written it. It is read
 * strictly (one PEM block and nothing around it, DER to its last byte, one attribute, one
 * extension, one name), so that what a person sees of it with other tools is what is judged here;
 * and the certificate takes nothing from it but the key and the one name that was read, so that
 * what was overlooked cannot get in.
 */
#include "net/certificate.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/tls-internal.h"

#define CURVE "prime256v1"
#define SERIAL_BYTES 16

/* ---- text ---- */

/* What was written into a BIO of memory, and frees it; NULL if that failed. */
static char *take_text(BIO *bio, bool is_written)
{
	char *bytes = NULL;
	long n = is_written ? BIO_get_mem_data(bio, &bytes) : 0;
	char *text = n > 0 ? xstrndup(bytes, (size_t)n) : NULL;

	if (n > 0)
		OPENSSL_cleanse(bytes, (size_t)n);
	BIO_free(bio);
	return text;
}

static char *key_text(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take_text(bio, bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
								   NULL) == 1);
}

static char *request_text(X509_REQ *req)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take_text(bio, bio && PEM_write_bio_X509_REQ(bio, req) == 1);
}

static char *certificate_text(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take_text(bio, bio && PEM_write_bio_X509(bio, cert) == 1);
}

static int fail(struct err *err, const char *what)
{
	return err_set(err, ERR_INTERNAL, "%s: %s", what, tls_reason());
}

/* ---- names ---- */

static bool is_uri(const unsigned char *bytes, size_t n)
{
	if (n == 0 || n > CERTIFICATE_URI_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (bytes[i] <= ' ' || bytes[i] >= 0x7f)
			return false;
	return true;
}

/* One name in a list, which the caller frees; NULL: out of memory. */
static GENERAL_NAMES *names_of(const char *uri)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	if (!names || !name || !text || ASN1_STRING_set(text, uri, (int)strlen(uri)) != 1)
		goto out;
	GENERAL_NAME_set0_value(name, GEN_URI, text);
	text = NULL;
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return names;
out:
	ASN1_IA5STRING_free(text);
	GENERAL_NAME_free(name);
	GENERAL_NAMES_free(names);
	return NULL;
}

/* ---- asking ---- */

static bool add_names(X509_REQ *req, const char *uri)
{
	GENERAL_NAMES *names = names_of(uri);
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	bool is_added = names &&
			X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 1,
					X509V3_ADD_DEFAULT) == 1 &&
			X509_REQ_add_extensions(req, extensions) == 1;

	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	GENERAL_NAMES_free(names);
	return is_added;
}

static char *make_request(EVP_PKEY *key, const char *uri)
{
	X509_REQ *req = X509_REQ_new();
	char *text = NULL;

	if (req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
	    X509_REQ_set_pubkey(req, key) == 1 && add_names(req, uri) &&
	    X509_REQ_sign(req, key, EVP_sha256()) > 0)
		text = request_text(req);
	X509_REQ_free(req);
	return text;
}

int certificate_ask(const char *uri, char **ret_key, char **ret_request, struct err *err)
{
	EVP_PKEY *key = NULL;
	char *request, *secret;

	ERR_clear_error();
	if (!is_uri((const unsigned char *)uri, strlen(uri)))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.320s' is no URI for a certificate",
			       uri);
	key = EVP_EC_gen(CURVE);
	request = key ? make_request(key, uri) : NULL;
	secret = request ? key_text(key) : NULL;
	EVP_PKEY_free(key);
	if (!secret) {
		free(request);
		return fail(err, "make a key and a request for a certificate");
	}
	*ret_key = secret;
	*ret_request = request;
	return 0;
}

/* ---- reading ---- */

static int refuse(struct err *err, const char *what)
{
	ERR_clear_error();
	return err_set(err, ERR_INVALID_ARGUMENT, "the request for a certificate %s", what);
}

static bool is_rest_blank(BIO *bio)
{
	char c;

	while (BIO_read(bio, &c, 1) == 1)
		if (c != '\n' && c != '\r' && c != ' ' && c != '\t')
			return false;
	return true;
}

/* NULL: it is not one block of PEM with one request in it. */
static X509_REQ *decode(const char *pem, size_t n)
{
	static const char begin[] = "-----BEGIN " PEM_STRING_X509_REQ "-----";
	BIO *bio = BIO_new_mem_buf(pem, (int)n);
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	X509_REQ *req = NULL;
	long n_der = 0;

	if (bio && n >= strlen(begin) && memcmp(pem, begin, strlen(begin)) == 0 &&
	    PEM_read_bio(bio, &name, &header, &der, &n_der) == 1 && header[0] == '\0' &&
	    str_is_equal(name, PEM_STRING_X509_REQ) && is_rest_blank(bio)) {
		const unsigned char *at = der;

		req = d2i_X509_REQ(NULL, &at, n_der);
		if (req && at != der + n_der) {
			X509_REQ_free(req);
			req = NULL;
		}
	}
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);
	return req;
}

static bool is_key_good(const EVP_PKEY *key)
{
	char curve[32] = "", encoding[32] = "";

	return key && EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve),
					      NULL) == 1 &&
	       EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding,
					      sizeof(encoding), NULL) == 1 &&
	       str_is_equal(curve, CURVE) && str_is_equal(encoding, OSSL_PKEY_EC_ENCODING_GROUP);
}

static int read_names(const GENERAL_NAMES *names, char **ret_uri, struct err *err)
{
	const ASN1_STRING *value;
	int type = 0;

	if (sk_GENERAL_NAME_num(names) != 1)
		return refuse(err, "asks for another number of names than one");
	value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, 0), &type);
	if (type != GEN_URI)
		return refuse(err, "asks for a name that is no URI");
	if (!is_uri(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)))
		return refuse(err, "asks for a URI that is empty, too long or not printable ASCII");
	*ret_uri = xstrndup((const char *)ASN1_STRING_get0_data(value),
			    (size_t)ASN1_STRING_length(value));
	return 0;
}

static int read_extensions(X509_REQ *req, char **ret_uri, struct err *err)
{
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	GENERAL_NAMES *names = NULL;
	int r;

	if (X509_REQ_get_attr_count(req) != 1)
		return refuse(err, "has no attribute with extensions, or others besides");
	extensions = X509_REQ_get_extensions(req);
	if (sk_X509_EXTENSION_num(extensions) != 1) {
		r = refuse(err, "asks for another number of extensions than one");
	} else {
		names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
		r = names ? read_names(names, ret_uri, err)
			  : refuse(err, "asks for an extension that is no subjectAltName");
	}
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return r;
}

static int check_request(X509_REQ *req, char **ret_uri, struct err *err)
{
	EVP_PKEY *key = X509_REQ_get0_pubkey(req);

	if (X509_REQ_get_version(req) != X509_REQ_VERSION_1)
		return refuse(err, "is of an unknown version");
	if (!is_key_good(key))
		return refuse(err, "has a key that is not on the named curve P-256");
	if (X509_REQ_verify(req, key) != 1)
		return refuse(err, "is not signed by its own key");
	if (X509_NAME_entry_count(X509_REQ_get_subject_name(req)) != 0)
		return refuse(err, "asks for a subject");
	return read_extensions(req, ret_uri, err);
}

static int read_request(const char *pem, size_t n, X509_REQ **ret_req, char **ret_uri,
			struct err *err)
{
	X509_REQ *req;

	ERR_clear_error();
	if (n > CERTIFICATE_REQUEST_MAX)
		return refuse(err, "is too large");
	req = decode(pem, n);
	if (!req)
		return refuse(err, "is not one PEM block with one CERTIFICATE REQUEST in it");
	if (check_request(req, ret_uri, err) < 0) {
		X509_REQ_free(req);
		return -1;
	}
	*ret_req = req;
	return 0;
}

int certificate_request_read(const char *pem, size_t n, char **ret_uri, struct err *err)
{
	X509_REQ *req;

	if (read_request(pem, n, &req, ret_uri, err) < 0)
		return -1;
	X509_REQ_free(req);
	return 0;
}

/* ---- the authority ---- */

struct authority {
	X509 *cert;
	EVP_PKEY *key;
	int64_t end_s;
};

static void authority_done(struct authority *a)
{
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
}

static int time_of(const ASN1_TIME *time, int64_t *ret_s)
{
	struct tm tm = { 0 };

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return -1;
	*ret_s = (int64_t)timegm(&tm);
	return 0;
}

static BIO *open_file(const char *path, struct err *err)
{
	BIO *bio = BIO_new_file(path, "r");

	if (!bio) {
		ERR_clear_error();
		err_os(err, ERR_FAILED_PRECONDITION, errno, "agents' authority: '%s'", path);
	}
	return bio;
}

/* OpenSSL would ask the terminal. */
static int no_passphrase(char *buf, int size, int is_writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)is_writing;
	(void)arg;
	return -1;
}

static int read_authority(const struct certificate_order *o, struct authority *a, struct err *err)
{
	BIO *bio = open_file(o->authority_file, err);

	if (!bio)
		return -1;
	a->cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if (!a->cert)
		return err_set(err, ERR_FAILED_PRECONDITION, "agents' authority '%s': %s",
			       o->authority_file, tls_reason());
	bio = open_file(o->authority_key_file, err);
	if (!bio)
		return -1;
	a->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if (!a->key)
		return err_set(err, ERR_FAILED_PRECONDITION, "key of agents' authority '%s': %s",
			       o->authority_key_file, tls_reason());
	return 0;
}

static int check_authority(const struct certificate_order *o, struct authority *a, struct err *err)
{
	if (X509_check_ca(a->cert) < 1)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is no authority's certificate",
			       o->authority_file);
	if (X509_check_private_key(a->cert, a->key) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' is not the key of the authority '%s'", o->authority_key_file,
			       o->authority_file);
	}
	if (time_of(X509_get0_notAfter(a->cert), &a->end_s) < 0 || a->end_s <= o->now_s)
		return err_set(err, ERR_FAILED_PRECONDITION, "agents' authority '%s' has expired",
			       o->authority_file);
	return 0;
}

/* ---- signing ---- */

static bool set_serial(X509 *cert)
{
	unsigned char bytes[SERIAL_BYTES];
	BIGNUM *number = NULL;
	bool is_set = false;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, always as long */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return is_set;
}

static bool add_text_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool is_added = extension && X509_add_ext(cert, extension, -1) == 1;

	X509_EXTENSION_free(extension);
	return is_added;
}

static bool add_name_extension(X509 *cert, const char *uri)
{
	GENERAL_NAMES *names = names_of(uri);
	bool is_added = names && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1,
						   X509V3_ADD_DEFAULT) == 1;

	GENERAL_NAMES_free(names);
	return is_added;
}

/* By which of two authorities of one name it was signed, while one follows the other. */
static bool add_authority_extension(X509 *cert, X509 *authority)
{
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(authority);
	AUTHORITY_KEYID *key_id;
	bool is_added;

	if (!id)
		return true;
	key_id = AUTHORITY_KEYID_new();
	if (!key_id)
		return false;
	key_id->keyid = ASN1_OCTET_STRING_dup(id);
	is_added = key_id->keyid && X509_add1_ext_i2d(cert, NID_authority_key_identifier, key_id, 0,
						      X509V3_ADD_DEFAULT) == 1;
	AUTHORITY_KEYID_free(key_id);
	return is_added;
}

static bool set_times(X509 *cert, int64_t begin_s, int64_t end_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)begin_s) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)end_s);
}

/* Of keys whose signature has its own digest (Ed25519): none. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
	return EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "EC") ? EVP_sha256() : NULL;
}

static char *make_certificate(const struct certificate_order *o, const struct authority *a,
			      EVP_PKEY *key, const char *uri, int64_t end_s)
{
	X509 *cert = X509_new();
	char *text = NULL;

	if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(a->cert)) == 1 &&
	    set_times(cert, o->now_s - o->early_s, end_s) && X509_set_pubkey(cert, key) == 1 &&
	    add_text_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_text_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	    add_text_extension(cert, NID_ext_key_usage, "serverAuth") &&
	    add_name_extension(cert, uri) && add_authority_extension(cert, a->cert) &&
	    X509_sign(cert, a->key, digest_for(a->key)) > 0)
		text = certificate_text(cert);
	X509_free(cert);
	return text;
}

int certificate_sign(const struct certificate_order *order, char **ret_pem, int64_t *ret_end_s,
		     struct err *err)
{
	struct authority a = { 0 };
	autofree char *uri = NULL;
	int64_t end_s = order->now_s + order->lifetime_s;
	X509_REQ *req = NULL;
	char *pem;
	int r = -1;

	if (read_request(order->request, order->n_request, &req, &uri, err) < 0 ||
	    read_authority(order, &a, err) < 0 || check_authority(order, &a, err) < 0)
		goto out;
	if (end_s > a.end_s)
		end_s = a.end_s;
	pem = make_certificate(order, &a, X509_REQ_get0_pubkey(req), uri, end_s);
	if (!pem) {
		fail(err, "sign a certificate");
		goto out;
	}
	*ret_pem = pem;
	*ret_end_s = end_s;
	r = 0;
out:
	authority_done(&a);
	X509_REQ_free(req);
	return r;
}

int certificate_times(const char *pem, int64_t *ret_begin_s, int64_t *ret_end_s, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
	int64_t begin_s, end_s;
	int r = -1;

	BIO_free(bio);
	if (cert && time_of(X509_get0_notBefore(cert), &begin_s) == 0 &&
	    time_of(X509_get0_notAfter(cert), &end_s) == 0) {
		*ret_begin_s = begin_s;
		*ret_end_s = end_s;
		r = 0;
	} else {
		err_set(err, ERR_INVALID_ARGUMENT, "no certificate: %s", tls_reason());
	}
	X509_free(cert);
	ERR_clear_error();
	return r;
}
