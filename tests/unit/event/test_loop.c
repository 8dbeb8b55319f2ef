/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Posts and calls, from the loop's own thread and from others. The loops run
 * on threads of their own; what they did is read after ev_loop_join, or after
 * an ev_call, which orders it.
 */
#include "base/mem.h"
#include "event/loop.h"
#include "event/work.h"

#include "../check.h"

#include <stdatomic.h>

#define POSTERS 4
#define POSTS 500

struct log {
	struct ev_loop *loop;
	int seen[POSTERS][POSTS];
	int n[POSTERS];
	bool all_on_loop;
};

struct item {
	struct log *log;
	int poster;
	int number;
};

static void record(void *arg)
{
	struct item *item = arg;
	struct log *log = item->log;

	log->seen[item->poster][log->n[item->poster]++] = item->number;
	log->all_on_loop &= ev_loop_is_current(log->loop);
	free(item);
}

struct poster {
	struct log *log;
	int number;
};

static void post_many(void *arg)
{
	const struct poster *p = arg;

	for (int i = 0; i < POSTS; i++) {
		struct item *item = xmalloc(sizeof(*item));

		*item = (struct item){ p->log, p->number, i };
		ev_post(p->log->loop, record, item);
	}
}

TEST(posts_of_each_thread_run_on_the_loop_in_order)
{
	struct log log = { .all_on_loop = true };
	struct poster posters[POSTERS];
	struct work_thread *threads[POSTERS];

	ASSERT_EQ(ev_loop_new(&log.loop), 0);
	ASSERT_EQ(ev_loop_spawn(log.loop), 0);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){ &log, i };
		ASSERT_EQ(work_thread_start("poster", post_many, &posters[i], &threads[i]), 0);
	}
	for (int i = 0; i < POSTERS; i++)
		work_thread_join(threads[i]);
	ev_loop_join(log.loop);
	ev_loop_free(log.loop);
	for (int i = 0; i < POSTERS; i++) {
		ASSERT_EQ(log.n[i], POSTS);
		for (int j = 0; j < POSTS; j++)
			ASSERT_EQ(log.seen[i][j], j);
	}
	ASSERT_TRUE(log.all_on_loop);
}

struct steps {
	struct ev_loop *loop;
	int order[4];
	int n;
};

static void step_second(void *arg)
{
	struct steps *s = arg;

	s->order[s->n++] = 2;
	ev_loop_stop(s->loop);
}

static void step_first(void *arg)
{
	struct steps *s = arg;

	ev_post(s->loop, step_second, s);
	s->order[s->n++] = 1;
}

TEST(a_post_from_a_post_runs_after_it)
{
	struct steps s = { 0 };

	ASSERT_EQ(ev_loop_new(&s.loop), 0);
	ev_post(s.loop, step_first, &s);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.n, 2);
	ASSERT_EQ(s.order[0], 1);
	ASSERT_EQ(s.order[1], 2);
	ev_loop_free(s.loop);
}

static void count(void *arg)
{
	(*(int *)arg)++;
}

TEST(what_was_posted_and_not_run_is_run_by_free)
{
	struct ev_loop *loop;
	int n = 0;

	ASSERT_EQ(ev_loop_new(&loop), 0);
	ev_post(loop, count, &n);
	ev_post(loop, count, &n);
	ASSERT_EQ(n, 0);
	ev_loop_free(loop);
	ASSERT_EQ(n, 2);
}

TEST(a_call_has_run_when_it_returns)
{
	struct ev_loop *loop;
	int n = 0;

	ASSERT_EQ(ev_loop_new(&loop), 0);
	ASSERT_EQ(ev_loop_spawn(loop), 0);
	for (int i = 1; i <= 100; i++) {
		ev_call(loop, count, &n);
		ASSERT_EQ(n, i);
	}
	ASSERT_FALSE(ev_loop_is_current(loop));
	ev_loop_join(loop);
	ev_loop_free(loop);
}

static void call_inside(void *arg)
{
	struct steps *s = arg;

	ev_call(s->loop, count, &s->n);
	s->order[0] = s->n;
	ev_loop_stop(s->loop);
}

TEST(a_call_on_the_loops_own_thread_is_direct)
{
	struct steps s = { 0 };

	ASSERT_EQ(ev_loop_new(&s.loop), 0);
	ev_post(s.loop, call_inside, &s);
	ASSERT_EQ(ev_loop_run(s.loop), 0);
	ASSERT_EQ(s.order[0], 1);
	ev_loop_free(s.loop);
}

TEST(a_loop_stopped_before_it_runs_returns_and_runs_again_later)
{
	struct ev_loop *loop;
	struct steps s = { 0 };

	ASSERT_EQ(ev_loop_new(&loop), 0);
	ev_loop_stop(loop);
	ASSERT_EQ(ev_loop_run(loop), 0);
	s.loop = loop;
	ev_post(loop, step_first, &s);
	ASSERT_EQ(ev_loop_run(loop), 0);
	ev_loop_free(loop);
	ASSERT_EQ(s.n, 2);
}

struct gathering {
	struct ev_loop *loop;
	atomic_bool is_on;
	atomic_int n_ran;
	int at_wait; /* how many had run when the thread had waited for the loop */
};

static void count_run(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void gather_and_call(void *arg)
{
	struct gathering *g = arg;

	atomic_store(&g->is_on, true);
	ev_gather_begin(&g->is_on);
	ev_post(g->loop, count_run, &g->n_ran);
	ev_post(g->loop, count_run, &g->n_ran);
	ev_call(g->loop, count_run, &g->n_ran);
	g->at_wait = atomic_load(&g->n_ran);
	ev_gather_begin(&g->is_on);
	ev_post(g->loop, count_run, &g->n_ran);
	atomic_store(&g->is_on, false);
	ev_post(g->loop, count_run, &g->n_ran);
	while (atomic_load(&g->n_ran) < 5)
		;
	atomic_store(&g->is_on, true);
	ev_post(g->loop, count_run, &g->n_ran);
	ev_gather_end();
	while (atomic_load(&g->n_ran) < 6)
		;
}

TEST(gathered_posts_wake_the_loop_when_that_ends_by_itself_by_the_flag_or_by_waiting)
{
	struct gathering g = { 0 };
	struct work_thread *t;

	ASSERT_EQ(ev_loop_new(&g.loop), 0);
	ASSERT_EQ(ev_loop_spawn(g.loop), 0);
	ASSERT_EQ(work_thread_start("gather", gather_and_call, &g, &t), 0);
	work_thread_join(t);
	ev_loop_join(g.loop);
	ev_loop_free(g.loop);
	ASSERT_EQ(g.at_wait, 3);
	ASSERT_EQ(atomic_load(&g.n_ran), 6);
}

RUN_TESTS(UNIT(posts_of_each_thread_run_on_the_loop_in_order),
	  UNIT(a_post_from_a_post_runs_after_it), UNIT(what_was_posted_and_not_run_is_run_by_free),
	  UNIT(a_call_has_run_when_it_returns), UNIT(a_call_on_the_loops_own_thread_is_direct),
	  UNIT(a_loop_stopped_before_it_runs_returns_and_runs_again_later),
	  UNIT(gathered_posts_wake_the_loop_when_that_ends_by_itself_by_the_flag_or_by_waiting))
