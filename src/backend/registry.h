/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_REGISTRY_H
#define BACKEND_REGISTRY_H

#include "backend/backend.h"
#include "base/arena.h"
#include "host/mount.h"

#include <stddef.h>

/*
 * The pools of one process: several, each with a name, which is its kind and may be borne by others
 * too, and an identity that is unique in the world. Any thread; one at a time opens.
 */
struct registry;

struct registry *registry_new(void);
/* Over other kinds than those of the product; both outlive it. */
struct registry *registry_new_of(const struct backend_kind *const *kinds, size_t n_kinds);
void registry_free(struct registry *r); /* closes every backend */

/* Of storage in Ceph, for all of its clusters; ceph-csi's options. */
struct backend_ceph_config {
	const char *instance;     /* of the journal; NULL, "": "default" */
	const char *cluster_name; /* kept with each image if keeps_names; NULL, "": none */
	bool keeps_names;    /* claims', volumes' and snapshots' names are the image's metadata */
	unsigned soft_depth; /* images that an image may hang on before the manager is asked to
				flatten it; 0: 4 */
	unsigned hard_depth; /* … and is flattened before it is used; 0: 8 */
	unsigned max_snapshots; /* of one image; 0: 450 */
	/* Of each mount of a filesystem, where config.json says none; NULL, "": none. */
	const char *kernel_mount_options, *fuse_mount_options;
};

/* What the command line asks for: --pool=NAME=KIND:SPEC, --pool-image=FILE --pool-size=BYTES. */
struct backend_config {
	const char *kind;    /* "pool", "mem" */
	const char *name;    /* pool name; "" gives "default" */
	const char *node_id; /* of this node; NULL or "": not known, and not recorded in pools */
	bool may_init; /* pool: a directory that is not the root of its filesystem may become one */
	bool follows_moved; /* pool: that another node served is here, if nothing else differs */
	const char *dir; /* pool: directory on the suitable filesystem, or where image is mounted */
	const char *image;     /* pool: image file that cleat makes and mounts itself; NULL: none */
	uint64_t image_bytes;  /* size for a new image; 0: the image must exist */
	uint64_t mem_bytes;    /* mem: capacity */
	unsigned overcommit;   /* pool: of thin volumes, percent; 0: VOL_OVERCOMMIT_DEFAULT */
	const char *state_dir; /* rbd: of this node, survives the process and the pod; NULL, "":
				  none, and nothing is staged */
	struct backend_ceph_config ceph; /* rbd */
	uint64_t reserve_bytes; /* pool: kept free; 0 = max(5 %, 1 GiB) but at most a quarter of the
				   pool */
};

/* Where calls to a kind of backend may block: where its RPC does, or, if they wait for other
 * machines, among themselves, so that these cannot take the workers of the rest. */
enum backend_lane { BACKEND_LANE_OF_RPC, BACKEND_LANE_REMOTE };

/*
 * A kind of backend: one row in registry.c, so that a process can have pools of several.
 */
struct backend_kind {
	const char *name;
	unsigned caps; /* that an instance can have at most */
	enum backend_lane lane;
	/* What a person wrote behind "KIND:", as members of the config; in the arena. No I/O.
	 * INVALID_ARGUMENT says what is wrong with it. */
	int (*configure)(struct arena *a, const char *spec, struct backend_config *config,
			 struct err *err);
	/* As registry_open; others is what is open already. */
	int (*open)(struct ctx *ctx, const struct backend_config *config,
		    const struct registry *others, struct backend **ret_backend, struct err *err);
	/*
	 * With BACKEND_MOUNT: whether the line of the mount table is of a mount of the volume, by
	 * what ops->mount gave it (source, type, options), whatever its place is. It asks nothing
	 * but its arguments. b is NULL if the volume's instance is not open: then by the token
	 * alone, since what is mounted has to come down all the same.
	 */
	bool (*is_mount_of)(const struct backend *b, const char *token,
			    const struct host_mountinfo *mount);
};
/* "KIND:SPEC", or a bare path, which is a pool's, into kind and what goes with it.
 * INVALID_ARGUMENT: no such kind (names those there are), or the kind's own. */
int registry_configure(struct arena *a, const char *text, struct backend_config *config,
		       struct err *err);

/*
 * Opens and adds. INVALID_ARGUMENT: malformed name ([a-z0-9-]{1,63}). FAILED_PRECONDITION:
 * not a suitable pool (says the path, what was found, how to make a right one), or not where it was
 * (and both ways out). ALREADY_EXISTS: the same filesystem or identity under another name.
 */
int registry_open(struct registry *r, struct ctx *ctx, const struct backend_config *config,
		  struct err *err);

/* Whether a pool may be called so; for those who want to know before one is opened. */
int registry_check_name(const char *name, struct err *err);

/*
 * The open pools as they are now, in the arena, in the order in which they were opened; whoever
 * walks over them while others may be opened does it over this. A struct backend stays until
 * registry_free(), also when it is retired; calls to it then fail.
 */
struct registry_pools {
	struct backend **v;
	size_t n;
};
struct registry_pools registry_pools(const struct registry *r, struct arena *a);

/* Pools that are configured and not open: listed with the reason (in the place of an older one),
 * and forgotten when registry_open() opens the same directory or image. */
struct registry_missing {
	const char *name;
	const char *where; /* directory or image */
	const char *why;
};
void registry_miss(struct registry *r, const struct backend_config *config, const char *why);
/* A pool that died (backend_info: is_dead) is missing from now on, and its place let go of; what is
 * there later is opened by registry_open() again. Once; whoever opens does it. */
void registry_retire(struct registry *r, struct backend *b, const char *why);
/* In the arena. */
size_t registry_missing(const struct registry *r, struct arena *a,
			const struct registry_missing **ret_missing);

/*
 * The lane of a call that may go to the pools of that name ("": to all), or to the one that has
 * this id (then the name does not matter; "": none): remote if one of them is. Retired ones count,
 * since what they left is still taken down. For the I/O thread too.
 */
enum backend_lane registry_lane(const struct registry *r, const char *name, enum vol_kind kind,
				const char *id);

/* What some pool of the process can, also while it is missing: COs ask for capabilities once. */
unsigned registry_caps(const struct registry *r);

size_t registry_count(const struct registry *r);
struct backend *registry_at(const struct registry *r, size_t i);
/*
 * Whose volume (snapshot, group) the id names, by asking each pool (backend_ops.resolve), and how
 * that one calls it. *ret_backend is NULL for an id of ours whose pool is not here. NOT_FOUND: none
 * of ours, and no pool's. FAILED_PRECONDITION: an id that another version of cleat made.
 */
int registry_resolve(const struct registry *r, enum vol_kind kind, const char *id,
		     struct backend **ret_backend, char ret_token[VOL_TOKEN_MAX], struct err *err);
/* Whether the mount is of this volume of b; with b NULL, of one of an instance that is not open.
 * Any thread; asks nothing but memory. */
bool registry_is_mount_of(const struct registry *r, const struct backend *b, const char *token,
			  const struct host_mountinfo *mount);
/* The first of this name; several pools may bear one, which is their kind. NULL if none. */
struct backend *registry_find_name(const struct registry *r, const char *name);
struct backend *registry_find_identity(const struct registry *r,
				       const struct uuid *id); /* NULL if none */
struct backend *registry_find_filesystem(const struct registry *r,
					 const struct uuid *fs); /* NULL if none, or fs is zero */

#endif
