/* SPDX-License-Identifier: Apache-2.0 */
/* A timer on the loop that looks at the caches until they are all there, then is quiet. */
#include "control/sync_gate.h"

#include "base/clock.h"
#include "event/loop.h"
#include "kube/informer.h"
#include "kube/queue.h"

#define POLL_NS (50 * NS_PER_MS)

static void on_timer(void *arg)
{
	struct sync_gate *g = arg;

	for (size_t i = 0; i < SYNC_GATE_MAX; i++)
		if (g->caches[i] && !informer_has_synced(g->caches[i]))
			return;
	ev_timer_stop(g->timer);
	for (size_t i = 0; i < SYNC_GATE_MAX; i++)
		if (g->queues[i])
			queue_resume(g->queues[i]);
}

static void make_on_loop(void *arg)
{
	struct sync_gate *g = arg;

	g->timer = ev_timer_new(g->loop, on_timer, g);
}

static void start_on_loop(void *arg)
{
	struct sync_gate *g = arg;

	ev_timer_start(g->timer, 0, POLL_NS);
}

static void pause_on_loop(void *arg)
{
	struct sync_gate *g = arg;

	ev_timer_stop(g->timer);
}

static void free_on_loop(void *arg)
{
	struct sync_gate *g = arg;

	ev_timer_free(g->timer);
}

void sync_gate_init(struct sync_gate *g, struct ev_loop *loop)
{
	*g = (struct sync_gate){ .loop = loop };
	ev_call(loop, make_on_loop, g);
}

void sync_gate_start(struct sync_gate *g)
{
	ev_call(g->loop, start_on_loop, g);
}

void sync_gate_pause(struct sync_gate *g)
{
	ev_call(g->loop, pause_on_loop, g); /* resumes nothing any more */
	for (size_t i = 0; i < SYNC_GATE_MAX; i++)
		if (g->queues[i])
			queue_pause(g->queues[i]);
}

void sync_gate_done(struct sync_gate *g)
{
	ev_call(g->loop, free_on_loop, g);
}
