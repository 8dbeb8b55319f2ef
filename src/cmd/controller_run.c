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
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/controller_early.h"
#include "cmd/controller_link.h"
#include "cmd/controllers.h"
#include "cmd/lanes.h"
#include "cmd/metadata_server.h"
#include "cmd/process.h"
#include "control/core.h"
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
#define LEASE_NAME_MAX CONTROLLER_LEASE_MAX
/* Of snapshot metadata: for what comes before a stream; and to end streams in, of the 30 s that a
 * pod has. */
#define METADATA_TIMEOUT_NS (60 * NS_PER_S)
#define METADATA_GRACE_NS (15 * NS_PER_S)

struct controller {
	const struct controller_options *opts;
	struct ev_loop *loop;
	struct work *work;
	struct process_http *http;
	struct controller_link *link; /* to the driver; NULL: none */
	struct kube_config config;
	struct fence *fence;
	struct kube_client *client;
	struct kube_client *reviewer; /* without the fence; of --snapshot-metadata-port */
	struct metadata_server *metadata;
	struct lease *lease;
	struct controller_early *early; /* those that do not wait for the driver; NULL: none */
	struct controller_driver driver;
	char *names; /* of those that run; NULL until the driver has said what it can */
	char driver_name[256];
	char host[256];
	bool has_driver; /* one of those that run needs it */
	bool is_running; /* the loop has its thread */
	atomic_bool is_deposed;

	pthread_mutex_t lock;
	char waiting[ERR_MSG_MAX];      /* lock: what the start waits for, "" once it is over */
	struct controllers controllers; /* fixed from then on, and may be read */
};

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
	controller_early_report(c->early, why);
	controller_link_report(c->link, why);
	return true;
}

static void note_driver(struct controller *c, const struct csi_offers *facts, uint64_t node_caps)
{
	c->driver.has_topology =
		c->opts->topology &&
		facts->plugin & CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS);
	c->driver.caps = facts->controller;
	if (!c->opts->attributes)
		c->driver.caps &= ~CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
	c->driver.group_caps = c->opts->groups ? facts->group : 0;
	c->driver.node_caps = node_caps;
}

/* Whether it is one for what we were told. */
static int check_driver(const struct controller *c, const struct csi_offers *facts, struct err *err)
{
	const struct controller_options *o = c->opts;
	const char *address = controller_link_address(o);

	/* Contents of snapshots say whose they are; what claims are for, only topology can. */
	if (o->node_deployment && !c->driver.has_topology &&
	    !str_is_equal(o->controllers, "snapshotter"))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver at %s does not say where its volumes are, which "
			       "--node-deployment needs (no VOLUME_ACCESSIBILITY_CONSTRAINTS)",
			       address);
	if (!str_is_empty(o->driver_name) && !str_is_equal(o->driver_name, facts->name))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver at %s is '%s', --driver-name says '%s'", address,
			       facts->name, o->driver_name);
	if (o->metadata_port &&
	    !(facts->plugin & CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE)))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the driver at %s does not tell what is in snapshots (no "
			       "SNAPSHOT_METADATA_SERVICE), as --snapshot-metadata-port wants",
			       address);
	return 0;
}

/* One look at the driver: 1 ready, 0 not yet (said in waiting), -1 it is no driver for us. */
static int look_at_driver(struct controller *c, struct ctx *ctx, struct err *err)
{
	struct csi_offers facts = { 0 };
	uint64_t node_caps;
	struct err lack;

	if (controller_link_ask(c->link, ctx, &facts, &node_caps, err) < 0) {
		if (err->code == ERR_UNIMPLEMENTED)
			return err_wrap(err, "the driver at %s", controller_link_address(c->opts));
		set_waiting(c, err->msg);
		return 0;
	}
	note_driver(c, &facts, node_caps);
	free(TAKE_PTR(c->names));
	if (controllers_choose(controller_rows, n_controller_rows, c->opts->controllers, &c->driver,
			       &c->names, &lack) < 0)
		return err_set(err, lack.code, "the driver at %s %s",
			       controller_link_address(c->opts), lack.msg);
	if (check_driver(c, &facts, err) < 0)
		return -1;
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
			log_warn("waiting for the driver",
				 log_str("address", controller_link_address(c->opts)),
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

/* Without a driver upstream's name, since there is to be one in a cluster, whosever it is. */
static void format_lease_name(const struct controller *c, char name[static LEASE_NAME_MAX])
{
	if (c->has_driver)
		controller_own_lease_name(c->driver_name, name);
	else
		snprintf(name, LEASE_NAME_MAX, "%s-leader", c->names);
}

/* Of the election's Lease and the journal's. A kubeconfig's namespace is none of upstream's. */
static const char *lease_namespace(const struct controller *c)
{
	if (c->opts->as && !c->config.is_in_cluster)
		return str_or(c->opts->election_ns, "default");
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
		.service = c->link ? controller_link_service(c->link) : (struct csi_service){ 0 },
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

	controllers_pause(&c->controllers);
	if (!c->opts->as) {
		log_warn("lease lost, nothing more is written until it is won again");
		return;
	}
	log_error("lease lost, ending as upstream's program does");
	atomic_store(&c->is_deposed, true);
	(void)kill(getpid(), SIGTERM);
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
			      .labels = o->election_labels,
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

static int open_link(struct controller *c, struct err *err)
{
	const struct controller_link_options options = {
		.opts = c->opts,
		.loop = c->loop,
		.work = c->work,
		.client = c->client,
		.fence = c->fence,
		.ns = lease_namespace(c),
	};
	struct controller_link *link;

	if (controller_link_open(&options, &link, err) < 0)
		return -1;
	LOCK_SCOPE(&c->lock);
	c->link = link;
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
	if (!str_is_empty(o->master) && kube_config_use_server(&c->config, o->master, err) < 0)
		return err_wrap(err, "--master");
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
	c->has_driver = o->metadata_port ||
			controllers_need_driver(controller_rows, n_controller_rows, o->controllers);
	if (!c->has_driver)
		return 0;
	return open_link(c, err);
}

/* Whoever leads: it writes nothing. */
static int open_metadata(struct controller *c, struct err *err)
{
	const struct controller_options *o = c->opts;
	const struct kube_client_options client = { .user_agent = "cleat/" CMD_VERSION_TEXT };

	if (o->metadata_port == 0)
		return 0;
	if (kube_client_new(c->loop, &c->config, &client, &c->reviewer, err) < 0)
		return -1;
	return metadata_server_open(
		&(const struct metadata_server_options){
			.loop = c->loop,
			.work = c->work,
			.client = c->reviewer,
			.service = controller_link_service(c->link),
			.driver_name = c->driver_name,
			.port = o->metadata_port,
			.cert_file = o->metadata_cert,
			.key_file = o->metadata_key,
			.audience = o->metadata_audience,
			.timeout_ns = METADATA_TIMEOUT_NS,
			.stream_ns = o->metadata_minutes * 60 * NS_PER_S,
		},
		&c->metadata, err);
}

static int open_early(struct controller *c, struct err *err)
{
	const struct controller_early_options options = {
		.opts = c->opts,
		.loop = c->loop,
		.work = c->work,
		.config = &c->config,
		.lease_ns = lease_namespace(c),
		.identity = identity(c),
	};
	struct controller_early *early;

	if (controller_early_open(&options, &early, err) < 0)
		return -1;
	LOCK_SCOPE(&c->lock);
	c->early = early;
	return 0;
}

static int serve(struct controller *c, struct err *err)
{
	char lease_name[LEASE_NAME_MAX];
	int r;

	set_waiting(c, "starting");
	if (open_outside(c, err) < 0 || open_early(c, err) < 0)
		return -1;
	log_info("controller starting", log_str("version", CMD_VERSION_TEXT),
		 log_str("controllers", c->opts->controllers),
		 log_str("csiAddress", c->has_driver ? controller_link_address(c->opts) : ""),
		 log_str("apiServer", c->config.host),
		 log_bool("leaderElection", c->opts->election));
	r = c->has_driver ? wait_for_driver(c, err) : choose_without(c, err);
	if (r <= 0)
		return r;
	if (*c->names == '\0') { /* all of them are early */
		set_waiting(c, "");
		(void)process_wait(INT64_MAX);
		return 0;
	}
	format_lease_name(c, lease_name);
	if (c->link)
		controller_link_heed(c->link, lease_name);
	make_controllers(c, lease_name);
	if (c->link) /* where nodes are watched anyway: what places volumes there needs their labels
		      */
		controller_link_watch_nodes(c->link,
					    controllers_cache(&c->controllers, &core_node_type),
					    c->driver_name);
	if (c->opts->as && c->opts->as->lease)
		controller_lease_name(c->opts->as, c->driver_name, lease_name);
	if (open_metadata(c, err) < 0)
		return -1;
	if (start_work(c, lease_name, err) < 0)
		return -1;
	set_waiting(c, "");
	(void)process_wait(INT64_MAX);
	return atomic_load(&c->is_deposed)
		       ? err_set(err, ERR_ABORTED, "the lease '%s' was lost", lease_name)
		       : 0;
}

/* By the order of process.h; each part may be missing. */
static void take_down(struct controller *c)
{
	/* what is over is written, take nothing more */
	controllers_settle(&c->controllers);
	controllers_pause(&c->controllers);
	/* cancel, and wait for it */
	if (c->lease)
		lease_stop(c->lease);
	fence_close(c->fence);
	controller_link_leave_nodes(c->link);
	controllers_free(&c->controllers);
	/* give back */
	lease_free(c->lease);
	metadata_server_close(c->metadata, METADATA_GRACE_NS); /* streams of minutes, cut off */
	/* nobody looks any more */
	if (c->is_running)
		(void)process_http_close(c->http, INT64_MAX);
	controller_early_close(c->early);
	/* free */
	controllers_free_caches(&c->controllers);
	controller_link_close(c->link);
	kube_client_free(c->reviewer);
	kube_client_free(c->client);
	if (c->is_running)
		ev_loop_join(c->loop);
	if (c->work)
		work_free(c->work);
	metadata_server_free(c->metadata);
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
