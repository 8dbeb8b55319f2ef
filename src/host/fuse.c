/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's side of /dev/fuse (include/uapi/linux/fuse.h), as much of it as one file needs.
 *
 * The mount is over a file, so the root inode is that file: nothing is ever looked up, and there is
 * no directory. One thread reads what is asked and hands it on; answers are written by whichever
 * thread has them. A request keeps the buffer that it was read into until it is answered, so what
 * is written is copied once, by the kernel, and what is read as well; a few buffers are kept for
 * the next. The kernel has at most MAX_BACKGROUND requests under way, which bounds their memory.
 *
 * Attributes are valid for years: what goes down must not have to ask a server that is dead or
 * stands still, and a loop device asks for its file's inode whenever it is asked for its own state.
 * Only growth invalidates them (host_fuse_resize).
 *
 * Opening bypasses the page cache, so that no second copy of the data lies there, which the
 * volume's other paths would not know of, and writes go side by side (Linux ≥6.2).
 *
 * A hole that is punched reads as zeros afterwards, since the loop device zeroes blocks by it too,
 * and not only discards: so both are ops.zero.
 */
#include "host/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"
#include "host/fuse-internal.h"

#define MAX_BACKGROUND 64
#define IO_PAGES (HOST_FUSE_IO_MAX / 4096)
#define KEPT_MAX 16
#define READS_PER_POLL 32
#define BLOCK_BYTES 4096
#define SECTOR_BYTES 512
#define VALID_S (10ull * 365 * 24 * 3600)
#define WRITE_HEAD (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

enum answer { ANSWER_NOTHING, ANSWER_BYTES, ANSWER_WRITTEN };

struct host_fuse_request {
	struct host_fuse *fuse;
	void *arg; /* of host_fuse_serve */
	uint64_t unique;
	enum answer answer;
	uint32_t n;                     /* bytes read or written */
	struct host_fuse_request *next; /* of those kept */
	_Alignas(16) uint8_t buf[FUSE_BUFFER_BYTES];
};

struct host_fuse {
	int fd;
	int end_fd; /* eventfd: one was answered after serving had ended */
	bool is_read_only;
	_Atomic uint64_t bytes;
	atomic_uint n_asked; /* handed on, not answered */
	atomic_bool is_ended;
	pthread_mutex_t lock;           /* guards what follows */
	struct host_fuse_request *kept; /* for the next */
	unsigned n_kept;
};

struct host_fuse_request *fuse_request_new(struct host_fuse *f)
{
	struct host_fuse_request *req;

	pthread_mutex_lock(&f->lock);
	req = f->kept;
	if (req) {
		f->kept = req->next;
		f->n_kept--;
	}
	pthread_mutex_unlock(&f->lock);
	if (!req)
		req = xmalloc(sizeof(*req));
	req->fuse = f;
	req->answer = ANSWER_NOTHING;
	req->n = 0;
	return req;
}

void *fuse_request_buffer(struct host_fuse_request *req)
{
	return req->buf;
}

static void drop(struct host_fuse_request *req)
{
	struct host_fuse *f = req->fuse;

	pthread_mutex_lock(&f->lock);
	if (f->n_kept < KEPT_MAX) {
		req->next = f->kept;
		f->kept = req;
		f->n_kept++;
		req = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	free(req);
}

/* os: 0, or an errno. Who cannot be told has gone (ENOENT: the request was interrupted;
 * ENODEV: unmounted). */
static void reply(const struct host_fuse_request *req, int os, const void *body, size_t n)
{
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + (os ? 0 : n)),
					.error = -os,
					.unique = req->unique };
	struct iovec parts[2] = { { &head, sizeof(head) }, { (void *)(uintptr_t)body, n } };
	ssize_t rc;

	do
		rc = writev(req->fuse->fd, parts, os || n == 0 ? 1 : 2);
	while (rc < 0 && errno == EINTR);
}

/* Answers and drops. */
static int answer(struct host_fuse_request *req, int os, const void *body, size_t n)
{
	reply(req, os, body, n);
	drop(req);
	return 0;
}

static int refuse(struct host_fuse_request *req, int os)
{
	return answer(req, os, NULL, 0);
}

void *host_fuse_arg(const struct host_fuse_request *req)
{
	return req->arg;
}

void host_fuse_done(struct host_fuse_request *req, int64_t rc)
{
	const struct fuse_write_out written = { .size = req->n };
	int os = rc < 0 ? (int)-rc : 0;
	struct host_fuse *f = req->fuse;

	if (req->answer == ANSWER_BYTES)
		(void)answer(req, os, req->buf, rc < req->n ? (size_t)rc : req->n);
	else if (req->answer == ANSWER_WRITTEN)
		(void)answer(req, os, &written, sizeof(written));
	else
		(void)refuse(req, os);
	/* f may be freed as soon as the last one is counted and nobody is waited for */
	if (atomic_load(&f->is_ended))
		(void)eventfd_write(f->end_fd, 1);
	atomic_fetch_sub(&f->n_asked, 1);
}

static int init(struct host_fuse_request *req, const struct fuse_init_in *in)
{
	const uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor
							       : FUSE_KERNEL_MINOR_VERSION,
		.flags = in->flags & wanted,
		.max_background = MAX_BACKGROUND,
		.congestion_threshold = MAX_BACKGROUND * 3 / 4,
		.max_write = HOST_FUSE_IO_MAX,
		.time_gran = 1,
		.max_pages = IO_PAGES,
	};

	/* older ones have a shorter answer; loop devices as we need them are younger by far */
	if (in->major < FUSE_KERNEL_VERSION ||
	    (in->major == FUSE_KERNEL_VERSION && in->minor < 23)) {
		(void)refuse(req, EPROTO);
		return -1;
	}
	return answer(req, 0, &out, sizeof(out)); /* a newer major asks again, in ours */
}

static void fill_attr(struct host_fuse *f, struct fuse_attr *attr)
{
	uint64_t bytes = atomic_load(&f->bytes);

	*attr = (struct fuse_attr){
		.ino = FUSE_ROOT_ID,
		.size = bytes,
		.blocks = bytes / SECTOR_BYTES,
		.mode = S_IFREG | (f->is_read_only ? 0400 : 0600),
		.nlink = 1,
		.blksize = BLOCK_BYTES,
	};
}

static int get_attr(struct host_fuse_request *req)
{
	struct fuse_attr_out out = { .attr_valid = VALID_S };

	fill_attr(req->fuse, &out.attr);
	return answer(req, 0, &out, sizeof(out));
}

/* Times and modes are taken and forgotten; the size is the image's alone. */
static int set_attr(struct host_fuse_request *req, const struct fuse_setattr_in *in)
{
	if (in->valid & FATTR_SIZE && in->size != atomic_load(&req->fuse->bytes))
		return refuse(req, EPERM);
	return get_attr(req);
}

static int open_file(struct host_fuse_request *req)
{
	const struct fuse_open_out out = { .open_flags =
						   FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES };

	return answer(req, 0, &out, sizeof(out));
}

static int stat_fs(struct host_fuse_request *req)
{
	uint64_t blocks = atomic_load(&req->fuse->bytes) / BLOCK_BYTES;
	struct fuse_statfs_out out = { .st = { .blocks = blocks,
					       .bsize = BLOCK_BYTES, /* of a discard, too */
					       .frsize = BLOCK_BYTES,
					       .files = 1,
					       .namelen = 255 } };

	return answer(req, 0, &out, sizeof(out));
}

static void hand_on(struct host_fuse_request *req, enum answer answer, size_t n)
{
	req->answer = answer;
	req->n = (uint32_t)n;
	atomic_fetch_add(&req->fuse->n_asked, 1);
}

static int read_file(struct host_fuse_request *req, const struct fuse_read_in *in,
		     const struct host_fuse_ops *ops, void *arg)
{
	uint64_t bytes = atomic_load(&req->fuse->bytes);
	uint64_t offset = in->offset;
	uint64_t n = in->size;

	if (n > HOST_FUSE_IO_MAX)
		return refuse(req, EINVAL);
	if (offset >= bytes || n == 0)
		return refuse(req, 0); /* the end: no bytes */
	if (n > bytes - offset)
		n = bytes - offset;
	hand_on(req, ANSWER_BYTES, n);
	ops->read(arg, req, offset, req->buf, n); /* in is gone with this */
	return 0;
}

static int write_file(struct host_fuse_request *req, const struct fuse_write_in *in, size_t n,
		      const struct host_fuse_ops *ops, void *arg)
{
	uint64_t bytes = atomic_load(&req->fuse->bytes);

	if (in->size != n - WRITE_HEAD || in->size > HOST_FUSE_IO_MAX)
		return refuse(req, EINVAL);
	if (req->fuse->is_read_only)
		return refuse(req, EROFS);
	if (in->offset > bytes || in->size > bytes - in->offset)
		return refuse(req, ENOSPC);
	hand_on(req, ANSWER_WRITTEN, in->size);
	ops->write(arg, req, in->offset, req->buf + WRITE_HEAD, in->size);
	return 0;
}

static int allocate(struct host_fuse_request *req, const struct fuse_fallocate_in *in,
		    const struct host_fuse_ops *ops, void *arg)
{
	uint64_t bytes = atomic_load(&req->fuse->bytes);
	uint64_t n = in->length;

	if (!(in->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) ||
	    in->mode &
		    ~(uint32_t)(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
		return refuse(req, EOPNOTSUPP);
	if (req->fuse->is_read_only)
		return refuse(req, EROFS);
	if (in->offset >= bytes)
		return refuse(req, 0);
	if (n > bytes - in->offset)
		n = bytes - in->offset;
	hand_on(req, ANSWER_NOTHING, 0);
	ops->zero(arg, req, in->offset, n);
	return 0;
}

static int flush(struct host_fuse_request *req, const struct host_fuse_ops *ops, void *arg)
{
	if (req->fuse->is_read_only)
		return refuse(req, 0);
	hand_on(req, ANSWER_NOTHING, 0);
	ops->flush(arg, req);
	return 0;
}

/* How long the body has to be, of those that have one that is looked at. */
static size_t body_bytes(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_INIT: /* what later versions have more is not looked at */
		return offsetof(struct fuse_init_in, flags2);
	case FUSE_SETATTR:
		return sizeof(struct fuse_setattr_in);
	case FUSE_READ:
		return sizeof(struct fuse_read_in);
	case FUSE_WRITE:
		return sizeof(struct fuse_write_in);
	case FUSE_FALLOCATE:
		return sizeof(struct fuse_fallocate_in);
	default:
		return 0;
	}
}

static int dispatch(struct host_fuse_request *req, uint32_t opcode, size_t n,
		    const struct host_fuse_ops *ops, void *arg)
{
	const void *body = req->buf + sizeof(struct fuse_in_header);

	switch (opcode) {
	case FUSE_INIT:
		return init(req, body);
	case FUSE_GETATTR:
		return get_attr(req);
	case FUSE_SETATTR:
		return set_attr(req, body);
	case FUSE_OPEN:
		return open_file(req);
	case FUSE_READ:
		return read_file(req, body, ops, arg);
	case FUSE_WRITE:
		return write_file(req, body, n, ops, arg);
	case FUSE_FALLOCATE:
		return allocate(req, body, ops, arg);
	case FUSE_FSYNC:
	case FUSE_FLUSH:
	case FUSE_RELEASE: /* the loop device let go: what it wrote last is not lost with us */
		return flush(req, ops, arg);
	case FUSE_STATFS:
		return stat_fs(req);
	case FUSE_DESTROY:
		(void)refuse(req, 0);
		return 1;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET: /* have no answer */
		drop(req);
		return 0;
	default: /* FUSE_INTERRUPT too, which then is not sent again */
		return refuse(req, ENOSYS);
	}
}

int fuse_handle(struct host_fuse_request *req, size_t n, const struct host_fuse_ops *ops, void *arg)
{
	struct fuse_in_header head;

	if (n < sizeof(head)) {
		drop(req);
		return -1;
	}
	memcpy(&head, req->buf, sizeof(head));
	req->unique = head.unique;
	req->arg = arg;
	if (head.len != n || n - sizeof(head) < body_bytes(head.opcode))
		return refuse(req, EINVAL);
	return dispatch(req, head.opcode, n, ops, arg);
}

/* One message: 0 when there is none just now, 1, 2 when there will be none any more, or -1. */
static int read_one(struct host_fuse *f, const struct host_fuse_ops *ops, void *arg,
		    struct err *err)
{
	struct host_fuse_request *req = fuse_request_new(f);
	ssize_t n = read(f->fd, req->buf, sizeof(req->buf));
	int os = errno;
	int rc;

	if (n <= 0) {
		drop(req);
		if (n == 0 || os == ENODEV || os == ECONNABORTED)
			return 2;
		if (os == EAGAIN)
			return 0;
		/* ENOENT: taken back while it was read */
		return os == EINTR || os == ENOENT ? 1 : host_err(err, os, "read '/dev/fuse'");
	}
	rc = fuse_handle(req, (size_t)n, ops, arg);
	if (rc < 0)
		return err_set(err, ERR_INTERNAL,
			       "the kernel's FUSE is older than 7.23 or speaks in another way");
	return rc ? 2 : 1;
}

static int serve(struct host_fuse *f, const struct host_fuse_ops *ops, void *arg, int wake_fd,
		 struct err *err)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = f->fd, .events = POLLIN },
					 { .fd = wake_fd, .events = POLLIN } };
		int rc = 1;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			ops->woken(arg);
		if (!fds[0].revents)
			continue;
		for (unsigned i = 0; rc == 1 && i < READS_PER_POLL; i++)
			rc = read_one(f, ops, arg, err);
		if (rc < 0 || rc == 2)
			return rc < 0 ? -1 : 0;
	}
}

int host_fuse_serve(struct host_fuse *f, const struct host_fuse_ops *ops, void *arg, int wake_fd,
		    struct err *err)
{
	int rc = serve(f, ops, arg, wake_fd, err);

	atomic_store(&f->is_ended, true);
	while (atomic_load(&f->n_asked) > 0) {
		struct pollfd fd = { .fd = f->end_fd, .events = POLLIN };
		eventfd_t n;

		/* an answer that was on its way when this ended may have told nobody */
		if (poll(&fd, 1, 10) > 0)
			(void)eventfd_read(f->end_fd, &n);
	}
	return rc;
}

void host_fuse_resize(struct host_fuse *f, uint64_t bytes)
{
	struct fuse_notify_inval_inode_out what = { .ino = FUSE_ROOT_ID, .off = -1 };
	struct fuse_out_header head = { .len = sizeof(head) + sizeof(what),
					.error = FUSE_NOTIFY_INVAL_INODE };
	struct iovec parts[2] = { { &head, sizeof(head) }, { &what, sizeof(what) } };

	atomic_store(&f->bytes, bytes);
	if (writev(f->fd, parts, 2) < 0)
		return; /* ENOENT: nobody has looked at it yet */
}

struct host_fuse *fuse_new(int fd, uint64_t bytes, bool read_only)
{
	struct host_fuse *f = xcalloc(1, sizeof(*f));

	f->fd = fd;
	f->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->is_read_only = read_only;
	atomic_init(&f->bytes, bytes);
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

void host_fuse_free(struct host_fuse *f)
{
	if (!f)
		return;
	while (f->kept) {
		struct host_fuse_request *next = f->kept->next;

		free(f->kept);
		f->kept = next;
	}
	(void)close(f->fd);
	(void)close(f->end_fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int host_fuse_mount(const struct host_fuse_options *opts, struct host_fuse **ret_fuse,
		    struct err *err)
{
	autofd int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	char type[64], options[192];

	if (fd < 0)
		return err_os(
			err, ERR_FAILED_PRECONDITION, errno,
			"open '/dev/fuse' (modprobe fuse; a container needs the host's /dev)");
	(void)snprintf(type, sizeof(type), "fuse.%s", opts->subtype);
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=100600,user_id=%u,group_id=%u,allow_other,"
		       "default_permissions,max_read=%u",
		       fd, geteuid(), getegid(), HOST_FUSE_IO_MAX);
	if (mount(opts->source, opts->path, type, flags | (opts->read_only ? MS_RDONLY : 0),
		  options) < 0)
		return host_err(err, errno, "mount FUSE at '%s'", opts->path);
	*ret_fuse = fuse_new(TAKE_FD(fd), opts->bytes, opts->read_only);
	return 0;
}

/* The control filesystem by a mount that is nowhere, since nodes and containers need not have it in
 * /sys: an fd of its root, -errno. */
static int open_control(void)
{
	autofd int context = (int)syscall(SYS_fsopen, "fusectl", FSOPEN_CLOEXEC);
	int fd;

	if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int host_fuse_abort(dev_t device, struct err *err)
{
	autofd int control_fd = open_control();
	autofd int fd = -1;
	char path[32];

	if (control_fd < 0)
		return host_err(err, -control_fd, "mount fusectl, to end a FUSE connection");
	(void)snprintf(path, sizeof(path), "%u/abort", minor(device));
	fd = openat(control_fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return host_err(err, errno, "end the FUSE connection %u", minor(device));
	return 0;
}
