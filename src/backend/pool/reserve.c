/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for overwriting what is shared.
 *
 * A thick volume has its blocks, so writing to it cannot fail for want of room; but a block that a
 * snapshot or another volume has as well is written to a new place, which nobody has set aside. So
 * that much is: the sum over the volumes of the bytes of each that others share. It is taken off
 * what is free, and whoever wants to share more is refused when it does not fit. Volumes that were
 * made without are left out.
 *
 *   snapshot, clone: figure = all that the file has ── is measured ──► figure = what is shared
 *                             ▲                                              │
 *                             └───────────── something went, or it is old ◄──┘
 *
 * A figure is never less than what is shared: it is raised before blocks are shared, and lowered
 * only to what was measured (the extents that the filesystem says are shared) if it was not raised
 * meanwhile. It may be more: a pod overwrites, a snapshot goes, and nobody tells. So figures are
 * measured when something went that may have shared, again after a while, and when it matters,
 * which is before anything is refused for want of room. Two volumes that share one block with each
 * other alone need one new place, not two; both are counted.
 */
#include "backend/pool/pool-internal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/vec.h"
#include "host/extent.h"

#define OLD_NS (60 * NS_PER_S)
#define FRESH_NS (5 * NS_PER_S)
#define ASKED_NS (50 * NS_PER_MS)
#define REFUSED_NS (10 * NS_PER_S)

struct candidate {
	char *token;
	uint64_t n_raised;
	int64_t measured_ns;
};

struct candidates {
	VEC(struct candidate) v;
};

static struct pool_entry *entry_of(const struct pool *p, const char *token)
{
	return map_find(p->seen[POOL_VOLUMES].known, token);
}

/* Under p->lock. */
static void set_figure(struct pool *p, struct pool_entry *entry, uint64_t bytes)
{
	p->reserved_bytes = p->reserved_bytes - entry->shared_bytes + bytes;
	entry->shared_bytes = bytes;
}

static int compare_ages(const void *a, const void *b)
{
	int64_t x = ((const struct candidate *)a)->measured_ns;
	int64_t y = ((const struct candidate *)b)->measured_ns;

	return (x > y) - (x < y);
}

/* Those whose figure may be too high, the ones not measured for longest first. */
static void collect(struct pool *p, int64_t max_age_ns, struct candidates *ret)
{
	int64_t now_ns = clock_now_ns();
	const char *token;
	void *value;

	pthread_mutex_lock(&p->lock);
	for (size_t it = 0;
	     p->reserved_bytes && map_next(p->seen[POOL_VOLUMES].known, &it, &token, &value);) {
		const struct pool_entry *entry = value;

		if (entry->shared_bytes && !entry->n_cuts &&
		    (entry->is_stale || now_ns - entry->measured_ns > max_age_ns))
			vec_push(&ret->v,
				 ((struct candidate){ xstrdup(token), entry->n_raised,
						      entry->is_stale ? 0 : entry->measured_ns }));
	}
	pthread_mutex_unlock(&p->lock);
	if (ret->v.n)
		qsort(ret->v.v, ret->v.n, sizeof(ret->v.v[0]), compare_ages);
}

static void take_measure(struct pool *p, const struct candidate *one, uint64_t bytes)
{
	struct pool_entry *entry;

	pthread_mutex_lock(&p->lock);
	entry = entry_of(p, one->token);
	if (entry && entry->n_raised == one->n_raised && !entry->n_cuts) {
		set_figure(p, entry, bytes < entry->shared_bytes ? bytes : entry->shared_bytes);
		entry->is_stale = false;
		entry->measured_ns = clock_now_ns();
	}
	pthread_mutex_unlock(&p->lock);
}

/* What cannot be measured keeps its figure, which is not too low. */
static void measure(struct pool *p, struct ctx *ctx, const struct candidate *one)
{
	autohostfd int fd = -1;
	uint64_t bytes;
	struct err err;

	if (host_file_open(p->dir_fd, one->token, true, &fd, &err) == 0 &&
	    host_file_shared_bytes(ctx, fd, &bytes, &err) == 0)
		take_measure(p, one, bytes);
}

static void measure_for(struct pool *p, int64_t max_age_ns, int64_t limit_ns)
{
	struct candidates all = { .v = VEC_INIT };
	struct ctx ctx;

	collect(p, max_age_ns, &all);
	ctx_init(&ctx, limit_ns);
	for (size_t i = 0; i < all.v.n; i++) {
		if (ctx_remaining_ns(&ctx) > 0)
			measure(p, &ctx, &all.v.v[i]);
		free(all.v.v[i].token);
	}
	ctx_done(&ctx);
	vec_done(&all.v);
}

void pool_reserve_look(struct pool *p)
{
	measure_for(p, OLD_NS, ASKED_NS);
}

void pool_reserve_measure(struct pool *p)
{
	measure_for(p, FRESH_NS, REFUSED_NS);
}

void pool_reserve_doubt(struct pool *p)
{
	const char *token;
	void *value;

	pthread_mutex_lock(&p->lock);
	for (size_t it = 0; map_next(p->seen[POOL_VOLUMES].known, &it, &token, &value);)
		((struct pool_entry *)value)->is_stale = true;
	pthread_mutex_unlock(&p->lock);
}

/* Of a file that was not seen before all may be shared, unless nothing can be. */
static uint64_t first_figure(const struct pool_entry *entry, bool may_share)
{
	return may_share && !entry->is_damaged && !entry->no_reserve ? entry->shared_bytes : 0;
}

void pool_reserve_take_scan(struct pool *p, const struct map *before, bool may_share)
{
	const char *token;
	void *value;

	p->reserved_bytes = 0;
	for (size_t it = 0; map_next(p->seen[POOL_VOLUMES].known, &it, &token, &value);) {
		const struct pool_entry *old = map_find(before, token);
		struct pool_entry *entry = value;

		if (!old) {
			entry->shared_bytes = first_figure(entry, may_share);
			entry->is_stale = true;
		} else {
			entry->shared_bytes = entry->no_reserve ? 0 : old->shared_bytes;
			entry->is_stale = old->is_stale;
			entry->n_raised = old->n_raised;
			entry->n_cuts = old->n_cuts;
			entry->measured_ns = old->measured_ns;
		}
		p->reserved_bytes += entry->shared_bytes;
	}
}

/* Under p->lock. A volume that no scan has seen yet becomes known. */
static struct pool_entry *need_entry(struct pool *p, const char *token)
{
	struct pool_entry *entry = entry_of(p, token);

	if (!entry) {
		entry = xcalloc(1, sizeof(*entry));
		(void)map_put(p->seen[POOL_VOLUMES].known, token, entry);
	}
	return entry;
}

/* 1 if the figure is at least so much now; 0 if it does not fit. */
static int try_raise(struct pool *p, const char *token, uint64_t bytes, uint64_t *ret_n_raised,
		     struct err *err)
{
	struct pool_entry *entry;
	uint64_t available;
	bool fits;

	if (pool_look_and_lock(p, &available, err) < 0)
		return -1;
	entry = need_entry(p, token);
	fits = bytes <= entry->shared_bytes || bytes - entry->shared_bytes <= available;
	if (fits) {
		*ret_n_raised = ++entry->n_raised;
		entry->is_stale = true;
		if (bytes > entry->shared_bytes)
			set_figure(p, entry, bytes);
	}
	pthread_mutex_unlock(&p->lock);
	return fits;
}

/* What is certain now, unless somebody else has raised it since. */
static void lower(struct pool *p, const char *token, uint64_t bytes, uint64_t n_raised)
{
	struct pool_entry *entry;

	pthread_mutex_lock(&p->lock);
	entry = entry_of(p, token);
	if (entry && entry->n_raised == n_raised && bytes < entry->shared_bytes)
		set_figure(p, entry, bytes);
	pthread_mutex_unlock(&p->lock);
}

/* How much would be shared: all that is allocated at most. Before that is too much, what is written
 * is added up, and what others need is measured. */
static int raise(struct pool *p, struct ctx *ctx, const struct pool_volume *vol, uint64_t *bytes,
		 uint64_t *ret_n_raised, struct err *err)
{
	int rc = try_raise(p, vol->vol.token, *bytes, ret_n_raised, err);

	if (rc != 0)
		return rc;
	if (pool_data_bytes(ctx, vol->fd, 0, bytes, err) < 0)
		return -1;
	rc = try_raise(p, vol->vol.token, *bytes, ret_n_raised, err);
	if (rc != 0)
		return rc;
	pool_reserve_measure(p);
	pool_thin_measure(p);
	return try_raise(p, vol->vol.token, *bytes, ret_n_raised, err);
}

/* While blocks are about to be shared nobody measures that they are not. */
static void count_cut(struct pool *p, const char *token, bool has_begun)
{
	struct pool_entry *entry;

	pthread_mutex_lock(&p->lock);
	entry = has_begun ? need_entry(p, token) : entry_of(p, token);
	if (entry && has_begun)
		entry->n_cuts++;
	else if (entry && entry->n_cuts)
		entry->n_cuts--;
	pthread_mutex_unlock(&p->lock);
}

static int refuse(const struct pool *p, uint64_t bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX];

	num_format_quantity(bytes, text);
	return err_set(
		err, ERR_RESOURCE_EXHAUSTED,
		"%s would be shared, and so much has to stay free for writing it anew, which "
		"the pool at '%s' does not have beside its reserve (volumes of a class with "
		"snapshotReserve=none need no such room)",
		text, p->dir);
}

int pool_reserve_begin(struct pool *p, struct ctx *ctx, const struct pool_volume *vol,
		       uint64_t *ret_n_raised, struct err *err)
{
	uint64_t bytes = vol->file.allocated_bytes;
	int rc;

	*ret_n_raised = 0;
	if (vol->record.no_reserve)
		return 0;
	bytes = bytes < vol->file.bytes ? bytes : vol->file.bytes;
	count_cut(p, vol->vol.token, true);
	rc = raise(p, ctx, vol, &bytes, ret_n_raised, err);
	if (rc > 0)
		return 0;
	count_cut(p, vol->vol.token, false);
	return rc < 0 ? -1 : refuse(p, bytes, err);
}

void pool_reserve_cancel(struct pool *p, const struct pool_volume *vol)
{
	if (!vol->record.no_reserve)
		count_cut(p, vol->vol.token, false);
}

static int set_real(struct pool *p, const struct pool_volume *vol, int clone_fd, uint64_t n_raised,
		    struct err *err)
{
	struct host_file clone;
	int rc;

	if (host_file_look(clone_fd, &clone, err) < 0)
		return -1;
	lower(p, vol->vol.token, clone.allocated_bytes, n_raised);
	rc = try_raise(p, vol->vol.token, clone.allocated_bytes, &n_raised, err);
	if (rc < 0)
		return -1;
	return rc > 0 ? 0 : refuse(p, clone.allocated_bytes, err);
}

int pool_reserve_end(struct pool *p, const struct pool_volume *vol, int clone_fd, uint64_t n_raised,
		     struct err *err)
{
	int rc;

	if (vol->record.no_reserve)
		return 0;
	rc = set_real(p, vol, clone_fd, n_raised, err);
	count_cut(p, vol->vol.token, false);
	return rc;
}

void pool_reserve_turn(struct pool *p, const char *token, uint64_t shared, uint64_t promised)
{
	struct pool_entry *entry;

	count_cut(p, token, true);
	pthread_mutex_lock(&p->lock);
	entry = need_entry(p, token);
	entry->n_raised++;
	entry->is_stale = true;
	set_figure(p, entry, entry->shared_bytes + shared);
	pthread_mutex_unlock(&p->lock);
	pool_promise_end(p, promised);
}

void pool_reserve_turned(struct pool *p, const char *token)
{
	count_cut(p, token, false);
}
