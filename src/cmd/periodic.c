/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/periodic.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"

struct periodic {
	struct periodic_options opts;
	struct ev_timer *timer; /* loop */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	bool is_running; /* from submission until done ran */
	bool is_stopping;
	struct ctx *ctx; /* of the run that goes on */
};

static bool enter(struct periodic *p, struct ctx *ctx)
{
	LOCK_SCOPE(&p->lock);

	p->ctx = ctx;
	return !p->is_stopping;
}

static bool is_wanted(struct periodic *p)
{
	LOCK_SCOPE(&p->lock);

	return !p->is_stopping;
}

static void done(void *arg)
{
	struct periodic *p = arg;

	if (p->opts.ended && is_wanted(p))
		p->opts.ended(p->opts.arg);
	LOCK_SCOPE(&p->lock);
	p->is_running = false;
	pthread_cond_broadcast(&p->idle);
}

/* On a worker. */
static void run(void *arg)
{
	struct periodic *p = arg;
	struct ctx ctx;

	ctx_init(&ctx, p->opts.timeout_ns);
	if (enter(p, &ctx))
		p->opts.run(p->opts.arg, &ctx);
	(void)enter(p, NULL);
	ctx_done(&ctx);
	ev_post(p->opts.loop, done, p);
}

static void tick(void *arg)
{
	struct periodic *p = arg;
	bool is_due = !p->opts.is_due || p->opts.is_due(p->opts.arg);
	unsigned lane = p->opts.lane_of ? p->opts.lane_of(p->opts.arg) : p->opts.lane;
	LOCK_SCOPE(&p->lock);

	if (is_due && !p->is_running && !p->is_stopping)
		p->is_running = work_submit(p->opts.work, lane, run, p) == 0;
}

struct periodic *periodic_new(const struct periodic_options *opts)
{
	struct periodic *p = xcalloc(1, sizeof(*p));

	p->opts = *opts;
	pthread_mutex_init(&p->lock, NULL);
	sync_cond_init(&p->idle);
	p->timer = ev_timer_new(opts->loop, tick, p);
	ev_timer_start(p->timer, opts->first_ns, opts->every_ns);
	return p;
}

void periodic_look_now(struct periodic *p)
{
	tick(p);
}

static void free_timer(void *arg)
{
	struct periodic *p = arg;

	ev_timer_free(p->timer);
	p->timer = NULL;
}

int periodic_stop(struct periodic *p, int64_t timeout_ns)
{
	int64_t deadline = clock_now_ns() + timeout_ns;

	if (!p)
		return 0;
	ev_call(p->opts.loop, free_timer, p);
	LOCK_SCOPE(&p->lock);
	p->is_stopping = true;
	if (p->ctx)
		ctx_cancel(p->ctx);
	while (p->is_running) {
		int r = sync_cond_wait_until(&p->idle, &p->lock, deadline);

		if (r < 0)
			return r;
	}
	return 0;
}

void periodic_free(struct periodic *p)
{
	if (!p)
		return;
	ev_timer_free(p->timer);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
