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
 * With is_written, zeros are written between record and name to all blocks that are still unwritten
 * (host/gaps.c says what for). That takes longer than a call has: half.c keeps the nameless file
 * until the next one.
 *
 * A mkfs may punch out blocks that it finds useless, and mkfs.xfs may round the size down: what is
 * missing after it is allocated again.
 *
 * One that is made of a snapshot or of another volume shares its blocks instead (FICLONE) and keeps
 * the filesystem in them as it is, its UUID too, since no byte of a user's is rewritten here. What
 * was allocated and never written is a hole in the clone, and is allocated again as well.
 *
 * A thin one is a file of its size with the blocks that mkfs wrote, or that it shares with its
 * source, and nothing is allocated besides. Whether its source is thin does not matter to either
 * kind: the holes are filled, or left.
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/str.h"
#include "host/extent.h"
#include "host/mkfs.h"

static const char *name_source(enum backend_source kind)
{
	switch (kind) {
	case BACKEND_SOURCE_SNAPSHOT:
		return "of snapshot ";
	case BACKEND_SOURCE_VOLUME:
		return "of volume ";
	case BACKEND_SOURCE_NONE:
		break;
	}
	return "empty";
}

static bool has_source(const struct backend_volume *vol, const struct backend_spec *spec)
{
	return vol->source_kind == spec->source_kind && (spec->source_kind == BACKEND_SOURCE_NONE ||
							 str_is_equal(vol->source, spec->source));
}

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
	if (vol->is_thin != spec->is_thin)
		return err_set(err, ERR_ALREADY_EXISTS, "it exists and is %s (provisioning)",
			       vol->is_thin ? "thin" : "thick");
	if (!has_source(vol, spec))
		return err_set(err, ERR_ALREADY_EXISTS, "it exists and was made %s%s",
			       name_source(vol->source_kind), vol->source);
	if (pool_sync_named(p, p->dir_fd, err) < 0)
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
	/* others count what the map of the file takes as well */
	if (p->fs_kind == HOST_FS_KIND_XFS && file.bytes == spec->bytes &&
	    file.allocated_bytes >= spec->bytes)
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
		.no_reserve = spec->no_reserve || spec->is_thin,
		.is_thin = spec->is_thin,
		.created_ns = clock_wall_ns(),
		.uuid = *uuid,
		.pool = p->base.identity,
		.source_kind = spec->source_kind,
	};
	char text[RECORD_MAX];

	(void)snprintf(record.fs, sizeof(record.fs), "%s", spec->fs);
	(void)snprintf(record.source, sizeof(record.source), "%s", str_or(spec->source, ""));
	(void)snprintf(record.name, sizeof(record.name), "%s", spec->name);
	record_set_owner(&record, &spec->owner);
	record_format(RECORD_VOLUME, &record, text);
	if (host_file_set_attr(fd, RECORD_ATTR, text, err) < 0)
		return -1;
	return vol_limits_are_set(&spec->limits)
		       ? pool_state_write(fd, &(struct state){ .limits = spec->limits }, err)
		       : 0;
}

/* A volume that has no name yet. */
struct birth {
	int fd;
	struct uuid uuid;
	uint64_t shared_bytes;      /* promised until it is known */
	struct pool_thin_want thin; /* likewise */
	struct pool_copied copied;
};

static int promise_thin(struct pool *p, const struct pool_thin_want *want, struct birth *birth,
			struct err *err)
{
	if (pool_thin_promise(p, want, err) < 0)
		return -1;
	birth->thin = *want;
	return 0;
}

/* mkfs.xfs rounds the size down to whole blocks of its allocation groups. */
static int make_empty_thin(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			   struct birth *birth, struct err *err)
{
	const struct pool_thin_want want = pool_thin_birth(spec->bytes);

	uuid_make(&birth->uuid);
	if (promise_thin(p, &want, birth, err) < 0 ||
	    host_file_resize(birth->fd, spec->bytes, err) < 0 ||
	    host_mkfs_xfs(ctx, birth->fd, &birth->uuid, NULL, err) < 0)
		return -1;
	return host_file_resize(birth->fd, spec->bytes, err);
}

static int allocate(const struct pool *p, int fd, uint64_t bytes, struct err *err)
{
	return host_file_allocate(fd, bytes, err) < 0 ? -1 : pool_settle_space(p, err);
}

static int make_empty(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		      struct birth *birth, struct err *err)
{
	int rc;

	if (spec->fs[0])
		uuid_make(&birth->uuid);
	if (pool_promise(p, spec->bytes, err) < 0)
		return -1;
	rc = allocate(p, birth->fd, spec->bytes, err);
	pool_promise_end(p, spec->bytes);
	return rc < 0 ? -1 : fill(p, ctx, birth->fd, spec, &birth->uuid, err);
}

int pool_check_source(const struct backend_spec *spec, uint64_t bytes, const char *fs,
		      struct err *err)
{
	if (!str_is_equal(spec->fs, fs))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "it has filesystem '%s', which cannot become '%s'",
			       fs[0] ? fs : "none", spec->fs[0] ? spec->fs : "none");
	if (spec->bytes < bytes)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "it has %llu bytes, the volume needs at least as many",
			       (unsigned long long)bytes);
	return 0;
}

static int clone_snapshot(struct pool *p, const struct backend_spec *spec, struct birth *birth,
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
	if (rc == 0)
		rc = pool_claim_source(from.fd, "snapshot", err);
	if (rc == 0)
		rc = host_file_clone(from.fd, birth->fd, err);
	host_fd_close(from.fd);
	birth->uuid = from.record.uuid;
	return rc;
}

static int clone_volume(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			struct birth *birth, struct err *err)
{
	struct pool_volume from;
	struct pool_cut cut;
	int rc;

	if (pool_find_whole(p, spec->source, true, ERR_FAILED_PRECONDITION, &from, err) < 0)
		return -1;
	rc = pool_check_source(spec, from.vol.bytes, from.vol.fs, err);
	if (rc == 0)
		rc = pool_cut(p, ctx, &from, NULL, birth->fd, &cut, err);
	host_fd_close(from.fd);
	birth->uuid = from.record.uuid;
	return rc;
}

/* Blocks for what is a hole in the clone, and room for the day on which what is not is written
 * anew: that stays promised. A clone of a volume whose file is larger than it says has such a file
 * too: what is behind may be part of the filesystem by now. */
static int fill_holes(struct pool *p, const struct backend_spec *spec, struct birth *birth,
		      struct err *err)
{
	struct host_file file;
	uint64_t bytes, shared, holes;
	int rc;

	if (host_file_look(birth->fd, &file, err) < 0)
		return -1;
	bytes = file.bytes > spec->bytes ? file.bytes : spec->bytes;
	shared = file.allocated_bytes < bytes ? file.allocated_bytes : bytes;
	holes = bytes - shared;
	if (spec->no_reserve)
		shared = 0;
	if (pool_promise(p, holes + shared, err) < 0)
		return -1;
	rc = allocate(p, birth->fd, bytes, err);
	if (rc == 0)
		birth->shared_bytes = shared;
	pool_promise_end(p, rc < 0 ? holes + shared : holes);
	return rc;
}

/* The same without any blocks. */
static int leave_holes(struct pool *p, const struct backend_spec *spec, struct birth *birth,
		       struct err *err)
{
	struct pool_thin_want want = { 0 };
	struct host_file file;

	if (host_file_look(birth->fd, &file, err) < 0)
		return -1;
	want.bytes = file.bytes > spec->bytes ? file.bytes : spec->bytes;
	return promise_thin(p, &want, birth, err) < 0
		       ? -1
		       : host_file_resize(birth->fd, want.bytes, err);
}

static int fail_source(const struct backend_spec *spec, struct err *err)
{
	return err_wrap(err, "%s '%s'",
			spec->source_kind == BACKEND_SOURCE_SNAPSHOT ? "snapshot" : "volume",
			spec->source);
}

static int make_of_source(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			  struct birth *birth, struct err *err)
{
	int rc = spec->source_kind == BACKEND_SOURCE_SNAPSHOT
			 ? clone_snapshot(p, spec, birth, err)
			 : clone_volume(p, ctx, spec, birth, err);

	if (rc < 0)
		return fail_source(spec, err);
	return spec->is_thin ? leave_holes(p, spec, birth, err) : fill_holes(p, spec, birth, err);
}

/* The size of a thin one, and blocks for what is not copied yet. */
static int promise_thin_copy(struct pool *p, const struct pool_origin *origin, uint64_t bytes,
			     struct birth *birth, struct err *err)
{
	struct pool_thin_want want = { .bytes = bytes };
	struct host_file file;

	if (host_file_look(birth->fd, &file, err) < 0)
		return -1;
	if (origin->data_bytes > file.allocated_bytes)
		want.now_bytes = origin->data_bytes - file.allocated_bytes;
	return promise_thin(p, &want, birth, err);
}

/* Room for what is copied next. */
static int make_to_copy(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			struct birth *birth, struct err *err)
{
	struct pool_origin origin;
	uint64_t bytes;
	int rc;

	if (pool_copy_look(p, ctx, spec, &origin, err) < 0)
		return fail_source(spec, err);
	birth->uuid = origin.uuid;
	birth->copied.is_whole = false;
	bytes = origin.bytes > spec->bytes ? origin.bytes : spec->bytes;
	if (spec->is_thin)
		return promise_thin_copy(p, &origin, bytes, birth, err) < 0
			       ? -1
			       : host_file_resize(birth->fd, bytes, err);
	if (pool_promise(p, bytes, err) < 0)
		return -1;
	rc = allocate(p, birth->fd, bytes, err);
	pool_promise_end(p, bytes);
	return rc;
}

/* Where blocks cannot be shared. */
static bool is_copied(const struct pool *p, const struct backend_spec *spec)
{
	return !p->can_clone && spec->source_kind != BACKEND_SOURCE_NONE;
}

/* A full pool has no block for an inode either, and is told as full. */
static int refuse_file(struct pool *p, const struct backend_spec *spec, struct err *err)
{
	const struct pool_thin_want want = pool_thin_birth(spec->bytes);

	if (spec->is_thin) {
		if (pool_thin_promise(p, &want, err) < 0)
			return -1;
		pool_thin_promise_end(p, &want);
	} else {
		if (pool_promise(p, spec->bytes, err) < 0)
			return -1;
		pool_promise_end(p, spec->bytes);
	}
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "the filesystem of the pool '%s' at '%s' has no inode for one more file: "
		       "delete volumes or snapshots, or grow it",
		       p->base.pool_name, p->dir);
}

/* Which file blocks will be shared with; nothing else of it is looked at here. */
static int make_file(struct pool *p, const struct backend_spec *spec, struct birth *birth,
		     struct err *err)
{
	bool is_snapshot = spec->source_kind == BACKEND_SOURCE_SNAPSHOT;
	autohostfd int like_fd = -1;

	if (spec->source_kind != BACKEND_SOURCE_NONE &&
	    host_file_open(is_snapshot ? p->snapshot_fd : p->dir_fd, spec->source, true, &like_fd,
			   err) < 0 &&
	    err->code != ERR_NOT_FOUND && err->code != ERR_FAILED_PRECONDITION)
		return -1;
	if (pool_make_file(p, p->dir_fd, like_fd, &birth->fd, err) == 0)
		return 0;
	return err->code == ERR_RESOURCE_EXHAUSTED ? refuse_file(p, spec, err) : -1;
}

static int fill_file(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		     struct birth *birth, struct err *err)
{
	if (spec->source_kind != BACKEND_SOURCE_NONE)
		return make_of_source(p, ctx, spec, birth, err);
	return spec->is_thin ? make_empty_thin(p, ctx, spec, birth, err)
			     : make_empty(p, ctx, spec, birth, err);
}

/* Allocated (if it is not thin), with its filesystem and its record. */
static int make_filled(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		       struct birth *birth, struct err *err)
{
	int rc = make_file(p, spec, birth, err);

	birth->copied = (struct pool_copied){ .is_whole = true };
	if (rc == 0)
		rc = is_copied(p, spec) ? make_to_copy(p, ctx, spec, birth, err)
					: fill_file(p, ctx, spec, birth, err);
	return rc < 0 ? -1 : write_record(p, birth->fd, spec, &birth->uuid, err);
}

/* 1 if the nameless file is what spec wants. */
static int is_half_of(int fd, const struct backend_spec *spec, struct err *err)
{
	struct record record;
	char text[RECORD_MAX];

	if (host_file_get_attr(fd, record_attr(RECORD_VOLUME), text, sizeof(text), err) < 0 ||
	    record_parse(RECORD_VOLUME, text, &record, err) < 0)
		return -1;
	return record.bytes == spec->bytes && record.allow_buffered == spec->allow_buffered &&
	       record.is_thin == spec->is_thin &&
	       record.no_reserve == (spec->no_reserve || spec->is_thin) &&
	       record.source_kind == spec->source_kind &&
	       str_is_equal(record.source, str_or(spec->source, "")) &&
	       str_is_equal(record.fs, spec->fs) && str_is_equal(record.name, spec->name);
}

static int promise_thin_rest(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			     struct birth *birth, struct err *err)
{
	struct pool_origin origin;
	struct host_file file;

	if (pool_copy_look(p, ctx, spec, &origin, err) < 0)
		return fail_source(spec, err);
	return host_file_look(birth->fd, &file, err) < 0
		       ? -1
		       : promise_thin_copy(p, &origin, file.bytes, birth, err);
}

/* Nothing was promised, while it lay there, for what it has no blocks for. */
static int promise_again(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			 struct birth *birth, struct err *err)
{
	uint64_t bytes;

	if (spec->is_thin)
		return promise_thin_rest(p, ctx, spec, birth, err);
	if (spec->source_kind == BACKEND_SOURCE_NONE || spec->no_reserve || !p->can_clone)
		return 0;
	if (host_file_shared_bytes(ctx, birth->fd, &bytes, err) < 0 ||
	    pool_promise(p, bytes, err) < 0)
		return -1;
	birth->shared_bytes = bytes;
	return 0;
}

/* What an earlier call left, if it is what spec wants: 1. */
static int take_half(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		     struct birth *birth, struct err *err)
{
	autohostfd int fd = pool_half_take(p, spec->token, &birth->copied);
	int rc = fd < 0 ? 0 : is_half_of(fd, spec, err);

	if (rc <= 0)
		return rc;
	birth->fd = fd;
	fd = -1;
	return promise_again(p, ctx, spec, birth, err) < 0 ? -1 : 1;
}

/* A file that needs another call is kept for that. */
static int leave_half(struct pool *p, const struct backend_spec *spec, struct birth *birth,
		      const char *why, struct err *err)
{
	if (err->code != ERR_DEADLINE_EXCEEDED && err->code != ERR_CANCELLED)
		return -1;
	pool_half_keep(p, spec->token, birth->fd, &birth->copied);
	birth->fd = -1;
	err->code = err->code == ERR_CANCELLED ? ERR_CANCELLED : ERR_ABORTED;
	return err_wrap(err, "%s takes more than one call, the next goes on", why);
}

static int copy_rest(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		     struct birth *birth, struct err *err)
{
	if (birth->copied.is_whole ||
	    pool_copy_on(p, ctx, spec, birth->fd, &birth->copied, err) == 0)
		return 0;
	(void)fail_source(spec, err);
	return leave_half(p, spec, birth, "to copy it", err);
}

static int write_gaps(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		      struct birth *birth, struct err *err)
{
	if (!spec->is_written || host_file_write_gaps(ctx, birth->fd, err) == 0)
		return 0;
	return leave_half(p, spec, birth, "allocation=written", err);
}

static int make_long(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
		     struct birth *birth, struct err *err)
{
	int rc = take_half(p, ctx, spec, birth, err);

	if (rc == 0)
		rc = make_filled(p, ctx, spec, birth, err);
	return rc < 0 || copy_rest(p, ctx, spec, birth, err) < 0
		       ? -1
		       : write_gaps(p, ctx, spec, birth, err);
}

/* Everything up to the name. */
static int make_nameless(struct pool *p, struct ctx *ctx, const struct backend_spec *spec,
			 struct birth *birth, struct err *err)
{
	int rc;

	if (spec->is_written || is_copied(p, spec)) {
		if (pool_writer_begin(p, err) < 0)
			return -1;
		rc = make_long(p, ctx, spec, birth, err);
		pool_writer_end(p);
	} else {
		pool_half_drop(p, spec->token);
		rc = make_filled(p, ctx, spec, birth, err);
	}
	return rc < 0 ? -1 : pool_write_out(p, birth->fd, err);
}

/* Gives it its name, unless somebody was quicker. */
static int name_it(struct pool *p, const struct backend_spec *spec, const struct birth *birth,
		   struct err *err)
{
	struct host_file file;

	if (host_file_look(birth->fd, &file, err) < 0)
		return -1;
	if (host_file_link(birth->fd, p->dir_fd, spec->token, err) < 0)
		return err->code == ERR_ALREADY_EXISTS ? 0 : -1;
	pool_know(p, POOL_VOLUMES, spec->token,
		  &(struct pool_entry){ .bytes = file.bytes,
					.is_thin = spec->is_thin,
					.allocated_bytes = file.allocated_bytes,
					.no_reserve = spec->no_reserve || spec->is_thin,
					.is_stale = true,
					.shared_bytes = birth->shared_bytes });
	return 0;
}

static int bear(struct pool *p, struct ctx *ctx, const struct backend_spec *spec, struct err *err)
{
	struct birth birth = { .fd = -1 };
	int rc = make_nameless(p, ctx, spec, &birth, err);

	if (rc == 0)
		rc = ctx_check(ctx, err);
	if (rc == 0)
		rc = name_it(p, spec, &birth, err);
	pool_promise_end(p, birth.shared_bytes);
	pool_thin_promise_end(p, &birth.thin);
	host_fd_close(birth.fd);
	return rc;
}

int pool_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		struct backend_volume *ret_vol, struct err *err)
{
	struct pool *p = pool_from(b);

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(p, spec, ret_vol, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	pool_halves_drop_old(p);
	return bear(p, ctx, spec, err) < 0 ? -1 : take_existing(p, spec, ret_vol, err);
}
