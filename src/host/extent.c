/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones and maps of files.
 *
 * FIEMAP gives the map. Without FIEMAP_FLAG_SYNC it misses what is in the page cache: on XFS the
 * new place of a shared block is in a fork that the map does not show before it is written out
 * (measured: every one of 1000 changed blocks missed). The flag is given with each page, as what is
 * written between two pages would be missed as well; on a clean file it costs nothing. The
 * filesystem holds a lock of the inode for a whole call, so a map of 100,000 extents asked for at
 * once would make writers wait for a third of a second: hence pages.
 *
 * The number of extents is fsx_nextents of FS_IOC_FSGETXATTR, which XFS alone fills: it counts in
 * memory and takes no lock for long. Where it is 0 (an empty file, or another filesystem) FIEMAP
 * counts without giving any.
 */
#include "host/extent.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/fiemap.h>
#include <linux/fs.h>

#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"
#include "host/fs.h"

#define PAGE_EXTENTS 2048
/* Of these the place is none, or does not tell what is there. */
#define UNCERTAIN                                                                               \
	(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |               \
	 FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE | \
	 FIEMAP_EXTENT_DATA_TAIL)

static bool is_no_support(int errnum)
{
	return errnum == EOPNOTSUPP || errnum == ENOTTY || errnum == EXDEV || errnum == EINVAL ||
	       errnum == ETXTBSY;
}

static int clone_failed(int errnum, struct err *err)
{
	if (!is_no_support(errnum))
		return host_err(err, errnum, "clone a file");
	return err_os(err, ERR_FAILED_PRECONDITION, errnum,
		      "clone a file (both must be on one XFS made with reflink=1, or one btrfs and "
		      "with or without copy-on-write both)");
}

int host_file_clone(int from_fd, int to_fd, struct err *err)
{
	struct stat st;

	if (fstat(to_fd, &st) < 0)
		return host_err(err, errno, "look at the file to clone into");
	if (st.st_size != 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the file to clone into has %lld bytes already",
			       (long long)st.st_size);
	return ioctl(to_fd, FICLONE, from_fd) == 0 ? 0 : clone_failed(errno, err);
}

int host_file_share(int from_fd, int to_fd, uint64_t from, uint64_t bytes, struct err *err)
{
	struct file_clone_range range = {
		.src_fd = from_fd, .src_offset = from, .src_length = bytes, .dest_offset = from
	};

	return ioctl(to_fd, FICLONERANGE, &range) == 0 ? 0 : clone_failed(errno, err);
}

int host_dir_try_clone(int dirfd, bool *ret_can, struct err *err)
{
	autofd int from = -1;
	autofd int to = -1;

	if (host_file_make(dirfd, &from, err) < 0 || host_file_make(dirfd, &to, err) < 0)
		return -1;
	if (pwrite(from, "", 1, 0) != 1)
		return host_err(err, errno, "write a byte into a new file");
	if (host_file_clone(from, to, err) < 0) {
		if (err->code != ERR_FAILED_PRECONDITION)
			return -1;
		*ret_can = false;
		return 0;
	}
	*ret_can = true;
	return 0;
}

static int map_failed(int errnum, struct err *err)
{
	return err_os(err, is_no_support(errnum) ? ERR_FAILED_PRECONDITION : host_code(errnum),
		      errnum, "ask where the blocks of a file are (FIEMAP)");
}

static int ask_map(int fd, struct fiemap *map)
{
	int rc;

	do
		rc = ioctl(fd, FS_IOC_FIEMAP, map);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int host_file_count_extents(int fd, uint64_t *ret_n, struct err *err)
{
	struct fiemap map = { .fm_length = FIEMAP_MAX_OFFSET };
	struct fsxattr attr = { 0 };
	int rc;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) == 0 && attr.fsx_nextents) {
		*ret_n = attr.fsx_nextents;
		return 0;
	}
	rc = ask_map(fd, &map);
	if (rc < 0)
		return map_failed(-rc, err);
	*ret_n = map.fm_mapped_extents;
	return 0;
}

/* Cut to what lies in from … end; false if nothing does. */
static bool fill_extent(const struct fiemap_extent *found, uint64_t from, uint64_t end,
			struct host_extent *ret_extent)
{
	uint64_t start = found->fe_logical > from ? found->fe_logical : from;
	uint64_t found_end = found->fe_logical + found->fe_length;

	if (found_end > end)
		found_end = end;
	if (start >= found_end)
		return false;
	*ret_extent = (struct host_extent){
		.start = start,
		.bytes = found_end - start,
		.is_unwritten = found->fe_flags & FIEMAP_EXTENT_UNWRITTEN,
		.is_shared = found->fe_flags & FIEMAP_EXTENT_SHARED,
		.is_certain = !(found->fe_flags & UNCERTAIN),
	};
	if (ret_extent->is_certain)
		ret_extent->physical = found->fe_physical + (start - found->fe_logical);
	return true;
}

/* One page: 1 and where the next begins, 0 at the end or when fn stopped it. */
static int walk_page(int fd, struct fiemap *map, uint64_t end, host_extent_fn fn, void *arg,
		     uint64_t *from, struct err *err)
{
	uint64_t next = *from;
	int rc;

	map->fm_start = *from;
	map->fm_length = end - *from;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = PAGE_EXTENTS;
	rc = ask_map(fd, map);
	if (rc < 0)
		return map_failed(-rc, err);
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *found = &map->fm_extents[i];
		struct host_extent extent;

		next = found->fe_logical + found->fe_length;
		if (fill_extent(found, *from, end, &extent) && fn(arg, &extent) != 0)
			return 0;
		if (found->fe_flags & FIEMAP_EXTENT_LAST)
			return 0;
	}
	if (map->fm_mapped_extents && next <= *from)
		return err_set(err, ERR_INTERNAL,
			       "the map of a file does not go on after byte %llu",
			       (unsigned long long)*from);
	*from = next;
	return map->fm_mapped_extents > 0 && next < end;
}

int host_file_each_extent(struct ctx *ctx, int fd, uint64_t from, host_extent_fn fn, void *arg,
			  struct err *err)
{
	autofree struct fiemap *map =
		xcalloc(1, sizeof(*map) + PAGE_EXTENTS * sizeof(map->fm_extents[0]));
	struct stat st;
	uint64_t end;
	int rc = 1;

	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at the file");
	end = (uint64_t)st.st_size;
	while (rc > 0 && from < end) {
		if (ctx_check(ctx, err) < 0)
			return -1;
		rc = walk_page(fd, map, end, fn, arg, &from, err);
	}
	return rc < 0 ? -1 : 0;
}

static int add_shared(void *arg, const struct host_extent *extent)
{
	uint64_t *sum = arg;

	if (extent->is_shared)
		*sum += extent->bytes;
	return 0;
}

int host_file_shared_bytes(struct ctx *ctx, int fd, uint64_t *ret_bytes, struct err *err)
{
	uint64_t sum = 0;

	if (host_file_each_extent(ctx, fd, 0, add_shared, &sum, err) < 0)
		return -1;
	*ret_bytes = sum;
	return 0;
}
