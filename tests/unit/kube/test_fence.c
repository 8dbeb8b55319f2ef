/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/clock.h"
#include "kube/fence.h"

struct fixture {
	struct fence *fence;
	struct ctx ctx;
	struct fence_member member;
	struct err err;
};

static void begin(struct fixture *f)
{
	clock_fake_set(NS_PER_S);
	f->fence = fence_new();
	ctx_init(&f->ctx, 0);
}

static void end(struct fixture *f)
{
	ctx_done(&f->ctx);
	fence_free(f->fence);
	clock_fake_set(-1);
}

TEST(nobody_writes_before_it_opens)
{
	struct fixture f;

	begin(&f);
	ASSERT_FALSE(fence_is_open(f.fence));
	ASSERT_ERR(fence_join(f.fence, &f.member, &f.ctx, &f.err), &f.err, ERR_ABORTED,
		   "leadership");
	end(&f);
}

TEST(who_never_joined_does_not_write)
{
	struct fixture f;

	begin(&f);
	fence_open(f.fence, FENCE_NO_LIMIT);
	ASSERT_ERR(fence_check(f.fence, &f.ctx, &f.err), &f.err, ERR_ABORTED, "outside");
	end(&f);
}

TEST(closing_cancels_who_joined_and_only_them)
{
	struct fixture f;
	struct ctx other;

	begin(&f);
	ctx_init(&other, 0);
	fence_open(f.fence, FENCE_NO_LIMIT);
	ASSERT_OK(fence_join(f.fence, &f.member, &f.ctx, &f.err), &f.err);
	ASSERT_OK(fence_check(f.fence, &f.ctx, &f.err), &f.err);
	ASSERT_FALSE(fence_is_cut_off(f.fence, &f.ctx));
	ASSERT_EQ(fence_left_ns(f.fence), INT64_MAX);
	fence_close(f.fence);
	ASSERT_TRUE(ctx_is_cancelled(&f.ctx) && !ctx_is_cancelled(&other));
	ASSERT_ERR(fence_check(f.fence, &f.ctx, &f.err), &f.err, ERR_ABORTED, "lost");
	ASSERT_TRUE(fence_is_cut_off(f.fence, &f.ctx));
	fence_leave(f.fence, &f.member);
	ctx_done(&other);
	end(&f);
}

TEST(a_cancelled_ctx_may_not_act_whoever_leads)
{
	struct fixture f;

	begin(&f);
	ASSERT_OK(fence_check(NULL, &f.ctx, &f.err), &f.err);
	fence_open(f.fence, FENCE_NO_LIMIT);
	ASSERT_OK(fence_join(f.fence, &f.member, &f.ctx, &f.err), &f.err);
	ctx_cancel(&f.ctx);
	ASSERT_ERR(fence_check(f.fence, &f.ctx, &f.err), &f.err, ERR_CANCELLED, "");
	ASSERT_ERR(fence_check(NULL, &f.ctx, &f.err), &f.err, ERR_CANCELLED, "");
	fence_leave(f.fence, &f.member);
	end(&f);
}

TEST(lost_and_won_again_is_another_term)
{
	struct fence_member again;
	struct fixture f;
	struct ctx other;

	begin(&f);
	ctx_init(&other, 0);
	fence_open(f.fence, 9 * NS_PER_S);
	ASSERT_OK(fence_join(f.fence, &f.member, &f.ctx, &f.err), &f.err);
	fence_close(f.fence);
	ASSERT_EQ(fence_left_ns(f.fence), 0);
	fence_open(f.fence, 9 * NS_PER_S);
	ASSERT_OK(fence_join(f.fence, &again, &other, &f.err), &f.err);
	ASSERT_EQ(again.term, f.member.term + 1);
	ASSERT_OK(fence_check(f.fence, &other, &f.err), &f.err);
	ASSERT_ERR(fence_check(f.fence, &f.ctx, &f.err), &f.err, ERR_ABORTED, "lost");
	fence_leave(f.fence, &again);
	fence_leave(f.fence, &f.member);
	ctx_done(&other);
	end(&f);
}

/* A process that was stopped goes on: no timer has fired, nobody has noticed. */
TEST(the_limit_is_judged_by_the_clock_and_moves_with_each_renewal)
{
	struct fixture f;

	begin(&f);
	fence_open(f.fence, 9 * NS_PER_S);
	ASSERT_OK(fence_join(f.fence, &f.member, &f.ctx, &f.err), &f.err);
	clock_fake_set(8 * NS_PER_S);
	ASSERT_EQ(fence_left_ns(f.fence), NS_PER_S);
	fence_open(f.fence, 19 * NS_PER_S);
	clock_fake_set(18 * NS_PER_S);
	ASSERT_OK(fence_check(f.fence, &f.ctx, &f.err), &f.err);
	clock_fake_set(19 * NS_PER_S);
	ASSERT_ERR(fence_check(f.fence, &f.ctx, &f.err), &f.err, ERR_ABORTED, "in time");
	ASSERT_EQ(fence_left_ns(f.fence), 0);
	ASSERT_FALSE(fence_is_open(f.fence));
	fence_leave(f.fence, &f.member);
	end(&f);
}

RUN_TESTS(UNIT(nobody_writes_before_it_opens), UNIT(who_never_joined_does_not_write),
	  UNIT(closing_cancels_who_joined_and_only_them),
	  UNIT(a_cancelled_ctx_may_not_act_whoever_leads), UNIT(lost_and_won_again_is_another_term),
	  UNIT(the_limit_is_judged_by_the_clock_and_moves_with_each_renewal))
