/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume becomes larger:
 *
 *   promise → file → sync → state → sync → devices
 *
 * The file gets the blocks of its new part before it gets the size, so it is never longer than what
 * it has room for. A kill after that leaves a file that is larger than its state says, which is a
 * whole volume of the old size, and from which the same call goes on. With the state the volume has
 * the new size, and only its devices can lag behind; each call looks at them, and syncs, since
 * whoever wrote the state may have been killed before its own sync.
 *
 * A thin file gets the size and no blocks.
 *
 * No file is made shorter here, also not one that a killed growth to more has left: it may have
 * been attached since, and then its device has all of it, and so may the filesystem inside.
 */
#include "backend/pool/pool-internal.h"
#include "base/num.h"
#include "base/str.h"

static int refuse(struct pool *p, uint64_t more, struct err *err)
{
	uint64_t available;

	if (pool_available(p, &available, err) < 0)
		return -1;
	return filedev_refuse_growth(more, available, err);
}

/* Blocks behind its end are what a killed growth got; others than XFS count what the map of the
 * file takes as well. */
static uint64_t missing_bytes(const struct pool *p, const struct host_file *file, uint64_t bytes)
{
	bool has_more = p->fs_kind == HOST_FS_KIND_XFS && file->allocated_bytes > file->bytes;
	uint64_t has = has_more ? file->allocated_bytes : file->bytes;

	return bytes > has ? bytes - has : 0;
}

static int extend_file(struct pool *p, const struct pool_volume *found, uint64_t bytes,
		       struct err *err)
{
	uint64_t more = missing_bytes(p, &found->file, bytes);
	int rc = pool_promise(p, more, err);

	if (rc == 0) {
		rc = host_file_extend(found->fd, bytes, err);
		if (rc == 0)
			rc = pool_settle_space(p, err);
		if (rc == 0)
			pool_resized(p, found->vol.token, bytes);
		pool_promise_end(p, more);
	}
	if (rc < 0 && err->code == ERR_RESOURCE_EXHAUSTED)
		return refuse(p, bytes - found->file.bytes, err);
	return rc;
}

/* Too full is a state of the pool that ends; too much is not. */
static int refuse_thin(struct pool *p, uint64_t more, struct err *err)
{
	struct vol_space space;
	struct err why;

	if (err->code != ERR_RESOURCE_EXHAUSTED || pool_space_and_lock(p, &space, &why) < 0)
		return -1;
	pthread_mutex_unlock(&p->lock);
	return vol_space_percent(&space) >= VOL_FULL
		       ? -1
		       : filedev_refuse_growth(more, vol_space_for_thin(&space), err);
}

static int extend_thin(struct pool *p, const struct pool_volume *found, uint64_t bytes,
		       struct err *err)
{
	const struct pool_thin_want want = { .bytes = bytes - found->file.bytes };
	int rc = pool_thin_promise(p, &want, err);

	if (rc < 0)
		return refuse_thin(p, want.bytes, err);
	rc = host_file_resize(found->fd, bytes, err);
	if (rc == 0)
		pool_resized(p, found->vol.token, bytes);
	pool_thin_promise_end(p, &want);
	return rc;
}

static int write_state(int fd, uint64_t bytes, struct err *err)
{
	struct state state;

	if (pool_state_read(fd, &state, err) < 0)
		return -1;
	state.bytes = bytes;
	return pool_state_write(fd, &state, err);
}

static int grow(struct pool *p, struct ctx *ctx, struct pool_volume *found, uint64_t bytes,
		struct err *err)
{
	if (bytes > found->vol.bytes) {
		if (pool_copying_settle(p, ctx, found->vol.token, POOL_WANTED_GROWN, err) < 0)
			return -1;
		if (bytes > found->file.bytes &&
		    (found->vol.is_thin ? extend_thin : extend_file)(p, found, bytes, err) < 0)
			return -1;
		if (host_file_sync(found->fd, err) < 0 || ctx_check(ctx, err) < 0 ||
		    write_state(found->fd, bytes, err) < 0)
			return -1;
		found->vol.bytes = bytes;
	}
	if (host_file_sync(found->fd, err) < 0 ||
	    host_file_look(found->fd, &found->file, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	return filedev_grow(found->fd, &found->file, found->vol.token, err);
}

int pool_settle_growth(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_still still;
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 ||
	    pool_find_whole(p, token, false, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = pool_still_begin(p, ctx,
			      &(struct quiesce_what){
				      .fd = found.fd,
				      .file = found.file,
				      .name = token,
				      .fs = found.vol.fs,
			      },
			      1, &still, err);
	if (rc == 0)
		rc = pool_still_end(&still, 0, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
	      const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	(void)secrets;
	if (ctx_check(ctx, err) < 0 ||
	    pool_find_whole(p, token, false, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = grow(p, ctx, &found, bytes, err);
	host_fd_close(found.fd);
	if (rc == 0)
		*ret_vol = found.vol;
	return rc;
}
