/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of snapshots in memory: all volumes are frozen, or not in use for writing, while all are
 * copied; then all copies are put into the table at once.
 */
#include <stdlib.h>

#include "backend/mem/mem-internal.h"
#include "backend/quiesce.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

struct birth {
	struct mem *m;
	const struct backend_group_spec *spec;
	struct mem_volume **volumes; /* counted as read */
	struct mem_snapshot **snapshots;
	size_t n_volumes, n_snapshots;
	uint64_t bytes; /* taken */
	int64_t moment_ns;
};

static int compare_tokens(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_members(const void *a, const void *b)
{
	return strcmp(((const struct backend_snapshot *)a)->source,
		      ((const struct backend_snapshot *)b)->source);
}

static bool has_sources(const struct backend_group *g, const struct backend_group_spec *spec)
{
	autofree const char **sorted = xcalloc(spec->n_sources, sizeof(*sorted));

	memcpy(sorted, spec->sources, spec->n_sources * sizeof(*sorted));
	qsort(sorted, spec->n_sources, sizeof(*sorted), compare_tokens);
	for (size_t i = 0; i < g->n_members && i < spec->n_sources; i++) {
		if (!str_is_equal(g->members[i].source, sorted[i]))
			return false;
	}
	return g->n_members == spec->n_sources;
}

/* Under m->lock. */
static void collect_members(struct mem *m, struct ctx *ctx, struct backend_group *g)
{
	const char *token;
	void *value;

	g->members = arena_array(ctx->arena, g->n_members, sizeof(*g->members));
	g->n_members = 0;
	for (size_t it = 0; map_next(m->snapshots, &it, &token, &value);) {
		const struct mem_snapshot *s = value;

		if (str_is_equal(s->snap.group, g->token))
			g->members[g->n_members++] = s->snap;
	}
	qsort(g->members, g->n_members, sizeof(*g->members), compare_members);
}

int mem_group_stat(struct backend *b, struct ctx *ctx, const char *token,
		   struct backend_group *ret_group, struct err *err)
{
	struct mem *m = mem_from(b);
	const struct backend_group *found;

	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	found = map_find(m->groups, token);
	if (found) {
		*ret_group = *found;
		collect_members(m, ctx, ret_group);
	}
	pthread_mutex_unlock(&m->lock);
	return found ? 0 : err_set(err, ERR_NOT_FOUND, "no such group snapshot");
}

static int take_existing(struct mem *m, struct ctx *ctx, const struct backend_group_spec *spec,
			 struct backend_group *ret_group, struct err *err)
{
	struct backend_group g;

	if (mem_group_stat(&m->base, ctx, spec->token, &g, err) < 0)
		return -1;
	if (!str_is_equal(g.name, spec->name))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the group snapshot of the name '%s' has the same token", g.name);
	if (!has_sources(&g, spec))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "it exists and is of other volumes, %zu, the first of which is "
			       "'%s'",
			       g.n_members, g.members[0].source);
	*ret_group = g;
	return 0;
}

/* Counts all as read, and takes the space that the copies need. */
static int find_volumes(struct birth *b, struct err *err)
{
	for (size_t i = 0; i < b->spec->n_sources; i++) {
		const char *token = b->spec->sources[i];
		struct mem_volume *v = mem_begin_volume(b->m, token, err);

		if (!v)
			return err_wrap(err, "volume '%s'", token);
		b->volumes[b->n_volumes++] = v;
		if (mem_take_space(b->m, v->vol.bytes, err) < 0)
			return err_wrap(err, "volume '%s'", token);
		b->bytes += v->vol.bytes;
	}
	return 0;
}

static int make_files(struct birth *b, struct err *err)
{
	for (size_t i = 0; i < b->n_volumes; i++) {
		const struct mem_volume *v = b->volumes[i];
		char token[VOL_TOKEN_MAX];
		const struct backend_snapshot_spec spec = { .name = token,
							    .token = token,
							    .source = v->vol.token };
		int fd;

		vol_token_of_member(b->spec->name, v->vol.token, token);
		if (host_file_make_memory(token, v->vol.bytes, &fd, err) < 0)
			return -1;
		b->snapshots[i] = mem_new_snapshot(&spec, v, 0, fd);
		(void)snprintf(b->snapshots[i]->snap.group, VOL_TOKEN_MAX, "%s", b->spec->token);
		b->n_snapshots++;
	}
	return 0;
}

static int copy_all(struct birth *b, struct ctx *ctx, struct err *err)
{
	b->moment_ns = clock_wall_ns();
	for (size_t i = 0; i < b->n_volumes; i++) {
		b->snapshots[i]->snap.created_ns = b->moment_ns;
		if (mem_copy(ctx, b->volumes[i]->fd, b->snapshots[i]->fd, b->volumes[i]->vol.bytes,
			     err) < 0)
			return err_wrap(err, "volume '%s'", b->volumes[i]->vol.token);
	}
	return 0;
}

static int cut(struct birth *b, struct ctx *ctx, struct err *err)
{
	autofree struct quiesce_what *volumes = xcalloc(b->n_volumes, sizeof(*volumes));
	const struct quiesce_plan plan = { .volumes = volumes, .n = b->n_volumes };
	struct quiesce still;

	for (size_t i = 0; i < b->n_volumes; i++) {
		const struct mem_volume *v = b->volumes[i];

		volumes[i] = (struct quiesce_what){ .fd = -1,
						    .name = v->file_name,
						    .token = v->vol.token,
						    .fs = v->vol.fs,
						    .hold = true };
		if (host_file_look(v->fd, &volumes[i].file, err) < 0)
			return -1;
	}
	if (quiesce_begin(ctx, &plan, &still, err) < 0)
		return -1;
	return quiesce_end(&still, copy_all(b, ctx, err), NULL, err);
}

/* All at once, if no snapshot has the name of one. */
static int put_all(struct birth *b, struct err *err)
{
	struct mem *m = b->m;
	struct backend_group *g = xcalloc(1, sizeof(*g));
	const char *taken = NULL;

	*g = (struct backend_group){ .created_ns = b->moment_ns, .n_members = b->n_snapshots };
	(void)snprintf(g->token, sizeof(g->token), "%s", b->spec->token);
	(void)snprintf(g->name, sizeof(g->name), "%s", b->spec->name);
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < b->n_snapshots; i++) {
		if (map_find(m->snapshots, b->snapshots[i]->snap.token))
			taken = b->snapshots[i]->snap.token;
	}
	for (size_t i = 0; !taken && i < b->n_snapshots; i++)
		(void)map_put(m->snapshots, b->snapshots[i]->snap.token, b->snapshots[i]);
	if (!taken)
		(void)map_put(m->groups, g->token, g);
	pthread_mutex_unlock(&m->lock);
	if (taken) {
		free(g);
		return err_set(err, ERR_ALREADY_EXISTS,
			       "the snapshot '%s' is there, and has the name of a member", taken);
	}
	b->n_snapshots = 0;
	b->bytes = 0;
	return 0;
}

static int bear(struct birth *b, struct ctx *ctx, struct err *err)
{
	int rc = find_volumes(b, err);

	if (rc == 0)
		rc = make_files(b, err);
	if (rc == 0)
		rc = cut(b, ctx, err);
	if (rc == 0)
		rc = put_all(b, err);
	for (size_t i = 0; i < b->n_volumes; i++)
		mem_end_reading(b->m, &b->volumes[i]->n_readers);
	for (size_t i = 0; i < b->n_snapshots; i++)
		mem_free_snapshot(b->snapshots[i]);
	if (b->bytes)
		mem_give_space(b->m, b->bytes);
	return rc;
}

int mem_group_create(struct backend *backend, struct ctx *ctx,
		     const struct backend_group_spec *spec, struct backend_group *ret_group,
		     struct err *err)
{
	struct birth b = { .m = mem_from(backend), .spec = spec };
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (take_existing(b.m, ctx, spec, ret_group, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	b.volumes = xcalloc(spec->n_sources, sizeof(*b.volumes));
	b.snapshots = xcalloc(spec->n_sources, sizeof(*b.snapshots));
	rc = bear(&b, ctx, err);
	free(b.volumes);
	free(b.snapshots);
	return rc < 0 ? -1 : take_existing(b.m, ctx, spec, ret_group, err);
}

/* Takes the group and its members out of the table, unless one is being read. */
static int take_out(struct mem *m, struct ctx *ctx, const char *token, struct mem_snapshot **taken,
		    size_t *ret_n, struct err *err)
{
	struct backend_group *g = map_find(m->groups, token);

	if (!g)
		return 0;
	collect_members(m, ctx, g);
	for (size_t i = 0; i < g->n_members; i++) {
		taken[i] = map_find(m->snapshots, g->members[i].token);
		if (taken[i]->n_readers > 0)
			return err_set(err, ERR_ABORTED,
				       "a volume is being made of its member '%s'",
				       g->members[i].token);
	}
	for (size_t i = 0; i < g->n_members; i++) {
		(void)map_take(m->snapshots, taken[i]->snap.token);
		m->used_bytes -= taken[i]->snap.bytes;
	}
	*ret_n = g->n_members;
	free(map_take(m->groups, token));
	return 0;
}

int mem_group_remove(struct backend *b, struct ctx *ctx, const char *token,
		     const struct secrets *secrets, struct err *err)
{
	autofree struct mem_snapshot **taken = xcalloc(BACKEND_GROUP_MAX, sizeof(*taken));
	struct mem *m = mem_from(b);
	size_t n = 0;
	int rc;

	(void)secrets;
	if (ctx_check(ctx, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	rc = take_out(m, ctx, token, taken, &n, err);
	pthread_mutex_unlock(&m->lock);
	for (size_t i = 0; i < n; i++)
		mem_free_snapshot(taken[i]);
	return rc;
}

void mem_groups_free(struct mem *m)
{
	const char *token;
	void *g;

	for (size_t it = 0; map_next(m->groups, &it, &token, &g);)
		free(g);
	map_free(m->groups);
}
