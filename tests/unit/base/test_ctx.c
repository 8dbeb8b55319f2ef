/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ctx.h"

#include "../check.h"

#include "base/clock.h"

#include <poll.h>

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

TEST(without_deadline_work_goes_on)
{
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_OK(ctx_check(&ctx, &err), &err);
	ASSERT_EQ(ctx_remaining_ns(&ctx), INT64_MAX);
	ASSERT_EQ(ctx_poll_ms(&ctx, -1), -1);
	ASSERT_EQ(ctx_poll_ms(&ctx, 250), 250);
	ASSERT_STR(ctx.id, "");
	ASSERT_STR(arena_strdup(ctx.arena, "x"), "x");
	ctx_done(&ctx);
}

TEST(a_deadline_ends_the_work)
{
	struct ctx ctx;
	struct err err;

	clock_fake_set(NS_PER_S);
	ctx_init(&ctx, 10 * NS_PER_MS);
	ASSERT_OK(ctx_check(&ctx, &err), &err);
	ASSERT_EQ(ctx_remaining_ns(&ctx), 10 * NS_PER_MS);
	ASSERT_EQ(ctx_poll_ms(&ctx, -1), 10);
	ASSERT_EQ(ctx_poll_ms(&ctx, 4), 4);
	clock_fake_advance(9 * NS_PER_MS + 1);
	ASSERT_EQ(ctx_poll_ms(&ctx, -1), 1); /* rounded up: 0 would spin */
	clock_fake_advance(NS_PER_MS);
	ASSERT_EQ(ctx_remaining_ns(&ctx), 0);
	ASSERT_EQ(ctx_poll_ms(&ctx, -1), 0);
	ASSERT_ERR(ctx_check(&ctx, &err), &err, ERR_DEADLINE_EXCEEDED, "deadline");
	clock_fake_set(-1);
	ctx_done(&ctx);
}

TEST(a_timeout_beyond_all_time_is_none)
{
	struct ctx ctx;

	ctx_init(&ctx, INT64_MAX);
	ASSERT_EQ(ctx.deadline_ns, CTX_NO_DEADLINE);
	ctx_done(&ctx);
}

TEST(a_far_deadline_fits_poll)
{
	struct ctx ctx;

	ctx_init(&ctx, INT64_C(365) * 86400 * NS_PER_S);
	ASSERT_EQ(ctx_poll_ms(&ctx, -1), INT32_MAX);
	ctx_done(&ctx);
}

TEST(cancelling_is_seen_and_goes_before_the_deadline)
{
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 1);
	ASSERT_FALSE(ctx_is_cancelled(&ctx));
	ctx_cancel(&ctx);
	ctx_cancel(&ctx);
	ASSERT_TRUE(ctx_is_cancelled(&ctx));
	ASSERT_ERR(ctx_check(&ctx, &err), &err, ERR_CANCELLED, "cancelled");
	ctx_done(&ctx);
}

TEST(the_cancel_fd_is_readable_once_cancelled)
{
	struct ctx before;
	struct ctx after;

	ctx_init(&before, 0);
	ASSERT_FALSE(is_readable(ctx_cancel_fd(&before)));
	ASSERT_EQ(ctx_cancel_fd(&before), ctx_cancel_fd(&before));
	ctx_cancel(&before);
	ASSERT_TRUE(is_readable(ctx_cancel_fd(&before)));
	ctx_done(&before);

	ctx_init(&after, 0);
	ctx_cancel(&after);
	ASSERT_TRUE(is_readable(ctx_cancel_fd(&after)));
	ctx_done(&after);
}

static void *cancel(void *arg)
{
	ctx_cancel(arg);
	return NULL;
}

TEST(no_cancel_is_lost_while_the_fd_is_made)
{
	for (int i = 0; i < 200; i++) {
		struct ctx ctx;
		pthread_t t;
		int fd;

		ctx_init(&ctx, 0);
		ASSERT_EQ(pthread_create(&t, NULL, cancel, &ctx), 0);
		fd = ctx_cancel_fd(&ctx);
		pthread_join(t, NULL);
		ASSERT_TRUE(is_readable(fd));
		ctx_done(&ctx);
	}
}

RUN_TESTS(UNIT(without_deadline_work_goes_on), UNIT(a_deadline_ends_the_work),
	  UNIT(a_timeout_beyond_all_time_is_none), UNIT(a_far_deadline_fits_poll),
	  UNIT(cancelling_is_seen_and_goes_before_the_deadline),
	  UNIT(the_cancel_fd_is_readable_once_cancelled),
	  UNIT(no_cancel_is_lost_while_the_fd_is_made))
