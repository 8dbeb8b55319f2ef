/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FUSE_H
#define HOST_FUSE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One file whose bytes this process gives: /dev/fuse without libfuse, mounted over a regular file,
 * whose place it takes. For a loop device over it, so what that needs is there: reading, writing,
 * fsync, zeroing (which is how a loop device discards), a size that grows.
 */
struct host_fuse;
struct host_fuse_request; /* that the kernel waits for */

struct host_fuse_options {
	const char *path;    /* an existing regular file */
	const char *subtype; /* the mount's filesystem is "fuse.SUBTYPE" */
	const char *source;  /* of the mount, for the mount table */
	bool read_only;
	uint64_t bytes; /* of the file */
};

#define HOST_FUSE_IO_MAX (1u << 20)

/* What is asked; never more than HOST_FUSE_IO_MAX to read or write, and never beyond the end. Each
 * ends by one host_fuse_done, on any thread, perhaps before it returns; buf is there until then. */
struct host_fuse_ops {
	void (*read)(void *arg, struct host_fuse_request *req, uint64_t offset, void *buf,
		     size_t n);
	void (*write)(void *arg, struct host_fuse_request *req, uint64_t offset, const void *buf,
		      size_t n);
	void (*zero)(void *arg, struct host_fuse_request *req, uint64_t offset, uint64_t n);
	/* All that was written, and has been answered, is durable. */
	void (*flush)(void *arg, struct host_fuse_request *req);
	/* wake_fd is readable; on the thread that serves. */
	void (*woken)(void *arg);
};

/* PERMISSION_DENIED (CAP_SYS_ADMIN); FAILED_PRECONDITION: no /dev/fuse. */
int host_fuse_mount(const struct host_fuse_options *opts, struct host_fuse **ret_fuse,
		    struct err *err);
/* Serves until the file is unmounted everywhere or the connection is aborted, and until what was
 * asked has been answered. wake_fd -1: none. INTERNAL: the kernel speaks in another way. */
int host_fuse_serve(struct host_fuse *f, const struct host_fuse_ops *ops, void *arg, int wake_fd,
		    struct err *err);
/* rc: -errno, or ≥0; of a read how many bytes there were. */
void host_fuse_done(struct host_fuse_request *req, int64_t rc);
/* What host_fuse_serve was given. */
void *host_fuse_arg(const struct host_fuse_request *req);
/* From now on the file has this size, and the kernel asks for it anew. Any thread. */
void host_fuse_resize(struct host_fuse *f, uint64_t bytes);
/* Once nobody serves. */
void host_fuse_free(struct host_fuse *f);

/* Ends the connection of a mount (its st_dev), whoever still holds it: all that is asked of it is
 * an error from then on. NOT_FOUND: it is gone. */
int host_fuse_abort(dev_t device, struct err *err);

#endif
