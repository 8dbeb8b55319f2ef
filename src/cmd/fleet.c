/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each agent has a channel, a client on it, its place in the router, and a look of its own that
 * comes again and again: at once when its connection was made anew, after a pause that grows to
 * five seconds when it does not answer (or sooner, when something was told of it), and each minute
 * besides, as a pool may come to a node while its agent runs.
 *
 * Looks have lanes of things that may hang, so that a node that answers nothing keeps no claim
 * waiting; one look takes no longer than LOOK_TIMEOUT_NS. Nor does it keep other nodes waiting,
 * however many there are of its kind:
 *
 *   news     never asked yet, or a connection was made      LANE_LOOK, which has nothing else; the
 *            or lost since                                  look is a short one unless it is made
 *   routine  it has been away, a minute is over, it was     LANE_REMOTE, as many at a time as this
 *            doubted                                        has threads; the others wait here,
 * where news of them overtakes that
 *
 * A member without a connection is sought: one is made, which takes no worker, and is news. So a
 * hundred machines without power hold up nobody who comes back. Pauses are jittered, since hundreds
 * may have come or gone at once.
 */
#include "cmd/fleet.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/vec.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "control/signing_request.h"
#include "csi/router.h"
#include "event/loop.h"
#include "event/sync.h"
#include "net/tls.h"

/* Each is looked over twice a second, a fifth of them at a time: hundreds that came together do not
 * stay so, and a timer for each would wake an idle process hundreds of times a second. */
#define TICK_NS (NS_PER_S / 10)
#define PHASES 5u
#define FIRST_NS NS_PER_MS
#define LOOK_TIMEOUT_NS (5 * NS_PER_S)
#define SHORT_LOOK_NS (NS_PER_S / 2)
#define PAUSE_FIRST_NS NS_PER_S
#define PAUSE_MAX_NS (5 * NS_PER_S)
#define AGAIN_NS (60 * NS_PER_S)
#define SPREAD 0.2

struct agent {
	struct fleet *fleet;
	char *name;
	char *address;
	bool is_wanted; /* of fleet_set */
	struct remote *remote;
	struct csi_router_member *member;
	struct periodic *looks;
	unsigned lane;   /* loop: of the look that is due */
	bool is_waiting; /* loop: for a slot */
	unsigned phase;  /* loop: of PHASES, its own */

	pthread_mutex_t lock; /* guards what follows */
	int64_t next_ns;      /* when it is looked at although nothing changed */
	int64_t pause_ns;
	uint64_t link; /* csi_link_changes() after the last look */
	bool has_slot; /* of n_slots: until its next look is over */
	bool is_away;
	bool is_told;
};

struct fleet {
	struct ev_loop *loop;
	struct work *work;
	struct tls *tls; /* that all share */
	struct csi_router *router;
	struct ev_timer *ticks; /* loop; NULL: there are no looks */
	unsigned phase;         /* loop, as the next two: whose turn it is */
	unsigned next_phase;    /* for the next that comes */
	VEC(struct agent *) looked_over;
	VEC(struct agent *) agents;  /* fleet_set's, and nobody else's while it may be called */
	atomic_uint n_slots;         /* that routine looks have */
	VEC(struct agent *) waiting; /* loop: for one of them, who came first before the others */
};

/* ---- looks ---- */

static uint64_t link_of(const struct agent *a)
{
	const struct csi_service service = remote_service(a->remote);

	return csi_link_changes(&service);
}

/* With the lock, as the next. */
static bool take_slot(struct agent *a)
{
	if (a->has_slot)
		return true;
	a->has_slot = atomic_fetch_add(&a->fleet->n_slots, 1) < LANE_REMOTE_THREADS;
	if (!a->has_slot)
		atomic_fetch_sub(&a->fleet->n_slots, 1);
	return a->has_slot;
}

static void leave_slot(struct agent *a)
{
	if (a->has_slot)
		atomic_fetch_sub(&a->fleet->n_slots, 1);
	a->has_slot = false;
}

static bool is_news(const struct agent *a, bool is_connected)
{
	return !a->is_told || (link_of(a) != a->link && (is_connected || !a->is_away));
}

/* On the loop, as all that touches those that wait. */
static void stop_waiting(void *arg)
{
	struct agent *a = arg;
	struct fleet *f = a->fleet;
	size_t n = 0;

	for (size_t i = 0; i < f->waiting.n; i++)
		if (f->waiting.v[i] != a)
			f->waiting.v[n++] = f->waiting.v[i];
	f->waiting.n = n;
	a->is_waiting = false;
}

/* On the loop, where connections are made. */
static bool is_due(void *arg)
{
	struct agent *a = arg;
	bool is_stale = csi_router_is_stale(a->fleet->router, a->member);
	bool is_connected = remote_is_connected(a->remote);
	LOCK_SCOPE(&a->lock);

	a->lane = LANE_LOOK;
	if (is_news(a, is_connected))
		return true;
	if (clock_now_ns() < a->next_ns && (a->is_away || !is_stale))
		return false;
	if (!is_connected)
		remote_connect(a->remote);
	a->lane = LANE_REMOTE;
	if (take_slot(a)) {
		stop_waiting(a);
		return true;
	}
	if (!a->is_waiting)
		vec_push(&a->fleet->waiting, a);
	a->is_waiting = true;
	return false;
}

/* On the loop, when a look is over. */
static void hand_slots_on(void *arg)
{
	const struct agent *a = arg;
	struct fleet *f = a->fleet;

	for (size_t n = f->waiting.n; n > 0; n--) {
		struct agent *next = f->waiting.v[0];

		if (atomic_load(&f->n_slots) >= LANE_REMOTE_THREADS)
			return;
		stop_waiting(next);
		periodic_look_now(next->looks);
	}
}

static unsigned lane_of(void *arg)
{
	const struct agent *a = arg;

	return a->lane;
}

static bool is_short(struct agent *a)
{
	LOCK_SCOPE(&a->lock);

	return !a->is_told || (!a->is_away && !remote_is_connected(a->remote));
}

/* Whether that is news. */
static bool note(struct agent *a, bool is_away)
{
	LOCK_SCOPE(&a->lock);
	bool is_change = !a->is_told || a->is_away != is_away;

	leave_slot(a);
	a->link = link_of(a);
	a->is_told = true;
	a->is_away = is_away;
	a->pause_ns = !is_away                         ? PAUSE_FIRST_NS
		      : a->pause_ns * 2 > PAUSE_MAX_NS ? PAUSE_MAX_NS
						       : a->pause_ns * 2;
	a->next_ns = clock_now_ns() + random_jitter_ns(is_away ? a->pause_ns : AGAIN_NS, SPREAD);
	return is_change;
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
	size_t n_served, n_shared, n_forgotten; /* pools */
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
	counts->n_served += state->n_pools - state->n_shared_pools - state->n_forgotten_pools;
	counts->n_shared += state->n_shared_pools;
	counts->n_forgotten += state->n_forgotten_pools;
	return 0;
}

static void set_gauges(struct fleet *f)
{
	struct counts counts = { 0 };

	csi_router_each(f->router, count, &counts);
	metric_set(METRIC_NODES, counts.n_reachable, METRIC_ARGS("reachable"));
	metric_set(METRIC_NODES, counts.n_away, METRIC_ARGS("away"));
	metric_set(METRIC_NODES, counts.n_unknown, METRIC_ARGS("unknown"));
	metric_set(METRIC_FLEET_POOLS, (double)counts.n_served, METRIC_ARGS("served"));
	metric_set(METRIC_FLEET_POOLS, (double)counts.n_shared, METRIC_ARGS("shared"));
	metric_set(METRIC_FLEET_POOLS, (double)counts.n_forgotten, METRIC_ARGS("forgotten"));
}

static void look(void *arg, struct ctx *ctx)
{
	struct agent *a = arg;
	struct err err;
	int rc;

	if (is_short(a))
		ctx->deadline_ns = clock_now_ns() + SHORT_LOOK_NS;
	rc = csi_router_look(a->fleet->router, a->member, ctx, &err);
	if (ctx_is_cancelled(ctx))
		return; /* it is dropped, with its slot */
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

int fleet_check_service(const char *option, const char *service, const struct cmd_tls *tls,
			bool insecure, struct err *err)
{
	const char *slash = strchr(service, '/');

	if (slash && (slash == service || !slash[1] || strchr(slash + 1, '/')))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--%s=%.200s: a Service's name, or NAMESPACE/NAME", option, service);
	if (!cmd_tls_is_set(tls) && !insecure)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--%s needs --tls-cert, --tls-key and --tls-ca (or --insecure): "
			       "agents are reached over the network",
			       option);
	return 0;
}

static void tick(void *arg)
{
	struct fleet *f = arg;

	f->phase = (f->phase + 1) % PHASES;
	for (size_t i = 0; i < f->looked_over.n; i++)
		if (f->looked_over.v[i]->phase == f->phase)
			periodic_look_now(f->looked_over.v[i]->looks);
}

/* On the loop, where timers are made; so the next three. */
static void start_ticks(void *arg)
{
	struct fleet *f = arg;

	f->ticks = ev_timer_new(f->loop, tick, f);
	ev_timer_start(f->ticks, TICK_NS, TICK_NS);
}

static void stop_ticks(void *arg)
{
	struct fleet *f = arg;

	ev_timer_free(f->ticks);
}

static void start_looks(void *arg)
{
	struct agent *a = arg;

	if (!a->fleet->ticks)
		start_ticks(a->fleet);
	a->phase = a->fleet->next_phase++ % PHASES;
	vec_push(&a->fleet->looked_over, a);
	a->looks = periodic_new(&(struct periodic_options){
		.loop = a->fleet->loop,
		.work = a->fleet->work,
		.lane_of = lane_of,
		.first_ns = FIRST_NS,
		.timeout_ns = LOOK_TIMEOUT_NS,
		.is_due = is_due,
		.run = look,
		.ended = hand_slots_on,
		.arg = a,
	});
}

static void stop_looks(void *arg)
{
	struct agent *a = arg;
	struct fleet *f = a->fleet;

	stop_waiting(a);
	for (size_t i = 0; i < f->looked_over.n; i++)
		if (f->looked_over.v[i] == a)
			f->looked_over.v[i] = f->looked_over.v[--f->looked_over.n];
}

static int add(struct fleet *f, const struct fleet_member *member, struct err *err)
{
	struct agent *a = xcalloc(1, sizeof(*a));
	autofree char *expected =
		member->is_node ? xasprintf(SIGNING_NODE_URI "%s", member->name) : NULL;
	struct csi_service service;

	if (remote_open_with(f->loop, member->address, f->tls, expected, &a->remote, err) < 0) {
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
	if (a->looks)
		ev_call(f->loop, stop_looks, a);
	periodic_free(a->looks);
	leave_slot(a);
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

		if (add(f, &(const struct fleet_member){ address, address, false }, err) < 0) {
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
	if (f->ticks)
		ev_call(f->loop, stop_ticks, f);
	vec_done(&f->agents);
	vec_done(&f->looked_over);
	vec_done(&f->waiting);
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
	if (state->n_forgotten_pools > 0)
		str_appendf(report,
			    "node %s: %zu of its pools were forgotten and are not served; if that "
			    "was wrong: cleat ctl pool remember\n",
			    state->name, state->n_forgotten_pools);
	return 0;
}

bool fleet_forget(struct fleet *f, const struct uuid *pools, size_t n)
{
	bool is_news = csi_router_forget(f->router, pools, n);

	if (is_news)
		set_gauges(f);
	return is_news;
}

void fleet_each(struct fleet *f, int (*fn)(void *arg, const struct csi_router_state *state),
		void *arg)
{
	csi_router_each(f->router, fn, arg);
}

bool fleet_has_forgotten(struct fleet *f, const struct uuid *pool)
{
	return csi_router_has_forgotten(f->router, pool);
}

void fleet_doubt(struct fleet *f, const char *name)
{
	csi_router_doubt(f->router, name);
}

void fleet_report(struct fleet *f, struct str *report)
{
	csi_router_each(f->router, report_one, report);
}
