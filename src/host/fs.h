/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FS_H
#define HOST_FS_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Files, directories and filesystems, one syscall (or a few that belong together) a function.
 * Everything works on fds and single names below a directory fd; all fds are close-on-exec. Codes:
 * NOT_FOUND (ENOENT), ALREADY_EXISTS (EEXIST), RESOURCE_EXHAUSTED (ENOSPC, EDQUOT, EMFILE …),
 * PERMISSION_DENIED, FAILED_PRECONDITION (EROFS, EBUSY, ENOTDIR, ELOOP), INTERNAL for the rest.
 * Tests replace this room by tests/fake/host.c, which is why even close has a name here.
 */

/* Closes; keeps errno; -1 is fine. */
void host_fd_close(int fd);
void host_fd_closep(int *fd);
#define autohostfd __attribute__((cleanup(host_fd_closep)))

/* Those of which more is known here than the name. */
enum host_fs_kind {
	HOST_FS_KIND_OTHER,
	HOST_FS_KIND_XFS,
	HOST_FS_KIND_EXT4,
	HOST_FS_KIND_BTRFS,
};

struct host_fs {
	uint64_t total_bytes;
	uint64_t free_bytes; /* for unprivileged use (f_bavail) */
	bool is_read_only;
	enum host_fs_kind kind;
	bool can_clone;   /* files can share blocks: XFS made with reflink=1, btrfs; of OTHER it is
			     not known, see host_dir_try_clone */
	struct uuid uuid; /* XFS, btrfs: of the superblock; ext4: half of that, folded; else zero */
	struct uuid tree; /* of btrfs the subvolume's, if it has one; else as uuid */
	dev_t device;
	char type[16]; /* "xfs", "ext4", "tmpfs" … or "0x…", for messages */
};
int host_fs_look(int fd, struct host_fs *ret_fs, struct err *err);

struct host_file {
	uint64_t bytes;
	uint64_t allocated_bytes;
	dev_t device;
	uint64_t inode;
	bool is_regular;
	uint64_t n_links;   /* names; 0: nameless, or unlinked */
	int64_t changed_ns; /* mtime */
};
int host_file_look(int fd, struct host_file *ret_file, struct err *err);

/* path is the operator's: symlinks in it are followed. NOT_FOUND, FAILED_PRECONDITION if it is no
 * directory. */
int host_dir_open(const char *path, int *ret_fd, struct err *err);
/* name below dirfd, made with mode 0700 if absent; a symlink there is FAILED_PRECONDITION. */
int host_dir_make(int dirfd, const char *name, int *ret_fd, struct err *err);
/* The directory name below dirfd: NOT_FOUND; FAILED_PRECONDITION for a symlink or a file. */
int host_dir_open_at(int dirfd, const char *name, int *ret_fd, struct err *err);
/* Whether dirfd is the root of its filesystem, as this namespace's mount table has it: not of a
 * bind mount of something deeper, which is a mount's root too. Reads /proc/self/mountinfo. */
int host_dir_is_fs_root(int dirfd, bool *ret_is_root, struct err *err);
/* Whether path, which once led to this directory, leads to something else now that was mounted
 * there since. False when its own mount is gone and path is a bare mount point or nothing. */
int host_dir_is_covered(int dirfd, const char *path, bool *ret_is_covered, struct err *err);
/* Every entry but "." and "..", in no order; is_regular by d_type. fn ≠0 stops the walk, which is
 * then 0. */
typedef int (*host_dir_fn)(void *arg, const char *name, bool is_regular);
int host_dir_each(int dirfd, host_dir_fn fn, void *arg, struct err *err);
int host_dir_sync(int dirfd, struct err *err);

/* A file without a name in dirfd's filesystem (O_TMPFILE): closing it, or dying, leaves nothing. */
int host_file_make(int dirfd, int *ret_fd, struct err *err);
/* Gives a nameless file its name, whole and at once; ALREADY_EXISTS. Sync the file before and the
 * directory after. */
int host_file_link(int fd, int dirfd, const char *name, struct err *err);
/* Regular files only (O_NOFOLLOW, O_NONBLOCK): NOT_FOUND, FAILED_PRECONDITION. */
int host_file_open(int dirfd, const char *name, bool read_only, int *ret_fd, struct err *err);
/* As host_file_open for writing, made empty (0600) if absent. */
int host_file_open_or_make(int dirfd, const char *name, int *ret_fd, struct err *err);
/* Atomic; what has the new name is replaced. */
int host_file_rename(int dirfd, const char *name, const char *new_name, struct err *err);
/* 0 also when it is gone already. */
int host_file_unlink(int dirfd, const char *name, struct err *err);

/* The file has exactly this size, and (allocate) disk blocks for all of it: what is written keeps,
 * holes read as zero. */
int host_file_allocate(int fd, uint64_t bytes, struct err *err);
/* At least this size, with disk blocks for all that is added; its blocks first, so that a kill
 * leaves no size without them. As before when it fails. */
int host_file_extend(int fd, uint64_t bytes, struct err *err);
/* Holes are left holes. 0 frees all blocks now, not when the inode is reaped. */
int host_file_resize(int fd, uint64_t bytes, struct err *err);
/* Copies what is not zero, block by block of 4 KiB, to the same places of to_fd (-1: nowhere). The
 * digest of places and bytes shows accidents, not malice. */
int host_file_copy_blocks(struct ctx *ctx, int from_fd, int to_fd, uint64_t *ret_digest,
			  struct err *err);
/*
 * Writes zeros to all of the file that was never written, holes and what host_file_allocate gave,
 * so that writing to it later changes bytes and nothing else. For a file that nobody else writes
 * to: what was written meanwhile would be lost. DEADLINE_EXCEEDED (half a second before the ctx's)
 * says how far it came, and a further call goes on from there; each gets some way, however short
 * its time.
 */
int host_file_write_gaps(struct ctx *ctx, int fd, struct err *err);
int host_file_sync(int fd, struct err *err);
/*
 * Half of a sync, for what gets its name next: the bytes are on the disk or in its cache, and what
 * the filesystem says of them comes in its log before any later change. So once a later change (the
 * name) is durable by host_dir_sync, the bytes are too; before that nothing is. XFS alone promises
 * it: its log holds changes in their order and is written after a flush of the disk's cache
 * (kernel, Documentation/filesystems/xfs/xfs-delayed-logging-design.rst; proven by
 * test_pool_cut.c).
 */
int host_file_write_out(int fd, struct err *err);
/*
 * Whether what is written again goes to the same place, without checksums (chattr +C): btrfs alone
 * has it, elsewhere it is false and cannot be set (FAILED_PRECONDITION). Set of an empty file, or
 * of a directory, whose new files have it then; two files that share blocks have both or none.
 */
int host_file_get_nocow(int fd, bool *ret_is_nocow, struct err *err);
int host_file_set_nocow(int fd, bool is_nocow, struct err *err);
/* Sets mtime to now. */
int host_file_touch(int fd, struct err *err);

/* Extended attribute as text; NOT_FOUND without it; FAILED_PRECONDITION if it has cap bytes or
 * more, or a NUL inside. */
int host_file_get_attr(int fd, const char *name, char *ret_text, size_t cap, struct err *err);
int host_file_set_attr(int fd, const char *name, const char *text, struct err *err);

/* Locks the file, made if absent, for this process alone, not waiting, until ret_fd is closed or
 * the process dies; no child has it. ABORTED: someone else has it, or this process; ret_holder is
 * the process, 0 when the kernel cannot say. */
int host_lock_take(int dirfd, const char *name, int *ret_fd, int *ret_holder, struct err *err);
/* Whether some process has that lock: 1, with ret_holder as above, or 0. Takes nothing. NOT_FOUND:
 * there is no such file. */
int host_lock_look(int dirfd, const char *name, int *ret_holder, struct err *err);
/*
 * A claim on the file's content that goes with this opening of it: a loop device that is bound with
 * the fd keeps it until it is gone. Many may share one; alone: nobody else may have any. ABORTED:
 * somebody has one that forbids it.
 */
int host_file_claim(int fd, bool alone, struct err *err);
/* The whole (small) content as text. */
int host_file_get_text(int fd, char *ret_text, size_t cap, struct err *err);
int host_file_set_text(int fd, const char *text, struct err *err);

/* A file in memory (memfd) of this size, holes unallocated. */
int host_file_make_memory(const char *name, uint64_t bytes, int *ret_fd, struct err *err);

#endif
