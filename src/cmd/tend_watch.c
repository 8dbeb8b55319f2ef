/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tend_watch - what pools do in the background goes on while the process lives
 *
 * Each pool has a periodic of its own from the first time on that it has something to do, so that a
 * disk that hangs costs one worker and its own pool alone. A run ends after some seconds and begins
 * again with the next tick: where there are more such pools than workers, they take turns.
 */
#include "cmd/tend_watch.h"

#include <stdbool.h>

#include "backend/registry.h"
#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "event/loop.h"

#define LOG_ROOM "cmd"
#include "base/log.h"

#define EVERY_NS NS_PER_S
#define TURN_NS (5 * NS_PER_S)

struct tended {
	struct backend *b;
	struct periodic *periodic;
};

struct tend_watch {
	struct ev_loop *loop;
	struct work *work;
	struct registry *registry;
	struct ev_timer *timer;     /* loop, as what follows until it is stopped */
	VEC(struct tended *) pools; /* retired ones too, which have nothing to do */
};

static bool is_due(void *arg)
{
	const struct tended *t = arg;

	return atomic_load(&t->b->n_background) > 0;
}

static void tend(void *arg, struct ctx *ctx)
{
	const struct tended *t = arg;
	struct err err;

	if (backend_tend(t->b, ctx, &err) < 0)
		log_debug("work in the background ended", log_err(&err));
}

static bool is_tended(const struct tend_watch *w, const struct backend *b)
{
	for (size_t i = 0; i < w->pools.n; i++) {
		if (w->pools.v[i]->b == b)
			return true;
	}
	return false;
}

static void add(struct tend_watch *w, struct backend *b)
{
	struct tended *t = xcalloc(1, sizeof(*t));

	t->b = b;
	t->periodic = periodic_new(&(struct periodic_options){
		.loop = w->loop,
		.work = w->work,
		.lane = LANE_COPY,
		.first_ns = NS_PER_MS,
		.every_ns = EVERY_NS,
		.timeout_ns = TURN_NS,
		.is_due = is_due,
		.run = tend,
		.arg = t,
	});
	vec_push(&w->pools, t);
}

static void look(void *arg)
{
	struct tend_watch *w = arg;
	struct arena *a = arena_new();
	struct registry_pools pools = registry_pools(w->registry, a);

	for (size_t i = 0; i < pools.n; i++) {
		if (atomic_load(&pools.v[i]->n_background) > 0 && !is_tended(w, pools.v[i]))
			add(w, pools.v[i]);
	}
	arena_free(a);
}

struct tend_watch *tend_watch_new(struct ev_loop *loop, struct work *work,
				  struct registry *registry)
{
	struct tend_watch *w = xcalloc(1, sizeof(*w));

	*w = (struct tend_watch){ .loop = loop, .work = work, .registry = registry };
	w->timer = ev_timer_new(loop, look, w);
	ev_timer_start(w->timer, EVERY_NS, EVERY_NS);
	return w;
}

static void free_timer(void *arg)
{
	struct tend_watch *w = arg;

	ev_timer_free(w->timer);
	w->timer = NULL;
}

int tend_watch_stop(struct tend_watch *w, int64_t timeout_ns)
{
	int64_t deadline = clock_now_ns() + timeout_ns;
	int result = 0;

	if (!w)
		return 0;
	ev_call(w->loop, free_timer, w);
	for (size_t i = 0; i < w->pools.n; i++) {
		int64_t left_ns = deadline - clock_now_ns();
		int rc = periodic_stop(w->pools.v[i]->periodic, left_ns > 0 ? left_ns : 0);

		result = rc < 0 ? rc : result;
	}
	return result;
}

void tend_watch_free(struct tend_watch *w)
{
	if (!w)
		return;
	ev_timer_free(w->timer);
	for (size_t i = 0; i < w->pools.n; i++) {
		periodic_free(w->pools.v[i]->periodic);
		free(w->pools.v[i]);
	}
	vec_done(&w->pools);
	free(w);
}
