/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each agent has a channel, a client on it, its place in the router, and a look of its own that
 * comes again and again: at once when its connection was made anew, after a pause that grows to
 * five seconds when it does not answer (or sooner, when something was told of it), and each minute
 * besides, as a pool may come to a node while its agent runs.
 *
 * Looks have the lane of things that may hang, so that a node that answers nothing keeps no claim
 * waiting; one look takes no longer than LOOK_TIMEOUT_NS.
 */
#include "cmd/fleet.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "csi/router.h"
#include "event/loop.h"
#include "event/sync.h"
#include "net/tls.h"

#define TICK_NS (NS_PER_S / 2)
#define FIRST_NS NS_PER_MS
#define LOOK_TIMEOUT_NS (5 * NS_PER_S)
#define PAUSE_FIRST_NS NS_PER_S
#define PAUSE_MAX_NS (5 * NS_PER_S)
#define AGAIN_NS (60 * NS_PER_S)

struct agent {
	struct fleet *fleet;
	char *name;
	char *address;
	bool is_wanted; /* of fleet_set */
	struct remote *remote;
	struct csi_router_member *member;
	struct periodic *looks;

	pthread_mutex_t lock; /* guards what follows */
	int64_t next_ns;      /* when it is looked at although nothing changed */
	int64_t pause_ns;
	bool is_away;
	bool is_told;
};

struct fleet {
	struct ev_loop *loop;
	struct work *work;
	struct tls *tls; /* that all share */
	struct csi_router *router;
	VEC(struct agent *) agents; /* fleet_set's, and nobody else's while it may be called */
};

/* ---- looks ---- */

static bool is_due(void *arg)
{
	struct agent *a = arg;
	bool is_stale = csi_router_is_stale(a->fleet->router, a->member);
	LOCK_SCOPE(&a->lock);

	return (is_stale && !a->is_away) || clock_now_ns() >= a->next_ns;
}

/* Whether that is news. */
static bool note(struct agent *a, bool is_away)
{
	LOCK_SCOPE(&a->lock);
	bool is_news = !a->is_told || a->is_away != is_away;

	a->is_told = true;
	a->is_away = is_away;
	a->pause_ns = !is_away                         ? PAUSE_FIRST_NS
		      : a->pause_ns * 2 > PAUSE_MAX_NS ? PAUSE_MAX_NS
						       : a->pause_ns * 2;
	a->next_ns = clock_now_ns() + (is_away ? a->pause_ns : AGAIN_NS);
	return is_news;
}

/* What changed is logged, once. */
static void tell(struct agent *a, int rc, const struct err *err)
{
	if (!note(a, rc < 0))
		return;
	if (rc == 0)
		log_info("a node's driver is served", log_str("node", a->name));
	else
		log_warn("a node's driver is not served", log_str("node", a->name), log_err(err));
}

struct counts {
	unsigned n_reachable, n_away, n_unknown;
};

static int count(void *arg, const struct csi_router_state *state)
{
	struct counts *counts = arg;

	if (state->is_reachable)
		counts->n_reachable++;
	else if (state->is_known)
		counts->n_away++;
	else
		counts->n_unknown++;
	return 0;
}

static void set_gauges(struct fleet *f)
{
	struct counts counts = { 0 };

	csi_router_each(f->router, count, &counts);
	metric_set(METRIC_NODES, counts.n_reachable, METRIC_ARGS("reachable"));
	metric_set(METRIC_NODES, counts.n_away, METRIC_ARGS("away"));
	metric_set(METRIC_NODES, counts.n_unknown, METRIC_ARGS("unknown"));
}

static void look(void *arg, struct ctx *ctx)
{
	struct agent *a = arg;
	struct err err;
	int rc = csi_router_look(a->fleet->router, a->member, ctx, &err);

	if (ctx_is_cancelled(ctx))
		return;
	tell(a, rc, &err);
	set_gauges(a->fleet);
}

/* ---- life ---- */

/* The next address of the list, in malloc'ed memory; NULL at its end. */
static char *next_address(const char **list)
{
	size_t n = strcspn(*list, ",");
	char *address;

	if (n == 0 && !**list)
		return NULL;
	address = xstrndup(*list, n);
	*list += n + ((*list)[n] == ',');
	return address;
}

static bool is_repeated(const char *agents, const char *before, const char *address)
{
	for (const char *list = agents; list < before;) {
		autofree char *other = next_address(&list);

		if (list < before && str_is_equal(other, address))
			return true;
	}
	return false;
}

int fleet_check(const char *option, const char *agents, const struct cmd_tls *tls, bool insecure,
		struct err *err)
{
	for (const char *list = agents; *list;) {
		autofree char *address = next_address(&list);

		if (address_check(option, address, tls, insecure, err) < 0)
			return -1;
		if (is_repeated(agents, list, address))
			return err_set(err, ERR_INVALID_ARGUMENT, "--%s: '%s' is there twice",
				       option, address);
	}
	return 0;
}

/* On the loop, where timers are made. */
static void start_looks(void *arg)
{
	struct agent *a = arg;

	a->looks = periodic_new(&(struct periodic_options){
		.loop = a->fleet->loop,
		.work = a->fleet->work,
		.lane = LANE_LOOK,
		.first_ns = FIRST_NS,
		.every_ns = TICK_NS,
		.timeout_ns = LOOK_TIMEOUT_NS,
		.is_due = is_due,
		.run = look,
		.arg = a,
	});
}

static int add(struct fleet *f, const struct fleet_member *member, struct err *err)
{
	struct agent *a = xcalloc(1, sizeof(*a));
	struct csi_service service;

	if (remote_open_with(f->loop, member->address, f->tls, &a->remote, err) < 0) {
		free(a);
		return -1;
	}
	a->fleet = f;
	a->name = xstrdup(member->name);
	a->address = xstrdup(member->address);
	a->is_wanted = true;
	a->pause_ns = PAUSE_FIRST_NS;
	pthread_mutex_init(&a->lock, NULL);
	service = remote_service(a->remote);
	a->member = csi_router_add(f->router, a->name, &service);
	vec_push(&f->agents, a);
	if (f->work)
		ev_call(f->loop, start_looks, a);
	return 0;
}

static void drop(struct fleet *f, struct agent *a)
{
	(void)periodic_stop(a->looks, INT64_MAX);
	periodic_free(a->looks);
	csi_router_remove(f->router, a->member);
	remote_close(a->remote);
	pthread_mutex_destroy(&a->lock);
	free(a->address);
	free(a->name);
	free(a);
}

static struct agent *find(struct fleet *f, const struct fleet_member *member)
{
	for (size_t i = 0; i < f->agents.n; i++) {
		struct agent *a = f->agents.v[i];

		if (str_is_equal(a->name, member->name) &&
		    str_is_equal(a->address, member->address))
			return a;
	}
	return NULL;
}

void fleet_set(struct fleet *f, const struct fleet_member *members, size_t n)
{
	size_t n_kept = 0;
	struct err err;

	for (size_t i = 0; i < f->agents.n; i++)
		f->agents.v[i]->is_wanted = false;
	for (size_t i = 0; i < n; i++) {
		struct agent *a = find(f, &members[i]);

		if (!a)
			continue;
		a->is_wanted = true;
		LOCK_SCOPE(&a->lock);
		if (a->is_away)
			a->next_ns = 0;
	}
	for (size_t i = 0; i < f->agents.n; i++) {
		struct agent *a = f->agents.v[i];

		if (a->is_wanted) {
			f->agents.v[n_kept++] = a;
			continue;
		}
		log_info("a node's driver is a member no more", log_str("node", a->name),
			 log_str("address", a->address));
		drop(f, a);
	}
	f->agents.n = n_kept;
	for (size_t i = 0; i < n; i++) {
		if (!find(f, &members[i]) && add(f, &members[i], &err) < 0)
			log_warn("a node's driver cannot be a member",
				 log_str("node", members[i].name), log_err(&err));
	}
	set_gauges(f);
}

int fleet_open(const struct fleet_options *opts, struct fleet **ret_fleet, struct err *err)
{
	const struct csi_router_options router = {
		.driver_name = str_is_empty(opts->driver_name) ? NULL : opts->driver_name,
		/* one node may take half of them */
		.hanging_calls = (opts->workers + 1) / 2,
	};
	struct fleet *f = xcalloc(1, sizeof(*f));

	f->loop = opts->loop;
	f->work = opts->work;
	f->router = csi_router_new(&router);
	if (cmd_tls_load(opts->tls, &f->tls, err) < 0) {
		fleet_close(f);
		return -1;
	}
	for (const char *list = opts->agents ? opts->agents : ""; *list;) {
		autofree char *address = next_address(&list);

		if (add(f, &(const struct fleet_member){ address, address }, err) < 0) {
			fleet_close(f);
			return -1;
		}
	}
	*ret_fleet = f;
	return 0;
}

void fleet_look(struct fleet *f, struct ctx *ctx)
{
	int64_t deadline_ns = ctx->deadline_ns;

	for (size_t i = 0; i < f->agents.n; i++) {
		struct agent *a = f->agents.v[i];
		int64_t share_ns = ctx_remaining_ns(ctx) / (int64_t)(f->agents.n - i + 1);
		struct err ignored; /* the router tells it with each call */

		if (deadline_ns != CTX_NO_DEADLINE)
			ctx->deadline_ns = clock_now_ns() + share_ns;
		(void)csi_router_look(f->router, a->member, ctx, &ignored);
		ctx->deadline_ns = deadline_ns;
	}
}

struct csi_service fleet_service(struct fleet *f)
{
	return csi_router_service(f->router);
}

void fleet_close(struct fleet *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->agents.n; i++)
		drop(f, f->agents.v[i]);
	vec_done(&f->agents);
	csi_router_free(f->router);
	tls_unref(f->tls);
	free(f);
}

static int report_one(void *arg, const struct csi_router_state *state)
{
	struct str *report = arg;

	if (!state->is_reachable)
		str_appendf(report, "node %s: %s\n", state->name, state->why);
	if (state->n_shared_pools > 0)
		str_appendf(report, "node %s: another node has %zu of its pools, too\n",
			    state->name, state->n_shared_pools);
	return 0;
}

void fleet_report(struct fleet *f, struct str *report)
{
	csi_router_each(f->router, report_one, report);
}
