/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool that is full or at its quota: what takes room is refused at once and says so, what frees
 * room is done, and nothing is taken for gone that is not.
 */
#include "backend/rbd/image.h"
#include "ceph_journal.h"

#define POOL 1

static int reserve(struct process *p, const char *name, struct ceph_entry *ret_entry)
{
	const struct ceph_reservation what = { .name = name, .prefix = "csi-vol-", .pool_id = -1 };

	return ceph_journal_reserve(&p->journal, &p->ctx, &what, ret_entry, &p->err);
}

TEST(names_are_refused_and_forgotten)
{
	struct ceph_entry old, more;
	struct process p;

	fake_ceph_reset();
	process_start(&p);
	ASSERT_OK(reserve(&p, "old", &old), &p.err);
	fake_ceph_set_full(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(reserve(&p, "more", &more), &p.err, ERR_RESOURCE_EXHAUSTED, "full");
	ASSERT_OK(reserve(&p, "old", &more), &p.err);
	ASSERT_OK(ceph_journal_set_image_id(&p.journal, &p.ctx, old.uuid, "1", &p.err), &p.err);
	ASSERT_OK(ceph_journal_forget(&p.journal, &p.ctx, old.uuid, "", &p.err), &p.err);
	fake_ceph_set_full(FAKE_CEPH_MONITORS, false);
	ASSERT_OK(reserve(&p, "more", &more), &p.err);
	ASSERT_EQ(fake_ceph_n_objects(POOL), 2);
	process_stop(&p);
}

static int create(struct process *p, const char *name)
{
	const struct ceph_lib *lib = fake_ceph_lib();
	rbd_image_options_t o;
	int rc;

	lib->rbd_image_options_create(&o);
	rc = lib->rbd_create4(p->journal.io, name, 1 << 20, o);
	lib->rbd_image_options_destroy(o);
	return rc;
}

/* librbd answers ENOENT where it cannot make the pool's first trash. */
TEST(an_image_that_cannot_go_to_the_trash_is_not_taken_for_gone)
{
	struct image_place place = { .lib = fake_ceph_lib(), .pool_id = POOL };
	struct process p;

	fake_ceph_reset();
	process_start(&p);
	place.ctx = &p.ctx;
	place.conn = p.conn;
	place.io = p.journal.io;
	place.cluster.rados_namespace = "";
	ASSERT_EQ(create(&p, "a"), 0);
	ASSERT_EQ(create(&p, "b"), 0);
	fake_ceph_set_full(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(image_discard(&place, "a", &p.err), &p.err, ERR_RESOURCE_EXHAUSTED, "'rbd/a'");
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", "a"));
	fake_ceph_set_full(FAKE_CEPH_MONITORS, false);
	ASSERT_OK(image_discard(&place, "a", &p.err), &p.err);
	fake_ceph_set_full(FAKE_CEPH_MONITORS, true);
	ASSERT_OK(image_discard(&place, "b", &p.err), &p.err);
	ASSERT_EQ(fake_ceph_n_images(POOL), 0);
	process_stop(&p);
}

RUN_TESTS(UNIT(names_are_refused_and_forgotten),
	  UNIT(an_image_that_cannot_go_to_the_trash_is_not_taken_for_gone))
