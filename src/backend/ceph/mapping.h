/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_MAPPING_H
#define BACKEND_CEPH_MAPPING_H

#include "base/arena.h"
#include "base/err.h"
#include "volume/ceph.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * ceph-csi's cluster-mapping.json, beside config.json: what the clusters of two sites, and the
 * pools that mirror each other, are called and numbered at the other. The PVs of one site that are
 * restored at the other name what is not there, and so lead to what is:
 *
 *   [{"clusterIDMapping": {"site1": "site2"}, "RBDPoolIDMapping": [{"1": "2"}],
 *     "CephFSFscIDMapping": [{"1": "1"}]}]
 *
 * The file is the same at all sites: each pair is read both ways. Names of members are taken in any
 * case, as that program does.
 */
struct ceph_cluster_pair {
	const char *one, *other;
};
struct ceph_number_pair {
	int64_t one, other;
};
struct ceph_numbers {
	struct ceph_number_pair *v;
	size_t n;
};
enum ceph_mapped { CEPH_MAPPED_POOLS, CEPH_MAPPED_FILESYSTEMS };
struct ceph_mapping {
	struct ceph_cluster_pair *clusters;
	size_t n_clusters;
	struct ceph_numbers numbers[2]; /* by enum ceph_mapped */
};
struct ceph_mappings {
	struct ceph_mapping *v;
	size_t n;
};

/* INVALID_ARGUMENT: says which entry, or where in the text. */
int ceph_mappings_parse(struct arena *a, const char *text, size_t n, struct ceph_mappings *ret,
			struct err *err);

/* Where what a handle names may be, each once, in the order in which it is looked for: where the
 * handle says, then as the file has them. */
#define CEPH_CANDIDATES_MAX 16
struct ceph_candidate {
	char cluster[CEPH_CLUSTER_MAX];
	int64_t pool_id; /* or the filesystem's number */
};
struct ceph_candidates {
	struct ceph_candidate v[CEPH_CANDIDATES_MAX];
	size_t n;
	bool is_mapped;   /* the file has the handle's cluster, whatever of its pool */
	struct err doubt; /* code ERR_OK: these are all */
};
/* doubt RESOURCE_EXHAUSTED: there are more. loosely: each pair from both sides, so that whatever
 * leads from A to B leads loosely from B to A. */
void ceph_mappings_follow(const struct ceph_mappings *m, enum ceph_mapped what,
			  const struct ceph_handle *handle, bool loosely,
			  struct ceph_candidates *ret);

#endif
