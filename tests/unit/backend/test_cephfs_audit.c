/* SPDX-License-Identifier: Apache-2.0 */
/* Filesystems in which journal and subvolumes do not fit, and what is told of them. */
#include <errno.h>

#include "backend/cephfs/audit.h"
#include "base/clock.h"
#include "cephfs_world.h"

#define N_FOUND_MAX 8
#define VOLUMES "csi.volumes.default"
#define SNAPSHOTS "csi.snaps.default"

struct seen {
	enum ceph_trouble trouble;
	enum vol_kind kind;
	char name[64], image[128], handle[VOL_TOKEN_MAX], also[VOL_TOKEN_MAX];
};

static struct {
	struct world w;
	struct backend_volume vol;
	struct backend_snapshot snap;
	struct seen seen[N_FOUND_MAX];
	size_t n_seen;
	struct ceph_audited done;
	bool is_mending;
} t;

static void begin(void)
{
	memset(&t, 0, sizeof(t));
	world_begin(&t.w, "");
	ASSERT_OK(make(&t.w, "v", BACKEND_SOURCE_NONE, NULL, &t.vol), &t.w.err);
}

static void begin_with_snapshot(void)
{
	begin();
	ASSERT_OK(cut(&t.w, "s", t.vol.token, &t.snap), &t.w.err);
}

static int keep(void *arg, const struct ceph_finding *f, struct err *err)
{
	struct seen *s = &t.seen[t.n_seen++];

	ASSERT_TRUE(t.n_seen <= N_FOUND_MAX);
	s->trouble = f->trouble;
	s->kind = f->kind;
	(void)snprintf(s->name, sizeof(s->name), "%s", f->name);
	(void)snprintf(s->image, sizeof(s->image), "%s", f->image);
	(void)snprintf(s->handle, sizeof(s->handle), "%s", f->handle);
	(void)snprintf(s->also, sizeof(s->also), "%s", f->n_also == 1 ? f->also[0] : "");
	return t.is_mending;
}

static int audit(void)
{
	const struct cephfs_audit what = { .config_dir = t.w.dir,
					   .instance = "",
					   .cluster = "c1",
					   .fs_name = "cephfs",
					   .secrets = &secrets };

	t.n_seen = 0;
	return cephfs_audit_with(fake_ceph_lib(), &t.w.ctx, &what, keep, NULL, &t.done, &t.w.err);
}

static void assert_seen(size_t i, enum ceph_trouble trouble, const char *name, const char *image)
{
	ASSERT_TRUE(i < t.n_seen);
	ASSERT_EQ(t.seen[i].trouble, trouble);
	ASSERT_STR(t.seen[i].name, name);
	ASSERT_STR(t.seen[i].image, image);
}

/* One trouble; it stays as it is until it is mended, and then it is none. */
static void assert_mended(enum ceph_trouble trouble, const char *name, const char *image)
{
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_troubles, 1);
	ASSERT_EQ(t.done.n_mended, 0);
	t.is_mending = true;
	ASSERT_OK(audit(), &t.w.err);
	for (size_t i = 0; i < t.n_seen; i++) {
		if (t.seen[i].trouble != CEPH_TROUBLE_NONE)
			assert_seen(i, trouble, name, image);
	}
	ASSERT_EQ(t.done.n_troubles, 1);
	ASSERT_EQ(t.done.n_mended, 1);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_troubles, 0);
}

/* And one that nobody mends here. */
static void assert_left(enum ceph_trouble trouble, enum vol_kind kind, const char *name,
			const char *image)
{
	size_t n = 0;

	t.is_mending = true;
	ASSERT_OK(audit(), &t.w.err);
	for (size_t i = 0; i < t.n_seen; i++) {
		if (t.seen[i].trouble == CEPH_TROUBLE_NONE)
			continue;
		assert_seen(i, trouble, name, image);
		ASSERT_EQ(t.seen[i].kind, kind);
		n++;
	}
	ASSERT_EQ(n, 1);
	ASSERT_EQ(t.done.n_mended, 0);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_troubles, 1);
}

static const char *subvolume(void)
{
	return name_of(&t.w, "csi-vol-", t.vol.token);
}

static const char *snap_name(void)
{
	return arena_printf(t.w.ctx.arena, "%s@%s", subvolume(),
			    name_of(&t.w, "csi-snap-", t.snap.token));
}

static const char *backing(void)
{
	return arena_printf(t.w.ctx.arena, "rt-backingsnapshot-%s", t.snap.token);
}

TEST(what_fits_is_told_with_its_handle)
{
	struct backend_volume copy, view;

	begin_with_snapshot();
	ASSERT_OK(make(&t.w, "copy", BACKEND_SOURCE_VOLUME, t.vol.token, &copy), &t.w.err);
	ASSERT_OK(show(&t.w, "view", t.snap.token, &view), &t.w.err);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.n_seen, 4);
	assert_seen(1, CEPH_TROUBLE_NONE, "v", subvolume());
	ASSERT_STR(t.seen[1].handle, t.vol.token);
	assert_seen(2, CEPH_TROUBLE_NONE, "view", name_of(&t.w, "csi-vol-", view.token));
	assert_seen(3, CEPH_TROUBLE_NONE, "s", snap_name());
	ASSERT_STR(t.seen[3].handle, t.snap.token);
	ASSERT_EQ(t.done.n_entries, 4);
	ASSERT_EQ(t.done.n_images, 2);
	ASSERT_EQ(t.done.n_troubles, 0);
	world_end(&t.w);
}

/* A deleted volume stays for its snapshot, and a deleted snapshot for what shows it. */
TEST(what_is_there_for_others_is_no_stranger)
{
	struct backend_volume view;

	begin_with_snapshot();
	ASSERT_OK(show(&t.w, "view", t.snap.token, &view), &t.w.err);
	ASSERT_OK(drop_volume(&t.w, t.vol.token), &t.w.err);
	ASSERT_OK(drop_snapshot(&t.w, t.snap.token), &t.w.err);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.n_seen, 1); /* of the snapshot nothing is said: no object is to name it */
	ASSERT_EQ(t.done.n_troubles, 0);
	world_end(&t.w);
}

TEST(an_entry_without_its_subvolume_frees_its_name)
{
	begin();
	fake_ceph_remove_subvolume(subvolume());
	assert_mended(CEPH_TROUBLE_NO_IMAGE, "v", subvolume());
	assert_nothing_left(&t.w);
	world_end(&t.w);
}

TEST(an_entry_that_is_young_is_of_a_call_that_may_go_on)
{
	begin();
	fake_ceph_remove_subvolume(subvolume());
	fake_ceph_set_changed(t.w.pool, "csi", name_of(&t.w, "csi.volume.", t.vol.token),
			      clock_wall_ns() / NS_PER_S - 60);
	assert_left(CEPH_TROUBLE_UNFINISHED, VOL_KIND_VOLUME, "v", subvolume());
	world_end(&t.w);
}

TEST(a_snapshot_that_is_gone_frees_its_name)
{
	begin_with_snapshot();
	fake_ceph_remove_subvolume(subvolume());
	ASSERT_OK(drop_volume(&t.w, t.vol.token), &t.w.err);
	ASSERT_OK(make(&t.w, "other", BACKEND_SOURCE_NONE, NULL, &t.vol), &t.w.err);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_troubles, 1);
	t.is_mending = true;
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_mended, 1);
	assert_has(&t.w, 1, 1, 0);
	world_end(&t.w);
}

TEST(a_name_without_its_entry_is_freed)
{
	begin();
	fake_ceph_remove_object(t.w.pool, "csi", name_of(&t.w, "csi.volume.", t.vol.token));
	fake_ceph_remove_subvolume(subvolume());
	assert_mended(CEPH_TROUBLE_NO_OBJECT, "v", "");
	ASSERT_EQ(fake_ceph_omap_count(t.w.pool, "csi", VOLUMES), 0);
	world_end(&t.w);
}

TEST(a_subvolume_that_no_entry_names_is_left)
{
	begin();
	fake_ceph_omap_rm(t.w.pool, "csi", VOLUMES, "csi.volume.v");
	fake_ceph_remove_object(t.w.pool, "csi", name_of(&t.w, "csi.volume.", t.vol.token));
	assert_left(CEPH_TROUBLE_NO_ENTRY, VOL_KIND_VOLUME, "", subvolume());
	ASSERT_EQ(fake_ceph_n_subvolumes(), 1);
	world_end(&t.w);
}

TEST(a_snapshot_that_no_entry_names_is_left)
{
	begin_with_snapshot();
	fake_ceph_omap_rm(t.w.pool, "csi", SNAPSHOTS, "csi.snap.s");
	fake_ceph_remove_object(t.w.pool, "csi", name_of(&t.w, "csi.snap.", t.snap.token));
	assert_left(CEPH_TROUBLE_NO_ENTRY, VOL_KIND_SNAPSHOT, "", snap_name());
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(subvolume()), 1);
	world_end(&t.w);
}

/* Its snapshot was the last, and went before its data: no stranger, and there is nothing to save.
 */
TEST(what_the_manager_has_yet_to_remove_is_told_as_that)
{
	begin_with_snapshot();
	fake_ceph_remove_later(true);
	ASSERT_OK(drop_volume(&t.w, t.vol.token), &t.w.err);
	ASSERT_OK(drop_snapshot(&t.w, t.snap.token), &t.w.err);
	ASSERT_EQ(fake_ceph_n_subvolumes(), 1);
	fake_ceph_remove_later(false);
	assert_mended(CEPH_TROUBLE_GOING, "", subvolume());
	ASSERT_EQ(fake_ceph_n_subvolumes(), 0);
	world_end(&t.w);
}

/* A copy that is under way, with the snapshot that it is made of. */
TEST(what_is_being_copied_is_left)
{
	const struct backend_spec spec = spec_of("copy", BACKEND_SOURCE_VOLUME, NULL);
	struct backend_spec of = spec;
	struct backend_volume copy;

	begin();
	of.source = t.vol.token;
	ASSERT_ERR(backend_create(t.w.b, &t.w.ctx, &of, &copy, &t.w.err), &t.w.err, ERR_ABORTED,
		   "copying");
	t.is_mending = true;
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.n_seen, 2);
	ASSERT_EQ(t.seen[0].trouble, CEPH_TROUBLE_UNFINISHED);
	ASSERT_EQ(t.done.n_mended, 0);
	world_end(&t.w);
}

TEST(a_view_that_is_not_counted_is_counted)
{
	struct backend_volume view;
	const char *name;

	begin_with_snapshot();
	ASSERT_OK(show(&t.w, "view", t.snap.token, &view), &t.w.err);
	name = name_of(&t.w, "csi-vol-", view.token);
	fake_ceph_remove_object(t.w.pool, "csi", backing());
	assert_mended(CEPH_TROUBLE_NO_COUNT, "view", name);
	assert_backs(&t.w, t.snap.token,
		     arena_printf(t.w.ctx.arena,
				  "00000002 csi.ceph.com/rt-version=00000001 %s:01 %s:01",
				  t.snap.token, name));
	world_end(&t.w);
}

TEST(a_group_that_is_not_there_is_no_reason_to_free_names)
{
	begin();
	world_write(&t.w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS
			  "\"],\"cephFS\":{\"subvolumeGroup\":\"other\"}}]");
	t.is_mending = true;
	ASSERT_ERR(audit(), &t.w.err, ERR_FAILED_PRECONDITION, "no subvolume group 'other'");
	ASSERT_EQ(fake_ceph_omap_count(t.w.pool, "csi", VOLUMES), 1);
	world_end(&t.w);
}

TEST(each_call_may_fail_and_nothing_is_changed_by_it)
{
	begin_with_snapshot();
	for (unsigned n = 1; n < 100; n++) {
		int r;

		fake_ceph_fail_at(n, EIO);
		r = audit();
		if (!fake_ceph_trouble_came())
			break;
		ASSERT_TRUE(r < 0);
		assert_has(&t.w, 1, 1, 1);
	}
	fake_ceph_fail_at(0, 0);
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_EQ(t.done.n_troubles, 0);
	world_end(&t.w);
}

/* PVs that were restored from the other site's have its handles. */
TEST(what_the_other_site_calls_it_is_told_as_well)
{
	begin();
	world_map(&t.w, "[{\"clusterIDMapping\":{\"site1\":\"c1\"},"
			"\"CephFSFscIDMapping\":[{\"7\":\"1\"}]}]");
	ASSERT_OK(audit(), &t.w.err);
	ASSERT_STR(t.seen[0].handle, t.vol.token);
	ASSERT_TRUE(str_has_prefix(t.seen[0].also, "0001-0005-site1-0000000000000007-"));
	world_map(&t.w, "[{]");
	ASSERT_ERR(audit(), &t.w.err, ERR_FAILED_PRECONDITION, "cluster-mapping.json");
	world_end(&t.w);
}

RUN_TESTS(UNIT(what_fits_is_told_with_its_handle), UNIT(what_is_there_for_others_is_no_stranger),
	  UNIT(an_entry_without_its_subvolume_frees_its_name),
	  UNIT(an_entry_that_is_young_is_of_a_call_that_may_go_on),
	  UNIT(a_snapshot_that_is_gone_frees_its_name), UNIT(a_name_without_its_entry_is_freed),
	  UNIT(a_subvolume_that_no_entry_names_is_left),
	  UNIT(a_snapshot_that_no_entry_names_is_left),
	  UNIT(what_the_manager_has_yet_to_remove_is_told_as_that),
	  UNIT(what_is_being_copied_is_left), UNIT(a_view_that_is_not_counted_is_counted),
	  UNIT(a_group_that_is_not_there_is_no_reason_to_free_names),
	  UNIT(each_call_may_fail_and_nothing_is_changed_by_it),
	  UNIT(what_the_other_site_calls_it_is_told_as_well))
