/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tools run by posix_spawn (never fork: we are threaded), each in a process group of its own so
 * that it dies with all it started. One poll waits for its output, its end (pidfd, Linux ≥5.3), the
 * caller's cancellation and the time limit. Output is read to the end so that the tool never blocks
 * on a full pipe, but only its last line is kept, for the error, unless the caller wants it.
 *
 * A child in an uninterruptible sleep does not die from SIGKILL at once; after KILL_WAIT_MS we say
 * so and go on. It then stays a zombie until this process ends, which costs a pid and is better
 * than a worker stuck with it.
 */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"

#define KILL_WAIT_MS 5000
#define CHILD_FD 3
#define FIRST_SAFE_FD 10
#define LOOK_NS (3600 * NS_PER_S)

static const char *const tool_dirs[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin",
					 "/usr/local/sbin" };

/* The last line that is not empty, as it grows. */
struct tail {
	char line[200];
	size_t len;
	bool is_ended; /* the next byte begins a new line */
};

static int find_tool(const struct host_spawn *spawn, char *path, size_t cap, struct err *err)
{
	for (size_t i = 0; i < sizeof(tool_dirs) / sizeof(tool_dirs[0]); i++) {
		(void)snprintf(path, cap, "%s/%s", tool_dirs[i], spawn->tool);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the tool '%s' is in none of /usr/sbin, /sbin, /usr/bin, /bin, "
		       "/usr/local/sbin (install %s)",
		       spawn->tool, spawn->package);
}

static void tail_feed(struct tail *t, const char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (buf[i] == '\n' || buf[i] == '\r') {
			t->is_ended = true;
			continue;
		}
		if (t->is_ended) {
			t->len = 0;
			t->is_ended = false;
		}
		if (t->len + 1 < sizeof(t->line))
			t->line[t->len++] = buf[i] >= ' ' && buf[i] < 127 ? buf[i] : '?';
	}
	t->line[t->len] = '\0';
}

/* Cuts at a line, in big steps. */
static void keep_output(struct str *output, const char *buf, size_t n)
{
	if (!output)
		return;
	for (size_t i = 0; i < n; i++)
		str_append_char(output,
				buf[i] == '\n' || (buf[i] >= ' ' && buf[i] < 127) ? buf[i] : '?');
	if (output->len > 2 * HOST_SPAWN_OUTPUT_MAX) {
		size_t cut = output->len - HOST_SPAWN_OUTPUT_MAX;

		str_consume(output, cut + strcspn(output->buf + cut, "\n"));
	}
}

/* A file in memory, so that the tool may also open it by its path. */
static int make_input(const char *text, int *ret_fd, struct err *err)
{
	autofd int fd = memfd_create("input", MFD_CLOEXEC);
	size_t n = strlen(text);

	if (fd < 0 || write(fd, text, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0)
		return host_err(err, errno, "make the input of a tool");
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	if (*ret_fd < 0)
		return host_err(err, errno, "make the input of a tool");
	return 0;
}

static int start(const char *path, const struct host_spawn *spawn, int in_fd, int out_fd,
		 pid_t *ret_pid)
{
	static char path_env[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char lang_env[] = "LC_ALL=C";
	/* posix_spawn wants char *const[] for historical reasons and changes nothing */
	char *const env[] = { path_env, lang_env, (char *)(uintptr_t)spawn->setting, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	if (in_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, in_fd, 0);
	else
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	posix_spawn_file_actions_adddup2(&actions, out_fd, 2);
	if (spawn->pass_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, spawn->pass_fd, CHILD_FD);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = posix_spawn(ret_pid, path, &actions, &attr, (char *const *)(uintptr_t)spawn->argv,
			 env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/* Until the tool ended (0) or the work must stop (-1). */
static int watch(struct ctx *ctx, int pid_fd, int out_fd, int64_t until_ns, struct tail *tail,
		 const struct host_spawn *spawn, struct err *err)
{
	struct host_spawn_watch *also = spawn->watch;
	bool has_output = true;

	for (;;) {
		struct pollfd fds[3 + HOST_SPAWN_WATCH_MAX] = {
			{ .fd = pid_fd, .events = POLLIN },
			{ .fd = has_output ? out_fd : -1, .events = POLLIN },
			{ .fd = ctx_cancel_fd(ctx), .events = POLLIN },
			{ .fd = -1 },
			{ .fd = -1 },
		};
		int64_t left_ns = until_ns - clock_now_ns();
		char buf[4096];
		ssize_t n;

		if (ctx_check(ctx, err) < 0 || (also && also->look(also->arg, err) < 0))
			return -1;
		if (also)
			memcpy(&fds[3], also->fds, sizeof(also->fds));
		if (left_ns <= 0)
			return err_set(err, ERR_DEADLINE_EXCEEDED, "it did not end in time");
		if (left_ns > LOOK_NS)
			left_ns = LOOK_NS; /* what poll(2) can count */
		(void)poll(
			fds, ARRAY_LEN(fds),
			ctx_poll_ms(ctx, (int)(left_ns / NS_PER_MS) + 1)); /* EINTR: look again */
		if (fds[1].revents) {
			n = read(out_fd, buf, sizeof(buf));
			if (n > 0) {
				tail_feed(tail, buf, (size_t)n);
				keep_output(spawn->output, buf, (size_t)n);
			} else if (n == 0 || (errno != EINTR && errno != EAGAIN))
				has_output = false;
			continue;
		}
		if (fds[0].revents)
			return 0;
	}
}

/* All that the tool started, by its group. posix_spawn returns when it has that; but where vfork is
 * emulated (qemu), it may be on its way there, and is alone yet. */
static void kill_all(pid_t pid)
{
	(void)kill(-pid, SIGKILL);
	(void)kill(pid, SIGKILL); /* not waited for yet, so it is nobody else's number */
}

static int kill_group(pid_t pid, int pid_fd, const char *tool, struct err *err)
{
	struct pollfd fd = { .fd = pid_fd, .events = POLLIN };

	kill_all(pid);
	if (poll(&fd, 1, KILL_WAIT_MS) == 1)
		(void)waitpid(pid, NULL, 0);
	else
		(void)err_wrap(err, "process %d does not die", (int)pid);
	return err_wrap(err, "run %s", tool);
}

static int judge(const char *tool, int status, const struct tail *tail, int *ret_status,
		 struct err *err)
{
	const char *words = tail->len ? tail->line : "(it said nothing)";

	if (WIFEXITED(status) && ret_status)
		*ret_status = WEXITSTATUS(status);
	if (WIFEXITED(status) && (ret_status || WEXITSTATUS(status) == 0))
		return 0;
	if (WIFEXITED(status))
		return err_set(err, ERR_INTERNAL, "%s exited %d: %s", tool, WEXITSTATUS(status),
			       words);
	return err_set(err, ERR_INTERNAL, "%s died from signal %d: %s", tool, WTERMSIG(status),
		       words);
}

int host_spawn(struct ctx *ctx, const struct host_spawn *spawn, struct err *err)
{
	int64_t until_ns = clock_now_ns() + spawn->timeout_ns;
	struct tail tail = { .is_ended = true };
	autofd int pid_fd = -1;
	autofd int read_fd = -1;
	autofd int write_fd = -1;
	autofd int in_fd = -1;
	int pipe_fds[2];
	int status = 0;
	char path[256];
	pid_t pid;
	int rc;

	if (find_tool(spawn, path, sizeof(path), err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return host_err(err, errno, "make a pipe for %s", spawn->tool);
	read_fd = pipe_fds[0];
	/* out of the way of 0 to 3, which the child's own fds take; blocking for the tool */
	write_fd = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	(void)close(pipe_fds[1]);
	if (write_fd < 0 || fcntl(write_fd, F_SETFL, 0) < 0)
		return host_err(err, errno, "make a pipe for %s", spawn->tool);
	if (spawn->input && make_input(spawn->input, &in_fd, err) < 0)
		return -1;
	rc = start(path, spawn, in_fd, write_fd, &pid);
	if (rc < 0)
		return host_err(err, -rc, "start '%s'", path);
	(void)close(TAKE_FD(write_fd));
	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid_fd < 0) {
		(void)host_err(err, errno, "watch '%s' (pidfd_open, Linux 5.3 or newer)", path);
		kill_all(pid);
		(void)waitpid(pid, NULL, 0);
		return -1;
	}
	if (watch(ctx, pid_fd, read_fd, until_ns, &tail, spawn, err) < 0)
		return kill_group(pid, pid_fd, spawn->tool, err);
	if (waitpid(pid, &status, 0) < 0)
		return host_err(err, errno, "wait for '%s'", path);
	return judge(spawn->tool, status, &tail, spawn->ret_status, err);
}
