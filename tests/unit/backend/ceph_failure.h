/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CEPH_FAILURE_H
#define TESTS_UNIT_BACKEND_CEPH_FAILURE_H

#include <errno.h>

/*
 * Each call to the cluster fails, loses its answer, or is the last that the process makes; then the
 * same operation is done again, whole. What is there is then what one that had no trouble makes,
 * and all of it can be deleted without a trace. Behind the header of a world.
 */
enum trouble { TROUBLE_FAIL, TROUBLE_LOSE, TROUBLE_KILL, TROUBLES };

/* What is there before, and what the operation needs of it. */
struct scene {
	struct world w;
	struct backend_volume volume; /* "source" */
	struct backend_snapshot snapshot;
	struct backend_volume made;
	struct backend_snapshot cut;
};

struct operation {
	bool has_volume, has_snapshot, has_copies;
	bool stays;   /* the snapshot, on its volume's image */
	bool is_gone; /* the volume, before the operation */
	int (*run)(struct scene *s);
	void (*check)(struct scene *s);
};

/* Of each world: what is there before; and all volumes and snapshots that have an entry deleted,
 * when whatever else is left is a leak. */
static void set_scene(struct scene *s, const struct operation *op);
static void delete_all(struct scene *s);

/* Of what the journal has under that name; NULL: nothing. kind: "volume", "snap". */
static inline const char *token_of(struct scene *s, int64_t pool, const char *ns, const char *kind,
				   const char *name)
{
	struct ceph_handle handle = { "c1", 1, "" };
	char *token = arena_alloc(s->w.ctx.arena, VOL_TOKEN_MAX);
	const char *uuid = fake_ceph_omap_get(
		pool, ns, str_is_equal(kind, "snap") ? "csi.snaps.default" : "csi.volumes.default",
		arena_printf(s->w.ctx.arena, "csi.%s.%s", kind, name));

	if (!uuid)
		return NULL;
	(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
	ceph_handle_format(&handle, token);
	return token;
}

static inline void delete_named(struct scene *s, int64_t pool, const char *ns)
{
	static const char *const volumes[] = { "made", "clone", "restored", "source" };
	static const char *const snapshots[] = { "cut", "snap" };
	const char *token;

	for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
		token = token_of(s, pool, ns, "volume", volumes[i]);
		if (token)
			ASSERT_OK(drop_volume(&s->w, token), &s->w.err);
	}
	for (size_t i = 0; i < ARRAY_LEN(snapshots); i++) {
		token = token_of(s, pool, ns, "snap", snapshots[i]);
		if (token)
			ASSERT_OK(drop_snapshot(&s->w, token), &s->w.err);
	}
}

static inline void begin_trouble(enum trouble trouble, unsigned n)
{
	if (trouble == TROUBLE_FAIL)
		fake_ceph_fail_at(n, EIO);
	else if (trouble == TROUBLE_LOSE)
		fake_ceph_lose_at(n);
	else
		fake_ceph_kill_at(n);
}

static inline bool run_one(const struct operation *op, enum trouble trouble, unsigned n)
{
	struct scene s = { 0 };
	bool came;

	set_scene(&s, op);
	begin_trouble(trouble, n);
	(void)op->run(&s);
	came = fake_ceph_trouble_came();
	fake_ceph_fail_at(0, 0);
	if (trouble == TROUBLE_KILL)
		world_kill(&s.w);
	ASSERT_OK(op->run(&s), &s.w.err);
	op->check(&s);
	delete_all(&s);
	world_end(&s.w);
	return came;
}

static inline void run_all(const struct operation *op)
{
	for (enum trouble trouble = 0; trouble < TROUBLES; trouble++) {
		unsigned n = 1;

		while (run_one(op, trouble, n))
			n++;
		ASSERT_TRUE(n > 3);
	}
}

#endif
