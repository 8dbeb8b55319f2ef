/* SPDX-License-Identifier: Apache-2.0 */
/* What objects have beside their omaps: a few bytes, attributes, and a version that each change
 * raises, by which a writer makes sure that nobody came between. Steps of the same operations. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-omap-internal.h"

static void add(void *handle, struct fake_step step)
{
	struct fake_op *op = handle;

	vec_push(&op->steps, step);
}

static void op_assert_version(rados_write_op_t op, uint64_t version)
{
	add(op, (struct fake_step){ .kind = STEP_VERSION, .max = version });
}

static void op_setxattr(rados_write_op_t op, const char *name, const char *value, size_t n)
{
	add(op, (struct fake_step){ .kind = STEP_ATTR, .pair = fake_pair_copy(name, value, n) });
}

static void op_write_full(rados_write_op_t op, const char *bytes, size_t n)
{
	add(op, (struct fake_step){ .kind = STEP_FULL, .pair = fake_pair_copy("", bytes, n) });
}

static void op_remove(rados_write_op_t op)
{
	add(op, (struct fake_step){ .kind = STEP_REMOVE });
}

static void op_cmpxattr(rados_read_op_t op, const char *name, uint8_t how, const char *value,
			size_t n)
{
	(void)how;
	add(op,
	    (struct fake_step){ .kind = STEP_ATTR_CMP, .pair = fake_pair_copy(name, value, n) });
}

static void op_read(rados_read_op_t op, uint64_t offset, size_t n, char *buf, size_t *ret_n,
		    int *ret_rc)
{
	(void)offset;
	add(op,
	    (struct fake_step){
		    .kind = STEP_READ, .max = n, .buf = buf, .ret_n = ret_n, .ret_rc = ret_rc });
}

int fake_bytes_check(const struct fake_step *step, const struct fake_object *object)
{
	uint64_t version = object ? object->version : 0;

	return version == step->max ? 0 : version > step->max ? -ERANGE : -EOVERFLOW;
}

static void replace(struct fake_pair *pair, const struct fake_pair *with)
{
	struct fake_pair was = *pair;

	*pair = fake_pair_copy(with->key, with->value, with->n);
	free(was.key);
	free(was.value);
}

static struct fake_pair *find_attr(const struct fake_object *object, const char *name)
{
	for (size_t i = 0; i < object->attrs.n; i++)
		if (str_is_equal(object->attrs.v[i].key, name))
			return &object->attrs.v[i];
	return NULL;
}

void fake_bytes_apply(const struct fake_step *step, struct fake_object *object)
{
	struct fake_pair *attr;

	if (step->kind == STEP_FULL)
		replace(&object->bytes, &step->pair);
	if (step->kind != STEP_ATTR)
		return;
	attr = find_attr(object, step->pair.key);
	if (attr)
		replace(attr, &step->pair);
	else
		vec_push(&object->attrs,
			 fake_pair_copy(step->pair.key, step->pair.value, step->pair.n));
}

int fake_bytes_read(const struct fake_step *step, const struct fake_object *object)
{
	const struct fake_pair *attr;
	size_t n = object->bytes.n;

	if (step->kind == STEP_READ) {
		*step->ret_n = n < step->max ? n : step->max;
		if (n > 0)
			memcpy(step->buf, object->bytes.value, *step->ret_n);
	}
	if (step->kind != STEP_ATTR_CMP)
		return 0;
	attr = find_attr(object, step->pair.key);
	return attr && attr->n == step->pair.n &&
			       memcmp(attr->value, step->pair.value, attr->n) == 0
		       ? 0
		       : -ECANCELED;
}

static uint64_t get_last_version(rados_ioctx_t handle)
{
	const struct fake_io *io = handle;

	return io->version;
}

/* ---- what tests look at and lay down ---- */

static struct fake_pool *own_pool(int64_t pool)
{
	return fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool);
}

static void append_hex(const struct fake_pair *pair, struct str *out)
{
	for (size_t i = 0; i < pair->n; i++)
		str_appendf(out, "%02x", (unsigned char)pair->value[i]);
}

void fake_ceph_dump_object(int64_t pool, const char *ns, const char *name, struct str *out)
{
	const struct fake_object *o;

	fake_ceph_lock();
	o = fake_object_find(own_pool(pool), ns, name);
	if (o)
		append_hex(&o->bytes, out);
	for (size_t i = 0; o && i < o->attrs.n; i++) {
		str_appendf(out, " %s=", o->attrs.v[i].key);
		append_hex(&o->attrs.v[i], out);
	}
	for (size_t i = 0; o && i < o->omap.n; i++) {
		str_appendf(out, " %s:", o->omap.v[i].key);
		append_hex(&o->omap.v[i], out);
	}
	fake_ceph_unlock();
}

void fake_ceph_set_bytes(int64_t pool, const char *ns, const char *name, const char *attr,
			 const char *value, size_t n)
{
	const struct fake_step step = { .kind = attr ? STEP_ATTR : STEP_FULL,
					.pair = fake_pair_copy(str_or(attr, ""), value, n) };
	struct fake_object *o;

	fake_ceph_lock();
	o = fake_object_make(own_pool(pool), ns, name);
	fake_bytes_apply(&step, o);
	o->version = fake_ceph_id(own_pool(pool)->cluster);
	fake_ceph_unlock();
	free(step.pair.key);
	free(step.pair.value);
}

void fake_ceph_set_changed(int64_t pool, const char *ns, const char *name, time_t when)
{
	fake_ceph_lock();
	fake_object_make(own_pool(pool), ns, name)->changed = when;
	fake_ceph_unlock();
}

void fake_ceph_fill_bytes(struct ceph_lib *lib)
{
	lib->rados_write_op_assert_version = op_assert_version;
	lib->rados_write_op_setxattr = op_setxattr;
	lib->rados_write_op_write_full = op_write_full;
	lib->rados_write_op_remove = op_remove;
	lib->rados_read_op_cmpxattr = op_cmpxattr;
	lib->rados_read_op_read = op_read;
	lib->rados_get_last_version = get_last_version;
}
