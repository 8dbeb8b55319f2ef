/* SPDX-License-Identifier: Apache-2.0 */
/* One look at a time, and nobody waits for one that hangs. */
#include "csi/looks.h"

#include <pthread.h>

#include "base/clock.h"
#include "check.h"

TEST(looks_at_different_things_do_not_meet)
{
	struct looks *l = looks_new();
	struct err err;

	ASSERT_OK(looks_begin(l, "a", &err), &err);
	ASSERT_OK(looks_begin(l, "b", &err), &err);
	looks_end(l, "a");
	ASSERT_OK(looks_begin(l, "a", &err), &err);
	looks_end(l, "a");
	looks_end(l, "b");
	looks_free(l);
}

TEST(what_hangs_is_refused_at_once_and_counted)
{
	struct looks *l = looks_new();
	struct err err;

	clock_fake_set(100 * NS_PER_S);
	ASSERT_OK(looks_begin(l, "a", &err), &err);
	ASSERT_EQ(looks_count_silent(l), 0);
	clock_fake_advance(LOOKS_PATIENCE_NS);
	ASSERT_EQ(looks_count_silent(l), 1);
	for (int i = 0; i < 100; i++)
		ASSERT_ERR(looks_begin(l, "a", &err), &err, ERR_UNAVAILABLE,
			   "since 1970-01-01T00:01:40Z");
	ASSERT_OK(looks_begin(l, "b", &err), &err);
	ASSERT_EQ(looks_count_silent(l), 1);
	looks_end(l, "a");
	ASSERT_EQ(looks_count_silent(l), 0);
	ASSERT_OK(looks_begin(l, "a", &err), &err);
	looks_end(l, "a");
	looks_end(l, "b");
	clock_fake_set(-1);
	looks_free(l);
}

static void *look_many(void *arg)
{
	struct looks *l = arg;
	struct err err;

	for (int i = 0; i < 1000; i++) {
		ASSERT_OK(looks_begin(l, "a", &err), &err);
		looks_end(l, "a");
	}
	return NULL;
}

TEST(who_comes_second_waits_for_the_first)
{
	struct looks *l = looks_new();
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, look_many, l), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	looks_free(l);
}

RUN_TESTS(UNIT(looks_at_different_things_do_not_meet),
	  UNIT(what_hangs_is_refused_at_once_and_counted),
	  UNIT(who_comes_second_waits_for_the_first))
