/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a pool keeps free what overwriting shared blocks needs: set aside before they are shared,
 * measured when something went, given back. On the fake host.
 */
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

static void start(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 24 * MIB };

	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

/* 1000 MiB for volumes. */
static void setup(struct env *e)
{
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	start(e);
}

static void restart(struct env *e)
{
	registry_free(e->r);
	start(e);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	fake_host_reset(0);
}

static int make(struct env *e, const struct backend_spec *spec)
{
	struct backend_volume vol;

	return backend_create(e->b, &e->ctx, spec, &vol, &e->err);
}

static int create(struct env *e, const char *name, uint64_t bytes)
{
	return make(
		e, &(struct backend_spec){ .name = name, .token = name, .bytes = bytes, .fs = "" });
}

static int create_of(struct env *e, const char *name, enum backend_source kind, const char *source,
		     uint64_t bytes)
{
	return make(e, &(struct backend_spec){ .name = name,
					       .token = name,
					       .bytes = bytes,
					       .fs = "",
					       .source_kind = kind,
					       .source = source });
}

static int take(struct env *e, const char *name, const char *source)
{
	const struct backend_snapshot_spec spec = { .name = name, .token = name, .source = source };
	struct backend_snapshot snap;

	return backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err);
}

static void remove_volume(struct env *e, const char *token)
{
	ASSERT_OK(backend_remove(e->b, &e->ctx, token, NULL, &e->err), &e->err);
}

static void remove_snapshot(struct env *e, const char *token)
{
	ASSERT_OK(backend_snapshot_remove(e->b, &e->ctx, token, NULL, &e->err), &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

#define ASSERT_RESERVED(e, mib) ASSERT_EQ(info(e).reserved_bytes, (mib)*MIB)

TEST(keeps_free_what_a_volume_shares)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 100 * MIB), &e.err);
	fake_host_write("v", 0, 30 * MIB);
	ASSERT_RESERVED(&e, 0);
	ASSERT_EQ(info(&e).available_bytes, 900 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_RESERVED(&e, 30);
	ASSERT_EQ(info(&e).available_bytes, 870 * MIB);
	ASSERT_OK(take(&e, "t", "v"), &e.err);
	ASSERT_RESERVED(&e, 30);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s", 100 * MIB), &e.err);
	ASSERT_RESERVED(&e, 60);
	ASSERT_EQ(info(&e).available_bytes, 900 * MIB - 70 * MIB - 60 * MIB);
	ASSERT_OK(create_of(&e, "d", BACKEND_SOURCE_VOLUME, "c", 100 * MIB), &e.err);
	ASSERT_RESERVED(&e, 90);
	teardown(&e);
}

TEST(gives_back_what_is_shared_no_more)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 100 * MIB), &e.err);
	fake_host_write("v", 0, 30 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s", 100 * MIB), &e.err);
	ASSERT_RESERVED(&e, 60);
	remove_snapshot(&e, "s");
	ASSERT_RESERVED(&e, 60); /* they share with each other */
	fake_host_write("c", 0, 10 * MIB);
	remove_volume(&e, "v");
	ASSERT_RESERVED(&e, 0);
	ASSERT_OK(take(&e, "u", "c"), &e.err);
	ASSERT_RESERVED(&e, 30);
	remove_volume(&e, "c");
	ASSERT_RESERVED(&e, 0);
	teardown(&e);
}

TEST(refuses_a_snapshot_that_writing_would_have_no_room_beside)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 500 * MIB), &e.err);
	fake_host_write("v", 0, 400 * MIB);
	ASSERT_OK(create(&e, "w", 101 * MIB), &e.err);
	ASSERT_ERR(take(&e, "s", "v"), &e.err, ERR_RESOURCE_EXHAUSTED, "400Mi would be shared");
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", 500 * MIB), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "400Mi would be shared");
	ASSERT_EQ(info(&e).n_snapshots, 0);
	ASSERT_RESERVED(&e, 0);
	remove_volume(&e, "w");
	/* more is allocated than there is room for, less is written */
	ASSERT_OK(create(&e, "w", 100 * MIB), &e.err);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_RESERVED(&e, 400);
	ASSERT_EQ(info(&e).available_bytes, 0);
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s", 500 * MIB), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "500Mi do not fit");
	teardown(&e);
}

/* Each byte that the volume writes anew takes from what is free, and needs to be kept no more. */
TEST(measures_before_it_refuses)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 400 * MIB), &e.err);
	fake_host_write("v", 0, 400 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	fake_host_write("v", 0, 300 * MIB);
	/* 400 + 300 are written, 100 shared */
	ASSERT_OK(create(&e, "w", 200 * MIB), &e.err);
	ASSERT_RESERVED(&e, 100);
	ASSERT_EQ(info(&e).available_bytes, 0);
	fake_host_write("v", 300 * MIB, 100 * MIB);
	restart(&e);
	ASSERT_RESERVED(&e, 0);
	ASSERT_EQ(info(&e).available_bytes, 0);
	teardown(&e);
}

TEST(keeps_nothing_for_volumes_that_do_without)
{
	struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 600 * MIB, .fs = "", .no_reserve = true
	};
	struct env e;

	setup(&e);
	ASSERT_OK(make(&e, &spec), &e.err);
	fake_host_write("v", 0, 600 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	ASSERT_RESERVED(&e, 0);
	restart(&e);
	ASSERT_RESERVED(&e, 0);
	spec.name = spec.token = "c";
	spec.source_kind = BACKEND_SOURCE_SNAPSHOT;
	spec.source = "s";
	ASSERT_OK(make(&e, &spec), &e.err);
	ASSERT_RESERVED(&e, 0);
	ASSERT_EQ(info(&e).available_bytes, 400 * MIB);
	spec.name = spec.token = "d";
	spec.no_reserve = false;
	ASSERT_ERR(make(&e, &spec), &e.err, ERR_RESOURCE_EXHAUSTED, "600Mi do not fit");
	teardown(&e);
}

TEST(knows_after_a_restart_and_after_a_person_what_to_keep)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 100 * MIB), &e.err);
	ASSERT_OK(create(&e, "w", 100 * MIB), &e.err);
	fake_host_write("v", 0, 30 * MIB);
	fake_host_write("w", 0, 30 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	restart(&e);
	ASSERT_RESERVED(&e, 30);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v", 100 * MIB), &e.err);
	remove_snapshot(&e, "s");
	restart(&e);
	ASSERT_RESERVED(&e, 60);
	fake_host_add_foreign("file"); /* the directory is read again */
	ASSERT_EQ(info(&e).n_volumes, 3);
	ASSERT_RESERVED(&e, 60);
	fake_host_rename("c", ".gone");
	ASSERT_EQ(info(&e).n_volumes, 2);
	ASSERT_RESERVED(&e, 30);
	teardown(&e);
}

/* What could not be measured is not taken for nothing. */
TEST(keeps_what_it_cannot_measure)
{
	struct backend_info now;
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 100 * MIB), &e.err);
	fake_host_write("v", 0, 30 * MIB);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	remove_snapshot(&e, "s");
	for (unsigned n = 1;; n++) {
		fake_host_fail_at(n);
		if (backend_info(e.b, &e.ctx, &now, &e.err) == 0 && fake_host_failed()) {
			ASSERT_EQ(now.reserved_bytes, 30 * MIB);
			break;
		}
		ASSERT_TRUE(fake_host_failed());
	}
	fake_host_fail_at(0);
	ASSERT_RESERVED(&e, 0);
	teardown(&e);
}

static void create_large(void *arg)
{
	struct env *e = arg;

	ASSERT_ERR(create(e, "large", 650 * MIB), &e->err, ERR_RESOURCE_EXHAUSTED, "do not fit");
}

/* What is set aside is not shared yet, and whoever measures then would find that it is not needed.
 */
TEST(room_for_a_cut_that_is_under_way_is_not_given_to_others)
{
	struct env e;

	setup(&e);
	ASSERT_OK(create(&e, "v", 300 * MIB), &e.err);
	fake_host_write("v", 0, 300 * MIB);
	fake_host_at_clone(create_large, &e);
	ASSERT_OK(take(&e, "s", "v"), &e.err);
	fake_host_at_clone(NULL, NULL);
	ASSERT_RESERVED(&e, 300);
	remove_snapshot(&e, "s");
	ASSERT_OK(create(&e, "large", 650 * MIB), &e.err);
	/* nor is it kept after one that failed */
	remove_volume(&e, "large");
	for (unsigned n = 1;; n++) {
		fake_host_fail_at(n);
		(void)take(&e, "s", "v");
		if (!fake_host_failed())
			break;
		fake_host_fail_at(0);
		remove_snapshot(&e, "s"); /* there is one if the last sync failed */
		ASSERT_OK(create(&e, "large", 650 * MIB), &e.err);
		remove_volume(&e, "large");
	}
	fake_host_fail_at(0);
	teardown(&e);
}

RUN_TESTS(UNIT(keeps_free_what_a_volume_shares), UNIT(gives_back_what_is_shared_no_more),
	  UNIT(refuses_a_snapshot_that_writing_would_have_no_room_beside),
	  UNIT(measures_before_it_refuses), UNIT(keeps_nothing_for_volumes_that_do_without),
	  UNIT(knows_after_a_restart_and_after_a_person_what_to_keep),
	  UNIT(keeps_what_it_cannot_measure),
	  UNIT(room_for_a_cut_that_is_under_way_is_not_given_to_others))
