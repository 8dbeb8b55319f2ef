/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_HERE_H
#define BACKEND_RBD_HERE_H

#include "backend/rbd/state.h"
#include "host/krbd.h"

/* What this node has of a volume: its record, and what the kernel's client has mapped. */
struct image_here {
	struct ceph_handle handle;
	struct image_attached how; /* image "": there is no record */
	bool is_mapped;
	struct host_krbd mapped;
};
/* What the kernel has mapped, by the record, which may be empty: 1 and ret_dev, or 0. */
int image_here_find_mapped(const struct images *images, const struct ceph_handle *handle,
			   const struct image_attached *how, struct host_krbd *ret_dev,
			   struct err *err);
int image_here_look(struct images *images, struct ctx *ctx, const char *token,
		    struct image_here *ret_here, struct err *err);
/* A device of the kernel's client, whose pods are held to these limits. */
void image_here_fill(const struct host_krbd *dev, const struct vol_limits *limits,
		     struct backend_device *ret_dev);

#endif
