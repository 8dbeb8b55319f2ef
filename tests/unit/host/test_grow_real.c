/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and filesystems that grow, as root; this program is the guard as well, as cleat is.
 * Online growth of ext4 is tested where the process has CAP_SYS_RESOURCE, and its refusal where it
 * has not. */
#include "base/num.h"
#include "disk.h"
#include "host/blockdev.h"
#include "host/caps.h"
#include "host/condition.h"
#include "host/freeze.h"
#include "host/grow.h"
#include "host/repair.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#define XFS_BYTES (320 * MIB)
#define XFS_AG_BYTES (80 * MIB)

static uint64_t device_bytes(const struct disk *d)
{
	uint64_t bytes = 0;

	ASSERT_EQ(ioctl(d->hold, BLKGETSIZE64, &bytes), 0);
	return bytes;
}

static uint64_t fs_bytes(struct disk *d)
{
	struct host_fs fs;

	ASSERT_OK(host_fs_look(d->root, &fs, &d->err), &d->err);
	return fs.total_bytes;
}

static bool device_is_smaller(struct disk *d, const char *fs)
{
	bool is_smaller;

	ASSERT_OK(host_fs_device_is_smaller(d->loop.path, fs, &is_smaller, &d->err), &d->err);
	return is_smaller;
}

static bool mount_is_smaller(struct disk *d, const char *fs)
{
	bool is_smaller;

	ASSERT_OK(host_fs_mount_is_smaller(d->point, fs, &is_smaller, &d->err), &d->err);
	return is_smaller;
}

static int set_capacity(struct disk *d, uint64_t inode, uint64_t bytes)
{
	return host_loop_set_capacity(&d->loop, d->file.device, inode, bytes, &d->err);
}

/* The file, and the device over it. */
static void lengthen(struct disk *d, uint64_t bytes)
{
	ASSERT_OK(host_file_resize(d->fd, bytes, &d->err), &d->err);
	ASSERT_OK(set_capacity(d, d->file.inode, bytes), &d->err);
	ASSERT_EQ(device_bytes(d), bytes);
}

static void grow(struct disk *d, const char *fs)
{
	ASSERT_OK(host_fs_grow_mounted(&d->ctx, d->point, fs, &d->err), &d->err);
	ASSERT_FALSE(mount_is_smaller(d, fs));
}

TEST(a_device_gets_the_size_of_its_file)
{
	struct host_loop gone;
	struct disk d;

	if (!disk_make(&d, "ext4", 64 * MIB))
		skip();
	ASSERT_OK(host_file_resize(d.fd, 128 * MIB, &d.err), &d.err);
	ASSERT_EQ(device_bytes(&d), 64 * MIB);
	ASSERT_ERR(set_capacity(&d, d.file.inode + 1, 128 * MIB), &d.err, ERR_NOT_FOUND,
		   "not over this file");
	ASSERT_EQ(device_bytes(&d), 64 * MIB);
	ASSERT_OK(set_capacity(&d, d.file.inode, 128 * MIB), &d.err);
	ASSERT_EQ(device_bytes(&d), 128 * MIB);
	ASSERT_OK(set_capacity(&d, d.file.inode, 128 * MIB), &d.err);
	ASSERT_OK(set_capacity(&d, d.file.inode, 64 * MIB), &d.err);
	ASSERT_EQ(device_bytes(&d), 128 * MIB);
	ASSERT_ERR(set_capacity(&d, d.file.inode, 129 * MIB), &d.err, ERR_FAILED_PRECONDITION,
		   "its file is smaller");
	gone = d.loop;
	host_fd_close(d.hold);
	d.hold = -1;
	ASSERT_ERR(host_loop_set_capacity(&gone, d.file.device, d.file.inode, MIB, &d.err), &d.err,
		   ERR_NOT_FOUND, "");
	disk_done(&d);
}

TEST(xfs_grows_in_use)
{
	struct disk d;

	if (!disk_open(&d, "xfs", XFS_BYTES))
		skip();
	ASSERT_FALSE(device_is_smaller(&d, "xfs") || mount_is_smaller(&d, "xfs"));
	grow(&d, "xfs");
	lengthen(&d, GIB);
	ASSERT_TRUE(device_is_smaller(&d, "xfs") && mount_is_smaller(&d, "xfs"));
	grow(&d, "xfs");
	ASSERT_TRUE(fs_bytes(&d) > 900 * MIB);
	grow(&d, "xfs");
	disk_umount(&d);
	ASSERT_FALSE(device_is_smaller(&d, "xfs"));
	disk_mount(&d, "xfs");
	ASSERT_TRUE(fs_bytes(&d) > 900 * MIB);
	disk_done(&d);
}

static bool copies_lag(struct disk *d)
{
	bool lag;

	ASSERT_OK(host_xfs_copies_lag(d->loop.path, &lag, &d->err), &d->err);
	return lag;
}

/* The copies of these groups as they were before the growth from 4 groups to 13. */
static void take_back(struct disk *d, unsigned first, unsigned last)
{
	const char *const repair[] = { "xfs_repair", "-n", HOST_SPAWN_FD_PATH, NULL };
	enum host_verdict verdict;
	uint8_t copy[512];

	ASSERT_EQ(pread(d->fd, copy, sizeof(copy), XFS_AG_BYTES), sizeof(copy));
	disk_mount(d, "xfs");
	lengthen(d, GIB);
	grow(d, "xfs");
	disk_umount(d);
	ASSERT_FALSE(copies_lag(d));
	ASSERT_OK(disk_run(d, "xfsprogs", repair), &d->err);
	for (unsigned i = first; i <= last; i++)
		ASSERT_EQ(pwrite(d->fd, copy, sizeof(copy), (off_t)(i * XFS_AG_BYTES)),
			  sizeof(copy));
	ASSERT_OK(host_block_flush(d->loop.path, &d->err), &d->err);
	ASSERT_TRUE(copies_lag(d));
	ASSERT_ERR(disk_run(d, "xfsprogs", repair), &d->err, ERR_INTERNAL, "xfs_repair");
	ASSERT_OK(host_fs_check(&d->ctx, d->fd, "xfs", true, NULL, &verdict, &d->err), &d->err);
	ASSERT_EQ(verdict, HOST_FS_HALF_GROWN);
	ASSERT_FALSE(device_is_smaller(d, "xfs"));
	disk_mount(d, "xfs");
	ASSERT_FALSE(mount_is_smaller(d, "xfs"));
	grow(d, "xfs");
	disk_umount(d);
	ASSERT_FALSE(copies_lag(d));
	ASSERT_OK(disk_run(d, "xfsprogs", repair), &d->err);
}

TEST(an_xfs_whose_growth_was_cut_off_tells_it_everywhere_in_the_end)
{
	struct disk d;

	for (unsigned first = 1; first <= 12; first += 11) {
		if (!disk_make(&d, "xfs", XFS_BYTES))
			skip();
		take_back(&d, first, 12);
		disk_done(&d);
	}
}

TEST(copies_of_a_superblock_are_left_to_who_writes)
{
	const struct host_mount_options opts = { .fs = "xfs", .read_only = true };
	uint8_t copy[512];
	struct disk d;

	if (!disk_make(&d, "xfs", XFS_BYTES))
		skip();
	ASSERT_EQ(pread(d.fd, copy, sizeof(copy), XFS_AG_BYTES), sizeof(copy));
	copy[14]--; /* of its number of blocks */
	ASSERT_EQ(pwrite(d.fd, copy, sizeof(copy), XFS_AG_BYTES), sizeof(copy));
	ASSERT_TRUE(copies_lag(&d));
	ASSERT_OK(host_mount_device(&d.ctx, d.loop.path, d.point, &opts, &d.err), &d.err);
	ASSERT_OK(host_fs_grow_mounted(&d.ctx, d.point, "xfs", &d.err), &d.err);
	ASSERT_OK(host_mount_umount(&d.ctx, d.point, &d.err), &d.err);
	ASSERT_TRUE(copies_lag(&d));
	/* what is no superblock was not left by a growth */
	copy[0] = 'Y';
	ASSERT_EQ(pwrite(d.fd, copy, sizeof(copy), XFS_AG_BYTES), sizeof(copy));
	ASSERT_OK(host_block_flush(d.loop.path, &d.err), &d.err);
	ASSERT_FALSE(copies_lag(&d));
	disk_done(&d);
}

static bool growth_is_in_log(struct disk *d)
{
	bool is_in_log;

	ASSERT_OK(host_xfs_growth_is_in_log(d->point, &is_in_log, &d->err), &d->err);
	return is_in_log;
}

/* Which is what a power cut, or a copy of the device, needs. */
TEST(the_superblock_on_the_disk_follows_when_an_xfs_is_frozen)
{
	struct host_freeze *freeze;
	struct disk d;

	if (!disk_open(&d, "xfs", XFS_BYTES))
		skip();
	ASSERT_FALSE(growth_is_in_log(&d));
	lengthen(&d, GIB);
	grow(&d, "xfs");
	ASSERT_TRUE(growth_is_in_log(&d));
	ASSERT_OK(host_fs_sync(d.root, &d.err), &d.err);
	ASSERT_TRUE(growth_is_in_log(&d));
	ASSERT_OK(host_freeze_begin(&d.ctx, &freeze, &d.root, 1, 60 * NS_PER_S, &d.err), &d.err);
	ASSERT_OK(host_freeze_end(freeze, &d.err), &d.err);
	ASSERT_FALSE(growth_is_in_log(&d));
	ASSERT_FALSE(device_is_smaller(&d, "xfs"));
	disk_done(&d);
}

/* The rule of super.c is the kernel's. */
TEST(xfs_that_cannot_use_the_rest_is_not_smaller)
{
	uint64_t whole = 4 * XFS_AG_BYTES;
	struct disk d;
	uint64_t before;

	if (!disk_open(&d, "xfs", XFS_BYTES))
		skip();
	before = fs_bytes(&d);
	lengthen(&d, whole + 63 * 4096);
	ASSERT_FALSE(mount_is_smaller(&d, "xfs") || device_is_smaller(&d, "xfs"));
	grow(&d, "xfs");
	ASSERT_EQ(fs_bytes(&d), before);
	lengthen(&d, whole + 64 * 4096);
	ASSERT_TRUE(mount_is_smaller(&d, "xfs"));
	grow(&d, "xfs");
	ASSERT_TRUE(fs_bytes(&d) > before);
	/* that group is longer now, be it by a block */
	before = fs_bytes(&d);
	lengthen(&d, whole + 65 * 4096);
	ASSERT_TRUE(mount_is_smaller(&d, "xfs"));
	grow(&d, "xfs");
	ASSERT_TRUE(fs_bytes(&d) > before);
	lengthen(&d, whole + XFS_AG_BYTES + 10 * 4096);
	grow(&d, "xfs");
	disk_umount(&d);
	ASSERT_FALSE(device_is_smaller(&d, "xfs"));
	disk_mount(&d, "xfs");
	disk_done(&d);
}

TEST(what_is_read_only_or_of_another_kind_does_not_grow)
{
	const struct host_mount_options opts = { .fs = "xfs", .read_only = true };
	bool is_smaller;
	struct disk d;

	if (!disk_make(&d, "xfs", XFS_BYTES))
		skip();
	lengthen(&d, 2 * XFS_BYTES);
	ASSERT_OK(host_mount_device(&d.ctx, d.loop.path, d.point, &opts, &d.err), &d.err);
	ASSERT_ERR(host_fs_grow_mounted(&d.ctx, d.point, "xfs", &d.err), &d.err,
		   ERR_FAILED_PRECONDITION, "Read-only");
	ASSERT_ERR(host_fs_grow_mounted(&d.ctx, d.point, "ext4", &d.err), &d.err,
		   ERR_FAILED_PRECONDITION, "no ext4");
	ASSERT_ERR(host_fs_grow_mounted(&d.ctx, d.point, "btrfs", &d.err), &d.err,
		   ERR_FAILED_PRECONDITION, "btrfs");
	ASSERT_ERR(host_fs_mount_is_smaller("/var/tmp/absent", "xfs", &is_smaller, &d.err), &d.err,
		   ERR_NOT_FOUND, "absent");
	ASSERT_OK(host_mount_umount(&d.ctx, d.point, &d.err), &d.err);
	disk_done(&d);
}

static int check(struct disk *d)
{
	const char *const e2fsck[] = { "e2fsck", "-f", "-n", HOST_SPAWN_FD_PATH, NULL };

	return disk_run(d, "e2fsprogs", e2fsck);
}

TEST(ext4_grows_in_use_or_says_what_is_missing)
{
	const struct host_cap_need need = { CAP_SYS_RESOURCE, "to grow" };
	struct disk d;
	bool can;

	if (!disk_open(&d, "ext4", 64 * MIB))
		skip();
	can = host_caps_check(&need, 1, &d.err) == 0;
	ASSERT_FALSE(mount_is_smaller(&d, "ext4"));
	grow(&d, "ext4");
	lengthen(&d, 700 * MIB);
	ASSERT_TRUE(mount_is_smaller(&d, "ext4") && device_is_smaller(&d, "ext4"));
	if (can) {
		grow(&d, "ext4");
		ASSERT_TRUE(fs_bytes(&d) > 600 * MIB);
		/* group 6 has no copies: 2 bitmaps, 1024 blocks of inodes, 50 more */
		lengthen(&d, 768 * MIB + 1075 * 4096);
		grow(&d, "ext4");
		lengthen(&d, 768 * MIB + 1076 * 4096);
		ASSERT_TRUE(mount_is_smaller(&d, "ext4"));
		grow(&d, "ext4");
		disk_umount(&d);
		ASSERT_OK(check(&d), &d.err);
		disk_mount(&d, "ext4");
	} else {
		ASSERT_ERR(host_fs_grow_mounted(&d.ctx, d.point, "ext4", &d.err), &d.err,
			   ERR_PERMISSION_DENIED, "CAP_SYS_RESOURCE");
		print_message("SKIPPED: ext4 in use: this process lacks CAP_SYS_RESOURCE\n");
	}
	disk_done(&d);
}

static void write_file(struct disk *d, char byte)
{
	autofree char *bytes = xmalloc(MIB);
	int fd;

	memset(bytes, byte, MIB);
	ASSERT_OK(host_file_open_or_make(d->root, "f", &fd, &d->err), &d->err);
	ASSERT_EQ(pwrite(fd, bytes, MIB, 0), MIB);
	host_fd_close(fd);
}

static void assert_file(struct disk *d, char byte)
{
	autofree char *bytes = xmalloc(MIB);
	int fd;

	ASSERT_OK(host_file_open(d->root, "f", true, &fd, &d->err), &d->err);
	ASSERT_EQ(pread(fd, bytes, MIB, 0), MIB);
	for (size_t i = 0; i < MIB; i++)
		ASSERT_EQ(bytes[i], byte);
	host_fd_close(fd);
}

static void grow_offline(struct disk *d)
{
	ASSERT_OK(host_ext4_grow_offline(&d->ctx, d->loop.path, &d->err), &d->err);
	ASSERT_FALSE(device_is_smaller(d, "ext4"));
}

TEST(ext4_grows_while_it_is_not_mounted)
{
	struct disk d;

	if (!disk_open(&d, "ext4", 64 * MIB))
		skip();
	write_file(&d, 'a');
	lengthen(&d, 700 * MIB);
	ASSERT_ERR(host_ext4_grow_offline(&d.ctx, d.loop.path, &d.err), &d.err,
		   ERR_FAILED_PRECONDITION, "e2fsck");
	disk_umount(&d);
	ASSERT_TRUE(device_is_smaller(&d, "ext4"));
	grow_offline(&d);
	ASSERT_OK(check(&d), &d.err);
	grow_offline(&d);
	disk_mount(&d, "ext4");
	ASSERT_TRUE(fs_bytes(&d) > 600 * MIB);
	assert_file(&d, 'a');
	disk_done(&d);
}

/* Rests of a group around the length that is of use: what the rule says is what resize2fs does. */
TEST(ext4_that_cannot_use_the_rest_is_not_smaller)
{
	static const struct {
		uint64_t groups;
		uint64_t rest;
	} ends[] = {
		{ 2, 1 },   { 2, 300 }, { 2, 563 }, { 2, 564 }, { 2, 565 },
		{ 3, 600 }, { 3, 800 }, { 3, 900 }, { 4, 0 },   { 5, 564 },
	};
	struct host_super super;
	uint8_t head[HOST_SUPER_BYTES];
	uint64_t usable;
	struct disk d;

	if (!disk_make(&d, "ext4", 256 * MIB))
		skip();
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		lengthen(&d, (ends[i].groups * 32768 + ends[i].rest) * 4096);
		ASSERT_EQ(pread(d.fd, head, sizeof(head), 0), sizeof(head));
		ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
		usable = host_super_usable_blocks(&super, device_bytes(&d));
		ASSERT_EQ(device_is_smaller(&d, "ext4"), usable > super.n_blocks);
		grow_offline(&d);
		ASSERT_OK(host_block_flush(d.loop.path, &d.err), &d.err);
		ASSERT_EQ(pread(d.fd, head, sizeof(head), 0), sizeof(head));
		ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
		ASSERT_EQ(super.n_blocks, usable);
	}
	disk_done(&d);
}

/* Killed at ever later moments, until it is quicker than that. */
TEST(ext4_grows_in_the_end_however_often_it_is_killed)
{
	unsigned n_killed = 0;
	struct disk d;

	if (!disk_open(&d, "ext4", 32 * MIB))
		skip();
	write_file(&d, 'k');
	disk_umount(&d);
	for (uint64_t step = 1; step <= 50; step++) {
		struct ctx ctx;
		bool is_done;

		lengthen(&d, (32 + step * 100) * MIB);
		ctx_init(&ctx, (int64_t)step * NS_PER_MS / 3);
		is_done = host_ext4_grow_offline(&ctx, d.loop.path, &d.err) == 0;
		ctx_done(&ctx);
		if (!is_done)
			ASSERT_EQ(d.err.code, ERR_DEADLINE_EXCEEDED);
		n_killed += !is_done;
		grow_offline(&d);
		ASSERT_OK(check(&d), &d.err);
	}
	ASSERT_TRUE(n_killed > 0);
	disk_mount(&d, "ext4");
	assert_file(&d, 'k');
	disk_done(&d);
}

/* Cancels so long after resize2fs has begun to write, which the superblock says. */
struct killer {
	int fd;
	int64_t after_ns;
	struct ctx ctx;
	atomic_bool is_over;
};

static void *kill_at_work(void *arg)
{
	struct killer *k = arg;
	uint8_t state = 0;
	int64_t begun_ns;

	while (!(state & 2) && !atomic_load(&k->is_over))
		(void)!pread(k->fd, &state, 1, 1024 + 0x3a);
	begun_ns = clock_now_ns();
	while (clock_now_ns() - begun_ns < k->after_ns && !atomic_load(&k->is_over))
		;
	ctx_cancel(&k->ctx);
	return NULL;
}

static void resize_and_kill(struct disk *d, int64_t after_ns)
{
	static const char *const argv[] = { "resize2fs", HOST_SPAWN_FD_PATH, NULL };
	const struct host_spawn spawn = { .tool = argv[0],
					  .package = "e2fsprogs",
					  .argv = argv,
					  .pass_fd = d->fd,
					  .timeout_ns = 60 * NS_PER_S };
	struct killer killer = { .fd = d->fd, .after_ns = after_ns };
	pthread_t thread;

	ctx_init(&killer.ctx, 0);
	ASSERT_EQ(pthread_create(&thread, NULL, kill_at_work, &killer), 0);
	(void)host_spawn(&killer.ctx, &spawn, &d->err);
	atomic_store(&killer.is_over, true);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	ctx_done(&killer.ctx);
}

/* Many times at work, of which e2fsck -p would leave many to a person. */
TEST(ext4_that_was_cut_short_at_work_is_mended)
{
	static const char *const e2fsck[] = { "e2fsck", "-f", "-p", HOST_SPAWN_FD_PATH, NULL };
	unsigned n_half_grown = 0;
	struct disk d;

	if (!disk_open(&d, "ext4", 32 * MIB))
		skip();
	write_file(&d, 'h');
	disk_umount(&d);
	for (uint64_t step = 0; step < 60; step++) {
		bool is_half_grown = false;

		lengthen(&d, (152 + step * 120) * MIB);
		ASSERT_OK(disk_run(&d, "e2fsprogs", e2fsck), &d.err);
		resize_and_kill(&d, (int64_t)(step % 20) * NS_PER_MS / 4);
		ASSERT_OK(host_block_flush(d.loop.path, &d.err), &d.err);
		ASSERT_OK(host_ext4_is_half_grown(d.loop.path, &is_half_grown, &d.err), &d.err);
		n_half_grown += is_half_grown;
		grow_offline(&d);
		ASSERT_OK(check(&d), &d.err);
	}
	print_message("%u of 60 were half grown\n", n_half_grown);
	ASSERT_TRUE(n_half_grown > 0);
	disk_mount(&d, "ext4");
	assert_file(&d, 'h');
	disk_done(&d);
}

TEST(ext4_whose_blocks_would_move_is_left_alone)
{
	bool is_in_place = true;
	struct disk d;

	if (!disk_open(&d, "ext4", 32 * MIB))
		skip();
	write_file(&d, 'm');
	disk_umount(&d);
	lengthen(&d, 32 * GIB); /* 16 times as large at least */
	ASSERT_OK(host_ext4_grows_in_place(d.loop.path, &is_in_place, &d.err), &d.err);
	ASSERT_TRUE(is_in_place);
	lengthen(&d, 33 * GIB);
	ASSERT_OK(host_ext4_grows_in_place(d.loop.path, &is_in_place, &d.err), &d.err);
	ASSERT_FALSE(is_in_place);
	ASSERT_ERR(host_ext4_grow_offline(&d.ctx, d.loop.path, &d.err), &d.err,
		   ERR_FAILED_PRECONDITION, "only while it is mounted");
	ASSERT_OK(check(&d), &d.err);
	disk_mount(&d, "ext4");
	assert_file(&d, 'm');
	disk_done(&d);
}

TEST(an_ext4_beyond_mending_is_left_to_a_person)
{
	const char *const debugfs[] = {
		"debugfs", "-w", "-R", "clri <2>", HOST_SPAWN_FD_PATH, NULL
	};
	struct disk d;

	if (!disk_make(&d, "ext4", 64 * MIB))
		skip();
	lengthen(&d, 128 * MIB);
	ASSERT_OK(disk_run(&d, "e2fsprogs", debugfs), &d.err);
	ASSERT_OK(host_block_flush(d.loop.path, &d.err), &d.err);
	ASSERT_ERR(host_ext4_grow_offline(&d.ctx, d.loop.path, &d.err), &d.err, ERR_DATA_LOSS,
		   "a person");
	ASSERT_TRUE(device_is_smaller(&d, "ext4"));
	disk_done(&d);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_device_gets_the_size_of_its_file),
		UNIT(xfs_grows_in_use),
		UNIT(an_xfs_whose_growth_was_cut_off_tells_it_everywhere_in_the_end),
		UNIT(copies_of_a_superblock_are_left_to_who_writes),
		UNIT(the_superblock_on_the_disk_follows_when_an_xfs_is_frozen),
		UNIT(xfs_that_cannot_use_the_rest_is_not_smaller),
		UNIT(what_is_read_only_or_of_another_kind_does_not_grow),
		UNIT(ext4_grows_in_use_or_says_what_is_missing),
		UNIT(ext4_grows_while_it_is_not_mounted),
		UNIT(ext4_that_cannot_use_the_rest_is_not_smaller),
		UNIT(ext4_grows_in_the_end_however_often_it_is_killed),
		UNIT(ext4_that_was_cut_short_at_work_is_mended),
		UNIT(ext4_whose_blocks_would_move_is_left_alone),
		UNIT(an_ext4_beyond_mending_is_left_to_a_person),
	};
	const char *missing;
	int rc;

	if (argc == 2 && str_is_equal(argv[1], HOST_FREEZE_GUARD))
		return host_freeze_guard();
	missing = disk_enter();
	if (missing) {
		print_message("SKIPPED: growing of real filesystems needs %s\n", missing);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
