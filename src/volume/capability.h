/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_CAPABILITY_H
#define VOLUME_CAPABILITY_H

#include "base/err.h"
#include "base/strmap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a workload wants to reach a volume: the plain form of csi.v1.VolumeCapability. Strings are
 * borrowed. */
/* The numbers of the fields of access_type. */
enum vol_access {
	VOL_ACCESS_NONE = 0, /* not said, or one that CSI 1.13 does not know */
	VOL_ACCESS_BLOCK = 1,
	VOL_ACCESS_MOUNT = 2,
};

/* The numbers of csi.v1.VolumeCapability.AccessMode.Mode (CSI 1.13). */
enum vol_mode {
	VOL_MODE_UNKNOWN = 0,
	VOL_MODE_SINGLE_NODE_WRITER = 1,
	VOL_MODE_SINGLE_NODE_READER_ONLY = 2,
	VOL_MODE_MULTI_NODE_READER_ONLY = 3,
	VOL_MODE_MULTI_NODE_SINGLE_WRITER = 4,
	VOL_MODE_MULTI_NODE_MULTI_WRITER = 5,
	VOL_MODE_SINGLE_NODE_SINGLE_WRITER = 6,
	VOL_MODE_SINGLE_NODE_MULTI_WRITER = 7,
};

struct vol_capability {
	enum vol_access access;
	enum vol_mode mode;
	const char *fs_type;            /* mount only; "" = the default, ext4 */
	const char *const *mount_flags; /* mount only */
	size_t n_mount_flags;
	const char *mount_group; /* mount only; "" = none */
};

struct vol_range {
	uint64_t required_bytes; /* 0: none asked */
	uint64_t limit_bytes;    /* 0: no limit */
};

/* One csi.v1.Topology: all segments must match. */
struct vol_topology {
	struct strmap segments;
};

struct vol_topologies {
	const struct vol_topology *v;
	size_t n;
};

const char *vol_mode_name(enum vol_mode mode); /* "SINGLE_NODE_WRITER" */
bool vol_mode_is_single_node(enum vol_mode mode);
bool vol_mode_is_reader_only(enum vol_mode mode);
/* True if a second target path on the same node is allowed (CSI 1.13, table of NodePublishVolume).
 */
bool vol_mode_has_many_targets(enum vol_mode mode);

#define VOL_FS_DEFAULT "ext4"
/* "ext4" or "xfs" for what cleat can make ("" gives the default); NULL for the rest. Static
 * storage. */
const char *vol_fs_resolve(const char *fs_type);

/*
 * Whether one node's pool can honour the capability: single-node modes, known filesystem, mount
 * flags that are known and harmless. INVALID_ARGUMENT that names the field, the value and what is
 * allowed.
 */
int vol_capability_check(const struct vol_capability *cap, struct err *err);
/* The same of a filesystem that other machines serve and all nodes reach: every mode, no block
 * access, flags of each mount and those of CephFS. Its type is its own, so fs_type is not read. */
int vol_capability_check_shared(const struct vol_capability *cap, struct err *err);
/* The order of mount flags does not count. */
bool vol_capability_is_equal(const struct vol_capability *a, const struct vol_capability *b);

/* Whether each mount of a filesystem can have the flag for itself (noexec, ro, noatime …); the
 * others (sync, discard, commit= …) are one set for the filesystem. */
bool vol_flag_is_of_mount(const char *flag);
/* The flags of one kind in byte order, each once, without those that change nothing (defaults, rw).
 * ret_flags has room for n_mount_flags; the number is returned. */
size_t vol_capability_flags(const struct vol_capability *cap, bool of_mount,
			    const char **ret_flags);

#endif
