/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume that is made of a snapshot or of a volume where files cannot share blocks.
 *
 *   allocate → record → copy, in as many calls as it takes → write out → name
 *
 * It gets all its room before (unless it is thin), so that no copy ends in the middle for want of
 * it. Between two calls the nameless file waits in half.c, and nobody keeps the source: a snapshot
 * does not change, but one that was deleted and made again may have its name; a volume may be
 * written to. So the inode and the mtime are compared, and what was copied of something else is
 * copied again.
 *
 * A volume that is not attached is claimed alone while a call copies. One that is attached has to
 * be frozen for it, which is for one call, and short.
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/extent.h"

#define PIECE_BYTES (64 * MIB)
#define SPARE_NS (NS_PER_S / 2)

/* Either of both, open. */
struct origin {
	int fd;
	struct host_file file;
	struct uuid uuid;
	struct pool_volume volume; /* if it is one */
	const struct backend_spec *spec;
};

static int find_snapshot(struct pool *p, const struct backend_spec *spec, struct origin *ret,
			 struct err *err)
{
	struct pool_snapshot from;
	int rc;

	if (pool_find_whole_snapshot(p, spec->source, true, &from, err) < 0)
		return -1;
	rc = pool_check_source(spec, from.snap.bytes, from.snap.fs, err);
	if (rc == 0 && !from.snap.is_ready)
		rc = err_set(err, ERR_FAILED_PRECONDITION,
			     "it is not ready: its bytes are still being copied");
	if (rc < 0) {
		host_fd_close(from.fd);
		return -1;
	}
	*ret = (struct origin){
		.fd = from.fd, .file = from.file, .uuid = from.record.uuid, .spec = spec
	};
	return 0;
}

static int find_volume(struct pool *p, const struct backend_spec *spec, struct origin *ret,
		       struct err *err)
{
	struct pool_volume from;

	if (pool_find_whole(p, spec->source, true, ERR_FAILED_PRECONDITION, &from, err) < 0)
		return -1;
	if (pool_check_source(spec, from.vol.bytes, from.vol.fs, err) < 0) {
		host_fd_close(from.fd);
		return -1;
	}
	*ret = (struct origin){ .fd = from.fd,
				.file = from.file,
				.uuid = from.record.uuid,
				.volume = from,
				.spec = spec };
	return 0;
}

static int find(struct pool *p, const struct backend_spec *spec, struct origin *ret,
		struct err *err)
{
	return spec->source_kind == BACKEND_SOURCE_SNAPSHOT ? find_snapshot(p, spec, ret, err)
							    : find_volume(p, spec, ret, err);
}

int pool_copy_look(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		   struct pool_origin *ret_origin, struct err *err)
{
	struct origin from;
	uint64_t data_bytes;
	int rc;

	if (find(p, spec, &from, err) < 0)
		return -1;
	rc = pool_data_bytes(ctx, from.fd, 0, &data_bytes, err);
	host_fd_close(from.fd);
	if (rc == 0)
		*ret_origin = (struct pool_origin){ from.uuid, from.file.bytes, data_bytes };
	return rc;
}

static int clear(const struct backend_spec *spec, int fd, uint64_t bytes, struct err *err)
{
	if (host_file_resize(fd, 0, err) < 0)
		return -1;
	return spec->is_thin ? host_file_resize(fd, bytes, err)
			     : host_file_allocate(fd, bytes, err);
}

/* Begins again what was copied of something else, or anew whatever it was; the file reads as zeros
 * then: also where a call ended within a piece, or within a copy that is made as one. */
static int begin(const struct origin *from, int to_fd, bool anew, struct pool_copied *copied,
		 struct err *err)
{
	struct host_file now;
	struct host_file to;

	if (host_file_look(from->fd, &now, err) < 0 || host_file_look(to_fd, &to, err) < 0)
		return -1;
	if (!anew && copied->inode == now.inode && copied->changed_ns == now.changed_ns)
		return 0;
	if (now.bytes > to.bytes)
		return err_set(err, ERR_ABORTED, "it has grown meanwhile");
	if (copied->inode && clear(from->spec, to_fd, to.bytes, err) < 0)
		return -1;
	*copied = (struct pool_copied){ .inode = now.inode, .changed_ns = now.changed_ns };
	return 0;
}

static int say_how_far(const struct origin *from, uint64_t at, struct err *err)
{
	char done[NUM_QUANTITY_MAX], all[NUM_QUANTITY_MAX];

	num_format_quantity(at - at % MIB, done);
	num_format_quantity(from->file.bytes, all);
	return err_set(err, ERR_DEADLINE_EXCEEDED, "it is copied up to %s of %s", done, all);
}

static int copy_pieces(struct ctx *ctx, const struct origin *from, int to_fd,
		       struct pool_copied *copied, struct err *err)
{
	uint64_t began_at;

	if (begin(from, to_fd, false, copied, err) < 0)
		return -1;
	began_at = copied->at;
	while (copied->at < from->file.bytes) {
		if (ctx_remaining_ns(ctx) < SPARE_NS && copied->at > began_at)
			return say_how_far(from, copied->at, err);
		if (host_file_copy_data(ctx, from->fd, to_fd, copied->at, PIECE_BYTES, &copied->at,
					err) < 0)
			return -1;
	}
	copied->is_whole = true;
	return 0;
}

static int copy_volume(struct pool *p, struct ctx *ctx, const struct origin *from, int to_fd,
		       struct pool_copied *copied, struct err *err)
{
	struct backend_device dev;
	int rc = filedev_find(FILEDEV_MAIN, from->fd, &from->file, from->volume.vol.token, &dev,
			      err);

	if (rc > 0) {
		if (begin(from, to_fd, true, copied, err) < 0 ||
		    pool_copy_attached(p, ctx, &from->volume, to_fd, err) < 0)
			return -1;
		copied->is_whole = true;
		return 0;
	}
	if (rc < 0 || pool_claim_still(from->fd, err) < 0)
		return -1;
	return copy_pieces(ctx, from, to_fd, copied, err);
}

int pool_copy_on(struct pool *p, struct ctx *ctx, const struct backend_spec *spec, int to_fd,
		 struct pool_copied *copied, struct err *err)
{
	struct origin from;
	int rc;

	if (find(p, spec, &from, err) < 0)
		return -1;
	if (spec->source_kind == BACKEND_SOURCE_VOLUME)
		rc = copy_volume(p, ctx, &from, to_fd, copied, err);
	else
		rc = pool_claim_source(from.fd, "snapshot", err) < 0
			     ? -1
			     : copy_pieces(ctx, &from, to_fd, copied, err);
	host_fd_close(from.fd);
	return rc;
}
