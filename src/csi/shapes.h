/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_SHAPES_H
#define CSI_SHAPES_H

#include "volume/capability.h"

#include <stddef.h>
#include <stdint.h>

/* Messages of csi.proto that have a struct of our own, because several share one or because one
 * flat struct reads better than three inside each other (tools/gen-messages, OWN). */

/*
 * PluginCapability, ControllerServiceCapability, NodeServiceCapability,
 * GroupControllerServiceCapability. which: 1 a service or RPC, 2 an expansion (PluginCapability
 * alone), 0 what this version does not know. value: enum csi_plugin_cap and so on.
 */
struct csi_capability {
	unsigned which;
	int value;
};

/* VolumeContentSource. kind CSI_SOURCE_NONE in one that is there: of a newer CSI. */
enum csi_source {
	CSI_SOURCE_NONE = 0,
	CSI_SOURCE_SNAPSHOT = 1,
	CSI_SOURCE_VOLUME = 2,
};
struct csi_content_source {
	unsigned kind;  /* enum csi_source */
	const char *id; /* snapshot_id or volume_id */
};

/* TopologyRequirement; absent if both are empty. */
struct csi_topology_requirement {
	struct vol_topologies requisite;
	struct vol_topologies preferred;
};

/* ListVolumesResponse.VolumeStatus, ControllerGetVolumeResponse.VolumeStatus. */
struct csi_volume_status {
	const char *const *published_node_ids;
	size_t n_published_node_ids;
};

#endif
