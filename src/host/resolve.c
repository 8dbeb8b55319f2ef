/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which place a path means. Mounts are listed by the kernel under the one name that has no symlink
 * in it; comparing that with the text of a caller who came through a link would find a staged
 * volume unstaged and let a second writer in. So a path gets the kernel's name first: its parent
 * directory is opened, and the kernel is asked what it calls it (/proc/self/fd). Whoever then opens
 * that name lets no symlink be on the way (host_open_real): what was looked at is what is used,
 * also if a component was swapped in between.
 */
#include "host/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/resolve-internal.h"

int host_root_open(const char *dir, int *ret_fd, struct err *err)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "open directory '%s'", dir);
	*ret_fd = fd;
	return 0;
}

static int name_of(int fd, char ret_path[PATH_MAX], struct err *err)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret_path, PATH_MAX);
	if (n < 0 || n >= PATH_MAX)
		return host_err(err, n < 0 ? errno : ENAMETOOLONG,
				"ask for the name of a directory");
	ret_path[n] = '\0';
	return 0;
}

/* What of the path is below the directory, without a slash first; NULL if it is not below it. */
static const char *below(const char *path, const char *dir)
{
	if (!path_is_below(path, dir) || str_is_equal(path, dir))
		return NULL;
	path += strlen(dir);
	return *path == '/' ? path + 1 : path;
}

static long open_how(int at_fd, const char *path, int flags, uint64_t resolve)
{
	const struct open_how how = {
		.flags = (uint64_t)(O_PATH | O_CLOEXEC | flags),
		.resolve = resolve | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, at_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

int host_open_real(const char *path, int flags)
{
	return (int)open_how(AT_FDCWD, path, flags | O_NOFOLLOW, 0);
}

int host_open_real_parent(const char *path, const char **ret_name)
{
	autofree char *parent = path_parent(path);

	*ret_name = path_last(path);
	return host_open_real(parent ? parent : "/", O_DIRECTORY);
}

struct root {
	int fd; /* -1: none */
	const char *name;
	char real[PATH_MAX];
};

/* The directory's fd, or -errno: -EXDEV if it is not below the root, whose own fd it may be. */
static int open_dir(const struct root *root, const char *dir)
{
	const char *rest;
	int fd;

	if (root->fd < 0) {
		fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	if (str_is_equal(dir, root->name) || str_is_equal(dir, root->real))
		rest = ".";
	else if (!(rest = below(dir, root->name)) && !(rest = below(dir, root->real)))
		return -EXDEV;
	return (int)open_how(root->fd, rest, O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

/* The deepest directory on the way that there is: its fd, or -errno. ret_n: its length in path. */
static int open_deepest(const struct root *root, const char *path, size_t *ret_n)
{
	autofree char *dir = xstrdup(path);

	for (;;) {
		char *slash = strrchr(dir, '/');
		int fd;

		*slash = '\0';
		fd = open_dir(root, slash == dir ? "/" : dir);
		if (slash == dir || (fd != -ENOENT && fd != -ENOTDIR)) {
			*ret_n = (size_t)(slash - dir);
			return fd;
		}
	}
}

int host_path_resolve(int root_fd, const char *root_name, const char *path, char ret_path[PATH_MAX],
		      struct err *err)
{
	struct root root = { .fd = root_fd, .name = root_name };
	char real[PATH_MAX];
	autofd int fd = -1;
	size_t n = 0;

	if (root_fd >= 0 && name_of(root_fd, root.real, err) < 0)
		return -1;
	if (root_fd >= 0 && !below(path, root_name) && !below(path, root.real))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.300s' is not below '%.200s'", path,
			       root_name);
	fd = open_deepest(&root, path, &n);
	if (root_fd >= 0 && (fd == -ELOOP || fd == -EXDEV))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.300s' goes through a symbolic link below '%.200s'", path,
			       root_name);
	if (fd < 0)
		return host_err(err, -fd, "open a directory of '%.300s'", path);
	if (name_of(fd, real, err) < 0)
		return -1;
	if ((size_t)snprintf(ret_path, PATH_MAX, "%s%s", str_is_equal(real, "/") ? "" : real,
			     path + n) >= PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.300s' means a path that is too long",
			       path);
	return 0;
}
