/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of an orphan, one by one: the objects that adoption makes, and what keeps one from
 * being deleted. */
#include "check.h"

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/orphan.h"
#include "fake/kube.h"
#include "fake/service.h"

#define UID "0b5e9d3c-5d5e-4c8e-9d6e-0a8f6f1d2c3b"
#define PV "/api/v1/persistentvolumes/pvc-" UID
#define CLAIM "/api/v1/namespaces/default/persistentvolumeclaims/data-0"
#define CONTENT "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/snapcontent-" UID
#define GROUP_CONTENT "volumegroupsnapshotcontents/groupsnapcontent-" UID

static struct csi_service service;
static struct ctx ctx;
static struct err err;
static const char *object;

static const struct orphan_look look = { .service = &service,
					 .driver = "pool.cleat.csi",
					 .timeout_ns = 1000 };

static struct orphan volume(struct strpair *context)
{
	static struct strpair segment = { "pool.cleat.csi/p", "here" };
	static const struct vol_topology place = { { &segment, 1 } };

	return (struct orphan){ .kind = ORPHAN_VOLUME,
				.id = "id-pvc-" UID,
				.name = "pvc-" UID,
				.uid = UID,
				.claim = "default/data-0",
				.source = "",
				.node = "",
				.bytes = 1 << 30,
				.context = { context, 1 },
				.places = { &place, 1 } };
}

static struct orphan snapshot(enum orphan_kind kind)
{
	static const char *const members[] = { "snap-1", "snap-2" };

	return (struct orphan){ .kind = kind,
				.id = "snap-snapshot-" UID,
				.name = "snapshot-" UID,
				.uid = UID,
				.claim = "",
				.source = "vol-1",
				.node = "",
				.members = { members, kind == ORPHAN_GROUP ? 2 : 0 } };
}

static void begin(void)
{
	fake_reset();
	fake_service_reset();
	service = fake_service_get();
	ctx_init(&ctx, 0);
}

static bool is_in(const char *path, const char *part)
{
	if (strstr(fake_text(path), part))
		return true;
	(void)fprintf(stderr, "no '%s' in:\n%s\n", part, fake_text(path));
	return false;
}

TEST(a_volume_is_adopted_by_a_pv_that_keeps_it)
{
	struct strpair fs = { "filesystem", "xfs" };
	struct orphan o = volume(&fs);
	const struct orphan_adoption how = { .ns = "default", .name = "data-1" };

	begin();
	ASSERT_OK(orphan_adopt(&look, &ctx, &o, &how, &object, &err), &err);
	ASSERT_STR(object, "pvc-" UID);
	ASSERT_TRUE(is_in(PV, "\"persistentVolumeReclaimPolicy\":\"Retain\""));
	ASSERT_TRUE(is_in(PV, "\"capacity\":{\"storage\":\"1Gi\"}"));
	ASSERT_TRUE(is_in(PV,
			  "\"csi\":{\"driver\":\"pool.cleat.csi\",\"volumeHandle\":\"id-pvc-" UID
			  "\",\"fsType\":\"xfs\",\"volumeAttributes\":{\"filesystem\":\"xfs\"}}"));
	ASSERT_TRUE(is_in(PV,
			  "\"claimRef\":{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\","
			  "\"namespace\":\"default\",\"name\":\"data-1\"}"));
	ASSERT_TRUE(is_in(PV, "\"values\":[\"here\"]"));
	ASSERT_TRUE(is_in(PV, "\"volumeMode\":\"Filesystem\",\"storageClassName\":\"\""));
	ASSERT_TRUE(is_in(PV, "\"pv.kubernetes.io/provisioned-by\":\"pool.cleat.csi\""));
	/* once */
	assert_int_equal(orphan_adopt(&look, &ctx, &o, &how, &object, &err), -1);
	ASSERT_EQ(err.code, ERR_ALREADY_EXISTS);
	ctx_done(&ctx);
}

TEST(a_volume_without_a_filesystem_is_adopted_as_a_device)
{
	struct strpair fs = { "filesystem", "none" };
	struct orphan o = volume(&fs);
	const struct orphan_adoption how = { .access_mode = "ReadWriteOncePod", .class_name = "c" };

	begin();
	ASSERT_OK(orphan_adopt(&look, &ctx, &o, &how, &object, &err), &err);
	ASSERT_TRUE(is_in(PV, "\"volumeMode\":\"Block\",\"storageClassName\":\"c\""));
	ASSERT_TRUE(is_in(PV, "\"accessModes\":[\"ReadWriteOncePod\"]"));
	ASSERT_TRUE(!strstr(fake_text(PV), "claimRef") && !strstr(fake_text(PV), "fsType"));
	ctx_done(&ctx);
}

TEST(snapshots_are_adopted_by_contents_that_keep_them)
{
	struct orphan one = snapshot(ORPHAN_SNAPSHOT), group = snapshot(ORPHAN_GROUP);
	const struct orphan_adoption none = { 0 }, how = { .ns = "default", .name = "back" };
	autofree char *path = NULL;

	begin();
	assert_int_equal(orphan_adopt(&look, &ctx, &one, &none, &object, &err), -1);
	ASSERT_EQ(err.code, ERR_INVALID_ARGUMENT);
	ASSERT_OK(orphan_adopt(&look, &ctx, &one, &how, &object, &err), &err);
	ASSERT_TRUE(is_in(CONTENT, "\"deletionPolicy\":\"Retain\",\"driver\":\"pool.cleat.csi\","
				   "\"source\":{\"snapshotHandle\":\"snap-snapshot-" UID "\"}"));
	ASSERT_TRUE(is_in(CONTENT, "\"kind\":\"VolumeSnapshot\",\"namespace\":\"default\","
				   "\"name\":\"back\"}"));
	ASSERT_OK(orphan_adopt(&look, &ctx, &group, &how, &object, &err), &err);
	path = xasprintf("/apis/%s/" GROUP_CONTENT, group_content_type.group_version);
	ASSERT_TRUE(is_in(path, "\"volumeGroupSnapshotHandle\":\"snap-snapshot-" UID
				"\",\"volumeSnapshotHandles\":[\"snap-1\",\"snap-2\"]"));
	ctx_done(&ctx);
}

static void put(const char *path, const char *kind, const char *uid)
{
	autofree char *text =
		xasprintf("{\"kind\":\"%s\",\"apiVersion\":\"v1\",\"metadata\":{"
			  "\"name\":\"%s\",\"namespace\":\"default\",\"uid\":\"%s\"}}",
			  kind, strrchr(path, '/') + 1, uid);

	fake_put(path, text);
}

/* As the first of a look. */
static int delete_it(const struct orphan *o)
{
	struct orphan_deletions d;
	int r;

	orphan_deletions_init(&d);
	r = orphan_delete(&look, &ctx, o, &d, &err);
	orphan_deletions_done(&d);
	return r;
}

static void expect_kept(const struct orphan *o, const char *why)
{
	assert_int_equal(delete_it(o), -1);
	ASSERT_EQ(err.code, ERR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, why));
	ASSERT_EQ(fake_service.n_volumes, 1);
}

TEST(what_has_got_an_object_or_is_in_use_is_not_deleted)
{
	struct strpair fs = { "filesystem", "xfs" };
	struct orphan o = volume(&fs), used = o;

	begin();
	fake_service_put_volume("pvc-" UID);
	used.node = "n1";
	expect_kept(&used, "in use on node 'n1'");
	put(PV, "PersistentVolume", "x");
	expect_kept(&o, "there is a PersistentVolume");
	fake_delete(PV);
	put(CLAIM, "PersistentVolumeClaim", UID);
	expect_kept(&o, "there is a PersistentVolumeClaim data-0");
	fake_delete(CLAIM);
	put(CLAIM, "PersistentVolumeClaim", "of another that has its name now");
	ASSERT_OK(delete_it(&o), &err);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_OK(delete_it(&o), &err);
	ctx_done(&ctx);
}

static void put_handle(const char *path, const char *kind, const char *spec)
{
	autofree char *text = xasprintf("{\"kind\":\"%s\",\"apiVersion\":\"v1\",\"metadata\":{"
					"\"name\":\"%s\"},\"spec\":{%s}}",
					kind, strrchr(path, '/') + 1, spec);

	fake_put(path, text);
}

#define BY_HAND "/api/v1/persistentvolumes/made-by-hand"
#define OF_CSI(driver, id) "\"csi\":{\"driver\":\"" driver "\",\"volumeHandle\":\"" id "\"}"

TEST(what_an_object_made_by_hand_names_is_not_deleted)
{
	struct strpair fs = { "filesystem", "xfs" };
	struct orphan o = volume(&fs);

	begin();
	fake_service_put_volume("pvc-" UID);
	put_handle(BY_HAND, "PersistentVolume", OF_CSI("pool.cleat.csi", "id-pvc-" UID));
	expect_kept(&o, "there is a PersistentVolume for it");
	put_handle(BY_HAND, "PersistentVolume", OF_CSI("another.driver", "id-pvc-" UID));
	ASSERT_OK(delete_it(&o), &err);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ctx_done(&ctx);
}

#define MEMBER_BY_HAND "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/made-by-hand"

TEST(a_group_or_snapshot_whose_content_was_made_by_hand_is_not_deleted)
{
	struct orphan one = snapshot(ORPHAN_SNAPSHOT), group = snapshot(ORPHAN_GROUP);

	begin();
	fake_service_put_volume("pvc-" UID);
	put_handle(MEMBER_BY_HAND, "VolumeSnapshotContent",
		   "\"driver\":\"pool.cleat.csi\",\"source\":{\"snapshotHandle\":\"snap-2\"}");
	expect_kept(&group, "there is a VolumeGroupSnapshotContent, or one of a member's, for it");
	put_handle(
		MEMBER_BY_HAND, "VolumeSnapshotContent",
		"\"driver\":\"pool.cleat.csi\",\"source\":{\"snapshotHandle\":\"snap-snapshot-" UID
		"\"}");
	expect_kept(&one, "there is a VolumeSnapshotContent for it");
	ctx_done(&ctx);
}

/* Without their kinds nothing can be said of snapshots. */
TEST(a_snapshot_is_not_deleted_while_the_api_server_has_no_contents)
{
	struct orphan one = snapshot(ORPHAN_SNAPSHOT), group = snapshot(ORPHAN_GROUP);

	begin();
	fake_absent("snapshot.storage.k8s.io");
	fake_service_put_snapshot("snapshot-" UID);
	assert_int_equal(delete_it(&one), -1);
	assert_int_equal(delete_it(&group), -1);
	ASSERT_EQ(fake_service.n_snapshots, 1);
	ctx_done(&ctx);
}

/* A list for each would be too much of them; a second later it is another. */
TEST(deletions_one_after_another_share_a_list_for_a_second)
{
	struct strpair fs = { "filesystem", "xfs" };
	struct orphan o = volume(&fs), second = o;
	struct orphan_deletions d;
	unsigned n;

	begin();
	second.id = "id-pvc-second";
	second.name = "pvc-second";
	second.claim = "";
	orphan_deletions_init(&d);
	ASSERT_OK(orphan_delete(&look, &ctx, &o, &d, &err), &err);
	fake_set_plan((struct fake_plan){ 0 });
	ASSERT_OK(orphan_delete(&look, &ctx, &second, &d, &err), &err);
	n = fake_steps();
	ASSERT_EQ(n, 2); /* is there a PV of its name, and the call */
	put_handle(BY_HAND, "PersistentVolume", OF_CSI("pool.cleat.csi", "id-pvc-second"));
	clock_fake_advance(NS_PER_S);
	assert_int_equal(orphan_delete(&look, &ctx, &second, &d, &err), -1);
	ASSERT_EQ(err.code, ERR_FAILED_PRECONDITION);
	ASSERT_EQ(fake_service.n_deleted, 0); /* the driver had none of either */
	orphan_deletions_done(&d);
	ctx_done(&ctx);
}

RUN_TESTS(UNIT(a_volume_is_adopted_by_a_pv_that_keeps_it),
	  UNIT(a_volume_without_a_filesystem_is_adopted_as_a_device),
	  UNIT(snapshots_are_adopted_by_contents_that_keep_them),
	  UNIT(what_has_got_an_object_or_is_in_use_is_not_deleted),
	  UNIT(what_an_object_made_by_hand_names_is_not_deleted),
	  UNIT(a_group_or_snapshot_whose_content_was_made_by_hand_is_not_deleted),
	  UNIT(a_snapshot_is_not_deleted_while_the_api_server_has_no_contents),
	  UNIT(deletions_one_after_another_share_a_list_for_a_second))
