/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same parts as those of controller_run, in small: client, fence, lease, caches, controllers.
 * They are apart, since a client has one fence, and a lease that is held while the driver is not
 * reached would keep another replica from it that does reach it.
 */
#include "cmd/controller_early.h"

#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/lease.h"

struct controller_early {
	struct kube_client *client;
	struct fence *fence;
	struct lease *lease; /* NULL: no election */
	struct controllers controllers;
};

static void on_won(void *arg)
{
	struct controller_early *e = arg;

	controllers_start(&e->controllers);
}

static void on_lost(void *arg)
{
	struct controller_early *e = arg;

	controllers_pause(&e->controllers);
}

static int elect(struct controller_early *e, const struct controller_early_options *opts,
		 const char *name, struct err *err)
{
	const struct controller_options *o = opts->opts;
	const struct lease_options options = {
		.ns = opts->lease_ns,
		.name = name,
		.identity = opts->identity,
		.labels = o->election_labels,
		.duration_ns = o->lease_ns,
		.renew_deadline_ns = o->renew_ns,
		.retry_ns = o->retry_ns,
		.fence = e->fence,
		.on_won = on_won,
		.on_lost = on_lost,
		.arg = e,
	};

	if (!o->election) {
		fence_open(e->fence, FENCE_NO_LIMIT);
		controllers_start(&e->controllers);
		return 0;
	}
	if (lease_new(opts->loop, e->client, &options, &e->lease, err) < 0)
		return -1;
	lease_start(e->lease);
	return 0;
}

static int open_named(const struct controller_early_options *opts, const char *names,
		      struct controller_early *e, struct err *err)
{
	const struct controller_options *o = opts->opts;
	const struct kube_client_options client = { .user_agent = "cleat/" CMD_VERSION_TEXT,
						    .fence = e->fence };
	char name[CONTROLLER_LEASE_MAX];
	struct controller_env env = {
		.opts = o,
		.loop = opts->loop,
		.work = opts->work,
		.fence = e->fence,
		.driver_name = o->driver_name,
		.lease_ns = opts->lease_ns,
		.lease_name = name,
		.identity = opts->identity,
	};

	controller_early_lease_name(o->driver_name, name);
	if (kube_client_new(opts->loop, opts->config, &client, &e->client, err) < 0)
		return -1;
	env.client = e->client;
	controllers_init(&e->controllers, controller_rows, n_controller_rows, names, &env);
	return elect(e, opts, name, err);
}

int controller_early_open(const struct controller_early_options *opts,
			  struct controller_early **ret_early, struct err *err)
{
	autofree char *names =
		controllers_early(controller_rows, n_controller_rows, opts->opts->controllers);
	struct controller_early *e = NULL;

	if (*names) {
		e = xcalloc(1, sizeof(*e));
		e->fence = fence_new();
		if (open_named(opts, names, e, err) < 0) {
			controller_early_close(e);
			return -1;
		}
	}
	*ret_early = e;
	return 0;
}

void controller_early_report(struct controller_early *e, struct str *report)
{
	char text[ERR_MSG_MAX];

	for (size_t i = 0; e && i < e->controllers.caches.n; i++) {
		informer_trouble(e->controllers.caches.v[i], text);
		if (text[0])
			str_appendf(report, "%s: watch: %s\n", e->controllers.rows.v[0]->name,
				    text);
	}
}

void controller_early_close(struct controller_early *e)
{
	if (!e)
		return;
	controllers_pause(&e->controllers);
	if (e->lease)
		lease_stop(e->lease);
	fence_close(e->fence);
	controllers_free(&e->controllers);
	lease_free(e->lease);
	controllers_free_caches(&e->controllers);
	kube_client_free(e->client);
	fence_free(e->fence);
	free(e);
}
