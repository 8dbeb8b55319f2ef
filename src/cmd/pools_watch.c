/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools_watch - pools that come and go while the process lives
 *
 * A look opens what is missing and asks what is open. kubelet reads a node's topology only when a
 * driver registers, so a change of what answers is told by registering again; that interrupts
 * kubelet's calls for a moment, so a pool that flaps must not do it each time: but for a pool that
 * was never told of, there is a calm of a minute between.
 */
#include "cmd/pools_watch.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "cmd/pools.h"
#include "event/sync.h"

#define LOOK_TIMEOUT_NS (60 * NS_PER_S)

struct identities {
	VEC(struct uuid) list;
};

struct pools_watch {
	struct pools_watch_options opts;
	struct periodic *looks;
	int64_t told_ns;        /* loop: when changed was called last; 0: never */
	struct identities told; /* loop: what answered then */
	struct identities ever; /* loop: all that were told of */

	pthread_mutex_t lock; /* guards what follows */
	struct identities answering;
	struct str report;
};

static bool has(const struct identities *set, const struct uuid *id)
{
	for (size_t i = 0; i < set->list.n; i++) {
		if (memcmp(&set->list.v[i], id, sizeof(*id)) == 0)
			return true;
	}
	return false;
}

static bool is_within(const struct identities *some, const struct identities *all)
{
	for (size_t i = 0; i < some->list.n; i++) {
		if (!has(all, &some->list.v[i]))
			return false;
	}
	return true;
}

static void add(struct identities *set, const struct identities *more)
{
	for (size_t i = 0; i < more->list.n; i++) {
		if (!has(set, &more->list.v[i]))
			vec_push(&set->list, more->list.v[i]);
	}
}

static void replace(struct identities *set, const struct identities *by)
{
	set->list.n = 0;
	add(set, by);
}

static void open_missing(struct pools_watch *w, struct ctx *ctx)
{
	const struct registry_missing *missing;
	size_t n = registry_missing(w->opts.registry, ctx->arena, &missing);

	for (size_t i = 0; i < w->opts.n_configs; i++) {
		const struct backend_config *config = &w->opts.configs[i];
		const char *where = config->image ? config->image : config->dir;
		struct err err;

		for (size_t k = 0; k < n; k++) {
			if (!str_is_equal(missing[k].where, str_or(where, "")))
				continue;
			if (pools_try(w->opts.registry, ctx, config, &err) < 0 &&
			    !ctx_is_cancelled(ctx))
				registry_miss(w->opts.registry, config, err.msg);
		}
	}
}

/* What is served now. Returns how many are not. */
static size_t ask_all(struct pools_watch *w, struct ctx *ctx, struct identities *answering,
		      struct str *report)
{
	const struct registry_pools pools = registry_pools(w->opts.registry, ctx->arena);
	const struct registry_missing *missing;
	size_t n_missing;
	size_t n = 0;

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_info info;
		struct err err;

		if (backend_info(pools.v[i], ctx, &info, &err) == 0) {
			vec_push(&answering->list, pools.v[i]->identity);
			continue;
		}
		if (info.is_dead) {
			registry_retire(w->opts.registry, pools.v[i], err.msg);
			continue;
		}
		str_appendf(report, "%s\n", err.msg);
		n++;
	}
	n_missing = registry_missing(w->opts.registry, ctx->arena, &missing);
	for (size_t i = 0; i < n_missing; i++)
		str_appendf(report, "pool '%s' at '%s': %s\n", missing[i].name, missing[i].where,
			    missing[i].why);
	return n + n_missing;
}

static void log_change(const struct str *before, const struct str *now)
{
	if (str_is_equal(str_get(before), str_get(now)))
		return;
	if (str_is_empty(str_get(now)))
		log_info("all pools are served");
	else
		log_warn("not all pools are served", log_str("missing", str_get(now)));
}

static void look(void *arg, struct ctx *ctx)
{
	struct pools_watch *w = arg;
	struct identities answering = { 0 };
	autostr struct str report = STR_INIT;
	size_t n_missing;

	open_missing(w, ctx);
	n_missing = ask_all(w, ctx, &answering, &report);
	if (!ctx_is_cancelled(ctx)) {
		metric_set(METRIC_POOLS_MISSING, (double)n_missing, METRIC_ARGS(NULL));
		/* only looks write it, and there is one at a time */
		log_change(&w->report, &report);
		LOCK_SCOPE(&w->lock);
		replace(&w->answering, &answering);
		str_reset(&w->report);
		str_append(&w->report, str_get(&report));
	}
	vec_done(&answering.list);
}

/* On the loop. Whether what answers is to be told now. */
static bool take_change(struct pools_watch *w)
{
	LOCK_SCOPE(&w->lock);
	bool is_new = !is_within(&w->answering, &w->ever);
	bool is_same = is_within(&w->answering, &w->told) && is_within(&w->told, &w->answering);

	if (is_same || (!is_new && w->told_ns && clock_now_ns() - w->told_ns < w->opts.calm_ns))
		return false;
	w->told_ns = clock_now_ns();
	replace(&w->told, &w->answering);
	add(&w->ever, &w->answering);
	return true;
}

static void ended(void *arg)
{
	struct pools_watch *w = arg;

	if (take_change(w) && w->opts.changed)
		w->opts.changed(w->opts.arg);
}

struct pools_watch *pools_watch_new(struct ev_loop *loop, struct work *work,
				    const struct pools_watch_options *opts)
{
	struct pools_watch *w = xcalloc(1, sizeof(*w));
	struct ctx ctx;

	w->opts = *opts;
	pthread_mutex_init(&w->lock, NULL);
	ctx_init(&ctx, LOOK_TIMEOUT_NS);
	look(w, &ctx);
	ctx_done(&ctx);
	replace(&w->told, &w->answering);
	replace(&w->ever, &w->answering);
	w->looks = periodic_new(&(struct periodic_options){
		.loop = loop,
		.work = work,
		.lane = LANE_SLOW,
		.first_ns = opts->every_ns,
		.every_ns = opts->every_ns,
		.timeout_ns = LOOK_TIMEOUT_NS,
		.run = look,
		.ended = ended,
		.arg = w,
	});
	return w;
}

int pools_watch_stop(struct pools_watch *w, int64_t timeout_ns)
{
	return w ? periodic_stop(w->looks, timeout_ns) : 0;
}

void pools_watch_free(struct pools_watch *w)
{
	if (!w)
		return;
	periodic_free(w->looks);
	vec_done(&w->told.list);
	vec_done(&w->ever.list);
	vec_done(&w->answering.list);
	str_done(&w->report);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

bool pools_watch_report(struct pools_watch *w, struct str *report)
{
	LOCK_SCOPE(&w->lock);

	str_append(report, str_get(&w->report));
	return w->answering.list.n > 0;
}
