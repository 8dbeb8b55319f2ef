/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row for each object that has an operation under way:
 *
 *   not ready ─► Create… and Create…AndReady ── made, ready ────► success
 *                    └─ deleted before that, or gone ───────────► cancel
 *   deleted, and held ─► Delete… ── let go of, or gone ─────────► success
 */
#include "control/snapshot_ops.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "event/sync.h"

enum op { OP_CREATE, OP_READY, OP_DELETE, OP_COUNT };

struct row {
	char *uid;
	char *driver;
	bool is_dynamic;
	int64_t begun_ns[OP_COUNT]; /* 0: not under way */
};

struct snapshot_ops {
	pthread_mutex_t lock; /* all below */
	struct map *rows;     /* by kind and key */
	unsigned n_begun;
	bool is_open;
};

static const char *const names[][OP_COUNT] = {
	[SNAPSHOT_OPS_SNAPSHOT] = { "CreateSnapshot", "CreateSnapshotAndReady", "DeleteSnapshot" },
	[SNAPSHOT_OPS_GROUP] = { "CreateGroupSnapshot", "CreateGroupSnapshotAndReady",
				 "DeleteGroupSnapshot" },
};

struct snapshot_ops *snapshot_ops_new(void)
{
	struct snapshot_ops *o = xcalloc(1, sizeof(*o));

	pthread_mutex_init(&o->lock, NULL);
	o->rows = map_new();
	metric_set(METRIC_SNAPSHOTS_IN_FLIGHT, 0, NULL);
	return o;
}

static void free_row(struct row *row)
{
	if (!row)
		return;
	free(row->uid);
	free(row->driver);
	free(row);
}

/* Under the lock, as all that follow. */
static void begin(struct snapshot_ops *o, struct row *row, enum op op)
{
	if (row->begun_ns[op])
		return;
	row->begun_ns[op] = clock_now_ns();
	o->n_begun++;
}

static void end(struct snapshot_ops *o, enum snapshot_ops_kind kind, struct row *row, enum op op,
		const char *status)
{
	if (!row->begun_ns[op])
		return;
	metric_observe(METRIC_SNAPSHOT_OPERATIONS,
		       (double)(clock_now_ns() - row->begun_ns[op]) / (double)NS_PER_S,
		       METRIC_ARGS(str_or(row->driver, "unknown"), names[kind][op],
				   row->is_dynamic ? "dynamic" : "pre-provisioned", status));
	row->begun_ns[op] = 0;
	o->n_begun--;
}

static void cancel(struct snapshot_ops *o, enum snapshot_ops_kind kind, struct row *row)
{
	end(o, kind, row, OP_CREATE, "cancel");
	end(o, kind, row, OP_READY, "cancel");
}

static void look_at(struct snapshot_ops *o, enum snapshot_ops_kind kind, struct row *row,
		    const struct snapshot_seen *seen)
{
	if (*seen->driver && !str_is_equal(row->driver, seen->driver)) {
		free(row->driver);
		row->driver = xstrdup(seen->driver);
	}
	row->is_dynamic = seen->is_dynamic;
	if (seen->is_deleting) {
		cancel(o, kind, row);
		if (seen->is_let_go)
			end(o, kind, row, OP_DELETE, "success");
		else
			begin(o, row, OP_DELETE);
		return;
	}
	if (seen->is_created || seen->is_ready)
		end(o, kind, row, OP_CREATE, "success");
	else
		begin(o, row, OP_CREATE);
	if (seen->is_ready)
		end(o, kind, row, OP_READY, "success");
	else
		begin(o, row, OP_READY);
}

static bool is_idle(const struct row *row)
{
	return !row->begun_ns[OP_CREATE] && !row->begun_ns[OP_READY] && !row->begun_ns[OP_DELETE];
}

/* Of a namesake nothing is known. */
static struct row *row_of(struct snapshot_ops *o, enum snapshot_ops_kind kind, const char *key,
			  const struct snapshot_seen *seen)
{
	struct row *row = map_take(o->rows, key);

	if (row && (!seen || !str_is_equal(row->uid, seen->uid))) {
		cancel(o, kind, row);
		end(o, kind, row, OP_DELETE, "success");
		free_row(row);
		row = NULL;
	}
	if (!row && seen) {
		row = xcalloc(1, sizeof(*row));
		row->uid = xstrdup(seen->uid);
	}
	return row;
}

void snapshot_ops_look(struct snapshot_ops *o, enum snapshot_ops_kind kind, const char *key,
		       const struct snapshot_seen *seen)
{
	autofree char *name = xasprintf("%d/%s", kind, key);
	LOCK_SCOPE(&o->lock);
	struct row *row;

	if (!o->is_open)
		return;
	row = row_of(o, kind, name, seen);
	if (row)
		look_at(o, kind, row, seen);
	if (row && !is_idle(row))
		(void)map_put(o->rows, name, row);
	else
		free_row(row);
	metric_set(METRIC_SNAPSHOTS_IN_FLIGHT, o->n_begun, NULL);
}

void snapshot_ops_open(struct snapshot_ops *o)
{
	LOCK_SCOPE(&o->lock);

	o->is_open = true;
}

void snapshot_ops_close(struct snapshot_ops *o)
{
	LOCK_SCOPE(&o->lock);
	const char *key;
	void *row;

	for (size_t it = 0; map_next(o->rows, &it, &key, &row);)
		free_row(row);
	map_free(o->rows);
	o->rows = map_new();
	o->n_begun = 0;
	o->is_open = false;
	metric_set(METRIC_SNAPSHOTS_IN_FLIGHT, 0, NULL);
}

void snapshot_ops_free(struct snapshot_ops *o)
{
	if (!o)
		return;
	snapshot_ops_close(o);
	map_free(o->rows);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
