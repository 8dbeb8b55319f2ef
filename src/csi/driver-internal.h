/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_DRIVER_INTERNAL_H
#define CSI_DRIVER_INTERNAL_H

#include "base/uuid.h"
#include "csi/driver.h"
#include "csi/inflight.h"
#include "csi/note.h"
#include "host/mount.h"
#include "volume/id.h"

/* What the log was told once already (controller.c). */
#define SAID_MAX 16
struct said {
	pthread_mutex_t lock; /* guards both */
	char *texts[SAID_MAX];
	size_t next;
};

/* Read-only after csi_driver_new, but for inflight and said, which lock themselves. */
struct csi_driver {
	char *name;
	char *version;
	char *node_id;
	char *cluster_id; /* "": not told */
	char boot_id[UUID_TEXT_MAX];
	bool serve_controller;
	bool serve_node;
	uint64_t max_volumes;
	struct registry *pools;
	char *path_root; /* "": paths may be anywhere */
	int path_root_fd;
	struct inflight *inflight;
	struct said said;
	struct csi_service_ops ops; /* service.h's table without what this driver does not serve */
};

/* A volume that a call names, and where it lives. */
struct csi_ref {
	char token[VOL_TOKEN_MAX]; /* as its pool calls it */
	struct backend *pool;      /* NULL: not here */
};

/* As registry_resolve. */
int driver_resolve(struct csi_driver *d, const char *volume_id, struct csi_ref *ret_ref,
		   struct err *err);
/* The same, but UNAVAILABLE for a pool that is not here. */
int driver_find_pool(struct csi_driver *d, const char *volume_id, struct csi_ref *ret_ref,
		     struct err *err);
/* That, and the volume: NOT_FOUND; DATA_LOSS if it is damaged. */
int driver_find_volume(struct csi_driver *d, struct ctx *ctx, const char *volume_id,
		       struct csi_ref *ret_ref, struct backend_volume *ret_vol, struct err *err);

/* Whether a volume made as vol (its fs, or raw) can be used so; *cap gets the volume's filesystem
 * if it names none. */
int driver_check_capability(const struct backend_volume *vol, struct vol_capability *cap,
			    struct err *err);

/* The topology of one pool, in the arena. */
struct vol_topology driver_pool_topology(struct csi_driver *d, struct arena *a,
					 const struct backend *pool);
void driver_fill_volume(struct csi_driver *d, struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret);

/* The path as the kernel names it (arena), so that two names of one place are one; INVALID_ARGUMENT
 * for one that is not below path_root. All node calls compare and mount by this name. */
int driver_resolve_path(struct csi_driver *d, struct ctx *ctx, const char *field, const char *path,
			const char **ret_path, struct err *err);

/* node_state.c: what is true of a volume on this node right now. */
struct node_state {
	struct csi_ref ref;
	bool is_attached;
	struct backend_device device; /* valid if attached */
	bool has_reader;
	struct backend_device reader; /* raw block: what read-only targets are of */
	struct note note;
};
/* Whether the volume is staged here: noted so, and a device is attached. For lists; false in doubt.
 */
bool node_state_is_in_use(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref);
/* Reads device and note; a pool without devices or notes has none. */
int node_state_load(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
		    struct node_state *ret, struct err *err);
int node_state_save_note(struct csi_driver *d, struct ctx *ctx, const struct node_state *state,
			 struct err *err);

/* Whether what is at the path is a mount of this very volume: of its filesystem, or of its device
 * node (block). */
bool node_is_mount_of(const struct node_state *state, const struct host_mount_at *at);

/* One of the paths where the volume is mounted that belongs to what. */
enum node_mounts {
	NODE_MOUNT_ANY,
	NODE_MOUNT_STAGING, /* the note's staging path */
	NODE_MOUNT_TARGET,  /* one of the note's targets */
};
/* ret_path (arena) is NULL if there is none; except is left out. Reads mountinfo. */
int node_find_mount(const struct node_state *state, struct ctx *ctx, enum node_mounts what,
		    const char *except, const char **ret_path, struct err *err);
/*
 * The path where the volume is staged now, or NULL: for a mount by what is mounted, for a raw block
 * device by the note as long as the device is attached ("(unknown path)" if the path was too long
 * for the note).
 */
int node_find_staging(const struct node_state *state, struct ctx *ctx, const char **ret_path,
		      struct err *err);

/* 0 if the volume is not noted as staged at the path, or is so with this capability, but for flags
 * that each mount has for itself; else the code with what differs and the way out. */
int node_compare_capability(const struct node_state *state, const char *path,
			    const struct vol_capability *cap, enum err_code code, struct err *err);

/* Every mount of it, of the reader too. fn ≠0 stops. */
int node_each_mount(const struct node_state *state, host_mount_fn fn, void *arg, struct err *err);
/* Whether the device number is its device's or its reader's. */
bool node_is_device_of(const struct node_state *state, dev_t devno);
/* Lets go of the reader when it is mounted nowhere any more. */
int node_drop_idle_reader(struct node_state *state, struct ctx *ctx, struct err *err);

/* One line of what is advertised: capability bits, and what some pool must be able to do for them
 * (bits of enum backend_cap). */
struct driver_capability {
	uint64_t bits;
	unsigned needs;
};
const struct csi_capability *driver_capabilities(const struct csi_driver *d, struct arena *a,
						 const struct driver_capability *table, size_t n,
						 size_t *ret_n);

/* The operations: driver_<name> of the rows of rpc.def that this driver serves. */
#define DRIVER_RPC(name)                                                                       \
	int driver_##name(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
			  struct csi_##name##_response *ret, struct err *err)
DRIVER_RPC(controller_get_capabilities);
DRIVER_RPC(create_volume);
DRIVER_RPC(delete_volume);
DRIVER_RPC(validate_volume_capabilities);
DRIVER_RPC(list_volumes);
DRIVER_RPC(get_capacity);
DRIVER_RPC(controller_get_volume);
DRIVER_RPC(node_get_capabilities);
DRIVER_RPC(node_get_info);
DRIVER_RPC(node_stage_volume);
DRIVER_RPC(node_unstage_volume);
DRIVER_RPC(node_publish_volume);
DRIVER_RPC(node_unpublish_volume);
DRIVER_RPC(node_get_volume_stats);

#endif
