/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The birth of a group of snapshots.
 *
 *   look, claim, reserve (all) → freeze (all) → FICLONE (each) → thaw → records, write out (each)
 *     → mark → link (each) → link the group's record → mark away; a sync after each
 *
 * No write to any member comes between the first clone and the last. What is mounted is frozen,
 * whatever the class says; what is not attached is claimed alone, so that nobody attaches it; and a
 * raw device that somebody may write to can be held by nothing here, so it is refused. Everything
 * that may take long or fail for want of room is done before the freeze, and what needs the disk
 * after it. Up to the mark nothing has a name: a failure or a kill leaves nothing. If a filesystem
 * did not stand still to the end, all is thrown away.
 *
 * A copy takes too long to be made of several volumes that stand still: a member with too many
 * extents is refused, and so are members that have too many together.
 */
#include <stdlib.h>

#include "backend/pool/group-internal.h"
#include "base/clock.h"
#include "base/str.h"
#include "host/extent.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define STILL_S 5 /* how long the writers of all members may wait */

struct member {
	char token[VOL_TOKEN_MAX]; /* of the snapshot, and its name */
	struct pool_volume from;
	int from_fd; /* from.fd, or -1 */
	int fd;      /* the clone; nameless until it is linked */
	uint64_t n_raised;
	bool is_reserved; /* begun and not ended */
	bool is_linked;
};

struct birth {
	struct pool *p;
	const struct backend_group_spec *spec;
	struct member *members;
	size_t n;
	int64_t moment_ns;
};

static int compare_tokens(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of a record. Free it. */
static const char **sort_sources(const struct backend_group_spec *spec)
{
	const char **sorted = xcalloc(spec->n_sources, sizeof(*sorted));

	memcpy(sorted, spec->sources, spec->n_sources * sizeof(*sorted));
	qsort(sorted, spec->n_sources, sizeof(*sorted), compare_tokens);
	return sorted;
}

static int compare_existing(const struct group_record *r, const struct backend_group_spec *spec,
			    struct err *err)
{
	autofree const char **sorted = sort_sources(spec);
	bool is_same = r->n_members == spec->n_sources;

	if (!str_is_equal(r->name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the group snapshot of the name '%s' has the same token", r->name);
	for (size_t i = 0; is_same && i < r->n_members; i++)
		is_same = str_is_equal(r->members[i].source, sorted[i]);
	return is_same ? 0
		       : err_set(err, ERR_ALREADY_EXISTS,
				 "it exists and is of other volumes, %zu, the first of which is "
				 "'%s'",
				 r->n_members, r->members[0].source);
}

/* The group that has the token already: 0 if it is what spec wants. */
static int take_existing(struct pool *p, struct ctx *ctx, const struct backend_group_spec *spec,
			 struct backend_group *ret_group, struct err *err)
{
	struct group_record r;
	int rc;

	if (pool_group_read(p, spec->token, &r, err) < 0)
		return -1;
	rc = compare_existing(&r, spec, err);
	group_record_done(&r);
	if (rc < 0 || pool_sync_named(p, p->group_fd, err) < 0)
		return -1;
	if (pool_group_stat(&p->base, ctx, spec->token, ret_group, err) < 0)
		return err->code == ERR_NOT_FOUND ? err_set(err, ERR_ABORTED, "it is being deleted")
						  : -1;
	return 0;
}

static int name_it(const struct member *m, struct err *err)
{
	return err_wrap(err, "volume '%s'", m->from.vol.token);
}

static int find_sources(struct birth *b, struct err *err)
{
	autofree const char **sorted = sort_sources(b->spec);

	for (size_t i = 0; i < b->n; i++) {
		struct member *m = &b->members[i];

		vol_token_of_member(b->spec->name, sorted[i], m->token);
		if (pool_find_whole(b->p, sorted[i], true, ERR_DATA_LOSS, &m->from, err) < 0)
			return err_wrap(err, "volume '%s'", sorted[i]);
		m->from_fd = m->from.fd;
	}
	return 0;
}

static int refuse_extents(const struct member *m, uint64_t n, uint64_t max, struct err *err)
{
	(void)err_set(
		err, ERR_FAILED_PRECONDITION,
		"its file has %llu extents, more than the %llu that the class allows, and a "
		"member of a group cannot be copied instead; allow more in the class, or copy "
		"the data into a new volume",
		(unsigned long long)n, (unsigned long long)max);
	return name_it(m, err);
}

static int check_extents(const struct birth *b, struct err *err)
{
	uint64_t max = b->spec->options.max_extents;
	const struct member *worst = NULL;
	uint64_t all = 0, most = 0;

	for (size_t i = 0; i < b->n; i++) {
		const struct member *m = &b->members[i];
		uint64_t n;

		if (host_file_count_extents(m->from.fd, &n, err) < 0)
			return name_it(m, err);
		if (max && n > max)
			return refuse_extents(m, n, max, err);
		worst = n >= most ? m : worst;
		most = n >= most ? n : most;
		all += n;
	}
	if (all <= STILL_S * UINT64_C(1000000) / POOL_SHARE_EXTENT_US)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the volumes' files have %llu extents together, most of them '%s'; sharing "
		       "them would stop all writes for about %llu ms, more than the %d s that they "
		       "may wait; copy the data into a new volume, or make smaller groups",
		       (unsigned long long)all, worst->from.vol.token,
		       (unsigned long long)(all * POOL_SHARE_EXTENT_US / 1000), STILL_S);
}

/* Nobody attaches it from now on, unless it is attached, nor removes it. */
static int claim(const struct member *m, struct err *err)
{
	struct backend_device dev;
	int rc =
		filedev_find(FILEDEV_MAIN, m->from.fd, &m->from.file, m->from.vol.token, &dev, err);

	if (rc > 0)
		return pool_claim_source(m->from.fd, "volume", err);
	return rc < 0 ? -1 : pool_claim_still(m->from.fd, err);
}

static int prepare(struct birth *b, struct ctx *ctx, struct err *err)
{
	for (size_t i = 0; i < b->n; i++) {
		struct member *m = &b->members[i];

		if (claim(m, err) < 0 ||
		    pool_reserve_begin(b->p, ctx, &m->from, &m->n_raised, err) < 0)
			return name_it(m, err);
		m->is_reserved = true;
		if (pool_make_file(b->p, b->p->snapshot_fd, m->from_fd, &m->fd, err) < 0)
			return -1;
	}
	return 0;
}

static int clone_all(struct birth *b, struct ctx *ctx, struct err *err)
{
	b->moment_ns = clock_wall_ns();
	for (size_t i = 0; i < b->n; i++) {
		struct member *m = &b->members[i];

		if (ctx_check(ctx, err) < 0 || host_file_clone(m->from.fd, m->fd, err) < 0)
			return name_it(m, err);
	}
	return 0;
}

static int cut(struct birth *b, struct ctx *ctx, struct err *err)
{
	autofree struct quiesce_what *volumes = xcalloc(b->n, sizeof(*volumes));
	struct pool_still still;

	for (size_t i = 0; i < b->n; i++) {
		const struct pool_volume *from = &b->members[i].from;

		volumes[i] = (struct quiesce_what){
			.fd = from->fd,
			.file = from->file,
			.name = from->vol.token,
			.token = from->vol.token,
			.fs = from->vol.fs,
			.hold = true,
		};
	}
	if (pool_still_begin(b->p, ctx, volumes, b->n, &still, err) < 0)
		return -1;
	return pool_still_end(&still, clone_all(b, ctx, err), err);
}

static int write_record(const struct birth *b, const struct member *m, struct err *err)
{
	struct record record = {
		.bytes = pool_content_bytes(&m->from),
		.created_ns = b->moment_ns,
		.uuid = m->from.record.uuid,
		.pool = b->p->base.identity,
		.source_kind = BACKEND_SOURCE_VOLUME,
	};
	char text[RECORD_MAX];

	memcpy(record.fs, m->from.record.fs, sizeof(record.fs));
	memcpy(record.source, m->from.vol.token, sizeof(record.source));
	memcpy(record.name, m->token, sizeof(m->token));
	(void)snprintf(record.group, sizeof(record.group), "%s", b->spec->token);
	record_set_owner(&record, &b->spec->options.owner);
	record_format(RECORD_SNAPSHOT, &record, text);
	return host_file_set_attr(m->fd, SNAPSHOT_ATTR, text, err);
}

static int finish_members(struct birth *b, struct err *err)
{
	for (size_t i = 0; i < b->n; i++) {
		struct member *m = &b->members[i];

		m->is_reserved = false;
		if (pool_reserve_end(b->p, &m->from, m->fd, m->n_raised, err) < 0 ||
		    write_record(b, m, err) < 0 || pool_write_out(b->p, m->fd, err) < 0)
			return name_it(m, err);
	}
	return 0;
}

/* The group's record, nameless and written out. */
static int make_record(const struct birth *b, int *ret_fd, struct err *err)
{
	autofree struct group_member *members = xcalloc(b->n, sizeof(*members));
	struct group_record r = {
		.created_ns = b->moment_ns,
		.pool = b->p->base.identity,
		.members = members,
		.n_members = b->n,
	};
	autostr struct str text = STR_INIT;
	autohostfd int fd = -1;

	(void)snprintf(r.name, sizeof(r.name), "%s", b->spec->name);
	for (size_t i = 0; i < b->n; i++) {
		memcpy(members[i].token, b->members[i].token, sizeof(members[i].token));
		memcpy(members[i].source, b->members[i].from.vol.token, sizeof(members[i].source));
	}
	group_record_format(&r, &text);
	if (host_file_make(b->p->group_fd, &fd, err) < 0 ||
	    host_file_set_text(fd, str_get(&text), err) < 0 || pool_write_out(b->p, fd, err) < 0)
		return -1;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int link_members(struct birth *b, struct err *err)
{
	for (size_t i = 0; i < b->n; i++) {
		struct member *m = &b->members[i];

		if (host_file_link(m->fd, b->p->snapshot_fd, m->token, err) < 0)
			return err->code == ERR_ALREADY_EXISTS
				       ? err_set(err, ERR_ALREADY_EXISTS,
						 "the snapshot '%s' is there, and has the name of "
						 "a member",
						 m->token)
				       : name_it(m, err);
		m->is_linked = true;
	}
	return pool_sync_named(b->p, b->p->snapshot_fd, err);
}

/* What cannot be undone is found by its mark. */
static void undo(const struct birth *b, const char *mark)
{
	struct err err;

	for (size_t i = 0; i < b->n; i++) {
		const struct member *m = &b->members[i];

		if (m->is_linked && pool_unlink(b->p, POOL_SNAPSHOTS, m->token, m->fd, &err) < 0)
			goto failed;
	}
	if (host_file_unlink(b->p->group_fd, mark, &err) == 0)
		return;
failed:
	log_warn("members of a group snapshot that was not made are left until the next call",
		 log_str("pool", b->p->base.pool_name), log_str("group", b->spec->token),
		 log_err(&err));
}

static int mark_it(const struct birth *b, const char *mark, struct err *err)
{
	int rc = pool_group_is_marked(b->p, b->spec->token, err);
	autohostfd int fd = -1;

	if (rc < 0 || (rc > 0 && pool_group_sweep(b->p, b->spec->token, err) < 0))
		return -1;
	return host_file_open_or_make(b->p->group_fd, mark, &fd, err) < 0
		       ? -1
		       : host_dir_sync(b->p->group_fd, err);
}

/* The members get their names, and then the group its own. */
static int name_all(struct birth *b, struct err *err)
{
	char mark[GROUP_MARK_MAX];
	autohostfd int fd = -1;
	struct err ignored; /* whoever opens the pool removes it */

	pool_group_mark(b->spec->token, mark);
	if (make_record(b, &fd, err) < 0 || mark_it(b, mark, err) < 0)
		return -1;
	if (link_members(b, err) < 0 ||
	    host_file_link(fd, b->p->group_fd, b->spec->token, err) < 0) {
		undo(b, mark);
		return -1;
	}
	for (size_t i = 0; i < b->n; i++)
		pool_know(b->p, POOL_SNAPSHOTS, b->members[i].token, &(struct pool_entry){ 0 });
	(void)host_file_unlink(b->p->group_fd, mark, &ignored);
	return 0;
}

static int bear(struct birth *b, struct ctx *ctx, struct err *err)
{
	if (find_sources(b, err) < 0 || check_extents(b, err) < 0 || prepare(b, ctx, err) < 0 ||
	    cut(b, ctx, err) < 0 || finish_members(b, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	return name_all(b, err);
}

int pool_group_create(struct backend *backend, struct ctx *ctx,
		      const struct backend_group_spec *spec, struct backend_group *ret_group,
		      struct err *err)
{
	struct birth b = { .p = pool_from(backend), .spec = spec, .n = spec->n_sources };
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(b.p, ctx, spec, ret_group, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	b.members = xcalloc(b.n, sizeof(*b.members));
	for (size_t i = 0; i < b.n; i++)
		b.members[i].fd = b.members[i].from_fd = -1;
	rc = bear(&b, ctx, err);
	for (size_t i = 0; i < b.n; i++) {
		if (b.members[i].is_reserved)
			pool_reserve_cancel(b.p, &b.members[i].from);
		host_fd_close(b.members[i].fd);
		host_fd_close(b.members[i].from_fd);
	}
	free(b.members);
	return rc < 0 ? -1 : take_existing(b.p, ctx, spec, ret_group, err);
}
