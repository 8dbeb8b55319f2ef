/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a verb speaks to: the driver (one, or those of several nodes as one), the API server. */
#include <string.h>

#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/fleet.h"
#include "cmd/fleet_slices.h"
#include "kube/client.h"

static int open_cluster(const struct ctl_options *opts, struct ev_loop *loop, struct ctl_peers *ret,
			struct err *err)
{
	const struct kube_client_options client = { .user_agent = "cleat-ctl/" CMD_VERSION_TEXT };

	if (kube_config_load(str_or(opts->kubeconfig, ""), str_or(opts->context, ""), &ret->config,
			     err) < 0)
		return -1;
	return kube_client_new(loop, &ret->config, &client, &ret->kube, err);
}

/* The members of a fleet that has none of its own. */
static int read_members(const struct ctl_options *opts, struct ctx *ctx, struct ctl_peers *peers,
			struct err *err)
{
	const char *text = opts->agents_service, *slash = strchr(text, '/');
	struct fleet_slices_options slices = {
		.client = peers->kube,
		.fleet = peers->fleet,
		.ns = str_or(peers->config.namespace_name, "default"),
		.service = slash ? slash + 1 : text,
		.port = opts->agents_port,
	};

	if (slash)
		slices.ns = arena_strndup(ctx->arena, text, (size_t)(slash - text));
	return fleet_slices_read(&slices, ctx, err);
}

static int open_driver(const struct ctl_options *opts, struct ev_loop *loop, struct ctx *ctx,
		       struct ctl_peers *ret, struct err *err)
{
	const struct fleet_options fleet = { .loop = loop,
					     .agents = opts->agents,
					     .tls = &opts->tls };

	if (str_is_empty(opts->agents) && str_is_empty(opts->agents_service)) {
		if (remote_open(loop, opts->endpoint, &opts->tls, &ret->remote, err) < 0)
			return -1;
		ret->service = remote_service(ret->remote);
		return 0;
	}
	if (fleet_open(&fleet, &ret->fleet, err) < 0 ||
	    (!str_is_empty(opts->agents_service) && read_members(opts, ctx, ret, err) < 0))
		return -1;
	fleet_look(ret->fleet, ctx);
	ret->service = fleet_service(ret->fleet);
	return 0;
}

int ctl_connect(struct ctl *ctl, const struct ctl_verb *verb, struct ev_loop *loop,
		struct ctl_peers *peers, struct err *err)
{
	const struct ctl_options *opts = ctl->opts;
	bool has_driver = !verb->asks_no_driver;
	bool has_cluster =
		verb->reads_cluster || (has_driver && !str_is_empty(opts->agents_service));

	if (has_cluster && open_cluster(opts, loop, peers, err) < 0)
		return -1;
	if (has_driver && open_driver(opts, loop, ctl->ctx, peers, err) < 0)
		return -1;
	ctl->service = &peers->service;
	ctl->fleet = peers->fleet;
	ctl->kube = peers->kube;
	ctl->ns = str_or(str_or(opts->ns_short, opts->ns),
			 str_or(peers->config.namespace_name, "default"));
	return 0;
}

void ctl_disconnect(struct ctl_peers *peers)
{
	remote_close(peers->remote);
	fleet_close(peers->fleet);
	if (peers->kube)
		kube_client_free(peers->kube);
	kube_config_done(&peers->config);
}
