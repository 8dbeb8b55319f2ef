/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/err.h"
#include "base/str.h"
#include "net/tls.h"

/* The subject's common name does not count (RFC 9525 §2). */
#define TLS_HOST_FLAGS (X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)

/* A session that reads and writes bio, which it takes, ready for its handshake. A client checks the
 * name server_name, or t's, or the host that was dialled, whichever is there first. */
SSL *tls_session_new(struct tls *t, const char *server_name, const char *host, BIO *bio,
		     struct err *err);

bool tls_is_uri(const char *name);
/* Of a client's context, once: lets its sessions check URIs. */
void tls_enable_uris(SSL_CTX *ssl);
/* The peer's certificate must name the URI or, if shared_host is given, have no URI at all and the
 * name of that host. -1: OpenSSL has no room for it. */
int tls_expect_uri(SSL *ssl, const char *uri, const char *shared_host);

/* A handshake failed: it is counted, told at most once a minute, and *why gets to say whom the
 * certificate names, where that is what is wrong. */
void tls_refused(struct tls *t, const SSL *ssl, const char *peer, struct err *why);
/* Whether a line about failed handshakes is due, and of how many. */
bool tls_may_tell(struct tls *t, unsigned *ret_n);
bool tls_is_server(const struct tls *t);

/* Appends " DNS:a URI:b IP:c" of a certificate. */
void tls_name_cert(X509 *cert, struct str *out);
/* After the handshake: appends " DNS:a URI:b IP:c CN=d" of the peer's certificate, nothing without
 * one. */
void tls_name_peer(const SSL *ssl, struct str *out);

/* The oldest reason in OpenSSL's queue in words, and empties the queue. Static storage a thread. */
const char *tls_reason(void);

#endif
