/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images as volumes: what is written is what ceph-csi writes, what it wrote is served, and in
 * whatever order things are deleted, nothing is left.
 */
#include "rbd_world.h"

#include <errno.h>

#include "base/vec.h"

#define UUID "ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define SNAP_UUID "8a46b2d4-2c94-44fe-b220-211d3d900cae"
#define HANDLE(uuid) "0001-0002-c1-0000000000000001-" uuid

static const char *const of_volume = "csi.volume.";

/* Another client of the cluster, which lays down what ceph-csi leaves. */
struct client {
	const struct ceph_lib *lib;
	rados_t rados;
	rados_ioctx_t io;
};

static struct client connect_client(void)
{
	struct client c = { .lib = fake_ceph_lib() };

	ASSERT_EQ(c.lib->rados_create2(&c.rados, "ceph", "client." FAKE_CEPH_USER, 0), 0);
	ASSERT_EQ(c.lib->rados_conf_set(c.rados, "mon_host", FAKE_CEPH_MONITORS), 0);
	ASSERT_EQ(c.lib->rados_conf_set(c.rados, "key", FAKE_CEPH_KEY), 0);
	ASSERT_EQ(c.lib->rados_connect(c.rados), 0);
	ASSERT_EQ(c.lib->rados_ioctx_create(c.rados, "rbd", &c.io), 0);
	return c;
}

static void disconnect_client(struct client *c)
{
	c->lib->rados_ioctx_destroy(c->io);
	c->lib->rados_shutdown(c->rados);
}

static rbd_image_t open_image(struct client *c, const char *name)
{
	rbd_image_t image;

	ASSERT_EQ(c->lib->rbd_open(c->io, name, &image, NULL), 0);
	return image;
}

static void snap(struct client *c, const char *name, const char *snap_name, bool is_made)
{
	rbd_image_t image = open_image(c, name);

	if (is_made)
		ASSERT_EQ(c->lib->rbd_snap_create(image, snap_name), 0);
	else
		ASSERT_EQ(c->lib->rbd_snap_remove(image, snap_name), 0);
	ASSERT_EQ(c->lib->rbd_close(image), 0);
}

static rbd_image_options_t options(struct client *c, uint64_t features, bool is_clone)
{
	rbd_image_options_t opts;

	c->lib->rbd_image_options_create(&opts);
	ASSERT_EQ(c->lib->rbd_image_options_set_uint64(opts, RBD_IMAGE_OPTION_FEATURES, features),
		  0);
	if (is_clone)
		ASSERT_EQ(c->lib->rbd_image_options_set_uint64(opts, RBD_IMAGE_OPTION_CLONE_FORMAT,
							       2),
			  0);
	return opts;
}

static void lay_image(struct client *c, const char *name)
{
	rbd_image_options_t opts = options(c, 61, false);

	ASSERT_EQ(c->lib->rbd_create4(c->io, name, 1 * GIB, opts), 0);
	c->lib->rbd_image_options_destroy(opts);
}

static void lay_clone(struct client *c, const char *parent, const char *snap_name, const char *name,
		      uint64_t features)
{
	rbd_image_options_t opts = options(c, features, true);

	ASSERT_EQ(c->lib->rbd_clone3(c->io, parent, snap_name, c->io, name, opts), 0);
	c->lib->rbd_image_options_destroy(opts);
}

static void note_id(struct client *c, const char *object, const char *image)
{
	rbd_image_t open = open_image(c, image);
	char id[64];

	ASSERT_EQ(c->lib->rbd_get_id(open, id, sizeof(id)), 0);
	ASSERT_EQ(c->lib->rbd_close(open), 0);
	fake_ceph_omap_set(POOL, "", object, "csi.imageid", id);
}

/* A volume and a snapshot of it, as release 3.12 left them. */
static void lay_ceph_csi(void)
{
	struct client c = connect_client();

	fake_ceph_omap_set(POOL, "", "csi.volumes.default", "csi.volume.pv-t-000", UUID);
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.volname", "pv-t-000");
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.imagename", "csi-vol-" UUID);
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.volume.owner", "ns1");
	lay_image(&c, "csi-vol-" UUID);
	note_id(&c, "csi.volume." UUID, "csi-vol-" UUID);

	fake_ceph_omap_set(POOL, "", "csi.snaps.default", "csi.snap.snapshot-t-000", SNAP_UUID);
	fake_ceph_omap_set(POOL, "", "csi.snap." SNAP_UUID, "csi.snapname", "snapshot-t-000");
	fake_ceph_omap_set(POOL, "", "csi.snap." SNAP_UUID, "csi.imagename", "csi-snap-" SNAP_UUID);
	fake_ceph_omap_set(POOL, "", "csi.snap." SNAP_UUID, "csi.source", "csi-vol-" UUID);
	fake_ceph_omap_set(POOL, "", "csi.snap." SNAP_UUID, "csi.volume.owner", "ns1");
	snap(&c, "csi-vol-" UUID, "csi-snap-" SNAP_UUID, true);
	lay_clone(&c, "csi-vol-" UUID, "csi-snap-" SNAP_UUID, "csi-snap-" SNAP_UUID, 33);
	snap(&c, "csi-vol-" UUID, "csi-snap-" SNAP_UUID, false);
	snap(&c, "csi-snap-" SNAP_UUID, "csi-snap-" SNAP_UUID, true);
	note_id(&c, "csi.snap." SNAP_UUID, "csi-snap-" SNAP_UUID);
	disconnect_client(&c);
}

TEST(a_volume_is_written_as_ceph_csi_writes_it)
{
	char object[64], image[64];
	struct backend_volume vol;
	const char *uuid;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "pv-t-001", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	uuid = vol.token + strlen(vol.token) - 36;
	ASSERT_TRUE(str_has_prefix(vol.token, "0001-0002-c1-0000000000000001-"));
	(void)snprintf(object, sizeof(object), "%s%s", of_volume, uuid);
	(void)snprintf(image, sizeof(image), "csi-vol-%s", uuid);
	ASSERT_STR(omap("csi.volumes.default", "csi.volume.pv-t-001"), uuid);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 4);
	ASSERT_STR(omap(object, "csi.volname"), "pv-t-001");
	ASSERT_STR(omap(object, "csi.imagename"), image);
	ASSERT_STR(omap(object, "csi.volume.owner"), "ns1");
	ASSERT_TRUE(!str_is_equal(omap(object, "csi.imageid"), "(absent)"));
	ASSERT_EQ(vol.context.n, 5);
	ASSERT_STR(strmap_find(&vol.context, "clusterID"), "c1");
	ASSERT_STR(strmap_find(&vol.context, "pool"), "rbd");
	ASSERT_STR(strmap_find(&vol.context, "journalPool"), "rbd");
	ASSERT_STR(strmap_find(&vol.context, "imageName"), image);
	ASSERT_TRUE(strmap_find(&vol.context, "imageFeatures") != NULL);
	ASSERT_TRUE(fake_ceph_image_meta(POOL, "", image, "csi.storage.k8s.io/pv/name") == NULL);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

TEST(a_snapshot_is_written_as_ceph_csi_writes_it)
{
	char object[64], image[64];
	struct backend_snapshot s;
	struct backend_volume vol;
	const char *uuid;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "snapshot-1", vol.token, &s), &w.err);
	uuid = s.token + strlen(s.token) - 36;
	(void)snprintf(object, sizeof(object), "csi.snap.%s", uuid);
	(void)snprintf(image, sizeof(image), "csi-snap-%s", uuid);
	ASSERT_STR(omap("csi.snaps.default", "csi.snap.snapshot-1"), uuid);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 5);
	ASSERT_STR(omap(object, "csi.snapname"), "snapshot-1");
	ASSERT_STR(omap(object, "csi.imagename"), image);
	ASSERT_STR(omap(object, "csi.source"), image_name(&w, "csi-vol-", vol.token));
	ASSERT_STR(omap(object, "csi.volume.owner"), "ns1");
	ASSERT_EQ(s.bytes, 1 * GIB);
	ASSERT_STR(s.source, vol.token);
	ASSERT_STR(s.name, "snapshot-1");
	/* the one that it was cloned of is in the trash of the volume's image */
	ASSERT_EQ(fake_ceph_n_snapshots(POOL, "", image_name(&w, "csi-vol-", vol.token)), 1);
	world_end(&w);
}

TEST(names_are_kept_with_images_if_that_is_asked)
{
	struct backend_volume vol, clone, restored;
	struct backend_snapshot s;
	const char *image, *kept;
	struct world w;

	world_begin(&w);
	w.config.ceph.keeps_names = true;
	w.config.ceph.cluster_name = "k1";
	world_stop(&w);
	world_start(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	image = image_name(&w, "csi-vol-", vol.token);
	ASSERT_STR(fake_ceph_image_meta(POOL, "", image, "csi.ceph.com/cluster/name"), "k1");
	ASSERT_STR(fake_ceph_image_meta(POOL, "", image, "csi.storage.k8s.io/pv/name"), "pv-1");
	ASSERT_STR(fake_ceph_image_meta(POOL, "", image, "csi.storage.k8s.io/pvc/name"), "data");
	ASSERT_STR(fake_ceph_image_meta(POOL, "", image, "csi.storage.k8s.io/pvc/namespace"),
		   "ns1");
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	kept = image_name(&w, "csi-snap-", s.token);
	ASSERT_STR(fake_ceph_image_meta(POOL, "", kept, "csi.storage.k8s.io/volumesnapshot/name"),
		   "daily");
	ASSERT_STR(fake_ceph_image_meta(POOL, "", kept,
					"csi.storage.k8s.io/volumesnapshotcontent/name"),
		   "snapcontent-1");
	ASSERT_OK(make(&w, "r", BACKEND_SOURCE_SNAPSHOT, s.token, &restored), &w.err);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &clone), &w.err);
	ASSERT_TRUE(fake_ceph_image_meta(POOL, "", image_name(&w, "csi-vol-", restored.token),
					 "csi.storage.k8s.io/volumesnapshot/name") == NULL);
	world_end(&w);
}

TEST(what_ceph_csi_made_is_served)
{
	struct backend_volume vol, made;
	struct backend_snapshot s;
	struct world w;

	world_begin(&w);
	lay_ceph_csi();
	ASSERT_OK(make(&w, "pv-t-000", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_STR(vol.token, HANDLE(UUID));
	ASSERT_OK(backend_stat(w.b, &w.ctx, HANDLE(UUID), &secrets, &vol, &w.err), &w.err);
	ASSERT_STR(vol.name, "pv-t-000");
	ASSERT_EQ(vol.bytes, 1 * GIB);
	ASSERT_OK(cut(&w, "snapshot-t-000", HANDLE(UUID), &s), &w.err);
	ASSERT_STR(s.token, HANDLE(SNAP_UUID));
	ASSERT_OK(backend_snapshot_stat(w.b, &w.ctx, HANDLE(SNAP_UUID), &secrets, &s, &w.err),
		  &w.err);
	ASSERT_STR(s.source, HANDLE(UUID));
	ASSERT_TRUE(s.is_ready && !s.is_damaged);
	ASSERT_OK(cut(&w, "ours", HANDLE(UUID), &s), &w.err);
	ASSERT_OK(make(&w, "restored", BACKEND_SOURCE_SNAPSHOT, HANDLE(SNAP_UUID), &made), &w.err);
	ASSERT_OK(make(&w, "clone", BACKEND_SOURCE_VOLUME, HANDLE(UUID), &made), &w.err);
	ASSERT_OK(backend_grow(w.b, &w.ctx, HANDLE(UUID), 2 * GIB, &secrets, &vol, &w.err), &w.err);
	ASSERT_EQ(vol.bytes, 2 * GIB);
	ASSERT_OK(drop_volume(&w, HANDLE(UUID)), &w.err);
	ASSERT_OK(drop_snapshot(&w, HANDLE(SNAP_UUID)), &w.err);
	assert_has(4, 2, 1);
	world_end(&w);
}

/* 0: source, 1: snapshot, 2: restored, 3: clone, 4: of the restored, 5: of the clone */
#define THINGS 6

static void drop_thing(struct world *w, char tokens[THINGS][VOL_TOKEN_MAX], size_t i)
{
	ASSERT_OK(i == 1 ? drop_snapshot(w, tokens[i]) : drop_volume(w, tokens[i]), &w->err);
}

static void make_things(struct world *w, const struct strmap *by,
			char tokens[THINGS][VOL_TOKEN_MAX])
{
	struct backend_volume vol;
	struct backend_snapshot s;

	ASSERT_OK(make(w, "source", BACKEND_SOURCE_NONE, NULL, &vol), &w->err);
	memcpy(tokens[0], vol.token, sizeof(vol.token));
	ASSERT_OK(cut_by(w, by, "snapshot", tokens[0], &s), &w->err);
	memcpy(tokens[1], s.token, sizeof(s.token));
	ASSERT_OK(make(w, "restored", BACKEND_SOURCE_SNAPSHOT, tokens[1], &vol), &w->err);
	memcpy(tokens[2], vol.token, sizeof(vol.token));
	ASSERT_OK(make(w, "clone", BACKEND_SOURCE_VOLUME, tokens[0], &vol), &w->err);
	memcpy(tokens[3], vol.token, sizeof(vol.token));
	ASSERT_OK(make(w, "second", BACKEND_SOURCE_VOLUME, tokens[2], &vol), &w->err);
	memcpy(tokens[4], vol.token, sizeof(vol.token));
	ASSERT_OK(make(w, "third", BACKEND_SOURCE_VOLUME, tokens[3], &vol), &w->err);
	memcpy(tokens[5], vol.token, sizeof(vol.token));
}

/* The i-th order of THINGS things. */
static void drop_in_order(struct world *w, char tokens[THINGS][VOL_TOKEN_MAX], size_t i)
{
	size_t left[THINGS];

	for (size_t k = 0; k < THINGS; k++)
		left[k] = k;
	for (size_t n = THINGS; n > 0; n--) {
		size_t at = i % n;

		i /= n;
		drop_thing(w, tokens, left[at]);
		memmove(&left[at], &left[at + 1], (n - at - 1) * sizeof(left[0]));
	}
}

static void drop_in_all_orders(const struct strmap *by, int manager_errno)
{
	for (size_t i = 0; i < 720; i++) {
		char tokens[THINGS][VOL_TOKEN_MAX];
		struct world w;

		world_begin(&w);
		make_things(&w, by, tokens);
		fake_ceph_refuse_manager(FAKE_CEPH_MONITORS, manager_errno);
		drop_in_order(&w, tokens, i);
		assert_nothing_left();
		for (size_t k = 0; k < THINGS; k++)
			drop_thing(&w, tokens, k);
		world_end(&w);
	}
}

TEST(whatever_the_order_of_deletion_nothing_is_left)
{
	drop_in_all_orders(&snapshot_class, 0);
	drop_in_all_orders(&staying_class, 0);
}

TEST(without_a_manager_too)
{
	drop_in_all_orders(&snapshot_class, EOPNOTSUPP);
	drop_in_all_orders(&staying_class, EOPNOTSUPP);
}

TEST(what_is_in_use_stays_and_who_uses_it_is_named)
{
	struct backend_volume vol;
	const char *image;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	image = image_name(&w, "csi-vol-", vol.token);
	fake_ceph_set_watched(POOL, "", image, OTHER);
	ASSERT_ERR(drop_volume(&w, vol.token), &w.err, ERR_FAILED_PRECONDITION, OTHER);
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image));
	assert_has(1, 1, 0);
	fake_ceph_set_watched(POOL, "", image, NULL);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

TEST(snapshots_of_others_keep_an_image)
{
	struct backend_volume vol;
	const char *image;
	struct client c;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	image = image_name(&w, "csi-vol-", vol.token);
	c = connect_client();
	snap(&c, image, "before-upgrade", true);
	ASSERT_ERR(drop_volume(&w, vol.token), &w.err, ERR_FAILED_PRECONDITION, "before-upgrade");
	assert_has(1, 1, 0);
	snap(&c, image, "before-upgrade", false);
	snap(&c, image, "csi-snap-" SNAP_UUID, true); /* left of a killed CreateSnapshot */
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	disconnect_client(&c);
	assert_nothing_left();
	world_end(&w);
}

/* What was flattened has no parent, and is what it was made of all the same. */
TEST(a_copy_that_was_flattened_tells_its_source)
{
	struct backend_volume vol, other, made;
	struct client c;
	rbd_image_t open;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(make(&w, "w", BACKEND_SOURCE_NONE, NULL, &other), &w.err);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	c = connect_client();
	open = open_image(&c, strmap_find(&made.context, "imageName"));
	ASSERT_EQ(c.lib->rbd_flatten(open), 0);
	ASSERT_EQ(c.lib->rbd_close(open), 0);
	disconnect_client(&c);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_VOLUME, other.token, &made), &w.err,
		   ERR_ALREADY_EXISTS, "was made of");
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_NONE, NULL, &made), &w.err, ERR_ALREADY_EXISTS,
		   "none is asked");
	world_end(&w);
}

/* The watch of a driver that was killed lasts for half a minute. */
TEST(what_a_killed_driver_still_has_open_is_asked_for_again)
{
	char object[64];
	struct backend_volume vol, made;
	struct backend_snapshot s;
	struct world w;
	const char *image;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_SNAPSHOT, s.token, &made), &w.err);
	image = strmap_find(&made.context, "imageName");
	(void)snprintf(object, sizeof(object), "%s%s", of_volume,
		       made.token + strlen(made.token) - 36);
	fake_ceph_omap_rm(POOL, "", object, "csi.imageid"); /* as it was before the last step */
	fake_ceph_set_watched(POOL, "", image, "10.0.0.9:0/77");
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_SNAPSHOT, s.token, &made), &w.err, ERR_ABORTED,
		   "10.0.0.9:0/77");
	fake_ceph_set_watched(POOL, "", image, NULL);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_SNAPSHOT, s.token, &made), &w.err);
	world_end(&w);
}

/* Nobody would come for what was reserved. */
TEST(what_cannot_be_leaves_no_entry)
{
	struct backend_volume vol, made;
	struct backend_snapshot s;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_VOLUME,
			"0001-0002-c1-0000000000000001-00000000-1111-4222-8333-444444444444",
			&made),
		   &w.err, ERR_NOT_FOUND, "");
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 1);
	fake_ceph_remove_image(POOL, "", strmap_find(&vol.context, "imageName"));
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err, ERR_NOT_FOUND,
		   "");
	ASSERT_ERR(cut(&w, "s", vol.token, &s), &w.err, ERR_NOT_FOUND, "");
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 1);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.snaps.default"), 0);
	world_end(&w);
}

TEST(a_name_stands_for_one_source)
{
	struct backend_volume vol, other, made;
	struct backend_snapshot s;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(make(&w, "w", BACKEND_SOURCE_NONE, NULL, &other), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	ASSERT_ERR(cut(&w, "s", other.token, &s), &w.err, ERR_ALREADY_EXISTS, "is of image");
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	ASSERT_EQ(made.source_kind, BACKEND_SOURCE_VOLUME);
	ASSERT_STR(made.source, vol.token);
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_VOLUME, other.token, &made), &w.err,
		   ERR_ALREADY_EXISTS, "was made of");
	ASSERT_ERR(make(&w, "w", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err,
		   ERR_ALREADY_EXISTS, "was made of nothing");
	ASSERT_ERR(make(&w, "c", BACKEND_SOURCE_NONE, NULL, &made), &w.err, ERR_ALREADY_EXISTS,
		   "now none is asked");
	world_end(&w);
}

TEST(what_is_whole_is_answered_when_its_source_is_gone)
{
	struct backend_volume vol, made;
	struct backend_snapshot s, again;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &again), &w.err);
	ASSERT_STR(again.token, s.token);
	ASSERT_OK(make(&w, "c", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err);
	ASSERT_ERR(cut(&w, "t", vol.token, &again), &w.err, ERR_NOT_FOUND, vol.token);
	ASSERT_ERR(make(&w, "d", BACKEND_SOURCE_VOLUME, vol.token, &made), &w.err, ERR_NOT_FOUND,
		   vol.token);
	world_end(&w);
}

TEST(copies_are_never_smaller)
{
	struct backend_volume vol, made;
	struct backend_snapshot s;
	struct backend_spec spec;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	for (enum backend_source kind = BACKEND_SOURCE_SNAPSHOT; kind <= BACKEND_SOURCE_VOLUME;
	     kind++) {
		bool is_snapshot = kind == BACKEND_SOURCE_SNAPSHOT;

		spec = spec_of(is_snapshot ? "r" : "c", kind, is_snapshot ? s.token : vol.token);
		spec.bytes = GIB / 2;
		ASSERT_ERR(backend_create(w.b, &w.ctx, &spec, &made, &w.err), &w.err,
			   ERR_OUT_OF_RANGE, "it has 1Gi, and 512Mi are asked");
		spec.bytes = 3 * GIB;
		ASSERT_OK(backend_create(w.b, &w.ctx, &spec, &made, &w.err), &w.err);
		ASSERT_EQ(made.bytes, 3 * GIB);
		spec.bytes = 4 * GIB; /* as it is: the caller compares */
		ASSERT_OK(backend_create(w.b, &w.ctx, &spec, &made, &w.err), &w.err);
		ASSERT_EQ(made.bytes, 3 * GIB);
	}
	world_end(&w);
}

/* Copies of copies are flattened in the background, and above the limit before they go on. */
TEST(copies_of_copies_go_on_for_ever)
{
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v0", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	for (unsigned i = 1; i < 12; i++) {
		char name[16], source[VOL_TOKEN_MAX];
		int tries = 0;

		(void)snprintf(name, sizeof(name), "v%u", i);
		memcpy(source, vol.token, sizeof(source));
		while (make(&w, name, BACKEND_SOURCE_VOLUME, source, &vol) < 0) {
			ASSERT_ERR(-1, &w.err, ERR_ABORTED, "being flattened");
			ASSERT_TRUE(++tries < 3);
		}
	}
	world_end(&w);
}

/* A snapshot of it could lose its parent. */
TEST(what_is_being_flattened_is_left_alone)
{
	struct backend_volume source, copy, of;
	struct backend_snapshot s;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "source", BACKEND_SOURCE_NONE, NULL, &source), &w.err);
	ASSERT_OK(make(&w, "copy", BACKEND_SOURCE_VOLUME, source.token, &copy), &w.err);
	fake_ceph_set_flattening(image_name(&w, "csi-vol-", copy.token));
	ASSERT_ERR(make(&w, "of", BACKEND_SOURCE_VOLUME, copy.token, &of), &w.err, ERR_ABORTED,
		   "being flattened");
	ASSERT_ERR(cut(&w, "s", copy.token, &s), &w.err, ERR_ABORTED, "being flattened");
	ASSERT_ERR(cut_by(&w, &staying_class, "t", copy.token, &s), &w.err, ERR_ABORTED,
		   "being flattened");
	/* one without parents is not asked of */
	fake_ceph_set_flattening(image_name(&w, "csi-vol-", source.token));
	ASSERT_OK(cut(&w, "u", source.token, &s), &w.err);
	fake_ceph_set_flattening(NULL);
	ASSERT_OK(make(&w, "of", BACKEND_SOURCE_VOLUME, copy.token, &of), &w.err);
	world_end(&w);
}

TEST(without_a_manager_too_many_parents_are_an_end)
{
	struct backend_volume vol;
	struct backend_snapshot s;
	struct world w;
	unsigned i = 0;

	world_begin(&w);
	fake_ceph_refuse_manager(FAKE_CEPH_MONITORS, EOPNOTSUPP);
	ASSERT_OK(make(&w, "v0", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	for (char source[VOL_TOKEN_MAX]; i < 12; i++) {
		memcpy(source, vol.token, sizeof(source));
		if (make(&w, arena_printf(w.ctx.arena, "w%u", i), BACKEND_SOURCE_VOLUME, source,
			 &vol) < 0)
			break;
	}
	ASSERT_EQ(i, IMAGE_HARD_DEPTH / 2);
	ASSERT_ERR(-1, &w.err, ERR_UNAVAILABLE, "does not take the task");
	ASSERT_ERR(cut(&w, "s", vol.token, &s), &w.err, ERR_UNAVAILABLE, "does not take the task");
	fake_ceph_refuse_manager(FAKE_CEPH_MONITORS, 0);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	ASSERT_OK(backend_snapshot_stat(w.b, &w.ctx, s.token, &secrets, &s, &w.err), &w.err);
	ASSERT_TRUE(s.is_ready);
	world_end(&w);
}

TEST(an_image_has_so_many_snapshots_and_no_more)
{
	struct backend_volume vol;
	struct backend_snapshot s;
	struct world w;

	world_begin(&w);
	w.config.ceph.max_snapshots = 3;
	world_stop(&w);
	world_start(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	for (unsigned i = 0; i < 3; i++)
		ASSERT_OK(cut(&w, arena_printf(w.ctx.arena, "s%u", i), vol.token, &s), &w.err);
	ASSERT_ERR(cut(&w, "s3", vol.token, &s), &w.err, ERR_RESOURCE_EXHAUSTED, "3 snapshots");
	ASSERT_OK(drop_snapshot(&w, s.token), &w.err);
	ASSERT_OK(cut(&w, "s3", vol.token, &s), &w.err);
	world_end(&w);
}

TEST(what_is_no_handle_is_no_volume_and_what_may_be_one_is_not_gone)
{
	char token[VOL_TOKEN_MAX], id[VOL_ID_MAX];
	struct world w;

	world_begin(&w);
	ASSERT_OK(backend_resolve(w.b, VOL_KIND_VOLUME, HANDLE(UUID), token, &w.err), &w.err);
	ASSERT_STR(token, HANDLE(UUID));
	backend_format_id(w.b, VOL_KIND_VOLUME, token, id);
	ASSERT_STR(id, HANDLE(UUID));
	ASSERT_ERR(backend_resolve(w.b, VOL_KIND_VOLUME, "pvc-1", token, &w.err), &w.err,
		   ERR_NOT_FOUND, "no handle");
	ASSERT_ERR(backend_resolve(w.b, VOL_KIND_GROUP, HANDLE(UUID), token, &w.err), &w.err,
		   ERR_NOT_FOUND, "no handle");
	ASSERT_OK(drop_volume(&w, HANDLE(UUID)), &w.err);
	ASSERT_OK(drop_snapshot(&w, HANDLE(UUID)), &w.err);
	ASSERT_OK(drop_volume(&w, "0001-0002-c1-0000000000000063-" UUID), &w.err);
	ASSERT_ERR(drop_volume(&w, "0001-0002-c2-0000000000000001-" UUID), &w.err,
		   ERR_FAILED_PRECONDITION, "c2");
	ASSERT_OK(backend_resolve(w.b, VOL_KIND_VOLUME, "0002-0002-c1-0000000000000001-" UUID,
				  token, &w.err),
		  &w.err);
	ASSERT_ERR(drop_volume(&w, token), &w.err, ERR_FAILED_PRECONDITION, "another version");
	world_end(&w);
}

TEST(bad_classes_are_refused_in_words)
{
	static const struct {
		const char *key, *value;
		enum err_code code;
		const char *say;
	} cases[] = {
		{ "clusterID", "c9", ERR_INVALID_ARGUMENT, "c9" },
		{ "pool", "nope", ERR_INVALID_ARGUMENT, "nope" },
		{ "dataPool", "nope", ERR_INVALID_ARGUMENT, "dataPool: cluster 'c1' has no pool" },
		{ "radosNamespace", "ns", ERR_INVALID_ARGUMENT, "config.json has ''" },
		{ "integrityMode", "aead", ERR_INVALID_ARGUMENT, "integrityMode" },
		{ "colour", "red", ERR_INVALID_ARGUMENT, "unknown key 'colour'" },
	};
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct backend_spec spec = spec_of("v", BACKEND_SOURCE_NONE, NULL);
		struct strmap map = strmap_with(w.ctx.arena, &class, cases[i].key, cases[i].value);

		spec.parameters = &map;
		ASSERT_ERR(backend_create(w.b, &w.ctx, &spec, &vol, &w.err), &w.err, cases[i].code,
			   cases[i].say);
	}
	assert_nothing_left();
	world_end(&w);
}

TEST(torn_entries_are_reported_and_never_overwritten)
{
	struct backend_volume vol;
	struct world w;

	world_begin(&w);
	fake_ceph_omap_set(POOL, "", "csi.volumes.default", "csi.volume.v", UUID);
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.volname", "another");
	fake_ceph_omap_set(POOL, "", "csi.volume." UUID, "csi.imagename", "csi-vol-" UUID);
	ASSERT_ERR(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err, ERR_FAILED_PRECONDITION,
		   "another");
	ASSERT_STR(omap("csi.volume." UUID, "csi.volname"), "another");
	ASSERT_EQ(fake_ceph_n_images(POOL), 0);
	fake_ceph_omap_set(POOL, "", "csi.volumes.default", "csi.volume.w", "nonsense");
	ASSERT_ERR(make(&w, "w", BACKEND_SOURCE_NONE, NULL, &vol), &w.err, ERR_FAILED_PRECONDITION,
		   "nonsense");
	world_end(&w);
}

TEST(the_context_tells_the_class_and_where_the_image_is)
{
	struct backend_volume vol;
	struct backend_spec spec;
	struct strmap map;
	struct world w;

	world_begin(&w);
	(void)fake_ceph_add_pool(FAKE_CEPH_MONITORS, "ec");
	map = strmap_with(w.ctx.arena, &class, "dataPool", "ec");
	map = strmap_with(w.ctx.arena, &map, "mapOptions", "krbd:queue_depth=64");
	map = strmap_with(w.ctx.arena, &map, "mounter", "rbd");
	spec = spec_of("v", BACKEND_SOURCE_NONE, NULL);
	spec.parameters = &map;
	ASSERT_OK(backend_create(w.b, &w.ctx, &spec, &vol, &w.err), &w.err);
	ASSERT_STR(strmap_find(&vol.context, "dataPool"), "ec");
	ASSERT_STR(strmap_find(&vol.context, "mapOptions"), "krbd:queue_depth=64");
	ASSERT_STR(strmap_find(&vol.context, "mounter"), "rbd");
	ASSERT_EQ(vol.context.n, 8);
	world_end(&w);
}

/* A deletion that was killed between image and entry, and then the name again. */
TEST(an_entry_without_its_image_is_damaged_and_its_name_is_free)
{
	struct backend_volume vol, again;
	struct backend_snapshot s;
	struct client c;
	struct world w;

	world_begin(&w);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &s), &w.err);
	c = connect_client();
	ASSERT_EQ(c.lib->rbd_trash_move(c.io, image_name(&w, "csi-vol-", vol.token), 0), 0);
	ASSERT_EQ(c.lib->rbd_trash_move(c.io, image_name(&w, "csi-snap-", s.token), 0), 0);
	disconnect_client(&c);
	ASSERT_OK(backend_stat(w.b, &w.ctx, vol.token, &secrets, &again, &w.err), &w.err);
	ASSERT_TRUE(again.is_damaged);
	ASSERT_OK(backend_snapshot_stat(w.b, &w.ctx, s.token, &secrets, &s, &w.err), &w.err);
	ASSERT_TRUE(s.is_damaged);
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &again), &w.err);
	ASSERT_TRUE(!str_is_equal(again.token, vol.token));
	ASSERT_OK(drop_snapshot(&w, s.token), &w.err);
	ASSERT_OK(drop_volume(&w, again.token), &w.err);
	world_end(&w);
}

TEST(a_namespace_of_config_json_is_where_volumes_are)
{
	struct backend_volume vol;
	const char *image;
	struct world w;

	world_begin(&w);
	world_write(&w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS
			"\"],\"rbd\":{\"radosNamespace\":\"tenant\"}}]");
	ASSERT_OK(make(&w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w.err);
	image = image_name(&w, "csi-vol-", vol.token);
	ASSERT_STR(strmap_find(&vol.context, "radosNamespace"), "tenant");
	ASSERT_TRUE(fake_ceph_has_image(POOL, "tenant", image));
	ASSERT_EQ(fake_ceph_omap_count(POOL, "tenant", "csi.volumes.default"), 1);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	ASSERT_EQ(fake_ceph_n_images(POOL), 0);
	world_end(&w);
}

TEST(nothing_is_asked_before_a_call_needs_it_and_nothing_is_listed)
{
	struct backend_info info;
	struct world w;

	world_begin(&w);
	ASSERT_OK(backend_info(w.b, &w.ctx, &info, &w.err), &w.err);
	ASSERT_STR(info.name, "ceph");
	ASSERT_ERR(backend_each(w.b, &w.ctx, "", NULL, NULL, &w.err), &w.err, ERR_UNIMPLEMENTED,
		   "not listed");
	ASSERT_ERR(backend_snapshot_each(w.b, &w.ctx, "", NULL, NULL, &w.err), &w.err,
		   ERR_UNIMPLEMENTED, "not listed");
	ASSERT_EQ(fake_ceph_n_connects(), 0);
	ASSERT_ERR(backend_stat(w.b, &w.ctx, HANDLE(UUID), NULL, &(struct backend_volume){ 0 },
				&w.err),
		   &w.err, ERR_INVALID_ARGUMENT, "userID");
	world_end(&w);
}

RUN_TESTS(UNIT(a_volume_is_written_as_ceph_csi_writes_it),
	  UNIT(a_snapshot_is_written_as_ceph_csi_writes_it),
	  UNIT(names_are_kept_with_images_if_that_is_asked), UNIT(what_ceph_csi_made_is_served),
	  UNIT(whatever_the_order_of_deletion_nothing_is_left), UNIT(without_a_manager_too),
	  UNIT(what_is_in_use_stays_and_who_uses_it_is_named),
	  UNIT(snapshots_of_others_keep_an_image),
	  UNIT(what_a_killed_driver_still_has_open_is_asked_for_again),
	  UNIT(what_cannot_be_leaves_no_entry), UNIT(a_copy_that_was_flattened_tells_its_source),
	  UNIT(a_name_stands_for_one_source),
	  UNIT(what_is_whole_is_answered_when_its_source_is_gone), UNIT(copies_are_never_smaller),
	  UNIT(copies_of_copies_go_on_for_ever), UNIT(what_is_being_flattened_is_left_alone),
	  UNIT(without_a_manager_too_many_parents_are_an_end),
	  UNIT(an_image_has_so_many_snapshots_and_no_more),
	  UNIT(what_is_no_handle_is_no_volume_and_what_may_be_one_is_not_gone),
	  UNIT(bad_classes_are_refused_in_words),
	  UNIT(torn_entries_are_reported_and_never_overwritten),
	  UNIT(an_entry_without_its_image_is_damaged_and_its_name_is_free),
	  UNIT(the_context_tells_the_class_and_where_the_image_is),
	  UNIT(a_namespace_of_config_json_is_where_volumes_are),
	  UNIT(nothing_is_asked_before_a_call_needs_it_and_nothing_is_listed))
