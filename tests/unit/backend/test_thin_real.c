/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin volumes over real filesystems and loop devices: what happens when the pool is full, to them
 * and to the thick volume beside them, and what discard gives back. As root; contract_real.c makes
 * the place.
 */
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "check.h"
#include "contract.h"
#include "host/fs.h"
#include "host/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define THICK_BYTES (64 * MIB)
#define THIN_BYTES (1700 * MIB) /* more than any pool here has */
#define BLOCK ((size_t)4096)
#define PIECE ((size_t)MIB)
#define STRIDE 12289 /* blocks; has no divisor in common with their number */

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	char *buf;
};

static void setup(struct env *e)
{
	contract_open("pool", &e->r);
	e->b = registry_at(e->r, 0);
	ctx_init(&e->ctx, 0);
	ASSERT_EQ(posix_memalign((void **)&e->buf, BLOCK, PIECE), 0);
	memset(e->buf, 'x', PIECE);
}

/* While volumes are in use. */
static void restart(struct env *e)
{
	registry_free(e->r);
	contract_open("pool", &e->r);
	e->b = registry_at(e->r, 0);
}

static void teardown(struct env *e)
{
	free(e->buf);
	ctx_done(&e->ctx);
	contract_close(e->r);
}

static void create(struct env *e, const char *name, uint64_t bytes, const char *fs, bool is_thin)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = fs, .is_thin = is_thin
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

/* btrfs tells what was free at its last commit. */
static uint64_t pool_free(void)
{
	int fd = open(contract_pool_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statvfs vfs;

	ASSERT_TRUE(fd >= 0 && syncfs(fd) == 0);
	ASSERT_EQ(fstatvfs(fd, &vfs), 0);
	host_fd_close(fd);
	return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

/* A trim is over before the last of its discards is. */
static bool wait_until_free(uint64_t bytes)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };

	for (unsigned i = 0; i < 100 && pool_free() <= bytes; i++)
		(void)nanosleep(&pause, NULL);
	return pool_free() > bytes;
}

static struct backend_device attach(struct env *e, const char *token, bool hold)
{
	const struct backend_attach_options opts = { .hold = hold };
	struct backend_device dev;

	ASSERT_OK(backend_attach(e->b, &e->ctx, token, &opts, &dev, &e->err), &e->err);
	return dev;
}

static void detach(struct env *e, const char *token)
{
	ASSERT_OK(backend_detach(e->b, &e->ctx, token, &e->err), &e->err);
}

/* What the device's minor lets through of discards. */
static uint64_t discard_limit(const struct backend_device *dev)
{
	char path[80], text[24] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/queue/discard_max_bytes",
		       minor(dev->devno));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_TRUE(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	host_fd_close(fd);
	return strtoull(text, NULL, 10);
}

/* As somebody else might. */
static void turn_off_discard(const struct backend_device *dev)
{
	char path[80];
	int fd;

	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/queue/discard_max_bytes",
		       minor(dev->devno));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(write(fd, "0", 1), 1);
	host_fd_close(fd);
}

static void mount_volume(struct env *e, const char *token, const struct backend_device *dev,
			 const char *flag)
{
	const struct host_mount_options opts = { .fs = "xfs",
						 .flags = &flag,
						 .n_flags = flag ? 1 : 0 };

	ASSERT_OK(host_mount_device(&e->ctx, dev->path, contract_mount_dir(), &opts, &e->err),
		  &e->err);
	ASSERT_OK(backend_settle(e->b, &e->ctx, token, contract_mount_dir(), &e->err), &e->err);
}

static void umount_volume(struct env *e, const char *token)
{
	ASSERT_OK(host_mount_umount(&e->ctx, contract_mount_dir(), &e->err), &e->err);
	detach(e, token);
}

static int open_inside(const char *name, int flags)
{
	autofree char *path = path_join(contract_mount_dir(), name);

	return open(path, flags | O_CLOEXEC, 0600);
}

/* Past the page cache; 0 or the errno of the first write that failed. */
static int write_inside(struct env *e, const char *name, uint64_t bytes)
{
	int fd = open_inside(name, O_RDWR | O_CREAT | O_DIRECT);
	int errnum = 0;

	ASSERT_TRUE(fd >= 0);
	for (uint64_t at = 0; at < bytes && errnum == 0; at += PIECE) {
		ssize_t n = pwrite(fd, e->buf, PIECE, (off_t)at);

		errnum = n == (ssize_t)PIECE ? 0 : n < 0 ? errno : ENOSPC;
	}
	if (fsync(fd) < 0 && errnum == 0)
		errnum = errno;
	host_fd_close(fd);
	return errnum;
}

/* Emptied first, since the kernel frees the blocks of an unlinked file when it has the time. */
static void remove_inside(const char *name)
{
	autofree char *path = path_join(contract_mount_dir(), name);
	int fd = open_inside(name, O_RDWR);

	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(ftruncate(fd, 0), 0);
	ASSERT_EQ(unlink(path), 0);
	ASSERT_EQ(syncfs(fd), 0);
	host_fd_close(fd);
}

/* 0 or errno. */
static int trim(void)
{
	struct fstrim_range range = { .len = UINT64_MAX };
	int fd = open_inside(".", O_RDONLY | O_DIRECTORY);
	int errnum;

	ASSERT_TRUE(fd >= 0);
	errnum = ioctl(fd, FITRIM, &range) < 0 ? errno : 0;
	host_fd_close(fd);
	return errnum;
}

/* All blocks of the raw device once, far from one another. */
static int write_all(struct env *e, const struct backend_device *dev)
{
	uint64_t n = THICK_BYTES / BLOCK;
	int fd = open(dev->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	int errnum = 0;

	ASSERT_TRUE(fd >= 0);
	for (uint64_t i = 0; i < n && errnum == 0; i++) {
		if (pwrite(fd, e->buf, BLOCK, (off_t)(i * STRIDE % n * BLOCK)) != (ssize_t)BLOCK)
			errnum = errno;
	}
	if (fsync(fd) < 0 && errnum == 0)
		errnum = errno;
	host_fd_close(fd);
	return errnum;
}

/* A thin volume fills the pool, past what is kept for metadata, as nothing can stop it. */
static struct backend_device fill_pool(struct env *e, bool has_discard)
{
	struct backend_device dev;
	int errnum;

	create(e, "thin", THIN_BYTES, "xfs", true);
	ASSERT_TRUE(pool_free() > 900 * MIB);
	dev = attach(e, "thin", false);
	ASSERT_TRUE(discard_limit(&dev) > 0);
	if (!has_discard)
		turn_off_discard(&dev);
	mount_volume(e, "thin", &dev, NULL);
	ASSERT_EQ(write_inside(e, "keep", 16 * MIB), 0);
	errnum = write_inside(e, "fill", THIN_BYTES);
	ASSERT_TRUE(errnum == ENOSPC || errnum == EIO);
	ASSERT_TRUE(pool_free() < 16 * MIB);
	return dev;
}

static void assert_full(struct env *e)
{
	const struct backend_spec spec = {
		.name = "no", .token = "no", .bytes = 300 * MIB, .fs = "xfs", .is_thin = true
	};
	struct backend_volume vol;
	struct backend_info now = info(e);

	ASSERT_EQ(now.available_bytes, 0);
	ASSERT_EQ(now.thin.max_bytes, 0);
	ASSERT_TRUE(now.overdrawn_bytes > 80 * MIB);
	ASSERT_ERR(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err,
		   ERR_RESOURCE_EXHAUSTED, "100 % full");
}

TEST(a_full_pool_stops_thin_volumes_and_no_thick_one)
{
	struct backend_device thick, thin;
	struct env e;
	uint64_t before;

	setup(&e);
	create(&e, "thick", THICK_BYTES, "", false);
	thick = attach(&e, "thick", true);
	thin = fill_pool(&e, true);
	assert_full(&e);
	/* the first write of each block, and one more */
	ASSERT_EQ(write_all(&e, &thick), 0);
	ASSERT_EQ(write_all(&e, &thick), 0);
	/* a pool without a byte is served as any other */
	restart(&e);
	assert_full(&e);
	/* what is deleted inside and discarded is there again for all */
	before = pool_free();
	remove_inside("fill");
	ASSERT_EQ(trim(), 0);
	ASSERT_TRUE(wait_until_free(before + 700 * MIB));
	ASSERT_EQ(info(&e).overdrawn_bytes, 0);
	ASSERT_TRUE(info(&e).thin.max_bytes > 300 * MIB);
	ASSERT_EQ(write_inside(&e, "again", 200 * MIB), 0);
	umount_volume(&e, "thin");
	/* and the filesystem is well */
	thin = attach(&e, "thin", false);
	mount_volume(&e, "thin", &thin, NULL);
	ASSERT_EQ(write_inside(&e, "keep", 16 * MIB), 0);
	umount_volume(&e, "thin");
	detach(&e, "thick");
	teardown(&e);
}

TEST(without_discard_nothing_is_given_back)
{
	struct backend_device dev;
	struct env e;
	uint64_t before;

	setup(&e);
	dev = fill_pool(&e, false);
	before = pool_free();
	remove_inside("fill");
	ASSERT_EQ(trim(), EOPNOTSUPP);
	ASSERT_TRUE(pool_free() < before + 16 * MIB);
	assert_full(&e);
	umount_volume(&e, "thin");
	/* what somebody did to that minor is not inherited by the next attach */
	dev = attach(&e, "thin", false);
	ASSERT_TRUE(discard_limit(&dev) > 0);
	mount_volume(&e, "thin", &dev, NULL);
	ASSERT_EQ(trim(), 0);
	ASSERT_TRUE(wait_until_free(before + 700 * MIB));
	umount_volume(&e, "thin");
	teardown(&e);
}

TEST(discard_is_on_for_thin_and_off_for_thick_whoever_had_the_minor)
{
	struct backend_device dev;
	struct env e;

	setup(&e);
	create(&e, "thick", THICK_BYTES, "", false);
	create(&e, "thin", THIN_BYTES, "xfs", true);
	for (unsigned i = 0; i < 3; i++) {
		dev = attach(&e, "thick", true);
		ASSERT_EQ(discard_limit(&dev), 0);
		detach(&e, "thick");
		dev = attach(&e, "thin", true);
		ASSERT_TRUE(discard_limit(&dev) >= GIB);
		detach(&e, "thin");
	}
	teardown(&e);
}

/* Mounted with the option, a volume gives back what is deleted without being told. A snapshot keeps
 * what it has. */
TEST(the_mount_option_gives_back_what_no_snapshot_has)
{
	const struct backend_snapshot_spec spec = {
		.name = "s",
		.token = "s",
		.source = "thin",
		.options = { .freeze = !contract_pool_can_clone() }
	};
	struct backend_snapshot snap;
	struct backend_device dev;
	struct env e;
	uint64_t before;

	setup(&e);
	create(&e, "thin", THIN_BYTES, "xfs", true);
	dev = attach(&e, "thin", false);
	mount_volume(&e, "thin", &dev, "discard");
	before = pool_free();
	ASSERT_EQ(write_inside(&e, "a", 200 * MIB), 0);
	ASSERT_TRUE(pool_free() < before - 190 * MIB);
	remove_inside("a");
	umount_volume(&e, "thin"); /* which waits for the discards */
	ASSERT_TRUE(wait_until_free(before - 16 * MIB));
	dev = attach(&e, "thin", false);
	mount_volume(&e, "thin", &dev, "discard");
	ASSERT_EQ(write_inside(&e, "a", 200 * MIB), 0);
	ASSERT_OK(backend_snapshot_create(e.b, &e.ctx, &spec, &snap, &e.err), &e.err);
	remove_inside("a");
	umount_volume(&e, "thin");
	ASSERT_TRUE(pool_free() < before - 190 * MIB);
	ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "s", NULL, &e.err), &e.err);
	ASSERT_TRUE(wait_until_free(before - 16 * MIB));
	teardown(&e);
}

TEST(the_mount_option_takes_no_block_of_a_thick_volume)
{
	struct backend_device dev;
	struct env e;
	uint64_t before;

	setup(&e);
	create(&e, "thick", 400 * MIB, "xfs", false);
	before = pool_free();
	dev = attach(&e, "thick", false);
	mount_volume(&e, "thick", &dev, "discard");
	ASSERT_EQ(write_inside(&e, "a", 200 * MIB), 0);
	remove_inside("a");
	ASSERT_EQ(trim(), EOPNOTSUPP);
	umount_volume(&e, "thick");
	ASSERT_TRUE(pool_free() < before + 4 * MIB);
	teardown(&e);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_full_pool_stops_thin_volumes_and_no_thick_one),
		UNIT(without_discard_nothing_is_given_back),
		UNIT(discard_is_on_for_thin_and_off_for_thick_whoever_had_the_minor),
		UNIT(the_mount_option_gives_back_what_no_snapshot_has),
		UNIT(the_mount_option_takes_no_block_of_a_thick_volume),
	};
	int rc;

	if (contract_was_guard(argc, argv))
		return 0;
	rc = contract_setup();
	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("thin", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
