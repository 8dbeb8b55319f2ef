/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The moment of a snapshot, and of a volume that is made of another one.
 *
 *   count extents → claim → reserve → write out, or freeze → FICLONE → thaw
 *
 * FICLONE alone makes the moment: the filesystem below holds all writes to the file while it works,
 * so what it copies is what a power cut would have left at one instant, which the filesystem inside
 * recovers from as it does after one (30 of 30 under load). But it sees only what has reached the
 * file. What a pod wrote into the page cache of the filesystem above it, before the call, has to be
 * written out first; whoever wants more than that has it frozen.
 *
 * It is one step that cannot be cut short, at 11 us an extent, and for so long all writes to the
 * volume stand still: hence the count before it. A volume that nobody uses has no writers: one that
 * is made of it shares its blocks piece by piece, under the claim alone, however many there are.
 * Where no blocks can be shared each snapshot is a copy (copy.c).
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/extent.h"
#include "volume/size.h"
#include "volume/snapshot_params.h"

#define PIECE_BYTES (256 * MIB) /* no more than 65,536 extents */

/* After the claim, before which it may have gone. */
static int check_named(int fd, const char *what, struct err *err)
{
	struct host_file file;

	if (host_file_look(fd, &file, err) < 0)
		return -1;
	return file.n_links == 0 ? err_set(err, ERR_NOT_FOUND, "the %s was removed meanwhile", what)
				 : 0;
}

int pool_claim_source(int fd, const char *what, struct err *err)
{
	if (host_file_claim(fd, false, err) < 0)
		return err->code == ERR_ABORTED ? err_set(err, ERR_ABORTED,
							  "the %s is being removed, or checked "
							  "(cleat ctl volume check)",
							  what)
						: -1;
	return check_named(fd, what, err);
}

int pool_claim_still(int fd, struct err *err)
{
	if (host_file_claim(fd, true, err) < 0)
		return err->code == ERR_ABORTED ? err_set(err, ERR_ABORTED,
							  "the volume is being attached, checked, "
							  "copied or read by another call")
						: -1;
	return check_named(fd, "volume", err);
}

uint64_t pool_content_bytes(const struct pool_volume *from)
{
	uint64_t bytes = from->file.bytes - from->file.bytes % VOL_SIZE_UNIT;

	return bytes > from->vol.bytes ? bytes : from->vol.bytes;
}

/* 1: there are more than may be shared; ret_n: how many. */
static int has_too_many(int fd, uint64_t max, uint64_t *ret_n, struct err *err)
{
	if (!max)
		return 0;
	return host_file_count_extents(fd, ret_n, err) < 0 ? -1 : *ret_n > max;
}

static int refuse(uint64_t n, uint64_t max, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the volume's file has %llu extents, more than the %llu that the snapshot "
		       "class allows; sharing them would stop all writes to it for about %llu ms. "
		       "Allow more in the class, or a copy, or copy the data into a new volume",
		       (unsigned long long)n, (unsigned long long)max,
		       (unsigned long long)(n * POOL_SHARE_EXTENT_US / 1000));
}

static int refuse_clone(uint64_t n, const char *device, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "its file has %llu extents, more than the %llu that are shared while it is "
		       "in use ('%s'): all writes to it would stop for about %llu ms. Take it down "
		       "first, or make the volume of a snapshot, whose class can allow more",
		       (unsigned long long)n, (unsigned long long)VOL_SNAPSHOT_MAX_EXTENTS, device,
		       (unsigned long long)(n * POOL_SHARE_EXTENT_US / 1000));
}

/* How the file's blocks come to be shared. */
typedef int (*clone_fn)(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
			bool freeze, int to_fd, int64_t *ret_moment_ns, struct err *err);

static int clone_still(struct pool *p, struct ctx *ctx, const struct pool_volume *from, bool freeze,
		       int to_fd, int64_t *ret_moment_ns, struct err *err)
{
	const struct quiesce_what what = {
		.fd = from->fd,
		.file = from->file,
		.name = from->vol.token,
		.fs = from->vol.fs,
		.freeze = freeze,
	};
	struct pool_still still;
	int rc;

	if (pool_still_begin(p, ctx, &what, 1, &still, err) < 0)
		return -1;
	rc = ctx_check(ctx, err);
	if (rc == 0) {
		*ret_moment_ns = clock_wall_ns();
		rc = host_file_clone(from->fd, to_fd, err);
	}
	return pool_still_end(&still, rc, err);
}

/* Of one that nobody else has: there is no writer to wait, and each piece may be the last. */
static int clone_in_pieces(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
			   bool freeze, int to_fd, int64_t *ret_moment_ns, struct err *err)
{
	uint64_t bytes = from->file.bytes - from->file.bytes % VOL_SIZE_UNIT;

	(void)p;
	(void)freeze;
	*ret_moment_ns = clock_wall_ns();
	if (host_file_resize(to_fd, bytes, err) < 0)
		return -1;
	for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
		uint64_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;

		if (ctx_check(ctx, err) < 0 || host_file_share(from->fd, to_fd, at, n, err) < 0)
			return -1;
	}
	return 0;
}

/* from is claimed. */
static int share(struct pool *p, struct ctx *ctx, const struct pool_volume *from, bool freeze,
		 clone_fn clone, int to_fd, int64_t *ret_moment_ns, struct err *err)
{
	uint64_t n_raised;

	if (pool_reserve_begin(p, ctx, from, &n_raised, err) < 0)
		return -1;
	if (clone(p, ctx, from, freeze, to_fd, ret_moment_ns, err) < 0) {
		pool_reserve_cancel(p, from);
		return -1;
	}
	return pool_reserve_end(p, from, to_fd, n_raised, err);
}

/* A volume of one that is in too many pieces for its writers to wait: if it has none. */
static int share_unattached(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
			    uint64_t n, int to_fd, int64_t *ret_moment_ns, struct err *err)
{
	struct backend_device dev;
	int rc = filedev_find(FILEDEV_MAIN, from->fd, &from->file, from->vol.token, &dev, err);

	if (rc != 0)
		return rc < 0 ? -1 : refuse_clone(n, dev.path, err);
	return pool_claim_still(from->fd, err) < 0
		       ? -1
		       : share(p, ctx, from, false, clone_in_pieces, to_fd, ret_moment_ns, err);
}

int pool_cut(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
	     const struct backend_snapshot_options *how, int to_fd, struct pool_cut *ret_cut,
	     struct err *err)
{
	uint64_t max = how ? how->max_extents : VOL_SNAPSHOT_MAX_EXTENTS;
	bool freeze = how && how->freeze;
	struct pool_cut cut = { 0 };
	uint64_t n;
	int rc;

	if (!p->can_clone)
		return pool_copy(p, ctx, from, freeze, to_fd, ret_cut, err);
	rc = has_too_many(from->fd, max, &n, err);
	if (rc < 0)
		return -1;
	if (rc > 0 && how && !how->copy_above)
		return refuse(n, max, err);
	if (rc > 0 && how)
		return pool_copy(p, ctx, from, freeze, to_fd, ret_cut, err);
	if (rc > 0)
		rc = share_unattached(p, ctx, from, n, to_fd, &cut.moment_ns, err);
	else
		rc = pool_claim_source(from->fd, "volume", err) < 0
			     ? -1
			     : share(p, ctx, from, freeze, clone_still, to_fd, &cut.moment_ns, err);
	if (rc == 0)
		*ret_cut = cut;
	return rc;
}
