/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/endpoint.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "event/loop.h"
#include "grpc/server.h"

void endpoint_init(struct endpoint *e, struct ev_loop *loop, struct work *work, const char *what)
{
	*e = (struct endpoint){ .loop = loop, .server = grpc_server_new(loop, work), .what = what };
}

static void mend_socket(void *arg, const char *name)
{
	struct endpoint *e = arg;
	struct err err;

	/* The directory may be a busy one, /run for instance. */
	if ((name[0] != '\0' && !str_is_equal(name, e->name)) || grpc_server_is_bound(e->server))
		return;
	if (grpc_server_rebind(e->server, &err) < 0)
		log_error("socket is gone and cannot be made again", log_str("socket", e->what),
			  log_err(&err));
	else
		log_warn("socket was removed by someone; made again", log_str("socket", e->what));
}

int endpoint_listen(struct endpoint *e, const char *address, struct tls *tls, bool insecure,
		    struct err *err)
{
	const struct grpc_listen_options options = { .tls = tls, .allow_insecure = insecure };
	autofree char *parent = NULL;
	struct net_addr addr;
	int r;

	if (net_addr_parse(address, &addr, err) < 0)
		return -1;
	if (addr.kind == NET_ADDR_TCP)
		return grpc_server_listen(e->server, &addr, &options, err);
	if (grpc_server_listen(e->server, &addr, &(struct grpc_listen_options){ 0 }, err) < 0)
		return -1;
	parent = path_parent(addr.path);
	e->name = xstrdup(path_last(addr.path));
	r = ev_path_new(e->loop, parent ? parent : "/", mend_socket, e, &e->watch);
	return r < 0 ? err_os(err, ERR_INTERNAL, r, "watch '%s'", parent) : 0;
}

void endpoint_unwatch(struct endpoint *e)
{
	ev_path_free(e->watch);
	e->watch = NULL;
}

void endpoint_free(struct endpoint *e)
{
	endpoint_unwatch(e);
	grpc_server_free(e->server);
	free(e->name);
}
