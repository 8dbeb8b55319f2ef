/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call to a backend passes here. Callers' mistakes (an unknown capability, a malformed token)
 * are asserted or refused once and not in each backend; the words "pool 'x': create 'y'" are put
 * before each error once; and a backend that fails must have said why.
 *
 * Calls are counted, so that a pool whose disk died can be let go of while others are served: a
 * caller may hold a struct backend for as long as the registry lives, but nothing behind it.
 */
#include "backend/backend.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend"
#include "base/log.h"
#include "volume/size.h"

static int begin(struct backend *b, struct err *err)
{
	bool is_served;

	pthread_mutex_lock(&b->use_lock);
	b->n_calls++;
	is_served = b->life == BACKEND_SERVED;
	pthread_mutex_unlock(&b->use_lock);
	return is_served ? 0 : err_set(err, ERR_UNAVAILABLE, "it is not served any more: it died");
}

static void end(struct backend *b)
{
	bool is_last;

	pthread_mutex_lock(&b->use_lock);
	is_last = --b->n_calls == 0 && b->life == BACKEND_RETIRED;
	if (is_last)
		b->life = BACKEND_LET_GO;
	pthread_mutex_unlock(&b->use_lock);
	if (is_last && b->ops->let_go)
		b->ops->let_go(b);
}

void backend_retire(struct backend *b)
{
	pthread_mutex_lock(&b->use_lock);
	b->n_calls++;
	if (b->life == BACKEND_SERVED)
		b->life = BACKEND_RETIRED;
	pthread_mutex_unlock(&b->use_lock);
	end(b);
}

/* Ends the call. A failing backend that forgot its code would be taken for success by retry policy.
 */
static int finish(struct backend *b, const char *verb, const char *token, int rc, struct err *err)
{
	end(b);
	if (rc >= 0) {
		log_debug("backend call", log_str("pool", b->pool_name), log_str("call", verb),
			  log_str("volume", token));
		return 0;
	}
	assert(err->code != ERR_OK && err->msg[0]);
	if (token[0])
		return err_wrap(err, "pool '%s': %s '%s'", b->pool_name, verb, token);
	return err_wrap(err, "pool '%s': %s", b->pool_name, verb);
}

/* Handles of others are theirs to judge. */
static bool is_token(const struct backend *b, const char *token)
{
	return b->caps & BACKEND_ELSEWHERE ? token[0] && strlen(token) < VOL_TOKEN_MAX
					   : vol_token_is_valid(token);
}

static int check_token(const struct backend *b, const char *token, struct err *err)
{
	if (is_token(b, token))
		return 0;
	return err_set(err, ERR_NOT_FOUND, "no volume can have this name");
}

static int check_size(uint64_t bytes, struct err *err)
{
	if (bytes == 0 || bytes % VOL_SIZE_UNIT || bytes > VOL_SIZE_MAX)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "size %llu is not a multiple of %llu up to %llu",
			       (unsigned long long)bytes, (unsigned long long)VOL_SIZE_UNIT,
			       (unsigned long long)VOL_SIZE_MAX);
	return 0;
}

static int check_name(const char *name, const char *token, struct err *err)
{
	if (!vol_token_is_valid(token))
		return err_set(err, ERR_INVALID_ARGUMENT, "malformed token");
	if (strlen(name) >= sizeof(((struct backend_volume *)NULL)->name))
		return err_set(err, ERR_INVALID_ARGUMENT, "name is longer than 128 bytes");
	return 0;
}

static int check_source(const struct backend *b, const struct backend_spec *spec, struct err *err)
{
	if (spec->source_kind == BACKEND_SOURCE_NONE || is_token(b, spec->source))
		return 0;
	return err_set(err, ERR_NOT_FOUND, "no source can have this name");
}

static int check_spec(const struct backend *b, const struct backend_spec *spec, struct err *err)
{
	bool is_as_source = spec->bytes == 0 && (b->caps & BACKEND_ELSEWHERE) &&
			    spec->source_kind != BACKEND_SOURCE_NONE;

	if (check_name(spec->name, spec->token, err) < 0 ||
	    (!is_as_source && check_size(spec->bytes, err) < 0) || check_source(b, spec, err) < 0)
		return -1;
	if (is_as_source)
		return 0;
	if (spec->bytes < vol_size_min(spec->fs))
		return err_set(err, ERR_OUT_OF_RANGE, "size %llu is below the least for %s, %llu",
			       (unsigned long long)spec->bytes,
			       spec->fs[0] ? spec->fs : "raw volumes",
			       (unsigned long long)vol_size_min(spec->fs));
	if (spec->fs[0] && strcmp(spec->fs, "ext4") != 0 && strcmp(spec->fs, "xfs") != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "unknown filesystem '%s' (ext4, xfs)",
			       spec->fs);
	if (spec->is_thin && (strcmp(spec->fs, "xfs") != 0 || spec->is_written))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "a thin volume has xfs inside and is not written out");
	return 0;
}

void backend_close(struct backend *b)
{
	if (b)
		b->ops->close(b);
}

int backend_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info, struct err *err)
{
	int rc;

	*ret_info = (struct backend_info){ 0 };
	rc = begin(b, err) < 0 ? -1 : b->ops->info(b, ctx, ret_info, err);
	return finish(b, "info", "", rc, err);
}

int backend_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		   struct backend_volume *ret_vol, struct err *err)
{
	int rc;

	assert(spec->source_kind != BACKEND_SOURCE_SNAPSHOT || (b->caps & BACKEND_SNAPSHOT));
	assert(spec->source_kind != BACKEND_SOURCE_VOLUME || (b->caps & BACKEND_CLONE));
	assert(!vol_limits_are_set(&spec->limits) || (b->caps & BACKEND_MODIFY));
	assert(!spec->is_thin || (b->caps & BACKEND_THIN));
	assert(vol_limits_are_valid(&spec->limits));
	rc = begin(b, err) < 0 || check_spec(b, spec, err) < 0
		     ? -1
		     : b->ops->create(b, ctx, spec, ret_vol, err);
	return finish(b, "create", spec->token, rc, err);
}

int backend_remove(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, struct err *err)
{
	int rc;

	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->remove(b, ctx, token, secrets, err);
	return finish(b, "remove", token, rc, err);
}

int backend_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		 const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_GROW);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0 || check_size(bytes, err) < 0
		     ? -1
		     : b->ops->grow(b, ctx, token, bytes, secrets, ret_vol, err);
	return finish(b, "grow", token, rc, err);
}

int backend_modify(struct backend *b, struct ctx *ctx, const char *token,
		   const struct vol_limits *limits, const struct secrets *secrets, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_MODIFY);
	assert(vol_limits_are_valid(limits));
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->modify(b, ctx, token, limits, secrets, err);
	return finish(b, "modify", token, rc, err);
}

int backend_stat(struct backend *b, struct ctx *ctx, const char *token,
		 const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	int rc = begin(b, err) < 0 || check_token(b, token, err) < 0
			 ? -1
			 : b->ops->stat(b, ctx, token, secrets, ret_vol, err);

	return finish(b, "look up", token, rc, err);
}

int backend_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		 void *arg, struct err *err)
{
	int rc = begin(b, err) < 0 ? -1 : b->ops->each(b, ctx, after, fn, arg, err);

	return finish(b, "list", "", rc, err);
}

int backend_each_here(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
		      struct err *err)
{
	int rc;

	if (!b->ops->each_here)
		return backend_each(b, ctx, "", fn, arg, err);
	rc = begin(b, err) < 0 ? -1 : b->ops->each_here(b, ctx, fn, arg, err);
	return finish(b, "list what is attached of", "", rc, err);
}

int backend_publish(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_use *use, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_FENCE);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->publish(b, ctx, token, use, err);
	return finish(b, "publish", token, rc, err);
}

int backend_unpublish(struct backend *b, struct ctx *ctx, const char *token,
		      const struct backend_use *use, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_FENCE);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->unpublish(b, ctx, token, use, err);
	return finish(b, "unpublish", token, rc, err);
}

int backend_attach(struct backend *b, struct ctx *ctx, const char *token,
		   const struct backend_attach_options *opts, struct backend_device *ret_dev,
		   struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	assert(!opts->reader || (opts->read_only && opts->hold));
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->attach(b, ctx, token, opts, ret_dev, err);
	return finish(b, "attach", token, rc, err);
}

int backend_find_device(struct backend *b, struct ctx *ctx, const char *token,
			struct backend_device *ret_dev, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->find_device(b, ctx, token, ret_dev, err);
	return finish(b, "find the device of", token, rc, err);
}

int backend_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->detach(b, ctx, token, err);
	return finish(b, "detach", token, rc, err);
}

int backend_staging_take(struct backend *b, struct ctx *ctx, const char *token, const char *path,
			 struct err *err)
{
	int rc;

	assert(b->ops->staging_take);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->staging_take(b, ctx, token, path, err);
	return finish(b, "take over the staging of", token, rc, err);
}

int backend_staging_forget(struct backend *b, struct ctx *ctx, const char *path, struct err *err)
{
	int rc;

	assert(b->ops->staging_forget);
	rc = begin(b, err) < 0 ? -1 : b->ops->staging_forget(b, ctx, path, err);
	return finish(b, "forget the staging at", path, rc, err);
}

int backend_find_reader(struct backend *b, struct ctx *ctx, const char *token,
			struct backend_device *ret_dev, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->find_reader(b, ctx, token, ret_dev, err);
	return finish(b, "find the reader of", token, rc, err);
}

int backend_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->drop_reader(b, ctx, token, err);
	return finish(b, "drop the reader of", token, rc, err);
}

int backend_each_lost(struct backend *b, struct ctx *ctx, backend_lost_fn fn, void *arg,
		      struct err *err)
{
	int rc = begin(b, err);

	if (rc == 0 && b->ops->each_lost)
		rc = b->ops->each_lost(b, ctx, fn, arg, err);
	return finish(b, "look for lost volumes", "", rc, err);
}

int backend_mount(struct backend *b, struct ctx *ctx, const char *token,
		  const struct backend_mount_options *opts, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_MOUNT);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->mount(b, ctx, token, opts, err);
	return finish(b, "mount", token, rc, err);
}

int backend_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		     struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_NOTES);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->note_get(b, ctx, token, ret_note, err);
	return finish(b, "read the note of", token, rc, err);
}

int backend_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		     struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_NOTES);
	if (begin(b, err) < 0)
		rc = -1;
	else if (strlen(note) > BACKEND_NOTE_MAX)
		rc = err_set(err, ERR_RESOURCE_EXHAUSTED, "the note is longer than %d bytes",
			     BACKEND_NOTE_MAX);
	else
		rc = check_token(b, token, err) < 0 ? -1
						    : b->ops->note_set(b, ctx, token, note, err);
	return finish(b, "write the note of", token, rc, err);
}

int backend_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		   struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_ATTACH);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->settle(b, ctx, token, mount_path, err);
	return finish(b, "settle", token, rc, err);
}

int backend_settle_growth(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	int rc = 0;

	if (begin(b, err) < 0 || check_token(b, token, err) < 0)
		rc = -1;
	else if (b->ops->settle_growth)
		rc = b->ops->settle_growth(b, ctx, token, err);
	return finish(b, "settle the growth of", token, rc, err);
}

int backend_snapshot_create(struct backend *b, struct ctx *ctx,
			    const struct backend_snapshot_spec *spec,
			    struct backend_snapshot *ret_snap, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_SNAPSHOT);
	rc = begin(b, err) < 0 || check_name(spec->name, spec->token, err) < 0 ||
			     check_token(b, spec->source, err) < 0
		     ? -1
		     : b->ops->snapshot_create(b, ctx, spec, ret_snap, err);
	return finish(b, "snapshot", spec->token, rc, err);
}

int backend_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			    const struct secrets *secrets, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_SNAPSHOT);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->snapshot_remove(b, ctx, token, secrets, err);
	return finish(b, "remove snapshot", token, rc, err);
}

int backend_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			  const struct secrets *secrets, struct backend_snapshot *ret_snap,
			  struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_SNAPSHOT);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->snapshot_stat(b, ctx, token, secrets, ret_snap, err);
	return finish(b, "look up snapshot", token, rc, err);
}

int backend_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
			  backend_each_snapshot_fn fn, void *arg, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_SNAPSHOT);
	rc = begin(b, err) < 0 ? -1 : b->ops->snapshot_each(b, ctx, after, fn, arg, err);
	return finish(b, "list snapshots", "", rc, err);
}

/* Not logged, since it is called for ever. */
int backend_tend(struct backend *b, struct ctx *ctx, struct err *err)
{
	int rc = begin(b, err);

	if (rc == 0 && b->ops->tend)
		rc = b->ops->tend(b, ctx, err);
	end(b);
	return rc < 0 ? err_wrap(err, "pool '%s': tend", b->pool_name) : 0;
}

static int check_group(const struct backend *b, const struct backend_group_spec *spec,
		       struct err *err)
{
	if (check_name(spec->name, spec->token, err) < 0)
		return -1;
	assert(spec->n_sources > 0 && spec->n_sources <= BACKEND_GROUP_MAX);
	for (size_t i = 0; i < spec->n_sources; i++) {
		if (check_token(b, spec->sources[i], err) < 0)
			return err_wrap(err, "member '%.90s'", spec->sources[i]);
	}
	return 0;
}

int backend_group_create(struct backend *b, struct ctx *ctx, const struct backend_group_spec *spec,
			 struct backend_group *ret_group, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_GROUP);
	rc = begin(b, err) < 0 || check_group(b, spec, err) < 0
		     ? -1
		     : b->ops->group_create(b, ctx, spec, ret_group, err);
	return finish(b, "snapshot group", spec->token, rc, err);
}

int backend_group_remove(struct backend *b, struct ctx *ctx, const char *token,
			 const struct secrets *secrets, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_GROUP);
	if (!is_token(b, token))
		return 0;
	rc = begin(b, err) < 0 ? -1 : b->ops->group_remove(b, ctx, token, secrets, err);
	return finish(b, "remove group", token, rc, err);
}

int backend_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		       struct backend_group *ret_group, struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_GROUP);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->group_stat(b, ctx, token, ret_group, err);
	return finish(b, "look up group", token, rc, err);
}

int backend_allocated(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		      struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_CHANGED_BLOCKS);
	rc = begin(b, err) < 0 || check_token(b, token, err) < 0
		     ? -1
		     : b->ops->allocated(b, ctx, token, secrets, from, fn, arg, err);
	return finish(b, "map snapshot", token, rc, err);
}

int backend_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
		    const struct secrets *secrets, uint64_t from, backend_range_fn fn, void *arg,
		    struct err *err)
{
	int rc;

	assert(b->caps & BACKEND_CHANGED_BLOCKS);
	rc = begin(b, err) < 0 || check_token(b, base, err) < 0 || check_token(b, target, err) < 0
		     ? -1
		     : b->ops->changed(b, ctx, base, target, secrets, from, fn, arg, err);
	return finish(b, "compare snapshot", target, rc, err);
}

int backend_resolve(const struct backend *b, enum vol_kind kind, const char *id,
		    char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	struct vol_id ours;

	if (b->ops->resolve)
		return b->ops->resolve(b, kind, id, ret_token, err);
	if (vol_id_parse(kind, id, &ours, err) < 0)
		return -1;
	if (memcmp(&ours.pool, &b->identity, sizeof(ours.pool)) != 0)
		return err_set(err, ERR_NOT_FOUND, "%s '%s' is of another pool",
			       vol_kind_name(kind), id);
	memcpy(ret_token, ours.token, sizeof(ours.token));
	return 0;
}

void backend_format_id(const struct backend *b, enum vol_kind kind, const char *token,
		       char ret_id[VOL_ID_MAX])
{
	struct vol_id id = { .pool = b->identity };

	if (b->ops->format_id) {
		b->ops->format_id(b, kind, token, ret_id);
		return;
	}
	(void)snprintf(id.token, sizeof(id.token), "%s", token); /* a valid token fits */
	vol_id_format(kind, &id, ret_id);
}
