/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a directory the root of its filesystem, and is it still what its path leads to?
 *
 * STATX_ATTR_MOUNT_ROOT alone does not tell: every hostPath in a container is the root of a mount,
 * be it of a directory deep in the node's root disk. The mount table has the other half: the field
 * "root" of the mount that the directory is on. The line is found by the mount's id (STATX_MNT_ID,
 * Linux 5.8), not by a path, since paths in the table may be shadowed by later mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/stat.h>

#include "base/str.h"
#include "host/err-internal.h"
#include "host/fs.h"
#include "host/mount.h"

static int look_at_mount(int dirfd, struct statx *ret_st, struct err *err)
{
	if (statx(dirfd, "", AT_EMPTY_PATH, STATX_MNT_ID, ret_st) < 0)
		return host_err(err, errno, "look at the directory's mount");
	if (!(ret_st->stx_mask & STATX_MNT_ID))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "this kernel does not tell mount ids (Linux 5.8 does)");
	return 0;
}

static bool has_id(const char *line, uint64_t id)
{
	size_t n = strspn(line, "0123456789");
	char digits[24];
	uint64_t found;

	if (n == 0 || n >= sizeof(digits))
		return false;
	memcpy(digits, line, n);
	digits[n] = '\0';
	return str_parse_u64(digits, &found) == 0 && found == id;
}

static int find_root(FILE *table, uint64_t id, bool *ret_is_root)
{
	char *line = NULL;
	size_t cap = 0;
	int rc = -ENOENT;

	while (rc < 0 && getline(&line, &cap, table) >= 0) {
		struct host_mountinfo info;

		if (!has_id(line, id) || host_mountinfo_parse(line, &info) < 0)
			continue;
		*ret_is_root = str_is_equal(info.root, "/");
		rc = 0;
	}
	free(line);
	return ferror(table) ? -EIO : rc;
}

int host_dir_is_fs_root(int dirfd, bool *ret_is_root, struct err *err)
{
	struct statx st = { 0 };
	FILE *table;
	int rc;

	if (look_at_mount(dirfd, &st, err) < 0)
		return -1;
	if (!(st.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
		*ret_is_root = false;
		return 0;
	}
	table = fopen("/proc/self/mountinfo", "re");
	if (!table)
		return host_err(err, errno, "read '/proc/self/mountinfo'");
	rc = find_root(table, st.stx_mnt_id, ret_is_root);
	(void)fclose(table);
	return rc < 0 ? host_err(err, -rc, "find the directory's mount in '/proc/self/mountinfo'")
		      : 0;
}

int host_dir_is_covered(int dirfd, const char *path, bool *ret_is_covered, struct err *err)
{
	struct statx there = { 0 };
	struct stat here;

	*ret_is_covered = false;
	if (statx(AT_FDCWD, path, 0, STATX_INO, &there) < 0)
		return errno == ENOENT ? 0 : host_err(err, errno, "look at '%s'", path);
	if (fstat(dirfd, &here) < 0)
		return host_err(err, errno, "look at the directory");
	*ret_is_covered = there.stx_attributes & STATX_ATTR_MOUNT_ROOT &&
			  (makedev(there.stx_dev_major, there.stx_dev_minor) != here.st_dev ||
			   there.stx_ino != here.st_ino);
	return 0;
}
