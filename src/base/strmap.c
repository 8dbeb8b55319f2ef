/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sorted arrays of pairs. The maps of CSI and Kubernetes are small, made once
 * from a message and then read and compared; sorting them makes comparison and
 * output independent of the order in which they came.
 *
 * For "the last one wins" the sort has to be stable, which qsort is not: it
 * sorts pointers into the input, and of equal keys the lower address is first.
 */
#include "base/strmap.h"

#include "base/mem.h"
#include "base/str.h"

static int compare_pairs(const void *left, const void *right)
{
	const struct strpair *a = *(const struct strpair *const *)left;
	const struct strpair *b = *(const struct strpair *const *)right;
	int order = strcmp(a->key, b->key);

	return order ? order : (a > b) - (a < b);
}

static int compare_key(const void *key, const void *element)
{
	return strcmp(key, ((const struct strpair *)element)->key);
}

static const struct strpair *find(const struct strmap *m, const char *key)
{
	return m->n ? bsearch(key, m->v, m->n, sizeof(*m->v), compare_key) : NULL;
}

struct strmap strmap_from(struct arena *a, const struct strpair *pairs, size_t n)
{
	autofree const struct strpair **sorted = xcalloc(n, sizeof(*sorted));
	struct strmap m = STRMAP_EMPTY;

	for (size_t i = 0; i < n; i++)
		sorted[i] = &pairs[i];
	qsort(sorted, n, sizeof(*sorted), compare_pairs);
	m.v = arena_array(a, n, sizeof(*m.v));
	for (size_t i = 0; i < n; i++) {
		if (i + 1 < n && strcmp(sorted[i]->key, sorted[i + 1]->key) == 0)
			continue;
		m.v[m.n].key = arena_strdup(a, sorted[i]->key);
		m.v[m.n].value = arena_strdup(a, sorted[i]->value ? sorted[i]->value : "");
		m.n++;
	}
	return m;
}

struct strmap strmap_with(struct arena *a, const struct strmap *m, const char *key,
			  const char *value)
{
	autofree struct strpair *pairs = xcalloc(m->n + 1, sizeof(*pairs));

	if (m->n)
		memcpy(pairs, m->v, m->n * sizeof(*pairs));
	pairs[m->n] = (struct strpair){ key, value };
	return strmap_from(a, pairs, m->n + 1);
}

const char *strmap_find(const struct strmap *m, const char *key)
{
	const struct strpair *p = find(m, key);

	return p ? p->value : NULL;
}

bool strmap_is_equal(const struct strmap *a, const struct strmap *b)
{
	return a->n == b->n && strmap_is_subset(a, b);
}

bool strmap_is_subset(const struct strmap *part, const struct strmap *whole)
{
	for (size_t i = 0; i < part->n; i++) {
		if (!str_is_equal(strmap_find(whole, part->v[i].key), part->v[i].value))
			return false;
	}
	return true;
}

size_t strmap_bytes(const struct strmap *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		n += strlen(m->v[i].key) + strlen(m->v[i].value);
	return n;
}
