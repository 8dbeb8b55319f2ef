/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot that is a copy, for a file of too many extents to be shared.
 *
 *   claim → room → freeze → copy → thaw
 *
 * Sharing would stop the volume's writers for seconds, and leave the volume in as many pieces; the
 * copy shares nothing, and has as many extents as the volume has runs of data. But nothing may be
 * written while it is made: a volume that is not attached is claimed alone, so that it cannot be
 * attached, and one that is mounted is frozen, if the class wants that. So it has to be over soon.
 * What is here has no name until it is whole, and nothing is left of one that was not finished.
 *
 * What would take longer is copied in the background if nobody uses it (copying.c), and refused
 * before it is begun if it would have to stand still.
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/extent.h"

#define CALL_S 2   /* longer is for the background */
#define FROZEN_S 5 /* how long its writers may wait */
#define PIECE_BYTES (64 * MIB)

static int add_written(void *arg, const struct host_extent *extent)
{
	*(uint64_t *)arg += extent->is_unwritten ? 0 : extent->bytes;
	return 0;
}

int pool_data_bytes(struct ctx *ctx, int fd, uint64_t from, uint64_t *ret_bytes, struct err *err)
{
	*ret_bytes = 0;
	return host_file_each_extent(ctx, fd, from, add_written, ret_bytes, err);
}

static bool takes_longer(const struct ctx *ctx, uint64_t bytes, uint64_t limit_s)
{
	return (int64_t)(bytes / POOL_COPY_BYTES_PER_S + 1) > ctx_remaining_ns(ctx) / NS_PER_S ||
	       bytes / POOL_COPY_BYTES_PER_S + 1 > limit_s;
}

static const char *why_copied(const struct pool *p)
{
	return p->can_clone ? "it has too many extents to be shared"
			    : "its pool's filesystem cannot share blocks";
}

static int refuse(const struct pool *p, const struct ctx *ctx, uint64_t bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX];
	uint64_t seconds = bytes / POOL_COPY_BYTES_PER_S + 1;
	uint64_t limit_s = FROZEN_S;

	if (ctx_remaining_ns(ctx) / NS_PER_S < (int64_t)limit_s)
		limit_s = (uint64_t)(ctx_remaining_ns(ctx) / NS_PER_S);
	num_format_quantity(bytes, text);
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"%s, and to copy %s takes about %llu s, more than the %llu s that it may be "
		"kept still; take it down first%s",
		why_copied(p), text, (unsigned long long)seconds, (unsigned long long)limit_s,
		p->can_clone ? ", allow more extents in the snapshot class, or copy the data "
			       "into a new volume"
			     : "");
}

/* Nobody else writes to it from now on; is_attached: but for its mount, which is frozen later. */
static int claim(const struct pool_volume *from, bool is_attached, struct err *err)
{
	return is_attached ? pool_claim_source(from->fd, "volume", err)
			   : pool_claim_still(from->fd, err);
}

static int copy_all(struct ctx *ctx, const struct pool_volume *from, int to_fd, struct err *err)
{
	uint64_t at = 0;

	while (at < from->file.bytes) {
		if (host_file_copy_data(ctx, from->fd, to_fd, at, PIECE_BYTES, &at, err) < 0)
			return -1;
	}
	return 0;
}

static int copy_still(struct pool *p, struct ctx *ctx, const struct pool_volume *from, int to_fd,
		      int64_t *ret_moment_ns, struct err *err)
{
	const struct quiesce_what what = {
		.fd = from->fd,
		.file = from->file,
		.name = from->vol.token,
		.fs = from->vol.fs,
		.hold = true,
	};
	struct pool_still still;

	if (pool_still_begin(p, ctx, &what, 1, &still, err) < 0)
		return -1;
	*ret_moment_ns = clock_wall_ns();
	return pool_still_end(&still, copy_all(ctx, from, to_fd, err), err);
}

/* One that nobody uses: what takes longer than a call may is left claimed, for later. */
static int copy_unattached(struct pool *p, struct ctx *ctx, const struct pool_volume *from,
			   int to_fd, struct pool_cut *ret_cut, struct err *err)
{
	uint64_t bytes = ret_cut->promised;
	int rc;

	if (claim(from, false, err) < 0 || pool_promise(p, bytes, err) < 0)
		return -1;
	if (takes_longer(ctx, bytes, CALL_S)) {
		ret_cut->moment_ns = clock_wall_ns();
		return POOL_CUT_LATER;
	}
	rc = copy_still(p, ctx, from, to_fd, &ret_cut->moment_ns, err);
	if (rc == 0)
		rc = pool_settle_space(p, err);
	pool_promise_end(p, bytes);
	ret_cut->promised = 0;
	return rc;
}

static int copy_frozen(struct pool *p, struct ctx *ctx, const struct pool_volume *from, int to_fd,
		       struct pool_cut *ret_cut, struct err *err)
{
	uint64_t bytes = ret_cut->promised;
	int rc;

	ret_cut->promised = 0;
	if (takes_longer(ctx, bytes, FROZEN_S))
		return refuse(p, ctx, bytes, err);
	if (claim(from, true, err) < 0 || pool_promise(p, bytes, err) < 0)
		return -1;
	rc = copy_still(p, ctx, from, to_fd, &ret_cut->moment_ns, err);
	if (rc == 0)
		rc = pool_settle_space(p, err);
	pool_promise_end(p, bytes);
	return rc;
}

int pool_copy(struct pool *p, struct ctx *ctx, const struct pool_volume *from, bool freeze,
	      int to_fd, struct pool_cut *ret_cut, struct err *err)
{
	struct pool_cut cut = { 0 };
	struct backend_device dev;
	int rc = filedev_find(FILEDEV_MAIN, from->fd, &from->file, from->vol.token, &dev, err);

	if (rc < 0)
		return -1;
	if (rc > 0 && !freeze)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"%s, and it cannot be copied while it is attached as '%s' and "
			"nothing freezes it; allow %sfreezing in the snapshot class, or take "
			"it down first",
			why_copied(p), dev.path, p->can_clone ? "more extents or " : "");
	if (pool_data_bytes(ctx, from->fd, 0, &cut.promised, err) < 0)
		return -1;
	rc = rc > 0 ? copy_frozen(p, ctx, from, to_fd, &cut, err)
		    : copy_unattached(p, ctx, from, to_fd, &cut, err);
	if (rc >= 0)
		*ret_cut = cut;
	return rc;
}

int pool_copy_attached(struct pool *p, struct ctx *ctx, const struct pool_volume *from, int to_fd,
		       struct err *err)
{
	int64_t moment_ns;
	uint64_t bytes;

	if (pool_data_bytes(ctx, from->fd, 0, &bytes, err) < 0)
		return -1;
	if (takes_longer(ctx, bytes, FROZEN_S))
		return refuse(p, ctx, bytes, err);
	if (claim(from, true, err) < 0)
		return -1;
	return copy_still(p, ctx, from, to_fd, &moment_ns, err);
}
