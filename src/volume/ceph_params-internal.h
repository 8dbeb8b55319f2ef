/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_CEPH_PARAMS_INTERNAL_H
#define VOLUME_CEPH_PARAMS_INTERNAL_H

#include "volume/ceph.h"

#include <stddef.h>

/* What classes of images and of filesystems have in common. All errors are INVALID_ARGUMENT. */
struct ceph_param {
	const char *key;
	const char *value; /* never "" */
};

int ceph_param_refuse(const char *key, const char *value, const char *why, struct err *err);
/* One that asks for what ceph-csi does and cleat does not; "false" and "[]" ask for nothing. */
int ceph_param_refuse_undone(const struct strpair *pair, const char *instead, struct err *err);
int ceph_param_require(const char *key, const char *value, struct err *err);
int ceph_param_check_text(const char *key, const char *value, struct err *err);
int ceph_param_cluster(const struct ceph_param *p, const char **ret, struct err *err);
int ceph_param_name(const struct ceph_param *p, const char **ret, struct err *err);
int ceph_param_prefix(const struct ceph_param *p, const char **ret, struct err *err);
/* Of the key behind "csi.storage.k8s.io/"; "" if it is not there. */
const char *ceph_param_kubernetes(const struct strmap *map, const char *key);

#endif
