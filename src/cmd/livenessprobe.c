/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat livenessprobe - a page that says whether the driver answers Probe
 *
 * What upstream's livenessprobe does, with its options: kubelet's probe of the *driver's* container
 * asks this page, so that a driver which hangs is started anew. Each request has a connection of
 * its own, as a driver that answers on an old one may not take new ones any more. This process
 * never ends because the driver is away.
 */
#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/metric.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "cmd/remote.h"
#include "cmd/sidecar.h"
#include "event/loop.h"
#include "net/httpd.h"

#define PORT_DEFAULT 9808
#define CLOSE_NS (10 * NS_PER_S)

struct probe_options {
	struct cmd_common common;
	const char *csi_address;
	int64_t timeout_ns;
	unsigned port;
	const char *http_endpoint;
	const char *metrics_address;
	const char *metrics_path;
	bool tells_liveness;
};

/* clang-format off */
static const struct opt options[] = {
	{ .name = "The driver", .type = OPT_GROUP },
	{ .name = "csi-address", .type = OPT_STRING, .offset = offsetof(struct probe_options, csi_address),
	  .arg = "ADDRESS", .fallback = "/run/csi/socket", .help = "The driver's socket." },
	{ .name = "probe-timeout", .type = OPT_DURATION, .offset = offsetof(struct probe_options, timeout_ns),
	  .arg = "TIME", .fallback = "3s", .help = "How long the driver may take to answer." },
	{ .name = "The page", .type = OPT_GROUP },
	{ .name = "http-endpoint", .type = OPT_STRING, .offset = offsetof(struct probe_options, http_endpoint),
	  .arg = "HOST:PORT", .help = "Where /healthz is served, and metrics with it; unless given, /healthz on "
				      "port 9808 of all addresses." },
	{ .name = "metrics-path", .type = OPT_STRING, .offset = offsetof(struct probe_options, metrics_path),
	  .arg = "PATH", .fallback = "/metrics", .help = "Where metrics are." },
	{ .name = "health-port", .type = OPT_UINT, .offset = offsetof(struct probe_options, port), .arg = "PORT",
	  .help = "Deprecated: the port of /healthz. Not with --http-endpoint." },
	{ .name = "metrics-address", .type = OPT_STRING, .offset = offsetof(struct probe_options, metrics_address),
	  .arg = "HOST:PORT", .help = "Deprecated: where metrics alone are served. Not with --http-endpoint." },
	{ .name = "liveness-metric", .type = OPT_BOOL, .offset = offsetof(struct probe_options, tells_liveness),
	  .help = "csi_liveness is among the metrics: whether the driver answers, asked at each scrape." },
	CMD_COMMON_OPTIONS(struct probe_options),
	{ .type = OPT_END },
};
/* clang-format on */

enum { ROUTE_HEALTH, ROUTE_METRICS, N_ROUTES };

struct probe {
	struct sidecar frame;
	const struct probe_options *opts;
	struct httpd *health, *metrics; /* metrics: NULL, or of an address of its own */
	struct httpd_route routes[N_ROUTES];
};

static int probe_driver(struct probe *p, struct err *err)
{
	const struct csi_probe_request ask = {};
	const struct cmd_tls no_tls = { 0 };
	struct csi_probe_response reply;
	struct remote *remote = NULL;
	struct csi_service service;
	struct ctx ctx;
	int r;

	if (remote_open(p->frame.loop, p->opts->csi_address, &no_tls, &remote, err) < 0)
		return -1;
	service = remote_service(remote);
	ctx_init(&ctx, p->opts->timeout_ns);
	r = csi_probe(&service, &ctx, &ask, &reply, err);
	if (r == 0 && !csi_probe_is_ready(&reply))
		r = err_set(err, ERR_UNAVAILABLE, "the driver is not ready");
	ctx_done(&ctx);
	remote_close(remote);
	return r;
}

/* On a worker. */
static unsigned answer_health(void *arg, struct str *body)
{
	struct probe *p = arg;
	struct err err;

	if (probe_driver(p, &err) == 0) {
		str_append(body, "ok");
		return 200;
	}
	log_error("the driver does not answer Probe", log_str("driver", p->frame.driver_name),
		  log_err(&err));
	str_appendf(body, "%s\n", err.msg);
	return 500;
}

static unsigned answer_metrics(void *arg, struct str *body)
{
	struct probe *p = arg;
	struct err err;

	if (p->opts->tells_liveness)
		metric_set(METRIC_CSI_LIVENESS, probe_driver(p, &err) == 0, NULL);
	metric_render(body);
	return 200;
}

static int listen_at(struct probe *p, const char *endpoint, const struct httpd_route *routes,
		     size_t n, struct httpd **ret_httpd, struct err *err)
{
	return httpd_new(p->frame.loop, p->frame.work, endpoint, routes, n, p, ret_httpd, err);
}

static int open_pages(void *arg, struct err *err)
{
	struct probe *p = arg;
	const struct probe_options *o = p->opts;
	char by_port[32];

	p->routes[ROUTE_HEALTH] = (struct httpd_route){
		.path = "/healthz", .fn = answer_health, .is_blocking = true, .lane = LANE_HEALTH
	};
	p->routes[ROUTE_METRICS] = (struct httpd_route){
		.path = o->metrics_path,
		.content_type = "text/plain; version=0.0.4; charset=utf-8",
		.fn = answer_metrics,
		.is_blocking = true,
		.lane = LANE_HEALTH,
	};
	if (!str_is_empty(o->http_endpoint))
		return listen_at(p, o->http_endpoint, p->routes, N_ROUTES, &p->health, err);
	(void)snprintf(by_port, sizeof(by_port), ":%u", o->port ? o->port : PORT_DEFAULT);
	if (listen_at(p, by_port, p->routes, 1, &p->health, err) < 0)
		return -1;
	return str_is_empty(o->metrics_address)
		       ? 0
		       : listen_at(p, o->metrics_address, &p->routes[ROUTE_METRICS], 1, &p->metrics,
				   err);
}

static int serve(struct probe *p, struct err *err)
{
	int r;

	if (sidecar_init(&p->frame, err) < 0 || sidecar_start(&p->frame, err) < 0)
		return -1;
	r = sidecar_wait_for_driver(&p->frame, p->opts->csi_address, p->opts->timeout_ns, err);
	if (r <= 0)
		return r;
	r = sidecar_on_loop(&p->frame, open_pages, p, err);
	if (r == 0)
		(void)process_wait(INT64_MAX);
	return r;
}

static void take_down(struct probe *p)
{
	if (p->health)
		(void)httpd_close(p->health, CLOSE_NS);
	if (p->metrics)
		(void)httpd_close(p->metrics, CLOSE_NS);
	sidecar_stop(&p->frame);
	if (p->health)
		httpd_free(p->health);
	if (p->metrics)
		httpd_free(p->metrics);
	sidecar_free(&p->frame);
}

static int check(const struct probe_options *o, struct err *err)
{
	const struct cmd_tls no_tls = { 0 };

	if (sidecar_check_page(o->http_endpoint, o->port, err) < 0)
		return -1;
	if (!str_is_empty(o->http_endpoint) && !str_is_empty(o->metrics_address))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--http-endpoint and --metrics-address exclude each other");
	if (o->timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--probe-timeout must be above 0");
	if (http_check(o->http_endpoint, o->metrics_path, err) < 0 ||
	    http_check(o->metrics_address, o->metrics_path, err) < 0)
		return -1;
	return address_check("csi-address", o->csi_address, &no_tls, false, err);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct probe_options opts = { 0 };
	struct probe p = { .opts = &opts };
	struct err err;
	int status, r;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (check(&opts, &err) < 0)
		return cmd_usage(cmd, "%s", err.msg);
	r = serve(&p, &err);
	take_down(&p);
	return r < 0 ? cmd_failed(cmd, &err) : CMD_OK;
}

const struct cmd cmd_livenessprobe = {
	.name = "livenessprobe",
	.program = "livenessprobe",
	.summary = "Serve a page that tells kubelet whether a CSI driver answers.",
	.synopsis = "cleat livenessprobe --csi-address=ADDRESS [option...]",
	.about = "Beside any vendor's driver, whose container has a livenessProbe of port 9808:\n"
		 "  cleat livenessprobe --csi-address=/csi/csi.sock\n",
	.options = options,
	.run = run,
};
