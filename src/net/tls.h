/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"

#include <stdbool.h>

/*
 * struct tls - certificates and rules for TLS connections; OpenSSL behind this door
 *
 * TLS 1.2 or newer, ALPN "h2". Files are looked at again for each new connection (at most once a
 * second, by inode, size and mtime) and read anew when one of them changed; if the new ones are
 * broken the old ones stay in use and the reason is logged once. Shared by the connections that
 * were made from it: counted by reference. I/O thread, but _new may run anywhere.
 *
 * Whom a server's certificate must name is a host or an address (subjectAltName DNS or IP; SNI says
 * it too), or, with "://" in it, a URI (subjectAltName URI, the very bytes; no SNI). A connection
 * that names a URI under a context whose server_name is a host also takes a certificate without any
 * URI that has that host's name: one that many servers share.
 *
 * Handshakes that fail are counted (cleat_tls_refused_total) and logged, once a minute a context.
 */
struct tls;

struct tls_options {
	bool is_server;
	/* File names, or PEM text in *_data; NULL: none. A server needs cert and key; ca makes it
	 * ask for and verify the client's certificate. A client verifies against ca (NULL: the
	 * system's store). */
	const char *cert_file, *key_file, *ca_file;
	const char *cert_data, *key_data, *ca_data;
	const char *server_name; /* client: name (SNI and check) if not the host dialled, of
				    connections that name none themselves; NULL: the host */
	bool cert_later;  /* server: none until tls_set_cert; who connects is turned away until then
			   */
	bool skip_verify; /* client: kubeconfig's insecure-skip-tls-verify */
	bool needs_1_3;   /* TLS 1.3 or newer */
};

/* FAILED_PRECONDITION names the file and what is wrong with it (missing, no PEM, key does not
 * match, expired). */
int tls_new(const struct tls_options *opts, struct tls **ret_tls, struct err *err);
/* A certificate and its key (PEM) in place of those that there were, for connections that are made
 * from now on; both are copied. FAILED_PRECONDITION: they do not fit, or it has expired; then
 * nothing changes. I/O thread. */
int tls_set_cert(struct tls *t, const char *cert, const char *key, struct err *err);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t); /* NULL is fine */

#endif
