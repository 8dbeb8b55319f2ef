/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a copy in the background when its volume is to be attached, grown or deleted.
 *
 * A pod never waits for a copy. Who wants to change the volume first has the rest of it shared: no
 * writer is there who would wait, it costs some 10 us an extent, and the room that was promised to
 * the copy becomes the room to overwrite what is shared. Where that fails twice, or the filesystem
 * cannot share and a pod would wait for more than half a minute, or for a copy that stands still,
 * it is given up: the snapshot, which nobody was ever told to be ready, is removed, and who asks
 * for it again is told what a new one would be.
 */
#include "backend/pool/copying-internal.h"
#include "base/num.h"
#include "host/extent.h"
#include "volume/size.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define SHARE_BYTES (256 * MIB) /* no more than 65,536 extents, 0.7 s, between two looks */
#define POD_WAITS_S 30

static int add_any(void *arg, const struct host_extent *extent)
{
	*(uint64_t *)arg += extent->bytes;
	return 0;
}

/* btrfs shares what is only allocated, too. */
static int measure_shared(const struct pool *p, struct ctx *ctx, const struct pool_copying *c,
			  uint64_t *ret_bytes, struct err *err)
{
	if (p->fs_kind != HOST_FS_KIND_BTRFS)
		return pool_data_bytes(ctx, c->from_fd, c->at, ret_bytes, err);
	*ret_bytes = 0;
	return host_file_each_extent(ctx, c->from_fd, c->at, add_any, ret_bytes, err);
}

static int share_all(struct ctx *ctx, struct pool_copying *c, struct err *err)
{
	uint64_t at = c->at - c->at % VOL_SIZE_UNIT;

	while (at < c->record.bytes) {
		uint64_t left = c->record.bytes - at;

		if (ctx_check(ctx, err) < 0 ||
		    host_file_share(c->from_fd, c->fd, at, left < SHARE_BYTES ? left : SHARE_BYTES,
				    err) < 0)
			return -1;
		at += left < SHARE_BYTES ? left : SHARE_BYTES;
		c->at = at;
	}
	return pool_copying_finish(c, err);
}

/* The room that was promised to the rest is kept for writing it anew. What was copied beyond what
 * the record says is shared as well, and its blocks go. */
static int share_rest(struct pool *p, struct ctx *ctx, struct pool_copying *c, struct err *err)
{
	uint64_t shared;
	int rc;

	if (pool_copying_promise(p, ctx, c, err) < 0 || measure_shared(p, ctx, c, &shared, err) < 0)
		return -1;
	pool_reserve_turn(p, c->source, c->no_reserve ? 0 : shared, c->promised);
	c->promised = 0;
	c->is_promised = false; /* should it have to be copied after all */
	rc = share_all(ctx, c, err);
	pool_reserve_turned(p, c->source);
	return rc;
}

static bool is_passing(const struct err *err)
{
	return err->code == ERR_ABORTED || err->code == ERR_CANCELLED ||
	       err->code == ERR_DEADLINE_EXCEEDED;
}

static int give_up(struct pool *p, const struct pool_copying *c, const char *why, struct err *err)
{
	log_warn("a snapshot that was not copied whole is given up: its volume is wanted",
		 log_str("pool", p->base.pool_name), log_str("snapshot", c->snapshot),
		 log_str("volume", c->source), log_str("why", why));
	return pool_unlink(p, POOL_SNAPSHOTS, c->snapshot, c->fd, err);
}

/* 1 if it is not worth a pod's waiting. How much there is to go is not known before it is promised,
 * after a restart; if that fails for good, there is no room for it, and it may never end. */
static int is_too_long(struct pool *p, struct ctx *ctx, struct pool_copying *c,
		       enum pool_wanted wanted, struct err *err)
{
	bool is_for_pod = wanted == POOL_WANTED_ATTACHED;
	char text[NUM_QUANTITY_MAX];
	uint64_t seconds;

	if (pool_copying_promise(p, ctx, c, err) < 0 && (is_for_pod || is_passing(err)))
		return is_passing(err) ? -1 : 1;
	seconds = c->promised / POOL_COPY_BYTES_PER_S + 1;
	if (is_for_pod && (c->has_failed || seconds > POD_WAITS_S))
		return 1;
	num_format_quantity(c->promised, text);
	return err_set(err, ERR_ABORTED,
		       "it is being copied for snapshot '%s', and its filesystem cannot share "
		       "blocks: %s to go, about %llu s",
		       c->snapshot, text, (unsigned long long)seconds);
}

static int settle_one(struct pool *p, struct ctx *ctx, struct pool_copying *c,
		      enum pool_wanted wanted, struct err *err)
{
	struct err why;
	int rc;

	if (p->can_clone) {
		rc = share_rest(p, ctx, c, &why);
		if (rc == 0)
			pool_copying_log(
				p, c,
				"a snapshot shares what was not copied: its volume is wanted");
		if (rc < 0 && !is_passing(&why) && c->has_failed_to_share)
			rc = give_up(p, c, why.msg, &why);
		c->has_failed_to_share = rc < 0;
	} else {
		rc = is_too_long(p, ctx, c, wanted, &why);
		if (rc > 0)
			rc = give_up(p, c,
				     c->has_failed ? "it stands still"
						   : "the rest would take too long",
				     &why);
	}
	if (rc < 0)
		*err = why;
	return rc;
}

int pool_copying_settle(struct pool *p, struct ctx *ctx, const char *volume,
			enum pool_wanted wanted, struct err *err)
{
	struct pool_copying *c;
	int rc;

	while ((rc = pool_copying_take(p, ctx, NULL, volume, &c, err)) > 0) {
		if (settle_one(p, ctx, c, wanted, err) < 0) {
			pool_copying_give_back(p, c);
			return -1;
		}
		pool_copying_end(p, c);
	}
	return rc;
}
