/* SPDX-License-Identifier: Apache-2.0 */
/* ceph-csi's config.json: what is taken of it can be put into a handle and into mon_host. */
#include <ctype.h>
#include <string.h>

#include "backend/ceph/config.h"
#include "base/mem.h"
#include "volume/ceph.h"

static void check(const struct ceph_cluster *c)
{
	if (!ceph_cluster_id_is_valid(c->id) || !*c->monitors || !*c->subvolume_group ||
	    !*c->cephfs_namespace)
		abort();
	for (const char *p = c->monitors; *p; p++)
		if (!isgraph((unsigned char)*p))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	struct ceph_clusters clusters;
	struct err err;

	if (ceph_config_parse(a, (const char *)data, size, &clusters, &err) < 0)
		return 0;
	for (size_t i = 0; i < clusters.n; i++) {
		check(&clusters.v[i]);
		for (size_t k = 0; k < i; k++)
			if (strcmp(clusters.v[i].id, clusters.v[k].id) == 0)
				abort();
	}
	return 0;
}
