/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat node-driver-registrar - tells kubelet of a driver that does not do so itself
 *
 * What upstream's node-driver-registrar does, with its options. kubelet sees the socket in its
 * directory, asks here for the driver's name and socket, and says whether it took it; when it did
 * not, the process ends with 1, so that the container is started anew and kubelet asked again.
 * (cleat node registers itself and needs none of this.)
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "cmd/endpoint.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "cmd/remote.h"
#include "cmd/sidecar.h"
#include "csi/registration.h"
#include "event/loop.h"
#include "net/httpd.h"

#define CLOSE_NS (10 * NS_PER_S)
#define PROBE_MODE "kubelet-registration-probe"

struct registrar_options {
	struct cmd_common common;
	const char *csi_address;
	const char *kubelet_path;
	const char *dir;
	int64_t timeout_ns;
	int64_t connection_timeout_ns;
	const char *http_endpoint;
	unsigned port;
	bool pprof;
	const char *mode;
};

/* clang-format off */
static const struct opt options[] = {
	{ .name = "The driver", .type = OPT_GROUP },
	{ .name = "csi-address", .type = OPT_STRING, .offset = offsetof(struct registrar_options, csi_address),
	  .arg = "ADDRESS", .fallback = "/run/csi/socket", .help = "The driver's socket." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = offsetof(struct registrar_options, timeout_ns),
	  .arg = "TIME", .fallback = "1s", .help = "How long the driver may take to tell its name." },
	{ .name = "kubelet", .type = OPT_GROUP },
	{ .name = "kubelet-registration-path", .type = OPT_STRING,
	  .offset = offsetof(struct registrar_options, kubelet_path), .arg = "PATH",
	  .help = "The driver's socket as kubelet sees it on the host, such as "
		  "/var/lib/kubelet/plugins/DRIVER/csi.sock. Required." },
	{ .name = "plugin-registration-path", .type = OPT_STRING, .offset = offsetof(struct registrar_options, dir),
	  .arg = "DIR", .fallback = "/registration", .help = "kubelet's directory plugins_registry, as mounted here." },
	{ .name = "Process", .type = OPT_GROUP },
	{ .name = "http-endpoint", .type = OPT_STRING, .offset = offsetof(struct registrar_options, http_endpoint),
	  .arg = "HOST:PORT", .help = "Where /healthz is served; nowhere unless given." },
	{ .name = "health-port", .type = OPT_UINT, .offset = offsetof(struct registrar_options, port), .arg = "PORT",
	  .help = "Deprecated: its port. Not with --http-endpoint." },
	{ .name = "enable-pprof", .type = OPT_BOOL, .offset = offsetof(struct registrar_options, pprof),
	  .help = "Taken and without effect: profiles are a Go program's." },
	{ .name = "connection-timeout", .type = OPT_DURATION,
	  .offset = offsetof(struct registrar_options, connection_timeout_ns), .arg = "TIME",
	  .help = "Deprecated and without effect." },
	{ .name = "mode", .type = OPT_STRING, .offset = offsetof(struct registrar_options, mode), .arg = "MODE",
	  .fallback = "registration", .help = "Deprecated: " PROBE_MODE " ends with 0 at once." },
	CMD_COMMON_OPTIONS(struct registrar_options),
	{ .type = OPT_END },
};
/* clang-format on */

struct registrar {
	struct sidecar frame;
	const struct registrar_options *opts;
	struct endpoint endpoint;
	struct csi_registration *registration;
	struct httpd *health;
	struct httpd_route route;
	char *socket; /* its path */
	atomic_bool is_refused;
};

/* Whether kubelet could ask us now. On a worker. */
static unsigned answer_health(void *arg, struct str *body)
{
	struct registrar *r = arg;
	struct stat st;
	struct ctx ctx;
	struct err err;
	int rc;

	if (stat(r->socket, &st) < 0) {
		str_appendf(body, "there is no socket '%s'\n", r->socket);
		return 404;
	}
	ctx_init(&ctx, r->opts->timeout_ns);
	rc = csi_registration_ask(r->frame.loop, r->socket, &ctx, r->frame.driver_name, &err);
	ctx_done(&ctx);
	if (rc < 0) {
		str_appendf(body, "%s\n", err.msg);
		return 500;
	}
	str_append(body, "ok");
	return 200;
}

/* On the loop. */
static void refused(void *arg)
{
	struct registrar *r = arg;

	atomic_store(&r->is_refused, true);
	(void)kill(getpid(), SIGTERM);
}

static int open_health(struct registrar *r, struct err *err)
{
	const struct registrar_options *o = r->opts;
	char by_port[32];

	if (str_is_empty(o->http_endpoint) && !o->port)
		return 0;
	(void)snprintf(by_port, sizeof(by_port), ":%u", o->port);
	r->route = (struct httpd_route){
		.path = "/healthz", .fn = answer_health, .is_blocking = true, .lane = LANE_HEALTH
	};
	return httpd_new(r->frame.loop, r->frame.work, str_or(o->http_endpoint, by_port), &r->route,
			 1, r, &r->health, err);
}

static int open_socket(struct registrar *r, struct err *err)
{
	const struct csi_registration_options how = {
		.driver_name = r->frame.driver_name,
		.endpoint = r->opts->kubelet_path,
		.refused = refused,
		.arg = r,
	};
	autofree char *address = xasprintf("unix://%s", r->socket);

	endpoint_init(&r->endpoint, r->frame.loop, r->frame.work, "kubelet registration");
	if (csi_registration_new(r->endpoint.server, &how, &r->registration, err) < 0)
		return -1;
	return endpoint_listen(&r->endpoint, address, NULL, false, err);
}

static int open_all(void *arg, struct err *err)
{
	struct registrar *r = arg;

	return open_health(r, err) < 0 ? -1 : open_socket(r, err);
}

static int serve(struct registrar *r, struct err *err)
{
	const struct registrar_options *o = r->opts;
	int rc;

	if (sidecar_init(&r->frame, err) < 0 || sidecar_start(&r->frame, err) < 0)
		return -1;
	rc = sidecar_wait_for_driver(&r->frame, o->csi_address, o->timeout_ns, err);
	if (rc <= 0)
		return rc;
	r->socket = xasprintf("%s/%s-reg.sock", o->dir, r->frame.driver_name);
	if (sidecar_on_loop(&r->frame, open_all, r, err) < 0)
		return -1;
	log_info("kubelet may register the driver", log_str("socket", r->socket),
		 log_str("endpoint", o->kubelet_path));
	(void)process_wait(INT64_MAX);
	return atomic_load(&r->is_refused)
		       ? err_set(err, ERR_FAILED_PRECONDITION,
				 "kubelet refused to register '%s'; its log and ours say why",
				 r->frame.driver_name)
		       : 0;
}

static void take_down(struct registrar *r)
{
	if (r->health)
		(void)httpd_close(r->health, CLOSE_NS);
	sidecar_stop(&r->frame);
	if (r->health)
		httpd_free(r->health);
	if (r->endpoint.server)
		endpoint_free(&r->endpoint);
	csi_registration_free(r->registration);
	sidecar_free(&r->frame);
	free(r->socket);
}

static int check(const struct registrar_options *o, struct err *err)
{
	const struct cmd_tls no_tls = { 0 };

	if (str_is_empty(o->kubelet_path))
		return err_set(err, ERR_INVALID_ARGUMENT, "--kubelet-registration-path is missing");
	if (!path_is_clean(o->kubelet_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--kubelet-registration-path=%.200s is not the absolute path of a "
			       "socket",
			       o->kubelet_path);
	if (!path_is_clean(o->dir))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--plugin-registration-path=%.200s is no clean absolute path",
			       o->dir);
	if (sidecar_check_page(o->http_endpoint, o->port, err) < 0)
		return -1;
	if (o->timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--timeout must be above 0");
	if (http_check(o->http_endpoint, "/metrics", err) < 0)
		return -1;
	return address_check("csi-address", o->csi_address, &no_tls, false, err);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct registrar_options opts = { 0 };
	struct registrar r = { .opts = &opts };
	struct err err;
	int status, rc;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (str_is_equal(opts.mode, PROBE_MODE))
		return CMD_OK;
	if (check(&opts, &err) < 0)
		return cmd_usage(cmd, "%s", err.msg);
	rc = serve(&r, &err);
	take_down(&r);
	return rc < 0 ? cmd_failed(cmd, &err) : CMD_OK;
}

const struct cmd cmd_registrar = {
	.name = "node-driver-registrar",
	.program = "csi-node-driver-registrar",
	.summary = "Register a CSI driver with kubelet that does not do so itself.",
	.synopsis = "cleat node-driver-registrar --kubelet-registration-path=PATH [option...]",
	.about = "Beside any vendor's driver on a node:\n"
		 "  cleat node-driver-registrar --csi-address=/csi/csi.sock \\\n"
		 "    --kubelet-registration-path=/var/lib/kubelet/plugins/DRIVER/csi.sock\n",
	.options = options,
	.run = run,
};
