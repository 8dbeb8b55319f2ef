/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/controller_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/controller_run.h"
#include "cmd/fleet.h"
#include "cmd/fleet_forget.h"
#include "cmd/fleet_labels.h"
#include "cmd/fleet_slices.h"
#include "cmd/remote.h"

struct controller_link {
	struct controller_link_options o;
	struct remote *remote; /* one of these two */
	struct fleet *fleet;
	struct fleet_slices *slices; /* of --agents-service */
	struct fleet_forget *forget; /* of a fleet, as the next */
	struct fleet_labels *labels;
	struct csi_service service;
};

const char *controller_link_address(const struct controller_options *opts)
{
	return str_or(str_or(opts->agents, opts->agents_service), opts->csi_address);
}

struct csi_service controller_link_service(const struct controller_link *l)
{
	return l->service;
}

void controller_link_report(struct controller_link *l, struct str *report)
{
	if (l && l->fleet) /* one dead node is no reason to be started anew */
		fleet_report(l->fleet, report);
}

/* ---- what it is and can ---- */

/* Whether nodes grow what the controller service has no call for. Of the others nobody asks: a
 * driver need not serve its node service at this address. */
static int ask_node(struct controller_link *l, struct ctx *ctx, const struct csi_offers *offers,
		    uint64_t *ret_node, struct err *err)
{
	const struct csi_node_get_capabilities_request ask = {};
	struct csi_node_get_capabilities_response node;

	*ret_node = 0;
	if (offers->controller & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME))
		return 0;
	if (csi_node_get_capabilities(&l->service, ctx, &ask, &node, err) < 0)
		return err->code == ERR_UNIMPLEMENTED || err->code == ERR_PERMISSION_DENIED ? 0
											    : -1;
	*ret_node = csi_capability_bits(node.capabilities, node.n_capabilities);
	return 0;
}

int controller_link_ask(struct controller_link *l, struct ctx *ctx, struct csi_offers *ret_offers,
			uint64_t *ret_node, struct err *err)
{
	const struct csi_probe_request ask_probe = {};
	struct csi_probe_response probe;

	if (csi_probe(&l->service, ctx, &ask_probe, &probe, err) < 0)
		return -1;
	if (!csi_probe_is_ready(&probe))
		return err_set(err, ERR_UNAVAILABLE, "the driver says that it is not ready yet");
	return csi_ask_offers(&l->service, ctx, ret_offers, err) < 0
		       ? -1
		       : ask_node(l, ctx, ret_offers, ret_node, err);
}

/* ---- what the cluster knows of agents ---- */

static void watch_agents(struct controller_link *l)
{
	const char *text = l->o.opts->agents_service;
	const char *slash = strchr(text, '/');
	autofree char *ns = slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup(l->o.ns);

	l->slices = fleet_slices_new(&(const struct fleet_slices_options){
		.loop = l->o.loop,
		.work = l->o.work,
		.client = l->o.client,
		.fleet = l->fleet,
		.ns = ns,
		.service = slash ? slash + 1 : text,
		.port = l->o.opts->agents_port,
	});
}

void controller_link_heed(struct controller_link *l, const char *lease_name)
{
	autofree char *journal = xasprintf("%s-intents", lease_name);

	if (!l->fleet)
		return;
	l->forget = fleet_forget_new(&(const struct fleet_forget_options){
		.loop = l->o.loop,
		.work = l->o.work,
		.client = l->o.client,
		.fleet = l->fleet,
		.ns = l->o.ns,
		.name = journal,
	});
}

void controller_link_watch_nodes(struct controller_link *l, struct informer *nodes,
				 const char *driver_name)
{
	if (!l->fleet || !nodes)
		return;
	l->labels = fleet_labels_new(&(const struct fleet_labels_options){
		.loop = l->o.loop,
		.work = l->o.work,
		.client = l->o.client,
		.fence = l->o.fence,
		.fleet = l->fleet,
		.nodes = nodes,
		.driver_name = driver_name,
	});
}

void controller_link_leave_nodes(struct controller_link *l)
{
	if (l)
		fleet_labels_free(TAKE_PTR(l->labels));
}

/* ---- life ---- */

static int connect_to(struct controller_link *l, struct err *err)
{
	const struct controller_options *o = l->o.opts;
	const struct fleet_options fleet = {
		.loop = l->o.loop,
		.work = l->o.work,
		.agents = o->agents,
		.driver_name = o->driver_name,
		.tls = &o->tls,
		.workers = o->workers,
	};

	if (str_is_empty(o->agents) && str_is_empty(o->agents_service)) {
		if (remote_open(l->o.loop, o->csi_address, &o->tls, &l->remote, err) < 0)
			return -1;
		l->service = remote_service(l->remote);
		return 0;
	}
	if (fleet_open(&fleet, &l->fleet, err) < 0)
		return -1;
	l->service = fleet_service(l->fleet);
	if (!str_is_empty(o->agents_service))
		watch_agents(l);
	return 0;
}

int controller_link_open(const struct controller_link_options *opts,
			 struct controller_link **ret_link, struct err *err)
{
	struct controller_link *l = xcalloc(1, sizeof(*l));

	l->o = *opts;
	if (connect_to(l, err) < 0) {
		controller_link_close(l);
		return -1;
	}
	*ret_link = l;
	return 0;
}

void controller_link_close(struct controller_link *l)
{
	if (!l)
		return;
	controller_link_leave_nodes(l);
	remote_close(l->remote);
	fleet_forget_free(l->forget);
	fleet_slices_free(l->slices);
	fleet_close(l->fleet);
	free(l);
}
