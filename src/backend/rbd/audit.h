/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_AUDIT_H
#define BACKEND_RBD_AUDIT_H

#include "backend/ceph/audit.h"

struct rbd_audit {
	const char *config_dir; /* as of "rbd:DIR" */
	const char *instance;   /* "" gives "default" */
	const char *cluster, *pool;
	const struct secrets *secrets;
};

/*
 * Looks at everything in the pool; a driver that works there meanwhile is not disturbed, and what
 * it changes meanwhile is no finding. Errors as those of the calls of a class with these
 * parameters; FAILED_PRECONDITION also if cluster-mapping.json is malformed, since what nobody
 * seems to name may be named by its ids.
 */
int rbd_audit(struct ctx *ctx, const struct rbd_audit *what, ceph_finding_fn fn, void *arg,
	      struct ceph_audited *ret, struct err *err);

struct ceph_lib;
/* The same with another library than librbd; for tests. */
int rbd_audit_with(const struct ceph_lib *lib, struct ctx *ctx, const struct rbd_audit *what,
		   ceph_finding_fn fn, void *arg, struct ceph_audited *ret, struct err *err);

#endif
