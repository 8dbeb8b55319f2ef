/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_LEASE_H
#define KUBE_LEASE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct kube_client;
struct work;

/*
 * Leader election by a coordination.k8s.io/v1 Lease, by client-go's protocol: expiry is judged by
 * the local clock from the last observed change. Losing the lease calls on_lost and goes on
 * electing: the process is never ended here.
 */
struct lease;

struct lease_options {
	const char *ns, *name, *identity; /* name and identity as the sidecars spell them; copied */
	int64_t duration_ns, renew_deadline_ns, retry_ns; /* 0: 15 s, 10 s, 5 s */
	void (*on_won)(void *arg);                        /* on a worker */
	void (*on_lost)(void *arg); /* on a worker; returns before the lease is tried again */
	void *arg;
};

struct lease *lease_new(struct ev_loop *loop, struct work *work, struct kube_client *client,
			const struct lease_options *opts);
void lease_start(struct lease *l);
/* Gives the lease back if held, so that the next one need not wait. */
void lease_free(struct lease *l);
bool lease_is_held(const struct lease *
			   l); /* any thread: the last renewal is younger than the renew deadline */

#endif
