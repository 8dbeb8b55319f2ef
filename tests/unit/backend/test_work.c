/* SPDX-License-Identifier: Apache-2.0 */
/* What a killed process left in .cleat/work. On the fake host. */
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "host/fs.h"

#define N_CALLS_MAX 500

struct env {
	struct registry *r;
	struct ctx ctx;
	struct err err;
};

static void setup(struct env *e)
{
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static int open_pool(struct env *e)
{
	const struct backend_config config = { .kind = "pool", .name = "one", .dir = "/pool" };

	return registry_open(e->r, &e->ctx, &config, &e->err);
}

static void close_pool(struct env *e)
{
	registry_free(e->r);
	e->r = registry_new();
}

static int open_work(struct env *e)
{
	int meta = -1;
	int work = -1;
	int dir;

	ASSERT_OK(host_dir_open("/pool", &dir, &e->err), &e->err);
	ASSERT_OK(host_dir_open_at(dir, ".cleat", &meta, &e->err), &e->err);
	ASSERT_OK(host_dir_make(meta, "work", &work, &e->err), &e->err);
	host_fd_close(meta);
	host_fd_close(dir);
	return work;
}

/* A volume and two unfinished files, as a process leaves them that is killed in the middle. */
static void leave_work(struct env *e)
{
	static const struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 16 * MIB, .fs = ""
	};
	static const char *const names[] = { "copy-1", "copy-2" };
	struct backend_volume vol;
	int fd = -1;
	int work;

	ASSERT_OK(open_pool(e), &e->err);
	ASSERT_OK(backend_create(registry_at(e->r, 0), &e->ctx, &spec, &vol, &e->err), &e->err);
	close_pool(e);
	work = open_work(e);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ASSERT_OK(host_file_open_or_make(work, names[i], &fd, &e->err), &e->err);
		host_fd_close(fd);
	}
	host_fd_close(work);
}

static void check_work_is_gone(struct env *e)
{
	struct backend_volume vol;
	int work = open_work(e);
	int fd = -1;

	ASSERT_ERR(host_file_open(work, "copy-1", true, &fd, &e->err), &e->err, ERR_NOT_FOUND, "");
	ASSERT_ERR(host_file_open(work, "copy-2", true, &fd, &e->err), &e->err, ERR_NOT_FOUND, "");
	host_fd_close(work);
	ASSERT_OK(backend_stat(registry_at(e->r, 0), &e->ctx, "v", NULL, &vol, &e->err), &e->err);
}

TEST(unfinished_work_of_a_killed_process_goes_when_the_pool_is_opened)
{
	struct env e;

	setup(&e);
	leave_work(&e);
	ASSERT_OK(open_pool(&e), &e.err);
	check_work_is_gone(&e);
	teardown(&e);
}

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

/* Whether call n was reached. */
static bool open_in_trouble(struct env *e, enum trouble trouble, unsigned n)
{
	bool is_reached;

	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	(void)open_pool(e);
	is_reached = fake_host_failed();
	if (trouble != TROUBLE_FAIL)
		fake_host_fail_from(1);
	close_pool(e);
	if (trouble == TROUBLE_KILL)
		fake_host_kill();
	else if (trouble == TROUBLE_POWER)
		fake_host_power_cut();
	fake_host_fail_at(0);
	return is_reached;
}

TEST(unfinished_work_goes_whatever_stopped_the_opening_before)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		bool is_reached = true;

		for (unsigned n = 1; is_reached; n++) {
			struct env e;

			ASSERT_TRUE(n < N_CALLS_MAX);
			setup(&e);
			leave_work(&e);
			is_reached = open_in_trouble(&e, (enum trouble)trouble, n);
			ASSERT_OK(open_pool(&e), &e.err);
			check_work_is_gone(&e);
			teardown(&e);
		}
	}
}

RUN_TESTS(UNIT(unfinished_work_of_a_killed_process_goes_when_the_pool_is_opened),
	  UNIT(unfinished_work_goes_whatever_stopped_the_opening_before))
