/* SPDX-License-Identifier: Apache-2.0 */
/* What is done again and again: one run at a time, and none after it is stopped. */
#include "cmd/periodic.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "check.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"

struct env {
	struct ev_loop *loop;
	struct work *work;
	struct periodic *p;
	struct sync_flag has_begun;
	struct sync_flag may_end;
	bool hangs;
	bool is_deaf; /* to its ctx as well */
	atomic_uint n_at_once, n_runs, n_ended, n_asked;
	unsigned n_wanted; /* after so many the loop ends */
	unsigned n_ticks;  /* of another timer of the loop */
};

static bool is_due(void *arg)
{
	struct env *e = arg;

	return atomic_fetch_add(&e->n_asked, 1) % 2 == 1;
}

static void run(void *arg, struct ctx *ctx)
{
	struct env *e = arg;

	ASSERT_EQ(atomic_fetch_add(&e->n_at_once, 1), 0);
	if (e->hangs) {
		sync_flag_set(&e->has_begun);
		while (!e->is_deaf && !ctx_is_cancelled(ctx))
			(void)sync_flag_wait_until(&e->may_end, clock_now_ns() + NS_PER_MS);
		if (e->is_deaf)
			ASSERT_EQ(sync_flag_wait_until(&e->may_end, INT64_MAX), 0);
	}
	atomic_fetch_add(&e->n_runs, 1);
	atomic_fetch_sub(&e->n_at_once, 1);
}

static void ended(void *arg)
{
	struct env *e = arg;

	if (atomic_fetch_add(&e->n_ended, 1) + 1 == e->n_wanted)
		ev_loop_stop(e->loop);
}

static void setup_every(struct env *e, int64_t every_ns)
{
	static const struct work_lane_def lane = { .name = "one", .threads = 2 };

	ASSERT_EQ(ev_loop_new(&e->loop), 0);
	ASSERT_EQ(work_new(&(struct work_options){ .lanes = &lane, .n_lanes = 1 }, &e->work), 0);
	e->p = periodic_new(&(struct periodic_options){
		.loop = e->loop,
		.work = e->work,
		.first_ns = NS_PER_MS,
		.every_ns = every_ns,
		.timeout_ns = 60 * NS_PER_S,
		.is_due = is_due,
		.run = run,
		.ended = ended,
		.arg = e,
	});
}

static void setup(struct env *e)
{
	setup_every(e, NS_PER_MS);
}

static void teardown(struct env *e)
{
	ev_loop_join(e->loop);
	work_free(e->work);
	periodic_free(e->p);
	ev_loop_free(e->loop);
}

TEST(it_runs_when_it_is_due)
{
	struct env e = { .n_wanted = 3 };

	setup(&e);
	ASSERT_EQ(ev_loop_run(e.loop), 0);
	ASSERT_TRUE(e.n_runs >= 3 && e.n_asked >= 6);
	ASSERT_EQ(ev_loop_spawn(e.loop), 0);
	ASSERT_EQ(periodic_stop(e.p, 10 * NS_PER_S), 0);
	teardown(&e);
	ASSERT_TRUE(e.n_runs == e.n_ended || e.n_runs == e.n_ended + 1);
}

TEST(a_run_that_goes_on_is_cancelled_and_waited_for)
{
	struct env e = { .hangs = true };

	setup(&e);
	ASSERT_EQ(ev_loop_spawn(e.loop), 0);
	ASSERT_EQ(sync_flag_wait_until(&e.has_begun, INT64_MAX), 0);
	ASSERT_EQ(periodic_stop(e.p, 10 * NS_PER_S), 0);
	ASSERT_EQ(e.n_runs, 1);
	teardown(&e);
	ASSERT_EQ(e.n_runs, 1);
	ASSERT_EQ(e.n_ended, 0);
}

TEST(one_that_hangs_is_not_waited_for_forever)
{
	struct env e = { .hangs = true, .is_deaf = true };

	setup(&e);
	ASSERT_EQ(ev_loop_spawn(e.loop), 0);
	ASSERT_EQ(sync_flag_wait_until(&e.has_begun, INT64_MAX), 0);
	ASSERT_EQ(periodic_stop(e.p, NS_PER_MS), -ETIMEDOUT);
	sync_flag_set(&e.may_end);
	ASSERT_EQ(periodic_stop(e.p, 10 * NS_PER_S), 0);
	teardown(&e);
	ASSERT_EQ(e.n_runs, 1);
}

static void tick_beside(void *arg)
{
	struct env *e = arg;

	if (++e->n_ticks != 20)
		return;
	ASSERT_EQ(e->n_asked, 1);
	periodic_look_now(e->p);
	ASSERT_EQ(e->n_asked, 2);
}

TEST(without_a_period_it_looks_once_and_when_it_is_told_to)
{
	struct env e = { .n_wanted = 1 };
	struct ev_timer *beside;

	setup_every(&e, 0);
	beside = ev_timer_new(e.loop, tick_beside, &e);
	ev_timer_start(beside, 2 * NS_PER_MS, NS_PER_MS);
	ASSERT_EQ(ev_loop_run(e.loop), 0);
	ev_timer_free(beside);
	ASSERT_EQ(e.n_runs, 1);
	ASSERT_EQ(ev_loop_spawn(e.loop), 0);
	ASSERT_EQ(periodic_stop(e.p, 10 * NS_PER_S), 0);
	teardown(&e);
	ASSERT_EQ(e.n_asked, 2);
}

RUN_TESTS(UNIT(it_runs_when_it_is_due), UNIT(without_a_period_it_looks_once_and_when_it_is_told_to),
	  UNIT(a_run_that_goes_on_is_cancelled_and_waited_for),
	  UNIT(one_that_hangs_is_not_waited_for_forever))
