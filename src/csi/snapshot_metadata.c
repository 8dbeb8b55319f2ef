/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SnapshotMetadata: which ranges of a snapshot hold data, and which differ from an older one.
 *
 * Some thousands of ranges are fetched from the backend, then sent, then the next ones fetched from
 * where these ended. So while a reader is slow nothing is in memory but those, and nothing of the
 * pool is in use: snapshots can be deleted, and a pool that died can be let go of. After each fetch
 * it is asked whether the snapshots still are the ones that they were, as another may have got the
 * name of one that was deleted. If one is gone the stream ends with NOT_FOUND; what was sent before
 * is true.
 *
 * A message goes out also where there is no range at all: it has the size of the volume.
 */
#include "base/mem.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"

/* Some 13 bytes each on the wire. */
#define BATCH_RANGES 2048u

/* A snapshot that is told of, and the request's field that names it. */
struct told {
	const char *field;
	const char *id;
	const struct secrets *secrets;
	struct csi_ref ref;
	struct backend_snapshot snap; /* as it was in the beginning */
};

/* A stream that is under way. */
struct telling {
	const struct told *base; /* NULL: what is allocated */
	const struct told *target;
	struct csi_stream *out;
	int (*send)(const struct telling *t, const struct csi_block_metadata *ranges, size_t n,
		    struct err *err);
	size_t max;                        /* ranges in a message */
	size_t n;                          /* fetched */
	struct csi_block_metadata *ranges; /* BATCH_RANGES */
};

static int send_allocated(const struct telling *t, const struct csi_block_metadata *ranges,
			  size_t n, struct err *err)
{
	const struct csi_get_metadata_allocated_response message = {
		.block_metadata_type = CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH,
		.volume_capacity_bytes = t->target->snap.bytes,
		.block_metadata = ranges,
		.n_block_metadata = n,
	};

	return csi_get_metadata_allocated_send(t->out, &message, err);
}

static int send_delta(const struct telling *t, const struct csi_block_metadata *ranges, size_t n,
		      struct err *err)
{
	const struct csi_get_metadata_delta_response message = {
		.block_metadata_type = CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH,
		.volume_capacity_bytes = t->target->snap.bytes,
		.block_metadata = ranges,
		.n_block_metadata = n,
	};

	return csi_get_metadata_delta_send(t->out, &message, err);
}

static int collect(void *arg, const struct backend_range *range)
{
	struct telling *t = arg;

	t->ranges[t->n++] = (struct csi_block_metadata){ range->offset, range->bytes };
	return t->n == BATCH_RANGES;
}

static int check_still_there(struct ctx *ctx, const struct told *told, struct err *err)
{
	struct backend_snapshot now;

	if (!told)
		return 0;
	if (backend_snapshot_stat(told->ref.pool, ctx, told->ref.token, told->secrets, &now, err) <
	    0)
		return err_wrap(err, "%s", told->field);
	if (now.created_ns == told->snap.created_ns)
		return 0;
	return err_set(err, ERR_NOT_FOUND,
		       "%s: snapshot '%s' was deleted, and another got its name", told->field,
		       told->id);
}

static int fetch(struct telling *t, struct ctx *ctx, uint64_t from, struct err *err)
{
	const struct csi_ref *target = &t->target->ref;
	int rc;

	t->n = 0;
	if (t->base)
		rc = backend_changed(target->pool, ctx, t->base->ref.token, target->token,
				     t->target->secrets, from, collect, t, err);
	else
		rc = backend_allocated(target->pool, ctx, target->token, t->target->secrets, from,
				       collect, t, err);
	if (rc < 0 || check_still_there(ctx, t->base, err) < 0)
		return -1;
	return check_still_there(ctx, t->target, err);
}

static int send_batch(const struct telling *t, struct err *err)
{
	for (size_t i = 0; i < t->n; i += t->max) {
		size_t n = t->n - i < t->max ? t->n - i : t->max;

		if (t->send(t, t->ranges + i, n, err) < 0)
			return -1;
	}
	return 0;
}

static int tell_all(struct telling *t, struct ctx *ctx, uint64_t from, struct err *err)
{
	bool is_first = true;

	do {
		if (fetch(t, ctx, from, err) < 0) {
			if (!is_first && err->code == ERR_NOT_FOUND)
				return err_wrap(err, "deleted meanwhile, what was told is true");
			return -1;
		}
		if (is_first && t->n == 0)
			return t->send(t, NULL, 0, err);
		if (send_batch(t, err) < 0)
			return -1;
		if (t->n > 0)
			from = t->ranges[t->n - 1].byte_offset + t->ranges[t->n - 1].size_bytes;
		is_first = false;
	} while (t->n == BATCH_RANGES);
	return 0;
}

static int tell(struct ctx *ctx, const struct telling *what, int64_t offset, uint32_t max_results,
		struct err *err)
{
	autofree struct csi_block_metadata *ranges = xcalloc(BATCH_RANGES, sizeof(*ranges));
	struct telling t = *what;

	t.ranges = ranges;
	t.max = max_results && max_results < BATCH_RANGES ? max_results : BATCH_RANGES;
	return tell_all(&t, ctx, (uint64_t)offset, err);
}

static int check_offset(int64_t offset, struct err *err)
{
	if (offset < 0)
		return err_set(err, ERR_OUT_OF_RANGE, "starting_offset: %lld is negative",
			       (long long)offset);
	return 0;
}

/* The end itself is where a reader goes on who has had all. */
static int check_end(int64_t offset, const struct backend_snapshot *snap, struct err *err)
{
	if ((uint64_t)offset <= snap->bytes)
		return 0;
	return err_set(err, ERR_OUT_OF_RANGE,
		       "starting_offset: %lld is beyond the volume, which had %llu bytes",
		       (long long)offset, (unsigned long long)snap->bytes);
}

/* A snapshot that can be looked into. */
static int find(struct csi_driver *d, struct ctx *ctx, struct told *told, struct err *err)
{
	const struct csi_ref *ref = &told->ref;

	if (driver_find_snapshot(d, ctx, told->id, told->secrets, &told->ref, &told->snap, err) < 0)
		return err_wrap(err, "%s", told->field);
	if (!(ref->pool->caps & BACKEND_CHANGED_BLOCKS))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%s: snapshot '%s' is in pool '%s' (%s), which cannot tell what is "
			       "in a snapshot",
			       told->field, told->id, ref->pool->pool_name, ref->pool->ops->name);
	if (told->snap.is_damaged)
		return err_set(err, ERR_DATA_LOSS, "%s: snapshot '%s' in pool '%s' is damaged: %s",
			       told->field, told->id, ref->pool->pool_name, told->snap.damage);
	if (!told->snap.is_ready)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%s: snapshot '%s' is not ready to use yet, it is being copied; try "
			       "again when it is",
			       told->field, told->id);
	return 0;
}

int driver_get_metadata_allocated(void *impl, struct ctx *ctx,
				  const struct csi_get_metadata_allocated_request *req,
				  struct csi_stream *out, struct err *err)
{
	struct told target = { .field = "snapshot_id",
			       .id = req->snapshot_id,
			       .secrets = &req->secrets };
	const struct telling what = { .target = &target, .out = out, .send = send_allocated };

	if (fields_check(&csi_get_metadata_allocated_request_type, req, err) < 0 ||
	    check_offset(req->starting_offset, err) < 0 || find(impl, ctx, &target, err) < 0 ||
	    check_end(req->starting_offset, &target.snap, err) < 0)
		return -1;
	return tell(ctx, &what, req->starting_offset, req->max_results, err);
}

static int check_pair(struct arena *a, const struct told *base, const struct told *target,
		      struct err *err)
{
	if (base->ref.pool != target->ref.pool ||
	    !str_is_equal(base->snap.source, target->snap.source))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"base_snapshot_id: snapshot '%s' is of volume '%s', "
			"target_snapshot_id '%s' of volume '%s'; only snapshots of one "
			"volume can be compared",
			base->id,
			driver_format_id(a, base->ref.pool, VOL_KIND_VOLUME, base->snap.source),
			target->id,
			driver_format_id(a, target->ref.pool, VOL_KIND_VOLUME,
					 target->snap.source));
	if (base->snap.created_ns > target->snap.created_ns)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "base_snapshot_id: snapshot '%s' is newer than target_snapshot_id "
			       "'%s'; the base is the older one",
			       base->id, target->id);
	return 0;
}

int driver_get_metadata_delta(void *impl, struct ctx *ctx,
			      const struct csi_get_metadata_delta_request *req,
			      struct csi_stream *out, struct err *err)
{
	struct told base = { .field = "base_snapshot_id",
			     .id = req->base_snapshot_id,
			     .secrets = &req->secrets };
	struct told target = { .field = "target_snapshot_id",
			       .id = req->target_snapshot_id,
			       .secrets = &req->secrets };
	const struct telling what = {
		.base = &base, .target = &target, .out = out, .send = send_delta
	};

	if (fields_check(&csi_get_metadata_delta_request_type, req, err) < 0 ||
	    check_offset(req->starting_offset, err) < 0 || find(impl, ctx, &base, err) < 0 ||
	    find(impl, ctx, &target, err) < 0 || check_pair(ctx->arena, &base, &target, err) < 0 ||
	    check_end(req->starting_offset, &target.snap, err) < 0)
		return -1;
	return tell(ctx, &what, req->starting_offset, req->max_results, err);
}
