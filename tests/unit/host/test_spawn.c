/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/ctx.h"
#include "base/str.h"
#include "check.h"
#include "host/fs.h"
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int run(struct ctx *ctx, const char *script, int pass_fd, int64_t timeout_ns,
	       struct err *err)
{
	const char *const argv[] = { "sh", "-c", script, NULL };

	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = "sh",
				  .package = "dash",
				  .argv = argv,
				  .pass_fd = pass_fd,
				  .timeout_ns = timeout_ns,
			  },
			  err);
}

static int run_simply(const char *script, struct err *err)
{
	struct ctx ctx;
	int rc;

	ctx_init(&ctx, 0);
	rc = run(&ctx, script, -1, 60 * NS_PER_S, err);
	ctx_done(&ctx);
	return rc;
}

TEST(is_0_when_the_tool_is)
{
	struct err err;

	ASSERT_OK(run_simply("exit 0", &err), &err);
}

TEST(gives_the_output_and_the_exit_code_to_who_wants_them)
{
	const char *const argv[] = {
		"sh", "-c",
		"echo one; printf 'a\\033b\\n' >&2; i=0; while [ $i -lt 9000 ]; do "
		"echo line $i; i=$((i+1)); done; exit 4",
		NULL
	};
	autostr struct str said = STR_INIT;
	struct host_spawn what = { .tool = "sh",
				   .package = "dash",
				   .argv = argv,
				   .pass_fd = -1,
				   .timeout_ns = 60 * NS_PER_S,
				   .output = &said };
	struct ctx ctx;
	struct err err;
	int status = 0;

	ctx_init(&ctx, 0);
	ASSERT_ERR(host_spawn(&ctx, &what, &err), &err, ERR_INTERNAL, "exited 4: line 8999");
	what.ret_status = &status;
	str_reset(&said);
	ASSERT_OK(host_spawn(&ctx, &what, &err), &err);
	ASSERT_EQ(status, 4);
	ASSERT_TRUE(said.len <= 3 * HOST_SPAWN_OUTPUT_MAX);
	ASSERT_TRUE(str_has_suffix(said.buf, "\nline 8998\nline 8999\n"));
	str_reset(&said);
	what.argv = (const char *const[]){ "sh", "-c", "printf 'a\\033b\\n'", NULL };
	ASSERT_OK(host_spawn(&ctx, &what, &err), &err);
	ASSERT_STR(said.buf, "a?b\n");
	ctx_done(&ctx);
}

TEST(keeps_the_last_line_for_the_error)
{
	struct err err;

	ASSERT_ERR(run_simply("echo first; echo 'second thing' >&2; echo; exit 3", &err), &err,
		   ERR_INTERNAL, "sh exited 3: second thing");
	ASSERT_ERR(run_simply("exit 1", &err), &err, ERR_INTERNAL, "said nothing");
	ASSERT_ERR(run_simply("printf 'a\\033[31mb'; exit 1", &err), &err, ERR_INTERNAL, "a?[31mb");
	ASSERT_ERR(run_simply("kill -9 $$", &err), &err, ERR_INTERNAL, "signal 9");
}

TEST(reads_any_amount_of_output)
{
	struct err err;

	ASSERT_ERR(run_simply("i=0; while [ $i -lt 3000 ]; do echo ' a line of a hundred "
			      "characters or so, again and again';"
			      " i=$((i+1)); done; echo end; exit 1",
			      &err),
		   &err, ERR_INTERNAL, ": end");
}

TEST(says_what_to_install)
{
	const char *const argv[] = { "mkfs.nosuch", NULL };
	const struct host_spawn spawn = { .tool = "mkfs.nosuch",
					  .package = "nosuch-tools",
					  .argv = argv,
					  .pass_fd = -1,
					  .timeout_ns = NS_PER_S };
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_ERR(host_spawn(&ctx, &spawn, &err), &err, ERR_FAILED_PRECONDITION,
		   "install nosuch-tools");
	ctx_done(&ctx);
}

TEST(passes_one_file_and_no_other)
{
	struct err err;
	struct ctx ctx;
	char text[32];
	int fd, dir;

	ctx_init(&ctx, 0);
	ASSERT_OK(host_file_make_memory("passed", 0, &fd, &err), &err);
	ASSERT_OK(host_dir_open("/", &dir, &err), &err);
	ASSERT_OK(run(&ctx,
		      "echo hello > " HOST_SPAWN_FD_PATH " && [ ! -e /proc/self/fd/4 ] && ! read x",
		      fd, 60 * NS_PER_S, &err),
		  &err);
	ASSERT_OK(host_file_get_text(fd, text, sizeof(text), &err), &err);
	ASSERT_STR(text, "hello\n");
	host_fd_close(fd);
	host_fd_close(dir);
	ctx_done(&ctx);
}

TEST(has_an_environment_of_its_own)
{
	struct err err;

	ASSERT_EQ(setenv("CLEAT_TEST_SECRET", "x", 1), 0);
	ASSERT_OK(run_simply("[ -z \"$CLEAT_TEST_SECRET\" ] && [ \"$LC_ALL\" = C ]", &err), &err);
	ASSERT_EQ(unsetenv("CLEAT_TEST_SECRET"), 0);
}

/* The tool tells its pid and then waits for ever, with a child that does so too. */
#define WAIT_FOREVER "echo $$ > " HOST_SPAWN_FD_PATH "; sleep 1000 & wait"

static void assert_dead(int fd)
{
	char text[32];
	uint64_t pid;
	struct err err;

	ASSERT_OK(host_file_get_text(fd, text, sizeof(text), &err), &err);
	text[strcspn(text, "\n")] = '\0';
	if (!text[0])
		return; /* killed before it could tell */
	ASSERT_EQ(str_parse_u64(text, &pid), 0);
	ASSERT_EQ(kill((pid_t)pid, 0), -1);
	ASSERT_EQ(errno, ESRCH);
}

TEST(kills_a_tool_that_takes_too_long)
{
	struct err err;
	struct ctx ctx;
	int fd;

	ASSERT_OK(host_file_make_memory("pid", 0, &fd, &err), &err);
	ctx_init(&ctx, 0);
	ASSERT_ERR(run(&ctx, WAIT_FOREVER, fd, 200 * NS_PER_MS, &err), &err, ERR_DEADLINE_EXCEEDED,
		   "sh");
	assert_dead(fd);
	ctx_done(&ctx);
	ctx_init(&ctx, 200 * NS_PER_MS);
	ASSERT_ERR(run(&ctx, WAIT_FOREVER, fd, 60 * NS_PER_S, &err), &err, ERR_DEADLINE_EXCEEDED,
		   "sh");
	assert_dead(fd);
	ctx_done(&ctx);
	host_fd_close(fd);
}

static void *cancel(void *ctx)
{
	ctx_cancel(ctx);
	return NULL;
}

TEST(kills_a_tool_whose_caller_has_gone)
{
	struct err err;
	struct ctx ctx;
	pthread_t thread;
	int fd;

	ASSERT_OK(host_file_make_memory("pid", 0, &fd, &err), &err);
	ctx_init(&ctx, 0);
	ASSERT_EQ(pthread_create(&thread, NULL, cancel, &ctx), 0);
	ASSERT_ERR(run(&ctx, WAIT_FOREVER, fd, 60 * NS_PER_S, &err), &err, ERR_CANCELLED, "");
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	assert_dead(fd);
	ctx_done(&ctx);
	host_fd_close(fd);
}

struct looks {
	int fd; /* that the tool's word comes by */
	unsigned n;
};

static int count_look(void *arg, struct err *err)
{
	struct looks *looks = arg;
	char byte;

	if (looks->n++ > 0 && read(looks->fd, &byte, 1) == 1)
		return err_set(err, ERR_CANCELLED, "enough was seen");
	return 0;
}

/* A fd that is watched has whoever looks called, who may end the tool. */
TEST(looks_at_what_else_is_waited_for)
{
	static const char *const argv[] = { "sh", "-c", "echo x >&3; exec sleep 60", NULL };
	int64_t began_ns = clock_now_ns();
	struct looks looks = { .n = 0 };
	struct host_spawn_watch watch = { .fds = { { .fd = -1 }, { .fd = -1 } },
					  .look = count_look,
					  .arg = &looks };
	int fds[2];
	struct ctx ctx;
	struct err err;

	ASSERT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	looks.fd = watch.fds[0].fd = fds[0];
	watch.fds[0].events = POLLIN;
	ctx_init(&ctx, 0);
	ASSERT_ERR(host_spawn(&ctx,
			      &(struct host_spawn){ .tool = "sh",
						    .package = "dash",
						    .argv = argv,
						    .pass_fd = fds[1],
						    .timeout_ns = HOST_SPAWN_FOR_EVER,
						    .watch = &watch },
			      &err),
		   &err, ERR_CANCELLED, "enough was seen");
	ASSERT_TRUE(looks.n >= 2 && clock_now_ns() - began_ns < 30 * NS_PER_S);
	ctx_done(&ctx);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

RUN_TESTS(UNIT(is_0_when_the_tool_is), UNIT(gives_the_output_and_the_exit_code_to_who_wants_them),
	  UNIT(keeps_the_last_line_for_the_error), UNIT(reads_any_amount_of_output),
	  UNIT(says_what_to_install), UNIT(passes_one_file_and_no_other),
	  UNIT(has_an_environment_of_its_own), UNIT(kills_a_tool_that_takes_too_long),
	  UNIT(kills_a_tool_whose_caller_has_gone), UNIT(looks_at_what_else_is_waited_for))
