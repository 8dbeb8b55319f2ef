/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing; the table doubles at three quarters.
 *
 * Keys come from outside (names of claims, ids in requests), so the hash must
 * not be predictable: SipHash-1-3 (Aumasson and Bernstein) with a key of its
 * own for each map. One key for all maps would also make copying one map into
 * another quadratic, since entries come out in hash order.
 *
 * Removing closes the gap instead of leaving a tombstone: every entry behind
 * it whose home lies before the gap moves up. So a map that lives for months
 * under churn probes no longer than a fresh one.
 */
#include "base/map.h"

#include "base/mem.h"
#include "base/random.h"

#define FIRST_CAP ((size_t)8)

struct entry {
	char *key; /* NULL: free */
	void *value;
	uint64_t hash;
};

struct map {
	struct entry *v;
	size_t cap; /* power of two, or 0 before the first put */
	size_t n;
	uint64_t seed[2];
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

uint64_t map_hash(const uint64_t seed[2], const char *key)
{
	size_t n = strlen(key);
	uint64_t v[4] = { seed[0] ^ UINT64_C(0x736f6d6570736575),
			  seed[1] ^ UINT64_C(0x646f72616e646f6d),
			  seed[0] ^ UINT64_C(0x6c7967656e657261),
			  seed[1] ^ UINT64_C(0x7465646279746573) };

	/* Eight bytes a word; the last word holds the rest and the length. */
	for (size_t at = 0; at <= n; at += 8) {
		size_t left = n - at;
		uint64_t word = 0;

		memcpy(&word, key + at, left < 8 ? left : 8);
		if (left < 8)
			word |= (uint64_t)n << 56;
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The entry with that key, or the free one where it would go; the table is never full. */
static struct entry *find_slot(const struct map *m, const char *key, uint64_t hash)
{
	size_t i = hash & (m->cap - 1);

	while (m->v[i].key && (m->v[i].hash != hash || strcmp(m->v[i].key, key) != 0))
		i = (i + 1) & (m->cap - 1);
	return &m->v[i];
}

static void grow(struct map *m)
{
	struct entry *old = m->v;
	size_t n_old = m->cap;

	m->cap = n_old ? n_old * 2 : FIRST_CAP;
	m->v = xcalloc(m->cap, sizeof(*m->v));
	for (size_t i = 0; i < n_old; i++) {
		if (old[i].key)
			*find_slot(m, old[i].key, old[i].hash) = old[i];
	}
	free(old);
}

struct map *map_new(void)
{
	struct map *m = xcalloc(1, sizeof(*m));

	random_bytes(m->seed, sizeof(m->seed));
	return m;
}

void map_free(struct map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->cap; i++)
		free(m->v[i].key);
	free(m->v);
	free(m);
}

void *map_find(const struct map *m, const char *key)
{
	return m->n ? find_slot(m, key, map_hash(m->seed, key))->value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
	uint64_t hash = map_hash(m->seed, key);
	struct entry *e;
	void *old;

	if (!value)
		abort();
	if (m->n >= m->cap / 4 * 3)
		grow(m);
	e = find_slot(m, key, hash);
	old = e->value;
	if (!e->key) {
		e->key = xstrdup(key);
		e->hash = hash;
		m->n++;
	}
	e->value = value;
	return old;
}

void *map_take(struct map *m, const char *key)
{
	struct entry *e = m->n ? find_slot(m, key, map_hash(m->seed, key)) : NULL;
	size_t mask = m->cap - 1;
	size_t gap;
	void *value;

	if (!e || !e->key)
		return NULL;
	value = e->value;
	free(e->key);
	gap = (size_t)(e - m->v);
	for (size_t i = (gap + 1) & mask; m->v[i].key; i = (i + 1) & mask) {
		/* May entry i move up? Only if its home is not between the gap and itself. */
		if (((i - m->v[i].hash) & mask) < ((i - gap) & mask))
			continue;
		m->v[gap] = m->v[i];
		gap = i;
	}
	m->v[gap] = (struct entry){ 0 };
	m->n--;
	return value;
}

size_t map_count(const struct map *m)
{
	return m->n;
}

bool map_next(const struct map *m, size_t *it, const char **ret_key, void **ret_value)
{
	for (; *it < m->cap; (*it)++) {
		if (!m->v[*it].key)
			continue;
		if (ret_key)
			*ret_key = m->v[*it].key;
		if (ret_value)
			*ret_value = m->v[*it].value;
		(*it)++;
		return true;
	}
	return false;
}
