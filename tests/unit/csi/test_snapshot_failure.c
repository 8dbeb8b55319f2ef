/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As test_failure.c, for snapshots and copies: for n = 1, 2, … the operation has its n-th host call
 * fail, or the process is killed just before it, or the power goes. Then the same call comes again,
 * or the opposite one. What was promised is there then and only that, and when all is deleted
 * nothing is left. The volume is staged all the while, as it is when people take snapshots.
 */
#include "base/mem.h"
#include "base/str.h"
#include "fixture.h"

#define N_CALLS_MAX 300

enum trouble {
	TROUBLE_FAIL,
	TROUBLE_KILL,
	TROUBLE_POWER,
	TROUBLES,
};

struct operation {
	const char *name;
	bool has_snapshot; /* before it */
	bool has_copy;     /* made of the snapshot, which is gone by then */
	int (*run)(struct fixture *f);
	int (*opposite)(struct fixture *f); /* NULL: none */
	/* What is there when it is done. */
	size_t n_snapshots, n_volumes;
};

/* Of the volume "v", the snapshot "s" and the copy "w"; they outlive the arena. */
static char volume_id[VOL_ID_MAX], snapshot_id[VOL_ID_MAX];

static int run_snapshot(struct fixture *f)
{
	return do_snapshot(f, "s", volume_id) ? 0 : -1;
}

static int run_delete_snapshot(struct fixture *f)
{
	return do_delete_snapshot(f, snapshot_id);
}

static int copy(struct fixture *f, unsigned kind, const char *source)
{
	struct csi_create_volume_request req = { .name = "w",
						 .volume_capabilities = &cap_mount,
						 .n_volume_capabilities = 1,
						 .has_volume_content_source = true,
						 .volume_content_source = { kind, source } };
	struct csi_create_volume_response reply;

	if (csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	ASSERT_EQ(reply.volume.content_source.kind, kind);
	ASSERT_STR(reply.volume.content_source.id, source);
	return 0;
}

static int run_restore(struct fixture *f)
{
	return copy(f, CSI_SOURCE_SNAPSHOT, snapshot_id);
}

static int run_clone(struct fixture *f)
{
	return copy(f, CSI_SOURCE_VOLUME, volume_id);
}

static int delete_volume(struct fixture *f, const char *name)
{
	char id[VOL_ID_MAX + 1];

	/* ids differ in the token alone */
	(void)snprintf(id, sizeof(id), "%.*s%s", (int)strlen("v1-") + 33, volume_id, name);
	f->id = id;
	return do_delete(f);
}

static int run_delete_copy(struct fixture *f)
{
	return delete_volume(f, "w");
}

static void prepare(struct fixture *f, const struct operation *op)
{
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	(void)snprintf(volume_id, sizeof(volume_id), "%s", f->id);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	if (!op->has_snapshot && !op->has_copy)
		return;
	(void)snprintf(snapshot_id, sizeof(snapshot_id), "%s",
		       str_or(do_snapshot(f, "s", volume_id), ""));
	if (!op->has_copy)
		return;
	ASSERT_OK(run_restore(f), &f->err);
	ASSERT_OK(run_delete_snapshot(f), &f->err);
}

static void assert_there(struct fixture *f, size_t n_snapshots, size_t n_volumes)
{
	const struct csi_list_snapshots_request all_snapshots = { .snapshot_id = "",
								  .source_volume_id = volume_id,
								  .starting_token = "" };
	const struct csi_list_volumes_request all_volumes = { .starting_token = "" };
	struct csi_list_snapshots_response snapshots;
	struct csi_list_volumes_response volumes;

	ASSERT_OK(csi_list_snapshots(&f->csi, &f->ctx, &all_snapshots, &snapshots, &f->err),
		  &f->err);
	ASSERT_EQ(snapshots.n_entries, n_snapshots);
	for (size_t i = 0; i < snapshots.n_entries; i++)
		ASSERT_TRUE(snapshots.entries[i].snapshot.ready_to_use);
	ASSERT_OK(csi_list_volumes(&f->csi, &f->ctx, &all_volumes, &volumes, &f->err), &f->err);
	ASSERT_EQ(volumes.n_entries, n_volumes);
	ASSERT_EQ(fake_host_n_files(), n_volumes);
}

static void take_all_down(struct fixture *f)
{
	(void)snprintf(snapshot_id, sizeof(snapshot_id), "s1-%.33ss", volume_id + 3);
	ASSERT_OK(do_delete_snapshot(f, snapshot_id), &f->err);
	ASSERT_OK(run_delete_copy(f), &f->err);
	f->id = volume_id;
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_OK(delete_volume(f, "v"), &f->err);
	assert_node_is_clean();
	assert_there(f, 0, 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
}

static void recover(struct fixture *f, enum trouble trouble)
{
	fake_host_fail_at(0);
	if (trouble != TROUBLE_FAIL)
		fixture_restart(f, trouble == TROUBLE_POWER);
}

/* One round; whether the n-th call was reached. */
static bool run_with_trouble(const struct operation *op, enum trouble trouble, bool go_back,
			     unsigned n)
{
	struct fixture *f = fixture_begin();
	int (*next)(struct fixture * f) = go_back ? op->opposite : op->run;
	bool is_reached;
	int r;

	fake_host_add_foreign_loop();
	prepare(f, op);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	r = op->run(f);
	is_reached = fake_host_failed();
	if (!is_reached)
		ASSERT_EQ(r, 0);
	recover(f, is_reached ? trouble : TROUBLE_FAIL);
	if (next(f) < 0)
		fail_msg("%s, trouble %d at call %u, then %s: %s", op->name, (int)trouble, n,
			 go_back ? "the opposite" : "again", f->err.msg);
	if (!go_back)
		assert_there(f, op->n_snapshots, op->n_volumes);
	take_all_down(f);
	fixture_end(f);
	return is_reached;
}

static void run_all(const struct operation *op)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		for (int go_back = 0; go_back <= (op->opposite != NULL); go_back++) {
			unsigned n = 1;

			while (run_with_trouble(op, (enum trouble)trouble, go_back, n)) {
				n++;
				ASSERT_TRUE(n < N_CALLS_MAX);
			}
			ASSERT_TRUE(n > 1);
		}
	}
}

TEST(snapshot_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		.name = "snapshot", .run = run_snapshot, .n_snapshots = 1, .n_volumes = 1 });
}

TEST(delete_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ .name = "delete snapshot",
					   .has_snapshot = true,
					   .run = run_delete_snapshot,
					   .opposite = run_snapshot,
					   .n_volumes = 1 });
}

TEST(restore_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ .name = "restore",
					   .has_snapshot = true,
					   .run = run_restore,
					   .opposite = run_delete_copy,
					   .n_snapshots = 1,
					   .n_volumes = 2 });
}

TEST(clone_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		.name = "clone", .run = run_clone, .opposite = run_delete_copy, .n_volumes = 2 });
}

TEST(deleting_a_copy_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){
		.name = "delete copy", .has_copy = true, .run = run_delete_copy, .n_volumes = 1 });
}

RUN_TESTS(UNIT(snapshot_survives_trouble_at_every_call),
	  UNIT(delete_survives_trouble_at_every_call), UNIT(restore_survives_trouble_at_every_call),
	  UNIT(clone_survives_trouble_at_every_call),
	  UNIT(deleting_a_copy_survives_trouble_at_every_call))
