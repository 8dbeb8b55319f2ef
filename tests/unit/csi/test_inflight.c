/* SPDX-License-Identifier: Apache-2.0 */
/* One call a volume. */
#include "csi/inflight.h"

#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "event/work.h"

#include <stdatomic.h>

TEST(the_second_call_is_told_which_runs_and_since_when)
{
	struct inflight *f = inflight_new();
	struct err err;

	clock_fake_set(1000 * NS_PER_S);
	ASSERT_OK(inflight_begin(f, "v", "NodeStageVolume", &err), &err);
	clock_fake_advance(2500 * NS_PER_MS);
	ASSERT_ERR(inflight_begin(f, "v", "NodePublishVolume", &err), &err, ERR_ABORTED,
		   "NodeStageVolume has been running on volume 'v' for 2.5 s");
	inflight_end(f, "v");
	ASSERT_OK(inflight_begin(f, "v", "NodePublishVolume", &err), &err);
	inflight_end(f, "v");
	inflight_free(f);
	clock_fake_set(-1);
}

TEST(a_snapshot_and_a_volume_of_one_token_are_two_things)
{
	struct inflight *f = inflight_new();
	struct err err;

	ASSERT_OK(inflight_begin(f, "a", "CreateVolume", &err), &err);
	ASSERT_OK(inflight_begin_of(f, VOL_KIND_SNAPSHOT, "a", "CreateSnapshot", &err), &err);
	ASSERT_OK(inflight_begin_of(f, VOL_KIND_GROUP, "a", "CreateVolumeGroupSnapshot", &err),
		  &err);
	ASSERT_ERR(inflight_begin_of(f, VOL_KIND_SNAPSHOT, "a", "DeleteSnapshot", &err), &err,
		   ERR_ABORTED, "CreateSnapshot has been running on snapshot 'a'");
	inflight_end_of(f, VOL_KIND_SNAPSHOT, "a");
	ASSERT_OK(inflight_begin_of(f, VOL_KIND_SNAPSHOT, "a", "DeleteSnapshot", &err), &err);
	inflight_end_of(f, VOL_KIND_SNAPSHOT, "a");
	inflight_end_of(f, VOL_KIND_GROUP, "a");
	inflight_end(f, "a");
	inflight_free(f);
}

TEST(other_volumes_are_not_held_up)
{
	struct inflight *f = inflight_new();
	struct err err;

	ASSERT_OK(inflight_begin(f, "a", "CreateVolume", &err), &err);
	ASSERT_OK(inflight_begin(f, "b", "CreateVolume", &err), &err);
	inflight_end(f, "a");
	inflight_end(f, "b");
	inflight_free(f);
}

#define ROUNDS 2000

struct crowd {
	struct inflight *f;
	atomic_int inside[3]; /* callers that hold the key now */
	atomic_int n_done, n_aborted, n_together;
};

static void visit(void *arg)
{
	static const char *const keys[] = { "a", "b", "c" };
	struct crowd *crowd = arg;
	struct err err;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (inflight_begin(crowd->f, keys[i % 3], "NodeStageVolume", &err) < 0) {
			crowd->n_aborted += err.code == ERR_ABORTED;
			continue;
		}
		crowd->n_together += crowd->inside[i % 3]++ != 0;
		crowd->n_done++;
		crowd->inside[i % 3]--;
		inflight_end(crowd->f, keys[i % 3]);
	}
}

TEST(two_threads_are_never_in_the_same_volume)
{
	struct crowd crowd = { .f = inflight_new() };
	struct work_thread *threads[4];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		ASSERT_EQ(work_thread_start("visitor", visit, &crowd, &threads[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		work_thread_join(threads[i]);
	ASSERT_EQ(crowd.n_together, 0);
	ASSERT_EQ(crowd.n_done + crowd.n_aborted, ROUNDS * (int)ARRAY_LEN(threads));
	ASSERT_TRUE(crowd.n_done > 0);
	inflight_free(crowd.f);
}

RUN_TESTS(UNIT(the_second_call_is_told_which_runs_and_since_when),
	  UNIT(a_snapshot_and_a_volume_of_one_token_are_two_things),
	  UNIT(other_volumes_are_not_held_up), UNIT(two_threads_are_never_in_the_same_volume))
