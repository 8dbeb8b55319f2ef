/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "event/sync.h"
#include "event/work.h"

#include "../check.h"

#include <errno.h>
#include <stdbool.h>

struct flag {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool set; /* under lock */
};

static void flag_init(struct flag *f)
{
	*f = (struct flag){ 0 };
	pthread_mutex_init(&f->lock, NULL);
	sync_cond_init(&f->changed);
}

static void set_flag(void *arg)
{
	struct flag *f = arg;

	LOCK_SCOPE(&f->lock);
	f->set = true;
	pthread_cond_signal(&f->changed);
}

TEST(a_deadline_in_the_past_times_out_at_once)
{
	struct flag f;

	flag_init(&f);
	LOCK_SCOPE(&f.lock);
	ASSERT_EQ(sync_cond_wait_until(&f.changed, &f.lock, clock_now_ns()), -ETIMEDOUT);
	ASSERT_EQ(sync_cond_wait_until(&f.changed, &f.lock, 0), -ETIMEDOUT);
}

TEST(a_deadline_is_reached_without_a_signal)
{
	int64_t deadline = clock_now_ns() + 2 * NS_PER_MS;
	struct flag f;

	flag_init(&f);
	LOCK_SCOPE(&f.lock);
	while (sync_cond_wait_until(&f.changed, &f.lock, deadline) != -ETIMEDOUT)
		;
	ASSERT_TRUE(clock_now_ns() >= deadline);
}

TEST(a_deadline_counts_in_faked_time)
{
	struct flag f;

	flag_init(&f);
	clock_fake_set(1000);
	LOCK_SCOPE(&f.lock);
	ASSERT_EQ(sync_cond_wait_until(&f.changed, &f.lock, 1000), -ETIMEDOUT);
	clock_fake_set(-1);
}

TEST(a_signal_ends_a_wait_without_deadline)
{
	struct work_thread *t;
	struct flag f;

	flag_init(&f);
	ASSERT_EQ(work_thread_start("setter", set_flag, &f, &t), 0);
	pthread_mutex_lock(&f.lock);
	while (!f.set)
		ASSERT_EQ(sync_cond_wait_until(&f.changed, &f.lock, INT64_MAX), 0);
	pthread_mutex_unlock(&f.lock);
	work_thread_join(t);
}

TEST(a_lock_scope_ends_with_its_block)
{
	struct flag f;

	flag_init(&f);
	{
		LOCK_SCOPE(&f.lock);
		ASSERT_EQ(pthread_mutex_trylock(&f.lock), EBUSY);
	}
	ASSERT_EQ(pthread_mutex_trylock(&f.lock), 0);
	pthread_mutex_unlock(&f.lock);
}

TEST(a_call_that_came_before_is_not_lost_and_counts_once)
{
	struct sync_flag f = { 0 };

	sync_flag_set(&f);
	sync_flag_set(&f);
	ASSERT_EQ(sync_flag_wait_until(&f, INT64_MAX), 0);
	ASSERT_EQ(sync_flag_wait_until(&f, clock_now_ns() + NS_PER_MS), -ETIMEDOUT);
	sync_flag_set(&f);
	ASSERT_EQ(sync_flag_wait_until(&f, 0), 0);
}

struct pair {
	struct sync_flag ping, pong;
};

static void answer_calls(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 1000; i++) {
		(void)sync_flag_wait_until(&p->ping, INT64_MAX); /* without deadline always 0 */
		sync_flag_set(&p->pong);
	}
}

TEST(every_call_is_heard)
{
	struct pair p = { 0 };
	struct work_thread *thread = NULL;

	ASSERT_EQ(work_thread_start("calls", answer_calls, &p, &thread), 0);
	for (int i = 0; i < 1000; i++) {
		sync_flag_set(&p.ping);
		ASSERT_EQ(sync_flag_wait_until(&p.pong, clock_now_ns() + 20 * NS_PER_S), 0);
	}
	work_thread_join(thread);
}

RUN_TESTS(UNIT(a_deadline_in_the_past_times_out_at_once),
	  UNIT(a_deadline_is_reached_without_a_signal), UNIT(a_deadline_counts_in_faked_time),
	  UNIT(a_signal_ends_a_wait_without_deadline), UNIT(a_lock_scope_ends_with_its_block),
	  UNIT(a_call_that_came_before_is_not_lost_and_counts_once), UNIT(every_call_is_heard))
