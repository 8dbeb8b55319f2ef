/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_OMAP_INTERNAL_H
#define TESTS_FAKE_CEPH_OMAP_INTERNAL_H

#include "fake/ceph-image-internal.h"

/* Operations on omaps: a list of steps. */
enum step_kind {
	STEP_CREATE,
	STEP_EXISTS,
	STEP_CMP,
	STEP_SET,
	STEP_RM,
	STEP_GET,
	STEP_LIST,
	/* ceph_bytes.c */
	STEP_VERSION,
	STEP_ATTR,
	STEP_FULL,
	STEP_REMOVE,
	STEP_ATTR_CMP,
	STEP_READ,
};

struct fake_iter {
	VEC(struct fake_pair) pairs;
	size_t at;
};

struct fake_step {
	enum step_kind kind;
	bool is_exclusive;
	struct fake_pair pair; /* SET, CMP; RM and GET: its key. LIST: the key to begin behind */
	char *prefix;
	uint64_t max; /* or VERSION's */
	char *buf;    /* READ's */
	size_t *ret_n;
	struct fake_iter *iter;
	unsigned char *more;
	int *ret_rc;
};

struct fake_op {
	VEC(struct fake_step) steps;
};

/* ceph_omap.c */
struct fake_pair fake_pair_copy(const char *key, const char *value, size_t n);

/* ceph_bytes.c; while locked. What one of its steps answers, before anything is done; and what it
 * does, to objects that are there. */
int fake_bytes_check(const struct fake_step *step, const struct fake_object *object);
void fake_bytes_apply(const struct fake_step *step, struct fake_object *object);
int fake_bytes_read(const struct fake_step *step, const struct fake_object *object);
void fake_ceph_fill_bytes(struct ceph_lib *lib);

/* ceph_header.c; while locked. NULL: there is none, -ENOENT. */
bool fake_header_is(const char *name);
struct fake_image *fake_header_find(const struct fake_io *io, const char *name);
int fake_header_apply(const struct fake_op *op, struct fake_image *image);
int fake_header_read(const struct fake_op *op, const struct fake_image *image);
void fake_ceph_fill_header(struct ceph_lib *lib);

#endif
