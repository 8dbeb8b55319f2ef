/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/sidecar.h"

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/lanes.h"
#include "cmd/process.h"
#include "cmd/remote.h"
#include "event/loop.h"
#include "event/work.h"

#define AGAIN_NS NS_PER_S

int sidecar_init(struct sidecar *s, struct err *err)
{
	int r;

	*s = (struct sidecar){ 0 };
	process_begin();
	r = ev_loop_new(&s->loop);
	if (r == 0)
		r = lanes_start(s->loop, 0, &s->work);
	return r < 0 ? err_os(err, ERR_INTERNAL, r, "start threads") : 0;
}

int sidecar_start(struct sidecar *s, struct err *err)
{
	int r = ev_loop_spawn(s->loop);

	s->is_running = r == 0;
	return r < 0 ? err_os(err, ERR_INTERNAL, r, "start the event loop") : 0;
}

struct on_loop {
	int (*fn)(void *arg, struct err *err);
	void *arg;
	struct err *err;
	int rc;
};

static void run_on_loop(void *arg)
{
	struct on_loop *o = arg;

	o->rc = o->fn(o->arg, o->err);
}

int sidecar_on_loop(struct sidecar *s, int (*fn)(void *arg, struct err *err), void *arg,
		    struct err *err)
{
	struct on_loop o = { fn, arg, err, 0 };

	ev_call(s->loop, run_on_loop, &o);
	return o.rc;
}

int sidecar_check_page(const char *http_endpoint, unsigned health_port, struct err *err)
{
	if (!str_is_empty(http_endpoint) && health_port)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--http-endpoint and --health-port exclude each other");
	if (health_port > 65535)
		return err_set(err, ERR_INVALID_ARGUMENT, "--health-port=%u: at most 65535",
			       health_port);
	return 0;
}

/* 1, 0: it is not there, and err says so, -1. */
static int ask_name(struct sidecar *s, struct csi_service service, int64_t timeout_ns,
		    struct err *err)
{
	const struct csi_get_plugin_info_request ask = {};
	struct csi_get_plugin_info_response info;
	struct ctx ctx;
	int r;

	ctx_init(&ctx, timeout_ns);
	r = csi_get_plugin_info(&service, &ctx, &ask, &info, err);
	if (r == 0)
		(void)snprintf(s->driver_name, sizeof(s->driver_name), "%s", info.name);
	ctx_done(&ctx);
	if (r == 0)
		return 1;
	return err->code == ERR_UNAVAILABLE || err->code == ERR_DEADLINE_EXCEEDED ? 0 : -1;
}

int sidecar_wait_for_driver(struct sidecar *s, const char *csi_address, int64_t timeout_ns,
			    struct err *err)
{
	const struct cmd_tls no_tls = { 0 };
	struct remote *remote = NULL;
	char logged[ERR_MSG_MAX] = "";
	bool is_stopping = false;
	int r = 0;

	if (remote_open(s->loop, csi_address, &no_tls, &remote, err) < 0)
		return -1;
	while (r == 0 && !is_stopping) {
		r = ask_name(s, remote_service(remote), timeout_ns, err);
		if (r == 0 && !str_is_equal(logged, err->msg)) {
			log_warn("waiting for the driver", log_str("address", csi_address),
				 log_err(err));
			(void)snprintf(logged, sizeof(logged), "%s", err->msg);
		}
		is_stopping = r == 0 && process_wait(AGAIN_NS);
	}
	remote_close(remote);
	if (r < 0)
		return err_wrap(err, "the driver at %s", csi_address);
	if (r > 0)
		log_info("driver found", log_str("driver", s->driver_name));
	return r;
}

void sidecar_stop(struct sidecar *s)
{
	if (s->is_running)
		ev_loop_join(s->loop);
	if (s->work)
		work_free(s->work);
	s->work = NULL;
}

void sidecar_free(struct sidecar *s)
{
	if (s->loop)
		ev_loop_free(s->loop);
	*s = (struct sidecar){ 0 };
}
