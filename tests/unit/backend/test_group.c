/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is special about groups of snapshots in a pool: marks, lost and damaged records, claims, the
 * guard of extents, room, and filesystems that do not stand still. On the fake host.
 */
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "host/freeze.h"
#include "host/fs.h"
#include "host/mount.h"

#define GROUPS "/pool/.cleat/groups"
#define SNAPSHOTS "/pool/.cleat/snapshots"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_group group;
	struct backend_snapshot snap;
	unsigned n_clones;
};

static void start(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

static void restart(struct env *e)
{
	registry_free(e->r);
	start(e);
}

static void create(struct env *e, const char *name, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = fs
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
	fake_host_write(name, 0, 8 * MIB);
}

/* The volumes "v" and "w". */
static void setup(struct env *e)
{
	*e = (struct env){ 0 };
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	start(e);
	create(e, "v", "ext4");
	create(e, "w", "");
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	fake_host_reset(0);
}

static int take(struct env *e, uint64_t max_extents)
{
	const struct backend_group_spec spec = {
		.name = "g",
		.token = "g",
		.sources = (const char *const[]){ "v", "w" },
		.n_sources = 2,
		.options = { .max_extents = max_extents,
			     .copy_above = true,
			     .owner = { .cluster = "c-1" } },
	};

	return backend_group_create(e->b, &e->ctx, &spec, &e->group, &e->err);
}

static int find(struct env *e)
{
	return backend_group_stat(e->b, &e->ctx, "g", &e->group, &e->err);
}

static int remove_group(struct env *e)
{
	return backend_group_remove(e->b, &e->ctx, "g", NULL, &e->err);
}

static int find_member(struct env *e, size_t i)
{
	return backend_snapshot_stat(e->b, &e->ctx, e->group.members[i].token, NULL, &e->snap,
				     &e->err);
}

static int remove_member(struct env *e, size_t i)
{
	return backend_snapshot_remove(e->b, &e->ctx, e->group.members[i].token, NULL, &e->err);
}

static int count(void *arg, const struct backend_snapshot *snap)
{
	(void)snap;
	++*(unsigned *)arg;
	return 0;
}

static void assert_snapshots(struct env *e, unsigned n_whole, unsigned n_damaged)
{
	struct backend_info info;
	unsigned n = 0;

	ASSERT_OK(backend_info(e->b, &e->ctx, &info, &e->err), &e->err);
	ASSERT_EQ(info.n_snapshots, n_whole);
	ASSERT_EQ(info.n_damaged_snapshots, n_damaged);
	ASSERT_OK(backend_snapshot_each(e->b, &e->ctx, "", count, &n, &e->err), &e->err);
	ASSERT_EQ(n, n_whole + n_damaged);
}

static int open_dir(const char *dir)
{
	struct err err;
	int fd;

	ASSERT_OK(host_dir_open(dir, &fd, &err), &err);
	return fd;
}

static void rename_record(const char *name, const char *new_name)
{
	struct err err;
	int dir_fd = open_dir(GROUPS);

	ASSERT_OK(host_file_rename(dir_fd, name, new_name, &err), &err);
	host_fd_close(dir_fd);
}

static void unlink_in(const char *dir, const char *name)
{
	struct err err;
	int dir_fd = open_dir(dir);

	ASSERT_OK(host_file_unlink(dir_fd, name, &err), &err);
	host_fd_close(dir_fd);
}

static int open_in(const char *dir, const char *name)
{
	struct err err;
	int dir_fd = open_dir(dir);
	int fd;

	ASSERT_OK(host_file_open_or_make(dir_fd, name, &fd, &err), &err);
	host_fd_close(dir_fd);
	return fd;
}

static int count_name(void *arg, const char *name, bool is_regular)
{
	(void)name;
	(void)is_regular;
	++*(unsigned *)arg;
	return 0;
}

static unsigned n_entries(const char *dir)
{
	struct err err;
	int dir_fd = open_dir(dir);
	unsigned n = 0;

	ASSERT_OK(host_dir_each(dir_fd, count_name, &n, &err), &err);
	host_fd_close(dir_fd);
	return n;
}

TEST(finds_its_groups_after_a_restart)
{
	struct env e;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	ASSERT_EQ(n_entries(GROUPS), 1);
	restart(&e);
	assert_snapshots(&e, 2, 0);
	ASSERT_OK(find(&e), &e.err);
	ASSERT_EQ(e.group.n_members, 2);
	ASSERT_OK(find_member(&e, 0), &e.err);
	ASSERT_STR(e.snap.source, "v");
	ASSERT_OK(remove_group(&e), &e.err);
	ASSERT_EQ(n_entries(GROUPS), 0);
	assert_snapshots(&e, 0, 0);
	teardown(&e);
}

TEST(members_of_a_group_that_is_not_whole_are_not_there)
{
	struct env e;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	rename_record("g", ".g"); /* as a killed removal leaves it */
	ASSERT_ERR(find_member(&e, 0), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_OK(remove_member(&e, 0), &e.err);
	ASSERT_EQ(n_entries(SNAPSHOTS), 2);
	ASSERT_ERR(find(&e), &e.err, ERR_NOT_FOUND, "no such group");
	/* the next call sweeps it, whatever it is */
	ASSERT_OK(remove_group(&e), &e.err);
	ASSERT_EQ(n_entries(SNAPSHOTS) + n_entries(GROUPS), 0);
	ASSERT_OK(take(&e, 0), &e.err);
	rename_record("g", ".g");
	ASSERT_OK(take(&e, 0), &e.err);
	ASSERT_EQ(n_entries(SNAPSHOTS), 2);
	ASSERT_EQ(n_entries(GROUPS), 1);
	/* and so does the next process */
	rename_record("g", ".g");
	restart(&e);
	assert_snapshots(&e, 0, 0);
	ASSERT_EQ(n_entries(SNAPSHOTS) + n_entries(GROUPS), 0);
	teardown(&e);
}

TEST(a_mark_that_outlived_its_group_takes_nothing_away)
{
	struct env e;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	host_fd_close(open_in(GROUPS, ".g"));
	ASSERT_OK(find_member(&e, 0), &e.err);
	restart(&e);
	ASSERT_EQ(n_entries(GROUPS), 1);
	ASSERT_OK(find(&e), &e.err);
	assert_snapshots(&e, 2, 0);
	teardown(&e);
}

TEST(members_whose_record_somebody_removed_are_kept)
{
	struct env e;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	unlink_in(GROUPS, "g");
	restart(&e);
	assert_snapshots(&e, 0, 2);
	ASSERT_OK(find_member(&e, 0), &e.err);
	ASSERT_TRUE(e.snap.is_damaged && strstr(e.snap.damage, "no record of it"));
	ASSERT_ERR(remove_member(&e, 0), &e.err, ERR_FAILED_PRECONDITION, "no record of it");
	ASSERT_OK(remove_group(&e), &e.err);
	ASSERT_ERR(take(&e, 0), &e.err, ERR_ALREADY_EXISTS, "has the name of a member");
	ASSERT_EQ(n_entries(SNAPSHOTS), 2);
	teardown(&e);
}

TEST(a_damaged_record_serves_and_deletes_nothing)
{
	struct env e;
	int fd;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	fd = open_in(GROUPS, "g");
	ASSERT_OK(host_file_set_text(fd, "cleat group 1\nneeds=clouds\nname=g", &e.err), &e.err);
	host_fd_close(fd);
	ASSERT_ERR(find(&e), &e.err, ERR_FAILED_PRECONDITION, GROUPS "/g");
	ASSERT_ERR(remove_group(&e), &e.err, ERR_FAILED_PRECONDITION, "'clouds'");
	ASSERT_ERR(take(&e, 0), &e.err, ERR_FAILED_PRECONDITION, "'clouds'");
	ASSERT_OK(find_member(&e, 0), &e.err);
	ASSERT_TRUE(e.snap.is_damaged);
	restart(&e);
	assert_snapshots(&e, 0, 2);
	rename_record("g", "h");
	ASSERT_ERR(backend_group_stat(e.b, &e.ctx, "h", &e.group, &e.err), &e.err,
		   ERR_FAILED_PRECONDITION, "damaged");
	teardown(&e);
}

TEST(a_group_that_lost_a_member_says_so_and_can_be_deleted)
{
	struct env e;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	unlink_in(SNAPSHOTS, e.group.members[1].token);
	ASSERT_ERR(find(&e), &e.err, ERR_DATA_LOSS, e.group.members[1].token);
	ASSERT_ERR(take(&e, 0), &e.err, ERR_DATA_LOSS, "is gone");
	ASSERT_OK(remove_group(&e), &e.err);
	ASSERT_EQ(n_entries(SNAPSHOTS) + n_entries(GROUPS), 0);
	teardown(&e);
}

TEST(a_damaged_member_keeps_the_whole_group)
{
	struct env e;
	int fd;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	fd = open_in(SNAPSHOTS, e.group.members[1].token);
	ASSERT_OK(host_file_resize(fd, 4096, &e.err), &e.err);
	host_fd_close(fd);
	ASSERT_ERR(find(&e), &e.err, ERR_DATA_LOSS, "is damaged: the file has 4096 bytes");
	ASSERT_ERR(remove_group(&e), &e.err, ERR_FAILED_PRECONDITION, e.group.members[1].token);
	ASSERT_EQ(n_entries(SNAPSHOTS), 2);
	ASSERT_OK(find_member(&e, 0), &e.err);
	ASSERT_FALSE(e.snap.is_damaged);
	teardown(&e);
}

TEST(a_member_that_is_being_read_keeps_the_whole_group)
{
	struct env e;
	int fd;

	setup(&e);
	ASSERT_OK(take(&e, 0), &e.err);
	fd = open_in(SNAPSHOTS, e.group.members[1].token);
	ASSERT_OK(host_file_claim(fd, false, &e.err), &e.err);
	ASSERT_ERR(remove_group(&e), &e.err, ERR_ABORTED, e.group.members[1].token);
	ASSERT_OK(find(&e), &e.err);
	ASSERT_OK(find_member(&e, 0), &e.err);
	host_fd_close(fd);
	ASSERT_OK(remove_group(&e), &e.err);
	assert_snapshots(&e, 0, 0);
	teardown(&e);
}

TEST(leaves_foreign_files_among_groups_alone)
{
	struct env e;

	setup(&e);
	host_fd_close(open_in(GROUPS, "Notes.txt"));
	host_fd_close(open_in(GROUPS, ".Notes"));
	ASSERT_OK(take(&e, 0), &e.err);
	restart(&e);
	ASSERT_OK(remove_group(&e), &e.err);
	ASSERT_EQ(n_entries(GROUPS), 2);
	teardown(&e);
}

static void attach_v(void *arg)
{
	struct env *e = arg;
	struct backend_device dev;

	e->n_clones++;
	ASSERT_ERR(backend_attach(e->b, &e->ctx, "v", &(struct backend_attach_options){ 0 }, &dev,
				  &e->err),
		   &e->err, ERR_ABORTED, "being checked");
}

TEST(nobody_attaches_a_member_while_it_is_cut)
{
	struct backend_device dev;
	struct env e;

	setup(&e);
	fake_host_at_clone(attach_v, &e);
	ASSERT_OK(take(&e, 0), &e.err);
	ASSERT_EQ(e.n_clones, 2);
	fake_host_at_clone(NULL, NULL);
	ASSERT_OK(backend_attach(e.b, &e.ctx, "v", &(struct backend_attach_options){ 0 }, &dev,
				 &e.err),
		  &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

static void count_clone(void *arg)
{
	++((struct env *)arg)->n_clones;
}

TEST(refuses_members_of_too_many_extents)
{
	struct env e;

	setup(&e);
	fake_host_at_clone(count_clone, &e);
	fake_host_set_n_extents("w", 3000);
	ASSERT_ERR(take(&e, 2000), &e.err, ERR_FAILED_PRECONDITION,
		   "volume 'w': its file has 3000 extents, more than the 2000");
	/* whatever the class allows, when it takes too long */
	fake_host_set_n_extents("v", 300000);
	fake_host_set_n_extents("w", 200000);
	ASSERT_ERR(take(&e, 0), &e.err, ERR_FAILED_PRECONDITION,
		   "500000 extents together, most of them 'v'");
	ASSERT_EQ(e.n_clones, 0);
	fake_host_set_n_extents("v", 2000);
	fake_host_set_n_extents("w", 2000);
	ASSERT_OK(take(&e, 2000), &e.err);
	teardown(&e);
}

TEST(has_room_for_all_members_or_cuts_none)
{
	struct backend_spec spec = { .name = "f", .token = "f", .fs = "" };
	struct backend_info info;
	struct backend_volume vol;
	struct env e;

	setup(&e);
	fake_host_write("v", 0, 64 * MIB);
	fake_host_write("w", 0, 64 * MIB);
	ASSERT_OK(backend_info(e.b, &e.ctx, &info, &e.err), &e.err);
	spec.bytes = info.available_bytes - 100 * MIB; /* what is left does for one */
	ASSERT_OK(backend_create(e.b, &e.ctx, &spec, &vol, &e.err), &e.err);
	fake_host_at_clone(count_clone, &e);
	ASSERT_ERR(take(&e, 0), &e.err, ERR_RESOURCE_EXHAUSTED, "volume 'w'");
	ASSERT_EQ(e.n_clones, 0);
	assert_snapshots(&e, 0, 0);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "f", NULL, &e.err), &e.err);
	ASSERT_OK(take(&e, 0), &e.err);
	teardown(&e);
}

static void mount_v(struct env *e)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	struct backend_device dev;

	fake_host_add_dir("/mnt");
	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &(struct backend_attach_options){ 0 }, &dev,
				 &e->err),
		  &e->err);
	ASSERT_OK(host_mount_device(&e->ctx, dev.path, "/mnt", &opts, &e->err), &e->err);
	ASSERT_OK(backend_settle(e->b, &e->ctx, "v", "/mnt", &e->err), &e->err);
}

static void umount_v(struct env *e)
{
	ASSERT_OK(host_mount_umount(&e->ctx, "/mnt", &e->err), &e->err);
}

static void assert_frozen(void *arg)
{
	++((struct env *)arg)->n_clones;
	ASSERT_EQ(fake_host_n_frozen(), 1);
}

TEST(freezes_what_is_mounted_whatever_the_class_says)
{
	struct env e;

	setup(&e);
	mount_v(&e);
	fake_host_at_clone(assert_frozen, &e);
	ASSERT_OK(take(&e, 0), &e.err);
	ASSERT_EQ(e.n_clones, 2);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	umount_v(&e);
	teardown(&e);
}

static void time_out(void *arg)
{
	(void)arg;
	fake_host_freeze_times_out();
}

static void thaw(void *arg)
{
	(void)arg;
	fake_host_thaw_all();
}

TEST(leaves_nothing_if_a_filesystem_did_not_stand_still)
{
	const struct {
		void (*at_clone)(void *arg);
		enum err_code code;
	} cases[] = { { time_out, ERR_DEADLINE_EXCEEDED }, { thaw, ERR_ABORTED } };
	struct env e;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setup(&e);
		mount_v(&e);
		fake_host_at_clone(cases[i].at_clone, NULL);
		ASSERT_ERR(take(&e, 0), &e.err, cases[i].code, "thawed");
		fake_host_at_clone(NULL, NULL);
		ASSERT_EQ(n_entries(SNAPSHOTS) + n_entries(GROUPS), 0);
		ASSERT_EQ(n_entries("/pool/.cleat/frozen"), 0);
		ASSERT_EQ(fake_host_n_nameless(), 0);
		ASSERT_OK(take(&e, 0), &e.err);
		umount_v(&e);
		teardown(&e);
	}
}

TEST(a_filesystem_that_cannot_be_frozen_is_named_with_its_volume)
{
	struct env e;
	int fd;

	setup(&e);
	mount_v(&e);
	fake_host_leave_frozen("/mnt");
	ASSERT_ERR(take(&e, 0), &e.err, ERR_ABORTED,
		   "volume 'v': its filesystem at '/mnt' cannot be frozen");
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_EQ(n_entries("/pool/.cleat/frozen"), 0);
	fd = open_dir("/mnt");
	ASSERT_OK(host_freeze_thaw(fd, &e.err), &e.err);
	host_fd_close(fd);
	umount_v(&e);
	teardown(&e);
}

RUN_TESTS(UNIT(finds_its_groups_after_a_restart),
	  UNIT(members_of_a_group_that_is_not_whole_are_not_there),
	  UNIT(a_mark_that_outlived_its_group_takes_nothing_away),
	  UNIT(members_whose_record_somebody_removed_are_kept),
	  UNIT(a_damaged_record_serves_and_deletes_nothing),
	  UNIT(a_group_that_lost_a_member_says_so_and_can_be_deleted),
	  UNIT(a_damaged_member_keeps_the_whole_group),
	  UNIT(a_member_that_is_being_read_keeps_the_whole_group),
	  UNIT(leaves_foreign_files_among_groups_alone),
	  UNIT(nobody_attaches_a_member_while_it_is_cut), UNIT(refuses_members_of_too_many_extents),
	  UNIT(has_room_for_all_members_or_cuts_none),
	  UNIT(freezes_what_is_mounted_whatever_the_class_says),
	  UNIT(leaves_nothing_if_a_filesystem_did_not_stand_still),
	  UNIT(a_filesystem_that_cannot_be_frozen_is_named_with_its_volume))
