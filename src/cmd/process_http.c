/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_http - the three pages of a serving process
 *
 * What may touch a disk or a lock (metrics read the pools' free space, readiness asks the driver)
 * runs on a worker, so a scrape of a pool whose disk hangs costs a slot of a lane and never the
 * loop. That lane is for these pages alone: a process whose slow work has all its threads for
 * minutes is still ready, and says so. /healthz is the loop itself: if it is not answered within
 * the probe's patience, nothing else would be either.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "net/httpd.h"

enum { ROUTE_HEALTH, ROUTE_ELECTION, ROUTE_READY, ROUTE_METRICS, N_ROUTES };

struct process_http {
	struct httpd *httpd;
	struct httpd_route routes[N_ROUTES];
	process_ready_fn is_ready;
	void *arg;
};

static unsigned answer_health(void *arg, struct str *body)
{
	(void)arg;
	str_append(body, "ok\n");
	return 200;
}

static unsigned answer_ready(void *arg, struct str *body)
{
	struct process_http *h = arg;
	autostr struct str why = STR_INIT;

	if (h->is_ready(h->arg, &why)) {
		str_appendf(body, "ok\n%s", str_get(&why));
		return 200;
	}
	str_appendf(body, "not ready: %s\n", str_get(&why));
	return 503;
}

static unsigned answer_metrics(void *arg, struct str *body)
{
	(void)arg;
	metric_render(body);
	return 200;
}

int process_http_start(struct ev_loop *loop, struct work *work, const char *endpoint,
		       const char *metrics_path, process_ready_fn is_ready, void *arg,
		       struct process_http **ret_http, struct err *err)
{
	struct process_http *h;

	if (str_is_empty(endpoint)) {
		*ret_http = NULL;
		return 0;
	}
	h = xcalloc(1, sizeof(*h));
	h->is_ready = is_ready;
	h->arg = arg;
	h->routes[ROUTE_HEALTH] = (struct httpd_route){ .path = "/healthz", .fn = answer_health };
	/* Where upstream's sidecars say that they renew their lease. Here the loop does that, and
	 * sees to it that who does not is no leader any more. */
	h->routes[ROUTE_ELECTION] =
		(struct httpd_route){ .path = "/healthz/leader-election", .fn = answer_health };
	h->routes[ROUTE_READY] = (struct httpd_route){
		.path = "/readyz", .fn = answer_ready, .is_blocking = true, .lane = LANE_HEALTH
	};
	h->routes[ROUTE_METRICS] = (struct httpd_route){
		.path = metrics_path,
		.content_type = "text/plain; version=0.0.4; charset=utf-8",
		.fn = answer_metrics,
		.is_blocking = true,
		.lane = LANE_HEALTH,
	};
	if (httpd_new(loop, work, endpoint, h->routes, N_ROUTES, h, &h->httpd, err) < 0) {
		free(h);
		return err_wrap(err, "--http-endpoint=%s", endpoint);
	}
	*ret_http = h;
	return 0;
}

int process_http_close(struct process_http *h, int64_t timeout_ns)
{
	return h ? httpd_close(h->httpd, timeout_ns) : 0;
}

void process_http_free(struct process_http *h)
{
	if (!h)
		return;
	httpd_free(h->httpd);
	free(h);
}
