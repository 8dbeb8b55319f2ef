/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_DOCTOR_INTERNAL_H
#define BACKEND_POOL_DOCTOR_INTERNAL_H

#include "backend/pool/pool-internal.h"

/* Shared by doctor.c and doctor_device.c. */
struct doctor {
	struct pool pool;
	struct ctx *ctx;
	const struct pool_doctor *what;
	pool_finding_fn fn;
	void *arg;
	struct host_file dir;
	bool has_identity;
	bool is_in_place; /* where it was when it was last served */
	struct pool_examined seen;
};

/* A finding that only a person can do something about … */
void doctor_report(struct doctor *d, enum pool_trouble trouble, const char *path,
		   const char *detail);
/* … and one that was mended (rc 0) or not (err says why). */
void doctor_report_mended(struct doctor *d, enum pool_trouble trouble, const char *path,
			  const char *detail, int rc, const struct err *err);
/* Whether it is to be mended, and may be, since the pool is the one it was and no driver serves it;
 * else it is reported with why it is not. */
bool doctor_may_mend(struct doctor *d, enum pool_trouble trouble, const char *path,
		     const char *detail);

/* The devices over a volume's file. */
void doctor_look_at_devices(struct doctor *d, const struct pool_volume *vol, const char *path);
/* Devices over files that lost their names. */
int doctor_look_for_unlinked(struct doctor *d, struct err *err);

#endif
