/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_AUDIT_H
#define BACKEND_CEPHFS_AUDIT_H

#include "backend/ceph/audit.h"

struct cephfs_audit {
	const char *config_dir; /* as of "cephfs:DIR" */
	const char *instance;   /* "" gives "default" */
	const char *cluster, *fs_name;
	const struct secrets *secrets; /* the administrator's */
};

/*
 * Looks at everything in the filesystem's subvolume group; a driver that works there meanwhile is
 * not disturbed, and what it changes meanwhile is no finding. An entry tells not whether its
 * subvolume was ever there, so one that was written in the last minutes is that of a call that may
 * go on. Errors as those of the calls of a class with these parameters; FAILED_PRECONDITION also if
 * cluster-mapping.json is malformed, since what nobody seems to name may be named by its ids.
 */
int cephfs_audit(struct ctx *ctx, const struct cephfs_audit *what, ceph_finding_fn fn, void *arg,
		 struct ceph_audited *ret, struct err *err);

struct ceph_lib;
/* The same with another library than librados; for tests. */
int cephfs_audit_with(const struct ceph_lib *lib, struct ctx *ctx, const struct cephfs_audit *what,
		      ceph_finding_fn fn, void *arg, struct ceph_audited *ret, struct err *err);

#endif
