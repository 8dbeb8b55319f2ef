/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits_watch - limits of I/O are looked after while the process lives
 *
 *   timer (loop) -> is anything due? -> keep (a worker of the host lane) -> done (loop)
 *
 * One at a time: writing a limit makes the kernel wait for the requests that a device has, so a
 * disk that hangs costs one worker and makes the next look wait.
 */
#include "cmd/limits_watch.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "cmd/lanes.h"
#include "csi/driver.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"

#define EVERY_NS NS_PER_S
#define FIRST_NS (NS_PER_S / 10)
#define KEEP_TIMEOUT_NS (60 * NS_PER_S)

struct limits_watch {
	struct ev_loop *loop;
	struct work *work;
	struct csi_driver *driver;
	struct ev_timer *timer; /* loop */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	bool is_keeping; /* from submission until done ran */
	bool is_stopping;
	struct ctx *ctx; /* of the work that runs */
};

static void done(void *arg)
{
	struct limits_watch *w = arg;
	LOCK_SCOPE(&w->lock);

	w->is_keeping = false;
	pthread_cond_broadcast(&w->idle);
}

/* On a worker. */
static void keep(void *arg)
{
	struct limits_watch *w = arg;
	struct ctx ctx;
	bool is_wanted;

	ctx_init(&ctx, KEEP_TIMEOUT_NS);
	{
		LOCK_SCOPE(&w->lock);
		is_wanted = !w->is_stopping;
		w->ctx = &ctx;
	}
	if (is_wanted)
		csi_driver_keep_limits(w->driver, &ctx);
	{
		LOCK_SCOPE(&w->lock);
		w->ctx = NULL;
	}
	ctx_done(&ctx);
	ev_post(w->loop, done, w);
}

static void begin(void *arg)
{
	struct limits_watch *w = arg;

	if (!csi_driver_limits_are_due(w->driver))
		return;
	LOCK_SCOPE(&w->lock);
	if (w->is_keeping || w->is_stopping)
		return;
	w->is_keeping = work_submit(w->work, LANE_HOST, keep, w) == 0;
}

struct limits_watch *limits_watch_new(struct ev_loop *loop, struct work *work,
				      struct csi_driver *driver)
{
	struct limits_watch *w = xcalloc(1, sizeof(*w));

	*w = (struct limits_watch){ .loop = loop, .work = work, .driver = driver };
	pthread_mutex_init(&w->lock, NULL);
	sync_cond_init(&w->idle);
	w->timer = ev_timer_new(loop, begin, w);
	ev_timer_start(w->timer, FIRST_NS, EVERY_NS);
	return w;
}

static void free_timer(void *arg)
{
	struct limits_watch *w = arg;

	ev_timer_free(w->timer);
	w->timer = NULL;
}

int limits_watch_stop(struct limits_watch *w, int64_t timeout_ns)
{
	int64_t deadline = clock_now_ns() + timeout_ns;

	if (!w)
		return 0;
	ev_call(w->loop, free_timer, w);
	LOCK_SCOPE(&w->lock);
	w->is_stopping = true;
	if (w->ctx)
		ctx_cancel(w->ctx);
	while (w->is_keeping) {
		int r = sync_cond_wait_until(&w->idle, &w->lock, deadline);

		if (r < 0)
			return r;
	}
	return 0;
}

void limits_watch_free(struct limits_watch *w)
{
	if (!w)
		return;
	ev_timer_free(w->timer);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
