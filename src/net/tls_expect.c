/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a server's certificate must name, where that is a URI, and what becomes of handshakes that
 * fail.
 *
 * OpenSSL checks host names and addresses while it verifies a certificate, but no URIs. Ours are
 * checked at the same place: the callback of a context that stands for the whole verification runs
 * OpenSSL's own first and then looks at the names, so there is no moment at which a connection with
 * the wrong peer is open. What the session expects hangs on the session.
 */
#include <pthread.h>
#include <string.h>

#include <openssl/err.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "net/tls-internal.h"

struct expectation {
	char *uri;
	char *shared; /* a host name that does as well, of a certificate without a URI; or NULL */
	struct str found; /* whom a certificate names that was refused for it */
};

static int expectation_index = -1;

static void free_expectation(void *parent, void *p, CRYPTO_EX_DATA *data, int index, long argl,
			     void *argp)
{
	struct expectation *e = p;

	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (!e)
		return;
	free(e->uri);
	free(e->shared);
	str_done(&e->found);
	free(e);
}

static void make_index(void)
{
	expectation_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_expectation);
}

bool tls_is_uri(const char *name)
{
	return strstr(name, "://") != NULL;
}

int tls_expect_uri(SSL *ssl, const char *uri, const char *shared_host)
{
	struct expectation *e;

	if (expectation_index < 0)
		return -1;
	e = xcalloc(1, sizeof(*e));
	e->uri = xstrdup(uri);
	e->shared = xstrdup(shared_host);
	if (SSL_set_ex_data(ssl, expectation_index, e) == 1)
		return 0;
	free_expectation(NULL, e, NULL, 0, 0, NULL);
	return -1;
}

static bool is_uri(const GENERAL_NAME *name, const char *uri, bool *ret_is_it)
{
	int type = 0;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
	size_t n = strlen(uri);

	if (type != GEN_URI)
		return false;
	*ret_is_it = (size_t)ASN1_STRING_length(value) == n &&
		     memcmp(ASN1_STRING_get0_data(value), uri, n) == 0;
	return true;
}

static bool is_named(X509 *cert, const struct expectation *e)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool has_uri = false, is_found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		bool is_it = false;

		has_uri |= is_uri(sk_GENERAL_NAME_value(names, i), e->uri, &is_it);
		is_found |= is_it;
	}
	GENERAL_NAMES_free(names);
	if (!is_found && !has_uri && e->shared)
		is_found = X509_check_host(cert, e->shared, 0, TLS_HOST_FLAGS, NULL) == 1;
	return is_found;
}

static int verify(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct expectation *e = SSL_get_ex_data(ssl, expectation_index);
	int r = X509_verify_cert(store);

	(void)arg;
	if (r <= 0 || !e || is_named(X509_STORE_CTX_get0_cert(store), e))
		return r;
	tls_name_cert(X509_STORE_CTX_get0_cert(store), &e->found);
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

void tls_enable_uris(SSL_CTX *ssl)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, make_index);
	SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
}

/* ---- handshakes that failed ---- */

static const char *reason_of(long verify_result)
{
	switch (verify_result) {
	case X509_V_OK:
		return "handshake";
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return "name";
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return "expired";
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "not_yet";
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return "authority";
	default:
		return "other";
	}
}

static void tell_names(const SSL *ssl, struct err *why)
{
	const struct expectation *e = SSL_get_ex_data(ssl, expectation_index);

	if (e && SSL_get_verify_result(ssl) == X509_V_ERR_HOSTNAME_MISMATCH)
		err_set(why, ERR_UNAVAILABLE, "TLS: peer's certificate is not for %s, but for:%s",
			e->uri, e->found.len ? str_get(&e->found) : " nobody");
}

void tls_refused(struct tls *t, const SSL *ssl, const char *peer, struct err *why)
{
	const char *reason = reason_of(SSL_get_verify_result(ssl));
	unsigned n;

	if (expectation_index >= 0)
		tell_names(ssl, why);
	metric_add(METRIC_TLS_REFUSED, 1,
		   METRIC_ARGS(tls_is_server(t) ? "server" : "client", reason));
	if (tls_may_tell(t, &n))
		log_warn("TLS handshake failed", log_str("peer", peer), log_u64("count", n),
			 log_err(why));
}
