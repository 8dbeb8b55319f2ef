/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_AUDIT_H
#define BACKEND_RBD_AUDIT_H

#include "backend/registry.h"

/*
 * What a pool's journal and its images tell of each other, for people (`cleat ctl ceph audit`): a
 * call that was killed, a cluster that was restored, or an image that was removed by hand leaves
 * what does not fit, and only whoever sees both sides finds it.
 */
enum rbd_trouble {
	RBD_TROUBLE_NONE,       /* an entry with its image; told too, since the caller knows PVs */
	RBD_TROUBLE_UNFINISHED, /* an entry of a call that has not ended: it may go on */
	RBD_TROUBLE_NO_IMAGE,   /* an entry whose image was whole and is gone */
	RBD_TROUBLE_NO_OBJECT,  /* a name in the directory without the entry that it names */
	RBD_TROUBLE_NO_ENTRY,   /* an image of our names that no entry names */
	RBD_TROUBLES,
};

struct rbd_finding {
	enum rbd_trouble trouble;
	enum vol_kind kind; /* of what it is; VOL_KIND_VOLUME where only an image is left */
	const char *name;   /* the CO's; "" where only an image is left */
	const char *image;  /* "" where nobody tells */
	const char *handle; /* "" where only an image is left */
	/* What PVs may call it that come from another site: cluster-mapping.json leads from each to
	 * it. */
	const char *const *also;
	size_t n_also;
	bool can_mend; /* the journal's side alone; an image is never removed here */
};

/* 1: mend it, if it can be; 0: go on; -1 with err: stop. */
typedef int (*rbd_finding_fn)(void *arg, const struct rbd_finding *finding, struct err *err);

struct rbd_audit {
	const char *config_dir; /* as of "rbd:DIR" */
	const char *instance;   /* "" gives "default" */
	const char *cluster, *pool;
	const struct secrets *secrets;
};
struct rbd_audited {
	uint64_t n_entries, n_images; /* of our names */
	uint64_t n_troubles;
	uint64_t n_mended;
};

/*
 * Looks at everything in the pool; a driver that works there meanwhile is not disturbed, and what
 * it changes meanwhile is no finding. Errors as those of the calls of a class with these
 * parameters; FAILED_PRECONDITION also if cluster-mapping.json is malformed, since what nobody
 * seems to name may be named by its ids.
 */
int rbd_audit(struct ctx *ctx, const struct rbd_audit *what, rbd_finding_fn fn, void *arg,
	      struct rbd_audited *ret, struct err *err);

struct ceph_lib;
/* The same with another library than librbd; for tests. */
int rbd_audit_with(const struct ceph_lib *lib, struct ctx *ctx, const struct rbd_audit *what,
		   rbd_finding_fn fn, void *arg, struct rbd_audited *ret, struct err *err);

#endif
