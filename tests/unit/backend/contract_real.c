/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract on this machine: real XFS in an image file, real loop devices, mkfs and mounts. In a
 * mount namespace of its own, so that whatever happens to this process, its mounts go with it, and
 * its AUTOCLEAR devices with them. With CLEAT_POOL_FS (btrfs, ext4) the pool is on that instead.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "check.h"
#include "host/freeze.h"
#include "host/fs.h"
#include "host/loopdev.h"
#include "host/mount.h"
#include "host/spawn.h"

static char base_dir[64];
static char pool_dir[80];
static char mount_dir[80];
static char other_mount_dir[80];
static char image[80];

static int skip_all(const char *why)
{
	(void)fprintf(stderr, "SKIPPED: the contract on the real host needs %s\n", why);
	return 77;
}

static int can_run(const char *tool)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/usr/sbin/%s", tool);
	if (access(path, X_OK) == 0)
		return 1;
	(void)snprintf(path, sizeof(path), "/sbin/%s", tool);
	return access(path, X_OK) == 0;
}

static const char *pool_fs(void)
{
	const char *fs = getenv("CLEAT_POOL_FS");

	return fs ? fs : "xfs";
}

int contract_setup(void)
{
	if (geteuid() != 0)
		return skip_all("root");
	if (access("/dev/loop-control", R_OK | W_OK) != 0)
		return skip_all("loop devices (/dev/loop-control)");
	if (!can_run("mkfs.xfs") || !can_run("mkfs.ext4"))
		return skip_all("mkfs.xfs and mkfs.ext4");
	if (strcmp(pool_fs(), "btrfs") == 0 && !can_run("mkfs.btrfs"))
		return skip_all("mkfs.btrfs");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return skip_all("a mount namespace (CAP_SYS_ADMIN)");
	(void)snprintf(base_dir, sizeof(base_dir), "/var/tmp/cleat-contract-XXXXXX");
	if (!mkdtemp(base_dir))
		return skip_all("a directory below /var/tmp");
	(void)snprintf(pool_dir, sizeof(pool_dir), "%s/pool", base_dir);
	(void)snprintf(mount_dir, sizeof(mount_dir), "%s/mnt", base_dir);
	(void)snprintf(other_mount_dir, sizeof(other_mount_dir), "%s/mnt2", base_dir);
	(void)snprintf(image, sizeof(image), "%s/pool.img", base_dir);
	return mkdir(pool_dir, 0700) == 0 && mkdir(mount_dir, 0700) == 0 &&
			       mkdir(other_mount_dir, 0700) == 0
		       ? 0
		       : skip_all("a directory below /var/tmp");
}

void contract_teardown(void)
{
	/* mounts that a failed test left would go with the namespace, the directories would not */
	while (umount2(mount_dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	while (umount2(other_mount_dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	while (umount2(pool_dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	(void)unlink(image);
	(void)rmdir(mount_dir);
	(void)rmdir(other_mount_dir);
	(void)rmdir(pool_dir);
	(void)rmdir(base_dir);
}

bool contract_pool_can_clone(void)
{
	return strcmp(pool_fs(), "ext4") != 0;
}

/* As an administrator would, with a device that goes with the mount. */
static void mount_pool(uint64_t bytes)
{
	struct host_mount_at at;
	const struct host_loop_options opts = { .allow_buffered = true };
	const char *tool = strcmp(pool_fs(), "ext4") == 0 ? "mkfs.ext4" : "mkfs.btrfs";
	const char *const argv[] = { tool, "-q", strcmp(tool, "mkfs.ext4") == 0 ? "-F" : "-f",
				     image, NULL };
	struct host_loop loop;
	struct ctx ctx;
	struct err err;
	int hold_fd;
	int fd;

	ASSERT_OK(host_mount_look(pool_dir, &at, &err), &err);
	if (at.is_mount_root) /* a restart of cleat does not unmount it */
		return;
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	ctx_init(&ctx, 0);
	ASSERT_OK(host_spawn(&ctx,
			     &(struct host_spawn){ .tool = tool,
						   .package = "its package",
						   .argv = argv,
						   .pass_fd = -1,
						   .timeout_ns = 60 * NS_PER_S },
			     &err),
		  &err);
	ASSERT_OK(host_loop_attach(&ctx, fd, &opts, &loop, &hold_fd, &err), &err);
	ASSERT_EQ(mount(loop.path, pool_dir, pool_fs(), 0, NULL), 0);
	host_fd_close(hold_fd);
	host_fd_close(fd);
	ctx_done(&ctx);
}

bool contract_was_guard(int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], HOST_FREEZE_GUARD) != 0)
		return false;
	(void)host_freeze_guard();
	return true;
}

void contract_open(const char *kind, struct registry **ret_registry)
{
	struct backend_config config = {
		.kind = kind,
		.dir = pool_dir,
		.image = image,
		.image_bytes = 1400 * MIB,
		.mem_bytes = 1200 * MIB,
		.reserve_bytes = 100 * MIB,
	};
	struct ctx ctx;
	struct err err;

	if (strcmp(kind, "pool") == 0 && strcmp(pool_fs(), "xfs") != 0) {
		/* btrfs writes its metadata twice */
		mount_pool(config.image_bytes + (strcmp(pool_fs(), "btrfs") == 0 ? 256 * MIB : 0));
		config.image = NULL;
		config.image_bytes = 0;
	}
	ctx_init(&ctx, 0);
	*ret_registry = registry_new();
	ASSERT_OK(registry_open(*ret_registry, &ctx, &config, &err), &err);
	ctx_done(&ctx);
}

void contract_close(struct registry *r)
{
	struct host_mount_at at;
	struct host_loop loop;
	struct stat st;
	struct err err;

	registry_free(r);
	if (strcmp(pool_fs(), "xfs") != 0)
		(void)umount2(pool_dir, UMOUNT_NOFOLLOW);
	ASSERT_OK(host_mount_look(pool_dir, &at, &err), &err);
	ASSERT_FALSE(at.is_mount_root);
	ASSERT_OK(host_mount_look(mount_dir, &at, &err), &err);
	ASSERT_FALSE(at.is_mount_root);
	ASSERT_OK(host_mount_look(other_mount_dir, &at, &err), &err);
	ASSERT_FALSE(at.is_mount_root);
	if (stat(image, &st) == 0) {
		ASSERT_EQ(host_loop_find(&(struct host_loop_file){ .fd = -1,
								   .device = st.st_dev,
								   .inode = st.st_ino,
								   .bytes = (uint64_t)st.st_size,
								   .name = "pool.img" },
					 &loop, NULL, &err),
			  0);
		ASSERT_EQ(unlink(image), 0);
	}
}

const char *contract_mount_dir(void)
{
	return mount_dir;
}

const char *contract_other_mount_dir(void)
{
	return other_mount_dir;
}

const char *contract_pool_dir(void)
{
	return pool_dir;
}

#define PLACE_IN_DEVICE 8192
#define DEVICE_BLOCK 4096

static int open_place(const char *place, int flags, off_t *ret_at)
{
	autofree char *path = NULL;
	int fd;

	if (strncmp(place, "/dev/", strlen("/dev/")) == 0) {
		*ret_at = PLACE_IN_DEVICE;
		fd = open(place, (flags & ~O_CREAT) | O_CLOEXEC);
		ASSERT_TRUE(fd >= 0);
		return fd;
	}
	*ret_at = 0;
	path = path_join(place, "data");
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		ASSERT_EQ(errno, ENOENT);
	return fd;
}

void contract_write(const char *place, const char *text)
{
	char block[DEVICE_BLOCK] = "";
	off_t at;
	int fd = open_place(place, O_RDWR | O_CREAT, &at);

	(void)snprintf(block, sizeof(block), "%s", text);
	ASSERT_EQ(pwrite(fd, block, sizeof(block), at), (ssize_t)sizeof(block));
	host_fd_close(fd);
}

void contract_read(const char *place, char ret_text[64])
{
	char block[DEVICE_BLOCK] = "";
	off_t at;
	int fd = open_place(place, O_RDONLY, &at);

	ret_text[0] = '\0';
	if (fd < 0)
		return;
	ASSERT_EQ(pread(fd, block, sizeof(block), at), (ssize_t)sizeof(block));
	host_fd_close(fd);
	(void)snprintf(ret_text, 64, "%.63s", block);
}
