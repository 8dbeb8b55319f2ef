/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts. Certificates of service meshes, cert-manager and kubelet rotate by renaming files
 * under a running process, so a context remembers what its files looked like (inode, size, mtime)
 * and is made anew when that changed. This is looked at when a connection is made, not by inotify:
 * it needs no descriptor, works for any number of symlinks on the way, and a file that changes
 * while nobody connects costs nothing. A live connection keeps the context it began with.
 */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/tls-internal.h"

#define RECHECK_NS NS_PER_S
#define TELL_NS (60 * NS_PER_S)

struct file_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct tls {
	atomic_uint refs;
	bool is_server, skip_verify, needs_1_3, cert_later;
	char *cert_file, *key_file, *ca_file;
	char *cert_data, *key_data, *ca_data;
	char *server_name;
	SSL_CTX *ssl;
	struct file_mark marks[3];
	int64_t checked_ns;
	int64_t told_ns; /* of handshakes that failed; 0: never */
	unsigned n_untold;
};

const char *tls_reason(void)
{
	static _Thread_local char text[160];
	unsigned long code = ERR_get_error();

	ERR_clear_error();
	if (code == 0)
		return "unknown reason";
	if (ERR_reason_error_string(code))
		return ERR_reason_error_string(code);
	ERR_error_string_n(code, text, sizeof(text));
	return text;
}

static void mark_file(const char *path, struct file_mark *ret_mark)
{
	struct stat st = { 0 };

	*ret_mark = (struct file_mark){ 0 };
	if (path && stat(path, &st) == 0)
		*ret_mark = (struct file_mark){ st.st_dev, st.st_ino, st.st_size, st.st_mtim };
}

static void mark_files(const struct tls *t, struct file_mark ret_marks[3])
{
	mark_file(t->cert_file, &ret_marks[0]);
	mark_file(t->key_file, &ret_marks[1]);
	mark_file(t->ca_file, &ret_marks[2]);
}

static BIO *open_pem(const char *file, const char *data, const char *what, struct err *err)
{
	BIO *bio = data ? BIO_new_mem_buf(data, -1) : BIO_new_file(file, "r");

	if (!bio) {
		ERR_clear_error();
		err_os(err, ERR_FAILED_PRECONDITION, errno, "%s file '%s'", what, file);
	}
	return bio;
}

static int fail_pem(struct err *err, const char *what, const char *file)
{
	const char *reason = tls_reason();

	return err_set(err, ERR_FAILED_PRECONDITION, "%s %s%s%s: %s", what,
		       file ? "'" : "from memory", file ? file : "", file ? "'" : "", reason);
}

static int check_times(const X509 *cert, const char *file, struct err *err)
{
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "certificate '%s' has expired",
			       file ? file : "in memory");
	return 0;
}

/* The leaf and then whatever chain follows it in the same PEM. */
static int load_cert(SSL_CTX *ssl, const struct tls *t, struct err *err)
{
	BIO *bio = open_pem(t->cert_file, t->cert_data, "certificate", err);
	X509 *cert = NULL;
	int r = -1;

	if (!bio)
		return -1;
	cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
	if (!cert || SSL_CTX_use_certificate(ssl, cert) != 1) {
		fail_pem(err, "certificate", t->cert_file);
		goto out;
	}
	if (check_times(cert, t->cert_file, err) < 0)
		goto out;
	for (X509 *ca = NULL; (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;)
		if (SSL_CTX_add0_chain_cert(ssl, ca) != 1)
			X509_free(ca);
	ERR_clear_error();
	r = 0;
out:
	X509_free(cert);
	BIO_free(bio);
	return r;
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

static int load_key(SSL_CTX *ssl, const struct tls *t, struct err *err)
{
	BIO *bio = open_pem(t->key_file, t->key_data, "key", err);
	EVP_PKEY *key = NULL;
	int r = 0;

	if (!bio)
		return -1;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (!key)
		r = fail_pem(err, "key", t->key_file);
	else if (SSL_CTX_use_PrivateKey(ssl, key) != 1 || SSL_CTX_check_private_key(ssl) != 1)
		r = fail_pem(err, "key does not match the certificate:", t->key_file);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return r;
}

static int load_ca(SSL_CTX *ssl, const struct tls *t, struct err *err)
{
	BIO *bio = open_pem(t->ca_file, t->ca_data, "CA", err);
	X509_STORE *store = SSL_CTX_get_cert_store(ssl);
	unsigned n = 0;

	if (!bio)
		return -1;
	for (X509 *ca = NULL; (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL; n++) {
		X509_STORE_add_cert(store, ca);
		if (t->is_server)
			SSL_CTX_add_client_CA(ssl, ca);
		X509_free(ca);
	}
	BIO_free(bio);
	if (n == 0)
		return fail_pem(err, "no CA certificate in", t->ca_file);
	ERR_clear_error();
	return 0;
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		     const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char h2[] = { 2, 'h', '2' };
	unsigned char *chosen = NULL;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, h2, sizeof(h2), in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int load_all(SSL_CTX *ssl, const struct tls *t, struct err *err)
{
	bool has_cert = t->cert_file || t->cert_data, has_ca = t->ca_file || t->ca_data;

	if (has_cert && (load_cert(ssl, t, err) < 0 || load_key(ssl, t, err) < 0))
		return -1;
	if (has_ca && load_ca(ssl, t, err) < 0)
		return -1;
	if (t->is_server) {
		SSL_CTX_set_alpn_select_cb(ssl, choose_h2, NULL);
		if (has_ca)
			SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
					   NULL);
		return 0;
	}
	if (!has_ca && !t->skip_verify)
		SSL_CTX_set_default_verify_paths(ssl);
	SSL_CTX_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3);
	SSL_CTX_set_verify(ssl, t->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	tls_enable_uris(ssl);
	return 0;
}

static int build_context(const struct tls *t, SSL_CTX **ret_ssl, struct err *err)
{
	SSL_CTX *ssl = SSL_CTX_new(t->is_server ? TLS_server_method() : TLS_client_method());

	if (!ssl)
		return err_set(err, ERR_INTERNAL, "TLS context: %s", tls_reason());
	SSL_CTX_set_min_proto_version(ssl, t->needs_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ssl, 0);
	if (load_all(ssl, t, err) < 0) {
		SSL_CTX_free(ssl);
		return -1;
	}
	*ret_ssl = ssl;
	return 0;
}

int tls_new(const struct tls_options *opts, struct tls **ret_tls, struct err *err)
{
	struct tls *t = NULL;

	if (opts->is_server && !opts->cert_later && !(opts->cert_file || opts->cert_data))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "a TLS server needs a certificate and a key");
	if (!(opts->cert_file || opts->cert_data) != !(opts->key_file || opts->key_data))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "a certificate and its key are only useful together");
	t = xcalloc(1, sizeof(*t));
	*t = (struct tls){
		.refs = 1,
		.is_server = opts->is_server,
		.skip_verify = opts->skip_verify,
		.needs_1_3 = opts->needs_1_3,
		.cert_later = opts->cert_later,
		.cert_file = xstrdup(opts->cert_file),
		.key_file = xstrdup(opts->key_file),
		.ca_file = xstrdup(opts->ca_file),
		.cert_data = xstrdup(opts->cert_data),
		.key_data = xstrdup(opts->key_data),
		.ca_data = xstrdup(opts->ca_data),
		.server_name = xstrdup(opts->server_name),
		.checked_ns = clock_now_ns(),
	};
	mark_files(t, t->marks);
	if (build_context(t, &t->ssl, err) < 0) {
		tls_unref(t);
		return -1;
	}
	*ret_tls = t;
	return 0;
}

static void forget_key(struct tls *t)
{
	if (t->key_data)
		OPENSSL_cleanse(t->key_data, strlen(t->key_data));
	free(TAKE_PTR(t->key_data));
}

int tls_set_cert(struct tls *t, const char *cert, const char *key, struct err *err)
{
	struct tls next = *t;
	SSL_CTX *fresh = NULL;

	next.cert_file = next.key_file = NULL;
	next.cert_data = xstrdup(cert);
	next.key_data = xstrdup(key);
	if (build_context(&next, &fresh, err) < 0) {
		free(next.cert_data);
		forget_key(&next);
		return -1;
	}
	SSL_CTX_free(t->ssl);
	free(TAKE_PTR(t->cert_file));
	free(TAKE_PTR(t->key_file));
	free(t->cert_data);
	forget_key(t);
	t->ssl = fresh;
	t->cert_data = next.cert_data;
	t->key_data = next.key_data;
	mark_files(t, t->marks);
	return 0;
}

bool tls_may_tell(struct tls *t, unsigned *ret_n)
{
	t->n_untold++;
	if (t->told_ns && clock_now_ns() - t->told_ns < TELL_NS)
		return false;
	t->told_ns = clock_now_ns();
	*ret_n = t->n_untold;
	t->n_untold = 0;
	return true;
}

bool tls_is_server(const struct tls *t)
{
	return t->is_server;
}

struct tls *tls_ref(struct tls *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void tls_unref(struct tls *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	SSL_CTX_free(t->ssl);
	free(t->cert_file);
	free(t->key_file);
	free(t->ca_file);
	free(t->cert_data);
	forget_key(t);
	free(t->ca_data);
	free(t->server_name);
	free(t);
}

static void reload_if_changed(struct tls *t)
{
	struct file_mark now[3] = { 0 };
	SSL_CTX *fresh = NULL;
	struct err err = { 0 };

	if (clock_now_ns() - t->checked_ns < RECHECK_NS)
		return;
	t->checked_ns = clock_now_ns();
	mark_files(t, now);
	if (memcmp(now, t->marks, sizeof(now)) == 0)
		return;
	memcpy(t->marks, now, sizeof(now));
	if (build_context(t, &fresh, &err) < 0) {
		log_warn("changed certificates are not usable, the old ones stay", log_err(&err));
		return;
	}
	SSL_CTX_free(t->ssl);
	t->ssl = fresh;
	log_info("certificates reloaded",
		 log_str("cert", t->cert_file ? t->cert_file : t->ca_file));
}

/* Whom the certificate must name. A name that is not taken would mean that none is checked, and so
 * would an empty one. */
static int expect_name(SSL *ssl, const char *name, struct err *err)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	unsigned char ip[16];
	bool is_set = name[0] != '\0';

	X509_VERIFY_PARAM_set_hostflags(param, TLS_HOST_FLAGS);
	if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
		is_set = X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
	else if (is_set)
		/* What SSL_set_tlsext_host_name is, but for its cast that drops const. */
		is_set = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
				  (void *)(uintptr_t)name) == 1 &&
			 SSL_set1_host(ssl, name) == 1;
	ERR_clear_error();
	if (is_set)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "'%s' is no name or address that a server's certificate can have", name);
}

static int expect(const struct tls *t, SSL *ssl, const char *name, struct err *err)
{
	const char *shared = t->server_name && !tls_is_uri(t->server_name) ? t->server_name : NULL;

	if (!tls_is_uri(name))
		return expect_name(ssl, name, err);
	if (tls_expect_uri(ssl, name, shared) == 0)
		return 0;
	return err_set(err, ERR_INTERNAL, "TLS session: %s", tls_reason());
}

SSL *tls_session_new(struct tls *t, const char *server_name, const char *host, BIO *bio,
		     struct err *err)
{
	const char *name = server_name ? server_name : t->server_name ? t->server_name : host;
	SSL *ssl = NULL;

	reload_if_changed(t);
	if (t->cert_later && !t->cert_data) {
		BIO_free(bio);
		err_set(err, ERR_UNAVAILABLE, "TLS: this server has no certificate yet");
		return NULL;
	}
	ssl = SSL_new(t->ssl);
	if (!ssl) {
		BIO_free(bio);
		err_set(err, ERR_INTERNAL, "TLS session: %s", tls_reason());
		return NULL;
	}
	SSL_set_bio(ssl, bio, bio);
	if (t->is_server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	if (name && expect(t, ssl, name, err) < 0) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}
