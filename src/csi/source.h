/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_SOURCE_H
#define CSI_SOURCE_H

#include "csi/driver-internal.h"

/* What a new volume begins with (CreateVolume's volume_content_source), and where that is. */
struct source {
	enum backend_source kind;
	const char *id; /* the CO's; "" for none */
	struct csi_ref ref;
};

/* What it turned out to be. */
struct source_facts {
	uint64_t bytes;
	char fs[8]; /* "" = raw */
};

/* Asks no storage. ref.pool may be NULL. NOT_FOUND: no id of ours. */
int source_resolve(struct csi_driver *d, const struct csi_content_source *asked,
		   struct source *ret_source, struct err *err);

/* NOT_FOUND; UNAVAILABLE: its pool is not here; INVALID_ARGUMENT: that pool cannot copy from one;
 * FAILED_PRECONDITION: it is damaged, or not ready yet. */
int source_look(struct csi_driver *d, struct ctx *ctx, const struct source *source,
		struct source_facts *ret_facts, struct err *err);

/* The filesystem of the copy: the source's. asked: "" if none is said. INVALID_ARGUMENT: the volume
 * is wanted otherwise; says what the source has and what would work. */
int source_choose_fs(const struct source *source, const struct source_facts *facts, bool is_mount,
		     const char *asked, const char **ret_fs, struct err *err);

/* Whether the volume, which is in pool, was made of this. ALREADY_EXISTS. */
int source_check_existing(struct arena *a, const struct source *source, const struct backend *pool,
			  const struct backend_volume *vol, struct err *err);

#endif
