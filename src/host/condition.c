/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a filesystem is well.
 *
 * A mounted one: statfs tells that it is read-only, but since Linux 6.12 not of an ext4 that made
 * itself so after an error (it is "rw,emergency_ro" then), nor that one was shut down. The options
 * of the superblock in the mount table tell both, but for XFS, of which every look fails instead.
 *
 * What ext4 counts of its errors, and when the first was, is in sysfs.
 *
 * One that is not mounted: ext4 keeps "errors were found" in s_state until e2fsck has run, and
 * mounts all the same; XFS keeps NEEDSREPAIR and refuses. Layouts: kernel,
 * Documentation/filesystems/ext4/super.rst; fs/xfs/libxfs/xfs_format.h.
 */
#include "host/condition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/ext4-internal.h"
#include "host/mount.h"
#include "host/resolve-internal.h"

#define EXT4_SUPER_AT 1024
#define EXT4_MAGIC_AT (EXT4_SUPER_AT + 0x38)
#define EXT4_STATE_AT (EXT4_SUPER_AT + 0x3a)
#define EXT4_MOUNT_COUNT_AT (EXT4_SUPER_AT + 0x34) /* 2 bytes; e2fsck sets it to 0 */
#define EXT4_ERROR_COUNT_AT (EXT4_SUPER_AT + 0x194)
#define EXT4_STATE_ERRORS 0x0002
#define EXT4_RO_COMPAT_AT (EXT4_SUPER_AT + 0x64)
#define EXT4_RO_COMPAT_METADATA_CSUM 0x0400
#define EXT4_CSUM_BYTES 0x3fc /* of the superblock, which the sum behind them is of */
#define CRC32C 0x82f63b78u
#define XFS_INCOMPAT_AT 216
#define XFS_INCOMPAT_NEEDS_REPAIR (1u << 4)
#define HEAD_BYTES 4096

static bool has_option(const char *options, const char *option)
{
	size_t n = strlen(option);

	for (const char *at = options; *at; at += strcspn(at, ","), at += *at == ',') {
		if (strncmp(at, option, n) == 0 && (at[n] == ',' || at[n] == '\0'))
			return true;
	}
	return false;
}

int host_condition_of_mount(const char *path, struct host_condition *ret, struct err *err)
{
	autofd int fd = host_open_real(path, 0);
	char options[HOST_SUPER_OPTIONS_MAX];
	struct host_mount_at at;
	int rc;

	if (fd < 0)
		return host_err(err, -fd, "look at '%s'", path);
	rc = host_mount_super_options(fd, path, options, err);
	if (rc < 0 || host_mount_look(path, &at, err) < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "'%s' is on no mount of this namespace", path);
	*ret = (struct host_condition){
		.is_read_only = has_option(options, "ro") || has_option(options, "emergency_ro"),
		.is_shut_down = at.is_dead || has_option(options, "shutdown"),
	};
	return 0;
}

static bool read_number(const char *device, const char *what, uint64_t *ret_n)
{
	const char *last = strrchr(device, '/');
	char path[128];
	char text[32];
	autofd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/fs/ext4/%s/%s", last ? last + 1 : device, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return str_parse_u64(text, ret_n) == 0;
}

int host_condition_errors(const char *device, struct host_fs_errors *ret_errors)
{
	struct host_fs_errors errors = { 0 };
	uint64_t first_s = 0;
	uint64_t last_s = 0;

	if (!read_number(device, "errors_count", &errors.n))
		return 0;
	if (read_number(device, "first_error_time", &first_s) && first_s < INT32_MAX * 4ull)
		errors.first_ns = (int64_t)first_s * NS_PER_S;
	if (read_number(device, "last_error_time", &last_s) && last_s < INT32_MAX * 4ull)
		errors.last_ns = (int64_t)last_s * NS_PER_S;
	*ret_errors = errors;
	return 1;
}

static int judge_ext4(const uint8_t *head, bool *ret_has_errors)
{
	if (head[EXT4_MAGIC_AT] != 0x53 || head[EXT4_MAGIC_AT + 1] != 0xef)
		return -1;
	*ret_has_errors = head[EXT4_STATE_AT] & EXT4_STATE_ERRORS;
	return 0;
}

static int judge_xfs(const uint8_t *head, bool *ret_has_errors)
{
	if (memcmp(head, "XFSB", 4) != 0)
		return -1;
	*ret_has_errors = head[XFS_INCOMPAT_AT + 3] & XFS_INCOMPAT_NEEDS_REPAIR;
	return 0;
}

static int read_head(const char *device, const char *fs, uint8_t head[HEAD_BYTES], struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	n = pread(fd, head, HEAD_BYTES, 0);
	if (n < 0)
		return host_err(err, errno, "read the superblock on '%s'", device);
	if (n != HEAD_BYTES)
		return err_set(err, ERR_DATA_LOSS, "there is no %s superblock on '%s'", fs, device);
	return 0;
}

int host_condition_of_device(const char *device, const char *fs, bool *ret_has_errors,
			     struct err *err)
{
	uint8_t head[HEAD_BYTES];
	int rc;

	if (read_head(device, fs, head, err) < 0)
		return -1;
	rc = str_is_equal(fs, "xfs") ? judge_xfs(head, ret_has_errors)
				     : judge_ext4(head, ret_has_errors);
	if (rc < 0)
		return err_set(err, ERR_DATA_LOSS, "there is no %s superblock on '%s'", fs, device);
	return 0;
}

static uint32_t crc32c(const uint8_t *bytes, size_t n)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C : 0);
	}
	return crc;
}

static uint32_t get32(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* libext2fs writes those words of a superblock that it has changed, one by one and the sum last. */
static bool is_torn(const uint8_t *head)
{
	const uint8_t *super = head + EXT4_SUPER_AT;

	return (get32(head + EXT4_RO_COMPAT_AT) & EXT4_RO_COMPAT_METADATA_CSUM) &&
	       crc32c(super, EXT4_CSUM_BYTES) != get32(super + EXT4_CSUM_BYTES);
}

/* With the sum alone, a kill before e2fsck has run would leave one that looks well. */
int host_ext4_end_torn_write(int fd, struct err *err)
{
	uint8_t head[HEAD_BYTES], sum[4];
	uint32_t crc;

	if (pread(fd, head, sizeof(head), 0) != sizeof(head))
		return host_err(err, errno, "read the superblock");
	if (!is_torn(head))
		return 0;
	head[EXT4_STATE_AT] |= EXT4_STATE_ERRORS;
	crc = crc32c(head + EXT4_SUPER_AT, EXT4_CSUM_BYTES);
	for (unsigned i = 0; i < sizeof(sum); i++)
		sum[i] = (uint8_t)(crc >> 8 * i);
	if (pwrite(fd, head + EXT4_STATE_AT, 1, EXT4_STATE_AT) != 1 ||
	    pwrite(fd, sum, sizeof(sum), EXT4_SUPER_AT + EXT4_CSUM_BYTES) != sizeof(sum) ||
	    fdatasync(fd) < 0)
		return host_err(err, errno, "write the superblock's checksum");
	return 0;
}

int host_ext4_is_half_grown(const char *device, bool *ret_is_half_grown, struct err *err)
{
	static const uint8_t none[4];
	uint8_t head[HEAD_BYTES];
	bool has_errors;

	if (read_head(device, "ext4", head, err) < 0)
		return -1;
	if (judge_ext4(head, &has_errors) < 0)
		return err_set(err, ERR_DATA_LOSS, "there is no ext4 superblock on '%s'", device);
	*ret_is_half_grown = (has_errors || is_torn(head)) &&
			     memcmp(head + EXT4_ERROR_COUNT_AT, none, sizeof(none)) == 0 &&
			     memcmp(head + EXT4_MOUNT_COUNT_AT, none, 2) == 0;
	return 0;
}
