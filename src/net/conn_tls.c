/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a connection. OpenSSL never sees the socket: it reads, through a BIO of ours, from the
 * bytes that just came, and what it writes there is gathered and sent. A BIO of OpenSSL's own for
 * memory would copy them once more and keep its buffers for as long as the connection lives.
 */
#include <pthread.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/conn-internal.h"
#include "net/tls-internal.h"

/* ---- where OpenSSL reads and writes ---- */

static int bio_read(BIO *bio, char *buf, int size)
{
	struct conn *c = BIO_get_data(bio);
	size_t n = (size_t)size < c->n_tls_in ? (size_t)size : c->n_tls_in;

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(buf, c->tls_in, n);
	c->tls_in += n;
	c->n_tls_in -= n;
	return (int)n;
}

static int bio_write(BIO *bio, const char *buf, int n)
{
	struct conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	str_append_n(&c->tls_out, buf, (size_t)n);
	return n;
}

static long bio_control(BIO *bio, int what, long n, void *p)
{
	(void)bio;
	(void)n;
	(void)p;
	return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");

	if (m && BIO_meth_set_read(m, bio_read) == 1 && BIO_meth_set_write(m, bio_write) == 1 &&
	    BIO_meth_set_ctrl(m, bio_control) == 1)
		bio_method = m;
}

int conn_tls_new(struct conn *c, const char *server_name, const char *host, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio = NULL;

	(void)pthread_once(&once, make_bio_method);
	bio = bio_method ? BIO_new(bio_method) : NULL;
	if (!bio)
		return err_set(err, ERR_INTERNAL, "TLS session: %s", tls_reason());
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	c->ssl = tls_session_new(c->tls, server_name, host, bio, err);
	return c->ssl ? 0 : -1;
}

/* ---- the session ---- */

static void fail_tls(struct conn *c)
{
	long verify = SSL_get_verify_result(c->ssl);

	if (c->closing)
		return;
	if (verify != X509_V_OK && SSL_get_verify_mode(c->ssl) != SSL_VERIFY_NONE)
		err_set(&c->why, ERR_UNAVAILABLE, "TLS: peer's certificate: %s",
			X509_verify_cert_error_string(verify));
	else
		err_set(&c->why, ERR_UNAVAILABLE, "TLS: %s", tls_reason());
	ERR_clear_error();
	if (!c->is_open)
		tls_refused(c->tls, c->ssl, c->peer, &c->why);
	conn_end(c);
}

static void send_tls_output(struct conn *c)
{
	if (c->tls_out.len == 0)
		return;
	conn_send_raw(c, c->tls_out.buf, c->tls_out.len);
	str_done(&c->tls_out);
}

/* Names that do not all fit are left out from the first that does not: half a name is another. */
static void name_tls_peer(struct conn *c)
{
	autostr struct str names = STR_INIT;
	size_t used = strlen(c->peer), n;

	tls_name_peer(c->ssl, &names);
	n = names.len;
	if (used + n >= sizeof(c->peer)) {
		n = sizeof(c->peer) - used - 1;
		while (n > 0 && names.buf[n] != ' ')
			n--;
	}
	memcpy(c->peer + used, str_get(&names), n);
	c->peer[used + n] = '\0';
}

/* OpenSSL's part of a session is 50 times the rest of a connection, so it waits for the first bytes
 * of who connected. */
bool conn_tls_begin(struct conn *c)
{
	if (!c->tls || c->ssl)
		return true;
	if (conn_tls_new(c, NULL, NULL, &c->why) == 0)
		return true;
	conn_end(c);
	return false;
}

bool conn_tls_handshake(struct conn *c)
{
	const unsigned char *alpn = NULL;
	unsigned alpn_len = 0;
	int r = 0;

	/* SSL_get_error looks at the thread's queue of errors, which is shared by all connections.
	 */
	ERR_clear_error();
	r = SSL_do_handshake(c->ssl);

	if (r == 1) {
		SSL_get0_alpn_selected(c->ssl, &alpn, &alpn_len);
		send_tls_output(c);
		if (c->closing)
			return false;
		if (alpn_len != 2 || memcmp(alpn, "h2", 2) != 0) {
			err_set(&c->why, ERR_UNAVAILABLE,
				"TLS: peer does not speak HTTP/2 (no ALPN h2)");
			conn_end(c);
			return false;
		}
		name_tls_peer(c);
		conn_opened(c);
		return true;
	}
	r = SSL_get_error(c->ssl, r);
	send_tls_output(c);
	if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE)
		fail_tls(c);
	return false;
}

static void read_plain(struct conn *c)
{
	uint8_t plain[8192];
	int got = 0;

	for (;;) {
		if (c->closing || c->user_closed)
			return;
		ERR_clear_error();
		got = SSL_read(c->ssl, plain, sizeof(plain));
		if (got <= 0)
			break;
		c->ops->on_data(c->arg, plain, (size_t)got);
		explicit_bzero(plain, (size_t)got);
	}
	got = SSL_get_error(c->ssl, got);
	send_tls_output(c);
	switch (got) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		break;
	case SSL_ERROR_ZERO_RETURN:
		c->why = (struct err){ .msg = "peer closed" };
		conn_end(c);
		break;
	default:
		fail_tls(c);
	}
}

void conn_tls_receive(struct conn *c, const char *bytes, size_t n)
{
	c->tls_in = bytes;
	c->n_tls_in = n;
	if (c->is_open || conn_tls_handshake(c))
		read_plain(c);
	c->tls_in = NULL;
	c->n_tls_in = 0;
}

void conn_tls_write(struct conn *c, const void *bytes, size_t n)
{
	ERR_clear_error();
	if (SSL_write(c->ssl, bytes, (int)n) <= 0)
		fail_tls(c);
	else
		send_tls_output(c);
}

void conn_tls_shutdown(struct conn *c)
{
	SSL_shutdown(c->ssl);
	ERR_clear_error();
	send_tls_output(c);
}
