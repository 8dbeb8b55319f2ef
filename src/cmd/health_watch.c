/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_watch - conditions of pools and volumes as metrics, while the process lives
 *
 *   timer (loop) -> look (a worker) -> done (loop)
 *
 * Not as part of the page of metrics: a disk that hangs would keep what answers probes too. One
 * look at a time; what hangs meanwhile is counted by the timer, which asks memory alone.
 */
#include "cmd/health_watch.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "base/metric.h"
#include "cmd/lanes.h"
#include "csi/driver.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"

#define TICK_NS (10 * NS_PER_S)
#define FIRST_NS NS_PER_S
#define TICKS_PER_LOOK 6
#define LOOK_TIMEOUT_NS (60 * NS_PER_S)

struct health_watch {
	struct ev_loop *loop;
	struct work *work;
	struct csi_driver *driver;
	struct ev_timer *timer; /* loop */
	unsigned n_ticks;       /* loop */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	bool is_looking; /* from submission until done ran */
	bool is_stopping;
	struct ctx *ctx; /* of the look that runs */
};

static void done(void *arg)
{
	struct health_watch *w = arg;
	LOCK_SCOPE(&w->lock);

	w->is_looking = false;
	pthread_cond_broadcast(&w->idle);
}

static bool enter(struct health_watch *w, struct ctx *ctx)
{
	LOCK_SCOPE(&w->lock);

	w->ctx = ctx;
	return !w->is_stopping;
}

/* On a worker. */
static void look(void *arg)
{
	struct health_watch *w = arg;
	struct ctx ctx;

	ctx_init(&ctx, LOOK_TIMEOUT_NS);
	if (enter(w, &ctx))
		csi_driver_watch_health(w->driver, &ctx);
	(void)enter(w, NULL);
	ctx_done(&ctx);
	ev_post(w->loop, done, w);
}

static void tick(void *arg)
{
	struct health_watch *w = arg;
	bool is_due = w->n_ticks++ % TICKS_PER_LOOK == 0;

	metric_set(METRIC_LOOKS_HANGING, (double)csi_driver_n_silent(w->driver), METRIC_ARGS(NULL));
	LOCK_SCOPE(&w->lock);
	if (is_due && !w->is_looking && !w->is_stopping)
		w->is_looking = work_submit(w->work, LANE_LOOK, look, w) == 0;
}

struct health_watch *health_watch_new(struct ev_loop *loop, struct work *work,
				      struct csi_driver *driver)
{
	struct health_watch *w = xcalloc(1, sizeof(*w));

	*w = (struct health_watch){ .loop = loop, .work = work, .driver = driver };
	pthread_mutex_init(&w->lock, NULL);
	sync_cond_init(&w->idle);
	w->timer = ev_timer_new(loop, tick, w);
	ev_timer_start(w->timer, FIRST_NS, TICK_NS);
	return w;
}

static void free_timer(void *arg)
{
	struct health_watch *w = arg;

	ev_timer_free(w->timer);
	w->timer = NULL;
}

int health_watch_stop(struct health_watch *w, int64_t timeout_ns)
{
	int64_t deadline = clock_now_ns() + timeout_ns;

	if (!w)
		return 0;
	ev_call(w->loop, free_timer, w);
	LOCK_SCOPE(&w->lock);
	w->is_stopping = true;
	if (w->ctx)
		ctx_cancel(w->ctx);
	while (w->is_looking) {
		int r = sync_cond_wait_until(&w->idle, &w->lock, deadline);

		if (r < 0)
			return r;
	}
	return 0;
}

void health_watch_free(struct health_watch *w)
{
	if (!w)
		return;
	ev_timer_free(w->timer);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
