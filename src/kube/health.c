/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One timer, which runs only while there is trouble, or was a moment ago: set when trouble begins,
 * it is left alone by what comes and goes meanwhile, so that a server which answers every other
 * request is told of too.
 */
#define LOG_ROOM "kube.health"
#include "kube/health.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"

#include <inttypes.h>
#include <stdio.h>

#define FIRST_NS (3 * NS_PER_S)
#define AGAIN_NS (60 * NS_PER_S)

struct health {
	struct ev_loop *loop;
	char *server;
	struct ev_timer *timer; /* loop only */
	bool is_waiting;        /* loop only: the timer runs */

	pthread_mutex_t lock; /* all below */
	bool is_good;
	bool is_told;     /* of this trouble there was a warning */
	int64_t since_ns; /* when it began */
	char why[ERR_MSG_MAX];
};

static void wait_on(struct health *h, int64_t ns)
{
	h->is_waiting = true;
	ev_timer_start(h->timer, ns, 0);
}

static void on_timer(void *arg)
{
	struct health *h = arg;
	char why[ERR_MSG_MAX];
	int64_t age_ns;
	bool is_good;

	h->is_waiting = false;
	pthread_mutex_lock(&h->lock);
	is_good = h->is_good;
	h->is_told |= !is_good;
	age_ns = clock_now_ns() - h->since_ns;
	memcpy(why, h->why, sizeof(why));
	pthread_mutex_unlock(&h->lock);
	if (is_good)
		return;
	log_warn("trouble with the API server", log_str("server", h->server), log_str("err", why),
		 log_duration("age", age_ns));
	wait_on(h, AGAIN_NS);
}

/* Trouble began. */
static void begin(void *arg)
{
	struct health *h = arg;

	if (!h->timer)
		h->timer = ev_timer_new(h->loop, on_timer, h);
	if (!h->is_waiting)
		wait_on(h, FIRST_NS);
}

/* Streams end while the client is being taken down: nothing may be posted behind that then. */
static void run_on_loop(struct health *h, ev_post_fn fn)
{
	if (ev_loop_is_current(h->loop))
		fn(h);
	else
		ev_post(h->loop, fn, h);
}

/* After trouble of which people were told: the next is another one, and not a minute's matter. */
static void end(void *arg)
{
	struct health *h = arg;

	ev_timer_stop(h->timer);
	h->is_waiting = false;
	if (!health_is_good(h, NULL))
		begin(h);
}

void health_note(struct health *h, const char *problem)
{
	int64_t now_ns = clock_now_ns();
	bool was_good;
	bool was_told;
	int64_t age_ns;

	pthread_mutex_lock(&h->lock);
	was_good = h->is_good;
	was_told = h->is_told;
	age_ns = now_ns - h->since_ns;
	h->is_good = !problem;
	(void)snprintf(h->why, sizeof(h->why), "%s", problem ? problem : "");
	if (problem && was_good)
		h->since_ns = now_ns;
	if (!problem)
		h->is_told = false;
	pthread_mutex_unlock(&h->lock);
	if (problem && was_good)
		run_on_loop(h, begin);
	if (problem || !was_told)
		return;
	log_info("the API server is well again", log_str("server", h->server),
		 log_duration("after", age_ns));
	run_on_loop(h, end);
}

bool health_is_good(struct health *h, char *ret_why)
{
	LOCK_SCOPE(&h->lock);
	if (ret_why)
		memcpy(ret_why, h->why, ERR_MSG_MAX);
	return h->is_good;
}

struct health *health_new(struct ev_loop *loop, const char *server)
{
	struct health *h = xcalloc(1, sizeof(*h));

	h->loop = loop;
	h->server = xstrdup(server);
	h->since_ns = clock_now_ns();
	(void)snprintf(h->why, sizeof(h->why), "no request to %s has been answered yet", server);
	pthread_mutex_init(&h->lock, NULL);
	run_on_loop(h, begin);
	return h;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	ev_timer_free(h->timer);
	pthread_mutex_destroy(&h->lock);
	free(h->server);
	free(h);
}
