/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_NODE_H
#define BACKEND_NODE_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>

/* A node of the CO's, as far as the CO tells. Strings are never NULL. */
struct backend_node {
	bool is_gone;           /* it has none of that name (any more); the rest is then not set */
	bool is_out_of_service; /* whoever may has said so: it will not go on with what it has */
	bool is_ready;          /* it runs, and says so */
	bool has_volume;        /* it says that it uses this volume */
	bool has_volumes;       /* … any of this driver */
	char boot_id[UUID_TEXT_MAX]; /* of the machine's run; "": not told */
	char machine[UUID_TEXT_MAX]; /* of the machine, whatever it is called; "": not told */
	const char *const *addresses;
	size_t n_addresses;
};

/* Who knows the CO's nodes. look asks anew each time; what the node has it says in the ctx's arena.
 * UNAVAILABLE and the like: it cannot be asked now. */
struct backend_nodes {
	int (*look)(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
		    struct backend_node *ret_node, struct err *err);
	void *arg;
};

/* A volume on a node, as the CO's controller speaks of it. */
struct backend_use {
	const char *node_id;
	const struct backend_nodes *nodes;
	const struct secrets *secrets; /* of the request */
};

#endif
