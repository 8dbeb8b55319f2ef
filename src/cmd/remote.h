/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_REMOTE_H
#define CMD_REMOTE_H

#include "base/err.h"
#include "base/opt.h"
#include "csi/service.h"

#include <stdint.h>

struct ev_loop;

/* Certificate files of one side. All NULL: no TLS. */
struct cmd_tls {
	const char *cert;
	const char *key;
	const char *ca;
	const char *server_name; /* the name in the peer's certificate, if not the host of the
				    address */
};

/* clang-format off */
#define TLS_OPTIONS(T, member)                                                                             \
	{ .name = "tls-cert", .type = OPT_STRING, .offset = offsetof(T, member.cert), .arg = "FILE",       \
	  .help = "Certificate (PEM) shown to the other side of tcp://; read again when it changes." },       \
	{ .name = "tls-key", .type = OPT_STRING, .offset = offsetof(T, member.key), .arg = "FILE",         \
	  .help = "Its private key." },                                                                       \
	{ .name = "tls-ca", .type = OPT_STRING, .offset = offsetof(T, member.ca), .arg = "FILE",           \
	  .help = "Certificates (PEM) that the other side's must be signed by; both sides show one." }
#define TLS_SERVER_NAME_OPTION(T, member)                                                                  \
	{ .name = "tls-server-name", .type = OPT_STRING, .offset = offsetof(T, member.server_name),        \
	  .arg = "NAME", .help = "The name in the server's certificate, if not the host of the address." }
/* clang-format on */

/* All of cert, key and ca, or none: INVALID_ARGUMENT names the one that is missing. */
int cmd_tls_check(const struct cmd_tls *tls, struct err *err);
bool cmd_tls_is_set(const struct cmd_tls *tls);

/*
 * Whether address is "unix:///path.sock" (also "unix:/path", "/path") or "tcp://host[:port]" and
 * fits with tls: unix needs none; tcp without it only on loopback or with insecure.
 * INVALID_ARGUMENT names the option.
 */
int address_check(const char *option, const char *address, const struct cmd_tls *tls, bool insecure,
		  struct err *err);
bool address_is_unix(const char *address);

/* --http-endpoint and --metrics-path: empty endpoint (nothing is served), ":PORT" or "HOST:PORT".
 */
int http_check(const char *endpoint, const char *metrics_path, struct err *err);

/*
 * A CSI service somewhere else: the channel to it and the client on it. The loop must be running.
 * Making it does not wait for the other side; calls fail with UNAVAILABLE while it is away.
 */
struct remote;
int remote_open(struct ev_loop *loop, const char *address, const struct cmd_tls *tls,
		struct remote **ret_remote, struct err *err);
struct tls;
/* The same with certificates that several share; NULL: none. A reference is taken. expected: whom
 * the other side's must name, as in grpc_channel_expect; NULL: as tls says. */
int remote_open_with(struct ev_loop *loop, const char *address, struct tls *tls,
		     const char *expected, struct remote **ret_remote, struct err *err);
/* NULL without certificates. */
int cmd_tls_load(const struct cmd_tls *tls, struct tls **ret_tls, struct err *err);
void remote_close(struct remote *r); /* NULL is fine */
struct csi_service remote_service(struct remote *r);
/* Connects as a call would, and nobody waits for it. On the loop. */
void remote_connect(struct remote *r);
bool remote_is_connected(const struct remote *r); /* any thread */

#endif
