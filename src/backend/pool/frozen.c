/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No filesystem of ours stays frozen.
 *
 *   record → FIFREEZE → the step → FITHAW → record away
 *
 * A guard thaws when this process dies (host/freeze.h). But all processes of a container may be
 * killed at once, and a filesystem that is unmounted then is frozen when it is mounted again. So an
 * empty file .cleat/frozen/TOKEN.UUID says of each volume that it may be frozen: it is there before
 * the first FIFREEZE, and goes when all are known to be thawed. Each freeze has names of its own,
 * so that two of one volume need not know of each other. None of it is synced: what is frozen does
 * not survive a power cut.
 *
 * Whoever opens the pool thaws what is named there, through any mount of the volume's device: an
 * abandoned guard may do the same, which does no harm. What is attached and not mounted stays
 * recorded until it is staged; what is not attached has no filesystem that could be frozen.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"
#include "base/str.h"
#include "host/freeze.h"
#include "host/mount.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define RECORD_NAME_MAX (VOL_TOKEN_MAX + UUID_TEXT_MAX)

static int record(void *arg, const char *const *names, size_t n, struct err *err)
{
	struct pool_still *still = arg;

	for (size_t i = 0; i < n; i++) {
		char name[RECORD_NAME_MAX], id[UUID_TEXT_MAX];
		autohostfd int fd = -1;
		struct uuid uuid;

		uuid_make(&uuid);
		uuid_format(&uuid, id);
		(void)snprintf(name, sizeof(name), "%s.%s", names[i], id);
		vec_push(&still->records, xstrdup(name));
		if (host_file_open_or_make(still->pool->frozen_fd, name, &fd, err) < 0)
			return err_wrap(err, "note what is frozen in '%s/.cleat/frozen'",
					still->pool->dir);
	}
	return 0;
}

bool pool_frozen_token(const char *name, char ret_token[VOL_TOKEN_MAX])
{
	const char *dot = strrchr(name, '.');
	struct uuid uuid;

	if (!dot || dot - name >= VOL_TOKEN_MAX || uuid_parse(dot + 1, &uuid) < 0)
		return false;
	(void)snprintf(ret_token, VOL_TOKEN_MAX, "%.*s", (int)(dot - name), name);
	return vol_token_is_valid(ret_token);
}

/* One record of a volume is enough, so that a disk which is slow again and again leaves no more. */
static void leave(struct pool *p, const char *name)
{
	char token[VOL_TOKEN_MAX];
	bool is_first;
	struct err err;

	if (!pool_frozen_token(name, token))
		return;
	pthread_mutex_lock(&p->lock);
	is_first = !map_find(p->left_frozen, token);
	if (is_first)
		(void)map_put(p->left_frozen, token, xstrdup(name));
	pthread_mutex_unlock(&p->lock);
	if (!is_first)
		(void)host_file_unlink(p->frozen_fd, name, &err); /* or at the next opening */
}

static void end_records(struct pool_still *still, bool is_thawed)
{
	struct pool *p = still->pool;
	struct err err;

	for (size_t i = 0; i < still->records.n; i++) {
		if (!is_thawed || host_file_unlink(p->frozen_fd, still->records.v[i], &err) < 0)
			leave(p, still->records.v[i]);
		free(still->records.v[i]);
	}
	vec_done(&still->records);
}

int pool_still_begin(struct pool *p, struct ctx *ctx, const struct quiesce_what *volumes, size_t n,
		     struct pool_still *ret_still, struct err *err)
{
	struct pool_still still = { .pool = p };
	const struct quiesce_plan plan = {
		.volumes = volumes, .n = n, .note = record, .arg = &still
	};

	if (quiesce_begin(ctx, &plan, &still.quiesce, err) < 0) {
		/* what somebody else has frozen is not ours to thaw; else a guard may be at it */
		end_records(&still, err->code == ERR_ABORTED);
		return -1;
	}
	*ret_still = still;
	return 0;
}

int pool_still_end(struct pool_still *still, int rc, struct err *err)
{
	bool is_thawed;

	rc = quiesce_end(&still->quiesce, rc, &is_thawed, err);
	end_records(still, is_thawed);
	return rc;
}

struct names {
	VEC(char *) v;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->v.n; i++)
		free(names->v.v[i]);
	vec_done(&names->v);
}

static int collect(void *arg, const char *name, bool is_regular)
{
	struct names *names = arg;

	if (is_regular)
		vec_push(&names->v, xstrdup(name));
	return 0;
}

static int thaw_at(const char *path, struct err *err)
{
	autohostfd int fd = -1;

	return host_dir_open(path, &fd, err) < 0 ? -1 : host_freeze_thaw(fd, err);
}

struct thaw {
	dev_t devno;
	bool is_thawed;
	struct err err; /* of the last try */
};

static int thaw_mount(void *arg, const char *path, bool read_only)
{
	struct thaw *thaw = arg;
	struct host_mount_at at;

	(void)read_only;
	if (host_mount_look(path, &at, &thaw->err) < 0 || !at.is_mount_root || at.is_block_device ||
	    at.device != thaw->devno)
		return 0;
	thaw->is_thawed = thaw_at(path, &thaw->err) == 0;
	return thaw->is_thawed;
}

int pool_thaw_volume(struct pool *p, const char *token, struct err *err)
{
	struct thaw thaw = { .err = { .code = ERR_OK } };
	struct backend_device dev;
	struct pool_volume found;
	int rc;

	if (pool_find_ours(p, token, true, &found, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	rc = filedev_find(FILEDEV_MAIN, found.fd, &found.file, token, &dev, err);
	host_fd_close(found.fd);
	if (rc <= 0)
		return rc < 0 ? -1 : 1;
	thaw.devno = dev.devno;
	if (host_mount_each(dev.devno, thaw_mount, &thaw, err) < 0)
		return -1;
	if (!thaw.is_thawed && thaw.err.code != ERR_OK) {
		*err = thaw.err;
		return -1;
	}
	return thaw.is_thawed;
}

static void thaw_one(struct pool *p, const char *name)
{
	char token[VOL_TOKEN_MAX];
	struct err err;
	int rc;

	if (!pool_frozen_token(name, token))
		return;
	rc = pool_thaw_volume(p, token, &err);
	if (rc > 0)
		rc = host_file_unlink(p->frozen_fd, name, &err) < 0 ? -1 : 1;
	if (rc < 0)
		log_warn("a volume may be frozen since a process was killed",
			 log_str("pool", p->base.pool_name), log_str("volume", token),
			 log_err(&err));
	if (rc <= 0)
		leave(p, name);
	else
		log_info("what a killed process may have left frozen is thawed",
			 log_str("pool", p->base.pool_name), log_str("volume", token));
}

void pool_thaw_left(struct pool *p)
{
	struct names names = { .v = VEC_INIT };
	struct err err;

	if (host_dir_each(p->frozen_fd, collect, &names, &err) < 0)
		log_warn("what a killed process may have left frozen is not known",
			 log_str("pool", p->base.pool_name), log_err(&err));
	for (size_t i = 0; i < names.v.n; i++)
		thaw_one(p, names.v.v[i]);
	names_done(&names);
}

/* The record of this volume, if nobody at work has it; free it. */
static char *find_left(struct pool *p, const char *token)
{
	const char *name;
	char *found;

	pthread_mutex_lock(&p->lock);
	name = map_find(p->left_frozen, token);
	found = name ? xstrdup(name) : NULL;
	pthread_mutex_unlock(&p->lock);
	return found;
}

int pool_thaw_mounted(struct pool *p, const char *token, const char *mount_path, struct err *err)
{
	autofree char *name = find_left(p, token);

	if (!name)
		return 0;
	if (thaw_at(mount_path, err) < 0)
		return err_wrap(err, "thaw '%s', which a killed process may have left frozen",
				mount_path);
	if (host_file_unlink(p->frozen_fd, name, err) < 0)
		return -1;
	pthread_mutex_lock(&p->lock);
	free(map_take(p->left_frozen, token));
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void pool_frozen_done(struct pool *p)
{
	const char *token;
	void *name;

	for (size_t it = 0; map_next(p->left_frozen, &it, &token, &name);)
		free(name);
	map_free(p->left_frozen);
}
