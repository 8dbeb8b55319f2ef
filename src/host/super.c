/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes in superblocks, and whether a device has more to give.
 *
 * "The filesystem has fewer blocks than its device" would be true for ever of one whose rest is too
 * short for a group: grown, it has the same size, and a caller that grows before each mount would
 * do so each time. So the question is what growing would give, by the rules of those who do it.
 * XFS: kernel, xfs_growfs_data_private in fs/xfs/xfs_fsops.c. ext4: e2fsprogs, adjust_fs_info in
 * resize/resize2fs.c, which mkfs.ext4 has as well; test_grow_real.c holds both against the real
 * ones.
 *
 * Layouts: kernel, Documentation/filesystems/ext4/super.rst; fs/xfs/libxfs/xfs_format.h. The
 * superblock of a mounted XFS is on the disk only from time to time, so it is asked by an ioctl;
 * that of a mounted ext4 is in the page cache of its device.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/ext4-internal.h"
#include "host/grow-internal.h"
#include "host/grow.h"
#include "host/resolve-internal.h"
#include "host/xfs-internal.h"

#define XFS_MIN_AG_BLOCKS 64
#define MAX_COPIES_READ 256
#define EXT4_SUPER_AT 1024
#define EXT4_MAGIC 0xef53
#define EXT4_INCOMPAT_64BIT 0x80
#define EXT4_RO_COMPAT_BIGALLOC 0x200
#define EXT4_MIN_FREE_IN_GROUP 50
#define EXT4_MIN_DESC_BYTES 32
#define EXT4_OLD_INODE_BYTES 128

enum ext4_offset {
	EXT4_BLOCKS_LO = 0x04,
	EXT4_FIRST_BLOCK = 0x14,
	EXT4_LOG_BLOCK = 0x18,
	EXT4_BLOCKS_PER_GROUP = 0x20,
	EXT4_CLUSTERS_PER_GROUP = 0x24,
	EXT4_INODES_PER_GROUP = 0x28,
	EXT4_MAGIC_AT = 0x38,
	EXT4_REVISION = 0x4c,
	EXT4_INODE_BYTES = 0x58,
	EXT4_INCOMPAT = 0x60,
	EXT4_RO_COMPAT = 0x64,
	EXT4_RESERVED_GDT = 0xce,
	EXT4_DESC_BYTES = 0xfe,
	EXT4_BLOCKS_HI = 0x150,
};

enum xfs_offset {
	XFS_BLOCK_BYTES = 4,
	XFS_DATA_BLOCKS = 8,
	XFS_AG_BLOCKS = 84,
};

static uint32_t le16(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t le32(const uint8_t *at)
{
	return le16(at) | le16(at + 2) << 16;
}

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t div_up(uint32_t n, uint32_t by)
{
	return n / by + (n % by != 0);
}

static bool is_power_of_two(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* What all filesystems have in common. */
static int check_super(const struct host_super *super)
{
	return super->n_blocks > super->first_block && super->group_blocks ? 0 : -1;
}

static int parse_ext4(const uint8_t *sb, struct host_super *super)
{
	bool is_64bit = le32(sb + EXT4_INCOMPAT) & EXT4_INCOMPAT_64BIT;
	uint32_t log_block = le32(sb + EXT4_LOG_BLOCK);
	uint32_t inode_bytes =
		le32(sb + EXT4_REVISION) ? le16(sb + EXT4_INODE_BYTES) : EXT4_OLD_INODE_BYTES;
	uint32_t desc_bytes = is_64bit ? le16(sb + EXT4_DESC_BYTES) : EXT4_MIN_DESC_BYTES;
	uint32_t n_inodes = le32(sb + EXT4_INODES_PER_GROUP);
	/* what a bitmap has bits for */
	uint32_t n_bits = le32(sb + (le32(sb + EXT4_RO_COMPAT) & EXT4_RO_COMPAT_BIGALLOC
					     ? EXT4_CLUSTERS_PER_GROUP
					     : EXT4_BLOCKS_PER_GROUP));

	if (le16(sb + EXT4_MAGIC_AT) != EXT4_MAGIC || log_block > 6)
		return -1;
	super->block_bytes = 1024u << log_block;
	super->n_blocks = le32(sb + EXT4_BLOCKS_LO);
	if (is_64bit)
		super->n_blocks |= (uint64_t)le32(sb + EXT4_BLOCKS_HI) << 32;
	super->group_blocks = le32(sb + EXT4_BLOCKS_PER_GROUP);
	super->first_block = le32(sb + EXT4_FIRST_BLOCK);
	if (super->first_block > 1 || n_bits > 8 * super->block_bytes ||
	    n_inodes > 8 * super->block_bytes || inode_bytes < EXT4_OLD_INODE_BYTES ||
	    inode_bytes > super->block_bytes || desc_bytes < EXT4_MIN_DESC_BYTES ||
	    desc_bytes > super->block_bytes)
		return -1;
	/* two bitmaps and the inodes; in some a superblock, descriptors, and room for more */
	super->least_blocks =
		2 + div_up(n_inodes, super->block_bytes / inode_bytes) + EXT4_MIN_FREE_IN_GROUP;
	super->groups_per_copy = super->block_bytes / desc_bytes;
	super->copy_blocks = 1 + le16(sb + EXT4_RESERVED_GDT);
	return check_super(super);
}

static int set_xfs(struct host_super *super, uint32_t block_bytes, uint64_t n_blocks,
		   uint32_t group_blocks)
{
	*super = (struct host_super){
		.block_bytes = block_bytes,
		.n_blocks = n_blocks,
		.group_blocks = group_blocks,
		.least_blocks = XFS_MIN_AG_BLOCKS,
	};
	if (block_bytes < 512 || block_bytes > 65536 || !is_power_of_two(block_bytes) ||
	    group_blocks < XFS_MIN_AG_BLOCKS)
		return -1;
	return check_super(super);
}

int host_super_parse(const uint8_t *head, size_t n, const char *fs, struct host_super *ret_super)
{
	struct host_super super = { 0 };
	int rc;

	if (n < HOST_SUPER_BYTES)
		return -1;
	if (str_is_equal(fs, "ext4"))
		rc = parse_ext4(head + EXT4_SUPER_AT, &super);
	else if (str_is_equal(fs, "xfs") && memcmp(head, "XFSB", 4) == 0)
		rc = set_xfs(&super, be32(head + XFS_BLOCK_BYTES),
			     (uint64_t)be32(head + XFS_DATA_BLOCKS) << 32 |
				     be32(head + XFS_DATA_BLOCKS + 4),
			     be32(head + XFS_AG_BLOCKS));
	else
		rc = -1;
	if (rc == 0)
		*ret_super = super;
	return rc;
}

uint64_t host_super_usable_blocks(const struct host_super *super, uint64_t device_bytes)
{
	uint64_t n = device_bytes / super->block_bytes;
	uint64_t n_whole;
	uint64_t least = super->least_blocks;
	uint64_t rest;

	if (n <= super->first_block)
		return n;
	n_whole = (n - super->first_block) / super->group_blocks;
	rest = (n - super->first_block) % super->group_blocks;
	if (n_whole == 0)
		return n;
	if (super->groups_per_copy && ext4_has_backup(n_whole))
		least += super->copy_blocks + n_whole / super->groups_per_copy + 1;
	return rest < least ? n - rest : n;
}

uint64_t host_super_in_place_blocks(const struct host_super *super)
{
	uint64_t n_groups = (super->n_blocks - super->first_block) / super->group_blocks + 1;
	uint64_t n_desc_blocks, n;

	if (!super->groups_per_copy)
		return UINT64_MAX;
	n_desc_blocks = (n_groups - 1) / super->groups_per_copy + super->copy_blocks;
	if (!num_mul_u64(n_desc_blocks, super->groups_per_copy, &n) ||
	    !num_mul_u64(n, super->group_blocks, &n) || !num_add_u64(n, super->first_block, &n))
		return UINT64_MAX;
	return n;
}

int grow_check_kind(const char *fs, struct err *err)
{
	if (str_is_equal(fs, "ext4") || str_is_equal(fs, "xfs"))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "only ext4 and xfs can be grown here, not '%s'", fs);
}

static int read_super(int fd, const char *device, const char *fs, struct host_super *ret_super,
		      struct err *err)
{
	uint8_t head[HOST_SUPER_BYTES];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	if (n < 0)
		return host_err(err, errno, "read the superblock on '%s'", device);
	if (host_super_parse(head, (size_t)n, fs, ret_super) < 0)
		return err_set(err, ERR_DATA_LOSS, "there is no %s superblock on '%s'", fs, device);
	return 0;
}

static int size_of(int fd, const char *device, uint64_t *ret_bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at '%s'", device);
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, ret_bytes) < 0)
			return host_err(err, errno, "ask '%s' for its size", device);
		return 0;
	}
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

int host_fs_device_is_smaller(const char *device, const char *fs, bool *ret_is_smaller,
			      struct err *err)
{
	autofd int fd = -1;
	struct host_super super;
	uint64_t bytes;

	if (grow_check_kind(fs, err) < 0)
		return -1;
	fd = open(device, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (read_super(fd, device, fs, &super, err) < 0 || size_of(fd, device, &bytes, err) < 0)
		return -1;
	*ret_is_smaller = host_super_usable_blocks(&super, bytes) > super.n_blocks;
	return 0;
}

/*
 * Each allocation group but the first begins with a copy of the superblock. XFS_IOC_FSGROWFSDATA
 * writes all of them after its transaction, so what is cut off between leaves a filesystem that is
 * larger than they say. What begins with none is damage of another kind, and is left alone. Of very
 * many as many are read as take a second of a slow disk, the last among them: the kernel writes
 * them in that order, and none before growth is over in the new ones.
 */
static int look_at_copies(int fd, const char *device, const struct host_super *super, bool *ret_lag,
			  struct err *err)
{
	_Alignas(HOST_SUPER_BYTES) uint8_t head[HOST_SUPER_BYTES];
	uint64_t last = (super->n_blocks - 1) / super->group_blocks;
	uint64_t n = last < MAX_COPIES_READ ? last : MAX_COPIES_READ;
	struct host_super copy;

	*ret_lag = false;
	for (uint64_t i = 1; i <= n && !*ret_lag; i++) {
		uint64_t group = i == n ? last : i * (last / n);
		ssize_t got;
		uint64_t at;

		if (!num_mul_u64(group, (uint64_t)super->group_blocks * super->block_bytes, &at) ||
		    at > INT64_MAX)
			return 0; /* no device is so large: mounting will say so */
		got = pread(fd, head, sizeof(head), (off_t)at);
		if (got < 0)
			return host_err(err, errno, "read the superblock of group %llu on '%s'",
					(unsigned long long)group, device);
		*ret_lag = host_super_parse(head, (size_t)got, "xfs", &copy) == 0 &&
			   copy.n_blocks < super->n_blocks;
	}
	return 0;
}

int host_xfs_copies_lag(const char *device, bool *ret_lag, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_CLOEXEC);
	struct host_super super;

	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (read_super(fd, device, "xfs", &super, err) < 0)
		return -1;
	return look_at_copies(fd, device, &super, ret_lag, err);
}

int host_ext4_grows_in_place(const char *device, bool *ret_is_in_place, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_CLOEXEC);
	struct host_super super;
	uint64_t bytes;

	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (read_super(fd, device, "ext4", &super, err) < 0 || size_of(fd, device, &bytes, err) < 0)
		return -1;
	*ret_is_in_place =
		host_super_usable_blocks(&super, bytes) <= host_super_in_place_blocks(&super);
	return 0;
}

/* The node that the kernel names for the device number, if it is this device's. */
static int open_device(dev_t devno, char *path, size_t cap, struct err *err)
{
	autofree char *text = NULL;
	autofd int fd = -1;
	char uevent[64];
	struct stat st;
	const char *name;
	size_t len;
	int rc;

	(void)snprintf(uevent, sizeof(uevent), "/sys/dev/block/%u:%u/uevent", major(devno),
		       minor(devno));
	rc = fd_read_file(AT_FDCWD, uevent, 4096, &text, &len);
	if (rc < 0)
		return host_err(err, -rc, "read '%s'", uevent);
	name = strstr(text, "DEVNAME=");
	if (!name)
		return err_set(err, ERR_NOT_FOUND, "'%s' names no device", uevent);
	name += strlen("DEVNAME=");
	(void)snprintf(path, cap, "/dev/%.*s", (int)strcspn(name, "\n"), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return host_err(err, errno, "open '%s'", path);
	if (!S_ISBLK(st.st_mode) || st.st_rdev != devno)
		return err_set(err, ERR_NOT_FOUND, "'%s' is not the device %u:%u", path,
			       major(devno), minor(devno));
	return TAKE_FD(fd);
}

static int ask_xfs(int fd, const char *path, struct host_super *ret_super, struct err *err)
{
	struct xfs_geometry geometry = { 0 };

	if (ioctl(fd, XFS_GEOMETRY, &geometry) < 0)
		return host_err(err, errno, "ask the XFS at '%s' for its geometry", path);
	if (set_xfs(ret_super, geometry.blocksize, geometry.datablocks, geometry.agblocks) < 0)
		return err_set(err, ERR_INTERNAL, "the XFS at '%s' tells an impossible geometry",
			       path);
	return 0;
}

static bool is_of_kind(int fd, const char *fs)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 &&
	       (unsigned long)st.f_type ==
		       (str_is_equal(fs, "xfs") ? XFS_SUPER_MAGIC : EXT4_SUPER_MAGIC);
}

/* ret_device_fd: of the device below, for the caller to close. */
static int look(const char *path, const char *fs, struct grow_mounted *ret, int *ret_device_fd,
		struct err *err)
{
	autofd int at = host_open_real(path, 0);
	autofd int fd = -1;
	autofd int device_fd = -1;
	char device[288];
	struct stat st;
	int rc;

	if (grow_check_kind(fs, err) < 0)
		return -1;
	if (at < 0)
		return host_err(err, -at, "open '%s'", path);
	fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return host_err(err, errno, "open '%s'", path);
	if (!is_of_kind(fd, fs))
		return err_set(err, ERR_FAILED_PRECONDITION, "no %s is mounted at '%s'", fs, path);
	device_fd = open_device(st.st_dev, device, sizeof(device), err);
	if (device_fd < 0 || size_of(device_fd, device, &ret->device_bytes, err) < 0)
		return -1;
	rc = str_is_equal(fs, "xfs") ? ask_xfs(fd, path, &ret->super, err)
				     : read_super(device_fd, device, fs, &ret->super, err);
	if (rc < 0)
		return -1;
	ret->usable_blocks = host_super_usable_blocks(&ret->super, ret->device_bytes);
	ret->fd = TAKE_FD(fd);
	*ret_device_fd = TAKE_FD(device_fd);
	return 0;
}

/* Past the page cache of the device, which has what was read there before it was mounted. */
static int go_direct(int device_fd, const char *path, struct err *err)
{
	if (fcntl(device_fd, F_SETFL, O_DIRECT) < 0)
		return host_err(err, errno, "read the device of '%s' by direct I/O", path);
	return 0;
}

int grow_look(const char *path, const char *fs, struct grow_mounted *ret, struct err *err)
{
	autofd int device_fd = -1;

	if (look(path, fs, ret, &device_fd, err) < 0)
		return -1;
	ret->copies_lag = false;
	if (!str_is_equal(fs, "xfs") ||
	    (go_direct(device_fd, path, err) == 0 &&
	     look_at_copies(device_fd, path, &ret->super, &ret->copies_lag, err) == 0))
		return 0;
	(void)close(ret->fd);
	return -1;
}

static int read_super_on_disk(int device_fd, const char *path, struct host_super *ret_super,
			      struct err *err)
{
	_Alignas(HOST_SUPER_BYTES) uint8_t head[HOST_SUPER_BYTES];
	ssize_t n;

	if (go_direct(device_fd, path, err) < 0)
		return -1;
	n = pread(device_fd, head, sizeof(head), 0);
	if (n < 0)
		return host_err(err, errno, "read the superblock of '%s'", path);
	if (host_super_parse(head, (size_t)n, "xfs", ret_super) < 0)
		return err_set(err, ERR_DATA_LOSS,
			       "there is no xfs superblock on the device of '%s'", path);
	return 0;
}

int host_xfs_growth_is_in_log(const char *path, bool *ret_is_in_log, struct err *err)
{
	autofd int device_fd = -1;
	struct grow_mounted mounted;
	struct host_super on_disk;

	if (look(path, "xfs", &mounted, &device_fd, err) < 0)
		return -1;
	(void)close(mounted.fd);
	if (read_super_on_disk(device_fd, path, &on_disk, err) < 0)
		return -1;
	*ret_is_in_log = on_disk.n_blocks < mounted.super.n_blocks;
	return 0;
}

int host_fs_mount_is_smaller(const char *path, const char *fs, bool *ret_is_smaller,
			     struct err *err)
{
	struct grow_mounted mounted;

	if (grow_look(path, fs, &mounted, err) < 0)
		return -1;
	(void)close(mounted.fd);
	*ret_is_smaller = mounted.usable_blocks > mounted.super.n_blocks;
	return 0;
}
