/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_ENDPOINT_H
#define CMD_ENDPOINT_H

#include "base/err.h"

#include <stdbool.h>

struct ev_loop;
struct ev_path;
struct grpc_server;
struct tls;
struct work;

/* One gRPC server at one address. A socket that somebody removes is made again. */
struct endpoint {
	struct ev_loop *loop;
	struct grpc_server *server;
	struct ev_path *watch; /* of the socket's directory; NULL: no socket */
	char *name;            /* of the socket in it */
	const char *what;      /* for the log; outlives it */
};

void endpoint_init(struct endpoint *e, struct ev_loop *loop, struct work *work, const char *what);
/* Once, after methods were added, before the loop runs or on its thread. "unix:///path" or
 * "tcp://host:port", as address_check has found it good; tls and insecure are for the latter. */
int endpoint_listen(struct endpoint *e, const char *address, struct tls *tls, bool insecure,
		    struct err *err);
/* A socket that goes away from now on is not missed. On the loop's thread, or when it does not run.
 */
void endpoint_unwatch(struct endpoint *e);
/* When the loop does not run any more. Fine for one that is all zeros. */
void endpoint_free(struct endpoint *e);

#endif
