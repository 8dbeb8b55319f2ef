/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet changes a mounted ConfigMap by pointing a symlink at a new directory, so the file behind
 * the name is another one then: device, inode, time and size tell, for one stat(2) a call. The file
 * is read and parsed without the lock; two that do so at once do the same work.
 */
#include "backend/ceph/followed.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"

#define FILE_MAX MIB /* what a ConfigMap can have */

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct followed {
	char *path;
	struct followed_options opts; /* dir and name are in the path alone */
	pthread_mutex_t lock;         /* guards what follows; not held across a syscall */
	struct stamp seen;            /* of the file that was read last, well or not */
	struct arena *arena;          /* of the value; NULL: none was ever read */
	const void *value;
};

struct followed *followed_new(const struct followed_options *opts)
{
	struct followed *f = xcalloc(1, sizeof(*f));

	f->path = path_join(opts->dir, opts->name);
	f->opts = *opts;
	f->opts.dir = f->opts.name = NULL;
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

void followed_free(struct followed *f)
{
	if (!f)
		return;
	arena_free(f->arena);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f);
}

const char *followed_path(const struct followed *f)
{
	return f->path;
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){ st->st_dev, st->st_ino, st->st_size, st->st_mtim };
}

static int parse(const struct followed *f, struct arena *a, const char *text, size_t n,
		 const void **ret_value, struct err *err)
{
	*ret_value = f->opts.parse(a, text, n, err);
	if (*ret_value)
		return 0;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "'%s'", f->path);
}

/* The stamp of the file that was really read, or zeros if there was none. */
static int read_file(const struct followed *f, struct arena *a, struct stamp *ret_stamp,
		     const void **ret_value, struct err *err)
{
	autofd int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *absent = f->opts.if_absent;
	autofree char *text = NULL;
	struct stat st;
	size_t n;
	int rc;

	*ret_stamp = (struct stamp){ 0 };
	if (fd < 0 && errno == ENOENT && absent)
		return parse(f, a, absent, strlen(absent), ret_value, err);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno, "'%s', %s", f->path,
			      f->opts.what);
	*ret_stamp = stamp_of(&st);
	rc = S_ISREG(st.st_mode) ? fd_read_all(fd, FILE_MAX, &text, &n) : -EINVAL;
	if (rc < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, rc, "read '%s'", f->path);
	return parse(f, a, text, n, ret_value, err);
}

/* Reads it unless it is the one that was read last. -1: it is not whole, and there is none of
 * before. */
static int refresh(struct followed *f, struct err *err)
{
	const void *value = NULL;
	struct stamp now = { 0 };
	struct arena *a, *old;
	bool is_known, has_old;
	struct stat st;
	int rc;

	if (stat(f->path, &st) == 0)
		now = stamp_of(&st);
	pthread_mutex_lock(&f->lock);
	has_old = f->arena;
	is_known = has_old && is_same(&now, &f->seen);
	pthread_mutex_unlock(&f->lock);
	if (is_known)
		return 0;
	a = arena_new();
	rc = read_file(f, a, &now, &value, err);
	pthread_mutex_lock(&f->lock);
	old = a;
	if (rc == 0) {
		old = f->arena;
		f->arena = a;
		f->value = value;
	}
	is_known = is_same(&now, &f->seen);
	f->seen = now;
	pthread_mutex_unlock(&f->lock);
	arena_free(old);
	if (rc < 0 && has_old && !is_known)
		log_warn("a file about clusters of Ceph has changed and is not whole; what it said "
			 "before is used on",
			 log_str("file", f->path), log_err(err));
	return rc < 0 && !has_old ? -1 : 0;
}

const void *followed_begin(struct followed *f, struct err *err)
{
	if (refresh(f, err) < 0)
		return NULL;
	pthread_mutex_lock(&f->lock);
	return f->value;
}

void followed_end(struct followed *f)
{
	pthread_mutex_unlock(&f->lock);
}
