/* SPDX-License-Identifier: Apache-2.0 */
/* One call a volume. */
#include "csi/inflight.h"

#include "base/clock.h"
#include "check.h"

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

RUN_TESTS(UNIT(the_second_call_is_told_which_runs_and_since_when),
	  UNIT(other_volumes_are_not_held_up))
