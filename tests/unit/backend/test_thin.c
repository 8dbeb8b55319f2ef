/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin volumes of a pool: sparse, bounded by the over-commit, refused when the pool is full, and
 * never at the cost of what thick ones were promised. On the fake host.
 */
#include "backend/pool/pool.h"
#include "backend/registry.h"
#include "base/clock.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "host/fs.h"

#define THIN_BYTES (400 * MIB)
/* of such a one: what mkfs is expected to write, in whole blocks */
#define BIRTH (66 * MIB + THIN_BYTES / 2048)

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_volume vol;
};

static void start(struct env *e, unsigned overcommit)
{
	const struct backend_config config = {
		.kind = "pool", .dir = "/pool", .reserve_bytes = 24 * MIB, .overcommit = overcommit
	};

	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

/* 1000 MiB for volumes. */
static void setup(struct env *e, unsigned overcommit)
{
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	start(e, overcommit);
}

static void restart(struct env *e, unsigned overcommit)
{
	registry_free(e->r);
	start(e, overcommit);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	fake_host_reset(0);
	clock_fake_set(-1);
}

static int make(struct env *e, const struct backend_spec *spec)
{
	return backend_create(e->b, &e->ctx, spec, &e->vol, &e->err);
}

static int create_thin(struct env *e, const char *name, uint64_t bytes)
{
	return make(e, &(struct backend_spec){ .name = name,
					       .token = name,
					       .bytes = bytes,
					       .fs = "xfs",
					       .is_thin = true });
}

static int create_thick(struct env *e, const char *name, uint64_t bytes)
{
	return make(
		e, &(struct backend_spec){ .name = name, .token = name, .bytes = bytes, .fs = "" });
}

static int create_of(struct env *e, const char *name, enum backend_source kind, const char *source,
		     bool is_thin)
{
	return make(e, &(struct backend_spec){ .name = name,
					       .token = name,
					       .bytes = THIN_BYTES,
					       .fs = "xfs",
					       .is_thin = is_thin,
					       .source_kind = kind,
					       .source = source });
}

static int take(struct env *e, const char *name, const char *source)
{
	const struct backend_snapshot_spec spec = { .name = name, .token = name, .source = source };
	struct backend_snapshot snap;

	return backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err);
}

static int grow(struct env *e, const char *token, uint64_t bytes)
{
	return backend_grow(e->b, &e->ctx, token, bytes, NULL, &e->vol, &e->err);
}

static void remove_volume(struct env *e, const char *token)
{
	ASSERT_OK(backend_remove(e->b, &e->ctx, token, NULL, &e->err), &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

TEST(a_thin_volume_has_its_size_and_no_blocks)
{
	struct env e;

	setup(&e, 0);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	ASSERT_TRUE(e.vol.is_thin);
	ASSERT_EQ(e.vol.bytes, THIN_BYTES);
	ASSERT_TRUE(fake_host_used_bytes() < MIB);
	ASSERT_STR(fake_host_fs_of("v", &(struct uuid){ 0 }), "xfs");
	assert_non_null(strstr(fake_host_attr("v", "user.cleat.volume"), "provisioning=thin\n"));
	assert_non_null(strstr(fake_host_attr("v", "user.cleat.volume"), "reserve=none\n"));
	ASSERT_EQ(info(&e).thin.n_volumes, 1);
	ASSERT_EQ(info(&e).thin.bytes, THIN_BYTES);
	ASSERT_EQ(info(&e).thin.overcommit, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	ASSERT_ERR(make(&e,
			&(struct backend_spec){
				.name = "v", .token = "v", .bytes = THIN_BYTES, .fs = "xfs" }),
		   &e.err, ERR_ALREADY_EXISTS, "it exists and is thin");
	restart(&e, 0);
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_TRUE(e.vol.is_thin && !e.vol.is_damaged);
	ASSERT_EQ(info(&e).thin.bytes, THIN_BYTES);
	remove_volume(&e, "v");
	ASSERT_EQ(info(&e).thin.bytes, 0);
	ASSERT_EQ(info(&e).thin.n_volumes, 0);
	teardown(&e);
}

TEST(thin_volumes_are_promised_no_more_than_the_ratio)
{
	struct env e;

	setup(&e, 200);
	ASSERT_EQ(info(&e).thin.max_bytes, 2000 * MIB);
	for (unsigned i = 0; i < 5; i++) {
		char name[] = { 'a', (char)('0' + i), '\0' };

		ASSERT_OK(create_thin(&e, name, THIN_BYTES), &e.err);
	}
	ASSERT_EQ(info(&e).thin.max_bytes, 0);
	ASSERT_ERR(create_thin(&e, "more", 300 * MIB), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "promised 2 times what it has for them (--pool-overcommit)");
	ASSERT_FALSE(fake_host_has("more"));
	restart(&e, 250);
	ASSERT_OK(create_thin(&e, "more", 300 * MIB), &e.err);
	ASSERT_EQ(info(&e).thin.max_bytes, 200 * MIB);
	restart(&e, 100);
	ASSERT_EQ(info(&e).thin.max_bytes, 0);
	remove_volume(&e, "more");
	for (unsigned i = 0; i < 4; i++)
		remove_volume(&e, (char[]){ 'a', (char)('0' + i), '\0' });
	ASSERT_EQ(info(&e).thin.max_bytes, 600 * MIB);
	ASSERT_ERR(create_thin(&e, "more", 600 * MIB + 4096), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "do not fit");
	ASSERT_OK(create_thin(&e, "more", 600 * MIB), &e.err);
	teardown(&e);
}

TEST(what_getcapacity_tells_is_what_is_granted)
{
	struct env e;

	setup(&e, 150);
	ASSERT_OK(create_thick(&e, "thick", 300 * MIB), &e.err);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", MIB, 100 * MIB);
	ASSERT_EQ(info(&e).thin.max_bytes, 1050 * MIB - THIN_BYTES);
	ASSERT_ERR(create_thin(&e, "w", info(&e).thin.max_bytes + 4096), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "do not fit");
	ASSERT_OK(create_thin(&e, "w", info(&e).thin.max_bytes), &e.err);
	ASSERT_EQ(info(&e).thin.max_bytes, 0);
	teardown(&e);
}

/* … and thick ones are refused what thin ones need for the rule. */
TEST(thick_volumes_after_thin_ones_keep_the_rule)
{
	struct backend_info now;
	struct env e;

	setup(&e, 100);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	now = info(&e);
	ASSERT_EQ(now.available_bytes, 600 * MIB);
	ASSERT_EQ(now.thin.kept_bytes, 400 * MIB);
	ASSERT_ERR(create_thick(&e, "t", 600 * MIB + 4096), &e.err, ERR_RESOURCE_EXHAUSTED, "fit");
	fake_host_write("v", 0, 150 * MIB);
	now = info(&e);
	ASSERT_EQ(now.available_bytes, 600 * MIB);
	ASSERT_EQ(now.thin.kept_bytes, 250 * MIB);
	ASSERT_EQ(now.thin.used_bytes, 150 * MIB);
	ASSERT_OK(create_thick(&e, "t", 600 * MIB), &e.err);
	/* so what a thin one was promised is there, here where nothing is promised twice */
	fake_host_write("v", 0, THIN_BYTES);
	ASSERT_EQ(info(&e).overdrawn_bytes, 0);
	teardown(&e);
}

TEST(old_figures_refuse_no_thick_volume)
{
	struct env e;

	setup(&e, 100);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 300 * MIB); /* nobody has asked since */
	ASSERT_OK(create_thick(&e, "t", 600 * MIB), &e.err);
	teardown(&e);
}

TEST(old_figures_refuse_no_snapshot)
{
	struct env e;

	setup(&e, 100);
	ASSERT_OK(create_thick(&e, "t", 200 * MIB), &e.err);
	fake_host_write("t", 0, 200 * MIB);
	ASSERT_OK(create_thin(&e, "v", 600 * MIB), &e.err);
	fake_host_write("v", 0, 500 * MIB);
	ASSERT_OK(take(&e, "s", "t"), &e.err);
	ASSERT_EQ(info(&e).reserved_bytes, 200 * MIB);
	teardown(&e);
}

TEST(a_pool_that_is_nearly_full_makes_and_grows_no_thin_volume)
{
	struct env e;

	setup(&e, 1000);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_OK(create_thick(&e, "t", 500 * MIB), &e.err);
	fake_host_write("v", 0, 399 * MIB);
	ASSERT_OK(create_thin(&e, "w", THIN_BYTES), &e.err);
	fake_host_write("v", 399 * MIB, MIB);
	ASSERT_EQ(info(&e).thin.max_bytes, 0);
	ASSERT_ERR(create_thin(&e, "x", THIN_BYTES), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "the pool 'default' at '/pool' is 90 % full, and from 90 % on no thin volume");
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s", true), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "90 % full");
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", true), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "90 % full");
	ASSERT_ERR(grow(&e, "v", THIN_BYTES + MIB), &e.err, ERR_RESOURCE_EXHAUSTED, "90 % full");
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_EQ(e.vol.bytes, THIN_BYTES);
	/* those that are there are as they were, and room helps at once */
	ASSERT_OK(create_thin(&e, "w", THIN_BYTES), &e.err);
	fake_host_punch("v", 0, 100 * MIB);
	ASSERT_OK(create_thin(&e, "x", THIN_BYTES), &e.err);
	ASSERT_OK(grow(&e, "v", THIN_BYTES + MIB), &e.err);
	teardown(&e);
}

TEST(a_pool_without_an_inode_is_told_as_full_or_as_that)
{
	struct env e;

	setup(&e, 1000);
	ASSERT_OK(create_thick(&e, "t", 950 * MIB), &e.err);
	fake_host_take_inodes(true);
	ASSERT_ERR(create_thin(&e, "x", THIN_BYTES), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "the pool 'default' at '/pool' is 95 % full");
	ASSERT_ERR(create_thick(&e, "x", THIN_BYTES), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "do not fit into what the pool at '/pool' has free");
	ASSERT_ERR(create_thick(&e, "x", 10 * MIB), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "no inode for one more file");
	/* nothing stays promised */
	fake_host_take_inodes(false);
	ASSERT_OK(create_thick(&e, "x", 50 * MIB), &e.err);
	teardown(&e);
}

TEST(thin_volumes_grow_by_their_size_alone)
{
	struct env e;

	setup(&e, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 10 * MIB);
	ASSERT_OK(grow(&e, "v", 1500 * MIB), &e.err);
	ASSERT_EQ(e.vol.bytes, 1500 * MIB);
	ASSERT_EQ(fake_host_used_bytes(), 10 * MIB);
	ASSERT_EQ(info(&e).thin.bytes, 1500 * MIB);
	ASSERT_ERR(grow(&e, "v", 2000 * MIB + 4096), &e.err, ERR_OUT_OF_RANGE, "500Mi are free");
	ASSERT_OK(grow(&e, "v", 2000 * MIB), &e.err);
	ASSERT_EQ(info(&e).thin.max_bytes, 0);
	restart(&e, 200);
	ASSERT_EQ(info(&e).thin.bytes, 2000 * MIB);
	teardown(&e);
}

TEST(a_copy_is_thin_or_thick_as_is_asked)
{
	struct env e;

	setup(&e, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 50 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_EQ(info(&e).reserved_bytes, 0); /* no room is kept for overwriting a thin one */
	ASSERT_OK(create_of(&e, "thin", BACKEND_SOURCE_SNAPSHOT, "s", true), &e.err);
	ASSERT_TRUE(e.vol.is_thin);
	ASSERT_EQ(fake_host_used_bytes(), 50 * MIB);
	ASSERT_EQ(info(&e).reserved_bytes, 0);
	ASSERT_TRUE(fake_host_reads_same("v", "thin"));
	ASSERT_OK(create_of(&e, "thick", BACKEND_SOURCE_SNAPSHOT, "s", false), &e.err);
	ASSERT_FALSE(e.vol.is_thin);
	ASSERT_EQ(fake_host_used_bytes(), THIN_BYTES);
	ASSERT_EQ(info(&e).reserved_bytes, 50 * MIB);
	ASSERT_TRUE(fake_host_reads_same("v", "thick"));
	/* of a thick one whose blocks were never written: holes in what is made of it */
	ASSERT_OK(create_of(&e, "thin2", BACKEND_SOURCE_VOLUME, "thick", true), &e.err);
	ASSERT_EQ(fake_host_used_bytes(), THIN_BYTES);
	ASSERT_EQ(info(&e).thin.n_volumes, 3);
	teardown(&e);
}

static void setup_ext4(struct env *e, unsigned overcommit)
{
	fake_host_reset(GIB);
	fake_host_set_fs("ext4", false, false);
	ctx_init(&e->ctx, 0);
	start(e, overcommit);
}

/* A call has three seconds, a piece of 64 MiB takes one. */
static int create_in_time(struct env *e, const char *name, const char *source, bool is_thin)
{
	int rc;

	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 3 * NS_PER_S);
	rc = create_of(e, name, BACKEND_SOURCE_VOLUME, source, is_thin);
	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 0);
	return rc;
}

/* Where files cannot share blocks it takes as many calls as a thick one, and is no other. */
TEST(a_thin_copy_goes_on_in_the_next_call)
{
	struct env e;

	setup_ext4(&e, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 300 * MIB);
	clock_fake_set(NS_PER_S);
	fake_host_slow_copies(NS_PER_S);
	ASSERT_ERR(create_in_time(&e, "c", "v", true), &e.err, ERR_ABORTED, "192Mi of 400Mi");
	ASSERT_EQ(info(&e).thin.bytes, THIN_BYTES);
	ASSERT_OK(create_in_time(&e, "c", "v", true), &e.err);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(info(&e).thin.bytes, 2 * THIN_BYTES);
	ASSERT_EQ(info(&e).available_bytes, 400 * MIB);
	remove_volume(&e, "c");
	/* what was begun thin is not made thick by the next call */
	ASSERT_ERR(create_in_time(&e, "c", "v", true), &e.err, ERR_ABORTED, "192Mi of 400Mi");
	ASSERT_ERR(create_in_time(&e, "c", "v", false), &e.err, ERR_ABORTED, "192Mi of 400Mi");
	ASSERT_OK(create_in_time(&e, "c", "v", false), &e.err);
	ASSERT_FALSE(e.vol.is_thin);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(fake_host_used_bytes(), 700 * MIB);
	teardown(&e);
}

/* In the meantime its size is promised to nobody: another may have it. */
TEST(a_thin_copy_that_goes_on_keeps_the_ratio)
{
	struct env e;

	setup_ext4(&e, 100);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 300 * MIB);
	clock_fake_set(NS_PER_S);
	fake_host_slow_copies(NS_PER_S);
	ASSERT_ERR(create_in_time(&e, "c", "v", true), &e.err, ERR_ABORTED, "192Mi of 400Mi");
	fake_host_slow_copies(0);
	ASSERT_OK(create_thin(&e, "w", THIN_BYTES), &e.err);
	ASSERT_ERR(create_in_time(&e, "c", "v", true), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "promised 1 times what it has");
	remove_volume(&e, "w");
	ASSERT_OK(create_in_time(&e, "c", "v", true), &e.err);
	teardown(&e);
}

/* What cleat itself copies takes nothing of what is kept. */
TEST(a_thin_copy_is_not_begun_without_room_for_it)
{
	struct env e;

	setup_ext4(&e, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 310 * MIB);
	ASSERT_OK(create_thick(&e, "t", 390 * MIB), &e.err);
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", true), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "has no room for what a thin volume of 400Mi");
	ASSERT_EQ(fake_host_used_bytes(), 700 * MIB);
	fake_host_punch("v", 0, 10 * MIB);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", true), &e.err);
	ASSERT_EQ(info(&e).overdrawn_bytes, 0);
	teardown(&e);
}

/* Room for overwriting what thick ones share goes on being kept while thin ones are promised more,
 * and it is told when they have written so much that it is gone. */
TEST(what_thin_ones_take_of_the_reserve_is_told)
{
	struct backend_info now;
	struct env e;

	setup(&e, 200);
	ASSERT_OK(create_thick(&e, "t", 200 * MIB), &e.err);
	fake_host_write("t", 0, 200 * MIB);
	ASSERT_OK(take(&e, "s", "t"), &e.err);
	now = info(&e);
	ASSERT_EQ(now.reserved_bytes, 200 * MIB);
	ASSERT_EQ(now.thin.max_bytes, 1200 * MIB);
	ASSERT_OK(create_thin(&e, "v", 900 * MIB), &e.err);
	fake_host_write("v", 0, 600 * MIB);
	ASSERT_EQ(info(&e).overdrawn_bytes, 0);
	fake_host_write("v", 0, 610 * MIB);
	ASSERT_EQ(info(&e).overdrawn_bytes, 10 * MIB);
	fake_host_punch("v", 0, 20 * MIB);
	ASSERT_EQ(info(&e).overdrawn_bytes, 0);
	teardown(&e);
}

TEST(pool_status_tells_the_same)
{
	struct pool_status_ask ask = { .dir = "/pool",
				       .reserve_bytes = 24 * MIB,
				       .overcommit = 150 };
	struct pool_status status;
	struct backend_info now;
	struct env e;

	setup(&e, 150);
	ASSERT_OK(create_thick(&e, "t", 100 * MIB), &e.err);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	ASSERT_OK(create_thin(&e, "w", THIN_BYTES), &e.err);
	fake_host_write("v", 0, 30 * MIB);
	now = info(&e);
	ASSERT_OK(pool_status(&e.ctx, &ask, &status, &e.err), &e.err);
	ASSERT_EQ(status.n_thin, 2);
	ASSERT_EQ(status.n_volumes, 3);
	ASSERT_EQ(status.thin_bytes, now.thin.bytes);
	ASSERT_EQ(status.thin_used_bytes, 30 * MIB);
	ASSERT_EQ(status.thin_kept_bytes, now.thin.kept_bytes);
	ASSERT_EQ(status.available_bytes, now.available_bytes);
	ASSERT_EQ(status.thin_available_bytes, now.thin.max_bytes);
	ASSERT_EQ(status.overcommit, 150);
	ASSERT_EQ(status.percent, 13);
	teardown(&e);
}

/* A file that its user made longer than it was is what counts, as one of a growth that was killed.
 */
TEST(a_thin_volume_counts_as_large_as_its_file)
{
	struct env e;

	setup(&e, 200);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_set_size("v", 900 * MIB);
	restart(&e, 200);
	ASSERT_EQ(info(&e).thin.bytes, 900 * MIB);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", true), &e.err);
	ASSERT_EQ(info(&e).thin.bytes, 1800 * MIB);
	ASSERT_OK(grow(&e, "v", 900 * MIB), &e.err);
	ASSERT_EQ(info(&e).thin.bytes, 1800 * MIB);
	teardown(&e);
}

static void look_at_mkfs(void *arg)
{
	struct env *e = arg;
	struct backend_info now = info(e);

	ASSERT_EQ(now.thin.bytes, THIN_BYTES);
	ASSERT_EQ(now.thin.max_bytes, (2000 * MIB - 2 * BIRTH - THIN_BYTES) / 4096 * 4096);
	e->vol.bytes = 1; /* it was called */
}

/* Two that are made at once are not promised the same. */
TEST(what_is_being_made_is_promised)
{
	struct env e;
	struct err err;

	setup(&e, 200);
	e.vol.bytes = 0;
	fake_host_at_mkfs(look_at_mkfs, &e);
	fake_host_fail_at(0);
	ASSERT_OK(create_thin(&e, "v", THIN_BYTES), &e.err);
	fake_host_at_mkfs(NULL, NULL);
	ASSERT_EQ(info(&e).thin.bytes, THIN_BYTES);
	ASSERT_EQ(info(&e).thin.max_bytes, 1600 * MIB);
	/* … and what was not made is not */
	for (unsigned n = 1; n < 100; n++) {
		struct backend_volume vol;
		const struct backend_spec spec = {
			.name = "w", .token = "w", .bytes = THIN_BYTES, .fs = "xfs", .is_thin = true
		};
		int rc;

		fake_host_fail_at(n);
		rc = backend_create(e.b, &e.ctx, &spec, &vol, &err);
		fake_host_fail_at(0);
		if (rc == 0)
			break;
		remove_volume(&e, "w");
		ASSERT_EQ(info(&e).thin.bytes, THIN_BYTES);
		ASSERT_EQ(info(&e).thin.max_bytes, 1600 * MIB);
	}
	ASSERT_TRUE(fake_host_has("w"));
	teardown(&e);
}

TEST(other_filesystems_are_refused)
{
	struct env e;

	setup(&e, 200);
	ASSERT_ERR(make(&e, &(struct backend_spec){ .name = "v",
						    .token = "v",
						    .bytes = THIN_BYTES,
						    .fs = "ext4",
						    .is_thin = true }),
		   &e.err, ERR_INVALID_ARGUMENT, "xfs");
	ASSERT_ERR(make(&e, &(struct backend_spec){ .name = "v",
						    .token = "v",
						    .bytes = THIN_BYTES,
						    .fs = "",
						    .is_thin = true }),
		   &e.err, ERR_INVALID_ARGUMENT, "xfs");
	ASSERT_FALSE(fake_host_has("v"));
	teardown(&e);
}

RUN_TESTS(UNIT(a_thin_volume_has_its_size_and_no_blocks),
	  UNIT(thin_volumes_are_promised_no_more_than_the_ratio),
	  UNIT(what_getcapacity_tells_is_what_is_granted),
	  UNIT(thick_volumes_after_thin_ones_keep_the_rule),
	  UNIT(old_figures_refuse_no_thick_volume), UNIT(old_figures_refuse_no_snapshot),
	  UNIT(a_pool_that_is_nearly_full_makes_and_grows_no_thin_volume),
	  UNIT(a_pool_without_an_inode_is_told_as_full_or_as_that),
	  UNIT(thin_volumes_grow_by_their_size_alone), UNIT(a_copy_is_thin_or_thick_as_is_asked),
	  UNIT(a_thin_copy_goes_on_in_the_next_call),
	  UNIT(a_thin_copy_that_goes_on_keeps_the_ratio),
	  UNIT(a_thin_copy_is_not_begun_without_room_for_it),
	  UNIT(what_thin_ones_take_of_the_reserve_is_told), UNIT(pool_status_tells_the_same),
	  UNIT(a_thin_volume_counts_as_large_as_its_file), UNIT(what_is_being_made_is_promised),
	  UNIT(other_filesystems_are_refused))
