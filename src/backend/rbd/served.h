/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_SERVED_H
#define BACKEND_RBD_SERVED_H

#include "backend/backend.h"
#include "backend/rbd/serve.h"

/*
 * Images that are served (serve.h), from the agent's side: a loop device over the file that the
 * server of the image gives. All by token; state is the node's directory for what has to outlive
 * the agent, in which each volume has one of its own. What is there is told by the mount table, the
 * server's lock and the loop device, by no note; none of these asks the cluster.
 */

/* As backend_ops.attach; order's dir and token are not read. ABORTED: an earlier server has not
 * ended. */
int served_attach(struct ctx *ctx, const char *state, const char *token,
		  const struct serve_order *order, struct backend_device *ret_dev, struct err *err);
/* Whether there is anything of it, a device or not: 1 or 0. */
int served_is_there(const char *state, const char *token, struct err *err);
/* 1 and ret_dev, or 0. A device that is smaller than its image became is given the image's size. */
int served_find(const char *state, const char *token, struct backend_device *ret_dev,
		struct err *err);
/* Everything away, also what is left of a server that was killed. FAILED_PRECONDITION: in use, and
 * by whom. 0 also when there is nothing. */
int served_detach(struct ctx *ctx, const char *state, const char *token, struct err *err);

#endif
