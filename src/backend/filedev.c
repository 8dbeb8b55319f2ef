/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are files, as block devices.
 *
 * A device that is there already is taken, whoever bound it, since two over one file would be two
 * filesystems: most often an earlier life of this process made it. It is checked like a new one,
 * and held again, so that the user who just now unmounts it cannot take it from under us.
 *
 * Order for raw volumes (opts.hold): the device is bound with AUTOCLEAR and held, everything is
 * checked, and only the last step drops AUTOCLEAR. A process killed before that leaves nothing;
 * after it the device is found by its inode.
 */
#include "backend/filedev.h"

#include <assert.h>
#include <poll.h>

#include "base/mem.h"
#include "base/num.h"
#include "host/grow.h"
#include "host/loopdev.h"

#define GONE_TRIES 250
#define GONE_WAIT_MS 2

/* host_loop_find or host_loop_find_reader */
typedef int (*find_fn)(const struct host_loop_file *file, struct host_loop *ret_loop,
		       int *ret_hold_fd, struct err *err);

static struct host_loop_file file_of(int fd, const struct host_file *file, const char *name)
{
	return (struct host_loop_file){ .fd = fd,
					.device = file->device,
					.inode = file->inode,
					.bytes = file->bytes,
					.name = name };
}

void filedev_holds_init(struct filedev_holds *h)
{
	pthread_mutex_init(&h->lock, NULL);
	h->fds = map_new();
	host_loop_sweep();
}

void filedev_holds_done(struct filedev_holds *h)
{
	const char *token;
	void *fd;

	for (size_t it = 0; map_next(h->fds, &it, &token, &fd);) {
		host_fd_close(*(int *)fd);
		free(fd);
	}
	map_free(h->fds);
	pthread_mutex_destroy(&h->lock);
	host_loop_sweep();
}

/* Puts fd in the token's place (-1: empties it) and closes what was there. */
static void swap_hold(struct filedev_holds *h, const char *token, int fd)
{
	int *box = fd < 0 ? NULL : xmalloc(sizeof(*box));
	int *old;

	if (box)
		*box = fd;
	pthread_mutex_lock(&h->lock);
	old = box ? map_put(h->fds, token, box) : map_take(h->fds, token);
	pthread_mutex_unlock(&h->lock);
	if (old)
		host_fd_close(*old);
	free(old);
}

void filedev_release(struct filedev_holds *h, const char *token)
{
	swap_hold(h, token, -1);
}

static void fill_device(const struct host_loop *loop, struct backend_device *dev)
{
	*dev = (struct backend_device){ .devno = loop->devno,
					.is_direct = loop->is_direct,
					.is_read_only = loop->is_read_only };
	static_assert(sizeof(dev->path) == sizeof(loop->path), "same room for paths");
	memcpy(dev->path, loop->path, sizeof(dev->path));
}

int filedev_attach(struct filedev_holds *h, struct ctx *ctx, const struct filedev_attach *what,
		   struct backend_device *ret_dev, struct err *err)
{
	const struct host_loop_options opts = {
		.read_only = what->opts.read_only,
		.allow_buffered = what->allow_buffered,
		.keep_allocated = what->keep_allocated,
		.reader = what->opts.reader,
	};
	const struct host_loop_file file =
		file_of(what->is_shared ? -1 : what->fd, &what->file, what->name);
	autohostfd int hold_fd = -1;
	struct host_loop loop;
	int rc =
		(opts.reader ? host_loop_find_reader : host_loop_find)(&file, &loop, &hold_fd, err);

	if (rc < 0)
		return -1;
	if (rc == 0 && host_loop_attach(ctx, what->fd, &opts, &loop, &hold_fd, err) < 0)
		return -1;
	if (rc > 0 && host_loop_check(&loop, hold_fd, &opts, err) < 0)
		return -1;
	if (what->opts.hold && host_loop_keep(hold_fd, err) < 0)
		return -1;
	if (!what->opts.hold) {
		swap_hold(h, what->token, hold_fd);
		hold_fd = -1;
	}
	fill_device(&loop, ret_dev);
	return 0;
}

static find_fn finder(enum filedev_role role)
{
	return role == FILEDEV_MAIN ? host_loop_find : host_loop_find_reader;
}

int filedev_find(enum filedev_role role, int fd, const struct host_file *file, const char *name,
		 struct backend_device *ret_dev, struct err *err)
{
	const struct host_loop_file what = file_of(fd, file, name);
	struct host_loop loop;
	int rc = finder(role)(&what, &loop, NULL, err);

	if (rc > 0)
		fill_device(&loop, ret_dev);
	return rc;
}

int filedev_get(enum filedev_role role, int fd, const struct host_file *file, const char *name,
		struct backend_device *ret_dev, struct err *err)
{
	int rc = filedev_find(role, fd, file, name, ret_dev, err);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND,
			       role == FILEDEV_MAIN ? "it is not attached" : "it has no reader");
	return rc < 0 ? -1 : 0;
}

static int grow_device(find_fn find, const struct host_loop_file *file, struct err *err)
{
	struct host_loop loop;
	int rc = find(file, &loop, NULL, err);

	if (rc <= 0)
		return rc;
	rc = host_loop_set_capacity(&loop, file->device, file->inode, file->bytes, err);
	return rc < 0 && err->code == ERR_NOT_FOUND ? 0 : rc; /* it went meanwhile */
}

int filedev_grow(int fd, const struct host_file *file, const char *name, struct err *err)
{
	const struct host_loop_file what = file_of(fd, file, name);

	return grow_device(host_loop_find, &what, err) < 0
		       ? -1
		       : grow_device(host_loop_find_reader, &what, err);
}

int filedev_refuse_growth(uint64_t more_bytes, uint64_t free_bytes, struct err *err)
{
	char more[NUM_QUANTITY_MAX], left[NUM_QUANTITY_MAX];

	num_format_quantity(more_bytes, more);
	num_format_quantity(free_bytes, left);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "it takes %s more, and %s are free; ask for less, or make room", more, left);
}

int filedev_find_unlinked(dev_t fs, const char *name, struct backend_device *ret_dev,
			  struct err *err)
{
	struct host_loop_seen seen;
	int rc = host_loop_find_unlinked(fs, name, &seen, err);

	if (rc <= 0)
		return rc;
	*ret_dev = (struct backend_device){ .devno = seen.devno };
	memcpy(ret_dev->path, seen.path, sizeof(ret_dev->path));
	return 1;
}

struct each_lost {
	backend_lost_fn fn;
	void *arg;
};

static int see_lost(void *arg, const struct host_loop_seen *seen)
{
	const struct each_lost *each = arg;
	struct backend_device dev = { .devno = seen->devno };

	if (!vol_token_is_valid(seen->name))
		return 0;
	memcpy(dev.path, seen->path, sizeof(dev.path));
	return each->fn(each->arg, seen->name, &dev);
}

int filedev_each_lost(dev_t fs, backend_lost_fn fn, void *arg, struct err *err)
{
	return host_loop_each_unlinked(fs, see_lost, &(struct each_lost){ fn, arg }, err);
}

/*
 * Whoever looks at all loop devices of the machine (udev, losetup) has ours open for a moment, and
 * then it goes only when he is done. Without this wait the delete that follows would find it in
 * use. One that is really in use stays, as the contract says; nothing in the kernel tells when it
 * goes.
 */
static int wait_gone(find_fn find, const struct host_loop_file *file, struct host_loop *ret_loop,
		     struct err *err)
{
	int rc = 1;

	for (unsigned i = 0; rc > 0 && i < GONE_TRIES; i++) {
		rc = find(file, ret_loop, NULL, err);
		if (rc > 0)
			(void)poll(NULL, 0, GONE_WAIT_MS);
	}
	return rc;
}

/* 0: there is none, or none any more; 1: it is in use. */
static int let_go(find_fn find, const struct host_loop_file *file, struct host_loop *ret_loop,
		  struct err *err)
{
	int rc = find(file, ret_loop, NULL, err);

	if (rc <= 0)
		return rc;
	if (host_loop_detach(ret_loop, file->device, file->inode, err) < 0)
		return -1;
	return wait_gone(find, file, ret_loop, err);
}

int filedev_detach(struct filedev_holds *h, const char *token, const char *name, int fd,
		   const struct host_file *file, struct err *err)
{
	const struct host_loop_file what = file_of(fd, file, name);
	struct host_loop loop;

	filedev_release(h, token);
	/* the reader last: once nobody has the file open, there is no need to look for one */
	if (let_go(host_loop_find, &what, &loop, err) < 0)
		return -1;
	return let_go(host_loop_find_reader, &what, &loop, err) < 0 ? -1 : 0;
}

int filedev_drop_reader(int fd, const struct host_file *file, const char *name,
			struct backend_device *ret_dev, struct err *err)
{
	const struct host_loop_file what = file_of(fd, file, name);
	struct host_loop loop;
	int rc = let_go(host_loop_find_reader, &what, &loop, err);

	if (rc > 0)
		fill_device(&loop, ret_dev);
	return rc;
}
