/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_HEALTH_INTERNAL_H
#define CONTROL_HEALTH_INTERNAL_H

#include "base/arena.h"
#include "base/str.h"
#include "csi/service.h"

#include <stdint.h>

/* As many as the API allows a claim. */
#define HEALTH_CONDITIONS_MAX 16

struct health_condition {
	const char *status; /* "Degraded", "Inaccessible", "DataLoss" */
	const char *reason, *message;
};

/* What a driver said of a volume, as the API takes it. All in the arena, or the reply's. */
struct health_state {
	struct health_condition v[HEALTH_CONDITIONS_MAX]; /* the worst first */
	size_t n;
	uint64_t hash;       /* of all of it, as core_pvc.health; 0: healthy */
	uint64_t kinds;      /* the same without messages, which change with each figure in them */
	const char *unknown; /* "" or, for people, what is of no type that this version knows */
};

/* Conditions that the API would refuse (a reason that is none) keep their message alone, in
 * unknown. */
struct health_state health_state_of(struct arena *a, const struct csi_volume_health *health);
/* "Inaccessible (PoolGone): the disk is gone; Degraded (…)", for people. */
const char *health_state_text(struct arena *a, const struct health_state *s);
/* `"status":{"healthStatus":…}`; null where there is nothing. */
void health_state_patch(const struct health_state *s, struct str *out);

#endif
