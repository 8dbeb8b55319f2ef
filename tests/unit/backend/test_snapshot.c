/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is special about snapshots in a pool: what else may lie among them, damage, claims, the
 * guard, thickness of what is made of them. On the fake host.
 */
#include "backend/pool/record.h"
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "host/fs.h"
#include "host/mount.h"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_snapshot snap;
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

static void setup_with(struct env *e, uint64_t pool_bytes)
{
	fake_host_reset(pool_bytes);
	ctx_init(&e->ctx, 0);
	start(e);
}

static void setup(struct env *e)
{
	setup_with(e, GIB);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	fake_host_reset(0);
}

static int make(struct env *e, const struct backend_spec *spec)
{
	struct backend_volume vol;

	return backend_create(e->b, &e->ctx, spec, &vol, &e->err);
}

static int create(struct env *e, const char *name)
{
	return make(e, &(struct backend_spec){
			       .name = name, .token = name, .bytes = 64 * MIB, .fs = "" });
}

static int create_of(struct env *e, const char *name, enum backend_source kind, const char *source)
{
	return make(e, &(struct backend_spec){ .name = name,
					       .token = name,
					       .bytes = 64 * MIB,
					       .fs = "",
					       .source_kind = kind,
					       .source = source });
}

static int take(struct env *e, const char *name, uint64_t max_extents)
{
	const struct backend_snapshot_spec spec = {
		.name = name,
		.token = name,
		.source = "v",
		.options = { .max_extents = max_extents, .owner = { .cluster = "c-1" } },
	};

	return backend_snapshot_create(e->b, &e->ctx, &spec, &e->snap, &e->err);
}

static int find(struct env *e, const char *token)
{
	return backend_snapshot_stat(e->b, &e->ctx, token, NULL, &e->snap, &e->err);
}

static int remove_snapshot(struct env *e, const char *token)
{
	return backend_snapshot_remove(e->b, &e->ctx, token, NULL, &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

static int open_file(const char *dir, const char *name)
{
	struct err err;
	int dir_fd;
	int fd;

	ASSERT_OK(host_dir_open(dir, &dir_fd, &err), &err);
	ASSERT_OK(host_file_open_or_make(dir_fd, name, &fd, &err), &err);
	host_fd_close(dir_fd);
	return fd;
}

static void set_record(const char *token, const char *text)
{
	struct err err;
	int fd = open_file("/pool/.cleat/snapshots", token);

	ASSERT_OK(host_file_set_attr(fd, SNAPSHOT_ATTR, text, &err), &err);
	host_fd_close(fd);
}

static void get_record(const char *token, char text[RECORD_MAX])
{
	struct err err;
	int fd = open_file("/pool/.cleat/snapshots", token);

	ASSERT_OK(host_file_get_attr(fd, SNAPSHOT_ATTR, text, RECORD_MAX, &err), &err);
	host_fd_close(fd);
}

TEST(finds_its_snapshots_after_a_restart)
{
	char text[RECORD_MAX];
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	ASSERT_OK(take(&e, "s", 0), &e.err);
	registry_free(e.r);
	start(&e);
	ASSERT_EQ(info(&e).n_snapshots, 1);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_STR(e.snap.source, "v");
	get_record("s", text);
	ASSERT_TRUE(strstr(text, "\ncluster=c-1\n") != NULL);
	ASSERT_EQ(fake_host_n_files(), 1); /* of volumes */
	teardown(&e);
}

TEST(leaves_foreign_files_among_snapshots_alone)
{
	struct env e;
	int fd;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fd = open_file("/pool/.cleat/snapshots", "s");
	fake_host_add_dir("/pool/.cleat/snapshots/d");
	ASSERT_EQ(info(&e).n_snapshots, 0);
	ASSERT_EQ(info(&e).n_damaged_snapshots, 0);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "not cleat's");
	ASSERT_ERR(find(&e, "d"), &e.err, ERR_NOT_FOUND, "no regular file");
	ASSERT_ERR(take(&e, "s", 0), &e.err, ERR_FAILED_PRECONDITION, "/pool/.cleat/snapshots/s");
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err, ERR_NOT_FOUND,
		   "not cleat's");
	ASSERT_OK(remove_snapshot(&e, "s"), &e.err);
	ASSERT_OK(remove_snapshot(&e, "d"), &e.err);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "not cleat's");
	host_fd_close(fd);
	teardown(&e);
}

TEST(shows_damaged_snapshots_and_neither_serves_nor_deletes_them)
{
	static const struct {
		const char *record; /* NULL: only the name is wrong */
		const char *why;
	} cases[] = {
		{ "cleat snapshot 2\n", "version" },
		{ "cleat snapshot 1\nneeds=bricks\nname=s", "'bricks', which this cleat lacks" },
		{ NULL, "made for pool" },
	};
	char text[RECORD_MAX];
	struct env e;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setup(&e);
		ASSERT_OK(create(&e, "v"), &e.err);
		ASSERT_OK(take(&e, "s", 0), &e.err);
		get_record("s", text);
		if (!cases[i].record)
			memset(strstr(text, "pool=") + strlen("pool="), '0', 8);
		set_record("s", cases[i].record ? cases[i].record : text);
		ASSERT_OK(find(&e, "s"), &e.err);
		ASSERT_TRUE(e.snap.is_damaged && !e.snap.is_ready);
		ASSERT_TRUE(strstr(e.snap.damage, cases[i].why) != NULL);
		ASSERT_ERR(take(&e, "s", 0), &e.err, ERR_FAILED_PRECONDITION, cases[i].why);
		ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err,
			   ERR_FAILED_PRECONDITION, cases[i].why);
		ASSERT_ERR(remove_snapshot(&e, "s"), &e.err, ERR_FAILED_PRECONDITION, cases[i].why);
		registry_free(e.r);
		start(&e);
		ASSERT_EQ(info(&e).n_damaged_snapshots, 1);
		ASSERT_EQ(info(&e).n_snapshots, 0);
		ASSERT_EQ(info(&e).n_damaged, 0);
		teardown(&e);
	}
}

TEST(a_damaged_volume_gives_no_snapshot)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fake_host_set_size("v", MIB);
	ASSERT_ERR(take(&e, "s", 0), &e.err, ERR_DATA_LOSS, "1048576 bytes");
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v"), &e.err, ERR_FAILED_PRECONDITION,
		   "1048576 bytes");
	teardown(&e);
}

TEST(what_is_being_read_is_not_removed)
{
	struct env e;
	int fd;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	ASSERT_OK(take(&e, "s", 0), &e.err);
	fd = open_file("/pool/.cleat/snapshots", "s");
	ASSERT_OK(host_file_claim(fd, false, &e.err), &e.err);
	ASSERT_ERR(remove_snapshot(&e, "s"), &e.err, ERR_ABORTED, "being made of it");
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err);
	host_fd_close(fd);
	ASSERT_OK(remove_snapshot(&e, "s"), &e.err);
	fd = open_file("/pool", "v");
	ASSERT_OK(host_file_claim(fd, false, &e.err), &e.err);
	ASSERT_ERR(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err, ERR_ABORTED,
		   "being made of it");
	host_fd_close(fd);
	fd = open_file("/pool", "v");
	ASSERT_OK(host_file_claim(fd, true, &e.err), &e.err);
	ASSERT_ERR(take(&e, "s", 0), &e.err, ERR_ABORTED, "checked");
	host_fd_close(fd);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	teardown(&e);
}

TEST(refuses_a_file_of_more_extents_than_the_class_allows)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fake_host_set_n_extents("v", 20001);
	ASSERT_ERR(take(&e, "s", 20000), &e.err, ERR_FAILED_PRECONDITION,
		   "20001 extents, more than the 20000");
	ASSERT_TRUE(strstr(e.err.msg, "220 ms") != NULL);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_OK(take(&e, "s", 20001), &e.err);
	ASSERT_OK(take(&e, "t", 0), &e.err);
	teardown(&e);
}

/* Unwritten space is a hole in a snapshot, and allocated again in what is made of it. */
TEST(what_is_made_of_a_snapshot_is_thick)
{
	uint64_t before;
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fake_host_write("v", MIB, 2 * MIB);
	before = fake_host_used_bytes();
	ASSERT_OK(take(&e, "s", 0), &e.err);
	ASSERT_EQ(fake_host_used_bytes(), before);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err);
	ASSERT_EQ(fake_host_used_bytes(), before + 62 * MIB);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	teardown(&e);
}

TEST(keeps_the_uuid_of_the_filesystem_inside)
{
	const struct backend_spec v = {
		.name = "v", .token = "v", .bytes = 64 * MIB, .fs = "ext4"
	};
	const struct backend_spec c = { .name = "c",
					.token = "c",
					.bytes = 128 * MIB,
					.fs = "ext4",
					.source_kind = BACKEND_SOURCE_SNAPSHOT,
					.source = "s" };
	struct uuid of_v, of_c;
	struct env e;

	setup(&e);
	ASSERT_OK(make(&e, &v), &e.err);
	ASSERT_OK(take(&e, "s", 0), &e.err);
	ASSERT_OK(make(&e, &c), &e.err);
	ASSERT_STR(fake_host_fs_of("v", &of_v), "ext4");
	ASSERT_STR(fake_host_fs_of("c", &of_c), "ext4");
	ASSERT_EQ(memcmp(&of_v, &of_c, sizeof(of_v)), 0);
	teardown(&e);
}

/* After a growth that was killed the file is larger than the volume, and the filesystem inside may
 * be as large. */
TEST(a_snapshot_is_as_large_as_the_file)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fake_host_set_size("v", 80 * MIB);
	ASSERT_OK(take(&e, "s", 0), &e.err);
	ASSERT_EQ(e.snap.bytes, 80 * MIB);
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err, ERR_OUT_OF_RANGE,
		   "83886080");
	teardown(&e);
}

/* Nobody can ask for more than what the volume says that it has. */
TEST(a_clone_of_one_that_a_killed_growth_left_larger_is_so_too)
{
	struct backend_volume vol;
	uint64_t before;
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v"), &e.err);
	fake_host_set_size("v", 80 * MIB);
	fake_host_write("v", 79 * MIB, MIB);
	before = fake_host_used_bytes();
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v"), &e.err);
	ASSERT_OK(backend_stat(e.b, &e.ctx, "c", NULL, &vol, &e.err), &e.err);
	ASSERT_EQ(vol.bytes, 64 * MIB);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(fake_host_used_bytes(), before + 79 * MIB);
	teardown(&e);
}

static int take_frozen(struct env *e)
{
	const struct backend_snapshot_spec spec = {
		.name = "s", .token = "s", .source = "v", .options = { .freeze = true }
	};

	return backend_snapshot_create(e->b, &e->ctx, &spec, &e->snap, &e->err);
}

static void mount_ext4(struct env *e)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	struct backend_device dev;

	fake_host_add_dir("/mnt");
	ASSERT_OK(make(e,
		       &(struct backend_spec){
			       .name = "v", .token = "v", .bytes = 64 * MIB, .fs = "ext4" }),
		  &e->err);
	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &(struct backend_attach_options){ 0 }, &dev,
				 &e->err),
		  &e->err);
	ASSERT_OK(host_mount_device(&e->ctx, dev.path, "/mnt", &opts, &e->err), &e->err);
	ASSERT_OK(backend_settle(e->b, &e->ctx, "v", "/mnt", &e->err), &e->err);
}

static void umount_ext4(struct env *e)
{
	ASSERT_OK(host_mount_umount(&e->ctx, "/mnt", &e->err), &e->err);
}

TEST(leaves_nothing_frozen_and_nothing_half_made_whatever_fails)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		struct env e;
		int rc;

		setup(&e);
		mount_ext4(&e);
		fake_host_fail_at(n);
		rc = take_frozen(&e);
		is_reached = fake_host_failed();
		ASSERT_TRUE(is_reached || rc == 0);
		fake_host_fail_at(0);
		ASSERT_EQ(fake_host_n_frozen(), 0);
		ASSERT_EQ(fake_host_n_nameless(), 0);
		ASSERT_OK(take_frozen(&e), &e.err);
		ASSERT_EQ(fake_host_n_frozen(), 0);
		umount_ext4(&e);
		teardown(&e);
	}
}

static int take_copy(struct env *e, bool freeze)
{
	const struct backend_snapshot_spec spec = {
		.name = "s",
		.token = "s",
		.source = "v",
		.options = { .freeze = freeze, .max_extents = 20000, .copy_above = true },
	};

	return backend_snapshot_create(e->b, &e->ctx, &spec, &e->snap, &e->err);
}

static void create_fragmented(struct env *e)
{
	ASSERT_OK(create(e, "v"), &e->err);
	fake_host_write("v", MIB, 2 * MIB);
	fake_host_write("v", 10 * MIB, MIB);
	fake_host_set_n_extents("v", 20001);
}

TEST(copies_what_has_too_many_extents)
{
	uint64_t before;
	struct env e;

	setup(&e);
	create_fragmented(&e);
	before = fake_host_used_bytes();
	ASSERT_OK(take_copy(&e, false), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_EQ(fake_host_used_bytes(), before + 3 * MIB);
	ASSERT_EQ(info(&e).reserved_bytes, 0);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(info(&e).reserved_bytes, 3 * MIB); /* of the clone */
	teardown(&e);
}

TEST(leaves_nothing_of_a_copy_that_failed)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		uint64_t before;
		struct env e;
		int rc;

		setup(&e);
		create_fragmented(&e);
		before = info(&e).available_bytes;
		fake_host_fail_at(n);
		rc = take_copy(&e, false);
		is_reached = fake_host_failed();
		ASSERT_TRUE(is_reached || rc == 0);
		fake_host_fail_at(0);
		ASSERT_EQ(fake_host_n_nameless(), 0);
		if (find(&e, "s") < 0)
			ASSERT_EQ(info(&e).available_bytes, before);
		ASSERT_OK(take_copy(&e, false), &e.err);
		ASSERT_EQ(info(&e).available_bytes, before - 3 * MIB);
		teardown(&e);
	}
}

TEST(copies_only_what_is_kept_still)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;
	struct env e;
	int fd;

	setup(&e);
	create_fragmented(&e);
	ASSERT_OK(backend_attach(e.b, &e.ctx, "v", &opts, &dev, &e.err), &e.err);
	ASSERT_ERR(take_copy(&e, false), &e.err, ERR_FAILED_PRECONDITION, dev.path);
	ASSERT_ERR(take_copy(&e, true), &e.err, ERR_FAILED_PRECONDITION, "nothing can hold it");
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	fd = open_file("/pool", "v");
	ASSERT_OK(host_file_claim(fd, false, &e.err), &e.err); /* as who attaches it has */
	ASSERT_ERR(take_copy(&e, false), &e.err, ERR_ABORTED, "being attached");
	host_fd_close(fd);
	ASSERT_OK(take_copy(&e, false), &e.err);
	teardown(&e);
	setup(&e);
	mount_ext4(&e);
	fake_host_set_n_extents("v", 20001);
	ASSERT_ERR(take_copy(&e, false), &e.err, ERR_FAILED_PRECONDITION, "freezes it");
	ASSERT_OK(take_copy(&e, true), &e.err);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	umount_ext4(&e);
	teardown(&e);
}

TEST(a_filesystem_that_cannot_be_frozen_is_named)
{
	struct env e;

	setup(&e);
	mount_ext4(&e);
	fake_host_leave_frozen("/mnt");
	ASSERT_ERR(take_frozen(&e), &e.err, ERR_ABORTED, "'/mnt' cannot be frozen");
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	fake_host_thaw_all();
	ASSERT_OK(take(&e, "t", 0), &e.err);
	umount_ext4(&e);
	teardown(&e);
}

RUN_TESTS(UNIT(finds_its_snapshots_after_a_restart),
	  UNIT(leaves_foreign_files_among_snapshots_alone),
	  UNIT(shows_damaged_snapshots_and_neither_serves_nor_deletes_them),
	  UNIT(a_damaged_volume_gives_no_snapshot), UNIT(what_is_being_read_is_not_removed),
	  UNIT(refuses_a_file_of_more_extents_than_the_class_allows),
	  UNIT(what_is_made_of_a_snapshot_is_thick), UNIT(keeps_the_uuid_of_the_filesystem_inside),
	  UNIT(a_snapshot_is_as_large_as_the_file),
	  UNIT(a_clone_of_one_that_a_killed_growth_left_larger_is_so_too),
	  UNIT(leaves_nothing_frozen_and_nothing_half_made_whatever_fails),
	  UNIT(a_filesystem_that_cannot_be_frozen_is_named), UNIT(copies_what_has_too_many_extents),
	  UNIT(leaves_nothing_of_a_copy_that_failed), UNIT(copies_only_what_is_kept_still))
