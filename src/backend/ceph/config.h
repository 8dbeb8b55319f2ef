/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_CONFIG_H
#define BACKEND_CEPH_CONFIG_H

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>

/*
 * ceph-csi's config.json (its ConfigMap ceph-csi-config, mounted as a directory): which clusters
 * there are. Read anew when the file has changed, as a ConfigMap's does under a running pod.
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

/* dir has config.json. Reads nothing yet. */
struct ceph_config *ceph_config_new(const char *dir);
void ceph_config_free(struct ceph_config *c);

/*
 * The cluster, in the arena. NOT_FOUND: none of that id, names those there are.
 * FAILED_PRECONDITION: the file is missing or malformed, and there is none of before; says where
 * and what. Any thread.
 */
int ceph_config_find(struct ceph_config *c, struct arena *a, const char *id,
		     struct ceph_cluster *ret_cluster, struct err *err);

/* What find does with the bytes of a file, for tests and fuzzing. INVALID_ARGUMENT. */
struct ceph_clusters {
	struct ceph_cluster *v;
	size_t n;
};
int ceph_config_parse(struct arena *a, const char *text, size_t n, struct ceph_clusters *ret,
		      struct err *err);

#endif
