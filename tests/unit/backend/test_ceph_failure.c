/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's life of a volume, in which the n-th call into the cluster fails, loses its answer
 * after it was done, or is the first that a killed process does not make; for every n, and then
 * once more whole. There must be one UUID, one object and one key, and after forget none.
 */
#include <errno.h>

#include "base/str.h"
#include "ceph_journal.h"

#define POOL 1
#define N_CALLS_MAX 100

enum trouble { TROUBLE_FAIL, TROUBLE_LOSE, TROUBLE_KILL, TROUBLES };

static void ask(enum trouble trouble, unsigned n)
{
	switch (trouble) {
	case TROUBLE_FAIL:
		fake_ceph_fail_at(n, EIO);
		return;
	case TROUBLE_LOSE:
		fake_ceph_lose_at(n);
		return;
	case TROUBLE_KILL:
		fake_ceph_kill_at(n);
		return;
	case TROUBLES:
		return;
	}
}

static int make(struct process *p, char ret_uuid[UUID_TEXT_MAX])
{
	const struct ceph_reservation what = {
		.name = "pv", .prefix = "csi-vol-", .owner = "ns1", .pool_id = -1
	};
	struct ceph_entry e;

	if (ceph_journal_reserve(&p->journal, &p->ctx, &what, &e, &p->err) < 0)
		return -1;
	memcpy(ret_uuid, e.uuid, UUID_TEXT_MAX);
	return ceph_journal_set_image_id(&p->journal, &p->ctx, e.uuid, "1019430e8239", &p->err);
}

static int find_and_make(struct process *p)
{
	char uuid[UUID_TEXT_MAX];

	return make(p, uuid);
}

/* As DeleteVolume does: it knows the handle alone. */
static int forget(struct process *p, const char *uuid)
{
	struct ceph_entry e;

	if (ceph_journal_read(&p->journal, &p->ctx, uuid, &e, &p->err) < 0)
		return p->err.code == ERR_NOT_FOUND ? 0 : -1;
	return ceph_journal_forget(&p->journal, &p->ctx, uuid, "", &p->err);
}

static void assert_made(const char *uuid)
{
	char object[64];

	(void)snprintf(object, sizeof(object), "csi.volume.%s", uuid);
	ASSERT_EQ(fake_ceph_n_objects(POOL), 2);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 1);
	ASSERT_STR(str_or(fake_ceph_omap_get(POOL, "", "csi.volumes.default", "csi.volume.pv"), ""),
		   uuid);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", object), 4);
}

static void assert_gone(void)
{
	ASSERT_EQ(fake_ceph_n_objects(POOL), 1);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), 0);
}

/* Runs what has the trouble, which the process may not outlive. */
static bool suffer(struct process *p, enum trouble trouble, unsigned n,
		   int (*run)(struct process *p, const char *uuid), const char *uuid)
{
	bool came;

	process_start(p);
	ask(trouble, n);
	(void)run(p, uuid);
	came = fake_ceph_trouble_came();
	process_stop(p);
	fake_ceph_kill();
	ASSERT_EQ(fake_ceph_n_handles(), 0);
	return came;
}

static int run_make(struct process *p, const char *uuid)
{
	return find_and_make(p);
}

TEST(a_reservation_is_made_once_whatever_fails)
{
	for (enum trouble t = 0; t < TROUBLES; t++) {
		unsigned n = 0;
		bool came;

		do {
			char uuid[UUID_TEXT_MAX];
			struct process p;

			ASSERT_TRUE(++n < N_CALLS_MAX);
			fake_ceph_reset();
			came = suffer(&p, t, n, run_make, NULL);
			process_start(&p);
			ASSERT_OK(make(&p, uuid), &p.err);
			assert_made(uuid);
			ASSERT_OK(forget(&p, uuid), &p.err);
			assert_gone();
			process_stop(&p);
		} while (came);
		ASSERT_TRUE(n >= 5); /* two operations on the directory, two on the object */
	}
}

TEST(a_reservation_is_forgotten_whatever_fails)
{
	for (enum trouble t = 0; t < TROUBLES; t++) {
		unsigned n = 0;
		bool came;

		do {
			char uuid[UUID_TEXT_MAX];
			struct process p;

			ASSERT_TRUE(++n < N_CALLS_MAX);
			fake_ceph_reset();
			process_start(&p);
			ASSERT_OK(make(&p, uuid), &p.err);
			process_stop(&p);
			came = suffer(&p, t, n, forget, uuid);
			process_start(&p);
			ASSERT_OK(forget(&p, uuid), &p.err);
			assert_gone();
			process_stop(&p);
		} while (came);
		ASSERT_TRUE(n >= 5);
	}
}

/* Between the two of them there is one volume, with the same UUID for both. */
TEST(two_controllers_give_a_name_one_uuid)
{
	char a_uuid[UUID_TEXT_MAX], b_uuid[UUID_TEXT_MAX];

	for (unsigned n = 1; n < 6; n++) {
		struct process a, b;

		fake_ceph_reset();
		process_start(&a);
		process_start(&b);
		ask(TROUBLE_FAIL, n);
		(void)make(&a, a_uuid); /* this far */
		fake_ceph_fail_at(0, 0);
		ASSERT_OK(make(&b, b_uuid), &b.err);
		ASSERT_OK(make(&a, a_uuid), &a.err);
		ASSERT_STR(a_uuid, b_uuid);
		assert_made(a_uuid);
		process_stop(&a);
		process_stop(&b);
	}
}

RUN_TESTS(UNIT(a_reservation_is_made_once_whatever_fails),
	  UNIT(a_reservation_is_forgotten_whatever_fails),
	  UNIT(two_controllers_give_a_name_one_uuid))
