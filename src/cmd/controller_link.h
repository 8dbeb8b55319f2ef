/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLER_LINK_H
#define CMD_CONTROLLER_LINK_H

#include "base/err.h"
#include "base/str.h"
#include "csi/service.h"

struct controller_options;
struct ctx;
struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct work;

/*
 * The way to the driver that a process's controllers work with: one at an address, or the agents of
 * many nodes as one. What the cluster knows of such agents is followed: who they are, which of
 * their pools were given up, which have moved.
 */
struct controller_link;

struct controller_link_options {
	const struct controller_options *opts;
	struct ev_loop *loop; /* runs; as all below, outlives it */
	struct work *work;
	struct kube_client *client;
	struct fence *fence;
	const char *ns; /* of the process's Leases, and of a Service whose namespace is not said */
};

int controller_link_open(const struct controller_link_options *opts,
			 struct controller_link **ret_link, struct err *err);
/* While loop and workers run; before the caches are freed (controller_link_leave_nodes comes
 * first). Not on the loop. NULL is fine. */
void controller_link_close(struct controller_link *l);

/* Lives as long as the link. */
struct csi_service controller_link_service(const struct controller_link *l);
/* For people: where the driver is. */
const char *controller_link_address(const struct controller_options *opts);
/* What the driver is and can, now. ret_node: capabilities of its node service, where these count.
 * UNAVAILABLE: it is not ready yet; and the codes of a call. Blocks. */
int controller_link_ask(struct controller_link *l, struct ctx *ctx, struct csi_offers *ret_offers,
			uint64_t *ret_node, struct err *err);
/* What is wrong with agents, a line each (fleet_report). Any thread. NULL is fine. */
void controller_link_report(struct controller_link *l, struct str *report);

/* Of many agents: from now on what operators have said of their pools is heeded, which stands in
 * the journal beside this Lease. */
void controller_link_heed(struct controller_link *l, const char *lease_name);
/* Likewise, as long as the cache is there: labels of pools that moved are taken off. nodes NULL:
 * nodes are not watched. */
void controller_link_watch_nodes(struct controller_link *l, struct informer *nodes,
				 const char *driver_name);
void controller_link_leave_nodes(struct controller_link *l); /* NULL is fine */

#endif
