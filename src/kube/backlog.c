/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One item a key, found by a hash table of its own; the ready ones in a list for each namespace, of
 * which the first is taken from and goes to the end; the delayed ones in a binary heap whose slots
 * the items know, so that a key that becomes due earlier is moved and never stands there twice.
 *
 * After a restart every controller's queue may hold a key of each object there is, so a key costs
 * one allocation of 32 bytes and its text, and the table goes with the last of them.
 *
 *            add ──► READY ──take──► AT_WORK ──finish──► gone, or READY, or DELAYED
 *  add later ──► DELAYED ──due──► READY    └ add: again_ns, looked at by finish
 */
#include "kube/backlog.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/vec.h"

#include <assert.h>

#define FIRST_CAP ((size_t)16)
#define GROUP_MAX 128 /* more than a namespace has; what is cut off shares a turn */
#define PER_CHAIN 2   /* items, on average, before the table doubles */

enum place { NOWHERE, READY, DELAYED, AT_WORK };

struct item {
	struct item *chain; /* the next one in the table's slot */
	enum place place : 2;
	unsigned failures : 30;
	uint32_t slot;    /* DELAYED: index in the heap */
	int64_t ready_ns; /* since when it is, or was when it was taken */
	union {
		struct item *next; /* READY */
		int64_t due_ns;    /* DELAYED: when; AT_WORK: when again, or BACKLOG_NEVER */
	};
	char key[];
};

/* Those of a namespace that are ready, of which there is one at least. */
struct group {
	struct group *next;
	struct item *first;
	struct item **last;
	char name[];
};

struct backlog {
	struct item **table; /* chains */
	size_t cap;          /* power of two, or 0 */
	size_t n;
	uint64_t seed[2];
	struct map *groups; /* by name; NULL if there is none */
	struct group *turn; /* whose is next */
	struct group **last;
	size_t n_ready;
	VEC(struct item *) heap;
};

struct backlog *backlog_new(void)
{
	struct backlog *b = xcalloc(1, sizeof(*b));

	random_bytes(b->seed, sizeof(b->seed));
	b->last = &b->turn;
	return b;
}

void backlog_free(struct backlog *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->cap; i++)
		for (struct item *at = b->table[i], *next; at; at = next) {
			next = at->chain;
			free(at);
		}
	for (struct group *g = b->turn, *next; g; g = next) {
		next = g->next;
		free(g);
	}
	map_free(b->groups);
	free(b->table);
	vec_done(&b->heap);
	free(b);
}

/* ---- the table ---- */

static struct item **chain_of(const struct backlog *b, const char *key)
{
	return &b->table[map_hash(b->seed, key) & (b->cap - 1)];
}

static void grow_table(struct backlog *b)
{
	struct item **old = b->table;
	size_t n_old = b->cap;

	b->cap = n_old ? n_old * 2 : FIRST_CAP;
	b->table = xcalloc(b->cap, sizeof(struct item *));
	for (size_t i = 0; i < n_old; i++)
		for (struct item *at = old[i], *next; at; at = next) {
			struct item **chain = chain_of(b, at->key);

			next = at->chain;
			at->chain = *chain;
			*chain = at;
		}
	free(old);
}

static struct item *find_item(const struct backlog *b, const char *key)
{
	struct item *i = b->cap ? *chain_of(b, key) : NULL;

	while (i && strcmp(i->key, key) != 0)
		i = i->chain;
	return i;
}

static struct item *get_item(struct backlog *b, const char *key)
{
	struct item *i = find_item(b, key);
	size_t size = strlen(key) + 1;
	struct item **chain;

	if (i)
		return i;
	if (b->n >= b->cap * PER_CHAIN)
		grow_table(b);
	chain = chain_of(b, key);
	i = xmalloc(sizeof(*i) + size);
	*i = (struct item){ .chain = *chain };
	memcpy(i->key, key, size);
	*chain = i;
	b->n++;
	return i;
}

static void drop_item(struct backlog *b, struct item *i)
{
	struct item **at = chain_of(b, i->key);

	while (*at != i)
		at = &(*at)->chain;
	*at = i->chain;
	free(i);
	if (--b->n > 0 || b->cap == FIRST_CAP)
		return;
	free(b->table);
	b->table = NULL;
	b->cap = 0;
}

/* ---- the heap ---- */

static void heap_put(struct backlog *b, size_t slot, struct item *i)
{
	b->heap.v[slot] = i;
	i->slot = (uint32_t)slot;
}

static void heap_rise(struct backlog *b, struct item *i)
{
	size_t slot = i->slot;

	while (slot > 0 && b->heap.v[(slot - 1) / 2]->due_ns > i->due_ns) {
		heap_put(b, slot, b->heap.v[(slot - 1) / 2]);
		slot = (slot - 1) / 2;
	}
	heap_put(b, slot, i);
}

static void heap_sink(struct backlog *b, struct item *i)
{
	size_t slot = i->slot;

	for (;;) {
		size_t child = slot * 2 + 1;

		if (child + 1 < b->heap.n &&
		    b->heap.v[child + 1]->due_ns < b->heap.v[child]->due_ns)
			child++;
		if (child >= b->heap.n || b->heap.v[child]->due_ns >= i->due_ns)
			break;
		heap_put(b, slot, b->heap.v[child]);
		slot = child;
	}
	heap_put(b, slot, i);
}

static void heap_remove(struct backlog *b, struct item *i)
{
	struct item *last = b->heap.v[--b->heap.n];

	if (last == i)
		return;
	heap_put(b, i->slot, last);
	heap_rise(b, last);
	heap_sink(b, last);
}

/* ---- turns ---- */

static void queue_up(struct backlog *b, struct group *g)
{
	g->next = NULL;
	*b->last = g;
	b->last = &g->next;
}

/* A key without a namespace is in a group of "". */
static struct group *get_group(struct backlog *b, const char *key)
{
	const char *slash = strchr(key, '/');
	size_t n = slash ? (size_t)(slash - key) : 0;
	char name[GROUP_MAX];
	struct group *g;

	n = n < sizeof(name) ? n : sizeof(name) - 1;
	memcpy(name, key, n);
	name[n] = '\0';
	if (!b->groups)
		b->groups = map_new();
	g = map_find(b->groups, name);
	if (g)
		return g;
	g = xmalloc(sizeof(*g) + n + 1);
	*g = (struct group){ .last = &g->first };
	memcpy(g->name, name, n + 1);
	(void)map_put(b->groups, name, g);
	queue_up(b, g);
	return g;
}

static void drop_group(struct backlog *b, struct group *g)
{
	(void)map_take(b->groups, g->name);
	free(g);
	if (b->turn)
		return;
	map_free(b->groups);
	b->groups = NULL;
}

static struct item *take_ready(struct backlog *b)
{
	struct group *g = b->turn;
	struct item *i = g->first;

	b->turn = g->next;
	if (!b->turn)
		b->last = &b->turn;
	g->first = i->next;
	if (g->first)
		queue_up(b, g);
	else
		drop_group(b, g);
	b->n_ready--;
	return i;
}

/* ---- places ---- */

static void make_ready(struct backlog *b, struct item *i, int64_t now_ns)
{
	struct group *g = get_group(b, i->key);

	i->ready_ns = now_ns;
	i->place = READY;
	i->next = NULL;
	*g->last = i;
	g->last = &i->next;
	b->n_ready++;
}

static void make_delayed(struct backlog *b, struct item *i, int64_t due_ns)
{
	i->place = DELAYED;
	i->due_ns = due_ns;
	i->slot = (uint32_t)b->heap.n;
	vec_push(&b->heap, i);
	heap_rise(b, i);
}

static void place(struct backlog *b, struct item *i, int64_t due_ns)
{
	if (due_ns <= 0)
		make_ready(b, i, clock_now_ns());
	else
		make_delayed(b, i, due_ns);
}

bool backlog_add(struct backlog *b, const char *key, int64_t due_ns)
{
	struct item *i = get_item(b, key);

	switch (i->place) {
	case NOWHERE:
		place(b, i, due_ns);
		return true;
	case READY:
		return false;
	case DELAYED:
		if (due_ns >= i->due_ns)
			return false;
		heap_remove(b, i);
		place(b, i, due_ns);
		return true;
	case AT_WORK:
		if (due_ns >= i->due_ns)
			return false;
		i->due_ns = due_ns;
		return true;
	}
	return false;
}

static void promote(struct backlog *b, int64_t now_ns)
{
	while (b->heap.n > 0 && b->heap.v[0]->due_ns <= now_ns) {
		struct item *i = b->heap.v[0];

		heap_remove(b, i);
		make_ready(b, i, i->due_ns);
	}
}

const char *backlog_take(struct backlog *b, int64_t now_ns)
{
	struct item *i;

	promote(b, now_ns);
	if (!b->turn)
		return NULL;
	i = take_ready(b);
	i->place = AT_WORK;
	i->due_ns = BACKLOG_NEVER;
	return i->key;
}

int64_t backlog_ready_ns(const struct backlog *b, const char *key)
{
	const struct item *i = find_item(b, key);

	return i ? i->ready_ns : 0;
}

void backlog_finish(struct backlog *b, const char *key, unsigned failures, int64_t again_ns)
{
	struct item *i = find_item(b, key);

	assert(i && i->place == AT_WORK);
	if (i->due_ns < again_ns)
		again_ns = i->due_ns;
	i->failures = failures;
	i->place = NOWHERE;
	if (again_ns != BACKLOG_NEVER) {
		place(b, i, again_ns);
	} else if (failures == 0) {
		drop_item(b, i);
	}
}

unsigned backlog_failures(const struct backlog *b, const char *key)
{
	const struct item *i = find_item(b, key);

	return i ? i->failures : 0;
}

size_t backlog_ready(struct backlog *b, int64_t now_ns)
{
	promote(b, now_ns);
	return b->n_ready;
}

int64_t backlog_oldest_ns(struct backlog *b, int64_t now_ns)
{
	int64_t oldest_ns = BACKLOG_NEVER;

	promote(b, now_ns);
	for (const struct group *g = b->turn; g; g = g->next)
		for (const struct item *i = g->first; i; i = i->next)
			if (i->ready_ns < oldest_ns)
				oldest_ns = i->ready_ns;
	return oldest_ns;
}

size_t backlog_length(const struct backlog *b)
{
	return b->n_ready + b->heap.n;
}

int64_t backlog_due_ns(const struct backlog *b)
{
	return b->heap.n ? b->heap.v[0]->due_ns : BACKLOG_NEVER;
}
