/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_IMAGE_INTERNAL_H
#define TESTS_FAKE_CEPH_IMAGE_INTERNAL_H

#include "fake/ceph-internal.h"

#define FAKE_BLOCK 4096

struct fake_block {
	uint64_t at; /* in blocks */
	char *bytes;
};

/* What was written; what is not here is the parent's, or zeros. */
struct fake_data {
	VEC(struct fake_block) blocks; /* sorted */
};

struct fake_image;

struct fake_parent {
	struct fake_image *image; /* NULL: none */
	uint64_t snap_id;
	uint64_t overlap; /* bytes that are the parent's */
};

struct fake_snap {
	uint64_t id;
	char *name;
	uint64_t size;
	struct timespec created;
	rbd_snap_namespace_type_t type; /* USER, or TRASH once it is removed and has clones */
	struct fake_data data;
	struct fake_parent parent;
	bool is_lost; /* it cannot be opened */
};

struct fake_watcher {
	uint64_t client, cookie;
	char *addr;
	unsigned process; /* whose it is, unless: */
	bool is_foreign;
	rbd_update_callback_t changed; /* NULL: an open image, no rbd_update_watch */
	void *arg;
};

struct fake_image {
	struct fake_pool *pool;
	char *ns, *name, *id;
	bool is_half;  /* its creator was killed: its name is taken, but there is nothing to open */
	bool in_trash; /* under its id alone */
	int64_t trashed_s, kept_until_s;
	uint64_t size, features;
	unsigned order;
	struct timespec created;
	VEC(struct fake_pair) meta;
	unsigned n_meta_changes, n_told; /* and how many there were when who has it open was told */
	VEC(struct fake_snap *) snaps;   /* by id */
	struct fake_data data;
	struct fake_parent parent;
	VEC(struct fake_watcher) watchers;
	char *locked_by; /* address; NULL: nobody, or whoever is not told */
	unsigned n_open; /* handles; one that is removed meanwhile is freed with the last */
	bool is_removed;
};

/* What stands behind an rbd_image_t. */
struct fake_open {
	struct fake_conn *conn;
	struct fake_image *image;
	struct fake_snap *snap; /* NULL: the head */
	bool is_read_only;
	uint64_t cookie;
};

/* ceph_image.c. All while locked. */
struct fake_image *fake_image_find(const struct fake_pool *pool, const char *ns, const char *name);
struct fake_image *fake_image_find_id(const struct fake_pool *pool, const char *ns, const char *id);
bool fake_image_is_watched(struct fake_image *image); /* forgets those of the dead */
int fake_image_remove(struct fake_image *image);
void fake_image_free(struct fake_image *image);
void fake_image_set_meta(struct fake_image *image, const char *key,
			 const char *value); /* NULL: none */
bool fake_image_is_writable(const struct fake_open *open);
void fake_ceph_fill_image(struct ceph_lib *lib);

/* ceph_make.c */
void fake_ceph_fill_make(struct ceph_lib *lib);

/* ceph_snap.c */
struct fake_snap *fake_snap_find(const struct fake_image *image, uint64_t id);
size_t fake_snap_children(const struct fake_image *image, uint64_t id);
int fake_image_flatten(struct fake_image *image);
struct fake_snap *fake_snap_find_user(const struct fake_image *image, const char *name);
void fake_snap_free(struct fake_image *image, struct fake_snap *snap);
void fake_parent_leave(struct fake_parent *parent);
void fake_ceph_fill_snap(struct ceph_lib *lib);

/* ceph_data.c */
void fake_data_copy(struct fake_data *to, const struct fake_data *from);
void fake_data_free(struct fake_data *data);
void fake_data_write(struct fake_image *image, uint64_t offset, const char *text);
void fake_data_flatten(struct fake_image *image);
void fake_data_cut(struct fake_image *image, uint64_t size);
void fake_ceph_fill_data(struct ceph_lib *lib);

/* ceph_manager.c: tasks that failed are tried again. */
void fake_manager_work(struct fake_cluster *cluster);
void fake_ceph_fill_manager(struct ceph_lib *lib);

#endif
