/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_SERVICE_H
#define CSI_SERVICE_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/strmap.h"
#include "volume/capability.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * CSI 1.13 as plain C: what csi/server decodes from the wire, csi/client encodes for it, and
 * control/ calls without knowing which of the two is behind. So a controller works the same against
 * the backends in this process and against any vendor's driver over a socket.
 *
 * Requests are borrowed for the call; replies live in ctx->arena. All calls block and belong on a
 * worker. A NULL pointer in the table means UNIMPLEMENTED: call through csi_… below, which answer
 * that. Strings are never NULL ("" when absent). Messages follow the field names of csi.proto.
 */
struct csi_plugin_info {
	const char *name;
	const char *vendor_version;
	struct strmap manifest;
};

struct csi_plugin_capabilities {
	bool controller_service;
	bool accessibility_constraints;
	bool group_controller_service;
	bool snapshot_metadata_service;
	bool expand_online;
	bool expand_offline;
};

/* Bit n is the capability with the number n of ControllerServiceCapability.RPC.Type /
 * NodeServiceCapability.RPC.Type. */
enum csi_controller_cap {
	CSI_CTRL_CREATE_DELETE_VOLUME = 1,
	CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME = 2,
	CSI_CTRL_LIST_VOLUMES = 3,
	CSI_CTRL_GET_CAPACITY = 4,
	CSI_CTRL_CREATE_DELETE_SNAPSHOT = 5,
	CSI_CTRL_LIST_SNAPSHOTS = 6,
	CSI_CTRL_CLONE_VOLUME = 7,
	CSI_CTRL_PUBLISH_READONLY = 8,
	CSI_CTRL_EXPAND_VOLUME = 9,
	CSI_CTRL_LIST_VOLUMES_PUBLISHED_NODES = 10,
	CSI_CTRL_GET_VOLUME = 12,
	CSI_CTRL_SINGLE_NODE_MULTI_WRITER = 13,
	CSI_CTRL_MODIFY_VOLUME = 14,
	CSI_CTRL_GET_SNAPSHOT = 15,
	CSI_CTRL_GET_VOLUME_HEALTH = 16,
	CSI_CTRL_LIST_VOLUME_HEALTH = 17,
};
enum csi_node_cap {
	CSI_NODE_STAGE_UNSTAGE_VOLUME = 1,
	CSI_NODE_GET_VOLUME_STATS = 2,
	CSI_NODE_EXPAND_VOLUME = 3,
	CSI_NODE_SINGLE_NODE_MULTI_WRITER = 5,
	CSI_NODE_VOLUME_MOUNT_GROUP = 6,
	CSI_NODE_GET_VOLUME_HEALTH = 7,
	CSI_NODE_GET_STORAGE_HEALTH = 8,
};
#define CSI_CAP_BIT(cap) (UINT64_C(1) << (cap))

enum csi_source {
	CSI_SOURCE_NONE,
	CSI_SOURCE_SNAPSHOT,
	CSI_SOURCE_VOLUME,
};

struct csi_content_source {
	enum csi_source kind;
	const char *id; /* snapshot_id or volume_id */
};

struct csi_volume {
	const char *volume_id;
	uint64_t capacity_bytes; /* 0: unknown */
	struct strmap volume_context;
	struct csi_content_source content_source;
	struct vol_topologies accessible_topology;
};

struct csi_create_volume {
	const char *name;
	struct vol_range capacity_range; /* both 0: absent */
	const struct vol_capability *capabilities;
	size_t n_capabilities;
	struct strmap parameters;
	struct strmap mutable_parameters;
	struct secrets secrets;
	struct csi_content_source content_source;
	struct vol_topologies requisite;
	struct vol_topologies preferred;
};

struct csi_validate {
	const char *volume_id;
	struct strmap volume_context;
	const struct vol_capability *capabilities;
	size_t n_capabilities;
	struct strmap parameters;
	struct strmap mutable_parameters;
	struct secrets secrets;
};
struct csi_validated {
	bool is_confirmed;
	const char *message; /* why not */
};

struct csi_volume_status {
	struct csi_volume volume;
	const char *const *published_node_ids;
	size_t n_published_node_ids;
};
struct csi_volume_list {
	struct csi_volume_status *v;
	size_t n;
	const char *next_token;
};

struct csi_get_capacity {
	const struct vol_capability *capabilities;
	size_t n_capabilities;
	struct strmap parameters;
	struct vol_topology accessible_topology;
	bool has_topology;
};
struct csi_capacity {
	uint64_t available_bytes;
	uint64_t maximum_volume_bytes; /* 0: not said */
	uint64_t minimum_volume_bytes; /* 0: not said */
};

struct csi_stage {
	const char *volume_id;
	struct strmap publish_context;
	const char *staging_target_path;
	struct vol_capability capability;
	struct secrets secrets;
	struct strmap volume_context;
};
struct csi_publish {
	const char *volume_id;
	struct strmap publish_context;
	const char *staging_target_path;
	const char *target_path;
	struct vol_capability capability;
	bool readonly;
	struct secrets secrets;
	struct strmap volume_context;
};

struct csi_usage {
	bool is_inodes; /* else bytes */
	bool has_used;  /* raw block: total only */
	uint64_t total, used, available;
};
struct csi_stats {
	struct csi_usage v[2];
	size_t n;
};

struct csi_node_info {
	const char *node_id;
	uint64_t max_volumes_per_node;
	struct vol_topology accessible_topology;
	bool has_topology;
};

struct csi_service_ops {
	/* Not of CSI: see csi_link_changes. */
	uint64_t (*link_changes)(void *impl);
	/* Identity */
	int (*get_plugin_info)(void *impl, struct ctx *ctx, struct csi_plugin_info *ret,
			       struct err *err);
	int (*get_plugin_capabilities)(void *impl, struct ctx *ctx,
				       struct csi_plugin_capabilities *ret, struct err *err);
	int (*probe)(void *impl, struct ctx *ctx, bool *ret_ready, struct err *err);
	/* Controller */
	int (*controller_get_capabilities)(void *impl, struct ctx *ctx, uint64_t *ret_caps,
					   struct err *err);
	int (*create_volume)(void *impl, struct ctx *ctx, const struct csi_create_volume *req,
			     struct csi_volume *ret, struct err *err);
	int (*delete_volume)(void *impl, struct ctx *ctx, const char *volume_id,
			     const struct secrets *secrets, struct err *err);
	int (*validate_volume_capabilities)(void *impl, struct ctx *ctx,
					    const struct csi_validate *req,
					    struct csi_validated *ret, struct err *err);
	int (*list_volumes)(void *impl, struct ctx *ctx, uint32_t max_entries,
			    const char *starting_token, struct csi_volume_list *ret,
			    struct err *err);
	int (*get_capacity)(void *impl, struct ctx *ctx, const struct csi_get_capacity *req,
			    struct csi_capacity *ret, struct err *err);
	int (*controller_get_volume)(void *impl, struct ctx *ctx, const char *volume_id,
				     struct csi_volume_status *ret, struct err *err);
	/* Node */
	int (*node_get_capabilities)(void *impl, struct ctx *ctx, uint64_t *ret_caps,
				     struct err *err);
	int (*node_get_info)(void *impl, struct ctx *ctx, struct csi_node_info *ret,
			     struct err *err);
	int (*node_stage_volume)(void *impl, struct ctx *ctx, const struct csi_stage *req,
				 struct err *err);
	int (*node_unstage_volume)(void *impl, struct ctx *ctx, const char *volume_id,
				   const char *staging_target_path, struct err *err);
	int (*node_publish_volume)(void *impl, struct ctx *ctx, const struct csi_publish *req,
				   struct err *err);
	int (*node_unpublish_volume)(void *impl, struct ctx *ctx, const char *volume_id,
				     const char *target_path, struct err *err);
	int (*node_get_volume_stats)(void *impl, struct ctx *ctx, const char *volume_id,
				     const char *volume_path, const char *staging_target_path,
				     struct csi_stats *ret, struct err *err);
};

struct csi_service {
	const struct csi_service_ops *ops;
	void *impl;
};

/* As long as it answers the same, the process behind the service is the same; 0 for one in this
 * process. What was asked of it before another answer (name, capabilities) is to be asked again. */
uint64_t csi_link_changes(const struct csi_service *s);

/* The calls; each answers UNIMPLEMENTED where the table has NULL. */
int csi_get_plugin_info(const struct csi_service *s, struct ctx *ctx, struct csi_plugin_info *ret,
			struct err *err);
int csi_get_plugin_capabilities(const struct csi_service *s, struct ctx *ctx,
				struct csi_plugin_capabilities *ret, struct err *err);
int csi_probe(const struct csi_service *s, struct ctx *ctx, bool *ret_ready, struct err *err);
int csi_controller_get_capabilities(const struct csi_service *s, struct ctx *ctx,
				    uint64_t *ret_caps, struct err *err);
int csi_create_volume(const struct csi_service *s, struct ctx *ctx,
		      const struct csi_create_volume *req, struct csi_volume *ret, struct err *err);
int csi_delete_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
		      const struct secrets *secrets, struct err *err);
int csi_validate_volume_capabilities(const struct csi_service *s, struct ctx *ctx,
				     const struct csi_validate *req, struct csi_validated *ret,
				     struct err *err);
int csi_list_volumes(const struct csi_service *s, struct ctx *ctx, uint32_t max_entries,
		     const char *starting_token, struct csi_volume_list *ret, struct err *err);
int csi_get_capacity(const struct csi_service *s, struct ctx *ctx,
		     const struct csi_get_capacity *req, struct csi_capacity *ret, struct err *err);
int csi_controller_get_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      struct csi_volume_status *ret, struct err *err);
int csi_node_get_capabilities(const struct csi_service *s, struct ctx *ctx, uint64_t *ret_caps,
			      struct err *err);
int csi_node_get_info(const struct csi_service *s, struct ctx *ctx, struct csi_node_info *ret,
		      struct err *err);
int csi_node_stage_volume(const struct csi_service *s, struct ctx *ctx, const struct csi_stage *req,
			  struct err *err);
int csi_node_unstage_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			    const char *staging_target_path, struct err *err);
int csi_node_publish_volume(const struct csi_service *s, struct ctx *ctx,
			    const struct csi_publish *req, struct err *err);
int csi_node_unpublish_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      const char *target_path, struct err *err);
int csi_node_get_volume_stats(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      const char *volume_path, const char *staging_target_path,
			      struct csi_stats *ret, struct err *err);

#endif
