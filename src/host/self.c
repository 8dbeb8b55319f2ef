/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that stay when we go: the servers of block devices, which must not take the pods' disks
 * with them when an agent is restarted.
 *
 * It is this very program (/proc/self/exe, which is there even after an upgrade has replaced the
 * file), started by posix_spawn, in a session of its own so that no terminal and no group takes it
 * along. What ends all of a container at once is the kill of its cgroup, and of its PID namespace:
 * the first it leaves by itself where it may (the root of cgroup v2 is known by having no
 * cgroup.type; of v1 all hierarchies), the second is for who deploys us (hostPID).
 *
 * Who started one waits for it by a pidfd and reaps it; after a restart it is somebody else's
 * child, and nothing has to be reaped.
 */
#include "host/self.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/vec.h"
#include "host/err-internal.h"
#include "host/mount.h"

#define EXECUTABLE "/proc/self/exe"
#define CGROUP_ROOT "/sys/fs/cgroup"
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

int host_self_start(const struct host_self *what, pid_t *ret_pid, struct err *err)
{
	static char program[] = "cleat";
	/* posix_spawn wants char *const[] for historical reasons and changes nothing */
	char *const argv[] = { program, (char *)(uintptr_t)what->word,
			       (char *)(uintptr_t)what->name, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	for (int i = 0; i < (what->is_silent ? 3 : 2); i++)
		posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, what->fd, HOST_SELF_FD);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = posix_spawn(ret_pid, EXECUTABLE, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return rc ? err_os(err, ERR_UNAVAILABLE, rc, "start '" EXECUTABLE "' as %s", what->word)
		  : 0;
}

static bool write_procs(const char *path)
{
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "0", 1) == 1;
}

/* cgroup v1: to the root of each hierarchy, since whoever ends a container may use any of them. A
 * group of our own would need settings in some (cpuset). */
static bool leave_hierarchies(void)
{
	DIR *dir = opendir(CGROUP_ROOT);
	bool has_left = false;
	struct dirent *entry;
	char path[PATH_MAX];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), CGROUP_ROOT "/%s/cgroup.procs", entry->d_name);
		has_left = write_procs(path) || has_left;
	}
	if (dir)
		(void)closedir(dir);
	return has_left;
}

static bool leave_cgroup(const char *name)
{
	char path[128];

	if (access(CGROUP_ROOT "/cgroup.procs", F_OK) < 0)
		return leave_hierarchies();
	if (access(CGROUP_ROOT "/cgroup.procs", W_OK) < 0 ||
	    access(CGROUP_ROOT "/cgroup.type", F_OK) == 0)
		return false;
	(void)snprintf(path, sizeof(path), CGROUP_ROOT "/%s", name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return false;
	(void)snprintf(path, sizeof(path), CGROUP_ROOT "/%s/cgroup.procs", name);
	return write_procs(path);
}

bool host_self_settle(const char *name)
{
	static const int signals[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE,
				       SIGALRM, SIGTERM, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)signal(signals[i], SIG_IGN);
	(void)prctl(PR_SET_NAME, name);
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (chdir("/") < 0)
		return false;
	return leave_cgroup(name);
}

/* Of mount points, the last mounted first. */
struct points {
	VEC(char *) v;
};

static bool is_needed(const char *point)
{
	static const char *const kept[] = { "/proc", "/sys", "/dev",   "/usr",
					    "/lib",  "/etc", "/lib32", "/lib64" };

	if (strcmp(point, "/") == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		size_t n = strlen(kept[i]);

		if (strncmp(point, kept[i], n) == 0 && (point[n] == '\0' || point[n] == '/'))
			return true;
	}
	return false;
}

static int keep_point(void *arg, const struct host_mountinfo *info)
{
	struct points *points = arg;

	if (!is_needed(info->point))
		vec_push(&points->v, xstrdup(info->point));
	return 0;
}

int host_self_leave_mounts(struct err *err)
{
	struct points points = { .v = VEC_INIT };
	int rc;

	if (unshare(CLONE_NEWNS) < 0)
		return host_err(err, errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return host_err(err, errno, "make its mounts private");
	rc = host_mountinfo_each(keep_point, &points, err);
	while (points.v.n > 0) {
		char *point = points.v.v[--points.v.n];

		/* one below another is gone with that one */
		(void)umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW);
		free(point);
	}
	vec_done(&points.v);
	return rc;
}

static bool has_words(int proc_fd, const char *pid, const char *word, const char *name)
{
	char path[64], said[PATH_MAX + 64];
	const char *second, *third, *end;
	autofd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/cmdline", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, said, sizeof(said) - 1);
	if (n <= 0)
		return false;
	end = said + n;
	said[n] = '\0';
	second = said + strlen(said) + 1;
	if (second >= end || strcmp(second, word) != 0)
		return false;
	third = second + strlen(second) + 1;
	return third < end && strcmp(third, name) == 0;
}

bool host_self_is_here(const char *word, const char *name)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	bool is_here = false;

	while (dir && !is_here && (entry = readdir(dir)))
		is_here = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			  has_words(dirfd(dir), entry->d_name, word, name);
	if (dir)
		(void)closedir(dir);
	return is_here;
}

int host_process_open(pid_t pid, int *ret_fd, struct err *err)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return err_os(err, errno == ESRCH ? ERR_NOT_FOUND : host_code(errno), errno,
			      "watch process %d (pidfd_open, Linux 5.3 or newer)", (int)pid);
	*ret_fd = fd;
	return 0;
}

bool host_process_wait(struct ctx *ctx, pid_t pid, int fd, int64_t ns)
{
	int64_t until_ns = clock_now_ns() + ns;

	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
		int64_t left_ns = until_ns - clock_now_ns();

		(void)poll(fds, 2,
			   ctx_poll_ms(ctx, left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0));
		if (fds[0].revents) {
			(void)waitpid(pid, NULL, WNOHANG); /* ECHILD: not ours */
			return true;
		}
		if (left_ns <= 0 || ctx_is_cancelled(ctx) || ctx_remaining_ns(ctx) == 0)
			return false;
	}
}

void host_process_reap(pid_t pid, const char *name)
{
	autofree char *comm = NULL;
	char path[64];
	size_t n = 0;

	/* the number may be another child's by now */
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (fd_read_file(AT_FDCWD, path, 64, &comm, &n) < 0)
		return;
	comm[strcspn(comm, "\n")] = '\0';
	if (strcmp(comm, name) == 0)
		(void)waitpid(pid, NULL, WNOHANG);
}

int host_process_kill(int fd, struct err *err)
{
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return host_err(err, errno, "kill a process");
	return 0;
}
