/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "net/tls.h"

/* A session over memory BIOs, ready for its handshake. host: what was dialled, NULL for servers. */
SSL *tls_session_new(struct tls *t, const char *host, struct err *err);

/* The oldest reason in OpenSSL's queue in words, and empties the queue. Static storage a thread. */
const char *tls_reason(void);

#endif
