/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects and their omaps, as an OSD does them: a write operation is a list of steps that are all
 * done or none, and comparisons see what was there before its first step. A key that is absent
 * compares as an empty value; an object that is absent fails a comparison with ENOENT unless a step
 * before has made it.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-omap-internal.h"

static size_t place_of(const struct fake_object *object, const char *key)
{
	size_t low = 0, high = object->omap.n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(object->omap.v[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct fake_object *fake_object_find(struct fake_pool *pool, const char *ns, const char *name)
{
	for (size_t i = 0; i < pool->objects.n; i++)
		if (str_is_equal(pool->objects.v[i]->ns, ns) &&
		    str_is_equal(pool->objects.v[i]->name, name))
			return pool->objects.v[i];
	return NULL;
}

struct fake_object *fake_object_make(struct fake_pool *pool, const char *ns, const char *name)
{
	struct fake_object *object = fake_object_find(pool, ns, name);

	if (object)
		return object;
	object = xcalloc(1, sizeof(*object));
	object->ns = xstrdup(ns);
	object->name = xstrdup(name);
	vec_push(&pool->objects, object);
	return object;
}

static void free_pair(struct fake_pair *pair)
{
	free(pair->key);
	free(pair->value);
}

void fake_object_remove(struct fake_pool *pool, struct fake_object *object)
{
	for (size_t i = 0; i < pool->objects.n; i++)
		if (pool->objects.v[i] == object)
			pool->objects.v[i] = pool->objects.v[--pool->objects.n];
	for (size_t i = 0; i < object->omap.n; i++)
		free_pair(&object->omap.v[i]);
	vec_done(&object->omap);
	for (size_t i = 0; i < object->attrs.n; i++)
		free_pair(&object->attrs.v[i]);
	vec_done(&object->attrs);
	free_pair(&object->bytes);
	free(object->ns);
	free(object->name);
	free(object);
}

const struct fake_pair *fake_object_get(const struct fake_object *object, const char *key)
{
	size_t at = place_of(object, key);

	return at < object->omap.n && str_is_equal(object->omap.v[at].key, key)
		       ? &object->omap.v[at]
		       : NULL;
}

static char *copy_bytes(const char *bytes, size_t n)
{
	char *copy = xmalloc(n + 1);

	memcpy(copy, bytes, n);
	copy[n] = '\0';
	return copy;
}

struct fake_pair fake_pair_copy(const char *key, const char *value, size_t n)
{
	return (struct fake_pair){ xstrdup(key), copy_bytes(value, n), n };
}

void fake_object_set(struct fake_object *object, const char *key, const char *value, size_t n)
{
	size_t at = place_of(object, key);

	fake_object_rm(object, key);
	vec_push(&object->omap, fake_pair_copy(key, value, n));
	for (size_t i = object->omap.n - 1; i > at; i--) {
		struct fake_pair swap = object->omap.v[i];

		object->omap.v[i] = object->omap.v[i - 1];
		object->omap.v[i - 1] = swap;
	}
}

void fake_object_rm(struct fake_object *object, const char *key)
{
	size_t at = place_of(object, key);

	if (!fake_object_get(object, key))
		return;
	free_pair(&object->omap.v[at]);
	memmove(&object->omap.v[at], &object->omap.v[at + 1],
		(object->omap.n - at - 1) * sizeof(object->omap.v[0]));
	object->omap.n--;
}

static void *create_op(void)
{
	fake_ceph_opened(1);
	return xcalloc(1, sizeof(struct fake_op));
}

static void release_op(void *handle)
{
	struct fake_op *op = handle;

	for (size_t i = 0; i < op->steps.n; i++) {
		free_pair(&op->steps.v[i].pair);
		free(op->steps.v[i].prefix);
	}
	vec_done(&op->steps);
	free(op);
	fake_ceph_opened(-1);
}

static void op_create(rados_write_op_t handle, int exclusive, const char *category)
{
	struct fake_op *op = handle;

	vec_push(&op->steps,
		 ((struct fake_step){ .kind = STEP_CREATE,
				      .is_exclusive = exclusive == LIBRADOS_CREATE_EXCLUSIVE }));
}

static void op_assert_exists(rados_write_op_t handle)
{
	struct fake_op *op = handle;

	vec_push(&op->steps, ((struct fake_step){ .kind = STEP_EXISTS }));
}

static void op_omap_cmp(rados_write_op_t handle, const char *key, uint8_t how, const char *value,
			size_t n, int *ret_rc)
{
	struct fake_op *op = handle;

	assert(how == LIBRADOS_CMPXATTR_OP_EQ);
	vec_push(&op->steps, ((struct fake_step){ .kind = STEP_CMP,
						  .pair = fake_pair_copy(key, value, n),
						  .ret_rc = ret_rc }));
}

static void op_omap_set(rados_write_op_t handle, char const *const *keys, char const *const *values,
			const size_t *lens, size_t n)
{
	struct fake_op *op = handle;

	for (size_t i = 0; i < n; i++)
		vec_push(&op->steps, ((struct fake_step){ .kind = STEP_SET,
							  .pair = fake_pair_copy(keys[i], values[i],
										 lens[i]) }));
}

static void op_omap_rm(rados_write_op_t handle, char const *const *keys, size_t n)
{
	struct fake_op *op = handle;

	for (size_t i = 0; i < n; i++)
		vec_push(&op->steps,
			 ((struct fake_step){ .kind = STEP_RM,
					      .pair = fake_pair_copy(keys[i], "", 0) }));
}

static bool is_equal(const struct fake_object *object, const struct fake_pair *want)
{
	const struct fake_pair *got = object ? fake_object_get(object, want->key) : NULL;
	size_t n = got ? got->n : 0;

	return n == want->n && (n == 0 || memcmp(got->value, want->value, n) == 0);
}

/* What the step answers, before anything is done; exists becomes what it makes of that. */
static int check_step(const struct fake_step *step, const struct fake_object *object, bool *exists)
{
	switch (step->kind) {
	case STEP_CREATE:
		if (*exists && step->is_exclusive)
			return -EEXIST;
		*exists = true;
		return 0;
	case STEP_SET:
		*exists = true;
		return 0;
	case STEP_CMP:
		if (*exists && !is_equal(object, &step->pair))
			return -ECANCELED;
		return *exists ? 0 : -ENOENT;
	case STEP_ATTR:
	case STEP_FULL:
		return 0;
	case STEP_VERSION:
		return fake_bytes_check(step, object);
	case STEP_EXISTS:
	case STEP_RM:
	case STEP_GET:
	case STEP_LIST:
	case STEP_REMOVE:
	case STEP_ATTR_CMP:
	case STEP_READ:
		return *exists ? 0 : -ENOENT;
	}
	return 0;
}

static int apply(const struct fake_op *op, struct fake_io *io, const char *name)
{
	struct fake_object *object = fake_object_find(io->pool, io->ns, name);
	bool exists = object;

	if (fake_header_is(name))
		return fake_header_apply(op, fake_header_find(io, name));
	for (size_t i = 0; i < op->steps.n; i++) {
		int rc = check_step(&op->steps.v[i], object, &exists);

		if (op->steps.v[i].ret_rc)
			*op->steps.v[i].ret_rc = rc;
		if (rc < 0)
			return rc;
	}
	if (exists)
		object = fake_object_make(io->pool, io->ns, name);
	for (size_t i = 0; i < op->steps.n; i++) {
		const struct fake_step *step = &op->steps.v[i];

		if (step->kind == STEP_SET)
			fake_object_set(object, step->pair.key, step->pair.value, step->pair.n);
		else if (step->kind == STEP_RM)
			fake_object_rm(object, step->pair.key);
		else
			fake_bytes_apply(step, object);
		if (step->kind == STEP_REMOVE) {
			fake_object_remove(io->pool, object);
			return 0;
		}
	}
	if (object)
		object->version = fake_ceph_id(io->pool->cluster);
	return 0;
}

/* A new object takes room; keys do not count. */
static bool makes_object(const struct fake_op *op, const struct fake_io *io, const char *name)
{
	if (fake_object_find(io->pool, io->ns, name))
		return false;
	for (size_t i = 0; i < op->steps.n; i++)
		if (op->steps.v[i].kind == STEP_CREATE || op->steps.v[i].kind == STEP_SET)
			return true;
	return false;
}

static int write_op_operate(rados_write_op_t op, rados_ioctx_t handle, const char *name,
			    time_t *mtime, int flags)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_WRITE);

	if (rc == 0 && io->conn->cluster->is_full && makes_object(op, io, name))
		rc = -ENOSPC;
	if (rc == 0)
		rc = apply(op, io, name);
	return fake_ceph_leave(rc);
}

static struct fake_iter *make_iter(rados_omap_iter_t *ret)
{
	struct fake_iter *iter = xcalloc(1, sizeof(*iter));

	fake_ceph_opened(1);
	*ret = iter;
	return iter;
}

static void op_get_by_keys(rados_read_op_t handle, char const *const *keys, size_t n,
			   rados_omap_iter_t *ret_iter, int *ret_rc)
{
	struct fake_op *op = handle;
	struct fake_iter *iter = make_iter(ret_iter);

	for (size_t i = 0; i < n; i++)
		vec_push(&op->steps, ((struct fake_step){ .kind = STEP_GET,
							  .pair = fake_pair_copy(keys[i], "", 0),
							  .iter = iter,
							  .ret_rc = ret_rc }));
}

static void op_get_vals2(rados_read_op_t handle, const char *after, const char *prefix,
			 uint64_t max, rados_omap_iter_t *ret_iter, unsigned char *ret_more,
			 int *ret_rc)
{
	struct fake_op *op = handle;

	vec_push(&op->steps, ((struct fake_step){ .kind = STEP_LIST,
						  .pair = fake_pair_copy(str_or(after, ""), "", 0),
						  .prefix = xstrdup(str_or(prefix, "")),
						  .max = max,
						  .iter = make_iter(ret_iter),
						  .more = ret_more,
						  .ret_rc = ret_rc }));
}

static void list_pairs(const struct fake_step *step, const struct fake_object *object)
{
	*step->more = 0;
	for (size_t i = 0; i < object->omap.n; i++) {
		const struct fake_pair *p = &object->omap.v[i];

		if (strcmp(p->key, step->pair.key) <= 0 || !str_has_prefix(p->key, step->prefix))
			continue;
		if (step->iter->pairs.n == step->max) {
			*step->more = 1;
			return;
		}
		vec_push(&step->iter->pairs, fake_pair_copy(p->key, p->value, p->n));
	}
}

static int read_object(const struct fake_op *op, const struct fake_object *object)
{
	for (size_t i = 0; i < op->steps.n; i++) {
		const struct fake_step *step = &op->steps.v[i];
		const struct fake_pair *got;
		int rc = fake_bytes_read(step, object);

		if (rc < 0)
			return rc;
		if (step->ret_rc)
			*step->ret_rc = 0;
		if (step->kind == STEP_LIST)
			list_pairs(step, object);
		else if (step->kind == STEP_GET && (got = fake_object_get(object, step->pair.key)))
			vec_push(&step->iter->pairs, fake_pair_copy(got->key, got->value, got->n));
	}
	return 0;
}

static int read_op_operate(rados_read_op_t op, rados_ioctx_t handle, const char *name, int flags)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_READ);

	if (rc == 0) {
		struct fake_object *object = fake_object_find(io->pool, io->ns, name);

		if (fake_header_is(name))
			rc = fake_header_read(op, fake_header_find(io, name));
		else
			rc = object ? read_object(op, object) : -ENOENT;
		io->version = object ? object->version : 0;
	}
	return fake_ceph_leave(rc);
}

static int omap_get_next(rados_omap_iter_t handle, char **ret_key, char **ret_value, size_t *ret_n)
{
	struct fake_iter *iter = handle;
	static const struct fake_pair end;
	const struct fake_pair *p = iter->at < iter->pairs.n ? &iter->pairs.v[iter->at++] : &end;

	*ret_key = p->key;
	*ret_value = p->value;
	*ret_n = p->n;
	return 0;
}

static void omap_get_end(rados_omap_iter_t handle)
{
	struct fake_iter *iter = handle;

	for (size_t i = 0; i < iter->pairs.n; i++)
		free_pair(&iter->pairs.v[i]);
	vec_done(&iter->pairs);
	free(iter);
	fake_ceph_opened(-1);
}

/* Of what an image consists of, the object that gives its name an id. */
static bool is_id_of_image(const struct fake_io *io, const char *name)
{
	return str_has_prefix(name, "rbd_id.") &&
	       fake_image_find(io->pool, io->ns, name + strlen("rbd_id."));
}

/* Of what an image consists of, the same object: its id, as encoded text. */
static int fake_read(rados_ioctx_t handle, const char *name, char *buf, size_t n, uint64_t offset)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_READ);
	uint32_t len = 0, le;

	if (rc == 0 && !is_id_of_image(io, name))
		rc = -ENOENT;
	if (rc == 0) {
		const char *id = fake_image_find(io->pool, io->ns, name + strlen("rbd_id."))->id;

		len = (uint32_t)strlen(id);
		le = htole32(len);
		assert(offset == 0 && n >= sizeof(le) + len);
		memcpy(buf, &le, sizeof(le));
		memcpy(buf + sizeof(le), id, len);
	}
	rc = fake_ceph_leave(rc);
	return rc < 0 ? rc : (int)(sizeof(le) + len);
}

static int fake_stat(rados_ioctx_t handle, const char *name, uint64_t *ret_size, time_t *ret_mtime)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_READ);

	if (rc == 0 && !fake_object_find(io->pool, io->ns, name) && !is_id_of_image(io, name))
		rc = -ENOENT;
	if (rc == 0 && ret_size)
		*ret_size = 0;
	if (rc == 0 && ret_mtime) {
		const struct fake_object *object = fake_object_find(io->pool, io->ns, name);

		*ret_mtime = object ? object->changed : 0;
	}
	return fake_ceph_leave(rc);
}

static int fake_remove(rados_ioctx_t handle, const char *name)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_WRITE);
	struct fake_object *object = rc < 0 ? NULL : fake_object_find(io->pool, io->ns, name);

	if (rc == 0 && !object)
		rc = -ENOENT;
	if (rc == 0)
		fake_object_remove(io->pool, object);
	return fake_ceph_leave(rc);
}

/* What tests look at and lay down. */
static struct fake_pool *own_pool(int64_t pool)
{
	struct fake_pool *p = fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool);

	assert(p);
	return p;
}

const char *fake_ceph_omap_get(int64_t pool, const char *ns, const char *object, const char *key)
{
	const struct fake_pair *pair = NULL;
	struct fake_object *o;

	fake_ceph_lock();
	o = fake_object_find(own_pool(pool), ns, object);
	if (o)
		pair = fake_object_get(o, key);
	fake_ceph_unlock();
	return pair ? pair->value : NULL;
}

void fake_ceph_omap_set(int64_t pool, const char *ns, const char *object, const char *key,
			const char *value)
{
	fake_ceph_lock();
	fake_object_set(fake_object_make(own_pool(pool), ns, object), key, value, strlen(value));
	fake_ceph_unlock();
}

void fake_ceph_omap_rm(int64_t pool, const char *ns, const char *object, const char *key)
{
	fake_ceph_lock();
	fake_object_rm(fake_object_find(own_pool(pool), ns, object), key);
	fake_ceph_unlock();
}

size_t fake_ceph_omap_count(int64_t pool, const char *ns, const char *object)
{
	struct fake_object *o;
	size_t n;

	fake_ceph_lock();
	o = fake_object_find(own_pool(pool), ns, object);
	n = o ? o->omap.n : 0;
	fake_ceph_unlock();
	return n;
}

bool fake_ceph_has_object(int64_t pool, const char *ns, const char *object)
{
	bool has;

	fake_ceph_lock();
	has = fake_object_find(own_pool(pool), ns, object);
	fake_ceph_unlock();
	return has;
}

void fake_ceph_remove_object(int64_t pool, const char *ns, const char *object)
{
	fake_ceph_lock();
	fake_object_remove(own_pool(pool), fake_object_find(own_pool(pool), ns, object));
	fake_ceph_unlock();
}

size_t fake_ceph_n_objects(int64_t pool)
{
	size_t n;

	fake_ceph_lock();
	n = own_pool(pool)->objects.n;
	fake_ceph_unlock();
	return n;
}

void fake_ceph_fill_omap(struct ceph_lib *lib)
{
	lib->rados_read = fake_read;
	fake_ceph_fill_bytes(lib);
	fake_ceph_fill_header(lib);
	lib->rados_create_write_op = create_op;
	lib->rados_release_write_op = release_op;
	lib->rados_write_op_create = op_create;
	lib->rados_write_op_assert_exists = op_assert_exists;
	lib->rados_write_op_omap_cmp = op_omap_cmp;
	lib->rados_write_op_omap_set = op_omap_set;
	lib->rados_write_op_omap_rm_keys = op_omap_rm;
	lib->rados_write_op_operate = write_op_operate;
	lib->rados_create_read_op = create_op;
	lib->rados_release_read_op = release_op;
	lib->rados_read_op_omap_get_vals_by_keys = op_get_by_keys;
	lib->rados_read_op_omap_get_vals2 = op_get_vals2;
	lib->rados_read_op_operate = read_op_operate;
	lib->rados_omap_get_next = omap_get_next;
	lib->rados_omap_get_end = omap_get_end;
	lib->rados_stat = fake_stat;
	lib->rados_remove = fake_remove;
}
