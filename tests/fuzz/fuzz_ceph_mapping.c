/* SPDX-License-Identifier: Apache-2.0 */
/* ceph-csi's cluster-mapping.json: where it leads is a place that a handle can name, each once, and
 * leads back. */
#include <stdio.h>
#include <string.h>

#include "backend/ceph/mapping.h"
#include "base/mem.h"

static void check_all(const struct ceph_candidates *all)
{
	if (all->n == 0 || all->n > CEPH_CANDIDATES_MAX)
		abort();
	for (size_t i = 0; i < all->n; i++) {
		if (!ceph_cluster_id_is_valid(all->v[i].cluster) || all->v[i].pool_id < 0)
			abort();
		for (size_t k = 0; k < i; k++)
			if (all->v[i].pool_id == all->v[k].pool_id &&
			    strcmp(all->v[i].cluster, all->v[k].cluster) == 0)
				abort();
	}
}

static bool leads_back(const struct ceph_mappings *m, enum ceph_mapped what,
		       const struct ceph_candidate *from, const struct ceph_candidate *to)
{
	struct ceph_handle handle = { .pool_id = from->pool_id };
	struct ceph_candidates all;

	memcpy(handle.cluster, from->cluster, sizeof(handle.cluster));
	ceph_mappings_follow(m, what, &handle, true, &all);
	if (all.doubt.code != ERR_OK)
		return true;
	for (size_t i = 0; i < all.n; i++)
		if (all.v[i].pool_id == to->pool_id && strcmp(all.v[i].cluster, to->cluster) == 0)
			return true;
	return false;
}

static void check(const struct ceph_mappings *m, enum ceph_mapped what, const char *cluster,
		  int64_t number)
{
	struct ceph_handle handle = { .pool_id = number };
	struct ceph_candidates all;

	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", cluster);
	ceph_mappings_follow(m, what, &handle, false, &all);
	check_all(&all);
	for (size_t i = 1; i < all.n; i++)
		if (!leads_back(m, what, &all.v[i], &all.v[0]))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	struct ceph_mappings m;
	struct err err;

	if (ceph_mappings_parse(a, (const char *)data, size, &m, &err) < 0)
		return 0;
	for (size_t i = 0; i < m.n && i < 4; i++) {
		const struct ceph_mapping *entry = &m.v[i];

		for (size_t k = 0; k < entry->n_clusters && k < 4; k++)
			for (size_t what = 0; what < 2; what++)
				for (size_t j = 0; j < entry->numbers[what].n && j < 4; j++)
					check(&m, what, entry->clusters[k].one,
					      entry->numbers[what].v[j].other);
	}
	return 0;
}
