/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is special about pools: which directories can be one, what else may lie in them, damage,
 * thickness, templates, images. On the fake host.
 */
#include "backend/pool/record.h"
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "host/fs.h"
#include "host/mount.h"
#include "volume/id.h"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_volume vol;
};

static void setup(struct env *e, uint64_t pool_bytes)
{
	fake_host_reset(pool_bytes);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	e->b = NULL;
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
	fake_host_reset(0);
}

static int open_pool(struct env *e, const char *name, const char *dir, uint64_t reserve)
{
	const struct backend_config config = {
		.kind = "pool", .name = name, .dir = dir, .reserve_bytes = reserve
	};
	int rc = registry_open(e->r, &e->ctx, &config, &e->err);

	if (rc == 0)
		e->b = registry_at(e->r, registry_count(e->r) - 1);
	return rc;
}

static int open_image(struct env *e, const char *image, const char *dir, uint64_t bytes)
{
	const struct backend_config config = {
		.kind = "pool", .name = "try", .image = image, .dir = dir, .image_bytes = bytes
	};
	int rc = registry_open(e->r, &e->ctx, &config, &e->err);

	if (rc == 0)
		e->b = registry_at(e->r, registry_count(e->r) - 1);
	return rc;
}

static int create(struct env *e, const char *name, uint64_t bytes, const char *fs)
{
	const struct backend_spec spec = { .name = name, .token = name, .bytes = bytes, .fs = fs };

	return backend_create(e->b, &e->ctx, &spec, &e->vol, &e->err);
}

static int stat_volume(struct env *e, const char *token)
{
	return backend_stat(e->b, &e->ctx, token, NULL, &e->vol, &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

TEST(says_what_is_wrong_with_a_directory_and_how_to_make_a_right_one)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_ERR(open_pool(&e, "p", "/nowhere", 0), &e.err, ERR_FAILED_PRECONDITION, "/nowhere");
	fake_host_set_fs("tmpfs", false, false);
	ASSERT_ERR(open_pool(&e, "p", "/pool", 0), &e.err, ERR_FAILED_PRECONDITION,
		   "'/pool' lies on tmpfs; a pool is on XFS with reflink, or on btrfs, or on ext4");
	ASSERT_TRUE(strstr(e.err.msg, "mkfs.xfs -m reflink=1") != NULL);
	fake_host_set_fs("xfs", false, false);
	ASSERT_ERR(open_pool(&e, "p", "/pool", 0), &e.err, ERR_FAILED_PRECONDITION,
		   "without reflink");
	fake_host_set_fs("xfs", true, true);
	ASSERT_ERR(open_pool(&e, "p", "/pool", 0), &e.err, ERR_FAILED_PRECONDITION, "read-only");
	ASSERT_EQ(fake_host_n_files(), 0);
	teardown(&e);
}

TEST(refuses_names_that_cannot_be_a_pool)
{
	static const char *const bad[] = { "A", "a_b", "-a", "a-", "a.b", "ä" };
	struct env e;

	setup(&e, GIB);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ASSERT_ERR(open_pool(&e, bad[i], "/pool", 0), &e.err, ERR_INVALID_ARGUMENT, bad[i]);
	ASSERT_OK(open_pool(&e, "", "/pool", 0), &e.err);
	ASSERT_STR(e.b->pool_name, "default");
	ASSERT_ERR(open_pool(&e, "default", "/pool", 0), &e.err, ERR_ALREADY_EXISTS,
		   "same filesystem as pool 'default'");
	teardown(&e);
}

TEST(is_opened_by_one_living_process_only)
{
	struct env e;
	struct env other;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	other = e;
	other.r = registry_new();
	ASSERT_ERR(open_pool(&other, "p", "/pool", 0), &other.err, ERR_FAILED_PRECONDITION,
		   "in use by another cleat");
	registry_free(other.r);
	teardown(&e);
}

TEST(takes_one_directory_of_a_filesystem)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	fake_host_add_dir("/pool/sub");
	ASSERT_ERR(open_pool(&e, "q", "/pool/sub", 0), &e.err, ERR_ALREADY_EXISTS, "as pool 'p'");
	ASSERT_EQ(fake_host_n_files(), 1);
	ASSERT_EQ(registry_count(e.r), 1);
	teardown(&e);
}

TEST(leaves_foreign_files_alone)
{
	struct env e;

	setup(&e, GIB);
	fake_host_add_foreign("backup.tar");
	fake_host_add_dir("/pool/lost+found");
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_EQ(info(&e).n_volumes, 0);
	ASSERT_ERR(stat_volume(&e, "backup.tar"), &e.err, ERR_NOT_FOUND, "not cleat's");
	ASSERT_ERR(create(&e, "backup.tar", MIB, ""), &e.err, ERR_FAILED_PRECONDITION,
		   "/pool/backup.tar");
	ASSERT_OK(backend_remove(e.b, &e.ctx, "backup.tar", NULL, &e.err), &e.err);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "lost+found", NULL, &e.err), &e.err);
	ASSERT_TRUE(fake_host_has("backup.tar"));
	teardown(&e);
}

static void assert_damaged(struct env *e, const char *token, const char *why)
{
	const struct backend_attach_options opts = { 0 };
	struct backend_device dev;

	ASSERT_OK(stat_volume(e, token), &e->err);
	ASSERT_TRUE(e->vol.is_damaged);
	ASSERT_TRUE(strstr(e->vol.damage, why) != NULL);
	ASSERT_ERR(backend_attach(e->b, &e->ctx, token, &opts, &dev, &e->err), &e->err,
		   ERR_DATA_LOSS, why);
	ASSERT_ERR(backend_remove(e->b, &e->ctx, token, NULL, &e->err), &e->err,
		   ERR_FAILED_PRECONDITION, why);
	ASSERT_ERR(create(e, token, 4 * MIB, ""), &e->err, ERR_FAILED_PRECONDITION, why);
	ASSERT_TRUE(fake_host_has(token));
}

TEST(lists_damaged_volumes_and_neither_serves_nor_deletes_them)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 4 * MIB, ""), &e.err);
	ASSERT_OK(create(&e, "b", 4 * MIB, ""), &e.err);
	ASSERT_OK(create(&e, "c", 4 * MIB, ""), &e.err);
	ASSERT_OK(create(&e, "good", 4 * MIB, ""), &e.err);
	fake_host_set_attr("a", RECORD_ATTR, "cleat 9\n");
	fake_host_set_size("b", 3 * MIB);
	fake_host_set_size("good", 5 * MIB); /* killed in mid-growth: whole */
	fake_host_rename("c", "d");
	assert_damaged(&e, "a", "version");
	assert_damaged(&e, "b", "3145728");
	assert_damaged(&e, "d", "renamed from 'c'");
	ASSERT_EQ(info(&e).n_damaged, 3);
	ASSERT_EQ(info(&e).n_volumes, 1);
	teardown(&e);
}

TEST(a_grown_volume_is_as_large_as_its_state_says)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 4 * MIB, ""), &e.err);
	fake_host_set_attr("a", STATE_ATTR, "cleat state 1\nbytes=8388608\n");
	assert_damaged(&e, "a", "its record says 8388608");
	fake_host_set_size("a", 8 * MIB);
	ASSERT_OK(stat_volume(&e, "a"), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	ASSERT_EQ(e.vol.bytes, 8 * MIB);
	fake_host_set_attr("a", STATE_ATTR, "cleat state 1\nneeds=keys\n");
	assert_damaged(&e, "a", "'keys', which this cleat lacks");
	teardown(&e);
}

TEST(a_file_with_two_names_is_damaged_until_one_is_left)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 4 * MIB, ""), &e.err);
	fake_host_link("a", ".rescue");
	assert_damaged(&e, "a", "2 names (hard links)");
	ASSERT_EQ(info(&e).n_damaged, 1);
	ASSERT_TRUE(fake_host_used_bytes() >= 4 * MIB);
	fake_host_unlink(".rescue");
	ASSERT_EQ(info(&e).n_damaged, 0);
	ASSERT_OK(stat_volume(&e, "a"), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "a", NULL, &e.err), &e.err);
	ASSERT_FALSE(fake_host_has("a"));
	teardown(&e);
}

TEST(does_not_empty_a_file_that_was_linked_in_the_last_moment)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 4 * MIB, ""), &e.err);
	fake_host_link_before_unlink(".rescue");
	ASSERT_OK(backend_remove(e.b, &e.ctx, "a", NULL, &e.err), &e.err);
	ASSERT_FALSE(fake_host_has("a"));
	ASSERT_TRUE(fake_host_has(".rescue"));
	ASSERT_TRUE(fake_host_used_bytes() >= 4 * MIB);
	teardown(&e);
}

TEST(finds_its_volumes_after_a_restart)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 64 * MIB, "ext4"), &e.err);
	registry_free(e.r);
	e.r = registry_new();
	ASSERT_OK(open_pool(&e, "renamed", "/pool", 0), &e.err);
	ASSERT_EQ(info(&e).n_volumes, 1);
	ASSERT_OK(stat_volume(&e, "a"), &e.err);
	ASSERT_STR(e.vol.fs, "ext4");
	teardown(&e);
}

/* What is looked for by making a file is looked for where one can be made. */
TEST(is_opened_without_an_inode_for_one_more_file)
{
	static const char *const media[] = { "xfs", "btrfs", "ext4" };

	for (size_t i = 0; i < ARRAY_LEN(media); i++) {
		struct env e;

		setup(&e, GIB);
		fake_host_set_fs(media[i], i < 2, false);
		ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
		ASSERT_OK(create(&e, "a", 64 * MIB, "ext4"), &e.err);
		registry_free(e.r);
		e.r = registry_new();
		fake_host_take_inodes(true);
		ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
		ASSERT_OK(stat_volume(&e, "a"), &e.err);
		teardown(&e);
	}
}

TEST(sees_that_a_person_removed_a_file)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", MIB, ""), &e.err);
	ASSERT_EQ(info(&e).n_volumes, 1);
	fake_host_rename("a", ".gone");
	ASSERT_EQ(info(&e).n_volumes, 0);
	teardown(&e);
}

TEST(gives_each_filesystem_its_own_identity_and_all_of_its_blocks)
{
	struct uuid a, b, c;
	struct env e;

	setup(&e, 2 * GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 64 * MIB, "ext4"), &e.err);
	ASSERT_OK(create(&e, "b", 64 * MIB, "ext4"), &e.err);
	ASSERT_OK(create(&e, "c", 320 * MIB, "xfs"), &e.err);
	ASSERT_STR(fake_host_fs_of("a", &a), "ext4");
	ASSERT_STR(fake_host_fs_of("b", &b), "ext4");
	ASSERT_STR(fake_host_fs_of("c", &c), "xfs");
	ASSERT_TRUE(memcmp(&a, &b, sizeof(a)) != 0 && memcmp(&a, &c, sizeof(a)) != 0);
	ASSERT_TRUE(fake_host_used_bytes() >= 448 * MIB);
	teardown(&e);
}

TEST(keeps_few_templates)
{
	struct env e;

	setup(&e, 8 * GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	for (unsigned i = 0; i < 40; i++) {
		ASSERT_OK(create(&e, "v", (64 + i) * MIB, "ext4"), &e.err);
		ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	}
	ASSERT_EQ(fake_host_n_templates(), 16);
	teardown(&e);
}

TEST(makes_a_spoilt_template_anew)
{
	struct uuid a, b;
	struct env e;

	setup(&e, 2 * GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "a", 64 * MIB, "ext4"), &e.err);
	fake_host_spoil_templates();
	ASSERT_OK(create(&e, "b", 64 * MIB, "ext4"), &e.err);
	ASSERT_STR(fake_host_fs_of("b", &b), "ext4");
	ASSERT_OK(create(&e, "c", 64 * MIB, "ext4"), &e.err);
	ASSERT_STR(fake_host_fs_of("a", &a), "ext4");
	ASSERT_TRUE(memcmp(&a, &b, sizeof(a)) != 0);
	ASSERT_EQ(fake_host_n_templates(), 1);
	teardown(&e);
}

TEST(keeps_a_reserve)
{
	struct env e;
	uint64_t available;

	setup(&e, 100 * GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_EQ(info(&e).available_bytes, 95 * GIB);
	teardown(&e);
	setup(&e, 10 * GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_EQ(info(&e).available_bytes, 9 * GIB);
	teardown(&e);
	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	available = info(&e).available_bytes;
	ASSERT_EQ(available, 768 * MIB);
	ASSERT_EQ(info(&e).max_volume_bytes, available);
	ASSERT_OK(create(&e, "all", available, ""), &e.err);
	ASSERT_EQ(info(&e).available_bytes, 0);
	ASSERT_ERR(create(&e, "more", MIB, ""), &e.err, ERR_RESOURCE_EXHAUSTED, "1Mi do not fit");
	teardown(&e);
}

static void see_available(void *arg)
{
	struct env *e = arg;

	ASSERT_EQ(info(e).available_bytes, 768 * MIB - 320 * MIB);
}

TEST(counts_a_volume_once_while_mkfs_runs)
{
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_EQ(info(&e).available_bytes, 768 * MIB);
	fake_host_at_mkfs(see_available, &e);
	ASSERT_OK(create(&e, "a", 320 * MIB, "xfs"), &e.err);
	ASSERT_EQ(info(&e).available_bytes, 768 * MIB - 320 * MIB);
	teardown(&e);
}

TEST(refuses_a_device_without_direct_io_unless_the_volume_allows_it)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_spec spec = {
		.name = "soft", .token = "soft", .bytes = MIB, .fs = "", .allow_buffered = true
	};
	struct backend_device dev;
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	ASSERT_OK(create(&e, "hard", MIB, ""), &e.err);
	ASSERT_OK(backend_create(e.b, &e.ctx, &spec, &e.vol, &e.err), &e.err);
	fake_host_set_direct(false);
	ASSERT_ERR(backend_attach(e.b, &e.ctx, "hard", &opts, &dev, &e.err), &e.err,
		   ERR_FAILED_PRECONDITION, "direct");
	ASSERT_EQ(fake_host_n_loops(), 0);
	ASSERT_OK(backend_attach(e.b, &e.ctx, "soft", &opts, &dev, &e.err), &e.err);
	ASSERT_FALSE(dev.is_direct);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "soft", &e.err), &e.err);
	teardown(&e);
}

TEST(is_unavailable_when_its_filesystem_became_read_only)
{
	struct backend_info now;
	struct env e;

	setup(&e, GIB);
	ASSERT_OK(open_pool(&e, "p", "/pool", 0), &e.err);
	fake_host_set_fs("xfs", true, true);
	ASSERT_ERR(backend_info(e.b, &e.ctx, &now, &e.err), &e.err, ERR_UNAVAILABLE, "read-only");
	ASSERT_ERR(create(&e, "a", MIB, ""), &e.err, ERR_UNAVAILABLE, "/pool");
	teardown(&e);
}

TEST(makes_an_image_once_and_finds_it_again)
{
	struct host_mount_at at;
	struct uuid identity;
	struct env e;

	setup(&e, GIB);
	fake_host_add_dir("/data");
	ASSERT_ERR(open_image(&e, "/data/pool.img", NULL, 0), &e.err, ERR_FAILED_PRECONDITION,
		   "--pool-size");
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 2 * GIB), &e.err);
	identity = e.b->identity;
	ASSERT_OK(host_mount_look("/run/cleat/pools/try", &at, &e.err), &e.err);
	ASSERT_TRUE(at.is_mount_root);
	ASSERT_OK(create(&e, "a", 64 * MIB, "ext4"), &e.err);
	registry_free(e.r);
	ASSERT_EQ(fake_host_n_mounts(), 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	e.r = registry_new();
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 0), &e.err);
	ASSERT_TRUE(memcmp(&identity, &e.b->identity, sizeof(identity)) == 0);
	ASSERT_OK(stat_volume(&e, "a"), &e.err);
	teardown(&e);
}

TEST(reuses_the_mount_of_an_image_whose_process_was_killed)
{
	struct env e;

	setup(&e, GIB);
	fake_host_add_dir("/data");
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 2 * GIB), &e.err);
	fake_host_fail_from(1);
	(void)create(&e, "a", MIB, "");
	registry_free(e.r);
	fake_host_kill();
	ASSERT_EQ(fake_host_n_mounts(), 1);
	e.r = registry_new();
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 2 * GIB), &e.err);
	ASSERT_EQ(fake_host_n_mounts(), 1);
	ASSERT_EQ(fake_host_n_loops(), 1);
	teardown(&e);
}

TEST(leaves_an_image_mounted_whose_volumes_are_in_use)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;
	struct env e;

	setup(&e, GIB);
	fake_host_add_dir("/data");
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 2 * GIB), &e.err);
	ASSERT_OK(create(&e, "a", MIB, ""), &e.err);
	ASSERT_OK(backend_attach(e.b, &e.ctx, "a", &opts, &dev, &e.err), &e.err);
	registry_free(e.r);
	ASSERT_EQ(fake_host_n_mounts(), 1);
	e.r = registry_new();
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, 2 * GIB), &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "a", &e.err), &e.err);
	registry_free(e.r);
	ASSERT_EQ(fake_host_n_mounts(), 0);
	e.r = registry_new();
	teardown(&e);
}

TEST(refuses_an_image_that_is_not_its_own_and_a_place_that_is_taken)
{
	struct env e;

	setup(&e, GIB);
	fake_host_add_foreign("disk.img");
	fake_host_add_dir("/data/used/by-someone");
	ASSERT_ERR(open_image(&e, "/pool/disk.img", NULL, GIB), &e.err, ERR_FAILED_PRECONDITION,
		   "left as it is");
	ASSERT_ERR(open_image(&e, "/data/used", NULL, GIB), &e.err, ERR_FAILED_PRECONDITION,
		   "/data/used");
	ASSERT_ERR(open_image(&e, "/data/p.img", "/data/used", GIB), &e.err,
		   ERR_FAILED_PRECONDITION, "not empty");
	ASSERT_ERR(open_image(&e, "/data/q.img", NULL, MIB), &e.err, ERR_FAILED_PRECONDITION,
		   "512Mi");
	ASSERT_EQ(fake_host_n_loops(), 0);
	teardown(&e);
}

TEST(mounts_an_image_once_even_if_it_is_asked_for_twice)
{
	const struct backend_config again = {
		.kind = "pool", .name = "again", .image = "/data/pool.img", .image_bytes = GIB
	};
	struct env e;

	setup(&e, GIB);
	fake_host_add_dir("/data");
	ASSERT_OK(open_image(&e, "/data/pool.img", NULL, GIB), &e.err);
	ASSERT_ERR(registry_open(e.r, &e.ctx, &again, &e.err), &e.err, ERR_ALREADY_EXISTS,
		   "as pool 'try'");
	ASSERT_EQ(fake_host_n_mounts(), 1);
	teardown(&e);
}

RUN_TESTS(UNIT(says_what_is_wrong_with_a_directory_and_how_to_make_a_right_one),
	  UNIT(refuses_names_that_cannot_be_a_pool), UNIT(is_opened_by_one_living_process_only),
	  UNIT(takes_one_directory_of_a_filesystem), UNIT(leaves_foreign_files_alone),
	  UNIT(lists_damaged_volumes_and_neither_serves_nor_deletes_them),
	  UNIT(a_grown_volume_is_as_large_as_its_state_says),
	  UNIT(a_file_with_two_names_is_damaged_until_one_is_left),
	  UNIT(does_not_empty_a_file_that_was_linked_in_the_last_moment),
	  UNIT(finds_its_volumes_after_a_restart),
	  UNIT(is_opened_without_an_inode_for_one_more_file),
	  UNIT(sees_that_a_person_removed_a_file),
	  UNIT(gives_each_filesystem_its_own_identity_and_all_of_its_blocks),
	  UNIT(keeps_few_templates), UNIT(makes_a_spoilt_template_anew), UNIT(keeps_a_reserve),
	  UNIT(counts_a_volume_once_while_mkfs_runs),
	  UNIT(refuses_a_device_without_direct_io_unless_the_volume_allows_it),
	  UNIT(is_unavailable_when_its_filesystem_became_read_only),
	  UNIT(makes_an_image_once_and_finds_it_again),
	  UNIT(reuses_the_mount_of_an_image_whose_process_was_killed),
	  UNIT(leaves_an_image_mounted_whose_volumes_are_in_use),
	  UNIT(refuses_an_image_that_is_not_its_own_and_a_place_that_is_taken),
	  UNIT(mounts_an_image_once_even_if_it_is_asked_for_twice))
