/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_DRIVER_INTERNAL_H
#define CSI_DRIVER_INTERNAL_H

#include "base/uuid.h"
#include "csi/driver.h"
#include "csi/health.h"
#include "csi/inflight.h"
#include "csi/io_limits.h"
#include "csi/looks.h"
#include "csi/note.h"
#include "host/condition.h"
#include "host/loopdev.h"
#include "host/mount.h"
#include "volume/id.h"
#include "volume/params.h"
#include "volume/snapshot_params.h"

/* What the log was told once already (controller.c). */
#define SAID_MAX 16
struct said {
	pthread_mutex_t lock; /* guards both */
	char *texts[SAID_MAX];
	size_t next;
};

/* Read-only after csi_driver_new, but for inflight, looks, said and limits, which lock themselves,
 * health_told and scanned_ns. */
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
	struct backend_nodes nodes; /* look NULL: nobody knows */
	char *path_root;            /* "": paths may be anywhere */
	int path_root_fd;
	struct inflight *inflight;
	struct looks *looks;     /* keys: tokens of volumes, identities of pools */
	struct map *health_told; /* health_watch.c's */
	struct said said;
	struct limits *limits;
	_Atomic int64_t scanned_ns; /* node_limits.c: when it looked everywhere; 0: never */
	struct csi_service_ops ops; /* service.h's table without what this driver does not serve */
};

/* A volume, snapshot or group that a call names, and where it lives. */
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
/* The same of any kind. */
int driver_find_pool_of(struct csi_driver *d, enum vol_kind kind, const char *id,
			struct csi_ref *ret_ref, struct err *err);
/*
 * driver_find_pool, and the volume: NOT_FOUND; DATA_LOSS if it is damaged. secrets: of the request;
 * NULL where it brings none, as on the node: storage elsewhere is then not asked, and of the volume
 * only its token is told.
 */
int driver_find_volume(struct csi_driver *d, struct ctx *ctx, const char *volume_id,
		       const struct secrets *secrets, struct csi_ref *ret_ref,
		       struct backend_volume *ret_vol, struct err *err);

/* The same of a snapshot, but a damaged one is found, with is_damaged; elsewhere it is always
 * asked. */
int driver_find_snapshot(struct csi_driver *d, struct ctx *ctx, const char *snapshot_id,
			 const struct secrets *secrets, struct csi_ref *ret_ref,
			 struct backend_snapshot *ret_snap, struct err *err);

/* The instance of BACKEND_ELSEWHERE, if the process serves one. NULL: it serves pools. */
struct backend *driver_elsewhere(const struct csi_driver *d);
/* For calls that bring no secrets, which are not offered then: UNIMPLEMENTED with such an instance,
 * since whatever else were answered would be made up. */
int driver_check_listed(const struct csi_driver *d, struct err *err);
/* A volume that was modified since its first CreateVolume is another than that one asked for:
 * ALREADY_EXISTS. */
int driver_compare_limits(const char *name, const struct vol_limits *asked,
			  const struct vol_limits *has, struct err *err);
/* controller_elsewhere.c: CreateVolume there. */
int driver_create_elsewhere(struct csi_driver *d, struct ctx *ctx, struct backend *b,
			    const struct csi_create_volume_request *req, struct csi_volume *ret,
			    struct err *err);

/* Whether a volume of the pool made as vol (its fs, or raw) can be used so; *cap gets the volume's
 * filesystem if it names none. */
int driver_check_capability(const struct backend *pool, const struct backend_volume *vol,
			    struct vol_capability *cap, struct err *err);

/* How full a pool is, as vol_space_percent; health_rpc.c. */
unsigned driver_fullness(const struct backend_info *info);
/* The largest volume that a class with these parameters gets from a pool now; 0: none. */
uint64_t driver_room(const struct backend_info *info, const struct vol_params *params);

/* The topology of one pool, in the arena; that of storage elsewhere has no segment. */
struct vol_topology driver_pool_topology(struct csi_driver *d, struct arena *a,
					 const struct backend *pool);
/* The id in the arena. */
const char *driver_format_id(struct arena *a, const struct backend *pool, enum vol_kind kind,
			     const char *token);
void driver_fill_snapshot(struct arena *a, const struct backend *pool,
			  const struct backend_snapshot *snap, struct csi_snapshot *ret);
/* As the class has it; it points into params. */
struct backend_snapshot_options driver_snapshot_options(const struct csi_driver *d,
							const struct vol_snapshot_params *params,
							const struct secrets *secrets);
/* In the arena; the second with whom it was made for (volume/owner.h). */
void driver_fill_volume(struct csi_driver *d, struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret);
void driver_fill_listed(struct csi_driver *d, struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret);

/*
 * Lists, in pages over several pools. A token is the id of the last thing that was answered, of
 * which the next page begins after: it stays good when that is deleted, and no list has to be
 * remembered between pages.
 */
struct driver_list {
	struct registry_pools pools;
	size_t first; /* pool to go on in */
	char after[VOL_TOKEN_MAX];
};
/* Of one pool, what comes after a token. 1: the page is full; -1: the pool does not answer. */
typedef int (*driver_list_fn)(void *arg, struct ctx *ctx, struct backend *pool, const char *after,
			      struct err *err);
/* ABORTED: no token of a list over these pools. */
int driver_list_begin(const struct registry_pools *pools, enum vol_kind kind, const char *token,
		      struct driver_list *ret_list, struct err *err);
/* A pool that does not answer is left out while another does (the process says which,
 * cmd/pools_watch); that something is not listed never means that it is gone. */
int driver_list_walk(const struct driver_list *list, struct ctx *ctx, driver_list_fn fn, void *arg,
		     struct err *err);

/* The path as the kernel names it (arena), so that two names of one place are one; INVALID_ARGUMENT
 * for one that is not below path_root. All node calls compare and mount by this name. */
int driver_resolve_path(struct csi_driver *d, struct ctx *ctx, const char *field, const char *path,
			const char **ret_path, struct err *err);

/*
 * node_place.c: where a volume is staged. dir: NULL, or the path that the CO gave, below which it
 * is (backend.h, staging_take).
 */
struct node_place {
	const char *path;
	const char *dir;
};
int node_place_of(const struct csi_ref *ref, struct arena *a, const char *volume_id,
		  const char *staging, struct node_place *ret_place, struct err *err);
/* The path where the volume is, for one that may be its staging path: where something is mounted
 * below it that. */
int node_place_look(const struct csi_ref *ref, struct arena *a, const char *volume_id,
		    const char **path, struct err *err);
/* What the volume is mounted on, below dir. */
int node_place_make(const struct node_place *place, bool is_block, struct err *err);
/* When nothing is mounted there any more and the device is gone. */
int node_place_clear(const struct csi_ref *ref, struct ctx *ctx, const struct node_place *place,
		     struct err *err);

/* node_state.c: what is true of a volume on this node right now. */
struct node_state {
	struct csi_ref ref;
	const struct node_way *way;
	const struct registry *pools;
	bool is_attached;             /* it is here: as a device, or mounted where it has none */
	struct backend_device device; /* valid if attached, and not with BACKEND_MOUNT */
	bool has_reader;
	struct backend_device reader; /* raw block: what read-only targets are of */
	bool is_copy; /* NodeStage: made of another volume, whose filesystem's UUID it has */
	struct note note;
};
/* Whether the volume is staged here: noted so, and it is attached. For lists; false in doubt. */
bool node_state_is_in_use(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref);
/* Reads what is here and the note; a pool without devices, mounts or notes has none. */
int node_state_load(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
		    struct node_state *ret, struct err *err);
int node_state_load_note(struct csi_driver *d, struct ctx *ctx, struct node_state *state,
			 struct err *err);
int node_state_save_note(struct csi_driver *d, struct ctx *ctx, const struct node_state *state,
			 struct err *err);

/* What is at a path, and what of it is of this very volume. */
struct node_at {
	struct host_mount_at at;
	bool is_on_volume; /* it lies on its filesystem, or is its device node (block) */
	bool is_mount;     /* and is a mount of it */
};
struct node_staging {
	const struct csi_node_stage_volume_request *req; /* its path is the place's */
	const struct vol_capability *cap;
	struct node_place place;
	const char *node_id, *boot_id; /* of this one */
};
/* What the kernel alone tells of a volume whose pool does not answer. */
struct node_blind {
	bool is_blind; /* the note is not known */
	struct host_loop_seen seen;
	struct host_loop_seen brother; /* if state.has_reader */
};

/*
 * How volumes of a pool come to paths and go from there: all that differs between pools which give
 * block devices (node_device.c) and those that mount by themselves (node_mount.c, BACKEND_MOUNT).
 * Whatever goes down asks nothing of the pool that may be broken.
 */
struct node_way {
	/* Fills is_attached and, if it is, what goes with it and the note. */
	int (*load)(struct csi_driver *d, struct ctx *ctx, struct node_state *state,
		    struct err *err);
	int (*look)(const struct node_state *state, const char *path, struct node_at *ret_at,
		    struct err *err);
	/* The same of what shall go, whose storage may be silent. */
	int (*look_down)(const struct node_state *state, const char *path, struct node_at *ret_at,
			 struct err *err);
	int (*each_mount)(const struct node_state *state, host_mount_fn fn, void *arg,
			  struct err *err);
	/* UNAVAILABLE: what is mounted at the path is silent, and whoever looks at it would be,
	 * too. NULL: that cannot be. */
	int (*check_answers)(struct ctx *ctx, const char *path, struct err *err);
	/* Before the last mount goes, is->is_mount: one that is silent goes by force. 1: it is
	 * unmounted by that. NULL: as above. */
	int (*loosen)(struct ctx *ctx, const char *path, const struct node_at *is, struct err *err);
	/* Staging: attach, then the note is written, then mount. *ret_mounted also where it fails
	 * afterwards. */
	int (*attach)(struct ctx *ctx, struct node_state *state, const struct node_staging *what,
		      struct err *err);
	int (*mount)(struct ctx *ctx, const struct node_state *state,
		     const struct node_staging *what, bool *ret_mounted, struct err *err);
	/* A staging mount that was found: ends what a kill left. NULL: nothing to do. */
	int (*settle)(struct ctx *ctx, const struct node_state *state, const char *path,
		      struct err *err);
	/* NULL: nothing is left once it is unmounted. */
	int (*detach)(struct ctx *ctx, const struct node_state *state, struct err *err);
	/* Whether what is staged at the path still is well enough to be published. */
	int (*check_staged)(const struct node_state *state, const char *path, const char *volume_id,
			    bool read_only, struct err *err);
	/* The filesystem mounted at the path gets as big as the volume. NULL: it is so by itself.
	 */
	int (*grow)(struct ctx *ctx, const struct node_state *state, const char *path,
		    const char *fs, struct err *err);
	/* What became of the filesystem that is mounted at the path. */
	int (*condition)(const struct node_state *state, const char *path,
			 struct host_condition *ret, struct err *err);
	/* Down without the pool: 1 and state and blind filled, or 0; and its detach. */
	int (*find_blind)(struct csi_driver *d, struct ctx *ctx, const char *path,
			  struct node_state *state, struct node_blind *blind, struct err *err);
	int (*detach_blind)(const struct node_state *state, const struct node_blind *blind,
			    struct err *err);
};
extern const struct node_way node_way_device, node_way_mount;

/* way->look. */
int node_look(const struct node_state *state, const char *path, struct node_at *ret_at,
	      struct err *err);
int node_detach(struct ctx *ctx, const struct node_state *state, struct err *err);
/* The capability's flags without "ro" and "rw", which belong to the workload's mounts. */
struct host_mount_options node_staging_options(struct arena *a, const struct vol_capability *cap);

/*
 * node_expand.c: before a filesystem is mounted: it gets as big as its device if it cannot once it
 * is mounted; is_left: it can then, and has to. DATA_LOSS: it has errors.
 */
int node_grow_unmounted(struct ctx *ctx, const char *device, const char *fs, bool *ret_is_left,
			struct err *err);
/* One that is found staged, as far as that goes; where it fails, the log is told. */
void node_grow_staged(struct ctx *ctx, const struct node_state *state, const char *path,
		      const char *fs);
/* node_way_device's grow. */
int node_device_grow(struct ctx *ctx, const struct node_state *state, const char *path,
		     const char *fs, struct err *err);
/* Devices that have the bytes of volumes whose files are gone, in order of tokens. */
struct lost_volume {
	char token[VOL_TOKEN_MAX];
	struct backend_device device;
};
struct lost_volumes {
	struct lost_volume *v;
	size_t n;
};
/* node_health.c: what is wrong with a volume here; its pool is here. */
struct node_exam {
	struct csi_ref ref;
	const struct backend_volume *vol; /* NULL: to be asked */
	const struct lost_volumes *lost;  /* of its pool; NULL: to be asked */
	const struct backend_info *info;  /* likewise */
	const char *staging_path;         /* as the CO has it; "" */
};
/* NOT_FOUND: neither its file nor a device that has its bytes. */
int node_examine(struct csi_driver *d, struct ctx *ctx, const struct node_exam *what,
		 struct health *h, struct err *err);
/* The key of a look at the pool. */
void driver_pool_look_key(const struct backend *pool, char ret_key[UUID_TEXT_MAX]);

/* health_rpc.c: each volume of the pool that is not well, in order of tokens, > after. What a walk
 * cannot look at it leaves out. fn ≠0 stops. */
typedef int (*driver_health_fn)(void *arg, const char *volume_id, const struct health *h);
int driver_each_unhealthy(struct csi_driver *d, struct ctx *ctx, struct backend *pool,
			  const char *after, driver_health_fn fn, void *arg, struct err *err);
/* health_watch.c: at the end. */
void driver_forget_health(struct csi_driver *d);
/* Adds what is wrong with an open pool. */
void driver_examine_pool(struct csi_driver *d, struct ctx *ctx, struct backend *pool,
			 struct pool_health *h);

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
/* Lets go of the reader when it is mounted nowhere any more. */
int node_drop_idle_reader(struct node_state *state, struct ctx *ctx, struct err *err);

/* node_limits.c: limits of I/O. 0 if this pool and this node can do them, or there are none;
 * INVALID_ARGUMENT says why not. */
int driver_check_limits(const struct csi_driver *d, const struct backend *pool,
			const struct vol_limits *limits, struct err *err);
/* The pod that a target belongs to, by kubelet's paths or the note. False if it is not known. */
bool node_pod_of(const struct note *note, const char *path, char ret_uid[HOST_POD_UID_MAX]);
/* After a target came, the limits changed (is_changed: they may be none now), or a target went
 * (limits NULL: as they were). What fails is tried again and said in the log; the caller goes on.
 */
void node_limits_apply(struct csi_driver *d, const struct node_state *state,
		       const struct vol_limits *limits, bool is_changed);
/* The target at path is gone. */
void node_limits_lift(struct csi_driver *d, const struct node_state *state, const char *path);

/* One line of what is advertised: capability bits, and what some pool must be able to do for them
 * (bits of enum backend_cap). */
struct driver_capability {
	uint64_t bits;
	unsigned needs;
	unsigned unless; /* … and what none may be */
};
const struct csi_capability *driver_capabilities(const struct csi_driver *d, struct arena *a,
						 const struct driver_capability *table, size_t n,
						 size_t *ret_n);

/* The operations: driver_<name> of the rows of rpc.def that this driver serves. */
#define DRIVER_RPC(name)                                                                       \
	int driver_##name(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
			  struct csi_##name##_response *ret, struct err *err)
#define DRIVER_STREAM(name)                                                                    \
	int driver_##name(void *impl, struct ctx *ctx, const struct csi_##name##_request *req, \
			  struct csi_stream *out, struct err *err)
DRIVER_RPC(controller_get_capabilities);
DRIVER_RPC(create_volume);
DRIVER_RPC(delete_volume);
DRIVER_RPC(controller_expand_volume);
DRIVER_RPC(controller_publish_volume);
DRIVER_RPC(controller_unpublish_volume);
DRIVER_RPC(validate_volume_capabilities);
DRIVER_RPC(list_volumes);
DRIVER_RPC(get_capacity);
DRIVER_RPC(controller_get_volume);
DRIVER_RPC(controller_modify_volume);
DRIVER_RPC(create_snapshot);
DRIVER_RPC(delete_snapshot);
DRIVER_RPC(list_snapshots);
DRIVER_RPC(get_snapshot);
DRIVER_RPC(group_controller_get_capabilities);
DRIVER_RPC(create_volume_group_snapshot);
DRIVER_RPC(delete_volume_group_snapshot);
DRIVER_RPC(get_volume_group_snapshot);
DRIVER_STREAM(get_metadata_allocated);
DRIVER_STREAM(get_metadata_delta);
DRIVER_RPC(node_get_capabilities);
DRIVER_RPC(node_get_info);
DRIVER_RPC(node_stage_volume);
DRIVER_RPC(node_unstage_volume);
DRIVER_RPC(node_publish_volume);
DRIVER_RPC(node_unpublish_volume);
DRIVER_RPC(node_get_volume_stats);
DRIVER_RPC(node_expand_volume);
DRIVER_RPC(controller_list_volume_health);
DRIVER_RPC(controller_get_volume_health);
DRIVER_RPC(node_get_volume_health);
DRIVER_RPC(node_get_storage_health);

#endif
