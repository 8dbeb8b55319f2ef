/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which client has an image, and who else is seen at it.
 *
 * The watch of a client is forgotten 30 s after it was heard last, its lock stays until somebody
 * takes it, and what is kept in the metadata until the node has let go of the volume. Of images
 * without exclusive-lock, which is ceph-csi's default, the last is all that tells of a node which
 * has been away for longer.
 *
 * librbd's own way to write metadata asks whoever has the exclusive lock for it, and a client that
 * was mapped with "exclusive" never gives it away. Metadata are keys of the omap of the image's
 * header (cls_rbd: "metadata_" and the name), so one is written there, if the header is there.
 */
#include "backend/rbd/fence.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define WATCHERS_GUESS 16
#define TRIES 8
#define LOCKERS_MAX 4096
#define META_PREFIX "metadata_"

static const char *header_of(const struct image_place *p, const char *id)
{
	return arena_printf(p->ctx->arena, "rbd_header.%s", id);
}

static int change(const struct image_place *p, const char *id, rados_write_op_t op, struct err *err)
{
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rados_write_op_operate(op, p->io, header_of(p, id), NULL, 0);
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "write the metadata of image '%s'", id)
		      : 0;
}

int image_client_set(const struct image_place *p, const char *id, const struct ceph_client *client,
		     struct err *err)
{
	static const char *const key = META_PREFIX IMAGE_CLIENT_WORD;
	char text[CEPH_CLIENT_MAX];
	const char *value = text;
	rados_write_op_t op;
	size_t n;
	int rc;

	if (ceph_client_format(client, text) < 0)
		return err_set(err, ERR_INTERNAL,
			       "node '%s' at '%s' cannot be kept with an image: no name, or no "
			       "address",
			       client->node, client->address);
	n = strlen(text);
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_assert_exists(op);
	p->lib->rados_write_op_omap_set(op, &key, &value, &n, 1);
	rc = change(p, id, op, err);
	p->lib->rados_release_write_op(op);
	return rc;
}

int image_client_forget(const struct image_place *p, const char *id, struct err *err)
{
	static const char *const key = META_PREFIX IMAGE_CLIENT_WORD;
	rados_write_op_t op = p->lib->rados_create_write_op();
	int rc;

	p->lib->rados_write_op_assert_exists(op);
	p->lib->rados_write_op_omap_rm_keys(op, &key, 1);
	rc = change(p, id, op, err);
	p->lib->rados_release_write_op(op);
	return rc < 0 && err->code != ERR_NOT_FOUND ? -1 : 0;
}

bool image_client_read(const struct ceph_lib *lib, rbd_image_t open, struct ceph_client *ret_client)
{
	char text[CEPH_CLIENT_MAX] = "";
	size_t n = sizeof(text) - 1;

	return lib->rbd_metadata_get(open, IMAGE_CLIENT_WORD, text, &n) >= 0 &&
	       ceph_client_parse(text, ret_client) == 0;
}

struct ips {
	struct arena *arena;
	VEC(const char *) v;
};

static void add_ip(struct ips *ips, const char *address)
{
	char ip[CEPH_IP_MAX];

	if (ceph_address_ip(address, ip) < 0)
		return;
	for (size_t i = 0; i < ips->v.n; i++) {
		if (str_is_equal(ips->v.v[i], ip))
			return;
	}
	vec_push(&ips->v, arena_strdup(ips->arena, ip));
}

static int look_at_watchers(const struct ceph_lib *lib, rbd_image_t open, struct ips *ips)
{
	rbd_image_watcher_t *list = NULL;
	size_t max = WATCHERS_GUESS;
	int rc = -ERANGE;

	for (int i = 0; i < TRIES && rc == -ERANGE; i++) {
		free(list);
		list = xcalloc(max + 1, sizeof(*list));
		rc = lib->rbd_watchers_list(open, list, &max);
	}
	if (rc == 0) {
		for (size_t i = 0; i < max; i++)
			add_ip(ips, list[i].addr);
		lib->rbd_watchers_list_cleanup(list, max);
	}
	free(list);
	return rc;
}

/* The exclusive lock is one of those that rbd lock ls shows. */
static int look_at_lock(const struct ceph_lib *lib, rbd_image_t open, struct ips *ips)
{
	char tag[256], clients[LOCKERS_MAX], cookies[LOCKERS_MAX], addresses[LOCKERS_MAX];
	size_t n_tag = sizeof(tag), n_clients = sizeof(clients), n_cookies = sizeof(cookies);
	size_t n_addresses = sizeof(addresses);
	const char *at = addresses;
	int exclusive = 0;
	ssize_t n = lib->rbd_list_lockers(open, &exclusive, tag, &n_tag, clients, &n_clients,
					  cookies, &n_cookies, addresses, &n_addresses);

	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	for (ssize_t i = 0; i < n && at < addresses + n_addresses; i++, at += strlen(at) + 1)
		add_ip(ips, at);
	return 0;
}

static int look(const struct image_place *p, rbd_image_t open, struct image_users *users)
{
	struct ips ips = { .arena = p->ctx->arena };
	int rc = p->lib->rbd_get_id(open, users->id, sizeof(users->id));

	if (rc == 0)
		rc = look_at_watchers(p->lib, open, &ips);
	if (rc == 0)
		rc = look_at_lock(p->lib, open, &ips);
	users->is_noted = image_client_read(p->lib, open, &users->noted);
	users->n_ips = ips.v.n;
	users->ips = arena_array(p->ctx->arena, ips.v.n + 1, sizeof(*users->ips));
	if (ips.v.n > 0)
		memcpy(users->ips, ips.v.v, ips.v.n * sizeof(*users->ips));
	vec_done(&ips.v);
	return rc;
}

int image_users_look(const struct image_place *p, const char *name, struct image_users *ret_users,
		     struct err *err)
{
	struct image_users users = { .id = "" };
	rbd_image_t open;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_open_read_only(p->io, name, &open, NULL);
	if (rc == 0) {
		rc = look(p, open, &users);
		(void)p->lib->rbd_close(open); /* nothing was changed */
	}
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "ask who has image '%s'",
					image_spec(p, name));
	*ret_users = users;
	return 0;
}
