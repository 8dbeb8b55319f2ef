/* SPDX-License-Identifier: Apache-2.0 */
/* The calls over the keeper's connections: refused, waiting for room, leaving in each phase. */
#include "h2_world.h"

/* ---- refused streams ---- */

TEST(what_is_refused_unseen_is_sent_again_so_often_and_no_more)
{
	struct call *call = NULL, *final = NULL;

	set_up("o", BY_REPLY);
	call = begin("/refuse");
	expect_over(call, H2_CALL_ENDED);
	ASSERT_EQ(call->end.error, H2_REFUSED_STREAM);
	ASSERT_EQ(call->n_turns, 3);
	call = begin("/once");
	expect_answered(call);
	ASSERT_EQ(call->n_turns, 2);
	final = make("/refuse");
	final->h2.is_final = true;
	start(final);
	settle();
	expect_over(final, H2_CALL_ENDED);
	ASSERT_EQ(final->n_turns, 1);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

/* ---- the limit of streams ---- */

TEST(calls_wait_for_room_and_go_in_order)
{
	struct call *first = NULL, *second = NULL, *third = NULL;

	set_up("o", BY_TIME);
	t.limit = 1;
	expect_answered(begin("/"));
	first = begin("/hold");
	second = begin("/hold");
	third = begin("/");
	assert_null(second->h2.stream);
	h2_call_cancel(&first->h2);
	settle();
	assert_non_null(second->h2.stream);
	assert_null(third->h2.stream);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(second);
	expect_answered(third);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

TEST(a_full_connection_is_left_where_streams_last)
{
	struct call *first = NULL, *second = NULL;

	set_up("o", (struct h2_client_options){ .leaves_full = true });
	t.limit = 1;
	expect_answered(begin("/"));
	pass(2 * PAUSE_MIN);
	first = begin("/hold");
	second = begin("/hold");
	ASSERT_EQ(t.n_conns, 2);
	assert_non_null(second->h2.stream);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(first);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(second->n_over, 0);
	h2_call_cancel(&second->h2);
	tear_down();
}

/* ---- leaving ---- */

TEST(a_call_may_leave_in_every_phase)
{
	struct call *call = NULL;

	set_up("xho", BY_REPLY);
	call = make("/");
	h2_call_cancel(&call->h2); /* not started */
	expect_over(begin("/"), H2_CALL_UNSENT);
	call = begin("/"); /* in the pause */
	h2_call_cancel(&call->h2);
	h2_call_cancel(&call->h2);
	pass(NS_PER_S);
	ASSERT_EQ(t.n_conns, 1); /* for nobody */
	call = begin("/");       /* while it connects */
	ASSERT_EQ(t.n_conns, 2);
	h2_call_cancel(&call->h2);
	t.conns[1].fate = 'o';
	settle();
	ASSERT_TRUE(t.is_connected);
	call = begin("/hold"); /* on its stream */
	h2_call_cancel(&call->h2);
	settle();
	assert_null(t.conns[1].held);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 2);
	tear_down();
}

TEST(a_call_may_end_others_from_its_end)
{
	struct call *a = NULL, *b = NULL, *later = NULL;

	set_up("xdo", BY_TIME);
	for (int i = 0; i < 2; i++) { /* with the attempt, with the connection */
		a = make("/hold");
		b = make("/hold");
		later = make("/");
		/* Whichever is first. */
		a->cancels = b;
		b->cancels = a;
		a->starts = b->starts = i == 0 ? NULL : later;
		start(a);
		start(b);
		pass(NS_PER_S);
		ASSERT_EQ(a->n_over + b->n_over, 1);
	}
	expect_answered(later);
	ASSERT_EQ(t.n_conns, 3);
	tear_down();
}

TEST(freeing_ends_what_is_there_in_every_phase)
{
	static const char *const scripts[] = { "x", "h", "o" };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct call *first, *second, *third;

		set_up(scripts[i], BY_TIME);
		t.limit = 1;
		first = begin("/hold");
		second = begin("/hold");
		third = make("/");
		second->starts = third; /* too late, which it is told */
		tear_down();
		expect_over(first, i == 0 ? H2_CALL_UNSENT : H2_CALL_CLOSED);
		expect_over(second, H2_CALL_CLOSED);
		expect_over(third, H2_CALL_CLOSED);
	}
	h2_client_free(NULL);
}

RUN_TESTS(UNIT(what_is_refused_unseen_is_sent_again_so_often_and_no_more),
	  UNIT(calls_wait_for_room_and_go_in_order),
	  UNIT(a_full_connection_is_left_where_streams_last), UNIT(a_call_may_leave_in_every_phase),
	  UNIT(a_call_may_end_others_from_its_end), UNIT(freeing_ends_what_is_there_in_every_phase))
