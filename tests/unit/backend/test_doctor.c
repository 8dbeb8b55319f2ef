/* SPDX-License-Identifier: Apache-2.0 */
/* What is found in a pool that is not as it should be, and what of it is mended. On the fake host.
 */
#include "backend/pool/pool.h"
#include "backend/pool/record.h"
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host-internal.h"
#include "fake/host_freeze.h"
#include "host/fs.h"
#include "host/loopdev.h"
#include "host/mount.h"

#define N_CALLS_MAX 500

struct env {
	struct registry *r;
	struct ctx ctx;
	struct err err;
	struct pool_examined seen;
	size_t n[POOL_TROUBLES], n_mended[POOL_TROUBLES];
	char path[POOL_TROUBLES][128]; /* of the last one of the kind */
	char detail[POOL_TROUBLES][256];
	char failure[POOL_TROUBLES][128];
};

static void open_pool(struct env *e)
{
	const struct backend_config config = {
		.kind = "pool", .name = "one", .dir = "/pool", .reserve_bytes = 64 * MIB
	};

	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
}

static void close_pool(struct env *e)
{
	registry_free(e->r);
	e->r = registry_new();
}

static void create(struct env *e, const char *name, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = fs
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(registry_at(e->r, 0), &e->ctx, &spec, &vol, &e->err), &e->err);
}

/* A pool that was served: an ext4 volume "v" with the snapshot "s", and a raw one, "raw". */
static void setup(struct env *e)
{
	static const struct backend_snapshot_spec spec = { .name = "s",
							   .token = "s",
							   .source = "v" };
	struct backend_snapshot snap;

	memset(e, 0, sizeof(*e));
	fake_host_reset(4 * GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	open_pool(e);
	create(e, "v", "ext4");
	create(e, "raw", "");
	ASSERT_OK(backend_snapshot_create(registry_at(e->r, 0), &e->ctx, &spec, &snap, &e->err),
		  &e->err);
	close_pool(e);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
	fake_host_reset(0);
}

static void keep(void *arg, const struct pool_finding *f)
{
	struct env *e = arg;

	e->n[f->trouble]++;
	e->n_mended[f->trouble] += f->is_mended;
	(void)snprintf(e->path[f->trouble], sizeof(e->path[0]), "%s", f->path);
	(void)snprintf(e->detail[f->trouble], sizeof(e->detail[0]), "%s", f->detail);
	(void)snprintf(e->failure[f->trouble], sizeof(e->failure[0]), "%s", str_or(f->failure, ""));
}

static int try_examine(struct env *e, bool repair)
{
	const struct pool_doctor what = { .dir = "/pool", .repair = repair };

	memset(e->n, 0, sizeof(e->n));
	memset(e->n_mended, 0, sizeof(e->n_mended));
	memset(&e->seen, 0, sizeof(e->seen));
	return pool_examine(&e->ctx, &what, keep, e, &e->seen, &e->err);
}

/* Exactly one thing, of this kind. */
static void expect_one(struct env *e, bool repair, enum pool_trouble trouble, const char *path)
{
	ASSERT_OK(try_examine(e, repair), &e->err);
	ASSERT_EQ(e->seen.n_found, 1);
	ASSERT_EQ(e->n[trouble], 1);
	ASSERT_STR(e->path[trouble], path);
}

static void expect_nothing(struct env *e, bool repair)
{
	ASSERT_OK(try_examine(e, repair), &e->err);
	ASSERT_EQ(e->seen.n_found, 0);
}

static int open_meta(struct env *e, const char *folder)
{
	int folder_fd = -1;
	int meta = -1;
	int dir = -1;

	ASSERT_OK(host_dir_open("/pool", &dir, &e->err), &e->err);
	ASSERT_OK(host_dir_open_at(dir, ".cleat", &meta, &e->err), &e->err);
	host_fd_close(dir);
	if (!folder)
		return meta;
	ASSERT_OK(host_dir_make(meta, folder, &folder_fd, &e->err), &e->err);
	host_fd_close(meta);
	return folder_fd;
}

static void leave_file(struct env *e, const char *folder, const char *name)
{
	int dir = open_meta(e, folder);
	int fd = -1;

	ASSERT_OK(host_file_open_or_make(dir, name, &fd, &e->err), &e->err);
	host_fd_close(fd);
	host_fd_close(dir);
}

static struct backend_device attach(struct env *e, const char *token, bool hold)
{
	const struct backend_attach_options opts = { .hold = hold };
	struct backend_device dev;

	ASSERT_OK(backend_attach(registry_at(e->r, 0), &e->ctx, token, &opts, &dev, &e->err),
		  &e->err);
	return dev;
}

/* What a driver leaves that dies after it attached a raw volume. */
static void leave_device(struct env *e)
{
	open_pool(e);
	(void)attach(e, "raw", true);
	close_pool(e);
	ASSERT_EQ(fake_host_n_loops(), 1);
}

TEST(a_pool_that_is_well_has_nothing_whether_it_is_served_or_not)
{
	struct env e;

	setup(&e);
	expect_nothing(&e, false);
	ASSERT_FALSE(e.seen.is_served);
	expect_nothing(&e, true);
	open_pool(&e);
	(void)attach(&e, "v", false); /* on its way to its mount */
	expect_nothing(&e, false);
	ASSERT_TRUE(e.seen.is_served);
	expect_nothing(&e, true);
	teardown(&e);
}

TEST(what_is_no_pool_is_refused)
{
	struct env e;

	memset(&e, 0, sizeof(e));
	fake_host_reset(4 * GIB);
	ctx_init(&e.ctx, 0);
	e.r = registry_new();
	ASSERT_ERR(try_examine(&e, true), &e.err, ERR_NOT_FOUND, "'/pool' is no pool");
	ASSERT_EQ(fake_host_n_files(), 0);
	teardown(&e);
}

TEST(a_device_that_nothing_explains_goes_only_when_told_and_with_nobody_at_work)
{
	struct env e;

	setup(&e);
	leave_device(&e);
	expect_one(&e, false, POOL_TROUBLE_DEVICE, "/dev/loop0");
	ASSERT_STR(e.detail[POOL_TROUBLE_DEVICE], "over 'raw'");
	ASSERT_EQ(fake_host_n_loops(), 1);
	open_pool(&e);
	expect_one(&e, true, POOL_TROUBLE_DEVICE, "/dev/loop0");
	ASSERT_STR(e.failure[POOL_TROUBLE_DEVICE], "a driver serves the pool");
	ASSERT_EQ(fake_host_n_loops(), 1);
	close_pool(&e);
	expect_one(&e, true, POOL_TROUBLE_DEVICE, "/dev/loop0");
	ASSERT_EQ(e.n_mended[POOL_TROUBLE_DEVICE], 1);
	ASSERT_EQ(e.seen.n_left, 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	expect_nothing(&e, true);
	teardown(&e);
}

TEST(a_device_that_somebody_has_open_stays_and_that_is_said)
{
	struct env e;

	setup(&e);
	leave_device(&e);
	world.loops[0].n_users++;
	expect_one(&e, true, POOL_TROUBLE_DEVICE, "/dev/loop0");
	ASSERT_EQ(e.n_mended[POOL_TROUBLE_DEVICE], 0);
	ASSERT_EQ(e.seen.n_left, 1);
	assert_non_null(strstr(e.failure[POOL_TROUBLE_DEVICE], "has it open"));
	fake_loop_put(0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	teardown(&e);
}

TEST(a_device_of_a_staged_volume_is_as_it_should_be)
{
	struct env e;

	setup(&e);
	open_pool(&e);
	ASSERT_OK(backend_note_set(registry_at(e.r, 0), &e.ctx, "raw", "staged", &e.err), &e.err);
	(void)attach(&e, "raw", true);
	close_pool(&e);
	expect_nothing(&e, true);
	ASSERT_EQ(fake_host_n_loops(), 1);
	teardown(&e);
}

TEST(a_device_that_is_mounted_is_as_it_should_be_unless_it_lost_direct_io)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	struct backend_device dev;
	struct env e;

	setup(&e);
	fake_host_add_dir("/stage");
	open_pool(&e);
	dev = attach(&e, "v", false);
	ASSERT_OK(host_mount_device(&e.ctx, dev.path, "/stage", &opts, &e.err), &e.err);
	close_pool(&e);
	expect_nothing(&e, true);
	world.loops[0].is_direct = false;
	expect_one(&e, true, POOL_TROUBLE_BUFFERED, "/dev/loop0");
	ASSERT_EQ(e.seen.n_left, 1);
	ASSERT_EQ(fake_host_n_loops(), 1);
	ASSERT_OK(host_mount_umount(&e.ctx, "/stage", &e.err), &e.err);
	teardown(&e);
}

/* Bound as losetup does: no claim. */
TEST(a_persons_device_is_left_alone)
{
	const struct host_loop_options opts = { .allow_buffered = true };
	struct host_loop loop;
	int dir = -1;
	int hold = -1;
	int fd = -1;
	struct env e;

	setup(&e);
	ASSERT_OK(host_dir_open("/pool", &dir, &e.err), &e.err);
	ASSERT_OK(host_file_open(dir, "v", false, &fd, &e.err), &e.err);
	ASSERT_OK(host_loop_attach(&e.ctx, fd, &opts, &loop, &hold, &e.err), &e.err);
	ASSERT_OK(host_loop_keep(hold, &e.err), &e.err);
	host_fd_close(hold);
	host_fd_close(fd);
	host_fd_close(dir);
	expect_one(&e, true, POOL_TROUBLE_BY_HAND, "/dev/loop0");
	ASSERT_EQ(fake_host_n_loops(), 1);
	ASSERT_EQ(e.seen.n_left, 1);
	teardown(&e);
}

TEST(a_device_that_has_the_only_copy_of_its_bytes_is_never_let_go)
{
	struct env e;

	setup(&e);
	leave_device(&e);
	fake_host_unlink("raw");
	expect_one(&e, true, POOL_TROUBLE_UNLINKED, "/dev/loop0");
	ASSERT_EQ(e.seen.n_left, 1);
	ASSERT_EQ(fake_host_n_loops(), 1);
	teardown(&e);
}

TEST(what_is_not_cleats_is_named_and_left_alone)
{
	struct env e;

	setup(&e);
	fake_host_add_foreign("theirs");
	expect_one(&e, true, POOL_TROUBLE_FOREIGN, "/pool/theirs");
	fake_host_remove("theirs");
	leave_file(&e, "snapshots", "mine");
	expect_one(&e, true, POOL_TROUBLE_FOREIGN, "/pool/.cleat/snapshots/mine");
	leave_file(&e, NULL, "index");
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.seen.n_left, 2);
	ASSERT_STR(e.path[POOL_TROUBLE_UNKNOWN], "/pool/.cleat/index");
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.seen.n_left, 2);
	teardown(&e);
}

TEST(what_is_half_made_goes_when_told_and_is_none_while_a_driver_is_at_it)
{
	struct env e;

	setup(&e);
	open_pool(&e);
	leave_file(&e, "work", "copy-1");
	expect_nothing(&e, true);
	close_pool(&e);
	expect_one(&e, false, POOL_TROUBLE_HALF_MADE, "/pool/.cleat/work/copy-1");
	expect_one(&e, true, POOL_TROUBLE_HALF_MADE, "/pool/.cleat/work/copy-1");
	ASSERT_EQ(e.seen.n_left, 0);
	expect_nothing(&e, false);
	leave_file(&e, NULL, "pool.new");
	expect_one(&e, true, POOL_TROUBLE_HALF_MADE, "/pool/.cleat/pool.new");
	expect_nothing(&e, false);
	teardown(&e);
}

/* As removing it is killed after its first step, or a person does it. */
static void rename_group(struct env *e, const char *name, const char *new_name)
{
	int dir = open_meta(e, "groups");

	ASSERT_OK(host_file_rename(dir, name, new_name, &e->err), &e->err);
	ASSERT_OK(host_dir_sync(dir, &e->err), &e->err);
	host_fd_close(dir);
}

static void create_group(struct env *e)
{
	static const char *const sources[] = { "raw", "v" };
	static const struct backend_group_spec spec = {
		.name = "g", .token = "g", .sources = sources, .n_sources = 2
	};
	struct backend_group group;

	open_pool(e);
	ASSERT_OK(backend_group_create(registry_at(e->r, 0), &e->ctx, &spec, &group, &e->err),
		  &e->err);
	close_pool(e);
}

static void remove_a_member(struct env *e)
{
	int dir = open_meta(e, "groups");
	char text[1024], name[80];
	const char *at;
	int fd = -1;

	ASSERT_OK(host_file_open(dir, "g", true, &fd, &e->err), &e->err);
	ASSERT_OK(host_file_get_text(fd, text, sizeof(text), &e->err), &e->err);
	host_fd_close(fd);
	host_fd_close(dir);
	at = strstr(text, "member=");
	assert_non_null(at);
	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + 7, ","), at + 7);
	dir = open_meta(e, "snapshots");
	ASSERT_OK(host_file_unlink(dir, name, &e->err), &e->err);
	host_fd_close(dir);
}

TEST(half_of_a_group_goes_when_told)
{
	struct env e;

	setup(&e);
	create_group(&e);
	expect_nothing(&e, true);
	rename_group(&e, "g", ".g");
	expect_one(&e, false, POOL_TROUBLE_HALF_MADE, "/pool/.cleat/groups/.g");
	expect_one(&e, true, POOL_TROUBLE_HALF_MADE, "/pool/.cleat/groups/.g");
	ASSERT_EQ(e.seen.n_left, 0);
	expect_nothing(&e, false);
	teardown(&e);
}

TEST(a_group_that_lost_its_record_or_a_member_is_damaged)
{
	struct env e;

	setup(&e);
	create_group(&e);
	rename_group(&e, "g", "h");
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.n[POOL_TROUBLE_DAMAGED], 3); /* it was renamed, and two members have none */
	rename_group(&e, "h", "g");
	expect_nothing(&e, true);
	remove_a_member(&e);
	expect_one(&e, true, POOL_TROUBLE_DAMAGED, "/pool/.cleat/groups/g");
	assert_non_null(strstr(e.detail[POOL_TROUBLE_DAMAGED], "is gone"));
	teardown(&e);
}

#define FROZEN "v.0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e"

static void leave_frozen(struct env *e)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	struct backend_device dev;

	fake_host_add_dir("/stage");
	open_pool(e);
	dev = attach(e, "v", false);
	ASSERT_OK(host_mount_device(&e->ctx, dev.path, "/stage", &opts, &e->err), &e->err);
	close_pool(e);
	fake_host_leave_frozen("/stage");
	leave_file(e, "frozen", FROZEN);
}

TEST(what_was_left_frozen_is_thawed_when_told)
{
	struct env e;

	setup(&e);
	leave_frozen(&e);
	expect_one(&e, false, POOL_TROUBLE_FROZEN, "/pool/.cleat/frozen/" FROZEN);
	ASSERT_EQ(fake_host_n_frozen(), 1);
	expect_one(&e, true, POOL_TROUBLE_FROZEN, "/pool/.cleat/frozen/" FROZEN);
	ASSERT_EQ(e.seen.n_left, 0);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	expect_nothing(&e, false);
	leave_file(&e, "frozen", "v.notes");
	expect_one(&e, true, POOL_TROUBLE_UNKNOWN, "/pool/.cleat/frozen/v.notes");
	ASSERT_OK(host_mount_umount(&e.ctx, "/stage", &e.err), &e.err);
	teardown(&e);
}

TEST(a_template_that_is_spoilt_goes_when_told)
{
	struct env e;

	setup(&e);
	ASSERT_EQ(fake_host_n_templates(), 1);
	fake_host_spoil_templates();
	ASSERT_OK(try_examine(&e, false), &e.err);
	ASSERT_EQ(e.n[POOL_TROUBLE_TEMPLATE], 1);
	ASSERT_EQ(fake_host_n_templates(), 1);
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.n_mended[POOL_TROUBLE_TEMPLATE], 1);
	ASSERT_EQ(fake_host_n_templates(), 0);
	teardown(&e);
}

TEST(damage_is_told_by_what_can_be_done_about_it)
{
	char record[RECORD_MAX];
	char *pool;
	struct env e;

	setup(&e);
	fake_host_link("v", "rescue");
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.n[POOL_TROUBLE_LINKED], 2);
	fake_host_unlink("rescue");
	fake_host_set_size("v", 4096);
	expect_one(&e, true, POOL_TROUBLE_DAMAGED, "/pool/v");
	assert_non_null(strstr(e.detail[POOL_TROUBLE_DAMAGED], "4096 bytes"));
	fake_host_set_size("v", 64 * MIB);
	(void)snprintf(record, sizeof(record), "%s", fake_host_attr("v", RECORD_ATTR));
	fake_host_set_attr("v", RECORD_ATTR, "cleat 1\nneeds=wings\nname=v");
	expect_one(&e, true, POOL_TROUBLE_NEWER, "/pool/v");
	pool = strstr(record, "pool=");
	assert_non_null(pool);
	pool[5] = pool[5] == '0' ? '1' : '0';
	fake_host_set_attr("v", RECORD_ATTR, record);
	expect_one(&e, true, POOL_TROUBLE_OTHER_POOL, "/pool/v");
	ASSERT_TRUE(fake_host_has("v"));
	teardown(&e);
}

TEST(a_pool_that_is_not_where_it_was_is_told)
{
	struct env e;

	setup(&e);
	fake_host_copy_to_another_disk();
	expect_one(&e, true, POOL_TROUBLE_IDENTITY, "/pool");
	assert_non_null(strstr(e.detail[POOL_TROUBLE_IDENTITY], "adopt --moved"));
	leave_file(&e, "work", "copy-1");
	ASSERT_OK(try_examine(&e, true), &e.err);
	ASSERT_EQ(e.n_mended[POOL_TROUBLE_HALF_MADE], 0);
	assert_non_null(strstr(e.failure[POOL_TROUBLE_HALF_MADE], "the pool it was"));
	teardown(&e);
}

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

static void leave_all(struct env *e)
{
	create_group(e);
	leave_device(e);
	rename_group(e, "g", ".g");
	leave_file(e, "work", "copy-1");
	leave_file(e, "frozen", FROZEN);
	leave_file(e, NULL, "pool.new");
	fake_host_spoil_templates();
}

/* Whether call n was reached. */
static bool repair_in_trouble(struct env *e, enum trouble trouble, unsigned n)
{
	bool is_reached;
	int rc;

	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	rc = try_examine(e, true);
	is_reached = fake_host_failed();
	if (trouble == TROUBLE_FAIL && rc == 0 && e->seen.n_left == 0) {
		fake_host_fail_at(0);
		expect_nothing(e, false); /* what failed did no harm */
	}
	if (trouble == TROUBLE_KILL)
		fake_host_kill();
	else if (trouble == TROUBLE_POWER)
		fake_host_power_cut();
	fake_host_fail_at(0);
	return is_reached;
}

TEST(repair_is_whole_the_next_time_whatever_stopped_it)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		bool is_reached = true;

		for (unsigned n = 1; is_reached; n++) {
			struct backend_volume vol;
			struct env e;

			ASSERT_TRUE(n < N_CALLS_MAX);
			setup(&e);
			leave_all(&e);
			is_reached = repair_in_trouble(&e, (enum trouble)trouble, n);
			ASSERT_OK(try_examine(&e, true), &e.err);
			ASSERT_EQ(e.seen.n_left, 0);
			expect_nothing(&e, false);
			ASSERT_EQ(fake_host_n_loops(), 0);
			open_pool(&e);
			ASSERT_OK(
				backend_stat(registry_at(e.r, 0), &e.ctx, "v", NULL, &vol, &e.err),
				&e.err);
			teardown(&e);
		}
	}
}

RUN_TESTS(UNIT(a_pool_that_is_well_has_nothing_whether_it_is_served_or_not),
	  UNIT(what_is_no_pool_is_refused),
	  UNIT(a_device_that_nothing_explains_goes_only_when_told_and_with_nobody_at_work),
	  UNIT(a_device_that_somebody_has_open_stays_and_that_is_said),
	  UNIT(a_device_of_a_staged_volume_is_as_it_should_be),
	  UNIT(a_device_that_is_mounted_is_as_it_should_be_unless_it_lost_direct_io),
	  UNIT(a_persons_device_is_left_alone),
	  UNIT(a_device_that_has_the_only_copy_of_its_bytes_is_never_let_go),
	  UNIT(what_is_not_cleats_is_named_and_left_alone),
	  UNIT(what_is_half_made_goes_when_told_and_is_none_while_a_driver_is_at_it),
	  UNIT(half_of_a_group_goes_when_told),
	  UNIT(a_group_that_lost_its_record_or_a_member_is_damaged),
	  UNIT(what_was_left_frozen_is_thawed_when_told),
	  UNIT(a_template_that_is_spoilt_goes_when_told),
	  UNIT(damage_is_told_by_what_can_be_done_about_it),
	  UNIT(a_pool_that_is_not_where_it_was_is_told),
	  UNIT(repair_is_whole_the_next_time_whatever_stopped_it))
