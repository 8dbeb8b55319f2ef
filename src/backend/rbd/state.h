/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_STATE_H
#define BACKEND_RBD_STATE_H

#include "backend/rbd/rbd-internal.h"
#include "volume/ceph_client.h"

/* Small texts of a volume in the node's directory: backend/ceph/state.h. */
#define IMAGE_NOTE "note"
#define IMAGE_ATTACHED "attached"

/* "" if there is none. cap: of ret_text. FAILED_PRECONDITION: this process stages nothing. */
int image_state_get(const struct images *images, const char *token, const char *name,
		    char *ret_text, size_t cap, struct err *err);
/* "" takes it away, and with the last one the volume's directory. */
int image_state_set(const struct images *images, const char *token, const char *name,
		    const char *text, struct err *err);

/*
 * What going needs to know of how an image came, since nobody says it then, and what pods that come
 * to it later are held to: one line each. Whether it is attached is not in it; that is asked of the
 * kernel. The last three lines are not there until there is something in them or behind them.
 */
struct image_attached {
	char image[512];
	char fsid[64];                        /* of the cluster */
	char unmap_options[CEPH_OPTIONS_MAX]; /* "" */
	char client[CEPH_ADDRESS_MAX];        /* that the image's metadata names; "": not yet */
	/* where cluster-mapping.json led to another than the handle's */
	bool is_mapped;
	int64_t pool_id;
	/* The image's when it came; only the kernel's client does not keep them by itself. */
	struct vol_limits limits;
};
#define IMAGE_ATTACHED_MAX 1280
void image_attached_format(const struct image_attached *how, char ret_text[IMAGE_ATTACHED_MAX]);
/* -1: it is none, or torn. */
int image_attached_parse(const char *text, struct image_attached *ret_how);

#endif
