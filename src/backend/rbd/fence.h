/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_FENCE_H
#define BACKEND_RBD_FENCE_H

#include "backend/rbd/image.h"
#include "volume/ceph_client.h"

/*
 * Which client has an image, kept in its metadata from before it is used (client.c); and the fences
 * of nodes that are lost (fence.c), kept in the pool in an object's omap:
 *
 *     cleat.fences     10.98.0.11/worker-3 = the boot_id that it had, or "-"
 *
 * The metadata dies with its image, and the fence outlives it.
 */
#define IMAGE_CLIENT_WORD "cleat/client"

/* client.c */
/* Written past librbd, which would take the image's lock for it away from who has it. id: the
 * image's. Idempotent. */
int image_client_set(const struct image_place *p, const char *id, const struct ceph_client *client,
		     struct err *err);
int image_client_forget(const struct image_place *p, const char *id, struct err *err);

/* Who may have an image open for writing, as far as the cluster knows. */
struct image_users {
	char id[IMAGE_ID_MAX];
	bool is_noted;
	struct ceph_client noted;
	const char **ips; /* of watchers and of who has its lock; in the arena, each once */
	size_t n_ips;
};
/* NOT_FOUND and ABORTED as of image_look. */
int image_users_look(const struct image_place *p, const char *name, struct image_users *ret_users,
		     struct err *err);
/* The client that is kept with an open image; false: none, or no text of ours. */
bool image_client_read(const struct ceph_lib *lib, rbd_image_t open,
		       struct ceph_client *ret_client);

#endif
