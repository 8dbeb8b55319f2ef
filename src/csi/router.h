/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_ROUTER_H
#define CSI_ROUTER_H

#include "base/str.h"
#include "base/uuid.h"
#include "csi/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct csi_router - one CSI service over many: each call goes to the member that it is for
 *
 * Members are drivers like ours, one a node: they tell their pools as topology (volume/topology.h),
 * and ids name a pool (volume/id.h). Who is a member is told from outside; the router knows no
 * Kubernetes. By row of a table a call goes where the pool of its id is, where the source of a copy
 * is, to one of the pools of the wanted topology, or to all.
 *
 * What a member is (its name, capabilities, pools) is asked by csi_router_look and remembered while
 * it is away, so that a call for one of its pools says which node it is. Two members that show one
 * pool are a disk that was copied: calls for its ids are UNAVAILABLE and name both, and no volume
 * is made there.
 *
 * Errors beside the member's own, which begin with its name: UNAVAILABLE where no member serves the
 * pool or a member has many calls that hang; the rest is said with each kind of call in
 * router_call.c. A list is of all members or fails: what is not in it would be taken for gone.
 * Node calls but those of csi_router_look are UNIMPLEMENTED: they are the node's own.
 *
 * Any thread, many at a time; calls block as those of the members do.
 */
struct csi_router;
struct csi_router_member;

struct csi_router_options {
	const char *driver_name; /* what each member must call itself; NULL: what the first does */
	/* A member that has so many calls, the oldest of them so old, gets no more of them: it
	 * would else take all workers of the caller. 0: 8, 2 s. */
	unsigned hanging_calls;
	int64_t hanging_ns;
};
struct csi_router *csi_router_new(const struct csi_router_options *opts);
/* No member and no call is left. NULL is fine. */
void csi_router_free(struct csi_router *r);
/* Lives as long as the router. */
struct csi_service csi_router_service(struct csi_router *r);

/* name: of the node, in messages and tokens, no two the same, ≤253 bytes; copied. The service is
 * borrowed until csi_router_remove. */
struct csi_router_member *csi_router_add(struct csi_router *r, const char *name,
					 const struct csi_service *service);
/* Waits for the calls that it has. */
void csi_router_remove(struct csi_router *r, struct csi_router_member *m);

/* Whether there is anything to ask: nobody has asked since its link changed, or since it was
 * doubted, or it did not answer. */
bool csi_router_is_stale(struct csi_router *r, struct csi_router_member *m);
/* Asks it what it is; one look at a member at a time. FAILED_PRECONDITION: it is another driver;
 * INTERNAL: it answers what no driver of ours would; and the codes of a call. */
int csi_router_look(struct csi_router *r, struct csi_router_member *m, struct ctx *ctx,
		    struct err *err);

/* What this one said is to be asked again, for somebody wants to act upon it (told_ns). An unknown
 * name is nobody. */
void csi_router_doubt(struct csi_router *r, const char *name);

/*
 * These pools are gone for good, somebody who must know has said, and no others are: theirs are
 * NOT_FOUND from now on, deleting them succeeds, they are in no list, and nothing is made there. A
 * member that shows one after all is asked about its other pools alone, and told of
 * (n_forgotten_pools). The array is copied. true: it is news.
 */
bool csi_router_forget(struct csi_router *r, const struct uuid *pools, size_t n);
/* As it was told last. Any thread. */
bool csi_router_has_forgotten(struct csi_router *r, const struct uuid *pool);

/* How a member is, for people and metrics. */
struct csi_router_state {
	const char *name;
	bool is_known;     /* it has answered once */
	bool is_reachable; /* at the last look */
	int64_t since_ns;  /* CLOCK_MONOTONIC: when that changed last */
	const char *why;   /* not reachable; "" */
	int64_t told_ns;   /* clock_now_ns(): what follows was true then, or later */
	size_t n_pools;
	size_t n_forgotten_pools; /* of these */
	size_t n_shared_pools;    /* of the others, that another member shows too */
	const struct uuid *pools;
	const char *version;        /* of its driver, as it said; "" */
	struct csi_service service; /* its own; lasts until csi_router_remove */
};
/* ≠0 from fn stops. Nothing of the router may be called from fn. */
void csi_router_each(struct csi_router *r,
		     int (*fn)(void *arg, const struct csi_router_state *state), void *arg);

#endif
