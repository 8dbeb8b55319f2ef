/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of snapshots that are made, become ready and go. */
#include "check.h"
#include "control/snapshot_ops.h"

#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define KEY "default/snap"

static struct snapshot_ops *open_ops(void)
{
	struct snapshot_ops *o = snapshot_ops_new();

	snapshot_ops_open(o);
	return o;
}

static void look(struct snapshot_ops *o, struct snapshot_seen seen)
{
	seen.uid = seen.uid ? seen.uid : "u1";
	seen.driver = seen.driver ? seen.driver : "";
	snapshot_ops_look(o, SNAPSHOT_OPS_SNAPSHOT, KEY, &seen);
}

/* How many there were of this driver; metrics are the whole process's. */
static unsigned counted(const char *driver, const char *op, const char *type, const char *status)
{
	autofree char *series =
		xasprintf("snapshot_controller_operation_total_seconds_count{driver_name=\"%s\","
			  "operation_name=\"%s\",snapshot_type=\"%s\",operation_status=\"%s\"} ",
			  driver, op, type, status);
	autostr struct str page = STR_INIT;
	const char *at;
	unsigned n = 0;

	metric_render(&page);
	at = strstr(str_get(&page), series);
	if (at)
		ASSERT_EQ(sscanf(at + strlen(series), "%u", &n), 1);
	return n;
}

static void assert_in_flight(unsigned n)
{
	autofree char *line = xasprintf("\nsnapshot_controller_operations_in_flight %u\n", n);
	autostr struct str page = STR_INIT;

	metric_render(&page);
	assert_non_null(strstr(str_get(&page), line));
}

TEST(one_is_made_becomes_ready_and_goes)
{
	struct snapshot_ops *o = open_ops();

	assert_in_flight(0);
	look(o, (struct snapshot_seen){ .driver = "a", .is_dynamic = true });
	look(o, (struct snapshot_seen){ .is_dynamic = true });
	assert_in_flight(2);
	look(o, (struct snapshot_seen){ .is_dynamic = true, .is_created = true });
	assert_in_flight(1);
	look(o, (struct snapshot_seen){ .is_dynamic = true, .is_created = true, .is_ready = true });
	assert_in_flight(0);
	look(o, (struct snapshot_seen){ .driver = "a",
					.is_dynamic = true,
					.is_created = true,
					.is_ready = true,
					.is_deleting = true });
	assert_in_flight(1);
	look(o,
	     (struct snapshot_seen){ .is_dynamic = true, .is_deleting = true, .is_let_go = true });
	snapshot_ops_look(o, SNAPSHOT_OPS_SNAPSHOT, KEY, NULL);
	assert_in_flight(0);
	ASSERT_EQ(counted("a", "CreateSnapshot", "dynamic", "success"), 1);
	ASSERT_EQ(counted("a", "CreateSnapshotAndReady", "dynamic", "success"), 1);
	ASSERT_EQ(counted("a", "DeleteSnapshot", "dynamic", "success"), 1);
	snapshot_ops_free(o);
}

/* The API server lets an object go with its last finalizer, and no reconcile sees it without. */
TEST(one_that_is_gone_has_gone)
{
	struct snapshot_ops *o = open_ops();

	look(o, (struct snapshot_seen){ .driver = "b", .is_ready = true, .is_deleting = true });
	snapshot_ops_look(o, SNAPSHOT_OPS_SNAPSHOT, KEY, NULL);
	ASSERT_EQ(counted("b", "DeleteSnapshot", "pre-provisioned", "success"), 1);
	snapshot_ops_free(o);
}

TEST(one_deleted_too_soon_was_cancelled)
{
	struct snapshot_ops *o = open_ops();

	look(o, (struct snapshot_seen){ .driver = "c" });
	look(o, (struct snapshot_seen){ .is_deleting = true });
	assert_in_flight(1);
	ASSERT_EQ(counted("c", "CreateSnapshot", "pre-provisioned", "cancel"), 1);
	ASSERT_EQ(counted("c", "CreateSnapshotAndReady", "pre-provisioned", "cancel"), 1);
	ASSERT_EQ(counted("c", "CreateSnapshot", "pre-provisioned", "success"), 0);
	snapshot_ops_free(o);
	assert_in_flight(0);
}

TEST(a_namesake_is_counted_for_itself)
{
	struct snapshot_ops *o = open_ops();

	look(o, (struct snapshot_seen){ .driver = "d", .is_ready = true, .is_deleting = true });
	look(o, (struct snapshot_seen){ .uid = "u2", .driver = "d" });
	assert_in_flight(2);
	ASSERT_EQ(counted("d", "DeleteSnapshot", "pre-provisioned", "success"), 1);
	snapshot_ops_free(o);
}

TEST(groups_are_not_snapshots)
{
	struct snapshot_ops *o = open_ops();
	struct snapshot_seen seen = { .uid = "u1", .driver = "e", .is_dynamic = true };

	look(o, seen);
	snapshot_ops_look(o, SNAPSHOT_OPS_GROUP, KEY, &seen);
	assert_in_flight(4);
	seen.is_ready = true;
	snapshot_ops_look(o, SNAPSHOT_OPS_GROUP, KEY, &seen);
	assert_in_flight(2);
	ASSERT_EQ(counted("e", "CreateGroupSnapshot", "dynamic", "success"), 1);
	ASSERT_EQ(counted("e", "CreateGroupSnapshotAndReady", "dynamic", "success"), 1);
	ASSERT_EQ(counted("e", "CreateSnapshot", "dynamic", "success"), 0);
	snapshot_ops_free(o);
}

/* A reconcile that was at work when the lease was lost returns later. */
TEST(what_another_process_will_end_is_forgotten)
{
	struct snapshot_ops *o = open_ops();

	look(o, (struct snapshot_seen){ .driver = "f" });
	snapshot_ops_close(o);
	look(o, (struct snapshot_seen){ .driver = "f" });
	assert_in_flight(0);
	snapshot_ops_open(o);
	look(o, (struct snapshot_seen){ .driver = "f", .is_ready = true });
	ASSERT_EQ(counted("f", "CreateSnapshot", "pre-provisioned", "success"), 0);
	snapshot_ops_free(o);
}

RUN_TESTS(UNIT(one_is_made_becomes_ready_and_goes), UNIT(one_that_is_gone_has_gone),
	  UNIT(one_deleted_too_soon_was_cancelled), UNIT(a_namesake_is_counted_for_itself),
	  UNIT(groups_are_not_snapshots), UNIT(what_another_process_will_end_is_forgotten))
