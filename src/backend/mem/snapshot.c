/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of volumes in memory, and volumes made of them: copies, since memfds share nothing.
 *
 * A copy takes time, in which a volume in use must not change: its filesystem is frozen, whether
 * that was asked or not, and a raw device that is attached for writing, which nothing can hold, is
 * refused. What is copied is counted as read meanwhile, so that it is not removed.
 */
#include <stdlib.h>

#include "backend/mem/mem-internal.h"
#include "backend/quiesce.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/extent.h"

#define PIECE_BYTES (UINT64_C(64) << 20)

void mem_free_snapshot(struct mem_snapshot *s)
{
	host_fd_close(s->fd);
	free(s);
}

void mem_snapshots_free(struct mem *m)
{
	const char *token;
	void *s;

	for (size_t it = 0; map_next(m->snapshots, &it, &token, &s);)
		mem_free_snapshot(s);
	map_free(m->snapshots);
}

int mem_copy(struct ctx *ctx, int from_fd, int to_fd, uint64_t bytes, struct err *err)
{
	uint64_t at = 0;

	while (at < bytes) {
		if (host_file_copy_data(ctx, from_fd, to_fd, at, PIECE_BYTES, &at, err) < 0)
			return -1;
	}
	return 0;
}

static int copy_volume(struct ctx *ctx, const struct mem_volume *v, int to_fd,
		       int64_t *ret_moment_ns, struct err *err)
{
	struct quiesce_what what = {
		.fd = -1, .name = v->file_name, .fs = v->vol.fs, .hold = true
	};
	struct quiesce still;
	int rc;

	if (host_file_look(v->fd, &what.file, err) < 0 ||
	    quiesce_begin(ctx, &(struct quiesce_plan){ .volumes = &what, .n = 1 }, &still, err) < 0)
		return -1;
	*ret_moment_ns = clock_wall_ns();
	rc = mem_copy(ctx, v->fd, to_fd, what.file.bytes, err);
	return quiesce_end(&still, rc, NULL, err);
}

struct mem_volume *mem_begin_volume(struct mem *m, const char *token, struct err *err)
{
	struct mem_volume *v;

	pthread_mutex_lock(&m->lock);
	v = map_find(m->volumes, token);
	if (v)
		v->n_readers++;
	pthread_mutex_unlock(&m->lock);
	if (!v)
		(void)err_set(err, ERR_NOT_FOUND, "no such volume");
	return v;
}

static struct mem_snapshot *begin_snapshot(struct mem *m, const char *token, struct err *err)
{
	struct mem_snapshot *s;

	pthread_mutex_lock(&m->lock);
	s = map_find(m->snapshots, token);
	if (s)
		s->n_readers++;
	pthread_mutex_unlock(&m->lock);
	if (!s)
		(void)err_set(err, ERR_NOT_FOUND, "no such snapshot");
	return s;
}

void mem_end_reading(struct mem *m, unsigned *n_readers)
{
	pthread_mutex_lock(&m->lock);
	--*n_readers;
	pthread_mutex_unlock(&m->lock);
}

static int check_source(const struct backend_spec *spec, uint64_t bytes, const char *fs,
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

static int fill_from_volume(struct mem *m, struct ctx *ctx, int fd, const struct backend_spec *spec,
			    struct err *err)
{
	struct mem_volume *v = mem_begin_volume(m, spec->source, err);
	int64_t moment_ns;
	int rc;

	if (!v)
		return -1;
	rc = check_source(spec, v->vol.bytes, v->vol.fs, err);
	if (rc == 0)
		rc = copy_volume(ctx, v, fd, &moment_ns, err);
	mem_end_reading(m, &v->n_readers);
	return rc;
}

static int fill_from_snapshot(struct mem *m, struct ctx *ctx, int fd,
			      const struct backend_spec *spec, struct err *err)
{
	struct mem_snapshot *s = begin_snapshot(m, spec->source, err);
	int rc;

	if (!s)
		return -1;
	rc = check_source(spec, s->snap.bytes, s->snap.fs, err);
	if (rc == 0)
		rc = mem_copy(ctx, s->fd, fd, s->snap.bytes, err);
	mem_end_reading(m, &s->n_readers);
	return rc;
}

int mem_fill_from_source(struct mem *m, struct ctx *ctx, int fd, const struct backend_spec *spec,
			 struct err *err)
{
	if (spec->source_kind == BACKEND_SOURCE_SNAPSHOT)
		return fill_from_snapshot(m, ctx, fd, spec, err) < 0
			       ? err_wrap(err, "snapshot '%s'", spec->source)
			       : 0;
	return fill_from_volume(m, ctx, fd, spec, err) < 0
		       ? err_wrap(err, "volume '%s'", spec->source)
		       : 0;
}

struct mem_snapshot *mem_new_snapshot(const struct backend_snapshot_spec *spec,
				      const struct mem_volume *v, int64_t moment_ns, int fd)
{
	struct mem_snapshot *s = xcalloc(1, sizeof(*s));

	s->fd = fd;
	s->snap = (struct backend_snapshot){
		.bytes = v->vol.bytes,
		.created_ns = moment_ns,
		.is_ready = true,
	};
	(void)snprintf(s->snap.token, sizeof(s->snap.token), "%s", spec->token);
	(void)snprintf(s->snap.name, sizeof(s->snap.name), "%s", spec->name);
	(void)snprintf(s->snap.source, sizeof(s->snap.source), "%s", spec->source);
	memcpy(s->snap.fs, v->vol.fs, sizeof(s->snap.fs));
	return s;
}

/* The snapshot that has the token already. */
static int take_existing(struct mem *m, const struct backend_snapshot_spec *spec,
			 struct backend_snapshot *ret_snap, struct err *err)
{
	struct backend_snapshot snap;
	const struct mem_snapshot *s;

	pthread_mutex_lock(&m->lock);
	s = map_find(m->snapshots, spec->token);
	if (s)
		snap = s->snap;
	pthread_mutex_unlock(&m->lock);
	if (!s)
		return err_set(err, ERR_NOT_FOUND, "no such snapshot");
	if (!str_is_equal(snap.name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the snapshot of the name '%s' has the same token", snap.name);
	if (snap.group[0])
		return err_set(err, ERR_ALREADY_EXISTS, "it is a member of the group '%s'",
			       snap.group);
	if (!str_is_equal(snap.source, spec->source))
		return err_set(err, ERR_ALREADY_EXISTS, "it exists and is of volume '%s'",
			       snap.source);
	*ret_snap = snap;
	return 0;
}

/* 0 and the space is taken. */
static int make(struct mem *m, struct ctx *ctx, const struct backend_snapshot_spec *spec,
		const struct mem_volume *v, struct mem_snapshot **ret_snapshot, struct err *err)
{
	autohostfd int fd = -1;
	int64_t moment_ns = 0;

	if (mem_take_space(m, v->vol.bytes, err) < 0)
		return -1;
	if (host_file_make_memory(spec->token, v->vol.bytes, &fd, err) < 0 ||
	    copy_volume(ctx, v, fd, &moment_ns, err) < 0) {
		mem_give_space(m, v->vol.bytes);
		return -1;
	}
	*ret_snapshot = mem_new_snapshot(spec, v, moment_ns, fd);
	fd = -1;
	return 0;
}

int mem_snapshot_create(struct backend *b, struct ctx *ctx,
			const struct backend_snapshot_spec *spec, struct backend_snapshot *ret_snap,
			struct err *err)
{
	struct mem *m = mem_from(b);
	struct mem_snapshot *s = NULL;
	struct mem_volume *v;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(m, spec, ret_snap, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	v = mem_begin_volume(m, spec->source, err);
	if (!v)
		return err_wrap(err, "volume '%s'", spec->source);
	rc = make(m, ctx, spec, v, &s, err);
	mem_end_reading(m, &v->n_readers);
	if (rc < 0)
		return -1;
	*ret_snap = s->snap;
	pthread_mutex_lock(&m->lock);
	(void)map_put(m->snapshots, spec->token, s);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

int mem_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			const struct secrets *secrets, struct err *err)
{
	struct mem *m = mem_from(b);
	char group[VOL_TOKEN_MAX] = "";
	struct mem_snapshot *s;
	bool is_read;

	(void)secrets;
	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	s = map_find(m->snapshots, token);
	is_read = s && s->n_readers > 0;
	if (s)
		memcpy(group, s->snap.group, sizeof(group));
	if (s && !is_read && !group[0]) {
		(void)map_take(m->snapshots, token);
		m->used_bytes -= s->snap.bytes;
	}
	pthread_mutex_unlock(&m->lock);
	if (group[0])
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "it belongs to the group '%s' and goes with it alone", group);
	if (is_read)
		return err_set(err, ERR_ABORTED, "a volume is being made of it");
	if (s)
		mem_free_snapshot(s);
	return 0;
}

int mem_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct backend_snapshot *ret_snap,
		      struct err *err)
{
	struct mem *m = mem_from(b);
	const struct mem_snapshot *s;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	s = map_find(m->snapshots, token);
	if (s)
		*ret_snap = s->snap;
	pthread_mutex_unlock(&m->lock);
	return s ? 0 : err_set(err, ERR_NOT_FOUND, "no such snapshot");
}

static int compare_snapshots(const void *a, const void *b)
{
	return strcmp(((const struct backend_snapshot *)a)->token,
		      ((const struct backend_snapshot *)b)->token);
}

int mem_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
		      backend_each_snapshot_fn fn, void *arg, struct err *err)
{
	struct mem *m = mem_from(b);
	struct backend_snapshot *snaps;
	const char *token;
	size_t n = 0;
	void *s;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	snaps = xcalloc(map_count(m->snapshots) + 1, sizeof(*snaps));
	for (size_t it = 0; map_next(m->snapshots, &it, &token, &s);) {
		if (strcmp(token, after) > 0)
			snaps[n++] = ((struct mem_snapshot *)s)->snap;
	}
	pthread_mutex_unlock(&m->lock);
	qsort(snaps, n, sizeof(*snaps), compare_snapshots);
	for (size_t i = 0; i < n && fn(arg, &snaps[i]) == 0; i++)
		;
	free(snaps);
	return 0;
}
