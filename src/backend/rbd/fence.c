/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that are lost write no more.
 *
 *   unpublish of a node that is gone or out of service, and may have the image yet:
 *     record ─► blocklist ─► the image is nobody's any more
 *   publish to it once it is back:
 *     blocklist ends ─► record goes
 *
 * The record stands before the fence and goes after it, so that none is without: a fence that
 * nobody knows of would be lifted by nobody. Each step may be done again.
 *
 * It is by IP, since a node that was fenced by the nonce of one client maps again at once. All that
 * share the IP are fenced together, so there has to be a sign that the volume is in use there: a
 * watch, the lock, or that no unstaging came between (the client is kept with the image, and
 * kubelet has not said that it is without the volume). A node is back when it runs anew, or has no
 * volume of ours any more. Of one that is gone the IP may have become another's: then that one says
 * so.
 */
#include "backend/rbd/fence.h"

#include <errno.h>
#include <string.h>

#include "backend/ceph/blocklist.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define LOG_ROOM "backend.rbd"
#include "base/log.h"

#define FENCES "cleat.fences"
#define NO_BOOT "-"
#define FENCES_MAX 1024
#define POOLS_GUESS 4096

/* In the arena. */
struct record {
	rados_ioctx_t io; /* of the pool that has it */
	const char *ip, *node, *boot_id;
};

struct records {
	struct arena *arena;
	VEC(struct record) v;
	VEC(rados_ioctx_t) pools; /* that were opened for it */
};

static const char *key_of(struct arena *a, const char *ip, const char *node)
{
	return arena_printf(a, "%s/%s", ip, node);
}

static int write_record(const struct image_place *p, const char *ip, const char *node,
			const char *boot_id, struct err *err)
{
	const char *key = key_of(p->ctx->arena, ip, node);
	const char *value = str_or(boot_id, NO_BOOT);
	rados_write_op_t op;
	size_t n = strlen(value);
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
	rc = p->lib->rados_write_op_operate(op, p->io, FENCES, NULL, 0);
	p->lib->rados_release_write_op(op);
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "write '" FENCES "'") : 0;
}

static int remove_record(const struct image_place *p, const struct record *r, struct err *err)
{
	const char *key = key_of(p->ctx->arena, r->ip, r->node);
	rados_write_op_t op;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_omap_rm_keys(op, &key, 1);
	rc = p->lib->rados_write_op_operate(op, r->io, FENCES, NULL, 0);
	p->lib->rados_release_write_op(op);
	return rc < 0 && rc != -ENOENT ? ceph_conn_failed(p->conn, rc, err, "write '" FENCES "'")
				       : 0;
}

static void take_records(struct records *all, const struct ceph_lib *lib, rados_ioctx_t io,
			 rados_omap_iter_t it)
{
	char *key, *value;
	size_t n;

	while (lib->rados_omap_get_next(it, &key, &value, &n) == 0 && key) {
		const char *slash = strchr(key, '/');
		struct record r = { .io = io };

		if (!slash || n >= UUID_TEXT_MAX)
			continue; /* of another program */
		r.ip = arena_strndup(all->arena, key, (size_t)(slash - key));
		r.node = arena_strdup(all->arena, slash + 1);
		r.boot_id = arena_strndup(all->arena, value, n);
		vec_push(&all->v, r);
	}
}

static int read_records(const struct image_place *p, rados_ioctx_t io, struct records *all,
			struct err *err)
{
	unsigned char more = 0;
	rados_omap_iter_t it;
	rados_read_op_t op;
	int rc, part = 0;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	op = p->lib->rados_create_read_op();
	p->lib->rados_read_op_omap_get_vals2(op, "", "", FENCES_MAX, &it, &more, &part);
	rc = p->lib->rados_read_op_operate(op, io, FENCES, 0);
	rc = rc < 0 ? rc : part;
	if (rc == 0)
		take_records(all, p->lib, io, it);
	p->lib->rados_omap_get_end(it);
	p->lib->rados_release_read_op(op);
	/* other pools may not be this user's */
	if (rc == 0 || rc == -ENOENT || (io != p->io && (rc == -EPERM || rc == -EACCES)))
		return 0;
	return ceph_conn_failed(p->conn, rc, err, "read '" FENCES "'");
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

static int read_other_records(const struct image_place *p, struct records *all, struct err *err)
{
	autofree char *names = list_pools(p, err);
	rados_ioctx_t io;

	if (!names)
		return -1;
	for (const char *name = names; *name; name += strlen(name) + 1) {
		if (ceph_conn_open_pool(p->conn, name, p->cluster.rados_namespace, &io, err) < 0) {
			if (err->code == ERR_NOT_FOUND)
				continue; /* it just went */
			return -1;
		}
		if (p->lib->rados_ioctx_get_id(io) == p->pool_id) {
			p->lib->rados_ioctx_destroy(io);
			continue;
		}
		vec_push(&all->pools, io);
		if (read_records(p, io, all, err) < 0)
			return -1;
	}
	return 0;
}

/* A node is fenced for whichever volume was seen there first, so any pool may have the record. As a
 * rule nobody is fenced at all. */
static int read_all_records(const struct image_place *p, struct records *all, struct err *err)
{
	int has_any = ceph_blocklist_has(p->conn, p->ctx, NULL, err);

	if (has_any < 0 || read_records(p, p->io, all, err) < 0)
		return -1;
	return has_any ? read_other_records(p, all, err) : 0;
}

static void records_done(const struct image_place *p, struct records *all)
{
	for (size_t i = 0; i < all->pools.n; i++)
		p->lib->rados_ioctx_destroy(all->pools.v[i]);
	vec_done(&all->pools);
	vec_done(&all->v);
}

static bool has_address(const struct backend_node *node, const char *ip)
{
	char own[CEPH_IP_MAX];

	for (size_t i = 0; i < node->n_addresses; i++) {
		if (ceph_address_ip(node->addresses[i], own) == 0 && str_is_equal(own, ip))
			return true;
	}
	return false;
}

/* ---- letting in ---- */

/* What one call works with. */
struct call {
	struct image_place place;
	const struct backend_use *use;
	const char *token;
	struct backend_node node;
};

static bool runs_anew(const struct backend_node *node, const char *boot_id)
{
	return node->boot_id[0] && !str_is_equal(boot_id, NO_BOOT) &&
	       !str_is_equal(node->boot_id, boot_id);
}

/* 1: the fence has done its work, as far as the record's node goes. */
static int is_over(const struct call *c, const struct record *r, struct err *err)
{
	struct backend_node node = c->node;

	if (!str_is_equal(r->node, c->use->node_id) &&
	    c->use->nodes->look(c->use->nodes->arg, c->place.ctx, r->node, c->token, &node, err) <
		    0)
		return -1;
	if (!node.is_gone)
		return node.is_ready && !node.is_out_of_service &&
		       (runs_anew(&node, r->boot_id) || !node.has_volumes);
	/* its IP is this node's now */
	return c->node.is_ready && has_address(&c->node, r->ip) &&
	       !str_is_equal(c->node.boot_id, r->boot_id);
}

static int refuse(const struct call *c, const struct record *r, struct err *err)
{
	char address[CEPH_ADDRESS_MAX];

	ceph_address_of_ip(r->ip, address);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "node '%s' may not use cluster '%s': its address %s is fenced, since node "
		       "'%s' was lost; that ends when that one is ready, not out of service, and "
		       "has restarted or has no volume of this driver any more (by hand: ceph osd "
		       "blocklist rm %s)",
		       c->use->node_id, c->place.cluster.id, r->ip, r->node, address);
}

/* Records of one IP are of one fence, which ends when it has done its work for each. */
static int let_in(const struct call *c, const struct records *all, const char *ip, struct err *err)
{
	const struct image_place *p = &c->place;
	int is_blocked = ceph_blocklist_has(p->conn, p->ctx, ip, err);

	for (size_t i = 0; i < all->v.n && is_blocked > 0; i++) {
		const struct record *r = &all->v.v[i];
		int over = str_is_equal(r->ip, ip) ? is_over(c, r, err) : 1;

		if (over <= 0)
			return over < 0 ? -1 : refuse(c, r, err);
	}
	if (is_blocked < 0 || (is_blocked && ceph_blocklist_lift(p->conn, p->ctx, ip, err) < 0))
		return -1;
	log_info("node is let in again", log_str("node", c->use->node_id),
		 log_str("cluster", p->cluster.id), log_str("ip", ip));
	for (size_t i = 0; i < all->v.n; i++) {
		if (str_is_equal(all->v.v[i].ip, ip) && remove_record(p, &all->v.v[i], err) < 0)
			return -1;
	}
	return 0;
}

static int let_in_all(const struct call *c, const struct records *all, struct err *err)
{
	for (size_t i = 0; i < all->v.n; i++) {
		const struct record *r = &all->v.v[i];

		if ((str_is_equal(r->node, c->use->node_id) || has_address(&c->node, r->ip)) &&
		    let_in(c, all, r->ip, err) < 0)
			return -1;
	}
	return 0;
}

static int look_at_node(struct ctx *ctx, const char *token, const struct backend_use *use,
			struct backend_node *ret_node, struct err *err)
{
	return use->nodes->look(use->nodes->arg, ctx, use->node_id, token, ret_node, err);
}

static int open_place(struct backend *b, struct ctx *ctx, struct call *c, struct err *err)
{
	struct ceph_handle handle;

	if (ceph_handle_parse(c->token, &handle, err) < 0)
		return -1;
	return image_place_open_handle(images_of(b), ctx, &handle, c->use->secrets, &c->place, err);
}

static bool has_secrets(const struct backend_use *use)
{
	return use->secrets && use->secrets->map.n > 0;
}

int image_publish(struct backend *b, struct ctx *ctx, const char *token,
		  const struct backend_use *use, struct err *err)
{
	struct records all = { .arena = ctx->arena };
	struct call c = { .use = use, .token = token };
	int rc;

	if (look_at_node(ctx, token, use, &c.node, err) < 0)
		return -1;
	if (c.node.is_gone)
		return err_set(err, ERR_NOT_FOUND, "there is no node '%s'", use->node_id);
	if (!has_secrets(use))
		return 0;
	if (open_place(b, ctx, &c, err) < 0)
		return -1;
	rc = read_all_records(&c.place, &all, err);
	if (rc == 0)
		rc = let_in_all(&c, &all, err);
	records_done(&c.place, &all);
	image_place_close(&c.place);
	return rc;
}

/* ---- shutting out ---- */

static int shut_out(const struct call *c, const char *ip, const char *boot_id, struct err *err)
{
	const struct image_place *p = &c->place;

	if (write_record(p, ip, c->use->node_id, boot_id, err) < 0 ||
	    ceph_blocklist_add(p->conn, p->ctx, ip, err) < 0)
		return -1;
	log_warn("node is fenced: its address may not use the cluster any more",
		 log_str("node", c->use->node_id), log_str("cluster", p->cluster.id),
		 log_str("ip", ip), log_str("volume", c->token));
	return 0;
}

static bool is_seen(const struct image_users *users, const char *ip)
{
	for (size_t i = 0; i < users->n_ips; i++) {
		if (str_is_equal(users->ips[i], ip))
			return true;
	}
	return false;
}

static bool is_noted_here(const struct call *c, const struct image_users *users)
{
	return users->is_noted && str_is_equal(users->noted.node, c->use->node_id);
}

/* Of whoever is seen at it, those who are the node by what the CO calls its addresses. */
static int shut_out_seen(const struct call *c, const struct image_users *users, const char *but,
			 struct err *err)
{
	for (size_t i = 0; i < users->n_ips; i++) {
		const char *ip = users->ips[i];

		if (!str_is_equal(ip, but) && has_address(&c->node, ip) &&
		    shut_out(c, ip, c->node.boot_id, err) < 0)
			return -1;
	}
	return 0;
}

static int unpublish_lost(const struct call *c, const char *image, const struct image_users *users,
			  struct err *err)
{
	char ip[CEPH_IP_MAX] = "";
	struct image_users after;
	bool may_have_it;

	if (is_noted_here(c, users))
		(void)ceph_address_ip(users->noted.address, ip); /* it is one: it was parsed */
	may_have_it = ip[0] && (c->node.is_gone || c->node.has_volume || is_seen(users, ip));
	if (may_have_it && shut_out(c, ip, users->noted.boot_id, err) < 0)
		return -1;
	if (shut_out_seen(c, users, may_have_it ? ip : "", err) < 0)
		return -1;
	/* where its header is, the image's OSD knows by the time it has answered */
	if (image_users_look(&c->place, image, &after, err) < 0)
		return -1;
	if (!ip[0] && c->node.is_gone && users->n_ips > 0)
		log_warn("node is gone and was not fenced: nothing tells whether the client that "
			 "has the image open is its",
			 log_str("node", c->use->node_id), log_str("volume", c->token),
			 log_str("ip", users->ips[0]));
	return ip[0] ? image_client_forget(&c->place, users->id, err) : 0;
}

/* As it is after each unstaging. */
static int unpublish_well(const struct call *c, const struct image_users *users, struct err *err)
{
	if (!is_noted_here(c, users) || c->node.has_volume)
		return 0;
	return image_client_forget(&c->place, users->id, err);
}

static bool is_lost(const struct backend_node *node)
{
	return node->is_gone || node->is_out_of_service;
}

static int unpublish(struct backend *b, struct call *c, struct ctx *ctx, struct err *err)
{
	struct ceph_journal journal;
	struct ceph_handle handle;
	struct ceph_entry entry;
	struct image_users users;
	int rc;

	if (ceph_handle_parse(c->token, &handle, err) < 0 || open_place(b, ctx, c, err) < 0)
		return -1;
	journal = image_place_journal(&c->place, CEPH_JOURNAL_VOLUMES);
	rc = ceph_journal_read(&journal, ctx, handle.uuid, &entry, err);
	if (rc == 0)
		rc = image_users_look(&c->place, entry.image, &users, err);
	if (rc == 0)
		rc = is_lost(&c->node) ? unpublish_lost(c, entry.image, &users, err)
				       : unpublish_well(c, &users, err);
	image_place_close(&c->place);
	return rc;
}

int image_unpublish(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_use *use, struct err *err)
{
	struct call c = { .use = use, .token = token };

	if (!use->node_id[0])
		return ctx_check(ctx, err); /* of no node in particular */
	if (look_at_node(ctx, token, use, &c.node, err) < 0)
		return -1;
	if (!has_secrets(use)) { /* nothing says which user of the cluster may fence */
		if (is_lost(&c.node))
			log_warn("node is lost and not fenced: the volume's class names no "
				 "controller-publish-secret",
				 log_str("node", use->node_id), log_str("volume", token));
		return 0;
	}
	if (unpublish(b, &c, ctx, err) == 0 || err->code == ERR_NOT_FOUND)
		return 0; /* what is not there is nowhere in use */
	if (is_lost(&c.node))
		return -1;
	log_debug("the image's metadata still names its client", log_str("volume", token),
		  log_err(err));
	return 0;
}
