/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat snapshot-metadata - tells backup software what has changed between snapshots
 *
 * What upstream's csi-snapshot-metadata does, with its options, beside any vendor's driver that has
 * CSI's SnapshotMetadata service. (cleat controller serves the same with --snapshot-metadata-port,
 * for the agents of all nodes.) The page is there first and says that it is not ready; the port is
 * opened once the driver has said its name and that it can, so that nobody is let in to wait.
 */
#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/metric.h"
#include "cmd/lanes.h"
#include "cmd/metadata_server.h"
#include "cmd/process.h"
#include "cmd/remote.h"
#include "cmd/sidecar.h"
#include "event/loop.h"
#include "kube/client.h"
#include "kube/config.h"
#include "net/httpd.h"

#include <stdatomic.h>

#define AGAIN_NS NS_PER_S
#define CLOSE_NS (10 * NS_PER_S)
/* Below the 30 s that Kubernetes gives a pod. */
#define GRACE_NS (20 * NS_PER_S)

struct metadata_options {
	struct cmd_common common;
	const char *csi_address;
	int64_t timeout_ns;
	unsigned port;
	const char *cert, *key, *min_tls;
	const char *audience;
	unsigned minutes;
	const char *kubeconfig;
	unsigned qps, burst;
	const char *http_endpoint, *metrics_path;
	bool no_metrics;
};

/* clang-format off */
static const struct opt options[] = {
	{ .name = "The driver", .type = OPT_GROUP },
	{ .name = "csi-address", .type = OPT_STRING, .offset = offsetof(struct metadata_options, csi_address),
	  .arg = "ADDRESS", .fallback = "/run/csi/socket", .help = "The driver's socket." },
	{ .name = "timeout", .type = OPT_DURATION, .offset = offsetof(struct metadata_options, timeout_ns),
	  .arg = "TIME", .fallback = "1m", .help = "How long may take what comes before a stream: reviews, the driver's "
						   "name and capabilities." },
	{ .name = "The service", .type = OPT_GROUP },
	{ .name = "port", .type = OPT_UINT, .offset = offsetof(struct metadata_options, port), .arg = "PORT",
	  .fallback = "50051", .help = "Where it is served, on all addresses." },
	{ .name = "tls-cert", .type = OPT_STRING, .offset = offsetof(struct metadata_options, cert), .arg = "FILE",
	  .env = "TLS_CERT_PATH", .help = "Its certificate (PEM), read again when it changes. Required." },
	{ .name = "tls-key", .type = OPT_STRING, .offset = offsetof(struct metadata_options, key), .arg = "FILE",
	  .env = "TLS_KEY_PATH", .help = "The certificate's key. Required." },
	{ .name = "tls-min-version", .type = OPT_CHOICE, .offset = offsetof(struct metadata_options, min_tls),
	  .arg = "VERSION", .fallback = "VersionTLS12", .choices = "VersionTLS12|VersionTLS13",
	  .help = "The oldest TLS that clients may speak." },
	{ .name = "audience", .type = OPT_STRING, .offset = offsetof(struct metadata_options, audience), .arg = "TEXT",
	  .help = "Whom tokens must be meant for; spec.audience of the SnapshotMetadataService with the driver's name "
		  "unless given." },
	{ .name = "max-streaming-duration-min", .type = OPT_UINT,
	  .offset = offsetof(struct metadata_options, minutes), .arg = "MINUTES", .fallback = "10",
	  .help = "How long one call may take; its caller goes on from where it was cut." },
	{ .name = "The cluster", .type = OPT_GROUP },
	{ .name = "kubeconfig", .type = OPT_STRING, .offset = offsetof(struct metadata_options, kubeconfig),
	  .arg = "FILE", .help = "Unless given: $KUBECONFIG, else the pod's service account, else ~/.kube/config." },
	{ .name = "kube-api-qps", .type = OPT_UINT, .offset = offsetof(struct metadata_options, qps), .arg = "N",
	  .fallback = "5", .help = "At most so many requests a second to the API server; a call makes about six. 0: as it "
				   "allows." },
	{ .name = "kube-api-burst", .type = OPT_UINT, .offset = offsetof(struct metadata_options, burst), .arg = "N",
	  .fallback = "10", .help = "How many of them may come at once." },
	{ .name = "Process", .type = OPT_GROUP },
	{ .name = "http-endpoint", .type = OPT_STRING, .offset = offsetof(struct metadata_options, http_endpoint),
	  .arg = "HOST:PORT", .fallback = ":8080", .help = "Where /health, /healthz, /readyz and metrics are served; "
							   "nowhere if empty." },
	{ .name = "metrics-path", .type = OPT_STRING, .offset = offsetof(struct metadata_options, metrics_path),
	  .arg = "PATH", .fallback = "/metrics", .help = "Where metrics are on it." },
	{ .name = "disable-metrics", .type = OPT_BOOL, .offset = offsetof(struct metadata_options, no_metrics),
	  .help = "No metrics." },
	CMD_COMMON_OPTIONS(struct metadata_options),
	{ .type = OPT_END },
};
/* clang-format on */

/* Upstream's one path, and those that all programs here have. */
enum { ROUTE_HEALTH, ROUTE_READY, ROUTE_LIVE, ROUTE_METRICS, N_ROUTES };

struct metadata {
	struct sidecar frame;
	const struct metadata_options *opts;
	struct kube_config config;
	struct kube_client *client;
	struct remote *remote;
	struct metadata_server *server;
	struct httpd *pages;
	struct httpd_route routes[N_ROUTES];
	atomic_bool is_ready;
};

static unsigned answer_ready(void *arg, struct str *body)
{
	struct metadata *m = arg;

	if (atomic_load(&m->is_ready)) {
		str_append(body, "ok");
		return 200;
	}
	str_append(body, "not ready: waiting for the driver\n");
	return 503;
}

static unsigned answer_live(void *arg, struct str *body)
{
	(void)arg;
	str_append(body, "ok\n");
	return 200;
}

static unsigned answer_metrics(void *arg, struct str *body)
{
	(void)arg;
	metric_render(body);
	return 200;
}

static int open_pages(struct metadata *m, struct err *err)
{
	const struct metadata_options *o = m->opts;

	if (str_is_empty(o->http_endpoint))
		return 0;
	m->routes[ROUTE_HEALTH] = (struct httpd_route){ .path = "/health", .fn = answer_ready };
	m->routes[ROUTE_READY] = (struct httpd_route){ .path = "/readyz", .fn = answer_ready };
	m->routes[ROUTE_LIVE] = (struct httpd_route){ .path = "/healthz", .fn = answer_live };
	m->routes[ROUTE_METRICS] = (struct httpd_route){
		.path = o->metrics_path,
		.content_type = "text/plain; version=0.0.4; charset=utf-8",
		.fn = answer_metrics,
		.is_blocking = true,
		.lane = LANE_HEALTH,
	};
	return httpd_new(m->frame.loop, m->frame.work, o->http_endpoint, m->routes,
			 o->no_metrics ? N_ROUTES - 1 : N_ROUTES, m, &m->pages, err);
}

static int open_server(struct metadata *m, struct err *err)
{
	const struct metadata_options *o = m->opts;

	return metadata_server_open(
		&(const struct metadata_server_options){
			.loop = m->frame.loop,
			.work = m->frame.work,
			.client = m->client,
			.service = remote_service(m->remote),
			.driver_name = m->frame.driver_name,
			.port = o->port,
			.cert_file = o->cert,
			.key_file = o->key,
			.min_tls = o->min_tls,
			.audience = o->audience,
			.timeout_ns = o->timeout_ns,
			.stream_ns = o->minutes * 60 * NS_PER_S,
		},
		&m->server, err);
}

static int check_driver(struct metadata *m, struct ctx *ctx, struct err *err)
{
	const struct csi_service service = remote_service(m->remote);
	struct csi_offers offers;

	if (csi_ask_offers(&service, ctx, &offers, err) < 0)
		return -1;
	if (offers.plugin & CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the driver at %s does not tell what is in snapshots (no "
		       "SNAPSHOT_METADATA_SERVICE)",
		       m->opts->csi_address);
}

/* 1, 0 when the process is to stop, -1: it is no driver for us. */
static int wait_until_able(struct metadata *m, struct err *err)
{
	const struct metadata_options *o = m->opts;
	int r;

	for (;;) {
		struct ctx ctx;

		ctx_init(&ctx, o->timeout_ns);
		r = check_driver(m, &ctx, err);
		ctx_done(&ctx);
		if (r == 0)
			return 1;
		if (err->code != ERR_UNAVAILABLE && err->code != ERR_DEADLINE_EXCEEDED)
			return -1;
		if (process_wait(AGAIN_NS))
			return 0;
	}
}

static int open_outside(struct metadata *m, struct err *err)
{
	const struct metadata_options *o = m->opts;
	const struct kube_client_options client = {
		.qps = o->qps,
		.burst = o->burst,
		.user_agent = "cleat/" CMD_VERSION_TEXT,
	};
	const struct cmd_tls no_tls = { 0 };

	if (kube_config_load(str_or(o->kubeconfig, ""), "", &m->config, err) < 0 ||
	    sidecar_init(&m->frame, err) < 0 || open_pages(m, err) < 0 ||
	    sidecar_start(&m->frame, err) < 0 ||
	    kube_client_new(m->frame.loop, &m->config, &client, &m->client, err) < 0)
		return -1;
	return remote_open(m->frame.loop, o->csi_address, &no_tls, &m->remote, err);
}

static int serve(struct metadata *m, struct err *err)
{
	int r;

	if (open_outside(m, err) < 0)
		return -1;
	r = sidecar_wait_for_driver(&m->frame, m->opts->csi_address, m->opts->timeout_ns, err);
	if (r > 0)
		r = wait_until_able(m, err);
	if (r <= 0)
		return r;
	if (open_server(m, err) < 0)
		return -1;
	log_info("snapshot metadata is served", log_str("driver", m->frame.driver_name),
		 log_u64("port", m->opts->port));
	atomic_store(&m->is_ready, true);
	(void)process_wait(INT64_MAX);
	return 0;
}

/* By the order of process.h; each part may be missing. */
static void take_down(struct metadata *m)
{
	atomic_store(&m->is_ready, false);
	metadata_server_close(m->server, GRACE_NS);
	if (m->pages)
		(void)httpd_close(m->pages, CLOSE_NS);
	remote_close(m->remote);
	kube_client_free(m->client);
	sidecar_stop(&m->frame);
	if (m->pages)
		httpd_free(m->pages);
	metadata_server_free(m->server);
	sidecar_free(&m->frame);
	kube_config_done(&m->config);
}

static int check(const struct metadata_options *o, struct err *err)
{
	const struct cmd_tls no_tls = { 0 };

	if (str_is_empty(o->cert) || str_is_empty(o->key))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--tls-%s is missing: tokens are not taken in the clear",
			       str_is_empty(o->cert) ? "cert" : "key");
	if (o->port == 0 || o->port > 65535)
		return err_set(err, ERR_INVALID_ARGUMENT, "--port=%u: from 1 to 65535", o->port);
	if (o->minutes == 0 || o->minutes > METADATA_MINUTES_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--max-streaming-duration-min=%u: from 1 to %u", o->minutes,
			       METADATA_MINUTES_MAX);
	if (o->timeout_ns == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--timeout must be above 0");
	if (http_check(o->http_endpoint, o->metrics_path, err) < 0)
		return -1;
	return address_check("csi-address", o->csi_address, &no_tls, false, err);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct metadata_options opts = { 0 };
	struct metadata m = { .opts = &opts };
	struct err err;
	int status, r;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (check(&opts, &err) < 0)
		return cmd_usage(cmd, "%s", err.msg);
	r = serve(&m, &err);
	take_down(&m);
	return r < 0 ? cmd_failed(cmd, &err) : CMD_OK;
}

const struct cmd cmd_snapshot_metadata = {
	.name = "snapshot-metadata",
	.program = "csi-snapshot-metadata",
	.summary = "Tell backup software which blocks of snapshots have changed.",
	.synopsis = "cleat snapshot-metadata --tls-cert=FILE --tls-key=FILE [option...]",
	.about = "Beside any vendor's driver that has CSI's SnapshotMetadata service:\n"
		 "  cleat snapshot-metadata --csi-address=/csi/csi.sock --tls-cert=/tls/tls.crt "
		 "--tls-key=/tls/tls.key\n",
	.options = options,
	.run = run,
};
