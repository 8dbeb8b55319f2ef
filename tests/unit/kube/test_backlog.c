/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "kube/backlog.h"

static void expect_take(struct backlog *b, int64_t now_ns, const char *want)
{
	const char *key = backlog_take(b, now_ns);

	if (!want)
		assert_null(key);
	else
		ASSERT_STR(key ? key : "(none)", want);
}

TEST(first_come_first_served_and_once)
{
	struct backlog *b = backlog_new();

	ASSERT_TRUE(backlog_add(b, "b", 0));
	ASSERT_TRUE(backlog_add(b, "a", 0));
	ASSERT_FALSE(backlog_add(b, "b", 0));
	ASSERT_EQ(backlog_ready(b, 0), 2);
	expect_take(b, 0, "b");
	expect_take(b, 0, "a");
	expect_take(b, 0, NULL);
	backlog_finish(b, "a", 0, BACKLOG_NEVER);
	backlog_finish(b, "b", 0, BACKLOG_NEVER);
	ASSERT_EQ(backlog_length(b), 0);
	backlog_free(b);
}

/* The key that has no namespace is the provisioner's journal. */
TEST(namespaces_take_turns)
{
	static const char *const order[] = { "flood/0", "other/a", "journal", "flood/1",
					     "other/b", "flood/2", "late/x",  "flood/3" };
	struct backlog *b = backlog_new();
	char key[16];

	for (int i = 0; i < 10000; i++) {
		(void)snprintf(key, sizeof(key), "flood/%d", i);
		backlog_add(b, key, 0);
	}
	backlog_add(b, "other/a", 0);
	backlog_add(b, "other/b", 0);
	backlog_add(b, "journal", 0);
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		if (i == 5)
			backlog_add(b, "late/x", 0);
		expect_take(b, 0, order[i]);
		backlog_finish(b, order[i], 0, BACKLOG_NEVER);
	}
	ASSERT_EQ(backlog_ready(b, 0), 9996);
	backlog_free(b);
}

TEST(a_namespace_of_any_length_is_one)
{
	struct backlog *b = backlog_new();
	char key[300];

	memset(key, 'n', sizeof(key));
	memcpy(key + sizeof(key) - 3, "/a", 3);
	backlog_add(b, key, 0);
	backlog_add(b, "/", 0);
	expect_take(b, 0, key);
	expect_take(b, 0, "/");
	backlog_finish(b, key, 0, BACKLOG_NEVER);
	backlog_finish(b, "/", 0, BACKLOG_NEVER);
	backlog_free(b);
}

TEST(added_at_work_it_runs_once_more_afterwards)
{
	struct backlog *b = backlog_new();

	backlog_add(b, "a", 0);
	expect_take(b, 0, "a");
	ASSERT_TRUE(backlog_add(b, "a", 0));
	ASSERT_FALSE(backlog_add(b, "a", 0));
	expect_take(b, 0, NULL); /* not twice at once */
	backlog_finish(b, "a", 0, BACKLOG_NEVER);
	expect_take(b, 0, "a");
	backlog_finish(b, "a", 0, BACKLOG_NEVER);
	expect_take(b, 0, NULL);
	backlog_free(b);
}

/* By the clock if it was added for now, else by the time that it was due. */
TEST(since_when_a_key_was_ready_is_known)
{
	struct backlog *b = backlog_new();

	clock_fake_set(50);
	backlog_add(b, "a", 0);
	backlog_add(b, "b", 70);
	clock_fake_set(90);
	backlog_add(b, "a", 0); /* is ready already */
	expect_take(b, 90, "a");
	expect_take(b, 90, "b");
	ASSERT_EQ(backlog_ready_ns(b, "a"), 50);
	ASSERT_EQ(backlog_ready_ns(b, "b"), 70);
	clock_fake_set(-1);
	backlog_free(b);
}

TEST(the_oldest_is_the_one_that_has_been_due_longest)
{
	struct backlog *b = backlog_new();

	clock_fake_set(100);
	ASSERT_EQ(backlog_oldest_ns(b, 100), BACKLOG_NEVER);
	backlog_add(b, "later", 50);
	backlog_add(b, "much later", 500);
	backlog_add(b, "now", 0);
	ASSERT_EQ(backlog_oldest_ns(b, 120), 50);
	backlog_finish(b, backlog_take(b, 120), 0, BACKLOG_NEVER); /* now */
	ASSERT_EQ(backlog_oldest_ns(b, 120), 50);
	backlog_finish(b, backlog_take(b, 120), 0, BACKLOG_NEVER);
	ASSERT_EQ(backlog_oldest_ns(b, 120), BACKLOG_NEVER);
	ASSERT_EQ(backlog_oldest_ns(b, 600), 500);
	backlog_free(b);
	clock_fake_set(-1);
}

TEST(delayed_keys_come_in_the_order_of_their_times)
{
	struct backlog *b = backlog_new();

	backlog_add(b, "late", 300);
	backlog_add(b, "early", 100);
	backlog_add(b, "middle", 200);
	ASSERT_EQ(backlog_due_ns(b), 100);
	expect_take(b, 99, NULL);
	expect_take(b, 250, "early");
	expect_take(b, 250, "middle");
	expect_take(b, 250, NULL);
	ASSERT_EQ(backlog_due_ns(b), 300);
	expect_take(b, 300, "late");
	ASSERT_EQ(backlog_due_ns(b), BACKLOG_NEVER);
	backlog_free(b);
}

TEST(the_earlier_of_two_times_wins)
{
	struct backlog *b = backlog_new();

	backlog_add(b, "a", 300);
	ASSERT_FALSE(backlog_add(b, "a", 400));
	ASSERT_TRUE(backlog_add(b, "a", 200));
	ASSERT_EQ(backlog_length(b), 1);
	expect_take(b, 200, "a");
	backlog_add(b, "a", 500); /* asked for while at work */
	backlog_finish(b, "a", 1, 900);
	ASSERT_EQ(backlog_due_ns(b), 500);
	ASSERT_TRUE(backlog_add(b, "a", 0)); /* now beats any time */
	expect_take(b, 201, "a");
	backlog_finish(b, "a", 0, BACKLOG_NEVER);
	expect_take(b, 1000, NULL);
	backlog_free(b);
}

TEST(failures_are_kept_until_success)
{
	struct backlog *b = backlog_new();

	backlog_add(b, "a", 0);
	expect_take(b, 0, "a");
	backlog_finish(b, "a", 3, BACKLOG_NEVER);
	ASSERT_EQ(backlog_failures(b, "a"), 3);
	ASSERT_EQ(backlog_failures(b, "b"), 0);
	backlog_add(b, "a", 0);
	expect_take(b, 0, "a");
	backlog_finish(b, "a", 0, BACKLOG_NEVER);
	ASSERT_EQ(backlog_failures(b, "a"), 0);
	backlog_free(b);
}

/* A thousand random steps beside a plain array that says when each of 16 keys is due. */
/* The table of keys grows meanwhile, goes with the last of them, and comes again. */
TEST(as_many_keys_as_a_cluster_has)
{
	struct backlog *b = backlog_new();
	char key[16];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5000; i++) {
			(void)snprintf(key, sizeof(key), "ns/%d", i);
			ASSERT_TRUE(backlog_add(b, key, 0));
			ASSERT_FALSE(backlog_add(b, key, 0));
		}
		for (int i = 0; i < 5000; i++) {
			(void)snprintf(key, sizeof(key), "ns/%d", i);
			expect_take(b, 0, key);
			backlog_finish(b, key, 0, BACKLOG_NEVER);
			ASSERT_EQ(backlog_ready_ns(b, key), 0); /* nothing is kept of it */
		}
		expect_take(b, 0, NULL);
	}
	backlog_free(b);
}

TEST(it_agrees_with_a_plain_table)
{
	struct backlog *b = backlog_new();
	int64_t due[16];

	for (size_t i = 0; i < 16; i++)
		due[i] = BACKLOG_NEVER;
	for (int64_t now = 1; now < 2000; now++) {
		size_t i = random_below(16);
		int64_t at = now + 1 + (int64_t)random_below(50);
		char key[2] = { (char)('a' + i), '\0' };
		const char *taken;

		backlog_add(b, key, at);
		due[i] = at < due[i] ? at : due[i];
		while ((taken = backlog_take(b, now))) {
			ASSERT_TRUE(due[taken[0] - 'a'] <= now);
			due[taken[0] - 'a'] = BACKLOG_NEVER;
			backlog_finish(b, taken, 0, BACKLOG_NEVER);
		}
		for (i = 0; i < 16; i++)
			ASSERT_TRUE(due[i] > now);
	}
	backlog_free(b);
}

RUN_TESTS(UNIT(first_come_first_served_and_once), UNIT(namespaces_take_turns),
	  UNIT(a_namespace_of_any_length_is_one), UNIT(added_at_work_it_runs_once_more_afterwards),
	  UNIT(since_when_a_key_was_ready_is_known),
	  UNIT(the_oldest_is_the_one_that_has_been_due_longest),
	  UNIT(delayed_keys_come_in_the_order_of_their_times), UNIT(the_earlier_of_two_times_wins),
	  UNIT(failures_are_kept_until_success), UNIT(as_many_keys_as_a_cluster_has),
	  UNIT(it_agrees_with_a_plain_table))
