/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of a volume: ceph-fuse, and over it this process, which has what that has not: it
 * holds the lock, knows whether somebody still waits for the mount, and ends when ceph-fuse has.
 *
 * The key goes to ceph-fuse as a file in memory that is its standard input. It stays in the mount
 * namespace that it was started in: it remounts its own mount from time to time, to have the kernel
 * let go of names, and does that by the path. With client_die_on_failed_dentry_invalidate it would
 * kill itself, and with it the pods' volume, if that fails; it does without.
 *
 * It has no directory for its sockets: where there is no /var/run it would abort for want of one.
 *
 * Its cache is bounded: 200 MiB a volume, as is its default, is more than a node has for many.
 *
 * While ceph-fuse runs the mount table and whoever waits for the mount are watched. If the latter's
 * end comes first, ceph-fuse is killed, so that no volume is mounted at a place that was given up
 * meanwhile.
 */
#include "backend/cephfs/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/ceph/server.h"
#include "backend/cephfs/inside.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/fs.h"
#include "host/mount.h"
#include "host/self.h"
#include "host/spawn.h"

#define LOG_ROOM "backend.cephfs"
#include "base/log.h"

#define MONITORS_S "20"            /* for monitors and metadata servers to answer */
#define EARLIER_NS (10 * NS_PER_S) /* that one which was unmounted may take to write out */
#define LOOK_AGAIN_NS (200 * NS_PER_MS)
#define MOUNT_TABLE "/proc/self/mountinfo"

struct server {
	struct cephfs_order order;
	int dir_fd, lock_fd;
	struct ctx ctx;
	struct host_spawn_watch watch;
	struct cephfs_inside in;
	bool is_answered;
};

/* 1, or 0. */
static int is_mounted_at(const struct server *s, const char *path, struct err *err)
{
	struct host_mountinfo info;
	autofree char *line = NULL;
	int rc = host_mountinfo_find_top(path, &line, &info, err);

	return rc <= 0 ? rc
		       : str_is_equal(info.fs, "fuse." CEPHFS_SUBTYPE) &&
				 str_is_equal(info.source, s->order.token);
}

/* Where ceph-fuse mounts. */
static const char *place_of(const struct server *s)
{
	return *s->order.inside ? s->in.path : s->order.target;
}

/* What is to be seen, where it is wanted. */
static int show(struct server *s, struct err *err)
{
	int rc;

	if (!*s->order.inside)
		return 0;
	rc = cephfs_inside_show(&s->ctx, &s->in, s->order.inside, s->order.target, err);
	cephfs_inside_end(&s->ctx, &s->in);
	return rc;
}

/* The first of watch.fds is the mount table, the second whoever waits for the mount. */
static int look(void *arg, struct err *err)
{
	struct server *s = arg;
	struct err ignored; /* looked at again when the table changes */

	if (s->is_answered)
		return 0;
	if (is_mounted_at(s, place_of(s), &ignored) <= 0)
		return ceph_server_is_alone()
			       ? err_set(err, ERR_CANCELLED, "whoever wanted it is gone")
			       : 0;
	if (show(s, err) < 0)
		return -1;
	if (ceph_server_answer(NULL) < 0)
		return err_set(err, ERR_CANCELLED, "whoever wanted it is gone");
	s->is_answered = true;
	s->watch.fds[0].fd = s->watch.fds[1].fd = -1;
	(void)close(HOST_SELF_FD);
	log_info("the volume is served", log_str("token", s->order.token));
	return 0;
}

static int run(struct server *s, struct str *output, struct err *err)
{
	struct arena *a = s->ctx.arena;
	const struct cephfs_order *o = &s->order;
	const char *const argv[] = {
		"ceph-fuse",
		"-f",
		place_of(s),
		"-m",
		o->monitors,
		"-c",
		"/dev/null",
		"-n",
		arena_printf(a, "client.%s", o->user),
		"--keyfile=" HOST_SPAWN_INPUT_PATH,
		"-r",
		o->path,
		arena_printf(a, "--client_mds_namespace=%s", o->fs_name),
		"--client_mount_timeout=" MONITORS_S,
		"--client_die_on_failed_dentry_invalidate=false",
		"--client_oc_size=67108864",
		"--client_oc_max_dirty=33554432",
		"--client_cache_size=8192",
		"--log-file=",
		"--admin-socket=",
		"--run-dir=",
		"-o",
		arena_printf(a, "fsname=%s,subtype=" CEPHFS_SUBTYPE "%s%s", o->token,
			     *o->options ? "," : "", o->options),
		NULL,
	};
	const struct host_spawn spawn = { .tool = argv[0],
					  .package = "ceph-fuse, or take the image that has it",
					  .argv = argv,
					  .input = o->key,
					  .pass_fd = -1,
					  .timeout_ns = HOST_SPAWN_FOR_EVER,
					  .output = output,
					  .watch = &s->watch };

	return host_spawn(&s->ctx, &spawn, err);
}

/* What was mounted in the moment in which it was given up. */
static void take_back(struct server *s)
{
	struct err err;

	if (*s->order.inside)
		cephfs_inside_end(&s->ctx, &s->in);
	if (is_mounted_at(s, s->order.target, &err) > 0 &&
	    host_mount_umount(&s->ctx, s->order.target, &err) < 0)
		log_warn("the mount of a volume that is not served stays",
			 log_str("path", s->order.target), log_err(&err));
}

static int ended_early(const struct server *s, const char *output, struct err *err)
{
	autostr struct str words = STR_INIT;

	cephfs_last_words(output, &words);
	return err_set(err, ERR_UNAVAILABLE, "ceph-fuse ended before it had mounted '%.300s': %s",
		       s->order.target, str_or(words.buf, "(it said nothing)"));
}

static int serve(struct server *s, struct err *err)
{
	autofd int table_fd = open(MOUNT_TABLE, O_RDONLY | O_CLOEXEC);
	autostr struct str output = STR_INIT;
	int64_t began_ns = clock_now_ns();
	int rc;

	if (table_fd < 0)
		return err_os(err, ERR_INTERNAL, errno, "open '" MOUNT_TABLE "'");
	if (*s->order.inside && cephfs_inside_begin_in(&s->ctx, s->order.dir, &s->in, err) < 0)
		return -1;
	s->watch =
		(struct host_spawn_watch){ .fds = { { .fd = table_fd, .events = POLLPRI },
						    { .fd = HOST_SELF_FD, .events = POLLRDHUP } },
					   .look = look,
					   .arg = s };
	rc = run(s, &output, err);
	if (s->is_answered)
		log_info("the volume is served no more", log_str("token", s->order.token));
	else
		take_back(s);
	if (rc == 0 && !s->is_answered)
		return ended_early(s, str_get(&output), err);
	return rc < 0 ? cephfs_explain(&s->order, str_get(&output), clock_now_ns() - began_ns,
				       s->is_answered, err)
		      : 0;
}

/* One that was unmounted writes out before it ends. */
static void await_earlier(struct server *s)
{
	int64_t until_ns = clock_now_ns() + EARLIER_NS;
	autofd int fd = -1;
	struct err ignored;
	int holder = 0;

	if (host_lock_look(s->dir_fd, CEPHFS_LOCK, &holder, &ignored) <= 0 ||
	    host_process_open(holder, &fd, &ignored) < 0)
		return;
	while (!host_process_wait(&s->ctx, holder, fd, LOOK_AGAIN_NS) && !ceph_server_is_alone() &&
	       clock_now_ns() < until_ns)
		;
}

static int take_lock(struct server *s, struct err *err)
{
	if (host_dir_open(s->order.dir, &s->dir_fd, err) < 0) {
		if (err->code == ERR_NOT_FOUND) /* by an earlier one, just now */
			err->code = ERR_ABORTED;
		return -1;
	}
	await_earlier(s);
	if (ceph_server_is_alone())
		return err_set(err, ERR_CANCELLED, "whoever wanted it is gone");
	return ceph_server_lock(s->dir_fd, CEPHFS_LOCK, &s->lock_fd, err);
}

/* While it still has the lock, so that it is nobody else's. */
static void clear(struct server *s)
{
	struct err ignored; /* there is more in it, or it stays for the next */

	if (s->lock_fd >= 0 && host_file_unlink(s->dir_fd, CEPHFS_LOCK, &ignored) == 0)
		(void)host_mount_remove_target(s->order.dir, &ignored);
}

static void begin(struct server *s)
{
	struct err err;
	int rc = take_lock(s, &err) < 0 || serve(s, &err) < 0 ? -1 : 0;

	clear(s);
	if (rc == 0)
		return;
	log_warn(s->is_answered ? "the volume's server has failed" : "the volume is not served",
		 log_str("token", s->order.token), log_err(&err));
	if (!s->is_answered)
		(void)ceph_server_answer(&err);
}

int cephfs_serve(void)
{
	struct server s = { .dir_fd = -1, .lock_fd = -1 };
	char *bytes = xmalloc(CEPH_SERVER_ORDER_MAX);
	size_t n;

	if (ceph_server_read(bytes, &n) < 0) {
		free(bytes);
		return 1;
	}
	(void)host_self_settle(CEPHFS_SUBTYPE);
	ctx_init(&s.ctx, 0);
	if (cephfs_order_decode(bytes, n, &s.order) == 0)
		begin(&s);
	ctx_done(&s.ctx);
	explicit_bzero(bytes, CEPH_SERVER_ORDER_MAX);
	free(bytes);
	host_fd_close(s.lock_fd);
	host_fd_close(s.dir_fd);
	return 0;
}
