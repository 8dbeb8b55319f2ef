/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of nodes that are fenced, in the object cleat.fences of each pool (fence.h).
 *
 * What is not read is not concluded from: a list is read to its end, a record that is torn counts
 * and says nothing that would end it, and a pool that this user may not read is named. A record
 * goes by a comparison with what was read of it, since whoever fences meanwhile writes another
 * stamp.
 */
#include "backend/rbd/fence.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define FENCES "cleat.fences"
#define UNKNOWN "-"
#define PAGE 1024
#define POOLS_GUESS 4096

static int write_failed(const struct image_place *p, int rc, struct err *err)
{
	return ceph_conn_failed(p->conn, rc, err, "write '" FENCES "'");
}

int fence_record_write(const struct image_place *p, const char *ip, const char *node,
		       const char *boot_id, const char *machine, const char *volume,
		       struct err *err)
{
	struct arena *a = p->ctx->arena;
	const char *key =
		arena_printf(a, "%s/%s/%s/%s", ip, node, str_or(boot_id, UNKNOWN), volume);
	char stamp[UUID_TEXT_MAX];
	rados_write_op_t op;
	const char *value;
	struct uuid uuid;
	size_t n;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	uuid_make(&uuid);
	uuid_format(&uuid, stamp);
	value = arena_printf(a, "%s %s", str_or(machine, UNKNOWN), stamp);
	n = strlen(value);
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
	rc = p->lib->rados_write_op_operate(op, p->io, FENCES, NULL, 0);
	p->lib->rados_release_write_op(op);
	return rc < 0 ? write_failed(p, rc, err) : 0;
}

int fence_record_forget(const struct image_place *p, const struct fence_record *r, struct err *err)
{
	rados_write_op_t op;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_omap_cmp(op, r->key, LIBRADOS_CMPXATTR_OP_EQ, r->value, r->n_value,
					NULL);
	p->lib->rados_write_op_omap_rm_keys(op, &r->key, 1);
	rc = p->lib->rados_write_op_operate(op, r->io, FENCES, NULL, 0);
	p->lib->rados_release_write_op(op);
	return rc < 0 && rc != -ENOENT && rc != -ECANCELED ? write_failed(p, rc, err) : 0;
}

/* A UUID, or nothing that is known. */
static const char *take_uuid(struct arena *a, const char *text, size_t n)
{
	const char *word = arena_strndup(a, text, n);
	struct uuid uuid;

	return uuid_parse(word, &uuid) == 0 ? word : "";
}

/* false: of another program. */
static bool parse(struct arena *a, const char *key, const char *value, size_t n,
		  struct fence_record *r)
{
	const char *slash = strchr(key, '/'), *second, *third;
	char ip[CEPH_IP_MAX];

	if (!slash)
		return false;
	r->ip = arena_strndup(a, key, (size_t)(slash - key));
	if (ceph_address_ip(r->ip, ip) < 0 || !str_is_equal(ip, r->ip) || !slash[1])
		return false;
	r->key = arena_strdup(a, key);
	r->value = arena_strndup(a, value, n);
	r->n_value = n;
	r->volume = "";
	second = strchr(slash + 1, '/');
	if (!second) { /* of an earlier version */
		r->node = arena_strdup(a, slash + 1);
		r->boot_id = take_uuid(a, value, n);
		r->machine = "";
		return true;
	}
	r->node = arena_strndup(a, slash + 1, (size_t)(second - slash - 1));
	third = strchr(second + 1, '/');
	if (third)
		r->volume = arena_strdup(a, third + 1);
	r->boot_id = take_uuid(a, second + 1, strcspn(second + 1, "/"));
	r->machine = take_uuid(a, r->value, strcspn(r->value, " "));
	return true;
}

/* The last key, "" if there was none. */
static const char *take(const struct image_place *p, rados_ioctx_t io, rados_omap_iter_t it,
			struct fence_records *all)
{
	struct arena *a = p->ctx->arena;
	const char *last = "";
	char *key, *value;
	size_t n;

	while (p->lib->rados_omap_get_next(it, &key, &value, &n) == 0 && key) {
		struct fence_record r = { .io = io };

		last = arena_strdup(a, key);
		if (parse(a, key, value, n, &r))
			vec_push(&all->v, r);
	}
	return last;
}

/* From behind *after, which moves on. 1: there are more; 0, or -errno. */
static int read_page(const struct image_place *p, rados_ioctx_t io, const char **after,
		     struct fence_records *all)
{
	unsigned char more = 0;
	rados_omap_iter_t it;
	rados_read_op_t op;
	int rc, part = 0;

	op = p->lib->rados_create_read_op();
	p->lib->rados_read_op_omap_get_vals2(op, *after, "", PAGE, &it, &more, &part);
	rc = p->lib->rados_read_op_operate(op, io, FENCES, 0);
	rc = rc < 0 ? rc : part;
	if (rc == 0)
		*after = take(p, io, it, all);
	p->lib->rados_omap_get_end(it);
	p->lib->rados_release_read_op(op);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc; /* nobody was ever fenced */
	return more && **after;
}

/* 0, or -errno with err set. */
static int read_pool(const struct image_place *p, rados_ioctx_t io, struct fence_records *all,
		     struct err *err)
{
	const char *after = "";
	int rc = 1;

	while (rc > 0) {
		if (ctx_check(p->ctx, err) < 0)
			return -ECANCELED;
		rc = read_page(p, io, &after, all);
	}
	if (rc < 0)
		(void)ceph_conn_failed(p->conn, rc, err, "read '" FENCES "'");
	return rc;
}

int fence_records_read(const struct image_place *p, struct fence_records *all, struct err *err)
{
	return read_pool(p, p->io, all, err) < 0 ? -1 : 0;
}

/* NUL-separated, and an empty one behind; malloc'ed. */
static char *list_pools(const struct image_place *p, struct err *err)
{
	size_t cap = POOLS_GUESS;
	char *names = xcalloc(1, cap + 1);
	int rc = p->lib->rados_pool_list(ceph_conn_rados(p->conn), names, cap);

	while (rc >= 0 && (size_t)rc > cap) {
		free(names);
		cap = (size_t)rc * 2;
		names = xcalloc(1, cap + 1);
		rc = p->lib->rados_pool_list(ceph_conn_rados(p->conn), names, cap);
	}
	if (rc >= 0)
		return names;
	free(names);
	(void)ceph_conn_failed(p->conn, rc, err, "list the pools");
	return NULL;
}

static int read_other(const struct image_place *p, const char *name, struct fence_records *all,
		      struct err *err)
{
	rados_ioctx_t io;
	int rc;

	if (ceph_conn_open_pool(p->conn, name, p->cluster.rados_namespace, &io, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* it just went */
	if (p->lib->rados_ioctx_get_id(io) == p->pool_id) {
		p->lib->rados_ioctx_destroy(io);
		return 0;
	}
	vec_push(&all->pools, io);
	rc = read_pool(p, io, all, err);
	if (rc == -EPERM || rc == -EACCES) /* it is not this user's */
		all->unread = arena_strdup(p->ctx->arena, name);
	else if (rc < 0)
		return -1;
	return 0;
}

int fence_records_read_all(const struct image_place *p, struct fence_records *all, struct err *err)
{
	autofree char *names = NULL;

	if (fence_records_read(p, all, err) < 0)
		return -1;
	names = list_pools(p, err);
	if (!names)
		return -1;
	for (const char *name = names; *name; name += strlen(name) + 1) {
		if (read_other(p, name, all, err) < 0)
			return -1;
	}
	return 0;
}

void fence_records_done(const struct image_place *p, struct fence_records *all)
{
	for (size_t i = 0; i < all->pools.n; i++)
		p->lib->rados_ioctx_destroy(all->pools.v[i]);
	vec_done(&all->pools);
	vec_done(&all->v);
}
