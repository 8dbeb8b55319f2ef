/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of snapshots: which there are, and how they end.
 *
 *   .TOKEN (mark) → members linked → TOKEN (record) linked → mark away      made (group_create.c)
 *   TOKEN renamed .TOKEN → members unlinked → mark away                     removed
 *
 * A member is a snapshot like any other, whose record names the group; it counts when the group's
 * record lists it. So a group is there from one link on, and gone from one rename on. While members
 * are linked that do not count, or not any more, the mark is there: what it names is swept when the
 * pool is opened, or by the next call for the group. A member that no record lists and no mark
 * explains is damage: somebody may have removed the record, and its bytes may be all that is left.
 *
 * Mark, members, record: each is durable before the next is begun.
 */
#include "backend/pool/group-internal.h"

#include <stdlib.h>

#include "base/str.h"

#define LOG_ROOM "backend"
#include "base/log.h"

void pool_group_mark(const char *token, char ret_mark[GROUP_MARK_MAX])
{
	(void)snprintf(ret_mark, GROUP_MARK_MAX, ".%s", token);
}

static int judge(const struct pool *p, const char *token, const struct group_record *r,
		 struct err *err)
{
	char text[VOL_TOKEN_MAX > UUID_TEXT_MAX ? VOL_TOKEN_MAX : UUID_TEXT_MAX];

	if (memcmp(&r->pool, &p->base.identity, sizeof(r->pool)) != 0) {
		uuid_format(&r->pool, text);
		return err_set(err, ERR_FAILED_PRECONDITION, "made for pool %s", text);
	}
	vol_token_from_name(r->name, text);
	return str_is_equal(text, token)
		       ? 0
		       : err_set(err, ERR_FAILED_PRECONDITION, "it was renamed from '%.60s'", text);
}

int pool_group_read(const struct pool *p, const char *token, struct group_record *ret_record,
		    struct err *err)
{
	autofree char *text = xmalloc(GROUP_RECORD_MAX);
	struct group_record r;
	autohostfd int fd = -1;

	if (host_file_open(p->group_fd, token, true, &fd, err) < 0)
		return err->code == ERR_NOT_FOUND
			       ? err_set(err, ERR_NOT_FOUND, "no such group snapshot")
			       : -1;
	if (host_file_get_text(fd, text, GROUP_RECORD_MAX, err) < 0)
		return -1;
	if (group_record_parse(text, &r, err) < 0)
		goto damaged;
	if (judge(p, token, &r, err) < 0) {
		group_record_done(&r);
		goto damaged;
	}
	*ret_record = r;
	return 0;
damaged:
	return err_wrap(err,
			"the group's record is damaged; look at '%s/.cleat/groups/%s', cleat "
			"neither serves nor deletes it",
			p->dir, token);
}

int pool_group_is_marked(const struct pool *p, const char *token, struct err *err)
{
	char mark[GROUP_MARK_MAX];
	autohostfd int fd = -1;

	pool_group_mark(token, mark);
	if (host_file_open(p->group_fd, mark, true, &fd, err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

static bool lists(const struct group_record *r, const char *member)
{
	for (size_t i = 0; i < r->n_members; i++) {
		if (str_is_equal(r->members[i].token, member))
			return true;
	}
	return false;
}

/* 1: the group's record has the member; 0: there is none, or it does not. */
static int is_listed(const struct pool *p, const char *group, const char *member, struct err *err)
{
	struct group_record r;
	bool is;

	if (pool_group_read(p, group, &r, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	is = lists(&r, member);
	group_record_done(&r);
	return is;
}

static int has_name(int fd, struct err *err)
{
	struct host_file now;

	return host_file_look(fd, &now, err) < 0 ? -1 : now.n_links > 0;
}

/* A group may be made or removed meanwhile: it is marked whenever members are linked that its
 * record does not list, so what was not marked is listed now, or it is gone. */
int pool_group_judge_member(const struct pool *p, const char *group, const char *member, int fd,
			    enum pool_member *ret_state, struct err *err)
{
	int listed = is_listed(p, group, member, err);
	int marked, named;

	if (listed < 0)
		return -1;
	if (listed > 0) {
		*ret_state = POOL_MEMBER_COUNTS;
		return 0;
	}
	marked = pool_group_is_marked(p, group, err);
	if (marked == 0) /* not any more, perhaps */
		listed = is_listed(p, group, member, err);
	if (marked < 0 || listed < 0)
		return -1;
	if (listed > 0) {
		*ret_state = POOL_MEMBER_COUNTS;
		return 0;
	}
	named = marked ? 0 : has_name(fd, err);
	if (named < 0)
		return -1;
	*ret_state = named ? POOL_MEMBER_LOST : POOL_MEMBER_HIDDEN;
	return 0;
}

/* Unlinks it if it is of the group and does not count. */
static int sweep_one(struct pool *p, const char *group, const char *token, struct err *err)
{
	struct pool_snapshot found;
	int rc;

	if (pool_find_any_snapshot(p, token, false, &found, err) < 0)
		return err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION ? 0 : -1;
	rc = found.kind == POOL_FILE_WHOLE && str_is_equal(found.record.group, group)
		     ? is_listed(p, group, token, err)
		     : 1;
	if (rc == 0)
		rc = pool_unlink(p, POOL_SNAPSHOTS, token, found.fd, err);
	host_fd_close(found.fd);
	return rc < 0 ? -1 : 0;
}

int pool_group_sweep(struct pool *p, const char *group, struct err *err)
{
	char mark[GROUP_MARK_MAX];
	struct pool_names names;
	int rc = 0;

	if (pool_names_read(p, POOL_SNAPSHOTS, "", &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n && rc == 0; i++)
		rc = sweep_one(p, group, names.v[i], err);
	pool_names_done(&names);
	pool_group_mark(group, mark);
	return rc < 0 ? -1 : host_file_unlink(p->group_fd, mark, err);
}

struct marks {
	VEC(char *) v;
};

static int collect_mark(void *arg, const char *name, bool is_regular)
{
	struct marks *marks = arg;

	if (is_regular && name[0] == '.' && vol_token_is_valid(name + 1))
		vec_push(&marks->v, xstrdup(name + 1));
	return 0;
}

void pool_group_sweep_all(struct pool *p)
{
	struct marks marks = { .v = VEC_INIT };
	struct err err;

	if (host_dir_each(p->group_fd, collect_mark, &marks, &err) < 0)
		log_warn("half of a group snapshot may be left that a killed process began",
			 log_str("pool", p->base.pool_name), log_err(&err));
	for (size_t i = 0; i < marks.v.n; i++) {
		if (pool_group_sweep(p, marks.v.v[i], &err) < 0)
			log_warn("half of a group snapshot is left that a killed process began",
				 log_str("pool", p->base.pool_name), log_str("group", marks.v.v[i]),
				 log_err(&err));
		free(marks.v.v[i]);
	}
	if (marks.v.n > 0)
		log_info("looked for halves of group snapshots that a killed process began",
			 log_str("pool", p->base.pool_name), log_u64("groups", marks.v.n));
	vec_done(&marks.v);
}

static int fill_member(struct pool *p, const char *group, const struct group_member *member,
		       struct backend_snapshot *ret, struct err *err)
{
	struct pool_snapshot found;

	if (pool_find_any_snapshot(p, member->token, true, &found, err) < 0)
		return err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION
			       ? err_set(err, ERR_DATA_LOSS, "its member '%s' is gone",
					 member->token)
			       : -1;
	host_fd_close(found.fd);
	if (found.kind != POOL_FILE_WHOLE || !str_is_equal(found.record.group, group))
		return err_set(err, ERR_DATA_LOSS, "its member '%s' is damaged: %s", member->token,
			       str_or(found.snap.damage, "another file has its name"));
	*ret = found.snap;
	return 0;
}

static int fill(struct pool *p, struct ctx *ctx, const char *token, const struct group_record *r,
		struct backend_group *ret, struct err *err)
{
	struct backend_group group = { .created_ns = r->created_ns, .n_members = r->n_members };

	(void)snprintf(group.token, sizeof(group.token), "%s", token);
	(void)snprintf(group.name, sizeof(group.name), "%s", r->name);
	group.members = arena_array(ctx->arena, r->n_members, sizeof(*group.members));
	for (size_t i = 0; i < r->n_members; i++) {
		if (fill_member(p, token, &r->members[i], &group.members[i], err) < 0)
			return -1;
	}
	*ret = group;
	return 0;
}

int pool_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		    struct backend_group *ret_group, struct err *err)
{
	struct pool *p = pool_from(b);
	struct group_record r;
	int rc;

	if (ctx_check(ctx, err) < 0 || pool_group_read(p, token, &r, err) < 0)
		return -1;
	rc = fill(p, ctx, token, &r, ret_group, err);
	group_record_done(&r);
	return rc;
}

/* Its members, open and claimed; those that are gone are passed over, with fd -1. */
static int claim_members(struct pool *p, const char *group, const struct group_record *r, int *fds,
			 struct err *err)
{
	for (size_t i = 0; i < r->n_members; i++) {
		const char *token = r->members[i].token;
		struct pool_snapshot found;

		if (pool_find_any_snapshot(p, token, false, &found, err) < 0) {
			if (err->code != ERR_NOT_FOUND && err->code != ERR_FAILED_PRECONDITION)
				return -1;
			continue;
		}
		if (found.kind == POOL_FILE_DAMAGED) {
			host_fd_close(found.fd);
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "its member is damaged (%s); look at "
				       "'%s/.cleat/snapshots/%s', cleat does not delete it",
				       found.snap.damage, p->dir, token);
		}
		if (!str_is_equal(found.record.group, group)) {
			host_fd_close(found.fd);
			continue;
		}
		fds[i] = found.fd;
		if (pool_claim_alone(found.fd, err) < 0)
			return err_wrap(err, "member '%s'", token);
	}
	return 0;
}

/* From the rename on it is gone; what fails after it is done by whoever sweeps. */
static int unlink_all(struct pool *p, const char *token, const struct group_record *r,
		      const int *fds, struct err *err)
{
	char mark[GROUP_MARK_MAX];

	pool_group_mark(token, mark);
	if (host_file_rename(p->group_fd, token, mark, err) < 0 ||
	    host_dir_sync(p->group_fd, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n_members; i++)
		pool_know(p, POOL_SNAPSHOTS, r->members[i].token, NULL);
	for (size_t i = 0; i < r->n_members; i++) {
		if (fds[i] >= 0 &&
		    pool_unlink(p, POOL_SNAPSHOTS, r->members[i].token, fds[i], err) < 0)
			return -1;
	}
	return host_file_unlink(p->group_fd, mark, err);
}

static int remove_recorded(struct pool *p, struct ctx *ctx, const char *token,
			   const struct group_record *r, struct err *err)
{
	autofree int *fds = xcalloc(r->n_members, sizeof(*fds));
	int rc;

	for (size_t i = 0; i < r->n_members; i++)
		fds[i] = -1;
	rc = claim_members(p, token, r, fds, err);
	if (rc == 0)
		rc = ctx_check(ctx, err);
	if (rc == 0)
		rc = unlink_all(p, token, r, fds, err);
	for (size_t i = 0; i < r->n_members; i++)
		host_fd_close(fds[i]);
	return rc;
}

/* What an earlier call left; a process killed before its sync may be why there is no record. */
static int remove_rest(struct pool *p, const char *token, struct err *err)
{
	int rc = pool_group_is_marked(p, token, err);

	if (rc < 0 || host_dir_sync(p->group_fd, err) < 0)
		return -1;
	return rc > 0 ? pool_group_sweep(p, token, err) : 0;
}

int pool_group_remove(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err)
{
	struct pool *p = pool_from(b);
	struct group_record r;
	int rc;

	(void)secrets;
	if (ctx_check(ctx, err) < 0)
		return -1;
	if (pool_group_read(p, token, &r, err) < 0)
		return err->code == ERR_NOT_FOUND ? remove_rest(p, token, err) : -1;
	rc = remove_recorded(p, ctx, token, &r, err);
	group_record_done(&r);
	return rc;
}
