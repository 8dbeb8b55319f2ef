/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal against the bytes that ceph-csi 3.12 wrote on a real cluster, laid down key by key
 * and taken over, and written and compared key by key.
 */
#include "base/mem.h"
#include "base/str.h"
#include "ceph_journal.h"

#define POOL 1
#define UUID "ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define SNAP_UUID "8a46b2d4-2c94-44fe-b220-211d3d900cae"

static void begin(struct process *p)
{
	fake_ceph_reset();
	process_start(p);
}

static void end(struct process *p)
{
	process_stop(p);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

static void put(const char *object, const char *key, const char *value)
{
	fake_ceph_omap_set(POOL, "", object, key, value);
}

static const char *get(const char *object, const char *key)
{
	return str_or(fake_ceph_omap_get(POOL, "", object, key), "(absent)");
}

/* As ceph-csi left a volume. */
static void lay_volume(void)
{
	put("csi.volumes.default", "csi.volume.pv-t-000", UUID);
	put("csi.volume." UUID, "csi.volname", "pv-t-000");
	put("csi.volume." UUID, "csi.imagename", "csi-vol-" UUID);
	put("csi.volume." UUID, "csi.imageid", "1019430e8239");
	put("csi.volume." UUID, "csi.volume.owner", "ns1");
}

static int reserve(struct process *p, const char *name, struct ceph_entry *ret_entry)
{
	const struct ceph_reservation what = {
		.name = name, .prefix = "csi-vol-", .owner = "ns1", .pool_id = -1
	};

	return ceph_journal_reserve(&p->journal, &p->ctx, &what, ret_entry, &p->err);
}

TEST(a_volume_of_ceph_csi_is_found_by_name_and_by_uuid)
{
	struct ceph_entry by_name, by_uuid;
	struct process p;

	begin(&p);
	lay_volume();
	ASSERT_OK(ceph_journal_find(&p.journal, &p.ctx, "pv-t-000", &by_name, &p.err), &p.err);
	ASSERT_OK(ceph_journal_read(&p.journal, &p.ctx, UUID, &by_uuid, &p.err), &p.err);
	for (const struct ceph_entry *e = &by_name; e; e = e == &by_name ? &by_uuid : NULL) {
		ASSERT_STR(e->uuid, UUID);
		ASSERT_STR(e->name, "pv-t-000");
		ASSERT_STR(e->image, "csi-vol-" UUID);
		ASSERT_STR(e->image_id, "1019430e8239");
		ASSERT_STR(e->owner, "ns1");
		ASSERT_STR(e->source, "");
		ASSERT_EQ(e->pool_id, -1);
	}
	ASSERT_ERR(ceph_journal_find(&p.journal, &p.ctx, "pv-t", &by_name, &p.err), &p.err,
		   ERR_NOT_FOUND, "'pv-t'");
	ASSERT_ERR(ceph_journal_read(&p.journal, &p.ctx, SNAP_UUID, &by_uuid, &p.err), &p.err,
		   ERR_NOT_FOUND, "csi.volume." SNAP_UUID);
	end(&p);
}

TEST(what_is_there_is_reserved_as_it_is)
{
	struct ceph_entry e;
	struct process p;

	begin(&p);
	lay_volume();
	ASSERT_OK(reserve(&p, "pv-t-000", &e), &p.err);
	ASSERT_STR(e.uuid, UUID);
	ASSERT_STR(e.image_id, "1019430e8239");
	ASSERT_EQ(fake_ceph_n_objects(POOL), 2);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 1);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volume." UUID), 4);
	end(&p);
}

TEST(a_volume_is_written_as_ceph_csi_writes_it)
{
	char object[64], image[64];
	struct ceph_entry e;
	struct process p;

	begin(&p);
	ASSERT_OK(reserve(&p, "pv-t-001", &e), &p.err);
	(void)snprintf(object, sizeof(object), "csi.volume.%s", e.uuid);
	(void)snprintf(image, sizeof(image), "csi-vol-%s", e.uuid);
	ASSERT_STR(get("csi.volumes.default", "csi.volume.pv-t-001"), e.uuid);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 3);
	ASSERT_STR(get(object, "csi.volname"), "pv-t-001");
	ASSERT_STR(get(object, "csi.imagename"), image);
	ASSERT_STR(get(object, "csi.volume.owner"), "ns1");
	ASSERT_STR(e.image, image);
	ASSERT_STR(e.image_id, "");

	ASSERT_OK(ceph_journal_set_image_id(&p.journal, &p.ctx, e.uuid, "1019430e8239", &p.err),
		  &p.err);
	ASSERT_STR(get(object, "csi.imageid"), "1019430e8239");
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 4);

	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, e.uuid, "", &p.err), &p.err);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, e.uuid, "", &p.err), &p.err);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", object));
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 0);
	end(&p);
}

TEST(a_snapshot_is_written_as_ceph_csi_writes_it)
{
	const struct ceph_reservation what = { .name = "snapshot-t-000",
					       .prefix = "csi-snap-",
					       .source = "csi-vol-" UUID,
					       .owner = "ns1",
					       .pool_id = -1 };
	struct ceph_entry e, back;
	char object[64];
	struct process p;

	begin(&p);
	p.journal.kind = CEPH_JOURNAL_SNAPSHOTS;
	ASSERT_OK(ceph_journal_reserve(&p.journal, &p.ctx, &what, &e, &p.err), &p.err);
	(void)snprintf(object, sizeof(object), "csi.snap.%s", e.uuid);
	ASSERT_STR(get("csi.snaps.default", "csi.snap.snapshot-t-000"), e.uuid);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 4);
	ASSERT_STR(get(object, "csi.snapname"), "snapshot-t-000");
	ASSERT_STR(get(object, "csi.source"), "csi-vol-" UUID);
	ASSERT_STR(get(object, "csi.volume.owner"), "ns1");
	ASSERT_TRUE(str_has_prefix(get(object, "csi.imagename"), "csi-snap-"));
	ASSERT_OK(ceph_journal_read(&p.journal, &p.ctx, e.uuid, &back, &p.err), &p.err);
	ASSERT_STR(back.source, "csi-vol-" UUID);
	end(&p);
}

TEST(an_instance_and_a_namespace_are_its_own)
{
	struct ceph_entry e;
	struct process p;

	begin(&p);
	p.journal.instance = "b";
	fake_ceph_lib()->rados_ioctx_set_namespace(p.journal.io, "team");
	ASSERT_OK(reserve(&p, "pv", &e), &p.err);
	ASSERT_STR(str_or(fake_ceph_omap_get(POOL, "team", "csi.volumes.b", "csi.volume.pv"), ""),
		   e.uuid);
	p.journal.instance = "";
	ASSERT_ERR(ceph_journal_find(&p.journal, &p.ctx, "pv", &e, &p.err), &p.err, ERR_NOT_FOUND,
		   "'pv'");
	end(&p);
}

/* The directory in one pool, image and object in another. */
TEST(an_image_may_be_in_another_pool_than_its_name)
{
	struct ceph_reservation what = { .name = "pv", .prefix = "csi-vol-" };
	struct ceph_entry e, back;
	char object[64], held[64];
	struct process p;

	begin(&p);
	what.pool_id = fake_ceph_add_pool(FAKE_CEPH_MONITORS, "images");
	ASSERT_OK(ceph_journal_reserve(&p.journal, &p.ctx, &what, &e, &p.err), &p.err);
	(void)snprintf(object, sizeof(object), "csi.volume.%s", e.uuid);
	(void)snprintf(held, sizeof(held), "0000000000000002/%s", e.uuid);
	ASSERT_EQ(e.pool_id, 2);
	ASSERT_STR(get("csi.volumes.default", "csi.volume.pv"), held);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", object));
	ASSERT_STR(str_or(fake_ceph_omap_get(2, "", object, "csi.journalpool"), ""),
		   "0000000000000001");
	ASSERT_OK(ceph_journal_find(&p.journal, &p.ctx, "pv", &back, &p.err), &p.err);
	ASSERT_STR(back.image, e.image);

	fake_ceph_lib()->rados_ioctx_destroy(p.journal.io);
	ASSERT_OK(ceph_conn_open_pool(p.conn, "images", "", &p.journal.io, &p.err), &p.err);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, e.uuid, "", &p.err), &p.err);
	ASSERT_EQ(fake_ceph_n_objects(2), 0);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 0);
	end(&p);
}

TEST(a_torn_entry_is_completed)
{
	struct ceph_entry e;
	struct process p;

	begin(&p);
	put("csi.volumes.default", "csi.volume.pv-t-000", UUID);
	ASSERT_OK(ceph_journal_find(&p.journal, &p.ctx, "pv-t-000", &e, &p.err), &p.err);
	ASSERT_STR(e.uuid, UUID);
	ASSERT_STR(e.name, "");
	ASSERT_STR(e.image, "");
	ASSERT_OK(reserve(&p, "pv-t-000", &e), &p.err);
	ASSERT_STR(e.uuid, UUID);
	ASSERT_STR(get("csi.volume." UUID, "csi.volname"), "pv-t-000");
	ASSERT_STR(get("csi.volume." UUID, "csi.imagename"), "csi-vol-" UUID);
	end(&p);
}

TEST(a_torn_object_keeps_what_it_has)
{
	struct ceph_entry e;
	struct process p;

	begin(&p);
	put("csi.volumes.default", "csi.volume.pv-t-000", UUID);
	put("csi.volume." UUID, "csi.imagename", "other-" UUID);
	ASSERT_OK(reserve(&p, "pv-t-000", &e), &p.err);
	ASSERT_STR(e.image, "other-" UUID);
	ASSERT_STR(get("csi.volume." UUID, "csi.imagename"), "other-" UUID);
	ASSERT_STR(get("csi.volume." UUID, "csi.volname"), "pv-t-000");
	end(&p);
}

TEST(an_object_of_another_name_is_not_touched)
{
	struct ceph_entry e;
	struct process p;

	begin(&p);
	lay_volume();
	put("csi.volumes.default", "csi.volume.thief", UUID);
	ASSERT_ERR(reserve(&p, "thief", &e), &p.err, ERR_FAILED_PRECONDITION, "'pv-t-000'");
	ASSERT_ERR(ceph_journal_find(&p.journal, &p.ctx, "thief", &e, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "'thief'");
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volume." UUID), 4);
	ASSERT_STR(get("csi.volume." UUID, "csi.volname"), "pv-t-000");
	end(&p);
}

TEST(what_is_no_uuid_is_refused_and_kept)
{
	static const char *const texts[] = { "x", "EF8BEE5A-62a9-41fa-88f5-f0784edfb316", "2/" UUID,
					     UUID " ", "000000000000000g/" UUID };
	struct ceph_entry e;
	struct process p;

	begin(&p);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		put("csi.volumes.default", "csi.volume.pv", texts[i]);
		ASSERT_ERR(reserve(&p, "pv", &e), &p.err, ERR_FAILED_PRECONDITION, texts[i]);
		ASSERT_STR(get("csi.volumes.default", "csi.volume.pv"), texts[i]);
	}
	ASSERT_EQ(fake_ceph_n_objects(POOL), 1);
	end(&p);
}

TEST(forgetting_leaves_what_another_uuid_has)
{
	struct process p;

	begin(&p);
	lay_volume();
	put("csi.volumes.default", "csi.volume.pv-t-000", SNAP_UUID);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, UUID, "pv-t-000", &p.err), &p.err);
	ASSERT_STR(get("csi.volumes.default", "csi.volume.pv-t-000"), SNAP_UUID);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", "csi.volume." UUID));
	end(&p);
}

/* ceph-csi died between object and key, so that the object does not know its name: the caller's
 * word helps; without it the object goes at least. */
TEST(a_nameless_object_can_be_forgotten)
{
	struct process p;

	begin(&p);
	put("csi.volume." UUID, "csi.imagename", "csi-vol-" UUID);
	put("csi.volumes.default", "csi.volume.pv-t-000", UUID);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, UUID, "pv-t-000", &p.err), &p.err);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 0);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", "csi.volume." UUID));
	put("csi.volume." UUID, "csi.imagename", "csi-vol-" UUID);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, UUID, "", &p.err), &p.err);
	ASSERT_FALSE(fake_ceph_has_object(POOL, "", "csi.volume." UUID));
	end(&p);
}

TEST(an_image_id_is_not_given_to_what_is_gone)
{
	struct process p;

	begin(&p);
	ASSERT_ERR(ceph_journal_set_image_id(&p.journal, &p.ctx, UUID, "1", &p.err), &p.err,
		   ERR_NOT_FOUND, "csi.volume." UUID);
	ASSERT_EQ(fake_ceph_n_objects(POOL), 0);
	end(&p);
}

struct seen {
	size_t n, n_odd, stop_at;
	bool is_sorted;
	char last[64];
};

static int see(void *arg, const char *name, const char *uuid)
{
	struct seen *s = arg;

	s->is_sorted &= strcmp(s->last, name) < 0;
	(void)snprintf(s->last, sizeof(s->last), "%s", name);
	s->n_odd += !str_is_equal(uuid, UUID);
	return ++s->n == s->stop_at;
}

TEST(each_name_is_told_once)
{
	struct seen all = { .is_sorted = true }, some = { .stop_at = 600 };
	char key[64];
	struct process p;

	begin(&p);
	ASSERT_OK(ceph_journal_each(&p.journal, &p.ctx, see, &all, &p.err), &p.err);
	ASSERT_EQ(all.n, 0);
	for (unsigned i = 0; i < 1300; i++) {
		(void)snprintf(key, sizeof(key), "csi.volume.pv-%04u", i);
		put("csi.volumes.default", key, i == 7 ? "0000000000000002/" UUID : UUID);
	}
	put("csi.volumes.default", "csi.volume.odd", "junk");
	put("csi.volumes.default", "something else", UUID);
	ASSERT_OK(ceph_journal_each(&p.journal, &p.ctx, see, &all, &p.err), &p.err);
	ASSERT_EQ(all.n, 1301);
	ASSERT_EQ(all.n_odd, 1);
	ASSERT_TRUE(all.is_sorted);
	ASSERT_OK(ceph_journal_each(&p.journal, &p.ctx, see, &some, &p.err), &p.err);
	ASSERT_EQ(some.n, 600);
	end(&p);
}

TEST(a_cancelled_call_changes_nothing)
{
	struct ceph_entry e;
	struct process p;
	unsigned n;

	begin(&p);
	lay_volume();
	n = fake_ceph_n_calls();
	ctx_cancel(&p.ctx);
	ASSERT_ERR(reserve(&p, "pv", &e), &p.err, ERR_CANCELLED, "");
	ASSERT_ERR(ceph_journal_forget(&p.journal, &p.ctx, UUID, "", &p.err), &p.err, ERR_CANCELLED,
		   "");
	ASSERT_EQ(fake_ceph_n_calls(), n);
	end(&p);
}

RUN_TESTS(UNIT(a_volume_of_ceph_csi_is_found_by_name_and_by_uuid),
	  UNIT(what_is_there_is_reserved_as_it_is), UNIT(a_volume_is_written_as_ceph_csi_writes_it),
	  UNIT(a_snapshot_is_written_as_ceph_csi_writes_it),
	  UNIT(an_instance_and_a_namespace_are_its_own),
	  UNIT(an_image_may_be_in_another_pool_than_its_name), UNIT(a_torn_entry_is_completed),
	  UNIT(a_torn_object_keeps_what_it_has), UNIT(an_object_of_another_name_is_not_touched),
	  UNIT(what_is_no_uuid_is_refused_and_kept), UNIT(forgetting_leaves_what_another_uuid_has),
	  UNIT(a_nameless_object_can_be_forgotten), UNIT(an_image_id_is_not_given_to_what_is_gone),
	  UNIT(each_name_is_told_once), UNIT(a_cancelled_call_changes_nothing))
