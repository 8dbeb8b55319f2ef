/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node for each key of each object. Nodes of one key are a list in both directions, which one
 * table finds by the key; another finds a node by key and object, so that one of twenty thousand
 * claims of a class leaves its list without a walk.
 *
 *   groups: key ──► node ⇄ node ⇄ node       places: (key, object) ──► node
 *
 * Tables and links are numbers of nodes rather than pointers: half the size, and the array of nodes
 * may move. Hashes stand in the nodes, since a table that grows or closes a gap needs them all.
 */
#include "kube/index.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/random.h"

#include <assert.h>

#define FIRST_CAP 16u

struct index_node {
	const struct kube_object *o;
	const char *key;     /* in o */
	uint32_t next, prev; /* of the same key; 0: none. next also links the spare ones */
	uint32_t group_hash; /* of the key */
	uint32_t place_hash; /* of key and object */
};

enum which { GROUPS, PLACES };

static uint64_t mix(uint64_t h, const char *text)
{
	return hash_fnv1a_64(h, text, strlen(text) + 1);
}

static uint32_t finish(uint64_t h)
{
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	return (uint32_t)(h >> 32);
}

static uint32_t hash_key(const struct index *x, const char *key)
{
	return finish(mix(x->seed, key));
}

static uint32_t hash_place(const struct index *x, const char *key, const struct kube_object *o)
{
	return finish(mix(mix(mix(x->seed, key), o->ns), o->name));
}

static uint32_t hash_of(const struct index *x, enum which which, uint32_t node)
{
	return which == GROUPS ? x->nodes[node].group_hash : x->nodes[node].place_hash;
}

static struct index_table *table_of(struct index *x, enum which which)
{
	return which == GROUPS ? &x->groups : &x->places;
}

/* ---- the tables ---- */

static void put_slot(const struct index *x, struct index_table *t, enum which which, uint32_t node)
{
	size_t i = hash_of(x, which, node) & (t->cap - 1);

	while (t->v[i])
		i = (i + 1) & (t->cap - 1);
	t->v[i] = node;
}

static void table_add(struct index *x, enum which which, uint32_t node)
{
	struct index_table *t = table_of(x, which);
	struct index_table old = *t;

	if (t->n >= t->cap / 4 * 3) {
		t->cap = old.cap ? old.cap * 2 : FIRST_CAP;
		t->v = xcalloc(t->cap, sizeof(*t->v));
		for (size_t i = 0; i < old.cap; i++)
			if (old.v[i])
				put_slot(x, t, which, old.v[i]);
		free(old.v);
	}
	put_slot(x, t, which, node);
	t->n++;
}

static size_t find_node(const struct index_table *t, uint32_t hash, uint32_t node)
{
	size_t i = hash & (t->cap - 1);

	while (t->v[i] != node)
		i = (i + 1) & (t->cap - 1);
	return i;
}

/* Closes the gap: what lies behind it and has its home before it moves up. */
static void table_remove(struct index *x, enum which which, uint32_t node)
{
	struct index_table *t = table_of(x, which);
	size_t mask = t->cap - 1;
	size_t gap = find_node(t, hash_of(x, which, node), node);

	for (size_t i = (gap + 1) & mask; t->v[i]; i = (i + 1) & mask) {
		size_t home = hash_of(x, which, t->v[i]) & mask;

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		t->v[gap] = t->v[i];
		gap = i;
	}
	t->v[gap] = 0;
	t->n--;
}

static uint32_t find_group(const struct index *x, const char *key, uint32_t hash)
{
	const struct index_table *t = &x->groups;
	size_t i = hash & (t->cap - 1);

	if (!t->cap)
		return 0;
	for (; t->v[i]; i = (i + 1) & (t->cap - 1))
		if (x->nodes[t->v[i]].group_hash == hash && strcmp(x->nodes[t->v[i]].key, key) == 0)
			break;
	return t->v[i];
}

/* The node of this very object under the key. */
static uint32_t find_place(const struct index *x, const char *key, const struct kube_object *o)
{
	const struct index_table *t = &x->places;
	size_t i = hash_place(x, key, o) & (t->cap - 1);

	while (x->nodes[t->v[i]].o != o || strcmp(x->nodes[t->v[i]].key, key) != 0) {
		assert(t->v[i]);
		i = (i + 1) & (t->cap - 1);
	}
	return t->v[i];
}

/* ---- nodes ---- */

static uint32_t new_node(struct index *x)
{
	uint32_t node = x->spare;

	if (node) {
		x->spare = x->nodes[node].next;
		return node;
	}
	if (x->n_nodes == x->cap_nodes) {
		assert(x->cap_nodes < UINT32_MAX / 2);
		x->cap_nodes = x->cap_nodes ? x->cap_nodes * 2 : FIRST_CAP;
		x->nodes = xrealloc(x->nodes, x->cap_nodes * sizeof(*x->nodes));
	}
	if (x->n_nodes == 0)
		x->nodes[x->n_nodes++] = (struct index_node){ 0 };
	return x->n_nodes++;
}

/* Behind the first of its group, which so stays the first, or as that. */
static void link_node(struct index *x, uint32_t node)
{
	struct index_node *n = &x->nodes[node];
	uint32_t first = find_group(x, n->key, n->group_hash);

	if (!first) {
		table_add(x, GROUPS, node);
		return;
	}
	n->prev = first;
	n->next = x->nodes[first].next;
	if (n->next)
		x->nodes[n->next].prev = node;
	x->nodes[first].next = node;
}

static void unlink_node(struct index *x, uint32_t node)
{
	const struct index_node *n = &x->nodes[node];
	struct index_table *t = &x->groups;

	if (n->next)
		x->nodes[n->next].prev = n->prev;
	if (n->prev)
		x->nodes[n->prev].next = n->next;
	else if (n->next)
		t->v[find_node(t, n->group_hash, node)] = n->next;
	else
		table_remove(x, GROUPS, node);
}

/* An object may name a key twice; it counts once. */
static bool is_repeated(const struct index *x, const struct kube_object *o, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(x->key(o, k), x->key(o, i)) == 0)
			return true;
	return false;
}

void index_init(struct index *x, kube_key_fn key)
{
	*x = (struct index){ .key = key };
	random_bytes(&x->seed, sizeof(x->seed));
}

void index_done(struct index *x)
{
	free(x->nodes);
	free(x->groups.v);
	free(x->places.v);
	*x = (struct index){ .key = x->key };
}

void index_add(struct index *x, const struct kube_object *o)
{
	const char *key;

	for (size_t i = 0; (key = x->key(o, i)); i++) {
		uint32_t node;

		if (is_repeated(x, o, i))
			continue;
		node = new_node(x);
		x->nodes[node] = (struct index_node){ .o = o,
						      .key = key,
						      .group_hash = hash_key(x, key),
						      .place_hash = hash_place(x, key, o) };
		link_node(x, node);
		table_add(x, PLACES, node);
	}
}

void index_remove(struct index *x, const struct kube_object *o)
{
	const char *key;

	for (size_t i = 0; (key = x->key(o, i)); i++) {
		uint32_t node;

		if (is_repeated(x, o, i))
			continue;
		node = find_place(x, key, o);
		unlink_node(x, node);
		table_remove(x, PLACES, node);
		x->nodes[node] = (struct index_node){ .next = x->spare };
		x->spare = node;
	}
}

uint32_t index_first(const struct index *x, const char *key)
{
	return find_group(x, key, hash_key(x, key));
}

const struct kube_object *index_next(const struct index *x, uint32_t *it)
{
	const struct index_node *n;

	if (!*it)
		return NULL;
	n = &x->nodes[*it];
	*it = n->next;
	return n->o;
}
