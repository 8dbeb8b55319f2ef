/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Like base/map, but the key is inside the object: a map of its own would copy
 * every name (32 bytes of allocation and 24 of table for each of ten thousand
 * objects), and needs a joined "ns/name" for each look-up.
 *
 * Names come from users, hence the seed. The mixing is that of MurmurHash3's
 * finaliser over FNV-1a steps: not proof against someone who can time our
 * look-ups, who would need rights to create objects at a rate that harms the
 * API server long before us.
 */
#include "kube/store.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/random.h"

#define FIRST_CAP ((size_t)64)

static uint64_t mix(uint64_t h, const char *text)
{
	return hash_fnv1a_64(h, text, strlen(text) + 1);
}

static size_t home_of(const struct store *s, const char *ns, const char *name)
{
	uint64_t h = mix(mix(s->seed, ns), name);

	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	return (size_t)h & (s->cap - 1);
}

/* Where it is, or the free slot where it would go. */
static size_t find_slot(const struct store *s, const char *ns, const char *name)
{
	size_t i = home_of(s, ns, name);

	while (s->v[i] && (strcmp(s->v[i]->name, name) != 0 || strcmp(s->v[i]->ns, ns) != 0))
		i = (i + 1) & (s->cap - 1);
	return i;
}

static void grow(struct store *s)
{
	const struct kube_object **old = s->v;
	size_t n_old = s->cap;

	s->cap = n_old ? n_old * 2 : FIRST_CAP;
	s->v = xcalloc(s->cap, sizeof(const struct kube_object *));
	for (size_t i = 0; i < n_old; i++)
		if (old[i])
			s->v[find_slot(s, old[i]->ns, old[i]->name)] = old[i];
	free(old);
}

void store_init(struct store *s)
{
	*s = (struct store){ 0 };
	random_bytes(&s->seed, sizeof(s->seed));
}

void store_done(struct store *s)
{
	for (size_t i = 0; i < s->cap; i++)
		kube_object_unref(s->v[i]);
	free(s->v);
	s->v = NULL;
	s->cap = s->n = 0;
}

const struct kube_object *store_find(const struct store *s, const char *ns, const char *name)
{
	return s->n ? s->v[find_slot(s, ns, name)] : NULL;
}

const struct kube_object *store_put(struct store *s, const struct kube_object *o)
{
	const struct kube_object *old;
	size_t i;

	if (s->n >= s->cap / 4 * 3)
		grow(s);
	i = find_slot(s, o->ns, o->name);
	old = s->v[i];
	s->v[i] = o;
	s->n += !old;
	return old;
}

const struct kube_object *store_take(struct store *s, const char *ns, const char *name)
{
	size_t mask = s->cap - 1;
	size_t gap = s->n ? find_slot(s, ns, name) : 0;
	const struct kube_object *o = s->n ? s->v[gap] : NULL;

	if (!o)
		return NULL;
	/* Close the gap: what lies behind it and has its home before it moves up. */
	for (size_t i = (gap + 1) & mask; s->v[i]; i = (i + 1) & mask) {
		size_t home = home_of(s, s->v[i]->ns, s->v[i]->name);

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		s->v[gap] = s->v[i];
		gap = i;
	}
	s->v[gap] = NULL;
	s->n--;
	return o;
}

const struct kube_object *store_next(const struct store *s, size_t *it)
{
	while (*it < s->cap) {
		const struct kube_object *o = s->v[(*it)++];

		if (o)
			return o;
	}
	return NULL;
}
