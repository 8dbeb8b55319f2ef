/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frozen filesystems, as root. What is frozen is told by FIFREEZE itself (EBUSY); that something
 * thaws is waited for by making a file, which the kernel does not do before. This program is its
 * own guard, as cleat is.
 */
#include "base/num.h"
#include "disk.h"
#include "host/blockdev.h"
#include "host/freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define XFS_BYTES (320 * MIB)
#define LONG_NS (60 * NS_PER_S)
#define DIES "freeze-and-die" /* another thing that this program is for a test */

struct two {
	struct disk a; /* XFS */
	struct disk b; /* ext4 */
	int roots[2];
	struct ctx ctx;
	struct err err;
	unsigned n_fds;
};

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool begin(struct two *t)
{
	if (!disk_open(&t->a, "xfs", XFS_BYTES) || !disk_open(&t->b, "ext4", 64 * MIB))
		return false;
	t->roots[0] = t->a.root;
	t->roots[1] = t->b.root;
	ctx_init(&t->ctx, 0);
	(void)ctx_cancel_fd(&t->ctx);
	t->n_fds = count_fds();
	return true;
}

static void end(struct two *t)
{
	/* no guard, no socket is left */
	ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	ASSERT_EQ(count_fds(), t->n_fds);
	ctx_done(&t->ctx);
	disk_done(&t->b);
	disk_done(&t->a);
}

static bool is_frozen(int root)
{
	if (ioctl(root, FIFREEZE, 0) == 0) {
		ASSERT_EQ(ioctl(root, FITHAW, 0), 0);
		return false;
	}
	ASSERT_EQ(errno, EBUSY);
	return true;
}

/* Returns when the filesystem is not frozen (any more); SIGALRM ends the program if it stays so. */
static void wait_thawed(int root)
{
	int fd;

	(void)alarm(30);
	fd = openat(root, "probe", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0);
	(void)close(fd);
	(void)alarm(0);
}

static struct host_freeze *freeze(struct two *t, int64_t limit_ns)
{
	struct host_freeze *f = NULL;

	ASSERT_OK(host_freeze_begin(&t->ctx, &f, t->roots, 2, limit_ns, &t->err), &t->err);
	ASSERT_TRUE(is_frozen(t->roots[0]) && is_frozen(t->roots[1]));
	return f;
}

static void assert_thawed(struct two *t)
{
	ASSERT_FALSE(is_frozen(t->roots[0]) || is_frozen(t->roots[1]));
}

TEST(several_are_frozen_and_thawed)
{
	struct two t;

	if (!begin(&t))
		skip();
	ASSERT_OK(host_freeze_end(freeze(&t, LONG_NS), &t.err), &t.err);
	assert_thawed(&t);
	wait_thawed(t.roots[0]);
	ASSERT_OK(host_freeze_end(freeze(&t, LONG_NS), &t.err), &t.err);
	assert_thawed(&t);
	ASSERT_OK(host_fs_sync(t.roots[1], &t.err), &t.err);
	ASSERT_OK(host_block_sync(t.b.loop.path, &t.err), &t.err);
	end(&t);
}

TEST(all_or_none)
{
	struct host_freeze *f;
	struct two t;
	int fds[3];

	if (!begin(&t))
		skip();
	fds[0] = t.roots[0];
	fds[1] = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[2] = t.roots[1];
	ASSERT_ERR(host_freeze_begin(&t.ctx, &f, fds, 3, LONG_NS, &t.err), &t.err,
		   ERR_FAILED_PRECONDITION, "'/proc' (this kind");
	assert_thawed(&t);
	(void)close(fds[1]);
	/* somebody else's stays as it is */
	ASSERT_EQ(ioctl(t.roots[1], FIFREEZE, 0), 0);
	ASSERT_ERR(host_freeze_begin(&t.ctx, &f, t.roots, 2, LONG_NS, &t.err), &t.err, ERR_ABORTED,
		   "somebody else");
	ASSERT_FALSE(is_frozen(t.roots[0]));
	ASSERT_TRUE(is_frozen(t.roots[1]));
	ASSERT_EQ(ioctl(t.roots[1], FITHAW, 0), 0);
	ctx_cancel(&t.ctx);
	ASSERT_ERR(host_freeze_begin(&t.ctx, &f, t.roots, 2, LONG_NS, &t.err), &t.err,
		   ERR_CANCELLED, "");
	assert_thawed(&t);
	end(&t);
}

/* This process does nothing any more, as far as its guards can tell. */
TEST(a_guard_thaws_when_its_time_is_up)
{
	struct host_freeze *f;
	int64_t began_ns;
	struct two t;

	if (!begin(&t))
		skip();
	began_ns = clock_now_ns();
	ASSERT_OK(host_freeze_begin(&t.ctx, &f, t.roots, 2, NS_PER_S, &t.err), &t.err);
	wait_thawed(t.roots[0]);
	wait_thawed(t.roots[1]);
	ASSERT_TRUE(clock_now_ns() - began_ns > NS_PER_S * 9 / 10);
	ASSERT_ERR(host_freeze_end(f, &t.err), &t.err, ERR_DEADLINE_EXCEEDED, t.a.point);
	assert_thawed(&t);
	end(&t);
}

TEST(what_somebody_else_thaws_is_told)
{
	struct host_freeze *f;
	struct two t;

	if (!begin(&t))
		skip();
	f = freeze(&t, LONG_NS);
	ASSERT_EQ(ioctl(t.roots[1], FITHAW, 0), 0);
	ASSERT_ERR(host_freeze_end(f, &t.err), &t.err, ERR_ABORTED, t.b.point);
	assert_thawed(&t);
	end(&t);
}

/* Its children, which are guards. */
static size_t find_guards(pid_t *pids, size_t cap)
{
	char path[64];
	size_t n = 0;
	FILE *list;
	int pid;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	assert_non_null(list);
	while (n < cap && fscanf(list, "%d", &pid) == 1)
		pids[n++] = pid;
	(void)fclose(list);
	return n;
}

TEST(for_a_guard_that_was_killed_its_parent_thaws)
{
	struct host_freeze *f;
	pid_t pids[4];
	struct two t;

	if (!begin(&t))
		skip();
	f = freeze(&t, LONG_NS);
	ASSERT_EQ(find_guards(pids, 4), 2);
	ASSERT_EQ(kill(pids[0], SIGKILL), 0);
	ASSERT_ERR(host_freeze_end(f, &t.err), &t.err, ERR_UNAVAILABLE, "ended early");
	assert_thawed(&t);
	end(&t);
}

TEST(a_guard_is_not_asked_to_end)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1 };
	struct host_freeze *f;
	pid_t pids[4];
	struct two t;

	if (!begin(&t))
		skip();
	f = freeze(&t, LONG_NS);
	ASSERT_EQ(find_guards(pids, 4), 2);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		ASSERT_EQ(kill(pids[0], signals[i]), 0);
		ASSERT_EQ(kill(pids[1], signals[i]), 0);
	}
	ASSERT_OK(host_freeze_end(f, &t.err), &t.err);
	end(&t);
}

/* Freezes the directories named and is killed: a program of its own, see main. */
static int freeze_and_die(char **dirs)
{
	struct host_freeze *f;
	struct ctx ctx;
	struct err err;
	int fds[2];

	ctx_init(&ctx, 0);
	fds[0] = open(dirs[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[1] = open(dirs[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (host_freeze_begin(&ctx, &f, fds, 2, LONG_NS, &err) < 0)
		return 1;
	(void)raise(SIGKILL);
	return 0;
}

TEST(a_guard_thaws_when_its_parent_is_killed)
{
	char *argv[] = { (char[]){ "test" }, (char[]){ DIES }, NULL, NULL, NULL };
	int status = 0;
	struct two t;
	pid_t pid;

	if (!begin(&t))
		skip();
	argv[2] = t.a.point;
	argv[3] = t.b.point;
	ASSERT_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	wait_thawed(t.roots[0]);
	wait_thawed(t.roots[1]);
	assert_thawed(&t);
	end(&t);
}

/* A filesystem whose disk does not answer: an ext4 in a file of an XFS that is frozen itself, with
 * something to write out. */
TEST(a_disk_that_does_not_answer_holds_nobody_up)
{
	const struct host_loop_options opts = { .allow_buffered = true };
	const struct host_mount_options mount = { .fs = "ext4" };
	struct host_freeze *f;
	int64_t began_ns;
	struct host_loop loop;
	char point[96];
	struct two t;
	int hold, file, inner;
	int fds[2];

	if (!begin(&t))
		skip();
	ASSERT_OK(host_file_make(t.a.root, &file, &t.err), &t.err);
	ASSERT_OK(host_file_resize(file, 64 * MIB, &t.err), &t.err);
	ASSERT_OK(host_mkfs_ext4(&t.ctx, file, 64 * MIB, &t.err), &t.err);
	ASSERT_OK(host_loop_attach(&t.ctx, file, &opts, &loop, &hold, &t.err), &t.err);
	(void)snprintf(point, sizeof(point), "%s/inner", t.a.dir);
	ASSERT_EQ(mkdir(point, 0700), 0);
	ASSERT_OK(host_mount_device(&t.ctx, loop.path, point, &mount, &t.err), &t.err);
	ASSERT_OK(host_dir_open(point, &inner, &t.err), &t.err);
	wait_thawed(inner);
	ASSERT_EQ(ioctl(t.a.root, FIFREEZE, 0), 0);

	fds[0] = t.b.root;
	fds[1] = inner;
	ctx_done(&t.ctx);
	ctx_init(&t.ctx, NS_PER_S / 2);
	began_ns = clock_now_ns();
	ASSERT_ERR(host_freeze_begin(&t.ctx, &f, fds, 2, LONG_NS, &t.err), &t.err,
		   ERR_DEADLINE_EXCEEDED, point);
	ASSERT_TRUE(clock_now_ns() - began_ns < 5 * NS_PER_S);
	ASSERT_FALSE(is_frozen(t.b.root));
	ASSERT_EQ(ioctl(t.a.root, FITHAW, 0), 0);
	/* now it freezes after all, and its guard thaws it */
	ASSERT_TRUE(waitpid(-1, NULL, 0) > 0);
	ASSERT_FALSE(is_frozen(inner));

	host_fd_close(inner);
	ctx_done(&t.ctx);
	ctx_init(&t.ctx, 0);
	(void)ctx_cancel_fd(&t.ctx);
	ASSERT_OK(host_mount_umount(&t.ctx, point, &t.err), &t.err);
	ASSERT_EQ(rmdir(point), 0);
	host_fd_close(hold);
	host_fd_close(file);
	end(&t);
}

/* Left frozen, and unmounted on top: it is mounted as it is, and thawed by whoever comes next. */
TEST(what_was_left_frozen_is_thawed)
{
	struct two t;

	if (!begin(&t))
		skip();
	ASSERT_OK(host_freeze_thaw(t.roots[0], &t.err), &t.err);
	ASSERT_EQ(ioctl(t.b.root, FIFREEZE, 0), 0);
	disk_umount(&t.b);
	disk_mount(&t.b, "ext4");
	t.roots[1] = t.b.root;
	ASSERT_TRUE(is_frozen(t.b.root));
	ASSERT_OK(host_freeze_thaw(t.b.root, &t.err), &t.err);
	wait_thawed(t.b.root);
	assert_thawed(&t);
	end(&t);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(several_are_frozen_and_thawed),
		UNIT(all_or_none),
		UNIT(a_guard_thaws_when_its_time_is_up),
		UNIT(what_somebody_else_thaws_is_told),
		UNIT(for_a_guard_that_was_killed_its_parent_thaws),
		UNIT(a_guard_is_not_asked_to_end),
		UNIT(a_guard_thaws_when_its_parent_is_killed),
		UNIT(a_disk_that_does_not_answer_holds_nobody_up),
		UNIT(what_was_left_frozen_is_thawed),
	};
	const char *missing;
	int rc;

	if (argc == 2 && str_is_equal(argv[1], HOST_FREEZE_GUARD))
		return host_freeze_guard();
	if (argc == 4 && str_is_equal(argv[1], DIES))
		return freeze_and_die(argv + 2);
	missing = disk_enter();
	if (missing) {
		print_message("SKIPPED: freezing real filesystems needs %s\n", missing);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
