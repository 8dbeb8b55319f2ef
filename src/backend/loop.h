/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOOP_H
#define BACKEND_LOOP_H

#include "backend/backend.h"
#include "base/map.h"
#include "host/fs.h"

#include <pthread.h>

/*
 * What the backends whose volumes are files share: attach, find, detach by the backing inode, and
 * the read-only fds that keep an AUTOCLEAR device alive between attach and mount. Thread-safe.
 */
struct loop_holds {
	pthread_mutex_t lock; /* guards fds; never held across a syscall */
	struct map *fds;      /* token → int * */
};

void loop_holds_init(struct loop_holds *h);
void loop_holds_done(struct loop_holds *h); /* lets go of all */

/* Which of a volume's two devices: the one that it is attached as, or the read-only one beside it
 * (backend_ops.find_reader). */
enum loop_role { LOOP_MAIN, LOOP_READER };

struct loop_attach {
	const char *token;
	const char *name; /* of the file, as host_loop_find wants it */
	int fd;           /* of the volume's file, open for writing unless opts.read_only */
	bool is_shared;   /* fd may be the very one that a device was bound with */
	struct host_file file;
	struct backend_attach_options opts;
	bool allow_buffered;
	bool keep_allocated;
};

/* As backend_ops.attach. */
int loop_attach(struct loop_holds *h, struct ctx *ctx, const struct loop_attach *what,
		struct backend_device *ret_dev, struct err *err);
/* 1 and ret_dev, or 0. fd: as in struct host_loop_file. */
int loop_find(enum loop_role role, int fd, const struct host_file *file, const char *name,
	      struct backend_device *ret_dev, struct err *err);
/* As backend_ops.find_device and find_reader: NOT_FOUND when there is none. */
int loop_get(enum loop_role role, int fd, const struct host_file *file, const char *name,
	     struct backend_device *ret_dev, struct err *err);
int loop_detach(struct loop_holds *h, const char *token, const char *name, int fd,
		const struct host_file *file, struct err *err);
/* The reader. 0: there is none, or none any more; 1: somebody has it open. */
int loop_drop_reader(int fd, const struct host_file *file, const char *name,
		     struct backend_device *ret_dev, struct err *err);
/* 1 and ret_dev if a device keeps the bytes of a file of this name that was unlinked (by a person),
 * on the filesystem of the number; or 0. */
int loop_find_unlinked(dev_t fs, const char *name, struct backend_device *ret_dev, struct err *err);
/* Lets go of the token's device, if held. */
void loop_release(struct loop_holds *h, const char *token);

#endif
