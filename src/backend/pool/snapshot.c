/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: born as volumes are (create.c), in a directory of their own.
 *
 *   O_TMPFILE → FICLONE (cut.c) → record → write out → linkat(token) → fsync(directory)
 *
 * A snapshot is a file that nobody writes to. It needs nothing of the volume that it was cut from,
 * nor does the volume or what is made of the snapshot need it: all of them hold blocks together,
 * and a block goes with the last of them. So each may be removed at any time and in any order.
 * One that is being copied is the exception: copying.c.
 */
#include "backend/pool/pool-internal.h"
#include "base/str.h"

/* The snapshot that has the token already: 0 if it is what spec wants. */
static int take_existing(struct pool *p, const struct backend_snapshot_spec *spec,
			 struct backend_snapshot *ret_snap, struct err *err)
{
	struct pool_snapshot found;
	const struct backend_snapshot *snap = &found.snap;

	if (pool_find_snapshot(p, spec->token, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	if (found.kind == POOL_FILE_FOREIGN)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s/.cleat/snapshots/%s' is there and is no snapshot of cleat's; "
			       "move it away",
			       p->dir, spec->token);
	if (found.kind == POOL_FILE_DAMAGED)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "a damaged snapshot has this name (%s); look at "
			       "'%s/.cleat/snapshots/%s'",
			       snap->damage, p->dir, spec->token);
	if (!str_is_equal(snap->name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the snapshot of the name '%s' has the same token", snap->name);
	if (snap->group[0])
		return err_set(err, ERR_ALREADY_EXISTS, "it is a member of the group '%s'",
			       snap->group);
	if (!str_is_equal(snap->source, spec->source))
		return err_set(err, ERR_ALREADY_EXISTS, "it exists and is of volume '%s'",
			       snap->source);
	if (pool_sync_named(p, p->snapshot_fd, err) < 0)
		return -1;
	*ret_snap = *snap;
	return 0;
}

static void fill_record(const struct pool *p, const struct backend_snapshot_spec *spec,
			const struct pool_volume *from, int64_t moment_ns, struct record *ret)
{
	*ret = (struct record){
		.bytes = pool_content_bytes(from),
		.created_ns = moment_ns,
		.uuid = from->record.uuid,
		.pool = p->base.identity,
		.source_kind = BACKEND_SOURCE_VOLUME,
	};
	memcpy(ret->fs, from->record.fs, sizeof(ret->fs));
	(void)snprintf(ret->source, sizeof(ret->source), "%s", from->vol.token);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", spec->name);
	record_set_owner(ret, &spec->options.owner);
}

/* Under its name, unless somebody was quicker. */
static int name_it(struct pool *p, const struct backend_snapshot_spec *spec,
		   const struct record *record, int fd, struct err *err)
{
	char text[RECORD_MAX];

	record_format(RECORD_SNAPSHOT, record, text);
	if (host_file_set_attr(fd, SNAPSHOT_ATTR, text, err) < 0 ||
	    pool_write_out(p, fd, err) < 0 ||
	    host_file_link(fd, p->snapshot_fd, spec->token, err) < 0)
		return -1;
	pool_know(p, POOL_SNAPSHOTS, spec->token, &(struct pool_entry){ 0 });
	return 0;
}

static int make_of(struct pool *p, struct ctx *ctx, const struct backend_snapshot_spec *spec,
		   struct pool_volume *from, struct err *err)
{
	autohostfd int fd = -1;
	struct pool_copy_plan plan = { .from = from };
	struct record record;
	struct pool_cut cut;
	int rc = pool_make_file(p, p->snapshot_fd, from->fd, &fd, err) < 0
			 ? -1
			 : pool_cut(p, ctx, from, &spec->options, fd, &cut, err);

	if (rc < 0)
		return -1;
	fill_record(p, spec, from, cut.moment_ns, &record);
	if (rc == 0)
		return ctx_check(ctx, err) < 0 ? -1 : name_it(p, spec, &record, fd, err);
	plan.fd = fd;
	plan.promised = cut.promised;
	fd = -1;
	rc = pool_copying_begin(p, &record, &plan, spec->token, err);
	from->fd = -1;
	return rc;
}

static int make(struct pool *p, struct ctx *ctx, const struct backend_snapshot_spec *spec,
		struct err *err)
{
	struct pool_volume from;
	int rc;

	if (pool_find_whole(p, spec->source, true, ERR_DATA_LOSS, &from, err) < 0)
		return err_wrap(err, "volume '%s'", spec->source);
	rc = make_of(p, ctx, spec, &from, err);
	host_fd_close(from.fd);
	return rc < 0 && err->code == ERR_ALREADY_EXISTS ? 0 : rc;
}

/* One that is there already, but not yet: whether it will be. */
static int check_copying(struct pool *p, const struct backend_snapshot *snap, struct err *err)
{
	return snap->is_ready ? 0 : pool_copying_check(p, snap->token, err);
}

int pool_snapshot_create(struct backend *b, struct ctx *ctx,
			 const struct backend_snapshot_spec *spec,
			 struct backend_snapshot *ret_snap, struct err *err)
{
	struct pool *p = pool_from(b);
	struct backend_snapshot snap;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(p, spec, &snap, err) == 0 && check_copying(p, &snap, err) == 0) {
		*ret_snap = snap;
		return 0;
	}
	if (err->code != ERR_NOT_FOUND || make(p, ctx, spec, err) < 0)
		return -1;
	if (take_existing(p, spec, ret_snap, err) < 0)
		return err->code == ERR_NOT_FOUND
			       ? err_set(err, ERR_ABORTED,
					 "a snapshot of this name is being made for a group, or "
					 "deleted")
			       : -1;
	return 0;
}

int pool_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			 const struct secrets *secrets, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_snapshot found;
	int rc;

	(void)secrets;
	if (pool_find_whole_snapshot(p, token, false, &found, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		/* a process killed between unlink and sync may be why it is gone */
		if (host_dir_sync(p->snapshot_fd, err) < 0)
			return -1;
		pool_forget(p, POOL_SNAPSHOTS, token);
		return 0;
	}
	rc = ctx_check(ctx, err);
	if (rc == 0 && found.snap.group[0])
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			     "it belongs to the group '%s' and goes with it alone",
			     found.snap.group);
	if (rc == 0)
		rc = pool_copying_cancel(p, ctx, token, err);
	if (rc == 0)
		rc = pool_unlink(p, POOL_SNAPSHOTS, token, found.fd, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
		       const struct secrets *secrets, struct backend_snapshot *ret_snap,
		       struct err *err)
{
	struct pool_snapshot found;

	if (ctx_check(ctx, err) < 0 ||
	    pool_find_our_snapshot(pool_from(b), token, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	*ret_snap = found.snap;
	return 0;
}

int pool_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
		       backend_each_snapshot_fn fn, void *arg, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_names names;
	int rc = 0;

	if (pool_names_read(p, POOL_SNAPSHOTS, after, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		struct pool_snapshot found;

		rc = ctx_check(ctx, err);
		if (rc < 0)
			break;
		if (pool_find_our_snapshot(p, names.v[i], true, &found, err) < 0) {
			rc = err->code == ERR_NOT_FOUND ? 0 : -1;
			if (rc < 0)
				break;
			continue;
		}
		host_fd_close(found.fd);
		if (fn(arg, &found.snap) != 0)
			break;
	}
	pool_names_done(&names);
	return rc;
}
