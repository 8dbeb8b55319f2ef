/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_ROUTER_INTERNAL_H
#define CSI_ROUTER_INTERNAL_H

#include "base/vec.h"
#include "csi/router.h"
#include "volume/id.h"

#include <pthread.h>

/* What a member said that it is. */
struct router_facts {
	uint64_t plugin, controller, group; /* csi_capability_bits() */
	VEC(struct uuid) pools;
	char version[64];
};

/* One call that a member has; on the caller's stack. */
struct router_visit {
	struct csi_router_member *member;
	struct router_visit *next; /* the one that began after it */
	int64_t began_ns;
};

struct csi_router_member {
	char *name; /* fixed, as the service */
	struct csi_service service;

	/* router.lock guards what follows */
	struct router_facts facts;
	uint64_t link; /* csi_link_changes() when it was asked */
	bool is_known, is_reachable, is_looked_at, is_leaving;
	bool is_doubted;
	int64_t asked_ns; /* of the last look */
	int64_t told_ns;  /* asked_ns of the one that facts are of */
	int64_t since_ns;
	char why[ERR_MSG_MAX];
	struct router_visit *visits; /* the oldest first */
	unsigned n_visits;
};

/* A pool that a member shows. */
struct router_pool {
	struct uuid pool;
	struct csi_router_member *member;
};

struct csi_router {
	int64_t hanging_ns; /* fixed, as the one below */
	unsigned hanging_calls;
	pthread_mutex_t
		lock; /* guards what follows, and members; nothing is called while it is held */
	pthread_cond_t left;
	char *driver_name;                       /* "" until a member told it */
	VEC(struct csi_router_member *) members; /* by name */
	/* By pool, then by member; made anew by the next who looks for one after members or their
	 * pools changed: a call must not cost more the more nodes there are. */
	VEC(struct router_pool) index;
	bool is_index_stale;
	VEC(struct uuid) forgotten;
	uint64_t changes;
};

/* ---- router.c ---- */

/* Whether what is said of this is true only until another member comes or goes. */
int router_name(struct csi_router *r, struct arena *a, const char **ret_name, struct err *err);

/* The member that serves the pool; the visit ends by router_leave. UNAVAILABLE says why not,
 * NOT_FOUND that the pool was forgotten. */
int router_enter_pool(struct csi_router *r, const struct uuid *pool, struct router_visit *v,
		      struct err *err);
/* The first member, by name, that stands at or behind name: 1, or 0. UNAVAILABLE: one that is known
 * cannot be asked. */
int router_enter_next(struct csi_router *r, const char *name, bool is_behind,
		      struct router_visit *v, struct err *err);
void router_leave(struct csi_router *r, struct router_visit *v);
/* err, that of the member's call, names it from now on. Returns -1. */
int router_blame(const struct csi_router_member *m, struct err *err);

/* All pools that exactly one member shows and that were not forgotten, in the order of members; in
 * the arena. */
const struct uuid *router_pools(struct csi_router *r, struct arena *a, size_t *ret_n);
/* What at least one member that has answered can. UNAVAILABLE: none has. */
int router_facts(struct csi_router *r, struct router_facts *ret_all, struct err *err);

/* ---- router_list.c: a list's pages, from all members ---- */
int router_list(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx, const void *req,
		void *ret, struct err *err);

/* ---- router_place.c ---- */
int router_create_volume(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			 const void *req, void *ret, struct err *err);
int router_get_capacity(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			const void *req, void *ret, struct err *err);

/* router_call.c: where the pool of this id is. */
int router_forward(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		   const struct uuid *pool, const void *req, void *ret, struct err *err);

#endif
