/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_FILEDEV_H
#define BACKEND_FILEDEV_H

#include "backend/backend.h"
#include "base/map.h"
#include "host/fs.h"

#include <pthread.h>

/*
 * What the backends whose volumes are files share: attach, find, detach by the backing inode, and
 * the read-only fds that keep an AUTOCLEAR device alive between attach and mount. Thread-safe.
 */
struct filedev_holds {
	pthread_mutex_t lock; /* guards fds; never held across a syscall */
	struct map *fds;      /* token → int * */
};

void filedev_holds_init(struct filedev_holds *h);
void filedev_holds_done(struct filedev_holds *h); /* lets go of all */

/* Which of a volume's two devices: the one that it is attached as, or the read-only one beside it
 * (backend_ops.find_reader). */
enum filedev_role { FILEDEV_MAIN, FILEDEV_READER };

struct filedev_attach {
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
int filedev_attach(struct filedev_holds *h, struct ctx *ctx, const struct filedev_attach *what,
		   struct backend_device *ret_dev, struct err *err);
/* 1 and ret_dev, or 0. fd: as in struct host_loop_file. */
int filedev_find(enum filedev_role role, int fd, const struct host_file *file, const char *name,
		 struct backend_device *ret_dev, struct err *err);
/* As backend_ops.find_device and find_reader: NOT_FOUND when there is none. */
int filedev_get(enum filedev_role role, int fd, const struct host_file *file, const char *name,
		struct backend_device *ret_dev, struct err *err);
/* The devices that there are get the size of the file. */
int filedev_grow(int fd, const struct host_file *file, const char *name, struct err *err);
/* OUT_OF_RANGE: so much more does not fit into what is free. */
int filedev_refuse_growth(uint64_t more_bytes, uint64_t free_bytes, struct err *err);
int filedev_detach(struct filedev_holds *h, const char *token, const char *name, int fd,
		   const struct host_file *file, struct err *err);
/* The reader. 0: there is none, or none any more; 1: somebody has it open. */
int filedev_drop_reader(int fd, const struct host_file *file, const char *name,
			struct backend_device *ret_dev, struct err *err);
/* 1 and ret_dev if a device keeps the bytes of a file of this name that was unlinked (by a person),
 * on the filesystem of the number; or 0. */
int filedev_find_unlinked(dev_t fs, const char *name, struct backend_device *ret_dev,
			  struct err *err);
/* As backend_ops.each_lost, of names that a volume can have. */
int filedev_each_lost(dev_t fs, backend_lost_fn fn, void *arg, struct err *err);
/* Lets go of the token's device, if held. */
void filedev_release(struct filedev_holds *h, const char *token);

#endif
