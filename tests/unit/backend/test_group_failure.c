/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As test_failure.c, for groups of snapshots: for n = 1, 2, … the operation has its n-th host call
 * fail, or the process is killed just before it (with its guards, too), or the power goes. Then the
 * same call comes again, or the opposite one. The group is whole then or not there, nothing is
 * frozen, and when it is deleted nothing is left. One member is mounted, one is not attached.
 */
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "host/fs.h"
#include "host/mount.h"

#define N_CALLS_MAX 400

enum trouble {
	TROUBLE_FAIL,
	TROUBLE_KILL,
	TROUBLE_KILL_ALL, /* the guards of what is frozen as well */
	TROUBLE_POWER,
	TROUBLES,
};

struct process {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_group group;
};

static void start(struct process *p)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	ctx_init(&p->ctx, 0);
	p->r = registry_new();
	ASSERT_OK(registry_open(p->r, &p->ctx, &config, &p->err), &p->err);
	p->b = registry_at(p->r, 0);
}

static void stop(struct process *p)
{
	registry_free(p->r);
	ctx_done(&p->ctx);
}

static void recover(struct process *p, enum trouble trouble)
{
	if (trouble == TROUBLE_FAIL) {
		fake_host_fail_at(0);
		return;
	}
	stop(p);
	if (trouble == TROUBLE_KILL_ALL)
		fake_host_kill_guards();
	if (trouble == TROUBLE_POWER)
		fake_host_power_cut();
	else
		fake_host_kill();
	start(p);
	ASSERT_EQ(fake_host_n_frozen(), 0);
}

static void create(struct process *p, const char *name, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = fs
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(p->b, &p->ctx, &spec, &vol, &p->err), &p->err);
	fake_host_write(name, 0, 8 * MIB);
}

static void prepare(struct process *p)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	struct backend_device dev;

	fake_host_reset(GIB);
	fake_host_add_dir("/mnt");
	start(p);
	create(p, "v", "ext4");
	create(p, "w", "");
	ASSERT_OK(backend_attach(p->b, &p->ctx, "v", &(struct backend_attach_options){ 0 }, &dev,
				 &p->err),
		  &p->err);
	ASSERT_OK(host_mount_device(&p->ctx, dev.path, "/mnt", &opts, &p->err), &p->err);
	ASSERT_OK(backend_settle(p->b, &p->ctx, "v", "/mnt", &p->err), &p->err);
}

static int take(struct process *p)
{
	const struct backend_group_spec spec = {
		.name = "g",
		.token = "g",
		.sources = (const char *const[]){ "v", "w" },
		.n_sources = 2,
	};

	return backend_group_create(p->b, &p->ctx, &spec, &p->group, &p->err);
}

static int remove_group(struct process *p)
{
	return backend_group_remove(p->b, &p->ctx, "g", NULL, &p->err);
}

static int count_name(void *arg, const char *name, bool is_regular)
{
	(void)name;
	(void)is_regular;
	++*(unsigned *)arg;
	return 0;
}

static unsigned n_entries(const char *dir)
{
	struct err err;
	unsigned n = 0;
	int fd;

	ASSERT_OK(host_dir_open(dir, &fd, &err), &err);
	ASSERT_OK(host_dir_each(fd, count_name, &n, &err), &err);
	host_fd_close(fd);
	return n;
}

static int count_snapshot(void *arg, const struct backend_snapshot *snap)
{
	ASSERT_FALSE(snap->is_damaged);
	++*(unsigned *)arg;
	return 0;
}

static unsigned n_listed(struct process *p)
{
	unsigned n = 0;

	ASSERT_OK(backend_snapshot_each(p->b, &p->ctx, "", count_snapshot, &n, &p->err), &p->err);
	return n;
}

/* All or none, whatever happened so far. */
static void assert_whole_or_gone(struct process *p)
{
	if (backend_group_stat(p->b, &p->ctx, "g", &p->group, &p->err) == 0) {
		ASSERT_EQ(p->group.n_members, 2);
		ASSERT_EQ(n_listed(p), 2);
	} else {
		ASSERT_EQ(p->err.code, ERR_NOT_FOUND);
		ASSERT_EQ(n_listed(p), 0);
	}
}

static void assert_there(struct process *p)
{
	struct backend_info info;

	ASSERT_OK(backend_group_stat(p->b, &p->ctx, "g", &p->group, &p->err), &p->err);
	ASSERT_EQ(p->group.n_members, 2);
	ASSERT_EQ(n_listed(p), 2);
	ASSERT_EQ(n_entries("/pool/.cleat/snapshots"), 2);
	ASSERT_OK(backend_info(p->b, &p->ctx, &info, &p->err), &p->err);
	ASSERT_EQ(info.n_snapshots, 2);
	ASSERT_EQ(info.n_damaged_snapshots, 0);
}

static void assert_nothing(struct process *p)
{
	struct backend_info info;

	ASSERT_ERR(backend_group_stat(p->b, &p->ctx, "g", &p->group, &p->err), &p->err,
		   ERR_NOT_FOUND, "no such group");
	ASSERT_EQ(n_entries("/pool/.cleat/snapshots"), 0);
	ASSERT_OK(backend_info(p->b, &p->ctx, &info, &p->err), &p->err);
	ASSERT_EQ(info.n_snapshots, 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ASSERT_TRUE(fake_host_used_bytes() < 129 * MIB);
}

struct operation {
	const char *name;
	bool is_there; /* before */
	int (*run)(struct process *p);
	int (*opposite)(struct process *p);
	void (*check)(struct process *p); /* after it */
	void (*check_opposite)(struct process *p);
};

/* One run with trouble at call n; false when the operation has fewer calls. */
static bool run_with_trouble(const struct operation *op, enum trouble trouble, bool go_back,
			     unsigned n)
{
	int (*next)(struct process * p) = go_back ? op->opposite : op->run;
	struct process p = { 0 };
	bool is_reached;
	int rc;

	prepare(&p);
	if (op->is_there)
		ASSERT_OK(take(&p), &p.err);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	rc = op->run(&p);
	is_reached = fake_host_failed();
	ASSERT_TRUE(is_reached || rc == 0);
	recover(&p, is_reached ? trouble : TROUBLE_FAIL);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	assert_whole_or_gone(&p);
	if (next(&p) < 0)
		fail_msg("%s, trouble %d at call %u, then %s: %s", op->name, (int)trouble, n,
			 go_back ? "the opposite" : "again", p.err.msg);
	(go_back ? op->check_opposite : op->check)(&p);
	ASSERT_OK(remove_group(&p), &p.err);
	assert_nothing(&p);
	(void)host_mount_umount(&p.ctx, "/mnt", &p.err); /* not there after a power cut */
	stop(&p);
	start(&p); /* marks and records that were of no use any more */
	ASSERT_EQ(n_entries("/pool/.cleat/groups") + n_entries("/pool/.cleat/frozen"), 0);
	stop(&p);
	ASSERT_EQ(fake_host_n_fds(), 0);
	return is_reached;
}

static void run_all(const struct operation *op)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		for (int go_back = 0; go_back < 2; go_back++) {
			unsigned n = 1;

			while (run_with_trouble(op, (enum trouble)trouble, go_back, n)) {
				n++;
				ASSERT_TRUE(n < N_CALLS_MAX);
			}
			ASSERT_TRUE(n > 1);
		}
	}
}

TEST(taking_a_group_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "take", false, take, remove_group, assert_there,
					   assert_nothing });
}

TEST(removing_a_group_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "remove", true, remove_group, take, assert_nothing,
					   assert_there });
}

/* What a call said is done stays done, whatever happens next. */
TEST(a_group_survives_a_power_cut_and_so_does_its_end)
{
	struct process p;

	prepare(&p);
	ASSERT_OK(take(&p), &p.err);
	fake_host_fail_from(1);
	recover(&p, TROUBLE_POWER);
	assert_there(&p);
	ASSERT_OK(remove_group(&p), &p.err);
	fake_host_fail_from(1);
	recover(&p, TROUBLE_POWER);
	assert_nothing(&p);
	stop(&p);
}

TEST(opening_survives_trouble_while_halves_are_swept)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		const struct backend_config config = { .kind = "pool",
						       .dir = "/pool",
						       .reserve_bytes = 100 * MIB };
		struct process p;
		struct err err;
		int fd;

		prepare(&p);
		ASSERT_OK(take(&p), &p.err);
		ASSERT_OK(host_dir_open("/pool/.cleat/groups", &fd, &err), &err);
		ASSERT_OK(host_file_rename(fd, "g", ".g", &err), &err);
		host_fd_close(fd);
		stop(&p);
		fake_host_fail_from(n);
		ctx_init(&p.ctx, 0);
		p.r = registry_new();
		(void)registry_open(p.r, &p.ctx, &config, &p.err);
		is_reached = fake_host_failed();
		stop(&p);
		fake_host_kill();
		start(&p);
		ASSERT_EQ(n_entries("/pool/.cleat/groups"), 0);
		assert_nothing(&p);
		stop(&p);
	}
}

RUN_TESTS(UNIT(taking_a_group_survives_trouble_at_every_call),
	  UNIT(removing_a_group_survives_trouble_at_every_call),
	  UNIT(a_group_survives_a_power_cut_and_so_does_its_end),
	  UNIT(opening_survives_trouble_while_halves_are_swept))
