/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_INTERNAL_H
#define TESTS_FAKE_CEPH_INTERNAL_H

#include "base/json.h"
#include "base/str.h"
#include "base/vec.h"
#include "fake/ceph.h"

/* All of it is guarded by one lock, which fake_ceph_enter takes; a function of the table that does
 * not enter touches nothing but its caller's handle. */

struct fake_pair {
	char *key;
	char *value;
	size_t n;
};

struct fake_object {
	char *ns;
	char *name;
	bool has_omap;
	VEC(struct fake_pair) omap; /* sorted by key */
	VEC(struct fake_pair) attrs;
	struct fake_pair bytes; /* its value */
	uint64_t version;
	time_t changed; /* as a test has it; 0: long ago */
};

struct fake_cluster;
struct fake_image;
struct fake_pool {
	struct fake_cluster *cluster;
	int64_t id;
	char *name;
	VEC(struct fake_object *) objects;
	VEC(struct fake_image *) images; /* in the trash too */
	bool has_trash;                  /* it was needed once */
};

struct fake_user {
	char *name;
	char *key;
};

struct fake_filesystem;
struct fake_cluster {
	char *monitors;
	bool is_silent, is_held, is_manager_held, is_full, is_gone;
	unsigned fence;      /* connections that are older are blocklisted */
	VEC(char *) blocked; /* addresses; "IP:0/0": all of it */
	bool may_lift;       /* caps that allow it */
	uint64_t n_ids;      /* of images, snapshots, clients */
	VEC(struct fake_user) users;
	VEC(struct fake_pool *) pools;
	VEC(struct fake_filesystem *) filesystems;
	int manager_errnum; /* what the manager refuses everything with; 0: nothing */
	/* Of the manager: "pool/ID" of images that it could not remove from the trash. */
	VEC(char *) tasks;
};

/* What stands behind a rados_t. */
struct fake_conn {
	struct fake_cluster *cluster; /* NULL before connect */
	unsigned fence, process;
	uint64_t client;
	char *user, *address;
	bool tries_full; /* what is opened of it is told that a pool is full, not held back */
	VEC(struct fake_pair) options;
};

/* And behind a rados_ioctx_t. */
struct fake_io {
	struct fake_conn *conn;
	struct fake_pool *pool;
	char *ns;
	uint64_t version; /* of what was asked of last */
};

/* LOOK: all that comes of it is what the caller is given, so that with the answer lost nothing is.
 * GROW takes room, WRITE does not. */
enum fake_access { FAKE_READ, FAKE_LOOK, FAKE_WRITE, FAKE_GROW };

/* ceph.c. Begins a call that asks the cluster: 0, or what it answers instead. Either way it ends by
 * fake_ceph_leave(rc), which gives what the caller is told. */
int fake_ceph_enter(struct fake_conn *conn, enum fake_access access);
int fake_ceph_leave(int rc);
/* This very call is the one that a process was killed in, after it had begun. */
bool fake_ceph_died_within(void);
/* Of calls that ask nobody. */
void fake_ceph_lock(void);
void fake_ceph_unlock(void);
void fake_ceph_opened(int by); /* handles, while locked or not */
struct fake_cluster *fake_ceph_cluster(const char *monitors);
struct fake_pool *fake_ceph_pool(struct fake_cluster *cluster, int64_t id);
uint64_t fake_ceph_id(struct fake_cluster *cluster);
bool fake_ceph_is_alive(unsigned process);
unsigned fake_ceph_process(void);

/* While locked, which it lets go of: until the flag is not set any more, by the other. */
void fake_ceph_wait(const bool *is_held);
void fake_ceph_let_go(bool *flag, bool is_held);

/* While locked: the same for a cluster that is not connected to; and what trouble makes of a call
 * to none. */
int fake_ceph_enter_cluster(struct fake_cluster *cluster, enum fake_access access);
int fake_ceph_suffer(void);

/* ceph_conn.c; while locked. */
void fake_conn_reset(void);
unsigned fake_conn_count(void);
const char *fake_conn_option(const struct fake_conn *conn, const char *name); /* or "" */
void fake_ceph_fill_conn(struct ceph_lib *lib);

/* ceph_monitor.c; while locked. */
bool fake_is_blocked(const struct fake_cluster *cluster, const char *address);
void fake_ceph_fill_monitor(struct ceph_lib *lib);

/* ceph_omap.c */
struct fake_object *fake_object_find(struct fake_pool *pool, const char *ns, const char *name);
struct fake_object *fake_object_make(struct fake_pool *pool, const char *ns, const char *name);
void fake_object_remove(struct fake_pool *pool, struct fake_object *object);
const struct fake_pair *fake_object_get(const struct fake_object *object, const char *key);
void fake_object_set(struct fake_object *object, const char *key, const char *value, size_t n);
void fake_object_rm(struct fake_object *object, const char *key);
void fake_ceph_fill_omap(struct ceph_lib *lib);

/* ceph_fs.c; while locked. A command whose prefix begins with "fs ". */
int fake_fs_command(struct fake_cluster *cluster, const struct json *command, struct str *out,
		    struct str *status);
void fake_fs_dump(const struct fake_cluster *cluster, struct str *out);
void fake_fs_free_all(struct fake_cluster *cluster);

/* ceph_image.c */
void fake_ceph_fill_image(struct ceph_lib *lib);
void fake_ceph_free_images(struct fake_pool *pool);

#endif
