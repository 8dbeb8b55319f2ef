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

static const char key[] = META_PREFIX IMAGE_CLIENT_WORD;

static int change(const struct ceph_lib *lib, rados_ioctx_t io, const char *id, rados_write_op_t op)
{
	autofree char *header = xasprintf("rbd_header.%s", id);

	return lib->rados_write_op_operate(op, io, header, NULL, 0);
}

static int failed(const struct image_place *p, int rc, const char *id, struct err *err)
{
	return ceph_conn_failed(p->conn, rc, err, "write the metadata of image '%s'", id);
}

int image_client_set(const struct image_place *p, const char *id, const struct ceph_client *client,
		     struct err *err)
{
	const char *keys = key, *value;
	char text[CEPH_CLIENT_MAX];
	rados_write_op_t op;
	size_t n;
	int rc;

	if (ceph_client_format(client, text) < 0)
		return err_set(err, ERR_INTERNAL,
			       "node '%s' at '%s' cannot be kept with an image: no name, or no "
			       "address",
			       client->node, client->address);
	if (ctx_check(p->ctx, err) < 0)
		return -1;
	value = text;
	n = strlen(text);
	op = p->lib->rados_create_write_op();
	p->lib->rados_write_op_assert_exists(op);
	p->lib->rados_write_op_omap_set(op, &keys, &value, &n, 1);
	rc = change(p->lib, p->io, id, op);
	p->lib->rados_release_write_op(op);
	return rc < 0 ? failed(p, rc, id, err) : 0;
}

int image_client_drop(const struct ceph_lib *lib, rados_ioctx_t io, const char *id,
		      const struct ceph_client *client)
{
	const char *keys = key;
	char text[CEPH_CLIENT_MAX];
	rados_write_op_t op;
	int rc;

	if (ceph_client_format(client, text) < 0)
		return -EINVAL;
	op = lib->rados_create_write_op();
	lib->rados_write_op_assert_exists(op);
	lib->rados_write_op_omap_cmp(op, key, LIBRADOS_CMPXATTR_OP_EQ, text, strlen(text), NULL);
	lib->rados_write_op_omap_rm_keys(op, &keys, 1);
	rc = change(lib, io, id, op);
	lib->rados_release_write_op(op);
	/* it is gone with its image, or another's */
	return rc == -ENOENT || rc == -ECANCELED ? 0 : rc;
}

int image_client_forget(const struct image_place *p, const char *id,
			const struct ceph_client *client, struct err *err)
{
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = image_client_drop(p->lib, p->io, id, client);
	return rc < 0 ? failed(p, rc, id, err) : 0;
}

int image_client_read(const struct ceph_lib *lib, rbd_image_t open, struct ceph_client *ret_client)
{
	char text[CEPH_CLIENT_MAX] = "";
	size_t n = sizeof(text) - 1;
	int rc = lib->rbd_metadata_get(open, IMAGE_CLIENT_WORD, text, &n);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc == -ERANGE ? -EBADMSG : rc;
	return ceph_client_parse(text, ret_client) < 0 ? -EBADMSG : 1;
}

struct seen {
	struct arena *arena;
	VEC(struct image_user) v;
};

static void add(struct seen *seen, const char *address)
{
	char ip[CEPH_IP_MAX] = "";

	(void)ceph_address_ip(address, ip); /* "": at none that is known */
	for (size_t i = 0; i < seen->v.n; i++) {
		if (str_is_equal(seen->v.v[i].address, address))
			return;
	}
	vec_push(&seen->v, ((struct image_user){ .address = arena_strdup(seen->arena, address),
						 .ip = arena_strdup(seen->arena, ip) }));
}

static int look_at_watchers(const struct ceph_lib *lib, rbd_image_t open, struct seen *seen)
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
			add(seen, list[i].addr);
		lib->rbd_watchers_list_cleanup(list, max);
	}
	free(list);
	return rc;
}

/* The exclusive lock is one of those that rbd lock ls shows. */
static int look_at_lock(const struct ceph_lib *lib, rbd_image_t open, struct seen *seen)
{
	char tag[256], clients[LOCKERS_MAX], cookies[LOCKERS_MAX], addresses[LOCKERS_MAX];
	size_t n_tag = sizeof(tag), n_clients = sizeof(clients), n_cookies = sizeof(cookies);
	size_t n_addresses = sizeof(addresses);
	const char *at = addresses;
	int exclusive = 0;
	ssize_t n = lib->rbd_list_lockers(open, &exclusive, tag, &n_tag, clients, &n_clients,
					  cookies, &n_cookies, addresses, &n_addresses);

	if (n < 0)
		return (int)n;
	for (ssize_t i = 0; i < n && at < addresses + n_addresses; i++, at += strlen(at) + 1)
		add(seen, at);
	return 0;
}

static int look(const struct image_place *p, rbd_image_t open, struct image_users *users)
{
	struct seen seen = { .arena = p->ctx->arena };
	int rc = p->lib->rbd_get_id(open, users->id, sizeof(users->id));
	struct image_user *all;

	if (rc == 0)
		rc = look_at_watchers(p->lib, open, &seen);
	if (rc == 0)
		rc = look_at_lock(p->lib, open, &seen);
	if (rc == 0)
		rc = image_client_read(p->lib, open, &users->noted);
	users->is_noted = rc == 1;
	users->is_note_strange = rc == -EBADMSG;
	all = arena_array(p->ctx->arena, seen.v.n + 1, sizeof(*all));
	if (seen.v.n > 0)
		memcpy(all, seen.v.v, seen.v.n * sizeof(*all));
	users->seen = all;
	users->n_seen = seen.v.n;
	vec_done(&seen.v);
	return rc == 1 || rc == -EBADMSG ? 0 : rc;
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
	if (rc == -ENOENT)
		return image_refuse_missing(p, name, err);
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "ask who has image '%s'",
					image_spec(p, name));
	*ret_users = users;
	return 0;
}
