/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock of this process on a file, that dies with it and with nothing else.
 *
 * flock and F_OFD_SETLK belong to an opening of the file, which a child shares from fork until it
 * executes its tool: killed in that moment, we would be dead and the lock still held, for as long
 * as the child needs. The old F_SETLK belongs to the process and is not inherited; the kernel also
 * says who holds it. Its price is that the process loses it as soon as it closes any fd of the
 * file, and that a second lock of the same process is granted. So what is held is written down: a
 * second opening is refused before it is opened, and if two threads still opened it at once, the
 * loser's fd stays open until the holder closes his.
 *
 * Whoever holds it may remove the file. So what was locked is looked at by its name again: a file
 * that has lost it locks nobody out.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/vec.h"
#include "host/err-internal.h"
#include "host/fs.h"
#include "host/lock-internal.h"

#define TRIES 8 /* so often others may remove it meanwhile */

struct held {
	int fd;
	dev_t device;
	ino_t inode;
	VEC(int) parked; /* fds of the same file that must not be closed before */
	struct held *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards held */
static struct held *held;

/* Under the lock. */
static struct held *find_held(const struct stat *st)
{
	struct held *h = held;

	while (h && (h->device != st->st_dev || h->inode != st->st_ino))
		h = h->next;
	return h;
}

static bool is_held_here(int dirfd, const char *name)
{
	struct stat st;
	bool is_held;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	pthread_mutex_lock(&lock);
	is_held = find_held(&st);
	pthread_mutex_unlock(&lock);
	return is_held;
}

/* False if this process holds it already; fd is then taken. */
static bool write_down(int fd, const struct stat *st)
{
	struct held *h = xcalloc(1, sizeof(*h));
	struct held *other;

	*h = (struct held){ .fd = fd, .device = st->st_dev, .inode = st->st_ino };
	pthread_mutex_lock(&lock);
	other = find_held(st);
	if (other) {
		vec_push(&other->parked, fd);
	} else {
		h->next = held;
		held = h;
	}
	pthread_mutex_unlock(&lock);
	if (other)
		free(h);
	return !other;
}

bool host_lock_close(int fd)
{
	struct held *h = NULL;

	pthread_mutex_lock(&lock);
	for (struct held **at = &held; *at; at = &(*at)->next) {
		if ((*at)->fd == fd) {
			h = *at;
			*at = h->next;
			break;
		}
	}
	/* within: once it is not written down, another thread may take the lock, and would lose it
	 * by this */
	for (size_t i = 0; h && i < h->parked.n; i++)
		(void)close(h->parked.v[i]);
	if (h)
		(void)close(fd);
	pthread_mutex_unlock(&lock);
	if (!h)
		return false;
	vec_done(&h->parked);
	free(h);
	return true;
}

static int refuse(int holder, int *ret_holder, struct err *err)
{
	*ret_holder = holder;
	return err_os(err, ERR_ABORTED, EWOULDBLOCK, "locked by another process");
}

static bool has_name(int dirfd, const char *name, const struct stat *st)
{
	struct stat now;

	return fstatat(dirfd, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == st->st_dev &&
	       now.st_ino == st->st_ino;
}

/* 1: the file that was locked has no name any more. */
static int take(int dirfd, const char *name, int *ret_fd, int *ret_holder, struct err *err)
{
	struct flock what = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	autohostfd int fd = -1;
	struct stat st;

	if (is_held_here(dirfd, name))
		return refuse((int)getpid(), ret_holder, err);
	if (host_file_open_or_make(dirfd, name, &fd, err) < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at '%s'", name);
	if (!write_down(fd, &st)) {
		fd = -1;
		return refuse((int)getpid(), ret_holder, err);
	}
	if (fcntl(fd, F_SETLK, &what) == 0) {
		if (!has_name(dirfd, name, &st))
			return 1;
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
	if (errno != EAGAIN && errno != EACCES)
		return host_err(err, errno, "lock '%s'", name);
	/* a holder in another pid namespace is 0 here */
	if (fcntl(fd, F_GETLK, &what) < 0 || what.l_type == F_UNLCK)
		what.l_pid = 0;
	return refuse((int)what.l_pid, ret_holder, err);
}

int host_lock_take(int dirfd, const char *name, int *ret_fd, int *ret_holder, struct err *err)
{
	for (int i = 0; i < TRIES; i++) {
		int rc = take(dirfd, name, ret_fd, ret_holder, err);

		if (rc <= 0)
			return rc;
	}
	return refuse(0, ret_holder, err);
}

int host_lock_look(int dirfd, const char *name, int *ret_holder, struct err *err)
{
	struct flock what = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	autohostfd int fd = -1;

	/* closing an fd of it would end our own */
	if (is_held_here(dirfd, name)) {
		*ret_holder = (int)getpid();
		return 1;
	}
	if (host_file_open(dirfd, name, true, &fd, err) < 0)
		return -1;
	if (fcntl(fd, F_GETLK, &what) < 0)
		return host_err(err, errno, "ask who has locked '%s'", name);
	if (what.l_type == F_UNLCK)
		return 0;
	*ret_holder = (int)what.l_pid;
	return 1;
}
