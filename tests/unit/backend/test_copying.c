/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that are copied in the background: how they are told, what ends them early, what a
 * restart makes of them, and trouble at every call. On the fake host.
 */
#include "backend/pool/record.h"
#include "backend/registry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "host/fs.h"
#include "host/mount.h"

#define N_CALLS_MAX 400

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_snapshot snap;
};

static void start(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

static void stop(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
}

static void setup(struct env *e)
{
	fake_host_reset(20 * GIB);
	start(e);
}

static void teardown(struct env *e)
{
	stop(e);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	fake_host_reset(0);
	clock_fake_set(-1);
}

static int create_of(struct env *e, const char *name, enum backend_source kind, const char *source)
{
	const struct backend_spec spec = { .name = name,
					   .token = name,
					   .bytes = 3 * GIB,
					   .fs = "",
					   .source_kind = kind,
					   .source = source };
	struct backend_volume vol;

	return backend_create(e->b, &e->ctx, &spec, &vol, &e->err);
}

/* 1.5 GiB of data: more than a call may copy. */
static void create_large(struct env *e)
{
	ASSERT_OK(create_of(e, "v", BACKEND_SOURCE_NONE, NULL), &e->err);
	fake_host_write("v", 0, GIB);
	fake_host_write("v", 2 * GIB, 512 * MIB);
	fake_host_set_n_extents("v", 100001);
}

static int take(struct env *e, const char *name)
{
	const struct backend_snapshot_spec spec = {
		.name = name,
		.token = name,
		.source = "v",
		.options = { .max_extents = 100000, .copy_above = true },
	};

	return backend_snapshot_create(e->b, &e->ctx, &spec, &e->snap, &e->err);
}

static int find(struct env *e, const char *name)
{
	return backend_snapshot_stat(e->b, &e->ctx, name, NULL, &e->snap, &e->err);
}

static int drop(struct env *e, const char *name)
{
	return backend_snapshot_remove(e->b, &e->ctx, name, NULL, &e->err);
}

static int attach(struct env *e)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;

	return backend_attach(e->b, &e->ctx, "v", &opts, &dev, &e->err);
}

static int grow(struct env *e)
{
	struct backend_volume vol;

	return backend_grow(e->b, &e->ctx, "v", 4 * GIB, NULL, &vol, &e->err);
}

static void tend(struct env *e)
{
	ASSERT_OK(backend_tend(e->b, &e->ctx, &e->err), &e->err);
}

/* So many host calls of it, and its process is dead. */
static void tend_some(struct env *e, unsigned n)
{
	fake_host_fail_from(n);
	(void)backend_tend(e->b, &e->ctx, &e->err);
	stop(e);
	fake_host_kill();
	fake_host_fail_at(0);
	start(e);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

#define SNAPSHOT_FILE ".cleat/snapshots/s"

static uint64_t begun_available; /* before the snapshot */

static void begin(struct env *e)
{
	create_large(e);
	begun_available = info(e).available_bytes;
	ASSERT_OK(take(e, "s"), &e->err);
	ASSERT_FALSE(e->snap.is_ready);
}

static void assert_ready(struct env *e)
{
	ASSERT_OK(find(e, "s"), &e->err);
	ASSERT_TRUE(e->snap.is_ready && !e->snap.is_damaged);
	ASSERT_OK(create_of(e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e->err);
	ASSERT_OK(backend_remove(e->b, &e->ctx, "c", NULL, &e->err), &e->err);
}

static int count_one(void *arg, const struct backend_snapshot *snap)
{
	*(unsigned *)arg += snap->is_ready ? 100 : 1;
	return 0;
}

static int pass_range(void *arg, const struct backend_range *range)
{
	(void)arg;
	(void)range;
	return 0;
}

TEST(tells_that_it_is_not_ready_until_it_is)
{
	unsigned n = 0;
	struct env e;

	setup(&e);
	begin(&e);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready || e.snap.is_damaged);
	ASSERT_EQ(e.snap.bytes, 3 * GIB);
	ASSERT_OK(backend_snapshot_each(e.b, &e.ctx, "", count_one, &n, &e.err), &e.err);
	ASSERT_EQ(n, 1);
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_SNAPSHOT, "s"), &e.err,
		   ERR_FAILED_PRECONDITION, "not ready");
	ASSERT_ERR(backend_allocated(e.b, &e.ctx, "s", NULL, 0, pass_range, NULL, &e.err), &e.err,
		   ERR_FAILED_PRECONDITION, "not ready");
	/* room for all of it is kept from the first moment on, and nothing is shared */
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	ASSERT_EQ(info(&e).reserved_bytes, 0);
	tend(&e);
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_TRUE(fake_host_reads_same("v", SNAPSHOT_FILE));
	assert_ready(&e);
	teardown(&e);
}

TEST(what_a_call_can_copy_is_ready_at_once)
{
	struct env e;

	setup(&e);
	create_large(&e);
	fake_host_punch("v", 0, GIB);
	fake_host_punch("v", 2 * GIB, 256 * MIB);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	teardown(&e);
}

TEST(a_pod_does_not_wait_for_it_and_its_moment_stays)
{
	struct env e;

	setup(&e);
	begin(&e);
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_TRUE(fake_host_reads_same("v", SNAPSHOT_FILE));
	/* what is shared may be written anew, for which room is kept: the same */
	ASSERT_EQ(info(&e).reserved_bytes, 1536 * MIB);
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	fake_host_write("v", 0, 4096);
	ASSERT_FALSE(fake_host_reads_same("v", SNAPSHOT_FILE));
	tend(&e);
	ASSERT_FALSE(fake_host_reads_same("v", SNAPSHOT_FILE));
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(what_was_copied_is_not_shared)
{
	struct env e;

	setup(&e);
	begin(&e);
	tend_some(&e, 42); /* a piece beyond the first GiB; the record says so */
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_TRUE(fake_host_reads_same("v", SNAPSHOT_FILE));
	ASSERT_EQ(info(&e).reserved_bytes, (512 - 64) * MIB);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(growth_and_deletion_of_the_volume_do_not_wait_either)
{
	struct env e;

	setup(&e);
	begin(&e);
	ASSERT_OK(grow(&e), &e.err);
	assert_ready(&e);
	ASSERT_EQ(e.snap.bytes, 3 * GIB);
	ASSERT_OK(drop(&e, "s"), &e.err);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	teardown(&e);
}

TEST(a_snapshot_that_is_being_copied_can_be_deleted)
{
	struct env e;

	setup(&e);
	begin(&e);
	ASSERT_OK(drop(&e, "s"), &e.err);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_EQ(info(&e).available_bytes, begun_available);
	tend(&e);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	/* no claim is left */
	ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	teardown(&e);
}

TEST(others_may_read_the_volume_meanwhile)
{
	struct env e;

	setup(&e);
	begin(&e);
	fake_host_set_n_extents("v", 5);
	ASSERT_OK(take(&e, "t"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_OK(create_of(&e, "d", BACKEND_SOURCE_VOLUME, "v"), &e.err);
	fake_host_set_n_extents("v", 100001);
	ASSERT_ERR(take(&e, "u"), &e.err, ERR_ABORTED, "read by another call");
	tend(&e);
	assert_ready(&e);
	teardown(&e);
}

TEST(a_restart_goes_on)
{
	struct env e;

	setup(&e);
	begin(&e);
	stop(&e);
	start(&e);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	tend(&e);
	assert_ready(&e);
	ASSERT_TRUE(fake_host_reads_same("v", SNAPSHOT_FILE));
	teardown(&e);
}

TEST(a_restart_does_not_go_on_with_a_volume_that_was_changed)
{
	struct env e;

	setup(&e);
	begin(&e);
	stop(&e);
	fake_host_write("v", 4096, 4096);
	start(&e);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_EQ(info(&e).available_bytes, begun_available);
	ASSERT_OK(take(&e, "s"), &e.err); /* of another moment */
	tend(&e);
	assert_ready(&e);
	stop(&e);
	start(&e);
	ASSERT_OK(drop(&e, "s"), &e.err);
	ASSERT_OK(take(&e, "s"), &e.err);
	stop(&e);
	fake_host_remove("v");
	start(&e);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	teardown(&e);
}

/* Somebody checks the volume while the pool is opened: as soon as he is done it goes on. */
TEST(what_could_not_go_on_does_when_it_is_asked_for)
{
	struct env e;
	int dir_fd;
	int fd;

	setup(&e);
	begin(&e);
	stop(&e);
	ASSERT_OK(host_dir_open("/pool", &dir_fd, &e.err), &e.err);
	ASSERT_OK(host_file_open(dir_fd, "v", true, &fd, &e.err), &e.err);
	ASSERT_OK(host_file_claim(fd, false, &e.err), &e.err);
	start(&e);
	ASSERT_ERR(take(&e, "s"), &e.err, ERR_ABORTED, "go on copying volume 'v'");
	tend(&e);
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	host_fd_close(fd);
	host_fd_close(dir_fd);
	ASSERT_OK(take(&e, "s"), &e.err);
	tend(&e);
	assert_ready(&e);
	teardown(&e);
}

TEST(a_copy_that_fails_says_so_and_is_tried_again)
{
	struct env e;

	setup(&e);
	begin(&e);
	clock_fake_set(NS_PER_S);
	fake_host_fail_at(2);
	tend(&e);
	fake_host_fail_at(0);
	ASSERT_ERR(take(&e, "s"), &e.err, ERR_INTERNAL, "its copy stands still: host call 2");
	tend(&e);
	ASSERT_ERR(take(&e, "s"), &e.err, ERR_INTERNAL, "stands still");
	clock_fake_advance(31 * NS_PER_S);
	tend(&e);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	teardown(&e);
}

TEST(nothing_is_begun_for_which_there_is_no_room)
{
	struct env e;

	fake_host_reset(4 * GIB);
	start(&e);
	create_large(&e);
	ASSERT_ERR(take(&e, "s"), &e.err, ERR_RESOURCE_EXHAUSTED, "1536Mi do not fit");
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(a_copy_that_cannot_be_ended_is_given_up_for_a_pod)
{
	struct env e;

	setup(&e);
	begin(&e);
	fake_host_set_fs("xfs", false, false);
	ASSERT_ERR(attach(&e), &e.err, ERR_FAILED_PRECONDITION, "not supported here");
	ASSERT_OK(find(&e, "s"), &e.err);
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_ERR(take(&e, "s"), &e.err, ERR_FAILED_PRECONDITION, "while it is attached");
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

/* Sharing has turned its promise into room for overwriting, which goes when that is measured. */
TEST(a_copy_goes_on_with_its_room_when_sharing_failed)
{
	const struct backend_spec large = {
		.name = "l", .token = "l", .bytes = 19 * GIB, .fs = ""
	};
	struct backend_volume vol;
	struct env e;

	setup(&e);
	clock_fake_set(NS_PER_S);
	begin(&e);
	fake_host_set_fs("xfs", false, false);
	ASSERT_ERR(attach(&e), &e.err, ERR_FAILED_PRECONDITION, "not supported here");
	fake_host_set_fs("xfs", true, false);
	fake_host_slow_copies(NS_PER_S);
	ctx_done(&e.ctx);
	ctx_init(&e.ctx, 3 * NS_PER_S);
	tend(&e);
	ctx_done(&e.ctx);
	ctx_init(&e.ctx, 0);
	fake_host_slow_copies(0);
	clock_fake_advance(300 * NS_PER_S);
	ASSERT_ERR(backend_create(e.b, &e.ctx, &large, &vol, &e.err), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "do not fit");
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	tend(&e);
	assert_ready(&e);
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	ASSERT_OK(drop(&e, "s"), &e.err);
	ASSERT_EQ(info(&e).available_bytes, begun_available);
	teardown(&e);
}

/* A volume that is in too many pieces. */
TEST(a_volume_of_one_that_is_in_use_is_made_while_that_stops_its_writers_briefly)
{
	struct env e;

	setup(&e);
	create_large(&e);
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_ERR(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v"), &e.err, ERR_FAILED_PRECONDITION,
		   "100001 extents, more than the 100000 that are shared while it is in use");
	ASSERT_TRUE(strstr(e.err.msg, "1100 ms") != NULL);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	ASSERT_OK(create_of(&e, "c", BACKEND_SOURCE_VOLUME, "v"), &e.err);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_EQ(info(&e).reserved_bytes, 2 * 1536 * MIB);
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

/* Where files cannot share blocks each snapshot is a copy. */
static void setup_ext4(struct env *e)
{
	fake_host_reset(20 * GIB);
	fake_host_set_fs("ext4", false, false);
	start(e);
	ASSERT_FALSE(e->b->caps & BACKEND_GROUP);
}

TEST(without_reflink_each_snapshot_is_a_copy)
{
	struct env e;

	setup_ext4(&e);
	create_large(&e);
	fake_host_set_n_extents("v", 2);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_FALSE(e.snap.is_ready);
	tend(&e);
	ASSERT_TRUE(fake_host_reads_same("v", SNAPSHOT_FILE));
	assert_ready(&e);
	fake_host_punch("v", 0, GIB);
	fake_host_punch("v", 2 * GIB, 256 * MIB);
	ASSERT_OK(take(&e, "t"), &e.err);
	ASSERT_TRUE(e.snap.is_ready);
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_ERR(take(&e, "u"), &e.err, ERR_FAILED_PRECONDITION,
		   "its pool's filesystem cannot share blocks, and it cannot be copied while");
	ASSERT_EQ(info(&e).reserved_bytes, 0);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(without_reflink_a_pod_waits_half_a_minute_at_most)
{
	struct env e;

	setup_ext4(&e);
	begin(&e);
	ASSERT_ERR(attach(&e), &e.err, ERR_ABORTED,
		   "being copied for snapshot 's', and its filesystem cannot share blocks: 1536Mi "
		   "to go, about 8 s");
	ASSERT_ERR(grow(&e), &e.err, ERR_ABORTED, "for snapshot 's'");
	ASSERT_ERR(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err, ERR_ABORTED,
		   "for snapshot 's'");
	tend(&e);
	ASSERT_OK(attach(&e), &e.err);
	assert_ready(&e);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	ASSERT_OK(drop(&e, "s"), &e.err);
	teardown(&e);
}

/* Nobody has copied anything yet since: how much there is to copy is looked at, not doubted. */
TEST(without_reflink_a_restart_gives_up_no_copy_that_is_short)
{
	struct env e;

	setup_ext4(&e);
	begin(&e);
	tend_some(&e, 1);
	ASSERT_ERR(attach(&e), &e.err, ERR_ABORTED, "1536Mi to go, about 8 s");
	ASSERT_EQ(info(&e).available_bytes, begun_available - 1536 * MIB);
	tend(&e);
	ASSERT_OK(attach(&e), &e.err);
	assert_ready(&e);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

/* What cannot be read or written is tried again for as long as it takes, and no pod waits for that.
 */
TEST(without_reflink_a_copy_that_stands_still_is_given_up_for_a_pod)
{
	struct env e;

	setup_ext4(&e);
	begin(&e);
	fake_host_fail_at(2);
	tend(&e);
	fake_host_fail_at(0);
	ASSERT_ERR(grow(&e), &e.err, ERR_ABORTED, "for snapshot 's'");
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_EQ(info(&e).available_bytes, begun_available);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(without_reflink_a_copy_that_takes_longer_is_given_up_for_a_pod)
{
	const struct backend_spec spec = { .name = "v", .token = "v", .bytes = 8 * GIB, .fs = "" };
	struct backend_volume vol;
	struct env e;

	setup_ext4(&e);
	ASSERT_OK(backend_create(e.b, &e.ctx, &spec, &vol, &e.err), &e.err);
	fake_host_write("v", 0, 7 * GIB);
	begun_available = info(&e).available_bytes;
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_EQ(info(&e).available_bytes, begun_available - 7 * GIB);
	ASSERT_ERR(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err, ERR_ABORTED,
		   "about 36 s");
	ASSERT_OK(attach(&e), &e.err);
	ASSERT_ERR(find(&e, "s"), &e.err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_EQ(info(&e).available_bytes, begun_available);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

/* A call has ten seconds, a piece of 64 MiB takes one. */
static int create_in_time(struct env *e, enum backend_source kind, const char *source)
{
	int rc;

	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 10 * NS_PER_S);
	rc = create_of(e, "c", kind, source);
	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 0);
	return rc;
}

TEST(without_reflink_a_volume_is_made_of_another_in_as_many_calls_as_it_takes)
{
	static const struct {
		enum backend_source kind;
		const char *name;
	} sources[] = { { BACKEND_SOURCE_SNAPSHOT, "s" }, { BACKEND_SOURCE_VOLUME, "v" } };
	struct env e;

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		setup_ext4(&e);
		begin(&e);
		tend(&e);
		clock_fake_set(NS_PER_S);
		fake_host_slow_copies(NS_PER_S);
		ASSERT_ERR(create_in_time(&e, sources[i].kind, sources[i].name), &e.err,
			   ERR_ABORTED, "copied up to 640Mi of 3Gi");
		ASSERT_EQ(fake_host_n_nameless(), 1);
		ASSERT_ERR(create_in_time(&e, sources[i].kind, sources[i].name), &e.err,
			   ERR_ABORTED, "the next goes on");
		ASSERT_OK(create_in_time(&e, sources[i].kind, sources[i].name), &e.err);
		ASSERT_EQ(fake_host_n_nameless(), 0);
		ASSERT_TRUE(fake_host_reads_same("v", "c"));
		ASSERT_EQ(info(&e).reserved_bytes, 0);
		teardown(&e);
	}
}

/* Between two calls nobody keeps it as it was. */
TEST(without_reflink_what_was_copied_of_something_else_is_copied_again)
{
	struct env e;

	setup_ext4(&e);
	begin(&e);
	tend(&e);
	clock_fake_set(NS_PER_S);
	fake_host_slow_copies(NS_PER_S);
	ASSERT_ERR(create_in_time(&e, BACKEND_SOURCE_VOLUME, "v"), &e.err, ERR_ABORTED, "640Mi");
	fake_host_write("v", 4096, 4096);
	fake_host_punch("v", 64 * MIB, 64 * MIB);
	ASSERT_ERR(create_in_time(&e, BACKEND_SOURCE_VOLUME, "v"), &e.err, ERR_ABORTED, "704Mi");
	while (create_in_time(&e, BACKEND_SOURCE_VOLUME, "v") < 0)
		ASSERT_EQ(e.err.code, ERR_ABORTED);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_OK(backend_remove(e.b, &e.ctx, "c", NULL, &e.err), &e.err);
	ASSERT_ERR(create_in_time(&e, BACKEND_SOURCE_SNAPSHOT, "s"), &e.err, ERR_ABORTED, "640Mi");
	ASSERT_OK(drop(&e, "s"), &e.err);
	fake_host_slow_copies(0);
	ASSERT_OK(take(&e, "s"), &e.err);
	ASSERT_ERR(create_in_time(&e, BACKEND_SOURCE_SNAPSHOT, "s"), &e.err,
		   ERR_FAILED_PRECONDITION, "not ready");
	tend(&e);
	ASSERT_OK(create_in_time(&e, BACKEND_SOURCE_SNAPSHOT, "s"), &e.err);
	ASSERT_TRUE(fake_host_reads_same(SNAPSHOT_FILE, "c"));
	teardown(&e);
}

static void mount_volume(struct env *e)
{
	const struct host_mount_options opts = { .fs = "ext4" };
	const struct backend_attach_options how = { .hold = false };
	struct backend_device dev;

	fake_host_add_dir("/mnt");
	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &how, &dev, &e->err), &e->err);
	ASSERT_OK(host_mount_device(&e->ctx, dev.path, "/mnt", &opts, &e->err), &e->err);
	ASSERT_OK(backend_settle(e->b, &e->ctx, "v", "/mnt", &e->err), &e->err);
}

static int copy_mounted(struct env *e)
{
	const struct backend_spec spec = { .name = "c",
					   .token = "c",
					   .bytes = GIB,
					   .fs = "ext4",
					   .source_kind = BACKEND_SOURCE_VOLUME,
					   .source = "v" };
	struct backend_volume vol;
	int rc;

	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 10 * NS_PER_S);
	rc = backend_create(e->b, &e->ctx, &spec, &vol, &e->err);
	ctx_done(&e->ctx);
	ctx_init(&e->ctx, 0);
	return rc;
}

/* A disk that is slower than was reckoned: a call ends in the middle of what has to be copied in
 * one, and no byte of that is left in what the next one makes. */
TEST(without_reflink_nothing_is_left_of_a_copy_that_stood_still_for_too_long)
{
	const struct backend_spec spec = { .name = "v", .token = "v", .bytes = GIB, .fs = "ext4" };
	struct backend_volume vol;
	struct env e;

	setup_ext4(&e);
	ASSERT_OK(backend_create(e.b, &e.ctx, &spec, &vol, &e.err), &e.err);
	fake_host_write("v", 0, 768 * MIB);
	mount_volume(&e);
	clock_fake_set(NS_PER_S);
	fake_host_slow_copies(NS_PER_S);
	ASSERT_TRUE(copy_mounted(&e) < 0);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	fake_host_slow_copies(0);
	fake_host_punch("v", 0, 256 * MIB);
	ASSERT_OK(copy_mounted(&e), &e.err);
	ASSERT_TRUE(fake_host_reads_same("v", "c"));
	ASSERT_OK(host_mount_umount(&e.ctx, "/mnt", &e.err), &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

static void recover(struct env *e, enum trouble trouble)
{
	if (trouble == TROUBLE_FAIL) {
		fake_host_fail_at(0);
		clock_fake_advance(31 * NS_PER_S);
		return;
	}
	stop(e);
	if (trouble == TROUBLE_KILL)
		fake_host_kill();
	else
		fake_host_power_cut();
	start(e);
}

struct operation {
	bool is_begun; /* before it */
	int (*run)(struct env *e);
	bool keeps_volume;
	bool is_on_ext4;
};

static int run_take(struct env *e)
{
	return take(e, "s");
}

static int run_tend(struct env *e)
{
	return backend_tend(e->b, &e->ctx, &e->err);
}

static int run_drop(struct env *e)
{
	return drop(e, "s");
}

static int run_remove(struct env *e)
{
	return backend_remove(e->b, &e->ctx, "v", NULL, &e->err);
}

/* What must be there when it was done again: the snapshot, of that moment, unless it was deleted
 * or never told; and no room is missing. */
static void check(struct env *e, const struct operation *op)
{
	if (op->run != run_drop) {
		tend(e);
		if (op->keeps_volume) {
			ASSERT_OK(take(e, "s"), &e->err);
			tend(e);
		}
		assert_ready(e);
		ASSERT_OK(drop(e, "s"), &e->err);
	}
	ASSERT_ERR(find(e, "s"), &e->err, ERR_NOT_FOUND, "no such snapshot");
	ASSERT_OK(backend_detach(e->b, &e->ctx, "v", &e->err), &e->err);
	ASSERT_OK(backend_remove(e->b, &e->ctx, "v", NULL, &e->err), &e->err);
	ASSERT_EQ(info(e).reserved_bytes, 0);
	ASSERT_EQ(info(e).n_snapshots + info(e).n_damaged_snapshots, 0);
	ASSERT_TRUE(fake_host_used_bytes() < MIB);
	ASSERT_EQ(fake_host_n_nameless(), 0);
}

static bool run_with_trouble(const struct operation *op, enum trouble trouble, unsigned n)
{
	struct env e;
	bool is_reached;

	if (op->is_on_ext4)
		setup_ext4(&e);
	else
		setup(&e);
	clock_fake_set(NS_PER_S);
	if (op->is_begun)
		begin(&e);
	else
		create_large(&e);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	(void)op->run(&e);
	is_reached = fake_host_failed();
	if (is_reached)
		recover(&e, trouble);
	fake_host_fail_at(0);
	if (op->run(&e) < 0)
		fail_msg("trouble %d at call %u, then again: %s", (int)trouble, n, e.err.msg);
	check(&e, op);
	teardown(&e);
	return is_reached;
}

TEST(survives_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ false, run_take, true },       { true, run_tend, true },
		{ true, run_drop, true },        { true, attach, true },
		{ true, run_remove, false },     { true, grow, true },
		{ false, run_take, true, true }, { true, run_tend, true, true },
		{ true, run_drop, true, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		for (int trouble = 0; trouble < TROUBLES; trouble++) {
			unsigned n = 1;

			while (run_with_trouble(&ops[i], (enum trouble)trouble, n)) {
				n++;
				ASSERT_TRUE(n < N_CALLS_MAX);
			}
			ASSERT_TRUE(n > 1);
		}
	}
}

RUN_TESTS(UNIT(tells_that_it_is_not_ready_until_it_is), UNIT(what_a_call_can_copy_is_ready_at_once),
	  UNIT(a_pod_does_not_wait_for_it_and_its_moment_stays),
	  UNIT(what_was_copied_is_not_shared),
	  UNIT(growth_and_deletion_of_the_volume_do_not_wait_either),
	  UNIT(a_snapshot_that_is_being_copied_can_be_deleted),
	  UNIT(others_may_read_the_volume_meanwhile), UNIT(a_restart_goes_on),
	  UNIT(a_restart_does_not_go_on_with_a_volume_that_was_changed),
	  UNIT(what_could_not_go_on_does_when_it_is_asked_for),
	  UNIT(a_copy_that_fails_says_so_and_is_tried_again),
	  UNIT(nothing_is_begun_for_which_there_is_no_room),
	  UNIT(a_copy_that_cannot_be_ended_is_given_up_for_a_pod),
	  UNIT(a_copy_goes_on_with_its_room_when_sharing_failed),
	  UNIT(a_volume_of_one_that_is_in_use_is_made_while_that_stops_its_writers_briefly),
	  UNIT(without_reflink_each_snapshot_is_a_copy),
	  UNIT(without_reflink_a_pod_waits_half_a_minute_at_most),
	  UNIT(without_reflink_a_restart_gives_up_no_copy_that_is_short),
	  UNIT(without_reflink_a_copy_that_stands_still_is_given_up_for_a_pod),
	  UNIT(without_reflink_a_copy_that_takes_longer_is_given_up_for_a_pod),
	  UNIT(without_reflink_a_volume_is_made_of_another_in_as_many_calls_as_it_takes),
	  UNIT(without_reflink_what_was_copied_of_something_else_is_copied_again),
	  UNIT(without_reflink_nothing_is_left_of_a_copy_that_stood_still_for_too_long),
	  UNIT(survives_trouble_at_every_call))
