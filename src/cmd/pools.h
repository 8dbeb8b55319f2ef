/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_POOLS_H
#define CMD_POOLS_H

#include "backend/registry.h"
#include "base/arena.h"
#include "base/opt.h"

#include <stdatomic.h>

/* The options that say which pools a process serves. */
struct pools_options {
	struct opt_list pool;
	struct opt_list image;
	uint64_t image_size;
	uint64_t reserve;
	const char *overcommit; /* NULL, "": the default */
	bool init;
	bool follow_moved;
	const char *backend;
	uint64_t mem_size;
	const char *state_dir;
	struct backend_ceph_config ceph;
};

/* clang-format off */
#define POOLS_OPTIONS(T, member)                                                                           \
	{ .name = "Pools", .type = OPT_GROUP },                                                               \
	{ .name = "pool", .type = OPT_LIST, .offset = offsetof(T, member.pool), .arg = "[NAME=][KIND:]SPEC",       \
	  .help = "A pool. A bare DIR (or pool:DIR) is a directory on XFS with reflink (or btrfs, ext4) that holds the volumes, mem:8Gi keeps them in memory, rbd:DIR are images and cephfs:DIR are subvolumes of the Ceph clusters in DIR/config.json. " \
		  "Without NAME it is called default; several may have one name." },                                                                        \
	{ .name = "pool-image", .type = OPT_LIST, .offset = offsetof(T, member.image),                     \
	  .arg = "[NAME=]FILE", .help = "For trying out: an image file that cleat makes (--pool-size), "      \
					"mounts and uses as a pool." },                           \
	{ .name = "pool-size", .type = OPT_BYTES, .offset = offsetof(T, member.image_size),                \
	  .arg = "BYTES", .help = "Size of an image that --pool-image has to make, such as 8Gi." },           \
	{ .name = "pool-reserve", .type = OPT_BYTES, .offset = offsetof(T, member.reserve),                \
	  .arg = "BYTES", .help = "Bytes of each pool that no volume may take. Otherwise 5 %, at least 1 GiB, "\
				  "and at most a quarter of the pool." },                                     \
	{ .name = "pool-overcommit", .type = OPT_STRING, .offset = offsetof(T, member.overcommit),           \
	  .arg = "RATIO", .fallback = "2",                                                                    \
	  .help = "How much thin volumes of a pool may be promised: so many times what it has for them. 1: no " \
		  "more than there is." },                                                                   \
	{ .name = "pool-init", .type = OPT_BOOL, .offset = offsetof(T, member.init),                       \
	  .help = "Make a pool also in a directory that is not the root of its filesystem; without it, one "  \
		  "whose disk is not mounted is refused." },                                          \
	{ .name = "pool-follow-moved", .type = OPT_BOOL, .offset = offsetof(T, member.follow_moved),       \
	  .help = "Serve a pool that another node served before, on this same filesystem and in this "        \
		  "directory, as `cleat ctl pool adopt --moved` would. Not where two nodes may see one disk, " \
		  "or a copy of it, at a time." },                                                           \
	{ .name = "backend", .type = OPT_CHOICE, .offset = offsetof(T, member.backend), .arg = "KIND",     \
	  .fallback = "pool", .choices = "pool|mem",                                                          \
	  .help = "mem keeps volumes in memory, for tests of a cluster's wiring: its volumes cannot be staged." },\
	{ .name = "mem-size", .type = OPT_BYTES, .offset = offsetof(T, member.mem_size), .arg = "BYTES",   \
	  .fallback = "0", .help = "Capacity that --backend=mem claims to have; 8Gi unless given." },         \
	{ .name = "state-dir", .type = OPT_STRING, .offset = offsetof(T, member.state_dir), .arg = "DIR",  \
	  .help = "rbd, cephfs: where this node keeps what has to outlive the process, on the host; without it nothing "\
		  "is staged." },                                                                            \
	{ .name = "journal-instance", .type = OPT_STRING, .offset = offsetof(T, member.ceph.instance),     \
	  .arg = "ID", .help = "rbd, cephfs: whose journal in the pool; default unless given." }
/* clang-format on */

/*
 * The options as configurations for registry_open, in the arena. INVALID_ARGUMENT names the option
 * that is missing, malformed or contradicts another.
 */
int pools_configure(struct arena *a, const struct pools_options *opts, const char *node_id,
		    struct backend_config **ret_configs, size_t *ret_n, struct err *err);

/* Opens one and logs what it holds. */
int pools_try(struct registry *registry, struct ctx *ctx, const struct backend_config *config,
	      struct err *err);
/* Opens all that can be opened; the others are noted as missing and logged. Fails if one
 * contradicts another (INVALID_ARGUMENT, ALREADY_EXISTS), or if none can be opened, unless
 * may_be_none. */
int pools_open(struct registry *registry, struct ctx *ctx, const struct backend_config *configs,
	       size_t n, bool may_be_none, struct err *err);

/* After the registry was closed: removes the directories that images were mounted on, where nothing
 * is any more. */
void pools_forget_mount_points(const struct backend_config *configs, size_t n);

/*
 * The gauges of the pools (base/metrics.def); set is for metric_on_render, arg is the struct. One
 * thread at a time asks the pools: a disk that hangs keeps one scrape, and those that come
 * meanwhile get what was last known.
 */
struct pools_gauges {
	struct registry *registry;
	atomic_flag is_asking;
};
void pools_set_gauges(void *arg);

#endif
