/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_TOPOLOGY_H
#define VOLUME_TOPOLOGY_H

#include "base/uuid.h"
#include "volume/capability.h"

/*
 * A pool is where its disk is: each pool contributes the segment "<driver>/<pool>" = <pool
 * identity, 32 hex digits> to its node. A disk moved to another machine makes the new node report
 * the same segment, so volumes keep matching.
 */
#define VOL_SEGMENT_VALUE_MAX 33

void vol_segment_value(const struct uuid *pool, char ret_text[VOL_SEGMENT_VALUE_MAX]);

/* key as above, in the arena. */
const char *vol_segment_key(struct arena *a, const char *driver, const char *pool_name);

/* True if a volume that lives at `place` may be reached from one of the wanted topologies (empty
 * list: from anywhere). */
bool vol_topology_allows(const struct vol_topologies *wanted, const struct vol_topology *place);

#endif
