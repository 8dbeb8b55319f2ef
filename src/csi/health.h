/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_HEALTH_H
#define CSI_HEALTH_H

#include "base/arena.h"
#include "csi/service.h"

/*
 * What can be wrong with a volume or a pool, as the health calls of CSI 1.13 and the metrics say
 * it. Found by looking, each time anew: a condition is there as long as it is true.
 */
enum health_kind {
	HEALTH_POOL_GONE,
	HEALTH_SILENT, /* a look at it does not come back */
	HEALTH_DAMAGED,
	HEALTH_FILE_MISSING,
	HEALTH_DEVICE_GONE,
	HEALTH_SHUT_DOWN,
	HEALTH_READ_ONLY,
	HEALTH_ERRORS, /* the filesystem has counted errors, and goes on */
	HEALTH_BUFFERED,
	HEALTH_POOL_NEARLY_FULL, /* a thin one that is used here */
	HEALTH_POOL_FULL,
	N_HEALTH,
};

enum pool_health_kind {
	POOL_HEALTH_GONE,
	POOL_HEALTH_SILENT,
	POOL_HEALTH_NEARLY_FULL,
	POOL_HEALTH_FULL,
	POOL_HEALTH_OVERDRAWN,
	POOL_HEALTH_DAMAGED,
	POOL_HEALTH_FILES_MISSING,
	N_POOL_HEALTH,
};

/* In metrics: "file_missing". */
const char *health_label(enum health_kind kind);
const char *pool_health_label(enum pool_health_kind kind);

/* The conditions of one volume, each at most once. */
struct health {
	struct arena *a;
	struct csi_volume_health_volume_health_entry entries[N_HEALTH];
	enum health_kind kinds[N_HEALTH];
	size_t n;
};
/* A second time: as it is. Says what is wrong, since when if that is known, and the way out. */
void health_add(struct health *h, enum health_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool health_has(const struct health *h, enum health_kind kind);
/* As the reply has it, in the arena. */
struct csi_volume_health health_reply(const struct health *h, const char *volume_id);

/* The conditions of the pools: a reply has one line a kind, which names all pools that are so. */
struct pool_health {
	struct arena *a;
	const char *messages[N_POOL_HEALTH]; /* NULL: none is */
};
void pool_health_add(struct pool_health *h, enum pool_health_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void pool_health_reply(const struct pool_health *h,
		       struct csi_node_get_storage_health_response *ret);

#endif
