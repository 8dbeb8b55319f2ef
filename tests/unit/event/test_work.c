/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker lanes. Jobs that must be caught in the act wait at a gate (a
 * semaphore) that the test opens; nothing here waits for time to pass.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "event/loop.h"
#include "event/work.h"

#include "../check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

enum { A, B, C, N_LANES };

static const struct work_lane_def lanes[N_LANES] = {
	[A] = { .name = "a", .threads = 4 },
	[B] = { .name = "b", .threads = 4 },
	[C] = { .name = "c", .threads = 4 },
};
static const struct work_options three = { .lanes = lanes, .n_lanes = N_LANES };

struct gate {
	sem_t arrived;
	sem_t open;
	atomic_int passed;
};

static void gate_init(struct gate *g)
{
	ASSERT_EQ(sem_init(&g->arrived, 0, 0), 0);
	ASSERT_EQ(sem_init(&g->open, 0, 0), 0);
	atomic_init(&g->passed, 0);
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		;
}

static void pass_gate(void *arg)
{
	struct gate *g = arg;

	sem_post(&g->arrived);
	wait_for(&g->open);
	atomic_fetch_add(&g->passed, 1);
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

TEST(each_job_runs_exactly_once)
{
	atomic_int n = 0;
	struct work *w;

	ASSERT_EQ(work_new(&three, &w), 0);
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(work_submit(w, (unsigned)i % N_LANES, count, &n), 0);
	work_free(w);
	ASSERT_EQ(atomic_load(&n), 1000);
}

TEST(a_lane_runs_as_many_jobs_at_once_as_it_has_threads)
{
	const struct work_lane_def lane = { .name = "b", .threads = 3 };
	const struct work_options opts = { .lanes = &lane, .n_lanes = 1 };
	struct gate g;
	struct work *w;

	gate_init(&g);
	ASSERT_EQ(work_new(&opts, &w), 0);
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(work_submit(w, 0, pass_gate, &g), 0);
	for (int i = 0; i < 3; i++)
		wait_for(&g.arrived);
	ASSERT_EQ(work_busy(w, 0), 3);
	ASSERT_TRUE(sem_trywait(&g.arrived) < 0);
	for (int i = 0; i < 5; i++)
		sem_post(&g.open);
	work_free(w);
	ASSERT_EQ(atomic_load(&g.passed), 5);
}

TEST(waiting_threads_all_wake_for_jobs_that_block)
{
	struct gate g;
	struct work *w;

	gate_init(&g);
	ASSERT_EQ(work_new(&three, &w), 0);
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 4; i++)
			ASSERT_EQ(work_submit(w, B, pass_gate, &g), 0);
		for (int i = 0; i < 4; i++)
			wait_for(&g.arrived);
		for (int i = 0; i < 4; i++)
			sem_post(&g.open);
	}
	work_free(w);
	ASSERT_EQ(atomic_load(&g.passed), 800);
}

TEST(a_stuck_lane_holds_no_other_up)
{
	const struct work_lane_def some[] = {
		{ .name = "a", .threads = 1 },
		{ .name = "b", .threads = 1 },
		{ .name = "c", .threads = 1 },
	};
	const struct work_options opts = { .lanes = some, .n_lanes = ARRAY_LEN(some) };
	struct gate stuck;
	struct gate other;
	struct work *w;

	gate_init(&stuck);
	gate_init(&other);
	ASSERT_EQ(work_new(&opts, &w), 0);
	ASSERT_EQ(work_submit(w, A, pass_gate, &stuck), 0);
	wait_for(&stuck.arrived);
	ASSERT_EQ(work_submit(w, B, pass_gate, &other), 0);
	wait_for(&other.arrived);
	ASSERT_EQ(work_busy(w, A), 1);
	ASSERT_EQ(work_busy(w, B), 1);
	ASSERT_EQ(work_busy(w, C), 0);
	sem_post(&other.open);
	sem_post(&stuck.open);
	work_free(w);
}

/* 8 KiB for each step down. */
__attribute__((noinline)) static int go_down(int steps)
{
	volatile char here[8192];

	here[0] = 1;
	here[sizeof(here) - 1] = (char)(steps > 1 ? go_down(steps - 1) : 1);
	return here[0] & here[sizeof(here) - 1];
}

static void use_stack(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, go_down(128));
}

TEST(a_lane_has_the_stack_that_it_says)
{
	const struct work_lane_def lane = { .name = "a",
					    .threads = 1,
					    .stack_bytes = (size_t)2 << 20 };
	const struct work_options opts = { .lanes = &lane, .n_lanes = 1 };
	atomic_int n = 0;
	struct work *w;

	ASSERT_EQ(work_new(&opts, &w), 0);
	ASSERT_EQ(work_submit(w, 0, use_stack, &n), 0);
	work_free(w);
	ASSERT_EQ(atomic_load(&n), 1);
}

TEST(a_full_queue_answers_busy)
{
	const struct work_lane_def lane = { .name = "a", .threads = 1, .queue = 2 };
	const struct work_options opts = { .lanes = &lane, .n_lanes = 1 };
	struct gate g;
	struct work *w;

	gate_init(&g);
	ASSERT_EQ(work_new(&opts, &w), 0);
	ASSERT_EQ(work_submit(w, 0, pass_gate, &g), 0);
	wait_for(&g.arrived);
	ASSERT_EQ(work_submit(w, 0, pass_gate, &g), 0);
	ASSERT_EQ(work_submit(w, 0, pass_gate, &g), 0);
	ASSERT_EQ(work_submit(w, 0, pass_gate, &g), -EBUSY);
	for (int i = 0; i < 3; i++)
		sem_post(&g.open);
	work_free(w);
	ASSERT_EQ(atomic_load(&g.passed), 3);
}

TEST(a_minor_lane_never_has_more_than_half_of_the_others)
{
	const struct work_lane_def some[] = {
		{ .name = "a", .threads = 1 },
		{ .name = "b", .threads = 3 },
		{ .name = "minor", .threads = 9, .is_minor = true },
	};
	const struct work_options opts = { .lanes = some, .n_lanes = ARRAY_LEN(some) };
	struct gate g;
	struct work *w;

	gate_init(&g);
	ASSERT_EQ(work_new(&opts, &w), 0);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(work_submit(w, C, pass_gate, &g), 0);
	for (int i = 0; i < 2; i++)
		wait_for(&g.arrived);
	ASSERT_EQ(work_busy(w, C), 2);
	ASSERT_TRUE(sem_trywait(&g.arrived) < 0);
	for (int i = 0; i < 3; i++)
		sem_post(&g.open);
	work_free(w);
}

struct late {
	struct work *work;
	struct gate gate;
	atomic_int result;
};

/* Submits again and again until the lane is closed: by then work_free is at work. */
static void submit_while_open(void *arg)
{
	struct late *late = arg;
	int r;

	sem_post(&late->gate.arrived);
	do
		r = work_submit(late->work, A, count, &late->gate.passed);
	while (r == 0 || r == -EBUSY);
	atomic_store(&late->result, r);
}

TEST(a_closing_pool_takes_no_more_jobs_and_runs_what_it_took)
{
	struct late late = { 0 };

	gate_init(&late.gate);
	ASSERT_EQ(work_new(&three, &late.work), 0);
	ASSERT_EQ(work_submit(late.work, B, submit_while_open, &late), 0);
	wait_for(&late.gate.arrived);
	work_free(late.work);
	ASSERT_EQ(atomic_load(&late.result), -ESHUTDOWN);
}

static pthread_key_t end_key;

static void tell_end(void *value)
{
	sem_post(value);
}

static void watch_end(void *arg)
{
	pthread_setspecific(end_key, arg);
}

TEST(an_idle_thread_ends_and_the_next_job_gets_a_new_one)
{
	struct work_options opts = three;
	struct work *w;
	sem_t ended;

	opts.idle_ns = 1;
	ASSERT_EQ(pthread_key_create(&end_key, tell_end), 0);
	ASSERT_EQ(sem_init(&ended, 0, 0), 0);
	ASSERT_EQ(work_new(&opts, &w), 0);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(work_submit(w, C, watch_end, &ended), 0);
		wait_for(&ended);
	}
	work_free(w);
	pthread_key_delete(end_key);
}

static void look_at_signals(void *arg)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	atomic_store((atomic_int *)arg, sigismember(&mask, SIGTERM));
}

TEST(workers_leave_signals_to_the_main_thread)
{
	atomic_int blocked = -1;
	struct work *w;
	sigset_t mask;

	ASSERT_EQ(work_new(&three, &w), 0);
	ASSERT_EQ(work_submit(w, A, look_at_signals, &blocked), 0);
	work_free(w);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ASSERT_EQ(atomic_load(&blocked), 1);
	ASSERT_FALSE(sigismember(&mask, SIGTERM));
}

TEST(busy_workers_are_a_metric)
{
	autostr struct str text = STR_INIT;
	struct gate g;
	struct work *w;

	gate_init(&g);
	ASSERT_EQ(work_new(&three, &w), 0);
	ASSERT_EQ(work_submit(w, B, pass_gate, &g), 0);
	wait_for(&g.arrived);
	metric_render(&text);
	sem_post(&g.open);
	work_free(w);
	ASSERT_TRUE(strstr(text.buf, "\ncleat_workers_busy{lane=\"b\"} 1\n") != NULL);
	str_reset(&text);
	metric_render(&text);
	ASSERT_TRUE(strstr(text.buf, "\ncleat_workers_busy{lane=\"b\"} 0\n") != NULL);
}

TEST(a_thread_of_its_own_runs_and_is_joined)
{
	struct work_thread *t;
	atomic_int n = 0;

	ASSERT_EQ(work_thread_start("a name longer than the kernel takes", count, &n, &t), 0);
	work_thread_join(t);
	work_thread_join(NULL);
	ASSERT_EQ(atomic_load(&n), 1);
}

/* The tables of two pools may differ; what their lanes are called is what is counted together. */
TEST(lanes_of_one_name_are_counted_together_and_others_apart)
{
	const struct work_lane_def alone = { .name = "b", .threads = 1 };
	const struct work_options opts = { .lanes = &alone, .n_lanes = 1 };
	autostr struct str text = STR_INIT;
	struct work *one, *other;
	struct gate g;

	gate_init(&g);
	ASSERT_EQ(work_new(&three, &one), 0);
	ASSERT_EQ(work_new(&opts, &other), 0);
	ASSERT_EQ(work_submit(one, B, pass_gate, &g), 0);
	ASSERT_EQ(work_submit(other, 0, pass_gate, &g), 0);
	wait_for(&g.arrived);
	wait_for(&g.arrived);
	metric_render(&text);
	sem_post(&g.open);
	sem_post(&g.open);
	work_free(one);
	work_free(other);
	ASSERT_TRUE(strstr(text.buf, "\ncleat_workers_busy{lane=\"b\"} 2\n") != NULL);
	ASSERT_TRUE(strstr(text.buf, "\ncleat_workers_busy{lane=\"a\"} 0\n") != NULL);
}

/* ---- bursts of the loop ---- */

#define BURST 16

struct bursts {
	struct ev_loop *loop;
	struct work *work;
	struct gate gate;
	sem_t posted;
	atomic_int n_jobs;
	int n_posts; /* the loop's thread */
	work_fn burst[BURST];
	size_t n_burst;
};

/* Lanes of one loop that runs, with a clock in which every job is quick. */
static void bursts_init(struct bursts *b)
{
	struct work_options opts = three;

	memset(b, 0, sizeof(*b));
	gate_init(&b->gate);
	ASSERT_EQ(sem_init(&b->posted, 0, 0), 0);
	clock_fake_set(NS_PER_S);
	ASSERT_EQ(ev_loop_new(&b->loop), 0);
	opts.loop = b->loop;
	ASSERT_EQ(work_new(&opts, &b->work), 0);
	ASSERT_EQ(ev_loop_spawn(b->loop), 0);
}

static void bursts_done(struct bursts *b)
{
	ev_loop_join(b->loop);
	work_free(b->work);
	ev_loop_free(b->loop);
	clock_fake_set(-1);
}

static void submit_burst(void *arg)
{
	struct bursts *b = arg;

	for (size_t i = 0; i < b->n_burst; i++)
		ASSERT_EQ(work_submit(b->work, A, b->burst[i], b), 0);
}

static void note_post(void *arg)
{
	struct bursts *b = arg;

	b->n_posts++;
	sem_post(&b->posted);
}

static void do_and_post(void *arg)
{
	struct bursts *b = arg;

	atomic_fetch_add(&b->n_jobs, 1);
	ev_post(b->loop, note_post, b);
}

static void do_and_block(void *arg)
{
	struct bursts *b = arg;

	pass_gate(&b->gate);
}

/* The second of them comes when no patience is left. */
static void post_twice_and_wait(void *arg)
{
	struct bursts *b = arg;

	for (int i = 0; i < 2; i++) {
		ev_post(b->loop, note_post, b);
		wait_for(&b->posted);
	}
	sem_post(&b->gate.arrived);
}

static void run_quick(struct bursts *b)
{
	b->n_burst = BURST;
	for (size_t i = 0; i < BURST; i++)
		b->burst[i] = do_and_post;
	ev_call(b->loop, submit_burst, b);
	for (size_t i = 0; i < BURST; i++)
		wait_for(&b->posted);
}

TEST(bursts_of_quick_jobs_run_and_are_answered)
{
	struct bursts b;

	bursts_init(&b);
	for (int i = 0; i < 500; i++)
		run_quick(&b);
	bursts_done(&b);
	ASSERT_EQ(atomic_load(&b.n_jobs), 500 * BURST);
	ASSERT_EQ(b.n_posts, 500 * BURST);
}

TEST(a_burst_whose_first_jobs_block_is_taken_up_by_other_threads)
{
	struct bursts b;

	bursts_init(&b);
	for (int round = 0; round < 20; round++) {
		run_quick(&b);
		b.n_burst = 4;
		for (size_t i = 0; i < b.n_burst; i++)
			b.burst[i] = do_and_block;
		ev_call(b.loop, submit_burst, &b);
		for (size_t i = 0; i < b.n_burst; i++)
			wait_for(&b.gate.arrived);
		for (size_t i = 0; i < b.n_burst; i++)
			sem_post(&b.gate.open);
	}
	bursts_done(&b);
	ASSERT_EQ(atomic_load(&b.gate.passed), 80);
}

TEST(the_reply_of_a_quick_job_does_not_wait_for_one_that_blocks)
{
	struct bursts b;

	bursts_init(&b);
	for (int round = 0; round < 20; round++) {
		run_quick(&b);
		b.n_burst = 3;
		b.burst[0] = do_and_post;
		b.burst[1] = b.burst[2] = do_and_block;
		ev_call(b.loop, submit_burst, &b);
		wait_for(&b.posted);
		for (int i = 0; i < 2; i++)
			wait_for(&b.gate.arrived);
		for (int i = 0; i < 2; i++)
			sem_post(&b.gate.open);
	}
	bursts_done(&b);
	ASSERT_EQ(b.n_posts, 20 * (BURST + 1));
}

TEST(a_job_of_a_burst_gets_answers_of_the_loop_as_often_as_it_asks)
{
	struct bursts b;

	bursts_init(&b);
	for (int round = 0; round < 20; round++) {
		run_quick(&b);
		b.n_burst = 3;
		b.burst[0] = b.burst[1] = b.burst[2] = post_twice_and_wait;
		ev_call(b.loop, submit_burst, &b);
		for (int i = 0; i < 3; i++)
			wait_for(&b.gate.arrived);
	}
	bursts_done(&b);
	ASSERT_EQ(b.n_posts, 20 * (BURST + 6));
}

/* The loop's thread is held in its next turn, so that no tick of its timer can help. */
static void wait_for_burst(void *arg)
{
	struct bursts *b = arg;

	for (int i = 0; i < BURST; i++)
		wait_for(&b->gate.arrived);
}

static void arrive(void *arg)
{
	struct bursts *b = arg;

	sem_post(&b->gate.arrived);
}

static void submit_and_wait(void *arg)
{
	struct bursts *b = arg;

	submit_burst(b);
	ev_post(b->loop, wait_for_burst, b);
}

TEST(a_burst_is_handed_over_when_the_turn_ends)
{
	struct bursts b;

	bursts_init(&b);
	for (int round = 0; round < 20; round++) {
		run_quick(&b);
		for (size_t i = 0; i < BURST; i++)
			b.burst[i] = arrive;
		ev_call(b.loop, submit_and_wait, &b);
	}
	bursts_done(&b);
	ASSERT_EQ(b.n_posts, 20 * BURST);
}

RUN_TESTS(UNIT(each_job_runs_exactly_once),
	  UNIT(a_lane_runs_as_many_jobs_at_once_as_it_has_threads),
	  UNIT(waiting_threads_all_wake_for_jobs_that_block), UNIT(a_stuck_lane_holds_no_other_up),
	  UNIT(a_lane_has_the_stack_that_it_says), UNIT(a_full_queue_answers_busy),
	  UNIT(a_minor_lane_never_has_more_than_half_of_the_others),
	  UNIT(a_closing_pool_takes_no_more_jobs_and_runs_what_it_took),
	  UNIT(an_idle_thread_ends_and_the_next_job_gets_a_new_one),
	  UNIT(workers_leave_signals_to_the_main_thread), UNIT(busy_workers_are_a_metric),
	  UNIT(a_thread_of_its_own_runs_and_is_joined),
	  UNIT(lanes_of_one_name_are_counted_together_and_others_apart),
	  UNIT(bursts_of_quick_jobs_run_and_are_answered),
	  UNIT(a_burst_whose_first_jobs_block_is_taken_up_by_other_threads),
	  UNIT(the_reply_of_a_quick_job_does_not_wait_for_one_that_blocks),
	  UNIT(a_job_of_a_burst_gets_answers_of_the_loop_as_often_as_it_asks),
	  UNIT(a_burst_is_handed_over_when_the_turn_ends))
