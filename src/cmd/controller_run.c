/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller_run - from options to running controllers, and back
 *
 * The main thread walks through the stages in order and can be stopped between any two of them.
 * Each stage that may have to wait for the outside (driver, API server) says so in `waiting`, which
 * is what /readyz shows: a person who sees a controller that is not ready is told why without
 * reading a log.
 */
#include "cmd/controller_run.h"

#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/controllers.h"
#include "cmd/fleet.h"
#include "cmd/fleet_slices.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/lease.h"

#define PROBE_INTERVAL_NS NS_PER_S
#define SPARE_THREADS 4
#define LEASE_NAME_MAX 280

struct controller {
	const struct controller_options *opts;
	struct ev_loop *loop;
	struct work *work;
	struct process_http *http;
	struct remote *remote; /* one of these two */
	struct fleet *fleet;
	struct fleet_slices *slices; /* of --agents-service */
	struct csi_service service;
	struct kube_config config;
	struct fence *fence;
	struct kube_client *client;
	struct lease *lease;
	struct controller_driver driver;
	char *names; /* of those that run; NULL until the driver has said what it can */
	char driver_name[256];
	char host[256];
	bool has_driver; /* one of those that run needs it */
	bool is_running; /* the loop has its thread */

	pthread_mutex_t lock;
	char waiting[ERR_MSG_MAX];      /* lock: what the start waits for, "" once it is over */
	struct controllers controllers; /* fixed from then on, and may be read */
};

/* For people: where the driver is. */
static const char *driver_address(const struct controller *c)
{
	return str_or(str_or(c->opts->agents, c->opts->agents_service), c->opts->csi_address);
}

static void set_waiting(struct controller *c, const char *text)
{
	LOCK_SCOPE(&c->lock);
	snprintf(c->waiting, sizeof(c->waiting), "%s", text);
}

/* On a worker. */
static bool is_ready(void *arg, struct str *why)
{
	struct controller *c = arg;
	char text[ERR_MSG_MAX] = "";

	LOCK_SCOPE(&c->lock);
	if (c->waiting[0]) {
		str_append(why, c->waiting);
		return false;
	}
	if (c->client && !kube_client_is_healthy(c->client, text)) {
		str_appendf(why, "API server: %s", text);
		return false;
	}
	for (size_t i = 0; i < c->controllers.caches.n; i++) {
		struct informer *cache = c->controllers.caches.v[i];

		if (informer_is_absent(cache)) { /* what needs it waits, the rest goes on */
			str_appendf(why, "waiting for the CRD of %s (%s)\n",
				    c->controllers.types.v[i]->resource,
				    c->controllers.types.v[i]->group_version);
			continue;
		}
		informer_trouble(cache, text);
		if (text[0]) {
			str_reset(why);
			str_appendf(why, "watch: %s", text);
			return false;
		}
		if (!informer_has_synced(cache)) {
			str_reset(why);
			str_append(why, "caches have not synced yet");
			return false;
		}
	}
	if (c->fleet) /* one dead node is no reason to be started anew */
		fleet_report(c->fleet, why);
	return true;
}

/* Whether nodes grow what the controller service has no call for. Of the others nobody asks: a
 * driver need not serve its node service at this address. */
static int ask_node(struct controller *c, struct ctx *ctx, const struct csi_offers *offers,
		    uint64_t *ret_node, struct err *err)
{
	const struct csi_node_get_capabilities_request ask = {};
	struct csi_node_get_capabilities_response node;

	*ret_node = 0;
	if (offers->controller & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME))
		return 0;
	if (csi_node_get_capabilities(&c->service, ctx, &ask, &node, err) < 0)
		return err->code == ERR_UNIMPLEMENTED || err->code == ERR_PERMISSION_DENIED ? 0
											    : -1;
	*ret_node = csi_capability_bits(node.capabilities, node.n_capabilities);
	return 0;
}

static int ask_driver(struct controller *c, struct ctx *ctx, struct csi_offers *ret_offers,
		      uint64_t *ret_node, struct err *err)
{
	const struct csi_probe_request ask_probe = {};
	struct csi_probe_response probe;

	if (csi_probe(&c->service, ctx, &ask_probe, &probe, err) < 0)
		return -1;
	if (!csi_probe_is_ready(&probe))
		return err_set(err, ERR_UNAVAILABLE, "the driver says that it is not ready yet");
	return csi_ask_offers(&c->service, ctx, ret_offers, err) < 0
		       ? -1
		       : ask_node(c, ctx, ret_offers, ret_node, err);
}

/* One look at the driver: 1 ready, 0 not yet (said in waiting), -1 it is no driver for us. */
static int look_at_driver(struct controller *c, struct ctx *ctx, struct err *err)
{
	struct csi_offers facts = { 0 };
	uint64_t node;
	struct err lack;

	if (ask_driver(c, ctx, &facts, &node, err) < 0) {
		if (err->code == ERR_UNIMPLEMENTED)
			return err_wrap(err, "the driver at %s", driver_address(c));
		set_waiting(c, err->msg);
		return 0;
	}
	c->driver.has_topology =
		facts.plugin & CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS);
	c->driver.caps = facts.controller;
	c->driver.group_caps = facts.group;
	c->driver.node_caps = node;
	free(TAKE_PTR(c->names));
	if (controllers_choose(controller_rows, n_controller_rows, c->opts->controllers, &c->driver,
			       &c->names, &lack) < 0)
		return err_set(err, lack.code, "the driver at %s %s", driver_address(c), lack.msg);
	if (!str_is_empty(c->opts->driver_name) && !str_is_equal(c->opts->driver_name, facts.name))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver at %s is '%s', --driver-name says '%s'",
			       driver_address(c), facts.name, c->opts->driver_name);
	snprintf(c->driver_name, sizeof(c->driver_name), "%s", facts.name);
	log_info("driver is ready", log_str("driver", facts.name),
		 log_str("version", facts.version), log_bool("topology", c->driver.has_topology),
		 log_str("controllers", c->names));
	return 1;
}

/* 1 ready, 0 told to stop, -1 failed. Logs why it waits when that changes. */
static int wait_for_driver(struct controller *c, struct err *err)
{
	char logged[ERR_MSG_MAX] = "";

	for (;;) {
		struct ctx ctx;
		int r;

		ctx_init(&ctx, c->opts->timeout_ns);
		r = look_at_driver(c, &ctx, err);
		ctx_done(&ctx);
		if (r != 0)
			return r;
		if (!str_is_equal(logged, err->msg)) {
			log_warn("waiting for the driver", log_str("address", driver_address(c)),
				 log_err(err));
			snprintf(logged, sizeof(logged), "%s", err->msg);
		}
		if (process_wait(PROBE_INTERVAL_NS))
			return 0;
	}
}

static int choose_without(struct controller *c, struct err *err)
{
	return controllers_choose(controller_rows, n_controller_rows, c->opts->controllers,
				  &c->driver, &c->names, err) < 0
		       ? -1
		       : 1;
}

/* What this process calls itself in Leases and Events. */
static const char *identity(struct controller *c)
{
	if (!str_is_empty(c->opts->identity))
		return c->opts->identity;
	if (gethostname(c->host, sizeof(c->host) - 1) < 0)
		snprintf(c->host, sizeof(c->host), "cleat");
	return c->host;
}

/* "cleat-pool-cleat-csi": a Lease's name allows letters, digits and dashes. Without a driver
 * upstream's name, since there is to be one in a cluster, whosever it is. */
static void format_lease_name(const struct controller *c, char name[static LEASE_NAME_MAX])
{
	if (c->has_driver)
		snprintf(name, LEASE_NAME_MAX, "cleat-%s", c->driver_name);
	else
		snprintf(name, LEASE_NAME_MAX, "%s-leader", c->names);
	for (char *p = name; *p; p++) {
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9')))
			*p = '-';
	}
}

/* Of the election's Lease and the journal's. */
static const char *lease_namespace(const struct controller *c)
{
	return str_or(str_or(c->opts->election_ns, c->config.namespace_name), "default");
}

static void make_controllers(struct controller *c, const char *lease_name)
{
	const struct controller_env env = {
		.opts = c->opts,
		.loop = c->loop,
		.work = c->work,
		.client = c->client,
		.fence = c->fence,
		.service = c->service,
		.driver = c->driver,
		.driver_name = c->driver_name,
		.lease_ns = lease_namespace(c),
		.lease_name = lease_name,
		.identity = identity(c),
	};

	controllers_init(&c->controllers, controller_rows, n_controller_rows, c->names, &env);
}

static void on_won(void *arg)
{
	struct controller *c = arg;

	log_info("lease won, working");
	controllers_start(&c->controllers);
}

static void on_lost(void *arg)
{
	struct controller *c = arg;

	log_warn("lease lost, nothing more is written until it is won again");
	controllers_pause(&c->controllers);
}

static int start_work(struct controller *c, const char *lease_name, struct err *err)
{
	const struct controller_options *o = c->opts;

	if (!o->election) {
		fence_open(c->fence, FENCE_NO_LIMIT);
		controllers_start(&c->controllers);
		return 0;
	}
	if (lease_new(c->loop, c->client,
		      &(struct lease_options){
			      .ns = lease_namespace(c),
			      .name = lease_name,
			      .identity = identity(c),
			      .duration_ns = o->lease_ns,
			      .renew_deadline_ns = o->renew_ns,
			      .retry_ns = o->retry_ns,
			      .fence = c->fence,
			      .on_won = on_won,
			      .on_lost = on_lost,
			      .arg = c,
		      },
		      &c->lease, err) < 0)
		return -1;
	lease_start(c->lease);
	return 0;
}

static void watch_agents(struct controller *c)
{
	const char *text = c->opts->agents_service;
	const char *slash = strchr(text, '/');
	autofree char *ns =
		slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup(lease_namespace(c));

	c->slices = fleet_slices_new(&(const struct fleet_slices_options){
		.loop = c->loop,
		.work = c->work,
		.client = c->client,
		.fleet = c->fleet,
		.ns = ns,
		.service = slash ? slash + 1 : text,
		.port = c->opts->agents_port,
	});
}

static int open_driver(struct controller *c, struct err *err)
{
	const struct controller_options *o = c->opts;
	const struct fleet_options fleet = {
		.loop = c->loop,
		.work = c->work,
		.agents = o->agents,
		.driver_name = o->driver_name,
		.tls = &o->tls,
		.workers = o->workers,
	};

	if (!str_is_empty(o->agents) || !str_is_empty(o->agents_service)) {
		if (fleet_open(&fleet, &c->fleet, err) < 0)
			return -1;
		c->service = fleet_service(c->fleet);
		if (!str_is_empty(o->agents_service))
			watch_agents(c);
		return 0;
	}
	if (remote_open(c->loop, o->csi_address, &o->tls, &c->remote, err) < 0)
		return -1;
	c->service = remote_service(c->remote);
	return 0;
}

static int open_outside(struct controller *c, struct err *err)
{
	const struct controller_options *o = c->opts;
	const struct kube_client_options client = {
		.qps = o->qps,
		.burst = o->burst,
		.user_agent = "cleat/" CMD_VERSION_TEXT,
		.fence = c->fence,
	};
	unsigned n_api;
	int r;

	if (kube_config_load(str_or(o->kubeconfig, ""), str_or(o->context, ""), &c->config, err) <
	    0)
		return -1;
	/* Each of the queues may have all its workers at calls that hang; the recorder and what
	 * else asks the API server still gets a thread. */
	n_api = controllers_queues(controller_rows, n_controller_rows, o->controllers) *
			o->workers +
		SPARE_THREADS;
	r = ev_loop_new(&c->loop);
	if (r == 0)
		r = lanes_start(c->loop, n_api, &c->work);
	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "start threads");
	if (process_http_start(c->loop, c->work, o->http_endpoint, o->metrics_path, is_ready, c,
			       &c->http, err) < 0)
		return -1;
	r = ev_loop_spawn(c->loop);
	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "start the event loop");
	c->is_running = true;
	if (kube_client_new(c->loop, &c->config, &client, &c->client, err) < 0)
		return -1;
	c->has_driver = controllers_need_driver(controller_rows, n_controller_rows, o->controllers);
	if (!c->has_driver)
		return 0;
	return open_driver(c, err);
}

static int serve(struct controller *c, struct err *err)
{
	char lease_name[LEASE_NAME_MAX];
	int r;

	set_waiting(c, "starting");
	if (open_outside(c, err) < 0)
		return -1;
	log_info("controller starting", log_str("version", CMD_VERSION_TEXT),
		 log_str("controllers", c->opts->controllers),
		 log_str("csiAddress", c->has_driver ? driver_address(c) : ""),
		 log_str("apiServer", c->config.host),
		 log_bool("leaderElection", c->opts->election));
	r = c->has_driver ? wait_for_driver(c, err) : choose_without(c, err);
	if (r <= 0)
		return r;
	format_lease_name(c, lease_name);
	make_controllers(c, lease_name);
	if (start_work(c, lease_name, err) < 0)
		return -1;
	set_waiting(c, "");
	(void)process_wait(INT64_MAX);
	return 0;
}

/* By the order of process.h; each part may be missing. */
static void take_down(struct controller *c)
{
	/* take nothing more */
	controllers_pause(&c->controllers);
	/* cancel, and wait for it */
	if (c->lease)
		lease_stop(c->lease);
	fence_close(c->fence);
	controllers_free(&c->controllers);
	/* give back */
	lease_free(c->lease);
	/* nobody looks any more */
	if (c->is_running)
		(void)process_http_close(c->http, INT64_MAX);
	/* free */
	controllers_free_caches(&c->controllers);
	remote_close(c->remote);
	fleet_slices_free(c->slices);
	if (c->is_running)
		fleet_close(c->fleet);
	kube_client_free(c->client);
	if (c->is_running)
		ev_loop_join(c->loop);
	if (c->work)
		work_free(c->work);
	process_http_free(c->http);
	if (c->loop)
		ev_loop_free(c->loop);
	fence_free(c->fence);
	kube_config_done(&c->config);
	free(c->names);
	pthread_mutex_destroy(&c->lock);
}

int controller_run(const struct cmd *cmd, const struct controller_options *opts)
{
	struct controller c = { .opts = opts,
				.fence = fence_new(),
				.lock = PTHREAD_MUTEX_INITIALIZER };
	struct err err;
	int r;

	process_begin();
	r = serve(&c, &err);
	log_info("controller stopping");
	take_down(&c);
	if (r < 0) {
		return cmd_failed(cmd, &err);
	}
	log_info("controller stopped");
	return CMD_OK;
}
