/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of freezing when guards behave as they should not. This program is the guard, by a
 * script that the environment names; nothing is frozen. test_freeze_real.c has the real one.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "host/freeze-internal.h"
#include "host/freeze.h"
#include "host/fs.h"
#include "needs.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCRIPT "CLEAT_TEST_GUARD"

/* The guard's side: a letter for each message that it waits for, and what it says then. */
struct line {
	char letter;
	struct freeze_message message;
};
static const struct line lines[] = {
	{ 'r', { .word = FREEZE_READY } },
	{ 'f', { .word = FREEZE_FROZEN } },
	{ 'p', { .word = FREEZE_FROZEN, .os = EPERM } },
	{ 'b', { .word = FREEZE_FROZEN, .os = EBUSY } },
	{ 't', { .word = FREEZE_THAWED, .ended = FREEZE_ON_TIME } },
	{ 'l', { .word = FREEZE_THAWED, .ended = FREEZE_TIME_WAS_UP } },
	{ 'w', { .word = FREEZE_THAWED, .ended = FREEZE_WAS_NOT } },
	{ 'x', { .word = FREEZE_THAWED, .ended = 77 } },
};

static int act(const char *script)
{
	struct freeze_message heard;

	for (; *script; script++) {
		if (recv(FREEZE_GUARD_FD, &heard, sizeof(heard), 0) <= 0)
			return 0;
		for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
			if (lines[i].letter == *script)
				(void)send(FREEZE_GUARD_FD, &lines[i].message,
					   sizeof(lines[i].message), MSG_NOSIGNAL);
		}
	}
	return 0;
}

struct run {
	struct ctx ctx;
	struct err err;
	struct host_freeze *f;
	int dir;
};

/* '.' is silence: the guard stays until it hears more. */
static int begin(struct run *r, const char *script, int64_t timeout_ns)
{
	int fds[2];

	ASSERT_EQ(setenv(SCRIPT, script, 1), 0);
	ctx_init(&r->ctx, timeout_ns);
	r->f = NULL;
	ASSERT_OK(host_dir_open("/", &r->dir, &r->err), &r->err);
	fds[0] = fds[1] = r->dir;
	return host_freeze_begin(&r->ctx, &r->f, fds, 2, 10 * NS_PER_S, &r->err);
}

static void end(struct run *r)
{
	/* each guard is buried */
	ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	host_fd_close(r->dir);
	ctx_done(&r->ctx);
}

TEST(freezing_fails_with_its_guards)
{
	static const struct {
		const char *script;
		enum err_code code;
		const char *words;
	} cases[] = {
		{ "", ERR_UNAVAILABLE, "ended early" },  /* it does not start */
		{ "f", ERR_UNAVAILABLE, "ended early" }, /* it says what was not asked */
		{ "rp", ERR_PERMISSION_DENIED, "freeze the filesystem at '/'" },
		{ "rb", ERR_ABORTED, "somebody else" },
		{ "rt", ERR_UNAVAILABLE, "ended early" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct run r;

		ASSERT_ERR(begin(&r, cases[i].script, 0), &r.err, cases[i].code, cases[i].words);
		ASSERT_TRUE(r.f == NULL);
		end(&r);
	}
}

TEST(a_silent_guard_is_left_with_the_ctx)
{
	static const char *const scripts[] = { ".....", "r....." };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct run r;

		ASSERT_ERR(begin(&r, scripts[i], 50 * NS_PER_MS), &r.err, ERR_DEADLINE_EXCEEDED,
			   "");
		end(&r);
	}
}

TEST(the_end_tells_whether_all_were_frozen)
{
	static const struct {
		const char *script;
		enum err_code code;
	} cases[] = {
		{ "rft", ERR_OK },
		{ "rfl", ERR_DEADLINE_EXCEEDED },
		{ "rfw", ERR_ABORTED },
		{ "rfx", ERR_INTERNAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct run r;
		int rc;

		ASSERT_OK(begin(&r, cases[i].script, 0), &r.err);
		rc = host_freeze_end(r.f, &r.err);
		ASSERT_EQ(rc < 0 ? r.err.code : ERR_OK, cases[i].code);
		end(&r);
	}
}

TEST(nobody_else_is_a_guard)
{
	ASSERT_EQ(host_freeze_guard(), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(freezing_fails_with_its_guards),
		UNIT(a_silent_guard_is_left_with_the_ctx),
		UNIT(the_end_tells_whether_all_were_frozen),
		UNIT(nobody_else_is_a_guard),
	};

	if (argc == 2 && str_is_equal(argv[1], HOST_FREEZE_GUARD))
		return act(getenv(SCRIPT));
	/* an emulator (see needs.h) starts itself when a program starts /proc/self/exe */
	if (!has_openat2()) {
		print_message("1..0 # SKIP this is an emulator's kernel\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
