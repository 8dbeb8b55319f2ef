/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subvolumes and snapshots whose handles are another site's: cluster "site1" and filesystem 13,
 * which cluster-mapping.json leads to "c1" and filesystem 1, where they are.
 */
#include "cephfs_world.h"

#include "ceph_failure.h"
#include "fake/host.h"
#include "host/mount.h"

#define STATE "/state"
#define STAGING "/staging"
#define SITE1 "10.0.1.1:6789"
#define C1 "{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}"
#define MAPPING                                                                              \
	"[{\"clusterIDMapping\":{\"site1\":\"c1\"},\"CephFSFscIDMapping\":[{\"13\":\"1\"},{" \
	"\"1\":\"1\"}]}]"

static void become(struct world *w, int64_t fscid, char token[VOL_TOKEN_MAX])
{
	struct ceph_handle handle;

	ASSERT_OK(ceph_handle_parse(token, &handle, &w->err), &w->err);
	(void)snprintf(handle.cluster, sizeof(handle.cluster), "site1");
	handle.pool_id = fscid;
	ceph_handle_format(&handle, token);
}

static void set_scene(struct scene *s, const struct operation *op)
{
	fake_host_reset(GIB);
	fake_host_add_dir(STATE);
	fake_host_add_dir(STAGING);
	fake_host_set_client("ceph");
	world_begin(&s->w, STATE);
	world_map(&s->w, MAPPING);
	ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume), &s->w.err);
	if (op->has_snapshot) {
		ASSERT_OK(cut(&s->w, "snap", s->volume.token, &s->snapshot), &s->w.err);
		become(&s->w, 13, s->snapshot.token);
	}
	become(&s->w, 13, s->volume.token);
}

/* config.json has the handle's own cluster, too, with a filesystem of that number. */
static void set_scene_of_two(struct scene *s)
{
	set_scene(s, &(struct operation){ 0 });
	fake_ceph_add_cluster(SITE1);
	(void)fake_ceph_add_fs(SITE1, "cephfs");
	world_write(&s->w, "[{\"clusterID\":\"site1\",\"monitors\":[\"" SITE1 "\"]}," C1 "]");
	become(&s->w, 1, s->volume.token);
}

static void delete_all(struct scene *s)
{
	delete_named(s, s->w.pool, "csi");
	assert_nothing_left(&s->w);
}

static int stat_volume(struct scene *s)
{
	return backend_stat(s->w.b, &s->w.ctx, s->volume.token, &secrets, &s->made, &s->w.err);
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

TEST(it_is_grown_and_told_of_by_the_handle_that_came)
{
	run_all(&(struct operation){ .run = run_grow, .check = check_grow });
}

static int run_cut(struct scene *s)
{
	return cut(&s->w, "cut", s->volume.token, &s->cut);
}

static void check_cut(struct scene *s)
{
	struct backend_snapshot again;
	struct ceph_handle handle;

	ASSERT_OK(ceph_handle_parse(s->cut.token, &handle, &s->w.err), &s->w.err);
	ASSERT_STR(handle.cluster, "c1");
	ASSERT_EQ(handle.pool_id, 1);
	ASSERT_STR(s->cut.source, s->volume.token);
	become(&s->w, 13, s->cut.token);
	ASSERT_OK(
		backend_snapshot_stat(s->w.b, &s->w.ctx, s->cut.token, &secrets, &again, &s->w.err),
		&s->w.err);
	ASSERT_STR(again.token, s->cut.token);
	ASSERT_STR(again.source, s->volume.token);
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
	assert_nothing_left(&s->w);
}

TEST(it_is_deleted_where_it_is)
{
	run_all(&(struct operation){ .run = run_drop, .check = check_drop });
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
	ASSERT_TRUE(str_has_prefix(s->made.token, "0001-0002-c1-0000000000000001-"));
}

TEST(volumes_are_made_of_what_the_other_site_named)
{
	run_all(&(struct operation){
		.has_snapshot = true, .run = run_restore, .check = check_made });
	run_all(&(struct operation){ .run = run_clone, .check = check_made });
}

TEST(where_it_certainly_is_not_the_next_is_looked_at)
{
	struct scene s = { 0 };

	set_scene_of_two(&s);
	ASSERT_OK(stat_volume(&s), &s.w.err);
	ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_VOLUME, s.volume.token, &s.made), &s.w.err);
	fake_ceph_silence(SITE1, true);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_UNAVAILABLE, "take it out of config.json");
	fake_ceph_silence(SITE1, false);
	/* a filesystem that is not told of is no word of what is in it */
	become(&s.w, 13, s.volume.token);
	ASSERT_ERR(stat_volume(&s), &s.w.err, ERR_FAILED_PRECONDITION,
		   "no filesystem number 13, or its user may not see it");
	world_write(&s.w, "[" C1 "]");
	ASSERT_OK(stat_volume(&s), &s.w.err);
	/* one that is in another filesystem than the class's is no source */
	world_map(&s.w, "[]");
	ASSERT_ERR(make(&s.w, "clone", BACKEND_SOURCE_VOLUME, s.volume.token, &s.made), &s.w.err,
		   ERR_INVALID_ARGUMENT, "another cluster or filesystem");
	delete_all(&s);
	world_end(&s.w);
}

/* ---- on a node, which may not look into the journal ---- */

static int mount_it(struct scene *s, const struct strmap *context)
{
	const struct backend_mount_options opts = { .path = STAGING,
						    .secrets = &secrets,
						    .volume_context = context };

	return backend_mount(s->w.b, &s->w.ctx, s->volume.token, &opts, &s->w.err);
}

static int see(void *arg, const struct host_mountinfo *info)
{
	struct scene *s = arg;

	if (cephfs_kind.is_mount_of(s->w.b, s->volume.token, info))
		(void)snprintf(s->made.name, sizeof(s->made.name), "%.*s",
			       (int)strcspn(info->source, "/"), info->source);
	return 0;
}

/* "10.0.0.1:6789:": whose monitors it is mounted from. */
static const char *mounted_from(struct scene *s)
{
	s->made.name[0] = '\0';
	ASSERT_OK(host_mountinfo_each(see, s, &s->w.err), &s->w.err);
	return s->made.name;
}

TEST(it_is_mounted_from_where_it_is)
{
	const struct strpair pair = { "clusterID", "site1" };
	struct strmap old;
	struct scene s = { 0 };

	set_scene(&s, &(struct operation){ 0 });
	ASSERT_OK(mount_it(&s, &s.volume.context), &s.w.err);
	ASSERT_STR(mounted_from(&s), FAKE_CEPH_MONITORS ":");
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	/* one whose context has no path */
	old = strmap_from(s.w.ctx.arena, &pair, 1);
	ASSERT_OK(mount_it(&s, &old), &s.w.err);
	ASSERT_STR(mounted_from(&s), FAKE_CEPH_MONITORS ":");
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	world_map(&s.w, "[]");
	ASSERT_ERR(mount_it(&s, &s.volume.context), &s.w.err, ERR_FAILED_PRECONDITION, "'site1'");
	world_end(&s.w);
}

/* Call 1 asks for the kernel's client, 2 mounts. */
TEST(a_path_that_is_not_there_is_looked_for_in_the_next_cluster)
{
	struct scene s = { 0 };

	set_scene_of_two(&s);
	ASSERT_OK(mount_it(&s, &s.volume.context), &s.w.err);
	ASSERT_STR(mounted_from(&s), SITE1 ":");
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	fake_host_fail_at(2);
	fake_host_fail_with(ERR_NOT_FOUND);
	ASSERT_OK(mount_it(&s, &s.volume.context), &s.w.err);
	ASSERT_TRUE(fake_host_failed());
	ASSERT_STR(mounted_from(&s), FAKE_CEPH_MONITORS ":");
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	fake_host_fail_at(2);
	fake_host_fail_with(ERR_UNAVAILABLE);
	ASSERT_ERR(mount_it(&s, &s.volume.context), &s.w.err, ERR_UNAVAILABLE,
		   "take it out of config.json");
	fake_host_fail_at(0);
	ASSERT_STR(mounted_from(&s), "");
	delete_all(&s);
	world_end(&s.w);
}

RUN_TESTS(UNIT(it_is_grown_and_told_of_by_the_handle_that_came),
	  UNIT(a_snapshot_is_made_of_it_once), UNIT(it_is_deleted_where_it_is),
	  UNIT(volumes_are_made_of_what_the_other_site_named),
	  UNIT(where_it_certainly_is_not_the_next_is_looked_at),
	  UNIT(it_is_mounted_from_where_it_is),
	  UNIT(a_path_that_is_not_there_is_looked_for_in_the_next_cluster))
