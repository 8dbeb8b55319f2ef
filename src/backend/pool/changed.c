/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a snapshot is not zero, and what of it differs from another: by the maps of their files
 * (changes.c). Both stay open while somebody is told, but nothing is claimed: who deletes one is
 * not in the way of its reader, who hears of it.
 */
#include "backend/changes.h"
#include "backend/pool/pool-internal.h"

/* One that is whole and has all its bytes; an error names it. */
static int open_snapshot(struct pool *p, const char *token, struct pool_snapshot *ret_snapshot,
			 struct err *err)
{
	struct pool_snapshot found;

	if (pool_find_whole_snapshot(p, token, true, &found, err) < 0)
		return err_wrap(err, "snapshot '%s'", token);
	if (!found.snap.is_ready) {
		host_fd_close(found.fd);
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "snapshot '%s' is not ready: it is still being copied", token);
	}
	*ret_snapshot = found;
	return 0;
}

static int walk(struct ctx *ctx, const struct pool_snapshot *base,
		const struct pool_snapshot *target, uint64_t from, backend_range_fn fn, void *arg,
		struct err *err)
{
	const struct changes_file files[] = {
		{ target->fd, target->snap.token },
		{ base ? base->fd : -1, base ? base->snap.token : "" },
	};
	struct changes c = { .end = target->snap.bytes, .fn = fn, .arg = arg };

	return changes_walk(ctx, base ? &files[1] : NULL, &files[0], from, &c, err);
}

int pool_allocated(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		   struct err *err)
{
	struct pool_snapshot found;
	int rc;

	if (ctx_check(ctx, err) < 0 || open_snapshot(pool_from(b), token, &found, err) < 0)
		return -1;
	rc = walk(ctx, NULL, &found, from, fn, arg, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		 const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		 struct err *err)
{
	struct pool_snapshot before;
	struct pool_snapshot after;
	int rc;

	if (ctx_check(ctx, err) < 0 || open_snapshot(pool_from(b), base, &before, err) < 0)
		return -1;
	rc = open_snapshot(pool_from(b), target, &after, err);
	if (rc < 0) {
		host_fd_close(before.fd);
		return -1;
	}
	rc = changes_check_source(&before.snap, &after.snap, err);
	if (rc == 0)
		rc = walk(ctx, &before, &after, from, fn, arg, err);
	host_fd_close(before.fd);
	host_fd_close(after.fd);
	return rc;
}
