/* SPDX-License-Identifier: Apache-2.0 */
/* Which lines are written, and when. Posts run at once, the timer and the clock are this file's. */
#include "check.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"
#include "kube/health.h"

#include <stdio.h>

struct ev_timer {
	ev_timer_fn fn;
	void *arg;
	int64_t due_ns; /* 0: stopped */
};
static struct ev_timer timer;

static unsigned n_lines;
static char last[2048];

void ev_post(struct ev_loop *loop, ev_post_fn fn, void *arg)
{
	fn(arg);
}

bool ev_loop_is_current(const struct ev_loop *loop)
{
	return false;
}

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	assert_null(timer.fn);
	timer = (struct ev_timer){ fn, arg, 0 };
	return &timer;
}

void ev_timer_start(struct ev_timer *t, int64_t delay_ns, int64_t repeat_ns)
{
	t->due_ns = clock_now_ns() + delay_ns;
}

void ev_timer_stop(struct ev_timer *t)
{
	t->due_ns = 0;
}

void ev_timer_free(struct ev_timer *t)
{
	timer = (struct ev_timer){ 0 };
}

static void pass(int64_t seconds)
{
	for (int64_t i = 0; i < seconds; i++) {
		clock_fake_advance(NS_PER_S);
		if (timer.due_ns == 0 || timer.due_ns > clock_now_ns())
			continue;
		timer.due_ns = 0;
		timer.fn(timer.arg);
	}
}

static void take_line(void *arg, const char *line)
{
	n_lines++;
	(void)snprintf(last, sizeof(last), "%s", line);
}

static struct health *begin(void)
{
	clock_fake_set(1000 * NS_PER_S);
	log_set_sink(take_line, NULL);
	n_lines = 0;
	return health_new(NULL, "10.0.0.1:6443");
}

static void end(struct health *h)
{
	health_free(h);
	log_set_sink(NULL, NULL);
	clock_fake_set(-1);
}

#define ASSERT_LAST(words)                                    \
	do {                                                  \
		if (!strstr(last, words))                     \
			fail_msg("no '%s': %s", words, last); \
	} while (0)

TEST(trouble_is_told_within_seconds_and_each_minute_with_its_age)
{
	struct health *h = begin();
	char why[ERR_MSG_MAX];

	health_note(h, NULL);
	ASSERT_TRUE(health_is_good(h, why));
	ASSERT_STR(why, "");
	pass(100);
	ASSERT_EQ(n_lines, 0);
	health_note(h, "401: who are you?");
	ASSERT_FALSE(health_is_good(h, why));
	ASSERT_STR(why, "401: who are you?");
	pass(5);
	ASSERT_EQ(n_lines, 1);
	ASSERT_TRUE(last[0] == 'W');
	ASSERT_LAST("10.0.0.1:6443");
	ASSERT_LAST("401: who are you?");
	ASSERT_LAST("age=3");
	for (unsigned i = 0; i < 118; i++) { /* further failures are no further lines */
		pass(1);
		health_note(h, "no route to host");
	}
	ASSERT_EQ(n_lines, 3);
	ASSERT_LAST("no route to host");
	ASSERT_LAST("age=123");
	health_note(h, NULL);
	ASSERT_EQ(n_lines, 4);
	ASSERT_TRUE(last[0] == 'I');
	ASSERT_LAST("well again");
	ASSERT_LAST("after=123");
	health_note(h, NULL);
	pass(300);
	ASSERT_EQ(n_lines, 4);
	end(h);
}

TEST(the_next_trouble_is_told_within_seconds_too)
{
	struct health *h = begin();

	health_note(h, NULL);
	for (unsigned i = 1; i <= 3; i++) {
		health_note(h, "broken");
		pass(5);
		ASSERT_EQ(n_lines, 2 * i - 1);
		health_note(h, NULL);
		ASSERT_EQ(n_lines, 2 * i);
	}
	end(h);
}

TEST(what_the_next_request_makes_good_is_no_line)
{
	struct health *h = begin();

	for (unsigned i = 0; i < 100; i++) {
		health_note(h, "broken");
		health_note(h, NULL);
		pass(1);
	}
	ASSERT_EQ(n_lines, 0);
	end(h);
}

/* On and off, never well when it is looked at. */
TEST(a_server_that_answers_now_and_then_is_told_of)
{
	struct health *h = begin();

	for (unsigned i = 0; i < 10; i++) {
		health_note(h, NULL);
		health_note(h, "broken");
		pass(1);
	}
	ASSERT_TRUE(n_lines > 0);
	end(h);
}

TEST(a_server_that_never_answers_is_told_of)
{
	struct health *h = begin();

	pass(5);
	ASSERT_EQ(n_lines, 1);
	ASSERT_LAST("no request to 10.0.0.1:6443 has been answered yet");
	end(h);
}

RUN_TESTS(UNIT(trouble_is_told_within_seconds_and_each_minute_with_its_age),
	  UNIT(the_next_trouble_is_told_within_seconds_too),
	  UNIT(what_the_next_request_makes_good_is_no_line),
	  UNIT(a_server_that_answers_now_and_then_is_told_of),
	  UNIT(a_server_that_never_answers_is_told_of))
