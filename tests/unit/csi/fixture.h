/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CSI_FIXTURE_H
#define TESTS_UNIT_CSI_FIXTURE_H

#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "csi/driver.h"
#include "fake/host.h"

/*
 * A driver over the pool "disk" on the fake host ("/pool", 8 GiB), with the directories "/s1",
 * "/s2" to stage at and
 * "/pods" to publish in. One volume name, "v", unless a test says otherwise.
 */
struct fixture {
	struct registry *pools;
	struct csi_driver *driver;
	struct csi_service csi;
	struct ctx ctx;
	struct err err;
	const char *id; /* of the volume made last */
};

struct fixture *fixture_begin(void);
/* The pool "disk" is of another kind, the only one that there is. */
struct fixture *fixture_begin_with(const struct backend_kind *kind);
void fixture_end(struct fixture *f);
/* A second pool, "ram", of the mem backend. */
void fixture_add_mem(struct fixture *f, uint64_t bytes);
/* The process is killed (devices and mounts stay) or the node reboots, and the driver starts again.
 */
void fixture_restart(struct fixture *f, bool is_reboot);
/* Memory of the driver alone, as after a kill; then fixture_start. */
void fixture_stop(struct fixture *f);
void fixture_start(struct fixture *f);

extern const struct vol_capability cap_mount; /* SINGLE_NODE_MULTI_WRITER, ext4 */
extern const struct vol_capability cap_block;

/* A volume of the pool "ram" (see fixture_add_mem), whose id is given back. */
const char *do_create_in_ram(struct fixture *f, const char *name, const struct vol_capability *cap,
			     uint64_t bytes);
/* Its id, or NULL with f->err. */
const char *do_snapshot(struct fixture *f, const char *name, const char *volume_id);
int do_delete_snapshot(struct fixture *f, const char *id);

/*
 * Stands before the pool "ram" and shows its snapshots as change makes them, since what makes them
 * so (copies that run, disks that rot, groups) is a matter of backends. Keeps what it was asked to
 * make last; during is called in the middle of each making. NULL: nothing. Until fixture_end.
 */
struct spy {
	void (*change)(struct backend_snapshot *snap);
	void (*during)(struct fixture *f);
	struct backend_spec volume; /* what its strings point to is gone */
	struct backend_snapshot_options options;
	char owner[3][64]; /* namespace, name, uid */
};
struct spy *fixture_spy(struct fixture *f);
/* As if the pool were of a kind that cannot do this (bits of enum backend_cap). */
void fixture_take_caps(struct fixture *f, const char *pool, unsigned caps);

int do_create(struct fixture *f, const char *name, const struct vol_capability *cap,
	      uint64_t bytes);
int do_delete(struct fixture *f);
int do_expand(struct fixture *f, uint64_t bytes);
int do_node_expand(struct fixture *f, const char *path, uint64_t bytes);
int do_stage(struct fixture *f, const char *path, const struct vol_capability *cap);
int do_unstage(struct fixture *f, const char *path);
int do_publish(struct fixture *f, const char *staging, const char *target,
	       const struct vol_capability *cap, bool readonly);
int do_unpublish(struct fixture *f, const char *target);

/* Nothing of ours is on the host: no mount, no device, nothing in "/s1" and "/pods". */
void assert_node_is_clean(void);
bool path_exists(const char *path);
bool is_mounted(const char *path, bool *ret_read_only);

#endif
