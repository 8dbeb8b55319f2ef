/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a pool is: its identity file, what is refused at open and both ways out, on the fake host;
 * each host call of opening and adopting fails, is the last, or is followed by a power cut.
 */
#include "backend/pool/identity.h"
#include "backend/pool/pool.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"

#define UUID "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e"
#define GOOD "cleat pool 1\nidentity=" UUID "\nfilesystem=" UUID "\ninode=64\nnode=n1\n"
#define N_CALLS_MAX 100

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_volume vol;
};

static int open_as_told(struct env *e, const struct backend_config *told)
{
	struct backend_config config = *told;

	config.kind = "pool";
	config.name = "p";
	config.dir = "/pool";
	config.reserve_bytes = 100 * MIB;
	if (registry_open(e->r, &e->ctx, &config, &e->err) < 0)
		return -1;
	e->b = registry_at(e->r, 0);
	return 0;
}

static int open_as(struct env *e, const char *node, bool may_init)
{
	return open_as_told(
		e, &(const struct backend_config){ .node_id = node, .may_init = may_init });
}

static int follow_as(struct env *e, const char *node)
{
	return open_as_told(
		e, &(const struct backend_config){ .node_id = node, .follows_moved = true });
}

static void begin(struct env *e)
{
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	e->b = NULL;
}

static void end(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
}

static void again(struct env *e)
{
	end(e);
	begin(e);
}

static void setup(struct env *e)
{
	fake_host_reset(GIB);
	begin(e);
}

static void teardown(struct env *e)
{
	end(e);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static int create(struct env *e, const char *name)
{
	const struct backend_spec spec = { .name = name, .token = name, .bytes = MIB, .fs = "" };

	return backend_create(e->b, &e->ctx, &spec, &e->vol, &e->err);
}

static int adopt(struct env *e, bool is_copy, struct pool_adopted *ret)
{
	const struct pool_adopt how = { .dir = "/pool", .is_copy = is_copy };

	return pool_adopt(&how, ret, &e->err);
}

static bool is_same(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

TEST(reads_what_it_writes)
{
	struct pool_identity id = { .inode = UINT64_MAX };
	struct pool_identity back;
	char text[POOL_IDENTITY_MAX];
	struct err err;

	memset(id.node, 'n', sizeof(id.node) - 1);
	memset(id.identity.b, 0xab, sizeof(id.identity.b));
	memset(id.filesystem.b, 0xcd, sizeof(id.filesystem.b));
	pool_identity_format(&id, text);
	ASSERT_OK(pool_identity_parse(text, &back, &err), &err);
	ASSERT_TRUE(is_same(&back.identity, &id.identity));
	ASSERT_TRUE(is_same(&back.filesystem, &id.filesystem));
	ASSERT_TRUE(back.inode == id.inode);
	ASSERT_STR(back.node, id.node);
	ASSERT_OK(pool_identity_parse(GOOD "colour=green\nneeds=\n", &back, &err), &err);
	ASSERT_STR(back.node, "n1");
}

TEST(refuses_what_it_cannot_read)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "version" },
		{ "cleat pool 2\n", "version" },
		{ "cleat pool 1\n", "identity" },
		{ "cleat pool 1\nidentity=x\n", "identity" },
		{ "cleat pool 1\nidentity=" UUID "\n", "filesystem" },
		{ "cleat pool 1\nidentity=" UUID "\nfilesystem=" UUID "\n", "inode" },
		{ "cleat pool 1\nidentity=" UUID "\nfilesystem=" UUID "\ninode=-1\n", "inode" },
		{ "cleat pool 1\nidentity=" UUID "\nfilesystem=" UUID "\ninode=64\n", "node" },
		{ "cleat pool 1\nidentity=" UUID "\nfilesystem=" UUID "\ninode=64\nnode=n1",
		  "end" },
		{ GOOD "colour\n", "end" },
		{ GOOD "needs=mirror\n", "'mirror', which this cleat lacks" },
	};
	struct pool_identity id;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(pool_identity_parse(cases[i].text, &id, &err), &err,
			   ERR_FAILED_PRECONDITION, cases[i].says);
}

TEST(stays_the_same_over_restarts_and_names_what_differs)
{
	struct uuid identity;
	struct env e;

	setup(&e);
	ASSERT_OK(open_as(&e, "n1", false), &e.err);
	identity = e.b->identity;
	ASSERT_FALSE(is_same(&identity, &e.b->filesystem));
	again(&e);
	ASSERT_OK(open_as(&e, "n1", false), &e.err);
	ASSERT_TRUE(is_same(&identity, &e.b->identity));
	again(&e);
	ASSERT_ERR(open_as(&e, "n2", false), &e.err, ERR_FAILED_PRECONDITION,
		   "served by node 'n1', now by 'n2'");
	ASSERT_TRUE(strstr(e.err.msg, "cleat ctl pool adopt --moved /pool") != NULL);
	ASSERT_TRUE(strstr(e.err.msg, "cleat ctl pool adopt --copy /pool") != NULL);
	again(&e);
	fake_host_copy_to_another_disk();
	ASSERT_ERR(open_as(&e, "n1", false), &e.err, ERR_FAILED_PRECONDITION, "on filesystem ");
	teardown(&e);
}

TEST(a_pool_that_was_moved_keeps_its_identity_and_volumes)
{
	struct pool_adopted done;
	struct uuid identity;
	struct env e;

	setup(&e);
	ASSERT_OK(open_as(&e, "n1", false), &e.err);
	identity = e.b->identity;
	ASSERT_OK(create(&e, "v"), &e.err);
	ASSERT_ERR(adopt(&e, false, &done), &e.err, ERR_FAILED_PRECONDITION, "in use by another");
	end(&e);
	fake_host_copy_to_another_disk();
	ASSERT_OK(adopt(&e, false, &done), &e.err);
	ASSERT_TRUE(is_same(&identity, &done.identity));
	begin(&e);
	ASSERT_OK(open_as(&e, "n2", false), &e.err);
	ASSERT_TRUE(is_same(&identity, &e.b->identity));
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	again(&e);
	ASSERT_ERR(open_as(&e, "n1", false), &e.err, ERR_FAILED_PRECONDITION, "by node 'n2'");
	teardown(&e);
}

TEST(a_pool_of_another_node_is_followed_where_that_is_said)
{
	struct uuid identity;
	struct env e;

	setup(&e);
	ASSERT_OK(follow_as(&e, "n1"), &e.err);
	identity = e.b->identity;
	ASSERT_OK(create(&e, "v"), &e.err);
	again(&e);
	ASSERT_OK(follow_as(&e, "n2"), &e.err);
	ASSERT_TRUE(is_same(&identity, &e.b->identity));
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	again(&e);
	/* n2 is written down, so whoever does not follow goes by that */
	ASSERT_ERR(open_as(&e, "n1", false), &e.err, ERR_FAILED_PRECONDITION, "by node 'n2'");
	again(&e);
	ASSERT_OK(open_as(&e, "n2", false), &e.err);
	again(&e);
	/* who does not know its own name takes nothing over */
	ASSERT_OK(follow_as(&e, NULL), &e.err);
	again(&e);
	ASSERT_ERR(open_as(&e, "n1", false), &e.err, ERR_FAILED_PRECONDITION, "by node 'n2'");
	teardown(&e);
}

TEST(what_differs_in_more_than_the_node_is_not_followed)
{
	struct env e;

	setup(&e);
	ASSERT_OK(follow_as(&e, "n1"), &e.err);
	end(&e);
	fake_host_copy_to_another_disk();
	begin(&e);
	ASSERT_ERR(follow_as(&e, "n2"), &e.err, ERR_FAILED_PRECONDITION, "on filesystem ");
	again(&e);
	ASSERT_ERR(follow_as(&e, "n1"), &e.err, ERR_FAILED_PRECONDITION, "on filesystem ");
	teardown(&e);
}

TEST(a_copy_gets_an_identity_of_its_own_and_serves_no_old_volume)
{
	const struct backend_attach_options opts = { 0 };
	struct backend_device dev;
	struct pool_adopted done;
	struct uuid identity;
	struct env e;

	setup(&e);
	ASSERT_OK(open_as(&e, "n1", false), &e.err);
	identity = e.b->identity;
	ASSERT_OK(create(&e, "v"), &e.err);
	end(&e);
	ASSERT_OK(adopt(&e, true, &done), &e.err);
	ASSERT_TRUE(is_same(&identity, &done.before));
	ASSERT_FALSE(is_same(&identity, &done.identity));
	begin(&e);
	ASSERT_OK(open_as(&e, "n2", false), &e.err);
	ASSERT_TRUE(is_same(&done.identity, &e.b->identity));
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_TRUE(e.vol.is_damaged);
	ASSERT_TRUE(strstr(e.vol.damage, "made for pool ") != NULL);
	ASSERT_ERR(backend_attach(e.b, &e.ctx, "v", &opts, &dev, &e.err), &e.err, ERR_DATA_LOSS,
		   "made for pool");
	ASSERT_ERR(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err, ERR_FAILED_PRECONDITION,
		   "made for pool");
	ASSERT_OK(create(&e, "w"), &e.err);
	teardown(&e);
}

TEST(adopts_pools_only)
{
	struct pool_adopted done;
	struct env e;

	setup(&e);
	ASSERT_ERR(adopt(&e, false, &done), &e.err, ERR_FAILED_PRECONDITION, "is no pool");
	ASSERT_EQ(fake_host_n_files(), 0);
	teardown(&e);
}

TEST(a_disk_that_is_not_mounted_is_no_pool_on_the_disk_below)
{
	struct backend_info info;
	struct env e;

	setup(&e);
	fake_host_root_is_xfs();
	fake_host_unmount_pool();
	ASSERT_ERR(open_as(&e, "n1", false), &e.err, ERR_FAILED_PRECONDITION, "--pool-init");
	ASSERT_OK(open_as(&e, "n1", true), &e.err);
	ASSERT_OK(backend_info(e.b, &e.ctx, &info, &e.err), &e.err);
	fake_host_mount_pool();
	ASSERT_ERR(backend_info(e.b, &e.ctx, &info, &e.err), &e.err, ERR_UNAVAILABLE,
		   "something was mounted at '/pool'");
	ASSERT_ERR(create(&e, "v"), &e.err, ERR_UNAVAILABLE, "/pool");
	fake_host_unmount_pool();
	again(&e);
	/* it is a pool now, and needs no word */
	ASSERT_OK(open_as(&e, "n1", false), &e.err);
	teardown(&e);
}

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

static void bring_trouble(enum trouble trouble, unsigned n)
{
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
}

/* Whether call n was reached. */
static bool end_trouble(enum trouble trouble)
{
	bool is_reached = fake_host_failed();

	if (trouble == TROUBLE_KILL)
		fake_host_kill();
	else if (trouble == TROUBLE_POWER)
		fake_host_power_cut();
	fake_host_fail_at(0);
	return is_reached;
}

TEST(opening_survives_trouble_at_every_call)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		bool is_reached = true;

		for (unsigned n = 1; is_reached; n++) {
			struct uuid identity = { 0 };
			struct env e;
			int rc;

			ASSERT_TRUE(n < N_CALLS_MAX);
			setup(&e);
			bring_trouble((enum trouble)trouble, n);
			rc = open_as(&e, "n1", false);
			if (rc == 0)
				identity = e.b->identity;
			again(&e);
			is_reached = end_trouble((enum trouble)trouble);
			ASSERT_OK(open_as(&e, "n1", false), &e.err);
			/* what was told once is told for ever */
			ASSERT_TRUE(rc < 0 || is_same(&identity, &e.b->identity));
			identity = e.b->identity;
			end(&e);
			fake_host_power_cut();
			begin(&e);
			ASSERT_OK(open_as(&e, "n1", false), &e.err);
			ASSERT_TRUE(is_same(&identity, &e.b->identity));
			teardown(&e);
		}
	}
}

static void adopt_in_trouble(bool is_copy, enum trouble trouble)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		struct pool_adopted done;
		struct uuid identity;
		struct env e;
		int rc;

		ASSERT_TRUE(n < N_CALLS_MAX);
		setup(&e);
		ASSERT_OK(open_as(&e, "n1", false), &e.err);
		identity = e.b->identity;
		ASSERT_OK(create(&e, "v"), &e.err);
		end(&e);
		bring_trouble(trouble, n);
		rc = adopt(&e, is_copy, &done);
		is_reached = end_trouble(trouble);
		ASSERT_TRUE(is_reached || rc == 0);
		/* again, from wherever it was left */
		ASSERT_OK(adopt(&e, is_copy, &done), &e.err);
		ASSERT_TRUE(is_same(&identity, &done.identity) == !is_copy);
		ASSERT_EQ(fake_host_n_nameless(), 0);
		begin(&e);
		ASSERT_OK(open_as(&e, "n2", false), &e.err);
		ASSERT_TRUE(is_same(&done.identity, &e.b->identity));
		teardown(&e);
	}
}

TEST(following_survives_trouble_at_every_call)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		bool is_reached = true;

		for (unsigned n = 1; is_reached; n++) {
			struct uuid identity;
			struct env e;

			ASSERT_TRUE(n < N_CALLS_MAX);
			setup(&e);
			ASSERT_OK(open_as(&e, "n1", false), &e.err);
			identity = e.b->identity;
			ASSERT_OK(create(&e, "v"), &e.err);
			end(&e);
			begin(&e);
			bring_trouble((enum trouble)trouble, n);
			(void)follow_as(&e, "n2");
			end(&e);
			is_reached = end_trouble((enum trouble)trouble);
			begin(&e);
			ASSERT_OK(follow_as(&e, "n2"), &e.err);
			ASSERT_TRUE(is_same(&identity, &e.b->identity));
			ASSERT_EQ(fake_host_n_nameless(), 0);
			end(&e);
			fake_host_power_cut();
			begin(&e);
			ASSERT_OK(open_as(&e, "n2", false), &e.err);
			ASSERT_TRUE(is_same(&identity, &e.b->identity));
			ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
			teardown(&e);
		}
	}
}

TEST(adopting_survives_trouble_at_every_call)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		adopt_in_trouble(false, (enum trouble)trouble);
		adopt_in_trouble(true, (enum trouble)trouble);
	}
}

RUN_TESTS(UNIT(reads_what_it_writes), UNIT(refuses_what_it_cannot_read),
	  UNIT(stays_the_same_over_restarts_and_names_what_differs),
	  UNIT(a_pool_that_was_moved_keeps_its_identity_and_volumes),
	  UNIT(a_pool_of_another_node_is_followed_where_that_is_said),
	  UNIT(what_differs_in_more_than_the_node_is_not_followed),
	  UNIT(a_copy_gets_an_identity_of_its_own_and_serves_no_old_volume),
	  UNIT(adopts_pools_only), UNIT(a_disk_that_is_not_mounted_is_no_pool_on_the_disk_below),
	  UNIT(opening_survives_trouble_at_every_call),
	  UNIT(following_survives_trouble_at_every_call),
	  UNIT(adopting_survives_trouble_at_every_call))
