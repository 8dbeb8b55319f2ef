/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "base/str.h"
#include "net/tls.h"

/* A session that reads and writes bio, which it takes, ready for its handshake. A client checks the
 * name server_name, or t's, or the host that was dialled, whichever is there first. */
SSL *tls_session_new(struct tls *t, const char *server_name, const char *host, BIO *bio,
		     struct err *err);

/* After the handshake: appends " DNS:a URI:b IP:c CN=d" of the peer's certificate, nothing without
 * one. */
void tls_name_peer(const SSL *ssl, struct str *out);

/* The oldest reason in OpenSSL's queue in words, and empties the queue. Static storage a thread. */
const char *tls_reason(void);

#endif
