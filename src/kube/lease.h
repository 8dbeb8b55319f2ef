/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_LEASE_H
#define KUBE_LEASE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct kube_client;

/*
 * Leader election by a coordination.k8s.io/v1 Lease, by client-go's protocol: expiry is judged by
 * the local clock from the last observed change. Losing the lease closes the fence, calls on_lost
 * and goes on electing: the process is never ended here.
 *
 * All of it runs on the I/O thread, so no worker that hangs can keep it from being renewed, or its
 * loss from being seen. Holding lasts until the start of the last good renewal plus the renew
 * deadline, which is the fence's limit: whether the lease is held is the fence's to say.
 */
struct lease;

struct lease_options {
	const char *ns, *name, *identity; /* name and identity as the sidecars spell them; copied */
	const char *labels; /* "k:v,k2:v2", put on it with each write; NULL: none. Copied */
	int64_t duration_ns, renew_deadline_ns, retry_ns; /* 0: 15 s, 10 s, 5 s */
	struct fence *fence; /* borrowed; opened and closed here, by nobody else */
	/* On the I/O thread, must not block; the fence is open already, or closed already. */
	void (*on_won)(void *arg);
	void (*on_lost)(void *arg);
	void *arg;
};

/* INVALID_ARGUMENT: the namespace or the name is none. */
int lease_new(struct ev_loop *loop, struct kube_client *client, const struct lease_options *opts,
	      struct lease **ret_lease, struct err *err);
void lease_start(struct lease *l);
/* Closes the fence and elects no more. Any thread but the I/O thread. on_lost is not called. */
void lease_stop(struct lease *l);
/* Gives the lease back if it was held, so that the next one need not wait: so what wrote under it
 * must be over. Waits for the answer, 5 s at most; not on the I/O thread. */
void lease_free(struct lease *l);

#endif
