/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a backend without block devices on the fake host. All of them are of one server, so
 * they share a device number, and only what they are mounted from tells them apart.
 */
#include "base/mem.h"
#include "base/str.h"
#include "fake_share.h"
#include "fixture.h"
#include "host/mount.h"

#define N_CALLS_MAX 200

/* As kubelet asks for a claim whose class names no filesystem. */
static const struct vol_capability cap_any = { .access = VOL_ACCESS_MOUNT,
					       .mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER,
					       .fs_type = "",
					       .mount_group = "" };

static struct fixture *begin(void)
{
	share_reset();
	return fixture_begin_with(&share_kind);
}

static void make_and_stage(struct fixture *f)
{
	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_any), &f->err);
}

static void make_and_publish(struct fixture *f)
{
	make_and_stage(f);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_any, false), &f->err);
}

static void take_down(struct fixture *f)
{
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
}

TEST(a_mount_lives_and_leaves_nothing)
{
	struct fixture *f = begin();
	bool ro = true;

	make_and_publish(f);
	ASSERT_TRUE(is_mounted("/s1", NULL));
	ASSERT_TRUE(is_mounted("/pods/t1", &ro));
	ASSERT_FALSE(ro);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_any, true), &f->err);
	ASSERT_TRUE(is_mounted("/pods/t2", &ro));
	ASSERT_TRUE(ro);
	ASSERT_EQ(fake_host_n_loops(), 0);
	ASSERT_ERR(do_delete(f), &f->err, ERR_FAILED_PRECONDITION, "in use");
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t");
	ASSERT_OK(do_unpublish(f, "/pods/t2"), &f->err);
	take_down(f);
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_FALSE(share_has("disk", "v"));
	fixture_end(f);
}

TEST(every_call_may_come_twice)
{
	struct fixture *f = begin();

	make_and_publish(f);
	ASSERT_OK(do_stage(f, "/s1", &cap_any), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_any, false), &f->err);
	ASSERT_EQ(fake_host_n_mounts(), 2);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_any, true), &f->err, ERR_ALREADY_EXISTS,
		   "/pods/t1");
	take_down(f);
	take_down(f);
	fixture_end(f);
}

/* Whoever took it down was killed before the note; nobody comes for that but the same call. */
TEST(what_is_down_has_no_note)
{
	struct fixture *f = begin();

	make_and_stage(f);
	ASSERT_TRUE(share_note("disk", "v")[0]);
	ASSERT_OK(host_mount_umount(&f->ctx, "/s1", &f->err), &f->err);
	fixture_restart(f, false);
	ASSERT_OK(do_unstage(f, "/other"), &f->err);
	ASSERT_TRUE(share_note("disk", "v")[0]); /* it is of another staging */
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_STR(share_note("disk", "v"), "");
	fixture_end(f);
}

TEST(secrets_contexts_and_flags_reach_the_backend)
{
	struct fixture *f = begin();
	const char *flags[] = { "noatime", "ro" };
	struct strpair key = { "key", "s3cret" }, where = { "where", "rack-1" },
		       node = { "node", "n1" };
	struct csi_node_stage_volume_request req = {
		.staging_target_path = "/s1",
		.volume_capability = cap_any,
		.secrets = { strmap_from(f->ctx.arena, &key, 1) },
		.volume_context = strmap_from(f->ctx.arena, &where, 1),
		.publish_context = strmap_from(f->ctx.arena, &node, 1),
	};

	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
	req.volume_id = f->id;
	req.volume_capability.mount_flags = flags;
	req.volume_capability.n_mount_flags = 2;
	ASSERT_OK(csi_node_stage_volume(&f->csi, &f->ctx, &req,
					&(struct csi_node_stage_volume_response){}, &f->err),
		  &f->err);
	ASSERT_STR(share_seen.key, "s3cret");
	ASSERT_STR(share_seen.where, "rack-1");
	ASSERT_STR(share_seen.node, "n1");
	ASSERT_STR(share_seen.flags, "noatime");
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	fixture_end(f);
}

/* They have one device number. */
TEST(another_volume_of_the_server_is_not_taken_for_it)
{
	struct fixture *f = begin();
	const char *v, *w;

	make_and_stage(f);
	v = f->id;
	ASSERT_OK(do_create(f, "w", &cap_any, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &cap_any), &f->err);
	w = f->id;
	f->id = v;
	ASSERT_ERR(do_stage(f, "/s2", &cap_any), &f->err, ERR_FAILED_PRECONDITION, "not volume");
	ASSERT_ERR(do_publish(f, "/s2", "/pods/t1", &cap_any, false), &f->err,
		   ERR_FAILED_PRECONDITION, "not a mount");
	ASSERT_ERR(do_unpublish(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_ERR(do_unstage(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_TRUE(is_mounted("/s2", NULL));
	f->id = w;
	ASSERT_OK(do_unstage(f, "/s2"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

static int do_stats(struct fixture *f, const char *path,
		    struct csi_node_get_volume_stats_response *stats)
{
	return csi_node_get_volume_stats(
		&f->csi, &f->ctx,
		&(const struct csi_node_get_volume_stats_request){
			.volume_id = f->id, .volume_path = path, .staging_target_path = "" },
		stats, &f->err);
}

TEST(stats_are_of_the_volume_at_the_path)
{
	struct fixture *f = begin();
	struct csi_node_get_volume_stats_response stats;

	make_and_publish(f);
	ASSERT_OK(do_stats(f, "/pods/t1", &stats), &f->err);
	ASSERT_EQ(stats.n_usage, 2);
	ASSERT_OK(do_stats(f, "/s1", &stats), &f->err);
	ASSERT_ERR(do_stats(f, "/pods", &stats), &f->err, ERR_NOT_FOUND, "/pods");
	ASSERT_ERR(do_stats(f, "/absent", &stats), &f->err, ERR_NOT_FOUND, "/absent");
	ASSERT_OK(do_create(f, "w", &cap_any, 64 * MIB), &f->err);
	ASSERT_ERR(do_stats(f, "/s1", &stats), &f->err, ERR_NOT_FOUND, "/s1");
	fixture_end(f);
}

static bool is_confirmed(struct fixture *f, const struct vol_capability *cap, const char *why)
{
	const struct csi_validate_volume_capabilities_request req = { .volume_id = f->id,
								      .volume_capabilities = cap,
								      .n_volume_capabilities = 1 };
	struct csi_validate_volume_capabilities_response ret;

	ASSERT_OK(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	if (!ret.has_confirmed)
		ASSERT_TRUE(strstr(ret.message, why));
	return ret.has_confirmed;
}

TEST(raw_block_and_a_filesystem_by_name_are_refused)
{
	struct fixture *f = begin();

	ASSERT_ERR(do_create(f, "v", &cap_block, 64 * MIB), &f->err, ERR_INVALID_ARGUMENT,
		   "block devices");
	ASSERT_ERR(do_create(f, "v", &cap_mount, 64 * MIB), &f->err, ERR_INVALID_ARGUMENT,
		   "fs_type");
	make_and_publish(f);
	ASSERT_ERR(do_stage(f, "/s2", &cap_block), &f->err, ERR_FAILED_PRECONDITION,
		   "block devices");
	ASSERT_ERR(do_stage(f, "/s2", &cap_mount), &f->err, ERR_FAILED_PRECONDITION, "nfs4");
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap_block, false), &f->err,
		   ERR_FAILED_PRECONDITION, "block devices");
	ASSERT_TRUE(is_confirmed(f, &cap_any, ""));
	ASSERT_FALSE(is_confirmed(f, &cap_block, "block devices"));
	take_down(f);
	fixture_end(f);
}

/* Nor is the server asked through a mount, which would hang. */
TEST(what_goes_down_does_not_need_the_server)
{
	struct fixture *f = begin();

	make_and_publish(f);
	fake_host_silence_server(true);
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
	take_down(f);
	take_down(f);
	ASSERT_EQ(fake_host_n_hangs(), 0);
	ASSERT_ERR(do_stage(f, "/s1", &cap_any), &f->err, ERR_UNAVAILABLE, "does not answer");
	fixture_end(f);
}

/* It would be lost by force, and a thread with it without. */
TEST(what_is_not_written_out_stays_mounted)
{
	struct fixture *f = begin();

	make_and_publish(f);
	fake_host_stop_writes(true);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_UNAVAILABLE, "it stays mounted");
	ASSERT_TRUE(is_confirmed(f, &cap_any, ""));
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_any, false), &f->err);
	fake_host_stop_writes(false);
	take_down(f);
	fixture_end(f);
}

/* Each by itself: the second is not asked less than the first. */
TEST(what_lies_on_each_other_and_is_silent_goes_by_force)
{
	static const struct secrets no_secrets;
	static const struct strmap nothing;
	const struct backend_mount_options again = { .path = "/s1",
						     .secrets = &no_secrets,
						     .volume_context = &nothing,
						     .publish_context = &nothing };
	struct fixture *f = begin();

	make_and_stage(f);
	ASSERT_OK(backend_mount(registry_at(f->pools, 0), &f->ctx, "v", &again, &f->err), &f->err);
	ASSERT_EQ(fake_host_n_mounts(), 2);
	fake_host_silence_server(true);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_EQ(fake_host_n_forced(), 2);
	assert_node_is_clean();
	fixture_end(f);
}

/* A node without a process to spare, say. */
TEST(what_goes_down_does_not_need_a_child)
{
	struct fixture *f = begin();

	make_and_publish(f);
	fake_host_break_probes(true);
	take_down(f);
	ASSERT_EQ(fake_host_n_forced(), 0);
	fixture_end(f);
}

/* Whoever asks hears in time that nobody answers; the mount is not looked at by this process. */
TEST(statistics_of_one_that_is_silent_do_not_hang)
{
	struct csi_node_get_volume_stats_response stats;
	struct fixture *f = begin();

	make_and_publish(f);
	fake_host_silence_server(true);
	ASSERT_ERR(do_stats(f, "/pods/t1", &stats), &f->err, ERR_UNAVAILABLE, "does not answer");
	ASSERT_EQ(fake_host_n_hangs(), 0);
	fake_host_silence_server(false);
	take_down(f);
	fixture_end(f);
}

/* The pool "disk" is not open, and "far", another instance with a volume of the same name, is. */
static void lose_pool(struct fixture *f)
{
	static const struct backend_kind *const kinds[] = { &share_kind };
	const struct backend_config far = { .kind = "share", .name = "far" };
	const struct backend_config disk = { .kind = "share", .name = "disk", .dir = "/x" };
	struct csi_driver_options opts = { .name = "d.test",
					   .version = "1",
					   .node_id = "n1",
					   .serve_controller = true,
					   .serve_node = true };

	fixture_stop(f);
	f->pools = registry_new_of(kinds, 1);
	registry_miss(f->pools, &disk, "gone");
	ASSERT_OK(registry_open(f->pools, &f->ctx, &far, &f->err), &f->err);
	opts.pools = f->pools;
	ASSERT_OK(csi_driver_new(&opts, &f->driver, &f->err), &f->err);
	f->csi = csi_driver_service(f->driver);
}

TEST(what_goes_down_does_not_need_its_pool)
{
	struct fixture *f = begin();
	const char *gone;

	make_and_publish(f);
	gone = f->id;
	lose_pool(f);
	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &cap_any), &f->err);
	f->id = gone;
	ASSERT_ERR(do_unstage(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_FALSE(path_exists("/pods/t1"));
	ASSERT_FALSE(is_mounted("/s1", NULL));
	ASSERT_TRUE(is_mounted("/s2", NULL));
	fixture_end(f);
}

/* An id that only the dead pool knows would come into question. */
TEST(what_goes_down_does_not_need_a_living_pool)
{
	struct fixture *f = begin();

	make_and_publish(f);
	registry_retire(f->pools, registry_at(f->pools, 0), "it died");
	take_down(f);
	fixture_end(f);
}

TEST(a_mount_that_its_kind_does_not_know_is_taken_back)
{
	struct fixture *f;

	share_reset();
	f = fixture_begin_with(&share_kind_blind);
	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
	ASSERT_ERR(do_stage(f, "/s1", &cap_any), &f->err, ERR_INTERNAL, "not known");
	assert_node_is_clean();
	fixture_end(f);
}

TEST(what_can_only_be_read_is_not_published_for_writing)
{
	struct fixture *f = begin();

	share_set_read_only(true);
	make_and_stage(f);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_any, false), &f->err,
		   ERR_FAILED_PRECONDITION, "only be read");
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_any, true), &f->err);
	take_down(f);
	fixture_end(f);
}

/* ---- trouble at every call, as in test_failure.c ---- */

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

static void prepare_volume(struct fixture *f)
{
	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
}

static int run_stage(struct fixture *f)
{
	return do_stage(f, "/s1", &cap_any);
}

static int run_publish(struct fixture *f)
{
	return do_publish(f, "/s1", "/pods/t1", &cap_any, false);
}

static int run_unpublish(struct fixture *f)
{
	return do_unpublish(f, "/pods/t1");
}

static int run_unstage(struct fixture *f)
{
	return do_unstage(f, "/s1");
}

static const struct operation {
	const char *name;
	void (*prepare)(struct fixture *f);
	int (*run)(struct fixture *f);
	int (*opposite)(struct fixture *f);
	const char *undone; /* where nothing is mounted after a failure; NULL: anything */
} operations[] = {
	{ "stage", prepare_volume, run_stage, run_unstage, "/s1" },
	{ "publish", make_and_stage, run_publish, run_unpublish, "/pods/t1" },
	{ "unpublish", make_and_publish, run_unpublish, run_publish, NULL },
	{ "unstage", make_and_stage, run_unstage, run_stage, NULL },
};

static void recover(struct fixture *f, enum trouble trouble)
{
	fake_host_fail_at(0);
	if (trouble != TROUBLE_FAIL)
		fixture_restart(f, trouble == TROUBLE_POWER);
	if (trouble == TROUBLE_POWER) /* a CO begins with staging then */
		ASSERT_OK(do_stage(f, "/s1", &cap_any), &f->err);
}

/* Whether the n-th call was reached. */
static bool run_with_trouble(const struct operation *op, enum trouble trouble, bool go_back,
			     unsigned n)
{
	struct fixture *f = begin();
	bool is_reached;
	int r;

	op->prepare(f);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	r = op->run(f);
	is_reached = fake_host_failed();
	if (!is_reached)
		ASSERT_EQ(r, 0);
	recover(f, is_reached ? trouble : TROUBLE_FAIL);
	if (r < 0 && trouble == TROUBLE_FAIL && op->undone)
		ASSERT_FALSE(is_mounted(op->undone, NULL));
	if ((go_back ? op->opposite : op->run)(f) < 0)
		fail_msg("%s, trouble %d at call %u, then %s: %s", op->name, (int)trouble, n,
			 go_back ? "the opposite" : "again", f->err.msg);
	take_down(f);
	ASSERT_TRUE(share_has("disk", "v"));
	ASSERT_OK(do_delete(f), &f->err);
	fixture_end(f);
	return is_reached;
}

TEST(every_operation_survives_trouble_at_every_call)
{
	for (size_t i = 0; i < ARRAY_LEN(operations) * TROUBLES * 2; i++) {
		const struct operation *op = &operations[i / (TROUBLES * 2)];
		unsigned n = 1;

		while (run_with_trouble(op, (enum trouble)(i / 2 % TROUBLES), i % 2, n)) {
			n++;
			ASSERT_TRUE(n < N_CALLS_MAX);
		}
		ASSERT_TRUE(n > 1);
	}
}

RUN_TESTS(UNIT(a_mount_lives_and_leaves_nothing), UNIT(every_call_may_come_twice),
	  UNIT(what_is_down_has_no_note), UNIT(secrets_contexts_and_flags_reach_the_backend),
	  UNIT(another_volume_of_the_server_is_not_taken_for_it),
	  UNIT(stats_are_of_the_volume_at_the_path),
	  UNIT(raw_block_and_a_filesystem_by_name_are_refused),
	  UNIT(what_goes_down_does_not_need_the_server),
	  UNIT(what_is_not_written_out_stays_mounted),
	  UNIT(what_lies_on_each_other_and_is_silent_goes_by_force),
	  UNIT(what_goes_down_does_not_need_a_child),
	  UNIT(statistics_of_one_that_is_silent_do_not_hang),
	  UNIT(what_goes_down_does_not_need_its_pool),
	  UNIT(what_goes_down_does_not_need_a_living_pool),
	  UNIT(a_mount_that_its_kind_does_not_know_is_taken_back),
	  UNIT(what_can_only_be_read_is_not_published_for_writing),
	  UNIT(every_operation_survives_trouble_at_every_call))
