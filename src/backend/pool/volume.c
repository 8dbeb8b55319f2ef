/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are there: found, listed, removed, attached, noted.
 *
 * What a file is, is read from the file each time: its record, its size, its own name. There is no
 * index to disagree with it. A file without a record is foreign, whatever its name; one with a
 * record that is wrong is damaged: it may hold somebody's only data, so it is shown and otherwise
 * left for a person.
 *
 * A second hard link is damage too: the file would be emptied under somebody's rescue copy, and a
 * loop device bound by the other name would not be known as ours.
 *
 * Removal unlinks, syncs the directory and then frees the blocks by truncating through the fd it
 * still has: XFS reaps unlinked inodes in the background, and a pool that says "full" right after a
 * delete would be wrong. It truncates only a file that has no name left: one that somebody linked
 * in the last moment keeps its bytes.
 */
#include <assert.h>
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "volume/id.h"

#define LOG_ROOM "backend"
#include "base/log.h"

static int damaged(struct backend_volume *vol, const char *token, const char *why)
{
	vol->is_damaged = true;
	(void)snprintf(vol->token, sizeof(vol->token), "%s", token);
	(void)snprintf(vol->damage, sizeof(vol->damage), "%.95s", why);
	return 0;
}

static int judge_size(const char *token, uint64_t wanted, const struct host_file *file,
		      struct backend_volume *vol)
{
	char why[96];

	/* larger is whole: a kill in mid-growth leaves it so */
	if (file->bytes >= wanted)
		return 0;
	(void)snprintf(why, sizeof(why), "the file has %llu bytes, its record says %llu",
		       (unsigned long long)file->bytes, (unsigned long long)wanted);
	return damaged(vol, token, why);
}

/* What was read of one file: state is NULL if it has none. */
struct judged {
	const char *record;
	const char *state;
	const struct host_file *file;
};

static int read_texts(const struct judged *of, struct record *record, struct state *state,
		      struct err *err)
{
	*state = (struct state){ 0 };
	if (record_parse(of->record, record, err) < 0)
		return -1;
	return of->state ? state_parse(of->state, state, err) : 0;
}

static int judge(const struct pool *p, const char *token, const struct judged *of,
		 struct backend_volume *vol)
{
	struct record record;
	struct state state;
	struct err err;
	char right[VOL_TOKEN_MAX];
	char why[96];

	if (read_texts(of, &record, &state, &err) < 0)
		return damaged(vol, token, err.msg);
	(void)snprintf(vol->name, sizeof(vol->name), "%s", record.name);
	vol->bytes = state.bytes ? state.bytes : record.bytes;
	memcpy(vol->fs, record.fs, sizeof(vol->fs));
	vol->allow_buffered = record.allow_buffered;
	vol->created_ns = record.created_ns;
	vol->limits = state.limits;
	if (memcmp(&record.pool, &p->base.identity, sizeof(record.pool)) != 0) {
		char born[UUID_TEXT_MAX];

		uuid_format(&record.pool, born);
		(void)snprintf(why, sizeof(why), "made for pool %s", born);
		return damaged(vol, token, why);
	}
	(void)judge_size(token, vol->bytes, of->file, vol);
	if (vol->is_damaged)
		return 0;
	if (of->file->n_links != 1) {
		(void)snprintf(why, sizeof(why),
			       "the file has %llu names (hard links); remove all but this one",
			       (unsigned long long)of->file->n_links);
		return damaged(vol, token, why);
	}
	vol_token_from_name(record.name, right);
	if (!str_is_equal(right, token)) {
		(void)snprintf(why, sizeof(why), "the file was renamed from '%.60s'", right);
		return damaged(vol, token, why);
	}
	(void)snprintf(vol->token, sizeof(vol->token), "%s", token);
	return 0;
}

/* NULL in *ret_state if there is none. A state too long to be read is one that is wrong. */
static int get_state(int fd, char text[RECORD_MAX], const char **ret_state, struct err *err)
{
	*ret_state = NULL;
	if (host_file_get_attr(fd, STATE_ATTR, text, RECORD_MAX, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			return 0;
		if (err->code != ERR_FAILED_PRECONDITION)
			return -1;
		text[0] = '\0';
	}
	*ret_state = text;
	return 0;
}

int pool_state_read(int fd, struct state *ret_state, struct err *err)
{
	char text[RECORD_MAX];
	const char *there;

	if (get_state(fd, text, &there, err) < 0)
		return -1;
	if (there)
		return state_parse(there, ret_state, err);
	*ret_state = (struct state){ 0 };
	return 0;
}

int pool_state_write(int fd, const struct state *state, struct err *err)
{
	char text[RECORD_MAX];

	return state_format(state, text, err) < 0 ? -1
						  : host_file_set_attr(fd, STATE_ATTR, text, err);
}

int pool_find(struct pool *p, const char *token, bool read_only, struct pool_volume *ret_volume,
	      struct err *err)
{
	struct pool_volume found = { .fd = -1 };
	char text[RECORD_MAX];
	autohostfd int fd = -1;

	if (host_file_open(p->dir_fd, token, read_only, &fd, err) < 0 ||
	    host_file_look(fd, &found.file, err) < 0)
		return -1;
	if (host_file_get_attr(fd, RECORD_ATTR, text, sizeof(text), err) < 0) {
		if (err->code != ERR_NOT_FOUND && err->code != ERR_FAILED_PRECONDITION)
			return -1;
		found.kind = err->code == ERR_NOT_FOUND ? POOL_FILE_FOREIGN : POOL_FILE_DAMAGED;
		if (found.kind == POOL_FILE_DAMAGED)
			(void)damaged(&found.vol, token, err->msg);
	} else {
		char state_text[RECORD_MAX];
		struct judged of = { .record = text, .file = &found.file };

		if (get_state(fd, state_text, &of.state, err) < 0)
			return -1;
		(void)judge(p, token, &of, &found.vol);
		found.kind = found.vol.is_damaged ? POOL_FILE_DAMAGED : POOL_FILE_VOLUME;
	}
	found.fd = fd;
	fd = -1;
	*ret_volume = found;
	return 0;
}

/* As pool_find, but foreign files are NOT_FOUND. */
static int find_ours(struct pool *p, const char *token, bool read_only,
		     struct pool_volume *ret_volume, struct err *err)
{
	if (pool_find(p, token, read_only, ret_volume, err) < 0)
		return err->code == ERR_FAILED_PRECONDITION
			       ? err_set(err, ERR_NOT_FOUND,
					 "no such volume (what has its name is no regular file)")
			       : -1;
	if (ret_volume->kind != POOL_FILE_FOREIGN)
		return 0;
	host_fd_close(ret_volume->fd);
	return err_set(err, ERR_NOT_FOUND,
		       "no such volume (a file that is not cleat's has its name)");
}

struct names_arg {
	struct pool_names *names;
	const char *after;
};

static int collect_name(void *arg, const char *name, bool is_regular)
{
	struct names_arg *a = arg;

	if (str_is_equal(name, ".cleat"))
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

int pool_names_read(struct pool *p, const char *after, struct pool_names *ret_names,
		    struct err *err)
{
	struct pool_names names = { 0 };

	if (host_dir_each(p->dir_fd, collect_name, &(struct names_arg){ &names, after }, err) < 0) {
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

int pool_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn, void *arg,
	      struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_names names;
	int rc = 0;

	if (pool_names_read(p, after, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		struct pool_volume found;

		rc = ctx_check(ctx, err);
		if (rc < 0)
			break;
		if (find_ours(p, names.v[i], true, &found, err) < 0) {
			rc = err->code == ERR_NOT_FOUND ? 0 : -1;
			if (rc < 0)
				break;
			continue;
		}
		host_fd_close(found.fd);
		if (fn(arg, &found.vol) != 0)
			break;
	}
	pool_names_done(&names);
	return rc;
}

int pool_stat(struct backend *b, struct ctx *ctx, const char *token, struct backend_volume *ret_vol,
	      struct err *err)
{
	struct pool_volume found;

	if (ctx_check(ctx, err) < 0 || find_ours(pool_from(b), token, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	*ret_vol = found.vol;
	return 0;
}

/* find_ours, and refuses damaged ones with this code. */
static int find_whole(struct pool *p, const char *token, bool read_only, enum err_code code,
		      struct pool_volume *ret_volume, struct err *err)
{
	if (find_ours(p, token, read_only, ret_volume, err) < 0)
		return -1;
	if (ret_volume->kind == POOL_FILE_VOLUME)
		return 0;
	host_fd_close(ret_volume->fd);
	return err_set(
		err, code,
		"the volume is damaged (%s); look at '%s/%s', cleat neither serves nor deletes it",
		ret_volume->vol.damage, p->dir, token);
}

static int free_blocks(struct pool *p, const char *token, int fd, struct err *err)
{
	struct host_file now;

	if (host_file_look(fd, &now, err) < 0)
		return -1;
	if (now.n_links == 0)
		return host_file_resize(fd, 0, err);
	log_warn("the deleted volume's file was given another name meanwhile; it keeps its bytes",
		 log_str("pool", p->base.pool_name), log_str("volume", token),
		 log_u64("inode", now.inode));
	return 0;
}

static int unlink_volume(struct pool *p, struct ctx *ctx, const char *token,
			 const struct pool_volume *found, struct err *err)
{
	struct backend_device dev;
	int rc;

	filedev_release(&p->holds, token);
	rc = filedev_find(FILEDEV_MAIN, found->fd, &found->file, token, &dev, err);
	if (rc == 0) /* a reader without the device that it was beside is left over */
		rc = filedev_drop_reader(found->fd, &found->file, token, &dev, err);
	if (rc < 0)
		return -1;
	if (rc > 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached as '%s' and in use on this node", dev.path);
	if (ctx_check(ctx, err) < 0 || host_file_unlink(p->dir_fd, token, err) < 0 ||
	    host_dir_sync(p->dir_fd, err) < 0)
		return -1;
	pool_know(p, token, false);
	return free_blocks(p, token, found->fd, err);
}

/* A process killed between unlink and sync may be why the file is gone: only after the sync is that
 * certain. Or a person removed it, and a device still has its bytes. */
static int remove_gone(struct pool *p, const char *token, struct err *err)
{
	struct backend_device dev;
	struct host_file dir;
	int rc;

	filedev_release(&p->holds, token);
	if (host_file_look(p->dir_fd, &dir, err) < 0)
		return -1;
	rc = filedev_find_unlinked(dir.device, token, &dev, err);
	if (rc > 0)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"its file was removed by somebody, but '%s' still has its bytes and is "
			"in use on this node",
			dev.path);
	return rc < 0 ? -1 : host_dir_sync(p->dir_fd, err);
}

int pool_remove(struct backend *b, struct ctx *ctx, const char *token,
		const struct secrets *secrets, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (find_whole(p, token, false, ERR_FAILED_PRECONDITION, &found, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		return remove_gone(p, token, err);
	}
	rc = unlink_volume(p, ctx, token, &found, err);
	host_fd_close(found.fd);
	return rc;
}

/* Synced also when it is there already: whoever wrote it may have been killed before its own. */
static int set_limits(int fd, const struct vol_limits *limits, struct err *err)
{
	struct state state;

	if (pool_state_read(fd, &state, err) < 0)
		return -1;
	if (!vol_limits_are_equal(&state.limits, limits)) {
		state.limits = *limits;
		if (pool_state_write(fd, &state, err) < 0)
			return -1;
	}
	return host_file_sync(fd, err);
}

int pool_modify(struct backend *b, struct ctx *ctx, const char *token,
		const struct vol_limits *limits, const struct secrets *secrets, struct err *err)
{
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 ||
	    find_whole(pool_from(b), token, false, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = set_limits(found.fd, limits, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_attach(struct backend *b, struct ctx *ctx, const char *token,
		const struct backend_attach_options *opts, struct backend_device *ret_dev,
		struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (find_whole(p, token, opts->read_only, ERR_DATA_LOSS, &found, err) < 0)
		return -1;
	rc = host_file_claim(found.fd, false, err); /* check.c */
	if (rc < 0 && err->code == ERR_ABORTED)
		(void)err_set(err, ERR_ABORTED, "it is being checked (cleat ctl volume check)");
	rc = rc < 0 ? rc
		    : filedev_attach(&p->holds, ctx,
				     &(struct filedev_attach){
					     .token = token,
					     .name = token,
					     .fd = found.fd,
					     .file = found.file,
					     .opts = *opts,
					     .allow_buffered = found.vol.allow_buffered,
					     .keep_allocated = true,
				     },
				     ret_dev, err);
	host_fd_close(found.fd);
	return rc;
}

static int get_device(struct backend *b, struct ctx *ctx, const char *token, enum filedev_role role,
		      struct backend_device *ret_dev, struct err *err)
{
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || find_ours(pool_from(b), token, true, &found, err) < 0)
		return -1;
	rc = filedev_get(role, found.fd, &found.file, token, ret_dev, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_find_device(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_MAIN, ret_dev, err);
}

int pool_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct pool *p = pool_from(b);
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (find_ours(p, token, true, &found, err) < 0) {
		filedev_release(&p->holds, token);
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	}
	rc = filedev_detach(&p->holds, token, token, found.fd, &found.file, err);
	host_fd_close(found.fd);
	return rc;
}

int pool_find_reader(struct backend *b, struct ctx *ctx, const char *token,
		     struct backend_device *ret_dev, struct err *err)
{
	return get_device(b, ctx, token, FILEDEV_READER, ret_dev, err);
}

int pool_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct backend_device dev;
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (find_ours(pool_from(b), token, true, &found, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = filedev_drop_reader(found.fd, &found.file, token, &dev, err);
	host_fd_close(found.fd);
	return rc < 0 ? -1 : 0;
}

int pool_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		struct err *err)
{
	(void)ctx;
	(void)mount_path;
	(void)err;
	filedev_release(&pool_from(b)->holds, token);
	return 0;
}

int pool_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		  struct err *err)
{
	autofree char *note = xmalloc(BACKEND_NOTE_MAX + 1);
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || find_ours(pool_from(b), token, true, &found, err) < 0)
		return -1;
	rc = host_file_get_attr(found.fd, POOL_NOTE_ATTR, note, BACKEND_NOTE_MAX + 1, err);
	host_fd_close(found.fd);
	if (rc < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	(void)snprintf(ret_note, BACKEND_NOTE_MAX + 1, "%s", rc < 0 ? "" : note);
	return 0;
}

int pool_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		  struct err *err)
{
	struct pool_volume found;
	int rc;

	if (ctx_check(ctx, err) < 0 || find_ours(pool_from(b), token, false, &found, err) < 0)
		return -1;
	rc = host_file_set_attr(found.fd, POOL_NOTE_ATTR, note, err);
	host_fd_close(found.fd);
	return rc;
}
