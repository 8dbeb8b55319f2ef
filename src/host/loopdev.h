/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_LOOPDEV_H
#define HOST_LOOPDEV_H

#include "base/ctx.h"
#include "base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Loop devices over files of ours. A device is known by the inode behind it, never by a path or a
 * number: devices of others are opened read-only to be asked and are otherwise left alone.
 */
struct host_loop {
	char path[64]; /* "/dev/loop7" */
	dev_t devno;
	bool is_direct; /* direct I/O, as the kernel says now */
	bool is_read_only;
	bool is_autoclear;
	bool is_reader;
	bool is_whole; /* no offset, no limit */
};

struct host_loop_options {
	bool read_only;
	bool reader; /* one more device over the file, beside the one that the file is known by, for
			those who may not write; read_only too */
	bool allow_buffered; /* take a device without direct I/O */
	bool keep_allocated; /* discard must not punch holes: the device gets discard_max_bytes = 0;
				else it passes discard on, if the kernel lets it */
	unsigned block_bytes; /* 0: 4096 */
};

struct host_loop_file {
	int fd; /* open, but not the very one that a device was bound with; -1: none, which is
		   slower */
	dev_t device;
	uint64_t inode;
	uint64_t bytes;
	const char *name; /* last path component ("memfd:x" for a memfd x) */
};

/*
 * The device whose backing file is this inode, whatever name it had when it was bound: 1 and
 * ret_loop, or 0. With ret_hold_fd (may be NULL) it is also held. Readers are not found by this,
 * only by host_loop_find_reader. loopfind.c says how, and that it does not depend on the number of
 * devices.
 */
int host_loop_find(const struct host_loop_file *file, struct host_loop *ret_loop, int *ret_hold_fd,
		   struct err *err);
int host_loop_find_reader(const struct host_loop_file *file, struct host_loop *ret_loop,
			  int *ret_hold_fd, struct err *err);

/* A device over the root, a file, of a filesystem that has no mount any more in any namespace, and
 * lives by the device alone. As host_loop_find; one that cannot be asked is none. */
int host_loop_find_unmounted(dev_t device, uint64_t inode, struct host_loop *ret_loop,
			     struct err *err);

/*
 * A new device over the file, block size 4096 or what is asked, direct I/O, AUTOCLEAR. It lives as
 * long as ret_hold_fd is open or it is mounted or otherwise open, so a process that dies between
 * this and the mount leaves nothing. The hold is a read-only fd: kernels that forbid writers beside
 * a mount (BLK_DEV_WRITE_MOUNTED=n) do not mind it. FAILED_PRECONDITION: no direct I/O and not
 * allow_buffered, or discard could not be turned off; UNAVAILABLE: no free device after many tries.
 * Its number is one of ours (loopnum.c) and goes when it is found that the device was unbound.
 */
int host_loop_attach(struct ctx *ctx, int backing_fd, const struct host_loop_options *opts,
		     struct host_loop *ret_loop, int *ret_hold_fd, struct err *err);

/* Whether a device that was found is as host_loop_attach would have made it; FAILED_PRECONDITION
 * names it. What can be set on it (discard) is set. */
int host_loop_check(const struct host_loop *loop, int hold_fd, const struct host_loop_options *opts,
		    struct err *err);

/* Removes devices of our numbers that are bound to nothing: what killed processes left, and the
 * spares of this one. At start and end. */
void host_loop_sweep(void);

/* Drops AUTOCLEAR: the device stays until host_loop_detach, whoever dies. */
int host_loop_keep(int hold_fd, struct err *err);

/* Lets go of the device if it still is over this inode. One that is mounted or open goes when its
 * last user does. */
int host_loop_detach(const struct host_loop *loop, dev_t device, uint64_t inode, struct err *err);

/*
 * loopseen.c: devices of which only sysfs is asked, since their disk may be dead. A device is seen
 * if the last component of its backing file is the name (or "memfd:" and the name), whether or not
 * the file still has it, and its sectors have the size of ours; that is not proof as an inode is.
 */
struct host_loop_seen {
	char path[64];
	dev_t devno;
	bool is_deleted;          /* the file has lost its name */
	char name[NAME_MAX + 1];  /* its last component, or what that was */
	char file[PATH_MAX + 16]; /* as the kernel calls it: equal for devices over one file */
};
typedef int (*host_loop_seen_fn)(void *arg, const struct host_loop_seen *seen);
/* fn ≠0 stops. Opens no device and asks no filesystem but sysfs. */
int host_loop_each_named(const char *name, host_loop_seen_fn fn, void *arg, struct err *err);
/* A device over a file of this name on this filesystem (its st_dev) that was unlinked, whose bytes
 * the device keeps: 1 and ret_seen, or 0. Asks that filesystem, which has to be alive. */
int host_loop_find_unlinked(dev_t fs, const char *name, struct host_loop_seen *ret_seen,
			    struct err *err);
/* All of those on this filesystem, whatever the name was. fn ≠0 stops. */
int host_loop_each_unlinked(dev_t fs, host_loop_seen_fn fn, void *arg, struct err *err);
/* Lets go of the device if it is still seen by that name; 0 also when it is gone. One that is
 * mounted or open goes when its last user does. */
int host_loop_let_go(const struct host_loop_seen *seen, const char *name, struct err *err);

/*
 * The same by the whole path of the backing file, as the kernel calls it, whatever the size of its
 * sectors: 1 and ret_seen, or 0. The file is on one of these filesystems (st_dev; 0 is none): a
 * device that can be asked and is over another is somebody else's, at the same path in a mount
 * namespace of his (nodes in containers of one machine).
 */
int host_loop_find_over(const char *path, const dev_t *fs, size_t n_fs,
			struct host_loop_seen *ret_seen, struct err *err);
int host_loop_let_go_over(const struct host_loop_seen *seen, struct err *err);

#endif
