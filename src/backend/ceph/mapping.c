/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pair of numbers is read from the side from which its entry's pair of clusters was. Only where
 * no pair has the number there the other side counts, too: ceph-csi takes either, so the two may
 * have been written the wrong way round. Pools have small numbers, and what was led to wrongly
 * would be asked before a volume is known to be nowhere.
 *
 * Two sites may call their clusters alike and number their pools otherwise; then both sides count.
 */
#include "backend/ceph/mapping.h"

#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

static const char *const number_members[] = {
	[CEPH_MAPPED_POOLS] = "RBDPoolIDMapping",
	[CEPH_MAPPED_FILESYSTEMS] = "CephFSFscIDMapping",
};
#define CLUSTER_MEMBER "clusterIDMapping"

/* A member in any case; NULL: none. Of two the last counts, as there. */
static const struct json *get_member(const struct json *v, const char *name)
{
	struct json_it it = json_each(v);
	const struct json *found = NULL, *value;
	const char *key;

	while (json_next(&it, &key, &value))
		if (strcasecmp(key, name) == 0)
			found = value;
	return found;
}

static int read_clusters(struct arena *a, const struct json *v, size_t entry,
			 struct ceph_mapping *m, struct err *err)
{
	const struct json *map = get_member(v, CLUSTER_MEMBER), *value;
	struct json_it it = json_each(map);
	const char *key;

	if (!json_is_object(map))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "entry %zu: " CLUSTER_MEMBER " is %s; it is {\"CLUSTERID\": "
			       "\"CLUSTERID\"}",
			       entry, json_is_null(map) ? "missing" : "no object");
	m->clusters = arena_array(a, json_count(map), sizeof(*m->clusters));
	while (json_next(&it, &key, &value)) {
		const char *other = json_string(value);

		if (!ceph_cluster_id_is_valid(key) || !other || !ceph_cluster_id_is_valid(other))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "entry %zu: " CLUSTER_MEMBER ": '%.40s': '%.40s' is no pair "
				       "of clusterIDs, which are 1 to %d of A-Z, a-z, 0-9, '.', "
				       "'_' and '-'",
				       entry, key, str_or(other, ""), CEPH_CLUSTER_MAX - 1);
		m->clusters[m->n_clusters++] =
			(struct ceph_cluster_pair){ arena_strdup(a, key), arena_strdup(a, other) };
	}
	return 0;
}

static bool read_number(const char *text, int64_t *ret)
{
	return text && *text != '-' && str_parse_i64(text, ret) == 0;
}

static int read_pairs(const struct json *map, size_t entry, const char *member,
		      struct ceph_numbers *numbers, struct err *err)
{
	struct json_it it = json_each(map);
	const struct json *value;
	const char *key;

	if (!json_is_object(map))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "entry %zu: %s has an element that is no object", entry, member);
	while (json_next(&it, &key, &value)) {
		struct ceph_number_pair pair;

		if (!read_number(key, &pair.one) || !read_number(json_string(value), &pair.other))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "entry %zu: %s: '%.40s': '%.40s' is no pair of numbers in "
				       "quotes, as \"1\": \"2\"",
				       entry, member, key, str_or(json_string(value), ""));
		numbers->v[numbers->n++] = pair;
	}
	return 0;
}

static size_t count_pairs(const struct json *list)
{
	struct json_it it = json_each(list);
	const struct json *map;
	const char *key;
	size_t n = 0;

	while (json_next(&it, &key, &map))
		n += json_count(map);
	return n;
}

static int read_numbers(struct arena *a, const struct json *v, size_t entry, const char *member,
			struct ceph_numbers *numbers, struct err *err)
{
	const struct json *list = get_member(v, member), *map;
	struct json_it it = json_each(list);
	const char *key;

	if (!json_is_null(list) && !json_is_array(list))
		return err_set(err, ERR_INVALID_ARGUMENT, "entry %zu: %s is no list", entry,
			       member);
	numbers->v = arena_array(a, count_pairs(list), sizeof(*numbers->v));
	while (json_next(&it, &key, &map))
		if (read_pairs(map, entry, member, numbers, err) < 0)
			return -1;
	return 0;
}

static int read_mapping(struct arena *a, const struct json *v, size_t entry, struct ceph_mapping *m,
			struct err *err)
{
	if (!json_is_object(v))
		return err_set(err, ERR_INVALID_ARGUMENT, "entry %zu is no object", entry);
	if (read_clusters(a, v, entry, m, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(number_members); i++)
		if (read_numbers(a, v, entry, number_members[i], &m->numbers[i], err) < 0)
			return -1;
	return 0;
}

int ceph_mappings_parse(struct arena *a, const char *text, size_t n, struct ceph_mappings *ret,
			struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct ceph_mappings found = { 0 };
	const struct json *root, *v;
	struct json_it it;
	const char *key;

	if (json_parse(text, n, &doc, err) < 0)
		return -1;
	root = json_root(doc);
	if (!json_is_array(root))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "it is no list of {\"" CLUSTER_MEMBER "\": …}");
	found.v = arena_array(a, json_count(root), sizeof(*found.v));
	for (it = json_each(root); json_next(&it, &key, &v); found.n++) {
		found.v[found.n] = (struct ceph_mapping){ 0 };
		if (read_mapping(a, v, found.n + 1, &found.v[found.n], err) < 0)
			return -1;
	}
	*ret = found;
	return 0;
}

static void add(struct ceph_candidates *c, const char *cluster, int64_t pool_id)
{
	struct ceph_candidate *next = &c->v[c->n];

	for (size_t i = 0; i < c->n; i++)
		if (str_is_equal(c->v[i].cluster, cluster) && c->v[i].pool_id == pool_id)
			return;
	if (c->n == CEPH_CANDIDATES_MAX) {
		(void)err_set(&c->doubt, ERR_RESOURCE_EXHAUSTED,
			      "cluster-mapping.json leads from cluster '%s', number %lld, to more "
			      "than %d others",
			      c->v[0].cluster, (long long)c->v[0].pool_id, CEPH_CANDIDATES_MAX - 1);
		return;
	}
	memcpy(next->cluster, cluster, strlen(cluster) + 1); /* it is valid */
	next->pool_id = pool_id;
	c->n++;
}

/* Of the pairs whose number on that side it is, or of no pair. */
static bool follow_side(const struct ceph_numbers *numbers, bool is_one, const char *cluster,
			int64_t number, struct ceph_candidates *c)
{
	bool is_there = false;

	for (size_t i = 0; i < numbers->n; i++) {
		const struct ceph_number_pair *pair = &numbers->v[i];

		if ((is_one ? pair->one : pair->other) != number)
			continue;
		add(c, cluster, is_one ? pair->other : pair->one);
		is_there = true;
	}
	return is_there;
}

static void follow_pair(const struct ceph_cluster_pair *pair, const struct ceph_numbers *numbers,
			const struct ceph_handle *handle, bool loosely, struct ceph_candidates *c)
{
	bool is_one = str_is_equal(pair->one, handle->cluster);
	const char *cluster = is_one ? pair->other : pair->one;
	bool is_both = str_is_equal(pair->one, pair->other);

	if (!is_one && !str_is_equal(pair->other, handle->cluster))
		return;
	c->is_mapped = true;
	if (!follow_side(numbers, is_one, cluster, handle->pool_id, c) || is_both || loosely)
		(void)follow_side(numbers, !is_one, cluster, handle->pool_id, c);
}

void ceph_mappings_follow(const struct ceph_mappings *m, enum ceph_mapped what,
			  const struct ceph_handle *handle, bool loosely,
			  struct ceph_candidates *ret)
{
	ret->n = 0;
	ret->is_mapped = false;
	ret->doubt.code = ERR_OK;
	add(ret, handle->cluster, handle->pool_id);
	for (size_t i = 0; m && i < m->n; i++)
		for (size_t k = 0; k < m->v[i].n_clusters; k++)
			follow_pair(&m->v[i].clusters[k], &m->v[i].numbers[what], handle, loosely,
				    ret);
}
