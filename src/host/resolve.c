/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which place a path means. Mounts are listed by the kernel under the one name that has no symlink
 * in it; comparing that with the text of a caller who came through a link would find a staged
 * volume unstaged and let a second writer in. So a path gets the kernel's name first: its parent
 * directory is opened, and the kernel is asked what it calls it (/proc/self/fd).
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
#include "host/host-internal.h"

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

/* ret_fd: the parent, or -errno. */
static int open_below(int root_fd, const char *root, const char *path, int *ret_fd, struct err *err)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	char real_root[PATH_MAX];
	const char *rest;
	const char *slash;
	autofree char *dir = NULL;
	long fd;

	if (name_of(root_fd, real_root, err) < 0)
		return -1;
	rest = below(path, root);
	if (!rest)
		rest = below(path, real_root);
	if (!rest)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.300s' is not below '%.200s'", path,
			       root);
	slash = strrchr(rest, '/');
	dir = slash ? xstrndup(rest, (size_t)(slash - rest)) : xstrdup(".");
	fd = syscall(SYS_openat2, root_fd, dir, &how, sizeof(how));
	if (fd < 0 && (errno == ELOOP || errno == EXDEV))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.300s' goes through a symbolic link below '%.200s'", path, root);
	*ret_fd = fd < 0 ? -errno : (int)fd;
	return 0;
}

int host_path_resolve(int root_fd, const char *root, const char *path, char ret_path[PATH_MAX],
		      struct err *err)
{
	autofree char *parent = path_parent(path);
	char real[PATH_MAX];
	autofd int fd = -1;
	int n;

	if (root_fd >= 0 && open_below(root_fd, root, path, &fd, err) < 0)
		return -1;
	if (root_fd < 0) {
		fd = open(parent ? parent : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	if (fd < 0 && fd != -ENOENT && fd != -ENOTDIR)
		return host_err(err, -fd, "open directory '%s'", parent ? parent : "/");
	if (fd < 0) {
		(void)snprintf(ret_path, PATH_MAX, "%s", path);
		return 0;
	}
	if (name_of(fd, real, err) < 0)
		return -1;
	n = snprintf(ret_path, PATH_MAX, "%s/%s", str_is_equal(real, "/") ? "" : real,
		     path_last(path));
	if (n >= PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.300s' means a path that is too long",
			       path);
	return 0;
}
