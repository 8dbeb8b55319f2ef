/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ceph-csi takes an object that is not there for one whose last reference is gone, and then deletes
 * the snapshot. Here it says nothing: a volume's entry may have been written and its reference not,
 * and the snapshot is somebody's. So the snapshot goes before the object does, and whoever was
 * killed in between finds both again.
 *
 * A snapshot that is deleted is masked first, also where nobody shows it: between a look and the
 * deletion somebody else could begin to.
 */
#include "backend/cephfs/backing.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define VERSION_KEY "csi.ceph.com/rt-version"
#define LAYOUT 1
/* So often somebody else may come between in one call. */
#define TRIES 8

struct number {
	char bytes[sizeof(uint32_t)];
};

/* What is to become of the object, and of one or two of its keys. */
struct change {
	enum { CHANGE_MAKE, CHANGE_KEEP, CHANGE_REMOVE } what;
	uint32_t n;
	const char *set[2];
	enum backing_ref as; /* those that are set */
	size_t n_set;
	const char *rm; /* NULL: none */
};

static struct number number_of(uint32_t value)
{
	uint32_t big = htobe32(value);
	struct number n;

	memcpy(n.bytes, &big, sizeof(big));
	return n;
}

static const char *object_of(const struct subvolume_place *p, const char *handle)
{
	return arena_printf(p->ctx->arena, "rt-backingsnapshot-%s", handle);
}

static int refuse(const struct subvolume_place *p, const char *object, const char *why,
		  struct err *err)
{
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"cluster '%s': object '%.200s' %s; another program has written it, and it is "
		"left as it is",
		p->cluster.id, object, why);
}

static int take_ref(const struct subvolume_place *p, const char *object, const char *value,
		    size_t n, enum backing_ref *ret_ref, struct err *err)
{
	if (n != 1 || (value[0] != BACKING_REF_COUNTS && value[0] != BACKING_REF_MASKED))
		return refuse(p, object, "has a key that is no reference of ceph-csi's", err);
	*ret_ref = (enum backing_ref)value[0];
	return 0;
}

static int take_refs(const struct subvolume_place *p, const char *object, const char *handle,
		     rados_omap_iter_t it, struct backing *b, struct err *err)
{
	char *key, *value;
	size_t n;

	while (p->lib->rados_omap_get_next(it, &key, &value, &n) == 0 && key) {
		enum backing_ref *ref = str_is_equal(key, handle) ? &b->snapshot : &b->volume;

		if (take_ref(p, object, value, n, ref, err) < 0)
			return -1;
	}
	return 0;
}

/* The answer of the one operation that asks for all of it. */
struct asked {
	struct number number;
	size_t n_read;
	int read_rc, keys_rc;
	rados_omap_iter_t it;
};

static int take(const struct subvolume_place *p, const char *object, const char *handle, int rc,
		const struct asked *a, struct backing *ret_backing, struct err *err)
{
	struct backing b = { .version = 0 };
	uint32_t big;

	if (rc == -ENOENT) {
		*ret_backing = b;
		return 0;
	}
	if (rc == -ECANCELED || rc == -ENODATA)
		return refuse(p, object, "is of a version that is not known here", err);
	if (rc < 0 || a->keys_rc < 0 || a->read_rc < 0)
		return ceph_conn_failed(p->conn,
					rc < 0           ? rc
					: a->keys_rc < 0 ? a->keys_rc
							 : a->read_rc,
					err, "read '%s'", object);
	if (a->n_read != sizeof(big))
		return refuse(p, object, "does not say how many show the snapshot", err);
	memcpy(&big, a->number.bytes, sizeof(big));
	b.n = be32toh(big);
	b.version = p->lib->rados_get_last_version(p->io);
	if (take_refs(p, object, handle, a->it, &b, err) < 0)
		return -1;
	*ret_backing = b;
	return 0;
}

int backing_read(const struct subvolume_place *p, const char *handle, const char *volume,
		 struct backing *ret_backing, struct err *err)
{
	const char *const keys[] = { handle, volume };
	const struct number layout = number_of(LAYOUT);
	const char *object = object_of(p, handle);
	struct asked a = { .n_read = 0 };
	rados_read_op_t op;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_read_op();
	p->lib->rados_read_op_cmpxattr(op, VERSION_KEY, LIBRADOS_CMPXATTR_OP_EQ, layout.bytes,
				       sizeof(layout.bytes));
	p->lib->rados_read_op_read(op, 0, sizeof(a.number.bytes), a.number.bytes, &a.n_read,
				   &a.read_rc);
	p->lib->rados_read_op_omap_get_vals_by_keys(op, keys, volume ? 2 : 1, &a.it, &a.keys_rc);
	rc = p->lib->rados_read_op_operate(op, p->io, object, 0);
	rc = take(p, object, handle, rc, &a, ret_backing, err);
	if (rc == 0)
		ceph_conn_answered(p->conn);
	p->lib->rados_omap_get_end(a.it);
	p->lib->rados_release_read_op(op);
	return rc;
}

int backing_is_masked(const struct subvolume_place *p, const char *handle, struct err *err)
{
	struct backing b;

	return backing_read(p, handle, NULL, &b, err) < 0 ? -1 : b.snapshot == BACKING_REF_MASKED;
}

static void op_set(const struct subvolume_place *p, rados_write_op_t op, const struct change *c)
{
	const char as = (char)c->as;
	const char *const values[] = { &as, &as };
	const size_t lens[] = { 1, 1 };

	if (c->n_set > 0)
		p->lib->rados_write_op_omap_set(op, c->set, values, lens, c->n_set);
}

static void fill_op(const struct subvolume_place *p, rados_write_op_t op, const struct backing *was,
		    const struct change *c)
{
	const struct number layout = number_of(LAYOUT), n = number_of(c->n);

	if (c->what == CHANGE_MAKE) {
		p->lib->rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
		p->lib->rados_write_op_setxattr(op, VERSION_KEY, layout.bytes,
						sizeof(layout.bytes));
	} else {
		p->lib->rados_write_op_assert_version(op, was->version);
	}
	if (c->what == CHANGE_REMOVE) {
		p->lib->rados_write_op_remove(op);
		return;
	}
	op_set(p, op, c);
	if (c->rm)
		p->lib->rados_write_op_omap_rm_keys(op, &c->rm, 1);
	p->lib->rados_write_op_write_full(op, n.bytes, sizeof(n.bytes));
}

/* 1: done. 0: somebody was there first; look again. */
static int write_back(const struct subvolume_place *p, const char *handle,
		      const struct backing *was, const struct change *c, struct err *err)
{
	const char *object = object_of(p, handle);
	rados_write_op_t op;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_write_op();
	fill_op(p, op, was, c);
	rc = p->lib->rados_write_op_operate(op, p->io, object, NULL, 0);
	p->lib->rados_release_write_op(op);
	if (rc == -EEXIST || rc == -ERANGE || rc == -EOVERFLOW || rc == -ENOENT)
		return 0;
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "write '%s'", object);
	ceph_conn_answered(p->conn);
	return 1;
}

static int give_up(const struct subvolume_place *p, const char *handle, struct err *err)
{
	return err_set(err, ERR_ABORTED, "cluster '%s': others keep changing '%.200s'",
		       p->cluster.id, object_of(p, handle));
}

/* 1: nothing is to be changed. */
static int plan_add(const struct backing *b, const char *handle, const char *volume,
		    struct change *c, struct err *err)
{
	*c = (struct change){ .what = b->version ? CHANGE_KEEP : CHANGE_MAKE,
			      .as = BACKING_REF_COUNTS };
	if (b->snapshot == BACKING_REF_MASKED && b->volume == BACKING_REF_NONE)
		return err_set(err, ERR_NOT_FOUND,
			       "the snapshot was deleted, and is there only for the volumes that "
			       "show it");
	if (b->snapshot == BACKING_REF_NONE)
		c->set[c->n_set++] = handle;
	if (b->volume == BACKING_REF_NONE)
		c->set[c->n_set++] = volume;
	c->n = b->n + (uint32_t)c->n_set;
	return c->n_set == 0;
}

int backing_add(const struct subvolume_place *p, const char *handle, const char *volume,
		struct err *err)
{
	for (int i = 0; i < TRIES; i++) {
		struct backing b;
		struct change c;
		int rc = backing_read(p, handle, volume, &b, err);

		if (rc == 0)
			rc = plan_add(&b, handle, volume, &c, err);
		if (rc == 0)
			rc = write_back(p, handle, &b, &c, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return give_up(p, handle, err);
}

static int check_count(const struct subvolume_place *p, const char *handle, uint32_t n,
		       uint32_t goes, struct err *err)
{
	return n >= goes ? 0
			 : refuse(p, object_of(p, handle), "counts fewer than it has keys", err);
}

int backing_mask(const struct subvolume_place *p, const char *handle, uint32_t *ret_n,
		 struct err *err)
{
	for (int i = 0; i < TRIES; i++) {
		struct change c = { .set = { handle }, .n_set = 1, .as = BACKING_REF_MASKED };
		struct backing b;
		int rc;

		if (backing_read(p, handle, NULL, &b, err) < 0)
			return -1;
		rc = b.snapshot == BACKING_REF_MASKED;
		if (check_count(p, handle, b.n, b.snapshot == BACKING_REF_COUNTS, err) < 0)
			return -1;
		c.n = b.n - (b.snapshot == BACKING_REF_COUNTS);
		c.what = b.version ? CHANGE_KEEP : CHANGE_MAKE;
		if (rc == 0)
			rc = write_back(p, handle, &b, &c, err);
		if (rc > 0)
			*ret_n = c.n;
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return give_up(p, handle, err);
}

int backing_forget(const struct subvolume_place *p, const char *handle, struct err *err)
{
	const struct change c = { .what = CHANGE_REMOVE };

	for (int i = 0; i < TRIES; i++) {
		struct backing b;
		int rc = backing_read(p, handle, NULL, &b, err);

		if (rc == 0)
			rc = b.version == 0 || b.n > 0 ? 1 : write_back(p, handle, &b, &c, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return give_up(p, handle, err);
}

/* Without the volume; where the snapshot alone is left it is as if nobody had shown it. */
static struct change plan_drop(const struct backing *b, const char *volume)
{
	uint32_t left = b->n - (b->volume == BACKING_REF_COUNTS);
	bool is_over = left == (b->snapshot == BACKING_REF_COUNTS);

	return (struct change){ .what = is_over ? CHANGE_REMOVE : CHANGE_KEEP,
				.n = left,
				.rm = volume };
}

int backing_drop(const struct subvolume_place *p, const char *handle, const char *volume,
		 int (*remove_snapshot)(const struct subvolume_place *p, const char *handle,
					struct err *err),
		 struct err *err)
{
	for (int i = 0; i < TRIES; i++) {
		struct backing b;
		struct change c;
		int rc;

		if (backing_read(p, handle, volume, &b, err) < 0)
			return -1;
		if (b.volume == BACKING_REF_NONE)
			return 0;
		if (check_count(p, handle, b.n, b.volume == BACKING_REF_COUNTS, err) < 0)
			return -1;
		c = plan_drop(&b, volume);
		if (c.what == CHANGE_REMOVE && b.snapshot == BACKING_REF_MASKED &&
		    remove_snapshot(p, handle, err) < 0)
			return -1;
		rc = write_back(p, handle, &b, &c, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return give_up(p, handle, err);
}
