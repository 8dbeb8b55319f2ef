/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_EXTENT_H
#define HOST_EXTENT_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Where the blocks of a file are: to share them with another file, to count them, to tell which of
 * two files that once shared all differ now, and to copy them without sharing.
 *
 * Codes as in fs.h; FAILED_PRECONDITION also where the filesystem cannot do it at all.
 */

/*
 * The file has the bytes and the size of the other and shares its blocks (FICLONE); its attributes
 * are its own. to_fd is a new, empty file of the same filesystem. What was written into from_fd
 * before, also into the page cache, is there; what is written meanwhile waits until it is done,
 * which is about 10 µs an extent and cannot be cut short. Space that was only allocated, and never
 * written, is a hole in the clone. Nothing is durable before a sync. RESOURCE_EXHAUSTED: the
 * filesystem is full; FAILED_PRECONDITION: this one cannot share blocks, it is another one, or
 * to_fd is not empty. After a failure to_fd may hold a part.
 */
int host_file_clone(int from_fd, int to_fd, struct err *err);

/*
 * The same of one range (FICLONERANGE) of a file that may have bytes already: so much of to_fd,
 * which has the size, is what from_fd has there. from and bytes are multiples of 4096. What was
 * allocated and never written is a hole then. Codes as above; it may be done again.
 */
int host_file_share(int from_fd, int to_fd, uint64_t from, uint64_t bytes, struct err *err);

/* Whether files in this directory can be cloned, by trying it with two nameless ones. host_fs_look
 * says it of the filesystems that it knows. */
int host_dir_try_clone(int dirfd, bool *ret_can, struct err *err);

/* Of how many extents the file is, unwritten ones included. XFS counts them, which costs nothing;
 * others walk their map, and leave out what they have not yet given a place. */
int host_file_count_extents(int fd, uint64_t *ret_n, struct err *err);

struct host_extent {
	uint64_t start; /* in the file */
	uint64_t bytes;
	uint64_t physical; /* where it is, for comparison only; 0 unless is_certain */
	bool is_unwritten; /* allocated, reads as zeros */
	bool is_shared;    /* with another file, or once was */
	bool is_certain;   /* that equal physical places mean equal bytes: not of what is packed,
			      inline, or not yet placed */
};
typedef int (*host_extent_fn)(void *arg, const struct host_extent *extent);
/*
 * The file's extents in their order, from this byte to the file's end, cut at both. What was
 * written before is synced first, or its new place would not be known. Neighbours may be one extent
 * in several pieces. Holes are left out. fn ≠0 stops the walk, which is then 0. A page of the map
 * at a time; a file that is written to meanwhile is as it was at different times.
 *
 * Places of two files may be compared while both exist and neither is written to: blocks that were
 * given back get new owners.
 */
int host_file_each_extent(struct ctx *ctx, int fd, uint64_t from, host_extent_fn fn, void *arg,
			  struct err *err);

/* How many bytes of the file are shared: so much new space is needed to write all of it. XFS shares
 * what is written alone, btrfs also what is only allocated. */
int host_file_shared_bytes(struct ctx *ctx, int fd, uint64_t *ret_bytes, struct err *err);

/*
 * Copies at most max_bytes (>0) of data from this byte on to the same places of to_fd, for a file
 * that shares nothing, and makes to_fd as long as from_fd is. Holes, unwritten space and blocks of
 * zeros are left out, so to_fd reads as zeros there before, whether allocated or not. ret_next is
 * where the next piece begins, the file's size or more at the end. The piece is on its way to the
 * disk when this returns, but not durable. It may be done again. ctx is looked at every MiB; after
 * a failure to_fd has a part of the piece.
 */
int host_file_copy_data(struct ctx *ctx, int from_fd, int to_fd, uint64_t from, uint64_t max_bytes,
			uint64_t *ret_next, struct err *err);

typedef int (*host_range_fn)(void *arg, uint64_t start, uint64_t bytes);
/*
 * Where two files differ, by reading both: ranges of whole blocks of 4096 bytes, in order, from the
 * block that has the byte from, up to the byte end, where the last one is cut. Beyond its end a
 * file reads as zeros; other_fd -1 reads as zeros everywhere, so that those of fd are told which
 * are not zero. Neighbours may be told one by one. What is a hole in both is not read. fn ≠0 stops
 * the walk, which is then 0.
 */
int host_file_each_difference(struct ctx *ctx, int fd, int other_fd, uint64_t from, uint64_t end,
			      host_range_fn fn, void *arg, struct err *err);

#endif
