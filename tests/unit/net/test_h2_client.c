/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of the keeper: when one is made, how long is waited, which are left. */
#include "h2_world.h"

/* ---- connecting ---- */

TEST(the_first_call_connects_and_others_share_it)
{
	set_up("o", BY_REPLY);
	pass(NS_PER_S);
	ASSERT_EQ(t.n_conns, 0);
	for (int i = 0; i < 5; i++)
		expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 1);
	ASSERT_EQ(t.n_changes, 1);
	ASSERT_TRUE(t.is_connected);
	tear_down();
}

TEST(a_connection_can_be_made_for_calls_to_come)
{
	set_up("xhoo", BY_TIME);
	h2_client_connect(t.client);
	h2_client_connect(t.client);
	settle();
	ASSERT_EQ(t.n_conns, 1); /* one attempt, and nobody is told that it failed */
	pass(10 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 1);
	ASSERT_FALSE(t.is_connected);
	h2_client_connect(t.client);
	settle();
	ASSERT_EQ(t.n_conns, 2);
	h2_client_connect(t.client); /* that one is being made */
	t.conns[1].fate = 'o';
	settle();
	ASSERT_TRUE(t.is_connected);
	h2_client_connect(t.client);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 2);
	h2_drain(t.conns[1].peer, clock_now_ns());
	pass(NS_PER_S);
	ASSERT_EQ(t.n_conns, 2); /* what was wanted was there */
	tear_down();
}

TEST(an_attempt_for_calls_to_come_keeps_the_pause)
{
	set_up("xo", BY_REPLY);
	expect_over(begin("/"), H2_CALL_UNSENT);
	h2_client_connect(t.client);
	settle();
	ASSERT_EQ(t.n_conns, 1);
	pass(2 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 2);
	ASSERT_TRUE(t.is_connected);
	expect_between(t.conns[1].dialled_ns - START_NS, PAUSE_MIN);
	tear_down();
}

TEST(one_attempt_at_a_time_and_all_that_wait_go_with_it)
{
	struct call *a = NULL, *b = NULL;

	set_up("h", BY_REPLY);
	a = begin("/");
	b = begin("/");
	pass(5 * NS_PER_S);
	ASSERT_EQ(t.n_conns, 1);
	ASSERT_EQ(a->n_turns + b->n_turns, 0);
	t.conns[0].fate = 'o';
	settle();
	expect_answered(a);
	expect_answered(b);
	tear_down();
}

TEST(a_failed_attempt_is_told_to_those_that_wait_and_to_no_others)
{
	static const char *const scripts[] = { "xo", "no" };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct call *a, *b, *later;

		set_up(scripts[i], BY_REPLY);
		a = make("/");
		later = make("/");
		a->starts = later;
		start(a);
		b = begin("/");
		expect_over(a, H2_CALL_UNSENT);
		expect_over(b, H2_CALL_UNSENT);
		ASSERT_STR(b->why.msg, i == 0 ? "nobody there" : "no such socket");
		ASSERT_EQ(later->n_over, 0);
		pass(2 * PAUSE_MIN);
		expect_answered(later);
		expect_between(t.conns[1].dialled_ns - START_NS, PAUSE_MIN);
		tear_down();
	}
}

TEST(pauses_double_up_to_their_limit_and_only_calls_end_them)
{
	static const int64_t pauses[] = { PAUSE_MIN, 2 * PAUSE_MIN, 4 * PAUSE_MIN, PAUSE_MAX,
					  PAUSE_MAX };
	int64_t last_ns = START_NS;

	set_up("x", BY_TIME);
	expect_over(begin("/"), H2_CALL_UNSENT);
	for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
		struct call *call = begin("/");

		pass(2 * NS_PER_S);
		expect_over(call, H2_CALL_UNSENT);
		ASSERT_EQ(t.n_conns, i + 2);
		if (i == 0)
			expect_between(t.conns[1].dialled_ns - START_NS, PAUSE_MIN);
		last_ns = t.conns[i + 1].dialled_ns;
		/* The pause is long over, so the next one begins at once unless we come sooner. */
		clock_fake_set(last_ns);
	}
	for (size_t i = 1; i < ARRAY_LEN(pauses); i++)
		expect_between(t.conns[i + 1].dialled_ns - t.conns[i].dialled_ns, pauses[i]);
	pass(60 * NS_PER_S);
	ASSERT_EQ(t.n_conns, ARRAY_LEN(pauses) + 1);
	tear_down();
}

/* ---- when a connection counts as made ---- */

TEST(a_peer_that_accepts_and_drops_is_called_in_growing_intervals)
{
	const struct h2_client_options both[] = { BY_REPLY, BY_TIME };

	for (size_t k = 0; k < ARRAY_LEN(both); k++) {
		set_up("d", both[k]);
		for (unsigned i = 0; i < 6; i++) {
			struct call *call = begin("/");

			pass(i == 0 ? 0 : 2 * PAUSE_MAX);
			expect_over(call, H2_CALL_LOST);
			ASSERT_STR(call->why.msg, "cable cut");
			ASSERT_EQ(t.n_conns, i + 1);
			clock_fake_set(t.conns[i].dialled_ns);
		}
		expect_between(t.conns[1].dialled_ns - t.conns[0].dialled_ns, PAUSE_MIN);
		expect_between(t.conns[3].dialled_ns - t.conns[2].dialled_ns, 4 * PAUSE_MIN);
		expect_between(t.conns[5].dialled_ns - t.conns[4].dialled_ns, PAUSE_MAX);
		tear_down();
	}
}

TEST(by_time_a_connection_that_lasted_is_replaced_at_once)
{
	set_up("xo", BY_TIME);
	expect_over(begin("/"), H2_CALL_UNSENT);
	pass(2 * PAUSE_MIN);
	expect_answered(begin("/"));
	pass(NS_PER_S);
	lose(&t.conns[1]);
	ASSERT_FALSE(t.is_connected);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 3);
	/* This one did not last: answered or not, the next waits from now. */
	pass(NS_PER_S / 2);
	lose(&t.conns[2]);
	(void)begin("/");
	ASSERT_EQ(t.n_conns, 3);
	pass(2 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 4);
	expect_between(t.conns[3].dialled_ns - t.conns[2].dialled_ns - NS_PER_S / 2, PAUSE_MIN);
	tear_down();
}

TEST(by_reply_an_answer_makes_pauses_short_again)
{
	set_up("xxxo", BY_REPLY);
	for (unsigned i = 0; i < 3; i++) {
		struct call *call = begin("/");

		pass(PAUSE_MAX);
		expect_over(call, H2_CALL_UNSENT);
	}
	expect_answered(begin("/"));
	pass(2 * PAUSE_MAX);
	lose(&t.conns[3]);
	expect_answered(begin("/"));
	lose(&t.conns[4]);
	(void)begin("/");
	ASSERT_EQ(t.n_conns, 5);
	pass(2 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 6);
	expect_between(t.conns[5].dialled_ns - t.conns[4].dialled_ns, PAUSE_MIN);
	tear_down();
}

/* ---- connections that are left ---- */

TEST(after_goaway_streams_finish_beside_the_next_connection)
{
	struct call *old = NULL;

	set_up("o", BY_REPLY);
	old = begin("/hold");
	pass(NS_PER_S);
	h2_drain(t.conns[0].peer, clock_now_ns());
	settle();
	ASSERT_FALSE(t.is_connected);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 2);
	ASSERT_FALSE(t.conns[0].is_over);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(old);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_FALSE(t.conns[1].is_over);
	tear_down();
}

TEST(a_connection_without_streams_is_closed_at_goaway_and_none_is_made_for_nobody)
{
	set_up("o", BY_REPLY);
	expect_answered(begin("/"));
	h2_drain(t.conns[0].peer, clock_now_ns());
	pass(NS_PER_S);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

TEST(a_cancelled_last_stream_lets_its_connection_go)
{
	struct call *old = NULL;

	set_up("o", BY_REPLY);
	old = begin("/hold");
	h2_drain(t.conns[0].peer, clock_now_ns());
	settle();
	ASSERT_FALSE(t.conns[0].is_over);
	h2_call_cancel(&old->h2);
	settle();
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(old->n_over, 0);
	tear_down();
}

TEST(a_peer_that_falls_silent_is_given_up)
{
	struct call *call = NULL;

	set_up("o", (struct h2_client_options){ .ping_interval_ns = 20 * NS_PER_S,
						.ping_timeout_ns = 10 * NS_PER_S });
	call = begin("/hold");
	pass(100 * NS_PER_S); /* it answers PINGs */
	ASSERT_EQ(call->n_over, 0);
	t.conns[0].is_open = false; /* nothing comes of it any more */
	pass(31 * NS_PER_S);
	expect_over(call, H2_CALL_LOST);
	assert_non_null(strstr(call->why.msg, "PING"));
	tear_down();
}

RUN_TESTS(UNIT(the_first_call_connects_and_others_share_it),
	  UNIT(a_connection_can_be_made_for_calls_to_come),
	  UNIT(an_attempt_for_calls_to_come_keeps_the_pause),
	  UNIT(one_attempt_at_a_time_and_all_that_wait_go_with_it),
	  UNIT(a_failed_attempt_is_told_to_those_that_wait_and_to_no_others),
	  UNIT(pauses_double_up_to_their_limit_and_only_calls_end_them),
	  UNIT(a_peer_that_accepts_and_drops_is_called_in_growing_intervals),
	  UNIT(by_time_a_connection_that_lasted_is_replaced_at_once),
	  UNIT(by_reply_an_answer_makes_pauses_short_again),
	  UNIT(after_goaway_streams_finish_beside_the_next_connection),
	  UNIT(a_connection_without_streams_is_closed_at_goaway_and_none_is_made_for_nobody),
	  UNIT(a_cancelled_last_stream_lets_its_connection_go),
	  UNIT(a_peer_that_falls_silent_is_given_up))
