/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who keeps a device busy. A mount in this namespace is found in its table; the usual culprit on a
 * node, though, is a container that copied the mount into a namespace of its own, or a process with
 * the device open, so all of /proc is gone through: only when something is refused already, and
 * only for the words. A process that vanishes meanwhile is passed over.
 */
#include "host/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/mem.h"
#include "host/mount.h"

#define USERS_MAX 4
#define TABLE_MAX ((size_t)16 << 20)

struct users {
	dev_t device;
	struct str *out;
	unsigned n;
	ino_t spaces[64]; /* mount namespaces that were looked at */
	unsigned n_spaces;
};

/* Room for one more? */
static bool begin_user(struct users *u)
{
	if (u->n >= USERS_MAX)
		return false;
	if (u->n++ > 0)
		str_append(u->out, ", ");
	return true;
}

static int see_mount(void *arg, const char *path, bool read_only)
{
	struct users *u = arg;

	(void)read_only;
	if (!begin_user(u))
		return 1;
	str_appendf(u->out, "mounted at '%s'", path);
	return 0;
}

static void append_process(struct users *u, const char *pid, int proc_fd)
{
	autofree char *comm = NULL;
	char path[300];
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "%s/comm", pid);
	if (fd_read_file(proc_fd, path, 64, &comm, &n) < 0)
		comm = xstrdup("?");
	comm[strcspn(comm, "\n")] = '\0';
	str_appendf(u->out, "process %s (%s)", pid, comm);
}

/* Whether the namespace is one that was not looked at yet. */
static bool is_new_space(struct users *u, const char *pid, int proc_fd)
{
	char path[300];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/ns/mnt", pid);
	if (fstatat(proc_fd, path, &st, 0) < 0 || u->n_spaces == ARRAY_LEN(u->spaces))
		return false;
	for (unsigned i = 0; i < u->n_spaces; i++) {
		if (u->spaces[i] == st.st_ino)
			return false;
	}
	u->spaces[u->n_spaces++] = st.st_ino;
	return true;
}

static bool has_mount(const struct users *u, const char *pid, int proc_fd)
{
	autofree char *table = NULL;
	char path[300];
	char *rest;
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "%s/mountinfo", pid);
	if (fd_read_file(proc_fd, path, TABLE_MAX, &table, &n) < 0)
		return false;
	rest = table;
	for (char *line; (line = strsep(&rest, "\n"));) {
		struct host_mountinfo info;

		if (host_mountinfo_parse(line, &info) == 0 && info.device == u->device)
			return true;
	}
	return false;
}

static bool has_open(const struct users *u, const char *pid, int proc_fd)
{
	const struct dirent *entry;
	autodir DIR *dir = NULL;
	autofd int fd = -1;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return false;
	(void)TAKE_FD(fd);
	while ((entry = readdir(dir))) {
		char target[32];
		struct stat st;
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));

		/* only device nodes are asked: a file may lie on what does not answer */
		if (n >= 5 && strncmp(target, "/dev/", 5) == 0 &&
		    fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISBLK(st.st_mode) &&
		    st.st_rdev == u->device)
			return true;
	}
	return false;
}

static void see_process(struct users *u, const char *pid, int proc_fd)
{
	if (is_new_space(u, pid, proc_fd) && has_mount(u, pid, proc_fd) && begin_user(u)) {
		str_append(u->out, "mounted in the namespace of ");
		append_process(u, pid, proc_fd);
	}
	if (has_open(u, pid, proc_fd) && begin_user(u)) {
		str_append(u->out, "open in ");
		append_process(u, pid, proc_fd);
	}
}

static void see_holders(struct users *u)
{
	const struct dirent *entry;
	autodir DIR *dir = NULL;
	char path[96];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(u->device),
		       minor(u->device));
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && begin_user(u))
			str_appendf(u->out, "below '/dev/%s'", entry->d_name);
	}
}

void host_device_users(dev_t device, struct str *out)
{
	struct users u = { .device = device, .out = out };
	autodir DIR *proc = opendir("/proc");
	const struct dirent *entry;
	struct err ignored; /* it is all for words */

	(void)host_mount_each(device, see_mount, &u, &ignored);
	see_holders(&u);
	if (proc)
		(void)is_new_space(&u, "self", dirfd(proc));
	while (proc && u.n < USERS_MAX && (entry = readdir(proc))) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			see_process(&u, entry->d_name, dirfd(proc));
	}
}
