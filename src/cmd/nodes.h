/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_NODES_H
#define CMD_NODES_H

#include "backend/backend.h"
#include "base/json.h"

struct ev_loop;

/*
 * Nodes as the API server has them, for the driver's door (csi_driver_options.nodes). A node is
 * known by CSI's node_id, which is its name. Each look reads it anew; the right that takes is `get`
 * of nodes.
 */
struct nodes;

/* kubeconfig: as of kube_config_load. driver: whose volumes they have. */
int nodes_new(struct ev_loop *loop, const char *kubeconfig, const char *driver,
	      struct nodes **ret_nodes, struct err *err);
void nodes_free(struct nodes *n); /* NULL is fine */
/* Lives as long as n. */
const struct backend_nodes *nodes_door(struct nodes *n);

/* What a Node's JSON says; strings in the arena. */
void nodes_read(struct arena *a, const struct json *object, const char *driver,
		const char *volume_id, struct backend_node *ret_node);

#endif
