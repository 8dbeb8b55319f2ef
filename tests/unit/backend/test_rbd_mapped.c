/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes and snapshots whose handles are another site's: cluster "site1" and pool 7, which
 * cluster-mapping.json leads to "c1" and pool 1, where they are.
 */
#include "rbd_world.h"

#include "ceph_failure.h"

#define SITE1 "10.0.1.1:6789" /* its monitors, where config.json has them */
#define C1 "{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}"
#define MAPPING                                                                               \
	"[{\"clusterIDMapping\":{\"site1\":\"c1\"},\"RBDPoolIDMapping\":[{\"7\":\"1\",\"1\":" \
	"\"1\"}"                                                                              \
	"]}]"

/* What the other site calls it. */
static const char *other_name(struct world *w, const char *cluster, int64_t pool, const char *token)
{
	char *text = arena_alloc(w->ctx.arena, VOL_TOKEN_MAX);
	struct ceph_handle handle;

	ASSERT_OK(ceph_handle_parse(token, &handle, &w->err), &w->err);
	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", cluster);
	handle.pool_id = pool;
	ceph_handle_format(&handle, text);
	return text;
}

static void become(struct world *w, char *token)
{
	const char *name = other_name(w, "site1", 7, token);

	memcpy(token, name, strlen(name) + 1);
}

static void set_scene(struct scene *s, const struct operation *op)
{
	world_begin(&s->w);
	world_map(&s->w, MAPPING);
	ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume), &s->w.err);
	if (op->has_snapshot) {
		ASSERT_OK(cut_by(&s->w, op->stays ? &staying_class : &snapshot_class, "snap",
				 s->volume.token, &s->snapshot),
			  &s->w.err);
		become(&s->w, s->snapshot.token);
	}
	become(&s->w, s->volume.token);
}

static void delete_all(struct scene *s)
{
	delete_named(s, POOL, "");
	assert_nothing_left();
}

static struct ceph_handle handle_of(struct world *w, const char *token)
{
	struct ceph_handle handle;

	ASSERT_OK(ceph_handle_parse(token, &handle, &w->err), &w->err);
	return handle;
}

static int stat_volume(struct scene *s)
{
	return backend_stat(s->w.b, &s->w.ctx, s->volume.token, &secrets, &s->made, &s->w.err);
}

TEST(what_is_told_of_it_is_the_handle_that_came)
{
	struct backend_snapshot snap;
	struct scene s = { 0 };

	set_scene(&s, &(struct operation){ .has_snapshot = true });
	ASSERT_OK(stat_volume(&s), &s.w.err);
	ASSERT_STR(s.made.token, s.volume.token);
	ASSERT_OK(
		backend_grow(s.w.b, &s.w.ctx, s.volume.token, 2 * GIB, &secrets, &s.made, &s.w.err),
		&s.w.err);
	ASSERT_STR(s.made.token, s.volume.token);
	ASSERT_EQ(s.made.bytes, 2 * GIB);
	ASSERT_OK(
		backend_snapshot_stat(s.w.b, &s.w.ctx, s.snapshot.token, &secrets, &snap, &s.w.err),
		&s.w.err);
	ASSERT_STR(snap.token, s.snapshot.token);
	ASSERT_STR(snap.source, s.volume.token);
	delete_all(&s);
	world_end(&s.w);
}

static int run_grow(struct scene *s)
{
	return backend_grow(s->w.b, &s->w.ctx, s->volume.token, 3 * GIB, &secrets, &s->made,
			    &s->w.err);
}

static void check_grow(struct scene *s)
{
	ASSERT_EQ(s->made.bytes, 3 * GIB);
	ASSERT_STR(s->made.token, s->volume.token);
}

TEST(it_is_grown)
{
	run_all(&(struct operation){ .run = run_grow, .check = check_grow });
}

static int run_cut(struct scene *s)
{
	return cut(&s->w, "cut", s->volume.token, &s->cut);
}

/* A new one is named by where it is. */
static void check_cut(struct scene *s)
{
	struct ceph_handle handle = handle_of(&s->w, s->cut.token);

	ASSERT_STR(handle.cluster, "c1");
	ASSERT_EQ(handle.pool_id, POOL);
	ASSERT_STR(s->cut.source, s->volume.token);
	assert_has(2, 1, 1);
}

TEST(a_snapshot_is_made_of_it_once)
{
	run_all(&(struct operation){ .run = run_cut, .check = check_cut });
}

static int run_drop(struct scene *s)
{
	return drop_volume(&s->w, s->volume.token);
}

static void check_drop(struct scene *s)
{
	assert_nothing_left();
}

TEST(it_is_deleted_where_it_is)
{
	run_all(&(struct operation){ .run = run_drop, .check = check_drop });
}

static int run_drop_snapshot(struct scene *s)
{
	return drop_snapshot(&s->w, s->snapshot.token);
}

static void check_drop_snapshot(struct scene *s)
{
	assert_has(1, 1, 0);
}

TEST(a_snapshot_of_the_other_site_is_deleted_where_it_is)
{
	for (int stays = 0; stays < 2; stays++)
		run_all(&(struct operation){ .has_snapshot = true,
					     .stays = stays,
					     .run = run_drop_snapshot,
					     .check = check_drop_snapshot });
}

static int run_restore(struct scene *s)
{
	return make(&s->w, "made", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token, &s->made);
}

static int run_clone(struct scene *s)
{
	return make(&s->w, "made", BACKEND_SOURCE_VOLUME, s->volume.token, &s->made);
}

static void check_made(struct scene *s)
{
	ASSERT_STR(handle_of(&s->w, s->made.token).cluster, "c1");
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image_name(&s->w, "csi-vol-", s->made.token)));
}

TEST(volumes_are_made_of_what_the_other_site_named)
{
	run_all(&(struct operation){
		.has_snapshot = true, .run = run_restore, .check = check_made });
	run_all(&(struct operation){ .run = run_clone, .check = check_made });
}

static int count_range(void *arg, const struct backend_range *range)
{
	*(uint64_t *)arg += range->bytes;
	return 0;
}

/* The old one by the other site's handle, the new one by its own. */
TEST(what_changed_between_snapshots_of_both_names_is_told)
{
	struct scene s = { 0 };
	uint64_t bytes = 0;

	set_scene(&s, &(struct operation){ .has_snapshot = true, .stays = true });
	fake_ceph_write(POOL, "", image_name(&s.w, "csi-vol-", s.volume.token), 0, "text");
	ASSERT_OK(cut_by(&s.w, &staying_class, "cut", s.volume.token, &s.cut), &s.w.err);
	ASSERT_OK(image_snapshot_changed(s.w.b, &s.w.ctx, s.snapshot.token, s.cut.token, &secrets,
					 0, count_range, &bytes, &s.w.err),
		  &s.w.err);
	ASSERT_TRUE(bytes > 0);
	ASSERT_ERR(image_snapshot_changed(s.w.b, &s.w.ctx,
					  other_name(&s.w, "site1", 9, s.snapshot.token),
					  s.cut.token, &secrets, 0, count_range, &bytes, &s.w.err),
		   &s.w.err, ERR_FAILED_PRECONDITION, "different pools");
	delete_all(&s);
	world_end(&s.w);
}

/* ---- which place counts ---- */

/* config.json has the handle's own cluster, too, with a pool of that number. */
static void set_scene_of_two(struct scene *s)
{
	set_scene(s, &(struct operation){ .has_snapshot = true });
	fake_ceph_add_cluster(SITE1);
	world_write(&s->w, "[" C1 ",{\"clusterID\":\"site1\",\"monitors\":[\"" SITE1 "\"]}]");
	memcpy(s->volume.token, other_name(&s->w, "site1", 1, s->volume.token), VOL_TOKEN_MAX);
}

TEST(where_it_certainly_is_not_the_next_is_looked_at)
{
	struct scene s = { 0 };

	set_scene_of_two(&s);
	ASSERT_OK(stat_volume(&s), &s.w.err);
	ASSERT_STR(s.made.token, s.volume.token);
	/* nor if its own cluster has no such pool */
	become(&s.w, s.volume.token);
	ASSERT_OK(stat_volume(&s), &s.w.err);
	ASSERT_OK(drop_volume(&s.w, s.volume.token), &s.w.err);
	ASSERT_OK(drop_volume(&s.w, s.volume.token), &s.w.err);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_NOT_FOUND, "site1");
	delete_all(&s);
	world_end(&s.w);
}

TEST(one_that_does_not_answer_is_not_passed_over)
{
	struct scene s = { 0 };

	set_scene_of_two(&s);
	fake_ceph_silence(SITE1, true);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_UNAVAILABLE,
		   "if that cluster is lost, take it out of config.json");
	ASSERT_ERR(drop_volume(&s.w, s.volume.token), &s.w.err, ERR_UNAVAILABLE, "site1");
	assert_has(2, 1, 1);
	world_write(&s.w, "[" C1 "]");
	ASSERT_OK(stat_volume(&s), &s.w.err);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_UNAVAILABLE, "c1");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	delete_all(&s);
	world_end(&s.w);
}

/* Each failure of a look, but for "there is none", ends it. */
TEST(a_look_that_failed_is_not_taken_for_not_there)
{
	for (unsigned n = 1; n < 100; n++) {
		struct scene s = { 0 };
		bool came;
		int rc;

		set_scene_of_two(&s);
		fake_ceph_fail_at(n, EIO);
		rc = stat_volume(&s);
		came = fake_ceph_trouble_came();
		fake_ceph_fail_at(0, 0);
		if (rc < 0)
			ASSERT_TRUE(s.w.err.code != ERR_NOT_FOUND);
		ASSERT_OK(stat_volume(&s), &s.w.err);
		delete_all(&s);
		world_end(&s.w);
		if (!came) {
			ASSERT_TRUE(n > 4);
			break;
		}
	}
}

/* The image is mirrored, and the journal is not. */
TEST(an_image_without_an_entry_is_not_taken_for_gone)
{
	for (int has_both = 0; has_both < 2; has_both++) {
		struct scene s = { 0 };
		const char *object, *image;

		if (has_both)
			set_scene_of_two(&s);
		else
			set_scene(&s, &(struct operation){ 0 });
		object = image_name(&s.w, "csi.volume.", s.volume.token);
		image = image_name(&s.w, "csi-vol-", s.volume.token);
		fake_ceph_omap_rm(POOL, "", object, "csi.imagename");
		fake_ceph_remove_object(POOL, "", object);
		ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_FAILED_PRECONDITION,
			   "the journal has no entry of it");
		ASSERT_ERR(drop_volume(&s.w, s.volume.token), &s.w.err, ERR_FAILED_PRECONDITION,
			   "--type=controller");
		ASSERT_TRUE(cut(&s.w, "cut", s.volume.token, &s.cut) < 0);
		ASSERT_TRUE(fake_ceph_has_image(POOL, "", image));
		/* its controller comes by */
		fake_ceph_omap_set(POOL, "", object, "csi.volname", "source");
		fake_ceph_omap_set(POOL, "", object, "csi.imagename", image);
		fake_ceph_omap_set(POOL, "", object, "csi.imageid", "1");
		ASSERT_OK(stat_volume(&s), &s.w.err);
		delete_all(&s);
		world_end(&s.w);
	}
}

/* Deleted, and there for a snapshot that stays. */
TEST(an_image_that_was_given_up_is_gone)
{
	struct scene s = { 0 };

	set_scene(&s, &(struct operation){ .has_snapshot = true, .stays = true });
	ASSERT_OK(drop_volume(&s.w, s.volume.token), &s.w.err);
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image_name(&s.w, "csi-vol-", s.volume.token)));
	ASSERT_OK(drop_volume(&s.w, s.volume.token), &s.w.err);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_NOT_FOUND, "");
	ASSERT_OK(drop_snapshot(&s.w, s.snapshot.token), &s.w.err);
	assert_nothing_left();
	world_end(&s.w);
}

/* The cluster of the handle, before what a mapping says. */
TEST(its_own_place_is_first)
{
	struct backend_volume own;
	struct scene s = { 0 };

	set_scene_of_two(&s);
	world_map(&s.w, "[{\"clusterIDMapping\":{\"c1\":\"site1\"},\"RBDPoolIDMapping\":[{\"1\":"
			"\"1\"}]}]");
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &own), &s.w.err);
	fake_ceph_silence(SITE1, true);
	ASSERT_OK(drop_volume(&s.w, own.token), &s.w.err);
	/* and then it may be there */
	ASSERT_ERR(drop_volume(&s.w, own.token), &s.w.err, ERR_UNAVAILABLE,
		   "cluster-mapping.json leads to cluster 'site1', number 1");
	fake_ceph_silence(SITE1, false);
	ASSERT_OK(drop_volume(&s.w, own.token), &s.w.err);
	delete_all(&s);
	world_end(&s.w);
}

TEST(a_mapping_that_is_not_understood_is_in_nobodys_way)
{
	struct backend_volume own;
	struct scene s = { 0 };

	set_scene(&s, &(struct operation){ 0 });
	world_kill(&s.w); /* which had read it */
	world_map(&s.w, "[{\"clusterIDMapping\":{\"site1\":1}}]");
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_NONE, NULL, &own), &s.w.err);
	ASSERT_OK(drop_volume(&s.w, own.token), &s.w.err);
	/* but what is not where its handle says may be elsewhere */
	ASSERT_ERR(drop_volume(&s.w, own.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "cluster-mapping.json': entry 1: clusterIDMapping: 'site1'");
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_FAILED_PRECONDITION, "entry 1");
	world_map(&s.w, MAPPING);
	ASSERT_OK(drop_volume(&s.w, own.token), &s.w.err);
	ASSERT_OK(stat_volume(&s), &s.w.err);
	delete_all(&s);
	world_end(&s.w);
}

TEST(a_place_of_a_cluster_that_is_not_here_is_named)
{
	struct scene s = { 0 };

	set_scene(&s, &(struct operation){ 0 });
	world_map(&s.w, "[{\"clusterIDMapping\":{\"site1\":\"site9\"},\"RBDPoolIDMapping\":[{\"7\":"
			"\"1\"}]}]");
	ASSERT_ERR(drop_volume(&s.w, s.volume.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "maps cluster 'site1' to 'site9', which config.json has not either");
	/* the file is the same at all sites, so one that is here decides */
	world_map(&s.w, "[{\"clusterIDMapping\":{\"site1\":\"site9\"},\"RBDPoolIDMapping\":[{\"7\":"
			"\"1\"}]},{\"clusterIDMapping\":{\"c1\":\"site1\"},\"RBDPoolIDMapping\":[{"
			"\"1\":\"7\"}]}]");
	ASSERT_OK(stat_volume(&s), &s.w.err);
	delete_all(&s);
	world_end(&s.w);
}

/* A volume of another cluster that is here cannot be the source of one in this. */
TEST(a_copy_stays_within_one_cluster)
{
	struct scene s = { 0 };

	set_scene_of_two(&s);
	world_map(&s.w, "[]");
	ASSERT_ERR(make(&s.w, "made", BACKEND_SOURCE_VOLUME, s.volume.token, &s.made), &s.w.err,
		   ERR_INVALID_ARGUMENT, "within one cluster");
	world_map(&s.w, MAPPING);
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_VOLUME, s.volume.token, &s.made), &s.w.err);
	ASSERT_OK(cut(&s.w, "cut", s.volume.token, &s.cut), &s.w.err);
	delete_all(&s);
	world_end(&s.w);
}

RUN_TESTS(UNIT(what_is_told_of_it_is_the_handle_that_came), UNIT(it_is_grown),
	  UNIT(a_snapshot_is_made_of_it_once), UNIT(it_is_deleted_where_it_is),
	  UNIT(a_snapshot_of_the_other_site_is_deleted_where_it_is),
	  UNIT(volumes_are_made_of_what_the_other_site_named),
	  UNIT(what_changed_between_snapshots_of_both_names_is_told),
	  UNIT(where_it_certainly_is_not_the_next_is_looked_at),
	  UNIT(one_that_does_not_answer_is_not_passed_over),
	  UNIT(a_look_that_failed_is_not_taken_for_not_there),
	  UNIT(an_image_without_an_entry_is_not_taken_for_gone),
	  UNIT(an_image_that_was_given_up_is_gone), UNIT(its_own_place_is_first),
	  UNIT(a_mapping_that_is_not_understood_is_in_nobodys_way),
	  UNIT(a_place_of_a_cluster_that_is_not_here_is_named),
	  UNIT(a_copy_stays_within_one_cluster))
