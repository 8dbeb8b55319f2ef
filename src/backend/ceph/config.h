/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_CONFIG_H
#define BACKEND_CEPH_CONFIG_H

#include "backend/ceph/mapping.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>

/*
 * ceph-csi's config.json (its ConfigMap ceph-csi-config, mounted as a directory): which clusters
 * there are; and beside it cluster-mapping.json, if there is one (mapping.h). Read anew when they
 * have changed (followed.h).
 */
struct ceph_cluster {
	const char *id;               /* clusterID */
	const char *monitors;         /* comma-separated, as mon_host takes them and krbd does */
	const char *rados_namespace;  /* rbd.radosNamespace; "" */
	const char *subvolume_group;  /* cephFS.subvolumeGroup; "csi" */
	const char *cephfs_namespace; /* cephFS.radosNamespace; "csi" */
	/* cephFS.kernelMountOptions, .fuseMountOptions: beside a class's; "" */
	const char *kernel_mount_options, *fuse_mount_options;
	bool read_affinity;       /* readAffinity.enabled */
	const char *crush_labels; /* readAffinity.crushLocationLabels, comma-separated; "" */
};

struct ceph_config;

/* dir has the files. Reads nothing yet. */
struct ceph_config *ceph_config_new(const char *dir);
void ceph_config_free(struct ceph_config *c);

/*
 * The cluster, in the arena. NOT_FOUND: none of that id, names those there are.
 * FAILED_PRECONDITION: the file is missing or malformed, and there is none of before; says where
 * and what. Any thread.
 */
int ceph_config_find(struct ceph_config *c, struct arena *a, const char *id,
		     struct ceph_cluster *ret_cluster, struct err *err);

/*
 * Where what a handle names may be. A cluster-mapping.json that is malformed, with none of before,
 * is ret->doubt: then only where the handle says is known. Any thread.
 */
void ceph_config_candidates(struct ceph_config *c, enum ceph_mapped what,
			    const struct ceph_handle *handle, struct ceph_candidates *ret);
/* The other way: what handles may mean this place (and some that do not). */
void ceph_config_names(struct ceph_config *c, enum ceph_mapped what,
		       const struct ceph_handle *place, struct ceph_candidates *ret);
/*
 * Leaves those whose cluster config.json has: the file of mappings is the same at all sites, and
 * each has its own clusters alone. FAILED_PRECONDITION: none is left, names them; or as find's.
 */
int ceph_config_keep_known(struct ceph_config *c, struct ceph_candidates *all, struct err *err);

/* What find does with the bytes of a file, for tests and fuzzing. INVALID_ARGUMENT. */
struct ceph_clusters {
	struct ceph_cluster *v;
	size_t n;
};
int ceph_config_parse(struct arena *a, const char *text, size_t n, struct ceph_clusters *ret,
		      struct err *err);

#endif
