/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_TOPOLOGY_H
#define VOLUME_TOPOLOGY_H

#include "base/uuid.h"
#include "volume/capability.h"

/*
 * A pool is where its disk is: each pool contributes the segment "<driver>/<identity, 32 lower-case
 * hex digits>" = "here" to its node. A disk moved to another machine makes the new node report the
 * same segment, so volumes keep matching; a label of the old one that kubelet left on a node never
 * contradicts a new one, since no two pools share a key.
 */
#define VOL_SEGMENT_VALUE "here"

/* key as above, in the arena. */
const char *vol_segment_key(struct arena *a, const char *driver, const struct uuid *identity);
/* The identity in a key that vol_segment_key() makes for this driver: 0, or -EINVAL for another. */
int vol_segment_parse(const char *key, const char *driver, struct uuid *ret_identity);
bool vol_segment_is_pool(const char *key, const char *driver);

/* True if a volume that lives at `place` may be reached from one of the wanted topologies (empty
 * list: from anywhere). A wanted topology may hold several pools' segments: each is reached. */
bool vol_topology_allows(const struct vol_topologies *wanted, const struct vol_topology *place);

/* The first key in wanted that is no pool's of this driver; NULL if there is none. */
const char *vol_topology_foreign_key(const struct vol_topologies *wanted, const char *driver);

#endif
