/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a connection, through memory BIOs so that OpenSSL never sees the socket: bytes that came
 * go through SSL_read, and what SSL_write leaves in its BIO is sent.
 */
#include <string.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/conn-internal.h"
#include "net/tls-internal.h"

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
	conn_end(c);
}

static void send_tls_output(struct conn *c)
{
	char *bytes = NULL;
	long n = BIO_get_mem_data(SSL_get_wbio(c->ssl), &bytes);

	if (n <= 0)
		return;
	conn_send_raw(c, bytes, (size_t)n);
	BIO_reset(SSL_get_wbio(c->ssl));
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
	c->ssl = tls_session_new(c->tls, NULL, &c->why);
	if (!c->ssl)
		conn_end(c);
	return c->ssl != NULL;
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

void conn_tls_receive(struct conn *c, const char *bytes, size_t n)
{
	uint8_t plain[8192];
	int got = 0;

	BIO_write(SSL_get_rbio(c->ssl), bytes, (int)n);
	if (!c->is_open && !conn_tls_handshake(c))
		return;
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
