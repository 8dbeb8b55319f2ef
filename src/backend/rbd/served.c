/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image that a server gives as a file, and a loop device over it:
 *
 *     STATE/TOKEN/         the volume's directory
 *        server            the server's lock, and what it says of the image's size
 *        TOKEN             a regular file, covered by the server's mount
 *
 * The loop device has sectors of 512 bytes, as the kernel's client has and ceph-csi's devices had:
 * an XFS, or a small ext4, that was made on those cannot be mounted with larger ones. It keeps
 * without AUTOCLEAR: server and device outlive us, so both go by detach alone.
 *
 * What goes down asks neither the file nor the cluster: the file's inode is always the first of a
 * filesystem that the mount table names, and a loop device tells that inode without asking a server
 * that is dead (fuse.c: attributes are valid for years), or else its path in sysfs.
 *
 * A server that dies as the last of its mount namespace takes its mount along, and leaves the loop
 * device over a filesystem that no table names: what the server has said of it is known yet.
 *
 * After the unmount the server ends by itself, once the kernel has let go of the filesystem. Where
 * somebody holds a copy of the mount, in a namespace of his own, that never happens; nobody needs
 * it any more without the loop device, so the connection is aborted then, which lets the server
 * write out and close as usual, and killed if that does not help either.
 */
#define LOG_ROOM "backend.rbd"
#include "backend/rbd/served.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/ceph/server.h"
#include "backend/rbd/image.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "host/blockdev.h"
#include "host/fs.h"
#include "host/fuse.h"
#include "host/grow.h"
#include "host/loopdev.h"
#include "host/mount.h"
#include "host/resolve.h"
#include "host/self.h"
#include "host/users.h"

#define SECTOR_BYTES 512
#define ROOT_INODE 1
#define LET_GO_NS (2 * NS_PER_S)
#define LET_GO_AGAIN_MS 20
#define END_NS (5 * NS_PER_S)
#define ENDING_NS NS_PER_S
#define ABORTED_NS (5 * NS_PER_S)
#define KILLED_NS (5 * NS_PER_S)

/* One volume's place on this node. */
struct served {
	const char *token;
	char dir[PATH_MAX];        /* as the kernel names it */
	char path[PATH_MAX + 160]; /* of the file */
	int dir_fd;                /* -1: there is no such directory */
	bool is_mounted;           /* the file is covered by a server's mount, living or dead */
	uint64_t device;           /* of that mount; 0: not known */
	uint64_t lost;             /* of the last server's mount, if that is not here; 0 */
	int holder;                /* the server, as long as it lives; 0: there is none */
	uint64_t bytes;            /* of the image, as the server says; 0: it does not */
	pid_t pid;                 /* the last server, as it says */
};

static void done(struct served *s)
{
	host_fd_close(s->dir_fd);
}

#define autoserved __attribute__((cleanup(done)))

static int look_at_mount(struct served *s, struct err *err)
{
	struct host_mountinfo info;
	autofree char *line = NULL;
	int rc = host_mountinfo_find_top(s->path, &line, &info, err);

	if (rc <= 0)
		return rc;
	if (!str_is_equal(info.fs, "fuse." SERVE_SUBTYPE) || !str_is_equal(info.source, s->token))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "something else (%s, %s) is mounted at '%s'", info.fs, info.source,
			       s->path);
	s->is_mounted = true;
	s->device = info.device;
	return 0;
}

/* What the server says, or said before it died: then its process is all that is of interest. */
static void hear(struct served *s)
{
	uint64_t bytes, device;
	char text[SERVE_SAID_MAX];
	autohostfd int fd = -1;
	struct err ignored; /* it is not needed to go on */
	pid_t pid;

	if (host_file_open(s->dir_fd, SERVE_LOCK, true, &fd, &ignored) < 0 ||
	    host_file_get_text(fd, text, sizeof(text), &ignored) < 0 ||
	    serve_said_parse(text, &bytes, &device, &pid) < 0)
		return;
	s->pid = pid;
	if (s->holder == 0 && !s->is_mounted)
		s->lost = device;
	if (pid != s->holder) /* of an earlier one; this one has not opened its image yet */
		return;
	s->bytes = bytes;
	if (!s->is_mounted)
		s->device = device;
}

static int look_at_server(struct served *s, struct err *err)
{
	int rc = host_lock_look(s->dir_fd, SERVE_LOCK, &s->holder, err);

	if (rc < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	if (rc <= 0)
		s->holder = 0;
	hear(s);
	return 0;
}

/* What there is of the volume. is_made: its directory is made. */
static int look(struct served *s, const char *state, const char *token, bool is_made,
		struct err *err)
{
	char real[PATH_MAX];
	autohostfd int state_fd = -1;
	int rc;

	*s = (struct served){ .token = token, .dir_fd = -1 };
	if (host_path_resolve(-1, "", state, real, err) < 0)
		return -1;
	if ((size_t)snprintf(s->dir, sizeof(s->dir), "%s/%s", real, token) >= sizeof(s->dir))
		return err_set(err, ERR_INVALID_ARGUMENT, "the path '%s' is too long", state);
	(void)snprintf(s->path, sizeof(s->path), "%s/%s", s->dir, token);
	if (host_dir_open(real, &state_fd, err) < 0)
		return -1;
	rc = (is_made ? host_dir_make : host_dir_open_at)(state_fd, token, &s->dir_fd, err);
	if (rc < 0)
		return !is_made && err->code == ERR_NOT_FOUND ? 0 : -1;
	return look_at_mount(s, err) < 0 || look_at_server(s, err) < 0 ? -1 : 0;
}

static struct host_loop_file file_of(const struct served *s)
{
	return (struct host_loop_file){ .fd = -1,
					.device = (dev_t)s->device,
					.inode = ROOT_INODE,
					.bytes = UINT64_MAX,
					.name = s->token };
}

static void fill_device(const struct host_loop *loop, struct backend_device *dev)
{
	*dev = (struct backend_device){ .devno = loop->devno,
					.is_direct = loop->is_direct,
					.is_read_only = loop->is_read_only };
	memcpy(dev->path, loop->path, sizeof(dev->path));
}

static int start_server(struct ctx *ctx, const struct served *s, const struct serve_order *order,
			struct err *err)
{
	autowipe struct str text = STR_INIT;
	struct serve_order mine = *order;
	bool is_slow = !str_is_empty(order->passphrase);
	int rc;

	mine.dir = s->dir;
	mine.token = s->token;
	serve_order_encode(&mine, &text);
	if (is_slow && image_crypt_begin(ctx, err) < 0)
		return -1;
	rc = ceph_server_start(ctx, &(struct ceph_server){ .word = RBD_SERVE, .token = s->token },
			       &text, NULL, err);
	if (is_slow)
		image_crypt_end();
	return rc < 0 ? err_wrap(err, "the image's server") : 0;
}

/* ---- going ---- */

/* Of a server that died with the namespace that had its mount: as long as there is the device, its
 * filesystem's number is nobody else's. */
static int find_lost_loop(const struct served *s, struct host_loop *ret_loop, struct err *err)
{
	return s->lost ? host_loop_find_unmounted((dev_t)s->lost, ROOT_INODE, ret_loop, err) : 0;
}

/* When its file cannot be asked. A server has said its filesystem's number before there is a device
 * over it; without that there is none, whatever lies at this path in another node's namespace. */
static int find_over(const struct served *s, struct host_loop_seen *ret_seen, struct err *err)
{
	const dev_t fs[] = { (dev_t)s->device, (dev_t)s->lost };

	return s->device || s->lost ? host_loop_find_over(s->path, fs, ARRAY_LEN(fs), ret_seen, err)
				    : 0;
}

/* As a loop device of ours; by the inode, or by what sysfs says. 1, or 0. */
static int find_loop(const struct served *s, struct host_loop *ret_loop, struct err *err)
{
	const struct host_loop_file file = file_of(s);
	struct host_loop_seen seen;
	struct err ignored; /* sysfs knows it too */
	int rc = s->device ? host_loop_find(&file, ret_loop, NULL, &ignored) : 0;

	if (rc > 0)
		return 1;
	rc = find_over(s, &seen, err);
	if (rc > 0) {
		*ret_loop = (struct host_loop){ .devno = seen.devno, .is_direct = true };
		memcpy(ret_loop->path, seen.path, sizeof(seen.path));
	}
	return rc ? rc : find_lost_loop(s, ret_loop, err);
}

static int let_loop_go(const struct served *s, const struct host_loop *loop, struct err *err)
{
	struct host_loop_seen seen;
	struct err ignored;
	int rc;

	if (s->device && host_loop_detach(loop, (dev_t)s->device, ROOT_INODE, &ignored) == 0)
		return 0;
	if (s->lost && host_loop_detach(loop, (dev_t)s->lost, ROOT_INODE, &ignored) == 0)
		return 0;
	rc = find_over(s, &seen, err);
	return rc > 0 ? host_loop_let_go_over(&seen, err) : rc;
}

/* Whoever looks at all devices has it open for a moment; who has it longer is told. */
static int end_loop(struct ctx *ctx, const struct served *s, struct err *err)
{
	int64_t until_ns = clock_now_ns() + LET_GO_NS;
	autostr struct str users = STR_INIT;
	struct host_loop loop;
	int rc;

	while ((rc = find_loop(s, &loop, err)) > 0) {
		struct pollfd fd = { .fd = ctx_cancel_fd(ctx), .events = POLLIN };

		if (let_loop_go(s, &loop, err) < 0)
			return -1;
		if (clock_now_ns() >= until_ns || ctx_check(ctx, err) < 0)
			break;
		(void)poll(&fd, 1, LET_GO_AGAIN_MS);
	}
	if (rc <= 0)
		return rc;
	host_device_users(loop.devno, &users);
	return err_set(err, ERR_FAILED_PRECONDITION, "detach '%s': it is in use: %s", loop.path,
		       str_or(users.buf, "by nobody that /proc shows"));
}

static int end_holder(struct ctx *ctx, const struct served *s, struct err *err)
{
	int again = 0;
	autofd int fd = -1;
	struct err ignored;

	if (host_process_open(s->holder, &fd, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	/* the number may have become another's meanwhile, the lock may not; or it just ends */
	if (host_lock_look(s->dir_fd, SERVE_LOCK, &again, &ignored) <= 0 || again != s->holder) {
		(void)host_process_wait(ctx, s->holder, fd, ENDING_NS);
		return 0;
	}
	if (host_process_wait(ctx, s->holder, fd, END_NS))
		return 0;
	if (ctx_check(ctx, err) < 0)
		return -1;
	if (s->device && host_fuse_abort((dev_t)s->device, &ignored) == 0 &&
	    host_process_wait(ctx, s->holder, fd, ABORTED_NS))
		return 0;
	if (ctx_check(ctx, err) < 0 || host_process_kill(fd, err) < 0)
		return -1;
	if (host_process_wait(ctx, s->holder, fd, KILLED_NS))
		return 0;
	return err_set(err, ERR_INTERNAL, "the image's server (process %d) does not die",
		       s->holder);
}

/* Loop device, mount and server; what is not there any more is no obstacle. */
static int end_serving(struct ctx *ctx, struct served *s, struct err *err)
{
	struct err ignored; /* it is gone, then */

	/* Of a server that was killed, which may hang in its own end: as the last process of a
	 * mount namespace it takes down that, and in it a filesystem on its own device. */
	if (s->holder == 0 && s->is_mounted)
		(void)host_fuse_abort((dev_t)s->device, &ignored);
	if (end_loop(ctx, s, err) < 0)
		return -1;
	while (s->is_mounted) {
		if (host_mount_umount(ctx, s->path, err) < 0)
			return -1;
		s->is_mounted = false;
		if (look_at_mount(s, err) < 0)
			return -1;
	}
	if (s->holder > 0 && end_holder(ctx, s, err) < 0)
		return -1;
	if (s->holder == 0 && s->pid > 0)
		host_process_reap(s->pid, SERVE_SUBTYPE);
	s->holder = 0;
	s->lost = 0;
	return 0;
}

int served_detach(struct ctx *ctx, const char *state, const char *token, struct err *err)
{
	autoserved struct served s;

	if (look(&s, state, token, false, err) < 0)
		return -1;
	if (s.dir_fd < 0)
		return 0;
	if (end_serving(ctx, &s, err) < 0 || host_file_unlink(s.dir_fd, token, err) < 0 ||
	    host_file_unlink(s.dir_fd, SERVE_LOCK, err) < 0)
		return -1;
	return 0;
}

/* ---- the device ---- */

/* As large as the server says. A device that cannot be made so is of use as it is. */
static void refresh(const struct served *s, const struct host_loop *loop)
{
	uint64_t now = 0;
	autohostfd int fd = -1;
	struct host_file file;
	struct err ignored;

	if (s->bytes == 0 || host_block_size(loop->path, &now, &ignored) < 0 || now >= s->bytes)
		return;
	/* so that the kernel asks for the file's size, which it was told is another */
	if (host_file_open(s->dir_fd, s->token, true, &fd, &ignored) < 0 ||
	    host_file_look(fd, &file, &ignored) < 0)
		return;
	(void)host_loop_set_capacity(loop, (dev_t)s->device, ROOT_INODE, s->bytes, &ignored);
}

int served_find(const char *state, const char *token, struct backend_device *ret_dev,
		struct err *err)
{
	autoserved struct served s;
	struct host_loop loop;
	int rc;

	if (look(&s, state, token, false, err) < 0)
		return -1;
	if (s.dir_fd < 0)
		return 0;
	rc = find_loop(&s, &loop, err);
	if (rc <= 0)
		return rc;
	if (s.holder > 0 && s.is_mounted)
		refresh(&s, &loop);
	fill_device(&loop, ret_dev);
	return 1;
}

/* The image, and not the file that its mount covers, should that be gone. */
static int open_served(const struct served *s, bool read_only, int *ret_fd, struct err *err)
{
	autohostfd int fd = -1;
	struct host_file at;

	if (host_file_open(s->dir_fd, s->token, read_only, &fd, err) < 0 ||
	    host_file_look(fd, &at, err) < 0) {
		if (err->os == ENOTCONN) /* it ends: whoever wanted it was killed */
			err->code = ERR_ABORTED;
		return -1;
	}
	if (at.device != (dev_t)s->device || at.inode != ROOT_INODE)
		return err_set(err, ERR_ABORTED,
			       "the image's server (process %d) is not seen at '%s'", s->holder,
			       s->path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int served_is_there(const char *state, const char *token, struct err *err)
{
	autoserved struct served s;

	if (look(&s, state, token, false, err) < 0)
		return -1;
	return s.is_mounted || s.holder > 0;
}

static int attach_loop(struct ctx *ctx, const struct served *s, bool read_only,
		       struct host_loop *ret_loop, struct err *err)
{
	const struct host_loop_options opts = { .read_only = read_only,
						.block_bytes = SECTOR_BYTES };
	const struct host_loop_file file = file_of(s);
	autohostfd int hold_fd = -1;
	autohostfd int fd = -1;
	int rc = host_loop_find(&file, ret_loop, &hold_fd, err);

	if (rc < 0)
		return -1;
	if (rc == 0 && (open_served(s, read_only, &fd, err) < 0 ||
			host_loop_attach(ctx, fd, &opts, ret_loop, &hold_fd, err) < 0))
		return -1;
	if (rc > 0 && host_loop_check(ret_loop, hold_fd, &opts, err) < 0)
		return -1;
	return host_loop_keep(hold_fd, err);
}

/* What a server mounted that then could not open its image, and has ended. */
static void take_back(struct served *s)
{
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, KILLED_NS);
	if (look_at_mount(s, &err) < 0 || end_serving(&ctx, s, &err) < 0)
		log_warn("the mount of an image that is not served stays; detach takes it away",
			 log_str("path", s->path), log_err(&err));
	ctx_done(&ctx);
}

/* One that lives and serves stays; whatever else there is goes first. */
static int serve_anew(struct ctx *ctx, struct served *s, const struct serve_order *order,
		      struct err *err)
{
	autohostfd int fd = -1;

	if (s->holder > 0)
		return err_set(err, ERR_ABORTED,
			       "an earlier server (process %d) of the image has not ended",
			       s->holder);
	if (end_serving(ctx, s, err) < 0)
		return err_wrap(err, "the image's server died, and what it left is in the way");
	if (host_file_open_or_make(s->dir_fd, s->token, &fd, err) < 0)
		return -1;
	if (start_server(ctx, s, order, err) < 0) {
		take_back(s);
		return -1;
	}
	if (look_at_mount(s, err) < 0)
		return -1;
	if (!s->is_mounted)
		return err_set(err, ERR_INTERNAL, "the server's mount is not at '%s'", s->path);
	return look_at_server(s, err);
}

int served_attach(struct ctx *ctx, const char *state, const char *token,
		  const struct serve_order *order, struct backend_device *ret_dev, struct err *err)
{
	autoserved struct served s;
	struct host_loop loop;

	if (look(&s, state, token, true, err) < 0)
		return -1;
	/* bytes: a server says them when it has opened its image */
	if (!(s.holder > 0 && s.bytes && s.device) && serve_anew(ctx, &s, order, err) < 0)
		return -1;
	if (attach_loop(ctx, &s, order->read_only, &loop, err) < 0)
		return -1;
	fill_device(&loop, ret_dev);
	return 0;
}
