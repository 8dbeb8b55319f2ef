/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests for certificates: what is asked, read and signed; and requests that ask for more, made
 * here by hand.
 */
#include "check.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/certificate.h"

#define URI "cleat://node/n1"
#define DAY INT64_C(86400)
#define NOW INT64_C(1800000000) /* 2027 */

/* ---- an authority in files ---- */

struct fixture {
	char dir[40];
	char cert[64], key[64];
	EVP_PKEY *ca_key;
	X509 *ca;
};

static void add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
}

static X509 *make_authority(EVP_PKEY *key, bool is_ca, int64_t end_s)
{
	X509 *cert = X509_new();

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(NOW - DAY));
	ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)end_s);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
				   (const unsigned char *)"cleat nodes", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	add_extension(cert, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	add_extension(cert, NID_subject_key_identifier, "hash");
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	return cert;
}

static void write_files(struct fixture *f)
{
	BIO *bio = BIO_new_file(f->cert, "w");

	PEM_write_bio_X509(bio, f->ca);
	BIO_free(bio);
	bio = BIO_new_file(f->key, "w");
	PEM_write_bio_PrivateKey(bio, f->ca_key, NULL, NULL, 0, NULL, NULL);
	BIO_free(bio);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	memcpy(f->dir, "/tmp/cleat-cert-XXXXXX", 23);
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->cert, sizeof(f->cert), "%s/ca.crt", f->dir);
	snprintf(f->key, sizeof(f->key), "%s/ca.key", f->dir);
	f->ca_key = EVP_RSA_gen(2048); /* as helm's genCA makes them */
	f->ca = make_authority(f->ca_key, true, NOW + 30 * DAY);
	write_files(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlink(f->cert);
	unlink(f->key);
	rmdir(f->dir);
	X509_free(f->ca);
	EVP_PKEY_free(f->ca_key);
	free(f);
	return 0;
}

static struct certificate_order order_for(const struct fixture *f, const char *request)
{
	return (struct certificate_order){
		.request = request,
		.n_request = strlen(request),
		.authority_file = f->cert,
		.authority_key_file = f->key,
		.now_s = NOW,
		.lifetime_s = DAY,
		.early_s = 300,
	};
}

static X509 *parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

/* ---- what is good ---- */

TEST(what_is_asked_is_read_and_signed_for_a_server_of_that_name_alone)
{
	const struct fixture *f = *state;
	autofree char *key = NULL, *request = NULL, *uri = NULL, *pem = NULL;
	int64_t end_s, begin_s, until_s;
	struct certificate_order order;
	GENERAL_NAMES *names;
	struct err err;
	X509 *cert;

	ASSERT_OK(certificate_ask(URI, &key, &request, &err), &err);
	assert_non_null(strstr(key, "BEGIN PRIVATE KEY"));
	ASSERT_OK(certificate_request_read(request, strlen(request), &uri, &err), &err);
	ASSERT_STR(uri, URI);
	order = order_for(f, request);
	ASSERT_OK(certificate_sign(&order, &pem, &end_s, &err), &err);
	ASSERT_EQ(end_s, NOW + DAY);
	ASSERT_OK(certificate_times(pem, &begin_s, &until_s, &err), &err);
	ASSERT_EQ(begin_s, NOW - 300);
	ASSERT_EQ(until_s, end_s);
	cert = parse(pem);
	assert_int_equal(X509_verify(cert, f->ca_key), 1);
	assert_int_equal(X509_check_issued(f->ca, cert), X509_V_OK);
	assert_int_equal(X509_check_ca(cert), 0);
	assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 1);
	assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 0);
	assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(cert)), 0);
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	assert_int_equal(sk_GENERAL_NAME_num(names), 1);
	GENERAL_NAMES_free(names);
	X509_free(cert);
}

TEST(two_certificates_have_two_serial_numbers_and_keys)
{
	const struct fixture *f = *state;
	X509 *certs[2];
	struct err err;

	for (size_t i = 0; i < 2; i++) {
		autofree char *key = NULL, *request = NULL, *pem = NULL;
		struct certificate_order order;
		int64_t end_s;

		ASSERT_OK(certificate_ask(URI, &key, &request, &err), &err);
		order = order_for(f, request);
		ASSERT_OK(certificate_sign(&order, &pem, &end_s, &err), &err);
		certs[i] = parse(pem);
	}
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(certs[0]),
					      X509_get0_serialNumber(certs[1])),
			     0);
	assert_int_not_equal(EVP_PKEY_eq(X509_get0_pubkey(certs[0]), X509_get0_pubkey(certs[1])),
			     1);
	X509_free(certs[0]);
	X509_free(certs[1]);
}

TEST(none_outlives_its_authority)
{
	struct fixture *f = *state;
	autofree char *key = NULL, *request = NULL, *pem = NULL;
	struct certificate_order order;
	struct err err;
	int64_t end_s;

	X509_free(f->ca);
	f->ca = make_authority(f->ca_key, true, NOW + 3600);
	write_files(f);
	ASSERT_OK(certificate_ask(URI, &key, &request, &err), &err);
	order = order_for(f, request);
	ASSERT_OK(certificate_sign(&order, &pem, &end_s, &err), &err);
	ASSERT_EQ(end_s, NOW + 3600);
}

/* ---- authorities that are none ---- */

static void expect_no_authority(struct fixture *f, const char *words)
{
	autofree char *key = NULL, *request = NULL, *pem = NULL;
	struct certificate_order order;
	struct err err;
	int64_t end_s = 0;

	ASSERT_OK(certificate_ask(URI, &key, &request, &err), &err);
	order = order_for(f, request);
	ASSERT_ERR(certificate_sign(&order, &pem, &end_s, &err), &err, ERR_FAILED_PRECONDITION,
		   words);
	assert_null(pem);
}

TEST(what_is_wrong_with_the_authority_is_named)
{
	struct fixture *f = *state;
	EVP_PKEY *own = f->ca_key;
	BIO *bio;

	X509_free(f->ca);
	f->ca = make_authority(own, true, NOW - 1);
	write_files(f);
	expect_no_authority(f, "has expired");
	X509_free(f->ca);
	f->ca = make_authority(own, false, NOW + DAY);
	write_files(f);
	expect_no_authority(f, "is no authority");
	X509_free(f->ca);
	f->ca = make_authority(own, true, NOW + DAY);
	f->ca_key = EVP_EC_gen("P-256");
	write_files(f);
	expect_no_authority(f, "is not the key of the authority");
	EVP_PKEY_free(own);
	bio = BIO_new_file(f->key, "w");
	BIO_puts(bio, "nothing\n");
	BIO_free(bio);
	expect_no_authority(f, f->key);
	unlink(f->cert);
	expect_no_authority(f, "No such file");
}

/* ---- requests that ask for more ---- */

struct ask {
	const char *names;                 /* as openssl.cnf has them; NULL: none */
	int nid;                           /* another extension */
	const char *value, *subject, *key; /* key: "RSA", a curve, or NULL for P-256 */
	bool is_forged, has_password;
	const char *words; /* of the answer; NULL: it is good */
};

static EVP_PKEY *key_for(const struct ask *a)
{
	if (!a->key)
		return EVP_EC_gen("P-256");
	return str_is_equal(a->key, "RSA") ? EVP_RSA_gen(2048) : EVP_EC_gen(a->key);
}

static void push(STACK_OF(X509_EXTENSION) * list, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	sk_X509_EXTENSION_push(list, ext);
}

static char *make_request(const struct ask *a)
{
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	EVP_PKEY *key = key_for(a), *other = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes, *pem;
	long n;

	X509_REQ_set_pubkey(req, key);
	if (a->subject)
		X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
					   (const unsigned char *)a->subject, -1, -1, 0);
	if (a->names)
		push(list, NID_subject_alt_name, a->names);
	if (a->nid)
		push(list, a->nid, a->value);
	if (sk_X509_EXTENSION_num(list) > 0)
		X509_REQ_add_extensions(req, list);
	if (a->has_password)
		X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_ASC,
					  (const unsigned char *)"secret", -1);
	X509_REQ_sign(req, a->is_forged ? other : key, EVP_sha256());
	PEM_write_bio_X509_REQ(bio, req);
	n = BIO_get_mem_data(bio, &bytes);
	pem = xstrndup(bytes, (size_t)n);
	BIO_free(bio);
	X509_REQ_free(req);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return pem;
}

#define LONG_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* clang-format off */
static const struct ask asks[] = {
	{ .names = "URI:" URI },
	{ .names = "critical,URI:" URI },
	{ .words = "has no attribute" },
	{ .names = "URI:" URI ",DNS:agent.cleat.internal", .words = "another number of names" },
	{ .names = "URI:" URI ",URI:cleat://node/n2", .words = "another number of names" },
	{ .names = "DNS:n1", .words = "no URI" },
	{ .names = "IP:10.0.0.1", .words = "no URI" },
	{ .names = "email:a@example.com", .words = "no URI" },
	{ .names = "URI:" LONG_A LONG_A LONG_A LONG_A "a", .words = "too long" },
	{ .names = "URI:cleat://node/n1 x", .words = "not printable" },
	{ .names = "URI:" URI, .nid = NID_basic_constraints, .value = "critical,CA:TRUE", .words = "extensions than one" },
	{ .names = "URI:" URI, .nid = NID_ext_key_usage, .value = "clientAuth", .words = "extensions than one" },
	{ .names = "URI:" URI, .nid = NID_subject_alt_name, .value = "DNS:x", .words = "extensions than one" },
	{ .nid = NID_basic_constraints, .value = "CA:TRUE", .words = "no subjectAltName" },
	{ .names = "URI:" URI, .subject = "system:masters", .words = "asks for a subject" },
	{ .names = "URI:" URI, .key = "RSA", .words = "P-256" },
	{ .names = "URI:" URI, .key = "P-384", .words = "P-256" },
	{ .names = "URI:" URI, .is_forged = true, .words = "not signed by its own key" },
	{ .names = "URI:" URI, .has_password = true, .words = "others besides" },
};
/* clang-format on */

TEST(a_request_asks_for_one_uri_and_nothing_else)
{
	for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
		autofree char *pem = NULL, *uri = NULL;
		struct err err = { 0 };
		int r;

		pem = make_request(&asks[i]);
		r = certificate_request_read(pem, strlen(pem), &uri, &err);
		if (!asks[i].words) {
			ASSERT_OK(r, &err);
			ASSERT_STR(uri, URI);
			continue;
		}
		assert_int_equal(r, -1);
		assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
		assert_null(uri);
		if (!strstr(err.msg, asks[i].words))
			fail_msg("case %zu: no '%s' in: %s", i, asks[i].words, err.msg);
	}
}

static void expect_unreadable(const char *pem, size_t n)
{
	autofree char *uri = NULL;
	struct err err;

	ASSERT_ERR(certificate_request_read(pem, n, &uri, &err), &err, ERR_INVALID_ARGUMENT,
		   "not one PEM block");
	assert_null(uri);
}

TEST(what_is_no_single_block_of_pem_is_refused)
{
	autofree char *pem = make_request(&asks[0]);
	autofree char *twice = xasprintf("%s%s", pem, pem), *before = xasprintf("x\n%s", pem),
		      *after = xasprintf("%sx", pem), *blank = xasprintf("%s \n\n", pem);
	autofree char *large = xcalloc(1, CERTIFICATE_REQUEST_MAX + 2);
	autofree char *uri = NULL;
	struct err err;

	expect_unreadable(twice, strlen(twice));
	expect_unreadable(before, strlen(before));
	expect_unreadable(after, strlen(after));
	expect_unreadable("", 0);
	memset(large, '\n', CERTIFICATE_REQUEST_MAX + 1);
	memcpy(large, pem, strlen(pem));
	ASSERT_ERR(certificate_request_read(large, CERTIFICATE_REQUEST_MAX + 1, &uri, &err), &err,
		   ERR_INVALID_ARGUMENT, "too large");
	ASSERT_OK(certificate_request_read(blank, strlen(blank), &uri, &err), &err);
	for (size_t n = 0; n < strlen(pem) - 1; n++) /* cut off anywhere */
		expect_unreadable(pem, n);
}

TEST(a_name_that_no_certificate_can_have_is_not_asked_for)
{
	char *key = NULL, *request = NULL;
	struct err err;

	ASSERT_ERR(certificate_ask("", &key, &request, &err), &err, ERR_INVALID_ARGUMENT, "no URI");
	ASSERT_ERR(certificate_ask("cleat://node/a b", &key, &request, &err), &err,
		   ERR_INVALID_ARGUMENT, "no URI");
	assert_null(key);
	assert_null(request);
}

#define AUTHORITY_UNIT(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(AUTHORITY_UNIT(what_is_asked_is_read_and_signed_for_a_server_of_that_name_alone),
	  AUTHORITY_UNIT(two_certificates_have_two_serial_numbers_and_keys),
	  AUTHORITY_UNIT(none_outlives_its_authority),
	  AUTHORITY_UNIT(what_is_wrong_with_the_authority_is_named),
	  UNIT(a_request_asks_for_one_uri_and_nothing_else),
	  UNIT(what_is_no_single_block_of_pem_is_refused),
	  UNIT(a_name_that_no_certificate_can_have_is_not_asked_for))
