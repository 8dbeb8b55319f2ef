/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve - a driver process from its start to its end
 *
 *   look at the machine -> CSI services -> HTTP port -> pools -> listeners -> kubelet -> event loop
 *
 * The order is that of who may see what: whatever may be wrong with names, ports, certificates and
 * directories is found before a pool is touched, having no pool to serve ends a driver before a CSI
 * endpoint listens (a node goes on: pods wait for what it takes down), and kubelet, which calls as
 * soon as it sees the registration socket, is shown it last. Pools that are missing are tried again
 * meanwhile (pools_watch). Nothing is restored at the start, since there is no state but the files
 * and the kernel's own; so a SIGKILL at any time is an ordinary end.
 *
 * A socket's file may be removed under us (kubelet clears its plugin directory when it starts,
 * people clean up): the directories are watched and the sockets made anew.
 *
 *   SIGTERM -> no new calls, GOAWAY -> those that run end, at most --shutdown-timeout -> exit 0
 */
#include "cmd/serve.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/capability.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/path.h"
#include "cmd/agent_certificate.h"
#include "cmd/endpoint.h"
#include "cmd/lanes.h"
#include "cmd/nodes.h"
#include "cmd/pools_watch.h"
#include "cmd/process.h"
#include "cmd/tend_watch.h"
#include "cmd/upkeep.h"
#include "csi/driver.h"
#include "csi/registration.h"
#include "csi/server.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/server.h"
#include "host/caps.h"
#include "net/tls.h"

#define OPEN_TIMEOUT_NS (60 * NS_PER_S)
#define HTTP_CLOSE_NS (2 * NS_PER_S)
#define POOLS_STOP_NS (2 * NS_PER_S)
#define POOLS_EVERY_NS (5 * NS_PER_S)
#define REGISTER_CALM_NS (60 * NS_PER_S)
#define N_SERVERS 3

struct serve {
	const struct serve_options *opts;
	const char *endpoint; /* in arena, as are all texts made here */
	struct arena *arena;
	struct backend_config *configs;
	size_t n_configs;
	struct registry *registry;
	struct nodes *nodes; /* NULL without --fence-nodes */
	struct pools_gauges gauges;
	struct csi_driver *driver;
	struct csi_service service; /* of driver */
	struct work *work;
	struct ev_loop *loop;
	struct tls *tls;
	struct agent_certificate *certificate; /* NULL without --certificate-signer */
	struct csi_server *csi;
	struct csi_server *fleet;               /* NULL without --fleet-endpoint */
	struct csi_registration *registration;  /* NULL unless is_node */
	struct endpoint *registration_endpoint; /* one of endpoints; NULL unless is_node */
	struct endpoint endpoints[N_SERVERS];   /* CSI, the fleet's, kubelet's registration */
	size_t n_endpoints;
	struct process_http *http;
	struct pools_watch *pools_watch;
	struct upkeep *upkeep;
	struct tend_watch *tend_watch;

	pthread_mutex_t lock;
	pthread_cond_t drained;
	bool is_drained[N_SERVERS]; /* lock */
};

static int check_machine(const struct serve_options *o, struct err *err)
{
	static const struct host_cap_need needs[] = {
		{ CAP_SYS_ADMIN, "to mount filesystems and to set up loop devices" },
		{ CAP_DAC_OVERRIDE, "to work in kubelet's directories" },
		{ CAP_CHOWN, "to give a volume to a pod's group" },
	};

	if (o->no_node || str_is_equal(o->pools.backend, "mem"))
		return 0;
	return host_caps_check(needs, ARRAY_LEN(needs), err);
}

static int open_pools(struct serve *s, struct err *err)
{
	struct ctx ctx;
	int r;

	ctx_init(&ctx, OPEN_TIMEOUT_NS);
	r = pools_open(s->registry, &ctx, s->configs, s->n_configs, s->opts->is_node, err);
	ctx_done(&ctx);
	return r;
}

static int make_driver(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	const struct csi_driver_options options = {
		.path_root = o->kubelet_dir,
		.name = o->driver_name,
		.version = CMD_VERSION_TEXT,
		.node_id = o->node_id,
		.cluster_id = o->cluster_id,
		.serve_controller = !o->no_controller,
		.serve_node = !o->no_node,
		.max_volumes = o->max_volumes,
		.cgroup_root = o->cgroup_root,
		.pools = s->registry = registry_new(),
		.nodes = s->nodes ? nodes_door(s->nodes) : NULL,
	};

	if (csi_driver_new(&options, &s->driver, err) < 0)
		return -1;
	s->service = csi_driver_service(s->driver);
	return 0;
}

static int make_services(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	int r;

	if (o->is_node && csi_registration_check_dir(o->kubelet_dir, err) < 0)
		return -1;
	r = ev_loop_new(&s->loop);
	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "make an event loop");
	if ((o->fence_nodes &&
	     nodes_new(s->loop, o->kubeconfig, o->driver_name, &s->nodes, err) < 0) ||
	    make_driver(s, err) < 0)
		return -1;
	r = lanes_start(s->loop, 0, &s->work);
	return r < 0 ? err_os(err, ERR_INTERNAL, r, "start threads") : 0;
}

static struct endpoint *add_endpoint(struct serve *s, const char *what)
{
	struct endpoint *e = &s->endpoints[s->n_endpoints++];

	endpoint_init(e, s->loop, s->work, what);
	return e;
}

/* With certificates, if there are any. */
static int listen_at(struct serve *s, struct endpoint *e, const char *address, struct err *err)
{
	return endpoint_listen(e, address, s->tls, s->opts->insecure, err);
}

static int ask_for_certificate(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	const struct agent_certificate_options options = {
		.loop = s->loop,
		.work = s->work,
		.tls = s->tls,
		.node = o->node_id,
		.signer = o->certificate_signer,
		.kubeconfig = o->kubeconfig,
		.lifetime_ns = o->certificate_lifetime_ns,
	};

	return str_is_empty(o->certificate_signer)
		       ? 0
		       : agent_certificate_new(&options, &s->certificate, err);
}

static int load_tls(struct serve *s, struct err *err)
{
	const struct cmd_tls *t = &s->opts->tls;
	const struct tls_options options = {
		.is_server = true,
		.cert_later = !str_is_empty(s->opts->certificate_signer),
		.cert_file = t->cert,
		.key_file = t->key,
		.ca_file = t->ca,
	};

	if (!cmd_tls_is_set(t))
		return 0;
	return tls_new(&options, &s->tls, err) < 0 ? -1 : ask_for_certificate(s, err);
}

static struct csi_server *bind_service(struct serve *s, struct endpoint *e,
				       enum csi_server_scope scope)
{
	const struct csi_server_options options = {
		.scope = scope,
		.driver_name = s->opts->driver_name,
		.lanes = { [CSI_RPC_STORE] = LANE_STORE,
			   [CSI_RPC_HOST] = LANE_HOST,
			   [CSI_RPC_LOOK] = LANE_LOOK,
			   [CSI_RPC_REMOTE] = LANE_REMOTE,
			   [CSI_RPC_STREAMS] = LANE_STREAM },
		.lane_of = csi_driver_lane_of,
		.lane_arg = s->driver,
	};

	return csi_server_new(e->server, &s->service, &options);
}

static int open_csi(struct serve *s, struct err *err)
{
	struct endpoint *e = add_endpoint(s, "CSI");

	s->csi = bind_service(s, e, CSI_SERVER_ALL);
	return listen_at(s, e, s->endpoint, err);
}

/* A server of its own, since it offers less: what the controller needs of this node. */
static int open_fleet(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	struct endpoint *e;

	if (str_is_empty(o->fleet_endpoint))
		return 0;
	e = add_endpoint(s, "fleet");
	s->fleet = bind_service(s, e, CSI_SERVER_FOR_CONTROLLER);
	return listen_at(s, e, o->fleet_endpoint, err);
}

/* kubelet-dir/plugins/<driver>, where kubelet's drivers have their sockets; only the last part is
 * ours to make. */
static int make_plugin_dir(struct serve *s, struct err *err)
{
	const char *dir;

	if (!str_is_empty(s->opts->endpoint))
		return 0;
	dir = arena_printf(s->arena, "%s/plugins/%s", s->opts->kubelet_dir, s->opts->driver_name);
	if (mkdir(dir, 0750) < 0 && errno != EEXIST)
		return err_os(err, ERR_FAILED_PRECONDITION, errno, "make '%s'", dir);
	s->endpoint = arena_printf(s->arena, "unix://%s/csi.sock", dir);
	return 0;
}

static int prepare_kubelet(struct serve *s, struct err *err)
{
	if (!s->opts->is_node)
		return 0;
	return make_plugin_dir(s, err);
}

/* A socket's directory is not ours to make, and better missed now than after the pools were opened.
 */
static int check_socket_dir(const char *address, struct err *err)
{
	autofree char *dir = NULL;
	struct net_addr addr;
	struct stat st;

	if (net_addr_parse(address, &addr, err) < 0)
		return -1;
	if (addr.kind != NET_ADDR_UNIX)
		return 0;
	dir = path_parent(addr.path);
	if (!dir)
		return err_set(err, ERR_INVALID_ARGUMENT, "--endpoint=%s is no path of a socket",
			       address);
	if (stat(dir, &st) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "--endpoint=%s: the socket's directory '%s'", address, dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_FAILED_PRECONDITION, "--endpoint=%s: '%s' is no directory",
			       address, dir);
	if (access(dir, W_OK | X_OK) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "--endpoint=%s: make a socket in '%s'", address, dir);
	return 0;
}

static int open_registration(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	struct csi_registration_options options = { .driver_name = o->driver_name };
	struct endpoint *e;
	struct net_addr csi;

	if (!o->is_node)
		return 0;
	if (net_addr_parse(s->endpoint, &csi, err) < 0)
		return -1;
	options.endpoint = str_or(o->registration_path, csi.path);
	e = add_endpoint(s, "kubelet registration");
	s->registration_endpoint = e;
	if (csi_registration_new(e->server, &options, &s->registration, err) < 0)
		return -1;
	return listen_at(s, e,
			 arena_printf(s->arena, "unix://%s/plugins_registry/%s-reg.sock",
				      o->kubelet_dir, o->driver_name),
			 err);
}

/* kubelet asks for the node's topology when a driver registers, and a socket that is made anew is a
 * driver that does. On the loop. */
static void register_again(void *arg)
{
	struct serve *s = arg;
	struct endpoint *e = s->registration_endpoint;
	struct err err;

	if (!e)
		return;
	if (grpc_server_rebind(e->server, &err) < 0)
		log_error("pools changed, and kubelet cannot be told", log_err(&err));
	else
		log_info("pools changed; registering with kubelet again");
}

static void watch_pools(struct serve *s)
{
	const struct pools_watch_options options = {
		.registry = s->registry,
		.configs = s->configs,
		.n_configs = s->n_configs,
		.every_ns = POOLS_EVERY_NS,
		.calm_ns = REGISTER_CALM_NS,
		.changed = register_again,
		.arg = s,
	};

	s->pools_watch = pools_watch_new(s->loop, s->work, &options);
}

/* On a worker. */
static bool is_ready(void *arg, struct str *why)
{
	struct serve *s = arg;
	const struct csi_probe_request req = {};
	struct csi_probe_response reply;
	bool ready = false;
	struct ctx ctx;
	struct err err;

	if (!pools_watch_report(s->pools_watch, why))
		return false;
	if (s->certificate) /* kubelet is served without */
		agent_certificate_report(s->certificate, why);

	ctx_init(&ctx, NS_PER_S);
	if (csi_probe(&s->service, &ctx, &req, &reply, &err) < 0)
		str_append(why, err.msg);
	else if (!(ready = csi_probe_is_ready(&reply)))
		str_append(why, "the driver is not ready");
	ctx_done(&ctx);
	if (ready && s->registration && !csi_registration_is_registered(s->registration)) {
		str_append(why, "kubelet has not registered this driver yet");
		return false;
	}
	return ready;
}

static int start(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->opts;
	int r;

	if (make_services(s, err) < 0 || check_machine(o, err) < 0 || prepare_kubelet(s, err) < 0 ||
	    check_socket_dir(s->endpoint, err) < 0 || load_tls(s, err) < 0 ||
	    process_http_start(s->loop, s->work, o->http_endpoint, o->metrics_path, is_ready, s,
			       &s->http, err) < 0)
		return -1;
	if (open_pools(s, err) < 0 || open_csi(s, err) < 0 || open_fleet(s, err) < 0 ||
	    open_registration(s, err) < 0)
		return -1;
	watch_pools(s);
	s->upkeep = upkeep_new(s->loop, s->work, s->driver);
	s->tend_watch = tend_watch_new(s->loop, s->work, s->registry);
	s->gauges.registry = s->registry;
	metric_on_render(pools_set_gauges, &s->gauges);
	r = ev_loop_spawn(s->loop);
	return r < 0 ? err_os(err, ERR_INTERNAL, r, "start the event loop") : 0;
}

static void log_start(const struct serve *s)
{
	const struct serve_options *o = s->opts;

	log_info(o->is_node ? "node started" : "driver started",
		 log_str("version", CMD_VERSION_TEXT), log_str("driver", o->driver_name),
		 log_str("nodeID", o->node_id), log_str("endpoint", s->endpoint),
		 log_str("fleetEndpoint", str_or(o->fleet_endpoint, "")),
		 log_str("httpEndpoint", str_or(o->http_endpoint, "")),
		 log_bool("tls", cmd_tls_is_set(&o->tls)),
		 log_u64("pools", registry_count(s->registry)));
}

struct drain {
	struct serve *serve;
	size_t i; /* of the endpoint */
};

static void mark_drained(void *arg)
{
	struct drain *d = arg;

	LOCK_SCOPE(&d->serve->lock);
	d->serve->is_drained[d->i] = true;
	pthread_cond_broadcast(&d->serve->drained);
}

static void begin_drain(void *arg)
{
	struct drain *d = arg;
	struct endpoint *e = &d->serve->endpoints[d->i];

	endpoint_unwatch(e);
	grpc_server_drain(e->server, d->serve->opts->shutdown_timeout_ns, mark_drained, d);
}

/* Lets the calls that run end; returns when the last connection is gone, at the latest after the
 * timeout. */
static void drain(struct serve *s)
{
	struct drain drains[N_SERVERS];

	for (size_t i = 0; i < s->n_endpoints; i++) {
		drains[i] = (struct drain){ s, i };
		ev_post(s->loop, begin_drain, &drains[i]);
	}
	for (size_t i = 0; i < s->n_endpoints; i++) {
		LOCK_SCOPE(&s->lock);
		while (!s->is_drained[i])
			(void)sync_cond_wait_until(&s->drained, &s->lock, INT64_MAX);
	}
}

/* Steps 5 to 7 of process.h; each part may be missing. The loop has stopped or never ran. */
static void take_down(struct serve *s)
{
	for (size_t i = 0; i < s->n_endpoints; i++)
		endpoint_unwatch(&s->endpoints[i]);
	if (s->work)
		work_free(s->work);
	process_http_free(s->http);
	for (size_t i = 0; i < s->n_endpoints; i++)
		endpoint_free(&s->endpoints[i]);
	if (s->registration)
		csi_registration_free(s->registration);
	csi_server_free(s->fleet);
	csi_server_free(s->csi);
	pools_watch_free(s->pools_watch);
	agent_certificate_free(s->certificate);
	upkeep_free(s->upkeep);
	tend_watch_free(s->tend_watch);
	nodes_free(s->nodes);
	if (s->loop)
		ev_loop_free(s->loop);
	tls_unref(s->tls);
	if (s->driver)
		csi_driver_free(s->driver);
	if (s->registry)
		registry_free(s->registry);
	pools_forget_mount_points(s->configs, s->n_configs);
	arena_free(s->arena);
	pthread_cond_destroy(&s->drained);
	pthread_mutex_destroy(&s->lock);
}

static int stop(struct serve *s)
{
	unsigned busy;

	log_info("stopping, calls that run may end",
		 log_duration("atMost", s->opts->shutdown_timeout_ns));
	drain(s);
	agent_certificate_stop(s->certificate);
	/* Only a page that reads a dead disk hangs so long. */
	(void)process_http_close(s->http, HTTP_CLOSE_NS);
	(void)pools_watch_stop(s->pools_watch, POOLS_STOP_NS);
	(void)upkeep_stop(s->upkeep, POOLS_STOP_NS);
	(void)tend_watch_stop(s->tend_watch, POOLS_STOP_NS);
	busy = lanes_busy(s->work);
	if (busy > 0) {
		/* They hang in the kernel or in a tool. Waiting for them would be for ever; the
		 * caller will repeat. */
		log_warn("stopped while calls still run; they are safe to repeat",
			 log_u64("calls", busy));
		_exit(CMD_FAILED);
	}
	ev_loop_join(s->loop);
	log_info("stopped");
	return CMD_OK;
}

int serve_run(const struct cmd *cmd, const struct serve_options *opts)
{
	struct serve s = { .opts = opts,
			   .endpoint = opts->endpoint,
			   .gauges = { .is_asking = ATOMIC_FLAG_INIT },
			   .lock = PTHREAD_MUTEX_INITIALIZER };
	struct err err;
	int status;

	process_begin();
	sync_cond_init(&s.drained);
	s.arena = arena_new();
	if (serve_check(opts, s.arena, &s.configs, &s.n_configs, &err) < 0) {
		status = cmd_usage(cmd, "%s", err.msg);
	} else if (start(&s, &err) < 0) {
		/* INVALID_ARGUMENT is about a word of the command line that only its room can judge
		 * (a name). */
		status = err.code == ERR_INVALID_ARGUMENT ? cmd_usage(cmd, "%s", err.msg)
							  : cmd_failed(cmd, &err);
	} else {
		log_start(&s);
		(void)process_wait(INT64_MAX);
		status = stop(&s);
	}
	take_down(&s);
	return status;
}

int serve_main(const struct cmd *cmd, bool is_node, int argc, char **argv)
{
	struct serve_options opts = { 0 };
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	opts.is_node = is_node;
	status = serve_run(cmd, &opts);
	opt_done(cmd->options, &opts);
	return status;
}
