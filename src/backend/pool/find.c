/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a pool are: volumes at its top, snapshots below .cleat.
 *
 * What a file is, is read from the file each time: its record, its size, its own name. There is no
 * index to disagree with it. A file without a record is foreign, whatever its name; one with a
 * record that is wrong is damaged: it may hold somebody's only data, so it is shown and otherwise
 * left for a person.
 *
 * A second hard link is damage too: the file would be emptied under somebody's rescue copy, and a
 * loop device bound by the other name would not be known as ours.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "volume/id.h"

/* A file of either shelf. */
struct found {
	int fd;
	struct host_file file;
	enum pool_file kind;
	struct record record; /* zero if it cannot be read */
	uint64_t bytes;       /* now, as are the limits */
	struct vol_limits limits;
	char damage[96];
};

static const enum record_kind kinds[POOL_SHELVES] = {
	[POOL_VOLUMES] = RECORD_VOLUME,
	[POOL_SNAPSHOTS] = RECORD_SNAPSHOT,
};

int pool_shelf_fd(const struct pool *p, enum pool_shelf shelf)
{
	return shelf == POOL_VOLUMES ? p->dir_fd : p->snapshot_fd;
}

static void damaged(struct found *found, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void damaged(struct found *found, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(found->damage, sizeof(found->damage), format, args);
	va_end(args);
	found->kind = POOL_FILE_DAMAGED;
}

/* What is wrong between the record and the rest, if something is. */
static void judge(const struct pool *p, const char *token, struct found *found)
{
	const struct host_file *file = &found->file;
	char text[VOL_TOKEN_MAX > UUID_TEXT_MAX ? VOL_TOKEN_MAX : UUID_TEXT_MAX];

	if (memcmp(&found->record.pool, &p->base.identity, sizeof(found->record.pool)) != 0) {
		uuid_format(&found->record.pool, text);
		damaged(found, "made for pool %s", text);
		return;
	}
	/* larger is whole: a kill in mid-growth leaves it so */
	if (file->bytes < found->bytes) {
		damaged(found, "the file has %llu bytes, its record says %llu",
			(unsigned long long)file->bytes, (unsigned long long)found->bytes);
		return;
	}
	if (file->n_links != 1) {
		damaged(found, "the file has %llu names (hard links); remove all but this one",
			(unsigned long long)file->n_links);
		return;
	}
	vol_token_from_name(found->record.name, text);
	if (!str_is_equal(text, token))
		damaged(found, "the file was renamed from '%.60s'", text);
}

/* 1 if there is a state; 0 if not. One too long to be read is one that is wrong. */
static int read_state(int fd, char text[RECORD_MAX], struct err *err)
{
	if (host_file_get_attr(fd, STATE_ATTR, text, RECORD_MAX, err) == 0)
		return 1;
	if (err->code == ERR_NOT_FOUND)
		return 0;
	if (err->code != ERR_FAILED_PRECONDITION)
		return -1;
	text[0] = '\0';
	return 1;
}

int pool_state_read(int fd, struct state *ret_state, struct err *err)
{
	char text[RECORD_MAX];
	int rc = read_state(fd, text, err);

	if (rc > 0)
		return state_parse(text, ret_state, err);
	if (rc == 0)
		*ret_state = (struct state){ 0 };
	return rc;
}

int pool_state_write(int fd, const struct state *state, struct err *err)
{
	char text[RECORD_MAX];

	return state_format(state, text, err) < 0 ? -1
						  : host_file_set_attr(fd, STATE_ATTR, text, err);
}

/* What changes in the life of a volume. */
static int apply_state(enum pool_shelf shelf, struct found *found, struct err *err)
{
	struct state state = { 0 };
	char text[RECORD_MAX];
	int rc = shelf == POOL_VOLUMES ? read_state(found->fd, text, err) : 0;

	if (rc < 0)
		return -1;
	if (rc > 0 && state_parse(text, &state, err) < 0)
		damaged(found, "%.95s", err->msg);
	found->bytes = state.bytes ? state.bytes : found->record.bytes;
	found->limits = state.limits;
	return 0;
}

static int read_file(const struct pool *p, enum pool_shelf shelf, const char *token,
		     struct found *found, struct err *err)
{
	char text[RECORD_MAX];

	if (host_file_look(found->fd, &found->file, err) < 0)
		return -1;
	if (host_file_get_attr(found->fd, record_attr(kinds[shelf]), text, sizeof(text), err) < 0) {
		if (err->code != ERR_NOT_FOUND && err->code != ERR_FAILED_PRECONDITION)
			return -1;
		if (err->code == ERR_NOT_FOUND)
			found->kind = POOL_FILE_FOREIGN;
		else
			damaged(found, "%.95s", err->msg);
		return 0;
	}
	found->kind = POOL_FILE_WHOLE;
	if (record_parse(kinds[shelf], text, &found->record, err) < 0) {
		damaged(found, "%.95s", err->msg);
		return 0;
	}
	if (apply_state(shelf, found, err) < 0)
		return -1;
	if (found->kind == POOL_FILE_WHOLE)
		judge(p, token, found);
	return 0;
}

static int find(const struct pool *p, enum pool_shelf shelf, const char *token, bool read_only,
		struct found *ret_found, struct err *err)
{
	struct found found = { .fd = -1 };

	if (host_file_open(pool_shelf_fd(p, shelf), token, read_only, &found.fd, err) < 0)
		return -1;
	if (read_file(p, shelf, token, &found, err) < 0) {
		host_fd_close(found.fd);
		return -1;
	}
	*ret_found = found;
	return 0;
}

static void fill_volume(const struct found *found, const char *token, struct backend_volume *vol)
{
	const struct record *r = &found->record;

	*vol = (struct backend_volume){
		.bytes = found->bytes,
		.allow_buffered = r->allow_buffered,
		.source_kind = r->source_kind,
		.is_damaged = found->kind == POOL_FILE_DAMAGED,
		.created_ns = r->created_ns,
		.is_thin = r->is_thin,
		.limits = found->limits,
	};
	(void)snprintf(vol->token, sizeof(vol->token), "%s", token);
	memcpy(vol->name, r->name, sizeof(vol->name));
	memcpy(vol->fs, r->fs, sizeof(vol->fs));
	memcpy(vol->source, r->source, sizeof(vol->source));
	memcpy(vol->damage, found->damage, sizeof(vol->damage));
	memcpy(vol->cluster, r->cluster, sizeof(vol->cluster));
	memcpy(vol->claim_namespace, r->claim_namespace, sizeof(vol->claim_namespace));
	memcpy(vol->claim_name, r->claim_name, sizeof(vol->claim_name));
}

static void fill_snapshot(const struct found *found, const char *token,
			  struct backend_snapshot *snap)
{
	const struct record *r = &found->record;

	*snap = (struct backend_snapshot){
		.bytes = found->bytes,
		.is_ready = found->kind == POOL_FILE_WHOLE && !r->is_copying,
		.is_damaged = found->kind == POOL_FILE_DAMAGED,
		.created_ns = r->created_ns,
	};
	(void)snprintf(snap->token, sizeof(snap->token), "%s", token);
	memcpy(snap->name, r->name, sizeof(snap->name));
	memcpy(snap->fs, r->fs, sizeof(snap->fs));
	memcpy(snap->source, r->source, sizeof(snap->source));
	memcpy(snap->group, r->group, sizeof(snap->group));
	memcpy(snap->damage, found->damage, sizeof(snap->damage));
}

int pool_find(struct pool *p, const char *token, bool read_only, struct pool_volume *ret_volume,
	      struct err *err)
{
	struct found found;

	if (find(p, POOL_VOLUMES, token, read_only, &found, err) < 0)
		return -1;
	*ret_volume = (struct pool_volume){
		.fd = found.fd, .file = found.file, .kind = found.kind, .record = found.record
	};
	if (found.kind != POOL_FILE_FOREIGN)
		fill_volume(&found, token, &ret_volume->vol);
	return 0;
}

/* 1 if it counts, or is damaged; 0 if it is of a group that is being made or removed. */
static int judge_member(const struct pool *p, const char *token, struct found *found,
			struct err *err)
{
	enum pool_member state;

	if (pool_group_judge_member(p, found->record.group, token, found->fd, &state, err) < 0) {
		if (err->code != ERR_FAILED_PRECONDITION)
			return -1;
		damaged(found, "the record of its group '%.50s' is damaged", found->record.group);
		return 1;
	}
	if (state == POOL_MEMBER_LOST)
		damaged(found, "its group has no record of it");
	return state != POOL_MEMBER_HIDDEN;
}

static int find_counting(const struct pool *p, const char *token, bool read_only,
			 struct found *ret_found, struct err *err)
{
	int rc = 1;

	if (find(p, POOL_SNAPSHOTS, token, read_only, ret_found, err) < 0)
		return -1;
	if (ret_found->kind == POOL_FILE_WHOLE && ret_found->record.group[0])
		rc = judge_member(p, token, ret_found, err);
	if (rc > 0)
		return 0;
	host_fd_close(ret_found->fd);
	return rc < 0 ? -1
		      : err_set(err, ERR_NOT_FOUND,
				"no such snapshot (its group is not whole, or not any more)");
}

static void take_snapshot(const struct found *found, const char *token, struct pool_snapshot *ret)
{
	*ret = (struct pool_snapshot){
		.fd = found->fd, .file = found->file, .kind = found->kind, .record = found->record
	};
	if (found->kind != POOL_FILE_FOREIGN)
		fill_snapshot(found, token, &ret->snap);
}

int pool_find_any_snapshot(struct pool *p, const char *token, bool read_only,
			   struct pool_snapshot *ret_snapshot, struct err *err)
{
	struct found found;

	if (find(p, POOL_SNAPSHOTS, token, read_only, &found, err) < 0)
		return -1;
	take_snapshot(&found, token, ret_snapshot);
	return 0;
}

int pool_find_snapshot(struct pool *p, const char *token, bool read_only,
		       struct pool_snapshot *ret_snapshot, struct err *err)
{
	struct found found;

	if (find_counting(p, token, read_only, &found, err) < 0)
		return -1;
	take_snapshot(&found, token, ret_snapshot);
	return 0;
}

static int fail_find(const char *what, struct err *err)
{
	if (err->code == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "no such %s", what);
	return err->code == ERR_FAILED_PRECONDITION
		       ? err_set(err, ERR_NOT_FOUND,
				 "no such %s (what has its name is no regular file)", what)
		       : -1;
}

static int fail_foreign(const char *what, int fd, struct err *err)
{
	host_fd_close(fd);
	return err_set(err, ERR_NOT_FOUND, "no such %s (a file that is not cleat's has its name)",
		       what);
}

int pool_find_ours(struct pool *p, const char *token, bool read_only,
		   struct pool_volume *ret_volume, struct err *err)
{
	if (pool_find(p, token, read_only, ret_volume, err) < 0)
		return fail_find("volume", err);
	return ret_volume->kind == POOL_FILE_FOREIGN ? fail_foreign("volume", ret_volume->fd, err)
						     : 0;
}

int pool_find_whole(struct pool *p, const char *token, bool read_only, enum err_code code,
		    struct pool_volume *ret_volume, struct err *err)
{
	if (pool_find_ours(p, token, read_only, ret_volume, err) < 0)
		return -1;
	if (ret_volume->kind == POOL_FILE_WHOLE)
		return 0;
	host_fd_close(ret_volume->fd);
	return err_set(
		err, code,
		"the volume is damaged (%s); look at '%s/%s', cleat neither serves nor deletes it",
		ret_volume->vol.damage, p->dir, token);
}

int pool_find_our_snapshot(struct pool *p, const char *token, bool read_only,
			   struct pool_snapshot *ret_snapshot, struct err *err)
{
	if (pool_find_snapshot(p, token, read_only, ret_snapshot, err) < 0)
		return fail_find("snapshot", err);
	return ret_snapshot->kind == POOL_FILE_FOREIGN
		       ? fail_foreign("snapshot", ret_snapshot->fd, err)
		       : 0;
}

int pool_find_whole_snapshot(struct pool *p, const char *token, bool read_only,
			     struct pool_snapshot *ret_snapshot, struct err *err)
{
	if (pool_find_our_snapshot(p, token, read_only, ret_snapshot, err) < 0)
		return -1;
	if (ret_snapshot->kind == POOL_FILE_WHOLE)
		return 0;
	host_fd_close(ret_snapshot->fd);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the snapshot is damaged (%s); look at '%s/.cleat/snapshots/%s', cleat "
		       "neither serves nor deletes it",
		       ret_snapshot->snap.damage, p->dir, token);
}

struct names_arg {
	struct pool_names *names;
	const char *after;
};

bool pool_is_own_name(const char *name, bool is_regular)
{
	return str_is_equal(name, ".cleat") || (!is_regular && str_is_equal(name, "lost+found"));
}

static int collect_name(void *arg, const char *name, bool is_regular)
{
	struct names_arg *a = arg;

	if (pool_is_own_name(name, is_regular))
		return 0;
	if (!is_regular || !vol_token_is_valid(name))
		a->names->n_other++;
	else if (strcmp(name, a->after) > 0)
		vec_push(a->names, xstrdup(name));
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int pool_names_read(const struct pool *p, enum pool_shelf shelf, const char *after,
		    struct pool_names *ret_names, struct err *err)
{
	struct pool_names names = { 0 };

	if (host_dir_each(pool_shelf_fd(p, shelf), collect_name,
			  &(struct names_arg){ &names, after }, err) < 0) {
		pool_names_done(&names);
		return -1;
	}
	if (names.n)
		qsort(names.v, names.n, sizeof(*names.v), compare_names);
	*ret_names = names;
	return 0;
}

void pool_names_done(struct pool_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	vec_done(names);
}
