/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The birth of a volume:
 *
 *   O_TMPFILE → fallocate → filesystem → record → write out → linkat(token) → fsync(directory)
 *
 * Up to linkat the file has no name: a failure or SIGKILL anywhere before leaves nothing to clean
 * up, not even after a power cut. linkat is the one moment at which the volume exists, and then it
 * is whole: its bytes were written out before, and XFS never has the later change without the
 * earlier ones, so one fsync at the end is enough. If linkat fails with EEXIST, another volume was
 * quicker; ours evaporates and the other one is compared. The last fsync is done also when the
 * volume was there already: whoever made it may have been killed before its own.
 *
 * A mkfs may punch out blocks that it finds useless, and mkfs.xfs may round the size down: what is
 * missing after it is allocated again.
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/str.h"
#include "host/mkfs.h"

/* The volume that has the token already: 0 if it is what spec wants. */
static int take_existing(struct pool *p, const struct backend_spec *spec,
			 struct backend_volume *ret_vol, struct err *err)
{
	struct pool_volume found;
	const struct backend_volume *vol = &found.vol;

	if (pool_find(p, spec->token, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	if (found.kind == POOL_FILE_FOREIGN)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%s/%s' is there and is no volume of cleat's; move it out of the pool",
			p->dir, spec->token);
	if (found.kind == POOL_FILE_DAMAGED)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "a damaged volume has this name (%s); look at '%s/%s'", vol->damage,
			       p->dir, spec->token);
	if (!str_is_equal(vol->name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the volume of the name '%s' has the same token", vol->name);
	if (!str_is_equal(vol->fs, spec->fs) || vol->allow_buffered != spec->allow_buffered)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "it exists with filesystem '%s' and directIO=%s",
			       vol->fs[0] ? vol->fs : "none",
			       vol->allow_buffered ? "preferred" : "required");
	if (host_dir_sync(p->dir_fd, err) < 0)
		return -1;
	*ret_vol = *vol;
	return 0;
}

/* What is in the allocated file. */
static int fill(struct pool *p, struct ctx *ctx, int fd, const struct backend_spec *spec,
		const struct uuid *uuid, struct err *err)
{
	struct host_file file;
	int rc = 0;

	if (str_is_equal(spec->fs, "ext4"))
		rc = pool_fill_ext4(p, ctx, fd, spec->bytes, uuid, err);
	else if (str_is_equal(spec->fs, "xfs"))
		rc = host_mkfs_xfs(ctx, fd, uuid, NULL, err);
	else
		return 0;
	if (rc < 0 || host_file_look(fd, &file, err) < 0)
		return -1;
	if (file.bytes == spec->bytes && file.allocated_bytes >= spec->bytes)
		return 0;
	if (host_file_allocate(fd, spec->bytes, err) < 0 || host_file_look(fd, &file, err) < 0)
		return -1;
	if (file.allocated_bytes < spec->bytes)
		return err_set(err, ERR_INTERNAL, "only %llu of %llu bytes could be allocated",
			       (unsigned long long)file.allocated_bytes,
			       (unsigned long long)spec->bytes);
	return 0;
}

static int write_record(const struct pool *p, int fd, const struct backend_spec *spec,
			const struct uuid *uuid, struct err *err)
{
	struct record record = {
		.bytes = spec->bytes,
		.allow_buffered = spec->allow_buffered,
		.created_ns = clock_wall_ns(),
		.uuid = *uuid,
		.pool = p->base.identity,
	};
	char text[RECORD_MAX];

	(void)snprintf(record.fs, sizeof(record.fs), "%s", spec->fs);
	(void)snprintf(record.name, sizeof(record.name), "%s", spec->name);
	record_set_owner(&record, &spec->owner);
	record_format(&record, text);
	if (host_file_set_attr(fd, RECORD_ATTR, text, err) < 0)
		return -1;
	return vol_limits_are_set(&spec->limits)
		       ? pool_state_write(fd, &(struct state){ .limits = spec->limits }, err)
		       : 0;
}

/* Everything up to the name. */
static int make_nameless(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			 int *ret_fd, struct err *err)
{
	struct uuid uuid = { 0 };
	autohostfd int fd = -1;
	int rc;

	if (spec->fs[0])
		uuid_make(&uuid);
	if (host_file_make(p->dir_fd, &fd, err) < 0 || pool_promise(p, spec->bytes, err) < 0)
		return -1;
	rc = host_file_allocate(fd, spec->bytes, err);
	pool_promise_end(p, spec->bytes);
	if (rc < 0 || fill(p, ctx, fd, spec, &uuid, err) < 0 ||
	    write_record(p, fd, spec, &uuid, err) < 0 || host_file_write_out(fd, err) < 0)
		return -1;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int pool_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		struct backend_volume *ret_vol, struct err *err)
{
	struct pool *p = pool_from(b);
	autohostfd int fd = -1;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(p, spec, ret_vol, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	if (make_nameless(p, ctx, spec, &fd, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	if (host_file_link(fd, p->dir_fd, spec->token, err) < 0) {
		if (err->code != ERR_ALREADY_EXISTS)
			return -1;
	} else {
		pool_know(p, spec->token, true);
	}
	return take_existing(p, spec, ret_vol, err);
}
