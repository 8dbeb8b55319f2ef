/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers of volumes as processes: this program again, which makes a file in place of a mount, and
 * takes it away when nobody waits for it any more. And what ceph-fuse's words mean.
 */
#include "backend/ceph/server.h"
#include "backend/cephfs/serve.h"
#include "base/fd.h"
#include "base/mem.h"
#include "check.h"
#include "host/fs.h"
#include "host/self.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNDOES "serve-and-undo"
#define STANDS_STILL "serve-never"
#define ASKS "ask-and-wait"
#define LOCKS "take-the-lock"
#define UNDO_MS 300
#define PATIENCE_MS 20000

static void make_dir(char ret_dir[64])
{
	(void)snprintf(ret_dir, 64, "/tmp/cleat-server-XXXXXX");
	ASSERT_TRUE(mkdtemp(ret_dir) != NULL);
}

static void remove_dir(const char *dir)
{
	ASSERT_EQ(rmdir(dir), 0);
}

/* Never answers. */
static int serve(bool undoes)
{
	struct pollfd gone = { .fd = HOST_SELF_FD, .events = POLLRDHUP };
	char *path = xcalloc(1, CEPH_SERVER_ORDER_MAX + 1);
	size_t n;

	if (ceph_server_read(path, &n) < 0 || n == 0)
		return 1;
	(void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	while (!undoes)
		(void)pause();
	(void)poll(&gone, 1, -1);
	(void)poll(NULL, 0, UNDO_MS);
	(void)unlink(path);
	free(path);
	return 0;
}

static int start(const char *word, const char *path, int64_t undo_ns, int64_t time_ns,
		 struct err *err)
{
	const struct ceph_server server = { .word = word, .token = "token", .undo_ns = undo_ns };
	autostr struct str order = STR_INIT;
	struct ctx ctx;
	int rc;

	str_append(&order, path);
	ctx_init(&ctx, time_ns);
	rc = ceph_server_start(&ctx, &server, &order, NULL, err);
	ctx_done(&ctx);
	return rc;
}

TEST(a_server_that_is_given_up_undoes_what_it_has_begun)
{
	char dir[64], path[80];
	struct err err;

	make_dir(dir);
	(void)snprintf(path, sizeof(path), "%s/mount", dir);
	ASSERT_ERR(start(UNDOES, path, 20 * NS_PER_S, NS_PER_S, &err), &err, ERR_DEADLINE_EXCEEDED,
		   "still opening");
	ASSERT_TRUE(access(path, F_OK) < 0 && errno == ENOENT);
	ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	remove_dir(dir);
}

TEST(one_that_does_not_watch_is_killed)
{
	char dir[64], path[80];
	struct err err;

	make_dir(dir);
	(void)snprintf(path, sizeof(path), "%s/mount", dir);
	ASSERT_ERR(start(STANDS_STILL, path, 0, NS_PER_S, &err), &err, ERR_DEADLINE_EXCEEDED,
		   "still opening");
	ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	(void)unlink(path);
	remove_dir(dir);
}

static pid_t spawn_self(const char *word, const char *arg)
{
	char *const argv[] = { (char *)(uintptr_t) "test", (char *)(uintptr_t)word,
			       (char *)(uintptr_t)arg, NULL };
	pid_t pid;

	ASSERT_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
	return pid;
}

static void await_file(const char *path, bool is_there)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
		if ((access(path, F_OK) == 0) == is_there)
			return;
		(void)poll(NULL, 0, 10);
	}
	ASSERT_TRUE(!"in time");
}

TEST(a_killed_agent_leaves_no_server)
{
	char dir[64], path[80];
	pid_t pid;

	make_dir(dir);
	(void)snprintf(path, sizeof(path), "%s/mount", dir);
	pid = spawn_self(ASKS, path);
	await_file(path, true);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	await_file(path, false);
	remove_dir(dir);
}

static int take_lock(const char *dir)
{
	char path[200];
	int dir_fd, fd;
	struct err err;

	if (host_dir_open(dir, &dir_fd, &err) < 0 ||
	    ceph_server_lock(dir_fd, "server", &fd, &err) < 0)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/ready", dir);
	(void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (;;)
		(void)pause();
}

TEST(a_lock_that_is_taken_is_aborted_and_says_by_whom)
{
	char dir[64], ready[80], says[64];
	int dir_fd = -1, fd = -1;
	struct err err;
	pid_t pid;

	make_dir(dir);
	(void)snprintf(ready, sizeof(ready), "%s/ready", dir);
	pid = spawn_self(LOCKS, dir);
	await_file(ready, true);
	(void)snprintf(says, sizeof(says), "process %d", (int)pid);
	ASSERT_OK(host_dir_open(dir, &dir_fd, &err), &err);
	ASSERT_ERR(ceph_server_lock(dir_fd, "server", &fd, &err), &err, ERR_ABORTED, says);
	/* what its holder has removed locks nobody out */
	ASSERT_OK(host_file_unlink(dir_fd, "server", &err), &err);
	ASSERT_OK(ceph_server_lock(dir_fd, "server", &fd, &err), &err);
	host_fd_close(fd);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	/* and what is no lock is not called one that is taken */
	ASSERT_OK(host_file_unlink(dir_fd, "server", &err), &err);
	ASSERT_EQ(mkdirat(dir_fd, "server", 0700), 0);
	ASSERT_TRUE(ceph_server_lock(dir_fd, "server", &fd, &err) < 0);
	ASSERT_TRUE(err.code != ERR_ABORTED && !strstr(err.msg, "earlier server"));
	ASSERT_EQ(unlinkat(dir_fd, "server", AT_REMOVEDIR), 0);
	ASSERT_EQ(unlinkat(dir_fd, "ready", 0), 0);
	host_fd_close(dir_fd);
	remove_dir(dir);
}

/* ---- words ---- */

static const struct cephfs_order order = {
	.target = "/staging",
	.token = "t",
	.user = "u",
	.fs_name = "fs",
	.path = "/p",
	.monitors = "m",
};

static int explain(const char *output, int64_t took_ns, bool is_served, struct err *err)
{
	(void)err_set(err, ERR_INTERNAL, "run ceph-fuse: ceph-fuse exited 1: its last line");
	return cephfs_explain(&order, output, took_ns, is_served, err);
}

TEST(what_ceph_fuse_says_is_in_what_we_say)
{
	struct err err;

	ASSERT_ERR(explain("x\nceph mount failed with (2) No such file\n", 0, false, &err), &err,
		   ERR_NOT_FOUND,
		   "no such path or filesystem (run ceph-fuse: ceph-fuse exited 1: "
		   "its last line)");
	ASSERT_ERR(explain("", 30 * NS_PER_S, false, &err), &err, ERR_UNAVAILABLE,
		   "monitors 'm' do not answer (run ceph-fuse");
	ASSERT_ERR(explain("", 0, false, &err), &err, ERR_INTERNAL, "its last line");
	ASSERT_ERR(explain("terminate called\n  what():  no /run\n*** Caught signal\n 1: f()\n", 0,
			   false, &err),
		   &err, ERR_INTERNAL, "user 'u' gave up: no /run");
	ASSERT_STR(strrchr(err.msg, ':'), ": no /run");
	(void)err_set(&err, ERR_CANCELLED, "whoever wanted it is gone");
	ASSERT_TRUE(cephfs_explain(&order, "failed to fetch mon config", 0, false, &err) < 0);
	ASSERT_EQ(err.code, ERR_CANCELLED);
}

/* It has had its monitors for days. */
TEST(one_that_has_served_says_how_it_ended)
{
	struct err err;

	ASSERT_ERR(explain("failed to fetch mon config\n", 86400 * NS_PER_S, true, &err), &err,
		   ERR_INTERNAL, "ceph-fuse exited 1: its last line");
	ASSERT_TRUE(strstr(err.msg, "filesystem 'fs'") && !strstr(err.msg, "do not answer"));
}

TEST(its_last_words_are_its_last_line)
{
	const char *const cases[][2] = {
		{ "", "" }, { "\n\n", "" }, { "a\nb \n\n", "b" }, { "one", "one" }
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autostr struct str out = STR_INIT;

		cephfs_last_words(cases[i][0], &out);
		ASSERT_STR(str_get(&out), cases[i][1]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_server_that_is_given_up_undoes_what_it_has_begun),
		UNIT(one_that_does_not_watch_is_killed),
		UNIT(a_killed_agent_leaves_no_server),
		UNIT(a_lock_that_is_taken_is_aborted_and_says_by_whom),
		UNIT(what_ceph_fuse_says_is_in_what_we_say),
		UNIT(one_that_has_served_says_how_it_ended),
		UNIT(its_last_words_are_its_last_line),
	};
	struct err err;

	if (argc == 3 && str_is_equal(argv[1], UNDOES))
		return serve(true);
	if (argc == 3 && str_is_equal(argv[1], STANDS_STILL))
		return serve(false);
	if (argc == 3 && str_is_equal(argv[1], ASKS))
		return start(UNDOES, argv[2], 20 * NS_PER_S, 60 * NS_PER_S, &err) < 0;
	if (argc == 3 && str_is_equal(argv[1], LOCKS))
		return take_lock(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
