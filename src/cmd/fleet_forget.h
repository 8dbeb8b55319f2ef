/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_FLEET_FORGET_H
#define CMD_FLEET_FORGET_H

struct ev_loop;
struct fleet;
struct kube_client;
struct work;

/*
 * Tells a fleet which pools are gone for good, as an operator has said in the cluster
 * (control/forgotten.h): looked at every few seconds, whoever leads. What cannot be read stays as
 * it was, and so does what a Lease said that was removed, until there is another.
 */
struct fleet_forget;

struct fleet_forget_options {
	struct ev_loop *loop; /* runs; as all below, outlives it */
	struct work *work;
	struct kube_client *client;
	struct fleet *fleet;
	const char *ns, *name; /* of the journal's Lease; copied */
};

struct fleet_forget *fleet_forget_new(const struct fleet_forget_options *opts);
/* While loop and workers run; before the fleet is closed. Not on the loop. NULL is fine. */
void fleet_forget_free(struct fleet_forget *f);

#endif
