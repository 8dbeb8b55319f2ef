/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that are lost write no more.
 *
 *   unpublish of a node that is out of service, and may have the image yet:
 *     record ─► its IP is on the blocklist ─► the image is nobody's any more
 *   publish to it once it is back:
 *     that ends ─► record goes
 *   unpublish of a node that is gone:
 *     its client is on the blocklist ─► the image is nobody's any more
 *
 * The record stands before the fence and goes after it, so that none is without: a fence that
 * nobody knows of would be lifted by nobody. Each step may be done again, and two calls may meet: a
 * record that is written anew is another (fences.c), and who has lifted a fence looks again.
 *
 * It is by IP, since a node that was fenced by the nonce of one client maps again at once. All that
 * share the IP are fenced together, so there has to be a sign that the volume is in use there: a
 * watch, the lock, kubelet's word, or that no unstaging came between (the client is kept with the
 * image, and kubelet has not said that it is without the volume). A node is back when the same
 * machine runs anew, or has none of the volumes any more that it was shut out for: a name is given
 * again, a machine's UUID and the id of its run are not. Others that it uses, as kubelet says it
 * from before they are attached, were nowhere else meanwhile.
 *
 * A node that is gone has nobody who would map again on its behalf, and its IP may be another's by
 * now, so of that one the client alone is fenced, for ever: no nonce comes twice.
 */
#include "backend/rbd/fence.h"

#include <errno.h>
#include <string.h>

#include "backend/ceph/blocklist.h"
#include "base/mem.h"
#include "base/str.h"

#define LOG_ROOM "backend.rbd"
#include "base/log.h"

/* What one call works with. */
struct call {
	struct image_place place;
	const struct backend_use *use;
	const char *token;
	struct backend_node node;
};

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

/* What runs since the same start is the same machine as well. */
static bool is_same_machine(const struct backend_node *node, const struct fence_record *r)
{
	return !node->is_gone && ((r->boot_id[0] && str_is_equal(node->boot_id, r->boot_id)) ||
				  (r->machine[0] && str_is_equal(node->machine, r->machine)));
}

static bool is_back(const struct backend_node *node, const struct fence_record *r)
{
	bool runs_anew =
		node->boot_id[0] && r->boot_id[0] && !str_is_equal(node->boot_id, r->boot_id);

	bool has_it = r->volume[0] ? node->has_volume : node->has_volumes;

	return node->is_ready && !node->is_out_of_service && (runs_anew || !has_it);
}

/* As it is to the record's volume. */
static int look_for(const struct call *c, const struct fence_record *r, const char *name,
		    struct backend_node *ret_node, struct err *err)
{
	const char *volume = str_or(r->volume, c->token);

	if (!str_is_equal(name, c->use->node_id) || !str_is_equal(volume, c->token))
		return c->use->nodes->look(c->use->nodes->arg, c->place.ctx, name, volume, ret_node,
					   err);
	*ret_node = c->node;
	return 0;
}

/* 1: the fence has done its work, as far as the record's machine goes; it may have another name. */
static int is_over(const struct call *c, const struct fence_record *r, struct err *err)
{
	struct backend_node node;

	if (look_for(c, r, r->node, &node, err) < 0 ||
	    (!is_same_machine(&node, r) && look_for(c, r, c->use->node_id, &node, err) < 0))
		return -1;
	return is_same_machine(&node, r) && is_back(&node, r);
}

static int refuse(const struct call *c, const struct fence_record *r, struct err *err)
{
	char address[CEPH_ADDRESS_MAX];

	ceph_address_of_ip(r->ip, address);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "node '%s' may not use cluster '%s': %s is fenced, since node '%s' was "
		       "lost. By hand, once that one is off: ceph osd blocklist rm %s; by itself "
		       "when the same machine is ready, not out of service, and restarted or "
		       "without %s (in its status.volumesInUse)",
		       c->use->node_id, c->place.cluster.id, r->ip, r->node, address,
		       str_or(r->volume, "volumes of this driver"));
}

static int refuse_unread(const struct call *c, const struct fence_records *all, const char *ip,
			 struct err *err)
{
	char address[CEPH_ADDRESS_MAX];

	ceph_address_of_ip(ip, address);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "node '%s' may not use cluster '%s': %s is fenced, and pool '%s', which may "
		       "say why, cannot be read (caps: osd 'allow r pool=%s'). By hand, once all "
		       "that had it are off or back: ceph osd blocklist rm %s",
		       c->use->node_id, c->place.cluster.id, ip, all->unread, all->unread, address);
}

/* Records of one IP are of one fence, which ends when it has done its work for each. */
static int check_over(const struct call *c, const struct fence_records *all, const char *ip,
		      struct err *err)
{
	for (size_t i = 0; i < all->v.n; i++) {
		const struct fence_record *r = &all->v.v[i];
		int over = str_is_equal(r->ip, ip) ? is_over(c, r, err) : 1;

		if (over <= 0)
			return over < 0 ? -1 : refuse(c, r, err);
	}
	return all->unread ? refuse_unread(c, all, ip, err) : 0;
}

static bool has_record(const struct fence_records *all, const struct fence_record *r)
{
	for (size_t i = 0; i < all->v.n; i++) {
		const struct fence_record *had = &all->v.v[i];

		if (str_is_equal(had->key, r->key) && had->n_value == r->n_value &&
		    memcmp(had->value, r->value, r->n_value) == 0)
			return true;
	}
	return false;
}

/* 1: somebody was fenced by that IP after the records were read. */
static int is_fenced_anew(const struct call *c, const struct fence_records *all, const char *ip,
			  struct err *err)
{
	struct fence_records now = { .unread = NULL };
	int rc = fence_records_read_all(&c->place, &now, err);

	for (size_t i = 0; i < now.v.n && rc == 0; i++)
		rc = str_is_equal(now.v.v[i].ip, ip) && !has_record(all, &now.v.v[i]);
	fence_records_done(&c->place, &now);
	return rc;
}

/* In doubt it is as before. */
static int lift(const struct call *c, const struct fence_records *all, const char *ip,
		struct err *err)
{
	const struct image_place *p = &c->place;
	struct err second;
	int rc;

	if (ceph_blocklist_lift(p->conn, p->ctx, ip, err) < 0)
		return -1;
	rc = is_fenced_anew(c, all, ip, err);
	if (rc == 0)
		return 0;
	if (ceph_blocklist_add(p->conn, p->ctx, ip, &second) < 0)
		log_error("an address came off the blocklist, and may have to be on it",
			  log_str("ip", ip), log_str("cluster", p->cluster.id), log_err(&second));
	return rc < 0 ? -1
		      : err_set(err, ERR_ABORTED, "%s was fenced anew just now; try again", ip);
}

static int let_in(const struct call *c, const struct fence_records *all, const char *ip,
		  struct err *err)
{
	const struct image_place *p = &c->place;
	int is_blocked = ceph_blocklist_has(p->conn, p->ctx, ip, err);

	if (is_blocked < 0 ||
	    (is_blocked && (check_over(c, all, ip, err) < 0 || lift(c, all, ip, err) < 0)))
		return -1;
	log_info("node is let in again", log_str("node", c->use->node_id),
		 log_str("cluster", p->cluster.id), log_str("ip", ip));
	for (size_t i = 0; i < all->v.n; i++) {
		if (str_is_equal(all->v.v[i].ip, ip) &&
		    fence_record_forget(p, &all->v.v[i], err) < 0)
			return -1;
	}
	return 0;
}

static int let_in_all(const struct call *c, const struct fence_records *all, struct err *err)
{
	for (size_t i = 0; i < all->v.n; i++) {
		const struct fence_record *r = &all->v.v[i];
		bool is_seen = false;

		for (size_t k = 0; k < i && !is_seen; k++)
			is_seen = str_is_equal(all->v.v[k].ip, r->ip);
		if (!is_seen &&
		    (str_is_equal(r->node, c->use->node_id) || has_address(&c->node, r->ip)) &&
		    let_in(c, all, r->ip, err) < 0)
			return -1;
	}
	return 0;
}

/* As a rule nobody is fenced at all. */
static int look_and_let_in(const struct call *c, struct err *err)
{
	const struct image_place *p = &c->place;
	struct fence_records all = { .unread = NULL };
	int rc = ceph_blocklist_has(p->conn, p->ctx, NULL, err);

	if (rc >= 0)
		rc = (rc ? fence_records_read_all : fence_records_read)(p, &all, err);
	if (rc == 0)
		rc = let_in_all(c, &all, err);
	fence_records_done(p, &all);
	return rc;
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
	rc = look_and_let_in(&c, err);
	image_place_close(&c.place);
	return rc;
}

/* ---- shutting out ---- */

/* The run of which the API server knows is of the machine that it knows. */
static int write_record(const struct call *c, const char *ip, const char *boot_id, struct err *err)
{
	bool is_known = boot_id[0] && str_is_equal(boot_id, c->node.boot_id);

	return fence_record_write(&c->place, ip, c->use->node_id, boot_id,
				  is_known || !boot_id[0] ? c->node.machine : "", c->token, err);
}

/* Of the run that had the image, and of what runs there since: it may have others. */
static int write_records(const struct call *c, const char *ip, const char *boot_id, struct err *err)
{
	bool ran_anew = c->node.boot_id[0] && !str_is_equal(boot_id, c->node.boot_id);

	if (ran_anew && write_record(c, ip, c->node.boot_id, err) < 0)
		return -1;
	return ran_anew && !boot_id[0] ? 0 : write_record(c, ip, boot_id, err);
}

/* Once more afterwards, since it may have been taken for what is left of an earlier one. */
static int shut_out(const struct call *c, const char *ip, const char *boot_id, struct err *err)
{
	const struct image_place *p = &c->place;

	if (write_records(c, ip, boot_id, err) < 0 ||
	    ceph_blocklist_add(p->conn, p->ctx, ip, err) < 0 ||
	    write_records(c, ip, boot_id, err) < 0)
		return -1;
	log_warn("node is fenced: its address may not use the cluster any more",
		 log_str("node", c->use->node_id), log_str("cluster", p->cluster.id),
		 log_str("ip", ip), log_str("volume", c->token));
	return 0;
}

static int shut_out_client(const struct call *c, const char *client, struct err *err)
{
	const struct image_place *p = &c->place;

	if (ceph_blocklist_add(p->conn, p->ctx, client, err) < 0)
		return -1;
	log_warn("node is gone: its client may not use the cluster any more",
		 log_str("node", c->use->node_id), log_str("cluster", p->cluster.id),
		 log_str("client", client), log_str("volume", c->token));
	return 0;
}

static bool is_seen(const struct image_users *users, const char *ip)
{
	for (size_t i = 0; i < users->n_seen; i++) {
		if (str_is_equal(users->seen[i].ip, ip))
			return true;
	}
	return false;
}

static bool is_noted_here(const struct call *c, const struct image_users *users)
{
	return users->is_noted && str_is_equal(users->noted.node, c->use->node_id);
}

static int refuse_unknown(const struct call *c, const char *image, const char *address,
			  struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "node '%s' is gone, and client %s, which has image '%s' open, may be its: "
		       "this goes on when that one has let go or, if it is its, is shut out: "
		       "ceph osd blocklist add %s",
		       c->use->node_id, address, image_spec(&c->place, image), address);
}

/* Whoever has it has to be shut out already. */
static int check_seen(const struct call *c, const char *image, const struct image_users *users,
		      struct err *err)
{
	const struct image_place *p = &c->place;

	for (size_t i = 0; i < users->n_seen; i++) {
		const struct image_user *u = &users->seen[i];
		int is_out = ceph_blocklist_has(p->conn, p->ctx, u->address, err);

		if (is_out == 0 && u->ip[0])
			is_out = ceph_blocklist_has(p->conn, p->ctx, u->ip, err);
		if (is_out <= 0)
			return is_out < 0 ? -1 : refuse_unknown(c, image, u->address, err);
	}
	return 0;
}

/* The client that the image names, and what else is seen at it from there. */
static int shut_out_gone(const struct call *c, const char *image, const struct image_users *users,
			 struct err *err)
{
	char ip[CEPH_IP_MAX] = "", client[CEPH_ADDRESS_MAX];

	if (!users->is_noted)
		return check_seen(c, image, users, err);
	if (!is_noted_here(c, users))
		return 0; /* which was given it after this one had let go */
	(void)ceph_address_ip(users->noted.address, ip); /* it is one: it was parsed */
	if (ceph_address_client(users->noted.address, client) < 0)
		return shut_out(c, ip, users->noted.boot_id, err);
	if (shut_out_client(c, client, err) < 0)
		return -1;
	for (size_t i = 0; i < users->n_seen; i++) {
		if (str_is_equal(users->seen[i].ip, ip) &&
		    ceph_address_client(users->seen[i].address, client) == 0 &&
		    shut_out_client(c, client, err) < 0)
			return -1;
	}
	return 0;
}

/* Of whoever is seen at it, those who are the node by what the CO calls its addresses. */
static int shut_out_seen(const struct call *c, const struct image_users *users, const char *but,
			 bool *ret_is_any, struct err *err)
{
	for (size_t i = 0; i < users->n_seen; i++) {
		const char *ip = users->seen[i].ip;

		if (!ip[0] || str_is_equal(ip, but) || !has_address(&c->node, ip))
			continue;
		if (shut_out(c, ip, c->node.boot_id, err) < 0)
			return -1;
		*ret_is_any = true;
	}
	return 0;
}

/* 1: it was fenced before, and what told of it is gone. */
static int is_fenced(const struct call *c, struct err *err)
{
	const struct image_place *p = &c->place;
	struct fence_records all = { .unread = NULL };
	int rc = fence_records_read(p, &all, err);

	for (size_t i = 0; i < all.v.n && rc == 0; i++) {
		if (str_is_equal(all.v.v[i].node, c->use->node_id))
			rc = ceph_blocklist_has(p->conn, p->ctx, all.v.v[i].ip, err);
	}
	fence_records_done(p, &all);
	return rc;
}

/* Kubelet says that it has the volume, and the image says of nobody where: of a client that was
 * silent for long, and was mapped by another program, or to be read alone. */
static int shut_out_addresses(const struct call *c, struct err *err)
{
	char ip[CEPH_IP_MAX];
	bool is_any = false;
	int rc = is_fenced(c, err);

	for (size_t i = 0; i < c->node.n_addresses && rc == 0; i++) {
		if (ceph_address_ip(c->node.addresses[i], ip) < 0)
			continue;
		rc = shut_out(c, ip, c->node.boot_id, err);
		is_any = true;
	}
	if (rc == 0 && !is_any)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "node '%s' is out of service and says that it has the volume, and "
			       "nothing tells from which address: once the machine is certainly "
			       "off, delete the Node",
			       c->use->node_id);
	return rc < 0 ? -1 : 0;
}

static int shut_out_node(const struct call *c, const struct image_users *users, struct err *err)
{
	char ip[CEPH_IP_MAX] = "";
	bool is_any = false;

	if (is_noted_here(c, users))
		(void)ceph_address_ip(users->noted.address, ip); /* it is one: it was parsed */
	if (ip[0] && (c->node.has_volume || is_seen(users, ip))) {
		if (shut_out(c, ip, users->noted.boot_id, err) < 0)
			return -1;
		is_any = true;
	}
	if (shut_out_seen(c, users, is_any ? ip : "", &is_any, err) < 0)
		return -1;
	return is_any || users->is_noted || !c->node.has_volume ? 0 : shut_out_addresses(c, err);
}

static int unpublish_lost(const struct call *c, const char *image, const struct image_users *users,
			  struct err *err)
{
	struct image_users after;

	if (users->is_note_strange)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "node '%s' is lost, and it is not understood which client has the "
			       "image; once it is off: rbd image-meta remove %s " IMAGE_CLIENT_WORD,
			       c->use->node_id, image_spec(&c->place, image));
	if ((c->node.is_gone ? shut_out_gone(c, image, users, err) : shut_out_node(c, users, err)) <
	    0)
		return -1;
	/* where its header is, the image's OSD knows by the time it has answered */
	if (image_users_look(&c->place, image, &after, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return is_noted_here(c, users)
		       ? image_client_forget(&c->place, users->id, &users->noted, err)
		       : 0;
}

/* As it is after each unstaging. */
static int unpublish_well(const struct call *c, const struct image_users *users, struct err *err)
{
	if (!is_noted_here(c, users) || c->node.has_volume)
		return 0;
	return image_client_forget(&c->place, users->id, &users->noted, err);
}

static bool is_lost(const struct backend_node *node)
{
	return node->is_gone || node->is_out_of_service;
}

/* NOT_FOUND: there is no such image. */
static int find_users(const struct call *c, const char **ret_image, struct image_users *ret_users,
		      struct err *err)
{
	struct ceph_handle handle;

	return ceph_handle_parse(c->token, &handle, err) < 0 ||
			       image_place_name_image(&c->place, handle.uuid, ret_image, err) < 0 ||
			       image_users_look(&c->place, *ret_image, ret_users, err) < 0
		       ? -1
		       : 0;
}

/* What is not there is nowhere in use; of all else "not found" is an error like any. */
static int unpublish(struct call *c, struct err *err)
{
	struct image_users users;
	const char *image;

	if (find_users(c, &image, &users, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return is_lost(&c->node) ? unpublish_lost(c, image, &users, err)
				 : unpublish_well(c, &users, err);
}

static int open_and_unpublish(struct backend *b, struct ctx *ctx, struct call *c, struct err *err)
{
	int rc;

	if (open_place(b, ctx, c, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = unpublish(c, err);
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
	if (open_and_unpublish(b, ctx, &c, err) == 0)
		return 0;
	if (is_lost(&c.node))
		return -1;
	log_debug("the image's metadata still names its client", log_str("volume", token),
		  log_err(err));
	return 0;
}
