/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CERTIFICATE_H
#define NET_CERTIFICATE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Certificates of servers that are called by a URI: asked for, judged and signed. X.509 by OpenSSL
 * behind this door, PEM in front of it. Any thread; blocks for files and for milliseconds of
 * arithmetic.
 *
 * A request (PKCS #10) is what certificate_ask makes and nothing more: signed by its own key, which
 * is on P-256, no subject, and one extension, whose alternative names are one URI. Of a request
 * only key and URI are ever used: a certificate is made anew, not copied.
 */
#define CERTIFICATE_REQUEST_MAX (16u << 10)
#define CERTIFICATE_URI_MAX 320u

/* A new key (PKCS #8) and a request by it, malloc'ed PEM. The key is the caller's to wipe. */
int certificate_ask(const char *uri, char **ret_key, char **ret_request, struct err *err);

/* Who the request is for, malloc'ed: printable ASCII, at most CERTIFICATE_URI_MAX bytes.
 * INVALID_ARGUMENT says what is not as above. */
int certificate_request_read(const char *pem, size_t n, char **ret_uri, struct err *err);

struct certificate_order {
	const char *request; /* PEM, as certificate_request_read takes it */
	size_t n_request;
	const char *authority_file, *authority_key_file; /* PEM; read each time */
	int64_t now_s;                                   /* since the epoch */
	int64_t lifetime_s;                              /* no longer than the authority's own */
	int64_t early_s; /* begins so long before now_s, for clocks that are behind */
};
/* A certificate (malloc'ed PEM) for the request's URI and no other name, good for a server
 * (serverAuth) alone, and when it ends. FAILED_PRECONDITION names what is wrong with the authority:
 * file missing, no authority, another's key, expired. */
int certificate_sign(const struct certificate_order *order, char **ret_pem, int64_t *ret_end_s,
		     struct err *err);

/* From when to when the first certificate of the PEM is good, since the epoch. */
int certificate_times(const char *pem, int64_t *ret_begin_s, int64_t *ret_end_s, struct err *err);

#endif
