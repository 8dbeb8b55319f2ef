/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin volumes: what they were promised and what they have.
 *
 * A thin volume is a sparse file. Its blocks come when its pod writes, out of what is free, and
 * nobody asks cleat before. So the sizes are bounded by the pool's over-commit (volume/space.h has
 * the rule), and what they may yet write into is watched: from VOL_FULL on nothing new is promised.
 *
 * How many blocks each file has changes at every moment, and is asked of the files: a stat for
 * each, some microseconds. It is not asked at each promise to a thick volume, but before one is
 * refused: an old figure moves room between thick and thin, and nobody loses what was promised.
 *
 * While one is made its mkfs needs blocks, of which the log is most, or a copy does where blocks
 * cannot be shared. They are counted as promised meanwhile.
 */
#include "backend/pool/pool-internal.h"

#include <stdlib.h>

#define LOG_ROOM "backend"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "volume/size.h"

/* What mkfs.xfs writes: a log of 64 MiB up to 128 GiB, of a 2048th above and of 2 GiB at most, and
 * the heads of allocation groups. */
#define BIRTH_BYTES (66 * MIB)
#define BIRTH_SHARE 2048
#define BIRTH_MAX (2112 * MIB)

void pool_thin_add(const struct pool *p, struct vol_space *space, uint64_t *ret_n)
{
	const char *token;
	void *value;

	*ret_n = 0;
	space->thin_bytes = p->pending_thin_bytes;
	for (size_t it = 0; map_next(p->seen[POOL_VOLUMES].known, &it, &token, &value);) {
		const struct pool_entry *entry = value;

		if (entry->is_thin) {
			(*ret_n)++;
			space->thin_bytes += entry->bytes;
			space->thin_allocated += entry->allocated_bytes;
		} else {
			space->thick_bytes += entry->bytes;
		}
	}
}

/* Under p->lock. */
static struct pool_entry *entry_of(struct pool *p, const char *token)
{
	return map_find(p->seen[POOL_VOLUMES].known, token);
}

void pool_resized(struct pool *p, const char *token, uint64_t bytes)
{
	struct pool_entry *entry;

	pthread_mutex_lock(&p->lock);
	entry = entry_of(p, token);
	if (entry)
		entry->bytes = bytes;
	pthread_mutex_unlock(&p->lock);
}

struct tokens {
	VEC(char *) v;
};

static void collect(struct pool *p, struct tokens *ret)
{
	const char *token;
	void *value;

	pthread_mutex_lock(&p->lock);
	for (size_t it = 0; map_next(p->seen[POOL_VOLUMES].known, &it, &token, &value);) {
		if (((const struct pool_entry *)value)->is_thin)
			vec_push(&ret->v, xstrdup(token));
	}
	pthread_mutex_unlock(&p->lock);
}

/* What cannot be looked at keeps its figure. */
static void measure(struct pool *p, const char *token)
{
	autohostfd int fd = -1;
	struct pool_entry *entry;
	struct host_file file;
	struct err err;

	if (host_file_open(p->dir_fd, token, true, &fd, &err) < 0 ||
	    host_file_look(fd, &file, &err) < 0)
		return;
	pthread_mutex_lock(&p->lock);
	entry = entry_of(p, token);
	if (entry)
		entry->allocated_bytes = file.allocated_bytes;
	pthread_mutex_unlock(&p->lock);
}

void pool_thin_measure(struct pool *p)
{
	struct tokens tokens = { .v = VEC_INIT };

	collect(p, &tokens);
	for (size_t i = 0; i < tokens.v.n; i++) {
		measure(p, tokens.v.v[i]);
		free(tokens.v.v[i]);
	}
	vec_done(&tokens.v);
}

uint64_t pool_thin_room(const struct vol_space *space)
{
	uint64_t room = vol_space_for_thin(space);
	uint64_t now = vol_space_unpromised(space);
	uint64_t most = now;

	if (now >= BIRTH_MAX)
		return room;
	if (now > BIRTH_BYTES)
		most = (now - BIRTH_BYTES) * BIRTH_SHARE;
	most -= most % VOL_SIZE_UNIT;
	return room < most ? room : most;
}

/* 1, or 0 if it does not fit. */
static int try_promise(struct pool *p, const struct pool_thin_want *want,
		       struct vol_space *ret_space, struct err *err)
{
	bool fits;

	pool_thin_measure(p);
	if (pool_space_and_lock(p, ret_space, err) < 0)
		return -1;
	fits = want->bytes <= vol_space_for_thin(ret_space) &&
	       want->now_bytes <= vol_space_unpromised(ret_space);
	if (fits) {
		p->pending_thin_bytes += want->bytes;
		p->pending_bytes += want->now_bytes;
	}
	pthread_mutex_unlock(&p->lock);
	return fits;
}

static int refuse(const struct pool *p, const struct pool_thin_want *want,
		  const struct vol_space *space, struct err *err)
{
	char bytes[NUM_QUANTITY_MAX], ratio[VOL_OVERCOMMIT_TEXT_MAX];
	unsigned percent = vol_space_percent(space);

	log_debug("no room for a thin volume", log_str("pool", p->dir),
		  log_u64("bytes", want->bytes), log_u64("percent", percent),
		  log_u64("thinBytes", space->thin_bytes));
	if (percent >= VOL_FULL)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "the pool '%s' at '%s' is %u %% full, and from %u %% on no thin "
			       "volume is made or grown: delete volumes or snapshots, have what is "
			       "deleted inside thin volumes given back (fstrim), or grow the "
			       "pool's filesystem",
			       p->base.pool_name, p->dir, percent, VOL_FULL);
	num_format_quantity(want->bytes, bytes);
	if (want->bytes <= vol_space_for_thin(space))
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "the pool '%s' at '%s' has no room for what a thin volume of %s has "
			       "from the beginning: the log and the heads of its filesystem, or "
			       "what is copied into it",
			       p->base.pool_name, p->dir, bytes);
	vol_overcommit_format(space->overcommit, ratio);
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "%s more do not fit: thin volumes of the pool '%s' at '%s' may be promised "
		       "%s times what it has for them (--pool-overcommit); delete volumes or "
		       "snapshots, grow the pool's filesystem, or allow more",
		       bytes, p->base.pool_name, p->dir, ratio);
}

int pool_thin_promise(struct pool *p, const struct pool_thin_want *want, struct err *err)
{
	struct vol_space space;
	int rc = try_promise(p, want, &space, err);

	if (rc == 0) {
		pool_reserve_measure(p);
		rc = try_promise(p, want, &space, err);
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	return refuse(p, want, &space, err);
}

void pool_thin_promise_end(struct pool *p, const struct pool_thin_want *want)
{
	pthread_mutex_lock(&p->lock);
	p->pending_thin_bytes -= want->bytes;
	p->pending_bytes -= want->now_bytes;
	p->n_ended++;
	pthread_mutex_unlock(&p->lock);
}

struct pool_thin_want pool_thin_birth(uint64_t bytes)
{
	uint64_t now = BIRTH_BYTES + bytes / BIRTH_SHARE;

	now = now < BIRTH_MAX ? now : BIRTH_MAX;
	return (struct pool_thin_want){ bytes, now < bytes ? now : bytes };
}
