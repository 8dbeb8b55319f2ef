/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/fence.h"
#include "kube/queue.h"

#include <poll.h>

#define PATIENCE_NS (30 * NS_PER_S)
#define KEYS 4

static const struct work_lane_def lane = { .name = "api", .threads = 4 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };

struct fixture {
	struct ev_loop *loop;
	struct work *work;
	struct queue *q;
	struct fence *fence;
	unsigned cancelled; /* reconciles whose ctx was, at their end */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ran[KEYS]; /* by key "0", "1", … */
	bool at_work[KEYS];
	unsigned overlaps;
	bool held;           /* reconciles wait while this is set */
	bool is_cancellable; /* reconciles wait until they are cancelled */
	unsigned holding;
	unsigned failures_seen[KEYS];
	enum queue_verdict verdicts[8]; /* of key 0, by run */
	bool again;                     /* key 0 adds itself while at work, once */
};

/* As a call of the API client does: by the ctx's fd. */
static void wait_for_cancellation(struct fixture *f, struct ctx *ctx)
{
	struct pollfd p = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };

	pthread_mutex_unlock(&f->lock);
	ASSERT_EQ(poll(&p, 1, PATIENCE_NS / NS_PER_MS), 1);
	pthread_mutex_lock(&f->lock);
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct fixture *f = arg;
	unsigned i = (unsigned)(key[0] - '0');
	enum queue_verdict verdict;
	bool again;

	pthread_mutex_lock(&f->lock);
	f->overlaps += f->at_work[i];
	f->at_work[i] = true;
	f->failures_seen[i] = queue_failures(f->q, key);
	f->holding++;
	pthread_cond_broadcast(&f->changed);
	if (f->is_cancellable)
		wait_for_cancellation(f, ctx);
	while (f->held)
		(void)sync_cond_wait_until(&f->changed, &f->lock, clock_now_ns() + PATIENCE_NS);
	f->holding--;
	f->cancelled += ctx_is_cancelled(ctx);
	again = i == 0 && f->again;
	f->again = false;
	pthread_mutex_unlock(&f->lock);
	if (again)
		queue_add(f->q, key);

	pthread_mutex_lock(&f->lock);
	verdict = i == 0 ? f->verdicts[f->ran[0] % 8] : QUEUE_DONE;
	*ret_after_ns = NS_PER_MS;
	f->ran[i]++;
	f->at_work[i] = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return verdict;
}

static void wait_for(struct fixture *f, const unsigned *value, unsigned want)
{
	int64_t end_ns = clock_now_ns() + PATIENCE_NS;

	LOCK_SCOPE(&f->lock);
	while (*value < want && clock_now_ns() < end_ns)
		(void)sync_cond_wait_until(&f->changed, &f->lock, end_ns);
	ASSERT_TRUE(*value >= want);
}

static unsigned read_count(struct fixture *f, const unsigned *value)
{
	LOCK_SCOPE(&f->lock);
	return *value;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct queue_options opts = { .name = "test", .backoff_base_ns = NS_PER_MS };

	pthread_mutex_init(&f->lock, NULL);
	sync_cond_init(&f->changed);
	ASSERT_EQ(ev_loop_new(&f->loop), 0);
	ASSERT_EQ(ev_loop_spawn(f->loop), 0);
	ASSERT_EQ(work_new(&one_lane, &f->work), 0);
	f->fence = opts.fence = fence_new();
	fence_open(f->fence, FENCE_NO_LIMIT);
	f->q = queue_new(f->loop, f->work, &opts, reconcile, f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	queue_free(f->q);
	fence_free(f->fence);
	ev_loop_join(f->loop);
	work_free(f->work);
	ev_loop_free(f->loop);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

TEST(a_new_queue_waits_and_coalesces)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		queue_add(f->q, "1");
	queue_add(f->q, "2");
	queue_resume(f->q);
	wait_for(f, &f->ran[2], 1);
	wait_for(f, &f->ran[1], 1);
	ASSERT_EQ(read_count(f, &f->ran[1]), 1);
}

TEST(added_while_at_work_it_runs_again)
{
	struct fixture *f = *state;

	f->again = true;
	queue_resume(f->q);
	queue_add(f->q, "0");
	wait_for(f, &f->ran[0], 2);
}

TEST(failures_grow_and_success_forgets)
{
	struct fixture *f = *state;

	f->verdicts[0] = f->verdicts[1] = QUEUE_RETRY;
	f->verdicts[2] = QUEUE_RETRY_AFTER;
	queue_resume(f->q);
	queue_add(f->q, "0");
	wait_for(f, &f->ran[0], 4);
	ASSERT_EQ(read_count(f, &f->failures_seen[0]), 2); /* RETRY_AFTER left the count alone */
	queue_add(f->q, "0");
	wait_for(f, &f->ran[0], 5);
	ASSERT_EQ(read_count(f, &f->failures_seen[0]), 0);
}

TEST(a_delayed_key_comes_by_itself)
{
	struct fixture *f = *state;

	queue_resume(f->q);
	queue_add_after(f->q, "1", 3600 * NS_PER_S);
	queue_add_after(f->q, "2", 2 * NS_PER_MS);
	wait_for(f, &f->ran[2], 1);
	ASSERT_EQ(read_count(f, &f->ran[1]), 0);
	queue_add_after(f->q, "1", NS_PER_MS); /* the earlier time wins */
	wait_for(f, &f->ran[1], 1);
}

TEST(different_keys_run_at_once_and_pause_holds_the_rest)
{
	struct fixture *f = *state;

	f->held = true;
	queue_resume(f->q);
	queue_add(f->q, "1");
	queue_add(f->q, "2");
	wait_for(f, &f->holding, 2);
	queue_pause(f->q);
	queue_add(f->q, "1");
	queue_add(f->q, "3");
	pthread_mutex_lock(&f->lock);
	f->held = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	wait_for(f, &f->ran[1], 1);
	wait_for(f, &f->ran[2], 1);
	ASSERT_EQ(read_count(f, &f->ran[3]), 0);
	queue_resume(f->q);
	wait_for(f, &f->ran[3], 1);
	wait_for(f, &f->ran[1], 2);
}

TEST(one_key_is_never_at_work_twice)
{
	struct fixture *f = *state;

	queue_resume(f->q);
	for (unsigned i = 0; i < 2000; i++) {
		char key[2] = { (char)('0' + i % KEYS), '\0' };

		queue_add(f->q, key);
	}
	for (unsigned i = 0; i < KEYS; i++)
		wait_for(f, &f->ran[i], 1);
	queue_pause(f->q);
	ASSERT_EQ(read_count(f, &f->overlaps), 0);
}

/* The value of a series of the queue "figures", -1 if there is none. */
static double figure(const char *name)
{
	autofree char *head = xasprintf("workqueue_%s{name=\"figures\"} ", name);
	autostr struct str page = STR_INIT;
	const char *at;

	metric_render(&page);
	at = strstr(str_get(&page), head);
	return at ? strtod(at + strlen(head), NULL) : -1;
}

TEST(figures_are_there_from_the_start_and_tell_what_is_stuck)
{
	struct fixture *f = *state;
	struct queue_options opts = { .name = "figures", .workers = 1 };
	struct queue *q = queue_new(f->loop, f->work, &opts, reconcile, f);

	ASSERT_TRUE(figure("adds_total") == 0 && figure("retries_total") == 0 &&
		    figure("depth") == 0 && figure("unfinished_work_seconds") == 0 &&
		    figure("longest_running_processor_seconds") == 0);
	f->held = true;
	queue_resume(q);
	queue_add(q, "1");
	queue_add(q, "2");
	wait_for(f, &f->holding, 1);
	ASSERT_TRUE(figure("unfinished_work_seconds") > 0);
	ASSERT_TRUE(figure("longest_running_processor_seconds") > 0);
	ASSERT_TRUE(figure("depth") == 1 && figure("adds_total") == 2);
	ASSERT_TRUE(figure("oldest_seconds") > 0);
	ASSERT_TRUE(figure("queue_duration_seconds_count") == 1);
	ASSERT_TRUE(figure("work_duration_seconds_count") == 0);
	pthread_mutex_lock(&f->lock);
	f->held = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	wait_for(f, &f->ran[2], 1);
	queue_free(q);
	ASSERT_TRUE(figure("unfinished_work_seconds") == 0 && figure("depth") == 0);
	ASSERT_TRUE(figure("oldest_seconds") == 0);
	ASSERT_TRUE(figure("queue_duration_seconds_count") == 2 &&
		    figure("work_duration_seconds_count") == 2);
}

TEST(one_worker_works_off_all_keys)
{
	struct fixture *f = *state;
	struct queue_options opts = { .name = "alone", .workers = 1 };
	struct queue *q = queue_new(f->loop, f->work, &opts, reconcile, f);

	queue_add(q, "1");
	queue_add(q, "2");
	queue_add(q, "3");
	queue_resume(q);
	wait_for(f, &f->ran[3], 1);
	queue_free(q);
}

/* A reconcile that the end of a term cut off has not failed, and its key is not lost. */
TEST(the_end_of_a_term_cancels_and_the_next_one_goes_on)
{
	struct fixture *f = *state;

	f->verdicts[0] = QUEUE_RETRY;
	f->held = true;
	queue_resume(f->q);
	queue_add(f->q, "0");
	wait_for(f, &f->holding, 1);
	fence_close(f->fence);
	pthread_mutex_lock(&f->lock);
	f->held = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	wait_for(f, &f->ran[0], 1);
	ASSERT_EQ(read_count(f, &f->cancelled), 1);
	fence_open(f->fence, FENCE_NO_LIMIT);
	wait_for(f, &f->ran[0], 2);
	ASSERT_EQ(read_count(f, &f->cancelled), 1);
	ASSERT_EQ(read_count(f, &f->failures_seen[0]), 0);
}

/* Without it a pause lasted as long as what was under way: a call to a driver that hangs. */
TEST(a_pause_cancels_what_is_at_work_which_has_not_failed)
{
	struct fixture *f = *state;
	struct queue_options opts = { .name = "paused", .backoff_base_ns = NS_PER_MS };
	struct queue *q = queue_new(f->loop, f->work, &opts, reconcile, f);

	f->verdicts[0] = QUEUE_RETRY;
	f->is_cancellable = true;
	queue_resume(q);
	queue_add(q, "0");
	queue_add(q, "1");
	wait_for(f, &f->holding, 2);
	queue_pause(q);
	wait_for(f, &f->ran[0], 1);
	wait_for(f, &f->ran[1], 1);
	pthread_mutex_lock(&f->lock);
	f->is_cancellable = false;
	pthread_mutex_unlock(&f->lock);
	queue_resume(q);
	wait_for(f, &f->ran[0], 2);
	ASSERT_EQ(read_count(f, &f->cancelled), 2);
	ASSERT_EQ(queue_failures(q, "0"), 0);
	ASSERT_EQ(read_count(f, &f->ran[1]), 1);
	queue_free(q);
}

TEST(the_end_of_a_queue_cancels_what_is_at_work)
{
	struct fixture *f = *state;
	struct queue_options opts = { .name = "ended" };
	struct queue *q = queue_new(f->loop, f->work, &opts, reconcile, f);

	f->is_cancellable = true;
	queue_resume(q);
	queue_add(q, "1");
	wait_for(f, &f->holding, 1);
	queue_free(q);
	ASSERT_EQ(read_count(f, &f->cancelled), 1);
	ASSERT_EQ(read_count(f, &f->ran[1]), 1);
}

TEST(freeing_with_keys_left_is_fine)
{
	struct fixture *f = *state;

	queue_add(f->q, "1");
	queue_add_after(f->q, "2", NS_PER_S);
}

#define QUEUE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(QUEUE(a_new_queue_waits_and_coalesces), QUEUE(added_while_at_work_it_runs_again),
	  QUEUE(failures_grow_and_success_forgets), QUEUE(a_delayed_key_comes_by_itself),
	  QUEUE(different_keys_run_at_once_and_pause_holds_the_rest),
	  QUEUE(one_key_is_never_at_work_twice), QUEUE(one_worker_works_off_all_keys),
	  QUEUE(figures_are_there_from_the_start_and_tell_what_is_stuck),
	  QUEUE(the_end_of_a_term_cancels_and_the_next_one_goes_on),
	  QUEUE(a_pause_cancels_what_is_at_work_which_has_not_failed),
	  QUEUE(the_end_of_a_queue_cancels_what_is_at_work), QUEUE(freeing_with_keys_left_is_fine))
