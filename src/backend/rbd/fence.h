/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_FENCE_H
#define BACKEND_RBD_FENCE_H

#include "backend/rbd/image.h"
#include "base/vec.h"
#include "volume/ceph_client.h"

/*
 * Which client has an image, kept in its metadata from before it is used (client.c); and the fences
 * of nodes that are lost (fence.c), kept in the pool in an object's omap (fences.c):
 *
 *     cleat.fences     10.98.0.11/worker-3/BOOT/VOLUME = MACHINE STAMP
 *
 * BOOT is the boot_id that the node had, MACHINE the UUID of its firmware, "-" where they are not
 * known; VOLUME the handle of one that it was shut out for; STAMP is another each time it is
 * written. Earlier versions wrote IP/NODE/BOOT = MACHINE STAMP, and before that IP/NODE = BOOT. The
 * metadata dies with its image, and the fence outlives it.
 */
#define IMAGE_CLIENT_WORD "cleat/client"

/* client.c */
/* Written past librbd, which would take the image's lock for it away from who has it. id: the
 * image's. Idempotent. */
int image_client_set(const struct image_place *p, const char *id, const struct ceph_client *client,
		     struct err *err);
/* Unless it names another by now. */
int image_client_forget(const struct image_place *p, const char *id,
			const struct ceph_client *client, struct err *err);
/* The same without a connection of ours: 0 or -errno. */
int image_client_drop(const struct ceph_lib *lib, rados_ioctx_t io, const char *id,
		      const struct ceph_client *client);

/* Who may have an image open for writing, as far as the cluster knows. */
struct image_user {
	const char *address; /* of its client, as the cluster says it */
	const char *ip;
};
struct image_users {
	char id[IMAGE_ID_MAX];
	bool is_noted;
	bool is_note_strange; /* it names somebody in words that are not understood */
	struct ceph_client noted;
	const struct image_user *seen; /* watchers and who has its lock; in the arena, each once */
	size_t n_seen;
};
/* NOT_FOUND and ABORTED as of image_look: what could not be asked is never taken for nobody. */
int image_users_look(const struct image_place *p, const char *name, struct image_users *ret_users,
		     struct err *err);
/* The client that is kept with an open image: 1; 0: none; -EBADMSG: no text of ours; -errno. */
int image_client_read(const struct ceph_lib *lib, rbd_image_t open, struct ceph_client *ret_client);

/* fences.c */
struct fence_record {
	rados_ioctx_t io; /* of the pool that has it */
	const char *ip, *node;
	const char *boot_id, *machine; /* "": not known */
	const char *volume;            /* "": not said, so any */
	const char *key, *value;
	size_t n_value;
};
struct fence_records { /* what they say is in the arena */
	VEC(struct fence_record) v;
	VEC(rados_ioctx_t) pools; /* that were opened for it */
	const char *unread;       /* a pool that this user may not read; NULL: there is none */
};
int fence_record_write(const struct image_place *p, const char *ip, const char *node,
		       const char *boot_id, const char *machine, const char *volume,
		       struct err *err);
/* Unless it was written anew since it was read. */
int fence_record_forget(const struct image_place *p, const struct fence_record *r, struct err *err);
/* Of the place's pool. all: { 0 }, and to be freed also where this fails. */
int fence_records_read(const struct image_place *p, struct fence_records *all, struct err *err);
/* Of all pools: a node is fenced for whichever volume was seen there first. */
int fence_records_read_all(const struct image_place *p, struct fence_records *all, struct err *err);
void fence_records_done(const struct image_place *p, struct fence_records *all);

#endif
